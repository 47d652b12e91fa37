/* lock_private: what the lock's files share. A struct lock_work is one request's attempts; it holds copies of
 * all that it needs, so that it can outlive the request: while the spool still runs its operation, and for
 * the release of what could not be told. */
#ifndef PHOENIX_SRC_STATE_LOCK_PRIVATE_H
#define PHOENIX_SRC_STATE_LOCK_PRIVATE_H

#include "state/lock.h"

#include "engine/local/db_locks.h"
#include "metrics/metrics.h"
#include "util/buf.h"
#include "util/random.h"

enum { LOCK_PARTS = 5, LOCK_PORTS_MAX = 65 };

/* The keys in the order in which lock_acquire.lua takes them. */
enum lock_part { LOCK_PART_LOCK, LOCK_PART_GRANT, LOCK_PART_FENCE, LOCK_PART_QUEUE, LOCK_PART_SEEN };

struct lock_store {
    struct lock_store_options options;
    struct lock_port *ports[LOCK_PORTS_MAX];
    unsigned port_count;
};

struct lock_port {
    struct lock_store *store;
    struct loop *loop;
    struct redis_pool *pool;
    struct metrics_cell *cell;
    struct lock_work *first, *last; /* all works, in order of arrival */
    unsigned waiters, strays;       /* strays: works whose op is gone */
    _Atomic unsigned waiters_seen;  /* waiters, for other threads */
    _Atomic uint64_t wake_hash;     /* of the name that another port has released */
    bool stopping;
};

enum lock_reply_kind {
    LOCK_REPLY_OK,
    LOCK_REPLY_FOREIGN,
    LOCK_REPLY_REFUSED,
    LOCK_REPLY_UNAVAILABLE, /* not executed */
    LOCK_REPLY_IN_DOUBT,
    LOCK_REPLY_SPOOL /* could not be committed */
};

struct lock_work {
    struct lock_work *next, *prev;
    struct lock_port *port;
    struct lock_op *op; /* NULL: answered */
    enum lock_verb verb;
    struct slice name, owner, idem, waiter, token; /* in `text` */
    struct slice keys[LOCK_PARTS];                 /* in `text`; none when embedded */
    struct buf text;
    int64_t ttl_ms, wait_until_us, deadline_us, sent_us;
    struct trace trace;
    struct loop_timer timer;
    bool flying;   /* an attempt is out */
    bool doubt;    /* one of this verb may have run unanswered */
    bool unquiet;  /* an acquire may still be brought by a connection that was given up */
    bool waits;    /* counted in port->waiters */
    bool taken;    /* as far as was last heard, and nothing is in doubt since */
    bool may_hold; /* untold: the token may hold the lock */
    bool told;     /* the grant is the caller's */
    bool stray;    /* a release that nobody waits for */
    /* the attempt's answer */
    enum lock_reply_kind reply;
    struct db_lock_answer answer;
    char error[96];
    /* Redis */
    struct redis_call call;
    struct redis_command command;
    char ttl[24], keep[24];
    /* spool */
    struct spool_op spool_op;
    char change_id[UUID_SIZE];
};

/* lock.c: an attempt ended; `reply`, `answer` and `error` say how. */
void lock_on_reply(struct lock_work *w);
/* The journal has it, or not. */
void lock_on_journaled(struct lock_work *w, bool committed);

/* lock_redis.c: sends an attempt of w->verb. lock_on_reply is called once, perhaps before it returns. */
void lock_redis_send(struct lock_work *w);
/* Prefix, ":locks:", name; the other parts with the lock's key as their tag. */
struct slice lock_key(const char *prefix, enum lock_part part, struct slice name, char out[LOCK_KEY_MAX]);

/* lock_local.c: the same on the spool's thread. */
void lock_local_send(struct lock_work *w);
/* Journals w's release; lock_on_journaled is called once. */
void lock_local_journal(struct lock_work *w);

/* lock_wake.c: a lock became free: hints to who waits for it in this daemon. */
void lock_wake(struct lock_port *port, struct slice name);
/* lock.c: attempts w's acquire now if it stands waiting. */
bool lock_nudge(struct lock_work *w);

int64_t lock_keep_ms(const struct lock_store *store);

#endif
