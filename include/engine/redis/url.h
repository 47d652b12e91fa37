/* url: where a Redis is, in any of its forms. Pure. */
#ifndef PHOENIX_ENGINE_REDIS_URL_H
#define PHOENIX_ENGINE_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

enum redis_kind { REDIS_EMBEDDED, REDIS_TCP, REDIS_UNIX, REDIS_SENTINEL, REDIS_CLUSTER };

enum { REDIS_SEEDS_MAX = 16, REDIS_HOST_SIZE = 256 };

struct redis_address {
    char host[REDIS_HOST_SIZE]; /* name or address, without brackets */
    int port;
};

struct redis_url {
    enum redis_kind kind;
    struct redis_address seeds[REDIS_SEEDS_MAX]; /* TCP: the node; Sentinel: sentinels; Cluster: some nodes */
    unsigned seed_count;
    char *path;            /* Unix */
    char *master;          /* Sentinel: the name its sentinels know it by */
    char *user, *password; /* NULL: none */
    int db;
    bool tls;
};

/* redis://[user:password@]host[:port][/db][?tls=true]   rediss://… (TLS) unix://[user:password@]/path[?db=n]
 * redis-sentinel://[user:password@]host[:port],…/master[/db][?tls=true]   embedded:
 * redis-cluster://[user:password@]host[:port],…[?tls=true]
 * Ports: 6379, of sentinels 26379. User and password are percent-decoded. False with one line in `error`,
 * which never shows the password; *out is then empty. `option`: the option's name, for that line. */
bool redis_url_parse(const char *option, const char *text, struct redis_url *out, char *error,
                     size_t error_size);
void redis_url_deinit(struct redis_url *u);

#endif
