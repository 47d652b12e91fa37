/* queue: an operation's life on Redis.
 *
 *     ask → sent → answered → done
 *             | in doubt: wait until the node is quiet, then send the same again
 *             | still in doubt at the deadline, or the circuit opened: OUTCOME_UNKNOWN (what only reads:
 *             |   REDIS_UNAVAILABLE; a dequeue: the same, and its op is returned)
 *
 * Returns outlive the request that made them: a list of the port's, tried until Redis took each or its leases
 * have ended. They need not wait for a quiet node, since a returned op leases nothing however late it
 * arrives. */
#include "queue_local.h"

#include "util/random.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETTLE_POLL_MS = 10, RETURN_POLL_MS = 100 };

const char *const queue_state_names[QUEUE_STATE_COUNT] = {"ready", "delayed", "leased",    "dead",
                                                          "bad",   "acked",   "cancelled", "purged"};

struct giving_back {
    struct queue_work work; /* op NULL */
    struct giving_back *next, **prev;
    char op_id[QUEUE_OP_SIZE];
    int64_t until_us;
    bool in_flight;
};

bool queue_state_of(struct slice name, enum queue_state *out)
{
    for (int i = 0; i <= QUEUE_BAD; i++)
        if (slice_equal_text(name, queue_state_names[i])) {
            *out = (enum queue_state)i;
            return true;
        }
    return false;
}

/* --- store --- */

/* In the order of queue_lib.lua. */
static const char *const PARTS[QUEUE_KEYS] = {
    "meta",   "body",    "leased",  "ops",     "done", "done_order", "ready",    "agents",
    "expiry", "delayed", "arrival", "waiters", "seen", "dead",       "returned", NULL /* the inbox */,
    "bad"};
enum { PART_WAITERS = 11 };

struct queue_store *queue_store_create(const struct queue_store_options *options)
{
    enum { NAME_MAX_BYTES = 256, UNSURE_MS = 60000 /* longer than callers repeat what was not answered */ };
    struct queue_store *store = calloc(1, sizeof *store);
    if (!store) return NULL;
    store->options = *options;
    atomic_init(&store->held, 1);
    store->names = malloc((size_t)QUEUE_KEYS * NAME_MAX_BYTES);
    store->channel = malloc(NAME_MAX_BYTES);
    if (options->redis && options->spool) {
        store->sent = queue_sent_create();
        if (spool_was_killed(options->spool))
            store->unsure_until_ms = clock_mono_ms(redis_topology_options(options->redis)->clock) + UNSURE_MS;
    }
    if (!store->names || !store->channel || (options->redis && options->spool && !store->sent)) {
        queue_store_destroy(&store);
        return NULL;
    }
    for (size_t i = 0; i < QUEUE_KEYS; i++) {
        char *name = store->names + i * NAME_MAX_BYTES;
        const char *prefix = options->prefix;
        int len = PARTS[i] ? snprintf(name, NAME_MAX_BYTES, "%s:tasks:%s:{%s:tasks:queue}", prefix, PARTS[i],
                                      prefix)
                           : snprintf(name, NAME_MAX_BYTES, "%s:tasks:queue", prefix);
        assert(len < NAME_MAX_BYTES); /* a prefix has at most 64 bytes (config_load) */
        store->keys[i] = (struct slice){name, (size_t)len};
    }
    snprintf(store->channel, NAME_MAX_BYTES, "%s:", store->keys[PART_WAITERS].ptr);
    return store;
}

bool queue_is_unsure(const struct queue_store *store)
{
    if (!store->unsure_until_ms) return false;
    const struct clock *clock = redis_topology_options(store->options.redis)->clock;
    return !atomic_load_explicit(&store->reached, memory_order_relaxed) ||
           clock_mono_ms(clock) < store->unsure_until_ms;
}

const char *queue_store_key(const struct queue_store *store)
{
    return store->keys[0].ptr;
}

bool queue_is_away(const struct queue_store *store)
{
    return !redis_topology_allows(store->options.redis, slice_of(queue_store_key(store)));
}

bool queue_is_quiet(const struct queue_store *store)
{
    return redis_topology_quiet(store->options.redis, slice_of(queue_store_key(store)));
}

void queue_store_destroy(struct queue_store **store)
{
    if (!*store) return;
    free((*store)->sent);
    free((*store)->names);
    free((*store)->channel);
    free(*store);
    *store = NULL;
}

const struct queue_store_options *queue_store_options(const struct queue_store *store)
{
    return &store->options;
}

const char *queue_store_channel(const struct queue_store *store)
{
    return store->channel;
}

/* --- port --- */

struct queue_port *queue_port_create(struct queue_store *store, struct loop *loop, struct redis_pool *pool)
{
    struct queue_port *port = calloc(1, sizeof *port);
    if (!port) return NULL;
    *port = (struct queue_port){.store = store, .loop = loop, .pool = pool};
    if (!store->options.spool) return port;
    port->local = queue_local_create(store, loop);
    if (!port->local) {
        free(port);
        return NULL;
    }
    return port;
}

const struct queue_store *queue_work_store(const struct queue_work *work)
{
    return work->port->store;
}

static void work_deinit(struct queue_work *w)
{
    loop_timer_stop(&w->timer);
    buf_deinit(&w->packed);
    buf_deinit(&w->scratch);
    free(w->results);
}

static void drop_return(struct giving_back *g)
{
    *g->prev = g->next;
    if (g->next) g->next->prev = g->prev;
    g->work.port->returns_count--;
    work_deinit(&g->work);
    free(g);
}

static void finish(struct queue_work *w, enum status status)
{
    struct queue_op *op = w->op;
    *w->prev = w->next;
    if (w->next) w->next->prev = w->prev;
    loop_timer_stop(&w->timer);
    op->status = status;
    op->work = NULL;
    op->done(op);
    work_deinit(w);
    free(w);
}

void queue_port_destroy(struct queue_port **port)
{
    struct queue_port *p = *port;
    if (!p) return;
    *port = NULL;
    p->closing = true;
    loop_timer_stop(&p->returns_timer);
    for (struct queue_work *w = p->works, *next; w; w = next) {
        next = w->next;
        finish(w, w->doubtful ? STATUS_OUTCOME_UNKNOWN : STATUS_REDIS_UNAVAILABLE);
    }
    for (struct giving_back *g = p->returns, *next; g; g = next) {
        next = g->next;
        drop_return(g);
    }
    queue_local_destroy(&p->local);
    free(p);
}

/* --- an operation --- */

static void send_now(struct queue_work *w);

static bool only_reads(enum queue_verb verb)
{
    return verb == QUEUE_COUNTS || verb == QUEUE_GET || verb == QUEUE_LIST;
}

static void give_up(struct queue_work *w)
{
    struct queue_op *op = w->op;
    if (!w->doubtful || only_reads(op->verb)) {
        finish(w, STATUS_REDIS_UNAVAILABLE);
    } else if (op->verb == QUEUE_DEQUEUE) {
        queue_redis_return(w->port, op->op_id, op->in.dequeue.lease_ms);
        finish(w, STATUS_REDIS_UNAVAILABLE);
    } else {
        finish(w, STATUS_OUTCOME_UNKNOWN);
    }
}

static void settle(void *arg)
{
    struct queue_work *w = arg;
    int64_t now = loop_now_us(w->port->loop);
    if (now >= w->op->deadline_us || queue_is_away(w->port->store))
        give_up(w);
    else if (queue_is_quiet(w->port->store))
        send_now(w);
    else
        loop_timer_start(w->port->loop, &w->timer, now + SETTLE_POLL_MS * INT64_C(1000), settle, w);
}

static void settle_later(struct queue_work *w)
{
    int64_t due = loop_now_us(w->port->loop) + SETTLE_POLL_MS * INT64_C(1000);
    loop_timer_start(w->port->loop, &w->timer, due, settle, w);
}

static void on_answer(struct queue_work *w, const struct redis_reply *reply)
{
    if (w->op->verb == QUEUE_ADOPT && !w->moving) {
        w->moving = true;
        w->doubtful = false;
        if (!queue_ask_move(w, reply))
            finish(w, STATUS_OVERLOADED);
        else if (w->op->adopted.shown == 0)
            finish(w, STATUS_OK);
        else
            send_now(w);
        return;
    }
    w->op->status = STATUS_OK;
    queue_answer(w, reply);
    finish(w, w->op->status);
}

static void on_reply(struct redis_call *call)
{
    struct queue_work *w = call->arg;
    switch (call->outcome) {
    case REDIS_CALL_OK:
        on_answer(w, &call->replies[0]);
        return;
    case REDIS_CALL_FOREIGN:
        finish(w, STATUS_FOREIGN_VALUE);
        return;
    case REDIS_CALL_REFUSED:
        snprintf(w->op->detail, sizeof w->op->detail, "%s", call->error);
        if (w->doubtful)
            give_up(w);
        else
            finish(w, STATUS_REDIS_REFUSED);
        return;
    case REDIS_CALL_IN_DOUBT:
        w->doubtful = true;
        settle(w);
        return;
    default:
        if (w->doubtful)
            settle_later(w);
        else
            give_up(w);
    }
}

static void send_now(struct queue_work *w)
{
    /* Not new any more: they may have arrived. */
    if (w->doubtful && w->op->verb == QUEUE_ENQUEUE) w->command.argv[w->command.argc - 1] = SLICE_LITERAL("");
    w->call = (struct redis_call){
        .commands = &w->command, .count = 1, .deadline_us = w->op->deadline_us, .done = on_reply, .arg = w};
    if (redis_pool_submit(w->port->pool, &w->call)) return;
    if (w->doubtful)
        settle_later(w);
    else
        give_up(w);
}

void queue_make_op_id(char out[QUEUE_OP_SIZE])
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[QUEUE_OP_SIZE - 1];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i] = DIGITS[bytes[i] & 63];
    out[sizeof bytes] = 0;
}

void queue_reset_results(struct queue_op *op)
{
    op->local = op->partial = op->journaled = false;
    op->detail[0] = op->op_id[0] = op->next[0] = 0;
    op->verdicts = NULL;
    op->leases = NULL;
    op->views = NULL;
    op->results = 0;
    op->lease_ends_ms = op->count = op->left = op->expired = 0;
    op->ticked = (struct queue_ticked){0};
    op->adopted = (struct queue_adopted){0};
    op->counts = (struct queue_counts){{0}, 0, 0};
}

void queue_redis_start(struct queue_port *port, struct queue_op *op)
{
    struct queue_work *w = calloc(1, sizeof *w);
    queue_reset_results(op);
    op->work = w;
    if (!w) {
        op->status = STATUS_OVERLOADED;
        op->done(op);
        return;
    }
    w->port = port;
    w->op = op;
    w->next = port->works;
    w->prev = &port->works;
    if (w->next) w->next->prev = &w->next;
    port->works = w;
    if (op->verb == QUEUE_DEQUEUE || op->verb == QUEUE_REQUEUE) queue_make_op_id(op->op_id);
    op->status = STATUS_OVERLOADED;
    if (!queue_ask(w))
        finish(w, op->status);
    else
        send_now(w);
}

/* --- returns --- */

static void on_returned(struct redis_call *call)
{
    struct giving_back *g = call->arg;
    g->in_flight = false;
    if (call->outcome == REDIS_CALL_OK) drop_return(g);
}

static void try_return(struct giving_back *g)
{
    struct queue_port *port = g->work.port;
    g->work.numbers_used = 0;
    queue_command(port->store, REDIS_SCRIPT_QUEUE_RETURN, &g->work);
    queue_arg(&g->work, slice_of(g->op_id));
    g->work.command.types = REDIS_TYPE_INTEGER;
    g->work.call =
        (struct redis_call){.commands = &g->work.command, .count = 1, .done = on_returned, .arg = g};
    g->in_flight = redis_pool_submit(port->pool, &g->work.call);
}

static void on_returns_timer(void *arg)
{
    struct queue_port *port = arg;
    int64_t now = loop_now_us(port->loop);
    for (struct giving_back *g = port->returns, *next; g; g = next) {
        next = g->next;
        if (g->in_flight) continue;
        if (now >= g->until_us)
            drop_return(g);
        else
            try_return(g);
    }
    if (port->returns)
        loop_timer_start(port->loop, &port->returns_timer, now + RETURN_POLL_MS * INT64_C(1000),
                         on_returns_timer, port);
}

void queue_redis_return(struct queue_port *port, const char op_id[QUEUE_OP_SIZE], int64_t lease_ms)
{
    struct giving_back *g = port->returns_count < QUEUE_RETURNS_MAX ? calloc(1, sizeof *g) : NULL;
    if (!g) {
        LOG(port->store->options.log, LOG_WARN, "leases not given back; they end by themselves",
            LOG_S("op", op_id));
        return;
    }
    g->work.port = port;
    memcpy(g->op_id, op_id, QUEUE_OP_SIZE);
    g->until_us = loop_now_us(port->loop) + lease_ms * 1000;
    g->next = port->returns;
    g->prev = &port->returns;
    if (g->next) g->next->prev = &g->next;
    port->returns = g;
    port->returns_count++;
    try_return(g);
    if (!loop_timer_running(&port->returns_timer))
        loop_timer_start(port->loop, &port->returns_timer,
                         loop_now_us(port->loop) + RETURN_POLL_MS * INT64_C(1000), on_returns_timer, port);
}

size_t queue_returns(const struct queue_port *port)
{
    return port->returns_count;
}
