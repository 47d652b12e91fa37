/* The sessions' contract, each case on both backends: creating, reading, touching, replacing,
 * patching, conditions, states, lists, expiry. What others wrote and what holds while Redis is away is in
 * test_contract_session_redis.c. */
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

static struct stage s;

static void open_stage(int backend)
{
    s = stage_open((enum backend)backend, NULL);
}

static const struct http_answer *send_json(const char *method, const char *path, const char *headers,
                                           const char *body)
{
    return http_request(s.h, method, path, headers, body, body ? strlen(body) : 0);
}

/* The ETag of the last answer, as a header line. */
static const char *etag_line(char out[128], const char *name)
{
    const char *etag = http_header(s.h, "ETag");
    ck_assert_ptr_nonnull(etag);
    return format(out, 128, "%s: %s", name, etag);
}

static void expect_session_headers(void)
{
    const char *etag = http_header(s.h, "ETag");
    ck_assert_ptr_nonnull(etag);
    ck_assert_uint_eq(strlen(etag), 18);
    ck_assert(etag[0] == '"' && etag[17] == '"');
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_header(s.h, "Content-Type", "application/json");
    ck_assert_str_eq(http_header(s.h, "Cache-Control"), "no-store");
}

static bool is_time(const char *text)
{
    return strlen(text) == 24 && text[10] == 'T' && text[19] == '.' && text[23] == 'Z';
}

START_TEST(post_makes_a_session_with_an_id_of_its_own)
{
    char value[512];
    char location[512];
    open_stage(_i);
    const struct http_answer *a = http_send(s.h, "POST", "/session", "{}");
    EXPECT_STATUS(a, 201);
    expect_session_headers();
    FORMAT(location, "/session/%s", MEMBER(value, a->body, "correlation_id"));
    ck_assert_uint_eq(strlen(value), 36);
    ck_assert_int_eq(value[14], '7');
    ck_assert_str_eq(http_header(s.h, "Location"), location);
    ck_assert_str_eq(MEMBER(value, a->body, "state"), "Active");
    ck_assert_str_eq(MEMBER(value, a->body, "plan_id"), "null");
    ck_assert_str_eq(MEMBER(value, a->body, "task_id"), "null");
    static const char *const times[] = {"created_at", "updated_at", "last_accessed"};
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(is_time(MEMBER(value, a->body, times[i])), "%s: %s", times[i], value);
    static const char *const unset[] = {"data", "ttl", "writes"};
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(MEMBER(value, a->body, unset[i]), "");
    char etag[128];
    etag_line(etag, "ETag");
    EXPECT_STATUS(http_get(s.h, location), 200);
    ck_assert_str_eq(http_header(s.h, "ETag"), strchr(etag, '"'));
    stage_close(&s);
}
END_TEST

static const char all_members[] =
    "{\"correlation_id\":\"c.1:a@b-C\",\"plan_id\":\"p\",\"task_id\":\"t\",\"state\":\"Completed\","
    "\"data\":{\"z\":[1.0,1e400, {\"a\":\"\\u0041\\/\"}]},\"ttl\":100,\"mine\":[ 18446744073709551616 ]}";

START_TEST(what_was_given_comes_back_byte_for_byte_and_exists_once)
{
    char value[512];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", all_members), 201);
    ck_assert_str_eq(http_header(s.h, "Location"), "/session/c.1:a@b-C");
    expect_problem(s.h, http_send(s.h, "POST", "/session", all_members), 409, "already_exists");
    expect_problem(s.h, send_json("POST", "/session", "If-None-Match: *", all_members), 412,
                   "precondition_failed");
    const struct http_answer *a = http_get(s.h, "/session/c.1:a@b-C");
    EXPECT_STATUS(a, 200);
    expect_session_headers();
    ck_assert_str_eq(MEMBER(value, a->body, "correlation_id"), "c.1:a@b-C");
    ck_assert_str_eq(MEMBER(value, a->body, "plan_id"), "p");
    ck_assert_str_eq(MEMBER(value, a->body, "task_id"), "t");
    ck_assert_str_eq(MEMBER(value, a->body, "state"), "Completed");
    ck_assert_str_eq(MEMBER(value, a->body, "ttl"), "100");
    ck_assert_ptr_nonnull(strstr(a->body, "{\"z\":[1.0,1e400, {\"a\":\"\\u0041\\/\"}]}"));
    ck_assert_ptr_nonnull(strstr(a->body, "[ 18446744073709551616 ]"));
    stage_close(&s);
}
END_TEST

static const char *last_accessed(char out[64], const char *path)
{
    const struct http_answer *a = http_get(s.h, path);
    EXPECT_STATUS(a, 200);
    return member_of(out, 64, a->body, "last_accessed");
}

START_TEST(a_read_touches_unless_told_not_to_and_the_etag_stays)
{
    char was[64];
    char now[64];
    char etag[128];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"k\"}"), 201);
    etag_line(etag, "ETag");
    last_accessed(was, "/session/k?touch=false");
    /* Touches may be merged for up to a second: until one counts, none of these may. */
    int64_t until = now_ms() + 1500;
    while (now_ms() < until) {
        ck_assert_str_eq(last_accessed(now, "/session/k?touch=false"), was);
        EXPECT_STATUS(http_send(s.h, "HEAD", "/session/k", NULL), 200);
        ck_assert_str_eq(http_header(s.h, "ETag"), strchr(etag, '"'));
    }
    WAIT_FOR(strcmp(last_accessed(now, "/session/k"), was) > 0, 5000);
    ck_assert_str_eq(http_header(s.h, "ETag"), strchr(etag, '"'));
    ck_assert_str_eq(last_accessed(was, "/session/k?touch=false"), now);
    stage_close(&s);
}
END_TEST

START_TEST(if_none_match_answers_304)
{
    char line[128];
    char value[64];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"k\"}"), 201);
    etag_line(line, "If-None-Match");
    const struct http_answer *a = http_request(s.h, "GET", "/session/k", line, NULL, 0);
    EXPECT_STATUS(a, 304);
    ck_assert_uint_eq(a->len, 0);
    ck_assert_str_eq(http_header(s.h, "ETag"), strchr(line, '"'));
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    EXPECT_STATUS(http_request(s.h, "GET", "/session/k?touch=false", "If-None-Match: \"x\", *", NULL, 0),
                  304);
    EXPECT_STATUS(http_request(s.h, "GET", "/session/k", "If-None-Match: \"0000000000000000\"", NULL, 0),
                  200);
    EXPECT_STATUS(http_send(s.h, "PATCH", "/session/k", "{\"data\":1}"), 200);
    a = http_request(s.h, "GET", "/session/k", line, NULL, 0);
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "data"), "1");
    stage_close(&s);
}
END_TEST

START_TEST(put_creates_and_replaces_keeping_when_it_was_created)
{
    char created[64];
    char value[64];
    char etag[128];
    open_stage(_i);
    const struct http_answer *a =
        http_send(s.h, "PUT", "/session/k", "{\"plan_id\":\"p\",\"data\":1,\"x\":2,\"ttl\":50}");
    EXPECT_STATUS(a, 201);
    expect_session_headers();
    ck_assert_str_eq(http_header(s.h, "Location"), "/session/k");
    MEMBER(created, a->body, "created_at");
    etag_line(etag, "ETag");
    a = http_send(s.h, "PUT", "/session/k", "{\"correlation_id\":\"k\",\"task_id\":\"t\"}");
    EXPECT_STATUS(a, 200);
    expect_session_headers();
    ck_assert_str_ne(http_header(s.h, "ETag"), strchr(etag, '"'));
    ck_assert_str_eq(MEMBER(value, a->body, "created_at"), created);
    ck_assert_str_eq(MEMBER(value, a->body, "task_id"), "t");
    ck_assert_str_eq(MEMBER(value, a->body, "plan_id"), "null");
    static const char *const dropped[] = {"data", "x", "ttl"};
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(MEMBER(value, a->body, dropped[i]), "");
    stage_close(&s);
}
END_TEST

START_TEST(patch_keeps_what_it_does_not_name)
{
    char value[64];
    open_stage(_i);
    expect_problem(s.h, http_send(s.h, "PATCH", "/session/k", "{}"), 404, "not_found");
    const char *first =
        "{\"plan_id\":\"p\",\"ttl\":60,\"a\":1.0,\"data\":{\"in\":{\"x\":1e2,\"y\":2}},\"b\":[ ]}";
    EXPECT_STATUS(http_send(s.h, "PUT", "/session/k", first), 201);
    const struct http_answer *a =
        http_send(s.h, "PATCH", "/session/k",
                  "{\"data\":{\"in\":{\"y\":null,\"z\":3}},\"plan_id\":null,\"b\":null,\"ttl\":null}");
    EXPECT_STATUS(a, 200);
    expect_session_headers();
    ck_assert_str_eq(MEMBER(value, a->body, "a"), "1.0");
    ck_assert_ptr_nonnull(strstr(a->body, "\"data\":{\"in\":{\"x\":1e2,\"z\":3}}"));
    ck_assert_str_eq(MEMBER(value, a->body, "plan_id"), "null");
    ck_assert_str_eq(MEMBER(value, a->body, "b"), "");
    ck_assert_str_eq(MEMBER(value, a->body, "ttl"), "");
    char stored[1024];
    FORMAT(stored, "%s", a->body);
    a = http_get(s.h, "/session/k?touch=false");
    ck_assert_str_eq(a->body, stored);
    stage_close(&s);
}
END_TEST

START_TEST(writes_honour_if_match_and_if_none_match)
{
    static const char body[] = "{\"data\":1}";
    static const char *const methods[] = {"PUT", "PATCH", "DELETE"};
    char line[128];
    char listed[200];
    open_stage(_i);
    expect_problem(s.h, send_json("PUT", "/session/k", "If-Match: *", body), 412, "precondition_failed");
    EXPECT_STATUS(send_json("PUT", "/session/k", "If-None-Match: *", body), 201);
    expect_problem(s.h, send_json("PUT", "/session/k", "If-None-Match: *", body), 412, "precondition_failed");
    for (size_t i = 0; i < 3; i++) {
        const char *sent = i < 2 ? body : NULL;
        expect_problem(s.h, send_json(methods[i], "/session/k", "If-Match: \"0000000000000000\"", sent), 412,
                       "precondition_failed");
        expect_problem(s.h, send_json(methods[i], "/session/k", "If-Match: 0123", sent), 400,
                       "invalid_argument");
        expect_problem(s.h, send_json(methods[i], "/session/k", "If-None-Match: \"a", sent), 400,
                       "invalid_argument");
        EXPECT_STATUS(http_get(s.h, "/session/k"), 200);
        etag_line(line, "If-None-Match");
        expect_problem(s.h, send_json(methods[i], "/session/k", line, sent), 412, "precondition_failed");
        EXPECT_STATUS(http_get(s.h, "/session/k?touch=false"), 200);
        FORMAT(listed, "If-Match: \"ffff\", %s", strchr(etag_line(line, "If-Match"), '"'));
        EXPECT_STATUS(send_json(methods[i], "/session/k", listed, sent), i < 2 ? 200 : 204);
    }
    EXPECT_STATUS(send_json("PUT", "/session/k", NULL, body), 201);
    EXPECT_STATUS(send_json("PATCH", "/session/k", "If-Match: *", body), 200);
    expect_problem(s.h, http_request(s.h, "GET", "/session/k", "If-Match: *", NULL, 0), 400,
                   "invalid_argument");
    stage_close(&s);
}
END_TEST

START_TEST(a_terminal_state_is_left_by_force_alone)
{
    static const char *const terminal[] = {"Completed", "Failed"};
    static const char *const methods[] = {"PUT", "PATCH"};
    char path[64];
    char body[64];
    char value[64];
    open_stage(_i);
    for (size_t t = 0; t < 2; t++) {
        for (size_t m = 0; m < 2; m++) {
            FORMAT(path, "/session/k%zu%zu", t, m);
            EXPECT_STATUS(http_send(s.h, "PUT", path, "{}"), 201);
            EXPECT_STATUS(http_send(s.h, methods[m], path, "{\"state\":\"Active\"}"), 200);
            FORMAT(body, "{\"state\":\"%s\"}", terminal[t]);
            EXPECT_STATUS(http_send(s.h, methods[m], path, body), 200);
            EXPECT_STATUS(http_send(s.h, methods[m], path, body), 200);
            expect_problem(s.h, http_send(s.h, methods[m], path, "{\"state\":\"Active\"}"), 409,
                           "invalid_transition");
            FORMAT(body, "{\"state\":\"%s\"}", terminal[1 - t]);
            expect_problem(s.h, http_send(s.h, methods[m], path, body), 409, "invalid_transition");
            FORMAT(path, "/session/k%zu%zu?force=true", t, m);
            const struct http_answer *a = http_send(s.h, methods[m], path, "{\"state\":\"Active\"}");
            EXPECT_STATUS(a, 200);
            ck_assert_str_eq(MEMBER(value, a->body, "state"), "Active");
        }
    }
    stage_close(&s);
}
END_TEST

START_TEST(delete_says_204_whether_it_was_there_or_not)
{
    open_stage(_i);
    for (int round = 0; round < 2; round++) {
        EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"k\"}"), 201);
        for (int i = 0; i < 2; i++) {
            const struct http_answer *a = http_send(s.h, "DELETE", "/session/k", NULL);
            EXPECT_STATUS(a, 204);
            ck_assert_uint_eq(a->len, 0);
            expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
        }
        expect_problem(s.h, http_get(s.h, "/session/k"), 404, "not_found");
    }
    stage_close(&s);
}
END_TEST

/* --- lists --- */

enum { LISTED = 25 };

/* Marks which of s0 … s24 a page shows; how many it shows. */
static unsigned mark(const char *body, unsigned seen[LISTED])
{
    unsigned count = 0;
    for (const char *p = body; (p = strstr(p, "\"correlation_id\"")) != NULL; p++) {
        const char *id = strstr(p, "\"s") + 2;
        long n = strtol(id, NULL, 10);
        ck_assert(n >= 0 && n < LISTED);
        seen[n]++;
        count++;
    }
    return count;
}

/* All pages; the number of sessions on them. */
static unsigned walk(const char *query, unsigned seen[LISTED])
{
    char path[256];
    char cursor[128] = "";
    unsigned all = 0;
    for (unsigned pages = 0; pages < 200; pages++) {
        FORMAT(path, "/session?%s%s%s", query, *cursor ? "&cursor=" : "", cursor);
        const struct http_answer *a = http_get(s.h, path);
        EXPECT_STATUS(a, 200);
        expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
        ck_assert_ptr_null(strstr(a->body, "\"partial\""));
        ck_assert_ptr_null(strstr(a->body, "\"writes\""));
        all += mark(a->body, seen);
        if (strcmp(MEMBER(cursor, a->body, "cursor"), "null") == 0) return all;
        ck_assert_uint_gt(strlen(cursor), 0);
    }
    ck_abort_msg("the list has no end");
}

START_TEST(lists_are_paged_and_filtered_by_state)
{
    unsigned seen[LISTED] = {0};
    char body[128];
    open_stage(_i);
    for (unsigned i = 0; i < LISTED; i++) {
        FORMAT(body, "{\"correlation_id\":\"s%u\",\"state\":\"%s\"}", i, i % 5 ? "Active" : "Failed");
        EXPECT_STATUS(http_send(s.h, "POST", "/session", body), 201);
    }
    EXPECT_STATUS(http_send(s.h, "PUT", "/health/agent", "{\"health\":\"Healthy\"}"), 200);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/key", "{\"response\":1}"), 201);
    ck_assert_uint_eq(walk("limit=10", seen), LISTED);
    for (unsigned i = 0; i < LISTED; i++)
        ck_assert_uint_eq(seen[i], 1);
    ck_assert_uint_eq(walk("state=Failed&limit=1000", seen), LISTED / 5);
    ck_assert_uint_eq(walk("state=Completed", seen), 0);
    EXPECT_STATUS(http_send(s.h, "DELETE", "/session/s7", NULL), 204);
    ck_assert_uint_eq(walk("limit=1", seen), LISTED - 1);
    EXPECT_STATUS(http_send(s.h, "HEAD", "/session", NULL), 200);
    stage_close(&s);
}
END_TEST

/* --- expiry --- */

START_TEST(an_expired_session_is_gone_and_no_update_brings_it_back)
{
    unsigned seen[LISTED] = {0};
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"s1\",\"ttl\":1}"), 201);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"s2\"}"), 201);
    WAIT_FOR(http_get(s.h, "/session/s1?touch=false")->status == 404, 5000);
    expect_problem(s.h, http_send(s.h, "PATCH", "/session/s1", "{\"data\":1}"), 404, "not_found");
    expect_problem(s.h, http_get(s.h, "/session/s1"), 404, "not_found");
    ck_assert_uint_eq(walk("limit=100", seen), 1);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"s1\"}"), 201);
    stage_close(&s);
}
END_TEST

START_TEST(the_expiry_slides_with_each_touch)
{
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"k\",\"ttl\":3}"), 201);
    int64_t until = now_ms() + 5000; /* kept alive beyond its first three seconds */
    while (now_ms() < until) {
        EXPECT_STATUS(http_get(s.h, "/session/k"), 200);
        poll_pause();
    }
    EXPECT_STATUS(http_get(s.h, "/session/k?touch=false"), 200);
    WAIT_FOR(http_get(s.h, "/session/k?touch=false")->status == 404, 6000);
    stage_close(&s);
}
END_TEST

/* --- bad input --- */

static const struct {
    const char *method, *path, *body;
    int status;
    const char *code;
} refused[] = {
    {"POST", "/session", "{", 400, "invalid_json"},
    {"POST", "/session", "", 400, "invalid_json"},
    {"POST", "/session", "{\"plan_id\":\"\xff\"}", 400, "invalid_json"},
    {"POST", "/session", "[]", 422, "unprocessable"},
    {"POST", "/session", "{\"ttl\":\"1\"}", 422, "unprocessable"},
    {"POST", "/session", "{\"ttl\":0}", 400, "invalid_argument"},
    {"POST", "/session", "{\"ttl\":-1}", 400, "invalid_argument"},
    {"POST", "/session", "{\"ttl\":31536001}", 400, "invalid_argument"},
    {"POST", "/session", "{\"state\":\"Done\"}", 400, "invalid_argument"},
    {"POST", "/session", "{\"state\":1}", 422, "unprocessable"},
    {"POST", "/session", "{\"plan_id\":1}", 422, "unprocessable"},
    {"POST", "/session", "{\"correlation_id\":\"a b\"}", 400, "invalid_argument"},
    {"POST", "/session", "{\"correlation_id\":\"\"}", 400, "invalid_argument"},
    {"POST", "/session", "{\"correlation_id\":\"..\"}", 400, "invalid_argument"},
    {"POST", "/session", "{\"correlation_id\":{}}", 422, "unprocessable"},
    {"POST", "/session", "{\"data\":1,\"d\\u0061ta\":2}", 422, "unprocessable"},
    {"POST", "/session", "{\"plan_id\":\"\\u0000\"}", 422, "unprocessable"},
    {"POST", "/session?force=true", "{}", 400, "invalid_argument"},
    {"PUT", "/session/k", "{\"correlation_id\":\"other\"}", 400, "invalid_argument"},
    {"PUT", "/session/k", "null", 422, "unprocessable"},
    {"PUT", "/session/k?force=yes", "{}", 400, "invalid_argument"},
    {"PUT", "/session/k?touch=false", "{}", 400, "invalid_argument"},
    {"PUT", "/session/a%20b", "{}", 400, "invalid_argument"},
    {"PUT", "/session/..", "{}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "[1]", 422, "unprocessable"},
    {"PATCH", "/session/k", "{\"state\":null}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "{\"state\":\"active\"}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "{\"correlation_id\":\"x\"}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "{\"created_at\":\"2020-01-01T00:00:00.000Z\"}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "{\"last_accessed\":null}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "{\"updated_at\":\"2020-01-01T00:00:00.000Z\"}", 400, "invalid_argument"},
    {"PATCH", "/session/k", "{\"ttl\":0}", 400, "invalid_argument"},
    {"GET", "/session/k?touch=no", NULL, 400, "invalid_argument"},
    {"GET", "/session/k?x=1", NULL, 400, "invalid_argument"},
    {"GET", "/session/k?touch=true&touch=true", NULL, 400, "invalid_argument"},
    {"GET", "/session?limit=0", NULL, 400, "invalid_argument"},
    {"GET", "/session?limit=1001", NULL, 400, "invalid_argument"},
    {"GET", "/session?limit=1x", NULL, 400, "invalid_argument"},
    {"GET", "/session?limit=", NULL, 400, "invalid_argument"},
    {"GET", "/session?state=active", NULL, 400, "invalid_argument"},
    {"GET", "/session?cursor=%21%21no-cursor", NULL, 400, "invalid_argument"},
    {"GET", "/session?cursor=%2", NULL, 400, "invalid_argument"},
    {"DELETE", "/session/k?force=true", NULL, 400, "invalid_argument"},
    {"GET", "/session/k/data", NULL, 404, "no_such_route"},
    {"DELETE", "/session", NULL, 405, "method_not_allowed"},
    {"POST", "/session/k", "{}", 405, "method_not_allowed"},
};

START_TEST(bad_input_is_named_and_changes_nothing)
{
    char before[1024];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "PUT", "/session/k", "{\"data\":1}"), 201);
    FORMAT(before, "%s", http_get(s.h, "/session/k?touch=false")->body);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct http_answer *a = http_send(s.h, refused[i].method, refused[i].path, refused[i].body);
        ck_assert_msg(a->status == refused[i].status, "%s %s %s: %d %s", refused[i].method, refused[i].path,
                      refused[i].body ? refused[i].body : "", a->status, a->body);
        expect_problem(s.h, a, refused[i].status, refused[i].code);
        ck_assert_str_eq(http_header(s.h, "Cache-Control"), "no-store");
    }
    ck_assert_str_eq(http_header(s.h, "Allow"), "GET, HEAD, PUT, DELETE, PATCH");
    ck_assert_str_eq(http_get(s.h, "/session/k?touch=false")->body, before);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract_session");
    TCase *tc = test_case(suite, "both backends", 60);
    tcase_add_loop_test(tc, post_makes_a_session_with_an_id_of_its_own, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, what_was_given_comes_back_byte_for_byte_and_exists_once, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_read_touches_unless_told_not_to_and_the_etag_stays, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, if_none_match_answers_304, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, put_creates_and_replaces_keeping_when_it_was_created, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, patch_keeps_what_it_does_not_name, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, writes_honour_if_match_and_if_none_match, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_terminal_state_is_left_by_force_alone, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, delete_says_204_whether_it_was_there_or_not, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, lists_are_paged_and_filtered_by_state, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, an_expired_session_is_gone_and_no_update_brings_it_back, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, the_expiry_slides_with_each_touch, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, bad_input_is_named_and_changes_nothing, 0, BACKEND_COUNT);
    return test_run(suite);
}
