/* topology: which server serves a key of one Redis, be that one node, what sentinels call the master, or a
 * cluster. Nodes are made when they are first heard of and live as long as the topology; one that left is
 * used again for a newcomer (redis_node_move). Any thread, unless it says otherwise; asking takes no lock. */
#ifndef PHOENIX_ENGINE_REDIS_TOPOLOGY_H
#define PHOENIX_ENGINE_REDIS_TOPOLOGY_H

#include "engine/redis/node.h"
#include "util/slice.h"

enum { REDIS_NODES_MAX = 64 };

struct redis_topology_options {
    const struct redis_url *url; /* not embedded; borrowed, as all pointers here */
    enum redis_role role;
    const char *password_file; /* "": none; takes precedence over the URL's password */
    struct redis_tls *tls;     /* NULL: none */
    int64_t connect_timeout_ms;
    int64_t command_timeout_ms;
    struct breaker_options breaker; /* of each node; clock and thresholds */
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    /* Told after each change of a node's circuit, by any thread. */
    void (*on_change)(void *arg, enum breaker_state to);
    void *arg;
};

/* NULL with a line in `error`: no memory, or the password file cannot be read. */
struct redis_topology *redis_topology_create(const struct redis_topology_options *options, char *error,
                                             size_t error_size);
void redis_topology_destroy(struct redis_topology **topology);
const struct redis_topology_options *redis_topology_options(const struct redis_topology *t);
/* What was configured, without credentials ("redis-sentinel://a:1,b:2/main db 0"): it names the spool's
 * Redis. */
const char *redis_topology_name(const struct redis_topology *t);
struct redis_secret *redis_topology_secret(struct redis_topology *t);

/* The node that serves the key now; never NULL. SLICE_NONE: the one whose clock all daemons go by. */
struct redis_node *redis_topology_node(const struct redis_topology *t, struct slice key);
bool redis_topology_allows(const struct redis_topology *t,
                           struct slice key); /* that node's circuit is closed */
bool redis_topology_quiet(const struct redis_topology *t, struct slice key);
int64_t redis_topology_wall_ms(const struct redis_topology *t);
/* Some serving node's circuit is closed, and it is quiet: something may be handed back. */
bool redis_topology_some_ready(const struct redis_topology *t);
bool redis_topology_well(const struct redis_topology *t); /* every serving node's circuit is closed */

/* Nodes by index; a node keeps its index. */
unsigned redis_topology_count(const struct redis_topology *t);
struct redis_node *redis_topology_at(const struct redis_topology *t, unsigned i);

/* A caller has learned that the map may be wrong (MOVED, READONLY, a node that is gone): whoever follows the
 * topology looks again soon. Cheap to repeat. */
void redis_topology_suspect(struct redis_topology *t);

#endif
