/* queue_wait: a loop's waiters.
 *
 *   group   those who ask for the same agents: a line of idle ones, oldest first, and those who are trying
 *   credit  how many more of a group shall try: what it was told that it may want, less what was tried since
 *   probes  how many more shall though nobody said so: two for each try that found something unhinted
 *
 * A try that finds nothing, begun after the last hint, ends both: whatever was ready is taken, and the group
 * is dry. While it is, who comes does not try: each task that becomes ready is announced, here or to another
 * daemon, which would lose its turn to him. What the groups together did not use of a hint goes on when
 * nobody here is trying any more; where nobody anywhere in this daemon could, no group is dry any longer.
 *
 * Once a second some of the idle are looked at, so that those who have left do not keep their places to the
 * end of their time. */
#include "queue_wait_private.h"

#include "util/hash.h"

#include <stdlib.h>

enum { TRYING_MAX = 64, TRY_MS = 1000, SWEEP_MS = 1000, SWEEP_MAX = 100, LINGERING_MAX = 64 };

struct queue_wait_group {
    struct queue_wait_group *next, *prev;
    struct queue_waiter *first, *last; /* idle */
    unsigned idle, trying, credit, probes;
    uint64_t swept; /* the arrival that is to be looked at next */
    uint64_t dry;   /* in this epoch (queue_wake_epoch); 0: not */
    bool lingers;   /* has no waiters, and counts as lingering */
    bool lingered;  /* it did a sweep ago */
    size_t key_len;
    char key[]; /* agents, a NUL behind each */
};

struct queue_wait_port {
    struct queue_waits *waits;
    struct loop *loop;
    struct queue_port *queue;
    unsigned index;
    struct queue_wait_group *groups;
    unsigned trying, lingering;
    uint64_t arrivals, hints;
    struct queue_hint told;  /* since the last time that nobody was trying, as one */
    unsigned got;            /* of it */
    struct loop_timer sweep; /* runs while anybody waits */
    bool draining;
    bool held_back;              /* credit is left because TRYING_MAX were trying */
    _Atomic unsigned waiting;    /* idle and trying */
    pthread_mutex_t lock;        /* of what follows; held across no call */
    struct queue_hint coming[2]; /* told by other threads; the second: asked to look */
};

/* --- groups --- */

static bool key_is(const struct queue_wait_group *g, const struct queue_op *op)
{
    const char *at = g->key, *end = g->key + g->key_len;
    for (size_t i = 0; i < op->in.dequeue.agents_count; i++) {
        struct slice agent = op->in.dequeue.agents[i];
        if ((size_t)(end - at) <= agent.len || memcmp(at, agent.ptr, agent.len) != 0 || at[agent.len])
            return false;
        at += agent.len + 1;
    }
    return at == end;
}

/* Whether those may want a task of this agent (as in a hint). */
static bool may_want(const struct queue_wait_group *g, const char *agent)
{
    if (!*agent || g->key_len == 0) return true;
    const char *at = g->key, *end = g->key + g->key_len;
    while (at < end && strcmp(at, agent) != 0)
        at += strlen(at) + 1;
    return at < end;
}

static struct queue_wait_group *find_group(struct queue_wait_port *port, const struct queue_op *op)
{
    struct queue_wait_group *g = port->groups;
    while (g && !key_is(g, op))
        g = g->next;
    if (g && g->lingers) {
        g->lingers = g->lingered = false;
        port->lingering--;
    }
    if (g) return g;
    size_t len = 0;
    for (size_t i = 0; i < op->in.dequeue.agents_count; i++)
        len += op->in.dequeue.agents[i].len + 1;
    if (!(g = calloc(1, sizeof *g + len))) return NULL;
    for (size_t i = 0; i < op->in.dequeue.agents_count; i++) {
        struct slice agent = op->in.dequeue.agents[i];
        memcpy(g->key + g->key_len, agent.ptr, agent.len);
        g->key_len += agent.len + 1;
    }
    g->next = port->groups;
    if (g->next) g->next->prev = g;
    port->groups = g;
    return g;
}

static void drop(struct queue_wait_port *port, struct queue_wait_group *g)
{
    if (g->prev)
        g->prev->next = g->next;
    else
        port->groups = g->next;
    if (g->next) g->next->prev = g->prev;
    free(g);
}

/* A dry one stays for a while: its next waiter is likely to come soon. */
static void drop_if_empty(struct queue_wait_port *port, struct queue_wait_group *g)
{
    if (g->idle || g->trying) return;
    g->credit = g->probes = 0;
    if (g->lingers) return;
    if (!g->dry || port->draining || port->lingering >= LINGERING_MAX) {
        drop(port, g);
        return;
    }
    g->lingers = true;
    port->lingering++;
}

/* --- the line --- */

/* In order of arrival; who comes back from a try is among the first. */
static void line_up(struct queue_waiter *w)
{
    struct queue_wait_group *g = w->group;
    struct queue_waiter **at = &g->first;
    if (g->last && g->last->arrival < w->arrival) at = &g->last->next;
    while (*at && (*at)->arrival < w->arrival)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
    if (!w->next) g->last = w;
    g->idle++;
}

static void leave_line(struct queue_waiter *w)
{
    struct queue_wait_group *g = w->group;
    struct queue_waiter *before = NULL;
    for (struct queue_waiter *at = g->first; at != w; at = at->next)
        before = at;
    *(before ? &before->next : &g->first) = w->next;
    if (g->last == w) g->last = before;
    w->next = NULL;
    g->idle--;
}

/* --- the end of a waiter; it is in no line and not trying --- */

static void finish(struct queue_waiter *w)
{
    loop_timer_stop(&w->timer);
    if (w->group) atomic_fetch_sub(&w->port->waiting, 1);
    w->done(w);
}

static void finish_empty(struct queue_waiter *w)
{
    w->op.status = STATUS_OK;
    w->op.results = 0;
    finish(w);
}

/* --- trying --- */

static void on_tried(struct queue_op *op);

static void try(struct queue_waiter *w)
{
    struct queue_wait_port *port = w->port;
    int64_t until_us = loop_now_us(port->loop) + TRY_MS * INT64_C(1000);
    w->op.deadline_us = w->group && until_us < w->deadline_us ? until_us : w->deadline_us;
    w->op.done = on_tried;
    w->op.arg = w;
    w->trying = true;
    w->told = port->hints;
    w->epoch = queue_wake_epoch(port->waits);
    if (w->group) {
        port->trying++;
        w->group->trying++;
    }
    queue_start(port->queue, &w->op);
}

static void run_group(struct queue_wait_port *port, struct queue_wait_group *g)
{
    while (g->credit + g->probes > 0 && g->first) {
        struct queue_waiter *w = g->first;
        if (port->trying >= TRYING_MAX) {
            port->held_back = true;
            return;
        }
        leave_line(w);
        if (w->gone(w->arg)) {
            finish_empty(w);
            continue;
        }
        w->hinted = g->credit > 0;
        g->credit -= w->hinted;
        g->probes -= !w->hinted;
        try(w);
    }
}

/* Groups come and go while others' waiters are told, so each is kept by a place of its own. */
static void run_all(struct queue_wait_port *port)
{
    port->held_back = false;
    for (struct queue_wait_group *g = port->groups, *next; g; g = next) {
        g->trying++;
        run_group(port, g);
        g->trying--;
        next = g->next;
        drop_if_empty(port, g);
    }
}

/* What nobody here could use goes on. */
static void settle(struct queue_wait_port *port)
{
    if (port->trying > 0 || port->told.count == 0) return;
    struct queue_hint hint = port->told;
    unsigned got = port->got;
    port->told = (struct queue_hint){0};
    port->got = 0;
    if (got >= hint.count) return;
    hint.count -= got;
    queue_wake_next(port->waits, port, hint);
}

/* The answer would not be read: the tasks go to the next in line, as if nobody had asked. */
static void give_back(struct queue_waiter *w)
{
    if (w->group) w->group->credit += (unsigned)w->op.results;
    queue_return(w->port->queue, w->op.op_id, w->op.in.dequeue.lease_ms);
    finish_empty(w);
}

/* There was more than had been announced. */
static void probe_more(struct queue_wait_group *g)
{
    g->dry = 0;
    g->probes = g->probes + 2 < g->idle ? g->probes + 2 : g->idle;
}

static void on_found(struct queue_waiter *w)
{
    struct queue_wait_group *g = w->group;
    if (w->gone(w->arg)) {
        give_back(w);
        return;
    }
    if (w->hinted)
        w->port->got += (unsigned)w->op.results;
    else if (g)
        probe_more(g);
    finish(w);
}

static void on_nothing(struct queue_waiter *w)
{
    struct queue_wait_group *g = w->group;
    bool away = w->op.status != STATUS_OK;
    if (away || w->told == w->port->hints) {
        g->credit = g->probes = 0;
        g->dry = away ? 0 : w->epoch;
    }
    if (w->over || w->port->draining)
        finish_empty(w);
    else
        line_up(w);
}

static void on_tried(struct queue_op *op)
{
    struct queue_waiter *w = op->arg;
    struct queue_wait_port *port = w->port;
    struct queue_wait_group *g = w->group;
    bool found = op->status == STATUS_OK && op->results > 0;
    w->trying = false;
    if (g) port->trying--;
    if (found)
        on_found(w);
    else if (g && (op->status == STATUS_OK || op->status == STATUS_REDIS_UNAVAILABLE))
        on_nothing(w);
    else
        finish(w);
    if (!g) return;
    run_group(port, g); /* this one still counts as trying in it */
    g->trying--;
    drop_if_empty(port, g);
    if (port->held_back) run_all(port);
    settle(port);
}

/* --- hints --- */

static void take_hint(struct queue_wait_port *port, const struct queue_hint *hint)
{
    port->hints++;
    for (struct queue_wait_group *g = port->groups; g; g = g->next) {
        if (!may_want(g, hint->agent)) continue;
        unsigned most = g->idle + g->trying, *what = hint->ask ? &g->probes : &g->credit;
        *what = hint->ask ? 1 : *what + hint->count;
        if (*what > most) *what = most;
    }
    if (!hint->ask) (void)queue_hint_add(&port->told, hint);
    run_all(port);
    settle(port);
}

static void on_told(void *arg)
{
    struct queue_wait_port *port = arg;
    struct queue_hint hints[2];
    pthread_mutex_lock(&port->lock);
    memcpy(hints, port->coming, sizeof hints);
    memset(port->coming, 0, sizeof port->coming);
    pthread_mutex_unlock(&port->lock);
    for (int i = 0; i < 2; i++)
        if (hints[i].count > 0) take_hint(port, &hints[i]);
}

void queue_wait_port_tell(struct queue_wait_port *port, const struct queue_hint *hint)
{
    pthread_mutex_lock(&port->lock);
    bool idle = port->coming[0].count == 0 && port->coming[1].count == 0;
    (void)queue_hint_add(&port->coming[hint->ask], hint);
    pthread_mutex_unlock(&port->lock);
    if (!idle || loop_post(port->loop, on_told, port)) return;
    pthread_mutex_lock(&port->lock); /* no memory: forgotten, so that the next one is posted */
    memset(port->coming, 0, sizeof port->coming);
    pthread_mutex_unlock(&port->lock);
}

unsigned queue_wait_port_waiting(const struct queue_wait_port *port)
{
    return atomic_load(&port->waiting);
}

unsigned queue_wait_port_index(const struct queue_wait_port *port)
{
    return port->index;
}

/* --- those who have left --- */

static void on_sweep(void *arg);

static void sweep_later(struct queue_wait_port *port)
{
    if (!loop_timer_running(&port->sweep))
        loop_timer_start(port->loop, &port->sweep, loop_now_us(port->loop) + SWEEP_MS * INT64_C(1000),
                         on_sweep, port);
}

static unsigned sweep_group(struct queue_wait_group *g, unsigned most)
{
    unsigned looked = 0;
    uint64_t from = g->swept;
    for (struct queue_waiter *w = g->first, *next; w && looked < most; w = next) {
        next = w->next;
        if (w->arrival < from) continue;
        looked++;
        g->swept = w->arrival + 1;
        if (!w->gone(w->arg)) continue;
        leave_line(w);
        finish_empty(w);
    }
    if (looked < most) g->swept = 0; /* again from the first */
    return looked;
}

static void on_sweep(void *arg)
{
    struct queue_wait_port *port = arg;
    unsigned left = SWEEP_MAX;
    for (struct queue_wait_group *g = port->groups, *next; g; g = next) {
        left -= sweep_group(g, left);
        next = g->next;
        if (g->lingers && g->lingered) {
            port->lingering--;
            drop(port, g);
            continue;
        }
        g->lingered = g->lingers;
        drop_if_empty(port, g);
    }
    if (port->groups) sweep_later(port);
}

/* --- waiting --- */

static void on_timer(void *arg)
{
    struct queue_waiter *w = arg;
    struct queue_wait_group *g = w->group;
    if (w->trying) {
        w->over = true;
        return;
    }
    leave_line(w);
    finish_empty(w);
    drop_if_empty(w->port, g);
}

/* The others found nothing, and nothing has been heard of since that they left over. */
static bool is_dry(const struct queue_wait_port *port, const struct queue_wait_group *g)
{
    if (port->told.count > port->got) return false;
    return g->idle > 0 || (g->dry && g->dry == queue_wake_epoch(port->waits));
}

void queue_wait_start(struct queue_wait_port *port, struct queue_waiter *w)
{
    w->port = port;
    w->full = w->over = w->hinted = w->trying = false;
    w->timer = (struct loop_timer){0};
    w->group = NULL;
    w->next = NULL;
    if (w->wait_ms == 0 || port->draining) {
        try(w);
        return;
    }
    w->full = atomic_load(&port->waiting) >= port->waits->options.waiters_max;
    if (w->full || !(w->group = find_group(port, &w->op))) {
        w->op.status = STATUS_OVERLOADED;
        w->done(w);
        return;
    }
    w->arrival = port->arrivals++;
    if (atomic_fetch_add(&port->waiting, 1) == 0) queue_wake_joined(port->waits);
    loop_timer_start(port->loop, &w->timer, loop_now_us(port->loop) + w->wait_ms * 1000, on_timer, w);
    sweep_later(port);
    if (is_dry(port, w->group))
        line_up(w);
    else
        try(w);
}

/* --- ports --- */

struct queue_wait_port *queue_wait_port_open(struct queue_waits *waits, struct loop *loop,
                                             struct queue_port *queue)
{
    struct queue_wait_port *port = waits->port_count < QUEUE_WAIT_PORTS_MAX ? calloc(1, sizeof *port) : NULL;
    if (!port) return NULL;
    port->waits = waits;
    port->loop = loop;
    port->queue = queue;
    port->index = waits->port_count;
    pthread_mutex_init(&port->lock, NULL);
    waits->ports[waits->port_count++] = port;
    return port;
}

void queue_wait_port_drain(struct queue_wait_port *port)
{
    if (!port) return;
    port->draining = true;
    loop_timer_stop(&port->sweep);
    for (struct queue_wait_group *g = port->groups, *next; g; g = next) {
        g->trying++;
        while (g->first) {
            struct queue_waiter *w = g->first;
            leave_line(w);
            finish_empty(w);
        }
        g->trying--;
        next = g->next;
        if (!g->trying) drop(port, g);
    }
}
