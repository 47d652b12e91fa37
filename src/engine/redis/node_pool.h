/* node_pool: one loop's connections to one node. The pool (engine/redis/pool.h) has one for each node it has
 * called. Loop thread only. */
#ifndef PHOENIX_ENGINE_REDIS_NODE_POOL_H
#define PHOENIX_ENGINE_REDIS_NODE_POOL_H

#include "engine/redis/pool.h"

struct node_pool;

/* Whose calls they are. True: it has taken the call back, which is not done yet. */
struct node_pool_owner {
    /* Not executed, another server is to be asked (call->error). `moves`: the node's, when that connection
     * was opened. */
    bool (*misplaced)(void *arg, struct redis_node *node, unsigned moves, struct redis_call *call);
    /* Not sent: the connection that it waited for could not be had. */
    bool (*unsent)(void *arg, struct redis_call *call);
    void *arg;
};

struct node_pool *node_pool_create(const struct redis_pool_options *options,
                                   const struct node_pool_owner *owner, struct redis_node *node);
void node_pool_destroy(struct node_pool **pool);
/* As redis_pool_submit. */
bool node_pool_submit(struct node_pool *pool, struct redis_call *call);
/* Established connections; any thread. */
unsigned node_pool_ready(const struct node_pool *pool);

#endif
