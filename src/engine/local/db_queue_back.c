/* db_queue_back: what Redis has to learn, and the tasks that go to it. A task is taken out of everybody's
 * reach by one transaction and removed by a later one, when Redis has it; what was taken stays taken over a
 * crash. */
#include "db_queue_private.h"

#include "util/uri.h"

#include <assert.h>
#include <string.h>

enum db_result db_queue_notes(struct db *db, unsigned limit, db_queue_note_fn *each, void *arg)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_NOTES);
    db_bind_int(s, 1, limit);
    enum db_result result;
    while ((result = db_step(db, s)) == DB_OK) {
        struct db_queue_note note = {.seq = db_column_int(s, 0),
                                     .id = db_column_slice(s, 1),
                                     .receipt = db_column_slice(s, 2),
                                     .kind = (char)db_column_int(s, 3),
                                     .how = (char)db_column_int(s, 4),
                                     .delay_ms = db_column_int(s, 5),
                                     .stamp_ms = db_column_int(s, 6),
                                     .reason = db_column_slice(s, 7)};
        each(arg, &note);
    }
    return result == DB_ABSENT ? DB_OK : result;
}

enum db_result db_queue_note_remove(struct db *db, int64_t seq)
{
    char id_bytes[ID_LEN_MAX], receipt_bytes[ID_LEN_MAX];
    if (!db->in_transaction) return db->failed;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_NOTE_REMOVE);
    db_bind_int(s, 1, seq);
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result;
    struct slice id = db_column_slice(s, 0), receipt = db_column_slice(s, 1);
    assert(id.len <= sizeof id_bytes && receipt.len <= sizeof receipt_bytes);
    memcpy(id_bytes, id.ptr, id.len);
    memcpy(receipt_bytes, receipt.ptr, receipt.len);
    bool finished = db_column_int(s, 2) == DB_QUEUE_NEWS_FINISHED;
    db->counts.task_notes--;
    if (!finished) return DB_OK;
    s = db_use(db, DB_STATEMENT_TASK_DONE_REMOVE);
    db_bind_slice(s, 1, (struct slice){id_bytes, id.len});
    db_bind_slice(s, 2, (struct slice){receipt_bytes, receipt.len});
    return db_write_any(db, s);
}

/* --- tasks --- */

/* The first task that could go, of the states in the order in which they should. */
static enum db_result first_to_go(struct db *db, struct db_task_view *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_READY);
    db_bind_int(s, 1, 1);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) return db_queue_find_seq(db, db_column_int(s, 0), out);
    static const enum db_task_state OTHERS[] = {DB_TASK_DELAYED, DB_TASK_DEAD};
    for (size_t i = 0; result == DB_ABSENT && i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        s = db_use(db, DB_STATEMENT_TASK_DUE);
        db_bind_int(s, 1, OTHERS[i]);
        db_bind_int(s, 2, INT64_MAX);
        result = db_step(db, s);
        if (result == DB_OK) db_queue_read(s, false, out);
    }
    return result;
}

static bool is_over(const struct db_task_view *task, int64_t now_ms)
{
    bool dead = task->failures >= task->max_attempts;
    return (dead ? task->at_ms : task->ends_ms) <= now_ms;
}

static enum db_result take(struct db *db, int64_t now_ms, unsigned limit, unsigned *inout_expired)
{
    while (db->counts.tasks[DB_TASK_BACK] < limit) {
        struct db_task_view task;
        enum db_result result = first_to_go(db, &task);
        if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
        bool over = is_over(&task, now_ms);
        result = over ? db_queue_forget(db, &task) : db_queue_move(db, &task, DB_TASK_BACK, task.at_ms);
        if (result != DB_OK) return result;
        *inout_expired += over;
    }
    return DB_OK;
}

/* Those which were taken long ago, by a run that ended, or were in doubt. */
static enum db_result drop_expired(struct db *db, int64_t now_ms, unsigned limit, unsigned *inout_expired)
{
    struct db_task_view task;
    int64_t drop[16];
    unsigned count = 0, looked = 0;
    enum { DROP_MAX = sizeof drop / sizeof drop[0] };
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_LIST_BACK);
    db_bind_int(s, 1, limit);
    db_bind_int(s, 2, INT64_MIN);
    db_bind_int(s, 3, 0);
    while (count < DROP_MAX && looked++ < limit && db_step(db, s) == DB_OK) {
        db_queue_read(s, false, &task);
        if (is_over(&task, now_ms)) drop[count++] = task.seq;
    }
    for (unsigned i = 0; i < count; i++) {
        enum db_result result = db_queue_given_back(db, drop[i]);
        if (result != DB_OK) return result;
    }
    *inout_expired += count;
    return DB_OK;
}

enum db_result db_queue_take_back(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                                  size_t bytes_max, db_task_fn *each, void *arg, unsigned *out_expired)
{
    int64_t now_ms = db_queue_now_ms(rules);
    *out_expired = 0;
    enum db_result result = drop_expired(db, now_ms, limit, out_expired);
    if (result == DB_OK) result = take(db, now_ms, limit, out_expired);
    if (result != DB_OK) return result;
    bool more;
    const struct db_queue_place start = {.first = INT64_MIN};
    return db_queue_list(db, DB_TASK_BACK, &start, limit, bytes_max, each, arg, &more);
}

enum db_result db_queue_given_back(struct db *db, int64_t seq)
{
    struct db_task_view task;
    enum db_result result = db_queue_find_seq(db, seq, &task);
    return result == DB_OK ? db_queue_forget(db, &task) : result;
}
