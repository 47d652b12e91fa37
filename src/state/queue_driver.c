/* queue_driver: three operations, each of which begins again when it has ended.
 *
 *   tick    at next_ms, and every TICK_MS at least, jittered; at once while more is due
 *   adopt   while a tick or an adoption says that the inbox holds anything
 *   counts  every COUNTS_MS
 *
 * When Redis does not answer they wait for their next turn: other daemons do the same work. */
#include "state/queue_driver.h"

#include "util/random.h"

#include <stdlib.h>

enum { TICK_MS = 250, TICK_JITTER_MS = 60, DUE_JITTER_MS = 10, COUNTS_MS = 1000, OP_MS = 1000 };

struct queue_driver {
    struct queue_driver_options options;
    struct loop_timer tick_timer, counts_timer;
    struct queue_op tick, adopt, counts;
    bool adopting, stopped;
    _Atomic int64_t seen[QUEUE_BAD + 3]; /* by state, the inbox, the oldest */
};

static void start(struct queue_driver *d, struct queue_op *op, enum queue_verb verb,
                  void (*done)(struct queue_op *op))
{
    *op = (struct queue_op){.verb = verb,
                            .deadline_us = loop_now_us(d->options.loop) + OP_MS * INT64_C(1000),
                            .done = done,
                            .arg = d};
    queue_start(d->options.queue, op);
}

static void count(struct queue_driver *d, enum metric id, int64_t n)
{
    if (n > 0) metrics_count(d->options.cell, id, 0, 0, (uint64_t)n);
}

/* --- adopting --- */

static void on_adopted(struct queue_op *op)
{
    struct queue_driver *d = op->arg;
    d->adopting = false;
    if (op->status == STATUS_FOREIGN_VALUE)
        LOG(d->options.log, LOG_WARN, "the inbox's key holds another type; it was left untouched");
    if (op->status != STATUS_OK) return;
    count(d, METRIC_TASK_ADOPTED, op->adopted.added);
    count(d, METRIC_TASK_ADOPTED_KNOWN, op->adopted.known);
    count(d, METRIC_TASK_BAD, op->adopted.bad);
    if (op->adopted.bad > 0)
        LOG(d->options.log, LOG_WARN,
            "items of the inbox are no tasks and were set aside: GET /tasks?state=bad",
            LOG_I("items", op->adopted.bad));
    queue_waits_ready(d->options.waits, (unsigned)op->adopted.added, SLICE_NONE, false);
    if (op->adopted.shown == 0 || d->stopped) return;
    d->adopting = true;
    start(d, &d->adopt, QUEUE_ADOPT, on_adopted);
}

/* --- ticking --- */

static void on_tick_timer(void *arg);

static void tick_in(struct queue_driver *d, int64_t ms)
{
    if (d->stopped) return;
    loop_timer_start(d->options.loop, &d->tick_timer, loop_now_us(d->options.loop) + ms * 1000, on_tick_timer,
                     d);
}

/* The time to the next tick; next_ms is by the queue's clock. */
static int64_t pause_ms(const struct queue_driver *d, int64_t next_ms)
{
    int64_t most = TICK_MS - (int64_t)random_below(TICK_JITTER_MS);
    if (next_ms == 0) return most;
    int64_t now =
        d->options.redis ? redis_topology_wall_ms(d->options.redis) : clock_wall_ms(d->options.clock);
    int64_t ms = next_ms - now + 1;
    if (ms < 0) ms = 0;
    if (d->options.redis) ms += (int64_t)random_below(DUE_JITTER_MS);
    return ms < most ? ms : most;
}

static void on_ticked(struct queue_op *op)
{
    struct queue_driver *d = op->arg;
    if (op->status != STATUS_OK) {
        tick_in(d, TICK_MS);
        return;
    }
    const struct queue_ticked *t = &op->ticked;
    count(d, METRIC_TASK_LEASES_ENDED, t->ended);
    count(d, METRIC_TASK_DIED, t->died);
    count(d, METRIC_TASK_EXPIRED, t->expired);
    if (t->died > 0)
        LOG(d->options.log, LOG_WARN, "tasks are dead, their last lease has ended: GET /tasks?state=dead",
            LOG_I("tasks", t->died));
    if (!op->local)
        queue_waits_ready(d->options.waits, (unsigned)t->promoted, SLICE_NONE,
                          false); /* the file tells itself */
    tick_in(d, t->more ? 0 : pause_ms(d, t->next_ms));
    if (t->inbox == 0 || d->adopting || d->stopped) return;
    d->adopting = true;
    start(d, &d->adopt, QUEUE_ADOPT, on_adopted);
}

static void on_tick_timer(void *arg)
{
    struct queue_driver *d = arg;
    start(d, &d->tick, QUEUE_TICK, on_ticked);
}

/* --- counting --- */

static void on_counts_timer(void *arg);

static void on_counted(struct queue_op *op)
{
    struct queue_driver *d = op->arg;
    if (!d->stopped)
        loop_timer_start(d->options.loop, &d->counts_timer,
                         loop_now_us(d->options.loop) + COUNTS_MS * INT64_C(1000), on_counts_timer, d);
    metrics_gauge(d->options.metrics, METRIC_TASK_WAITERS, 0, queue_waits_waiting(d->options.waits));
    if (op->status != STATUS_OK) return;
    for (unsigned i = 0; i <= QUEUE_BAD; i++) {
        atomic_store(&d->seen[i], op->counts.of[i]);
        metrics_gauge(d->options.metrics, METRIC_TASK_DEPTH, i, (double)op->counts.of[i]);
    }
    atomic_store(&d->seen[QUEUE_BAD + 1], op->counts.inbox);
    atomic_store(&d->seen[QUEUE_BAD + 2], op->counts.oldest_ready_ms);
    metrics_gauge(d->options.metrics, METRIC_TASK_INBOX, 0, (double)op->counts.inbox);
    metrics_gauge(d->options.metrics, METRIC_TASK_OLDEST_READY, 0, (double)op->counts.oldest_ready_ms / 1000);
}

static void on_counts_timer(void *arg)
{
    struct queue_driver *d = arg;
    start(d, &d->counts, QUEUE_COUNTS, on_counted);
}

struct queue_counts queue_driver_counts(const struct queue_driver *d)
{
    struct queue_counts counts = {{0}, 0, 0};
    for (unsigned i = 0; i <= QUEUE_BAD; i++)
        counts.of[i] = atomic_load(&d->seen[i]);
    counts.inbox = atomic_load(&d->seen[QUEUE_BAD + 1]);
    counts.oldest_ready_ms = atomic_load(&d->seen[QUEUE_BAD + 2]);
    return counts;
}

/* --- the whole --- */

struct queue_driver *queue_driver_create(const struct queue_driver_options *options)
{
    struct queue_driver *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->options = *options;
    for (size_t i = 0; i < sizeof d->seen / sizeof d->seen[0]; i++)
        atomic_store(&d->seen[i], -1);
    tick_in(d, (int64_t)random_below(TICK_MS));
    loop_timer_start(options->loop, &d->counts_timer,
                     loop_now_us(options->loop) + (int64_t)random_below(COUNTS_MS) * 1000, on_counts_timer,
                     d);
    return d;
}

void queue_driver_stop(struct queue_driver *d)
{
    if (!d) return;
    d->stopped = true;
    loop_timer_stop(&d->tick_timer);
    loop_timer_stop(&d->counts_timer);
}

void queue_driver_destroy(struct queue_driver **ref)
{
    struct queue_driver *d = *ref;
    if (!d) return;
    *ref = NULL;
    queue_driver_stop(d);
    free(d);
}
