/* Agent health's contract, on both backends: records, reports and their circuit, permits,
 * lists; then what others wrote and what holds while Redis is away. */
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

static struct stage s;

static const char *const quick[] = {"PHOENIX_HEALTH_FAILURE_THRESHOLD=3", "PHOENIX_HEALTH_OPEN_BASE_MS=200",
                                    "PHOENIX_HEALTH_OPEN_MAX_MS=400",     "PHOENIX_HEALTH_PROBES=2",
                                    "PHOENIX_HEALTH_PROBE_TTL_MS=60000",  NULL};
static const char *const patient[] = {
    "PHOENIX_HEALTH_FAILURE_THRESHOLD=2", "PHOENIX_HEALTH_OPEN_BASE_MS=600000",
    "PHOENIX_HEALTH_OPEN_MAX_MS=3600000", "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=200", NULL};

static void open_stage(int backend, const char *const *env)
{
    s = stage_open((enum backend)backend, env);
}

static const char *get_member(char out[128], const char *path, const char *name)
{
    const struct http_answer *a = http_get(s.h, path);
    EXPECT_STATUS(a, 200);
    return member_of(out, 128, a->body, name);
}

#define EXPECT_MEMBER(path, name, value)                                                                     \
    do {                                                                                                     \
        char got_[128];                                                                                      \
        ck_assert_str_eq(get_member(got_, (path), (name)), (value));                                         \
    } while (0)

static void report(const char *path, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        EXPECT_STATUS(http_send(s.h, "POST", path, NULL), 200);
}

/* What a permit says: "allowed circuit". */
static const char *permit(char out[128])
{
    char allowed[16];
    char circuit[32];
    const struct http_answer *a = http_send(s.h, "POST", "/health/a/permit", NULL);
    EXPECT_STATUS(a, 200);
    MEMBER(allowed, a->body, "allowed");
    return format(out, 128, "%s %s", allowed, MEMBER(circuit, a->body, "circuit"));
}

#define EXPECT_PERMIT(text)                                                                                  \
    do {                                                                                                     \
        char got_[128];                                                                                      \
        ck_assert_str_eq(permit(got_), (text));                                                              \
    } while (0)

START_TEST(put_sets_what_it_names_and_keeps_the_rest)
{
    char value[128];
    open_stage(_i, NULL);
    const struct http_answer *a =
        http_send(s.h, "PUT", "/health/a", "{\"health\":\"Healthy\",\"note\":{\"x\":1.0, \"y\":[ ]}}");
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_header(s.h, "Content-Type", "application/json");
    ck_assert_str_eq(http_header(s.h, "Cache-Control"), "no-store");
    ck_assert_str_eq(MEMBER(value, a->body, "agent_id"), "a");
    ck_assert_str_eq(MEMBER(value, a->body, "consecutive_failures"), "0");
    static const char *const unset[] = {"last_failure_at", "last_success_at", "circuit_open_until"};
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(MEMBER(value, a->body, unset[i]), "null");
    ck_assert_uint_eq(strlen(MEMBER(value, a->body, "updated_at")), 24);
    static const char *const hidden[] = {"writes", "permits"};
    for (size_t i = 0; i < 2; i++)
        ck_assert_str_eq(MEMBER(value, a->body, hidden[i]), "");
    report("/health/a/failure", 1);
    a = http_send(s.h, "PUT", "/health/a", "{\"health\":\"Degraded\"}");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "health"), "Degraded");
    ck_assert_str_eq(MEMBER(value, a->body, "consecutive_failures"), "1");
    ck_assert_ptr_nonnull(strstr(a->body, "{\"x\":1.0, \"y\":[ ]}"));
    a = http_get(s.h, "/health/a");
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    ck_assert_str_eq(MEMBER(value, a->body, "circuit"), "Closed");
    EXPECT_STATUS(http_send(s.h, "HEAD", "/health/a", NULL), 200);
    stage_close(&s);
}
END_TEST

START_TEST(delete_says_204_whether_it_was_there_or_not)
{
    open_stage(_i, NULL);
    EXPECT_STATUS(http_send(s.h, "PUT", "/health/a", "{\"health\":\"Healthy\"}"), 200);
    for (int i = 0; i < 2; i++) {
        EXPECT_STATUS(http_send(s.h, "DELETE", "/health/a", NULL), 204);
        expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    }
    expect_problem(s.h, http_get(s.h, "/health/a"), 404, "not_found");
    report("/health/a/success", 1);
    EXPECT_MEMBER("/health/a", "consecutive_failures", "0");
    stage_close(&s);
}
END_TEST

START_TEST(reports_count_and_do_not_change_health)
{
    char value[128];
    open_stage(_i, NULL);
    EXPECT_STATUS(http_send(s.h, "PUT", "/health/a", "{\"health\":\"Healthy\"}"), 200);
    const struct http_answer *a = NULL;
    for (int i = 1; i <= 4; i++) {
        a = http_send(s.h, "POST", "/health/a/failure",
                      i % 2 ? "{\"reason\":\"timeout\",\"reporter\":\"r\"}" : NULL);
        EXPECT_STATUS(a, 200);
        ck_assert_int_eq(strtol(MEMBER(value, a->body, "consecutive_failures"), NULL, 10), i);
        ck_assert_str_eq(MEMBER(value, a->body, "health"), "Healthy");
    }
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    ck_assert_uint_eq(strlen(MEMBER(value, a->body, "last_failure_at")), 24);
    EXPECT_MEMBER("/health/a", "circuit", "Closed");
    a = http_send(s.h, "POST", "/health/a/success", "{}");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "consecutive_failures"), "0");
    ck_assert_uint_eq(strlen(MEMBER(value, a->body, "last_success_at")), 24);
    stage_close(&s);
}
END_TEST

START_TEST(an_unknown_agent_may_be_called)
{
    open_stage(_i, NULL);
    EXPECT_PERMIT("true Closed");
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_problem(s.h, http_get(s.h, "/health/a"), 404, "not_found");
    stage_close(&s);
}
END_TEST

START_TEST(an_open_circuit_gives_no_permit_and_says_how_long)
{
    char value[128];
    open_stage(_i, patient);
    report("/health/a/failure", 2);
    EXPECT_MEMBER("/health/a", "circuit", "Open");
    ck_assert_uint_eq(strlen(get_member(value, "/health/a", "circuit_open_until")), 24);
    const struct http_answer *a = http_send(s.h, "POST", "/health/a/permit", NULL);
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "allowed"), "false");
    ck_assert_str_eq(MEMBER(value, a->body, "circuit"), "Open");
    double left = strtod(MEMBER(value, a->body, "retry_after"), NULL);
    ck_assert_msg(left > 0 && left <= 600 * 1.5, "%s", a->body);
    char until[128];
    get_member(until, "/health/a", "circuit_open_until");
    report("/health/a/failure", 1); /* counts, and opens no further */
    EXPECT_MEMBER("/health/a", "circuit_open_until", until);
    EXPECT_MEMBER("/health/a", "consecutive_failures", "3");
    stage_close(&s);
}
END_TEST

START_TEST(a_half_open_circuit_hands_out_its_probes_and_closes_on_success)
{
    open_stage(_i, quick);
    report("/health/a/failure", 3);
    EXPECT_PERMIT("false Open");
    char circuit[128];
    WAIT_FOR(strcmp(get_member(circuit, "/health/a", "circuit"), "HalfOpen") == 0, 5000);
    EXPECT_PERMIT("true HalfOpen");
    EXPECT_PERMIT("true HalfOpen");
    EXPECT_PERMIT("false HalfOpen");
    report("/health/a/success", 1);
    EXPECT_MEMBER("/health/a", "circuit", "Closed");
    EXPECT_MEMBER("/health/a", "consecutive_failures", "0");
    EXPECT_MEMBER("/health/a", "circuit_open_until", "null");
    EXPECT_PERMIT("true Closed");
    stage_close(&s);
}
END_TEST

START_TEST(a_failure_of_a_probe_opens_again_at_once)
{
    open_stage(_i, quick);
    report("/health/a/failure", 3);
    char circuit[128];
    WAIT_FOR(strcmp(get_member(circuit, "/health/a", "circuit"), "HalfOpen") == 0, 5000);
    EXPECT_PERMIT("true HalfOpen");
    report("/health/a/failure", 1);
    EXPECT_PERMIT("false Open");
    stage_close(&s);
}
END_TEST

START_TEST(a_report_that_began_before_the_last_change_moves_nothing)
{
    open_stage(_i, quick);
    report("/health/a/failure", 3);
    char circuit[128];
    WAIT_FOR(strcmp(get_member(circuit, "/health/a", "circuit"), "HalfOpen") == 0, 5000);
    static const char old[] = "{\"started_at\":\"2020-01-01T00:00:00Z\"}";
    EXPECT_STATUS(http_send(s.h, "POST", "/health/a/success", old), 200);
    EXPECT_MEMBER("/health/a", "circuit", "HalfOpen");
    EXPECT_STATUS(http_send(s.h, "POST", "/health/a/failure", old), 200);
    EXPECT_MEMBER("/health/a", "circuit", "HalfOpen");
    stage_close(&s);
}
END_TEST

START_TEST(lists_show_every_agent_with_its_circuit)
{
    enum { AGENTS = 12 };
    char path[64];
    char query[256] = "/health?limit=5";
    char cursor[128] = "";
    unsigned all = 0;
    open_stage(_i, NULL);
    for (int i = 0; i < AGENTS; i++)
        report(FORMAT(path, "/health/agent%d/success", i), 1);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{}"), 201);
    while (strcmp(cursor, "null") != 0) {
        const struct http_answer *a = http_get(s.h, query);
        EXPECT_STATUS(a, 200);
        expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
        ck_assert(strncmp(a->body, "{\"agents\":[", 11) == 0);
        for (const char *p = a->body; (p = strstr(p, "\"circuit\":\"Closed\"")) != NULL; p++)
            all++;
        FORMAT(query, "/health?limit=5&cursor=%s", MEMBER(cursor, a->body, "cursor"));
    }
    ck_assert_uint_eq(all, AGENTS);
    stage_close(&s);
}
END_TEST

static const struct {
    const char *method, *path, *body;
    int status;
    const char *code;
} refused[] = {
    {"PUT", "/health/a", "{", 400, "invalid_json"},
    {"PUT", "/health/a", "[]", 422, "unprocessable"},
    {"PUT", "/health/a", "{\"health\":\"Fine\"}", 400, "invalid_argument"},
    {"PUT", "/health/a", "{\"health\":1}", 422, "unprocessable"},
    {"PUT", "/health/a", "{\"note\":1}", 422, "unprocessable"},
    {"PUT", "/health/a", "{\"health\":\"Healthy\",\"consecutive_failures\":\"1\"}", 422, "unprocessable"},
    {"PUT", "/health/a", "{\"health\":\"Healthy\",\"consecutive_failures\":-1}", 400, "invalid_argument"},
    {"PUT", "/health/a", "{\"health\":\"Healthy\",\"last_failure_at\":\"yesterday\"}", 400,
     "invalid_argument"},
    {"PUT", "/health/a", "{\"health\":\"Healthy\",\"agent_id\":\"b\"}", 400, "invalid_argument"},
    {"PUT", "/health/a?force=true", "{}", 400, "invalid_argument"},
    {"PUT", "/health/a%2Fb", "{}", 400, "invalid_argument"},
    {"POST", "/health/a/failure", "[]", 422, "unprocessable"},
    {"POST", "/health/a/failure", "{\"reason\":1}", 422, "unprocessable"},
    {"POST", "/health/a/failure", "{\"started_at\":\"now\"}", 400, "invalid_argument"},
    {"POST", "/health/a/success", "{\"started_at\":1}", 422, "unprocessable"},
    {"POST", "/health/a/success?x", "{}", 400, "invalid_argument"},
    {"POST", "/health/a%20/permit", NULL, 400, "invalid_argument"},
    {"GET", "/health?limit=0", NULL, 400, "invalid_argument"},
    {"GET", "/health?state=Active", NULL, 400, "invalid_argument"},
    {"GET", "/health?cursor=%21%21no-cursor", NULL, 400, "invalid_argument"},
    {"GET", "/health/a/permit", NULL, 405, "method_not_allowed"},
    {"POST", "/health", "{}", 405, "method_not_allowed"},
    {"GET", "/health/a/reset", NULL, 404, "no_such_route"},
};

START_TEST(bad_input_is_named_and_changes_nothing)
{
    char before[1024];
    open_stage(_i, NULL);
    EXPECT_STATUS(http_send(s.h, "PUT", "/health/a", "{\"health\":\"Healthy\"}"), 200);
    FORMAT(before, "%s", http_get(s.h, "/health/a")->body);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct http_answer *a = http_send(s.h, refused[i].method, refused[i].path, refused[i].body);
        ck_assert_msg(a->status == refused[i].status, "%s %s %s: %d %s", refused[i].method, refused[i].path,
                      refused[i].body ? refused[i].body : "", a->status, a->body);
        expect_problem(s.h, a, refused[i].status, refused[i].code);
    }
    expect_problem(s.h, http_request(s.h, "PUT", "/health/a", "If-Match: *", "{}", 2), 400,
                   "invalid_argument");
    ck_assert_str_eq(http_get(s.h, "/health/a")->body, before);
    stage_close(&s);
}
END_TEST

/* --- Redis's side --- */

START_TEST(a_foreign_record_is_read_and_what_is_not_ours_is_kept)
{
    static const char foreign[] =
        "{\"agent_id\": \"a\", \"health\": \"Degraded\", \"consecutive_failures\": 2, "
        "\"last_failure_at\": \"2024-05-01T10:00:00.123456789Z\", \"region\": {\"b\": 1.0, \"a\": [ ]}}";
    char value[128];
    open_stage(BACKEND_REDIS, NULL);
    ck_assert_str_eq(resp_text(s.r, "SET", "phoenix:health:a", foreign), "OK");
    const struct http_answer *a = http_get(s.h, "/health/a");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "last_failure_at"), "2024-05-01T10:00:00.123456789Z");
    ck_assert_str_eq(MEMBER(value, a->body, "circuit"), "Closed");
    ck_assert_str_eq(resp_text(s.r, "GET", "phoenix:health:a"), foreign);
    report("/health/a/failure", 1);
    const char *text = resp_text(s.r, "GET", "phoenix:health:a");
    ck_assert_str_eq(MEMBER(value, text, "consecutive_failures"), "3");
    ck_assert_ptr_nonnull(strstr(text, "\"region\": {\"b\": 1.0, \"a\": [ ]}"));
    ck_assert_int_eq(resp_integer(s.r, "PTTL", "phoenix:health:a"), -1);
    EXPECT_STATUS(http_send(s.h, "DELETE", "/health/a", NULL), 204);
    ck_assert_int_gt(resp_integer(s.r, "PTTL", "phoenix:gone:health:{phoenix:health:a}"), 0);
    stage_close(&s);
}
END_TEST

START_TEST(what_is_no_record_is_told_and_left_as_it_is)
{
    static const char *const posts[] = {"/health/a/success", "/health/a/failure", "/health/a/permit"};
    open_stage(BACKEND_REDIS, NULL);
    for (int way = 0; way < 2; way++) {
        if (way == 0)
            ck_assert_str_eq(resp_text(s.r, "SET", "phoenix:health:a", "no json"), "OK");
        else
            ck_assert_int_eq(resp_integer(s.r, "LPUSH", "phoenix:health:a", "x"), 1);
        expect_problem(s.h, http_get(s.h, "/health/a"), 409, "foreign_value");
        expect_problem(s.h, http_send(s.h, "PUT", "/health/a", "{\"health\":\"Healthy\"}"), 409,
                       "foreign_value");
        for (size_t i = 0; i < 3; i++)
            expect_problem(s.h, http_send(s.h, "POST", posts[i], NULL), 409, "foreign_value");
        ck_assert_int_eq(resp_integer(s.r, "DEL", "phoenix:health:a"), 1);
    }
    stage_close(&s);
}
END_TEST

static bool degraded(void)
{
    char status[64];
    return strcmp(MEMBER(status, http_get(s.h, "/readyz")->body, "status"), "degraded") == 0;
}

START_TEST(reports_are_journaled_and_permits_go_by_the_copy_while_redis_is_away)
{
    char value[128];
    open_stage(BACKEND_REDIS, patient);
    report("/health/a/failure", 1);
    redis_server_kill(s.redis);
    WAIT_FOR(http_get(s.h, "/cache/asked-to-find-out")->status && degraded(), 10000);
    EXPECT_PERMIT("true Closed");
    const struct http_answer *a = http_send(s.h, "POST", "/health/a/failure", NULL);
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", "local");
    ck_assert_str_eq(MEMBER(value, a->body, "consecutive_failures"), "2");
    EXPECT_MEMBER("/health/a", "circuit", "Open");
    EXPECT_PERMIT("false Open");
    EXPECT_STATUS(http_send(s.h, "PUT", "/health/new", "{\"health\":\"Healthy\"}"), 200);
    EXPECT_MEMBER("/health/new", "health", "Healthy");
    expect_problem(s.h, http_get(s.h, "/health/unknown"), 503, "redis_unavailable");
    expect_problem(s.h, http_send(s.h, "POST", "/health/unknown/permit", NULL), 503, "redis_unavailable");
    a = http_get(s.h, "/health");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "partial"), "true");
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract_health");
    TCase *tc = test_case(suite, "both backends", 60);
    tcase_add_loop_test(tc, put_sets_what_it_names_and_keeps_the_rest, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, delete_says_204_whether_it_was_there_or_not, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, reports_count_and_do_not_change_health, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, an_unknown_agent_may_be_called, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, an_open_circuit_gives_no_permit_and_says_how_long, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_half_open_circuit_hands_out_its_probes_and_closes_on_success, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_failure_of_a_probe_opens_again_at_once, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_report_that_began_before_the_last_change_moves_nothing, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, lists_show_every_agent_with_its_circuit, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, bad_input_is_named_and_changes_nothing, 0, BACKEND_COUNT);
    tc = test_case(suite, "Redis", 60);
    tcase_add_test(tc, a_foreign_record_is_read_and_what_is_not_ours_is_kept);
    tcase_add_test(tc, what_is_no_record_is_told_and_left_as_it_is);
    tcase_add_test(tc, reports_are_journaled_and_permits_go_by_the_copy_while_redis_is_away);
    return test_run(suite);
}
