/* The locks' contract, each case on both backends; then what is Redis's alone: strangers, an
 * outage. */
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define NO_TOKEN "00000000000000000000000000000000"

static struct stage s;

static void open_stage(int backend)
{
    s = stage_open((enum backend)backend, NULL);
}

static const struct http_answer *acquire(const char *name, const char *body)
{
    char path[300];
    return http_send(s.h, "POST", FORMAT(path, "/locks/%s", name), body);
}

static const struct http_answer *release(const char *name, const char *token)
{
    char path[300], line[128];
    return http_request(s.h, "DELETE", FORMAT(path, "/locks/%s", name),
                        FORMAT(line, "Phoenix-Lock-Token: %s", token), NULL, 0);
}

static long long number_of(const struct http_answer *a, const char *name)
{
    char value[64];
    MEMBER(value, a->body, name);
    ck_assert_msg(value[0] != 0, "no %s in %s", name, a->body);
    return strtoll(value, NULL, 10);
}

/* A request on a connection of its own, that waits for the lock; written, not yet answered. */
static struct raw_http wait_for_lock(const char *name, const char *body)
{
    char text[600];
    struct raw_http c = raw_http_tcp((uint16_t)daemon_port(s.d));
    FORMAT(text, "POST /locks/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", name,
           strlen(body), body);
    ck_assert(raw_http_send(&c, text));
    return c;
}

START_TEST(a_lock_is_acquired_renewed_looked_at_and_released)
{
    char token[64], body[200], value[64];
    open_stage(_i);
    const struct http_answer *a = acquire("l", "{\"ttl\":30,\"owner\":\"me\"}");
    EXPECT_STATUS(a, 201);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_header(s.h, "Cache-Control", "no-store");
    ck_assert_uint_eq(strlen(MEMBER(token, a->body, "token")), 32);
    long long fence = number_of(a, "fence"), valid = number_of(a, "valid_for_ms");
    ck_assert_msg(fence / 1000 > wall_ms() - 600000, "%lld", fence);
    ck_assert(valid > 20000 && valid <= 30000);
    ck_assert_uint_eq(strlen(MEMBER(value, a->body, "expires_at")), 24);
    a = http_send(s.h, "PUT", "/locks/l", FORMAT(body, "{\"token\":\"%s\",\"ttl\":60.5}", token));
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    ck_assert_int_eq(number_of(a, "fence"), fence);
    ck_assert_int_gt(number_of(a, "valid_for_ms"), 50000);
    ck_assert_ptr_null(strstr(a->body, "token"));
    a = http_get(s.h, "/locks/l");
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    ck_assert_str_eq(MEMBER(value, a->body, "owner"), "me");
    ck_assert_int_eq(number_of(a, "fence"), fence);
    ck_assert_int_gt(number_of(a, "ttl_left_ms"), 50000);
    ck_assert_ptr_null(strstr(a->body, token));
    EXPECT_STATUS(http_request(s.h, "HEAD", "/locks/l", NULL, NULL, 0), 200);
    EXPECT_STATUS(release("l", token), 204);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_problem(s.h, http_get(s.h, "/locks/l"), 404, "not_found");
    expect_problem(s.h, release("l", token), 409, "lock_lost");
    stage_close(&s);
}
END_TEST

START_TEST(one_that_is_held_is_409_with_what_is_left)
{
    char value[64];
    open_stage(_i);
    EXPECT_STATUS(acquire("l", "{\"ttl\":30}"), 201);
    const struct http_answer *a = acquire("l", "{\"ttl\":30}");
    expect_problem(s.h, a, 409, "lock_not_acquired");
    long long left = number_of(a, "retry_after_ms");
    ck_assert(left > 20000 && left <= 30000);
    ck_assert_int_eq(strtoll(http_header(s.h, "Retry-After"), NULL, 10), (left + 999) / 1000);
    ck_assert_uint_gt(strlen(MEMBER(value, http_get(s.h, "/locks/l")->body, "owner")), 0);
    stage_close(&s);
}
END_TEST

START_TEST(an_expired_holder_is_told_that_its_lock_is_lost)
{
    char token[64], body[200];
    open_stage(_i);
    const struct http_answer *a = acquire("l", "{\"ttl\":0.1}");
    EXPECT_STATUS(a, 201);
    MEMBER(token, a->body, "token");
    WAIT_FOR(http_get(s.h, "/locks/l")->status == 404, 3000);
    FORMAT(body, "{\"token\":\"%s\",\"ttl\":5}", token);
    expect_problem(s.h, http_send(s.h, "PUT", "/locks/l", body), 409, "lock_lost");
    expect_problem(s.h, release("l", token), 409, "lock_lost");
    stage_close(&s);
}
END_TEST

START_TEST(a_waiter_gets_it_when_it_is_released)
{
    char token[64];
    struct raw_response r;
    open_stage(_i);
    const struct http_answer *a = acquire("l", "{\"ttl\":30}");
    MEMBER(token, a->body, "token");
    struct raw_http waiter = wait_for_lock("l", "{\"ttl\":30,\"wait\":30}");
    ck_assert(!raw_http_readable(&waiter, 150));
    EXPECT_STATUS(release("l", token), 204);
    ck_assert_int_eq(raw_status(&waiter, &r), 201);
    EXPECT_STATUS(release("l", MEMBER(token, r.body, "token")), 204);
    raw_response_free(&r);
    raw_http_close(&waiter);
    stage_close(&s);
}
END_TEST

START_TEST(a_wait_that_is_over_is_409)
{
    open_stage(_i);
    EXPECT_STATUS(acquire("l", "{\"ttl\":30}"), 201);
    const struct http_answer *a = acquire("l", "{\"ttl\":30,\"wait\":0.3}");
    expect_problem(s.h, a, 409, "lock_not_acquired");
    ck_assert(a->took_us >= 290000);
    stage_close(&s);
}
END_TEST

START_TEST(who_has_left_gets_nothing_and_the_lock_is_free)
{
    char token[64];
    open_stage(_i);
    const struct http_answer *a = acquire("l", "{\"ttl\":30}");
    MEMBER(token, a->body, "token");
    struct raw_http waiter = wait_for_lock("l", "{\"ttl\":30,\"wait\":30}");
    ck_assert(!raw_http_readable(&waiter, 100));
    raw_http_close(&waiter);
    EXPECT_STATUS(release("l", token), 204);
    WAIT_FOR(acquire("l", "{\"ttl\":30}")->status == 201, 1500);
    stage_close(&s);
}
END_TEST

START_TEST(an_idempotency_key_returns_the_same_grant)
{
    static const char body[] = "{\"ttl\":30,\"owner\":\"me\"}";
    char first[64], second[64];
    open_stage(_i);
    const struct http_answer *a =
        http_request(s.h, "POST", "/locks/l", "Idempotency-Key: k1", body, strlen(body));
    EXPECT_STATUS(a, 201);
    MEMBER(first, a->body, "token");
    a = http_request(s.h, "POST", "/locks/l", "Idempotency-Key: k1", body, strlen(body));
    EXPECT_STATUS(a, 201);
    ck_assert_str_eq(MEMBER(second, a->body, "token"), first);
    a = http_request(s.h, "POST", "/locks/l", "Idempotency-Key: k2", body, strlen(body));
    expect_problem(s.h, a, 409, "lock_not_acquired");
    stage_close(&s);
}
END_TEST

static const struct {
    const char *method, *path, *headers, *body;
    int status;
    const char *code, *says;
} BAD[] = {
    {"POST", "/locks/l", NULL, "{", 400, "invalid_json", "line"},
    {"POST", "/locks/l", NULL, "", 400, "invalid_json", ""},
    {"POST", "/locks/l", NULL, "{}", 422, "unprocessable", "ttl"},
    {"POST", "/locks/l", NULL, "{\"ttl\":\"x\"}", 422, "unprocessable", "ttl"},
    {"POST", "/locks/l", NULL, "{\"ttl\":1,\"x\":1}", 422, "unprocessable", "x"},
    {"POST", "/locks/l", NULL, "{\"ttl\":0.05}", 400, "invalid_argument", "ttl"},
    {"POST", "/locks/l", NULL, "{\"ttl\":3600.1}", 400, "invalid_argument", "ttl"},
    {"POST", "/locks/l", NULL, "{\"ttl\":1,\"wait\":61}", 400, "invalid_argument", "wait"},
    {"POST", "/locks/l", NULL, "{\"ttl\":1,\"owner\":\"\"}", 400, "invalid_argument", "owner"},
    {"POST", "/locks/l", "Idempotency-Key: k", "{\"ttl\":1}", 400, "invalid_argument", "owner"},
    {"POST", "/locks/l", "Idempotency-Key: a b", "{\"ttl\":1,\"owner\":\"a\"}", 400, "invalid_argument",
     "Idempotency-Key"},
    {"POST", "/locks/a%7Bb", NULL, "{\"ttl\":1}", 400, "invalid_argument", ""},
    {"POST", "/locks/l?wait=1", NULL, "{\"ttl\":1}", 400, "invalid_argument", "wait"},
    {"PUT", "/locks/l", NULL, "{\"ttl\":1}", 422, "unprocessable", "token"},
    {"PUT", "/locks/l", NULL, "{\"ttl\":1,\"token\":\"x\"}", 400, "invalid_argument", "token"},
    {"PUT", "/locks/l", NULL, "{\"ttl\":1,\"token\":\"" NO_TOKEN "\"}", 409, "lock_lost", ""},
    {"DELETE", "/locks/l", NULL, NULL, 400, "invalid_argument", "Phoenix-Lock-Token"},
    {"DELETE", "/locks/l", "Phoenix-Lock-Token: x", NULL, 400, "invalid_argument", "Phoenix-Lock-Token"},
    {"DELETE", "/locks/l", "Phoenix-Lock-Token: " NO_TOKEN, NULL, 409, "lock_lost", ""},
    {"PATCH", "/locks/l", NULL, "{}", 405, "method_not_allowed", ""},
    {"GET", "/locks", NULL, NULL, 404, "no_such_route", ""},
};

START_TEST(bad_input_is_named)
{
    open_stage(_i);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        const char *body = BAD[i].body;
        const struct http_answer *a =
            http_request(s.h, BAD[i].method, BAD[i].path, BAD[i].headers, body, body ? strlen(body) : 0);
        ck_assert_msg(a->status == BAD[i].status, "%zu: %d %s", i, a->status, a->body);
        expect_problem(s.h, a, BAD[i].status, BAD[i].code);
        char detail[512];
        MEMBER(detail, a->body, "detail");
        ck_assert_msg(strstr(detail, BAD[i].says) != NULL, "%zu: %s", i, detail);
    }
    expect_problem(s.h, http_get(s.h, "/locks/l"), 404, "not_found");
    stage_close(&s);
}
END_TEST

START_TEST(waiters_over_the_bound_are_503_and_counted)
{
    static const char *const env[] = {"PHOENIX_LOCKS_WAITERS_MAX=1", "PHOENIX_HTTP_WORKERS=1", NULL};
    s = stage_open((enum backend)_i, env);
    EXPECT_STATUS(acquire("l", "{\"ttl\":30}"), 201);
    struct raw_http waiter = wait_for_lock("l", "{\"ttl\":30,\"wait\":30}");
    ck_assert(!raw_http_readable(&waiter, 100));
    expect_problem(s.h, acquire("l", "{\"ttl\":30,\"wait\":1}"), 503, "overloaded");
    ck_assert(daemon_metric(s.d, "phoenix_bound_hit_total{bound=\"waiters\"}") == 1);
    expect_problem(s.h, acquire("l", "{\"ttl\":30}"), 409, "lock_not_acquired");
    raw_http_close(&waiter);
    stage_close(&s);
}
END_TEST

START_TEST(sigterm_ends_the_waiting_at_once)
{
    open_stage(_i);
    EXPECT_STATUS(acquire("l", "{\"ttl\":30}"), 201);
    struct raw_http waiter = wait_for_lock("l", "{\"ttl\":30,\"wait\":60}");
    ck_assert(!raw_http_readable(&waiter, 100));
    daemon_signal(s.d, SIGTERM);
    ck_assert_int_eq(raw_status(&waiter, NULL), 409);
    ck_assert_int_eq(daemon_wait(s.d, 9000), 0);
    raw_http_close(&waiter);
    daemon_release(&s.d);
    http_close(&s.h);
    resp_close(&s.r);
    if (s.redis) redis_server_stop(&s.redis);
}
END_TEST

START_TEST(embedded_locks_survive_a_kill)
{
    char token[64], path[TEST_PATH_MAX], spool[TEST_PATH_MAX + 32], body[200];
    const char *env[] = {FORMAT(spool, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "kept.db")), NULL};
    s = stage_open(BACKEND_EMBEDDED, env);
    const struct http_answer *a = acquire("l", "{\"ttl\":600,\"owner\":\"me\"}");
    EXPECT_STATUS(a, 201);
    MEMBER(token, a->body, "token");
    long long fence = number_of(a, "fence");
    daemon_signal(s.d, SIGKILL);
    ck_assert_int_eq(daemon_wait(s.d, 10000), 128 + SIGKILL);
    daemon_release(&s.d);
    http_close(&s.h);
    s = stage_open(BACKEND_EMBEDDED, env);
    expect_problem(s.h, acquire("l", "{\"ttl\":30}"), 409, "lock_not_acquired");
    a = http_send(s.h, "PUT", "/locks/l", FORMAT(body, "{\"token\":\"%s\",\"ttl\":60}", token));
    EXPECT_STATUS(a, 200);
    ck_assert_int_eq(number_of(a, "fence"), fence);
    EXPECT_STATUS(release("l", token), 204);
    a = acquire("l", "{\"ttl\":30}");
    EXPECT_STATUS(a, 201);
    ck_assert_int_gt(number_of(a, "fence"), fence);
    stage_close(&s);
}
END_TEST

/* --- Redis --- */

START_TEST(a_strangers_lock_is_shown_and_respected)
{
    open_stage(BACKEND_REDIS);
    ck_assert_str_eq(resp_text(s.r, "SET", "phoenix:locks:l", "some\"body", "NX"), "OK");
    expect_problem(s.h, acquire("l", "{\"ttl\":30}"), 409, "lock_not_acquired");
    expect_no_header(s.h, "Retry-After");
    const struct http_answer *a = http_get(s.h, "/locks/l");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(a->body, "{\"owner\":\"some\\\"body\",\"fence\":null,\"ttl_left_ms\":null}");
    ck_assert_int_eq(resp_integer(s.r, "DEL", "phoenix:locks:l"), 1);
    ck_assert_int_eq(resp_integer(s.r, "LPUSH", "phoenix:locks:l", "x"), 1);
    expect_problem(s.h, acquire("l", "{\"ttl\":30}"), 409, "foreign_value");
    expect_problem(s.h, http_get(s.h, "/locks/l"), 409, "foreign_value");
    stage_close(&s);
}
END_TEST

START_TEST(without_redis_nothing_is_granted_and_a_release_is_202)
{
    char token[64], body[200];
    open_stage(BACKEND_REDIS);
    const struct http_answer *a = acquire("l", "{\"ttl\":600}");
    EXPECT_STATUS(a, 201);
    MEMBER(token, a->body, "token");
    redis_server_kill(s.redis);
    WAIT_FOR(daemon_metric(s.d, "phoenix_breaker_state") > 0 || acquire("x", "{\"ttl\":30}")->status == 0,
             5000);
    a = acquire("l", "{\"ttl\":30,\"wait\":20}");
    expect_problem(s.h, a, 503, "redis_unavailable");
    ck_assert(a->took_us < test_ms(1000) * 1000);
    expect_problem(s.h, acquire("l", "{\"ttl\":30}"), 503, "redis_unavailable");
    expect_problem(s.h, http_get(s.h, "/locks/l"), 503, "redis_unavailable");
    FORMAT(body, "{\"token\":\"%s\",\"ttl\":5}", token);
    expect_problem(s.h, http_send(s.h, "PUT", "/locks/l", body), 503, "redis_unavailable");
    EXPECT_STATUS(release("l", token), 202);
    expect_header(s.h, "Phoenix-Backend", "local");
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("locks");
    TCase *both = test_case(suite, "either backend", 30);
    tcase_add_loop_test(both, a_lock_is_acquired_renewed_looked_at_and_released, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, one_that_is_held_is_409_with_what_is_left, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, an_expired_holder_is_told_that_its_lock_is_lost, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_waiter_gets_it_when_it_is_released, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_wait_that_is_over_is_409, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, who_has_left_gets_nothing_and_the_lock_is_free, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, an_idempotency_key_returns_the_same_grant, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, bad_input_is_named, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, waiters_over_the_bound_are_503_and_counted, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, sigterm_ends_the_waiting_at_once, 0, BACKEND_COUNT);
    TCase *one = test_case(suite, "one backend", 30);
    tcase_add_test(one, embedded_locks_survive_a_kill);
    tcase_add_test(one, a_strangers_lock_is_shown_and_respected);
    tcase_add_test(one, without_redis_nothing_is_granted_and_a_release_is_202);
    return test_run(suite);
}
