/* What pools do: connections come with the load and go after it, and a Redis that takes no more
 * of them (maxclients) is lived with, and told. */
#include "../support/load.h"
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

/* More calls at a time than one connection takes before another is opened (64). */
#define THREADS 96U

static const char *const env[] = {"PHOENIX_HTTP_WORKERS=1", NULL};

struct scene {
    struct redis_server *redis;
    struct redis_proxy *proxy;
    struct resp_client *r; /* straight to Redis */
    struct daemon *d;
    struct http_client *h;
    struct load *load[2];
};

static struct scene s;

/* Whatever labels it has. */
static double connections(void)
{
    return daemon_metric(s.d, "phoenix_redis_connections") +
           daemon_metric_sum(s.d, "phoenix_redis_connections{");
}

static bool served_by_redis(void)
{
    const struct http_answer *a = http_get(s.h, "/cache/absent");
    const char *backend = http_header(s.h, "Phoenix-Backend");
    return a->status == 404 && backend && strcmp(backend, "redis") == 0;
}

static void scene_open(void)
{
    s = (struct scene){.redis = redis_server_start(NULL)};
    s.proxy = redis_proxy_start(redis_server_port(s.redis));
    s.r = redis_server_client(s.redis);
    s.d = daemon_start(&(struct daemon_options){.redis_url = redis_proxy_url(s.proxy), .env = env});
    s.h = daemon_client(s.d);
    WAIT_FOR(served_by_redis() && connections() >= 1, 10000);
}

static void scene_close(void)
{
    http_close(&s.h);
    daemon_stop(&s.d);
    resp_close(&s.r);
    redis_proxy_stop(&s.proxy);
    redis_server_stop(&s.redis);
}

static void read_absent(struct load_thread *t)
{
    char path[64];
    FORMAT(path, "/cache/absent-%llu", (unsigned long long)load_random(t));
    const struct http_answer *a = http_get(t->http, path);
    if (a->status != 404) load_fail(t, "%s: %d %s%s", path, a->status, a->error, a->body);
}

/* Calls pile up, as on a Redis that is far away. */
static void load_begin(void)
{
    redis_proxy_delay(s.proxy, 20);
    for (int i = 0; i < 2; i++)
        s.load[i] = load_start(THREADS / 2, daemon_port(s.d), read_absent, NULL);
}

static void load_end(void)
{
    for (int i = 0; i < 2; i++)
        ck_assert_uint_gt(load_stop(&s.load[i]), 0);
    redis_proxy_delay(s.proxy, 0);
}

/* Takes no connection beyond those it has; or some more again. */
static void redis_full(bool full)
{
    const char *most = full ? "1" : "10000";
    ck_assert_str_eq(resp_text(s.r, "CONFIG", "SET", "maxclients", most), "OK");
}

static double refused(void)
{
    return daemon_metric(s.d, "phoenix_redis_connects_total{outcome=\"failed\"}");
}

START_TEST(connections_grow_under_load_and_shrink_after_it)
{
    scene_open();
    double idle = connections();
    load_begin();
    WAIT_FOR(connections() > idle, 20000);
    ck_assert(connections() <= idle + 8);
    load_end();
    WAIT_FOR(served_by_redis() && connections() == idle, 30000); /* a request now and then keeps none */
    scene_close();
}
END_TEST

START_TEST(a_redis_with_no_room_for_more_clients_serves_those_it_has)
{
    scene_open();
    double idle = connections();
    redis_full(true);
    load_begin();
    WAIT_FOR(refused() > 0, 20000);
    WAIT_FOR(daemon_log_has(s.d, "max number of clients reached"), 5000);
    uint64_t before = load_calls(s.load[0]);
    WAIT_FOR(load_calls(s.load[0]) > before + UINT64_C(10) * THREADS, 20000);
    ck_assert(connections() == idle);
    ck_assert(daemon_metric(s.d, "phoenix_redis_up") == 1);
    redis_full(false);
    WAIT_FOR(connections() > idle, 20000);
    load_end();
    ck_assert(served_by_redis());
    scene_close();
}
END_TEST

START_TEST(a_daemon_that_gets_no_connection_is_degraded_until_there_is_room)
{
    scene_open();
    redis_full(true);
    ck_assert_int_gt(resp_integer(s.r, "CLIENT", "KILL", "SKIPME", "yes"), 0);
    WAIT_FOR(http_get(s.h, "/cache/absent")->status == 404 && daemon_metric(s.d, "phoenix_redis_up") == 0,
             10000);
    ck_assert(!served_by_redis());
    WAIT_FOR(daemon_log_has(s.d, "max number of clients reached"), 5000);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/kept", "{\"response\":1}"), 201);
    ck_assert_str_eq(redis_value(s.r, "kept"), "");
    redis_full(false);
    WAIT_FOR(served_by_redis() && daemon_metric(s.d, "phoenix_redis_up") == 1, 10000);
    WAIT_FOR(*redis_value(s.r, "kept") != 0, 10000);
    scene_close();
}
END_TEST

START_TEST(a_daemon_that_starts_on_a_full_redis_waits_for_room)
{
    s = (struct scene){.redis = redis_server_start(NULL)};
    s.proxy = redis_proxy_start(redis_server_port(s.redis));
    s.r = redis_server_client(s.redis);
    redis_full(true);
    s.d = daemon_start(
        &(struct daemon_options){.redis_url = redis_server_url(s.redis), .env = env, .no_wait = true});
    WAIT_FOR(daemon_log_has(s.d, "max number of clients reached"), 10000);
    s.h = daemon_client(s.d);
    WAIT_FOR(http_get(s.h, "/cache/absent")->status == 404, 10000);
    ck_assert(!served_by_redis());
    redis_full(false);
    WAIT_FOR(served_by_redis(), 10000);
    scene_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pools");
    TCase *tc = test_case(suite, "pools", 90);
    tcase_add_test(tc, connections_grow_under_load_and_shrink_after_it);
    tcase_add_test(tc, a_redis_with_no_room_for_more_clients_serves_those_it_has);
    tcase_add_test(tc, a_daemon_that_gets_no_connection_is_degraded_until_there_is_room);
    tcase_add_test(tc, a_daemon_that_starts_on_a_full_redis_waits_for_room);
    return test_run(suite);
}
