/* Facts about util/buf. */
#include "util/buf.h"

#include <check.h>
#include <limits.h>

START_TEST(a_zeroed_buf_takes_appends)
{
    struct buf b = {0};
    buf_append_text(&b, "ab");
    buf_append_char(&b, 'c');
    buf_append_slice(&b, SLICE_LITERAL("de"));
    buf_append(&b, NULL, 0);
    buf_printf(&b, "%d-%s", 7, "x");
    ck_assert(slice_equal_text(buf_slice(&b), "abcde7-x"));
    ck_assert(!b.failed);
    buf_deinit(&b);
    ck_assert_ptr_null(b.ptr);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(growing_keeps_the_bytes)
{
    struct buf b = {0};
    for (int i = 0; i < 100000; i++)
        buf_append_char(&b, (char)('a' + i % 26));
    ck_assert_uint_eq(b.len, 100000);
    for (int i = 0; i < 100000; i++)
        ck_assert_int_eq(b.ptr[i], 'a' + i % 26);
    ck_assert_uint_lt(b.cap, 160000);
    buf_deinit(&b);
}
END_TEST

START_TEST(reserving_makes_the_room_asked_for)
{
    struct buf b = {0};
    buf_reserve(&b, 1000);
    ck_assert_uint_ge(b.cap, 1000);
    const char *before = b.ptr;
    for (int i = 0; i < 1000; i++)
        buf_append_char(&b, 'x');
    ck_assert_ptr_eq(b.ptr, before);
    buf_deinit(&b);
}
END_TEST

START_TEST(the_bound_admits_exactly_its_bytes)
{
    struct buf b = {.max = 5};
    buf_append_text(&b, "abc");
    buf_printf(&b, "%s", "de");
    ck_assert(!b.failed);
    ck_assert(slice_equal_text(buf_slice(&b), "abcde"));
    buf_printf(&b, "%s", "f");
    ck_assert(b.failed);
    ck_assert(slice_equal_text(buf_slice(&b), "abcde"));
    buf_deinit(&b);
    ck_assert_uint_eq(b.max, 5);
}
END_TEST

START_TEST(after_a_failure_nothing_is_appended_until_cleared)
{
    struct buf b = {.max = 4};
    buf_append_text(&b, "abcde");
    ck_assert(b.failed);
    buf_append_char(&b, 'x');
    buf_printf(&b, "y");
    buf_append_i64(&b, 1);
    ck_assert_uint_eq(b.len, 0);
    buf_clear(&b);
    buf_append_char(&b, 'x');
    ck_assert(slice_equal_text(buf_slice(&b), "x"));
    buf_deinit(&b);
}
END_TEST

START_TEST(lengths_that_overflow_are_refused)
{
    struct buf b = {0};
    buf_append_char(&b, 'x');
    buf_reserve(&b, SIZE_MAX);
    ck_assert(b.failed);
    ck_assert_uint_eq(b.len, 1);
    buf_deinit(&b);
}
END_TEST

START_TEST(whole_numbers_are_written_to_their_limits)
{
    static const struct {
        long long value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-1, "-1"},
                 {10, "10"},
                 {LLONG_MAX, "9223372036854775807"},
                 {LLONG_MIN, "-9223372036854775808"}};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&b);
        buf_append_i64(&b, cases[i].value);
        ck_assert_msg(slice_equal_text(buf_slice(&b), cases[i].text), "%s", cases[i].text);
    }
    buf_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tests = tcase_create("buf");
    tcase_add_test(tests, a_zeroed_buf_takes_appends);
    tcase_add_test(tests, growing_keeps_the_bytes);
    tcase_add_test(tests, reserving_makes_the_room_asked_for);
    tcase_add_test(tests, the_bound_admits_exactly_its_bytes);
    tcase_add_test(tests, after_a_failure_nothing_is_appended_until_cleared);
    tcase_add_test(tests, lengths_that_overflow_are_refused);
    tcase_add_test(tests, whole_numbers_are_written_to_their_limits);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
