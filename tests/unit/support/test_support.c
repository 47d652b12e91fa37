/* The harness itself: a test that relies on a broken network must know that the network is broken. */
#include "../../support/fake_redis.h"
#include "../../support/http_client.h"
#include "../../support/load.h"
#include "../../support/process.h"
#include "../../support/redis_proxy.h"
#include "../../support/redis_server.h"
#include "../../support/support.h"

#include <stdlib.h>
#include <string.h>

START_TEST(redis_restarts_on_its_port_with_what_it_acknowledged)
{
    struct redis_server *s = redis_server_start(&(struct redis_server_options){.durable = true});
    struct resp_client *c = redis_server_client(s);
    ck_assert_str_eq(resp_text(c, "SET", "k", "v"), "OK");
    redis_server_kill(s);
    ck_assert_ptr_null(resp_call(c, "PING"));
    resp_close(&c);
    ck_assert_ptr_null(resp_connect(redis_server_port(s), 0));
    redis_server_restart(s);
    c = redis_server_client(s);
    ck_assert_str_eq(resp_text(c, "GET", "k"), "v");
    resp_close(&c);
    redis_server_stop(&s);
}
END_TEST

/* What stands in config/redis/ reaches the server, but for what the test replaces. */
START_TEST(redis_runs_from_the_products_configuration)
{
    static const struct {
        const char *config[REDIS_CONFIGS_MAX];
        const char *policy, *samples, *cluster;
    } cases[] = {
        {{NULL}, "noeviction", "5", "no"},
        {{"state.conf"}, "noeviction", "5", "no"},
        {{"cache.conf"}, "allkeys-lru", "10", "no"},
        {{"cache.conf", "cluster.conf"}, "allkeys-lru", "10", "yes"},
    };
    char lines[64];
    /* By default the bus is 10 000 above the port, which a free port may be too high for. */
    FORMAT(lines, "slowlog-max-len 7\ncluster-port %d\n", port_reserve());
    struct redis_server *s = redis_server_start(
        &(struct redis_server_options){.config = {cases[_i].config[0], cases[_i].config[1]}, .lines = lines});
    struct resp_client *c = redis_server_client(s);
    const char *const expected[][2] = {{"maxmemory-policy", cases[_i].policy},
                                       {"maxmemory-samples", cases[_i].samples},
                                       {"cluster-enabled", cases[_i].cluster},
                                       {"maxmemory", "536870912"},
                                       {"slowlog-max-len", "7"},
                                       {"save", ""}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const struct resp_value *v = resp_call(c, "CONFIG", "GET", expected[i][0]);
        ck_assert(v && v->count == 2);
        ck_assert_str_eq(v->items[1].text, expected[i][1]);
    }
    resp_close(&c);
    redis_server_stop(&s);
}
END_TEST

START_TEST(redis_with_password_and_socket_is_ready)
{
    const char *args[] = {"--requirepass", "secret", NULL};
    struct redis_server *s =
        redis_server_start(&(struct redis_server_options){.unix_socket = true, .args = args});
    struct resp_client *c = resp_connect_unix(redis_server_socket(s), 1000);
    ck_assert_ptr_nonnull(c);
    ck_assert(strncmp(resp_text(c, "PING"), "NOAUTH", 6) == 0);
    ck_assert_str_eq(resp_text(c, "AUTH", "secret"), "OK");
    ck_assert_int_eq(resp_integer(c, "DEL", "x"), 0);
    resp_close(&c);
    redis_server_stop(&s);
}
END_TEST

START_TEST(a_reserved_port_is_given_to_no_one_else)
{
    int ports[64];
    for (int i = 0; i < 64; i++) {
        ports[i] = port_reserve();
        for (int j = 0; j < i; j++)
            ck_assert_int_ne(ports[i], ports[j]);
    }
}
END_TEST

START_TEST(a_held_write_arrives_when_the_hole_is_lifted)
{
    struct redis_server *s = redis_server_start(NULL);
    struct redis_proxy *p = redis_proxy_start(redis_server_port(s));
    struct resp_client *direct = redis_server_client(s);
    struct resp_client *c = resp_connect(redis_proxy_port(p), 300);
    ck_assert_str_eq(resp_text(c, "SET", "k", "1"), "OK");
    redis_proxy_hold(p);
    ck_assert_ptr_null(resp_call(c, "SET", "k", "2"));
    resp_close(&c);
    WAIT_FOR(redis_proxy_open(p) == 0, 2000);
    ck_assert_uint_gt(redis_proxy_held_bytes(p), 0);
    ck_assert_str_eq(resp_text(direct, "GET", "k"), "1");
    c = resp_connect(redis_proxy_port(p), 2000); /* new connections pass */
    ck_assert_str_eq(resp_text(c, "GET", "k"), "1");
    redis_proxy_lift(p);
    WAIT_FOR(strcmp(resp_text(direct, "GET", "k"), "2") == 0, 2000);
    resp_close(&c);
    resp_close(&direct);
    redis_proxy_stop(&p);
    redis_server_stop(&s);
}
END_TEST

START_TEST(the_proxy_delays_cuts_and_refuses)
{
    struct redis_server *s = redis_server_start(NULL);
    struct redis_proxy *p = redis_proxy_start(redis_server_port(s));
    struct resp_client *c = resp_connect(redis_proxy_port(p), 2000);
    redis_proxy_delay(p, 100);
    int64_t from = now_ms();
    ck_assert_str_eq(resp_text(c, "PING"), "PONG");
    ck_assert_int_ge(now_ms() - from, 100);
    redis_proxy_cut(p);
    ck_assert_ptr_null(resp_call(c, "PING"));
    resp_close(&c);
    redis_proxy_refuse(p, true);
    c = resp_connect(redis_proxy_port(p), 0);
    ck_assert(c == NULL || resp_call(c, "PING") == NULL);
    resp_close(&c);
    ck_assert_uint_eq(redis_proxy_accepted(p), 2);
    redis_proxy_stop(&p);
    redis_server_stop(&s);
}
END_TEST

static struct fake_verdict script(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (fake_command_names(c, "loading"))
        return (struct fake_verdict){.reply = "-LOADING Redis is loading the dataset in memory\r\n"};
    if (fake_command_names(c, "slow")) return (struct fake_verdict){.delay_ms = 80};
    if (fake_command_names(c, "cut")) return (struct fake_verdict){.cut = true, .cut_at = 3};
    if (fake_command_names(c, "silent")) return (struct fake_verdict){.silent = true};
    return (struct fake_verdict){0};
}

START_TEST(the_fake_answers_as_scripted_and_else_as_redis)
{
    struct redis_server *s = redis_server_start(NULL);
    struct fake_redis *f = fake_redis_start(redis_server_port(s));
    struct resp_client *c = resp_connect(fake_redis_port(f), 300);
    struct resp_client *direct = redis_server_client(s);
    fake_redis_script(f, script, NULL);
    ck_assert_str_eq(resp_text(c, "SET", "k", "v"), "OK");
    ck_assert_str_eq(resp_text(c, "GET", "k"), "v");
    ck_assert(strncmp(resp_text(c, "SET", "loading", "v"), "LOADING", 7) == 0);
    ck_assert_int_eq(resp_integer(direct, "EXISTS", "loading"), 0);
    int64_t from = now_ms();
    ck_assert_str_eq(resp_text(c, "SET", "slow", "v"), "OK");
    ck_assert_int_ge(now_ms() - from, 80);
    ck_assert_ptr_null(resp_call(c, "SET", "cut", "v"));
    ck_assert_str_eq(resp_text(direct, "GET", "cut"), "v");
    resp_close(&c);
    c = resp_connect(fake_redis_port(f), 300);
    ck_assert_ptr_null(resp_call(c, "SET", "silent", "v"));
    ck_assert_str_eq(resp_text(direct, "GET", "silent"), "v");
    ck_assert_uint_eq(fake_redis_count(f, "set"), 5);
    ck_assert_uint_eq(fake_redis_connections(f), 2);
    resp_close(&c);
    resp_close(&direct);
    fake_redis_stop(&f);
    redis_server_stop(&s);
}
END_TEST

START_TEST(messages_pass_through_the_fake)
{
    struct redis_server *s = redis_server_start(NULL);
    struct fake_redis *f = fake_redis_start(redis_server_port(s));
    struct resp_client *c = resp_connect(fake_redis_port(f), 2000);
    struct resp_client *direct = redis_server_client(s);
    ck_assert_str_eq(resp_text(c, "PING"), "PONG");
    const struct resp_value *v = resp_call(c, "SUBSCRIBE", "news");
    ck_assert(v && v->count == 3);
    ck_assert_int_eq(resp_integer(direct, "PUBLISH", "news", "hello"), 1);
    v = resp_call(c, "SUBSCRIBE", "news"); /* reads the message that came first */
    ck_assert(v && v->count == 3 && strcmp(v->items[2].text, "hello") == 0);
    resp_close(&c);
    resp_close(&direct);
    fake_redis_stop(&f);
    redis_server_stop(&s);
}
END_TEST

START_TEST(a_process_is_awaited_and_its_status_told)
{
    const char *argv[] = {"/bin/sh", "-c", "exit 7", NULL};
    ck_assert_int_eq(process_run(argv, NULL, 5000, NULL, NULL), 7);
    const char *sleeper[] = {"/bin/sleep", "1000", NULL};
    pid_t pid = process_start(sleeper, NULL, NULL, NULL);
    ck_assert(!process_wait(pid, 20, NULL));
    process_kill(pid);
}
END_TEST

static void count_call(struct load_thread *t)
{
    if (t->round == 100 && t->index == 3 && t->arg) load_fail(t, "asked to fail");
}

START_TEST(the_load_reports_its_first_failure)
{
    char failure[512];
    bool fail = true;
    struct load *l = load_start(4, 0, count_call, &fail);
    WAIT_FOR(load_failed(l), 5000);
    load_stop_quietly(&l, failure, sizeof failure);
    ck_assert_str_eq(failure, "asked to fail");
    l = load_start(4, 0, count_call, NULL);
    WAIT_FOR(load_calls(l) > 1000, 5000);
    ck_assert_uint_gt(load_stop(&l), 1000);
}
END_TEST

START_TEST(quantiles_are_of_all_latencies)
{
    struct latencies *l = latencies_create();
    for (int i = 100; i > 0; i--)
        latencies_add(l, i);
    ck_assert_int_eq(latencies_quantile(l, 1.0), 100);
    ck_assert_int_eq(latencies_quantile(l, 0.5), 50);
    latencies_destroy(&l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("support");
    TCase *tc = test_case(s, "harness", 30);
    tcase_add_test(tc, redis_restarts_on_its_port_with_what_it_acknowledged);
    tcase_add_loop_test(tc, redis_runs_from_the_products_configuration, 0, 4);
    tcase_add_test(tc, redis_with_password_and_socket_is_ready);
    tcase_add_test(tc, a_reserved_port_is_given_to_no_one_else);
    tcase_add_test(tc, a_held_write_arrives_when_the_hole_is_lifted);
    tcase_add_test(tc, the_proxy_delays_cuts_and_refuses);
    tcase_add_test(tc, the_fake_answers_as_scripted_and_else_as_redis);
    tcase_add_test(tc, messages_pass_through_the_fake);
    tcase_add_test(tc, a_process_is_awaited_and_its_status_told);
    tcase_add_test(tc, the_load_reports_its_first_failure);
    tcase_add_test(tc, quantiles_are_of_all_latencies);
    return test_run(s);
}
