/* The queue's rows: what its operations cost, what a rollback and a reopening leave, and what is the file's
 * alone: tasks that go back to Redis, and what Redis has to learn. What the transitions are,
 * tests/unit/state/test_queue.c and the model say. */
#include "db_fixture.h"

#include "engine/local/db_private.h"

static struct db_fixture f;
static struct db_queue_rules rules;

static void start(void)
{
    db_fixture_start(&f);
    rules = (struct db_queue_rules){.now_us = INT64_C(1800000000000000),
                                    .retry_base_ms = 1000,
                                    .retry_max_ms = 300000,
                                    .dedupe_ms = 86400000,
                                    .aging_us = 60000000};
}

static void stop(void)
{
    db_close(&f.db);
}

static char add(const char *id, bool doubt)
{
    struct db_task task = {.id = slice_of(id),
                           .agent = slice_of("x"),
                           .body = slice_of("{}"),
                           .max_attempts = 3,
                           .ttl_ms = 100000};
    char said = 0;
    ck_assert_int_eq(db_queue_add(f.db, &rules, &task, doubt, &said), DB_OK);
    return said;
}

static void see_task(void *arg, const struct db_task_view *task)
{
    see(arg, task->id);
}

static const char *lease(const char *op, unsigned count)
{
    struct db_queue_ask ask = {
        .op = slice_of(op), .kind = 'l', .count = count, .lease_ms = 1000, .bytes_max = 1 << 20};
    int64_t expired;
    f.seen[0] = '\0';
    ck_assert_int_eq(db_queue_lease(f.db, &rules, &ask, see_task, &f, &expired), DB_OK);
    return f.seen;
}

static const char *take_back(unsigned limit)
{
    unsigned expired;
    f.seen[0] = '\0';
    ck_assert_int_eq(db_queue_take_back(f.db, &rules, limit, 1 << 20, see_task, &f, &expired), DB_OK);
    return f.seen;
}

static int64_t count(enum db_task_state state)
{
    struct db_queue_counts counts;
    ck_assert_int_eq(db_queue_counts(f.db, &rules, &counts), DB_OK);
    return counts.of[state];
}

/* --- cost --- */

START_TEST(every_statement_finds_its_rows_by_an_index)
{
    static const char *const TEXTS[] = {
#define STATEMENT(id, sql) (sql),
#include "engine/local/db_statements.def"
#undef STATEMENT
    };
    for (int i = DB_STATEMENT_TASK_ADD; i < DB_STATEMENT_COUNT; i++) {
        char sql[2048];
        sqlite3_stmt *s;
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", TEXTS[i]);
        ck_assert_int_eq(sqlite3_prepare_v2(f.db->sqlite, sql, -1, &s, NULL), SQLITE_OK);
        while (sqlite3_step(s) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(s, 3);
            bool walks = strncmp(detail, "SCAN", 4) == 0 && !strstr(detail, "USING INDEX") &&
                         !strstr(detail, "USING COVERING INDEX") && i != DB_STATEMENT_TASK_NOTES;
            ck_assert_msg(!walks && !strstr(detail, "TEMP B-TREE"), "%s: %s", TEXTS[i], detail);
        }
        sqlite3_finalize(s);
    }
}
END_TEST

START_TEST(a_lease_costs_as_much_with_many_tasks_as_with_few)
{
    enum { FEW = 100, MANY = 20000 };
    char id[24];
    int64_t steps[2] = {0};
    for (int i = 0, size = 0; i < 2; i++) {
        BEGINS(&f);
        for (int until = i ? MANY : FEW; size < until; size++)
            ck_assert_int_eq(add(FORMAT(id, "t%d", size), false), DB_QUEUE_DONE);
        COMMITS(&f);
        sqlite3_stmt *s = f.db->statements[DB_STATEMENT_TASK_READY];
        sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 1);
        BEGINS(&f);
        lease("0123456789abcdef", 10);
        db_rollback(f.db);
        steps[i] = sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 1);
    }
    ck_assert_int_gt(steps[0], 0);
    ck_assert_int_eq(steps[0], steps[1]);
}
END_TEST

START_TEST(no_statement_is_compiled_anew_for_other_values)
{
    struct db_queue_ticked ticked;
    char id[24];
    for (int i = 0; i < 10; i++) {
        BEGINS(&f);
        add(FORMAT(id, "t%d", i), i % 2);
        rules.now_us += 1000000;
        ck_assert_int_eq(db_queue_tick(f.db, &rules, 10, &ticked), DB_OK);
        lease("0123456789abcdef", 1);
        take_back(2);
        COMMITS(&f);
    }
    for (int i = DB_STATEMENT_TASK_ADD; i < DB_STATEMENT_COUNT; i++)
        ck_assert_msg(sqlite3_stmt_status(f.db->statements[i], SQLITE_STMTSTATUS_REPREPARE, 0) == 0, "%s",
                      sqlite3_sql(f.db->statements[i]));
}
END_TEST

/* --- counts, rollback, reopening --- */

START_TEST(a_rollback_leaves_counts_and_tasks_as_they_were)
{
    BEGINS(&f);
    ck_assert_int_eq(add("a", false), DB_QUEUE_DONE);
    COMMITS(&f);
    BEGINS(&f);
    ck_assert_int_eq(add("b", false), DB_QUEUE_DONE);
    ck_assert_str_eq(lease("0123456789abcdef", 9), "a b");
    ck_assert_int_eq(count(DB_TASK_LEASED), 2);
    db_rollback(f.db);
    ck_assert_int_eq(count(DB_TASK_LEASED), 0);
    ck_assert_int_eq(count(DB_TASK_READY), 1);
    BEGINS(&f);
    ck_assert_str_eq(lease("0123456789abcdef", 9), "a");
    COMMITS(&f);
}
END_TEST

START_TEST(a_reopened_file_has_its_tasks_leases_and_finished_ids)
{
    char said = 0;
    BEGINS(&f);
    add("a", false);
    add("b", false);
    add("c", true);
    ck_assert_str_eq(lease("0123456789abcdef", 1), "a");
    ck_assert_int_eq(db_queue_ack(f.db, &rules, slice_of("a"), slice_of("l.0123456789abcdef.1.1"), &said),
                     DB_OK);
    ck_assert_int_eq(said, DB_QUEUE_DONE);
    COMMITS(&f);
    db_fixture_reopen(&f);
    ck_assert_int_eq(count(DB_TASK_READY), 1);
    ck_assert_int_eq(count(DB_TASK_BACK), 1);
    ck_assert_int_eq(db_queue_held(f.db), 2);
    BEGINS(&f);
    ck_assert_int_eq(add("a", false), DB_QUEUE_ACKED);
    ck_assert_int_eq(add("d", false), DB_QUEUE_DONE);
    ck_assert_str_eq(lease("fedcba9876543210", 9), "b d"); /* arrivals go on behind the old ones */
    COMMITS(&f);
}
END_TEST

START_TEST(a_file_of_the_schema_before_the_queue_gains_its_tables)
{
    ck_assert_int_eq(
        sqlite3_exec(f.db->sqlite,
                     "DROP TABLE tasks; DROP TABLE task_bodies; DROP TABLE task_done;"
                     "DROP TABLE task_notes; ALTER TABLE journal DROP COLUMN trace; PRAGMA user_version = 1",
                     NULL, NULL, NULL),
        SQLITE_OK);
    db_fixture_reopen(&f);
    BEGINS(&f);
    ck_assert_int_eq(add("a", false), DB_QUEUE_DONE);
    COMMITS(&f);
}
END_TEST

START_TEST(a_file_with_tasks_or_notes_belongs_to_its_redis)
{
    BEGINS(&f);
    add("a", false);
    COMMITS(&f);
    db_close(&f.db);
    f.options.identity = "another";
    ck_assert(!db_fixture_open(&f));
    f.options.identity = "embedded";
    ck_assert(db_fixture_open(&f));
}
END_TEST

START_TEST(what_does_not_fit_is_refused_whole)
{
    db_close(&f.db);
    f.options.bytes_max = 1;
    ck_assert(db_fixture_open(&f));
    struct db_task task = {.id = slice_of("a"), .body = slice_of("{}"), .max_attempts = 1, .ttl_ms = 1000};
    char said;
    BEGINS(&f);
    ck_assert_int_eq(db_queue_add(f.db, &rules, &task, false, &said), DB_FULL);
    ck_assert_int_eq(db_commit(f.db), DB_FULL);
    ck_assert_int_eq(count(DB_TASK_READY), 0);
}
END_TEST

/* --- back to Redis --- */

START_TEST(what_is_taken_back_is_nobodys_until_it_is_gone)
{
    BEGINS(&f);
    add("doubt", true);
    add("a", false);
    add("b", false);
    add("leased", false);
    rules.now_us -= 1; /* so that it comes first */
    add("first", false);
    rules.now_us += 1;
    ck_assert_str_eq(lease("0123456789abcdef", 1), "first");
    ck_assert_str_eq(take_back(2), "doubt a");
    ck_assert_str_eq(take_back(2), "doubt a"); /* as after a crash */
    ck_assert_str_eq(lease("fedcba9876543210", 1), "b");
    COMMITS(&f);
    db_fixture_reopen(&f);
    BEGINS(&f);
    ck_assert_str_eq(take_back(9), "doubt a leased");
    struct db_task_view task;
    ck_assert_int_eq(db_queue_get(f.db, &rules, slice_of("a"), &task), DB_OK);
    ck_assert_int_eq(db_queue_given_back(f.db, task.seq), DB_OK);
    ck_assert_str_eq(take_back(9), "doubt leased");
    rules.now_us += INT64_C(100000) * 1000;
    ck_assert_str_eq(take_back(9), "");
    COMMITS(&f);
    ck_assert_int_eq(db_queue_held(f.db), 2); /* those leased */
}
END_TEST

static void see_note(void *arg, const struct db_queue_note *note)
{
    char kind[2] = {note->kind, '\0'};
    see(arg, slice_of(kind));
    see(arg, note->id);
}

START_TEST(what_redis_has_to_learn_is_kept_once_in_order)
{
    char said;
    rules.hands_back = true;
    BEGINS(&f);
    struct slice r1 = slice_of("r.1"), r2 = slice_of("r.2"), why = slice_of("\"x\"");
    ck_assert_int_eq(db_queue_journal(f.db, &rules, 'f', slice_of("a"), r1, 0, SLICE_NONE, &said), DB_OK);
    ck_assert_int_eq(said, DB_QUEUE_DONE);
    ck_assert_int_eq(db_queue_journal(f.db, &rules, 'n', slice_of("b"), r2, 5, why, &said), DB_OK);
    ck_assert_int_eq(said, DB_QUEUE_DONE);
    ck_assert_int_eq(db_queue_journal(f.db, &rules, 'f', slice_of("b"), r2, 0, SLICE_NONE, &said), DB_OK);
    ck_assert_int_eq(said, DB_QUEUE_STALE);
    ck_assert_int_eq(db_queue_journal(f.db, &rules, 'f', slice_of("a"), r1, 0, SLICE_NONE, &said), DB_OK);
    ck_assert_int_eq(said, DB_QUEUE_DONE);
    COMMITS(&f);
    db_fixture_reopen(&f);
    f.seen[0] = '\0';
    ck_assert_int_eq(db_queue_notes(f.db, 9, see_note, &f), DB_OK);
    ck_assert_str_eq(f.seen, "f a n b");
    ck_assert_int_eq(db_queue_held(f.db), 2);
    BEGINS(&f);
    ck_assert_int_eq(add("a", false), DB_QUEUE_ACKED);
    ck_assert_int_eq(db_queue_note_remove(f.db, 1), DB_OK);
    ck_assert_int_eq(db_queue_note_remove(f.db, 1), DB_ABSENT);
    ck_assert_int_eq(add("a", false), DB_QUEUE_DONE); /* Redis is asked from now on */
    COMMITS(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("db_queue");
    TCase *c = test_case(suite, "db_queue", 30);
    tcase_add_checked_fixture(c, start, stop);
    tcase_add_test(c, every_statement_finds_its_rows_by_an_index);
    tcase_add_test(c, a_lease_costs_as_much_with_many_tasks_as_with_few);
    tcase_add_test(c, no_statement_is_compiled_anew_for_other_values);
    tcase_add_test(c, a_rollback_leaves_counts_and_tasks_as_they_were);
    tcase_add_test(c, a_reopened_file_has_its_tasks_leases_and_finished_ids);
    tcase_add_test(c, a_file_of_the_schema_before_the_queue_gains_its_tables);
    tcase_add_test(c, a_file_with_tasks_or_notes_belongs_to_its_redis);
    tcase_add_test(c, what_does_not_fit_is_refused_whole);
    tcase_add_test(c, what_is_taken_back_is_nobodys_until_it_is_gone);
    tcase_add_test(c, what_redis_has_to_learn_is_kept_once_in_order);
    return test_run(suite);
}
