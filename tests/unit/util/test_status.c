/* Facts about util/status. */
#include "util/status.h"

#include <check.h>
#include <string.h>

START_TEST(every_status_has_a_code_a_title_and_an_error_status)
{
    for (int s = STATUS_OK + 1; s < STATUS_COUNT; s++) {
        ck_assert_uint_gt(strlen(status_code((enum status)s)), 0);
        ck_assert_uint_gt(strlen(status_title((enum status)s)), 0);
        ck_assert_int_ge(status_http((enum status)s), 400);
        ck_assert_int_le(status_http((enum status)s), 504);
    }
}
END_TEST

START_TEST(rows_are_found_by_enumerator)
{
    ck_assert_str_eq(status_code(STATUS_OK), "ok");
    ck_assert_int_eq(status_http(STATUS_OK), 200);
    ck_assert_str_eq(status_code(STATUS_HEADERS_TOO_LARGE), "too_large");
    ck_assert_int_eq(status_http(STATUS_HEADERS_TOO_LARGE), 431);
    ck_assert_str_eq(status_code(STATUS_OUTCOME_UNKNOWN), "outcome_unknown");
    ck_assert_int_eq(status_http(STATUS_OUTCOME_UNKNOWN), 504);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");
    tcase_add_test(tests, every_status_has_a_code_a_title_and_an_error_status);
    tcase_add_test(tests, rows_are_found_by_enumerator);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
