/* Facts about util/clock. */
#include "util/clock.h"

#include <check.h>
#include <time.h>

START_TEST(the_monotonic_clock_does_not_go_back)
{
    int64_t last = clock_mono_us(&clock_system);
    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_mono_us(&clock_system);
        ck_assert_int_ge(now, last);
        last = now;
    }
    ck_assert_int_ge(clock_mono_ms(&clock_system), last / 1000);
}
END_TEST

START_TEST(the_wall_clock_is_the_systems_in_milliseconds)
{
    /* time() reads a coarser clock, which may be a tick behind. */
    int64_t off_ms = clock_wall_ms(&clock_system) - (int64_t)time(NULL) * 1000;
    ck_assert_int_ge(off_ms, -1000);
    ck_assert_int_le(off_ms, 60000);
}
END_TEST

static int64_t moved(void *arg)
{
    return *(int64_t *)arg;
}

START_TEST(a_test_can_own_the_time)
{
    int64_t now = 5999;
    struct clock clock = {moved, moved, &now};
    ck_assert_int_eq(clock_mono_us(&clock), 5999);
    ck_assert_int_eq(clock_mono_ms(&clock), 5);
    now = 7;
    ck_assert_int_eq(clock_wall_ms(&clock), 7);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *tests = tcase_create("clock");
    tcase_add_test(tests, the_monotonic_clock_does_not_go_back);
    tcase_add_test(tests, the_wall_clock_is_the_systems_in_milliseconds);
    tcase_add_test(tests, a_test_can_own_the_time);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
