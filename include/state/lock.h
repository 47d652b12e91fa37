/* lock: leases on names, with fences, over both engines.
 *
 * One operation does the work: an *attempt* (lock_acquire.lua, db_lock_acquire), which may be repeated as
 * often as one likes, for the token it shows was made beforehand. Waiting is a loop of attempts from here;
 * the queue, which gives the order of arrival across daemons, and each waiter's last sign of life stand
 * beside the lock.
 *
 *     acquire   granted → told
 *               taken → waits, or LOCK_NOT_ACQUIRED
 *               in doubt → again with the same token, once no given-up connection can still bring the first
 *               one; not settled → OUTCOME_UNKNOWN
 *     release   Redis away, or the name has releases that Redis has not seen → the journal
 *
 * A grant that its caller was not told of (unsettled, or the caller is gone) is released behind his back,
 * unless he can come back for it with an idempotency key; a waiter that gives up leaves the queue the same
 * way.
 *
 * The store is shared by all threads; a port belongs to one loop. Names are bare; the prefix is added here.
 */
#ifndef PHOENIX_STATE_LOCK_H
#define PHOENIX_STATE_LOCK_H

#include "engine/local/spool.h"
#include "engine/redis/pool.h"
#include "state/unsettled.h"
#include "util/status.h"
#include "util/trace.h"
#include "util/uri.h"

#include <stdatomic.h>

enum {
    LOCK_TOKEN_LEN = 32, /* hex digits */
    LOCK_TOKEN_SIZE = LOCK_TOKEN_LEN + 1,
    LOCK_OWNER_MAX = 1024, /* bytes */
    LOCK_PREFIX_MAX = 64,
    LOCK_KEY_MAX =
        LOCK_PREFIX_MAX + sizeof ":locks:grant:{" + LOCK_PREFIX_MAX + sizeof ":locks:}" + ID_LEN_MAX
};

struct lock_store;

struct lock_store_options {
    struct redis_topology *redis; /* NULL: embedded */
    struct spool *spool;
    struct unsettled *unsettled; /* NULL: embedded */
    const char *prefix;          /* borrowed */
    const struct clock *clock;
    int64_t ttl_max_ms;
    unsigned waiters_max;         /* of a port */
    const _Atomic bool *draining; /* nobody waits any longer; NULL: never */
    struct log *log;
};

struct lock_store *lock_store_create(const struct lock_store_options *options); /* NULL: no memory */
/* After the spool and the loops. */
void lock_store_destroy(struct lock_store **store);
bool lock_store_embedded(const struct lock_store *store);

/* One loop's access. Opened before the loops' threads run. */
struct lock_port;
struct lock_port *lock_port_open(struct lock_store *store, struct loop *loop, struct redis_pool *pool,
                                 struct metrics_cell *cell); /* pool NULL: embedded. NULL: no memory */
/* Ends what is in flight, each op told (OUTCOME_UNKNOWN), for a loop that no longer turns: after
 * redis_pool_destroy, before what the ops live in. What the spool still has frees itself when it comes back.
 * The port takes no more, and is freed with the store. NULL is fine. */
void lock_port_close(struct lock_port *port);

enum lock_verb { LOCK_ACQUIRE, LOCK_RENEW, LOCK_RELEASE, LOCK_GET };

struct lock_work; /* the store's: outlives the op */

struct lock_op {
    /* set by the caller; the op lives until done, what its slices show until lock_start returns */
    enum lock_verb verb;
    struct slice name;
    struct slice owner, idempotency_key; /* ACQUIRE; the latter empty: none */
    struct slice token;                  /* RENEW, RELEASE */
    int64_t ttl_ms;                      /* ACQUIRE, RENEW */
    int64_t wait_ms;                     /* ACQUIRE */
    int64_t deadline_us;                 /* of the answer, the wait included */
    struct trace trace;                  /* for log lines */
    bool (*gone)(void *arg);             /* nobody waits for the answer any more; may be NULL */
    void (*done)(struct lock_op *op);
    void *arg;
    /* valid in done */
    enum status status; /* OK, LOCK_NOT_ACQUIRED, LOCK_LOST, NOT_FOUND (GET), FOREIGN_VALUE, OVERLOADED,
                           REDIS_UNAVAILABLE, REDIS_REFUSED, SPOOL_UNAVAILABLE, OUTCOME_UNKNOWN */
    const char *detail; /* of a problem */
    bool waiters_full;  /* OVERLOADED by waiters_max */
    bool local;         /* Redis did not answer it; embedded too */
    bool journaled;     /* RELEASE: Redis will learn of it */
    char new_token[LOCK_TOKEN_SIZE]; /* ACQUIRE */
    int64_t fence;                   /* 0 (GET): held by a stranger, who has none */
    int64_t valid_ms;       /* ACQUIRE, RENEW: at least so long from now; GET: what is left, -1: no end */
    int64_t expires_ms;     /* wall clock; ACQUIRE, RENEW */
    int64_t retry_after_ms; /* LOCK_NOT_ACQUIRED: what the holder has left; -1: no end */
    struct slice owner_now; /* GET; any bytes where a stranger wrote them */
    /* the store's */
    struct lock_work *work;
};

/* Calls done exactly once, by the deadline, perhaps before it returns. */
void lock_start(struct lock_port *port, struct lock_op *op);

/* Releases a grant that could not be told after all, behind the caller's back, as well as it can be done. */
void lock_abandon(struct lock_port *port, struct slice name, struct slice token);

/* --- hand-back --- */

/* A release that Redis has not seen is journaled as {kind JOURNAL_LOCK, op LOCK_JOURNAL_RELEASE, id: the
 * name, body: the token's LOCK_TOKEN_LEN characters, no copy, base 0, expires_ms 0}. Only the token that the
 * caller showed is known, neither owner nor fence; the grant's hash in Redis joins them. */
enum { LOCK_JOURNAL_RELEASE = 1 }; /* kept in the journal: never changes */

enum lock_handback_outcome {
    LOCK_HANDBACK_RELEASED,
    LOCK_HANDBACK_GONE,     /* nobody holds it: expired meanwhile, or released by an earlier try. Settled */
    LOCK_HANDBACK_CONFLICT, /* another holds it by now (the lease ended, the grant was given again). Settled;
                               to be counted and logged */
    LOCK_HANDBACK_BROKEN,   /* the body is no token: to be set aside */
    LOCK_HANDBACK_REFUSED,  /* Redis does not take it, `error` says why: later again */
    LOCK_HANDBACK_UNAVAILABLE /* Redis is away or in doubt: later again, which is harmless */
};

struct lock_handback {
    /* set by the caller; it lives until done, and what its slices show */
    struct slice name, body;
    void (*done)(struct lock_handback *handback);
    void *arg;
    /* valid in done */
    enum lock_handback_outcome outcome;
    char error[96];
    /* the store's */
    struct lock_port *port;
    struct redis_call call;
    struct redis_command command;
    char keys[4][LOCK_KEY_MAX];
};

/* Runs one release on Redis. Calls done exactly once, perhaps before it returns. */
void lock_handback_start(struct lock_port *port, struct lock_handback *handback);

#endif
