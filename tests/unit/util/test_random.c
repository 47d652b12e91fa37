/* Facts about util/random. */
#include "util/random.h"

#include <check.h>

START_TEST(bytes_differ_between_draws)
{
    unsigned char a[32];
    unsigned char b[32];
    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    ck_assert_mem_ne(a, b, sizeof a);
    random_bytes(NULL, 0);
}
END_TEST

START_TEST(draws_stay_below_their_bound_and_reach_every_number)
{
    unsigned counts[7] = {0};
    for (int i = 0; i < 7000; i++)
        counts[random_below(7)]++;
    /* 7000 fair draws: 1000 each, standard deviation 29 */
    for (int i = 0; i < 7; i++)
        ck_assert_uint_gt(counts[i], 700);
    ck_assert_uint_eq(random_below(1), 0);
    ck_assert_uint_lt(random_below(UINT64_MAX), UINT64_MAX);
}
END_TEST

START_TEST(a_uuid_v7_shows_its_time_version_and_variant)
{
    char id[UUID_SIZE];
    /* RFC 9562, A.6: 2022-02-22T14:22:22.00-05:00 */
    uuid_v7(INT64_C(1645557742000), id);
    ck_assert_uint_eq(strlen(id), UUID_SIZE - 1);
    ck_assert_mem_eq(id, "017f22e2-79b0-7", 15);
    ck_assert_int_eq(id[18], '-');
    ck_assert_int_eq(id[23], '-');
    ck_assert_ptr_nonnull(strchr("89ab", id[19]));
    ck_assert_uint_eq(strspn(id, "0123456789abcdef-"), UUID_SIZE - 1);
}
END_TEST

START_TEST(uuids_of_later_milliseconds_sort_behind)
{
    char earlier[UUID_SIZE];
    char later[UUID_SIZE];
    for (int64_t ms = 1700000000000; ms < 1700000000256; ms++) {
        uuid_v7(ms, earlier);
        uuid_v7(ms + 1, later);
        ck_assert_str_lt(earlier, later);
    }
}
END_TEST

START_TEST(comparison_in_constant_time_is_by_length_and_bytes)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {{"secret", "secret", true},
                 {"secret", "Secret", false},
                 {"secret", "secre", false},
                 {"secre", "secret", false},
                 {"", "", true},
                 {"", "x", false},
                 {"x", "", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(slice_equal_constant_time(slice_of(cases[i].a), slice_of(cases[i].b)) == cases[i].equal,
                      "%s and %s", cases[i].a, cases[i].b);
    ck_assert(!slice_equal_constant_time(SLICE_LITERAL("x"), SLICE_NONE));
    ck_assert(!slice_equal_constant_time(SLICE_NONE, SLICE_LITERAL("x")));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("random");
    TCase *tests = tcase_create("random");
    tcase_add_test(tests, bytes_differ_between_draws);
    tcase_add_test(tests, draws_stay_below_their_bound_and_reach_every_number);
    tcase_add_test(tests, a_uuid_v7_shows_its_time_version_and_variant);
    tcase_add_test(tests, uuids_of_later_milliseconds_sort_behind);
    tcase_add_test(tests, comparison_in_constant_time_is_by_length_and_bytes);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
