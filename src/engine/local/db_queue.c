/* db_queue: a row per task and its body in a row of its own, so that a change of state does not write it
 * anew. Each state has an index that holds its tasks in order, and `counts` how many there are. */
#include "db_queue_private.h"

#include <math.h>

enum { ROW_BYTES = 512, DOUBLINGS_MAX = 40 };

const char DB_QUEUE_SCHEMA[] =
    "CREATE TABLE IF NOT EXISTS tasks (seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,"
    " state INTEGER NOT NULL, failures INTEGER NOT NULL, max_attempts INTEGER NOT NULL,"
    " priority INTEGER NOT NULL, arrival INTEGER NOT NULL, rank_us INTEGER NOT NULL,"
    " added_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, agent BLOB NOT NULL, op BLOB, receipt BLOB, history BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS tasks_ready ON tasks (rank_us, arrival) WHERE state = 0;"
    "CREATE INDEX IF NOT EXISTS tasks_agent ON tasks (agent, rank_us, arrival)"
    " WHERE state = 0 AND agent > X'';"
    "CREATE INDEX IF NOT EXISTS tasks_at ON tasks (state, at_ms, id) WHERE state BETWEEN 1 AND 3;"
    "CREATE INDEX IF NOT EXISTS tasks_back ON tasks (rank_us, arrival) WHERE state = 4;"
    "CREATE INDEX IF NOT EXISTS tasks_end ON tasks (ends_ms, id) WHERE state < 2;"
    "CREATE INDEX IF NOT EXISTS tasks_op ON tasks (op, id) WHERE op IS NOT NULL;"
    "CREATE TABLE IF NOT EXISTS task_bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS task_done (id BLOB PRIMARY KEY, ends_ms INTEGER NOT NULL,"
    " how INTEGER NOT NULL, receipt BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS task_done_end ON task_done (ends_ms);"
    "CREATE TABLE IF NOT EXISTS task_notes (seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL,"
    " receipt BLOB NOT NULL, kind INTEGER NOT NULL, how INTEGER NOT NULL, delay_ms INTEGER NOT NULL,"
    " stamp_ms INTEGER NOT NULL, reason BLOB NOT NULL, UNIQUE (id, receipt));";

enum db_result db_queue_load(struct db *db)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_COUNTS);
    enum db_result result;
    while ((result = db_step(db, s)) == DB_OK) {
        int64_t state = db_column_int(s, 0), arrival = db_column_int(s, 2);
        if (state >= 0 && state < DB_TASK_STATES) db->counts.tasks[state] = db_column_int(s, 1);
        if (arrival > db->last_arrival) db->last_arrival = arrival;
    }
    if (result != DB_ABSENT) return result;
    s = db_use(db, DB_STATEMENT_TASK_NOTE_COUNT);
    while ((result = db_step(db, s)) == DB_OK)
        db->counts.task_notes = db_column_int(s, 0);
    return result == DB_ABSENT ? DB_OK : result;
}

/* --- rows --- */

void db_queue_read(sqlite3_stmt *s, bool body, struct db_task_view *out)
{
    *out = (struct db_task_view){.seq = db_column_int(s, 0),
                                 .id = db_column_slice(s, 1),
                                 .state = (enum db_task_state)db_column_int(s, 2),
                                 .failures = (unsigned)db_column_int(s, 3),
                                 .max_attempts = (unsigned)db_column_int(s, 4),
                                 .priority = (unsigned)db_column_int(s, 5),
                                 .arrival = db_column_int(s, 6),
                                 .rank_us = db_column_int(s, 7),
                                 .added_ms = db_column_int(s, 8),
                                 .ttl_ms = db_column_int(s, 9),
                                 .ends_ms = db_column_int(s, 10),
                                 .at_ms = db_column_int(s, 11),
                                 .agent = db_column_slice(s, 13),
                                 .receipt = db_column_slice(s, 14),
                                 .history = db_column_slice(s, 15),
                                 .body = body ? db_column_slice(s, 16) : SLICE_NONE};
    out->shown = out->state;
}

static enum db_result find(struct db *db, enum db_statement statement, struct slice id,
                           struct db_task_view *out)
{
    sqlite3_stmt *s = db_use(db, statement);
    db_bind_slice(s, 1, id);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) db_queue_read(s, statement == DB_STATEMENT_TASK_GET, out);
    return result;
}

enum db_result db_queue_find_seq(struct db *db, int64_t seq, struct db_task_view *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_GET_SEQ);
    db_bind_int(s, 1, seq);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) db_queue_read(s, true, out);
    return result;
}

enum db_task_state db_queue_state_of(const struct db_task_view *task, int64_t now_ms)
{
    if (task->failures >= task->max_attempts) return DB_TASK_DEAD;
    return task->at_ms > now_ms ? DB_TASK_DELAYED : DB_TASK_READY;
}

/* How an id that is no task any more has finished: DB_OK and its letter; its receipt is the db's. */
static enum db_result finished(struct db *db, const struct db_queue_rules *rules, struct slice id,
                               char *out_how, struct slice *out_receipt)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_DONE_GET);
    db_bind_slice(s, 1, id);
    db_bind_int(s, 2, db_queue_now_ms(rules));
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result;
    *out_how = (char)db_column_int(s, 0);
    *out_receipt = db_column_slice(s, 1);
    return DB_OK;
}

/* What is said of an id that is no task: STALE when it has finished. */
static enum db_result say_gone(struct db *db, const struct db_queue_rules *rules, struct slice id,
                               char *out_said)
{
    char how;
    struct slice receipt;
    enum db_result result = finished(db, rules, id, &how, &receipt);
    *out_said = result == DB_OK ? DB_QUEUE_STALE : DB_QUEUE_NO_TASK;
    return result == DB_ABSENT ? DB_OK : result;
}

/* --- transitions --- */

enum db_result db_queue_move(struct db *db, const struct db_task_view *task, enum db_task_state to,
                             int64_t at_ms)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_MOVE);
    db_bind_int(s, 1, task->seq);
    db_bind_int(s, 2, to);
    db_bind_int(s, 3, at_ms);
    enum db_result result = db_write(db, s);
    if (result != DB_OK) return result;
    db->counts.tasks[task->state]--;
    db->counts.tasks[to]++;
    return DB_OK;
}

enum db_result db_queue_forget(struct db *db, const struct db_task_view *task)
{
    int64_t seq = task->seq;
    enum db_task_state state = task->state;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_REMOVE);
    db_bind_int(s, 1, seq);
    enum db_result result = db_write(db, s);
    if (result != DB_OK) return result;
    db->counts.tasks[state]--;
    s = db_use(db, DB_STATEMENT_TASK_BODY_REMOVE);
    db_bind_int(s, 1, seq);
    return db_write_any(db, s);
}

static enum db_result add_note(struct db *db, const struct db_queue_note *note)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_NOTE_ADD);
    db_bind_slice(s, 1, note->id);
    db_bind_slice(s, 2, note->receipt);
    db_bind_int(s, 3, note->kind);
    db_bind_int(s, 4, note->how);
    db_bind_int(s, 5, note->delay_ms);
    db_bind_int(s, 6, note->stamp_ms);
    db_bind_slice(s, 7, note->reason);
    enum db_result result = db_write(db, s);
    if (result == DB_OK) db->counts.task_notes++;
    return result;
}

/* DB_OK: there is one of that receipt, of that kind. */
static enum db_result find_note(struct db *db, struct slice id, struct slice receipt, char *out_kind)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_NOTE_GET);
    db_bind_slice(s, 1, id);
    db_bind_slice(s, 2, receipt);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) *out_kind = (char)db_column_int(s, 0);
    return result;
}

enum db_result db_queue_finish(struct db *db, const struct db_queue_rules *rules, struct slice id, char how,
                               struct slice receipt)
{
    char kind;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_DONE_PUT);
    db_bind_slice(s, 1, id);
    db_bind_int(s, 2, db_queue_now_ms(rules) + rules->dedupe_ms);
    db_bind_int(s, 3, how);
    db_bind_slice(s, 4, receipt);
    enum db_result result = db_write(db, s);
    if (result != DB_OK || !rules->hands_back) return result;
    result = find_note(db, id, receipt, &kind);
    if (result != DB_ABSENT) return result;
    return add_note(db, &(struct db_queue_note){.kind = DB_QUEUE_NEWS_FINISHED,
                                                .how = how,
                                                .id = id,
                                                .receipt = receipt,
                                                .stamp_ms = db_queue_now_ms(rules)});
}

/* The history with one line more, the oldest one gone where there are enough. */
static void append_history(struct buf *out, struct slice history, char kind, int64_t now_ms, struct slice ref,
                           struct slice reason)
{
    unsigned lines = 0;
    for (size_t i = 0; i < history.len; i++)
        lines += history.ptr[i] == '\n';
    if (lines >= DB_QUEUE_HISTORY_MAX) {
        size_t first = (size_t)((const char *)memchr(history.ptr, '\n', history.len) - history.ptr) + 1;
        history.ptr += first;
        history.len -= first;
    }
    buf_append_slice(out, history);
    buf_printf(out, "%c %lld ", kind, (long long)now_ms);
    buf_append_slice(out, ref);
    buf_append_char(out, ' ');
    buf_append_slice(out, reason);
    buf_append_char(out, '\n');
}

static int64_t backoff_ms(const struct db_queue_rules *rules, const struct db_task_view *task,
                          unsigned failures)
{
    unsigned doublings = failures - 1 < DOUBLINGS_MAX ? failures - 1 : DOUBLINGS_MAX;
    double spread = (double)(((int64_t)rules->jitter + task->arrival * 617) % 1000) / 1000;
    double delay = (double)rules->retry_base_ms * exp2(doublings) * (0.75 + spread / 2);
    return delay < (double)rules->retry_max_ms ? (int64_t)delay : rules->retry_max_ms;
}

enum db_result db_queue_fail(struct db *db, const struct db_queue_rules *rules,
                             const struct db_task_view *task, char kind, struct slice reason,
                             int64_t delay_ms, enum db_task_state *out_to)
{
    int64_t now_ms = db_queue_now_ms(rules), at_ms = now_ms + task->ttl_ms;
    unsigned failures = task->failures + 1;
    struct buf history = {0};
    append_history(&history, task->history, kind, now_ms, task->receipt, reason);
    *out_to = DB_TASK_DEAD;
    if (failures < task->max_attempts) {
        if (delay_ms < 0) delay_ms = backoff_ms(rules, task, failures);
        *out_to = delay_ms > 0 ? DB_TASK_DELAYED : DB_TASK_READY;
        at_ms = delay_ms > 0 ? now_ms + delay_ms : 0;
    }
    enum db_result result = DB_FULL;
    if (!history.failed) {
        sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_FAIL);
        db_bind_int(s, 1, task->seq);
        db_bind_int(s, 2, *out_to);
        db_bind_int(s, 3, at_ms);
        db_bind_int(s, 4, failures);
        db_bind_slice(s, 5, buf_slice(&history));
        result = db_write(db, s);
    }
    buf_deinit(&history);
    if (result != DB_OK) return result;
    db->counts.tasks[task->state]--;
    db->counts.tasks[*out_to]++;
    return DB_OK;
}

/* --- adding --- */

enum db_result db_queue_known(struct db *db, const struct db_queue_rules *rules, struct slice id,
                              char *out_said)
{
    static const char LETTERS[] = {[DB_TASK_READY] = DB_QUEUE_READY,
                                   [DB_TASK_DELAYED] = DB_QUEUE_DELAYED,
                                   [DB_TASK_LEASED] = DB_QUEUE_LEASED,
                                   [DB_TASK_DEAD] = DB_QUEUE_DEAD};
    struct db_task_view task;
    struct slice receipt;
    enum db_result result = find(db, DB_STATEMENT_TASK_FIND, id, &task);
    if (result == DB_OK) {
        if (task.state == DB_TASK_BACK) task.state = db_queue_state_of(&task, db_queue_now_ms(rules));
        *out_said = LETTERS[task.state];
        return DB_OK;
    }
    if (result != DB_ABSENT) return result;
    *out_said = DB_QUEUE_NO_TASK;
    result = finished(db, rules, id, out_said, &receipt);
    return result == DB_ABSENT ? DB_OK : result;
}

static enum db_result insert(struct db *db, const struct db_queue_rules *rules, const struct db_task *task,
                             enum db_task_state state)
{
    int64_t now_ms = db_queue_now_ms(rules);
    if (!db->in_transaction) return db->failed;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_ADD);
    db_bind_slice(s, 1, task->id);
    db_bind_int(s, 2, state);
    db_bind_int(s, 3, task->max_attempts);
    db_bind_int(s, 4, task->priority);
    db_bind_int(s, 5, ++db->last_arrival);
    db_bind_int(s, 6, rules->now_us + task->delay_ms * 1000 - task->priority * rules->aging_us);
    db_bind_int(s, 7, now_ms);
    db_bind_int(s, 8, task->ttl_ms);
    db_bind_int(s, 9, now_ms + task->ttl_ms);
    db_bind_int(s, 10, task->delay_ms > 0 ? now_ms + task->delay_ms : 0);
    db_bind_int(s, 11, (int64_t)task->body.len);
    db_bind_slice(s, 12, task->agent);
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result;
    int64_t seq = db_column_int(s, 0);
    s = db_use(db, DB_STATEMENT_TASK_BODY_ADD);
    db_bind_int(s, 1, seq);
    db_bind_slice(s, 2, task->body);
    result = db_write(db, s);
    if (result == DB_OK) db->counts.tasks[state]++;
    return result;
}

enum db_result db_queue_add(struct db *db, const struct db_queue_rules *rules, const struct db_task *task,
                            bool doubt, char *out_said)
{
    enum db_result result = db_queue_known(db, rules, task->id, out_said);
    if (result != DB_OK || *out_said != DB_QUEUE_NO_TASK) return result;
    result = db_demand_room(db, task->id.len + task->agent.len + task->body.len + ROW_BYTES);
    if (result != DB_OK) return result;
    *out_said = DB_QUEUE_DONE;
    return insert(db, rules, task,
                  doubt                ? DB_TASK_BACK
                  : task->delay_ms > 0 ? DB_TASK_DELAYED
                                       : DB_TASK_READY);
}

enum db_result db_queue_get(struct db *db, const struct db_queue_rules *rules, struct slice id,
                            struct db_task_view *out)
{
    enum db_result result = find(db, DB_STATEMENT_TASK_GET, id, out);
    if (result == DB_OK && out->state == DB_TASK_BACK)
        out->shown = db_queue_state_of(out, db_queue_now_ms(rules));
    return result;
}

/* --- by receipt --- */

static bool is_held(const struct db_task_view *task, struct slice receipt)
{
    return task->state == DB_TASK_LEASED && slice_equal(task->receipt, receipt);
}

/* Whether the history tells of this nack. */
static bool is_nacked(struct slice history, struct slice receipt)
{
    const char *end = history.ptr + history.len;
    for (const char *line = history.ptr; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        const char *ref = line + 2 < next ? memchr(line + 2, ' ', (size_t)(next - line - 2)) : NULL;
        if (ref && *line == 'n' && (size_t)(next - ref) > receipt.len + 1 && ref[1 + receipt.len] == ' ' &&
            memcmp(ref + 1, receipt.ptr, receipt.len) == 0)
            return true;
        line = next + 1;
    }
    return false;
}

enum db_result db_queue_ack(struct db *db, const struct db_queue_rules *rules, struct slice id,
                            struct slice receipt, char *out_said)
{
    struct db_task_view task;
    enum db_result result = find(db, DB_STATEMENT_TASK_FIND, id, &task);
    *out_said = DB_QUEUE_STALE;
    if (result == DB_ABSENT) {
        char how;
        struct slice by;
        result = finished(db, rules, id, &how, &by);
        if (result == DB_OK && how == DB_QUEUE_ACKED && slice_equal(by, receipt)) *out_said = DB_QUEUE_DONE;
        if (result == DB_ABSENT) *out_said = DB_QUEUE_NO_TASK;
        return result == DB_ABSENT ? DB_OK : result;
    }
    if (result != DB_OK || !is_held(&task, receipt)) return result;
    *out_said = DB_QUEUE_DONE;
    result = db_queue_forget(db, &task);
    return result == DB_OK ? db_queue_finish(db, rules, id, DB_QUEUE_ACKED, receipt) : result;
}

enum db_result db_queue_nack(struct db *db, const struct db_queue_rules *rules, struct slice id,
                             struct slice receipt, int64_t delay_ms, struct slice reason, char *out_said)
{
    struct db_task_view task;
    enum db_task_state to;
    enum db_result result = find(db, DB_STATEMENT_TASK_FIND, id, &task);
    if (result == DB_ABSENT) return say_gone(db, rules, id, out_said);
    if (result != DB_OK) return result;
    *out_said = is_held(&task, receipt) || is_nacked(task.history, receipt) ? DB_QUEUE_DONE : DB_QUEUE_STALE;
    if (!is_held(&task, receipt)) return DB_OK;
    return db_queue_fail(db, rules, &task, 'n', reason.len ? reason : SLICE_LITERAL("\"\""), delay_ms, &to);
}

enum db_result db_queue_extend(struct db *db, const struct db_queue_rules *rules, struct slice id,
                               struct slice receipt, int64_t lease_ms, int64_t *out_ends_ms, char *out_said)
{
    struct db_task_view task;
    enum db_result result = find(db, DB_STATEMENT_TASK_FIND, id, &task);
    if (result == DB_ABSENT) return say_gone(db, rules, id, out_said);
    if (result != DB_OK) return result;
    *out_said = is_held(&task, receipt) ? DB_QUEUE_DONE : DB_QUEUE_STALE;
    if (*out_said != DB_QUEUE_DONE) return DB_OK;
    *out_ends_ms = db_queue_now_ms(rules) + lease_ms;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_EXTEND);
    db_bind_int(s, 1, task.seq);
    db_bind_int(s, 2, *out_ends_ms);
    return db_write(db, s);
}

/* --- by id --- */

enum db_result db_queue_cancel(struct db *db, const struct db_queue_rules *rules, struct slice id,
                               char *out_said)
{
    struct db_task_view task;
    enum db_result result = find(db, DB_STATEMENT_TASK_FIND, id, &task);
    *out_said = DB_QUEUE_NO_TASK;
    if (result == DB_ABSENT) {
        char how;
        struct slice receipt;
        result = finished(db, rules, id, &how, &receipt);
        if (result == DB_OK && how == DB_QUEUE_CANCELLED) *out_said = DB_QUEUE_DONE;
        return result == DB_ABSENT ? DB_OK : result;
    }
    if (result != DB_OK) return result;
    *out_said = task.state == DB_TASK_BACK ? DB_QUEUE_BACK : DB_QUEUE_DONE;
    if (task.state == DB_TASK_BACK) return DB_OK;
    result = db_queue_forget(db, &task);
    return result == DB_OK ? db_queue_finish(db, rules, id, DB_QUEUE_CANCELLED, SLICE_NONE) : result;
}

enum db_result db_queue_requeue(struct db *db, const struct db_queue_rules *rules, struct slice id,
                                struct slice op, char *out_said)
{
    struct db_task_view task;
    int64_t now_ms = db_queue_now_ms(rules);
    enum db_result result = find(db, DB_STATEMENT_TASK_FIND, id, &task);
    *out_said = DB_QUEUE_NO_TASK;
    if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
    *out_said = task.state == DB_TASK_DEAD   ? DB_QUEUE_DONE
                : task.state == DB_TASK_BACK ? DB_QUEUE_BACK
                                             : DB_QUEUE_STALE;
    if (task.state != DB_TASK_DEAD) return DB_OK;
    struct buf history = {0};
    append_history(&history, task.history, 'q', now_ms, op, SLICE_LITERAL("\"requeued\""));
    result = DB_FULL;
    if (!history.failed) {
        sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_RESTART);
        db_bind_int(s, 1, task.seq);
        db_bind_slice(s, 2, buf_slice(&history));
        db_bind_int(s, 3, now_ms);
        db_bind_int(s, 4, now_ms + task.ttl_ms);
        db_bind_int(s, 5, rules->now_us - task.priority * rules->aging_us);
        db_bind_int(s, 6, ++db->last_arrival);
        result = db_write(db, s);
    }
    buf_deinit(&history);
    if (result != DB_OK) return result;
    db->counts.tasks[DB_TASK_DEAD]--;
    db->counts.tasks[DB_TASK_READY]++;
    return DB_OK;
}

/* --- what Redis has leased --- */

enum db_result db_queue_journal(struct db *db, const struct db_queue_rules *rules, char kind, struct slice id,
                                struct slice receipt, int64_t delay_ms, struct slice reason, char *out_said)
{
    char before;
    enum db_result result = find_note(db, id, receipt, &before);
    if (result == DB_OK) *out_said = before == kind ? DB_QUEUE_DONE : DB_QUEUE_STALE;
    if (result != DB_ABSENT) return result;
    *out_said = DB_QUEUE_DONE;
    result = db_demand_room(db, id.len + receipt.len + reason.len + ROW_BYTES);
    if (result != DB_OK) return result;
    if (kind == DB_QUEUE_NEWS_FINISHED) return db_queue_finish(db, rules, id, DB_QUEUE_ACKED, receipt);
    return add_note(db, &(struct db_queue_note){.kind = kind,
                                                .how = DB_QUEUE_NO_TASK,
                                                .id = id,
                                                .receipt = receipt,
                                                .reason = reason,
                                                .delay_ms = delay_ms,
                                                .stamp_ms = db_queue_now_ms(rules)});
}
