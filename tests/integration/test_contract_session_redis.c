/* Sessions in Redis: the form of the values, what other programs write there,
 * and what each operation does while Redis is away. */
#include "../support/load.h"
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

static struct stage s;

static const struct http_answer *send_json(const char *method, const char *path, const char *headers,
                                           const char *body)
{
    return http_request(s.h, method, path, headers, body, body ? strlen(body) : 0);
}

static const char *stored(const char *id)
{
    char key[512];
    return resp_text(s.r, "GET", FORMAT(key, "phoenix:session:%s", id));
}

static long long pttl(const char *id)
{
    char key[512];
    return resp_integer(s.r, "PTTL", FORMAT(key, "phoenix:session:%s", id));
}

static void plant(const char *id, const char *value, const char *ttl_ms)
{
    char key[512];
    FORMAT(key, "phoenix:session:%s", id);
    ck_assert_str_eq(
        ttl_ms ? resp_text(s.r, "SET", key, value, "PX", ttl_ms) : resp_text(s.r, "SET", key, value), "OK");
}

/* --- what is there --- */

START_TEST(the_value_is_json_with_its_expiry)
{
    char value[512];
    s = stage_open(BACKEND_REDIS, NULL);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"k\",\"plan_id\":\"p\"}"), 201);
    const char *text = stored("k");
    ck_assert_str_eq(MEMBER(value, text, "correlation_id"), "k");
    ck_assert_str_eq(MEMBER(value, text, "plan_id"), "p");
    ck_assert_str_eq(MEMBER(value, text, "state"), "Active");
    static const char *const there[] = {"created_at", "last_accessed", "updated_at", "writes"};
    for (size_t i = 0; i < 4; i++)
        ck_assert_msg(MEMBER(value, text, there[i])[0] != 0, "no %s in %s", there[i], text);
    ck_assert_int_le(pttl("k"), 7200000);
    ck_assert_int_gt(pttl("k"), 7200000 - 60000);
    EXPECT_STATUS(http_send(s.h, "PATCH", "/session/k", "{\"ttl\":100}"), 200);
    ck_assert_int_le(pttl("k"), 100000);
    ck_assert_int_gt(pttl("k"), 100000 - 60000);
    EXPECT_STATUS(http_send(s.h, "DELETE", "/session/k", NULL), 204);
    ck_assert_int_eq(pttl("k"), -2);
    ck_assert_int_gt(resp_integer(s.r, "PTTL", "phoenix:gone:session:{phoenix:session:k}"), 0);
    stage_close(&s);
}
END_TEST

/* nanoseconds, null and absent options, members unknown to us */
static const char foreign[] =
    "{\"correlation_id\": \"f\", \"created_at\": \"2024-05-01T10:00:00.123456789Z\", "
    "\"last_accessed\": \"2024-05-01T10:00:00.987654321Z\", \"plan_id\": null, \"state\": \"Active\", "
    "\"agent\": {\"b\": 1.0, \"a\": [ ]}}";

START_TEST(a_foreign_value_is_read_and_what_is_not_ours_is_kept)
{
    char value[512];
    s = stage_open(BACKEND_REDIS, NULL);
    plant("f", foreign, "60000");
    const struct http_answer *a = http_get(s.h, "/session/f?touch=false");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "created_at"), "2024-05-01T10:00:00.123456789Z");
    ck_assert_str_eq(MEMBER(value, a->body, "plan_id"), "null");
    ck_assert_str_eq(MEMBER(value, a->body, "task_id"), "null");
    ck_assert_str_eq(stored("f"), foreign);
    EXPECT_STATUS(http_get(s.h, "/session/f"), 200);
    ck_assert_str_ne(MEMBER(value, stored("f"), "last_accessed"), "2024-05-01T10:00:00.987654321Z");
    ck_assert_int_gt(pttl("f"), 60000); /* slid to the default ttl */
    EXPECT_STATUS(http_send(s.h, "PATCH", "/session/f", "{\"task_id\":\"t\"}"), 200);
    const char *text = stored("f");
    ck_assert_str_eq(MEMBER(value, text, "task_id"), "t");
    ck_assert_str_eq(MEMBER(value, text, "created_at"), "2024-05-01T10:00:00.123456789Z");
    ck_assert_ptr_nonnull(strstr(text, "\"agent\": {\"b\": 1.0, \"a\": [ ]}"));
    stage_close(&s);
}
END_TEST

START_TEST(a_value_without_expiry_keeps_none)
{
    s = stage_open(BACKEND_REDIS, NULL);
    plant("f", foreign, NULL);
    EXPECT_STATUS(http_get(s.h, "/session/f"), 200);
    ck_assert_int_eq(pttl("f"), -1);
    ck_assert_str_ne(stored("f"), foreign); /* touched all the same */
    stage_close(&s);
}
END_TEST

static const char *const broken[] = {"no json", "[1]", "\"text\"", "", "{\"state\": \"Active\"", "\xff{}"};

static void expect_untouchable(const char *path)
{
    expect_problem(s.h, http_get(s.h, path), 409, "foreign_value");
    expect_problem(s.h, http_send(s.h, "PUT", path, "{}"), 409, "foreign_value");
    expect_problem(s.h, http_send(s.h, "PATCH", path, "{}"), 409, "foreign_value");
}

START_TEST(what_is_no_session_is_told_and_left_as_it_is)
{
    char path[64];
    s = stage_open(BACKEND_REDIS, NULL);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        FORMAT(path, "/session/b%zu", i);
        plant(path + strlen("/session/"), broken[i], "60000");
        expect_untouchable(path);
        ck_assert_str_eq(stored(path + strlen("/session/")), broken[i]);
    }
    ck_assert_int_eq(resp_integer(s.r, "LPUSH", "phoenix:session:list", "a"), 1);
    expect_untouchable("/session/list");
    expect_problem(s.h, http_send(s.h, "DELETE", "/session/list", NULL), 409, "foreign_value");
    ck_assert_int_eq(resp_integer(s.r, "LLEN", "phoenix:session:list"), 1);
    const struct http_answer *a = http_get(s.h, "/session");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_null(strstr(a->body, "correlation_id"));
    stage_close(&s);
}
END_TEST

/* --- many --- */

enum { MANY = 100000, BLOCKED_US = 100 * 1000 };

/* In steps: one that blocked Redis for long would open the circuit. */
static const char fill[] =
    "for i = ARGV[1], ARGV[1] + 999 do redis.call('SET', 'phoenix:session:s' .. i, "
    "'{\"correlation_id\":\"s' .. i .. '\",\"state\":\"Active\"}', 'PX', 600000) end return 1";

static void ask(struct load_thread *t)
{
    const struct http_answer *a = http_get(t->http, "/session/s1?touch=false");
    if (a->status != 200) load_fail(t, "GET: %d %s", a->status, a->body);
    latencies_add(t->arg, a->took_us);
    poll_pause();
}

START_TEST(a_hundred_thousand_are_listed_in_pages_that_block_nobody)
{
    static unsigned char seen[MANY];
    char path[512];
    char cursor[300] = "";
    unsigned all = 0;
    s = stage_open(BACKEND_REDIS, NULL);
    for (int i = 0; i < MANY; i += 1000)
        ck_assert_int_eq(resp_integer(s.r, "EVAL", fill, "0", FORMAT(path, "%d", i)), 1);
    FORMAT(path, "/session?limit=1000");
    struct latencies *others = latencies_create();
    struct load *l = load_start(4, daemon_port(s.d), ask, others);
    while (strcmp(cursor, "null") != 0) {
        const struct http_answer *a = http_get(s.h, path);
        EXPECT_STATUS(a, 200);
        for (const char *p = a->body; (p = strstr(p, "\"correlation_id\":\"s")) != NULL; p++) {
            long n = strtol(p + strlen("\"correlation_id\":\"s"), NULL, 10);
            ck_assert(n >= 0 && n < MANY);
            all += !seen[n];
            seen[n] = 1;
        }
        char *end = strrchr(a->body, ',');
        ck_assert_ptr_nonnull(end);
        *end = '{'; /* what follows the sessions, as an object */
        FORMAT(path, "/session?limit=1000&cursor=%s", MEMBER(cursor, end, "cursor"));
    }
    load_stop(&l);
    ck_assert_uint_eq(all, MANY);
    ck_assert_uint_gt(latencies_count(others), 100);
    ck_assert_int_lt(latencies_quantile(others, 0.99), test_ms(BLOCKED_US));
    latencies_destroy(&others);
    stage_close(&s);
}
END_TEST

/* --- while Redis is away --- */

static bool degraded(void)
{
    char status[64];
    return strcmp(MEMBER(status, http_get(s.h, "/readyz")->body, "status"), "degraded") == 0;
}

/* A known session, then Redis gone. */
static void lose_redis(void)
{
    const char *env[] = {"PHOENIX_HTTP_DRAIN_TIMEOUT_MS=200", NULL}; /* in vain: nobody is to come back */
    s = stage_open(BACKEND_REDIS, env);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"known\",\"data\":1}"), 201);
    redis_server_kill(s.redis);
    WAIT_FOR(http_get(s.h, "/cache/asked-to-find-out")->status && degraded(), 10000);
}

static void expect_503(const struct http_answer *a)
{
    expect_problem(s.h, a, 503, "redis_unavailable");
    ck_assert_ptr_nonnull(http_header(s.h, "Retry-After"));
}

START_TEST(reads_answer_from_the_copy_and_never_say_a_false_404)
{
    char value[64];
    lose_redis();
    const struct http_answer *a = http_get(s.h, "/session/known");
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", "local");
    ck_assert_str_eq(MEMBER(value, a->body, "data"), "1");
    expect_503(http_get(s.h, "/session/unknown"));
    expect_503(http_get(s.h, "/session/unknown?touch=false"));
    stage_close(&s);
}
END_TEST

START_TEST(writes_are_journaled_and_answered_as_usual)
{
    char value[64];
    lose_redis();
    EXPECT_STATUS(http_send(s.h, "PATCH", "/session/known", "{\"data\":2}"), 200);
    expect_header(s.h, "Phoenix-Backend", "local");
    EXPECT_STATUS(http_send(s.h, "PUT", "/session/known", "{\"data\":3}"), 200);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"new\"}"), 201);
    expect_header(s.h, "Location", "/session/new");
    expect_problem(s.h, http_send(s.h, "POST", "/session", "{\"correlation_id\":\"new\"}"), 409,
                   "already_exists");
    EXPECT_STATUS(http_send(s.h, "PATCH", "/session/new", "{\"data\":4}"), 200);
    const struct http_answer *a = http_get(s.h, "/session/new?touch=false");
    ck_assert_str_eq(MEMBER(value, a->body, "data"), "4");
    EXPECT_STATUS(http_send(s.h, "DELETE", "/session/new", NULL), 204);
    expect_problem(s.h, http_get(s.h, "/session/new"), 404, "not_found");
    EXPECT_STATUS(http_send(s.h, "DELETE", "/session/unheard-of", NULL), 204);
    expect_503(http_send(s.h, "PATCH", "/session/unknown", "{}"));
    expect_503(http_send(s.h, "PUT", "/session/unknown", "{}"));
    a = http_get(s.h, "/readyz");
    ck_assert_msg(strtol(MEMBER(value, a->body, "journal"), NULL, 10) >= 3, "%s", a->body);
    stage_close(&s);
}
END_TEST

START_TEST(a_guard_is_judged_where_the_newest_version_is_in_the_journal)
{
    char line[128];
    lose_redis();
    expect_503(send_json("PUT", "/session/known", "If-Match: *", "{}"));
    EXPECT_STATUS(http_get(s.h, "/session/known?touch=false"), 200);
    FORMAT(line, "If-Match: %s", http_header(s.h, "ETag"));
    expect_503(send_json("PATCH", "/session/known", line, "{}"));
    expect_503(send_json("PUT", "/session/unknown", "If-None-Match: *", "{}"));
    EXPECT_STATUS(http_send(s.h, "PATCH", "/session/known", "{\"data\":2}"), 200);
    FORMAT(line, "If-Match: %s", http_header(s.h, "ETag"));
    EXPECT_STATUS(send_json("PATCH", "/session/known", line, "{\"data\":3}"), 200);
    expect_problem(s.h, send_json("PATCH", "/session/known", line, "{\"data\":4}"), 412,
                   "precondition_failed");
    stage_close(&s);
}
END_TEST

START_TEST(a_list_is_partial)
{
    char value[64];
    lose_redis();
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"mine\"}"), 201);
    const struct http_answer *a = http_get(s.h, "/session");
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", "local");
    ck_assert_str_eq(MEMBER(value, a->body, "partial"), "true");
    ck_assert_ptr_nonnull(strstr(a->body, "\"mine\""));
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract_session_redis");
    TCase *tc = test_case(suite, "values", 60);
    tcase_add_test(tc, the_value_is_json_with_its_expiry);
    tcase_add_test(tc, a_foreign_value_is_read_and_what_is_not_ours_is_kept);
    tcase_add_test(tc, a_value_without_expiry_keeps_none);
    tcase_add_test(tc, what_is_no_session_is_told_and_left_as_it_is);
    tcase_add_test(tc, a_hundred_thousand_are_listed_in_pages_that_block_nobody);
    tc = test_case(suite, "degraded", 60);
    tcase_add_test(tc, reads_answer_from_the_copy_and_never_say_a_false_404);
    tcase_add_test(tc, writes_are_journaled_and_answered_as_usual);
    tcase_add_test(tc, a_guard_is_judged_where_the_newest_version_is_in_the_journal);
    tcase_add_test(tc, a_list_is_partial);
    return test_run(suite);
}
