/* spool: a queue under a mutex, and a thread that takes all of it at a time.
 *
 *   wait → take the queue → write it as one group → read → deliver → move the log into the file → sweep
 *
 * Health is written by the thread and read by everyone:
 *
 *             no room                      sync failed, file damaged
 *     GOOD <-----------> FULL      any ------------------------------> BROKEN, to the end
 *           committed
 *
 * Results go to a loop as a chain, one post per loop and group. A post that finds no memory is kept and tried
 * again, so that each op is done exactly once. Lock order: only `lock`, never held across a call out. */
#include "engine/local/spool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FULL_RETRY_US = 1000000, DELIVER_RETRY_US = 10000, DELIVER_TRIES_AT_END = 100, SWEEP_BATCH = 100 };

struct chain {
    struct spool_op *head, **tail;
    unsigned count;
};

struct spool {
    struct spool_options options;
    struct db *db; /* the thread's, once it runs */
    pthread_t thread;
    bool running;
    bool was_killed;

    pthread_mutex_t lock; /* queue, stop */
    pthread_cond_t wake;
    struct chain queue;
    bool stop;

    _Atomic int health;
    _Atomic int64_t refuse_until_us; /* while FULL */
    _Atomic uint64_t groups, operations, turned_away;
    _Atomic int64_t bytes;

    struct chain results; /* the thread's: run, not yet posted */
    int64_t sweep_us;     /* the thread's: when the next sweep is due */
};

/* --- chains of operations --- */

static void chain_init(struct chain *c)
{
    *c = (struct chain){.tail = &c->head};
}

static void chain_push(struct chain *c, struct spool_op *op)
{
    op->next = NULL;
    *c->tail = op;
    c->tail = &op->next;
    c->count++;
}

/* All of `from` behind `to`. */
static void chain_move(struct chain *to, struct chain *from)
{
    if (from->head) {
        *to->tail = from->head;
        to->tail = from->tail;
        to->count += from->count;
    }
    chain_init(from);
}

/* --- health --- */

enum spool_health spool_health(const struct spool *spool)
{
    return (enum spool_health)atomic_load_explicit(&spool->health, memory_order_relaxed);
}

static void set_health(struct spool *s, enum spool_health health)
{
    enum spool_health before = spool_health(s);
    if (before == health || before == SPOOL_BROKEN) return;
    atomic_store_explicit(&s->health, (int)health, memory_order_relaxed);
    metrics_gauge(s->options.metrics, METRIC_SPOOL_STATE, 0, (double)health);
    const char *path = s->options.db.path;
    switch (health) {
    case SPOOL_GOOD:
        LOG(s->options.log, LOG_INFO, "spool has room again, changes are taken", LOG_S("path", path));
        break;
    case SPOOL_FULL:
        LOG(s->options.log, LOG_ERROR, "spool has no room, changes are refused and it is tried each second",
            LOG_S("path", path), LOG_S("reason", db_failure(s->db)),
            LOG_I("bytes", atomic_load_explicit(&s->bytes, memory_order_relaxed)),
            LOG_I("bytes_max", s->options.db.bytes_max));
        break;
    case SPOOL_BROKEN:
        LOG(s->options.log, LOG_ERROR,
            "spool is broken, changes are refused until a restart; check its disk first", LOG_S("path", path),
            LOG_S("reason", db_failure(s->db)));
        break;
    }
}

static void judge(struct spool *s, enum db_result result)
{
    if (result == DB_BROKEN) {
        set_health(s, SPOOL_BROKEN);
    } else if (result == DB_FULL) {
        atomic_store_explicit(&s->refuse_until_us, clock_mono_us(s->options.clock) + FULL_RETRY_US,
                              memory_order_relaxed);
        set_health(s, SPOOL_FULL);
    } else {
        set_health(s, SPOOL_GOOD);
    }
}

/* --- running a group --- */

static bool is_done(enum db_result result)
{
    return result == DB_OK || result == DB_ABSENT;
}

static enum db_result commit(struct spool *s)
{
    int64_t start = clock_mono_us(s->options.clock);
    enum db_result result = db_commit(s->db);
    metrics_observe_us(s->options.cell, METRIC_SPOOL_COMMIT_SECONDS, 0,
                       clock_mono_us(s->options.clock) - start);
    return result;
}

/* The writes from `first` on, `count` ops at most, in one transaction. `committed` is set on all or none. */
static enum db_result write_together(struct spool *s, struct spool_op *first, unsigned count)
{
    enum db_result result = db_begin(s->db);
    unsigned writes = 0, i = 0;
    for (struct spool_op *op = first; result == DB_OK && op && i < count; op = op->next, i++) {
        if (op->reads) continue;
        enum db_result ran = op->run(s->db, op->arg);
        if (is_done(ran))
            writes++;
        else
            result = ran;
    }
    if (result == DB_OK) result = commit(s);
    if (result != DB_OK) {
        db_rollback(s->db);
        return result;
    }
    i = 0;
    for (struct spool_op *op = first; op && i < count; op = op->next, i++)
        if (!op->reads) op->committed = true;
    atomic_fetch_add_explicit(&s->groups, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->operations, writes, memory_order_relaxed);
    metrics_count(s->options.cell, METRIC_SPOOL_GROUPS, 0, 0, 1);
    metrics_count(s->options.cell, METRIC_SPOOL_OPERATIONS, 0, 0, writes);
    return DB_OK;
}

/* DB_FULL where any failed for want of room. */
static enum db_result write_each(struct spool *s, struct chain *group)
{
    enum db_result all = DB_OK;
    for (struct spool_op *op = group->head; op && all != DB_BROKEN; op = op->next) {
        if (op->reads) continue;
        enum db_result result = write_together(s, op, 1);
        if (result != DB_OK) all = result;
    }
    return all;
}

static void write_group(struct spool *s, struct chain *group)
{
    unsigned writes = 0;
    bool demanding = false; /* any that shows, when committed, that there is room */
    for (struct spool_op *op = group->head; op; op = op->next) {
        op->committed = false;
        writes += !op->reads;
        demanding |= !op->reads && !op->frees;
    }
    if (!writes) return;
    enum db_result result =
        spool_health(s) == SPOOL_BROKEN ? DB_BROKEN : write_together(s, group->head, group->count);
    if (result == DB_FULL && writes > 1) result = write_each(s, group);
    if (result != DB_OK || demanding) judge(s, result);
    unsigned failed = 0;
    for (struct spool_op *op = group->head; op; op = op->next)
        failed += !op->reads && !op->committed;
    metrics_count(s->options.cell, METRIC_SPOOL_FAILURES, 0, 0, failed);
}

static void read_group(struct spool *s, struct chain *group)
{
    bool any = false;
    for (struct spool_op *op = group->head; op; op = op->next) {
        if (!op->reads) continue;
        op->committed = is_done(op->run(s->db, op->arg));
        any = true;
    }
    if (any) db_rollback(s->db); /* lets go of the last one's rows */
}

/* --- delivering --- */

static void on_results(void *arg)
{
    for (struct spool_op *next, *op = arg; op; op = next) {
        next = op->next; /* op is its owner's from here on */
        op->done(op);
    }
}

/* Parts the results by loop, in order, and posts each part. What cannot be posted stays. */
static void deliver(struct spool *s)
{
    struct chain rest, kept;
    chain_init(&rest);
    chain_init(&kept);
    chain_move(&rest, &s->results);
    while (rest.head) {
        struct loop *loop = rest.head->loop;
        struct chain mine, others;
        chain_init(&mine);
        chain_init(&others);
        for (struct spool_op *next, *op = rest.head; op; op = next) {
            next = op->next;
            chain_push(op->loop == loop ? &mine : &others, op);
        }
        if (!loop_post(loop, on_results, mine.head)) chain_move(&kept, &mine);
        chain_init(&rest);
        chain_move(&rest, &others);
    }
    chain_move(&s->results, &kept);
}

/* --- the thread --- */

static void note_bytes(struct spool *s)
{
    int64_t bytes = db_bytes(s->db);
    atomic_store_explicit(&s->bytes, bytes, memory_order_relaxed);
    metrics_gauge(s->options.metrics, METRIC_SPOOL_BYTES, 0, (double)bytes);
}

static void run_group(struct spool *s, struct chain *group)
{
    if (group->head) {
        write_group(s, group);
        read_group(s, group);
        note_bytes(s);
        chain_move(&s->results, group);
    }
    deliver(s);
    if (db_checkpoint(s->db) == DB_BROKEN) judge(s, DB_BROKEN);
}

/* Finding no room does not count as the spool's state: nobody waits for a sweep. */
static void sweep(struct spool *s)
{
    int64_t now = clock_mono_us(s->options.clock);
    if (!s->options.sweep_every_ms || now < s->sweep_us || spool_health(s) == SPOOL_BROKEN) return;
    unsigned count = 0;
    enum db_result result = db_begin(s->db);
    if (result == DB_OK)
        result = db_record_sweep(s->db, clock_wall_ms(s->options.clock), SWEEP_BATCH, &count);
    if (result == DB_OK) result = db_commit(s->db);
    if (result != DB_OK) db_rollback(s->db);
    if (result == DB_BROKEN) judge(s, result);
    bool more = result == DB_OK && count == SWEEP_BATCH;
    s->sweep_us = more ? now : now + s->options.sweep_every_ms * 1000;
    if (count) note_bytes(s);
}

/* Microseconds until there is something to do without an operation; negative: nothing. */
static int64_t idle_us(const struct spool *s)
{
    if (s->results.head) return DELIVER_RETRY_US;
    if (!s->options.sweep_every_ms || spool_health(s) == SPOOL_BROKEN) return -1;
    int64_t wait = s->sweep_us - clock_mono_us(s->options.clock);
    return wait > 0 ? wait : 0;
}

/* With the lock held. */
static void wait_for_work(struct spool *s)
{
    int64_t us = idle_us(s);
    if (s->queue.head || s->stop || us == 0) return;
    if (us < 0) {
        pthread_cond_wait(&s->wake, &s->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + us % 1000000 * 1000;
    until.tv_sec += us / 1000000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(&s->wake, &s->lock, &until);
}

static void *thread_main(void *arg)
{
    struct spool *s = arg;
    pthread_setname_np(pthread_self(), "spool");
    bool stop = false;
    for (unsigned tries = 0; !stop || (s->results.head && tries < DELIVER_TRIES_AT_END); tries += stop) {
        struct chain group;
        chain_init(&group);
        pthread_mutex_lock(&s->lock);
        wait_for_work(s);
        chain_move(&group, &s->queue);
        stop = s->stop;
        pthread_mutex_unlock(&s->lock);
        run_group(s, &group);
        sweep(s);
        if (stop && s->results.head) nanosleep(&(struct timespec){.tv_nsec = DELIVER_RETRY_US * 1000L}, NULL);
    }
    return NULL;
}

bool spool_submit(struct spool *s, struct spool_op *op)
{
    assert(!op->reads || !op->frees);
    enum spool_health health = spool_health(s);
    if (!op->reads && health == SPOOL_BROKEN) return false;
    if (!op->reads && !op->frees && health == SPOOL_FULL &&
        clock_mono_us(s->options.clock) < atomic_load_explicit(&s->refuse_until_us, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&s->lock);
    bool taken = !s->stop && s->queue.count < s->options.queue_max;
    if (taken) {
        if (!s->queue.head) pthread_cond_signal(&s->wake);
        chain_push(&s->queue, op);
    }
    bool full = !taken && !s->stop;
    pthread_mutex_unlock(&s->lock);
    if (full) atomic_fetch_add_explicit(&s->turned_away, 1, memory_order_relaxed);
    return taken;
}

void spool_stats(struct spool *s, struct spool_stats *out)
{
    out->groups = atomic_load_explicit(&s->groups, memory_order_relaxed);
    out->operations = atomic_load_explicit(&s->operations, memory_order_relaxed);
    out->turned_away = atomic_load_explicit(&s->turned_away, memory_order_relaxed);
    out->bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
}

/* --- building --- */

/* Signals belong to the control thread. */
static bool start_thread(struct spool *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    s->running = pthread_create(&s->thread, NULL, thread_main, s) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s->running;
}

struct spool *spool_create(const struct spool_options *options, char *error, size_t error_size)
{
    struct spool *s = calloc(1, sizeof *s);
    if (!s) {
        snprintf(error, error_size, "no memory for the spool");
        return NULL;
    }
    s->options = *options;
    chain_init(&s->queue);
    chain_init(&s->results);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->db = db_open(&options->db, error, error_size);
    s->was_killed = s->db && db_was_killed(s->db);
    if (s->db) {
        metrics_gauge(options->metrics, METRIC_SPOOL_STATE, 0, SPOOL_GOOD);
        note_bytes(s);
        if (start_thread(s)) return s;
        snprintf(error, error_size, "the spool's thread cannot be started");
    }
    spool_destroy(&s);
    return NULL;
}

bool spool_was_killed(const struct spool *spool)
{
    return spool->was_killed;
}

void spool_destroy(struct spool **ps)
{
    struct spool *s = *ps;
    *ps = NULL;
    if (!s) return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    db_close(&s->db);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
