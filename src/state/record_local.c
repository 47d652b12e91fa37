/* record_local: changes on the spool's thread: to the record (embedded), or to the newest version that the
 * journal has, else to the table's copy, which the loop passes along. There the key enters the unsettled set
 * before the operation is posted, and leaves it again where no entry came of it.
 *
 * An operation that the spool has outlives its op: at the deadline the op is told and the work goes on alone,
 * on copies of what the op showed. */
#include "record_private.h"

#include <stdlib.h>

static void post(struct record_work *w, bool reads, enum db_result (*run)(struct db *db, void *arg));
static enum db_result run_record(struct db *db, void *arg);
static enum db_result run_journal(struct db *db, void *arg);

static void unavailable(struct record_work *w)
{
    record_fail(w, STATUS_REDIS_UNAVAILABLE, "Redis is away, and what this daemon has does not tell");
}

/* --- versions, on the spool's thread --- */

/* The value is copied, for slices of the db end with its next call. */
static enum db_result set_version(struct record_work *w, struct slice value, int64_t expires_ms,
                                  int64_t deleted_ms)
{
    w->version = (struct record_version){.deleted_ms = deleted_ms};
    if (!value.ptr || (expires_ms && expires_ms <= record_wall_ms(w->store))) return DB_OK;
    buf_clear(&w->current);
    buf_reserve(&w->current, value.len + 1); /* never NULL, though empty */
    buf_append_slice(&w->current, value);
    if (w->current.failed) return DB_FULL;
    w->version.value = buf_slice(&w->current);
    w->version.expires_ms = expires_ms;
    return DB_OK;
}

static bool wants_write(struct record_work *w)
{
    if (w->verdict != RECORD_WRITE && w->verdict != RECORD_DELETE) return false;
    if (w->as_read) w->verdict = RECORD_KEEP;
    return !w->as_read;
}

/* --- embedded --- */

static enum db_result run_record(struct db *db, void *arg)
{
    struct record_work *w = arg;
    struct db_record record;
    enum db_result r = db_record_get(db, w->kind, w->change.id, record_wall_ms(w->store), &record);
    if (r != DB_OK && r != DB_ABSENT) return r;
    r = r == DB_OK ? set_version(w, record.value, record.expires_ms, 0) : set_version(w, SLICE_NONE, 0, 0);
    if (r != DB_OK) return r;
    record_judge(w);
    if (!wants_write(w)) return DB_OK;
    if (w->verdict == RECORD_DELETE) return db_record_remove(db, w->kind, w->change.id);
    record = (struct db_record){
        .id = w->change.id, .value = buf_slice(&w->result.value), .expires_ms = w->result.expires_ms};
    return db_record_put(db, w->kind, &record);
}

void record_embedded_start(struct record_work *w)
{
    post(w, record_is(w, RECORD_READS), run_record);
}

/* --- journal, on the spool's thread --- */

static enum db_result append(struct record_work *w, struct db *db)
{
    struct slice before = w->version.value;
    bool deletes = w->verdict == RECORD_DELETE;
    char trace[TRACE_KEPT_LEN];
    struct db_entry entry = {.kind = w->kind,
                             .op = w->change.op,
                             .flags = w->change.flags,
                             .id = w->change.id,
                             .change_id = slice_of(w->change.change_id),
                             .base = before.ptr ? record_rules_of(w)->etag(before) : 0,
                             .stamp_ms = w->change.stamp_ms,
                             .expires_ms = deletes ? 0 : w->result.expires_ms,
                             .body = w->change.body,
                             .copy = deletes ? SLICE_NONE : buf_slice(&w->result.value),
                             .trace = trace_keep(&w->change.trace, trace)};
    w->order = record_next_order(w->store);
    w->appended = true;
    if (w->merged) return db_journal_replace(db, w->merge_seq, &entry);
    int64_t seq;
    return db_journal_append(db, &entry, &seq);
}

static enum db_result run_journal(struct db *db, void *arg)
{
    struct record_work *w = arg;
    struct db_entry newest;
    w->appended = w->merged = w->nothing = false;
    enum db_result r = db_journal_newest(db, w->kind, w->change.id, &newest);
    if (r != DB_OK && r != DB_ABSENT) return r;
    bool known = r == DB_OK;
    if (known) {
        w->merged = record_is(w, RECORD_MERGES) && newest.op == w->change.op && newest.copy.ptr;
        w->merge_seq = newest.seq;
        r = set_version(w, newest.copy, newest.expires_ms, newest.copy.ptr ? 0 : newest.stamp_ms);
        if (r != DB_OK) return r;
    } else if (w->in_doubt) {
        return append(w, db); /* w->version is what it was computed from */
    } else if (w->behind) {
        w->nothing = true; /* handed back meanwhile: Redis has the newest again */
        return DB_OK;
    } else {
        w->version = w->base_version;
    }
    record_judge(w);
    return wants_write(w) ? append(w, db) : DB_OK;
}

/* --- posting --- */

/* On w->owned from now on. */
static bool own_change(struct record_work *w)
{
    struct slice *parts[] = {&w->change.id, &w->change.body, &w->change.if_match, &w->change.if_none_match};
    enum { PARTS = sizeof parts / sizeof parts[0] };
    size_t size = 1;
    for (size_t i = 0; i < PARTS; i++)
        size += parts[i]->len;
    char *at = malloc(size);
    if (!at) return false;
    w->owned = at;
    for (size_t i = 0; i < PARTS; i++) {
        if (!parts[i]->ptr) continue;
        memcpy(at, parts[i]->ptr, parts[i]->len);
        parts[i]->ptr = at;
        at += parts[i]->len;
    }
    return true;
}

static void leave(struct record_work *w)
{
    if (w->entered) unsettled_leave(record_store_options(w->store)->unsettled, w->kind, w->change.id);
    w->entered = false;
}

/* Not the spool's any more, and nothing was committed. */
static void not_committed(struct record_work *w)
{
    leave(w);
    if (!w->op) {
        record_work_free(w);
    } else if (w->in_doubt) {
        record_fail(w, STATUS_OUTCOME_UNKNOWN, "the change may have reached Redis, and cannot be kept here");
    } else if (record_is(w, RECORD_OPTIONAL) && !w->spool_op.reads) {
        w->as_read = true;
        if (w->base && !w->behind)
            record_answer_as_read(w, true);
        else
            post(w, true, w->spool_op.run);
    } else {
        record_fail(w, STATUS_SPOOL_UNAVAILABLE, "the change could not be committed locally");
    }
}

static void on_spooled(struct spool_op *op)
{
    struct record_work *w = op->arg;
    w->posted = false;
    if (!op->committed) {
        not_committed(w);
        return;
    }
    if (!w->appended || w->merged) leave(w);
    if (w->appended) record_keep_copy(w);
    if (!w->op)
        record_work_free(w);
    else if (w->nothing)
        record_redis_start(w);
    else
        record_answer(w, true);
}

/* The spool is late. What it is at work on is not looked at. */
static void on_deadline(void *arg)
{
    struct record_work *w = arg;
    if (record_is(w, RECORD_OPTIONAL) && w->base && !w->behind)
        record_answer_as_read(w, true);
    else if (record_is(w, RECORD_READS | RECORD_OPTIONAL))
        record_fail(w, STATUS_SPOOL_UNAVAILABLE, "the spool did not answer in time");
    else
        record_fail(w, STATUS_OUTCOME_UNKNOWN, "the spool did not say in time whether it was committed");
}

static void post(struct record_work *w, bool reads, enum db_result (*run)(struct db *db, void *arg))
{
    const struct record_store_options *options = record_store_options(w->store);
    w->spool_op =
        (struct spool_op){.reads = reads, .run = run, .done = on_spooled, .arg = w, .loop = w->port->loop};
    if (!w->owned && !own_change(w)) {
        record_fail(w, STATUS_OVERLOADED, "out of memory");
        return;
    }
    if (!reads && options->redis) {
        if (!unsettled_enter(options->unsettled, w->kind, w->change.id)) {
            record_fail(w, STATUS_OVERLOADED, "out of memory");
            return;
        }
        w->entered = true;
    }
    loop_timer_start(w->port->loop, &w->timer, w->op->deadline_us, on_deadline, w);
    w->posted = true;
    record_pass_turn(w); /* the spool keeps the order */
    if (spool_submit(options->spool, &w->spool_op)) return;
    w->posted = false;
    loop_timer_stop(&w->timer);
    not_committed(w);
}

/* --- start --- */

/* The table's copy, unless Redis has just shown a version. */
static void find_copy(struct record_work *w)
{
    const struct record_store_options *options = record_store_options(w->store);
    char bytes[RECORD_TABLE_KEY_MAX];
    struct lru_hit hit;
    if (w->base || !lru_get(options->lru, record_table_key(w->kind, w->change.id, bytes), &hit)) return;
    if (hit.flags & LRU_DELETED) {
        lru_release(hit.entry);
        return;
    }
    w->base = hit.entry;
    w->base_version = (struct record_version){.value = lru_entry_value(hit.entry)};
    int64_t expires_ms = lru_entry_meta(hit.entry)->expires_ms;
    if (expires_ms) /* by our clock; versions' are Redis's */
        w->base_version.expires_ms = expires_ms - clock_wall_ms(options->clock) + record_wall_ms(w->store);
}

void record_local_start(struct record_work *w)
{
    if (loop_now_us(w->port->loop) >= w->op->deadline_us) {
        record_fail(w, STATUS_REDIS_UNAVAILABLE, "Redis did not answer in time");
        return;
    }
    find_copy(w);
    w->behind = unsettled_has(record_store_options(w->store)->unsettled, w->kind, w->change.id);
    if (w->behind) {
        post(w, record_is(w, RECORD_READS), run_journal);
        return;
    }
    if (record_guarded(w) || (!w->base && record_is(w, RECORD_NEEDS_COPY | RECORD_READS))) {
        unavailable(w);
        return;
    }
    if (record_is(w, RECORD_READS | RECORD_OPTIONAL)) {
        w->version = w->base_version;
        record_judge(w);
        if (w->verdict != RECORD_WRITE && w->verdict != RECORD_DELETE) {
            record_answer(w, true);
            return;
        }
    }
    post(w, false, run_journal);
}

void record_local_in_doubt(struct record_work *w)
{
    w->in_doubt = true;
    w->behind = false;
    post(w, false, run_journal);
}
