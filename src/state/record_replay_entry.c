/* record_replay_entry: the way of one entry.
 *
 *     spool: fetch → Redis: read → id known: done
 *                                → rules' merge → Redis: write over exactly what was read (raced: read again)
 *                  → spool: remove → the key leaves, is free to be taken for its next entry
 *
 * A live write of the key goes behind the journal until the key has left, so nothing passes its older entry;
 * Redis's own answers decide between daemons. A crash between write and removal finds the id in `writes`. */
#include "record_private.h"
#include "record_replay_private.h"

#include "engine/redis/script.h"
#include "state/record_value.h"
#include "util/json.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RACES_MAX = 16,
    UNCOMMITTED_RETRY_MS = 20, /* the key is known before its entry is committed */
    AWAY_RETRY_MS = 100,
    SPOOL_RETRY_MS = 250
};

/* A longer time to live is as good as none, and would overflow. */
static const int64_t PTTL_MAX = INT64_MAX / 4;

static void read_redis(struct handback_slot *s);
static void forget(struct handback_slot *s);

static struct loop *loop_of(const struct handback_slot *s)
{
    return s->replay->options.port->loop;
}

static int64_t redis_now_ms(const struct handback_slot *s)
{
    return redis_topology_wall_ms(s->replay->store->redis);
}

static bool submit_op(struct handback_slot *s, bool reads, enum db_result (*run)(struct db *, void *),
                      void (*done)(struct spool_op *))
{
    s->op = (struct spool_op){
        .reads = reads, .frees = !reads, .run = run, .done = done, .arg = s, .loop = loop_of(s)};
    return spool_submit(s->replay->store->spool, &s->op);
}

/* --- the end of an entry --- */

/* The table's copy is what the next outage goes on from: another base than Redis's would be a conflict then.
 */
static void keep_copy(struct handback_slot *s)
{
    const struct record_store_options *store = s->replay->store;
    char bytes[RECORD_TABLE_KEY_MAX];
    struct slice key = record_table_key(s->kind, s->id, bytes);
    if (!s->version.value.ptr) {
        lru_fill_absent(store->lru, key, &s->token);
        return;
    }
    struct lru_meta meta = {0};
    if (s->version.expires_ms) /* by Redis's clock; the table's is ours */
        meta.expires_ms = s->version.expires_ms - redis_now_ms(s) + clock_wall_ms(store->clock);
    lru_release(lru_fill(store->lru, key, s->version.value, &meta, &s->token));
}

static void settled(struct handback_slot *s, enum handback outcome)
{
    s->outcome = outcome;
    s->reason = NULL;
    if (s->looked) keep_copy(s);
    handback_count(s);
    forget(s);
}

static void set_aside(struct handback_slot *s, const char *reason)
{
    s->outcome = HANDBACK_FOREIGN;
    s->reason = reason;
    s->conflict = false;
    handback_count(s);
    forget(s);
}

static enum db_result run_forget(struct db *db, void *arg)
{
    struct handback_slot *s = arg;
    struct db_entry now;
    s->changed = false;
    if (s->reason) return db_journal_set_aside(db, s->entry.seq, s->reason);
    enum db_result result = db_journal_newest(db, s->kind, s->id, &now);
    if (result != DB_OK && result != DB_ABSENT) return result;
    s->changed =
        result == DB_OK && now.seq == s->entry.seq && !slice_equal(now.change_id, s->entry.change_id);
    return s->changed ? DB_OK : db_journal_remove(db, s->entry.seq);
}

static void on_retry_forget(void *arg)
{
    forget(arg);
}

/* A spool that is full for the moment is asked again: until then the key stays in hand, and its entry cannot
 * come back. After a failed fsync nothing can be removed before a restart, but Redis has the entry: it counts
 * as gone here, its followers are handed back over it, and what the file still lists is settled by its id
 * after the restart. */
static void not_forgotten(struct handback_slot *s)
{
    struct record_replay *r = s->replay;
    if (r->stopped) {
        handback_put_back(s, 0);
    } else if (spool_health(r->store->spool) == SPOOL_BROKEN) {
        s->done_seq = s->entry.seq;
        s->owed++;
        handback_fetch(s);
    } else {
        loop_timer_start(loop_of(s), &s->timer, loop_now_us(loop_of(s)) + SPOOL_RETRY_MS * INT64_C(1000),
                         on_retry_forget, s);
    }
}

static void on_forgotten(struct spool_op *op)
{
    struct handback_slot *s = op->arg;
    if (!op->committed) {
        not_forgotten(s);
        return;
    }
    if (!s->changed) unsettled_leave(s->replay->store->unsettled, s->kind, s->id);
    handback_put_back(s, 0);
}

static void forget(struct handback_slot *s)
{
    if (!submit_op(s, false, run_forget, on_forgotten)) not_forgotten(s);
}

/* --- writing --- */

static void submit_call(struct handback_slot *s, void (*done)(struct redis_call *call))
{
    s->call = (struct redis_call){.commands = &s->command, .count = 1, .done = done, .arg = s};
    if (!redis_pool_submit(s->replay->options.port->pool, &s->call)) handback_put_back(s, AWAY_RETRY_MS);
}

/* In doubt is like away: the id in the value settles it at the next try. */
static void call_failed(struct handback_slot *s, const struct redis_call *call)
{
    if (call->outcome == REDIS_CALL_FOREIGN)
        set_aside(s, "Redis holds another type under its key");
    else if (call->outcome == REDIS_CALL_REFUSED)
        handback_refused(s, call->error);
    else
        handback_put_back(s, AWAY_RETRY_MS);
}

static void on_written(struct redis_call *call)
{
    struct handback_slot *s = call->arg;
    if (call->outcome != REDIS_CALL_OK)
        call_failed(s, call);
    else if (call->replies[0].integer >= 0)
        settled(s, s->outcome);
    else if (++s->races < RACES_MAX)
        read_redis(s);
    else
        handback_put_back(s, AWAY_RETRY_MS);
}

/* Over exactly what was read. ttl_ms 0: no expiry. */
static void write_redis(struct handback_slot *s, bool deletes, int64_t ttl_ms)
{
    static const struct slice NONE = {"", 0};
    bool there = s->current.len > 0;
    s->version = (struct record_version){0};
    if (!deletes && s->outcome != HANDBACK_EXPIRED)
        s->version = (struct record_version){.value = buf_slice(&s->decided.value),
                                             .expires_ms = s->decided.expires_ms};
    snprintf(s->number, sizeof s->number, "%lld", (long long)ttl_ms);
    snprintf(s->tombstone, sizeof s->tombstone, "%.*s %lld", (int)s->entry.change_id.len,
             s->entry.change_id.ptr, (long long)s->entry.stamp_ms);
    snprintf(s->tombstone_ms, sizeof s->tombstone_ms, "%lld", (long long)s->replay->store->tombstone_ms);
    s->command = (struct redis_command){.script = redis_script(REDIS_SCRIPT_RECORD_WRITE),
                                        .argc = 9,
                                        .argv = {SLICE_LITERAL("2"), s->key, s->gone_key,
                                                 there ? SLICE_LITERAL("equals") : SLICE_LITERAL("absent"),
                                                 there ? buf_slice(&s->current) : NONE,
                                                 deletes ? NONE : slice_of(s->number),
                                                 deletes ? NONE : buf_slice(&s->decided.value),
                                                 slice_of(s->tombstone), slice_of(s->tombstone_ms)},
                                        .types = REDIS_TYPE_INTEGER};
    submit_call(s, on_written);
}

static void write_value(struct handback_slot *s)
{
    if (!s->decided.expires_ms) {
        write_redis(s, false, 0);
        return;
    }
    int64_t left_ms = s->decided.expires_ms - redis_now_ms(s);
    if (left_ms > 0) {
        write_redis(s, false, left_ms);
        return;
    }
    s->outcome = HANDBACK_EXPIRED;
    s->verdict = "expired";
    if (s->current.len > 0) /* what it replaced must not come back: goes with it */
        write_redis(s, false, 1);
    else
        settled(s, HANDBACK_EXPIRED);
}

static void act(struct handback_slot *s, enum record_verdict verdict)
{
    static const char *const VERDICTS[] = {
        [RECORD_KEEP] = "dropped", [RECORD_WRITE] = "written", [RECORD_DELETE] = "deleted"};
    s->conflict = s->decided.conflict;
    s->verdict = VERDICTS[verdict];
    s->outcome = HANDBACK_WRITTEN;
    bool expired = s->entry.expires_ms && s->entry.expires_ms <= redis_now_ms(s);
    if (verdict == RECORD_KEEP)
        settled(s, expired && !s->conflict ? HANDBACK_EXPIRED : HANDBACK_DROPPED);
    else if (verdict == RECORD_DELETE)
        write_redis(s, true, 0);
    else
        write_value(s);
}

static void merge(struct handback_slot *s, const struct record_version *current)
{
    const struct record_rules *rules = &s->replay->store->rules[s->kind];
    const struct db_entry *e = &s->entry;
    struct record_change change = {.op = e->op,
                                   .flags = e->flags,
                                   .id = s->id,
                                   .body = e->body,
                                   .stamp_ms = e->stamp_ms,
                                   .if_match = SLICE_NONE,
                                   .if_none_match = SLICE_NONE};
    size_t len = e->change_id.len < UUID_SIZE - 1 ? e->change_id.len : UUID_SIZE - 1;
    memcpy(change.change_id, e->change_id.ptr, len);
    const struct record_entry entry = {
        .change = &change, .base = e->base, .copy = e->copy, .expires_ms = e->expires_ms};
    buf_deinit(&s->decided.value);
    s->decided = (struct record_result){0};
    enum record_verdict verdict = rules->merge(rules, &entry, current, redis_now_ms(s), &s->decided);
    if (verdict == RECORD_REFUSE && s->decided.status == STATUS_FOREIGN_VALUE)
        set_aside(s, "Redis holds no such value under its key");
    else if (verdict == RECORD_REFUSE || (verdict == RECORD_WRITE && s->decided.value.failed))
        handback_refused(s, s->decided.detail); /* no memory: later */
    else
        act(s, verdict);
}

static bool is_object(struct slice value)
{
    enum json_type type;
    return json_validate(value, &type, NULL) == STATUS_OK && type == JSON_OBJECT;
}

static bool starts_with(struct slice text, struct slice start)
{
    return text.ptr && text.len >= start.len && memcmp(text.ptr, start.ptr, start.len) == 0;
}

/* A tombstone's text: the id of the deletion, a blank, its time. 0: of another form. */
static int64_t deleted_ms_of(struct slice gone)
{
    char digits[HANDBACK_TOMBSTONE_MAX] = "";
    const char *stamp = memchr(gone.ptr, ' ', gone.len);
    if (!stamp) return 0;
    size_t len = gone.len - (size_t)(stamp - gone.ptr);
    if (len >= sizeof digits) return 0;
    memcpy(digits, stamp, len);
    return strtoll(digits, NULL, 10);
}

/* A reading: {value or its length, PTTL, tombstone}. False: of another shape. */
static bool take_reading(struct handback_slot *s, const struct redis_reply *reply,
                         struct record_version *out_version, struct slice *out_gone)
{
    struct redis_reply value, pttl, gone;
    if (!redis_reply_element(reply, 0, &value) || !redis_reply_element(reply, 1, &pttl) ||
        !redis_reply_element(reply, 2, &gone) || value.type == REDIS_TYPE_INTEGER)
        return false;
    buf_clear(&s->current);
    *out_version = (struct record_version){0};
    *out_gone = SLICE_NONE;
    if (value.type == REDIS_TYPE_STRING) {
        buf_reserve(&s->current, value.text.len + 1); /* not NULL, though it may be empty */
        buf_append_slice(&s->current, value.text);
        out_version->value = buf_slice(&s->current);
        if (pttl.integer >= 0 && pttl.integer < PTTL_MAX)
            out_version->expires_ms = redis_now_ms(s) + pttl.integer;
    } else if (gone.type == REDIS_TYPE_STRING) {
        out_version->deleted_ms = deleted_ms_of(gone.text);
        *out_gone = gone.text;
    }
    return true;
}

static void on_read(struct redis_call *call)
{
    struct handback_slot *s = call->arg;
    struct record_version current;
    struct slice gone;
    if (call->outcome != REDIS_CALL_OK) {
        call_failed(s, call);
        return;
    }
    if (!take_reading(s, &call->replies[0], &current, &gone)) {
        set_aside(s, "Redis holds a value too large under its key");
        return;
    }
    if (s->current.failed) {
        handback_put_back(s, AWAY_RETRY_MS); /* no memory */
        return;
    }
    bool there = current.value.ptr != NULL;
    s->looked = true;
    s->version = current;
    if (there && !is_object(current.value))
        set_aside(s, "Redis holds no such value under its key");
    else if (there ? record_value_trace(current.value, s->entry.change_id) == RECORD_TRACE_FOUND
                   : starts_with(gone, s->entry.change_id))
        settled(s, HANDBACK_DONE);
    else
        merge(s, &current);
}

static void read_redis(struct handback_slot *s)
{
    char bytes[RECORD_TABLE_KEY_MAX];
    s->token = lru_fill_begin(s->replay->store->lru, record_table_key(s->kind, s->id, bytes));
    snprintf(s->number, sizeof s->number, "%zu", s->replay->store->value_max);
    s->command =
        (struct redis_command){.script = redis_script(REDIS_SCRIPT_RECORD_READ),
                               .argc = 4,
                               .argv = {SLICE_LITERAL("2"), s->key, s->gone_key, slice_of(s->number)},
                               .types = REDIS_TYPE_ARRAY};
    submit_call(s, on_read);
}

/* --- locks --- */

static void on_lock(void *arg, enum handback outcome, bool conflict, const char *text)
{
    struct handback_slot *s = arg;
    s->conflict = conflict;
    s->verdict = "dropped";
    if (outcome == HANDBACK_AWAY)
        handback_put_back(s, AWAY_RETRY_MS);
    else if (outcome == HANDBACK_REFUSED)
        handback_refused(s, text);
    else if (outcome == HANDBACK_FOREIGN)
        set_aside(s, text);
    else
        settled(s, outcome);
}

/* --- the beginning --- */

static void dispatch(struct handback_slot *s)
{
    const struct record_replay *r = s->replay;
    const struct record_replay_options *o = &r->options;
    s->races = 0;
    s->conflict = s->looked = false;
    s->verdict = "";
    if (o->age_max_ms && s->entry.stamp_ms + o->age_max_ms < redis_now_ms(s)) {
        settled(s, HANDBACK_GIVEN_UP);
    } else if (s->kind == JOURNAL_LOCK && o->hand_lock_back) {
        o->hand_lock_back(o->lock_arg, s->id, s->entry.body, on_lock, s);
    } else if (s->kind < JOURNAL_KIND_END && r->store->rules[s->kind].name) {
        s->key = record_key(o->port->store, s->kind, s->id, s->key_bytes);
        s->gone_key = record_gone_key(o->port->store, s->kind, s->id, s->gone_key_bytes);
        read_redis(s);
    } else {
        set_aside(s, "of a kind that this version does not know");
    }
}

static enum db_result run_fetch(struct db *db, void *arg)
{
    struct handback_slot *s = arg;
    struct db_entry e;
    s->result = db_journal_next(db, s->kind, s->id, s->done_seq, &e);
    if (s->result != DB_OK) return s->result;
    buf_clear(&s->bytes);
    buf_append_slice(&s->bytes, e.change_id);
    buf_append_slice(&s->bytes, e.body);
    buf_append_slice(&s->bytes, e.copy);
    if (s->bytes.failed) {
        s->result = DB_FULL; /* no memory: later */
        return DB_ABSENT;
    }
    const char *at = s->bytes.ptr;
    s->entry = e;
    s->entry.id = s->id;
    s->entry.trace = SLICE_NONE; /* it lives in s->trace */
    trace_of_kept(e.trace, &s->trace);
    s->entry.change_id.ptr = at;
    s->entry.body.ptr = at += e.change_id.len;
    if (e.copy.ptr) s->entry.copy.ptr = at + e.body.len;
    return DB_OK;
}

/* All that the file lists of the key is done; nothing more can come to it before a restart. */
static void all_done(struct handback_slot *s)
{
    const struct record_replay *r = s->replay;
    if (!unsettled_enter(r->ghosts, s->kind, s->id)) {
        handback_put_back(s, SPOOL_RETRY_MS); /* no memory */
        return;
    }
    for (; s->owed; s->owed--)
        unsettled_leave(r->store->unsettled, s->kind, s->id);
    handback_put_back(s, UNCOMMITTED_RETRY_MS);
}

static void on_fetched(struct spool_op *op)
{
    struct handback_slot *s = op->arg;
    if (s->replay->stopped)
        handback_put_back(s, 0);
    else if (op->committed && s->result == DB_OK)
        dispatch(s);
    else if (op->committed && s->result == DB_ABSENT && s->owed)
        all_done(s);
    else
        handback_put_back(s, s->result == DB_ABSENT ? UNCOMMITTED_RETRY_MS : SPOOL_RETRY_MS);
}

void handback_fetch(struct handback_slot *s)
{
    s->result = DB_BROKEN;
    bool ghost = unsettled_has(s->replay->ghosts, s->kind, s->id);
    if (ghost || !submit_op(s, true, run_fetch, on_fetched)) handback_put_back(s, SPOOL_RETRY_MS);
}
