/* node_pool: at first min_idle connections; another is opened when every ready one has GROW_DEPTH calls in
 * flight, and closed again after IDLE_S without a call. Calls that find no ready connection wait for one that
 * is being opened; when opening fails they fail with it, unsent. After a failed attempt the next one waits,
 * doubling with jitter. */
#include "node_pool.h"

#include "conn.h"
#include "node_private.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { GROW_DEPTH = 64, IDLE_S = 10, GUEST_S = 2, TICK_MS = 500, BACKOFF_MIN_MS = 10, BACKOFF_MAX_MS = 500 };

struct member {
    struct node_pool *pool;
    struct conn *conn; /* NULL: free place */
    bool ready;
    bool retired; /* closed by us, being idle */
    int64_t used_us;
};

struct node_pool {
    struct redis_pool_options options;
    struct node_pool_owner owner;
    struct redis_node *node;
    struct conn_group *group;
    struct member *members;
    unsigned opening;
    _Atomic unsigned ready;
    struct redis_call *waiting, **waiting_tail;
    unsigned waiting_count;
    struct loop_timer waiting_timer; /* the waiting calls' deadlines */
    struct loop_timer tick;
    int64_t called_us;
    int64_t backoff_ms;
    int64_t retry_us; /* no attempt before */
    unsigned moves;   /* the node's, when that was set */
    bool closing;
};

static void on_tick(void *arg);
static bool open_one(struct node_pool *p);
static bool may_connect(struct node_pool *p);

static void drain_waiting(struct node_pool *p, struct conn *conn)
{
    while (p->waiting) {
        struct redis_call *call = p->waiting;
        p->waiting = call->next;
        p->waiting_count--;
        if (!p->waiting) p->waiting_tail = &p->waiting;
        conn_submit(conn, call);
    }
    loop_timer_stop(&p->waiting_timer);
}

/* Fails the waiting calls that `due_us` has passed. */
static void fail_waiting(struct node_pool *p, int64_t due_us, const char *why)
{
    struct redis_call *failed = NULL, **tail = &failed, **at = &p->waiting;
    while (*at) {
        struct redis_call *call = *at;
        if (call->deadline_us > due_us) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        p->waiting_count--;
        call->next = NULL;
        *tail = call;
        tail = &call->next;
    }
    p->waiting_tail = at;
    while (failed) {
        struct redis_call *call = failed;
        failed = call->next;
        call->outcome = REDIS_CALL_UNAVAILABLE;
        snprintf(call->error, sizeof call->error, "%s", why);
        if (!p->closing && p->owner.unsent(p->owner.arg, call)) continue;
        metrics_count(p->options.cell, METRIC_REDIS_CALLS, redis_node_options(p->node)->role, call->outcome,
                      1);
        call->done(call);
    }
}

static void on_waiting_deadline(void *arg)
{
    struct node_pool *p = arg;
    int64_t now = loop_now_us(p->options.loop), next = INT64_MAX;
    fail_waiting(p, now, "no connection in time");
    for (struct redis_call *call = p->waiting; call; call = call->next)
        if (call->deadline_us < next) next = call->deadline_us;
    if (next != INT64_MAX) loop_timer_start(p->options.loop, &p->waiting_timer, next, on_waiting_deadline, p);
}

static struct member *least_loaded(struct node_pool *p)
{
    struct member *best = NULL;
    for (unsigned i = 0; i < p->options.connections_max; i++) {
        struct member *m = &p->members[i];
        if (m->ready && conn_ready(m->conn) && !conn_stale(m->conn) &&
            (!best || conn_inflight(m->conn) < conn_inflight(best->conn)))
            best = m;
    }
    return best;
}

static void on_ready(void *arg)
{
    struct member *m = arg;
    struct node_pool *p = m->pool;
    if (conn_stale(m->conn)) {
        conn_abandon(m->conn, "the node has moved");
        return;
    }
    m->ready = true;
    m->used_us = loop_now_us(p->options.loop);
    p->opening--;
    p->backoff_ms = 0;
    p->retry_us = 0;
    atomic_fetch_add(&p->ready, 1);
    drain_waiting(p, m->conn);
}

static void back_off(struct node_pool *p)
{
    p->backoff_ms = p->backoff_ms ? p->backoff_ms * 2 : BACKOFF_MIN_MS;
    if (p->backoff_ms > BACKOFF_MAX_MS) p->backoff_ms = BACKOFF_MAX_MS;
    p->retry_us = loop_now_us(p->options.loop) +
                  (p->backoff_ms / 2 + (int64_t)random_below((uint64_t)p->backoff_ms)) * 1000;
    p->moves = redis_node_moves(p->node);
}

static bool on_misplaced(void *arg, struct redis_call *call)
{
    struct member *m = arg;
    struct node_pool *p = m->pool;
    return !p->closing && p->owner.misplaced(p->owner.arg, p->node, conn_moves(m->conn), call);
}

static void on_closed(void *arg, const char *why)
{
    struct member *m = arg;
    struct node_pool *p = m->pool;
    bool was_ready = m->ready, quietly = p->closing || m->retired, moved = conn_stale(m->conn);
    m->conn = NULL;
    m->ready = m->retired = false;
    if (was_ready) {
        atomic_fetch_sub(&p->ready, 1);
    } else {
        p->opening--;
        if (!moved) back_off(p);
    }
    if (quietly) return;
    LOG(p->options.log, was_ready ? LOG_WARN : LOG_INFO,
        was_ready ? "Redis connection lost" : "Redis connection failed",
        LOG_S("redis", redis_node_name(p->node)), LOG_S("why", why));
    redis_topology_suspect(p->options.topology);
    if (!was_ready && p->opening == 0 && !(moved && p->waiting && may_connect(p) && open_one(p)))
        fail_waiting(p, INT64_MAX, why);
    /* With another connection ready none need ever be opened again, and what this one left would stay
     * condemned, and the node not quiet, for ever. */
    struct member *other = redis_node_quiet(p->node) ? NULL : least_loaded(p);
    if (other) conn_kill_condemned(other->conn);
}

static void retire(struct member *m)
{
    m->retired = true;
    conn_abandon(m->conn, "idle");
}

static bool is_unused(const struct member *m)
{
    return m->conn && m->ready && conn_inflight(m->conn) == 0;
}

static bool open_one(struct node_pool *p)
{
    for (unsigned i = 0; i < p->options.connections_max; i++) {
        struct member *m = &p->members[i];
        if (is_unused(m) && conn_stale(m->conn)) retire(m);
        if (m->conn) continue;
        struct conn_options options = {.group = p->group,
                                       .node = p->node,
                                       .queued_bytes = p->options.queued_bytes,
                                       .log = p->options.log,
                                       .cell = p->options.cell,
                                       .spare = least_loaded(p) != NULL,
                                       .events = {on_ready, on_closed, on_misplaced, m}};
        m->conn = conn_open(&options);
        if (!m->conn) return false;
        p->opening++;
        return true;
    }
    return false;
}

/* Calls go also to a node that serves nothing yet: the slot that they want is on its way there (ASK). */
static bool is_wanted(const struct node_pool *p)
{
    return redis_node_serves(p->node) ||
           loop_now_us(p->options.loop) - p->called_us < GUEST_S * INT64_C(1000000);
}

static bool may_connect(struct node_pool *p)
{
    if (p->moves != redis_node_moves(p->node)) { /* another server: nothing is known against it */
        p->moves = redis_node_moves(p->node);
        p->backoff_ms = p->retry_us = 0;
    }
    return !p->closing && loop_now_us(p->options.loop) >= p->retry_us && is_wanted(p) &&
           redis_node_takes_calls(p->node);
}

static bool is_idle(const struct node_pool *p, const struct member *m, int64_t now_us)
{
    return is_unused(m) &&
           (conn_stale(m->conn) || now_us - m->used_us > IDLE_S * INT64_C(1000000) || !is_wanted(p));
}

/* Keeps min_idle open while the circuit is closed; lets surplus idle ones go, and those that lead to where
 * the node was. */
static void on_tick(void *arg)
{
    struct node_pool *p = arg;
    int64_t now = loop_now_us(p->options.loop);
    unsigned live = p->opening + atomic_load(&p->ready);
    unsigned least = redis_node_serves(p->node) ? p->options.min_idle : 0;
    for (unsigned i = 0; i < p->options.connections_max; i++) {
        struct member *m = &p->members[i];
        if (!is_idle(p, m, now) || (live <= least && !conn_stale(m->conn))) continue;
        retire(m);
        live--;
    }
    while (live < least && may_connect(p) && open_one(p))
        live++;
    loop_timer_start(p->options.loop, &p->tick, now + TICK_MS * INT64_C(1000), on_tick, p);
}

struct node_pool *node_pool_create(const struct redis_pool_options *options,
                                   const struct node_pool_owner *owner, struct redis_node *node)
{
    struct node_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->options = *options;
    p->owner = *owner;
    p->node = node;
    p->waiting_tail = &p->waiting;
    p->group = conn_group_create(options->loop);
    p->members = calloc(options->connections_max, sizeof p->members[0]);
    if (!p->group || !p->members) {
        conn_group_destroy(&p->group);
        free(p->members);
        free(p);
        return NULL;
    }
    for (unsigned i = 0; i < options->connections_max; i++)
        p->members[i].pool = p;
    loop_timer_start(options->loop, &p->tick, loop_now_us(options->loop), on_tick, p);
    return p;
}

void node_pool_destroy(struct node_pool **pool)
{
    struct node_pool *p = *pool;
    if (!p) return;
    *pool = NULL;
    p->closing = true;
    loop_timer_stop(&p->tick);
    for (unsigned i = 0; i < p->options.connections_max; i++)
        if (p->members[i].conn) conn_abandon(p->members[i].conn, "shutting down");
    fail_waiting(p, INT64_MAX, "shutting down");
    loop_timer_stop(&p->waiting_timer);
    conn_group_destroy(&p->group);
    free(p->members);
    free(p);
}

bool node_pool_submit(struct node_pool *p, struct redis_call *call)
{
    struct breaker *breaker = redis_node_breaker(p->node);
    int64_t now = loop_now_us(p->options.loop);
    int64_t latest = now + redis_node_options(p->node)->command_timeout_ms * 1000;
    call->outcome = REDIS_CALL_UNAVAILABLE;
    call->generation = breaker_generation(breaker);
    if (!call->deadline_us || call->deadline_us > latest) call->deadline_us = latest;
    call->start_us = now;
    call->error[0] = 0;
    if (p->closing || !redis_node_takes_calls(p->node) || call->deadline_us <= now) return false;
    p->called_us = now;
    struct member *m = least_loaded(p);
    if ((!m || conn_inflight(m->conn) >= GROW_DEPTH) && p->opening == 0 && may_connect(p)) open_one(p);
    if (m ? conn_inflight(m->conn) >= p->options.inflight_max : p->waiting_count >= p->options.inflight_max) {
        metrics_count(p->options.cell, METRIC_REDIS_FULL, redis_node_options(p->node)->role, 0, 1);
        return false;
    }
    if (m) {
        m->used_us = now;
        conn_submit(m->conn, call);
        return true;
    }
    /* They will all be on the connection that comes. */
    if (p->opening == 0) return false;
    p->waiting_count++;
    call->next = NULL;
    *p->waiting_tail = call;
    p->waiting_tail = &call->next;
    if (!loop_timer_running(&p->waiting_timer) || p->waiting_timer.due_us > call->deadline_us)
        loop_timer_start(p->options.loop, &p->waiting_timer, call->deadline_us, on_waiting_deadline, p);
    return true;
}

unsigned node_pool_ready(const struct node_pool *pool)
{
    return atomic_load(&pool->ready);
}
