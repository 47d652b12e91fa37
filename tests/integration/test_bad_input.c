/* Bad input: a clear 4xx that names the place, or a closed connection; nothing stored, nobody else
 * disturbed. */
#include "../support/load.h"
#include "../support/raw_http.h"
#include "../support/stage.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

/* From 1.0 on the parser answers some of these itself, in HTML. */
#if MHD_VERSION >= 0x01000000
static const bool parser_answers = true;
#else
static const bool parser_answers = false;
#endif

static const struct {
    const char *what, *request;
} malformed[] = {
    {"no Host", "GET /livez HTTP/1.1\r\n\r\n"},
    {"two Hosts", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"},
    {"a Host that is none", "GET /livez HTTP/1.1\r\nHost: local host\r\n\r\n"},
    {"two Content-Lengths that differ", "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                                        "14\r\nContent-Length: 15\r\n\r\n{\"response\":1}"},
    {"two Content-Lengths", "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                            "14\r\nContent-Length: 14\r\n\r\n{\"response\":1}"},
    {"Content-Length with chunked",
     "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\nTransfer-Encoding: "
     "chunked\r\n\r\ne\r\n{\"response\":1}\r\n0\r\n\r\n"},
    {"gzip, chunked", "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, "
                      "chunked\r\n\r\ne\r\n{\"response\":1}"
                      "\r\n0\r\n\r\n"},
    {"identity",
     "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n{\"response\":1}"},
    {"a path without a slash", "GET livez HTTP/1.1\r\nHost: localhost\r\n\r\n"},
    {"an asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"},
    {"a negative length",
     "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{\"response\":1}"},
    {"a length that is none",
     "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14x\r\n\r\n{\"response\":1}"},
    {"a bad chunk size", "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
                         "chunked\r\n\r\nzz\r\n{\"response\":1}\r\n"},
    {"no HTTP at all", "\x16\x03\x01\x02garbage\r\n\r\n"},
};

START_TEST(malformed_requests_are_400_or_closed_and_the_connection_ends)
{
    struct stage s =
        stage_open(BACKEND_EMBEDDED, (const char *[]){"PHOENIX_HTTP_REQUEST_TIMEOUT_MS=1000", NULL});
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
        raw_http_send(&w, malformed[i].request);
        int status = raw_status(&w, NULL);
        bool closed = raw_http_wait_closed(&w, (int)test_ms(5000));
        raw_http_close(&w);
        ck_assert_msg(status == 400 || status == 0, "%s: %d", malformed[i].what, status);
        ck_assert_msg(closed, "%s: the connection stays open", malformed[i].what);
    }
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 404);
    stage_close(&s);
}
END_TEST

START_TEST(what_the_daemon_refuses_itself_is_a_problem)
{
    /* those that reach the daemon's own checks; the parser may close on the others */
    static const size_t own[] = {0, 1, 2, 5, 6};
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
        raw_http_send(&w, malformed[own[i]].request);
        struct raw_response a;
        int status = raw_status(&w, &a);
        ck_assert_msg(status == 400, "%s: %d", malformed[own[i]].what, status);
        ck_assert_msg(strstr(a.body, "\"invalid_argument\"") ||
                          (parser_answers && strncmp(a.body, "<html>", 6) == 0),
                      "%s: %s", malformed[own[i]].what, a.body);
        raw_response_free(&a);
        raw_http_close(&w);
    }
    stage_close(&s);
}
END_TEST

START_TEST(a_request_after_a_refused_one_is_not_smuggled)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    raw_http_send(
        &w, "PUT /cache/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: "
            "chunked\r\n\r\n0\r\n\r\n"
            "PUT /cache/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{\"response\":1}");
    ck_assert(raw_http_wait_closed(&w, (int)test_ms(3000)));
    raw_http_close(&w);
    EXPECT_STATUS(http_get(s.h, "/cache/smuggled"), 404);
    stage_close(&s);
}
END_TEST

START_TEST(huge_headers_are_431_or_closed)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    size_t len = 100000;
    char *text = must_alloc(len + 1);
    memset(text, 'a', len);
    paste(text, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ");
    paste(text + len - 4, "\r\n\r\n");
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    (void)raw_http_send_bytes(&w, text, len);
    int status = raw_status(&w, NULL);
    raw_http_close(&w);
    ck_assert_msg(status == 431 || status == 400 || status == 0, "%d", status);
    free(text);
    EXPECT_STATUS(http_get(s.h, "/livez"), 200);
    stage_close(&s);
}
END_TEST

static const char *const bad_ids[] = {
    "%2F",   "a%2Fb", "%00", "a%00b", "a%0Ab", "a%0d%0ab", "%20",    "a%7Fb", "%C3%A9", "%2A", "{x}",
    "a%3Fb", "%",     "%1",  "%zz",   ".",     "..",       "%2e%2e", "a+b",   "a!b",    "a~b",
};

START_TEST(ids_with_other_characters_are_400)
{
    char path[512];
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    for (size_t i = 0; i < sizeof bad_ids / sizeof bad_ids[0]; i++) {
        FORMAT(path, "/cache/%s", bad_ids[i]);
        const struct http_answer *a = http_send(s.h, "PUT", path, "{\"response\":1}");
        ck_assert_msg(a->status == 400, "%s: %d %s", path, a->status, a->body);
        expect_problem(s.h, a, 400, "invalid_argument");
        EXPECT_STATUS(http_get(s.h, path), 400);
        EXPECT_STATUS(http_send(s.h, "DELETE", path, NULL), 400);
    }
    FORMAT(path, "/cache/%0257d", 1);
    EXPECT_STATUS(http_send(s.h, "PUT", path, "{\"response\":1}"), 400);
    ck_assert_int_eq(resp_integer(s.r, "DBSIZE"), 0);
    FORMAT(path, "/cache/%0256d", 1);
    EXPECT_STATUS(http_send(s.h, "PUT", path, "{\"response\":1}"), 201);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/%61%3A%40-_.", "{\"response\":1}"), 201);
    EXPECT_STATUS(http_get(s.h, "/cache/a:@-_."), 200);
    stage_close(&s);
}
END_TEST

START_TEST(broken_query_escapes_are_400)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    expect_problem(s.h, http_get(s.h, "/cache?input=%zz"), 400, "invalid_argument");
    expect_problem(s.h, http_get(s.h, "/cache?input=%"), 400, "invalid_argument");
    expect_problem(s.h, http_get(s.h, "/cache?input=%FF"), 400, "invalid_argument"); /* not UTF-8 */
    expect_problem(s.h, http_get(s.h, "/cache?unknown=1"), 400, "invalid_argument");
    const struct http_answer *a = http_get(s.h, "/cache?input=q&unknown=1");
    ck_assert_ptr_nonnull(strstr(a->body, "unknown"));
    stage_close(&s);
}
END_TEST

START_TEST(invalid_json_is_named_by_line_and_column)
{
    char value[256];
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    const struct http_answer *a = http_send(s.h, "PUT", "/cache/k", "{\n\"response\": 1,\n  \"ttl\": x}");
    expect_problem(s.h, a, 400, "invalid_json");
    MEMBER(value, a->body, "detail");
    ck_assert_msg(strstr(value, "line 3") && strstr(value, "column 10"), "%s", value);
    a = http_send(s.h, "PUT", "/cache/k", "{\"response\": 1, \"nonsense\": 2}");
    ck_assert_msg(strstr(a->body, "nonsense"), "%s", a->body);
    a = http_send(s.h, "POST", "/cache", "{\"response\": 1}");
    ck_assert_msg(strstr(a->body, "input"), "%s", a->body);
    stage_close(&s);
}
END_TEST

static void nested(char *out, size_t size, size_t depth)
{
    size_t n = strlen(format(out, size, "{\"response\":"));
    memset(out + n, '[', depth);
    memset(out + n + depth, ']', depth);
    format(out + n + 2 * depth, size - n - 2 * depth, "}");
}

START_TEST(nesting_over_128_is_422)
{
    char body[1024];
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    nested(body, sizeof body, 127); /* with the body's own object: 128 */
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", body), 201);
    nested(body, sizeof body, 128);
    expect_problem(s.h, http_send(s.h, "PUT", "/cache/other", body), 422, "unprocessable");
    EXPECT_STATUS(http_get(s.h, "/cache/other"), 404);
    stage_close(&s);
}
END_TEST

START_TEST(a_whole_body_of_brackets_is_refused_at_once)
{
    size_t len = 8u << 20;
    char *body = must_alloc(len + 1);
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    for (size_t i = 0; i < len; i++)
        body[i] = i % 3 == 0 ? '[' : i % 3 == 1 ? '0' : ',';
    const struct http_answer *a = http_request(s.h, "PUT", "/cache/k", NULL, body, len);
    EXPECT_STATUS(a, 422);
    if (!test_sanitized()) ck_assert_int_lt(a->took_us, 1000000);
    free(body);
    stage_close(&s);
}
END_TEST

/* --- slow senders --- */

static void keep_reading(struct load_thread *t)
{
    const struct http_answer *a = http_get(t->http, "/cache/k");
    if (a->status != 200) load_fail(t, "another connection was disturbed: %d %s", a->status, a->error);
    poll_pause();
}

/* Sends a byte every few milliseconds until closed. Returns how long that took. */
static int64_t dribble(int port, const char *first)
{
    struct raw_http w = raw_http_tcp((uint16_t)port);
    int64_t from = now_ms();
    bool open = raw_http_send(&w, first);
    while (open && now_ms() - from < test_ms(10000))
        open = raw_http_send(&w, "a") && !raw_http_wait_closed(&w, (int)test_ms(20));
    raw_http_close(&w);
    return now_ms() - from;
}

START_TEST(slow_senders_are_closed_while_others_are_served)
{
    static const char *const firsts[] = {
        "GET /cache/k HTTP/1.1\r\nHost: localhost\r\nX: ",
        "PUT /cache/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{",
        "GET /cac",
        "PUT /cache/slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{",
    };
    struct stage s =
        stage_open(BACKEND_EMBEDDED, (const char *[]){"PHOENIX_HTTP_REQUEST_TIMEOUT_MS=300", NULL});
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":1}"), 201);
    struct load *l = load_start(2, daemon_port(s.d), keep_reading, NULL);
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
        int64_t took = dribble(daemon_port(s.d), firsts[i]);
        ck_assert_msg(took >= 250 && took < test_ms(3000), "%s: closed after %d ms", firsts[i], (int)took);
    }
    load_stop(&l);
    EXPECT_STATUS(http_get(s.h, "/cache/slow"), 404);
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_inflight_bytes") == 0, 3000);
    stage_close(&s);
}
END_TEST

START_TEST(idle_connections_are_closed)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, (const char *[]){"PHOENIX_HTTP_IDLE_TIMEOUT_MS=300", NULL});
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    raw_http_send(&w, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ck_assert_int_eq(raw_status(&w, NULL), 200);
    ck_assert(raw_http_wait_closed(&w, (int)test_ms(5000)));
    raw_http_close(&w);
    stage_close(&s);
}
END_TEST

/* libmicrohttpd may miss an end that came with the data: the request timeout then closes the connection */
START_TEST(a_client_that_leaves_in_the_middle_leaves_nothing_behind)
{
    struct stage s = stage_open(BACKEND_REDIS, (const char *[]){"PHOENIX_HTTP_REQUEST_TIMEOUT_MS=500", NULL});
    for (int i = 0; i < 50; i++) {
        struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
        raw_http_send(
            &w, i % 2 ? "PUT /cache/gone HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"resp"
                      : "GET /cache/gone HTTP/1.1\r\nHost: localhost\r\n\r\n");
        raw_http_close(&w);
    }
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_connections") <= 2, 5000);
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_inflight_bytes") == 0, 5000);
    EXPECT_STATUS(http_get(s.h, "/cache/gone"), 404);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bad_input");
    TCase *tc = test_case(suite, "bad input", 60);
    tcase_add_test(tc, malformed_requests_are_400_or_closed_and_the_connection_ends);
    tcase_add_test(tc, what_the_daemon_refuses_itself_is_a_problem);
    tcase_add_test(tc, a_request_after_a_refused_one_is_not_smuggled);
    tcase_add_test(tc, huge_headers_are_431_or_closed);
    tcase_add_test(tc, ids_with_other_characters_are_400);
    tcase_add_test(tc, broken_query_escapes_are_400);
    tcase_add_test(tc, invalid_json_is_named_by_line_and_column);
    tcase_add_test(tc, nesting_over_128_is_422);
    tcase_add_test(tc, a_whole_body_of_brackets_is_refused_at_once);
    tcase_add_test(tc, slow_senders_are_closed_while_others_are_served);
    tcase_add_test(tc, idle_connections_are_closed);
    tcase_add_test(tc, a_client_that_leaves_in_the_middle_leaves_nothing_behind);
    return test_run(suite);
}
