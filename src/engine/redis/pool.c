/* pool: a node_pool per node, made when the node is first called; those of nodes that serve from the start
 * are made at once, so that their connections are there before the first request. Calls that went to the
 * wrong server wait here until they are tried again. */
#include "engine/redis/pool.h"

#include "node_pool.h"
#include "node_private.h"
#include "pool_retry.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>

/* Between two tries of a call, while a new master is looked for; doubling, jittered. */
enum { RETRY_MIN_US = 5000, RETRY_MAX_US = 40000 };

const char *const redis_outcome_names[REDIS_OUTCOME_COUNT] = {"ok", "foreign", "refused", "unavailable",
                                                              "in_doubt"};

const char *const redis_redirection_names[REDIS_REDIRECTION_COUNT] = {"moved", "ask", "tryagain",
                                                                      "exhausted"};

struct redis_pool {
    struct redis_pool_options options;
    _Atomic(struct node_pool *) of[REDIS_NODES_MAX]; /* by the node's index */
    struct retry_list retries;
    bool closing;
};

static bool on_misplaced(void *arg, struct redis_node *node, unsigned moves, struct redis_call *call);
static bool on_unsent(void *arg, struct redis_call *call);

static struct node_pool *pool_of(struct redis_pool *p, struct redis_node *node)
{
    unsigned i = redis_node_options(node)->index;
    struct node_pool *pool = atomic_load_explicit(&p->of[i], memory_order_relaxed);
    if (!pool) {
        const struct node_pool_owner owner = {on_misplaced, on_unsent, p};
        pool = node_pool_create(&p->options, &owner, node);
        if (!pool)
            LOG(p->options.log, LOG_ERROR, "no memory for connections; calls to this node go unanswered",
                LOG_S("redis", redis_node_name(node)));
        atomic_store(&p->of[i], pool);
    }
    return pool;
}

static struct slice key_of(const struct redis_command *command)
{
    if (command->script && command->keys) return command->keys_count ? command->keys[0] : SLICE_NONE;
    return command->argc > 1 ? command->argv[1] : SLICE_NONE;
}

static struct redis_node *node_of(const struct redis_pool *p, const struct redis_call *call)
{
    return call->node ? call->node : redis_topology_node(p->options.topology, key_of(&call->commands[0]));
}

static bool dispatch_to(struct redis_pool *p, struct redis_node *node, struct redis_call *call)
{
    call->outcome = REDIS_CALL_UNAVAILABLE;
    if (p->closing) return false;
    struct node_pool *pool = pool_of(p, node);
    return pool && node_pool_submit(pool, call);
}

static bool dispatch(struct redis_pool *p, struct redis_call *call)
{
    call->asking = false;
    return dispatch_to(p, node_of(p, call), call);
}

/* --- tried again --- */

static bool try_later(struct redis_pool *p, struct redis_call *call)
{
    int64_t delay_us = RETRY_MIN_US << (call->tries < 3 ? call->tries : 3);
    if (delay_us > RETRY_MAX_US) delay_us = RETRY_MAX_US;
    return retry_list_add(&p->retries, call, delay_us / 2 + (int64_t)random_below((uint64_t)delay_us));
}

static void give_up(struct redis_pool *p, struct redis_call *call, const char *why)
{
    call->outcome = REDIS_CALL_UNAVAILABLE;
    if (!call->error[0]) snprintf(call->error, sizeof call->error, "%s", why);
    metrics_count(p->options.cell, METRIC_REDIS_CALLS, redis_topology_options(p->options.topology)->role,
                  call->outcome, 1);
    call->done(call);
}

static void on_again(void *arg, struct redis_call *call)
{
    struct redis_pool *p = arg;
    if (dispatch(p, call)) return;
    if (redis_node_takes_calls(node_of(p, call)) && try_later(p, call)) return;
    give_up(p, call, "no server took it in time");
}

static bool on_unsent(void *arg, struct redis_call *call)
{
    struct redis_pool *p = arg;
    return call->tries > 0 && !p->closing && try_later(p, call);
}

/* MOVED, ASK, TRYAGAIN: the node is well, and the call goes to where it said. */
static bool on_redirected(struct redis_pool *p, struct redis_node *node, struct redis_call *call)
{
    enum redis_role role = redis_node_options(node)->role;
    breaker_record(redis_node_breaker(node), call->generation, BREAKER_SUCCESS);
    metrics_count(p->options.cell, METRIC_REDIS_REDIRECTIONS, role, call->redirection, 1);
    if (call->redirection != REDIS_REDIRECTION_ASK) redis_topology_suspect(p->options.topology);
    bool again = call->redirections++ < REDIS_REDIRECTIONS_MAX;
    if (!again)
        metrics_count(p->options.cell, METRIC_REDIS_REDIRECTIONS, role, REDIS_REDIRECTION_EXHAUSTED, 1);
    call->asking = call->redirection == REDIS_REDIRECTION_ASK;
    if (again && call->to && dispatch_to(p, call->to, call)) return true;
    bool away = call->to && !redis_node_takes_calls(call->to);
    if (again && !away && try_later(p, call)) return true;
    give_up(p, call, "no node took it in time");
    return true;
}

/* READONLY: a master no more. Where nobody would know of another its name may lead there by now; if not, that
 * is a refusal. */
static bool on_misplaced(void *arg, struct redis_node *node, unsigned moves, struct redis_call *call)
{
    struct redis_pool *p = arg;
    enum redis_kind kind = redis_topology_options(p->options.topology)->url->kind;
    if (p->closing) return false;
    if (kind != REDIS_SENTINEL && kind != REDIS_CLUSTER) {
        redis_node_leave_replica(node, moves);
        return moves != redis_node_moves(node) && try_later(p, call);
    }
    if (call->redirected) return on_redirected(p, node, call);
    if (kind == REDIS_SENTINEL) redis_node_leave(node, moves);
    redis_topology_suspect(p->options.topology);
    call->worst = REDIS_CALL_UNAVAILABLE;
    return try_later(p, call);
}

/* --- life --- */

struct redis_pool *redis_pool_create(const struct redis_pool_options *options)
{
    struct redis_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->options = *options;
    p->retries = (struct retry_list){.loop = options->loop, .again = on_again, .arg = p};
    for (unsigned i = 0; p && i < redis_topology_count(options->topology); i++)
        if (!pool_of(p, redis_topology_at(options->topology, i))) redis_pool_destroy(&p);
    return p;
}

void redis_pool_destroy(struct redis_pool **pool)
{
    struct redis_pool *p = *pool;
    if (!p) return;
    *pool = NULL;
    p->closing = true;
    for (struct redis_call *call; (call = retry_list_take(&p->retries));)
        give_up(p, call, "shutting down");
    for (unsigned i = 0; i < REDIS_NODES_MAX; i++) {
        struct node_pool *of = atomic_load(&p->of[i]);
        node_pool_destroy(&of);
    }
    free(p);
}

bool redis_pool_submit(struct redis_pool *p, struct redis_call *call)
{
    call->tries = call->redirections = 0;
    call->redirected = call->covered = false;
    return dispatch(p, call);
}

unsigned redis_pool_ready_at(const struct redis_pool *p, unsigned node)
{
    const struct node_pool *of = atomic_load(&p->of[node]);
    return of ? node_pool_ready(of) : 0;
}

unsigned redis_pool_ready(const struct redis_pool *p)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < REDIS_NODES_MAX; i++)
        ready += redis_pool_ready_at(p, i);
    return ready;
}
