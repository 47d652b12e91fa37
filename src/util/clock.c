/* clock: the kernel's, through the vDSO. */
#include "util/clock.h"

#include <stddef.h>
#include <time.h>

static int64_t system_mono_us(void *arg)
{
    (void)arg;
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* fails only for a clock that doesn't exist */
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_wall_ms(void *arg)
{
    (void)arg;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const struct clock clock_system = {system_mono_us, system_wall_ms, NULL};
