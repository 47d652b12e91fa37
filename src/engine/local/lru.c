/* lru: look-up, fills, writes and coherence of the LRU table (see lru_private.h for its parts and locks).
 *
 * The fill race. A fill is sent, its key changes, the invalidation arrives, then the fill's reply is handed
 * in: it must not enter. Each key has a stamp (a slot, by hash); a fill carries the stamp of before it was
 * sent, and enters only if it is unchanged. Who invalidates or writes bumps the stamp first and takes the
 * shard's lock after. So of the two critical sections either the fill's is the later one: it sees the bump,
 * for the bump came before a lock that was released before its own; or the fill's is the earlier one: the
 * invalidation finds what it inserted, and removes it. Bumped after unlocking, a fill could slip in between
 * and stay. It needs no lock to be bumped, so lru_touch_slot takes none. */
#include "engine/local/lru_private.h"

#include "util/random.h"

#include <stdlib.h>

enum { INVALIDATE_STEP = 64 /* buckets per holding of a lock */ };

static const uint64_t epoch_mask = (UINT64_C(1) << LRU_EPOCH_BITS) - 1;
static const uint64_t filled_mask = UINT64_MAX >> LRU_EPOCH_BITS; /* 34 years of ms */

/* --- life --- */

struct lru *lru_create(const struct lru_options *options)
{
    size_t size = (sizeof(struct lru) + alignof(struct lru) - 1) & ~(alignof(struct lru) - 1);
    struct lru *lru = aligned_alloc(alignof(struct lru), size);
    if (!lru) return NULL;
    memset(lru, 0, size);
    random_bytes(&lru->seed, sizeof lru->seed);
    lru->clock = options->clock;
    lru->bytes_max = options->bytes_max < LRU_BYTES_MIN ? LRU_BYTES_MIN : options->bytes_max;
    lru->pending_bytes_max = lru->bytes_max / LRU_PENDING_SHARE;
    if (options->pending_bytes_max < lru->pending_bytes_max)
        lru->pending_bytes_max = options->pending_bytes_max;
    lru->block_max = lru->bytes_max / LRU_ENTRY_SHARE;
    lru->near_ttl_ms = options->near_ttl_ms;
    pthread_mutex_init(&lru->pending_lock, NULL);
    if (!lru_table_init(lru)) lru_destroy(&lru);
    return lru;
}

void lru_destroy(struct lru **lru)
{
    if (!*lru) return;
    lru_table_deinit(*lru);
    pthread_mutex_destroy(&(*lru)->pending_lock);
    free(*lru);
    *lru = NULL;
}

void lru_stats(struct lru *lru, struct lru_stats *out)
{
    *out = (struct lru_stats){.bytes = atomic_load(&lru->bytes),
                              .pending_entries = atomic_load(&lru->pending_entries),
                              .pending_bytes = atomic_load(&lru->pending_bytes),
                              .too_large = atomic_load(&lru->too_large)};
    for (int i = 0; i < LRU_SHARDS; i++) {
        out->entries += atomic_load_explicit(&lru->shards[i].entries, memory_order_relaxed);
        for (int why = 0; why < LRU_EXIT_COUNT; why++) {
            out->exits[why] += atomic_load_explicit(&lru->shards[i].exits[why], memory_order_relaxed);
        }
    }
}

/* --- keys, stamps, trust --- */

static uint64_t hash_of(const struct lru *lru, struct slice key)
{
    return hash_bytes(&lru->seed, key.ptr, key.len);
}

static struct lru_shard *shard_by(struct lru *lru, uint64_t hash)
{
    return lru_shard_of(lru, (uint32_t)(hash >> 32));
}

static _Atomic uint32_t *slot_by(struct lru *lru, uint64_t hash)
{
    return &lru->slots[hash % LRU_SLOTS];
}

/* Both parts only grow, so the sum is unchanged only if both are. */
static uint32_t stamp_now(struct lru *lru, uint64_t hash)
{
    return atomic_load(slot_by(lru, hash)) + atomic_load(&lru->flushes);
}

static uint64_t trust_pack(uint64_t epoch, int64_t mono_ms)
{
    if (epoch == 0) return 0;
    return (uint64_t)mono_ms << LRU_EPOCH_BITS | (epoch & epoch_mask);
}

/* Of two epochs 2^24 apart the older one's entries have been past near_ttl_ms for long. */
static bool is_of_epoch(uint64_t trust, uint64_t epoch)
{
    return epoch != 0 && (trust & epoch_mask) == (epoch & epoch_mask);
}

static bool is_trusted(struct lru *lru, uint64_t trust)
{
    if (!is_of_epoch(trust, atomic_load(&lru->live))) return false;
    int64_t now_ms = clock_mono_ms(lru->clock);
    if (now_ms > atomic_load_explicit(&lru->live_until_ms, memory_order_relaxed)) return false;
    uint64_t age = ((uint64_t)now_ms - (trust >> LRU_EPOCH_BITS)) & filled_mask;
    return age < (uint64_t)lru->near_ttl_ms;
}

static uint64_t epoch_next(struct lru *lru)
{
    uint64_t next = atomic_fetch_add(&lru->generation, 1) + 1;
    if ((next & epoch_mask) == 0) next = atomic_fetch_add(&lru->generation, 1) + 1; /* 0 means none */
    return next;
}

void lru_trust_until(struct lru *lru, int64_t mono_ms)
{
    atomic_store_explicit(&lru->live_until_ms, mono_ms, memory_order_relaxed);
}

void lru_trust_begin(struct lru *lru)
{
    lru_trust_until(lru, INT64_MAX);
    atomic_store(&lru->live, epoch_next(lru));
}

void lru_trust_end(struct lru *lru)
{
    atomic_store(&lru->live, 0);
}

/* --- reading --- */

bool lru_get(struct lru *lru, struct slice key, struct lru_hit *out)
{
    uint64_t hash = hash_of(lru, key);
    struct lru_shard *shard = shard_by(lru, hash);
    int64_t now_ms = clock_wall_ms(lru->clock);
    struct lru_entry *gone = NULL;
    uint64_t trust = 0;
    pthread_mutex_lock(&shard->lock);
    struct lru_entry *e = lru_find_live(lru, shard, (uint32_t)(hash >> 32), key, now_ms, &gone);
    if (e) {
        lru_retain(e);
        trust = e->trust;
        *out = (struct lru_hit){.entry = e, .flags = e->flags & (LRU_OWN | LRU_PENDING)};
        if (e->deleted || lru_is_over(e, now_ms)) out->flags |= LRU_DELETED;
        e->flags |= LRU_SEEN;
    }
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
    if (!e) return false;
    out->trusted = trust != 0 && is_trusted(lru, trust);
    return true;
}

/* --- filling --- */

struct lru_token lru_fill_begin(struct lru *lru, struct slice key)
{
    uint64_t hash = hash_of(lru, key);
    return (struct lru_token){.hash = hash, .epoch = atomic_load(&lru->live), .stamp = stamp_now(lru, hash)};
}

static bool is_kept_size(struct lru *lru, size_t block)
{
    if (lru_charge_size(block) <= lru->block_max) return true;
    atomic_fetch_add(&lru->too_large, 1);
    return false;
}

/* Under the shard's lock: may this fill change what the table holds? */
static bool may_fill(struct lru *lru, const struct lru_token *token, const struct lru_entry *old)
{
    if (stamp_now(lru, token->hash) != token->stamp) return false;
    return !old || !(old->flags & LRU_PENDING);
}

static bool is_own_value(const struct lru_entry *old, struct slice value)
{
    return old && !old->deleted && (old->flags & LRU_OWN) && slice_equal(lru_entry_value(old), value);
}

struct lru_entry *lru_fill(struct lru *lru, struct slice key, struct slice value, const struct lru_meta *meta,
                           const struct lru_token *token)
{
    struct lru_entry *e = lru_entry_create(token->hash, key, value, meta, false);
    if (!e) return NULL;
    bool keep = is_kept_size(lru, lru_block_size(key, value));
    int64_t now_ms = clock_wall_ms(lru->clock);
    int64_t filled_ms = clock_mono_ms(lru->clock);
    struct lru_shard *shard = shard_by(lru, token->hash);
    struct lru_entry *gone = NULL;
    pthread_mutex_lock(&shard->lock);
    struct lru_entry *old = lru_find_live(lru, shard, e->hash, key, now_ms, &gone);
    if (may_fill(lru, token, old)) {
        if (is_own_value(old, value)) e->flags |= LRU_OWN;
        e->trust = trust_pack(token->epoch, filled_ms);
        if (old) lru_leave(lru, shard, old, &gone); /* also for one too large to keep: Redis has another */
        if (keep) lru_enter(lru, shard, e, false);
        lru_evict_cold(lru, shard, e, now_ms, &gone);
    }
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
    lru_make_room(lru, shard, now_ms);
    return e;
}

void lru_fill_absent(struct lru *lru, struct slice key, const struct lru_token *token)
{
    struct lru_shard *shard = shard_by(lru, token->hash);
    struct lru_entry *gone = NULL;
    pthread_mutex_lock(&shard->lock);
    struct lru_entry *old = lru_find(shard, (uint32_t)(token->hash >> 32), key);
    if (old && may_fill(lru, token, old)) lru_leave_counted(lru, shard, old, LRU_EXIT_INVALIDATED, &gone);
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
}

/* --- writing --- */

void lru_touch_slot(struct lru *lru, struct slice key)
{
    atomic_fetch_add(slot_by(lru, hash_of(lru, key)), 1);
}

/* Among own writes the later stamp wins; the later call, when they are equal or one is unknown. */
static bool outlasts(const struct lru_entry *old, const struct lru_meta *meta)
{
    return (old->flags & LRU_OWN) && meta->stamp_ms != 0 && old->meta.stamp_ms > meta->stamp_ms;
}

/* Under the shard's lock: `old` (or NULL) gives way to `e` (or NULL: no room for it). Returns what is there
 * now. */
static struct lru_entry *put_locked(struct lru *lru, struct lru_shard *shard, struct lru_entry *old,
                                    struct lru_entry *e, const struct lru_meta *meta, bool pending,
                                    struct lru_entry **gone)
{
    if (old && outlasts(old, meta)) {
        old->trust = 0;
        if (pending) lru_pending_renew(lru, old);
        return old;
    }
    if (old) {
        pending = pending || (old->flags & LRU_PENDING);
        lru_leave(lru, shard, old, gone);
    }
    if (!e) return NULL;
    e->flags = LRU_OWN;
    lru_enter(lru, shard, e, pending);
    return e;
}

bool lru_put(struct lru *lru, struct slice key, struct slice value, const struct lru_meta *meta,
             unsigned flags, bool *out_replaced)
{
    assert(!(flags & LRU_DELETED) || value.len == 0);
    uint64_t hash = hash_of(lru, key);
    struct lru_shard *shard = shard_by(lru, hash);
    int64_t now_ms = clock_wall_ms(lru->clock);
    struct lru_entry *gone = NULL, *e = NULL;
    if (is_kept_size(lru, lru_block_size(key, value))) {
        e = lru_entry_create(hash, key, value, meta, flags & LRU_DELETED);
    }
    atomic_fetch_add(slot_by(lru, hash), 1);
    pthread_mutex_lock(&shard->lock);
    struct lru_entry *old = lru_find_live(lru, shard, (uint32_t)(hash >> 32), key, now_ms, &gone);
    *out_replaced = old && !old->deleted && !lru_is_over(old, now_ms);
    bool unwanted = (flags & LRU_IF_PENDING) && !(old && (old->flags & LRU_PENDING));
    if (unwanted || (*out_replaced && (flags & LRU_IF_ABSENT))) {
        pthread_mutex_unlock(&shard->lock);
        lru_release(e);
        lru_free_chain(gone);
        return !unwanted;
    }
    struct lru_entry *now = put_locked(lru, shard, old, e, meta, flags & LRU_PENDING, &gone);
    bool ok = now != NULL;
    /* Alone over the pending budget: giving up all the others would not help it. */
    if (now && (now->flags & LRU_PENDING) && lru_charge(now) > lru->pending_bytes_max) {
        lru_pending_give_up(lru, shard, now, &gone);
    }
    lru_evict_cold(lru, shard, now, now_ms, &gone);
    pthread_mutex_unlock(&shard->lock);
    lru_release(e);
    lru_free_chain(gone);
    lru_make_room(lru, shard, now_ms);
    return ok;
}

bool lru_pending_fits(const struct lru *lru, struct slice key, struct slice value)
{
    size_t charge = lru_charge_size(lru_block_size(key, value));
    return charge <= lru->block_max && charge <= lru->pending_bytes_max;
}

/* --- coherence --- */

void lru_invalidate(struct lru *lru, struct slice key)
{
    uint64_t hash = hash_of(lru, key);
    struct lru_shard *shard = shard_by(lru, hash);
    struct lru_entry *gone = NULL;
    atomic_fetch_add(slot_by(lru, hash), 1);
    pthread_mutex_lock(&shard->lock);
    struct lru_entry *e = lru_find(shard, (uint32_t)(hash >> 32), key);
    if (e && (e->flags & LRU_OWN)) {
        e->trust = 0;
    } else if (e) {
        lru_leave_counted(lru, shard, e, LRU_EXIT_INVALIDATED, &gone);
    }
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
}

/* Under the shard's lock; false when these were the last buckets. A bucket that splits meanwhile gives
 * entries to a higher one, so walking upwards misses none. */
static bool invalidate_step(struct lru *lru, struct lru_shard *shard, uint32_t *at, struct lru_entry **gone)
{
    uint64_t live = atomic_load(&lru->live);
    for (int i = 0; i < INVALIDATE_STEP && *at < shard->buckets; i++, (*at)++) {
        struct lru_entry *next;
        for (struct lru_entry *e = *lru_bucket_at(shard, *at); e; e = next) {
            next = e->chain;
            if ((e->flags & LRU_OWN) || is_of_epoch(e->trust, live)) continue;
            lru_leave_counted(lru, shard, e, LRU_EXIT_INVALIDATED, gone);
        }
    }
    return *at < shard->buckets;
}

void lru_invalidate_all(struct lru *lru)
{
    atomic_fetch_add(&lru->flushes, 1);
    /* A new epoch takes everyone's trust at once, unless tracking ends just now: then that did. */
    uint64_t live = atomic_load(&lru->live);
    if (live != 0) atomic_compare_exchange_strong(&lru->live, &live, epoch_next(lru));
    for (int i = 0; i < LRU_SHARDS; i++) {
        struct lru_shard *shard = &lru->shards[i];
        uint32_t at = 0;
        bool more = true;
        while (more) {
            struct lru_entry *gone = NULL;
            pthread_mutex_lock(&shard->lock);
            more = invalidate_step(lru, shard, &at, &gone);
            pthread_mutex_unlock(&shard->lock);
            lru_free_chain(gone);
        }
    }
}
