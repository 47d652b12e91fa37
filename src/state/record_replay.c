/* record_replay: a tick every TICK_MS spends a budget of starts; slots are independent, so a key that waits
 * (refused, in doubt) holds up no other. One whose node cannot take it is looked at again after AWAY_MS, at
 * most LOOKS_MAX of them in a tick. */
#include "record_replay_private.h"

#include "lock_private.h"
#include "record_private.h"

#include "util/hash.h"

#include <stdlib.h>

enum { TICK_MS = 20, IDLE_TICK_MS = 100, LOOKS_MAX = 256, AWAY_MS = 500 };

const char *const handback_names[HANDBACK_COUNT] = {"written",  "done",    "dropped", "expired",
                                                    "given_up", "foreign", "refused"};

static void pump(struct record_replay *r);

static bool may_start(const struct record_replay *r)
{
    return redis_topology_some_ready(r->store->redis);
}

bool record_replay_idle(const struct record_replay *r)
{
    return r->busy == 0 && unsettled_entries(r->store->unsettled) == 0;
}

/* --- what becomes of a key in hand --- */

static uint8_t *refusals_of(struct handback_slot *s)
{
    const struct hash_seed seed = {s->kind, 0}; /* whoever makes keys collide makes them wait, no more */
    return &s->replay->refusals[hash_bytes(&seed, s->id.ptr, s->id.len) % HANDBACK_BACKOFFS];
}

static void release(struct handback_slot *s)
{
    buf_deinit(&s->bytes);
    buf_deinit(&s->current);
    buf_deinit(&s->decided.value);
    s->busy = false;
    s->replay->busy--;
}

static void on_again(void *arg)
{
    handback_fetch(arg);
}

void handback_put_back(struct handback_slot *s, int64_t delay_ms)
{
    struct record_replay *r = s->replay;
    int64_t now = loop_now_us(r->options.port->loop);
    if (s->owed && !r->stopped) { /* how far it has come is known here alone */
        loop_timer_start(r->options.port->loop, &s->timer, now + delay_ms * 1000, on_again, s);
        return;
    }
    unsettled_return(r->store->unsettled, s->kind, s->id, delay_ms ? now + delay_ms * 1000 : 0);
    release(s);
    /* A key that could not go waits for the next tick, so that a refusing pool is not asked in a loop. */
    if (!delay_ms) pump(r);
}

void handback_refused(struct handback_slot *s, const char *error)
{
    struct record_replay *r = s->replay;
    uint8_t *refusals = refusals_of(s);
    int64_t delay_ms = (int64_t)HANDBACK_BACKOFF_MIN_MS << *refusals;
    if (delay_ms < HANDBACK_BACKOFF_MAX_MS)
        ++*refusals;
    else
        delay_ms = HANDBACK_BACKOFF_MAX_MS;
    s->outcome = HANDBACK_REFUSED;
    r->outcomes[HANDBACK_REFUSED]++;
    metrics_count(r->options.port->cell, METRIC_JOURNAL_REPLAYS, HANDBACK_REFUSED, 0, 1);
    LOG(r->options.log, LOG_WARN, "Redis refuses a journaled change; trying again", LOG_S("error", error),
        LOG_SL("id", s->id), LOG_I("retry_ms", delay_ms), LOG_TRACE(&s->trace));
    handback_put_back(s, delay_ms);
}

static const char *kind_name(const struct handback_slot *s)
{
    if (s->kind == JOURNAL_LOCK) return "lock";
    const char *name = s->kind < JOURNAL_KIND_END ? s->replay->store->rules[s->kind].name : NULL;
    return name ? name : "unknown";
}

void handback_count(struct handback_slot *s)
{
    struct record_replay *r = s->replay;
    *refusals_of(s) = 0;
    r->outcomes[s->outcome]++;
    metrics_count(r->options.port->cell, METRIC_JOURNAL_REPLAYS, s->outcome, 0, 1);
    if (s->conflict) {
        r->conflicts++;
        metrics_count(r->options.port->cell, METRIC_JOURNAL_CONFLICTS, 0, 0, 1);
        LOG(r->options.log, LOG_WARN, "a journaled change met another one", LOG_S("kind", kind_name(s)),
            LOG_I("op", s->entry.op), LOG_SL("id", s->id), LOG_S("decided", s->verdict),
            LOG_TRACE(&s->trace));
    }
    if (s->outcome == HANDBACK_GIVEN_UP)
        LOG(r->options.log, LOG_WARN, "a journaled change is older than spool.age_max: given up",
            LOG_S("kind", kind_name(s)), LOG_I("op", s->entry.op), LOG_SL("id", s->id), LOG_TRACE(&s->trace));
    if (s->outcome == HANDBACK_FOREIGN)
        LOG(r->options.log, LOG_WARN, "a journaled change cannot be handed back: set aside",
            LOG_S("kind", kind_name(s)), LOG_I("op", s->entry.op), LOG_SL("id", s->id),
            LOG_S("reason", s->reason), LOG_TRACE(&s->trace));
}

/* --- pace --- */

/* A given-up connection may still bring an older write of the key: until it is killed nothing is handed back
 * over it. */
static bool may_go(const struct record_replay *r, const struct handback_slot *s)
{
    char bytes[(int)LOCK_KEY_MAX + (int)RECORD_KEY_MAX]; /* either fits */
    struct slice key;
    if (s->kind == JOURNAL_LOCK)
        key = lock_key(r->store->prefix, LOCK_PART_LOCK, s->id, bytes);
    else if (s->kind < JOURNAL_KIND_END && r->store->rules[s->kind].name)
        key = record_key(r->options.port->store, s->kind, s->id, bytes);
    else
        return true; /* will be set aside */
    return redis_topology_allows(r->store->redis, key) && redis_topology_quiet(r->store->redis, key);
}

static bool take_one(struct record_replay *r, struct handback_slot *s, int64_t now)
{
    while (r->looks < LOOKS_MAX && unsettled_take(r->store->unsettled, now, &s->kind, s->id_bytes, &s->id)) {
        if (may_go(r, s)) return true;
        r->looks++;
        unsettled_return(r->store->unsettled, s->kind, s->id, now + AWAY_MS * INT64_C(1000));
    }
    return false;
}

static bool start_one(struct record_replay *r, struct handback_slot *s, int64_t now)
{
    if (!take_one(r, s, now)) return false;
    s->replay = r;
    s->busy = true;
    s->done_seq = 0;
    s->owed = 0;
    s->bytes = s->current = (struct buf){0};
    s->decided = (struct record_result){0};
    r->busy++;
    handback_fetch(s);
    return true;
}

static void pump(struct record_replay *r)
{
    int64_t now = loop_now_us(r->options.port->loop);
    if (!r->active || !may_start(r)) return;
    int64_t step_us = 1000000 / r->options.per_s > 0 ? 1000000 / r->options.per_s : 1;
    for (size_t i = 0; i < HANDBACK_SLOTS && r->spent_until_us < now; i++)
        if (!r->slots[i].busy) {
            if (!start_one(r, &r->slots[i], now)) break;
            r->spent_until_us += step_us;
        }
}

static void begin_backlog(struct record_replay *r, uint64_t entries, int64_t now)
{
    r->active = true;
    r->spent_until_us = now - 1;
    memset(r->outcomes, 0, sizeof r->outcomes);
    r->conflicts = 0;
    LOG(r->options.log, LOG_INFO, "handing journaled changes back", LOG_I("entries", entries),
        LOG_I("per_s", r->options.per_s));
}

static void end_backlog(struct record_replay *r)
{
    r->active = false;
    LOG(r->options.log, LOG_INFO, "journaled changes handed back",
        LOG_I("written", r->outcomes[HANDBACK_WRITTEN]), LOG_I("done", r->outcomes[HANDBACK_DONE]),
        LOG_I("dropped", r->outcomes[HANDBACK_DROPPED]), LOG_I("conflicts", r->conflicts),
        LOG_I("expired", r->outcomes[HANDBACK_EXPIRED]), LOG_I("given_up", r->outcomes[HANDBACK_GIVEN_UP]),
        LOG_I("set_aside", r->outcomes[HANDBACK_FOREIGN]));
}

static void on_tick(void *arg)
{
    struct record_replay *r = arg;
    struct loop *loop = r->options.port->loop;
    int64_t now = loop_now_us(loop);
    uint64_t entries = unsettled_entries(r->store->unsettled);
    r->looks = 0;
    if (entries && !r->active && may_start(r)) begin_backlog(r, entries, now);
    if (!entries && r->active && r->busy == 0) end_backlog(r);
    if (r->active) {
        if (r->spent_until_us < now - TICK_MS * INT64_C(1000))
            r->spent_until_us = now - TICK_MS * INT64_C(1000); /* what was not used is not saved up */
        pump(r);
    }
    loop_timer_start(loop, &r->timer, now + (r->active ? TICK_MS : IDLE_TICK_MS) * INT64_C(1000), on_tick, r);
}

struct record_replay *record_replay_create(const struct record_replay_options *options)
{
    struct record_replay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->options = *options;
    r->store = record_store_options(options->port->store);
    r->ghosts = unsettled_create();
    if (!r->ghosts) {
        free(r);
        return NULL;
    }
    loop_timer_start(options->port->loop, &r->timer, loop_now_us(options->port->loop), on_tick, r);
    return r;
}

void record_replay_stop(struct record_replay *r)
{
    loop_timer_stop(&r->timer);
    r->active = false;
    r->stopped = true;
}

void record_replay_destroy(struct record_replay **replay)
{
    struct record_replay *r = *replay;
    if (!r) return;
    loop_timer_stop(&r->timer);
    for (size_t i = 0; i < HANDBACK_SLOTS; i++) {
        struct handback_slot *s = &r->slots[i];
        loop_timer_stop(&s->timer);
        if (s->busy) release(s);
    }
    unsettled_destroy(&r->ghosts);
    free(r);
    *replay = NULL;
}
