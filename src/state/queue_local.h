/* queue_local: the queue's operations on the spool's file: embedded mode's, and those while Redis is away.
 * Each is run on the spool's thread, on copies of what its op shows, so that it may outlive the op: at the
 * deadline the op is told and the work goes on alone. Leases that come back to nobody are returned. */
#ifndef PHOENIX_STATE_QUEUE_LOCAL_H
#define PHOENIX_STATE_QUEUE_LOCAL_H

#include "queue_private.h"

#include "engine/local/db_queue.h"

enum queue_local_mode {
    /* Embedded, or Redis is away: what is enqueued is the file's; of what Redis has leased, acks and nacks
     * are journaled. */
    QUEUE_LOCAL_USUAL,
    /* What is enqueued may be in Redis. */
    QUEUE_LOCAL_DOUBT,
    /* Redis is there, and is asked of what the file does not know: a task enqueued is only looked for
     * (verdict NOT_FOUND), an ack that is not by the file's own receipt is left (NOT_FOUND). */
    QUEUE_LOCAL_LOOK
};

struct queue_local *queue_local_create(struct queue_store *store, struct loop *loop);
/* Ops in flight are told (SPOOL_UNAVAILABLE, OUTCOME_UNKNOWN); what the spool still has frees itself. */
void queue_local_destroy(struct queue_local **local);
void queue_local_start(struct queue_local *local, struct queue_op *op, enum queue_local_mode mode);
void queue_local_return(struct queue_local *local, const char op_id[QUEUE_OP_SIZE]);

/* By its first character. */
static inline bool queue_is_local_receipt(struct slice receipt)
{
    return receipt.len > 1 && (receipt.ptr[0] == 'l' || receipt.ptr[0] == 'b') && receipt.ptr[1] == '.';
}

/* The results of one op as those of another. */
void queue_copy_results(struct queue_op *to, const struct queue_op *from);
/* The file's rules now, or at a test's time: the spool's thread must not read that itself. */
void queue_local_rules(const struct queue_store *store, int64_t given_us, unsigned jitter,
                       struct db_queue_rules *out);
static inline int64_t queue_given_us(const struct queue_store *store)
{
    return store->options.now_us ? *store->options.now_us : 0;
}
void queue_local_seen(struct queue_store *store, const struct db *db); /* spool's thread */

/* --- between queue_local.c and queue_local_run.c --- */

/* Memory that is given back as a whole. */
struct queue_chunk;
struct queue_memory {
    struct queue_chunk *chunks;
    size_t left;
    char *at;
    bool failed;
};
void *queue_memory_take(struct queue_memory *m, size_t size); /* zeroed; NULL: no memory, and failed is set */
struct slice queue_memory_keep(struct queue_memory *m, struct slice s);
void queue_memory_free(struct queue_memory *m);

struct queue_local_work {
    struct queue_local_work *next, **prev;
    struct queue_local *local; /* NULL: the port is gone */
    struct queue_store *store;
    struct loop *loop;
    struct queue_op *op;  /* NULL: told */
    struct queue_op mine; /* what is asked, on `kept`; what came of it, on `results` */
    enum queue_local_mode mode;
    bool returning; /* gives back mine.op_id; there is no op */
    struct queue_memory kept, results;
    struct spool_op spool_op;
    struct loop_timer timer;
    unsigned jitter;
    int64_t given_us, became_ready;
};

enum db_result queue_local_run(struct db *db, void *work);

#endif
