/* db_queue_lease: who gets which tasks, and giving them back. What comes first is gathered before anything is
 * written, since only one statement can stand on a row. */
#include "db_queue_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct candidate {
    int64_t seq, bytes, ends_ms, rank_us, arrival;
};

struct candidates {
    struct candidate *of;
    size_t count, cap;
};

static bool push(struct candidates *all, const sqlite3_stmt *s)
{
    if (all->count == all->cap) {
        size_t cap = all->cap ? 2 * all->cap : 64;
        struct candidate *more = realloc(all->of, cap * sizeof *more);
        if (!more) return false;
        all->of = more;
        all->cap = cap;
    }
    sqlite3_stmt *row = (sqlite3_stmt *)s;
    all->of[all->count++] =
        (struct candidate){db_column_int(row, 0), db_column_int(row, 1), db_column_int(row, 2),
                           db_column_int(row, 3), db_column_int(row, 4)};
    return true;
}

/* The first `limit` of what is ready, of one agent where it is named. */
static enum db_result gather_of(struct db *db, const struct slice *agent, unsigned limit,
                                struct candidates *all)
{
    sqlite3_stmt *s = db_use(db, agent ? DB_STATEMENT_TASK_READY_AGENT : DB_STATEMENT_TASK_READY);
    enum db_result result;
    db_bind_int(s, 1, limit);
    if (agent) db_bind_slice(s, 2, *agent);
    while ((result = db_step(db, s)) == DB_OK)
        if (!push(all, s)) return DB_FULL;
    return result == DB_ABSENT ? DB_OK : result;
}

static int by_rank(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->rank_us != b->rank_us) return a->rank_us < b->rank_us ? -1 : 1;
    return (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

static enum db_result gather(struct db *db, const struct db_queue_ask *ask, struct candidates *all)
{
    if (!ask->agents_count) return gather_of(db, NULL, 3 * ask->count, all);
    for (size_t i = 0; i < ask->agents_count; i++) {
        enum db_result result = gather_of(db, &ask->agents[i], 2 * ask->count, all);
        if (result != DB_OK) return result;
    }
    if (ask->agents_count == 1 || !all->count) return DB_OK;
    qsort(all->of, all->count, sizeof all->of[0], by_rank);
    size_t kept = 1; /* an agent may be named twice */
    for (size_t i = 1; i < all->count; i++)
        if (all->of[i].seq != all->of[kept - 1].seq) all->of[kept++] = all->of[i];
    all->count = kept;
    return DB_OK;
}

/* Leaves those to be leased. The bounds are the script's: what it looks at comes in portions of as many as it
 * still needs, and no further one is begun past twice the count. */
static void choose(const struct db_queue_ask *ask, int64_t now_ms, struct candidates *all,
                   int64_t *out_expired)
{
    size_t taken = 0, looked = 0, portion = 0;
    int64_t bytes = 0;
    *out_expired = 0;
    for (; taken < ask->count && looked < all->count; looked++) {
        if (looked == portion) {
            if (looked >= 2 * (size_t)ask->count) break;
            portion = looked + ask->count - taken;
        }
        const struct candidate *c = &all->of[looked];
        if (c->ends_ms <= now_ms) {
            ++*out_expired;
            continue;
        }
        if (taken > 0 && bytes + c->bytes > (int64_t)ask->bytes_max) break;
        bytes += c->bytes;
        all->of[taken++] = *c;
    }
    all->count = taken;
}

static enum db_result lease_one(struct db *db, const struct db_queue_ask *ask, int64_t seq, size_t number,
                                int64_t ends_ms, db_task_fn *each, void *arg)
{
    char receipt[DB_QUEUE_RECEIPT_MAX];
    struct db_task_view task;
    enum db_result result = db_queue_find_seq(db, seq, &task);
    if (result != DB_OK) return result;
    int len = snprintf(receipt, sizeof receipt, "%c.%.*s.%zu.%u", ask->kind, DB_QUEUE_OP_LEN, ask->op.ptr,
                       number, task.failures + 1);
    task.receipt = (struct slice){receipt, (size_t)len};
    task.state = task.shown = DB_TASK_LEASED;
    task.at_ms = ends_ms;
    each(arg, &task);
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_LEASE);
    db_bind_int(s, 1, seq);
    db_bind_int(s, 2, ends_ms);
    db_bind_slice(s, 3, ask->op);
    db_bind_slice(s, 4, task.receipt);
    result = db_write(db, s);
    if (result != DB_OK) return result;
    db->counts.tasks[DB_TASK_READY]--;
    db->counts.tasks[DB_TASK_LEASED]++;
    return DB_OK;
}

enum db_result db_queue_lease(struct db *db, const struct db_queue_rules *rules,
                              const struct db_queue_ask *ask, db_task_fn *each, void *arg,
                              int64_t *out_expired)
{
    struct candidates all = {0};
    int64_t now_ms = db_queue_now_ms(rules);
    assert(ask->op.len == DB_QUEUE_OP_LEN);
    enum db_result result = gather(db, ask, &all);
    if (result == DB_OK) choose(ask, now_ms, &all, out_expired);
    for (size_t i = 0; result == DB_OK && i < all.count; i++)
        result = lease_one(db, ask, all.of[i].seq, i + 1, now_ms + ask->lease_ms, each, arg);
    free(all.of);
    return result;
}

enum db_result db_queue_return(struct db *db, const struct db_queue_rules *rules, struct slice op,
                               unsigned *out_count)
{
    (void)rules;
    for (*out_count = 0;; ++*out_count) {
        struct db_task_view task;
        sqlite3_stmt *s = db_use(db, DB_STATEMENT_TASK_OF_OP);
        db_bind_slice(s, 1, op);
        enum db_result result = db_step(db, s);
        if (result != DB_OK) return result == DB_ABSENT ? DB_OK : result;
        db_queue_read(s, false, &task);
        result = db_queue_move(db, &task, DB_TASK_READY, 0);
        if (result != DB_OK) return result;
    }
}
