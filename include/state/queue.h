/* queue: the tasks: leased to whoever asks, in order of rank, until they are finished, given back or dead.
 *
 *                 lease ended, nacked (backoff)
 *            +----------------------------------+
 *            v       due          lease         |        ack, end of an automatic one
 *   enqueue  DELAYED ----> READY --------> LEASED ----------------------------------> (finished: id
 * remembered)
 *      +--------------------^ ^   returned      | its last attempt failed
 *                           | +-----------------+----> DEAD ----> forgotten after its time to live, purged
 *                           +--------------------------+ requeued
 *
 * Ready and delayed tasks also leave at the end of their time to live, and any task when it is cancelled.
 *
 * Every operation is one queue_op, over whichever engine the port has. On Redis it is one script, one round
 * trip (ADOPT: two), by Redis's clock; the scripts (engine/redis/scripts/queue_*.lua) say what each costs. An
 * operation whose reply was lost is repeated, once nothing of it can arrive late any more (the node is
 * quiet): its ids, receipts and op make the repetition find what it did. Receipts name their engine by their
 * first character: 'r' (or 'a', of automatic leases) for Redis.
 *
 * The store is shared by all threads; a port belongs to one loop. Times are Redis's wall clock, milliseconds.
 */
#ifndef PHOENIX_STATE_QUEUE_H
#define PHOENIX_STATE_QUEUE_H

#include "engine/local/spool.h"
#include "engine/redis/pool.h"
#include "util/buf.h"
#include "util/status.h"

enum {
    QUEUE_ENQUEUE_MAX = 1000,
    QUEUE_DEQUEUE_MAX = 100,
    QUEUE_AGENTS_MAX = 64,
    QUEUE_ACK_MAX = 1000,
    QUEUE_LIST_MAX = 1000,
    QUEUE_STEP_MAX = 1000,           /* of a tick, a purge */
    QUEUE_ADOPT_MAX = 100,           /* items of one step */
    QUEUE_REPLY_BYTES_MAX = 8 << 20, /* of bodies in one answer, beyond the first */
    QUEUE_ADOPT_BYTES_MAX = 1 << 20,
    QUEUE_BAD_MAX = 1000,   /* items set aside that are kept */
    QUEUE_BAD_BYTES = 4096, /* of each */
    QUEUE_REASON_MAX = 512, /* bytes of a nack's reason that are kept */
    QUEUE_RETURNS_MAX = 1024,
    QUEUE_OP_SIZE = 17, /* 16 characters and a NUL */
    QUEUE_CURSOR_SIZE = 600
};

/* The last three: of an id that has finished and is still remembered. */
enum queue_state {
    QUEUE_READY,
    QUEUE_DELAYED,
    QUEUE_LEASED,
    QUEUE_DEAD,
    QUEUE_BAD,
    QUEUE_ACKED,
    QUEUE_CANCELLED,
    QUEUE_PURGED,
    QUEUE_STATE_COUNT
};
extern const char *const queue_state_names[QUEUE_STATE_COUNT];
/* By name, of the first five alone: what can be listed. */
bool queue_state_of(struct slice name, enum queue_state *out);

/* A task to be added. Slices are the caller's. */
struct queue_task {
    struct slice id;
    struct slice agent; /* empty: any */
    struct slice body;  /* the task as it is shown: a JSON object */
    unsigned priority;  /* 0 to 255 */
    unsigned max_attempts;
    int64_t delay_ms, ttl_ms;
    bool made; /* its id is this daemon's own: nobody has sent it before */
};

struct queue_ack {
    struct slice id, receipt;
};

/* What became of one task of an enqueue or ack. */
struct queue_verdict {
    enum status status; /* enqueue: OK. ack: OK, STALE_RECEIPT, NOT_FOUND, and of those that could not be
                           asked about what the op's status would be */
    bool added;         /* enqueue; else the id was known, in: */
    enum queue_state state;
    bool journaled; /* added, acked: committed here, and Redis has still to learn it (202) */
};

struct queue_lease {
    struct slice id, body, receipt;
    unsigned attempt; /* 1 for the first */
    int64_t ends_ms;
};

/* A task as it is, or a bad item (id empty, body its first bytes, reason set). */
struct queue_view {
    enum queue_state state;
    struct slice id, body, agent, reason;
    unsigned attempt; /* made so far, a running one included */
    unsigned max_attempts, priority;
    int64_t added_ms, ttl_ms, ends_ms; /* of its time to live */
    int64_t at_ms; /* delayed: when it is due; leased: the lease's end; dead: when it is forgotten; bad: when
                      it was set aside */
    struct slice history;
};

struct queue_event {
    char kind; /* 'n' nacked, 'e' lease ended, 'q' requeued */
    int64_t at_ms;
    struct slice reason; /* a raw JSON string */
};
/* Walks a view's history, oldest first; `rest` is consumed. False at the end. */
bool queue_event_next(struct slice *rest, struct queue_event *out);

struct queue_counts {
    int64_t of[QUEUE_BAD + 1]; /* by state */
    int64_t inbox;
    int64_t oldest_ready_ms; /* age; 0: none is ready */
};

/* What a tick did; each step is bounded. */
struct queue_ticked {
    bool more; /* is due: tick again at once */
    int64_t ended, died, finished, promoted, expired, dead_forgotten, done_forgotten;
    int64_t inbox;   /* items: adopt */
    int64_t next_ms; /* when the next lease ends or delayed task is due; 0: nothing is to come */
};

struct queue_adopted {
    int64_t shown, moved; /* moved < shown: another daemon was at it too; look again */
    int64_t added, known, bad;
};

/* --- the store --- */

struct queue_store;

struct queue_store_options {
    struct redis_topology *redis; /* NULL: embedded */
    struct spool *spool;          /* NULL: without one, where there is a node */
    const struct clock *clock;    /* embedded mode's */
    /* Tasks have become ready in the file: whoever waits in this daemon should look. On a port's loop. Agent
     * as in in.wait. */
    void (*on_ready)(void *arg, int64_t count, struct slice agent);
    void *ready_arg;
    const char *prefix; /* redis.prefix; borrowed */
    int64_t retry_base_ms, retry_max_ms, dedupe_ms;
    int64_t aging_us;    /* that one step of priority is worth */
    int64_t bad_keep_ms; /* how long items set aside are kept */
    size_t item_max;     /* bytes; a larger one in the inbox is bad (http.body_max) */
    /* Reads an item of the inbox; what out shows may stand in `scratch` (empty at first). False: bad, with
     * the reason. Any thread. */
    bool (*read_item)(void *arg, struct slice item, int64_t now_ms, struct buf *scratch,
                      struct queue_task *out, char reason[192]);
    void *arg;
    /* NULL: Redis's clock. Tests alone give their own time, in us. */
    const int64_t *now_us;
    struct log *log;
};

struct queue_store *queue_store_create(const struct queue_store_options *options); /* NULL: no memory */
/* After the spool and the loops: what came back late from the one ends on the others. */
void queue_store_destroy(struct queue_store **store);
const struct queue_store_options *queue_store_options(const struct queue_store *store);
/* A daemon's channel on which it is told of ready tasks (QUEUE_WAIT): what stands before its name. */
const char *queue_store_channel(const struct queue_store *store);
/* One of the keys, which are all in one slot: its node is the queue's. */
const char *queue_store_key(const struct queue_store *store);

/* --- operations --- */

struct queue_port;

/* The pool outlives the port; NULL where the store has no node. NULL: no memory. */
struct queue_port *queue_port_create(struct queue_store *store, struct loop *loop, struct redis_pool *pool);
/* After the pool was destroyed, so that no call is in flight. */
void queue_port_destroy(struct queue_port **port);

enum queue_verb {
    QUEUE_ENQUEUE, /* in.enqueue → verdicts */
    QUEUE_DEQUEUE, /* in.dequeue → op_id, leases (perhaps none), expired */
    QUEUE_ACK,     /* in.ack → verdicts */
    QUEUE_SETTLE,  /* in.ack → verdicts: acks handed back after an outage. A lease that has ended meanwhile
                      still  counts unless another holds the task; an empty receipt: finished by this daemon
                      itself */
    QUEUE_NACK,    /* in.nack; STALE_RECEIPT, NOT_FOUND */
    QUEUE_EXTEND,  /* in.extend → lease_ends_ms; STALE_RECEIPT, NOT_FOUND */
    QUEUE_CANCEL,  /* in.task; NOT_FOUND */
    QUEUE_REQUEUE, /* in.task; INVALID_TRANSITION, NOT_FOUND */
    QUEUE_PURGE,   /* one step of removing the dead → count (removed), left */
    QUEUE_ADOPT,   /* one step of emptying the inbox → adopted */
    QUEUE_TICK,    /* one step of what time does → ticked. To be called at `next_ms`, and every 250 ms */
    QUEUE_COUNTS,  /* → counts */
    QUEUE_GET,     /* in.task → views; NOT_FOUND */
    QUEUE_LIST,    /* in.list → views, next; INVALID_ARGUMENT (cursor) */
    QUEUE_WAIT,    /* in.wait → count: 1 if tasks are ready */
    QUEUE_VERB_COUNT
};

struct queue_work; /* the engine's */

struct queue_op {
    /* set by the caller; it and what its slices show live until done */
    enum queue_verb verb;
    union {
        struct {
            const struct queue_task *tasks;
            size_t count; /* 1 to QUEUE_ENQUEUE_MAX */
        } enqueue;
        struct {
            const struct slice *agents; /* those for one of these agents; none named: any task */
            size_t agents_count;
            unsigned count; /* at most so many; fewer where their bodies are large */
            int64_t lease_ms;
            bool automatic; /* the lease's end finishes the task: it is given out at most once. The lease is
                               how long the answer may take to leave; acked or returned it ends earlier */
        } dequeue;
        struct {
            const struct queue_ack *acks;
            size_t count; /* 1 to QUEUE_ACK_MAX */
        } ack;
        struct {
            struct slice id, receipt;
            struct slice reason; /* a raw JSON string of at most 6 x QUEUE_REASON_MAX bytes; empty: none */
            int64_t delay_ms;    /* -1: the backoff */
        } nack;
        struct {
            struct slice id, receipt;
            int64_t lease_ms;
        } extend;
        struct {
            struct slice id;
        } task;
        struct {
            enum queue_state state; /* up to QUEUE_BAD */
            struct slice cursor;    /* as `next` gave it; empty: from the start */
            unsigned limit;         /* 1 to QUEUE_LIST_MAX */
        } list;
        struct {
            struct slice daemon; /* a name without blanks, its own in this Redis */
            bool waits;          /* to be said again at least every second, or others are told instead */
            /* Not 0: no word on whether it waits. It was told of so many ready tasks that nobody of its own
             * wanted: the next daemon is told, unless none is ready any more or all have been. */
            unsigned pass_on;
            unsigned hops;      /* daemons that were told of these */
            struct slice agent; /* whom they name; "*" nobody; empty: several, or not known */
        } wait;
    } in;
    int64_t deadline_us;
    void (*done)(struct queue_op *op);
    void *arg;

    /* valid in done, which is also how long what slices and pointers show lives */
    enum status status; /* OK, those named above, REDIS_UNAVAILABLE (not done), REDIS_REFUSED (not done),
                           FOREIGN_VALUE (the inbox is no list, a part of another type), OUTCOME_UNKNOWN,
                           OVERLOADED (no memory), SPOOL_UNAVAILABLE (not done: the file cannot commit) */
    char detail[96];    /* of REDIS_REFUSED: what Redis said; "" where there is nothing to add */
    bool local;         /* Redis did not answer it; embedded too */
    bool partial;       /* counts, views: only what this daemon knows */
    bool journaled;     /* NACK: committed here, and Redis has still to learn it (202) */
    char op_id[QUEUE_OP_SIZE];
    const struct queue_verdict *verdicts;
    const struct queue_lease *leases;
    const struct queue_view *views;
    size_t results; /* how many of these there are */
    int64_t lease_ends_ms, count, left, expired;
    struct queue_ticked ticked;
    struct queue_adopted adopted;
    struct queue_counts counts;
    char next[QUEUE_CURSOR_SIZE]; /* "": this was the end */
    /* the engine's */
    struct queue_work *work;
};

/* Calls done exactly once, by the deadline, perhaps before it returns. A dequeue in doubt that cannot be
 * settled is REDIS_UNAVAILABLE, and what it may have leased is given back. */
void queue_start(struct queue_port *port, struct queue_op *op);

/* Gives back what a dequeue leased and its caller never got: ready at once, attempt unchanged. It is tried
 * until Redis took it or the leases have ended by themselves. */
void queue_return(struct queue_port *port, const char op_id[QUEUE_OP_SIZE], int64_t lease_ms);
/* How many of these Redis has not taken yet. */
size_t queue_returns(const struct queue_port *port);

#endif
