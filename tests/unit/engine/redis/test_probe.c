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

static unsigned times;

/* The second one has been on its way for 90 ms, and says a time far ahead. */
static const char *late_time(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)p;
    if (!command_is(command, "TIME") || ++times != 2) return NULL;
    x->on.ahead_us += 90000;
    return "*2\r\n$10\r\n2000009000\r\n$6\r\n500000\r\n";
}

START_TEST(a_time_that_was_long_on_its_way_does_not_replace_a_better_one)
{
    f.script = late_time;
    open_probe();
    RUN_UNTIL(&f.on, redis_node_wall_ms(f.node) >= INT64_C(2000000000000));
    f.on.ahead_us += 1000000;
    RUN_UNTIL(&f.on, times == 2);
    f.on.ahead_us += 1000000;
    RUN_UNTIL(&f.on, times == 3);
    ck_assert_int_lt(redis_node_wall_ms(f.node), INT64_C(2000008000000));
}
END_TEST

static const char *const ODD_TIMES[] = {"*1\r\n:1\r\n", "*2\r\n$0\r\n\r\n$1\r\n0\r\n",
                                        /* 2^61 s and more: times 1000 only the more is left of 64 bits */
                                        "*2\r\n$19\r\n2305843011213702952\r\n$1\r\n0\r\n"};
static const char *odd;

static const char *odd_time(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "TIME") ? odd : NULL;
}

START_TEST(a_time_that_makes_no_sense_changes_nothing)
{
    odd = ODD_TIMES[_i];
    f.script = odd_time;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, closed());
    ck_assert_int_le(redis_node_wall_ms(f.node), wall_ms() + test_ms(5000));
}
END_TEST

/* --- what it tells of itself --- */

static const char *info_text; /* what INFO is answered */

static const char *with_info(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    static char reply[512];
    (void)x;
    (void)p;
    if (!command_is(command, "INFO") || command->count > 1) return NULL;
    return FORMAT(reply, "$%zu\r\n%s\r\n", strlen(info_text), info_text);
}

static struct redis_info info_now(void)
{
    struct redis_info info;
    int64_t ping_us;
    redis_node_info(f.node, &info, &ping_us);
    return info;
}

static int64_t ping_now(void)
{
    struct redis_info info;
    int64_t ping_us;
    redis_node_info(f.node, &info, &ping_us);
    return ping_us;
}

/* Who never was a master was meant. */
START_TEST(a_name_whose_master_is_a_replica_now_is_resolved_anew)
{
    static const char SLAVE[] = "# Replication\r\nrole:slave\r\n";
    f.script = with_info;
    info_text = SLAVE;
    open_probe();
    RUN_UNTIL(&f.on, redis_saw(&f, "PING") >= 2 && ping_now() >= 0);
    ck_assert_uint_eq(f.accepted, 1);
    info_text = "# Replication\r\nrole:master\r\n";
    for (unsigned until = redis_saw(&f, "PING") + 6; redis_saw(&f, "PING") < until;) {
        f.on.ahead_us += 200000;
        loop_fixture_turn(&f.on);
    }
    ck_assert_uint_eq(f.accepted, 1);
    info_text = SLAVE;
    while (f.accepted < 2) {
        f.on.ahead_us += 200000;
        loop_fixture_turn(&f.on);
    }
    unsigned asked =
        redis_saw(&f, "INFO"); /* INFO comes at once, and again says slave: no more than one a second */
    for (int i = 0; i < 20; i++)
        loop_fixture_turn(&f.on);
    ck_assert_uint_eq(f.accepted, 2);
    ck_assert_uint_le(redis_saw(&f, "INFO"), asked + 2);
}
END_TEST

START_TEST(info_comes_at_once_and_with_every_fifth_ping)
{
    f.script = with_info;
    info_text = "# Memory\r\nused_memory:4711\r\nmaxmemory_policy:allkeys-lru\r\n";
    ck_assert_int_eq(info_now().memory_bytes, -1);
    ck_assert_int_eq(ping_now(), -1);
    open_probe();
    RUN_UNTIL(&f.on, info_now().memory_bytes == 4711);
    ck_assert_uint_eq(redis_saw(&f, "PING"), 1);
    ck_assert_int_ge(ping_now(), 0);
    ck_assert_str_eq(info_now().policy, "allkeys-lru");
    info_text = "used_memory:12\r\n";
    while (info_now().memory_bytes != 12) {
        unsigned pings = redis_saw(&f, "PING");
        f.on.ahead_us += 1000 * INT64_C(1000);
        RUN_UNTIL(&f.on, redis_saw(&f, "PING") > pings || info_now().memory_bytes == 12);
        ck_assert_uint_le(redis_saw(&f, "PING"), 7);
    }
    ck_assert_uint_eq(redis_saw(&f, "INFO\n"), 2);
    ck_assert_str_eq(info_now().policy, ""); /* not told any more */
}
END_TEST

START_TEST(a_node_that_has_moved_has_told_nothing_yet)
{
    f.script = with_info;
    info_text = "used_memory:4711\r\nmaxmemory_policy:allkeys-lru\r\n";
    open_probe();
    RUN_UNTIL(&f.on, info_now().memory_bytes == 4711);
    const struct redis_address same = f.url.seeds[0];
    redis_node_move(f.node, &same);
    ck_assert_int_eq(info_now().memory_bytes, -1);
    ck_assert_int_eq(ping_now(), -1);
    ck_assert_str_eq(info_now().policy, "");
    redis_probe_look(probe);
    RUN_UNTIL(&f.on, info_now().memory_bytes == 4711); /* asked on a connection to the new place */
    ck_assert_uint_eq(f.accepted, 2);
}
END_TEST

static const char *no_info(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "INFO") && command->count == 1
               ? "-NOPERM this user has no permissions to run the 'info' command\r\n"
               : NULL;
}

START_TEST(a_user_that_may_not_ask_for_info_costs_nothing_else)
{
    f.script = no_info;
    open_circuit();
    open_probe();
    RUN_UNTIL(&f.on, redis_saw(&f, "INFO\n") == 1);
    for (int i = 0; i < 5; i++)
        loop_fixture_turn(&f.on);
    ck_assert(closed());
    ck_assert_uint_eq(f.accepted, 1);
    ck_assert_int_eq(info_now().memory_bytes, -1);
}
END_TEST

static const struct {
    enum redis_role role;
    unsigned told;
} eviction_roles[] = {{REDIS_OF_ALL, 1}, {REDIS_OF_CACHE, 0}, {REDIS_OF_STATE, 1}};

static unsigned lines_with(const char *path, const char *text)
{
    unsigned n = 0;
    char *log = file_read(path, NULL);
    for (const char *at = log; (at = strstr(at, text)); at++)
        n++;
    free(log);
    return n;
}

START_TEST(eviction_is_told_once_per_change_where_state_is_kept)
{
    char path[TEST_PATH_MAX];
    FILE *file = fopen(scratch_path(path, "log"), "w");
    ck_assert_ptr_nonnull(file);
    struct log *log = log_create(&(struct log_options){.fd = fileno(file), .clock = &clock_system});
    struct redis_topology_options options = *redis_topology_options(f.topology);
    options.role = eviction_roles[_i].role;
    redis_topology_destroy(&f.topology);
    f.topology = topology_open(&options);
    f.node = topology_only(f.topology);
    f.script = with_info;
    info_text = "used_memory:0\r\nmaxmemory_policy:volatile-lru\r\n";
    probe = redis_probe_create(&(struct redis_probe_options){.loop = f.on.loop, .node = f.node, .log = log});
    for (int round = 0; round < 3; round++) { /* evicts, still does, does not any more */
        unsigned infos = redis_saw(&f, "INFO\n");
        if (round == 2) info_text = "used_memory:0\r\nmaxmemory_policy:noeviction\r\n";
        while (redis_saw(&f, "INFO\n") == infos) {
            f.on.ahead_us += 1000 * INT64_C(1000);
            loop_fixture_turn(&f.on);
        }
    }
    RUN_UNTIL(&f.on, strcmp(info_now().policy, "noeviction") == 0);
    redis_probe_destroy(&probe);
    log_destroy(&log);
    ck_assert_uint_eq(lines_with(path, "state lives on a Redis that may evict it"), eviction_roles[_i].told);
    ck_assert_uint_eq(lines_with(path, "this Redis does not evict state any more"), eviction_roles[_i].told);
    (void)fclose(file);
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
    tcase_add_loop_test(c, a_time_that_makes_no_sense_changes_nothing, 0,
                        sizeof ODD_TIMES / sizeof ODD_TIMES[0]);
    tcase_add_test(c, a_time_that_was_long_on_its_way_does_not_replace_a_better_one);
    tcase_add_test(c, a_name_whose_master_is_a_replica_now_is_resolved_anew);
    tcase_add_test(c, info_comes_at_once_and_with_every_fifth_ping);
    tcase_add_test(c, a_node_that_has_moved_has_told_nothing_yet);
    tcase_add_test(c, a_user_that_may_not_ask_for_info_costs_nothing_else);
    tcase_add_loop_test(c, eviction_is_told_once_per_change_where_state_is_kept, 0, 3);
    tcase_add_test(c, a_refused_password_is_read_again);
    tcase_add_test(c, it_is_destroyed_in_the_middle_of_a_probe);
    return test_run(suite);
}
