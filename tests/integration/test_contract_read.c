/* What a cache read says about the value: validators, age, freshness, where it came from, what
 * the request may ask for; and values that other programs left in Redis. */
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

static struct stage s;

static void open_stage(int backend)
{
    s = stage_open((enum backend)backend, NULL);
}

static void put(const char *path, const char *body)
{
    int status = http_send(s.h, "PUT", path, body)->status;
    ck_assert_msg(status == 201 || status == 200, "PUT %s: %d", path, status);
}

static const struct http_answer *get_with(const char *path, const char *headers)
{
    return http_request(s.h, "GET", path, headers, NULL, 0);
}

/* The number behind `name` in a header's value; -1 where it is not there. */
static long number_in(const char *header, const char *name)
{
    const char *value = http_header(s.h, header);
    const char *at = value ? strstr(value, name) : NULL;
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

START_TEST(the_etag_follows_the_value)
{
    char etag[128];
    open_stage(_i);
    put("/cache/k", "{\"response\":1}");
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    FORMAT(etag, "%s", http_header(s.h, "ETag"));
    ck_assert(etag[0] == '"' && etag[strlen(etag) - 1] == '"');
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    ck_assert_str_eq(http_header(s.h, "ETag"), etag);
    put("/cache/k", "{\"response\":2}");
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    ck_assert_str_ne(http_header(s.h, "ETag"), etag);
    stage_close(&s);
}
END_TEST

START_TEST(if_none_match_answers_304_without_a_body)
{
    char line[256];
    char etag[128];
    open_stage(_i);
    put("/cache/k", "{\"response\":1}");
    http_get(s.h, "/cache/k");
    FORMAT(etag, "%s", http_header(s.h, "ETag"));
    FORMAT(line, "If-None-Match: %s", etag);
    const struct http_answer *a = get_with("/cache/k", line);
    EXPECT_STATUS(a, 304);
    ck_assert_uint_eq(a->len, 0);
    ck_assert_str_eq(http_header(s.h, "ETag"), etag);
    expect_header(s.h, "Cache-Control", "max-age=");
    expect_header(s.h, "Phoenix-Backend", s.r ? "redis" : "local");
    EXPECT_STATUS(get_with("/cache/k", FORMAT(line, "If-None-Match: \"other\", %s", etag)), 304);
    EXPECT_STATUS(get_with("/cache/k", FORMAT(line, "If-None-Match: W/%s", etag)), 304);
    EXPECT_STATUS(get_with("/cache/k", "If-None-Match: *"), 304);
    EXPECT_STATUS(get_with("/cache/k", "If-None-Match: \"other\""), 200);
    EXPECT_STATUS(get_with("/cache/absent", "If-None-Match: *"), 404);
    stage_close(&s);
}
END_TEST

START_TEST(freshness_is_told)
{
    open_stage(_i);
    put("/cache/k", "{\"response\":1,\"ttl\":100}");
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    long age = number_in("Age", "");
    long max_age = number_in("Cache-Control", "max-age=");
    long left = number_in("Cache-Status", "ttl=");
    ck_assert_int_ge(age, 0);
    ck_assert_int_le(age, 10);
    ck_assert_int_ge(left, 90);
    ck_assert_int_le(left, 100);
    ck_assert_int_ge(max_age - age - left, -1);
    ck_assert_int_le(max_age - age - left, 1);
    expect_header(s.h, "Cache-Control", "private");
    expect_header(s.h, "Cache-Status", "phoenix-cached; hit; ttl=");
    expect_header(s.h, "Cache-Status", s.r ? "detail=redis" : "detail=local");
    stage_close(&s);
}
END_TEST

START_TEST(every_cache_answer_names_its_backend)
{
    open_stage(_i);
    const char *backend = s.r ? "redis" : "local";
    EXPECT_STATUS(http_get(s.h, "/cache/absent"), 404);
    expect_header(s.h, "Phoenix-Backend", backend);
    ck_assert_uint_eq(http_header_count(s.h, "Phoenix-Backend"), 1);
    put("/cache/k", "{\"response\":1}");
    expect_header(s.h, "Phoenix-Backend", backend);
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    expect_header(s.h, "Phoenix-Backend", backend);
    EXPECT_STATUS(http_send(s.h, "POST", "/cache/lookup", "{\"input\":\"absent\"}"), 404);
    expect_header(s.h, "Phoenix-Backend", backend);
    stage_close(&s);
}
END_TEST

static void copy_header(char out[256], const char *name)
{
    const char *value = http_header(s.h, name);
    format(out, 256, "%s", value ? value : "(absent)");
}

START_TEST(head_says_what_get_says_without_the_body)
{
    static const char *const same[] = {"Content-Type", "Content-Length", "ETag", "Phoenix-Backend"};
    static const char *const paths[] = {"/cache/k", "/cache/absent", "/livez", "/readyz"};
    char of_get[sizeof same / sizeof same[0]][256];
    open_stage(_i);
    put("/cache/k", "{\"response\":[1,2,3]}");
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
        int status = http_get(s.h, paths[p])->status;
        for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
            copy_header(of_get[i], same[i]);
        const struct http_answer *a = http_send(s.h, "HEAD", paths[p], NULL);
        ck_assert_int_eq(a->status, status);
        ck_assert_uint_eq(a->len, 0);
        for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
            char of_head[256];
            copy_header(of_head, same[i]);
            if (status != 404 || strcmp(same[i], "Content-Length") != 0) /* a problem's request_id may vary */
                ck_assert_msg(strcmp(of_head, of_get[i]) == 0, "%s %s: HEAD %s, GET %s", paths[p], same[i],
                              of_head, of_get[i]);
        }
    }
    ck_assert_uint_eq(http_connects(s.h), 1);
    stage_close(&s);
}
END_TEST

START_TEST(only_if_cached_never_asks_redis)
{
    open_stage(_i);
    const struct http_answer *a = get_with("/cache/k", "Cache-Control: only-if-cached");
    expect_problem(s.h, a, 504, "not_in_table");
    if (s.r) {
        char value[512];
        redis_put(s.r, "k", cache_value(value, sizeof value, "1", 0, 60), 60000);
        expect_problem(s.h, get_with("/cache/k", "Cache-Control: only-if-cached"), 504, "not_in_table");
        /* Fills the table, unless the invalidation of the value's own writing crosses it. */
        WAIT_FOR(http_get(s.h, "/cache/k")->status == 200 &&
                     get_with("/cache/k", "Cache-Control: only-if-cached")->status == 200,
                 3000);
    } else {
        put("/cache/k", "{\"response\":1}");
        EXPECT_STATUS(get_with("/cache/k", "Cache-Control: only-if-cached"), 200);
    }
    stage_close(&s);
}
END_TEST

START_TEST(no_cache_asks_redis_although_the_table_has_it)
{
    char value[512];
    open_stage(BACKEND_REDIS);
    redis_put(s.r, "k", cache_value(value, sizeof value, "1", 0, 60), 60000);
    WAIT_FOR(http_get(s.h, "/cache/k")->status == 200 &&
                 strstr(http_header(s.h, "Cache-Status"), "detail=near"),
             5000);
    EXPECT_STATUS(get_with("/cache/k", "Cache-Control: no-cache"), 200);
    expect_header(s.h, "Cache-Status", "detail=redis");
    stage_close(&s);
}
END_TEST

START_TEST(no_cache_in_embedded_mode_is_answered_from_the_table)
{
    open_stage(BACKEND_EMBEDDED);
    put("/cache/k", "{\"response\":1}");
    EXPECT_STATUS(get_with("/cache/k", "Cache-Control: no-cache"), 200);
    expect_header(s.h, "Cache-Status", "detail=local");
    stage_close(&s);
}
END_TEST

START_TEST(max_age_refuses_an_older_value)
{
    char value[512];
    open_stage(BACKEND_REDIS);
    redis_put(s.r, "k", cache_value(value, sizeof value, "1", 100, 3600), 3500000);
    EXPECT_STATUS(get_with("/cache/k", "Cache-Control: max-age=3600"), 200);
    EXPECT_STATUS(get_with("/cache/k", "Cache-Control: max-age=10"), 404);
    EXPECT_STATUS(get_with("/cache/k", "Cache-Control: max-age=10"), 404); /* nor from the table */
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    stage_close(&s);
}
END_TEST

START_TEST(a_foreign_value_is_served_as_it_is)
{
    char value[512];
    char key[KEY_SIZE];
    open_stage(BACKEND_REDIS);
    cache_value(value, sizeof value, "{\"b\": 1.0,  \"a\": [1e400]}", 100, 150);
    redis_put(s.r, key_of(key, "asked elsewhere"), value, 50000);
    const struct http_answer *a = http_send(s.h, "POST", "/cache/lookup", "{\"input\":\"asked elsewhere\"}");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(a->body, value);
    long age = number_in("Age", "");
    long max_age = number_in("Cache-Control", "max-age=");
    ck_assert_int_ge(age, 99);
    ck_assert_int_le(age, 110);
    ck_assert_int_ge(max_age, 148);
    ck_assert_int_le(max_age, 152);
    long left = number_in("Cache-Status", "ttl=");
    ck_assert_int_ge(left, 40);
    ck_assert_int_le(left, 50);
    stage_close(&s);
}
END_TEST

START_TEST(a_value_without_expiry_tells_no_max_age)
{
    char value[512];
    open_stage(BACKEND_REDIS);
    redis_put(s.r, "k", cache_value(value, sizeof value, "1", 5, 3600), 0);
    for (int i = 0; i < 3; i++) { /* from Redis, then from the table */
        EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
        const char *control = http_header(s.h, "Cache-Control");
        ck_assert_msg(control == NULL || (!strstr(control, "max-age") && !strstr(control, "no-store")), "%s",
                      control ? control : "");
        ck_assert_int_eq(number_in("Cache-Status", "ttl="), -1);
    }
    ck_assert_int_eq(redis_pttl(s.r, "k"), -1);
    stage_close(&s);
}
END_TEST

START_TEST(a_timestamp_ahead_gives_age_0)
{
    char value[512];
    open_stage(BACKEND_REDIS);
    redis_put(s.r, "k", cache_value(value, sizeof value, "1", -100, 3600), 60000);
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    ck_assert_int_eq(number_in("Age", ""), 0);
    stage_close(&s);
}
END_TEST

START_TEST(another_type_is_a_foreign_value_and_left_untouched)
{
    open_stage(BACKEND_REDIS);
    ck_assert_int_eq(resp_integer(s.r, "LPUSH", "phoenix:cache:list", "a"), 1);
    expect_problem(s.h, http_get(s.h, "/cache/list"), 409, "foreign_value");
    expect_header(s.h, "Phoenix-Backend", "redis");
    expect_problem(s.h, http_send(s.h, "PUT", "/cache/list", "{\"response\":1}"), 409, "foreign_value");
    ck_assert_int_eq(resp_integer(s.r, "LLEN", "phoenix:cache:list"), 1);
    ck_assert_msg(daemon_metric(s.d, "phoenix_breaker_state") < 0.5, "a foreign value opened the circuit");
    stage_close(&s);
}
END_TEST

START_TEST(what_is_not_json_is_a_foreign_value)
{
    static const char *const values[] = {"plain text", "", "{\"response\":1", "{\"response\":\"\xff\"}"};
    open_stage(BACKEND_REDIS);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        redis_put(s.r, "k", values[i], 0);
        WAIT_FOR(http_get(s.h, "/cache/k")->status != 200, 3000);
        expect_problem(s.h, http_get(s.h, "/cache/k"), 409, "foreign_value");
        ck_assert_str_eq(redis_value(s.r, "k"), values[i]);
    }
    stage_close(&s);
}
END_TEST

START_TEST(value_and_expiry_reach_redis_in_one_command)
{
    char value[512];
    open_stage(BACKEND_REDIS);
    put("/cache/k", "{\"response\":{\"a\":1},\"ttl\":77,\"metadata\":{\"model\":\"m\"}}");
    long long left = redis_pttl(s.r, "k");
    ck_assert_int_gt(left, 60000);
    ck_assert_int_le(left, 77000);
    const char *stored = redis_value(s.r, "k");
    ck_assert_str_eq(MEMBER(value, stored, "response"), "{\"a\":1}");
    ck_assert_str_eq(MEMBER(value, stored, "ttl"), "77");
    ck_assert_str_eq(MEMBER(value, stored, "metadata"), "{\"model\":\"m\"}");
    EXPECT_STATUS(http_send(s.h, "DELETE", "/cache/k", NULL), 204);
    ck_assert_int_eq(redis_pttl(s.r, "k"), -2);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract_read");
    TCase *tc = test_case(suite, "read", 30);
    tcase_add_loop_test(tc, the_etag_follows_the_value, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, if_none_match_answers_304_without_a_body, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, freshness_is_told, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, every_cache_answer_names_its_backend, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, head_says_what_get_says_without_the_body, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, only_if_cached_never_asks_redis, 0, BACKEND_COUNT);
    tcase_add_test(tc, no_cache_asks_redis_although_the_table_has_it);
    tcase_add_test(tc, no_cache_in_embedded_mode_is_answered_from_the_table);
    tcase_add_test(tc, max_age_refuses_an_older_value);
    tcase_add_test(tc, a_foreign_value_is_served_as_it_is);
    tcase_add_test(tc, a_value_without_expiry_tells_no_max_age);
    tcase_add_test(tc, a_timestamp_ahead_gives_age_0);
    tcase_add_test(tc, another_type_is_a_foreign_value_and_left_untouched);
    tcase_add_test(tc, what_is_not_json_is_a_foreign_value);
    tcase_add_test(tc, value_and_expiry_reach_redis_in_one_command);
    return test_run(suite);
}
