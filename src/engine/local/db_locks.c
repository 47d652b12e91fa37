/* db_locks: a row per lock that outlives its grants, so that fences only grow, and a row per waiter. A
 * released lock's row has expired; it goes when nobody could ask for its fence any more. */
#include "engine/local/db_locks.h"

#include "db_private.h"

#include <stdlib.h>

enum {
    DEAD_MS = 2000,    /* a waiter without a sign of life */
    SIGN_MS = 500,     /* not every attempt is worth a commit */
    FORGET_MS = 60000, /* waiters of names that nobody asks for any more */
    SWEEP_LIMIT = 8,
    WAITER_MAX = 64
};

struct row {
    bool held, mine;
    int64_t fence; /* 0: no such row */
};

/* Fills in what an answer tells of the holder. */
static enum db_result look(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out,
                           struct row *row)
{
    *row = (struct row){.fence = 0};
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_GET);
    db_bind_slice(s, 1, ask->name);
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
    int64_t expires_ms = db_column_int(s, 1);
    struct slice token = db_column_slice(s, 2), owner = db_column_slice(s, 3), idem = db_column_slice(s, 4);
    row->fence = db_column_int(s, 0);
    row->held = expires_ms > ask->now_ms;
    if (!row->held) return DB_OK;
    row->mine = (ask->token.len > 0 && slice_equal(token, ask->token)) ||
                (ask->idem.len > 0 && slice_equal(idem, ask->idem) && slice_equal(owner, ask->owner));
    out->fence = row->fence;
    out->left_ms = expires_ms - ask->now_ms;
    out->owner_len = owner.len < sizeof out->owner ? owner.len : sizeof out->owner;
    memcpy(out->owner, owner.ptr, out->owner_len);
    if (row->mine && token.len < sizeof out->token) memcpy(out->token, token.ptr, token.len);
    return DB_OK;
}

static enum db_result leave(struct db *db, struct slice name, struct slice waiter)
{
    if (waiter.len == 0) return DB_OK;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_LEAVE);
    db_bind_slice(s, 1, name);
    db_bind_slice(s, 2, waiter);
    return db_write_any(db, s);
}

/* Drops dead waiters from the queue's head. out_first: who asks may take a lock that is free. */
static enum db_result settle_head(struct db *db, const struct db_lock_ask *ask, bool *out_first)
{
    for (;;) {
        char bytes[WAITER_MAX];
        sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_HEAD);
        db_bind_slice(s, 1, ask->name);
        enum db_result result = db_step(db, s);
        *out_first = result == DB_ABSENT;
        if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
        struct slice head = db_column_slice(s, 0);
        *out_first = slice_equal(head, ask->waiter);
        /* A sign of life from the future is none: the clock was set back. */
        if (*out_first || llabs(ask->now_ms - db_column_int(s, 1)) <= DEAD_MS || head.len > sizeof bytes)
            return DB_OK;
        memcpy(bytes, head.ptr, head.len);
        result = leave(db, ask->name, (struct slice){bytes, head.len});
        if (result != DB_OK) return result;
    }
}

static enum db_result sweep(struct db *db, int64_t now_ms)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_SWEEP);
    db_bind_int(s, 1, now_ms);
    db_bind_int(s, 2, SWEEP_LIMIT);
    enum db_result result = db_write_any(db, s);
    if (result != DB_OK) return result;
    s = db_use(db, DB_STATEMENT_LOCK_SWEEP_WAITERS);
    db_bind_int(s, 1, now_ms - FORGET_MS);
    db_bind_int(s, 2, SWEEP_LIMIT);
    return db_write_any(db, s);
}

static enum db_result grant(struct db *db, const struct db_lock_ask *ask, int64_t last_fence,
                            struct db_lock_answer *out)
{
    int64_t fence = ask->now_ms * 1000;
    if (fence <= last_fence) fence = last_fence + 1;
    enum db_result result = sweep(db, ask->now_ms);
    if (result == DB_OK) result = leave(db, ask->name, ask->waiter);
    if (result == DB_OK)
        result = db_demand_room(db, ask->name.len + ask->owner.len + ask->idem.len + ask->token.len);
    if (result != DB_OK) return result;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_PUT);
    db_bind_slice(s, 1, ask->name);
    db_bind_int(s, 2, fence);
    db_bind_int(s, 3, ask->now_ms + ask->ttl_ms);
    db_bind_int(s, 4, ask->now_ms + ask->keep_ms);
    db_bind_slice(s, 5, ask->token);
    db_bind_slice(s, 6, ask->owner);
    db_bind_slice(s, 7, ask->idem);
    out->held = 1;
    out->fence = fence;
    out->left_ms = ask->ttl_ms;
    memcpy(out->token, ask->token.ptr, ask->token.len);
    return db_write(db, s);
}

/* Into the queue, or another sign of life. */
static enum db_result wait_in_queue(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_WAITER);
    db_bind_slice(s, 1, ask->name);
    db_bind_slice(s, 2, ask->waiter);
    enum db_result result = db_step(db, s);
    if (result != DB_OK && result != DB_ABSENT) return result;
    bool known = result == DB_OK;
    int64_t age_ms = known ? llabs(ask->now_ms - db_column_int(s, 1)) : 0;
    out->position = known ? db_column_int(s, 0) : 0;
    if (known && age_ms < SIGN_MS) return DB_OK;
    result = db_demand_room(db, ask->name.len + ask->waiter.len);
    if (result != DB_OK) return result;
    s = db_use(db, DB_STATEMENT_LOCK_WAIT);
    db_bind_slice(s, 1, ask->name);
    db_bind_slice(s, 2, ask->waiter);
    db_bind_int(s, 3, ask->now_ms);
    result = db_write(db, s);
    if (result != DB_OK || known) return result;
    s = db_use(db, DB_STATEMENT_LOCK_WAITER);
    db_bind_slice(s, 1, ask->name);
    db_bind_slice(s, 2, ask->waiter);
    result = db_step(db, s);
    if (result == DB_OK) out->position = db_column_int(s, 0);
    return result;
}

enum db_result db_lock_acquire(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out)
{
    struct row row;
    bool first = false;
    *out = (struct db_lock_answer){0};
    enum db_result result = look(db, ask, out, &row);
    if (result != DB_OK) return result;
    out->held = row.mine;
    if (row.mine) return leave(db, ask->name, ask->waiter);
    result = settle_head(db, ask, &first);
    if (result != DB_OK) return result;
    if (!row.held && first) return grant(db, ask, row.fence, out);
    return ask->waiter.len > 0 ? wait_in_queue(db, ask, out) : DB_OK;
}

enum db_result db_lock_renew(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out)
{
    struct row row;
    *out = (struct db_lock_answer){0};
    enum db_result result = look(db, ask, out, &row);
    if (result != DB_OK || !row.mine) return result;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_RENEW);
    db_bind_slice(s, 1, ask->name);
    db_bind_int(s, 2, ask->now_ms + ask->ttl_ms);
    db_bind_int(s, 3, ask->now_ms + ask->keep_ms);
    out->held = 1;
    out->left_ms = ask->ttl_ms;
    return db_write(db, s);
}

enum db_result db_lock_release(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out)
{
    struct row row;
    *out = (struct db_lock_answer){0};
    enum db_result result = leave(db, ask->name, ask->waiter);
    if (result == DB_OK) result = look(db, ask, out, &row);
    if (result != DB_OK) return result;
    out->held = row.mine ? 1 : row.held ? -1 : 0;
    if (!row.mine) return DB_OK;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_LOCK_END);
    db_bind_slice(s, 1, ask->name);
    return db_write(db, s);
}

enum db_result db_lock_get(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out)
{
    struct row row;
    *out = (struct db_lock_answer){0};
    enum db_result result = look(db, ask, out, &row);
    out->held = result == DB_OK && row.held;
    return result;
}
