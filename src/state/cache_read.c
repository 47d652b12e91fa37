/* cache_read: PTTL and GETRANGE in one round trip. GETRANGE rather than GET because its answer is bounded
 * whatever a stranger stored; PTTL first because only the last reply's bytes can be used without copying, and
 * -2 there is what tells a missing key from an empty one. The fill token is taken before the commands leave.
 */
#include "cache_private.h"

#include "state/cache_value.h"
#include "util/etag.h"

#include <stdio.h>

enum { READ_TRIES = 2 };

/* A longer time to live is as good as none, and would overflow. */
static const int64_t PTTL_MAX = INT64_MAX / 4;

static struct cache_result found(struct lru_hit *hit, enum cache_source source, bool local)
{
    return (struct cache_result){.status = STATUS_OK, .source = source, .local = local, .entry = hit->entry};
}

static struct cache_result missed(enum status status, bool local, bool unavailable)
{
    return (struct cache_result){
        .status = status, .source = CACHE_MISS, .local = local, .unavailable = unavailable};
}

/* The table's answer when Redis has none. */
static struct cache_result from_table(struct cache_store *store, struct slice key)
{
    bool embedded = cache_store_embedded(store);
    struct lru_hit hit;
    if (!lru_get(cache_store_lru(store), key, &hit)) return missed(STATUS_NOT_FOUND, true, !embedded);
    if (hit.flags & LRU_DELETED) {
        lru_release(hit.entry);
        return missed(STATUS_NOT_FOUND, true, !embedded && !(hit.flags & LRU_PENDING));
    }
    return found(&hit, embedded || (hit.flags & LRU_PENDING) ? CACHE_LOCAL : CACHE_STALE, true);
}

bool cache_read_table(struct cache_port *port, struct slice key, unsigned flags, struct cache_result *out)
{
    struct cache_store *store = port->store;
    if (cache_store_embedded(store)) {
        *out = from_table(store, key);
        if (out->status == STATUS_NOT_FOUND && (flags & CACHE_ONLY_IF_CACHED))
            out->status = STATUS_NOT_IN_TABLE;
        return true;
    }
    struct lru_hit hit;
    bool there = lru_get(cache_store_lru(store), key, &hit);
    if (there && (hit.flags & LRU_PENDING)) {
        if (hit.flags & LRU_DELETED) {
            lru_release(hit.entry);
            *out = missed(STATUS_NOT_FOUND, true, false);
        } else {
            *out = found(&hit, CACHE_LOCAL, true);
        }
        return true;
    }
    if (there && hit.trusted && !(flags & CACHE_NO_CACHE)) {
        *out = found(&hit, CACHE_NEAR, false);
        return true;
    }
    if (flags & CACHE_ONLY_IF_CACHED) {
        bool usable = there && !(hit.flags & LRU_DELETED);
        *out = usable ? found(&hit, CACHE_STALE, true) : missed(STATUS_NOT_IN_TABLE, true, false);
        if (there && !usable) lru_release(hit.entry);
        return true;
    }
    if (there) lru_release(hit.entry);
    if (!cache_store_degraded(store, key)) return false;
    *out = from_table(store, key);
    return true;
}

static void finish(struct cache_read *read, struct cache_result result)
{
    read->done(read, &result);
}

static void ask(struct cache_read *read);

static void take_value(struct cache_read *read, struct slice value, int64_t pttl_ms)
{
    struct cache_port *port = read->port;
    const struct cache_store_options *options = cache_store_options(port->store);
    struct lru_meta meta = {0};
    if (value.len > options->value_max || !cache_value_inspect(value, &meta.stamp_ms)) {
        finish(read, missed(STATUS_FOREIGN_VALUE, false, false));
        return;
    }
    if (pttl_ms >= 0 && pttl_ms < PTTL_MAX) meta.expires_ms = clock_wall_ms(options->clock) + pttl_ms;
    meta.etag = etag_of(value);
    struct lru_entry *entry = lru_fill(options->lru, read->key, value, &meta, &read->token);
    if (!entry)
        finish(read, from_table(port->store, read->key));
    else
        finish(read, (struct cache_result){.status = STATUS_OK, .source = CACHE_REDIS, .entry = entry});
}

static void on_reply(struct redis_call *call)
{
    struct cache_read *read = call->arg;
    struct lru *lru = cache_store_lru(read->port->store);

    if (!call->covered) read->token.epoch = 0; /* what it becomes is not heard of */
    bool ok = call->outcome == REDIS_CALL_OK, absent = call->replies[0].integer == -2;
    bool empty = call->replies[1].text.len == 0;
    /* Another try where the connection died, which says nothing about the next one, or the key came or went
     * between the commands (or is empty, as no value of ours). */
    bool retry = call->outcome == REDIS_CALL_IN_DOUBT || (ok && absent != empty);
    if (call->outcome == REDIS_CALL_FOREIGN) {
        finish(read, missed(STATUS_FOREIGN_VALUE, false, false));
    } else if (retry && read->tries < READ_TRIES && loop_now_us(read->port->loop) < read->deadline_us) {
        ask(read);
    } else if (!ok) {
        finish(read, from_table(read->port->store, read->key));
    } else if (!absent) {
        take_value(read, call->replies[1].text, call->replies[0].integer);
    } else {
        lru_fill_absent(lru, read->key, &read->token);
        finish(read, missed(STATUS_NOT_FOUND, false, false));
    }
}

static void ask(struct cache_read *read)
{
    read->tries++;
    read->token = lru_fill_begin(cache_store_lru(read->port->store), read->key);
    read->call.deadline_us = read->deadline_us;
    if (!redis_pool_submit(read->port->pool, &read->call))
        finish(read, from_table(read->port->store, read->key));
}

void cache_read_commands(struct redis_command commands[2], struct slice redis_key, struct slice limit)
{
    commands[0] = (struct redis_command){
        .argc = 2, .argv = {SLICE_LITERAL("PTTL"), redis_key}, .types = REDIS_TYPE_INTEGER};
    commands[1] =
        (struct redis_command){.argc = 4,
                               .argv = {SLICE_LITERAL("GETRANGE"), redis_key, SLICE_LITERAL("0"), limit},
                               .types = REDIS_TYPE_STRING};
}

void cache_read_start(struct cache_port *port, struct cache_read *read)
{
    read->port = port;
    read->tries = 0;
    read->redis_key = cache_store_redis_key(port->store, read->key, read->redis_key_bytes);
    snprintf(read->limit, sizeof read->limit, "%zu", cache_store_options(port->store)->value_max);
    cache_read_commands(read->commands, read->redis_key, slice_of(read->limit));
    read->call.node = NULL;
    read->call.commands = read->commands;
    read->call.count = 2;
    read->call.done = on_reply;
    read->call.arg = read;
    ask(read);
}
