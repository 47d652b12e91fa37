/* test_lock: what holds on either engine. */
#include "lock_fixture.h"
#include "state/lock_private.h"

static struct lock_fixture f;
static struct lock_try a, b, c, d;

enum { LONG_MS = 10000 };

START_TEST(a_lock_has_one_holder_and_the_other_is_told_what_is_left)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    ck_assert_int_gt(a.op.fence, 0);
    ck_assert(a.op.valid_ms > 0 && a.op.valid_ms <= LONG_MS);
    ck_assert_int_eq((int)strlen(a.op.new_token), LOCK_TOKEN_LEN);
    ck_assert(a.op.local == !f.redis);
    ck_assert_str_eq(acquire_now(&f, 1, &b, "b", LONG_MS), "lock_not_acquired");
    ck_assert(b.op.retry_after_ms > 0 && b.op.retry_after_ms <= LONG_MS);
    ck_assert_str_eq(get_now(&f, 1, &c), "ok");
    ck_assert_str_eq(c.owner, "a");
    ck_assert_int_eq(c.op.fence, a.op.fence);
    ck_assert(c.op.valid_ms > 0 && c.op.valid_ms <= LONG_MS);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(a_released_lock_is_free_and_its_token_is_worth_nothing)
{
    lock_fixture_open(&f, _i);
    ck_assert(lock_is_free(&f));
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    ck_assert_str_eq(release_now(&f, 1, "00000000000000000000000000000000"), "lock_lost");
    ck_assert_str_eq(release_now(&f, 1, a.op.new_token), "ok");
    ck_assert(lock_is_free(&f));
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "lock_lost");
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "lock_lost");
    ck_assert_str_eq(acquire_now(&f, 1, &b, "b", LONG_MS), "ok");
    ck_assert_int_gt(b.op.fence, a.op.fence);
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "lock_lost");
    ck_assert_str_eq(get_now(&f, 0, &c), "ok");
    ck_assert_str_eq(c.owner, "b");
    lock_fixture_close(&f);
}
END_TEST

START_TEST(an_expired_holder_can_neither_renew_nor_release)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", 100), "ok");
    RUN_UNTIL(&f.on, lock_is_free(&f));
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "lock_lost");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "lock_lost");
    ck_assert_str_eq(acquire_now(&f, 1, &b, "b", LONG_MS), "ok");
    ck_assert_str_eq(renew_now(&f, 0, &c, a.op.new_token, LONG_MS), "lock_lost");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "lock_lost");
    ck_assert_str_eq(renew_now(&f, 1, &c, b.op.new_token, LONG_MS), "ok");
    lock_fixture_close(&f);
}
END_TEST

START_TEST(renewing_keeps_the_fence_and_sets_the_time)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", 1000), "ok");
    ck_assert_str_eq(renew_now(&f, 1, &b, a.op.new_token, 60000), "ok");
    ck_assert_int_eq(b.op.fence, a.op.fence);
    ck_assert(b.op.valid_ms > 30000 && b.op.valid_ms <= 60000);
    ck_assert_str_eq(get_now(&f, 0, &c), "ok");
    ck_assert(c.op.valid_ms > 30000 && c.op.valid_ms <= 60000);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(owner_and_idempotency_key_return_the_same_grant_while_it_lives)
{
    lock_fixture_open(&f, _i);
    struct lock_op op = acquire_op("a", LONG_MS, 0);
    op.idempotency_key = SLICE_LITERAL("k");
    lock_begin(&f, 0, &a, op);
    ck_assert_str_eq(lock_end(&f, &a), "ok");
    lock_begin(&f, 1, &b, op);
    ck_assert_str_eq(lock_end(&f, &b), "ok");
    ck_assert_str_eq(b.op.new_token, a.op.new_token);
    ck_assert_int_eq(b.op.fence, a.op.fence);
    op.owner = SLICE_LITERAL("b");
    lock_begin(&f, 1, &c, op);
    ck_assert_str_eq(lock_end(&f, &c), "lock_not_acquired");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    op.owner = SLICE_LITERAL("a");
    lock_begin(&f, 1, &c, op);
    ck_assert_str_eq(lock_end(&f, &c), "ok");
    ck_assert_str_ne(c.op.new_token, a.op.new_token);
    ck_assert_int_gt(c.op.fence, a.op.fence);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(waiters_are_served_in_order_of_arrival_across_ports)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    wait_begin(&f, 1, &b, "b", LONG_MS);
    wait_begin(&f, 0, &c, "c", LONG_MS);
    wait_begin(&f, 1, &d, "d", LONG_MS);
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    ck_assert_str_eq(lock_end(&f, &b), "ok");
    ck_assert_uint_eq(c.done + d.done, 0);
    ck_assert_str_eq(release_now(&f, 0, b.op.new_token), "ok");
    ck_assert_str_eq(lock_end(&f, &c), "ok");
    ck_assert_uint_eq(d.done, 0);
    ck_assert_str_eq(release_now(&f, 0, c.op.new_token), "ok");
    ck_assert_str_eq(lock_end(&f, &d), "ok");
    ck_assert(a.op.fence < b.op.fence && b.op.fence < c.op.fence && c.op.fence < d.op.fence);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(a_waiter_takes_over_when_the_holder_expires)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", 200), "ok");
    wait_begin(&f, 1, &b, "b", LONG_MS);
    ck_assert_str_eq(lock_end(&f, &b), "ok");
    ck_assert_int_gt(b.op.fence, a.op.fence);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(a_waiter_whose_caller_is_gone_is_skipped)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    wait_begin(&f, 0, &b, "b", LONG_MS);
    wait_begin(&f, 1, &c, "c", LONG_MS);
    b.gone = true;
    ck_assert_str_eq(lock_end(&f, &b), "lock_not_acquired");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    ck_assert_str_eq(lock_end(&f, &c), "ok");
    lock_fixture_close(&f);
}
END_TEST

START_TEST(a_waiter_whose_daemon_is_dead_is_skipped_after_two_seconds_and_not_overtaken_before)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    wait_begin(&f, 1, &b, "b", LONG_MS);
    int64_t seen_ms = now_ms();
    lock_port_close(f.ports[1]);
    ck_assert_str_eq(lock_end(&f, &b), "outcome_unknown");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    const char *status = acquire_now(&f, 0, &c, "c", LONG_MS);
    if (now_ms() - seen_ms < 1500) ck_assert_str_eq(status, "lock_not_acquired");
    lock_begin(&f, 0, &c, acquire_op("c", LONG_MS, LONG_MS));
    ck_assert_str_eq(lock_end(&f, &c), "ok");
    ck_assert_int_lt(now_ms() - seen_ms, test_ms(4000));
    lock_fixture_close(&f);
}
END_TEST

START_TEST(a_waiter_that_times_out_is_told_and_leaves_the_queue)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    wait_begin(&f, 1, &b, "b", 100);
    ck_assert_str_eq(lock_end(&f, &b), "lock_not_acquired");
    ck_assert_int_gt(b.op.retry_after_ms, 0);
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    /* Before 2 s are over nobody may be in the queue any more. */
    int64_t since_ms = now_ms();
    RUN_UNTIL(&f.on, strcmp(acquire_now(&f, 0, &c, "c", LONG_MS), "ok") == 0);
    ck_assert_int_lt(now_ms() - since_ms, 1500);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(one_that_sleeps_through_its_deadline_is_told_what_was_last_heard)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    wait_begin(&f, 1, &b, "b", LONG_MS);
    RUN_UNTIL(&f.on, b.op.retry_after_ms > 0 && !b.op.work->flying);
    f.on.ahead_us += test_ms(60000) * 1000;
    ck_assert_str_eq(lock_end(&f, &b), "lock_not_acquired");
    lock_fixture_close(&f);
}
END_TEST

START_TEST(a_grant_whose_caller_is_gone_is_released)
{
    lock_fixture_open(&f, _i);
    lock_begin(&f, 0, &a, acquire_op("a", LONG_MS, 0));
    a.gone = true;
    ck_assert_str_eq(lock_end(&f, &a), "lock_not_acquired");
    RUN_UNTIL(&f.on, lock_is_free(&f));
    lock_fixture_close(&f);
}
END_TEST

START_TEST(with_an_idempotency_key_it_stays_for_him_to_come_back)
{
    lock_fixture_open(&f, _i);
    struct lock_op op = acquire_op("a", LONG_MS, 0);
    op.idempotency_key = SLICE_LITERAL("k");
    lock_begin(&f, 0, &a, op);
    a.gone = true;
    ck_assert_str_eq(lock_end(&f, &a), "ok");
    lock_begin(&f, 1, &b, op);
    ck_assert_str_eq(lock_end(&f, &b), "ok");
    ck_assert_int_eq(b.op.fence, a.op.fence);
    lock_fixture_close(&f);
}
END_TEST

START_TEST(an_abandoned_grant_is_released)
{
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    lock_abandon(f.ports[0], SLICE_LITERAL("l"), slice_of(a.op.new_token));
    RUN_UNTIL(&f.on, lock_is_free(&f));
    lock_fixture_close(&f);
}
END_TEST

START_TEST(waiters_have_a_bound)
{
    struct lock_try waiting[WAITERS_MAX];
    lock_fixture_open(&f, _i);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    for (unsigned i = 0; i < WAITERS_MAX; i++)
        lock_begin(&f, 0, &waiting[i], acquire_op("w", LONG_MS, LONG_MS));
    lock_begin(&f, 0, &b, acquire_op("b", LONG_MS, LONG_MS));
    ck_assert_str_eq(lock_end(&f, &b), "overloaded");
    ck_assert(b.op.waiters_full);
    lock_begin(&f, 1, &c, acquire_op("c", LONG_MS, 10));
    ck_assert_str_eq(lock_end(&f, &c), "lock_not_acquired");
    lock_fixture_close(&f);
}
END_TEST

START_TEST(embedded_locks_outlive_the_daemon)
{
    lock_fixture_open(&f, ON_EMBEDDED);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    for (unsigned i = 0; i < PORTS; i++)
        lock_port_close(f.ports[i]);
    spool_destroy(&f.spool);
    lock_store_destroy(&f.stores[0]);
    lock_open_spool(&f);
    lock_open_ports(&f);
    ck_assert_str_eq(acquire_now(&f, 0, &b, "b", LONG_MS), "lock_not_acquired");
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "ok");
    ck_assert_int_eq(b.op.fence, a.op.fence);
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    ck_assert_str_eq(acquire_now(&f, 0, &b, "b", LONG_MS), "ok");
    ck_assert_int_gt(b.op.fence, a.op.fence);
    lock_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock");
    TCase *both = test_case(suite, "either engine", 30);
    tcase_add_loop_test(both, a_lock_has_one_holder_and_the_other_is_told_what_is_left, 0, BACKENDS);
    tcase_add_loop_test(both, a_released_lock_is_free_and_its_token_is_worth_nothing, 0, BACKENDS);
    tcase_add_loop_test(both, an_expired_holder_can_neither_renew_nor_release, 0, BACKENDS);
    tcase_add_loop_test(both, renewing_keeps_the_fence_and_sets_the_time, 0, BACKENDS);
    tcase_add_loop_test(both, owner_and_idempotency_key_return_the_same_grant_while_it_lives, 0, BACKENDS);
    tcase_add_loop_test(both, waiters_are_served_in_order_of_arrival_across_ports, 0, BACKENDS);
    tcase_add_loop_test(both, a_waiter_takes_over_when_the_holder_expires, 0, BACKENDS);
    tcase_add_loop_test(both, a_waiter_whose_caller_is_gone_is_skipped, 0, BACKENDS);
    tcase_add_loop_test(both,
                        a_waiter_whose_daemon_is_dead_is_skipped_after_two_seconds_and_not_overtaken_before,
                        0, BACKENDS);
    tcase_add_loop_test(both, a_waiter_that_times_out_is_told_and_leaves_the_queue, 0, BACKENDS);
    tcase_add_loop_test(both, one_that_sleeps_through_its_deadline_is_told_what_was_last_heard, 0, BACKENDS);
    tcase_add_loop_test(both, a_grant_whose_caller_is_gone_is_released, 0, BACKENDS);
    tcase_add_loop_test(both, with_an_idempotency_key_it_stays_for_him_to_come_back, 0, BACKENDS);
    tcase_add_loop_test(both, an_abandoned_grant_is_released, 0, BACKENDS);
    tcase_add_loop_test(both, waiters_have_a_bound, 0, BACKENDS);
    TCase *embedded = test_case(suite, "embedded", 30);
    tcase_add_test(embedded, embedded_locks_outlive_the_daemon);
    return test_run(suite);
}
