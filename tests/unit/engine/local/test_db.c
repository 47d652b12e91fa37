/* The file: who may open it, what survives, records and their room. */
#include "db_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct db_fixture f;

static void start(void)
{
    db_fixture_start(&f);
}

static void stop(void)
{
    db_close(&f.db);
}

static void change_file(const char *sql)
{
    sqlite3 *sqlite;
    ck_assert_int_eq(sqlite3_open(f.path, &sqlite), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sqlite);
}

#define REFUSED(part)                                                                                        \
    do {                                                                                                     \
        ck_assert(!db_fixture_open(&f));                                                                     \
        ck_assert_msg(strstr(f.error, part) != NULL, "%s", f.error);                                         \
        ck_assert_msg(strstr(f.error, f.path) != NULL, "%s", f.error);                                       \
    } while (0)

/* --- who may open it --- */

START_TEST(file_and_log_are_readable_for_their_owner_alone)
{
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "a", "1", 0), DB_OK);
    COMMITS(&f);
    char wal[TEST_PATH_MAX + 8];
    FORMAT(wal, "%s-wal", f.path);
    const char *paths[] = {f.path, wal};
    for (size_t i = 0; i < 2; i++) {
        struct stat st;
        ck_assert_int_eq(stat(paths[i], &st), 0);
        ck_assert_int_eq(st.st_mode & 07777, 0600);
    }
}
END_TEST

START_TEST(a_second_process_is_told_that_the_file_is_in_use)
{
    pid_t child = fork();
    if (child == 0) {
        char error[512] = "";
        struct db *other = db_open(&f.options, error, sizeof error);
        _exit(other == NULL && strstr(error, "in use by another process") != NULL ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    BEGINS(&f); /* and the first goes on */
    ck_assert_int_eq(put(&f, "a", "1", 0), DB_OK);
    COMMITS(&f);
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    db_close(&f.db);
    change_file("PRAGMA user_version = 99");
    REFUSED("version 99");
}
END_TEST

/* Version 2 is 3 without that column. */
START_TEST(an_older_schema_is_brought_up_to_date)
{
    struct db_entry entry = {.id = SLICE_LITERAL("s1"),
                             .change_id = SLICE_LITERAL("c1"),
                             .body = SLICE_LITERAL("{}")},
                    read;
    int64_t seq;
    BEGINS(&f);
    ck_assert_int_eq(db_journal_append(f.db, &entry, &seq), DB_OK);
    COMMITS(&f);
    db_close(&f.db);
    change_file("ALTER TABLE journal DROP COLUMN trace; PRAGMA user_version = 2");
    char error[512] = "";
    f.db = db_open(&f.options, error, sizeof error);
    ck_assert_msg(f.db != NULL, "%s", error);
    BEGINS(&f);
    ck_assert_int_eq(db_journal_newest(f.db, entry.kind, entry.id, &read), DB_OK);
    ck_assert_ptr_null(read.trace.ptr);
    entry.trace = SLICE_LITERAL("4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7");
    ck_assert_int_eq(db_journal_append(f.db, &entry, &seq), DB_OK);
    ck_assert_int_eq(db_journal_newest(f.db, entry.kind, entry.id, &read), DB_OK);
    ck_assert(slice_equal(read.trace, entry.trace));
    COMMITS(&f);
}
END_TEST

START_TEST(another_programs_database_is_refused_and_left_alone)
{
    db_close(&f.db);
    unlink(f.path);
    change_file("CREATE TABLE theirs (x)");
    REFUSED("another program");
    change_file("INSERT INTO theirs VALUES (1)");
}
END_TEST

START_TEST(what_is_no_database_is_refused)
{
    db_close(&f.db);
    unlink(f.path);
    char text[2048];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    scratch_write(f.path, text);
    REFUSED("not a SQLite database");
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_refused)
{
    db_close(&f.db);
    FORMAT(f.path, "/nonexistent/spool.db");
    REFUSED("No such file");
}
END_TEST

START_TEST(another_identity_is_taken_by_an_empty_file)
{
    db_close(&f.db);
    f.options.identity = "redis a";
    ck_assert(db_fixture_open(&f));
    BEGINS(&f);
    int64_t seq = append(&f, "a", "1");
    COMMITS(&f);
    BEGINS(&f);
    ck_assert_int_eq(db_journal_remove(f.db, seq), DB_OK);
    COMMITS(&f);
    db_close(&f.db);
    f.options.identity = "redis b";
    ck_assert_msg(db_fixture_open(&f), "%s", f.error);
}
END_TEST

/* 0: an entry; 1: one that is set aside; 2: a record */
START_TEST(another_identity_is_refused_by_a_file_that_holds_something)
{
    BEGINS(&f);
    if (_i == 2) {
        ck_assert_int_eq(put(&f, "a", "1", 0), DB_OK);
    } else {
        int64_t seq = append(&f, "a", "1");
        if (_i == 1) ck_assert_int_eq(db_journal_set_aside(f.db, seq, "why"), DB_OK);
    }
    COMMITS(&f);
    db_close(&f.db);
    f.options.identity = "redis b";
    REFUSED("\"embedded\"");
    ck_assert_ptr_nonnull(strstr(f.error, "\"redis b\""));
    f.options.identity = "embedded";
    ck_assert(db_fixture_open(&f));
}
END_TEST

/* --- what survives --- */

START_TEST(a_file_that_was_not_closed_says_so)
{
    ck_assert(!db_was_killed(f.db));
    db_fixture_reopen(&f);
    ck_assert(!db_was_killed(f.db));
    db_close(&f.db);
    pid_t child = fork();
    if (child == 0) _exit(db_fixture_open(&f) ? 0 : 1); /* as killed */
    int status = 1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(db_fixture_open(&f));
    ck_assert(db_was_killed(f.db));
    db_fixture_reopen(&f);
    ck_assert(!db_was_killed(f.db));
}
END_TEST

START_TEST(a_commit_survives_reopening_and_a_rollback_leaves_nothing)
{
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "kept", "1", 0), DB_OK);
    COMMITS(&f);
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "dropped", "1", 0), DB_OK);
    HOLDS(&f, "dropped", "1");
    db_rollback(f.db);
    LACKS(&f, "dropped");
    db_fixture_reopen(&f);
    HOLDS(&f, "kept", "1");
    LACKS(&f, "dropped");
}
END_TEST

/* Each commit is told through a pipe; the child dies in the middle of the transaction behind the last. */
static void commit_until_killed(int told)
{
    if (!db_fixture_open(&f)) _exit(1);
    for (int i = 0;; i++) {
        char id[16];
        FORMAT(id, "%d", i);
        if (db_begin(f.db) != DB_OK || put(&f, id, id, 0) != DB_OK) _exit(1);
        char big[20000];
        memset(big, 'x', sizeof big - 1);
        big[sizeof big - 1] = '\0';
        for (int n = 0; i == 20 && n < 400; n++) /* more than the cache holds, so that some is in the log */
            if (put(&f, FORMAT(id, "spill %d", n), big, 0) != DB_OK) _exit(1);
        if (i == 20) {
            (void)!write(told, "s", 1);
            pause();
        }
        if (db_commit(f.db) != DB_OK) _exit(1);
        (void)!write(told, "c", 1);
    }
}

START_TEST(killed_in_mid_transaction_exactly_the_committed_is_there)
{
    db_close(&f.db);
    int told[2];
    ck_assert_int_eq(pipe(told), 0);
    pid_t child = fork();
    if (child == 0) commit_until_killed(told[1]);
    close(told[1]);
    unsigned committed = 0;
    char c = 0;
    while (c != 's' && read(told[0], &c, 1) == 1)
        committed += c == 'c';
    ck_assert_int_eq(c, 's');
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(told[0]);
    ck_assert_msg(db_fixture_open(&f), "%s", f.error);
    ck_assert_uint_eq(committed, 20);
    unsigned count;
    ck_assert_int_eq(db_record_list(f.db, KIND, SLICE_NONE, 100, NOW, see_record, &f, &count), DB_OK);
    ck_assert_uint_eq(count, committed);
    HOLDS(&f, "19", "19");
    LACKS(&f, "20");
}
END_TEST

START_TEST(the_log_is_moved_into_the_file_and_stays_bounded)
{
    char value[40000], wal[TEST_PATH_MAX + 8];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    FORMAT(wal, "%s-wal", f.path);
    struct stat st;
    for (int i = 0; i < 600; i++) {
        BEGINS(&f);
        ck_assert_int_eq(put(&f, "a", value, 0), DB_OK);
        COMMITS(&f);
        ck_assert_int_eq(db_checkpoint(f.db), DB_OK);
    }
    ck_assert_int_eq(stat(wal, &st), 0);
    ck_assert_int_lt(st.st_size, 6L * 1024 * 1024); /* 1000 pages and the last commit; 24 MiB were written */
}
END_TEST

/* --- records --- */

START_TEST(a_record_is_replaced_and_removed)
{
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "a", "1", 0), DB_OK);
    ck_assert_int_eq(put(&f, "a", "2", NOW + 1), DB_OK);
    COMMITS(&f);
    HOLDS(&f, "a", "2");
    BEGINS(&f);
    ck_assert_int_eq(db_record_remove(f.db, KIND, slice_of("a")), DB_OK);
    ck_assert_int_eq(db_record_remove(f.db, KIND, slice_of("a")), DB_OK);
    COMMITS(&f);
    LACKS(&f, "a");
}
END_TEST

START_TEST(values_are_bytes_and_may_be_empty)
{
    BEGINS(&f);
    struct db_record record = {{"i\0d", 3}, {"\0\xff", 2}, 0}, got;
    ck_assert_int_eq(db_record_put(f.db, KIND, &record), DB_OK);
    ck_assert_int_eq(put(&f, "empty", "", 0), DB_OK);
    COMMITS(&f);
    ck_assert_int_eq(db_record_get(f.db, KIND, record.id, NOW, &got), DB_OK);
    ck_assert(slice_equal(got.value, record.value));
    ck_assert(slice_equal(got.id, record.id));
    ck_assert_int_eq(db_record_get(f.db, KIND, slice_of("empty"), NOW, &got), DB_OK);
    ck_assert_ptr_nonnull(got.value.ptr);
    ck_assert_uint_eq(got.value.len, 0);
}
END_TEST

START_TEST(the_expired_are_neither_read_nor_listed)
{
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "a", "1", NOW), DB_OK);
    ck_assert_int_eq(put(&f, "b", "1", NOW + 1), DB_OK);
    ck_assert_int_eq(put(&f, "c", "1", 0), DB_OK);
    COMMITS(&f);
    LACKS(&f, "a");
    unsigned count;
    ck_assert_int_eq(db_record_list(f.db, KIND, SLICE_NONE, 10, NOW, see_record, &f, &count), DB_OK);
    ck_assert_str_eq(f.seen, "b c");
}
END_TEST

START_TEST(lists_go_on_behind_an_id_in_order)
{
    BEGINS(&f);
    for (const char *id = "dbace"; *id; id++)
        ck_assert_int_eq(put(&f, (char[]){*id, '\0'}, "1", 0), DB_OK);
    struct db_record other = {slice_of("b2"), slice_of("x"), 0};
    ck_assert_int_eq(db_record_put(f.db, KIND + 1, &other), DB_OK);
    COMMITS(&f);
    unsigned count;
    ck_assert_int_eq(db_record_list(f.db, KIND, SLICE_NONE, 2, NOW, see_record, &f, &count), DB_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(db_record_list(f.db, KIND, slice_of("b"), 9, NOW, see_record, &f, &count), DB_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_str_eq(f.seen, "a b c d e");
}
END_TEST

START_TEST(a_sweep_removes_the_expired_in_steps)
{
    BEGINS(&f);
    for (int i = 0; i < 25; i++) {
        char id[16];
        ck_assert_int_eq(put(&f, FORMAT(id, "%d", i), "1", i < 15 ? NOW - i : i < 20 ? NOW + 1 : 0), DB_OK);
    }
    COMMITS(&f);
    static const unsigned steps[] = {10, 5, 0};
    for (size_t i = 0; i < 3; i++) {
        unsigned count = 99;
        BEGINS(&f);
        ck_assert_int_eq(db_record_sweep(f.db, NOW, 10, &count), DB_OK);
        COMMITS(&f);
        ck_assert_uint_eq(count, steps[i]);
    }
    unsigned count;
    ck_assert_int_eq(db_record_list(f.db, KIND, SLICE_NONE, 99, NOW, see_record, &f, &count), DB_OK);
    ck_assert_uint_eq(count, 10);
}
END_TEST

/* --- room --- */

START_TEST(beyond_bytes_max_the_transaction_ends_and_removing_makes_room)
{
    f.options.bytes_max = db_bytes(f.db) + 120000;
    db_close(&f.db);
    ck_assert(db_fixture_open(&f));
    char value[50000];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "a", value, 0), DB_OK);
    ck_assert_int_eq(put(&f, "b", value, 0), DB_OK);
    COMMITS(&f);
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "small", "1", 0), DB_OK);
    ck_assert_int_eq(put(&f, "c", value, 0), DB_FULL);
    ck_assert_int_eq(put(&f, "small", "1", 0), DB_FULL); /* not outside of a transaction either */
    ck_assert_int_eq(db_commit(f.db), DB_FULL);
    db_rollback(f.db);
    LACKS(&f, "small");
    HOLDS(&f, "a", value);
    int64_t before = db_bytes(f.db);
    ck_assert_int_le(before, f.options.bytes_max);
    BEGINS(&f);
    ck_assert_int_eq(db_record_remove(f.db, KIND, slice_of("a")), DB_OK);
    COMMITS(&f);
    ck_assert_int_le(db_bytes(f.db), before - 48000);
    BEGINS(&f);
    ck_assert_int_eq(put(&f, "c", value, 0), DB_OK);
    COMMITS(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db");
    TCase *t = test_case(s, "db", 30);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, file_and_log_are_readable_for_their_owner_alone);
    tcase_add_test(t, a_second_process_is_told_that_the_file_is_in_use);
    tcase_add_test(t, a_newer_schema_is_refused);
    tcase_add_test(t, an_older_schema_is_brought_up_to_date);
    tcase_add_test(t, another_programs_database_is_refused_and_left_alone);
    tcase_add_test(t, what_is_no_database_is_refused);
    tcase_add_test(t, a_directory_that_is_not_there_is_refused);
    tcase_add_test(t, another_identity_is_taken_by_an_empty_file);
    tcase_add_loop_test(t, another_identity_is_refused_by_a_file_that_holds_something, 0, 3);
    tcase_add_test(t, a_file_that_was_not_closed_says_so);
    tcase_add_test(t, a_commit_survives_reopening_and_a_rollback_leaves_nothing);
    tcase_add_test(t, killed_in_mid_transaction_exactly_the_committed_is_there);
    tcase_add_test(t, the_log_is_moved_into_the_file_and_stays_bounded);
    tcase_add_test(t, a_record_is_replaced_and_removed);
    tcase_add_test(t, values_are_bytes_and_may_be_empty);
    tcase_add_test(t, the_expired_are_neither_read_nor_listed);
    tcase_add_test(t, lists_go_on_behind_an_id_in_order);
    tcase_add_test(t, a_sweep_removes_the_expired_in_steps);
    tcase_add_test(t, beyond_bytes_max_the_transaction_ends_and_removing_makes_room);
    return test_run(s);
}
