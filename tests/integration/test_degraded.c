/* The cache in an outage, in single steps: what each operation does while the
 * circuit is open, and what is in Redis afterwards. */
#include "../support/fake_redis.h"
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <stdatomic.h>
#include <string.h>

/* A daemon whose way to Redis can be broken while the test itself still reaches Redis. */
struct scene {
    struct redis_server *redis;
    struct redis_proxy *proxy;
    struct resp_client *r;
    struct daemon *d;
    struct http_client *h;
};

static struct scene s;

static void scene_open(const char *const *env)
{
    s = (struct scene){.redis = redis_server_start(NULL)};
    s.proxy = redis_proxy_start(redis_server_port(s.redis));
    s.r = redis_server_client(s.redis);
    s.d = daemon_start(&(struct daemon_options){.redis_url = redis_proxy_url(s.proxy), .env = env});
    s.h = daemon_client(s.d);
}

static void scene_close(void)
{
    http_close(&s.h);
    daemon_stop(&s.d);
    resp_close(&s.r);
    redis_proxy_stop(&s.proxy);
    redis_server_stop(&s.redis);
}

/* Requests that fail are what opens the circuit: each look asks. */
static bool circuit_is(struct daemon *d, struct http_client *h, bool open)
{
    http_get(h, "/cache/asked-to-find-out");
    return daemon_metric(d, "phoenix_redis_up") == (open ? 0 : 1);
}

static void go_away(void)
{
    redis_proxy_refuse(s.proxy, true);
    redis_proxy_cut(s.proxy);
    WAIT_FOR(circuit_is(s.d, s.h, true), 10000);
}

static void come_back(void)
{
    redis_proxy_refuse(s.proxy, false);
    WAIT_FOR(circuit_is(s.d, s.h, false), 10000);
    WAIT_FOR(daemon_metric(s.d, "phoenix_pending_entries") == 0, 10000);
}

static void put(const char *key, const char *response, int status)
{
    char path[128];
    char body[256];
    const struct http_answer *a =
        http_send(s.h, "PUT", FORMAT(path, "/cache/%s", key), FORMAT(body, "{\"response\":%s}", response));
    EXPECT_STATUS(a, status);
}

static const char *response_in_redis(const char *key)
{
    static char value[256];
    return MEMBER(value, redis_value(s.r, key), "response");
}

START_TEST(the_table_answers_reads_and_takes_writes_while_redis_is_away)
{
    scene_open(NULL);
    put("kept", "1", 201);
    go_away();
    EXPECT_STATUS(http_get(s.h, "/cache/kept"), 200);
    expect_header(s.h, "Phoenix-Backend", "local");
    expect_header(s.h, "Cache-Status", "detail=stale");
    const struct http_answer *a = http_get(s.h, "/cache/absent");
    expect_problem(s.h, a, 404, "not_found");
    expect_header(s.h, "Cache-Status", "phoenix-cached; fwd=miss; detail=unavailable");
    expect_header(s.h, "Phoenix-Backend", "local");
    put("new", "2", 201);
    expect_header(s.h, "Phoenix-Backend", "local");
    put("new", "3", 200);
    EXPECT_STATUS(http_get(s.h, "/cache/new"), 200);
    expect_header(s.h, "Cache-Status", "detail=local");
    EXPECT_STATUS(http_send(s.h, "DELETE", "/cache/kept", NULL), 204);
    expect_header(s.h, "Phoenix-Backend", "local");
    EXPECT_STATUS(http_get(s.h, "/cache/kept"), 404);
    EXPECT_STATUS(http_request(s.h, "GET", "/cache/new", "Cache-Control: no-cache", NULL, 0), 200);
    come_back();
    ck_assert_str_eq(response_in_redis("new"), "3");
    ck_assert_int_eq(redis_pttl(s.r, "kept"), -2);
    scene_close();
}
END_TEST

START_TEST(guarded_writes_are_503_while_redis_is_away)
{
    scene_open(NULL);
    go_away();
    const char *body = "{\"response\":1}";
    const struct http_answer *a =
        http_request(s.h, "PUT", "/cache/k", "If-None-Match: *", body, strlen(body));
    expect_problem(s.h, a, 503, "redis_unavailable");
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 404);
    come_back();
    ck_assert_int_eq(redis_pttl(s.r, "k"), -2);
    /* the circuit closes before each worker is connected again; a 503 has stored nothing */
    WAIT_FOR(http_request(s.h, "PUT", "/cache/k", "If-None-Match: *", body, strlen(body))->status != 503,
             5000);
    ck_assert_int_gt(redis_pttl(s.r, "k"), 0);
    EXPECT_STATUS(http_request(s.h, "PUT", "/cache/k", "If-None-Match: *", body, strlen(body)), 412);
    scene_close();
}
END_TEST

START_TEST(a_newer_value_of_another_daemon_is_not_overwritten)
{
    char value[512];
    scene_open(NULL);
    put("mine", "\"first\"", 201);
    put("theirs", "\"first\"", 201);
    put("deleted", "\"first\"", 201);
    go_away();
    put("mine", "\"mine\"", 200);
    put("theirs", "\"mine\"", 200);
    EXPECT_STATUS(http_send(s.h, "DELETE", "/cache/deleted", NULL), 204);
    redis_put(s.r, "mine", cache_value(value, sizeof value, "\"older\"", 60, 600), 600000);
    redis_put(s.r, "theirs", cache_value(value, sizeof value, "\"newer\"", -1, 600), 600000);
    redis_put(s.r, "deleted", cache_value(value, sizeof value, "\"newer\"", -1, 600), 600000);
    come_back();
    ck_assert_str_eq(response_in_redis("mine"), "mine");
    ck_assert_str_eq(response_in_redis("theirs"), "newer");
    ck_assert_str_eq(response_in_redis("deleted"), "newer");
    WAIT_FOR(strstr(http_get(s.h, "/cache/theirs")->body, "newer"), 3000);
    WAIT_FOR(strstr(http_get(s.h, "/cache/deleted")->body, "newer"), 3000);
    ck_assert(daemon_metric_sum(s.d, "phoenix_replays_total{") >= 3);
    scene_close();
}
END_TEST

START_TEST(a_replayed_write_keeps_the_ttl_that_is_left)
{
    scene_open(NULL);
    go_away();
    int64_t sent = now_ms();
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/long", "{\"response\":1,\"ttl\":100}"), 201);
    int64_t acked = now_ms();
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/short", "{\"response\":1,\"ttl\":1}"), 201);
    WAIT_FOR(now_ms() - acked > 2000, 3000);
    come_back();
    long long left = redis_pttl(s.r, "long");
    int64_t now = now_ms();
    ck_assert_int_le(left, 100000 - (now - acked) + 200);
    ck_assert_int_ge(left, 100000 - (now - sent) - 200);
    ck_assert_int_eq(redis_pttl(s.r, "short"), -2);
    scene_close();
}
END_TEST

START_TEST(a_foreign_type_met_at_hand_back_is_left_untouched)
{
    scene_open(NULL);
    go_away();
    put("list", "1", 201);
    put("other", "2", 201);
    ck_assert_int_eq(resp_integer(s.r, "LPUSH", "phoenix:cache:list", "a"), 1);
    come_back();
    ck_assert_int_eq(resp_integer(s.r, "LLEN", "phoenix:cache:list"), 1);
    ck_assert_str_eq(response_in_redis("other"), "2");
    scene_close();
}
END_TEST

START_TEST(a_given_up_write_does_not_land_over_a_newer_one)
{
    char value[512];
    scene_open(NULL);
    put("k", "\"first\"", 201);
    put("mine", "\"first\"", 201);
    redis_proxy_hold(s.proxy); /* what is open now; new connections pass */
    put("k", "\"given up\"", 200);
    put("mine", "\"given up\"", 200);
    WAIT_FOR(redis_proxy_held_bytes(s.proxy) > 0, 1000);
    WAIT_FOR(circuit_is(s.d, s.h, false) && daemon_metric(s.d, "phoenix_pending_entries") == 0, 15000);
    put("mine", "\"latest\"", 200);
    WAIT_FOR(daemon_metric(s.d, "phoenix_pending_entries") == 0 &&
                 strcmp(response_in_redis("mine"), "latest") == 0,
             10000);
    redis_put(s.r, "k", cache_value(value, sizeof value, "\"another daemon's\"", 0, 600), 600000);
    redis_proxy_lift(s.proxy);
    WAIT_FOR(redis_proxy_held_bytes(s.proxy) == 0, 3000);
    for (int i = 0; i < 100; i++) { /* whatever was still to come has come by then */
        ck_assert_str_eq(response_in_redis("k"), "another daemon's");
        ck_assert_str_eq(response_in_redis("mine"), "latest");
        poll_pause();
    }
    scene_close();
}
END_TEST

START_TEST(a_thousand_values_are_readable_after_redis_was_killed)
{
    char path[64];
    char body[128];
    struct stage g = stage_open(BACKEND_REDIS, NULL);
    for (int i = 0; i < 1000; i++) {
        FORMAT(path, "/cache/k%d", i);
        EXPECT_STATUS(http_send(g.h, "PUT", path, FORMAT(body, "{\"response\":\"value %d\"}", i)), 201);
        expect_header(g.h, "Phoenix-Backend", "redis");
    }
    redis_server_kill(g.redis);
    for (int i = 0; i < 1000; i++) {
        char value[64];
        char wanted[64];
        const struct http_answer *a = http_get(g.h, FORMAT(path, "/cache/k%d", i));
        EXPECT_STATUS(a, 200);
        ck_assert_str_eq(MEMBER(value, a->body, "response"), FORMAT(wanted, "value %d", i));
    }
    expect_header(g.h, "Phoenix-Backend", "local");
    stage_close(&g);
}
END_TEST

static const char *readyz_status(struct http_client *h, char out[64])
{
    return member_of(out, 64, http_get(h, "/readyz")->body, "status");
}

START_TEST(it_starts_without_redis_and_hands_back_when_it_comes)
{
    char status[64];
    struct redis_server *redis = redis_server_prepare(NULL);
    struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(redis)});
    struct http_client *h = daemon_client(d);
    EXPECT_STATUS(http_get(h, "/livez"), 200);
    WAIT_FOR(strcmp(readyz_status(h, status), "degraded") == 0, 5000);
    EXPECT_STATUS(http_send(h, "PUT", "/cache/early", "{\"response\":\"bird\"}"), 201);
    expect_header(h, "Phoenix-Backend", "local");
    EXPECT_STATUS(http_get(h, "/cache/early"), 200);
    redis_server_restart(redis);
    struct resp_client *r = redis_server_client(redis);
    WAIT_FOR(strstr(redis_value(r, "early"), "bird"), 10000);
    WAIT_FOR(strcmp(readyz_status(h, status), "ready") == 0, 5000);
    ck_assert_ptr_nonnull(strstr(http_get(h, "/readyz")->body, "redis"));
    resp_close(&r);
    http_close(&h);
    daemon_stop(&d);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(user_password_and_database_are_used)
{
    const char *args[] = {"--user",  "app", "on",     ">secret/1", "~phoenix:*", "&*",    "+@all", "--user",
                          "default", "on",  ">admin", "~*",        "&*",         "+@all", NULL};
    char url[256];
    struct redis_server *redis =
        redis_server_start(&(struct redis_server_options){.unix_socket = true, .args = args});
    struct resp_client *r = redis_server_client(redis);
    ck_assert_str_eq(resp_text(r, "AUTH", "admin"), "OK");
    for (int way = 0; way < 2; way++) {
        char db[8];
        if (way == 0)
            FORMAT(url, "redis://app:secret%%2F1@127.0.0.1:%d/3", redis_server_port(redis));
        else
            FORMAT(url, "unix://app:secret%%2F1@%s?db=5", redis_server_socket(redis));
        struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = url});
        struct http_client *h = daemon_client(d);
        EXPECT_STATUS(http_send(h, "PUT", "/cache/k", "{\"response\":1}"), 201);
        expect_header(h, "Phoenix-Backend", "redis");
        ck_assert_str_eq(resp_text(r, "SELECT", FORMAT(db, "%d", way == 0 ? 3 : 5)), "OK");
        ck_assert_int_gt(redis_pttl(r, "k"), 0);
        ck_assert(!daemon_log_has(d, "secret"));
        http_close(&h);
        daemon_stop(&d);
    }
    resp_close(&r);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(each_change_of_the_circuit_is_one_log_line_and_one_count)
{
    scene_open(NULL);
    go_away();
    come_back();
    ck_assert(daemon_metric_sum(s.d, "phoenix_breaker_changes_total{") >= 3); /* open, half-open, closed */
    ck_assert(daemon_log_has(s.d, "open"));
    ck_assert(daemon_log_has(s.d, "closed"));
    scene_close();
}
END_TEST

/* --- the clock --- */

enum clock_mode { CLOCK_RIGHT, CLOCK_AHEAD, CLOCK_UNREACHABLE };

struct clock_script {
    atomic_int mode;
    char reply[64];
};

static struct fake_verdict answer_time(void *arg, const struct fake_command *c)
{
    struct clock_script *script = arg;
    int mode = atomic_load(&script->mode);
    if (mode == CLOCK_UNREACHABLE) return (struct fake_verdict){.cut = true};
    if (mode == CLOCK_RIGHT || !fake_command_is(c, "TIME")) return (struct fake_verdict){0};
    FORMAT(script->reply, "*2\r\n$10\r\n%lld\r\n$1\r\n0\r\n", (long long)wall_ms() / 1000 + 60);
    return (struct fake_verdict){.reply = script->reply};
}

/* The first of two more answers has been taken in when the second is asked for. */
static void await_time_asked(struct fake_redis *f)
{
    unsigned asked = fake_redis_count(f, "TIME");
    WAIT_FOR(fake_redis_count(f, "TIME") >= asked + 2, 30000);
}

START_TEST(a_redis_clock_that_steps_back_loses_no_later_write)
{
    char value[256];
    struct clock_script script = {.mode = CLOCK_AHEAD};
    struct redis_server *redis = redis_server_start(NULL);
    struct resp_client *r = redis_server_client(redis);
    struct fake_redis *f = fake_redis_start(redis_server_port(redis));
    fake_redis_script(f, answer_time, &script);
    struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = fake_redis_url(f)});
    struct http_client *h = daemon_client(d);
    await_time_asked(f);
    EXPECT_STATUS(http_send(h, "PUT", "/cache/k", "{\"response\":\"first\"}"), 201);
    EXPECT_STATUS(http_send(h, "PUT", "/cache/gone", "{\"response\":\"first\"}"), 201);
    atomic_store(&script.mode, CLOCK_RIGHT);
    await_time_asked(f);
    EXPECT_STATUS(http_send(h, "PUT", "/cache/k", "{\"response\":\"second\"}"), 200);
    atomic_store(&script.mode, CLOCK_UNREACHABLE);
    WAIT_FOR(circuit_is(d, h, true), 10000);
    ck_assert_str_eq(MEMBER(value, http_get(h, "/cache/k")->body, "response"), "second");
    EXPECT_STATUS(http_send(h, "PUT", "/cache/k", "{\"response\":\"third\"}"), 200);
    EXPECT_STATUS(http_send(h, "DELETE", "/cache/gone", NULL), 204);
    ck_assert_str_eq(MEMBER(value, http_get(h, "/cache/k")->body, "response"), "third");
    EXPECT_STATUS(http_get(h, "/cache/gone"), 404);
    atomic_store(&script.mode, CLOCK_RIGHT);
    WAIT_FOR(circuit_is(d, h, false) && daemon_metric(d, "phoenix_pending_entries") == 0, 15000);
    ck_assert_str_eq(MEMBER(value, redis_value(r, "k"), "response"), "third");
    ck_assert_int_eq(redis_pttl(r, "gone"), -2);
    http_close(&h);
    daemon_stop(&d);
    fake_redis_stop(&f);
    resp_close(&r);
    redis_server_stop(&redis);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("degraded");
    TCase *tc = test_case(suite, "degraded", 60);
    tcase_add_test(tc, the_table_answers_reads_and_takes_writes_while_redis_is_away);
    tcase_add_test(tc, guarded_writes_are_503_while_redis_is_away);
    tcase_add_test(tc, a_newer_value_of_another_daemon_is_not_overwritten);
    tcase_add_test(tc, a_replayed_write_keeps_the_ttl_that_is_left);
    tcase_add_test(tc, a_foreign_type_met_at_hand_back_is_left_untouched);
    tcase_add_test(tc, a_given_up_write_does_not_land_over_a_newer_one);
    tcase_add_test(tc, a_thousand_values_are_readable_after_redis_was_killed);
    tcase_add_test(tc, it_starts_without_redis_and_hands_back_when_it_comes);
    tcase_add_test(tc, user_password_and_database_are_used);
    tcase_add_test(tc, each_change_of_the_circuit_is_one_log_line_and_one_count);
    tcase_add_test(tc, a_redis_clock_that_steps_back_loses_no_later_write);
    return test_run(suite);
}
