/* cache_replay: a tick every TICK_MS spends a budget of starts; slots are independent. An entry whose key's
 * node cannot take it goes behind the others, LOOKS_MAX of them in a tick: it holds up no other node's.
 * A refusal (OOM,
 * READONLY, …) stops new starts for a doubling time, since the next write would be refused as well. */
#include "state/cache_replay.h"

#include "cache_private.h"
#include "state/cache_value.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    REPLAY_SLOTS = 32,
    TICK_MS = 20,
    LOOKS_MAX = 256,
    IDLE_TICK_MS = 100,
    RACES_MAX = 16,
    DRAIN_S = 5,
    RELOAD_EVERY_MS = 1000,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 2000
};

const char *const replay_outcome_names[REPLAY_OUTCOME_COUNT] = {"written", "yielded", "expired", "refused",
                                                                "foreign"};

struct slot {
    struct cache_replay *replay;
    struct lru_entry *entry; /* NULL: free */
    unsigned flags;
    unsigned races;
    struct redis_call call;
    struct redis_command commands[2];
    struct slice redis_key;
    char redis_key_bytes[CACHE_REDIS_KEY_MAX];
    struct buf current;
    char limit[24], ttl[24];
};

struct cache_replay {
    struct cache_replay_options options;
    struct loop_timer timer;
    struct slot slots[REPLAY_SLOTS];
    unsigned busy;
    int64_t rate_per_s; /* for the backlog at hand */
    int64_t spent_until_us;
    unsigned looks; /* at entries that cannot go, in this tick */
    int64_t backoff_ms, blocked_until_us;
    uint64_t outcomes[REPLAY_OUTCOME_COUNT]; /* of the backlog at hand */
    int64_t reload_due_us;
    bool active;
};

static void read_current(struct slot *s);
static bool start_one(struct cache_replay *r, struct slot *s);

static struct lru *lru_of(struct slot *s)
{
    return cache_store_lru(s->replay->options.port->store);
}

static void release(struct slot *s)
{
    lru_release(s->entry);
    s->entry = NULL;
    buf_deinit(&s->current);
    s->replay->busy--;
}

static bool may_start(const struct cache_replay *r, int64_t now)
{
    return redis_topology_some_ready(cache_store_options(r->options.port->store)->redis) &&
           now >= r->blocked_until_us;
}

/* Starts what the rate allows. A slot that settles makes room at once; one that could not go waits for the
 * next tick, so that a refusing pool is not asked in a loop. */
static void pump(struct cache_replay *r)
{
    int64_t now = loop_now_us(r->options.port->loop);
    if (!r->active || !may_start(r, now)) return;
    int64_t step_us = 1000000 / r->rate_per_s > 0 ? 1000000 / r->rate_per_s : 1;
    for (size_t i = 0; i < REPLAY_SLOTS && r->spent_until_us < now; i++)
        if (!r->slots[i].entry) {
            if (!start_one(r, &r->slots[i])) break;
            r->spent_until_us += step_us;
        }
}

static void settled(struct slot *s, enum replay_outcome outcome, bool superseded)
{
    struct cache_replay *r = s->replay;
    metrics_count(r->options.port->cell, METRIC_REPLAYS, outcome, 0, 1);
    r->outcomes[outcome]++;
    lru_settle(lru_of(s), s->entry, superseded);
    cache_journal_settled(r->options.port, lru_entry_key(s->entry), lru_entry_meta(s->entry)->stamp_ms);
    release(s);
    pump(r);
}

static void not_now(struct slot *s, const struct redis_call *call)
{
    struct cache_replay *r = s->replay;
    if (call && call->outcome == REDIS_CALL_REFUSED) {
        r->backoff_ms = r->backoff_ms ? r->backoff_ms * 2 : BACKOFF_MIN_MS;
        if (r->backoff_ms > BACKOFF_MAX_MS) r->backoff_ms = BACKOFF_MAX_MS;
        r->blocked_until_us = loop_now_us(r->options.port->loop) + r->backoff_ms * 1000;
        r->outcomes[REPLAY_REFUSED]++;
        metrics_count(r->options.port->cell, METRIC_REPLAYS, REPLAY_REFUSED, 0, 1);
        LOG(r->options.log, LOG_WARN, "Redis refuses a write that is to be handed back; trying again",
            LOG_S("error", call->error), LOG_I("retry_ms", r->backoff_ms));
    }
    lru_untake(lru_of(s), s->entry);
    release(s);
}

static void submit(struct slot *s, unsigned count, void (*done)(struct redis_call *call))
{
    s->call = (struct redis_call){.commands = s->commands, .count = count, .done = done, .arg = s};
    if (!redis_pool_submit(s->replay->options.port->pool, &s->call)) not_now(s, NULL);
}

static void on_written(struct redis_call *call)
{
    struct slot *s = call->arg;
    if (call->outcome == REDIS_CALL_FOREIGN) {
        settled(s, REPLAY_FOREIGN, true);
    } else if (call->outcome != REDIS_CALL_OK) {
        not_now(s, call);
    } else if (call->replies[0].integer < 0) {
        if (++s->races < RACES_MAX)
            read_current(s);
        else
            not_now(s, NULL);
    } else {
        s->replay->backoff_ms = 0;
        settled(s, REPLAY_WRITTEN, false);
    }
}

/* `current` is empty when Redis has nothing. */
static void write_over(struct slot *s, bool there)
{
    const struct lru_meta *meta = lru_entry_meta(s->entry);
    bool delete = (s->flags & LRU_DELETED) != 0;
    s->ttl[0] = 0;
    if (!delete) {
        int64_t left_ms = meta->expires_ms - clock_wall_ms(loop_clock(s->replay->options.port->loop));
        if (left_ms <= 0 && !there) {
            settled(s, REPLAY_EXPIRED, false);
            return;
        }
        delete = left_ms <= 0; /* what it replaced must not come back */
        if (!delete) snprintf(s->ttl, sizeof s->ttl, "%lld", (long long)left_ms);
    }
    static const struct slice NONE = {"", 0};
    cache_write_command(
        &s->commands[0], s->redis_key, there ? SLICE_LITERAL("equals") : SLICE_LITERAL("absent"),
        there ? buf_slice(&s->current) : NONE, slice_of(s->ttl), delete ? NONE : lru_entry_value(s->entry));
    submit(s, 1, on_written);
}

static void on_current(struct redis_call *call)
{
    struct slot *s = call->arg;
    if (call->outcome == REDIS_CALL_FOREIGN) {
        settled(s, REPLAY_FOREIGN, true);
        return;
    }
    if (call->outcome != REDIS_CALL_OK) {
        not_now(s, call);
        return;
    }
    struct slice value = call->replies[1].text;
    bool there = call->replies[0].integer != -2;
    int64_t stamp_ms = 0;
    if (!there) {
        if (s->flags & LRU_DELETED)
            settled(s, REPLAY_WRITTEN, false);
        else
            write_over(s, false);
        return;
    }
    if (!(s->flags & LRU_DELETED) && slice_equal(value, lru_entry_value(s->entry))) {
        settled(s, REPLAY_WRITTEN, false); /* the write that was in doubt had arrived */
        return;
    }
    if (value.len > cache_store_options(s->replay->options.port->store)->value_max) {
        settled(s, REPLAY_FOREIGN, true);
        return;
    }
    if (!cache_value_inspect(value, &stamp_ms)) {
        settled(s, REPLAY_FOREIGN, true); /* no JSON: a stranger's, left as it is */
        return;
    }
    if (stamp_ms > lru_entry_meta(s->entry)->stamp_ms) {
        settled(s, REPLAY_YIELDED, true);
        return;
    }
    buf_clear(&s->current);
    buf_append_slice(&s->current, value);
    if (s->current.failed)
        not_now(s, NULL);
    else
        write_over(s, true);
}

static void read_current(struct slot *s)
{
    cache_read_commands(s->commands, s->redis_key, slice_of(s->limit));
    submit(s, 2, on_current);
}

/* A given-up connection may still bring an older write of a key that is in the table: until it is killed
 * nothing is handed back over it. */
static bool may_go(struct cache_store *store, const struct lru_entry *entry)
{
    struct slice key = lru_entry_key(entry);
    return !cache_store_degraded(store, key) && cache_store_quiet(store, key);
}

static struct lru_entry *take_one(struct cache_replay *r, unsigned *out_flags)
{
    struct cache_store *store = r->options.port->store;
    struct lru *lru = cache_store_lru(store);
    struct lru_entry *entry;
    while (r->looks < LOOKS_MAX && (entry = lru_pending_take(lru, out_flags))) {
        if (may_go(store, entry)) return entry;
        r->looks++;
        lru_untake(lru, entry);
        lru_release(entry);
    }
    return NULL;
}

static bool start_one(struct cache_replay *r, struct slot *s)
{
    struct cache_store *store = r->options.port->store;
    struct lru_entry *entry = take_one(r, &s->flags);
    if (!entry) return false;
    s->replay = r;
    s->entry = entry;
    s->races = 0;
    s->current = (struct buf){0};
    snprintf(s->limit, sizeof s->limit, "%zu", cache_store_options(store)->value_max);
    s->redis_key = cache_store_redis_key(store, lru_entry_key(entry), s->redis_key_bytes);
    r->busy++;
    read_current(s);
    return true;
}

static void begin_backlog(struct cache_replay *r, uint64_t entries, int64_t now)
{
    r->active = true;
    r->rate_per_s = r->options.per_s;
    if ((int64_t)entries / DRAIN_S > r->rate_per_s) r->rate_per_s = (int64_t)entries / DRAIN_S;
    r->spent_until_us = now;
    memset(r->outcomes, 0, sizeof r->outcomes);
    LOG(r->options.log, LOG_INFO, "handing pending cache writes back", LOG_I("entries", entries),
        LOG_I("per_s", r->rate_per_s));
}

static void end_backlog(struct cache_replay *r)
{
    r->active = false;
    r->backoff_ms = 0;
    LOG(r->options.log, LOG_INFO, "pending cache writes handed back",
        LOG_I("written", r->outcomes[REPLAY_WRITTEN]), LOG_I("yielded", r->outcomes[REPLAY_YIELDED]),
        LOG_I("expired", r->outcomes[REPLAY_EXPIRED]), LOG_I("foreign", r->outcomes[REPLAY_FOREIGN]));
}

/* Deletions that are in the journal alone, the table having had no room for them. */
static void reload(struct cache_replay *r, int64_t now)
{
    struct cache_port *port = r->options.port;
    if (!cache_journal_rows(port->store) || now < r->reload_due_us || !may_start(r, now)) return;
    r->reload_due_us = now + RELOAD_EVERY_MS * INT64_C(1000);
    (void)cache_journal_reload(port);
}

static void on_tick(void *arg)
{
    struct cache_replay *r = arg;
    struct cache_port *port = r->options.port;
    int64_t now = loop_now_us(port->loop);
    struct lru_stats stats;
    r->looks = 0;
    lru_stats(cache_store_lru(port->store), &stats);
    if (stats.pending_entries && !r->active && may_start(r, now))
        begin_backlog(r, stats.pending_entries, now);
    if (!stats.pending_entries && r->active && r->busy == 0) end_backlog(r);
    if (!stats.pending_entries) reload(r, now);
    if (r->active) {
        if (r->spent_until_us < now - TICK_MS * INT64_C(1000))
            r->spent_until_us = now - TICK_MS * INT64_C(1000); /* what was not used is not saved up */
        pump(r);
    }
    loop_timer_start(port->loop, &r->timer, now + (r->active ? TICK_MS : IDLE_TICK_MS) * INT64_C(1000),
                     on_tick, r);
}

struct cache_replay *cache_replay_create(const struct cache_replay_options *options)
{
    struct cache_replay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->options = *options;
    loop_timer_start(options->port->loop, &r->timer, loop_now_us(options->port->loop), on_tick, r);
    return r;
}

void cache_replay_destroy(struct cache_replay **replay)
{
    if (!*replay) return;
    loop_timer_stop(&(*replay)->timer);
    free(*replay);
    *replay = NULL;
}
