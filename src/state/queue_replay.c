/* queue_replay: one round at a time, each step on one thread alone:
 *
 *   look (spool, reads) → fetch (spool: tick, notes, tasks taken) → settle → nack … → restore (Redis)
 *     → remove (spool) → after a time that keeps the pace: look
 *
 * A call that fails ends the round: what Redis has confirmed is removed, the rest comes with the next one. */
#include "state/queue_replay.h"

#include "queue_local.h"

#include <stdlib.h>

enum {
    BATCH = 100,
    ROUND_MS = 20,
    IDLE_MS = 250,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    TICK_MAX = 1000,
    BYTES_MAX = 1 << 20
};
static const int64_t RANK_BIAS = INT64_C(1) << 52; /* queue_lib.lua */

struct queue_replay {
    struct queue_replay_options options;
    struct queue_store *store;
    struct queue_work work; /* of the call in flight; op NULL */
    struct spool_op spool_op;
    struct loop_timer timer;
    bool in_flight, stopped, active, failed;
    int64_t backoff_ms, held, leased, given_us;
    struct queue_replay_stats stats, begun; /* begun: when the backlog did */

    /* a round's */
    unsigned limit, jitter;
    struct queue_memory kept;
    struct db_queue_note notes[BATCH];
    struct db_task_view tasks[BATCH];
    bool note_done[BATCH], task_done[BATCH];
    size_t note_count, task_count, nack_at;
    unsigned expired, given_up;
    int64_t became_ready;
};

static void begin_round(void *arg);
static void ask_next(struct queue_replay *r);
static void submit(struct queue_replay *r, bool reads, enum db_result (*run)(struct db *db, void *arg),
                   void (*done)(struct spool_op *op));

const struct queue_replay_stats *queue_replay_stats(const struct queue_replay *r)
{
    return &r->stats;
}

static bool may_start(const struct queue_replay *r)
{
    return !queue_is_away(r->store) && queue_is_quiet(r->store);
}

bool queue_replay_idle(const struct queue_replay *r)
{
    return !r->in_flight && atomic_load(&r->store->held) == r->leased && r->held == r->leased;
}

static void begin_later(struct queue_replay *r, int64_t ms)
{
    queue_memory_free(&r->kept);
    r->in_flight = false;
    if (!r->stopped)
        loop_timer_start(r->options.loop, &r->timer, loop_now_us(r->options.loop) + ms * 1000, begin_round,
                         r);
}

/* --- log --- */

static void note_backlog(struct queue_replay *r)
{
    const struct queue_replay_stats *s = &r->stats, *b = &r->begun;
    bool any = r->held > r->leased;
    if (any && !r->active) {
        r->begun = r->stats;
        LOG(r->options.log, LOG_INFO, "handing tasks back", LOG_I("entries", r->held),
            LOG_I("leased", r->leased), LOG_I("per_s", r->options.per_s));
    } else if (!any && r->active) {
        LOG(r->options.log, LOG_INFO, "tasks handed back", LOG_I("tasks", s->tasks - b->tasks),
            LOG_I("known", s->known - b->known), LOG_I("learnt", s->learnt - b->learnt),
            LOG_I("conflicts", s->conflicts - b->conflicts), LOG_I("expired", s->expired - b->expired),
            LOG_I("given_up", s->given_up - b->given_up), LOG_I("leased", r->leased));
    }
    r->active = any;
}

/* --- remove --- */

static enum db_result run_remove(struct db *db, void *arg)
{
    struct queue_replay *r = arg;
    enum db_result result = DB_OK;
    for (size_t i = 0; i < r->note_count && (result == DB_OK || result == DB_ABSENT); i++)
        if (r->note_done[i]) result = db_queue_note_remove(db, r->notes[i].seq);
    for (size_t i = 0; i < r->task_count && (result == DB_OK || result == DB_ABSENT); i++)
        if (r->task_done[i]) result = db_queue_given_back(db, r->tasks[i].seq);
    return result;
}

static void on_removed(struct spool_op *op)
{
    struct queue_replay *r = op->arg;
    size_t done = 0;
    for (size_t i = 0; i < r->note_count; i++)
        done += r->note_done[i];
    for (size_t i = 0; i < r->task_count; i++)
        done += r->task_done[i];
    if (op->committed) metrics_count(r->options.cell, METRIC_TASKS_HANDED_BACK, 0, 0, done);
    int64_t pace_ms = (int64_t)done * 1000 / r->options.per_s;
    if (r->failed || !op->committed)
        begin_later(r, r->backoff_ms > BACKOFF_MIN_MS ? r->backoff_ms : BACKOFF_MIN_MS);
    else
        begin_later(r, pace_ms > 1 ? pace_ms : 1);
}

static void remove_done(struct queue_replay *r)
{
    submit(r, false, run_remove, on_removed);
}

/* --- Redis --- */

static void refuse(struct queue_replay *r, const struct redis_call *call)
{
    r->backoff_ms = r->backoff_ms ? 2 * r->backoff_ms : BACKOFF_MIN_MS;
    if (r->backoff_ms > BACKOFF_MAX_MS) r->backoff_ms = BACKOFF_MAX_MS;
    LOG(r->options.log, LOG_WARN, "Redis refuses the spool's tasks; trying again",
        LOG_S("error", call->error), LOG_I("retry_ms", r->backoff_ms));
}

/* Whether the call was answered; else the round ends. */
static bool answered(struct queue_replay *r, const struct redis_call *call, size_t marks)
{
    enum redis_outcome outcome = call->outcome;
    if (outcome == REDIS_CALL_OK && call->replies[0].text.len == marks) {
        r->backoff_ms = 0;
        return true;
    }
    if (outcome == REDIS_CALL_REFUSED || outcome == REDIS_CALL_FOREIGN || outcome == REDIS_CALL_OK)
        refuse(r, call);
    r->failed = true;
    remove_done(r);
    return false;
}

static void send_call(struct queue_replay *r, void (*done)(struct redis_call *call))
{
    r->work.call = (struct redis_call){.commands = &r->work.command, .count = 1, .done = done, .arg = r};
    if (!r->work.packed.failed && redis_pool_submit(r->options.pool, &r->work.call)) return;
    r->failed = true;
    remove_done(r);
}

static bool is_finish(const struct db_queue_note *note)
{
    return note->kind == DB_QUEUE_NEWS_FINISHED;
}

static void on_settled(struct redis_call *call)
{
    struct queue_replay *r = call->arg;
    size_t marks = 0, at = 0;
    for (size_t i = 0; i < r->note_count; i++)
        marks += is_finish(&r->notes[i]) && !r->note_done[i];
    if (!answered(r, call, marks)) return;
    for (size_t i = 0; i < r->note_count; i++) {
        if (!is_finish(&r->notes[i]) || r->note_done[i]) continue;
        char said = call->replies[0].text.ptr[at++];
        r->note_done[i] = true;
        queue_sent_note(r->store->sent, r->notes[i].id);
        r->stats.learnt++;
        if (said != '-') continue;
        r->stats.conflicts++;
        metrics_count(r->options.cell, METRIC_TASKS_CONFLICTS, 0, 0, 1);
        LOG(r->options.log, LOG_WARN,
            "a task finished while Redis was away has another lease by now: it is left to that",
            LOG_SL("task_id", r->notes[i].id));
    }
    ask_next(r);
}

static bool ask_settle(struct queue_replay *r)
{
    buf_clear(&r->work.packed);
    for (size_t i = 0; i < r->note_count; i++) {
        if (!is_finish(&r->notes[i]) || r->note_done[i]) continue;
        queue_put_bytes(&r->work.packed, r->notes[i].id, 2);
        bool acked = r->notes[i].how == DB_QUEUE_ACKED;
        queue_put_bytes(&r->work.packed, acked ? r->notes[i].receipt : SLICE_LITERAL("c"), 2);
    }
    if (r->work.packed.len == 0 && !r->work.packed.failed) return false;
    queue_command(r->store, REDIS_SCRIPT_QUEUE_SETTLE, &r->work);
    queue_arg_int(&r->work, r->store->options.dedupe_ms);
    queue_arg(&r->work, buf_slice(&r->work.packed));
    send_call(r, on_settled);
    return true;
}

static void on_nacked(struct redis_call *call)
{
    struct queue_replay *r = call->arg;
    if (!answered(r, call, 1)) return;
    r->note_done[r->nack_at] = true;
    r->stats.learnt++;
    ask_next(r);
}

/* Its lease may have ended by itself: then the attempt has failed already, and Redis says so. */
static bool ask_nack(struct queue_replay *r)
{
    for (r->nack_at = 0; r->nack_at < r->note_count; r->nack_at++)
        if (!is_finish(&r->notes[r->nack_at]) && !r->note_done[r->nack_at]) break;
    if (r->nack_at == r->note_count) return false;
    const struct db_queue_note *note = &r->notes[r->nack_at];
    queue_command(r->store, REDIS_SCRIPT_QUEUE_NACK, &r->work);
    queue_arg(&r->work, note->id);
    queue_arg(&r->work, note->receipt);
    struct db_queue_rules rules;
    queue_local_rules(r->store, r->given_us, 0, &rules);
    int64_t left_ms = note->delay_ms - (rules.now_us / 1000 - note->stamp_ms);
    if (note->delay_ms < 0)
        queue_arg(&r->work, SLICE_NONE);
    else
        queue_arg_int(&r->work, left_ms > 0 ? left_ms : 0);
    queue_arg(&r->work, note->reason.len ? note->reason : SLICE_LITERAL("\"\""));
    queue_arg_backoff(&r->work, &r->store->options);
    send_call(r, on_nacked);
    return true;
}

static void on_restored(struct redis_call *call)
{
    struct queue_replay *r = call->arg;
    if (!answered(r, call, r->task_count)) return;
    for (size_t i = 0; i < r->task_count; i++) {
        r->task_done[i] = true;
        r->stats.tasks++;
        r->stats.known += call->replies[0].text.ptr[i] != '+';
        queue_sent_note(r->store->sent, r->tasks[i].id);
    }
    remove_done(r);
}

static void pack_task(struct buf *out, const struct db_task_view *t, int64_t now_ms)
{
    char state = t->failures >= t->max_attempts ? 'x' : t->at_ms > now_ms ? 'd' : 'r';
    queue_put_bytes(out, t->id, 2);
    queue_put_bytes(out, t->agent, 2);
    buf_append_char(out, state);
    queue_put_int(out, t->failures, 2);
    queue_put_int(out, t->max_attempts, 2);
    queue_put_int(out, t->priority, 1);
    queue_put_int(out, (uint64_t)(t->rank_us + RANK_BIAS), 7);
    queue_put_int(out, (uint64_t)t->added_ms, 6);
    queue_put_int(out, (uint64_t)t->ttl_ms, 6);
    queue_put_int(out, (uint64_t)t->ends_ms, 6);
    queue_put_int(out, state == 'r' ? 0 : (uint64_t)t->at_ms, 6);
    queue_put_bytes(out, t->history, 4);
    queue_put_bytes(out, t->body, 4);
}

static bool ask_restore(struct queue_replay *r)
{
    if (r->task_count == 0) return false;
    struct db_queue_rules rules;
    queue_local_rules(r->store, r->given_us, 0, &rules);
    buf_clear(&r->work.packed);
    for (size_t i = 0; i < r->task_count; i++)
        pack_task(&r->work.packed, &r->tasks[i], rules.now_us / 1000);
    queue_command(r->store, REDIS_SCRIPT_QUEUE_RESTORE, &r->work);
    queue_arg(&r->work, buf_slice(&r->work.packed));
    send_call(r, on_restored);
    return true;
}

static void ask_next(struct queue_replay *r)
{
    if (r->stopped || (!ask_settle(r) && !ask_nack(r) && !ask_restore(r))) remove_done(r);
}

/* --- fetch --- */

static void on_note(void *arg, const struct db_queue_note *note)
{
    struct queue_replay *r = arg;
    struct db_queue_note *mine = &r->notes[r->note_count++];
    *mine = *note;
    mine->id = queue_memory_keep(&r->kept, note->id);
    mine->receipt = queue_memory_keep(&r->kept, note->receipt);
    mine->reason = queue_memory_keep(&r->kept, note->reason);
}

static void on_task(void *arg, const struct db_task_view *task)
{
    struct queue_replay *r = arg;
    struct db_task_view *mine = &r->tasks[r->task_count++];
    *mine = *task;
    mine->id = queue_memory_keep(&r->kept, task->id);
    mine->agent = queue_memory_keep(&r->kept, task->agent);
    mine->history = queue_memory_keep(&r->kept, task->history);
    mine->body = queue_memory_keep(&r->kept, task->body);
}

/* What is older than anybody remembers is of no use to Redis. */
static enum db_result give_up_old(struct queue_replay *r, struct db *db, int64_t now_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->note_count; i++) {
        if (!r->options.age_max_ms || now_ms - r->notes[i].stamp_ms <= r->options.age_max_ms) {
            r->notes[kept++] = r->notes[i];
            continue;
        }
        enum db_result result = db_queue_note_remove(db, r->notes[i].seq);
        if (result != DB_OK && result != DB_ABSENT) return result;
        r->given_up++;
    }
    r->note_count = kept;
    return DB_OK;
}

static enum db_result run_fetch(struct db *db, void *arg)
{
    struct queue_replay *r = arg;
    struct db_queue_rules rules;
    struct db_queue_ticked ticked = {0};
    queue_memory_free(&r->kept);
    r->note_count = r->task_count = 0;
    r->expired = r->given_up = 0;
    queue_local_rules(r->store, r->given_us, r->jitter, &rules);
    int64_t ready = db_queue_ready(db);
    enum db_result result = db_queue_tick(db, &rules, TICK_MAX, &ticked);
    r->became_ready = db_queue_ready(db) - ready;
    if (result != DB_OK || r->limit == 0) return result;
    r->expired = (unsigned)ticked.expired;
    result = db_queue_notes(db, r->limit, on_note, r);
    if (result == DB_OK) result = give_up_old(r, db, rules.now_us / 1000);
    unsigned left = r->limit - (unsigned)r->note_count, expired = 0;
    if (result == DB_OK && left > 0)
        result = db_queue_take_back(db, &rules, left, BYTES_MAX, on_task, r, &expired);
    r->expired += expired;
    return result == DB_OK && r->kept.failed ? DB_FULL : result;
}

static void on_fetched(struct spool_op *op)
{
    struct queue_replay *r = op->arg;
    const struct queue_store_options *options = &r->store->options;
    if (!op->committed || r->stopped) {
        begin_later(r, IDLE_MS);
        return;
    }
    r->stats.expired += r->expired;
    r->stats.given_up += r->given_up;
    if (r->became_ready > 0 && r->limit == 0 && options->on_ready)
        options->on_ready(options->ready_arg, r->became_ready, SLICE_NONE);
    if (r->note_count == 0 && r->task_count == 0) {
        begin_later(r, IDLE_MS);
        return;
    }
    for (size_t i = 0; i < BATCH; i++)
        r->note_done[i] = r->task_done[i] = false;
    ask_next(r);
}

/* --- look --- */

/* Behind what was committed: the one place where the shared count may fall. */
static enum db_result run_look(struct db *db, void *arg)
{
    struct queue_replay *r = arg;
    struct db_queue_rules rules;
    struct db_queue_counts counts;
    queue_local_rules(r->store, r->given_us, 0, &rules);
    enum db_result result = db_queue_counts(db, &rules, &counts);
    if (result != DB_OK) return result;
    r->held = db_queue_held(db);
    r->leased = counts.of[DB_TASK_LEASED];
    atomic_store(&r->store->held, r->held);
    return DB_OK;
}

static void on_looked(struct spool_op *op)
{
    struct queue_replay *r = op->arg;
    if (!op->committed || r->stopped) {
        begin_later(r, IDLE_MS);
        return;
    }
    metrics_gauge(r->options.metrics, METRIC_TASKS_SPOOLED, 0, (double)r->held);
    bool starts = may_start(r);
    if (starts || r->active) note_backlog(r);
    if (r->held == 0) {
        begin_later(r, IDLE_MS);
        return;
    }
    int64_t limit = r->options.per_s * ROUND_MS / 1000;
    r->limit = !starts ? 0 : limit < 1 ? 1 : limit > BATCH ? BATCH : (unsigned)limit;
    submit(r, false, run_fetch, on_fetched);
}

static void submit(struct queue_replay *r, bool reads, enum db_result (*run)(struct db *db, void *arg),
                   void (*done)(struct spool_op *op))
{
    r->in_flight = true;
    r->spool_op = (struct spool_op){
        .reads = reads, .frees = !reads, .run = run, .done = done, .arg = r, .loop = r->options.loop};
    if (!r->stopped && spool_submit(r->store->options.spool, &r->spool_op)) return;
    begin_later(r, IDLE_MS);
}

static void begin_round(void *arg)
{
    struct queue_replay *r = arg;
    r->failed = false;
    r->given_us = queue_given_us(r->store);
    r->jitter = (unsigned)(loop_now_us(r->options.loop) % 1000);
    submit(r, true, run_look, on_looked);
}

struct queue_replay *queue_replay_create(const struct queue_replay_options *options)
{
    struct queue_replay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->options = *options;
    r->store = options->store;
    r->held = 1; /* not known yet */
    loop_timer_start(options->loop, &r->timer, loop_now_us(options->loop), begin_round, r);
    return r;
}

void queue_replay_stop(struct queue_replay *r)
{
    loop_timer_stop(&r->timer);
    r->stopped = true;
}

void queue_replay_destroy(struct queue_replay **replay)
{
    struct queue_replay *r = *replay;
    if (!r) return;
    loop_timer_stop(&r->timer);
    queue_memory_free(&r->kept);
    buf_deinit(&r->work.packed);
    free(r);
    *replay = NULL;
}
