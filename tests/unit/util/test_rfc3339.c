/* Facts about util/rfc3339. */
#include "util/rfc3339.h"

#include <check.h>

#define YEAR_0    INT64_C(-62167219200000)
#define YEAR_9999 INT64_C(253402300799999)

START_TEST(times_are_read)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T00:00:00.001Z", 1},
        {"1969-12-31T23:59:59.999Z", -1},
        {"2000-02-29T12:34:56Z", INT64_C(951827696000)},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800000)},
        {"2026-01-02T03:04:05.678Z", INT64_C(1767323045678)},
        {"2026-01-02T03:04:05.6Z", INT64_C(1767323045600)},
        {"2026-01-02T03:04:05.678999999Z", INT64_C(1767323045678)},
        {"2026-01-02T03:04:05.6789999999999999999Z", INT64_C(1767323045678)},
        {"2026-01-02T04:34:05.678+01:30", INT64_C(1767323045678)},
        {"2026-01-01T22:04:05.678-05:00", INT64_C(1767323045678)},
        {"2026-01-02T03:04:05.678-00:00", INT64_C(1767323045678)},
        {"2016-12-31T23:59:60Z", INT64_C(1483228799000)},
        {"2016-12-31T23:59:60.5Z", INT64_C(1483228799500)},
        {"1990-12-31T15:59:60-08:00", INT64_C(662687999000)},
        {"0000-01-01T00:00:00Z", YEAR_0},
        {"9999-12-31T23:59:59.999Z", YEAR_9999},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -12345;
        ck_assert_msg(rfc3339_parse(slice_of(cases[i].text), &ms), "%s", cases[i].text);
        ck_assert_msg(ms == cases[i].ms, "%s gives %lld", cases[i].text, (long long)ms);
    }
}
END_TEST

START_TEST(what_is_no_time_is_refused)
{
    static const char *const cases[] = {
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,6Z",
        "2026-01-02T03:04Z",
        "2026-1-02T03:04:05Z",
        "26-01-02T03:04:05Z",
        "2026-00-02T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-01-32T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T23:59:60+01:00",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+01:60",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05ZZ",
        " 2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05Z ",
        "+2026-01-02T03:04:05Z",
        "2026-01-02T03:04:-5Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -12345;
        ck_assert_msg(!rfc3339_parse(slice_of(cases[i]), &ms), "%s", cases[i]);
        ck_assert_int_eq(ms, -12345);
    }
    ck_assert(!rfc3339_parse((struct slice){"1970-01-01T00:00:00Z", 19}, &(int64_t){0}));
}
END_TEST

START_TEST(every_time_written_reads_as_itself)
{
    char text[RFC3339_SIZE];
    rfc3339_format(INT64_C(1767323045678), text);
    ck_assert_str_eq(text, "2026-01-02T03:04:05.678Z");
    rfc3339_format(YEAR_0, text);
    ck_assert_str_eq(text, "0000-01-01T00:00:00.000Z");
    rfc3339_format(YEAR_9999, text);
    ck_assert_str_eq(text, "9999-12-31T23:59:59.999Z");
    rfc3339_format(-1, text);
    ck_assert_str_eq(text, "1969-12-31T23:59:59.999Z");
    /* A step of almost a day passes every calendar day of the 10000 years, leap days included. */
    bool same = true;
    for (int64_t ms = YEAR_0; same && ms <= YEAR_9999; ms += INT64_C(86399917)) {
        int64_t back;
        rfc3339_format(ms, text);
        same = rfc3339_parse(slice_of(text), &back) && back == ms; /* a check each would take seconds */
    }
    ck_assert_msg(same, "%s", text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rfc3339");
    TCase *tests = tcase_create("rfc3339");
    tcase_add_test(tests, times_are_read);
    tcase_add_test(tests, what_is_no_time_is_refused);
    tcase_add_test(tests, every_time_written_reads_as_itself);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
