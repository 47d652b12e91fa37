/* queue_local_run: operations on the spool's thread, each inside the group's transaction. It may run again
 * after a rollback, so its results begin anew each time. */
#include "queue_local.h"

#include "util/uri.h"

#include <stdio.h>
#include <stdlib.h>

static bool hands_back(const struct queue_local_work *w)
{
    return w->store->options.redis != NULL;
}

void queue_local_rules(const struct queue_store *store, int64_t given_us, unsigned jitter,
                       struct db_queue_rules *out)
{
    const struct queue_store_options *o = &store->options;
    *out = (struct db_queue_rules){.now_us = given_us   ? given_us
                                             : o->redis ? redis_topology_wall_ms(o->redis) * 1000
                                                        : clock_wall_ms(o->clock) * 1000,
                                   .retry_base_ms = o->retry_base_ms,
                                   .retry_max_ms = o->retry_max_ms,
                                   .dedupe_ms = o->dedupe_ms,
                                   .aging_us = o->aging_us,
                                   .jitter = jitter,
                                   .hands_back = o->redis != NULL};
}

void queue_local_seen(struct queue_store *store, const struct db *db)
{
    int64_t held = db_queue_held(db);
    /* Only a look at what is committed lets it fall: this may be rolled back. */
    if (held > atomic_load_explicit(&store->held, memory_order_relaxed)) atomic_store(&store->held, held);
}

static enum queue_state state_of_letter(char letter)
{
    static const char LETTERS[] = "rdlxbacp";
    return (enum queue_state)(strchr(LETTERS, letter) - LETTERS);
}

static enum status status_of(char said)
{
    switch (said) {
    case DB_QUEUE_DONE:
        return STATUS_OK;
    case DB_QUEUE_STALE:
        return STATUS_STALE_RECEIPT;
    case DB_QUEUE_BACK:
        return STATUS_REDIS_UNAVAILABLE;
    default:
        return STATUS_NOT_FOUND;
    }
}

/* --- many at once --- */

static bool is_doubtful(const struct queue_local_work *w, const struct queue_task *t)
{
    const struct queue_store *store = w->store;
    return w->mode == QUEUE_LOCAL_DOUBT || (store->sent && queue_sent_has(store->sent, t->id)) ||
           (!t->made && queue_is_unsure(store));
}

static enum db_result run_enqueue(struct queue_local_work *w, struct db *db,
                                  const struct db_queue_rules *rules)
{
    struct queue_op *op = &w->mine;
    struct queue_verdict *verdicts = queue_memory_take(&w->results, op->in.enqueue.count * sizeof *verdicts);
    if (!verdicts) return DB_FULL;
    for (size_t i = 0; i < op->in.enqueue.count; i++) {
        const struct queue_task *t = &op->in.enqueue.tasks[i];
        const struct db_task task = {.id = t->id,
                                     .agent = t->agent,
                                     .body = t->body,
                                     .priority = t->priority,
                                     .max_attempts = t->max_attempts,
                                     .delay_ms = t->delay_ms,
                                     .ttl_ms = t->ttl_ms};
        char said;
        enum db_result result = w->mode == QUEUE_LOCAL_LOOK
                                    ? db_queue_known(db, rules, t->id, &said)
                                    : db_queue_add(db, rules, &task, is_doubtful(w, t), &said);
        if (result != DB_OK) return result;
        verdicts[i] = (struct queue_verdict){.added = said == DB_QUEUE_DONE};
        if (said == DB_QUEUE_NO_TASK)
            verdicts[i].status = STATUS_NOT_FOUND;
        else if (!verdicts[i].added)
            verdicts[i].state = state_of_letter(said);
        else
            verdicts[i].state = t->delay_ms > 0 ? QUEUE_DELAYED : QUEUE_READY;
        verdicts[i].journaled = verdicts[i].added && hands_back(w);
    }
    op->verdicts = verdicts;
    op->results = op->in.enqueue.count;
    return DB_OK;
}

/* What could be a receipt that Redis gave. */
static bool is_from_redis(struct slice receipt)
{
    return receipt.len > 2 && receipt.len < DB_QUEUE_RECEIPT_MAX && receipt.ptr[1] == '.' &&
           (receipt.ptr[0] == 'r' || receipt.ptr[0] == 'a');
}

static enum db_result ack_one(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules,
                              const struct queue_ack *ack, struct queue_verdict *out)
{
    char said = DB_QUEUE_STALE;
    enum db_result result = DB_OK;
    bool own = !hands_back(w) || queue_is_local_receipt(ack->receipt);
    if (own)
        result = db_queue_ack(db, rules, ack->id, ack->receipt, &said);
    else if (w->mode == QUEUE_LOCAL_LOOK)
        said = DB_QUEUE_NO_TASK;
    else if (is_from_redis(ack->receipt))
        result =
            db_queue_journal(db, rules, DB_QUEUE_NEWS_FINISHED, ack->id, ack->receipt, 0, SLICE_NONE, &said);
    /* By a receipt of the file's: it may have been handed back since. */
    if (own && hands_back(w) && w->mode != QUEUE_LOCAL_LOOK && said == DB_QUEUE_NO_TASK) said = DB_QUEUE_BACK;
    *out = (struct queue_verdict){.status = status_of(said), .journaled = !own && said == DB_QUEUE_DONE};
    return result;
}

static enum db_result run_ack(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules)
{
    struct queue_op *op = &w->mine;
    struct queue_verdict *verdicts = queue_memory_take(&w->results, op->in.ack.count * sizeof *verdicts);
    if (!verdicts) return DB_FULL;
    for (size_t i = 0; i < op->in.ack.count; i++) {
        enum db_result result = ack_one(w, db, rules, &op->in.ack.acks[i], &verdicts[i]);
        if (result != DB_OK) return result;
    }
    op->verdicts = verdicts;
    op->results = op->in.ack.count;
    return DB_OK;
}

static void on_leased(void *arg, const struct db_task_view *task)
{
    struct queue_local_work *w = arg;
    struct queue_lease *lease = (struct queue_lease *)w->mine.leases + w->mine.results++;
    *lease = (struct queue_lease){.id = queue_memory_keep(&w->results, task->id),
                                  .body = queue_memory_keep(&w->results, task->body),
                                  .receipt = queue_memory_keep(&w->results, task->receipt),
                                  .attempt = task->failures + 1,
                                  .ends_ms = task->at_ms};
}

static enum db_result run_dequeue(struct queue_local_work *w, struct db *db,
                                  const struct db_queue_rules *rules)
{
    struct queue_op *op = &w->mine;
    const struct db_queue_ask ask = {.op = slice_of(op->op_id),
                                     .kind = op->in.dequeue.automatic ? 'b' : 'l',
                                     .agents = op->in.dequeue.agents,
                                     .agents_count = op->in.dequeue.agents_count,
                                     .count = op->in.dequeue.count,
                                     .lease_ms = op->in.dequeue.lease_ms,
                                     .bytes_max = QUEUE_REPLY_BYTES_MAX};
    op->leases = queue_memory_take(&w->results, ask.count * sizeof *op->leases);
    if (!op->leases) return DB_FULL;
    enum db_result result = db_queue_lease(db, rules, &ask, on_leased, w, &op->expired);
    return w->results.failed ? DB_FULL : result;
}

/* --- one --- */

static enum db_result run_nack(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules)
{
    struct queue_op *op = &w->mine;
    struct slice id = op->in.nack.id, receipt = op->in.nack.receipt, reason = op->in.nack.reason;
    char said = DB_QUEUE_STALE;
    enum db_result result = DB_OK;
    if (!hands_back(w) || queue_is_local_receipt(receipt)) {
        result = db_queue_nack(db, rules, id, receipt, op->in.nack.delay_ms, reason, &said);
    } else if (is_from_redis(receipt)) {
        result =
            db_queue_journal(db, rules, DB_QUEUE_NEWS_NACK, id, receipt, op->in.nack.delay_ms, reason, &said);
        op->journaled = said == DB_QUEUE_DONE;
    }
    op->status = status_of(said);
    return result;
}

static enum db_result run_extend(struct queue_local_work *w, struct db *db,
                                 const struct db_queue_rules *rules)
{
    struct queue_op *op = &w->mine;
    char said = DB_QUEUE_BACK;
    enum db_result result = DB_OK;
    if (!hands_back(w) || queue_is_local_receipt(op->in.extend.receipt))
        result = db_queue_extend(db, rules, op->in.extend.id, op->in.extend.receipt, op->in.extend.lease_ms,
                                 &op->lease_ends_ms, &said);
    op->status = status_of(said);
    return result;
}

static enum db_result run_cancel(struct queue_local_work *w, struct db *db,
                                 const struct db_queue_rules *rules)
{
    char said;
    enum db_result result = db_queue_cancel(db, rules, w->mine.in.task.id, &said);
    if (result == DB_OK) w->mine.status = status_of(said);
    if (w->mine.status == STATUS_OK) w->mine.count = 1;
    return result;
}

static enum db_result run_requeue(struct queue_local_work *w, struct db *db,
                                  const struct db_queue_rules *rules)
{
    char said;
    enum db_result result = db_queue_requeue(db, rules, w->mine.in.task.id, slice_of(w->mine.op_id), &said);
    if (result == DB_OK)
        w->mine.status = said == DB_QUEUE_STALE ? STATUS_INVALID_TRANSITION : status_of(said);
    return result;
}

/* --- the whole --- */

static enum db_result run_purge(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules)
{
    unsigned count = 0;
    enum db_result result = db_queue_purge(db, rules, QUEUE_STEP_MAX, &count, &w->mine.left);
    w->mine.count = count;
    return result;
}

static enum db_result run_tick(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules)
{
    struct db_queue_ticked t = {0};
    enum db_result result = db_queue_tick(db, rules, QUEUE_STEP_MAX, &t);
    if (result != DB_OK) return result;
    w->mine.ticked = (struct queue_ticked){.more = t.more,
                                           .ended = t.ended,
                                           .died = t.died,
                                           .finished = t.finished,
                                           .promoted = t.promoted,
                                           .expired = t.expired,
                                           .dead_forgotten = t.dead_forgotten,
                                           .done_forgotten = t.done_forgotten,
                                           .next_ms = t.next_ms};
    return DB_OK;
}

static enum db_result run_counts(struct queue_local_work *w, struct db *db,
                                 const struct db_queue_rules *rules)
{
    struct db_queue_counts c;
    enum db_result result = db_queue_counts(db, rules, &c);
    if (result != DB_OK) return result;
    for (int i = DB_TASK_READY; i <= DB_TASK_DEAD; i++)
        w->mine.counts.of[i] = c.of[i];
    w->mine.counts.oldest_ready_ms = c.oldest_ready_ms;
    return DB_OK;
}

static void show(struct queue_local_work *w, const struct db_task_view *task)
{
    struct queue_view *view = (struct queue_view *)w->mine.views + w->mine.results++;
    *view = (struct queue_view){.state = (enum queue_state)task->shown,
                                .id = queue_memory_keep(&w->results, task->id),
                                .body = queue_memory_keep(&w->results, task->body),
                                .agent = queue_memory_keep(&w->results, task->agent),
                                .history = queue_memory_keep(&w->results, task->history),
                                .attempt = task->failures + (task->state == DB_TASK_LEASED),
                                .max_attempts = task->max_attempts,
                                .priority = task->priority,
                                .added_ms = task->added_ms,
                                .ttl_ms = task->ttl_ms,
                                .ends_ms = task->ends_ms,
                                .at_ms = task->at_ms};
}

static enum db_result run_get(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules)
{
    struct db_task_view task;
    w->mine.views = queue_memory_take(&w->results, sizeof *w->mine.views);
    if (!w->mine.views) return DB_FULL;
    enum db_result result = db_queue_get(db, rules, w->mine.in.task.id, &task);
    if (result == DB_ABSENT) w->mine.status = STATUS_NOT_FOUND;
    if (result != DB_OK) return result;
    show(w, &task);
    return w->results.failed ? DB_FULL : DB_OK;
}

/* --- a page --- */

struct page {
    struct queue_local_work *work;
    struct db_queue_place last;
};

static void on_listed(void *arg, const struct db_task_view *task)
{
    struct page *page = arg;
    bool ready = task->state == DB_TASK_READY;
    show(page->work, task);
    page->last =
        (struct db_queue_place){.first = ready ? task->rank_us : task->at_ms, .arrival = task->arrival};
}

/* "l", rank or time, ".", arrival or id. */
static bool read_cursor(const struct queue_op *op, struct db_queue_place *out)
{
    struct slice text = op->in.list.cursor;
    *out = (struct db_queue_place){.first = INT64_MIN};
    if (text.len == 0) return true;
    char number[24 + ID_LEN_MAX + 1], *end;
    if (text.len >= sizeof number || text.ptr[0] != 'l') return false;
    memcpy(number, text.ptr + 1, text.len - 1);
    number[text.len - 1] = '\0';
    out->first = strtoll(number, &end, 10);
    if (end == number || *end != '.') return false;
    size_t at = (size_t)(end - number) + 2;
    out->id = (struct slice){text.ptr + at, text.len - at};
    if (op->in.list.state != QUEUE_READY) return out->id.len <= ID_LEN_MAX;
    const char *arrival = end + 1;
    out->arrival = strtoll(arrival, &end, 10);
    return end != arrival && *end == '\0';
}

static void write_cursor(struct queue_op *op, const struct db_queue_place *last)
{
    int len = snprintf(op->next, sizeof op->next, "l%lld.", (long long)last->first);
    char *at = op->next + len;
    size_t size = sizeof op->next - (size_t)len;
    if (op->in.list.state == QUEUE_READY)
        snprintf(at, size, "%lld", (long long)last->arrival);
    else
        snprintf(at, size, "%.*s", (int)last->id.len, last->id.ptr);
}

static enum db_result run_list(struct queue_local_work *w, struct db *db)
{
    struct queue_op *op = &w->mine;
    struct db_queue_place after;
    struct page page = {.work = w};
    bool more = false;
    if (!read_cursor(op, &after)) {
        op->status = STATUS_INVALID_ARGUMENT;
        return DB_OK;
    }
    op->views = queue_memory_take(&w->results, op->in.list.limit * sizeof *op->views);
    if (!op->views) return DB_FULL;
    if (op->in.list.state > QUEUE_DEAD) return DB_OK; /* bad items are of the inbox, which is Redis's */
    enum db_result result = db_queue_list(db, (enum db_task_state)op->in.list.state, &after,
                                          op->in.list.limit, QUEUE_REPLY_BYTES_MAX, on_listed, &page, &more);
    if (result != DB_OK) return result;
    if (w->results.failed) return DB_FULL;
    if (more) {
        page.last.id = op->views[op->results - 1].id;
        write_cursor(op, &page.last);
    }
    return DB_OK;
}

/* --- */

static enum db_result run_verb(struct queue_local_work *w, struct db *db, const struct db_queue_rules *rules)
{
    unsigned count;
    if (w->returning) return db_queue_return(db, rules, slice_of(w->mine.op_id), &count);
    switch (w->mine.verb) {
    case QUEUE_ENQUEUE:
        return run_enqueue(w, db, rules);
    case QUEUE_DEQUEUE:
        return run_dequeue(w, db, rules);
    case QUEUE_ACK:
        return run_ack(w, db, rules);
    case QUEUE_NACK:
        return run_nack(w, db, rules);
    case QUEUE_EXTEND:
        return run_extend(w, db, rules);
    case QUEUE_CANCEL:
        return run_cancel(w, db, rules);
    case QUEUE_REQUEUE:
        return run_requeue(w, db, rules);
    case QUEUE_PURGE:
        return run_purge(w, db, rules);
    case QUEUE_TICK:
        return run_tick(w, db, rules);
    case QUEUE_COUNTS:
        return run_counts(w, db, rules);
    case QUEUE_GET:
        return run_get(w, db, rules);
    case QUEUE_LIST:
        return run_list(w, db);
    case QUEUE_WAIT:
        w->mine.count = w->mine.in.wait.waits && db_queue_ready(db) > 0;
        return DB_OK;
    default: /* ADOPT: there is no inbox */
        return DB_OK;
    }
}

enum db_result queue_local_run(struct db *db, void *arg)
{
    struct queue_local_work *w = arg;
    struct db_queue_rules rules;
    char op_id[QUEUE_OP_SIZE];
    queue_memory_free(&w->results);
    memcpy(op_id, w->mine.op_id, sizeof op_id);
    queue_reset_results(&w->mine);
    memcpy(w->mine.op_id, op_id, sizeof op_id);
    w->mine.status = STATUS_OK;
    w->mine.local = true;
    w->mine.partial = hands_back(w) && (w->mine.verb == QUEUE_COUNTS || w->mine.verb == QUEUE_LIST);
    queue_local_rules(w->store, w->given_us, w->jitter, &rules);
    int64_t ready = db_queue_ready(db);
    enum db_result result = run_verb(w, db, &rules);
    w->became_ready = db_queue_ready(db) - ready;
    queue_local_seen(w->store, db);
    return result;
}
