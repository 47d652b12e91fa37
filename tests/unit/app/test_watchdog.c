/* When the service manager is told that all is well. */
#include "app_watchdog.h"

#include "../loop/loop_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

START_TEST(the_period_is_half_of_what_is_asked_of_this_process)
{
    static const struct {
        const char *usec, *pid;
        int64_t period_us;
    } cases[] = {
        {NULL, NULL, 0},
        {"20000000", NULL, 10000000},
        {"20000000", "42", 10000000},
        {"20000000", "43", 0},
        {"20000000", "", 0},
        {"20000000", "42x", 0},
        {"0", NULL, 0},
        {"-1", NULL, 0},
        {"", NULL, 0},
        {"soon", NULL, 0},
        {"99999999999999999999", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(watchdog_period_us(cases[i].usec, cases[i].pid, 42) == cases[i].period_us, "%zu", i);
}
END_TEST

START_TEST(one_loop_that_has_stopped_is_enough)
{
    struct loop_fixture a, b;
    loop_fixture_open(&a);
    loop_fixture_open(&b);
    struct loop *loops[] = {a.loop, b.loop};
    b.ahead_us = 3600 * INT64_C(1000000);
    int64_t stamp_ms = loop_stamp_ms(a.loop);
    RUN_UNTIL(&b, loop_stamp_ms(b.loop) > stamp_ms + 1000000);
    ck_assert(watchdog_all_turn(loops, 2, stamp_ms + 5000, 5000000));
    ck_assert(!watchdog_all_turn(loops, 2, stamp_ms + 5001, 5000000));
    ck_assert(watchdog_all_turn(loops + 1, 1, stamp_ms + 5001, 5000000));
    /* Stamps are 500 ms apart: a shorter period does not make them old. */
    ck_assert(watchdog_all_turn(loops, 2, stamp_ms + 1000, 100000));
    ck_assert(!watchdog_all_turn(loops, 2, stamp_ms + 1001, 100000));
    loop_fixture_close(&a);
    loop_fixture_close(&b);
}
END_TEST

static int manager_open(char path[TEST_PATH_MAX])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    scratch_path(path, "notify");
    FORMAT(address.sun_path, "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    return fd;
}

static unsigned pings(int fd)
{
    char text[64];
    unsigned n = 0;
    ssize_t len;
    while ((len = recv(fd, text, sizeof text - 1, 0)) > 0) {
        text[len] = 0;
        ck_assert_str_eq(text, "WATCHDOG=1");
        n++;
    }
    return n;
}

START_TEST(pings_end_when_a_loop_stops_and_come_back_with_it)
{
    char path[TEST_PATH_MAX];
    int manager = manager_open(path);
    struct loop_fixture control, worker;
    struct watchdog w = {0};
    loop_fixture_open(&control);
    loop_fixture_open(&worker);
    struct loop *loops[] = {control.loop, worker.loop};
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "2000", 1), 0);
    unsetenv("WATCHDOG_PID");
    watchdog_start(&w, loops, 2);
    RUN_UNTIL(&control, pings(manager) > 0);
    /* Two seconds in which the worker does not turn. */
    control.ahead_us = worker.ahead_us = 2000000;
    int64_t stopped_ms = loop_stamp_ms(worker.loop);
    RUN_UNTIL(&control, loop_stamp_ms(control.loop) > stopped_ms + 1500);
    (void)pings(manager);
    for (int round = 0; round < 5; round++) {
        int64_t due_us = w.timer.due_us;
        RUN_UNTIL(&control, w.timer.due_us > due_us);
    }
    ck_assert_uint_eq(pings(manager), 0);
    RUN_UNTIL(&worker, loop_stamp_ms(worker.loop) > stopped_ms);
    RUN_UNTIL(&control, pings(manager) > 0);
    watchdog_stop(&w);
    loop_fixture_close(&control);
    loop_fixture_close(&worker);
    close(manager);
}
END_TEST

START_TEST(nobody_who_waits_is_told_nothing)
{
    struct loop_fixture f;
    struct watchdog w = {0};
    loop_fixture_open(&f);
    unsetenv("WATCHDOG_USEC");
    watchdog_start(&w, &f.loop, 1);
    ck_assert(!loop_timer_running(&w.timer));
    watchdog_stop(&w);
    loop_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watchdog");
    TCase *tc = test_case(suite, "pings", 30);
    tcase_add_test(tc, the_period_is_half_of_what_is_asked_of_this_process);
    tcase_add_test(tc, one_loop_that_has_stopped_is_enough);
    tcase_add_test(tc, pings_end_when_a_loop_stops_and_come_back_with_it);
    tcase_add_test(tc, nobody_who_waits_is_told_nothing);
    return test_run(suite);
}
