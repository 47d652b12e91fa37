/* test_pool_retry: a call that met a demoted master is tried again where the master is, and nothing more
 * reaches the former one. */
#include "sentinel_fixture.h"

static struct sentinel_fixture s;
static struct redis_pool *pool;
static struct counted_call call;

static void open_all(void)
{
    sentinel_fixture_open(&s, 1);
    sentinel_fixture_move(&s, 0);
    pool = redis_pool_create(&(struct redis_pool_options){
        .loop = s.on.loop, .topology = s.topology, .min_idle = 1, .connections_max = 2, .inflight_max = 64});
    ck_assert_ptr_nonnull(pool);
    RUN_UNTIL(&s.on, redis_pool_ready(pool) == 1);
}

static void close_all(void)
{
    redis_pool_destroy(&pool);
    sentinel_fixture_close(&s);
}

static void submit(void)
{
    ck_assert(redis_pool_submit(pool, &call_init(&call, 1, "INCR", "k", REDIS_TYPE_INTEGER)->call));
}

START_TEST(it_is_done_once_by_the_new_master)
{
    s.data[0].read_only = s.data[0].replica = true;
    submit();
    RUN_UNTIL(&s.on, redis_saw(&s.data[0].f, "INCR k") == 1);
    loop_fixture_turn(&s.on);
    sentinel_fixture_move(&s, 1);
    RUN_UNTIL(&s.on, call.done);
    ck_assert_int_eq(call.call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(redis_saw(&s.data[0].f, "INCR k"), 1);
    ck_assert_uint_eq(redis_saw(&s.data[1].f, "INCR k"), 1);
    ck_assert_uint_eq(call.done, 1);
}
END_TEST

START_TEST(without_a_new_one_it_is_unavailable_within_its_deadline)
{
    s.data[0].read_only = s.data[0].replica = true;
    submit();
    RUN_UNTIL(&s.on, call.done);
    ck_assert_int_eq(call.call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_uint_eq(redis_saw(&s.data[0].f, "INCR k"), 1); /* its role was seen before it was asked again */
}
END_TEST

START_TEST(what_had_not_left_goes_to_the_new_master)
{
    submit();
    sentinel_fixture_move(&s, 1);
    RUN_UNTIL(&s.on, call.done);
    ck_assert_int_eq(call.call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(redis_saw(&s.data[0].f, "INCR k"), 0);
}
END_TEST

START_TEST(a_call_that_waits_to_be_tried_again_is_done_at_the_end)
{
    s.data[0].read_only = s.data[0].replica = true;
    submit();
    RUN_UNTIL(&s.on, redis_saw(&s.data[0].f, "INCR k") == 1);
    loop_fixture_turn(&s.on);
    redis_pool_destroy(&pool);
    ck_assert_uint_eq(call.done, 1);
    ck_assert_int_eq(call.call.outcome, REDIS_CALL_UNAVAILABLE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool_retry");
    TCase *c = test_case(suite, "pool_retry", 20);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, it_is_done_once_by_the_new_master);
    tcase_add_test(c, without_a_new_one_it_is_unavailable_within_its_deadline);
    tcase_add_test(c, what_had_not_left_goes_to_the_new_master);
    tcase_add_test(c, a_call_that_waits_to_be_tried_again_is_done_at_the_end);
    return test_run(suite);
}
