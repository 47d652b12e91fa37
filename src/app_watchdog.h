/* app_watchdog: tells the service manager that the loops turn (sd_watchdog_enabled(3)); when one does not, it
 * is told nothing, and it ends and restarts the process. */
#ifndef PHOENIX_SRC_APP_WATCHDOG_H
#define PHOENIX_SRC_APP_WATCHDOG_H

#include "loop/loop.h"

#include <sys/types.h>

/* How often to ping, half of what WATCHDOG_USEC says; 0: nobody waits for pings of this process. Each text
 * may be NULL (not set); WATCHDOG_PID names the process that is meant. */
int64_t watchdog_period_us(const char *usec, const char *pid, pid_t self);

/* Whether each of these loops has turned within the period. Loops stamp themselves every 500 ms, so that a
 * period below 1 s is taken as 1 s. */
bool watchdog_all_turn(struct loop *const *loops, size_t count, int64_t now_ms, int64_t period_us);

/* A timer on `loop`, the first of `loops`; zeroed, it is idle. */
struct watchdog {
    struct loop_timer timer;
    struct loop *const *loops;
    size_t count;
    int64_t period_us;
};
/* Nothing when nobody waits for pings. `loops` outlive the watchdog. */
void watchdog_start(struct watchdog *w, struct loop *const *loops, size_t count);
void watchdog_stop(struct watchdog *w);

#endif
