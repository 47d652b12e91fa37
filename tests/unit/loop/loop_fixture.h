/* loop_fixture: a loop whose clock the test can push forward, turned until a condition holds. */
#ifndef PHOENIX_TESTS_LOOP_FIXTURE_H
#define PHOENIX_TESTS_LOOP_FIXTURE_H

#include "../../support/support.h"
#include "loop/loop.h"

struct loop_fixture {
    struct loop *loop;
    struct clock clock;
    _Atomic int64_t ahead_us; /* of the machine's clock */
    struct loop_timer turn;
};

static inline int64_t loop_fixture_mono(void *arg)
{
    const struct loop_fixture *f = arg;
    return now_us() + f->ahead_us;
}

static inline int64_t loop_fixture_wall(void *arg)
{
    const struct loop_fixture *f = arg;
    return wall_ms() + f->ahead_us / 1000;
}

static inline void loop_fixture_open(struct loop_fixture *f)
{
    *f = (struct loop_fixture){.clock = {loop_fixture_mono, loop_fixture_wall, f}};
    f->loop = loop_create(&f->clock);
    ck_assert_ptr_nonnull(f->loop);
}

static inline void loop_fixture_close(struct loop_fixture *f)
{
    loop_timer_stop(&f->turn);
    loop_destroy(&f->loop);
    ck_assert_ptr_null(f->loop);
}

static inline void loop_fixture_on_turn(void *arg)
{
    loop_stop(((struct loop_fixture *)arg)->loop);
}

/* About a millisecond of the loop. */
static inline void loop_fixture_turn(struct loop_fixture *f)
{
    loop_timer_start(f->loop, &f->turn, loop_now_us(f->loop) + 1000, loop_fixture_on_turn, f);
    loop_run(f->loop);
}

#define RUN_UNTIL(f, condition)                                                                              \
    do {                                                                                                     \
        int64_t run_until_ = now_ms() + test_ms(5000);                                                       \
        while (!(condition)) {                                                                               \
            ck_assert_msg(now_ms() < run_until_, "waited %d ms for: %s", (int)test_ms(5000), #condition);    \
            loop_fixture_turn(f);                                                                            \
        }                                                                                                    \
    } while (0)

#endif
