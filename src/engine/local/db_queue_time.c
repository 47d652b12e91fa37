/* db_queue_time: what time does to the queue, and looking at it. A task that a step has dealt with has left
 * the index that the step reads, so each step takes the first one, again and again. */
#include "db_queue_private.h"

#include "util/uri.h"

#include <assert.h>
#include <string.h>

/* A task that a step has found; id and receipt are copies. */
struct found {
    struct db_task_view task;
    char id[ID_LEN_MAX], receipt[DB_QUEUE_RECEIPT_MAX];
};

static void copy(char *bytes, size_t size, struct slice *s)
{
    assert(s->len <= size);
    if (s->len > 0) memcpy(bytes, s->ptr, s->len);
    *s = (struct slice){bytes, s->len};
}

static enum db_result step_to(struct db *db, sqlite3_stmt *s, struct found *out)
{
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result;
    db_queue_read(s, false, &out->task);
    copy(out->id, sizeof out->id, &out->task.id);
    copy(out->receipt, sizeof out->receipt, &out->task.receipt);
    return DB_OK;
}

static enum db_result first_at(struct db *db, enum db_task_state state, int64_t until_ms, struct found *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_DUE);
    db_bind_int(s, 1, state);
    db_bind_int(s, 2, until_ms);
    return step_to(db, s, out);
}

/* One step of a tick: DB_ABSENT when nothing (further) is due. */
typedef enum db_result step_fn(struct db *db, const struct db_queue_rules *rules,
                               struct db_queue_ticked *out);

static enum db_result end_lease(struct db *db, const struct db_queue_rules *rules,
                                struct db_queue_ticked *out)
{
    struct found f;
    enum db_task_state to;
    enum db_result result = first_at(db, DB_TASK_LEASED, db_queue_now_ms(rules), &f);
    if (result != DB_OK) return result;
    out->ended++;
    if (f.receipt[0] == 'b') {
        out->finished++;
        result = db_queue_forget(db, &f.task);
        return result == DB_OK ? db_queue_finish(db, rules, f.task.id, DB_QUEUE_ACKED, f.task.receipt)
                               : result;
    }
    result = db_queue_fail(db, rules, &f.task, 'e', SLICE_LITERAL("\"lease ended\""), -1, &to);
    if (result == DB_OK && to == DB_TASK_DEAD) out->died++;
    return result;
}

static enum db_result expire(struct db *db, const struct db_queue_rules *rules, struct db_queue_ticked *out)
{
    struct found f;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_EXPIRED);
    db_bind_int(s, 1, db_queue_now_ms(rules));
    enum db_result result = step_to(db, s, &f);
    if (result != DB_OK) return result;
    out->expired++;
    return db_queue_forget(db, &f.task);
}

static enum db_result promote(struct db *db, const struct db_queue_rules *rules, struct db_queue_ticked *out)
{
    struct found f;
    enum db_result result = first_at(db, DB_TASK_DELAYED, db_queue_now_ms(rules), &f);
    if (result != DB_OK) return result;
    out->promoted++;
    return db_queue_move(db, &f.task, DB_TASK_READY, 0);
}

static enum db_result forget_dead(struct db *db, const struct db_queue_rules *rules,
                                  struct db_queue_ticked *out)
{
    struct found f;
    enum db_result result = first_at(db, DB_TASK_DEAD, db_queue_now_ms(rules), &f);
    if (result != DB_OK) return result;
    out->dead_forgotten++;
    return db_queue_forget(db, &f.task);
}

static enum db_result next_at(struct db *db, enum db_task_state state, int64_t *inout_next_ms)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_NEXT_AT);
    db_bind_int(s, 1, state);
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
    int64_t at_ms = db_column_int(s, 0);
    if (*inout_next_ms == 0 || at_ms < *inout_next_ms) *inout_next_ms = at_ms;
    return DB_OK;
}

static enum db_result look_ahead(struct db *db, struct db_queue_ticked *out)
{
    enum db_result result = next_at(db, DB_TASK_LEASED, &out->next_ms);
    return result == DB_OK ? next_at(db, DB_TASK_DELAYED, &out->next_ms) : result;
}

static enum db_result forget_done(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                                  struct db_queue_ticked *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_DONE_DUE);
    db_bind_int(s, 1, db_queue_now_ms(rules));
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
    s = db_use(db, DB_STATEMENT_TASK_DONE_SWEEP);
    db_bind_int(s, 1, db_queue_now_ms(rules));
    db_bind_int(s, 2, limit);
    result = db_write(db, s);
    if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
    out->done_forgotten = sqlite3_changes(db->sqlite);
    if (out->done_forgotten == limit) out->more = true;
    return DB_OK;
}

enum db_result db_queue_tick(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                             struct db_queue_ticked *out)
{
    static step_fn *const STEPS[] = {end_lease, expire, promote, forget_dead};
    *out = (struct db_queue_ticked){0};
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        enum db_result result = DB_OK;
        unsigned count = 0;
        while (count < limit && (result = STEPS[i](db, rules, out)) == DB_OK)
            count++;
        if (result != DB_OK && result != DB_ABSENT) return result;
        if (count == limit) out->more = true;
    }
    enum db_result result = forget_done(db, rules, limit, out);
    return result == DB_OK ? look_ahead(db, out) : result;
}

enum db_result db_queue_purge(struct db *db, const struct db_queue_rules *rules, unsigned limit,
                              unsigned *out_count, int64_t *out_left)
{
    enum db_result result = DB_OK;
    for (*out_count = 0; *out_count < limit; ++*out_count) {
        struct found f;
        result = first_at(db, DB_TASK_DEAD, INT64_MAX, &f);
        if (result != DB_OK) break;
        result = db_queue_forget(db, &f.task);
        if (result == DB_OK) result = db_queue_finish(db, rules, f.task.id, DB_QUEUE_PURGED, SLICE_NONE);
        if (result != DB_OK) return result;
    }
    *out_left = db->counts.tasks[DB_TASK_DEAD];
    return result == DB_ABSENT ? DB_OK : result;
}

/* --- looking --- */

/* As the script: at the head of the line, and among the 32 whose time to live ends first. */
static enum db_result oldest_ready(struct db *db, int64_t *out_added_ms)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_HEAD);
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result;
    *out_added_ms = db_column_int(s, 0);
    s = db_use(db, DB_STATEMENT_TASK_SOON_OVER);
    while ((result = db_step(db, s)) == DB_OK) {
        int64_t added_ms = db_column_int(s, 1);
        if (db_column_int(s, 0) == DB_TASK_READY && added_ms < *out_added_ms) {
            *out_added_ms = added_ms;
            break;
        }
    }
    return result == DB_ABSENT ? DB_OK : result;
}

enum db_result db_queue_counts(struct db *db, const struct db_queue_rules *rules, struct db_queue_counts *out)
{
    int64_t now_ms = db_queue_now_ms(rules), added_ms = now_ms;
    enum db_result result = oldest_ready(db, &added_ms);
    if (result != DB_OK && result != DB_ABSENT) return result;
    *out = (struct db_queue_counts){.journaled = db->counts.task_notes,
                                    .oldest_ready_ms = added_ms < now_ms ? now_ms - added_ms : 0};
    memcpy(out->of, db->counts.tasks, sizeof out->of);
    return DB_OK;
}

int64_t db_queue_ready(const struct db *db)
{
    return db->counts.tasks[DB_TASK_READY];
}

int64_t db_queue_held(const struct db *db)
{
    int64_t held = db->counts.task_notes;
    for (int i = 0; i < DB_TASK_STATES; i++)
        held += db->counts.tasks[i];
    return held;
}

enum db_result db_queue_list(struct db *db, enum db_task_state state, const struct db_queue_place *after,
                             unsigned limit, size_t bytes_max, db_task_fn *each, void *arg, bool *out_more)
{
    bool by_rank = state == DB_TASK_READY || state == DB_TASK_BACK;
    sqlite3_stmt *s = db_use(db, state == DB_TASK_READY  ? DB_STATEMENT_TASK_LIST_READY
                                 : state == DB_TASK_BACK ? DB_STATEMENT_TASK_LIST_BACK
                                                         : DB_STATEMENT_TASK_LIST);
    db_bind_int(s, 1, (int64_t)limit + 1);
    if (by_rank) {
        db_bind_int(s, 2, after->first);
        db_bind_int(s, 3, after->arrival);
    } else {
        db_bind_int(s, 2, state);
        db_bind_int(s, 3, after->first);
        db_bind_slice(s, 4, after->id);
    }
    size_t bytes = 0;
    unsigned count = 0;
    enum db_result result;
    *out_more = false;
    while ((result = db_step(db, s)) == DB_OK) {
        struct db_task_view task;
        if (count++ == limit || bytes >= bytes_max) {
            *out_more = true;
            return DB_OK;
        }
        db_queue_read(s, true, &task);
        bytes += task.body.len + task.history.len;
        each(arg, &task);
    }
    return result == DB_ABSENT ? DB_OK : result;
}
