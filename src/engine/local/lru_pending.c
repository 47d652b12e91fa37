/* lru_pending: writes that Redis has not acknowledged, in the order they came, and their hand-back.
 *
 * A pending entry is on one of the table's lists (enum lru_place) instead of its shard's recency list:
 * WAITING is the order of hand-back, and of giving up when there are too many bytes. At most one value of a
 * key is in a taker's hands: while one is, in the table (TAKEN) or replaced since (DETACHED), a newer value
 * of the key is PARKED, and is moved to WAITING by the settle or untake of the older.
 *
 * What is in a taker's hands is not given up, for it may reach Redis yet. The budget holds all the same:
 * nothing is taken while the table is over it, so what is taken is within it.
 *
 * lru_pending_take moves WAITING to TAKEN under `pending_lock` alone. So whoever ends an entry's being
 * pending while it stays in the table looks at its place and changes it in one holding of that lock.
 *
 * DETACHED is searched on every pending put. It holds no more than the takers have in hand, and of these only
 * what was overwritten meanwhile: almost always nothing. */
#include "engine/local/lru_private.h"

static void pending_count(struct lru *lru, const struct lru_entry *e, bool more)
{
    uint64_t charge = lru_charge(e);
    if (more) {
        atomic_fetch_add(&lru->pending_entries, 1);
        atomic_fetch_add(&lru->pending_bytes, charge);
    } else {
        atomic_fetch_sub(&lru->pending_entries, 1);
        atomic_fetch_sub(&lru->pending_bytes, charge);
    }
}

/* Under pending_lock. */
static void place_move(struct lru *lru, struct lru_entry *e, enum lru_place to)
{
    if (e->place != LRU_PLACE_NONE) lru_list_remove(&lru->places[e->place], e);
    e->place = (uint8_t)to;
    if (to != LRU_PLACE_NONE) lru_list_push_back(&lru->places[to], e);
}

static bool same_key(const struct lru_entry *a, const struct lru_entry *b)
{
    return a->hash == b->hash && slice_equal(lru_entry_key(a), lru_entry_key(b));
}

/* Under pending_lock: a former value of e's key is in a taker's hands. */
static bool is_key_detached(struct lru *lru, const struct lru_entry *e)
{
    for (struct lru_entry *d = lru->places[LRU_PLACE_DETACHED].first; d; d = d->next) {
        if (same_key(d, e)) return true;
    }
    return false;
}

void lru_pending_enter(struct lru *lru, struct lru_entry *e)
{
    e->flags |= LRU_PENDING;
    pthread_mutex_lock(&lru->pending_lock);
    pending_count(lru, e, true);
    place_move(lru, e, is_key_detached(lru, e) ? LRU_PLACE_PARKED : LRU_PLACE_WAITING);
    pthread_mutex_unlock(&lru->pending_lock);
}

void lru_pending_renew(struct lru *lru, struct lru_entry *e)
{
    if (!(e->flags & LRU_PENDING)) {
        lru_list_remove(&lru_shard_of(lru, e->hash)->recency, e);
        lru_pending_enter(lru, e);
        return;
    }
    pthread_mutex_lock(&lru->pending_lock);
    if (e->place == LRU_PLACE_TAKEN) e->flags |= LRU_AGAIN;
    pthread_mutex_unlock(&lru->pending_lock);
}

void lru_pending_leave(struct lru *lru, struct lru_entry *e)
{
    pthread_mutex_lock(&lru->pending_lock);
    pending_count(lru, e, false);
    place_move(lru, e, e->place == LRU_PLACE_TAKEN ? LRU_PLACE_DETACHED : LRU_PLACE_NONE);
    pthread_mutex_unlock(&lru->pending_lock);
    e->flags &= (uint8_t) ~(LRU_PENDING | LRU_AGAIN);
}

/* Under both locks: an ordinary entry from now on. */
static void make_ordinary(struct lru *lru, struct lru_shard *shard, struct lru_entry *e)
{
    pending_count(lru, e, false);
    place_move(lru, e, LRU_PLACE_NONE);
    e->flags &= (uint8_t) ~(LRU_PENDING | LRU_AGAIN);
    lru_list_push_front(&shard->recency, e);
}

/* --- the budget of pending bytes --- */

void lru_pending_give_up(struct lru *lru, struct lru_shard *shard, struct lru_entry *e,
                         struct lru_entry **gone)
{
    pthread_mutex_lock(&lru->pending_lock);
    bool taken = e->place == LRU_PLACE_TAKEN;
    if (!taken) make_ordinary(lru, shard, e);
    pthread_mutex_unlock(&lru->pending_lock);
    if (taken) return;
    lru_count_exit(shard, LRU_EXIT_PENDING_BUDGET);
    if (e->deleted) lru_leave(lru, shard, e, gone);
}

static bool over_pending_budget(struct lru *lru)
{
    return atomic_load(&lru->pending_bytes) > lru->pending_bytes_max;
}

/* The one to give up, with a reference. What is on these lists is in the table, so it has not been freed. */
static struct lru_entry *oldest_untaken(struct lru *lru)
{
    pthread_mutex_lock(&lru->pending_lock);
    struct lru_entry *e = lru->places[LRU_PLACE_WAITING].first;
    if (!e) e = lru->places[LRU_PLACE_PARKED].first;
    if (e) lru_retain(e);
    pthread_mutex_unlock(&lru->pending_lock);
    return e;
}

void lru_pending_trim(struct lru *lru)
{
    struct lru_entry *e;
    while (over_pending_budget(lru) && (e = oldest_untaken(lru))) {
        struct lru_entry *gone = NULL;
        struct lru_shard *shard = lru_shard_of(lru, e->hash);
        pthread_mutex_lock(&shard->lock);
        /* Between the locks it may have been taken, settled or replaced: then another one goes, or none. */
        if (e->flags & LRU_PENDING) lru_pending_give_up(lru, shard, e, &gone);
        pthread_mutex_unlock(&shard->lock);
        lru_free_chain(gone);
        lru_release(e);
    }
}

/* --- hand-back --- */

struct lru_entry *lru_pending_take(struct lru *lru, unsigned *out_flags)
{
    int64_t now_ms = clock_wall_ms(lru->clock);
    for (;;) {
        pthread_mutex_lock(&lru->pending_lock);
        struct lru_entry *e = lru->places[LRU_PLACE_WAITING].first;
        bool over = e && over_pending_budget(lru);
        if (e && !over) {
            lru_retain(e);
            place_move(lru, e, LRU_PLACE_TAKEN);
        }
        pthread_mutex_unlock(&lru->pending_lock);
        if (!over) {
            /* `flags` is the shard's lock's to read, and says nothing else of a waiting entry. */
            if (e)
                *out_flags =
                    LRU_OWN | LRU_PENDING | (e->deleted || lru_is_over(e, now_ms) ? LRU_DELETED : 0U);
            return e;
        }
        lru_pending_trim(lru);
    }
}

/* Under the shard's lock: the key can be taken again. A value that is still pending, this one (unless
 * `settled`) or the one that replaced it, waits behind the others. */
static void release_taking(struct lru *lru, struct lru_shard *shard, struct lru_entry *e, bool settled)
{
    pthread_mutex_lock(&lru->pending_lock);
    if (e->place == LRU_PLACE_DETACHED) {
        place_move(lru, e, LRU_PLACE_NONE);
        struct lru_entry *newer = lru_find(shard, e->hash, lru_entry_key(e));
        if (newer && newer->place == LRU_PLACE_PARKED) place_move(lru, newer, LRU_PLACE_WAITING);
    } else if ((e->flags & LRU_PENDING) && settled) {
        make_ordinary(lru, shard, e);
    } else if (e->place == LRU_PLACE_TAKEN) {
        place_move(lru, e, LRU_PLACE_WAITING);
    }
    pthread_mutex_unlock(&lru->pending_lock);
    e->flags &= (uint8_t)~LRU_AGAIN;
}

void lru_settle(struct lru *lru, struct lru_entry *e, bool superseded)
{
    int64_t now_ms = clock_wall_ms(lru->clock);
    struct lru_entry *gone = NULL;
    struct lru_shard *shard = lru_shard_of(lru, e->hash);
    pthread_mutex_lock(&shard->lock);
    bool settled = superseded || !(e->flags & LRU_AGAIN);
    release_taking(lru, shard, e, settled);
    if ((e->flags & LRU_IN_TABLE) && settled) {
        if (e->deleted) {
            lru_leave(lru, shard, e, &gone);
        } else if (lru_is_over(e, now_ms)) {
            lru_leave_counted(lru, shard, e, LRU_EXIT_EXPIRED, &gone);
        } else if (superseded) {
            lru_leave_counted(lru, shard, e, LRU_EXIT_INVALIDATED, &gone);
        }
    }
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
}

void lru_untake(struct lru *lru, struct lru_entry *e)
{
    struct lru_shard *shard = lru_shard_of(lru, e->hash);
    pthread_mutex_lock(&shard->lock);
    release_taking(lru, shard, e, false);
    pthread_mutex_unlock(&shard->lock);
}
