/* clock: the kernel's, through the vDSO. */
#include "util/clock.h"

#include <stddef.h>
#include <time.h>

static struct timespec read_clock(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t); /* fails only for a clock that doesn't exist */
    return t;
}

static int64_t us_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_mono_us(void *arg)
{
    (void)arg;
    return us_of(read_clock(CLOCK_MONOTONIC));
}

static int64_t system_wall_ms(void *arg)
{
    (void)arg;
    return us_of(read_clock(CLOCK_REALTIME)) / 1000;
}

static int64_t coarse_mono_us(void *arg)
{
    (void)arg;
    return us_of(read_clock(CLOCK_MONOTONIC_COARSE));
}

static int64_t coarse_wall_ms(void *arg)
{
    (void)arg;
    return us_of(read_clock(CLOCK_REALTIME_COARSE)) / 1000;
}

const struct clock clock_system = {system_mono_us, system_wall_ms, NULL};
const struct clock clock_coarse = {coarse_mono_us, coarse_wall_ms, NULL};
