/* test_probe: the circuit closes again only by the probe, and the server's clock is learned. */
#include "redis_fixture.h"

#include "engine/redis/probe.h"

static struct redis_fixture f;
static struct redis_probe *probe;

static void open_fixture(void)
{
    redis_fixture_open(&f, "", 0);
}

static void open_probe(void)
{
    probe = redis_probe_create(&(struct redis_probe_options){.loop = f.on.loop, .node = f.node});
    ck_assert_ptr_nonnull(probe);
}

static void close_all(void)
{
    redis_probe_destroy(&probe);
    ck_assert_ptr_null(probe);
    redis_fixture_close(&f);
}

static void open_circuit(void)
{
    struct breaker *b = redis_node_breaker(f.node);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
}

static bool closed(void)
{
    return breaker_allows(redis_node_breaker(f.node));
}

START_TEST(a_successful_connect_closes_an_open_circuit)
{
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, closed());
    ck_assert_uint_eq(f.state_changes, 3);
    ck_assert_int_eq(f.states[1], BREAKER_HALF_OPEN);
    ck_assert_int_eq(f.states[2], BREAKER_CLOSED);
    ck_assert_uint_eq(redis_saw(&f, "PING"), 1);
}
END_TEST

static bool loading;

static const char *maybe_loading(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return loading && command_is(command, "PING") ? "-LOADING Redis is loading\r\n" : NULL;
}

START_TEST(loading_keeps_it_open_until_it_is_over)
{
    loading = true;
    f.script = maybe_loading;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, redis_saw(&f, "PING") >= 3);
    ck_assert(!closed());
    loading = false;
    RUN_UNTIL(&f.on, closed());
    ck_assert_uint_eq(f.accepted, 1); /* all on one connection */
}
END_TEST

START_TEST(a_redis_that_comes_back_is_found_and_the_circuit_closes)
{
    redis_vanish(&f);
    open_circuit();
    open_probe();
    for (int i = 0; i < 5; i++)
        loop_fixture_turn(&f.on);
    ck_assert(!closed());
    redis_listen(&f);
    RUN_UNTIL(&f.on, closed());
}
END_TEST

static const char *silent_pings(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    return command_is(command, "PING") && p->number == 1 ? "" : NULL;
}

START_TEST(a_ping_without_answer_keeps_it_open_and_ends_the_connection)
{
    f.script = silent_pings;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, redis_saw(&f, "1 PING") == 1);
    ck_assert(!closed());
    f.on.ahead_us += test_ms(251) * 1000;
    RUN_UNTIL(&f.on, closed());
    ck_assert_uint_eq(f.accepted, 2);
    ck_assert_uint_eq(redis_saw(&f, "2 CLIENT KILL ID 101"), 1);
    ck_assert_int_eq(f.states[2], BREAKER_OPEN);
}
END_TEST

START_TEST(the_servers_clock_is_learned)
{
    open_probe();
    /* It says 2000000000.5 s whenever it is asked. */
    RUN_UNTIL(&f.on, redis_node_wall_ms(f.node) >= INT64_C(2000000000000));
    int64_t off = redis_node_wall_ms(f.node) - INT64_C(2000000000500);
    ck_assert_int_ge(off, -1);
    ck_assert_int_le(off, test_ms(1000));
}
END_TEST

static const char *odd_time(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "TIME") ? "*1\r\n:1\r\n" : NULL;
}

START_TEST(a_time_that_makes_no_sense_changes_nothing)
{
    f.script = odd_time;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, closed());
    ck_assert_int_le(redis_node_wall_ms(f.node), wall_ms() + test_ms(5000));
}
END_TEST

static const char *password_needed(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    static bool in[PEERS_MAX + 1];
    (void)x;
    if (command_is2(command, "AUTH", "new")) in[p->number] = true;
    if (command_is2(command, "AUTH", "old")) return "-WRONGPASS no\r\n";
    return in[p->number] ? NULL : "-NOAUTH Authentication required.\r\n";
}

START_TEST(a_refused_password_is_read_again)
{
    char path[TEST_PATH_MAX];
    scratch_write(scratch_path(path, "password"), "old");
    struct redis_topology_options options = *redis_topology_options(f.topology);
    options.password_file = path;
    redis_topology_destroy(&f.topology);
    f.topology = topology_open(&options);
    f.node = topology_only(f.topology);
    f.script = password_needed;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, redis_secret_refused(redis_topology_secret(f.topology)));
    scratch_write(path, "new");
    RUN_UNTIL(&f.on, closed());
    ck_assert(!redis_secret_refused(redis_topology_secret(f.topology)));
}
END_TEST

START_TEST(it_is_destroyed_in_the_middle_of_a_probe)
{
    f.script = silent_pings;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, redis_saw(&f, "1 PING") == 1);
    redis_probe_destroy(&probe);
    ck_assert_int_eq(breaker_state(redis_node_breaker(f.node)), BREAKER_OPEN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("probe");
    TCase *c = test_case(suite, "probe", 20);
    tcase_add_checked_fixture(c, open_fixture, close_all);
    tcase_add_test(c, a_successful_connect_closes_an_open_circuit);
    tcase_add_test(c, loading_keeps_it_open_until_it_is_over);
    tcase_add_test(c, a_redis_that_comes_back_is_found_and_the_circuit_closes);
    tcase_add_test(c, a_ping_without_answer_keeps_it_open_and_ends_the_connection);
    tcase_add_test(c, the_servers_clock_is_learned);
    tcase_add_test(c, a_time_that_makes_no_sense_changes_nothing);
    tcase_add_test(c, a_refused_password_is_read_again);
    tcase_add_test(c, it_is_destroyed_in_the_middle_of_a_probe);
    return test_run(suite);
}
