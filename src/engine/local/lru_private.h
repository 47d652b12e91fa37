/* lru_private: what the files of the LRU table share: the entry's and the shard's layout, and who guards
 * what.
 *
 * Lock order: a shard's lock, then `pending_lock`; never two shards at once. Nothing but the table's own code
 * (and malloc, for a bucket segment) runs under either; entries are freed after unlocking, by lru_free_chain.
 *
 *   lru.c          the header's functions but for hand-back
 *   lru_table.c    entries, buckets, recency, the byte budget
 *   lru_pending.c  the order of pending writes, their budget, hand-back */
#ifndef PHOENIX_ENGINE_LOCAL_LRU_PRIVATE_H
#define PHOENIX_ENGINE_LOCAL_LRU_PRIVATE_H

#include "engine/local/lru.h"
#include "util/hash.h"

#include <assert.h>
#include <pthread.h>
#include <stdalign.h>

enum {
    LRU_SHARD_BITS = 4,
    LRU_SHARDS = 1 << LRU_SHARD_BITS,
    LRU_SLOTS = 65536,
    LRU_SEGMENT = 128,         /* buckets per allocation */
    LRU_BYTES_MIN = 64 * 1024, /* a smaller budget would be eaten by empty buckets */
    LRU_ENTRY_SHARE = 8,       /* of the budget: a larger block is not kept */
    LRU_PENDING_SHARE = 2,     /* of the budget: no more is pinned, so that there is always what can go */
    LRU_CHANCES = 8,           /* entries passed over per eviction at most */
    LRU_EPOCH_BITS = 24
};

/* Beside the header's flags, an entry's place in the life of a pending write: each but NONE is a list.
 *
 *                      take             leaves the table
 *   NONE --> WAITING --------> TAKEN -------------------> DETACHED --> (released)
 *     |         ^  ^             |
 *     v         |  +--- untake --+
 *   PARKED -----+
 *
 * PARKED waits until the taker of the key's former value has settled or untaken. TAKEN and DETACHED entries
 * are in a taker's hands. */
enum lru_place {
    LRU_PLACE_NONE,
    LRU_PLACE_WAITING,
    LRU_PLACE_PARKED,
    LRU_PLACE_TAKEN,
    LRU_PLACE_DETACHED,
    LRU_PLACE_COUNT
};

/* Flags of the table's own, beside enum lru_flags. SEEN: read since it was put or since
 * eviction last passed over it. AGAIN: while it was in a taker's hands another write of
 * the key, an earlier one, was put as pending: settled, this value is to be handed back once more. */
enum { LRU_IN_TABLE = 8, LRU_AGAIN = 16, LRU_SEEN = 32 };

/* One block: this, the key, the value. 72 bytes are the whole cost beside malloc's and a bucket. The shard's
 * lock guards chain, trust and flags; `pending_lock` guards place. prev and next belong to the list that the
 * entry is on: recency when it is in the table and not PENDING (the shard's lock), else that of its place
 * (`pending_lock`). The rest never changes. */
struct lru_entry {
    struct lru_entry *chain; /* the bucket's next; after leaving, the next to free */
    _Atomic uint32_t refs;
    uint32_t hash; /* the upper half; its own upper bits are the shard */
    uint32_t value_len : 31;
    uint32_t deleted : 1;
    uint16_t key_len;
    uint8_t flags;
    uint8_t place;
    uint64_t trust;       /* epoch, and mono_ms of the fill: trust_pack in lru.c; 0: none */
    struct lru_meta meta; /* a look-up needs what is above, and expires_ms: one cache line, mostly */
    struct lru_entry *prev, *next;
    char bytes[];
};
static_assert(sizeof(struct lru_entry) == 72, "the cost of an entry is promised");

struct lru_list {
    struct lru_entry *first, *last;
};

struct lru_shard {
    alignas(64) pthread_mutex_t lock;
    struct lru_list recency;      /* first: hot, last: cold; no PENDING ones */
    struct lru_entry ***segments; /* of LRU_SEGMENT buckets each */
    uint32_t buckets;             /* in use; grows by one when there are more entries */
    uint32_t segments_max;        /* room in `segments`; at that size chains grow instead */
    _Atomic uint64_t entries;     /* written under the lock, read without by lru_stats: so are the exits */
    _Atomic uint64_t exits[LRU_EXIT_COUNT];
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): what threads write has cache lines of its own */
struct lru {
    struct hash_seed seed;
    const struct clock *clock;
    size_t bytes_max, pending_bytes_max, block_max;
    int64_t near_ttl_ms;
    alignas(64) _Atomic size_t bytes;
    _Atomic uint64_t too_large;
    alignas(64) _Atomic uint64_t live; /* the epoch; 0: tracking is not live */
    _Atomic int64_t live_until_ms;     /* nothing is trusted past it */
    _Atomic uint64_t generation;       /* the last epoch */
    _Atomic uint32_t flushes;          /* counts in every slot's stamp at once */
    alignas(64) pthread_mutex_t pending_lock;
    struct lru_list places[LRU_PLACE_COUNT];
    _Atomic uint64_t pending_entries, pending_bytes; /* written under pending_lock */
    struct lru_shard shards[LRU_SHARDS];
    _Atomic uint32_t slots[LRU_SLOTS];
};

/* --- lru_table.c --- */

bool lru_table_init(struct lru *lru);
void lru_table_deinit(struct lru *lru);

/* What the whole block costs, malloc's part included. */
size_t lru_charge_size(size_t size);
size_t lru_charge(const struct lru_entry *e);
size_t lru_block_size(struct slice key, struct slice value);

/* One reference, the caller's; not in the table. NULL: no memory. */
struct lru_entry *lru_entry_create(uint64_t hash, struct slice key, struct slice value,
                                   const struct lru_meta *meta, bool deleted);

struct lru_shard *lru_shard_of(struct lru *lru, uint32_t entry_hash);
void lru_list_push_front(struct lru_list *list, struct lru_entry *e);
void lru_list_push_back(struct lru_list *list, struct lru_entry *e);
void lru_list_remove(struct lru_list *list, struct lru_entry *e);

/* Under the shard's lock, from here to lru_free_chain. The index is below shard->buckets. */
struct lru_entry **lru_bucket_at(const struct lru_shard *shard, uint32_t index);
/* What leaves the table is put on *gone. */
struct lru_entry *lru_find(struct lru_shard *shard, uint32_t entry_hash, struct slice key);
/* The same, but an expired one leaves. */
struct lru_entry *lru_find_live(struct lru *lru, struct lru_shard *shard, uint32_t entry_hash,
                                struct slice key, int64_t now_ms, struct lru_entry **gone);
/* Takes a reference of its own and makes it the hottest. `pending`: pins it. */
void lru_enter(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, bool pending);
void lru_leave(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, struct lru_entry **gone);
void lru_leave_counted(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, enum lru_exit why,
                       struct lru_entry **gone);
void lru_count_exit(struct lru_shard *shard, enum lru_exit why);
bool lru_is_over(const struct lru_entry *e, int64_t now_ms);    /* its time to live, whatever it is */
bool lru_is_expired(const struct lru_entry *e, int64_t now_ms); /* over, and not PENDING: it may go */
/* From the cold end while the table is over its budget, but not `keep`, and what was read since only after a
 * second round. */
void lru_evict_cold(struct lru *lru, struct lru_shard *shard, const struct lru_entry *keep, int64_t now_ms,
                    struct lru_entry **gone);

/* Without locks. */
void lru_free_chain(struct lru_entry *gone);
/* Until both budgets hold: gives up pending writes over theirs, then evicts from the other shards. */
void lru_make_room(struct lru *lru, const struct lru_shard *own, int64_t now_ms);

/* --- lru_pending.c --- */

/* Under the shard's lock; the entry is in the table and on neither list. */
void lru_pending_enter(struct lru *lru, struct lru_entry *e);
/* Under the shard's lock: an entry that stays over an earlier pending write is to be handed back after it. */
void lru_pending_renew(struct lru *lru, struct lru_entry *e);
/* Under the shard's lock: off its list, no longer PENDING. A taken one becomes DETACHED. */
void lru_pending_leave(struct lru *lru, struct lru_entry *e);
/* Under the shard's lock: makes an untaken entry an ordinary one; a tombstone goes. Counted. */
void lru_pending_give_up(struct lru *lru, struct lru_shard *shard, struct lru_entry *e,
                         struct lru_entry **gone);
/* Without locks: gives up the oldest until the pending budget holds. */
void lru_pending_trim(struct lru *lru);

#endif
