/* lru: the in-process table behind /cache: near cache in front of Redis, and what is left when Redis is gone.
 *
 * Sharded by key hash; a mutex per shard, never held across a call out, and no function takes two shards at
 * once. Each entry is one block (80 bytes, key, value) with a reference count, so that a value is handed to
 * an HTTP answer without a copy and outlives its eviction. One global byte count (atomic) covers every block,
 * its malloc overhead and the buckets; over `bytes_max` entries go from the own shard's cold end, then from
 * the next shards'. All operations O(1); buckets grow in small steps (linear hashing), never all at once.
 *
 * Kinds of entry, decided by flags:
 *   a plain fallback           0               may be evicted; not served while Redis answers
 *   trusted                    epoch matches   read from Redis under live tracking; served without asking
 *   OWN                        this daemon wrote the value last; an invalidation keeps it, untrusted
 *   PENDING                    Redis has not acknowledged it; pinned; newer than anything Redis can say
 *   DELETED                    a tombstone: hides the key (pending or, for a short while, acknowledged)
 *
 * A PENDING tombstone never expires; a PENDING value whose time is up acts as one: what it replaced in Redis
 * must not come back. An acknowledged tombstone says nothing of what Redis holds since: it does not stop
 * fills begun after it.
 *
 * Any thread may call anything; a `struct lru_entry *` is read-only to callers. Keys are at most 65535 bytes,
 * values under 2 GiB. */
#ifndef PHOENIX_ENGINE_LOCAL_LRU_H
#define PHOENIX_ENGINE_LOCAL_LRU_H

#include "util/clock.h"
#include "util/slice.h"

#include <stdatomic.h>
#include <stdint.h>

struct lru;

struct lru_options {
    /* All that the table holds, overhead included; at least 64 KiB (less is taken for that). Not counted: the
     * fixed 256 KiB of stamps, and entries that left while referenced. */
    size_t bytes_max;
    /* Of these, pinned; beyond it the oldest pending entry that no one has taken is given up: it stays as an
     * ordinary own entry, a tombstone goes. At most half of bytes_max (more is taken for that). */
    size_t pending_bytes_max;
    int64_t near_ttl_ms; /* how long an entry stays trusted at most */
    const struct clock *clock;
};

enum lru_flags {
    LRU_OWN = 1,
    LRU_PENDING = 2,
    LRU_DELETED = 4,
    LRU_IF_ABSENT = 64, /* of a put only, as the next */
    LRU_IF_PENDING = 128
};

/* What the caller knows of a value; copied into the entry, opaque to the table but for expires_ms and
 * stamp_ms. */
struct lru_meta {
    int64_t expires_ms; /* wall clock; 0: none */
    /* The value's own `timestamp`, or the time of the deletion; orders writes. 0: unknown. */
    int64_t stamp_ms;
    uint64_t etag;
};

struct lru_entry; /* reference-counted */

/* Why entries left, replaced and settled ones apart. The order is that of the metric's label. */
enum lru_exit {
    LRU_EXIT_BUDGET,
    LRU_EXIT_EXPIRED,        /* noticed at a look-up, a write, an eviction or a settling */
    LRU_EXIT_INVALIDATED,    /* also: Redis has no such key, or something newer (lru_settle) */
    LRU_EXIT_PENDING_BUDGET, /* given up: never handed back, though a value may still be there to read */
    LRU_EXIT_COUNT
};

struct lru_stats {
    uint64_t entries, bytes, pending_entries, pending_bytes;
    uint64_t exits[LRU_EXIT_COUNT];
    uint64_t too_large; /* values not kept because over an eighth of the budget */
};

struct lru *lru_create(const struct lru_options *options); /* NULL: no memory */
void lru_destroy(struct lru **lru);                        /* entries still referenced live on */
void lru_stats(struct lru *lru, struct lru_stats *out);

/* --- reading --- */

struct lru_hit {
    struct lru_entry *entry; /* a reference of the caller's: lru_release */
    unsigned flags;          /* as they were at the look-up */
    bool trusted;            /* tracking covers it and near_ttl_ms has not passed */
};

/* Looks up and refreshes recency. False: not there or expired. A tombstone is a hit with LRU_DELETED, and so
 * is a PENDING value whose time is up. */
bool lru_get(struct lru *lru, struct slice key, struct lru_hit *out);
void lru_release(struct lru_entry *entry); /* NULL is fine */
void lru_retain(struct lru_entry *entry);

struct slice lru_entry_key(const struct lru_entry *e);
struct slice lru_entry_value(const struct lru_entry *e);
const struct lru_meta *lru_entry_meta(const struct lru_entry *e);

/* --- filling from Redis --- */

/* Taken before the read is sent. Says whether anything invalidated or wrote this key (65 536 slots by hash)
 * and whether tracking broke between request and reply. */
struct lru_token {
    uint64_t hash;
    uint64_t epoch; /* 0: tracking was not live */
    uint32_t stamp;
};

struct lru_token lru_fill_begin(struct lru *lru, struct slice key);

/* Makes an entry of what Redis answered, and always returns it with a reference for the caller's answer
 * (NULL: no memory), in the table or not: it is kept only if the token's slot is untouched and no PENDING
 * entry is there; trusted only if the token's epoch is also the live one. Keeps LRU_OWN when an own entry
 * holds the same bytes. Too large to keep, it drops what was there. */
struct lru_entry *lru_fill(struct lru *lru, struct slice key, struct slice value, const struct lru_meta *meta,
                           const struct lru_token *token);
/* Redis said that the key does not exist: drops a non-pending entry if the token's slot is untouched. */
void lru_fill_absent(struct lru *lru, struct slice key, const struct lru_token *token);

/* --- writing --- */

/* A write or deletion of this daemon is about to be sent: outstanding fills of the key become untrusted. */
void lru_touch_slot(struct lru *lru, struct slice key);

/* Puts a value (or with LRU_DELETED a tombstone, value empty) that this daemon wrote; LRU_OWN is implied,
 * never trusted; touches the slot. Rules, under the shard's lock: an OWN entry with a later stamp_ms stays
 * (when both are known; the later call wins when they are equal) and the new one is dropped; whichever stays
 * is PENDING if either was. Embedded mode puts plain OWN entries. `out_replaced`: a live, undeleted entry was
 * there before; written in any case; with LRU_IF_ABSENT nothing is changed then. With LRU_IF_PENDING nothing
 * is changed, and false returned, unless a pending entry is there. A pending put evicts others to fit; false:
 * no memory, or larger than an eighth of the budget (an older value of that key is dropped all the same,
 * pending or not). */
bool lru_put(struct lru *lru, struct slice key, struct slice value, const struct lru_meta *meta,
             unsigned flags, bool *out_replaced);

/* Whether a pending put of it could stay pending: not over an eighth of the budget, nor alone over the
 * pending one. What could not must not be acknowledged, nor put at the cost of an older pending write. */
bool lru_pending_fits(const struct lru *lru, struct slice key, struct slice value);

/* --- coherence --- */

/* Redis invalidated the key: OWN and PENDING entries stay, untrusted; others go. Touches the slot. */
void lru_invalidate(struct lru *lru, struct slice key);
/* FLUSHALL: the same for every key. */
void lru_invalidate_all(struct lru *lru);
/* Tracking is live from now on: a new epoch; only fills begun in it become trusted. */
void lru_trust_begin(struct lru *lru);
/* Nothing is trusted past this time (clock_mono_ms) until it is told again: what bounds the age of a trusted
 * value when the thread that hears of changes is late. Tracking's begin sets no bound. Any order of calls. */
void lru_trust_until(struct lru *lru, int64_t mono_ms);
/* Tracking is lost: nothing is trusted any more. One atomic store. */
void lru_trust_end(struct lru *lru);

/* --- handing pending writes back --- */

/* The oldest pending entry that no one has taken, marked as taken (one taker per key at a time: a replacement
 * put while it is taken stays untakeable until lru_settle or lru_untake). NULL: none. The caller's reference,
 * which must last until then. What is taken is not given up for the pending budget. A value whose time is up
 * comes with LRU_DELETED. */
struct lru_entry *lru_pending_take(struct lru *lru, unsigned *out_flags);
/* Redis has it, or something newer: if this very entry is still in the table it stops being pending (a
 * tombstone goes, and a value whose time is up; with `superseded` any value goes). Releases the taking, not
 * the reference. If it stayed over an earlier pending write that was put while it was taken, it is to be
 * handed back once more, for that write may have reached Redis after it: then it is takeable again, unless
 * superseded. */
void lru_settle(struct lru *lru, struct lru_entry *entry, bool superseded);
/* Could not be handed back now: takeable again, behind the others. */
void lru_untake(struct lru *lru, struct lru_entry *entry);

#endif
