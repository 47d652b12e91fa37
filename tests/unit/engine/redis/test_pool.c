/* test_pool: how many connections there are, who waits for one, and what the bounds refuse. */
#include "redis_fixture.h"

static struct redis_fixture f;
static struct redis_pool *pool;

enum { MANY = 300 };
static struct counted_call calls[MANY];

static void open_fixture(void)
{
    redis_fixture_open(&f, "", 0);
}

static void close_all(void)
{
    redis_pool_destroy(&pool);
    redis_fixture_close(&f);
}

static bool submit(size_t i)
{
    return redis_pool_submit(pool, &get_init(&calls[i], "k")->call);
}

static unsigned done(size_t from, size_t to, enum redis_outcome outcome)
{
    unsigned n = 0;
    for (size_t i = from; i < to; i++) {
        ck_assert_uint_le(calls[i].done, 1);
        n += calls[i].done && calls[i].call.outcome == outcome;
    }
    return n;
}

static const char *silent_gets(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "GET") ? "" : NULL;
}

static void answer_all(void)
{
    for (unsigned i = 0; i < f.accepted; i++) {
        char name[16];
        unsigned owed = redis_saw(&f, FORMAT(name, "%u GET", i + 1));
        while (owed--)
            peer_send(&f.peers[i], "$1\r\nv\r\n");
    }
}

START_TEST(min_idle_connections_are_opened_at_once)
{
    pool = open_test_pool(&f, 3, 8);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 3);
    ck_assert_uint_eq(f.accepted, 3);
}
END_TEST

START_TEST(calls_wait_for_the_first_connection_and_leave_in_order)
{
    pool = open_test_pool(&f, 0, 4);
    static char keys[10][8];
    for (size_t i = 0; i < 10; i++)
        ck_assert(redis_pool_submit(pool, &get_init(&calls[i], FORMAT(keys[i], "k%zu", i))->call));
    RUN_UNTIL(&f.on, done(0, 10, REDIS_CALL_OK) == 10);
    ck_assert_uint_eq(f.accepted, 1);
    ck_assert_ptr_nonnull(strstr(f.log, "1 GET k0\n1 GET k1\n1 GET k2\n1 GET k3\n"));
}
END_TEST

START_TEST(calls_that_wait_fail_unsent_when_connecting_fails)
{
    redis_vanish(&f);
    pool = open_test_pool(&f, 0, 4);
    for (size_t i = 0; i < 5; i++)
        ck_assert(submit(i));
    RUN_UNTIL(&f.on, done(0, 5, REDIS_CALL_UNAVAILABLE) == 5);
    ck_assert_ptr_nonnull(strstr(calls[0].call.error, "efused"));
    /* and until the next attempt is due nobody waits in vain; back to before it, for this may be slow */
    f.on.ahead_us -= 60 * INT64_C(1000000);
    ck_assert(!submit(5));
    f.on.ahead_us = 0;
    ck_assert_int_eq(calls[5].call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_uint_eq(calls[5].done, 0);
}
END_TEST

START_TEST(a_call_that_waits_fails_at_its_own_deadline)
{
    f.hang = true;
    pool = open_test_pool(&f, 0, 4);
    ck_assert(submit(0));
    get_init(&calls[1], "k")->call.deadline_us = loop_now_us(f.on.loop) + 1000;
    ck_assert(redis_pool_submit(pool, &calls[1].call));
    RUN_UNTIL(&f.on, calls[1].done);
    ck_assert_int_eq(calls[1].call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_uint_eq(calls[0].done, 0);
    f.on.ahead_us += test_ms(251) * 1000;
    RUN_UNTIL(&f.on, calls[0].done);
    ck_assert_int_eq(calls[0].call.outcome, REDIS_CALL_UNAVAILABLE);
}
END_TEST

START_TEST(a_deadline_is_never_later_than_the_command_timeout)
{
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    int64_t latest = loop_now_us(f.on.loop) + test_ms(250) * 1000;
    get_init(&calls[0], "k")->call.deadline_us = INT64_MAX;
    ck_assert(redis_pool_submit(pool, &calls[0].call));
    ck_assert_int_ge(calls[0].call.deadline_us, latest);
    ck_assert_int_lt(calls[0].call.deadline_us, latest + 1000000);
    get_init(&calls[1], "k")->call.deadline_us = loop_now_us(f.on.loop) - 1;
    ck_assert(!redis_pool_submit(pool, &calls[1].call)); /* over before it began */
    RUN_UNTIL(&f.on, calls[0].done);
}
END_TEST

START_TEST(deep_queues_open_another_connection_up_to_the_bound)
{
    f.script = silent_gets;
    pool = open_test_pool(&f, 1, 2);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    for (size_t i = 0; i < 64; i++)
        ck_assert(submit(i));
    loop_fixture_turn(&f.on);
    ck_assert_uint_eq(f.accepted, 1);
    ck_assert(submit(64)); /* the 65th: still on the first, but it brings the second */
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 2);
    for (size_t i = 65; i < MANY; i++)
        ck_assert(submit(i));
    RUN_UNTIL(&f.on, redis_saw(&f, "GET") == MANY);
    ck_assert_uint_eq(f.accepted, 2);
    ck_assert_uint_eq(redis_saw(&f, "1 GET"), MANY / 2); /* the least loaded takes the next */
    answer_all();
    RUN_UNTIL(&f.on, done(0, MANY, REDIS_CALL_OK) == MANY);
}
END_TEST

static const char *one_client_at_a_time(struct redis_fixture *x, struct peer *p,
                                        const struct resp_value *command)
{
    if (p->number > 1 && command_is(command, "CLIENT")) return "-ERR max number of clients reached\r\n";
    return silent_gets(x, p, command);
}

START_TEST(another_connection_that_cannot_be_had_opens_no_circuit)
{
    struct breaker *b = redis_node_breaker(f.node);
    f.script = one_client_at_a_time;
    pool = open_test_pool(&f, 1, 2);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    for (size_t i = 0; i < 64; i++)
        ck_assert(submit(i));
    for (int i = 0; i < 999; i++)
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE); /* one more opens it */
    ck_assert(submit(64));
    RUN_UNTIL(&f.on, f.accepted == 2 && !f.peers[1].io);
    ck_assert(breaker_allows(b));
    answer_all();
    RUN_UNTIL(&f.on, done(0, 65, REDIS_CALL_OK) == 65);
}
END_TEST

START_TEST(surplus_connections_close_after_idling)
{
    f.script = silent_gets;
    pool = open_test_pool(&f, 1, 2);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    for (size_t i = 0; i < 65; i++)
        ck_assert(submit(i));
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 2);
    answer_all();
    RUN_UNTIL(&f.on, done(0, 65, REDIS_CALL_OK) == 65);
    f.on.ahead_us += 11 * INT64_C(1000000);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    ck_assert(redis_node_quiet(f.node)); /* nothing was in flight */
    f.script = NULL;
    ck_assert(submit(65));
    RUN_UNTIL(&f.on, calls[65].done);
    ck_assert_int_eq(calls[65].call.outcome, REDIS_CALL_OK);
}
END_TEST

static struct redis_pool *open_bounded(unsigned inflight_max, _Atomic size_t *queued)
{
    struct redis_pool *p = redis_pool_create(&(struct redis_pool_options){.loop = f.on.loop,
                                                                          .topology = f.topology,
                                                                          .min_idle = 1,
                                                                          .connections_max = 1,
                                                                          .inflight_max = inflight_max,
                                                                          .queued_bytes = queued});
    ck_assert_ptr_nonnull(p);
    return p;
}

START_TEST(over_inflight_max_a_call_is_not_taken)
{
    f.script = silent_gets;
    pool = open_bounded(3, NULL);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    for (size_t i = 0; i < 3; i++)
        ck_assert(submit(i));
    ck_assert(!submit(3));
    ck_assert_int_eq(calls[3].call.outcome, REDIS_CALL_UNAVAILABLE);
    RUN_UNTIL(&f.on, redis_saw(&f, "GET") == 3);
    answer_all();
    RUN_UNTIL(&f.on, done(0, 3, REDIS_CALL_OK) == 3);
    ck_assert(submit(3));
}
END_TEST

START_TEST(the_bound_holds_for_calls_that_wait_for_a_connection_too)
{
    f.script = silent_gets;
    pool = open_bounded(3, NULL);
    for (size_t i = 0; i < 3; i++)
        ck_assert(submit(i));
    ck_assert(!submit(3));
    RUN_UNTIL(&f.on, redis_saw(&f, "GET") == 3);
}
END_TEST

START_TEST(queued_bytes_are_counted_until_answered)
{
    _Atomic size_t queued = 0;
    f.script = silent_gets;
    pool = open_bounded(100, &queued);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    ck_assert_uint_eq(atomic_load(&queued), 0); /* the greeting's are given back */
    ck_assert(submit(0));
    size_t one = atomic_load(&queued);
    ck_assert_uint_eq(one, strlen("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"));
    ck_assert(submit(1) && submit(2));
    RUN_UNTIL(&f.on, redis_saw(&f, "GET") == 3);
    answer_all();
    RUN_UNTIL(&f.on, done(0, 3, REDIS_CALL_OK) == 3);
    ck_assert_uint_eq(atomic_load(&queued), 0);
    ck_assert(submit(3));
    redis_pool_destroy(&pool);
    ck_assert_uint_eq(calls[3].done, 1);
    ck_assert_uint_eq(atomic_load(&queued), 0);
}
END_TEST

START_TEST(an_open_circuit_takes_nothing_and_connects_to_nothing)
{
    struct breaker *b = redis_node_breaker(f.node);
    pool = open_test_pool(&f, 0, 4);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
    ck_assert(!submit(0));
    loop_fixture_turn(&f.on);
    loop_fixture_turn(&f.on);
    ck_assert_uint_eq(f.accepted, 0);
    ck_assert(breaker_probe_begin(b, true));
    ck_assert(!submit(0)); /* half-open is the probe's */
    breaker_probe_end(b, true);
    ck_assert(submit(0));
    RUN_UNTIL(&f.on, calls[0].done);
}
END_TEST

START_TEST(every_failed_call_is_told_to_the_circuit_with_the_generation_it_began_in)
{
    struct breaker *b = redis_node_breaker(f.node);
    f.script = silent_gets;
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    for (int i = 0; i < 998; i++) /* 1000 in a row would open it */
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
    ck_assert(submit(0));
    ck_assert(submit(1));
    RUN_UNTIL(&f.on, redis_saw(&f, "GET") == 2);
    ck_assert(breaker_allows(b));
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, calls[1].done);
    ck_assert(!breaker_allows(b));
    ck_assert_uint_eq(f.state_changes, 1);
    ck_assert_int_eq(f.states[0], BREAKER_OPEN);
}
END_TEST

START_TEST(a_lost_connection_is_replaced_up_to_min_idle)
{
    pool = open_test_pool(&f, 2, 4);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 2);
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, f.accepted == 3 && redis_pool_ready(pool) == 2);
}
END_TEST

START_TEST(attempts_that_fail_wait_longer_each_time)
{
    redis_vanish(&f);
    pool = open_test_pool(&f, 0, 4);
    int64_t began = now_ms();
    for (size_t taken = 0; taken < 6;) {
        if (submit(taken)) {
            RUN_UNTIL(&f.on, calls[taken].done);
            taken++;
        } else {
            loop_fixture_turn(&f.on);
        }
    }
    ck_assert_int_ge(now_ms() - began, 5 + 10 + 20 + 40 + 80); /* half of 10, 20, … ms at the least */
}
END_TEST

static unsigned replicas; /* connections below this number lead to one */

static const char *read_only(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    return command_is(command, "GET") && p->number < replicas ? "-READONLY You can't write\r\n" : NULL;
}

START_TEST(a_call_that_meets_a_replica_goes_again_on_a_new_connection)
{
    replicas = 2;
    f.script = read_only;
    pool = open_test_pool(&f, 1, 4);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    ck_assert(submit(0));
    RUN_UNTIL(&f.on, calls[0].done);
    ck_assert_int_eq(calls[0].call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(f.accepted, 2);
}
END_TEST

START_TEST(a_replica_that_stays_one_refuses_and_is_connected_to_anew_once_a_second)
{
    replicas = PEERS_MAX;
    f.script = read_only;
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    for (size_t i = 0; i < 10; i++) {
        ck_assert(submit(i));
        RUN_UNTIL(&f.on, calls[i].done);
        ck_assert_int_eq(calls[i].call.outcome, REDIS_CALL_REFUSED);
        ck_assert_str_eq(calls[i].call.error, "READONLY You can't write");
    }
    ck_assert_uint_le(f.accepted, 3); /* a busy machine may take a second for these */
    unsigned before = f.accepted;
    f.on.ahead_us += 1000000;
    ck_assert(submit(10));
    RUN_UNTIL(&f.on, calls[10].done);
    ck_assert_uint_eq(f.accepted, before + 1);
}
END_TEST

START_TEST(destroying_completes_those_that_wait_once)
{
    f.hang = true;
    pool = open_test_pool(&f, 0, 4);
    for (size_t i = 0; i < 5; i++)
        ck_assert(submit(i));
    redis_pool_destroy(&pool);
    ck_assert_uint_eq(done(0, 5, REDIS_CALL_UNAVAILABLE), 5);
    redis_pool_destroy(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *c = test_case(suite, "pool", 20);
    tcase_add_checked_fixture(c, open_fixture, close_all);
    tcase_add_test(c, min_idle_connections_are_opened_at_once);
    tcase_add_test(c, calls_wait_for_the_first_connection_and_leave_in_order);
    tcase_add_test(c, calls_that_wait_fail_unsent_when_connecting_fails);
    tcase_add_test(c, a_call_that_waits_fails_at_its_own_deadline);
    tcase_add_test(c, a_deadline_is_never_later_than_the_command_timeout);
    tcase_add_test(c, deep_queues_open_another_connection_up_to_the_bound);
    tcase_add_test(c, another_connection_that_cannot_be_had_opens_no_circuit);
    tcase_add_test(c, surplus_connections_close_after_idling);
    tcase_add_test(c, over_inflight_max_a_call_is_not_taken);
    tcase_add_test(c, the_bound_holds_for_calls_that_wait_for_a_connection_too);
    tcase_add_test(c, queued_bytes_are_counted_until_answered);
    tcase_add_test(c, an_open_circuit_takes_nothing_and_connects_to_nothing);
    tcase_add_test(c, every_failed_call_is_told_to_the_circuit_with_the_generation_it_began_in);
    tcase_add_test(c, a_lost_connection_is_replaced_up_to_min_idle);
    tcase_add_test(c, attempts_that_fail_wait_longer_each_time);
    tcase_add_test(c, a_call_that_meets_a_replica_goes_again_on_a_new_connection);
    tcase_add_test(c, a_replica_that_stays_one_refuses_and_is_connected_to_anew_once_a_second);
    tcase_add_test(c, destroying_completes_those_that_wait_once);
    return test_run(suite);
}
