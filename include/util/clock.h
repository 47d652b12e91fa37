/* clock: the only source of time. Modules are handed one; tests hand a clock that they move. Any thread. */
#ifndef PHOENIX_UTIL_CLOCK_H
#define PHOENIX_UTIL_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*mono_us)(void *arg); /* never goes back; for deadlines and latencies */
    int64_t (*wall_ms)(void *arg); /* since 1970 UTC; for what is shown and shared */
    void *arg;
};

extern const struct clock clock_system;
/* The time of the kernel's last tick: up to 4 ms behind, at a fifth of the cost. For expiries on hot paths.
 */
extern const struct clock clock_coarse;

static inline int64_t clock_mono_us(const struct clock *c)
{
    return c->mono_us(c->arg);
}

static inline int64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_us(c->arg) / 1000;
}

static inline int64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c->arg);
}

#endif
