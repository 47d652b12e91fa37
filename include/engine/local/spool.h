/* spool: the one thread that touches SQLite. Takes operations from all loops, runs those that wait as one
 * transaction (group commit: one fsync for all that arrived while the last one was being written) and posts
 * the results back to their loops. Acknowledged means committed.
 *
 *     submit → queue → [BEGIN, run each, COMMIT] → post → done, on the submitter's loop
 *
 * A transaction that fails is rolled back. For want of room, each of its writes is tried once more alone (a
 * huge one does not sink the others); those that fail again are told, and then one group a second is tried
 * until there is room. After a failed fsync nothing is written until the process is restarted: what was not
 * acknowledged then may or may not be in the file. Reads run after the group's commit, outside of a failure's
 * reach, so a read may see writes that were submitted behind it. Apart from that operations run in the order
 * in which they were submitted, and so do their dones on each loop. */
#ifndef PHOENIX_ENGINE_LOCAL_SPOOL_H
#define PHOENIX_ENGINE_LOCAL_SPOOL_H

#include "engine/local/db.h"
#include "log/log.h"
#include "loop/loop.h"
#include "metrics/metrics.h"

struct spool;

struct spool_op {
    /* set by the caller; the op and what arg points to live until done */
    bool reads; /* `run` changes nothing */
    bool frees; /* it only removes rows: it goes through while there is no room for others */
    /* On the spool's thread. Returns DB_OK or DB_ABSENT when it did what it should; else the transaction
     * fails. It may run again after a rollback (each op of a failed group is tried once more in a transaction
     * of its own), so it must set its results from scratch. */
    enum db_result (*run)(struct db *db, void *arg);
    void (*done)(struct spool_op *op); /* on `loop` */
    void *arg;
    struct loop *loop;
    /* valid in done */
    bool committed; /* reads: was run and did not fail */
    /* the spool's */
    struct spool_op *next;
};

struct spool_options {
    struct db_options db;
    unsigned queue_max; /* operations that wait; beyond it submit refuses */
    /* Between groups, at most once in this time, up to 100 expired records are removed; at once again while
     * there are more. 0: never. */
    int64_t sweep_every_ms;
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct metrics_cell *cell; /* the spool thread's own */
};

/* Opens the file and starts the thread. NULL with one line in `error`. */
struct spool *spool_create(const struct spool_options *options, char *error, size_t error_size);
/* Finishes what is queued (results whose loops have stopped are dropped), commits, closes. The loops that ops
 * name must still exist. */
void spool_destroy(struct spool **spool);

bool spool_was_killed(const struct spool *spool); /* db_was_killed. Any thread */

/* Any thread. False: queue full, or known not to commit (a write after a failed fsync, or within a second of
 * a full disk): done will not be called. */
bool spool_submit(struct spool *spool, struct spool_op *op);

/* The last write was committed, or none has failed: what readyz's warnings and /status show. Any thread. */
enum spool_health { SPOOL_GOOD, SPOOL_FULL, SPOOL_BROKEN };
enum spool_health spool_health(const struct spool *spool);

struct spool_stats {
    uint64_t groups, operations; /* committed, of writes; operations / groups is what an fsync carries */
    uint64_t turned_away;        /* queue_max operations were waiting */
    int64_t bytes;
};
void spool_stats(struct spool *spool, struct spool_stats *out); /* any thread */

#endif
