/* db_locks: locks and their waiters where the SQLite file is the authority (embedded mode). The same attempt
 * as lock_acquire.lua makes on Redis, with the wall clock in Redis's place. On the spool's thread, inside its
 * transaction. */
#ifndef PHOENIX_ENGINE_LOCAL_DB_LOCKS_H
#define PHOENIX_ENGINE_LOCAL_DB_LOCKS_H

#include "engine/local/db.h"

enum { DB_LOCK_TOKEN_SIZE = 33, DB_LOCK_OWNER_MAX = 1024 };

struct db_lock_ask {
    struct slice name, token;
    struct slice owner, idem; /* acquire; idem empty: none */
    struct slice waiter;      /* acquire, release; empty: none */
    int64_t ttl_ms, keep_ms;  /* acquire, renew; keep_ms: how long a fence is remembered */
    int64_t now_ms;
};

struct db_lock_answer {
    int held; /* acquire, renew: 1 granted, 0 not; release: 1 released, 0 nobody holds it, -1 another does;
                 get: 1, 0 */
    int64_t fence, left_ms;
    int64_t position; /* in the queue, from 0 */
    char token[DB_LOCK_TOKEN_SIZE];
    char owner[DB_LOCK_OWNER_MAX]; /* get; not terminated */
    size_t owner_len;
};

/* The answer is written afresh by each call. */
enum db_result db_lock_acquire(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out);
enum db_result db_lock_renew(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out);
enum db_result db_lock_release(struct db *db, const struct db_lock_ask *ask, struct db_lock_answer *out);
enum db_result db_lock_get(struct db *db, const struct db_lock_ask *ask,
                           struct db_lock_answer *out); /* reads */

#endif
