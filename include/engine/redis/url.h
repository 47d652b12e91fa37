/* url: where Redis is. Pure. */
#ifndef PHOENIX_ENGINE_REDIS_URL_H
#define PHOENIX_ENGINE_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

enum redis_kind { REDIS_EMBEDDED, REDIS_TCP, REDIS_UNIX };

struct redis_url {
    enum redis_kind kind;
    char *host; /* TCP; without brackets */
    int port;
    char *path;            /* Unix */
    char *user, *password; /* NULL: none */
    int db;
};

/* redis://[user:password@]host[:port][/db]   unix://[user:password@]/path[?db=n]   embedded:
 * User and password are percent-decoded. False with one line in `error`; *out is then empty. */
bool redis_url_parse(const char *text, struct redis_url *out, char *error, size_t error_size);
void redis_url_deinit(struct redis_url *u);

#endif
