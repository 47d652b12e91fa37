/* pool: a node_pool per node, made when the node is first called; those of nodes that serve from the start
 * are made at once, so that their connections are there before the first request. */
#include "engine/redis/pool.h"

#include "node_pool.h"

#include <stdlib.h>

const char *const redis_outcome_names[REDIS_OUTCOME_COUNT] = {"ok", "foreign", "refused", "unavailable",
                                                              "in_doubt"};

struct redis_pool {
    struct redis_pool_options options;
    _Atomic(struct node_pool *) of[REDIS_NODES_MAX]; /* by the node's index */
};

static struct node_pool *pool_of(struct redis_pool *p, struct redis_node *node)
{
    unsigned i = redis_node_options(node)->index;
    struct node_pool *pool = atomic_load_explicit(&p->of[i], memory_order_relaxed);
    if (!pool) {
        pool = node_pool_create(&p->options, node);
        atomic_store(&p->of[i], pool);
    }
    return pool;
}

struct redis_pool *redis_pool_create(const struct redis_pool_options *options)
{
    struct redis_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->options = *options;
    for (unsigned i = 0; p && i < redis_topology_count(options->topology); i++)
        if (!pool_of(p, redis_topology_at(options->topology, i))) redis_pool_destroy(&p);
    return p;
}

void redis_pool_destroy(struct redis_pool **pool)
{
    struct redis_pool *p = *pool;
    if (!p) return;
    *pool = NULL;
    for (unsigned i = 0; i < REDIS_NODES_MAX; i++) {
        struct node_pool *of = atomic_load(&p->of[i]);
        node_pool_destroy(&of);
    }
    free(p);
}

static struct slice key_of(const struct redis_command *command)
{
    if (command->script && command->keys) return command->keys_count ? command->keys[0] : SLICE_NONE;
    return command->argc > 1 ? command->argv[1] : SLICE_NONE;
}

bool redis_pool_submit(struct redis_pool *p, struct redis_call *call)
{
    struct redis_node *node =
        call->node ? call->node : redis_topology_node(p->options.topology, key_of(&call->commands[0]));
    struct node_pool *pool = pool_of(p, node);
    call->outcome = REDIS_CALL_UNAVAILABLE;
    return pool && node_pool_submit(pool, call);
}

unsigned redis_pool_ready(const struct redis_pool *p)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < REDIS_NODES_MAX; i++) {
        const struct node_pool *of = atomic_load(&p->of[i]);
        ready += of ? node_pool_ready(of) : 0;
    }
    return ready;
}
