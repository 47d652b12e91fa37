/* db_queue_private: what the queue's files share: the transitions that more than one operation makes. */
#ifndef PHOENIX_ENGINE_LOCAL_DB_QUEUE_PRIVATE_H
#define PHOENIX_ENGINE_LOCAL_DB_QUEUE_PRIVATE_H

#include "db_private.h"

#include "util/buf.h"

static inline int64_t db_queue_now_ms(const struct db_queue_rules *rules)
{
    return rules->now_us / 1000;
}

/* Of a statement that selects the columns of a task, and its body behind them where `body`. */
void db_queue_read(sqlite3_stmt *s, bool body, struct db_task_view *out);
/* By number; body included. */
enum db_result db_queue_find_seq(struct db *db, int64_t seq, struct db_task_view *out);
/* The state that a task without a lease is in by what it says. */
enum db_task_state db_queue_state_of(const struct db_task_view *task, int64_t now_ms);

/* Into a state without a receipt. `task` is only what it was: its slices end here. */
enum db_result db_queue_move(struct db *db, const struct db_task_view *task, enum db_task_state to,
                             int64_t at_ms);
enum db_result db_queue_forget(struct db *db, const struct db_task_view *task);
/* An id is remembered for the dedupe window, and Redis will learn of it. id and receipt must not be the db's.
 */
enum db_result db_queue_finish(struct db *db, const struct db_queue_rules *rules, struct slice id, char how,
                               struct slice receipt);
/* A leased task's attempt has failed: delayed, ready without a delay, or dead when it was the last one. The
 * slices of `task` must still stand. */
enum db_result db_queue_fail(struct db *db, const struct db_queue_rules *rules,
                             const struct db_task_view *task, char kind, struct slice reason,
                             int64_t delay_ms, enum db_task_state *out_to);

#endif
