/* lru_table: entries, buckets, recency and the byte budget of the LRU table.
 *
 * Linear hashing (Litwin 1980): a shard has `buckets` buckets; when it has more entries than buckets, the
 * next one is added and takes its share of exactly one other, so that no insertion ever rehashes a table.
 * Buckets come in segments of 1 KiB; what they cost counts against the budget and is not given back.
 *
 * The budget is one atomic count. Whoever takes it over the limit brings it back before returning: from the
 * shard that is locked anyway, then from the others, one lock at a time. */
#include "engine/local/lru_private.h"

#include <stdlib.h>

enum { MALLOC_HEADER = 8, MALLOC_ALIGN = 16, MALLOC_MIN = 32, MMAP_THRESHOLD = 128 * 1024, PAGE = 4096 };

size_t lru_charge_size(size_t size)
{
    if (size >= MMAP_THRESHOLD) return (size + 2 * (size_t)MALLOC_HEADER + PAGE - 1) & ~(size_t)(PAGE - 1);
    size_t chunk = (size + MALLOC_HEADER + MALLOC_ALIGN - 1) & ~(size_t)(MALLOC_ALIGN - 1);
    return chunk < MALLOC_MIN ? MALLOC_MIN : chunk;
}

size_t lru_block_size(struct slice key, struct slice value)
{
    return sizeof(struct lru_entry) + key.len + value.len;
}

size_t lru_charge(const struct lru_entry *e)
{
    return lru_charge_size(sizeof *e + e->key_len + e->value_len);
}

/* --- entries --- */

struct lru_entry *lru_entry_create(uint64_t hash, struct slice key, struct slice value,
                                   const struct lru_meta *meta, bool deleted)
{
    assert(key.len <= UINT16_MAX);
    assert(value.len <= INT32_MAX);
    struct lru_entry *e = malloc(lru_block_size(key, value));
    if (!e) return NULL;
    *e = (struct lru_entry){.meta = *meta,
                            .hash = (uint32_t)(hash >> 32),
                            .value_len = (uint32_t)value.len & INT32_MAX,
                            .deleted = deleted,
                            .key_len = (uint16_t)key.len};
    atomic_init(&e->refs, 1);
    if (key.len) memcpy(e->bytes, key.ptr, key.len);
    if (value.len) memcpy(e->bytes + key.len, value.ptr, value.len);
    return e;
}

void lru_retain(struct lru_entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

void lru_release(struct lru_entry *e)
{
    if (!e) return;
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1) free(e);
}

struct slice lru_entry_key(const struct lru_entry *e)
{
    return (struct slice){e->bytes, e->key_len};
}

struct slice lru_entry_value(const struct lru_entry *e)
{
    return (struct slice){e->bytes + e->key_len, e->value_len};
}

const struct lru_meta *lru_entry_meta(const struct lru_entry *e)
{
    return &e->meta;
}

bool lru_is_over(const struct lru_entry *e, int64_t now_ms)
{
    return e->meta.expires_ms != 0 && now_ms >= e->meta.expires_ms;
}

bool lru_is_expired(const struct lru_entry *e, int64_t now_ms)
{
    return !(e->flags & LRU_PENDING) && lru_is_over(e, now_ms);
}

void lru_free_chain(struct lru_entry *gone)
{
    while (gone) {
        struct lru_entry *next = gone->chain;
        lru_release(gone);
        gone = next;
    }
}

/* --- lists --- */

void lru_list_push_front(struct lru_list *list, struct lru_entry *e)
{
    e->prev = NULL;
    e->next = list->first;
    if (list->first) {
        list->first->prev = e;
    } else {
        list->last = e;
    }
    list->first = e;
}

void lru_list_push_back(struct lru_list *list, struct lru_entry *e)
{
    e->next = NULL;
    e->prev = list->last;
    if (list->last) {
        list->last->next = e;
    } else {
        list->first = e;
    }
    list->last = e;
}

void lru_list_remove(struct lru_list *list, struct lru_entry *e)
{
    if (e->prev) {
        e->prev->next = e->next;
    } else {
        list->first = e->next;
    }
    if (e->next) {
        e->next->prev = e->prev;
    } else {
        list->last = e->prev;
    }
    e->prev = e->next = NULL;
}

/* --- buckets --- */

struct lru_shard *lru_shard_of(struct lru *lru, uint32_t entry_hash)
{
    return &lru->shards[entry_hash >> (32 - LRU_SHARD_BITS)];
}

static uint32_t power_of_two_below(uint32_t n) /* the largest that is not above n */
{
    return UINT32_C(1) << (31 - __builtin_clz(n));
}

struct lru_entry **lru_bucket_at(const struct lru_shard *shard, uint32_t index)
{
    return &shard->segments[index / LRU_SEGMENT][index % LRU_SEGMENT];
}

static struct lru_entry **bucket_of(const struct lru_shard *shard, uint32_t entry_hash)
{
    uint32_t level = power_of_two_below(shard->buckets);
    uint32_t index = entry_hash & (2 * level - 1) & (UINT32_MAX >> LRU_SHARD_BITS);
    return lru_bucket_at(shard, index < shard->buckets ? index : index - level);
}

static bool segment_add(struct lru *lru, struct lru_shard *shard, uint32_t at)
{
    if (at >= shard->segments_max) return false;
    shard->segments[at] = calloc(LRU_SEGMENT, sizeof(struct lru_entry *));
    if (!shard->segments[at]) return false;
    atomic_fetch_add(&lru->bytes, lru_charge_size(LRU_SEGMENT * sizeof(struct lru_entry *)));
    return true;
}

/* Adds one bucket; out of memory, or at the end of `segments`, chains just get longer. */
static void grow(struct lru *lru, struct lru_shard *shard)
{
    uint32_t added = shard->buckets;
    if (added % LRU_SEGMENT == 0 && !segment_add(lru, shard, added / LRU_SEGMENT)) return;
    uint32_t level = power_of_two_below(added);
    struct lru_entry **from = lru_bucket_at(shard, added - level);
    struct lru_entry **to = lru_bucket_at(shard, added);
    while (*from) {
        struct lru_entry *e = *from;
        if (e->hash & level) {
            *from = e->chain;
            e->chain = *to;
            *to = e;
        } else {
            from = &e->chain;
        }
    }
    shard->buckets++;
}

struct lru_entry *lru_find(struct lru_shard *shard, uint32_t entry_hash, struct slice key)
{
    for (struct lru_entry *e = *bucket_of(shard, entry_hash); e; e = e->chain) {
        if (e->hash == entry_hash && slice_equal(lru_entry_key(e), key)) return e;
    }
    return NULL;
}

struct lru_entry *lru_find_live(struct lru *lru, struct lru_shard *shard, uint32_t entry_hash,
                                struct slice key, int64_t now_ms, struct lru_entry **gone)
{
    struct lru_entry *e = lru_find(shard, entry_hash, key);
    if (!e || !lru_is_expired(e, now_ms)) return e;
    lru_leave_counted(lru, shard, e, LRU_EXIT_EXPIRED, gone);
    return NULL;
}

static void add_under_lock(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + by, memory_order_relaxed);
}

void lru_count_exit(struct lru_shard *shard, enum lru_exit why)
{
    add_under_lock(&shard->exits[why], 1);
}

void lru_enter(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, bool pending)
{
    assert(!(e->flags & LRU_IN_TABLE));
    lru_retain(e);
    e->flags |= LRU_IN_TABLE;
    atomic_fetch_add(&lru->bytes, lru_charge(e));
    add_under_lock(&shard->entries, 1);
    struct lru_entry **bucket = bucket_of(shard, e->hash);
    e->chain = *bucket;
    *bucket = e;
    if (pending) {
        lru_pending_enter(lru, e);
    } else {
        lru_list_push_front(&shard->recency, e);
    }
    if (atomic_load_explicit(&shard->entries, memory_order_relaxed) > shard->buckets) grow(lru, shard);
}

void lru_leave(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, struct lru_entry **gone)
{
    assert(e->flags & LRU_IN_TABLE);
    struct lru_entry **link = bucket_of(shard, e->hash);
    while (*link != e)
        link = &(*link)->chain;
    *link = e->chain;
    if (e->flags & LRU_PENDING) {
        lru_pending_leave(lru, e);
    } else {
        lru_list_remove(&shard->recency, e);
    }
    e->flags &= (uint8_t)~LRU_IN_TABLE;
    atomic_fetch_sub(&lru->bytes, lru_charge(e));
    add_under_lock(&shard->entries, (uint64_t)-1);
    e->chain = *gone;
    *gone = e;
}

void lru_leave_counted(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, enum lru_exit why,
                       struct lru_entry **gone)
{
    lru_count_exit(shard, why);
    lru_leave(lru, shard, e, gone);
}

/* --- the budget --- */

static bool over_budget(struct lru *lru)
{
    return atomic_load(&lru->bytes) > lru->bytes_max;
}

/* A look-up only marks what it reads, for moving it to the hot end would cost it three cache lines; the mark
 * is worth one more round here. The bound keeps an eviction short when everything is marked. */
static struct lru_entry *coldest(struct lru_shard *shard, const struct lru_entry *keep)
{
    struct lru_entry *e = shard->recency.last;
    for (int i = 0; i < LRU_CHANCES && e && e != keep && (e->flags & LRU_SEEN); i++) {
        e->flags &= (uint8_t)~LRU_SEEN;
        lru_list_remove(&shard->recency, e);
        lru_list_push_front(&shard->recency, e);
        e = shard->recency.last;
    }
    return e;
}

void lru_evict_cold(struct lru *lru, struct lru_shard *shard, const struct lru_entry *keep, int64_t now_ms,
                    struct lru_entry **gone)
{
    while (over_budget(lru)) {
        struct lru_entry *cold = coldest(shard, keep);
        if (cold && cold == keep) cold = cold->prev;
        if (!cold) return;
        enum lru_exit why = lru_is_expired(cold, now_ms) ? LRU_EXIT_EXPIRED : LRU_EXIT_BUDGET;
        lru_leave_counted(lru, shard, cold, why, gone);
    }
}

static void evict_from(struct lru *lru, struct lru_shard *shard, int64_t now_ms)
{
    struct lru_entry *gone = NULL;
    pthread_mutex_lock(&shard->lock);
    lru_evict_cold(lru, shard, NULL, now_ms, &gone);
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
}

void lru_make_room(struct lru *lru, const struct lru_shard *own, int64_t now_ms)
{
    lru_pending_trim(lru);
    ptrdiff_t at = own - lru->shards;
    /* The own shard comes last again, now with what was just put. */
    for (int i = 1; i <= LRU_SHARDS && over_budget(lru); i++) {
        evict_from(lru, &lru->shards[(at + i) % LRU_SHARDS], now_ms);
    }
}

/* --- life --- */

static bool shard_init(struct lru *lru, struct lru_shard *shard)
{
    pthread_mutex_init(&shard->lock, NULL);
    /* As many buckets as the smallest entries that fit, with an eighth more for an uneven spread. */
    size_t entries_max = lru->bytes_max / lru_charge_size(sizeof(struct lru_entry) + 1) / LRU_SHARDS;
    size_t buckets_max = entries_max + entries_max / 8;
    if (buckets_max > UINT32_MAX >> LRU_SHARD_BITS) buckets_max = UINT32_MAX >> LRU_SHARD_BITS;
    shard->segments_max = (uint32_t)(buckets_max / LRU_SEGMENT) + 1;
    shard->segments = calloc(shard->segments_max, sizeof *shard->segments);
    if (!shard->segments) return false;
    atomic_fetch_add(&lru->bytes, lru_charge_size(shard->segments_max * sizeof *shard->segments));
    if (!segment_add(lru, shard, 0)) return false;
    shard->buckets = LRU_SEGMENT;
    return true;
}

bool lru_table_init(struct lru *lru)
{
    bool ok = true;
    for (int i = 0; i < LRU_SHARDS; i++)
        ok &= shard_init(lru, &lru->shards[i]);
    return ok;
}

static void shard_deinit(struct lru_shard *shard)
{
    for (uint32_t i = 0; i < shard->buckets; i++)
        lru_free_chain(*lru_bucket_at(shard, i));
    for (uint32_t i = 0; i < shard->segments_max && shard->segments; i++)
        free(shard->segments[i]);
    free(shard->segments);
    pthread_mutex_destroy(&shard->lock);
}

void lru_table_deinit(struct lru *lru)
{
    for (int i = 0; i < LRU_SHARDS; i++)
        shard_deinit(&lru->shards[i]);
}
