/* pool: calls to Redis from one loop, over a few pipelined connections to each node.
 *
 * A call is one or more commands that leave together on one connection, to the node that serves the first key
 * of the first of them, and are done when their last reply is in, or when it is certain that none will come.
 * Its memory is the caller's and stays untouched until `done`.
 * A call that was not executed since another server is the one to ask (READONLY) is tried again there, within
 * its deadline; then it is UNAVAILABLE. In a cluster it follows MOVED, ASK and TRYAGAIN, at most
 * REDIS_REDIRECTIONS_MAX times: calls of several commands are reads, for all of them go again.
 * All calls of a turn leave in one write. Each call has a deadline; past it the connection is given up
 * (reset, so that nothing unsent leaves later, and killed on the server by the next connection) and its calls
 * fail, each exactly once. Loop thread only. */
#ifndef PHOENIX_ENGINE_REDIS_POOL_H
#define PHOENIX_ENGINE_REDIS_POOL_H

#include "engine/redis/topology.h"
#include "loop/loop.h"
#include "util/slice.h"

#include <stdatomic.h>

enum redis_outcome {
    REDIS_CALL_OK,      /* every reply is in and none is an error */
    REDIS_CALL_FOREIGN, /* WRONGTYPE */
    REDIS_CALL_REFUSED, /* Redis is there and does not take it (OOM, READONLY, NOPERM, …); not executed */
    REDIS_CALL_UNAVAILABLE, /* no byte has left, or Redis said that it cannot serve; not executed */
    REDIS_CALL_IN_DOUBT,    /* bytes have left and no answer came: it may have run, or may yet until the
                               connection is killed */
    REDIS_OUTCOME_COUNT
};
extern const char *const redis_outcome_names[REDIS_OUTCOME_COUNT];

enum redis_type {
    REDIS_TYPE_NIL = 1,
    REDIS_TYPE_STRING = 2,
    REDIS_TYPE_INTEGER = 4,
    REDIS_TYPE_STATUS = 8,
    REDIS_TYPE_ARRAY = 16
};

/* `text` (string, status) and elements live until `done` returns, and only in the last reply of a call. */
struct redis_reply {
    enum redis_type type;
    int64_t integer; /* of an array: how many elements */
    struct slice text;
    const void *raw;
};
/* False: no array, or not that many elements. */
bool redis_reply_element(const struct redis_reply *array, size_t i, struct redis_reply *out);

/* Why a call goes again, or does not: of phoenix_redis_redirections_total. */
enum redis_redirection {
    REDIS_REDIRECTION_MOVED,
    REDIS_REDIRECTION_ASK,
    REDIS_REDIRECTION_TRYAGAIN,
    REDIS_REDIRECTION_EXHAUSTED, /* one too many: the call was UNAVAILABLE */
    REDIS_REDIRECTION_COUNT
};
extern const char *const redis_redirection_names[REDIS_REDIRECTION_COUNT];

enum { REDIS_REDIRECTIONS_MAX = 5 };

enum { REDIS_ARGS_MAX = 12, REDIS_COMMANDS_MAX = 4 };

struct redis_script; /* engine/redis/script.h */

struct redis_command {
    const struct redis_script
        *script; /* not NULL: argv is numkeys, keys, arguments; sent as EVALSHA, on NOSCRIPT as EVAL */
    const struct slice *keys; /* not NULL: the script's keys, borrowed; argv is then its arguments alone */
    unsigned keys_count;
    unsigned argc;
    struct slice argv[REDIS_ARGS_MAX];
    unsigned types; /* the reply types that make sense; anything else means the connection is out of step, and
                       ends it */
};

struct redis_call {
    /* set by the caller */
    struct redis_command *commands;
    unsigned count;
    struct redis_node *node; /* not NULL: goes there, whatever its key (SCAN) */
    int64_t deadline_us;     /* 0: command_timeout from now; never later than that */
    void (*done)(struct redis_call *call);
    void *arg;
    /* valid in done */
    enum redis_outcome outcome;
    struct redis_reply replies[REDIS_COMMANDS_MAX];
    char error[96]; /* the error reply's text, or why the connection ended */
    bool covered;   /* changes of its keys since it was sent are told by the node that answered (watch.h) */
    /* the pool's */
    struct redis_call *next, **prev;
    unsigned received;
    enum redis_outcome worst;
    bool with_source;
    uint32_t generation;
    uint64_t begin, bytes;
    int64_t start_us;
    unsigned tries; /* after an answer that another server is to be asked */
    int64_t retry_us;
    unsigned redirections;
    bool redirected; /* by the replies so far: */
    enum redis_redirection redirection;
    struct redis_node *to; /* NULL: nobody has said where to */
    bool asking;           /* ASKING goes before each command */
};

struct redis_pool;

struct redis_pool_options {
    struct loop *loop;
    struct redis_topology *topology;
    unsigned min_idle, connections_max, inflight_max; /* connections to each node; calls on each of them */
    _Atomic size_t *queued_bytes; /* counts bytes that wait to be answered; who takes in work watches it */
    struct log *log;
    struct metrics_cell *cell;
};

struct redis_pool *redis_pool_create(const struct redis_pool_options *options);
/* Ends every connection; calls in flight are done (in doubt) before it returns. */
void redis_pool_destroy(struct redis_pool **pool);

/* False: not taken and `done` will not be called (circuit open, no connection to be had now, a bound);
 * call->outcome is UNAVAILABLE. */
bool redis_pool_submit(struct redis_pool *pool, struct redis_call *call);

/* Established connections, to all nodes; any thread. */
unsigned redis_pool_ready(const struct redis_pool *pool);
/* Of these, to the node of that index. */
unsigned redis_pool_ready_at(const struct redis_pool *pool, unsigned node);

#endif
