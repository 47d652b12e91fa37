/* db_queue: the task queue in the SQLite file: embedded mode's own, and what was enqueued while Redis was
 * away. The same transitions as the queue's scripts make on Redis (engine/redis/scripts/queue_lib.lua), by
 * the time that is passed in. On the spool's thread; what changes anything inside its transaction.
 *
 * A fifth state is the file's own: a task that is being handed back to Redis, or may be there already (its
 * enqueue's reply was lost). Nobody is given it here. And a second table: what Redis has to learn of tasks
 * that were finished or given back while it was away. */
#ifndef PHOENIX_ENGINE_LOCAL_DB_QUEUE_H
#define PHOENIX_ENGINE_LOCAL_DB_QUEUE_H

#include "engine/local/db.h"

/* Kept in the file: numbers never change. */
enum db_task_state {
    DB_TASK_READY,
    DB_TASK_DELAYED,
    DB_TASK_LEASED,
    DB_TASK_DEAD,
    DB_TASK_BACK,
    DB_TASK_STATES
};

enum { DB_QUEUE_OP_LEN = 16, DB_QUEUE_RECEIPT_MAX = 64, DB_QUEUE_HISTORY_MAX = 8 };

struct db_queue_rules {
    int64_t now_us; /* wall clock; Redis's where there is one */
    int64_t retry_base_ms, retry_max_ms, dedupe_ms;
    int64_t aging_us; /* that one step of priority is worth */
    unsigned jitter;  /* of backoffs, 0 to 999 */
    bool hands_back;  /* what is finished here, Redis has to learn */
};

/* What became of an id. */
enum db_queue_said {
    DB_QUEUE_DONE =
        '+', /* added; finished, also before and by this receipt; given back; requeued; cancelled */
    DB_QUEUE_STALE = '-', /* another's lease or none; not dead */
    DB_QUEUE_NO_TASK = '?',
    DB_QUEUE_BACK = 'b', /* it may be in Redis: not here to change */
    /* known, in this state */
    DB_QUEUE_READY = 'r',
    DB_QUEUE_DELAYED = 'd',
    DB_QUEUE_LEASED = 'l',
    DB_QUEUE_DEAD = 'x',
    DB_QUEUE_ACKED = 'a',
    DB_QUEUE_CANCELLED = 'c',
    DB_QUEUE_PURGED = 'p'
};

struct db_task {
    struct slice id, agent, body;
    unsigned priority, max_attempts;
    int64_t delay_ms, ttl_ms;
};

/* A task as it is. */
struct db_task_view {
    int64_t seq; /* its number in the file */
    enum db_task_state state;
    enum db_task_state shown; /* of BACK: the state it left; else `state` */
    struct slice id, agent, receipt, history, body;
    unsigned failures, max_attempts, priority;
    int64_t arrival, rank_us, added_ms, ttl_ms, ends_ms;
    int64_t at_ms; /* when the state ends; 0: ready */
};
typedef void db_task_fn(void *arg, const struct db_task_view *task);

/* --- O(log N) each --- */

/* doubt: it may have reached Redis. */
enum db_result db_queue_add(struct db *db, const struct db_queue_rules *rules, const struct db_task *task,
                            bool doubt, char *out_said);
/* DB_QUEUE_NO_TASK, or the state that the id has. Reads. */
enum db_result db_queue_known(struct db *db, const struct db_queue_rules *rules, struct slice id,
                              char *out_said);
enum db_result db_queue_get(struct db *db, const struct db_queue_rules *rules, struct slice id,
                            struct db_task_view *out); /* reads; DB_ABSENT */
enum db_result db_queue_ack(struct db *db, const struct db_queue_rules *rules, struct slice id,
                            struct slice receipt, char *out_said);
/* delay_ms -1: the backoff. */
enum db_result db_queue_nack(struct db *db, const struct db_queue_rules *rules, struct slice id,
                             struct slice receipt, int64_t delay_ms, struct slice reason, char *out_said);
enum db_result db_queue_extend(struct db *db, const struct db_queue_rules *rules, struct slice id,
                               struct slice receipt, int64_t lease_ms, int64_t *out_ends_ms, char *out_said);
enum db_result db_queue_cancel(struct db *db, const struct db_queue_rules *rules, struct slice id,
                               char *out_said);
enum db_result db_queue_requeue(struct db *db, const struct db_queue_rules *rules, struct slice id,
                                struct slice op, char *out_said);

/* --- O(log N) for each task --- */

struct db_queue_ask {
    struct slice op; /* DB_QUEUE_OP_LEN characters */
    char kind;       /* the receipt's first character; 'b': the lease's end finishes the task */
    const struct slice *agents;
    size_t agents_count; /* 0: all */
    unsigned count;
    int64_t lease_ms;
    size_t bytes_max; /* of bodies, beyond the first */
};
/* Calls each for every task leased, complete. out_expired: passed over, past their time to live. */
enum db_result db_queue_lease(struct db *db, const struct db_queue_rules *rules,
                              const struct db_queue_ask *ask, db_task_fn *each, void *arg,
                              int64_t *out_expired);
/* Gives back what an op leased: ready, same rank, same attempt. */
enum db_result db_queue_return(struct db *db, const struct db_queue_rules *rules, struct slice op,
                               unsigned *out_count);
/* Removes up to `limit` dead ones. */
enum db_result db_queue_purge(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                              unsigned *out_count, int64_t *out_left);

struct db_queue_ticked {
    bool more;
    int64_t ended, died, finished, promoted, expired, dead_forgotten, done_forgotten;
    int64_t next_ms; /* when the next lease ends or delayed task is due; 0: nothing is to come */
};
/* What time does, up to `limit` of each kind. */
enum db_result db_queue_tick(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                             struct db_queue_ticked *out);

/* --- looking; reads --- */

struct db_queue_counts {
    int64_t of[DB_TASK_STATES];
    int64_t journaled;
    int64_t oldest_ready_ms;
};
enum db_result db_queue_counts(struct db *db, const struct db_queue_rules *rules,
                               struct db_queue_counts *out);

/* How many are ready; how many rows Redis would have to learn of. O(1); of the open transaction. */
int64_t db_queue_ready(const struct db *db);
int64_t db_queue_held(const struct db *db);

/* Where a page begins: behind this task, in the order of the state's index. */
struct db_queue_place {
    int64_t first;   /* rank, or when the state ends; INT64_MIN: from the start */
    int64_t arrival; /* of ready ones, and BACK */
    struct slice id; /* of the others */
};
/* Up to `limit` tasks, fewer where bodies come to bytes_max. out_more: others follow. */
enum db_result db_queue_list(struct db *db, enum db_task_state state, const struct db_queue_place *after,
                             unsigned limit, size_t bytes_max, db_task_fn *each, void *arg, bool *out_more);

/* --- what Redis has to learn --- */

enum db_queue_news { DB_QUEUE_NEWS_FINISHED = 'f', DB_QUEUE_NEWS_NACK = 'n' };

struct db_queue_note {
    int64_t seq;
    char kind; /* enum db_queue_news */
    char how;  /* FINISHED: a, c or p */
    struct slice id, receipt, reason;
    int64_t delay_ms; /* NACK; -1: the backoff */
    int64_t stamp_ms;
};
typedef void db_queue_note_fn(void *arg, const struct db_queue_note *note);

/* An ack or nack of a task that Redis has leased. A receipt's first word counts: DB_QUEUE_DONE if this is the
 * same, else DB_QUEUE_STALE. */
enum db_result db_queue_journal(struct db *db, const struct db_queue_rules *rules, char kind, struct slice id,
                                struct slice receipt, int64_t delay_ms, struct slice reason, char *out_said);
enum db_result db_queue_notes(struct db *db, unsigned limit, db_queue_note_fn *each, void *arg); /* reads */
/* Redis has learnt it: the id is no longer remembered here either. DB_ABSENT: no such note. */
enum db_result db_queue_note_remove(struct db *db, int64_t seq);
/* Takes what is ready, delayed or dead out of everybody's reach until there are `limit` of these, then shows
 * up to `limit` of them (bodies up to bytes_max, beyond the first). Those past their time to live go. */
enum db_result db_queue_take_back(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                                  size_t bytes_max, db_task_fn *each, void *arg, unsigned *out_expired);
/* Redis has it. DB_ABSENT: no such task. */
enum db_result db_queue_given_back(struct db *db, int64_t seq);

#endif
