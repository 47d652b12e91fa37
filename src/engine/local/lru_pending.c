/* lru_pending: writes that Redis has not acknowledged, in the order they came, and their hand-back.
 *
 * A pending entry is on one of the table's lists (enum lru_place) instead of its shard's recency list:
 * WAITING is the order of hand-back, and of giving up when there are too many bytes. At most one value of a
 * key is in a taker's hands: while one is, in the table (TAKEN, LOOSE) or replaced since (DETACHED), a newer
 * value of the key is PARKED, and is moved to WAITING by the settle or untake of the older.
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

static bool is_list(uint8_t place)
{
    return place != LRU_PLACE_NONE && place != LRU_PLACE_LOOSE;
}

/* Under pending_lock. */
static void place_move(struct lru *lru, struct lru_entry *e, enum lru_place to)
{
    if (is_list(e->place)) lru_list_remove(&lru->places[e->place], e);
    e->place = (uint8_t)to;
    if (is_list(e->place)) lru_list_push_back(&lru->places[to], e);
}

static bool is_in_hand(const struct lru_entry *e)
{
    return e->place == LRU_PLACE_TAKEN || e->place == LRU_PLACE_LOOSE || e->place == LRU_PLACE_DETACHED;
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
    if (e->place == LRU_PLACE_LOOSE) {
        place_move(lru, e, LRU_PLACE_TAKEN);
        e->flags |= LRU_AGAIN;
    } else {
        place_move(lru, e, is_key_detached(lru, e) ? LRU_PLACE_PARKED : LRU_PLACE_WAITING);
    }
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

void lru_pending_leave(struct lru *lru, struct lru_entry *e, bool leaves_table)
{
    pthread_mutex_lock(&lru->pending_lock);
    pending_count(lru, e, false);
    if (e->place != LRU_PLACE_TAKEN) {
        place_move(lru, e, LRU_PLACE_NONE);
    } else {
        place_move(lru, e, leaves_table ? LRU_PLACE_DETACHED : LRU_PLACE_LOOSE);
    }
    pthread_mutex_unlock(&lru->pending_lock);
    e->flags &= (uint8_t) ~(LRU_PENDING | LRU_AGAIN);
}

void lru_pending_detach(struct lru *lru, struct lru_entry *e)
{
    pthread_mutex_lock(&lru->pending_lock);
    place_move(lru, e, LRU_PLACE_DETACHED);
    pthread_mutex_unlock(&lru->pending_lock);
}

/* --- the budget of pending bytes --- */

void lru_pending_give_up(struct lru *lru, struct lru_shard *shard, struct lru_entry *e,
                         struct lru_entry **gone)
{
    lru_count_exit(shard, LRU_EXIT_PENDING_BUDGET);
    lru_pending_leave(lru, e, false);
    lru_list_push_front(&shard->recency, e);
    if (e->deleted) lru_leave(lru, shard, e, gone);
}

/* The one to give up, with a reference: those in a taker's hands last, for they may reach Redis yet. */
static struct lru_entry *oldest(struct lru *lru)
{
    static const enum lru_place order[] = {LRU_PLACE_WAITING, LRU_PLACE_PARKED, LRU_PLACE_TAKEN};
    struct lru_entry *e = NULL;
    pthread_mutex_lock(&lru->pending_lock);
    for (size_t i = 0; i < sizeof order / sizeof *order && !e; i++)
        e = lru->places[order[i]].first;
    if (e) lru_retain(e); /* what is on these lists is in the table: it cannot have been freed */
    pthread_mutex_unlock(&lru->pending_lock);
    return e;
}

bool lru_pending_give_up_oldest(struct lru *lru)
{
    struct lru_entry *e = oldest(lru);
    if (!e) return false;
    struct lru_entry *gone = NULL;
    struct lru_shard *shard = lru_shard_of(lru, e->hash);
    pthread_mutex_lock(&shard->lock);
    /* Between the locks it may have been settled or replaced: then that made the room. */
    if (e->flags & LRU_PENDING) lru_pending_give_up(lru, shard, e, &gone);
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
    lru_release(e);
    return true;
}

/* --- hand-back --- */

static bool has_expired_value(const struct lru *lru, const struct lru_entry *e)
{
    if (e->deleted || e->meta.expires_ms == 0) return false;
    return clock_wall_ms(lru->clock) >= e->meta.expires_ms;
}

static void drop_expired(struct lru *lru, struct lru_entry *e)
{
    struct lru_entry *gone = NULL;
    struct lru_shard *shard = lru_shard_of(lru, e->hash);
    pthread_mutex_lock(&shard->lock);
    if (e->flags & LRU_IN_TABLE) lru_leave_counted(lru, shard, e, LRU_EXIT_EXPIRED, &gone);
    pthread_mutex_unlock(&shard->lock);
    lru_free_chain(gone);
}

struct lru_entry *lru_pending_take(struct lru *lru, unsigned *out_flags)
{
    for (;;) {
        pthread_mutex_lock(&lru->pending_lock);
        struct lru_entry *e = lru->places[LRU_PLACE_WAITING].first;
        if (!e) {
            pthread_mutex_unlock(&lru->pending_lock);
            return NULL;
        }
        lru_retain(e);
        bool expired = has_expired_value(lru, e);
        if (!expired) place_move(lru, e, LRU_PLACE_TAKEN);
        pthread_mutex_unlock(&lru->pending_lock);
        if (!expired) {
            /* `flags` is the shard's lock's to read, and says nothing else of a waiting entry. */
            *out_flags = LRU_OWN | LRU_PENDING | (e->deleted ? LRU_DELETED : 0U);
            return e;
        }
        drop_expired(lru, e);
        lru_release(e);
    }
}

/* Under the shard's lock: the key can be taken again; if this value is still pending it waits behind the
 * others, and so does the one that replaced it. */
static void release_taking(struct lru *lru, struct lru_shard *shard, struct lru_entry *e)
{
    e->flags &= (uint8_t)~LRU_AGAIN;
    pthread_mutex_lock(&lru->pending_lock);
    if (is_in_hand(e)) {
        bool was_detached = e->place == LRU_PLACE_DETACHED;
        place_move(lru, e, e->place == LRU_PLACE_TAKEN ? LRU_PLACE_WAITING : LRU_PLACE_NONE);
        struct lru_entry *newer = was_detached ? lru_find(shard, e->hash, lru_entry_key(e)) : NULL;
        if (newer && newer->place == LRU_PLACE_PARKED) place_move(lru, newer, LRU_PLACE_WAITING);
    }
    pthread_mutex_unlock(&lru->pending_lock);
}

void lru_settle(struct lru *lru, struct lru_entry *e, bool superseded)
{
    struct lru_entry *gone = NULL;
    struct lru_shard *shard = lru_shard_of(lru, e->hash);
    pthread_mutex_lock(&shard->lock);
    bool again = (e->flags & LRU_AGAIN) && !superseded;
    if ((e->flags & LRU_PENDING) && !again) {
        lru_pending_leave(lru, e, false);
        lru_list_push_front(&shard->recency, e);
    }
    release_taking(lru, shard, e);
    if ((e->flags & LRU_IN_TABLE) && !again) {
        if (e->deleted) {
            lru_leave(lru, shard, e, &gone);
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
    release_taking(lru, shard, e);
    pthread_mutex_unlock(&shard->lock);
}
