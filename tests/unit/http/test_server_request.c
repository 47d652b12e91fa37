/* What a request must look like, and what is said to those that do not. */
#include "../../support/http_house.h"
#include "../../support/raw_http.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOST "Host: localhost\r\n"

static struct house house;

static void set_up(void)
{
    house_start(&house, NULL);
}

static void tear_down(void)
{
    house_stop(&house);
}

static void expect_problem(const struct raw_response *r, int status, const char *code)
{
    char want[64];
    (void)snprintf(want, sizeof want, "\"code\":\"%s\"", code);
    ck_assert_int_eq(r->status, status);
    ck_assert_str_eq(raw_response_header(r, "Content-Type"), "application/problem+json");
    ck_assert_ptr_nonnull(strstr(r->body, want));
    ck_assert_ptr_nonnull(strstr(r->body, "\"request_id\":\""));
}

static const struct {
    const char *request;
    int status;
    const char *code, *names; /* what the detail must contain */
} refusals[] = {
    {"GET /livez HTTP/1.1\r\n\r\n", 400, "invalid_argument", "Host"},
    {"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "invalid_argument", "Host"},
    {"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid_argument", "Host"},
    {"GET /livez HTTP/1.1\r\nHost:\r\n\r\n", 400, "invalid_argument", "Host"},
    {"GET /livez HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400,
     "invalid_argument", "Content-Length"},
    {"POST /cache HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "invalid_argument", "Transfer-Encoding"},
    {"POST /cache HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "invalid_argument",
     "Transfer-Encoding"},
    {"POST /cache HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
     "invalid_argument", "Transfer-Encoding"},
    {"POST /cache HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400, "invalid_argument",
     "HTTP/1.1"},
    {"POST /cache HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\nhello", 400, "invalid_argument", "header"},
    {"GET http://localhost/livez HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_argument", "path"},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_argument", "path"},
    {"GET /livez\t HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_argument", "URL"},
    {"GET /liv\x01z HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_argument", "URL"},
    {"GET /livez HTTP/1.1\r\n" HOST "X-A: 1\r\n  2\r\n\r\n", 400, "invalid_argument", "folded"},
    {"GET /livez HTTP/1.1\r\nX-A: 1\n" HOST "\r\n", 400, "invalid_argument", "CR LF"},
    {"GET /livez HTTP/1.1\r\n" HOST "X-A: 1\r2\r\n\r\n", 400, "invalid_argument", "control"},
    {"GET /livez HTTP/1.1\r\n" HOST "X\x01: 1\r\n\r\n", 400, "invalid_argument", "token"},
};

START_TEST(a_malformed_request_is_answered_400_and_closed)
{
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r = raw_http_ask(&c, refusals[_i].request);
    expect_problem(&r, refusals[_i].status, refusals[_i].code);
    ck_assert_msg(strstr(r.body, refusals[_i].names) != NULL, "%s", r.body);
    ck_assert(raw_http_wait_closed(&c, 5000));
    ck_assert_uint_eq(house.dispatched, 0);
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

START_TEST(a_nul_in_the_head_is_answered_400)
{
    static const struct slice requests[] = {
        SLICE_LITERAL("GET /livez HTTP/1.1\r\nHost: localhost\0.evil\r\n\r\n"),
        SLICE_LITERAL("GET /livez HTTP/1.1\r\nHost: localhost\0\0evil\r\nX-A: 1\r\n\r\n"),
        SLICE_LITERAL("GET /livez\0x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        SLICE_LITERAL("GET /livez?a\0x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    };
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r = {0};
    ck_assert(raw_http_send_bytes(&c, requests[_i].ptr, requests[_i].len));
    if (raw_http_receive(&c, false, &r)) ck_assert_int_eq(r.status, 400);
    ck_assert(raw_http_wait_closed(&c, 5000));
    ck_assert_uint_eq(house.dispatched, 0);
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

START_TEST(a_url_over_4096_bytes_is_answered_414_one_of_4096_is_served)
{
    char request[8192], query[4096];
    for (size_t i = 0; i < sizeof query; i++)
        query[i] = i % 2 ? '&' : 'a'; /* as arguments these would not fit into the parser's memory */
    for (int over = 0; over < 2; over++) {
        int len = 4096 - (int)strlen("/cache?") + over;
        (void)snprintf(request, sizeof request, "GET /cache?%.*s HTTP/1.1\r\n" HOST "\r\n", len, query);
        struct raw_http c = raw_http_tcp(house.port);
        struct raw_response r = raw_http_ask(&c, request);
        if (over) {
            expect_problem(&r, 414, "uri_too_long");
            ck_assert(raw_http_wait_closed(&c, 5000));
        } else {
            ck_assert_int_eq(r.status, 200);
            ck_assert_uint_eq(r.body_len, (size_t)len);
            ck_assert_int_eq(memcmp(r.body, query, (size_t)len), 0);
        }
        raw_response_free(&r);
        raw_http_close(&c);
    }
    ck_assert_uint_eq(house_metric(&house, METRIC_BOUND_HIT, HTTP_BOUND_URI, 0), 1);
}
END_TEST

START_TEST(over_64_headers_are_answered_431_and_64_are_served)
{
    for (int count = 64; count <= 65; count++) {
        char request[2048] = "GET /livez HTTP/1.1\r\n" HOST;
        size_t len = strlen(request);
        for (int i = 1; i < count; i++)
            len += (size_t)snprintf(request + len, sizeof request - len, "A: 1\r\n");
        (void)snprintf(request + len, sizeof request - len, "\r\n");
        struct raw_http c = raw_http_tcp(house.port);
        struct raw_response r = raw_http_ask(&c, request);
        if (count == 64)
            ck_assert_int_eq(r.status, 200);
        else
            expect_problem(&r, 431, "too_large");
        raw_response_free(&r);
        raw_http_close(&c);
    }
}
END_TEST

START_TEST(the_raw_query_reaches_the_handler)
{
    struct raw_http c = raw_http_tcp(house.port);
    static const char *const queries[] = {"input=a+b%20c&x", "", "?", "a=%00&b=%zz", "=&&=", "\xc3\xbc"};
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        char request[256];
        (void)snprintf(request, sizeof request, "GET /cache?%s HTTP/1.1\r\n" HOST "\r\n", queries[i]);
        struct raw_response r = raw_http_ask(&c, request);
        ck_assert_int_eq(r.status, 200);
        ck_assert_str_eq(r.body, queries[i]);
        raw_response_free(&r);
    }
    raw_http_close(&c);
}
END_TEST

START_TEST(ids_are_decoded_once_and_checked)
{
    struct raw_http c = raw_http_tcp(house.port);
    static const struct {
        const char *raw;
        int status;
        const char *body;
    } cases[] = {
        {"a.b:c@d_e-f", 200, "a.b:c@d_e-f"},
        {"a%2eb", 200, "a.b"},
        {"a%2Fb", 400, NULL},
        {"%2e%2e", 400, NULL},
        {"a%00b", 400, NULL},
        {"a%", 400, NULL},
        {"a+b", 400, NULL},
        {"a%252eb", 400, NULL},
        {"a*", 400, NULL},
        {"..", 400, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char request[256];
        (void)snprintf(request, sizeof request, "GET /cache/%s HTTP/1.1\r\n" HOST "\r\n", cases[i].raw);
        struct raw_response r = raw_http_ask(&c, request);
        ck_assert_int_eq(r.status, cases[i].status);
        if (cases[i].body) ck_assert_str_eq(r.body, cases[i].body);
        raw_response_free(&r);
    }
    raw_http_close(&c);
}
END_TEST

START_TEST(unknown_paths_are_404_and_other_methods_405_with_allow_on_a_connection_that_stays)
{
    static const struct {
        const char *line;
        int status;
        const char *allow;
    } cases[] = {
        {"GET /nope", 404, NULL},
        {"GET /cache/", 404, NULL},
        {"GET /cache/a/", 404, NULL},
        {"GET /cache/a/b", 404, NULL},
        {"GET /livez/", 404, NULL},
        {"GET /cache/lookup", 405, "POST"},
        {"DELETE /cache", 405, "GET, HEAD, POST"},
        {"POST /cache/a", 405, "GET, HEAD, PUT, DELETE"},
        {"OPTIONS /cache/a", 405, "GET, HEAD, PUT, DELETE"},
        {"BREW /livez", 405, "GET, HEAD"},
    };
    struct raw_http c = raw_http_tcp(house.port);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char request[256];
        (void)snprintf(request, sizeof request, "%s HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}",
                       cases[i].line);
        struct raw_response r = raw_http_ask(&c, request);
        expect_problem(&r, cases[i].status, cases[i].status == 404 ? "no_such_route" : "method_not_allowed");
        if (cases[i].allow) ck_assert_str_eq(raw_response_header(&r, "Allow"), cases[i].allow);
        raw_response_free(&r);
    }
    ck_assert_uint_eq(house_metric(&house, METRIC_HTTP_REQUESTS, ROUTE_UNKNOWN, HTTP_STATUS_404), 5);
    ck_assert_uint_eq(house_metric(&house, METRIC_HTTP_REQUESTS, ROUTE_CACHE_KEY, HTTP_STATUS_405), 2);
    raw_http_close(&c);
}
END_TEST

START_TEST(head_tells_the_length_and_sends_no_body)
{
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r = raw_http_ask(&c, "HEAD /cache/hello HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(raw_response_header(&r, "Content-Length"), "5");
    raw_response_free(&r);
    r = raw_http_ask(&c, "GET /cache/hello HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_str_eq(r.body, "hello");
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

START_TEST(a_request_id_is_echoed_and_shown_and_a_bad_one_is_400)
{
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r = raw_http_ask(&c, "GET /livez HTTP/1.1\r\n" HOST "X-Request-Id:  me/1 \r\n\r\n");
    ck_assert_str_eq(raw_response_header(&r, "X-Request-Id"), "me/1");
    raw_response_free(&r);
    r = raw_http_ask(&c, "GET /nope HTTP/1.1\r\n" HOST "X-Request-Id: me\r\n\r\n");
    ck_assert_str_eq(raw_response_header(&r, "X-Request-Id"), "me");
    ck_assert_ptr_nonnull(strstr(r.body, "\"request_id\":\"me\""));
    raw_response_free(&r);
    r = raw_http_ask(&c, "GET /livez HTTP/1.1\r\n" HOST "X-Request-Id: a b\r\n\r\n");
    expect_problem(&r, 400, "invalid_argument");
    ck_assert_ptr_nonnull(strstr(r.body, "X-Request-Id"));
    ck_assert_ptr_null(raw_response_header(&r, "X-Request-Id"));
    raw_response_free(&r);
    r = raw_http_ask(&c, "GET /livez HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_ptr_null(raw_response_header(&r, "X-Request-Id"));
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

START_TEST(a_problem_has_all_its_members)
{
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r =
        raw_http_ask(&c, "GET /cache/problem?q HTTP/1.1\r\n" HOST "X-Request-Id: 7\r\n\r\n");
    ck_assert_int_eq(r.status, 409);
    ck_assert_str_eq(raw_response_header(&r, "Retry-After"), "2");
    ck_assert_str_eq(raw_response_header(&r, "Cache-Control"), "no-store");
    ck_assert_str_eq(r.body,
                     "{\"type\":\"about:blank\",\"title\":\"Redis holds something else under this key\","
                     "\"status\":409,\"code\":\"foreign_value\",\"detail\":\"a \\\"list\\\"\","
                     "\"instance\":\"/cache/problem\",\"request_id\":\"7\",\"retry_after_ms\":1500}");
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

START_TEST(http_1_0_needs_no_host)
{
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r = raw_http_ask(&c, "GET /livez HTTP/1.0\r\n\r\n");
    ck_assert_int_eq(r.status, 200);
    ck_assert(raw_http_wait_closed(&c, 5000));
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

static int ask_status(struct raw_http *c, const char *path, const char *headers)
{
    char request[512];
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n%s\r\n", path, headers);
    struct raw_response r = raw_http_ask(c, request);
    int status = r.status;
    if (status == 401) ck_assert_str_eq(raw_response_header(&r, "WWW-Authenticate"), "Bearer");
    raw_response_free(&r);
    return status;
}

START_TEST(web_pages_are_kept_out_of_the_tcp_listener)
{
    struct raw_http c = raw_http_tcp(house.port), u = raw_http_unix(house.unix_path);
    ck_assert_int_eq(ask_status(&c, "/livez", "Host: evil.example\r\n"), 403);
    ck_assert_int_eq(ask_status(&c, "/nope", "Host: evil.example\r\n"), 403);
    ck_assert_int_eq(ask_status(&c, "/livez", HOST "Origin: http://evil.example\r\n"), 403);
    ck_assert_int_eq(ask_status(&c, "/livez", HOST "Origin: null\r\n"), 403);
    ck_assert_int_eq(ask_status(&c, "/livez", HOST "Origin: http://localhost:3000\r\n"), 200);
    ck_assert_int_eq(ask_status(&u, "/livez", "Host: anything\r\nOrigin: http://evil.example\r\n"), 200);
    raw_http_close(&c);
    raw_http_close(&u);
}
END_TEST

static void start_with_token(enum http_listener listener, const char *token)
{
    char path[] = "/tmp/phoenix-token-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, token, strlen(token)), (ssize_t)strlen(token));
    (void)close(fd);
    struct house_options o = {
        .listener = listener, .token_file = path, .allowed_hosts = "pod.example, other"};
    house_start(&house, &o);
    (void)unlink(path);
}

START_TEST(the_token_is_asked_for_but_on_open_routes)
{
    start_with_token(HTTP_LISTENER_API, "s3cret\n");
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert_int_eq(ask_status(&c, "/cache/a", HOST), 401);
    ck_assert_int_eq(ask_status(&c, "/nope", HOST), 401);
    ck_assert_int_eq(ask_status(&c, "/cache/*", HOST "Authorization: Bearer wrong\r\n"), 401);
    ck_assert_int_eq(ask_status(&c, "/cache/a", HOST "Authorization: bearer s3cret\r\n"), 200);
    ck_assert_int_eq(ask_status(&c, "/nope", HOST "Authorization: Bearer s3cret\r\n"), 404);
    ck_assert_int_eq(ask_status(&c, "/livez", "Host: pod.example:80\r\n"), 200);
    ck_assert_int_eq(ask_status(&c, "/livez", "Host: evil.example\r\n"), 403);
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(the_admin_listener_lets_probes_in_by_any_host)
{
    struct house_options o = {.listener = HTTP_LISTENER_ADMIN};
    house_start(&house, &o);
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert_int_eq(ask_status(&c, "/livez", "Host: 10.1.2.3:8380\r\n"), 200);
    ck_assert_int_eq(ask_status(&c, "/livez", "Host: 10.1.2.3\r\nOrigin: http://evil.example\r\n"), 403);
    ck_assert_int_eq(ask_status(&c, "/status", "Host: 10.1.2.3\r\n"), 403);
    ck_assert_int_eq(ask_status(&c, "/status", HOST), 200);
    ck_assert_int_eq(ask_status(&c, "/cache/a", HOST), 404);
    raw_http_close(&c);
    house_stop(&house);
    start_with_token(HTTP_LISTENER_ADMIN, "s3cret");
    c = raw_http_tcp(house.port);
    ck_assert_int_eq(ask_status(&c, "/status", "Host: 10.1.2.3\r\n"), 401);
    ck_assert_int_eq(ask_status(&c, "/status", "Host: 10.1.2.3\r\nAuthorization: Bearer s3cret\r\n"), 200);
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server_request");
    TCase *plain = tcase_create("plain"), *own = tcase_create("own house");
    tcase_add_checked_fixture(plain, set_up, tear_down);
    tcase_add_loop_test(plain, a_malformed_request_is_answered_400_and_closed, 0,
                        sizeof refusals / sizeof refusals[0]);
    tcase_add_loop_test(plain, a_nul_in_the_head_is_answered_400, 0, 4);
    tcase_add_test(plain, a_url_over_4096_bytes_is_answered_414_one_of_4096_is_served);
    tcase_add_test(plain, over_64_headers_are_answered_431_and_64_are_served);
    tcase_add_test(plain, the_raw_query_reaches_the_handler);
    tcase_add_test(plain, ids_are_decoded_once_and_checked);
    tcase_add_test(plain, unknown_paths_are_404_and_other_methods_405_with_allow_on_a_connection_that_stays);
    tcase_add_test(plain, head_tells_the_length_and_sends_no_body);
    tcase_add_test(plain, a_request_id_is_echoed_and_shown_and_a_bad_one_is_400);
    tcase_add_test(plain, a_problem_has_all_its_members);
    tcase_add_test(plain, http_1_0_needs_no_host);
    tcase_add_test(plain, web_pages_are_kept_out_of_the_tcp_listener);
    tcase_add_test(own, the_token_is_asked_for_but_on_open_routes);
    tcase_add_test(own, the_admin_listener_lets_probes_in_by_any_host);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, own);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
