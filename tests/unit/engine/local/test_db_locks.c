/* test_db_locks: the attempt on a file, by a clock that the test owns. */
#include "../../../support/support.h"
#include "engine/local/db_locks.h"

#include <string.h>

static struct db *db;
static int64_t now;

enum { TTL_MS = 1000, KEEP_MS = 100000 };

#define TOKEN_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void open_db(void)
{
    char path[TEST_PATH_MAX], error[300];
    struct db_options options = {
        .path = scratch_path(path, "locks.db"), .identity = "test", .bytes_max = 1 << 24};
    db = db_open(&options, error, sizeof error);
    ck_assert_msg(db != NULL, "%s", error);
    now = INT64_C(1700000000000);
}

static void close_db(void)
{
    db_close(&db);
}

static struct db_lock_answer acquire(const char *name, const char *token, const char *waiter)
{
    struct db_lock_answer answer;
    struct db_lock_ask ask = {.name = slice_of(name),
                              .token = slice_of(token),
                              .owner = SLICE_LITERAL("o"),
                              .waiter = slice_of(waiter),
                              .ttl_ms = TTL_MS,
                              .keep_ms = KEEP_MS,
                              .now_ms = now};
    ck_assert_int_eq(db_begin(db), DB_OK);
    ck_assert_int_eq(db_lock_acquire(db, &ask, &answer), DB_OK);
    ck_assert_int_eq(db_commit(db), DB_OK);
    return answer;
}

static int release(const char *token, const char *waiter)
{
    struct db_lock_answer answer;
    struct db_lock_ask ask = {
        .name = SLICE_LITERAL("l"), .token = slice_of(token), .waiter = slice_of(waiter), .now_ms = now};
    ck_assert_int_eq(db_begin(db), DB_OK);
    ck_assert_int_eq(db_lock_release(db, &ask, &answer), DB_OK);
    ck_assert_int_eq(db_commit(db), DB_OK);
    return answer.held;
}

START_TEST(a_repeat_shows_what_is_left_and_another_waits_in_its_place)
{
    struct db_lock_answer a = acquire("l", TOKEN_A, "");
    ck_assert(a.held == 1 && a.left_ms == TTL_MS);
    now += 400;
    struct db_lock_answer again = acquire("l", TOKEN_A, "");
    ck_assert(again.held == 1 && again.fence == a.fence && again.left_ms == TTL_MS - 400);
    ck_assert_str_eq(again.token, TOKEN_A);
    struct db_lock_answer b = acquire("l", TOKEN_B, "w1");
    ck_assert(b.held == 0 && b.position == 0 && b.left_ms == TTL_MS - 400 && b.token[0] == 0);
    ck_assert_int_eq(acquire("l", TOKEN_B, "w2").position, 1);
    ck_assert_int_eq(acquire("l", TOKEN_B, "w1").position, 0);
    now += 600;
    ck_assert_int_eq(acquire("l", TOKEN_A, "").held, 0);
    ck_assert_int_eq(acquire("l", TOKEN_A, "w2").held, 0);
    b = acquire("l", TOKEN_B, "w1");
    ck_assert(b.held == 1 && b.fence > a.fence);
}
END_TEST

START_TEST(a_release_says_who_held_it)
{
    ck_assert_int_eq(release(TOKEN_A, ""), 0);
    ck_assert_int_eq(acquire("l", TOKEN_A, "").held, 1);
    ck_assert_int_eq(release(TOKEN_B, ""), -1);
    ck_assert_int_eq(release("", "w1"), -1);
    ck_assert_int_eq(release(TOKEN_A, ""), 1);
    ck_assert_int_eq(release(TOKEN_A, ""), 0);
    ck_assert_int_eq(release("", ""), 0);
}
END_TEST

START_TEST(the_dead_at_the_head_are_dropped_and_who_left_is_not_there)
{
    ck_assert_int_eq(acquire("l", TOKEN_A, "").held, 1);
    acquire("l", TOKEN_B, "w1");
    acquire("l", TOKEN_B, "w2");
    acquire("l", TOKEN_B, "w3");
    ck_assert_int_eq(release("", "w2"), -1);
    now += 2000;
    ck_assert_int_eq(acquire("l", TOKEN_B, "w3").held, 0); /* w1 is still within its time */
    now += 1;
    ck_assert_int_eq(acquire("l", TOKEN_B, "w3").held, 1);
}
END_TEST

START_TEST(a_clock_set_back_makes_no_fence_smaller_and_keeps_no_dead_waiter)
{
    struct db_lock_answer a = acquire("l", TOKEN_A, "");
    acquire("l", TOKEN_B, "w1");
    ck_assert_int_eq(release(TOKEN_A, ""), 1);
    now -= 3600000;
    struct db_lock_answer b = acquire("l", TOKEN_B, "");
    ck_assert_int_eq(b.held, 1);
    ck_assert_int_eq(b.fence, a.fence + 1);
}
END_TEST

START_TEST(what_nobody_asks_for_any_more_is_swept)
{
    char name[16];
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(acquire(FORMAT(name, "l%d", i), TOKEN_A, "").held, 1);
    int64_t fence = acquire("l0", TOKEN_A, "").fence;
    now += KEEP_MS + 1;
    ck_assert_int_eq(acquire("other", TOKEN_A, "").held, 1);
    now -= 3600000;
    ck_assert_int_lt(acquire("l0", TOKEN_A, "").fence, fence);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("db_locks");
    TCase *tests = test_case(suite, "attempts", 10);
    tcase_add_checked_fixture(tests, open_db, close_db);
    tcase_add_test(tests, a_repeat_shows_what_is_left_and_another_waits_in_its_place);
    tcase_add_test(tests, a_release_says_who_held_it);
    tcase_add_test(tests, the_dead_at_the_head_are_dropped_and_who_left_is_not_there);
    tcase_add_test(tests, a_clock_set_back_makes_no_fence_smaller_and_keeps_no_dead_waiter);
    tcase_add_test(tests, what_nobody_asks_for_any_more_is_swept);
    return test_run(suite);
}
