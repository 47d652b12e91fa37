/* test_loop: order, moving, re-entry and the end of everything that a loop holds. */
#include "loop_fixture.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct loop_fixture f;

static void open_loop(void)
{
    loop_fixture_open(&f);
}

static void close_loop(void)
{
    loop_fixture_close(&f);
}

/* --- timers --- */

enum { TIMERS = 300 };

static struct timers {
    struct loop_timer timer[TIMERS];
    size_t fired[TIMERS + 1], count;
} t;

static void on_fire(void *arg)
{
    struct loop_timer *timer = arg;
    ck_assert(!loop_timer_running(timer));
    ck_assert_int_ge(loop_now_us(f.loop), timer->due_us);
    ck_assert_uint_lt(t.count, TIMERS + 1);
    t.fired[t.count++] = (size_t)(timer - t.timer);
}

static void fire_at(size_t i, int64_t due_us)
{
    loop_timer_start(f.loop, &t.timer[i], due_us, on_fire, &t.timer[i]);
}

START_TEST(timers_fire_in_the_order_of_their_due_times)
{
    int64_t now = loop_now_us(f.loop);
    for (size_t i = 0; i < TIMERS; i++)
        fire_at(i, now + (int64_t)((i * 7919) % TIMERS) * 10);
    RUN_UNTIL(&f, t.count == TIMERS);
    for (size_t i = 1; i < TIMERS; i++)
        ck_assert_int_lt(t.timer[t.fired[i - 1]].due_us, t.timer[t.fired[i]].due_us);
}
END_TEST

START_TEST(a_heap_with_moves_and_stops_keeps_its_order)
{
    int64_t base = loop_now_us(f.loop) + 1000000;
    size_t running = 0;
    for (size_t i = 0; i < TIMERS; i++)
        fire_at(i, base + (int64_t)((i * 7919) % TIMERS));
    for (size_t i = 0; i < TIMERS; i += 3)
        loop_timer_stop(&t.timer[i]);
    for (size_t i = 1; i < TIMERS; i += 3)
        fire_at(i, base + (int64_t)((i * 104729) % TIMERS) - TIMERS);
    for (size_t i = 0; i < TIMERS; i++) {
        ck_assert_int_eq(loop_timer_running(&t.timer[i]), i % 3 != 0);
        running += i % 3 != 0;
    }
    f.ahead_us += 2000000;
    fire_at(0, 0); /* wakes the loop at once: libuv counts real time, not ours */
    RUN_UNTIL(&f, t.count == running + 1);
    for (size_t i = 1; i < t.count; i++)
        ck_assert_int_le(t.timer[t.fired[i - 1]].due_us, t.timer[t.fired[i]].due_us);
}
END_TEST

START_TEST(a_timer_started_again_fires_once_at_its_new_time)
{
    int64_t now = loop_now_us(f.loop);
    fire_at(0, now + 1000);
    fire_at(1, now + 3000);
    fire_at(0, now + 5000);
    RUN_UNTIL(&f, t.count == 2);
    ck_assert_uint_eq(t.fired[0], 1);
    ck_assert_uint_eq(t.fired[1], 0);
}
END_TEST

START_TEST(a_stopped_timer_never_fires_and_stopping_twice_is_fine)
{
    int64_t now = loop_now_us(f.loop);
    fire_at(0, now);
    fire_at(1, now + 2000);
    loop_timer_stop(&t.timer[0]);
    loop_timer_stop(&t.timer[0]);
    RUN_UNTIL(&f, t.count > 0);
    ck_assert_uint_eq(t.count, 1);
    ck_assert_uint_eq(t.fired[0], 1);
}
END_TEST

static unsigned again_left;

static void on_again(void *arg)
{
    if (--again_left == 0) return;
    /* Itself again, and stops a neighbour that is due in the same turn. */
    loop_timer_start(f.loop, arg, loop_now_us(f.loop) + 100, on_again, arg);
    loop_timer_stop(&t.timer[9]);
}

START_TEST(a_callback_may_start_its_own_timer_again_and_stop_others)
{
    int64_t now = loop_now_us(f.loop);
    again_left = 20;
    fire_at(9, now + 1);
    loop_timer_start(f.loop, &t.timer[0], now, on_again, &t.timer[0]);
    RUN_UNTIL(&f, again_left == 0);
    ck_assert_uint_eq(t.count, 0);
    ck_assert(!loop_timer_running(&t.timer[0]));
}
END_TEST

/* --- posts --- */

enum { POSTERS = 3, POSTS = 2000 };

struct poster {
    pthread_t thread;
    struct call {
        struct poster *from;
        unsigned number;
    } calls[POSTS];
    unsigned seen;
};

static void on_post(void *arg)
{
    struct call *call = arg;
    ck_assert_uint_eq(call->number, call->from->seen);
    call->from->seen++;
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        p->calls[i] = (struct call){p, i};
        if (!loop_post(f.loop, on_post, &p->calls[i])) abort();
        (void)loop_stamp_ms(f.loop);
    }
    return NULL;
}

START_TEST(posts_of_other_threads_run_on_the_loop_in_each_ones_order)
{
    static struct poster posters[POSTERS];
    for (unsigned i = 0; i < POSTERS; i++)
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    RUN_UNTIL(&f, posters[0].seen == POSTS && posters[1].seen == POSTS && posters[2].seen == POSTS);
    for (unsigned i = 0; i < POSTERS; i++)
        ck_assert_int_eq(pthread_join(posters[i].thread, NULL), 0);
}
END_TEST

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

START_TEST(any_thread_may_stop_a_loop)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, f.loop), 0);
    loop_stop(f.loop);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(the_stamp_moves_while_the_loop_turns)
{
    int64_t first = loop_stamp_ms(f.loop);
    RUN_UNTIL(&f, loop_stamp_ms(f.loop) > first);
    ck_assert_int_le(loop_stamp_ms(f.loop), clock_mono_ms(loop_clock(f.loop)));
}
END_TEST

static unsigned posted;

static void on_last_post(void *arg)
{
    (void)arg;
    posted++;
}

START_TEST(posts_that_no_turn_took_run_when_the_loop_is_destroyed)
{
    ck_assert(loop_post(f.loop, on_last_post, NULL));
    loop_destroy(&f.loop);
    ck_assert_uint_eq(posted, 1);
}
END_TEST

static void on_post_chain(void *arg)
{
    struct loop *loop = *(struct loop **)arg;
    if (++posted < 3) (void)loop_post(loop, on_post_chain, arg);
}

START_TEST(so_do_those_that_such_a_post_makes)
{
    struct loop *loop = f.loop;
    ck_assert(loop_post(loop, on_post_chain, &loop));
    loop_destroy(&f.loop);
    ck_assert_uint_eq(posted, 3);
}
END_TEST

START_TEST(a_flush_runs_them_and_the_loop_goes_on)
{
    struct loop *loop = f.loop;
    ck_assert(loop_post(loop, on_post_chain, &loop));
    loop_flush(loop);
    ck_assert_uint_eq(posted, 3);
    loop_flush(loop);
    ck_assert_uint_eq(posted, 3);
    ck_assert(loop_post(loop, on_last_post, NULL));
    RUN_UNTIL(&f, posted == 4);
}
END_TEST

/* --- hooks --- */

static struct hooks {
    unsigned work[2], ran[2];
} h;

static bool on_hook(void *arg)
{
    size_t i = (size_t)((unsigned *)arg - h.ran);
    h.ran[i]++;
    if (h.work[i] == 0) return false;
    h.work[i]--;
    /* The first gives the second something to do. */
    if (i == 1 && h.work[1] == 0) h.work[0] += h.work[0] == 0 && h.ran[1] == 1;
    return true;
}

START_TEST(hooks_run_again_until_none_has_worked)
{
    struct loop_hook a, b;
    loop_hook_add(f.loop, &a, on_hook, &h.ran[0]);
    loop_hook_add(f.loop, &b, on_hook, &h.ran[1]);
    h.work[1] = 1; /* which makes one for the first hook, that had its turn already */
    loop_stop(f.loop);
    loop_run(f.loop);
    ck_assert_uint_eq(h.work[0] + h.work[1], 0);
    ck_assert_uint_ge(h.ran[0], 3);
    ck_assert_uint_eq(h.ran[0], h.ran[1]);
    loop_hook_remove(&a);
    loop_hook_remove(&b);
    loop_hook_remove(&a);
}
END_TEST

START_TEST(a_hook_that_always_works_does_not_starve_timers)
{
    struct loop_hook a;
    loop_hook_add(f.loop, &a, on_hook, &h.ran[0]);
    h.work[0] = UINT32_MAX;
    fire_at(0, loop_now_us(f.loop) + 2000);
    RUN_UNTIL(&f, t.count == 1);
    ck_assert_uint_gt(h.ran[0], 8);
    loop_hook_remove(&a);
}
END_TEST

START_TEST(a_removed_hook_runs_no_more)
{
    struct loop_hook a;
    loop_hook_add(f.loop, &a, on_hook, &h.ran[0]);
    loop_hook_remove(&a);
    loop_fixture_turn(&f);
    ck_assert_uint_eq(h.ran[0], 0);
    loop_hook_add(f.loop, &a, on_hook, &h.ran[0]);
    loop_fixture_turn(&f);
    ck_assert_uint_gt(h.ran[0], 0);
    loop_hook_remove(&a);
}
END_TEST

enum { HOOKS = 400 };

static struct {
    struct loop_hook hook[HOOKS];
    size_t ran[HOOKS], count;
} many;

/* Every fourth goes, with the one behind it, which has not run yet. */
static bool on_one_of_many(void *arg)
{
    size_t i = (size_t)((struct loop_hook *)arg - many.hook);
    ck_assert_uint_lt(many.count, HOOKS);
    many.ran[many.count++] = i;
    if (i % 4 != 0) return false;
    loop_hook_remove(&many.hook[i]);
    loop_hook_remove(&many.hook[i + 1]);
    return false;
}

START_TEST(any_number_of_hooks_run_in_their_order_and_may_remove_each_other)
{
    for (size_t i = 0; i < HOOKS; i++)
        loop_hook_add(f.loop, &many.hook[i], on_one_of_many, &many.hook[i]);
    loop_stop(f.loop);
    loop_run(f.loop); /* one turn */
    ck_assert_uint_eq(many.count, HOOKS - HOOKS / 4);
    for (size_t i = 0; i < many.count; i++)
        ck_assert_uint_eq(many.ran[i], i / 3 * 4 + (i % 3 ? i % 3 + 1 : 0));
    many.count = 0;
    loop_stop(f.loop);
    loop_run(f.loop);
    ck_assert_uint_eq(many.count, HOOKS / 2);
    for (size_t i = 0; i < HOOKS; i++)
        loop_hook_remove(&many.hook[i]);
}
END_TEST

/* --- descriptors --- */

static struct watched {
    struct loop_io *io;
    int fds[2];
    unsigned reads, writes;
} w;

static void on_io(void *arg, int events)
{
    (void)arg;
    char byte;
    if (events & LOOP_READ) w.reads += read(w.fds[0], &byte, 1) == 1;
    if (events & LOOP_WRITE) w.writes++;
}

static void watch(int events)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w.fds), 0);
    ck_assert_ptr_nonnull(w.io = loop_io_create(f.loop, w.fds[0], events, on_io, NULL));
}

static void unwatch(void)
{
    loop_io_destroy(&w.io);
    ck_assert_ptr_null(w.io);
    loop_io_destroy(&w.io);
    (void)close(w.fds[0]);
    (void)close(w.fds[1]);
}

START_TEST(a_readable_descriptor_is_told_until_it_is_read_empty)
{
    watch(LOOP_READ);
    ck_assert_int_eq(write(w.fds[1], "abc", 3), 3);
    RUN_UNTIL(&f, w.reads == 3);
    ck_assert_uint_eq(w.writes, 0);
    unwatch();
}
END_TEST

START_TEST(what_is_watched_can_change_down_to_nothing)
{
    watch(LOOP_READ);
    loop_io_set(w.io, LOOP_WRITE);
    ck_assert_int_eq(write(w.fds[1], "abc", 3), 3);
    RUN_UNTIL(&f, w.writes > 0);
    ck_assert_uint_eq(w.reads, 0);
    loop_io_set(w.io, 0);
    unsigned writes = w.writes;
    loop_fixture_turn(&f);
    loop_fixture_turn(&f);
    ck_assert_uint_eq(w.writes, writes);
    loop_io_set(w.io, LOOP_READ);
    RUN_UNTIL(&f, w.reads == 3);
    unwatch();
}
END_TEST

static void on_close(void *arg, int events)
{
    (void)events;
    loop_io_destroy(arg);
    w.reads++;
}

START_TEST(a_watcher_may_be_destroyed_by_its_own_callback)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, w.fds), 0);
    ck_assert_ptr_nonnull(w.io = loop_io_create(f.loop, w.fds[0], LOOP_READ, on_close, &w.io));
    (void)close(w.fds[1]);
    RUN_UNTIL(&f, w.reads == 1);
    ck_assert_ptr_null(w.io);
    (void)close(w.fds[0]);
}
END_TEST

/* --- names --- */

static struct resolved {
    struct loop_resolve *r;
    unsigned calls;
    int error;
    char text[64];
} n;

static void on_resolved(void *arg, int error, const struct sockaddr *address, socklen_t len)
{
    (void)arg;
    char host[48] = "", port[8] = "";
    n.calls++;
    n.error = error;
    if (error) return;
    ck_assert_int_eq(
        getnameinfo(address, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV), 0);
    FORMAT(n.text, "%s|%s", host, port);
}

static void resolve_nth(const char *host, int port, unsigned which)
{
    n.r = loop_resolve(f.loop, host, port, which, on_resolved, NULL);
    ck_assert_ptr_nonnull(n.r);
    ck_assert_uint_eq(n.calls, 0); /* never from inside */
}

static void resolve(const char *host, int port)
{
    resolve_nth(host, port, 0);
}

START_TEST(literals_of_both_families_resolve)
{
    static const char *const CASES[][2] = {{"127.0.0.1", "127.0.0.1|6379"}, {"::1", "::1|6379"}};
    for (size_t i = 0; i < 2; i++) {
        n.calls = 0;
        resolve(CASES[i][0], 6379);
        RUN_UNTIL(&f, n.calls == 1);
        ck_assert_int_eq(n.error, 0);
        ck_assert_str_eq(n.text, CASES[i][1]);
        loop_resolve_cancel(&n.r);
        ck_assert_ptr_null(n.r);
    }
}
END_TEST

/* A bare root may have no hosts file: then the loop must tell of the failure as libc does. */
static bool libc_knows_localhost(void)
{
    struct addrinfo *list = NULL;
    bool knows = getaddrinfo("localhost", "80", NULL, &list) == 0;
    if (knows) freeaddrinfo(list);
    return knows;
}

START_TEST(a_name_resolves_off_the_loop)
{
    resolve("localhost", 80);
    RUN_UNTIL(&f, n.calls == 1);
    ck_assert_int_eq(n.error == 0, libc_knows_localhost());
    if (n.error == 0) ck_assert_ptr_nonnull(strstr(n.text, "1|80"));
    loop_resolve_cancel(&n.r);
}
END_TEST

START_TEST(the_addresses_of_a_name_are_taken_in_turn)
{
    for (unsigned which = 0; which < 7; which++) {
        n.calls = 0;
        resolve_nth("localhost", 80, which);
        RUN_UNTIL(&f, n.calls == 1);
        ck_assert_int_eq(n.error == 0, libc_knows_localhost());
        loop_resolve_cancel(&n.r);
    }
}
END_TEST

START_TEST(a_name_that_cannot_be_is_an_error)
{
    resolve("no such host", 80);
    RUN_UNTIL(&f, n.calls == 1);
    ck_assert_int_ne(n.error, 0);
    loop_resolve_cancel(&n.r);
    loop_resolve_cancel(&n.r);
}
END_TEST

START_TEST(a_cancelled_look_up_never_calls_back)
{
    resolve("127.0.0.1", 1);
    loop_resolve_cancel(&n.r);
    resolve("localhost", 1);
    loop_resolve_cancel(&n.r);
    loop_destroy(&f.loop); /* which waits for what libuv's threads still do */
    ck_assert_uint_eq(n.calls, 0);
}
END_TEST

/* --- signals and the end --- */

static void on_signal(void *arg)
{
    (*(unsigned *)arg)++;
}

START_TEST(a_signal_runs_its_callback_on_the_loop)
{
    static unsigned got;
    struct loop_signal *s = loop_signal_create(f.loop, SIGUSR1, on_signal, &got);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(raise(SIGUSR1), 0);
    RUN_UNTIL(&f, got == 1);
    loop_signal_destroy(&s);
    ck_assert_ptr_null(s);
    loop_signal_destroy(&s);
}
END_TEST

START_TEST(a_loop_is_destroyed_with_everything_outstanding)
{
    static unsigned never;
    watch(LOOP_READ | LOOP_WRITE);
    static struct loop_hook left;
    loop_hook_add(f.loop, &left, on_hook, &h.ran[0]);
    ck_assert_ptr_nonnull(loop_signal_create(f.loop, SIGUSR2, on_signal, &never));
    fire_at(0, loop_now_us(f.loop));
    loop_destroy(&f.loop);
    ck_assert_uint_eq(t.count + never + w.writes, 0);
    loop_destroy(&f.loop);
    (void)close(w.fds[0]);
    (void)close(w.fds[1]);
}
END_TEST

START_TEST(a_loop_that_never_ran_is_destroyed)
{
    loop_destroy(&f.loop);
    ck_assert_ptr_null(f.loop);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *c = test_case(suite, "loop", 20);
    tcase_add_checked_fixture(c, open_loop, close_loop);
    tcase_add_test(c, timers_fire_in_the_order_of_their_due_times);
    tcase_add_test(c, a_heap_with_moves_and_stops_keeps_its_order);
    tcase_add_test(c, a_timer_started_again_fires_once_at_its_new_time);
    tcase_add_test(c, a_stopped_timer_never_fires_and_stopping_twice_is_fine);
    tcase_add_test(c, a_callback_may_start_its_own_timer_again_and_stop_others);
    tcase_add_test(c, posts_of_other_threads_run_on_the_loop_in_each_ones_order);
    tcase_add_test(c, any_thread_may_stop_a_loop);
    tcase_add_test(c, the_stamp_moves_while_the_loop_turns);
    tcase_add_test(c, posts_that_no_turn_took_run_when_the_loop_is_destroyed);
    tcase_add_test(c, so_do_those_that_such_a_post_makes);
    tcase_add_test(c, a_flush_runs_them_and_the_loop_goes_on);
    tcase_add_test(c, hooks_run_again_until_none_has_worked);
    tcase_add_test(c, a_hook_that_always_works_does_not_starve_timers);
    tcase_add_test(c, a_removed_hook_runs_no_more);
    tcase_add_test(c, any_number_of_hooks_run_in_their_order_and_may_remove_each_other);
    tcase_add_test(c, a_readable_descriptor_is_told_until_it_is_read_empty);
    tcase_add_test(c, what_is_watched_can_change_down_to_nothing);
    tcase_add_test(c, a_watcher_may_be_destroyed_by_its_own_callback);
    tcase_add_test(c, literals_of_both_families_resolve);
    tcase_add_test(c, a_name_resolves_off_the_loop);
    tcase_add_test(c, the_addresses_of_a_name_are_taken_in_turn);
    tcase_add_test(c, a_name_that_cannot_be_is_an_error);
    tcase_add_test(c, a_cancelled_look_up_never_calls_back);
    tcase_add_test(c, a_signal_runs_its_callback_on_the_loop);
    tcase_add_test(c, a_loop_is_destroyed_with_everything_outstanding);
    tcase_add_test(c, a_loop_that_never_ran_is_destroyed);
    return test_run(suite);
}
