/* lock: one request's attempts.
 *
 *     attempt → reply → finish: told
 *        ^        +--> waiting, or in doubt --timer--+
 *        +-------------------------------------------+
 *
 * Where a grant or a place in the queue may be left behind untold, the work lives on as a *stray*: a release
 * that nobody waits for.
 *
 * A work belongs to its port's loop; while an attempt is on the spool's thread (`flying`) only that thread
 * touches what the attempt reads. */
#include "lock_private.h"

#include "state/record.h"

#include <stdlib.h>

enum {
    SETTLE_MS = 10,
    HEAD_POLL_MS = 25, /* and up to twice that */
    POLL_STEP_MS = 50,
    POLL_MAX_MS = 1000, /* half of what makes a waiter dead */
    STRAY_POLL_MS = 50,
    STRAY_MS = 60 * 1000
};

static const int64_t FENCE_EXTRA_MS = INT64_C(86400) * 1000;

/* --- store and ports --- */

struct lock_store *lock_store_create(const struct lock_store_options *options)
{
    struct lock_store *store = calloc(1, sizeof *store);
    if (store) store->options = *options;
    return store;
}

void lock_store_destroy(struct lock_store **ref)
{
    struct lock_store *store = *ref;
    if (!store) return;
    *ref = NULL;
    for (unsigned i = 0; i < store->port_count; i++)
        free(store->ports[i]);
    free(store);
}

bool lock_store_embedded(const struct lock_store *store)
{
    return !store->options.redis;
}

int64_t lock_keep_ms(const struct lock_store *store)
{
    return store->options.ttl_max_ms + FENCE_EXTRA_MS;
}

struct lock_port *lock_port_open(struct lock_store *store, struct loop *loop, struct redis_pool *pool,
                                 struct metrics_cell *cell)
{
    struct lock_port *port = store->port_count < LOCK_PORTS_MAX ? calloc(1, sizeof *port) : NULL;
    if (!port) return NULL;
    port->store = store;
    port->loop = loop;
    port->pool = pool;
    port->cell = cell;
    store->ports[store->port_count++] = port;
    return port;
}

static void destroy(struct lock_work *w)
{
    struct lock_port *port = w->port;
    loop_timer_stop(&w->timer);
    if (w->stray) port->strays--;
    if (w->prev)
        w->prev->next = w->next;
    else
        port->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        port->last = w->prev;
    buf_deinit(&w->text);
    free(w);
}

/* --- works --- */

static struct slice put(struct buf *text, struct slice s)
{
    size_t at = text->len;
    buf_append_slice(text, s);
    return (struct slice){text->ptr + at, s.len};
}

static void put_keys(struct lock_work *w)
{
    char key[LOCK_KEY_MAX];
    for (unsigned part = 0; part < LOCK_PARTS; part++)
        w->keys[part] = put(&w->text, lock_key(w->port->store->options.prefix, part, w->name, key));
}

static struct slice made_token(char out[LOCK_TOKEN_SIZE])
{
    unsigned char bytes[LOCK_TOKEN_LEN / 2];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    out[LOCK_TOKEN_LEN] = 0;
    return (struct slice){out, LOCK_TOKEN_LEN};
}

static struct lock_work *new_work(struct lock_port *port, const struct lock_op *op)
{
    char token[LOCK_TOKEN_SIZE], id[UUID_SIZE];
    struct lock_work *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->port = port;
    w->verb = op->verb;
    w->ttl_ms = op->ttl_ms;
    w->trace = op->trace;
    w->prev = port->last;
    if (port->last)
        port->last->next = w;
    else
        port->first = w;
    port->last = w;
    /* All at once, so that what was put stays where it is. */
    buf_reserve(&w->text, op->name.len + op->owner.len + op->idempotency_key.len + LOCK_TOKEN_SIZE +
                              UUID_SIZE + (port->pool ? (size_t)LOCK_PARTS * LOCK_KEY_MAX : 0));
    if (w->text.failed) {
        destroy(w);
        return NULL;
    }
    w->name = put(&w->text, op->name);
    w->owner = put(&w->text, op->owner);
    w->idem = put(&w->text, op->idempotency_key);
    w->token = put(&w->text, op->verb == LOCK_ACQUIRE ? made_token(token) : op->token);
    if (op->wait_ms > 0) uuid_v7(clock_wall_ms(port->store->options.clock), id);
    w->waiter = put(&w->text, op->wait_ms > 0 ? slice_of(id) : (struct slice){"", 0});
    if (port->pool) put_keys(w);
    return w;
}

static void set_waits(struct lock_work *w, bool waits)
{
    struct lock_port *port = w->port;
    if (w->waits == waits) return;
    w->waits = waits;
    port->waiters = waits ? port->waiters + 1 : port->waiters - 1;
    atomic_store_explicit(&port->waiters_seen, port->waiters, memory_order_relaxed);
}

static void on_timer(void *arg);

static void again(struct lock_work *w, int64_t due_us)
{
    loop_timer_start(w->port->loop, &w->timer, due_us, on_timer, w);
}

static void attempt(struct lock_work *w)
{
    w->sent_us = loop_now_us(w->port->loop);
    w->flying = true;
    if (w->port->pool) {
        lock_redis_send(w);
        return;
    }
    if (w->op) again(w, w->deadline_us); /* the spool may be slower */
    lock_local_send(w);
}

static bool is_gone(const struct lock_work *w)
{
    return w->op->gone && w->op->gone(w->op->arg);
}

static bool is_quiet(const struct lock_work *w)
{
    return redis_topology_quiet(w->port->store->options.redis, w->keys[LOCK_PART_LOCK]);
}

/* --- strays --- */

static void stray_try(struct lock_work *w)
{
    struct lock_port *port = w->port;
    int64_t now = loop_now_us(port->loop);
    if (port->stopping || now >= w->deadline_us) {
        LOG(port->store->options.log, LOG_INFO,
            "a lock that could not be told stays held until its time ends", LOG_SL("lock", w->name),
            LOG_I("ttl_ms", w->ttl_ms), LOG_TRACE(&w->trace));
        destroy(w);
        return;
    }
    /* Released before the attempt that is still on its way takes it, it would be held for nobody. */
    if (w->unquiet && !is_quiet(w)) {
        again(w, now + SETTLE_MS * INT64_C(1000));
        return;
    }
    w->unquiet = false;
    attempt(w);
}

static void stray_begin(struct lock_work *w)
{
    struct lock_port *port = w->port;
    /* With an idempotency key the caller can come back for the grant; only the place in the queue goes. */
    if (w->idem.len > 0 || !w->may_hold) w->token.len = 0;
    bool something = w->token.len > 0 || w->waiter.len > 0;
    if (!something || port->stopping || port->strays >= port->store->options.waiters_max) {
        destroy(w);
        return;
    }
    port->strays++;
    w->verb = LOCK_RELEASE;
    w->doubt = false;
    w->deadline_us = loop_now_us(port->loop) + (w->ttl_ms < STRAY_MS ? w->ttl_ms : STRAY_MS) * 1000;
    w->stray = true;
    stray_try(w);
}

static void stray_reply(struct lock_work *w)
{
    bool later =
        w->reply == LOCK_REPLY_UNAVAILABLE || w->reply == LOCK_REPLY_IN_DOUBT || w->reply == LOCK_REPLY_SPOOL;
    if (later) {
        again(w, loop_now_us(w->port->loop) + STRAY_POLL_MS * INT64_C(1000));
        return;
    }
    if (w->reply == LOCK_REPLY_OK) lock_wake(w->port, w->name);
    destroy(w);
}

/* --- the end of an op --- */

/* The work goes with it, unless the spool still has it or something is left to be released. */
static void finish(struct lock_work *w, enum status status, const char *detail)
{
    struct lock_op *op = w->op;
    w->op = NULL;
    loop_timer_stop(&w->timer);
    set_waits(w, false);
    op->status = status;
    op->detail = detail;
    op->local = !w->port->pool || op->journaled;
    op->done(op);
    if (w->flying) return;
    w->may_hold |= w->doubt;
    if (w->verb == LOCK_ACQUIRE && !w->told)
        stray_begin(w);
    else
        destroy(w);
}

static bool degraded(const struct lock_work *w)
{
    const struct redis_topology *redis = w->port->store->options.redis;
    return redis && !redis_topology_allows(redis, w->keys[LOCK_PART_LOCK]);
}

static void not_acquired(struct lock_work *w)
{
    finish(w, STATUS_LOCK_NOT_ACQUIRED, "the lock is held, or others wait for it");
}

static void give_up(struct lock_work *w)
{
    if (w->doubt && w->verb != LOCK_GET)
        finish(w, STATUS_OUTCOME_UNKNOWN, "it was sent, and Redis did not say what became of it");
    else if (w->taken && !degraded(w))
        not_acquired(w); /* a machine that stood still for the whole of the deadline */
    else
        finish(w, STATUS_REDIS_UNAVAILABLE, "Redis is away, and locks are Redis's to decide");
}

static void on_timer(void *arg)
{
    struct lock_work *w = arg;
    int64_t now = loop_now_us(w->port->loop);
    if (w->stray) {
        stray_try(w);
    } else if (w->flying) {
        finish(w, STATUS_OUTCOME_UNKNOWN, "the local store is slower than the deadline");
    } else if (now >= w->deadline_us || degraded(w)) {
        give_up(w);
    } else if (w->verb == LOCK_ACQUIRE && is_gone(w)) {
        finish(w, STATUS_LOCK_NOT_ACQUIRED, "the caller is gone");
    } else if (w->unquiet && !is_quiet(w)) {
        /* The first one, arriving after a later one's grant was released, would hold the lock for nobody. */
        again(w, now + SETTLE_MS * INT64_C(1000));
    } else {
        w->unquiet = false;
        attempt(w);
    }
}

bool lock_nudge(struct lock_work *w)
{
    if (!w->waits || w->flying || w->doubt) return false;
    again(w, loop_now_us(w->port->loop));
    return true;
}

/* --- replies --- */

static void take_grant(struct lock_work *w, int64_t now)
{
    struct lock_op *op = w->op;
    const struct db_lock_answer *a = &w->answer;
    /* Counted from when the command left: the other end may have run it at once. */
    op->valid_ms = a->left_ms - (now - w->sent_us + 999) / 1000;
    if (op->valid_ms < 0) op->valid_ms = 0;
    const struct lock_store_options *o = &w->port->store->options;
    op->expires_ms = (o->redis ? redis_topology_wall_ms(o->redis) : clock_wall_ms(o->clock)) + op->valid_ms;
    op->fence = a->fence;
    memcpy(op->new_token, a->token, sizeof op->new_token);
}

static void on_granted(struct lock_work *w, int64_t now)
{
    if (is_gone(w) && w->idem.len == 0) {
        w->may_hold = true;
        finish(w, STATUS_LOCK_NOT_ACQUIRED, "the caller is gone");
        return;
    }
    w->told = true;
    take_grant(w, now);
    finish(w, STATUS_OK, "");
}

static void on_taken(struct lock_work *w, int64_t now)
{
    const struct db_lock_answer *a = &w->answer;
    const _Atomic bool *draining = w->port->store->options.draining;
    w->taken = true;
    w->op->retry_after_ms = a->left_ms == 0 ? 1 : a->left_ms;
    if (now >= w->wait_until_us || (draining && atomic_load_explicit(draining, memory_order_relaxed))) {
        not_acquired(w);
        return;
    }
    int64_t ms = a->position == 0 ? HEAD_POLL_MS + (int64_t)random_below(HEAD_POLL_MS)
                                  : POLL_STEP_MS * (a->position + 1);
    if (ms > POLL_MAX_MS) ms = POLL_MAX_MS;
    if (a->position == 0 && a->left_ms >= 0 && a->left_ms < ms) ms = a->left_ms + 1;
    int64_t due = now + ms * 1000;
    again(w, due < w->wait_until_us ? due : w->wait_until_us);
}

static void on_answer(struct lock_work *w, int64_t now)
{
    struct lock_op *op = w->op;
    int held = w->answer.held;
    bool doubted = w->doubt;
    w->doubt = false;
    switch (w->verb) {
    case LOCK_ACQUIRE:
        if (held)
            on_granted(w, now);
        else
            on_taken(w, now);
        return;
    case LOCK_RENEW:
        take_grant(w, now);
        finish(w, held ? STATUS_OK : STATUS_LOCK_LOST, "this token does not hold the lock");
        return;
    case LOCK_RELEASE:
        if (held > 0) lock_wake(w->port, w->name);
        /* Not held any more after a release of ours in doubt: that was it. */
        finish(w, held > 0 || doubted ? STATUS_OK : STATUS_LOCK_LOST, "this token does not hold the lock");
        return;
    case LOCK_GET:
        op->fence = w->answer.fence;
        op->valid_ms = w->answer.left_ms;
        op->owner_now = (struct slice){w->answer.owner, w->answer.owner_len};
        finish(w, held ? STATUS_OK : STATUS_NOT_FOUND, "nobody holds this lock");
        return;
    }
}

static void journal(struct lock_work *w)
{
    w->flying = true;
    again(w, w->deadline_us);
    lock_local_journal(w);
}

static void on_unavailable(struct lock_work *w, int64_t now)
{
    /* Who waits, and what is in doubt, waits for another connection, unless the circuit opens. */
    if (w->waits || w->doubt)
        again(w, now + SETTLE_MS * INT64_C(1000));
    else if (w->verb == LOCK_RELEASE)
        journal(w);
    else
        give_up(w);
}

void lock_on_reply(struct lock_work *w)
{
    int64_t now = loop_now_us(w->port->loop);
    w->flying = false;
    loop_timer_stop(&w->timer);
    if (w->reply == LOCK_REPLY_IN_DOUBT && w->verb == LOCK_ACQUIRE) w->unquiet = true;
    if (w->port->stopping) {
        destroy(w);
        return;
    }
    if (w->stray) {
        stray_reply(w);
        return;
    }
    if (!w->op) { /* answered at the deadline */
        w->may_hold = w->reply == LOCK_REPLY_OK && w->answer.held;
        if (w->verb == LOCK_ACQUIRE)
            stray_begin(w);
        else
            destroy(w);
        return;
    }
    switch (w->reply) {
    case LOCK_REPLY_OK:
        on_answer(w, now);
        return;
    case LOCK_REPLY_FOREIGN:
        finish(w, STATUS_FOREIGN_VALUE, "the lock's key holds another type; it was left untouched");
        return;
    case LOCK_REPLY_REFUSED:
        finish(w, STATUS_REDIS_REFUSED, w->error);
        return;
    case LOCK_REPLY_SPOOL:
        finish(w, STATUS_SPOOL_UNAVAILABLE, "the local store cannot commit");
        return;
    case LOCK_REPLY_UNAVAILABLE:
        on_unavailable(w, now);
        return;
    case LOCK_REPLY_IN_DOUBT:
        w->doubt = true;
        w->taken = false;
        again(w, now + SETTLE_MS * INT64_C(1000));
        return;
    }
}

void lock_on_journaled(struct lock_work *w, bool committed)
{
    w->flying = false;
    if (!w->op) {
        destroy(w);
        return;
    }
    w->op->journaled = committed;
    finish(w, committed ? STATUS_OK : STATUS_SPOOL_UNAVAILABLE,
           "Redis is away, and the local store cannot commit");
}

/* --- start and end --- */

void lock_start(struct lock_port *port, struct lock_op *op)
{
    const struct lock_store_options *o = &port->store->options;
    op->waiters_full = op->wait_ms > 0 && port->waiters >= o->waiters_max;
    op->journaled = false;
    op->retry_after_ms = -1;
    if (port->stopping) {
        op->status = STATUS_OVERLOADED;
        op->detail = "the daemon is stopping";
        op->done(op);
        return;
    }
    op->local = !port->pool;
    struct lock_work *w = op->waiters_full ? NULL : new_work(port, op);
    op->work = w;
    if (!w) {
        op->status = STATUS_OVERLOADED;
        op->detail = op->waiters_full ? "locks.waiters_max requests wait already" : "out of memory";
        op->done(op);
        return;
    }
    w->op = op;
    w->deadline_us = op->deadline_us;
    w->wait_until_us = loop_now_us(port->loop) + op->wait_ms * 1000;
    set_waits(w, op->wait_ms > 0);
    /* Behind the releases that Redis has not seen, so that they stay in order. */
    if (op->verb == LOCK_RELEASE && port->pool && unsettled_has(o->unsettled, JOURNAL_LOCK, w->name))
        journal(w);
    else
        attempt(w);
}

void lock_abandon(struct lock_port *port, struct slice name, struct slice token)
{
    if (port->stopping) return;
    const struct lock_op op = {.verb = LOCK_RELEASE, .name = name, .token = token, .ttl_ms = STRAY_MS};
    struct lock_work *w = new_work(port, &op);
    if (!w) return;
    w->may_hold = true;
    stray_begin(w);
}

void lock_port_close(struct lock_port *port)
{
    if (!port) return;
    port->stopping = true;
    struct lock_work *next;
    for (struct lock_work *w = port->first; w; w = next) {
        next = w->next;
        loop_timer_stop(&w->timer);
        if (w->op)
            finish(w, STATUS_OUTCOME_UNKNOWN, "the daemon is stopping");
        else if (!w->flying)
            destroy(w);
    }
}
