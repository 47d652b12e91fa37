/* cache_write: one script call per write. What Redis has not taken for certain is put into the table as
 * pending, unless it is guarded: a guarded write in doubt is settled once no given-up connection is left that
 * could still bring it (the node is quiet):
 *
 *     in doubt → quiet? → read → ours: done
 *                              → another's: 412
 *                              → none: sent again
 *                              → in doubt at the deadline still: 504 */
#include "cache_private.h"

#include "engine/redis/script.h"
#include "util/etag.h"

#include <stdio.h>

enum { SETTLE_POLL_MS = 10 };

static void settle(struct cache_write *w);

void cache_write_command(struct redis_command *command, struct slice redis_key, struct slice condition,
                         struct slice expected, struct slice ttl_ms, struct slice value)
{
    *command =
        (struct redis_command){.script = redis_script(REDIS_SCRIPT_STRING_WRITE),
                               .argc = 6,
                               .argv = {SLICE_LITERAL("1"), redis_key, condition, expected, ttl_ms, value},
                               .types = REDIS_TYPE_INTEGER};
}

static void finish(struct cache_write *w, enum status status, bool replaced, bool local)
{
    loop_timer_stop(&w->timer);
    w->status = status;
    w->replaced = replaced;
    w->local = local;
    if (status == STATUS_OK) metrics_count(w->port->cell, METRIC_CACHE_WRITES, local ? 1 : 0, 0, 1);
    w->done(w);
}

static struct lru_meta meta_of(struct cache_write *w)
{
    const struct cache_store_options *options = cache_store_options(w->port->store);
    struct lru_meta meta = {.stamp_ms = w->stamp_ms};
    /* A deletion that Redis took must stay known for as long as an older write of ours could still come back
     * in doubt. */
    meta.expires_ms =
        clock_wall_ms(options->clock) + (w->kind == CACHE_DELETE ? options->deadline_ms : w->ttl_ms);
    if (w->kind != CACHE_DELETE) meta.etag = etag_of(w->value);
    return meta;
}

/* Redis has it. The table's copy is untrusted until it has been read back; a value too large for the table is
 * simply not there. */
static void acknowledged(struct cache_write *w, bool replaced)
{
    struct lru_meta meta = meta_of(w);
    bool unused;
    lru_put(cache_store_lru(w->port->store), w->key, w->kind == CACHE_DELETE ? SLICE_NONE : w->value, &meta,
            w->kind == CACHE_DELETE ? LRU_DELETED : 0, &unused);
    finish(w, STATUS_OK, replaced, false);
}

static bool fits(struct cache_write *w)
{
    return w->kind == CACHE_DELETE || lru_pending_fits(cache_store_lru(w->port->store), w->key, w->value);
}

/* --- a deletion that is kept: its row in the spool, then its tombstone --- */

static void on_deletion(void *arg, bool committed)
{
    struct cache_write *w = arg;
    w->deletion = NULL;
    finish(w, committed ? STATUS_OK : STATUS_SPOOL_UNAVAILABLE, false, true);
}

/* It may take effect yet, as any write may that was not acknowledged. */
static void on_deletion_late(void *arg)
{
    struct cache_write *w = arg;
    cache_journal_abandon(w->deletion);
    on_deletion(w, false);
}

static void keep_deletion(struct cache_write *w)
{
    w->deletion = cache_journal_append(w->port, w->key, w->stamp_ms, on_deletion, w);
    if (w->deletion)
        loop_timer_start(w->port->loop, &w->timer, w->deadline_us, on_deletion_late, w);
    else
        finish(w, STATUS_SPOOL_UNAVAILABLE, false, true);
}

/* Redis does not have it, or may not: kept here until it has been handed back. What is too large for that is
 * answered `otherwise`, and leaves an older write or deletion that is pending where it is. */
static void keep(struct cache_write *w, enum status otherwise)
{
    if (w->kind == CACHE_DELETE && cache_store_spool(w->port->store)) {
        keep_deletion(w);
        return;
    }
    if (!fits(w)) {
        finish(w, otherwise, false, true);
        return;
    }
    struct lru_meta meta = meta_of(w);
    unsigned flags = LRU_PENDING;
    if (w->kind == CACHE_DELETE) {
        flags |= LRU_DELETED;
        meta.expires_ms = 0;
    }
    bool replaced = false;
    if (lru_put(cache_store_lru(w->port->store), w->key, w->kind == CACHE_DELETE ? SLICE_NONE : w->value,
                &meta, flags, &replaced))
        finish(w, STATUS_OK, replaced, true);
    else
        finish(w, otherwise, false, true); /* no memory */
}

/* A create behind a write of ours that is pending is judged by it, being the newest version. False: by now
 * none is pending. */
static bool create_behind(struct cache_write *w)
{
    struct lru_meta meta = meta_of(w);
    bool exists = false;
    if (!lru_put(cache_store_lru(w->port->store), w->key, w->value, &meta,
                 LRU_PENDING | LRU_IF_PENDING | LRU_IF_ABSENT, &exists))
        return false;
    finish(w, exists ? STATUS_PRECONDITION_FAILED : STATUS_OK, false, true);
    return true;
}

static void not_taken(struct cache_write *w, enum status why)
{
    if (w->kind == CACHE_CREATE)
        finish(w, why, false, true);
    else
        keep(w, why);
}

static void on_reply(struct redis_call *call)
{
    struct cache_write *w = call->arg;
    switch (call->outcome) {
    case REDIS_CALL_OK:
        if (call->replies[0].integer < 0)
            finish(w, STATUS_PRECONDITION_FAILED, false, false);
        else
            acknowledged(w, call->replies[0].integer > 0);
        return;
    case REDIS_CALL_FOREIGN:
        finish(w, STATUS_FOREIGN_VALUE, false, false);
        return;
    case REDIS_CALL_REFUSED:
        not_taken(w, STATUS_REDIS_REFUSED);
        return;
    case REDIS_CALL_IN_DOUBT:
        if (w->kind == CACHE_CREATE)
            settle(w);
        else
            keep(w, STATUS_OUTCOME_UNKNOWN);
        return;
    default:
        not_taken(w, STATUS_REDIS_UNAVAILABLE);
    }
}

static void write_now(struct cache_write *w)
{
    static const struct slice NONE = {"", 0};
    if (w->kind == CACHE_DELETE)
        w->commands[0] = (struct redis_command){
            .argc = 2, .argv = {SLICE_LITERAL("DEL"), w->redis_key}, .types = REDIS_TYPE_INTEGER};
    else
        cache_write_command(&w->commands[0], w->redis_key,
                            w->kind == CACHE_CREATE ? SLICE_LITERAL("absent") : SLICE_LITERAL("any"), NONE,
                            slice_of(w->ttl), w->value);
    w->call = (struct redis_call){
        .commands = w->commands, .count = 1, .deadline_us = w->deadline_us, .done = on_reply, .arg = w};
    lru_touch_slot(cache_store_lru(w->port->store), w->key);
    if (!redis_pool_submit(w->port->pool, &w->call)) not_taken(w, STATUS_REDIS_UNAVAILABLE);
}

/* --- a create in doubt --- */

static void on_looked(struct redis_call *call)
{
    struct cache_write *w = call->arg;
    bool ok = call->outcome == REDIS_CALL_OK;
    if (!ok && call->outcome != REDIS_CALL_FOREIGN)
        settle(w);
    else if (ok && call->replies[0].integer == -2)
        write_now(w);
    else if (ok && slice_equal(call->replies[1].text, w->value))
        acknowledged(w, false);
    else
        finish(w, STATUS_PRECONDITION_FAILED, false, false); /* another's */
}

static void on_settle_timer(void *arg)
{
    settle(arg);
}

static void settle(struct cache_write *w)
{
    const struct cache_store_options *options = cache_store_options(w->port->store);
    int64_t now = loop_now_us(w->port->loop);
    if (now >= w->deadline_us || cache_store_degraded(w->port->store, w->key)) {
        finish(w, STATUS_OUTCOME_UNKNOWN, false, false);
        return;
    }
    if (cache_store_quiet(w->port->store, w->key)) {
        snprintf(w->limit, sizeof w->limit, "%zu", options->value_max);
        cache_read_commands(w->commands, w->redis_key, slice_of(w->limit));
        w->call = (struct redis_call){
            .commands = w->commands, .count = 2, .deadline_us = w->deadline_us, .done = on_looked, .arg = w};
        if (redis_pool_submit(w->port->pool, &w->call)) return;
    }
    loop_timer_start(w->port->loop, &w->timer, now + SETTLE_POLL_MS * INT64_C(1000), on_settle_timer, w);
}

/* --- start --- */

static void write_embedded(struct cache_write *w)
{
    struct lru *lru = cache_store_lru(w->port->store);
    if (w->kind == CACHE_DELETE) {
        /* Once more where a write of this or another key of its slot came between. */
        struct lru_hit hit;
        do {
            struct lru_token token = lru_fill_begin(lru, w->key);
            lru_fill_absent(lru, w->key, &token);
            if (!lru_get(lru, w->key, &hit)) break;
            lru_release(hit.entry);
        } while (true);
        finish(w, STATUS_OK, false, true);
        return;
    }
    struct lru_meta meta = meta_of(w);
    bool replaced = false;
    if (!lru_put(lru, w->key, w->value, &meta, w->kind == CACHE_CREATE ? LRU_IF_ABSENT : 0, &replaced))
        finish(w, STATUS_OVERLOADED, false, true);
    else if (replaced && w->kind == CACHE_CREATE)
        finish(w, STATUS_PRECONDITION_FAILED, false, true);
    else
        finish(w, STATUS_OK, replaced, true);
}

static bool is_pending(struct cache_store *store, struct slice key)
{
    struct lru_hit hit;
    if (!lru_get(cache_store_lru(store), key, &hit)) return false;
    lru_release(hit.entry);
    return (hit.flags & LRU_PENDING) != 0;
}

void cache_write_start(struct cache_port *port, struct cache_write *w)
{
    w->port = port;
    w->timer = (struct loop_timer){0};
    if (cache_store_embedded(port->store)) {
        write_embedded(w);
        return;
    }
    /* Behind what Redis still has to learn; a create can be judged here, the newest version being ours. A
     * value too large to wait here may pass an older write that can reach Redis by its hand-back only, for
     * that yields to the later timestamp. */
    bool may_pass = w->kind == CACHE_PUT && !fits(w) && cache_store_quiet(port->store, w->key);
    if (!may_pass && is_pending(port->store, w->key)) {
        if (w->kind != CACHE_CREATE || !fits(w)) {
            keep(w, STATUS_REDIS_UNAVAILABLE);
            return;
        }
        if (create_behind(w)) return;
    }
    w->redis_key = cache_store_redis_key(port->store, w->key, w->redis_key_bytes);
    snprintf(w->ttl, sizeof w->ttl, "%lld", (long long)w->ttl_ms);
    write_now(w);
}
