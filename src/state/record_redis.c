/* record_redis: read → judge → compare-and-set, a script each. A write in doubt is settled once no given-up
 * connection is left that could still bring it (the node is quiet), by reading:
 *
 *     its id in `writes`, or in the tombstone of a deletion   it happened
 *     the value as it was before                              sent again
 *     another value that would show the id                    lost a race: judged anew
 *     it cannot be told                                       OUTCOME_UNKNOWN
 *     gone, not readable in time, circuit open                guarded: OUTCOME_UNKNOWN, others: journal
 *
 * The table is kept by order: this daemon's writes of one key are numbered as they leave, and since each
 * demands the version before, a later number is a later version. Readings don't replace what was written
 * meanwhile (lru_fill). */
#include "record_private.h"

#include "engine/redis/script.h"
#include "state/record_value.h"
#include "util/json.h"
#include "util/json_edit.h"

#include <stdio.h>
#include <stdlib.h>

enum { READ_TRIES = 2, SETTLE_POLL_MS = 10, SETTLE_MARGIN_US = 50000, SETTLE_SHARE = 4 };

/* A longer time to live is as good as none, and would overflow. */
static const int64_t PTTL_MAX = INT64_MAX / 4;

static const char MISSHAPEN[] = "a script's answer has another shape";

/* What a reading showed; slices live in the reply. */
struct seen {
    bool foreign;
    struct slice value, gone;
    int64_t pttl_ms;
};

static void read_now(struct record_work *w);
static void write_now(struct record_work *w);
static void settle(struct record_work *w);
static void settle_soon(struct record_work *w);

static void submit(struct record_work *w, void (*done)(struct redis_call *call),
                   void (*not_taken)(struct record_work *w))
{
    w->call = (struct redis_call){
        .commands = &w->command, .count = 1, .deadline_us = w->op->deadline_us, .done = done, .arg = w};
    if (!redis_pool_submit(w->port->pool, &w->call)) not_taken(w);
}

static void refused(struct record_work *w)
{
    record_fail(w, STATUS_REDIS_REFUSED, w->call.error);
}

static void foreign(struct record_work *w)
{
    record_fail(w, STATUS_FOREIGN_VALUE, "Redis holds another type, or a value too large, under this key");
}

/* --- reading --- */

static bool parse_seen(const struct redis_call *call, struct seen *out)
{
    const struct redis_reply *reply = &call->replies[0];
    struct redis_reply value, pttl, gone;
    if (!redis_reply_element(reply, 0, &value) || !redis_reply_element(reply, 1, &pttl) ||
        !redis_reply_element(reply, 2, &gone))
        return false;
    *out = (struct seen){.foreign = value.type == REDIS_TYPE_INTEGER, .pttl_ms = pttl.integer};
    if (value.type == REDIS_TYPE_STRING) out->value = value.text;
    if (gone.type == REDIS_TYPE_STRING && gone.text.ptr && gone.text.len < RECORD_GONE_TEXT_MAX)
        out->gone = gone.text;
    return value.type == REDIS_TYPE_NIL || value.type == REDIS_TYPE_STRING ||
           value.type == REDIS_TYPE_INTEGER;
}

/* What was read becomes the base, and the table's copy. False: no memory. */
static bool adopt(struct record_work *w, const struct seen *seen)
{
    const struct record_store_options *options = record_store_options(w->store);
    char bytes[RECORD_TABLE_KEY_MAX];
    struct slice key = record_table_key(w->kind, w->change.id, bytes);
    bool expires = seen->pttl_ms >= 0 && seen->pttl_ms < PTTL_MAX;
    lru_release(w->base);
    w->base = NULL;
    w->base_version = (struct record_version){0};
    w->gone[0] = 0;
    if (seen->value.ptr) {
        struct lru_meta meta = {.expires_ms = expires ? clock_wall_ms(options->clock) + seen->pttl_ms : 0};
        w->base = lru_fill(options->lru, key, seen->value, &meta, &w->token);
        if (!w->base) return false;
        w->base_version.value = lru_entry_value(w->base);
        w->base_version.expires_ms = expires ? record_wall_ms(w->store) + seen->pttl_ms : 0;
    } else {
        lru_fill_absent(options->lru, key, &w->token);
    }
    if (seen->gone.ptr) {
        memcpy(w->gone, seen->gone.ptr, seen->gone.len);
        w->gone[seen->gone.len] = 0;
        const char *stamp = strchr(w->gone, ' ');
        if (!seen->value.ptr && stamp) w->base_version.deleted_ms = strtoll(stamp, NULL, 10);
    }
    return true;
}

static void take_seen(struct record_work *w, const struct seen *seen)
{
    if (seen->foreign) {
        foreign(w);
        return;
    }
    if (!adopt(w, seen)) {
        record_fail(w, STATUS_OVERLOADED, "out of memory");
        return;
    }
    w->version = w->base_version;
    record_judge(w);
    if (w->verdict == RECORD_WRITE || w->verdict == RECORD_DELETE)
        write_now(w);
    else
        record_answer(w, false);
}

static void on_read(struct redis_call *call)
{
    struct record_work *w = call->arg;
    struct seen seen;
    switch (call->outcome) {
    case REDIS_CALL_OK:
        if (parse_seen(call, &seen))
            take_seen(w, &seen);
        else
            record_fail(w, STATUS_INTERNAL, MISSHAPEN);
        return;
    case REDIS_CALL_FOREIGN:
        foreign(w);
        return;
    case REDIS_CALL_REFUSED:
        refused(w);
        return;
    case REDIS_CALL_IN_DOUBT:
        /* The connection died, which says nothing about the next one. */
        if (w->reads < READ_TRIES) {
            read_now(w);
            return;
        }
        break;
    default:
        break;
    }
    record_local_start(w);
}

static void submit_read(struct record_work *w, void (*done)(struct redis_call *call),
                        void (*not_taken)(struct record_work *w))
{
    const struct record_store_options *options = record_store_options(w->store);
    char bytes[RECORD_TABLE_KEY_MAX];
    w->token = lru_fill_begin(options->lru, record_table_key(w->kind, w->change.id, bytes));
    w->command =
        (struct redis_command){.script = redis_script(REDIS_SCRIPT_RECORD_READ),
                               .argc = 4,
                               .argv = {SLICE_LITERAL("2"), w->key, w->gone_key, slice_of(w->value_max)},
                               .types = REDIS_TYPE_ARRAY};
    submit(w, done, not_taken);
}

static void read_now(struct record_work *w)
{
    w->reads++;
    submit_read(w, on_read, record_local_start);
}

/* --- writing --- */

static void done(struct record_work *w)
{
    record_keep_copy(w);
    record_answer(w, false);
}

/* Another change came first; what it left is judged next. */
static void lost_race(struct record_work *w, const struct seen *seen)
{
    metrics_count(w->port->cell, METRIC_RECORD_RACES, 0, 0, 1);
    if (record_is(w, RECORD_OPTIONAL))
        record_answer_as_read(w, false);
    else if (w->races++ == RECORD_RACES_MAX || loop_now_us(w->port->loop) >= w->op->deadline_us)
        record_fail(w, STATUS_OVERLOADED, "lost too many races against other changes");
    else if (unsettled_has(record_store_options(w->store)->unsettled, w->kind, w->change.id))
        record_local_start(w);
    else
        take_seen(w, seen);
}

static void on_written(struct redis_call *call)
{
    struct record_work *w = call->arg;
    struct seen seen;
    switch (call->outcome) {
    case REDIS_CALL_OK:
        if (call->replies[0].type == REDIS_TYPE_INTEGER)
            done(w);
        else if (parse_seen(call, &seen))
            lost_race(w, &seen);
        else
            record_fail(w, STATUS_INTERNAL, MISSHAPEN);
        return;
    case REDIS_CALL_FOREIGN:
        foreign(w);
        return;
    case REDIS_CALL_REFUSED:
        if (record_is(w, RECORD_OPTIONAL))
            record_answer_as_read(w, false);
        else
            refused(w);
        return;
    case REDIS_CALL_IN_DOUBT:
        if (record_is(w, RECORD_OPTIONAL))
            record_answer_as_read(w, false);
        else
            settle(w);
        return;
    default:
        record_local_start(w);
    }
}

static void write_now(struct record_work *w)
{
    const struct record_store_options *options = record_store_options(w->store);
    char bytes[RECORD_TABLE_KEY_MAX];
    w->order = record_next_order(w->store);
    struct slice table_key = record_table_key(w->kind, w->change.id, bytes);
    lru_touch_slot(options->lru, table_key);
    w->token = lru_fill_begin(options->lru, table_key);

    bool there = w->base_version.value.ptr != NULL;
    int64_t left_ms = 0;
    if (w->verdict == RECORD_WRITE && w->result.expires_ms) {
        left_ms = w->result.expires_ms - record_wall_ms(w->store);
        if (left_ms < 1) left_ms = 1;
    }
    snprintf(w->ttl_ms, sizeof w->ttl_ms, "%lld", (long long)left_ms);
    snprintf(w->tombstone, sizeof w->tombstone, "%s %lld", w->change.change_id,
             (long long)w->change.stamp_ms);
    snprintf(w->tombstone_ms, sizeof w->tombstone_ms, "%lld", (long long)options->tombstone_ms);
    static const struct slice NONE = {"", 0};
    bool writes = w->verdict == RECORD_WRITE;
    w->command = (struct redis_command){
        .script = redis_script(REDIS_SCRIPT_RECORD_WRITE),
        .argc = 10,
        .argv = {SLICE_LITERAL("2"), w->key, w->gone_key,
                 there ? SLICE_LITERAL("equals") : SLICE_LITERAL("absent"),
                 there ? w->base_version.value : NONE, writes ? slice_of(w->ttl_ms) : NONE,
                 writes ? buf_slice(&w->result.value) : NONE, slice_of(w->tombstone),
                 slice_of(w->tombstone_ms), slice_of(w->value_max)},
        .types = REDIS_TYPE_INTEGER | REDIS_TYPE_ARRAY};
    submit(w, on_written, record_local_start);
}

/* --- settling --- */

static void not_settled(struct record_work *w)
{
    if (record_guarded(w))
        record_fail(w, STATUS_OUTCOME_UNKNOWN, "Redis did not tell in time whether the change was made");
    else
        record_local_in_doubt(w);
}

static void settled(struct record_work *w)
{
    metrics_count(w->port->cell, METRIC_RECORD_SETTLED, 0, 0, 1);
}

/* Whether a value carries on what another one had been: they have a change in common. */
static bool follows(struct slice value, struct slice earlier)
{
    struct slice ids = json_member(earlier, "writes"), id;
    if (!ids.ptr || ids.ptr[0] != '[') return false;
    while (json_element_next(&ids, &id))
        if (id.ptr[0] == '"' && record_value_trace(value, json_string_plain(id)) == RECORD_TRACE_FOUND)
            return true;
    return false;
}

enum fate { HAPPENED, NOT_YET, LOST_RACE, GONE, UNKNOWN };

/* A deletion leaves its id in the tombstone, which the next value takes away: a value that goes on from the
 * one that was to be deleted shows that it did not happen. */
static enum fate fate_of_deletion(const struct record_work *w, const struct seen *seen)
{
    struct slice id = slice_of(w->change.change_id);
    if (!seen->value.ptr)
        return seen->gone.len > id.len && memcmp(seen->gone.ptr, id.ptr, id.len) == 0 ? HAPPENED : LOST_RACE;
    if (!w->base_version.value.ptr) return GONE; /* there was nothing to delete, and now there is */
    if (slice_equal(seen->value, w->base_version.value)) return NOT_YET;
    return record_is_object(seen->value) && follows(seen->value, w->base_version.value) ? LOST_RACE : GONE;
}

static enum fate fate_of(const struct record_work *w, const struct seen *seen)
{
    bool there = seen->value.ptr != NULL, was_there = w->base_version.value.ptr != NULL;
    if (!there && !was_there && slice_equal_text(seen->gone, w->gone)) return NOT_YET;
    if (w->verdict == RECORD_DELETE) return fate_of_deletion(w, seen);
    if (!there) return GONE; /* with our change, or before it */
    if (was_there && slice_equal(seen->value, w->base_version.value)) return NOT_YET;
    if (!record_is_object(seen->value)) return LOST_RACE; /* what the rules say to it is the answer */
    switch (record_value_trace(seen->value, slice_of(w->change.change_id))) {
    case RECORD_TRACE_FOUND:
        return HAPPENED;
    case RECORD_TRACE_ABSENT:
        return LOST_RACE;
    default:
        return UNKNOWN;
    }
}

static void on_looked(struct redis_call *call)
{
    struct record_work *w = call->arg;
    struct seen seen;
    if (call->outcome == REDIS_CALL_FOREIGN) {
        foreign(w);
        return;
    }
    if (call->outcome != REDIS_CALL_OK || !parse_seen(call, &seen)) {
        settle_soon(w);
        return;
    }
    switch (seen.foreign ? LOST_RACE : fate_of(w, &seen)) {
    case HAPPENED:
        settled(w);
        done(w);
        break;
    case NOT_YET:
        write_now(w);
        break;
    case LOST_RACE:
        settled(w);
        lost_race(w, &seen);
        break;
    case GONE:
        not_settled(w);
        break;
    case UNKNOWN:
        record_fail(w, STATUS_OUTCOME_UNKNOWN, "too many changes followed to tell whether this one was made");
    }
}

static void on_settle_timer(void *arg)
{
    settle(arg);
}

static void settle_soon(struct record_work *w)
{
    loop_timer_start(w->port->loop, &w->timer, loop_now_us(w->port->loop) + SETTLE_POLL_MS * INT64_C(1000),
                     on_settle_timer, w);
}

/* What is to be journaled needs time to be committed. */
static int64_t settle_until_us(const struct record_work *w)
{
    int64_t until_us = w->op->deadline_us;
    if (record_guarded(w)) return until_us;
    int64_t margin_us = (until_us - w->started_us) / SETTLE_SHARE;
    return until_us - (margin_us > SETTLE_MARGIN_US ? margin_us : SETTLE_MARGIN_US);
}

static void settle(struct record_work *w)
{
    if (loop_now_us(w->port->loop) >= settle_until_us(w) || record_degraded(w->store, w->kind, w->change.id))
        not_settled(w);
    else if (record_quiet(w->store, w->kind, w->change.id))
        submit_read(w, on_looked, settle_soon);
    else
        settle_soon(w);
}

/* --- start --- */

void record_redis_start(struct record_work *w)
{
    const struct record_store_options *options = record_store_options(w->store);
    if (unsettled_has(options->unsettled, w->kind, w->change.id)) {
        record_local_start(w);
        return;
    }
    if (!w->key.ptr) {
        w->key = record_key(w->store, w->kind, w->change.id, w->key_bytes);
        w->gone_key = record_gone_key(w->store, w->kind, w->change.id, w->gone_key_bytes);
        snprintf(w->value_max, sizeof w->value_max, "%zu", options->value_max);
    }
    w->reads = 0;
    read_now(w);
}
