/* test_pool_redirections: MOVED, ASK and TRYAGAIN, by nodes that say so when the test wants. */
#include "cluster_fixture.h"

#include "engine/redis/script.h"

static struct cluster_fixture f;
static struct redis_pool *pool;
static struct counted_call calls[4];
static char moved[128], asked[128]; /* what a script below answers */
static unsigned refusals;           /* how often it does, before it serves */

static const char REDIRECTIONS[] = "phoenix_redis_redirections_total";

static void open_all(void)
{
    cluster_fixture_open(&f, 1);
    pool = redis_pool_create(&(struct redis_pool_options){.loop = f.on.loop,
                                                          .topology = f.topology,
                                                          .min_idle = 1,
                                                          .connections_max = 2,
                                                          .inflight_max = 64,
                                                          .cell = f.cell});
    ck_assert_ptr_nonnull(pool);
    ck_assert(redis_scripts_init());
    refusals = 1000;
}

static void close_all(void)
{
    redis_pool_destroy(&pool);
    cluster_fixture_close(&f);
}

static bool is_data(const struct resp_value *command)
{
    return command_is(command, "GET") || command_is(command, "EVALSHA") || command_is(command, "EVAL");
}

static const char *say_moved(struct fake_node *n, const struct resp_value *command)
{
    (void)n;
    return is_data(command) && refusals > 0 && refusals-- ? moved : NULL;
}

static const char *say_ask(struct fake_node *n, const struct resp_value *command)
{
    (void)n;
    return is_data(command) ? asked : NULL;
}

static const char *say_tryagain(struct fake_node *n, const struct resp_value *command)
{
    (void)n;
    if (!is_data(command) || refusals == 0) return NULL;
    refusals--;
    return "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
}

/* Serves only what comes right behind ASKING. */
static const char *import(struct fake_node *n, const struct resp_value *command)
{
    static bool asking;
    if (command_is(command, "ASKING")) {
        asking = true;
        return NULL;
    }
    bool may = asking;
    asking = false;
    return !is_data(command) || may ? NULL : FORMAT(moved, "-MOVED 1 127.0.0.1:%d\r\n", n->f->nodes[0].port);
}

static struct slice key(void)
{
    return SLICE_LITERAL("k");
}

static unsigned slot(void)
{
    return redis_slot(key());
}

static struct redis_call *get(unsigned i)
{
    get_init(&calls[i], "k");
    ck_assert(redis_pool_submit(pool, &calls[i].call));
    RUN_UNTIL(&f.on, calls[i].done == 1);
    return &calls[i].call;
}

static void expect_from(unsigned i, const char *node)
{
    get(i);
    ck_assert_msg(calls[i].call.outcome == REDIS_CALL_OK, "%s", calls[i].call.error);
    ck_assert_str_eq(calls[i].text, node);
}

START_TEST(moved_is_followed_and_remembered)
{
    f.nodes[0].script = say_moved;
    FORMAT(moved, "-MOVED %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    expect_from(0, "1");
    expect_from(1, "1");
    ck_assert_uint_eq(fake_saw(&f.nodes[0], "GET"), 1); /* the second went there at once */
    ck_assert_int_eq(port_of(&f, key()), f.nodes[1].port);
    ck_assert_uint_eq(fixture_count(&f, REDIRECTIONS, REDIS_REDIRECTION_MOVED), 1);
    ck_assert_uint_eq(fake_saw(&f.nodes[1], "ASKING"), 0);
}
END_TEST

START_TEST(without_a_host_it_is_the_one_that_was_asked)
{
    f.nodes[0].script = say_moved;
    FORMAT(moved, "-MOVED %u %s:%d\r\n", slot(), _i ? "?" : "", f.nodes[2].port);
    expect_from(0, "2");
}
END_TEST

static const char *be_alone(struct fake_node *n, const struct resp_value *command)
{
    (void)n;
    return command_is(command, "INFO") ? "$47\r\n# Server\r\nredis_mode:standalone\r\nrun_id:run-x\r\n\r\n"
                                       : NULL;
}

START_TEST(a_server_that_is_in_no_cluster_is_asked_nothing)
{
    f.nodes[0].script = be_alone;
    get(0);
    ck_assert_int_eq(calls[0].call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_str_eq(calls[0].call.error, "it is no node of a cluster");
    ck_assert_uint_eq(fake_saw(&f.nodes[0], "GET"), 0);
}
END_TEST

START_TEST(redirections_in_a_ring_end)
{
    for (int i = 0; i < 2; i++)
        f.nodes[i].script = say_moved;
    FORMAT(moved, "-MOVED %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    ck_assert_int_eq(get(0)->outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_uint_eq(fake_saw(&f.nodes[0], "GET") + fake_saw(&f.nodes[1], "GET"),
                      1 + REDIS_REDIRECTIONS_MAX);
    ck_assert_uint_eq(fixture_count(&f, REDIRECTIONS, REDIS_REDIRECTION_EXHAUSTED), 1);
    /* Both nodes are well. */
    ck_assert(redis_topology_well(f.topology));
}
END_TEST

START_TEST(ask_is_followed_once_and_the_map_stays)
{
    f.nodes[0].script = say_ask;
    f.nodes[1].script = import;
    FORMAT(asked, "-ASK %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    expect_from(0, "1");
    expect_from(1, "1");
    ck_assert_uint_eq(fake_saw(&f.nodes[0], "GET"), 2);
    ck_assert_int_eq(port_of(&f, key()), f.nodes[0].port);
    ck_assert_uint_eq(fixture_count(&f, REDIRECTIONS, REDIS_REDIRECTION_ASK), 2);
    ck_assert(!redis_node_serves(redis_topology_at(f.topology, 1)));
    ck_assert(!calls[1].call.covered);
}
END_TEST

START_TEST(who_serves_nothing_is_asked_though_its_circuit_is_open)
{
    f.nodes[0].script = say_ask;
    f.nodes[1].script = import;
    FORMAT(asked, "-ASK %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    expect_from(0, "1");
    struct breaker *breaker = redis_node_breaker(redis_topology_at(f.topology, 1));
    for (int i = 0; i < 1000; i++)
        breaker_record(breaker, breaker_generation(breaker), BREAKER_FAILURE);
    ck_assert(!breaker_allows(breaker));
    expect_from(1, "1");
}
END_TEST

START_TEST(each_command_of_a_call_is_asked_for)
{
    f.nodes[0].script = say_ask;
    f.nodes[1].script = import;
    FORMAT(asked, "-ASK %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    call_init(&calls[0], 3, "GET", "k", REDIS_TYPE_STRING);
    ck_assert(redis_pool_submit(pool, &calls[0].call));
    RUN_UNTIL(&f.on, calls[0].done == 1);
    ck_assert_int_eq(calls[0].call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(fake_saw(&f.nodes[1], "ASKING"), 3);
}
END_TEST

static const char *import_without_scripts(struct fake_node *n, const struct resp_value *command)
{
    const char *reply = import(n, command);
    return reply ? reply : command_is(command, "EVALSHA") ? "-NOSCRIPT No matching script\r\n" : NULL;
}

START_TEST(a_script_unknown_where_it_is_asked_is_asked_for_again_with_its_source)
{
    f.nodes[0].script = say_ask;
    f.nodes[1].script = import_without_scripts;
    FORMAT(asked, "-ASK %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    struct slice keys[] = {key()};
    call_init(&calls[0], 1, "", NULL, REDIS_TYPE_STATUS);
    calls[0].commands[0].script = redis_script(REDIS_SCRIPT_LOCK_GET);
    calls[0].commands[0].keys = keys;
    calls[0].commands[0].keys_count = 1;
    calls[0].commands[0].argc = 0;
    ck_assert(redis_pool_submit(pool, &calls[0].call));
    RUN_UNTIL(&f.on, calls[0].done == 1);
    ck_assert_msg(calls[0].call.outcome == REDIS_CALL_OK, "%s", calls[0].call.error);
    ck_assert_uint_eq(fake_saw(&f.nodes[1], "ASKING"), 2);
    ck_assert_uint_eq(fake_saw(&f.nodes[1], "EVAL "), 1);
}
END_TEST

START_TEST(tryagain_is_tried_again_after_a_while)
{
    f.nodes[0].script = say_tryagain;
    refusals = 2;
    expect_from(0, "0");
    ck_assert_uint_eq(fake_saw(&f.nodes[0], "GET"), 3);
    ck_assert_uint_eq(fixture_count(&f, REDIRECTIONS, REDIS_REDIRECTION_TRYAGAIN), 2);
    ck_assert(redis_topology_well(f.topology));
}
END_TEST

START_TEST(tryagain_without_end_is_given_up)
{
    f.nodes[0].script = say_tryagain;
    ck_assert_int_eq(get(0)->outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_uint_le(fake_saw(&f.nodes[0], "GET"), 1 + REDIS_REDIRECTIONS_MAX);
    ck_assert_ptr_nonnull(strstr(calls[0].call.error, "TRYAGAIN"));
    ck_assert_uint_eq(fixture_count(&f, "phoenix_redis_calls_total", REDIS_CALL_UNAVAILABLE), 1);
}
END_TEST

START_TEST(moved_to_a_node_that_is_gone_is_unavailable)
{
    f.nodes[0].script = say_moved;
    FORMAT(moved, "-MOVED %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    fake_kill(&f.nodes[1]);
    ck_assert_int_eq(get(0)->outcome, REDIS_CALL_UNAVAILABLE);
}
END_TEST

START_TEST(the_deadline_is_the_calls_own_wherever_it_goes)
{
    f.nodes[0].script = say_moved;
    f.nodes[1].silent = true;
    FORMAT(moved, "-MOVED %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    get_init(&calls[0], "k");
    ck_assert(redis_pool_submit(pool, &calls[0].call));
    int64_t deadline_us = calls[0].call.deadline_us;
    RUN_UNTIL(&f.on, fixture_count(&f, REDIRECTIONS, REDIS_REDIRECTION_MOVED) == 1);
    ck_assert_int_eq(calls[0].call.deadline_us, deadline_us);
    f.on.ahead_us += test_ms(250) * 1000;
    RUN_UNTIL(&f.on, calls[0].done == 1);
    ck_assert_int_eq(calls[0].call.outcome, REDIS_CALL_UNAVAILABLE); /* it never left for there */
}
END_TEST

static const char *const BROKEN[] = {"-MOVED\r\n",           "-MOVED 1\r\n",   "-MOVED 16384 h:1\r\n",
                                     "-MOVED x h:1\r\n",     "-MOVED 1 h\r\n", "-MOVED 1 h:0\r\n",
                                     "-MOVED 1 h:65536\r\n", "-ASK 1 h:\r\n"};

START_TEST(a_redirection_that_cannot_be_read_leads_nowhere)
{
    f.nodes[0].script = say_moved;
    FORMAT(moved, "%s", BROKEN[_i]);
    refusals = 1;
    expect_from(0, "0"); /* tried again by the map */
}
END_TEST

START_TEST(of_no_cluster_they_are_refusals)
{
    redis_pool_destroy(&pool);
    redis_topology_destroy(&f.topology);
    f.url.kind = REDIS_TCP;
    struct redis_topology_options options = topology_options(&f.url, &f.on.clock, 250);
    f.topology = topology_open(&options);
    pool = redis_pool_create(&(struct redis_pool_options){
        .loop = f.on.loop, .topology = f.topology, .min_idle = 1, .connections_max = 2, .inflight_max = 64});
    f.nodes[0].script = say_moved;
    FORMAT(moved, "-MOVED %u 127.0.0.1:%d\r\n", slot(), f.nodes[1].port);
    ck_assert_int_eq(get(0)->outcome, REDIS_CALL_REFUSED);
    ck_assert_uint_eq(fake_saw(&f.nodes[1], "GET"), 0);
}
END_TEST

START_TEST(a_pool_that_ends_is_done_with_what_waits)
{
    f.nodes[0].script = say_tryagain;
    get_init(&calls[0], "k");
    ck_assert(redis_pool_submit(pool, &calls[0].call));
    RUN_UNTIL(&f.on, fixture_count(&f, REDIRECTIONS, REDIS_REDIRECTION_TRYAGAIN) >= 1);
    if (!calls[0].done) redis_pool_destroy(&pool);
    ck_assert_uint_eq(calls[0].done, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pool_redirections");
    TCase *t = test_case(s, "redirections", 20);
    tcase_add_checked_fixture(t, open_all, close_all);
    tcase_add_test(t, moved_is_followed_and_remembered);
    tcase_add_loop_test(t, without_a_host_it_is_the_one_that_was_asked, 0, 2);
    tcase_add_test(t, a_server_that_is_in_no_cluster_is_asked_nothing);
    tcase_add_test(t, redirections_in_a_ring_end);
    tcase_add_test(t, ask_is_followed_once_and_the_map_stays);
    tcase_add_test(t, who_serves_nothing_is_asked_though_its_circuit_is_open);
    tcase_add_test(t, each_command_of_a_call_is_asked_for);
    tcase_add_test(t, a_script_unknown_where_it_is_asked_is_asked_for_again_with_its_source);
    tcase_add_test(t, tryagain_is_tried_again_after_a_while);
    tcase_add_test(t, tryagain_without_end_is_given_up);
    tcase_add_test(t, moved_to_a_node_that_is_gone_is_unavailable);
    tcase_add_test(t, the_deadline_is_the_calls_own_wherever_it_goes);
    tcase_add_loop_test(t, a_redirection_that_cannot_be_read_leads_nowhere, 0,
                        sizeof BROKEN / sizeof BROKEN[0]);
    tcase_add_test(t, of_no_cluster_they_are_refusals);
    tcase_add_test(t, a_pool_that_ends_is_done_with_what_waits);
    return test_run(s);
}
