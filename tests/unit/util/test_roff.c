/* Manual pages show text as it is. */
#include "util/roff.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(what_the_formatter_would_read_is_escaped)
{
    static const struct {
        const char *text, *roff;
    } cases[] = {
        {"", ""},       {"plain", "plain"}, {"--a-b", "\\-\\-a\\-b"}, {".TH", "\\&.TH"},
        {"a.b", "a.b"}, {"'br", "\\(aqbr"}, {"C:\\x", "C:\\ex"},      {"~`^", "\\(ti\\(ga\\(ha"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        roff_append(&out, cases[i].text);
        ck_assert_uint_eq(out.len, strlen(cases[i].roff));
        ck_assert(out.len == 0 || memcmp(out.ptr, cases[i].roff, out.len) == 0);
        buf_deinit(&out);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("roff");
    TCase *tc = tcase_create("roff");
    tcase_add_test(tc, what_the_formatter_would_read_is_escaped);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
