/* node: what all connections to one Redis server share: where it is, who we are there, its circuit, its
 * clock, and the connections given up whose last commands may still be in its buffers ("condemned"). Its
 * place may change: after a failover the node is where the new master is. Any thread. */
#ifndef PHOENIX_ENGINE_REDIS_NODE_H
#define PHOENIX_ENGINE_REDIS_NODE_H

#include "engine/redis/breaker.h"
#include "engine/redis/info.h"
#include "engine/redis/secret.h"
#include "engine/redis/url.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "util/clock.h"

#include <stdint.h>

struct redis_node;
struct redis_topology;
struct redis_tls;

/* Whose Redis it is: of the cache, of all else (redis.state_url), or one for both. */
enum redis_role { REDIS_OF_ALL, REDIS_OF_CACHE, REDIS_OF_STATE, REDIS_ROLE_COUNT };
extern const char *const redis_role_names[REDIS_ROLE_COUNT];

struct redis_node_options {
    const struct redis_url *url;     /* kind, path, user, database; borrowed, as all pointers here */
    const struct redis_address *at;  /* where it is at first; NULL: the URL's first seed, for TCP */
    struct redis_topology *topology; /* NULL: it stands alone */
    unsigned index;                  /* its place in the topology */
    enum redis_role role;
    struct redis_secret *secret; /* NULL: no password */
    struct redis_tls *tls;       /* NULL: none */
    int64_t connect_timeout_ms;
    int64_t command_timeout_ms;
    struct breaker_options breaker; /* clock and thresholds; on_change is set by the node */
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    /* Told after each change of the circuit, by any thread, besides the node's own log line and metrics. */
    void (*on_change)(void *arg, enum breaker_state to);
    void *arg;
};

struct redis_node *redis_node_create(const struct redis_node_options *options); /* NULL: no memory */
void redis_node_destroy(struct redis_node **node);

struct breaker *redis_node_breaker(struct redis_node *node);
const struct redis_node_options *redis_node_options(const struct redis_node *node);
/* "host:port" or the socket's path, for log lines and /readyz; valid as long as the node. */
const char *redis_node_name(const struct redis_node *node);

/* Where it is now (TCP; port 0: nobody knows yet). Returns how often it has moved: a connection opened at
 * another count leads to the place before. */
unsigned redis_node_address(struct redis_node *node, struct redis_address *out);
unsigned redis_node_moves(const struct redis_node *node);
/* From now on it is there. Connections to the place before take no more calls, and results of calls there no
 * longer count for the circuit. */
void redis_node_move(struct redis_node *node, const struct redis_address *to);

/* Whether it serves any key now; one that does not is neither probed nor connected to. */
bool redis_node_serves(const struct redis_node *node);
void redis_node_set_serves(struct redis_node *node, bool serves);

/* Wall clock as this Redis tells it: ours plus the offset last measured. */
int64_t redis_node_wall_ms(const struct redis_node *node);
void redis_node_set_offset(struct redis_node *node, int64_t offset_ms);

/* What its last INFO said, and how long the last PING took (-1: nobody knows). Forgotten when it moves. */
void redis_node_info(struct redis_node *node, struct redis_info *out, int64_t *out_ping_us);
void redis_node_set_info(struct redis_node *node, const struct redis_info *info);
void redis_node_set_ping(struct redis_node *node, int64_t ping_us);

/* It is well, but has refused calls within the last seconds: the first word of what it said (OOM, MISCONF,
 * …). */
enum { REDIS_REFUSAL_SIZE = 24 };
bool redis_node_refuses(struct redis_node *node, char out_word[REDIS_REFUSAL_SIZE]);

/* No connection is condemned: every write that was given up has either run or never will. */
bool redis_node_quiet(const struct redis_node *node);

#endif
