/* app_watchdog: pings from the control loop, so that it too must turn. With a ping each half of the time, a
 * loop that has stopped is noticed within one and a half times WatchdogSec. */
#include "app_watchdog.h"

#include "app_machine.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { FRESH_MS_MIN = 1000 };

/* 0: not a number above it. */
static int64_t read_positive(const char *text)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && n > 0 ? n : 0;
}

int64_t watchdog_period_us(const char *usec, const char *pid, pid_t self)
{
    if (!usec || (pid && read_positive(pid) != self)) return 0;
    return read_positive(usec) / 2;
}

bool watchdog_all_turn(struct loop *const *loops, size_t count, int64_t now_ms, int64_t period_us)
{
    int64_t fresh_ms = period_us / 1000;
    if (fresh_ms < FRESH_MS_MIN) fresh_ms = FRESH_MS_MIN;
    for (size_t i = 0; i < count; i++)
        if (now_ms - loop_stamp_ms(loops[i]) > fresh_ms) return false;
    return true;
}

static void on_due(void *arg)
{
    struct watchdog *w = arg;
    struct loop *loop = w->loops[0];
    int64_t now_us = loop_now_us(loop);
    if (watchdog_all_turn(w->loops, w->count, now_us / 1000, w->period_us)) machine_notify("WATCHDOG=1");
    loop_timer_start(loop, &w->timer, now_us + w->period_us, on_due, w);
}

void watchdog_start(struct watchdog *w, struct loop *const *loops, size_t count)
{
    w->period_us = watchdog_period_us(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"), getpid());
    if (!w->period_us) return;
    w->loops = loops;
    w->count = count;
    loop_timer_start(loops[0], &w->timer, loop_now_us(loops[0]) + w->period_us, on_due, w);
}

void watchdog_stop(struct watchdog *w)
{
    loop_timer_stop(&w->timer);
}
