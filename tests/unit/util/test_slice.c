/* Facts about util/slice. */
#include "util/slice.h"

#include <check.h>

START_TEST(nocase_compares_ascii_letters_only)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"Content-Type", "content-TYPE", true},
        {"", "", true},
        {"a", "ab", false},
        {"a", "b", false},
        {"[", "{", false},
        {"@", "`", false},
        {"\xc4", "\xe4", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(slice_equal_nocase(slice_of(cases[i].a), slice_of(cases[i].b)) == cases[i].equal,
                      "%s and %s", cases[i].a, cases[i].b);
}
END_TEST

START_TEST(trim_takes_blanks_and_tabs_at_both_ends)
{
    ck_assert(slice_equal_text(slice_trim(slice_of(" \t a b\t ")), "a b"));
    ck_assert(slice_equal_text(slice_trim(slice_of(" \t ")), ""));
    ck_assert(slice_equal_text(slice_trim(slice_of("\na\n")), "\na\n"));
    ck_assert_uint_eq(slice_trim(SLICE_NONE).len, 0);
}
END_TEST

START_TEST(an_absent_slice_equals_an_empty_one)
{
    ck_assert(slice_equal(SLICE_NONE, SLICE_LITERAL("")));
    ck_assert(slice_equal_nocase(SLICE_NONE, SLICE_LITERAL("")));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slice");
    TCase *tests = tcase_create("slice");
    tcase_add_test(tests, nocase_compares_ascii_letters_only);
    tcase_add_test(tests, trim_takes_blanks_and_tabs_at_both_ends);
    tcase_add_test(tests, an_absent_slice_equals_an_empty_one);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
