/* Tasks while Redis is away: worked on here, handed back afterwards, each once though the daemon is killed in
 * between. */
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 100, BATCHES = 12, FINISHED = 50, KILLS = 3 };

static const char META[] = "phoenix:tasks:meta:{phoenix:tasks:queue}",
                  READY[] = "phoenix:tasks:ready:{phoenix:tasks:queue}",
                  LEASED[] = "phoenix:tasks:leased:{phoenix:tasks:queue}",
                  DONE[] = "phoenix:tasks:done:{phoenix:tasks:queue}";

static struct redis_server *redis;
static struct redis_proxy *proxy;
static struct resp_client *r;
static struct daemon *d;
static struct http_client *h;
static char spool_env[TEST_PATH_MAX + 32];

static void start_daemon(void)
{
    const char *env[] = {spool_env, "PHOENIX_SPOOL_REPLAY_PER_S=1000", NULL};
    d = daemon_start(&(struct daemon_options){.redis_url = redis_proxy_url(proxy), .env = env});
    h = daemon_client(d);
}

static void kill_daemon(void)
{
    http_close(&h);
    daemon_signal(d, SIGKILL);
    daemon_wait(d, 5000);
    daemon_release(&d);
}

static void start(void)
{
    char path[TEST_PATH_MAX];
    redis = redis_server_start(NULL);
    proxy = redis_proxy_start(redis_server_port(redis));
    r = redis_server_client(redis);
    FORMAT(spool_env, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "spool.db"));
    start_daemon();
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1, 10000);
}

static void stop(void)
{
    http_close(&h);
    daemon_stop(&d);
    resp_close(&r);
    redis_proxy_stop(&proxy);
    redis_server_stop(&redis);
}

static void cut_off(void)
{
    redis_proxy_refuse(proxy, true);
    redis_proxy_cut(proxy);
    WAIT_FOR(http_get(h, "/cache/absent")->status == 404 && daemon_metric(d, "phoenix_redis_up") == 0, 10000);
}

static void enqueue_batch(int number)
{
    static char body[BATCH * 64];
    size_t len = 0;
    for (int i = 0; i < BATCH; i++)
        len += (size_t)snprintf(body + len, sizeof body - len, "%c{\"task_id\":\"t%d\",\"payload\":%d}",
                                i ? ',' : '[', number * BATCH + i, i);
    snprintf(body + len, sizeof body - len, "]");
    EXPECT_STATUS(http_send(h, "POST", "/tasks", body), 202);
}

/* The member of the only task that a dequeue gave. */
static void take_one(char id[64], char receipt[96])
{
    const struct http_answer *got = http_send(h, "POST", "/tasks/dequeue", "{\"lease\":600}");
    EXPECT_STATUS(got, 200);
    const char *at = strstr(got->body, "\"task_id\":\"");
    ck_assert_ptr_nonnull(at);
    snprintf(id, 64, "%.*s", (int)strcspn(at + 11, "\""), at + 11);
    at = strstr(got->body, "\"receipt\":\"");
    ck_assert_ptr_nonnull(at);
    snprintf(receipt, 96, "%.*s", (int)strcspn(at + 11, "\""), at + 11);
}

static int ack(const char *id, const char *receipt)
{
    char path[64], body[128];
    return http_send(h, "POST", FORMAT(path, "/tasks/%s/ack", id),
                     FORMAT(body, "{\"receipt\":\"%s\"}", receipt))
        ->status;
}

START_TEST(each_task_of_an_outage_is_finished_here_or_in_redis_once_though_the_daemon_is_killed)
{
    char id[64], receipt[96], path[64];
    cut_off();
    for (int i = 0; i < BATCHES; i++)
        enqueue_batch(i);
    for (int i = 0; i < FINISHED; i++) {
        take_one(id, receipt);
        ck_assert_str_eq(id, FORMAT(path, "t%d", i));
        ck_assert_int_eq(receipt[0], 'l');
        ck_assert_int_eq(ack(id, receipt), 204);
    }
    kill_daemon();
    redis_proxy_refuse(proxy, false);
    for (int i = 0; i < KILLS; i++) {
        long long before = resp_integer(r, "HLEN", META, NULL);
        start_daemon();
        WAIT_FOR(resp_integer(r, "HLEN", META, NULL) > before, 10000);
        kill_daemon();
    }
    start_daemon();
    WAIT_FOR(resp_integer(r, "HLEN", META, NULL) == BATCHES * BATCH - FINISHED &&
                 daemon_metric(d, "phoenix_tasks_spooled") == 0,
             20000);
    ck_assert_int_eq(resp_integer(r, "ZCARD", READY, NULL), BATCHES * BATCH - FINISHED);
    ck_assert_int_eq(resp_integer(r, "HLEN", DONE, NULL), FINISHED);
    take_one(id, receipt);
    ck_assert_str_eq(id, FORMAT(path, "t%d", FINISHED));
    ck_assert_int_eq(receipt[0], 'r');
    EXPECT_STATUS(http_send(h, "POST", "/tasks", "{\"task_id\":\"t0\",\"payload\":1}"), 200);
}
END_TEST

START_TEST(an_ack_of_a_lease_from_redis_outlives_the_outage_and_the_daemon)
{
    char id[64], receipt[96];
    EXPECT_STATUS(http_send(h, "POST", "/tasks", "{\"task_id\":\"a\",\"payload\":1}"), 201);
    take_one(id, receipt);
    ck_assert_int_eq(receipt[0], 'r');
    cut_off();
    ck_assert_int_eq(ack(id, receipt), 202);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/a/extend", "{\"receipt\":\"r.x\",\"lease\":5}"), 503);
    EXPECT_STATUS(http_get(h, "/tasks/a"), 503);
    kill_daemon();
    redis_proxy_refuse(proxy, false);
    start_daemon();
    WAIT_FOR(resp_integer(r, "HEXISTS", DONE, "a", NULL) == 1, 10000);
    ck_assert_int_eq(resp_integer(r, "EXISTS", META, LEASED, NULL), 0);
    ck_assert_int_eq(ack(id, receipt), 204);
}
END_TEST

static const struct http_answer *enqueue(const char *body)
{
    return http_send(h, "POST", "/tasks", body);
}

/* A caller may repeat it in the next outage: what has become of it Redis alone knows. */
START_TEST(an_id_that_was_handed_back_is_not_worked_on_here_again)
{
    static const char FINISHED_HERE[] = "{\"task_id\":\"x\",\"payload\":1}",
                      LEFT_TO_REDIS[] = "{\"task_id\":\"y\",\"payload\":1}";
    char id[64], receipt[96];
    cut_off();
    EXPECT_STATUS(enqueue(FINISHED_HERE), 202);
    EXPECT_STATUS(enqueue(LEFT_TO_REDIS), 202);
    take_one(id, receipt);
    ck_assert_str_eq(id, "x");
    ck_assert_int_eq(ack(id, receipt), 204);
    redis_proxy_refuse(proxy, false);
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1 && daemon_metric(d, "phoenix_tasks_spooled") == 0,
             10000);
    take_one(id, receipt);
    ck_assert_str_eq(id, "y");
    cut_off();
    EXPECT_STATUS(enqueue(FINISHED_HERE), 202);
    EXPECT_STATUS(enqueue(LEFT_TO_REDIS), 202);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{\"count\":10}"), 204);
    redis_proxy_refuse(proxy, false);
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1 && daemon_metric(d, "phoenix_tasks_spooled") == 0,
             10000);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{\"count\":10}"), 204);
    ck_assert_int_eq(ack(id, receipt), 204);
}
END_TEST

/* The killed one may have sent it, and its caller may repeat it: only Redis can tell. */
START_TEST(after_a_kill_an_id_that_a_caller_gives_waits_for_redis)
{
    char id[64], receipt[96], line[128];
    EXPECT_STATUS(enqueue("{\"task_id\":\"first\",\"payload\":1}"), 201);
    redis_server_pause(redis);
    kill_daemon();
    redis_proxy_refuse(proxy, true);
    redis_proxy_cut(proxy);
    start_daemon();
    EXPECT_STATUS(enqueue("{\"task_id\":\"first\",\"payload\":1}"), 202);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{}"), 204);
    EXPECT_STATUS(enqueue("{\"payload\":2}"), 202); /* its id is new for certain */
    take_one(id, receipt);
    ck_assert_int_eq(receipt[0], 'l');
    char path[96];
    EXPECT_STATUS(http_send(h, "POST", FORMAT(path, "/tasks/%s/ack", id),
                            FORMAT(line, "{\"receipt\":\"%s\"}", receipt)),
                  204);
    redis_server_resume(redis);
    redis_proxy_refuse(proxy, false);
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1 && daemon_metric(d, "phoenix_tasks_spooled") == 0,
             10000);
    take_one(id, receipt);
    ck_assert_str_eq(id, "first");
    ck_assert_int_eq(receipt[0], 'r');
    EXPECT_STATUS(http_send(h, "POST", "/tasks/first/ack", FORMAT(line, "{\"receipt\":\"%s\"}", receipt)),
                  204);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{}"), 204);
}
END_TEST

START_TEST(after_an_end_in_order_an_id_that_a_caller_gives_is_worked_on_here)
{
    char id[64], receipt[96];
    cut_off();
    http_close(&h);
    daemon_stop(&d);
    start_daemon();
    EXPECT_STATUS(enqueue("{\"task_id\":\"first\",\"payload\":1}"), 202);
    take_one(id, receipt);
    ck_assert_str_eq(id, "first");
    ck_assert_int_eq(ack(id, receipt), 204);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tasks_degraded");
    TCase *c = test_case(suite, "tasks_degraded", 90);
    tcase_add_checked_fixture(c, start, stop);
    tcase_add_test(c, each_task_of_an_outage_is_finished_here_or_in_redis_once_though_the_daemon_is_killed);
    tcase_add_test(c, an_ack_of_a_lease_from_redis_outlives_the_outage_and_the_daemon);
    tcase_add_test(c, an_id_that_was_handed_back_is_not_worked_on_here_again);
    tcase_add_test(c, after_a_kill_an_id_that_a_caller_gives_waits_for_redis);
    tcase_add_test(c, after_an_end_in_order_an_id_that_a_caller_gives_is_worked_on_here);
    return test_run(suite);
}
