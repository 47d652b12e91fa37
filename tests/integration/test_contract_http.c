/* The HTTP conventions: routes, methods, sizes, who may speak, request ids, the
 * listeners. What a client library would not send is in test_bad_input.c. */
#include "../support/raw_http.h"
#include "../support/stage.h"
#include "http/routes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct http_answer *ask(struct stage *s, const char *method, const char *path,
                                     const char *headers)
{
    return http_request(s->h, method, path, headers, NULL, 0);
}

START_TEST(unknown_paths_are_404_and_other_methods_405_with_allow)
{
    static const struct {
        const char *method, *path, *allow;
    } cases[] = {
        {"PUT", "/cache", "GET, HEAD, POST"},
        {"DELETE", "/cache", "GET, HEAD, POST"},
        {"POST", "/cache/k", "GET, HEAD, PUT, DELETE"},
        {"PATCH", "/cache/k", "GET, HEAD, PUT, DELETE"},
        {"GET", "/cache/lookup", "POST"},
        {"POST", "/livez", "GET, HEAD"},
        {"DELETE", "/metrics", "GET, HEAD"},
        {"FROBNICATE", "/status", "GET, HEAD"},
    };
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    static const char *const unknown[] = {"/",       "/nothing", "/cache/", "/cache/a/b",
                                          "/caches", "/livez/x", "/CACHE"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        const struct http_answer *a = http_get(s.h, unknown[i]);
        ck_assert_msg(a->status == 404 || (a->status == 400 && strcmp(unknown[i], "/cache/") == 0), "%s: %d",
                      unknown[i], a->status);
    }
    expect_problem(s.h, http_get(s.h, "/nothing"), 404, "no_such_route");
    expect_header(s.h, "Cache-Control", "no-store");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_problem(s.h, ask(&s, cases[i].method, cases[i].path, NULL), 405, "method_not_allowed");
        const char *allow = http_header(s.h, "Allow");
        ck_assert_msg(allow && strcmp(allow, cases[i].allow) == 0, "%s %s: Allow: %s", cases[i].method,
                      cases[i].path, allow ? allow : "(absent)");
    }
    stage_close(&s);
}
END_TEST

static const char *const small_bodies[] = {"PHOENIX_HTTP_BODY_MAX=16KiB", NULL};

START_TEST(a_body_over_the_limit_is_413_whether_its_length_is_told_or_not)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, small_bodies);
    size_t len = 100000;
    char *body = must_alloc(len + 1);
    memset(body, ' ', len);
    /* Refused by its headers: a client that sends on all the same may lose the answer to a reset, and asks
     * again. */
    const struct http_answer *a = NULL;
    WAIT_FOR((a = http_request(s.h, "PUT", "/cache/k", NULL, body, len))->status == 413, 3000);
    expect_problem(s.h, a, 413, "too_large");
    expect_problem(s.h, http_request(s.h, "PUT", "/cache/k", "Transfer-Encoding: chunked", body, len), 413,
                   "too_large");
    paste(body, "{\"response\":1}");
    EXPECT_STATUS(http_request(s.h, "PUT", "/cache/k", NULL, body, 16384), 201);
    EXPECT_STATUS(http_request(s.h, "PUT", "/cache/k", "Transfer-Encoding: chunked", body, 16384), 200);
    free(body);
    stage_close(&s);
}
END_TEST

START_TEST(a_length_over_the_limit_is_refused_before_the_body_is_sent)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, small_bodies);
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    raw_http_send(&w, "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n{");
    ck_assert_int_eq(raw_status(&w, NULL), 413);
    raw_http_close(&w);
    stage_close(&s);
}
END_TEST

START_TEST(a_long_url_is_414_and_many_headers_431)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    char *path = must_alloc(5001);
    memset(path, 'a', 5000);
    paste(path, "/cache/");
    expect_problem(s.h, http_get(s.h, path), 414, "uri_too_long");
    free(path);
    char headers[1024] = "";
    for (int i = 0; i < 70; i++) {
        size_t n = strlen(headers);
        format(headers + n, sizeof headers - n, "%sA%d: 1", i ? "\n" : "", i);
    }
    expect_problem(s.h, ask(&s, "GET", "/livez", headers), 431, "too_large");
    EXPECT_STATUS(http_get(s.h, "/livez"), 200);
    stage_close(&s);
}
END_TEST

START_TEST(foreign_hosts_and_origins_are_403)
{
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"Host: evil.example", 403},
        {"Host: evil.example:8379", 403},
        {"Host: localhost.evil.example", 403},
        {"Host: localhost", 404},
        {"Host: LOCALHOST:1", 404},
        {"Host: 127.0.0.1:8379", 404},
        {"Host: 127.9.9.9", 404},
        {"Host: [::1]:8379", 404},
        {"Host: app.localhost", 404},
        {"Host: cache.internal:8379", 404},
        {"Host: other.internal", 404},
        {"Origin: http://evil.example", 403},
        {"Origin: null", 403},
        {"Origin: http://localhost:3000", 404},
        {"Origin: https://cache.internal", 404},
        {"Origin: http://localhost.evil.example", 403},
        {"Origin: file://localhost", 403},
    };
    const char *env[] = {"PHOENIX_HTTP_ALLOWED_HOSTS=cache.internal, other.internal", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct http_answer *a = ask(&s, "GET", "/cache/k", cases[i].headers);
        ck_assert_msg(a->status == cases[i].status, "%s: %d", cases[i].headers, a->status);
        if (a->status == 403) expect_problem(s.h, a, 403, "forbidden");
    }
    stage_close(&s);
}
END_TEST

START_TEST(the_token_is_asked_for_and_reloaded_on_sighup)
{
    char file[TEST_PATH_MAX];
    char env_line[TEST_PATH_MAX + 32];
    scratch_path(file, "token");
    scratch_write(file, " first-token\n");
    const char *env[] = {FORMAT(env_line, "PHOENIX_HTTP_TOKEN_FILE=%s", file), NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    expect_problem(s.h, http_get(s.h, "/cache/k"), 401, "unauthorized");
    expect_header(s.h, "WWW-Authenticate", "Bearer");
    expect_problem(s.h, ask(&s, "GET", "/cache/k", "Authorization: Bearer first-toke"), 401, "unauthorized");
    expect_problem(s.h, ask(&s, "GET", "/cache/k", "Authorization: Basic first-token"), 401, "unauthorized");
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "Authorization: Bearer first-token"), 404);
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "authorization: bearer first-token"), 404);
    EXPECT_STATUS(http_get(s.h, "/livez"), 200);
    EXPECT_STATUS(http_get(s.h, "/readyz"), 200);
    EXPECT_STATUS(http_get(s.h, "/metrics"), 200);
    EXPECT_STATUS(http_get(s.h, "/status"), 401);
    EXPECT_STATUS(ask(&s, "GET", "/status", "Authorization: Bearer first-token"), 200);
    struct http_client *admin = http_open(daemon_admin_port(s.d));
    EXPECT_STATUS(http_get(admin, "/status"), 401);
    EXPECT_STATUS(http_get(admin, "/metrics"), 200);
    http_close(&admin);
    scratch_write(file, "second-token");
    daemon_signal(s.d, SIGHUP);
    WAIT_FOR(ask(&s, "GET", "/cache/k", "Authorization: Bearer second-token")->status == 404, 3000);
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "Authorization: Bearer first-token"), 401);
    ck_assert(!daemon_log_has(s.d, "second-token"));
    stage_close(&s);
}
END_TEST

/* As a mounted Secret changes: what is in a new directory, with one rename of the link to it. */
static void rotate(const char *directory, const char *version, const char *token)
{
    char path[2 * TEST_PATH_MAX], link[2 * TEST_PATH_MAX];
    ck_assert_int_eq(mkdir(FORMAT(path, "%s/%s", directory, version), 0700), 0);
    scratch_write(FORMAT(path, "%s/%s/token", directory, version), token);
    ck_assert_int_eq(symlink(version, FORMAT(path, "%s/..data_tmp", directory)), 0);
    ck_assert_int_eq(rename(path, FORMAT(link, "%s/..data", directory)), 0);
}

START_TEST(a_rotated_token_is_taken_without_a_signal)
{
    static const char failed[] = "token not reloaded; the old one stays";
    char directory[TEST_PATH_MAX], file[TEST_PATH_MAX + 16], line[TEST_PATH_MAX + 64];
    ck_assert_int_eq(mkdir(scratch_path(directory, "secrets"), 0700), 0);
    rotate(directory, "..1", "token-1");
    ck_assert_int_eq(symlink("..data/token", FORMAT(file, "%s/token", directory)), 0);
    const char *env[] = {FORMAT(line, "PHOENIX_HTTP_TOKEN_FILE=%s", file), NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "Authorization: Bearer token-1"), 404);
    rotate(directory, "..2", "token-2");
    WAIT_FOR(ask(&s, "GET", "/cache/k", "Authorization: Bearer token-2")->status == 404, 5000);
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "Authorization: Bearer token-1"), 401);
    rotate(directory, "..3", "");
    WAIT_FOR(daemon_log_count(s.d, failed) == 1, 5000);
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "Authorization: Bearer token-2"), 404);
    ck_assert_int_eq(unlink(file), 0);
    WAIT_FOR(daemon_log_count(s.d, failed) == 2, 5000);
    EXPECT_STATUS(ask(&s, "GET", "/cache/k", "Authorization: Bearer token-2"), 404);
    rotate(directory, "..4", "token-4");
    ck_assert_int_eq(symlink("..data/token", file), 0);
    WAIT_FOR(ask(&s, "GET", "/cache/k", "Authorization: Bearer token-4")->status == 404, 5000);
    ck_assert_uint_eq(daemon_log_count(s.d, failed), 2);
    WAIT_FOR(daemon_log_count(s.d, "token reloaded: its file has changed") == 2,
             5000); /* behind its taking */
    stage_close(&s);
}
END_TEST

START_TEST(the_request_id_is_echoed_or_made)
{
    char made[64];
    char value[128];
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    const struct http_answer *a = ask(&s, "GET", "/cache/k", "X-Request-Id: id-1/2~3");
    EXPECT_STATUS(a, 404);
    ck_assert_str_eq(http_header(s.h, "X-Request-Id"), "id-1/2~3");
    ck_assert_str_eq(MEMBER(value, a->body, "request_id"), "id-1/2~3");
    EXPECT_STATUS(ask(&s, "GET", "/livez", "X-Request-Id: x"), 200);
    ck_assert_str_eq(http_header(s.h, "X-Request-Id"), "x");
    EXPECT_STATUS(http_get(s.h, "/livez"), 200);
    expect_no_header(s.h, "X-Request-Id");
    a = http_get(s.h, "/cache/k");
    MEMBER(made, a->body, "request_id");
    ck_assert_msg(strlen(made) == 36 && made[14] == '7', "not a UUIDv7: %s", made);
    a = http_get(s.h, "/cache/k");
    ck_assert_str_ne(MEMBER(value, a->body, "request_id"), made);
    char longer[256];
    memset(longer, 'a', 200);
    paste(longer, "X-Request-Id: ");
    longer[200] = 0;
    ask(&s, "GET", "/cache/k", longer);
    const char *echoed = http_header(s.h, "X-Request-Id");
    ck_assert_msg(echoed == NULL || strlen(echoed) <= 128, "echoed %s", echoed ? echoed : "");
    stage_close(&s);
}
END_TEST

/* Whether the description has the path, whatever it calls the id. */
static bool described(const char *document, const char *route)
{
    char start[128];
    const char *id = strstr(route, "{id}");
    const char *suffix = id ? id + strlen("{id}") : "";
    FORMAT(start, "\"%.*s", (int)(id ? id - route : (long)strlen(route)), route);
    for (const char *p = document; (p = strstr(p, start)) != NULL; p++) {
        const char *end = p + strlen(start);
        if (id && *end != '{') continue;
        if (id) end += strcspn(end, "}\"") + 1;
        if (strncmp(end, suffix, strlen(suffix)) == 0 && strncmp(end + strlen(suffix), "\": {", 4) == 0)
            return true;
    }
    return false;
}

START_TEST(every_route_is_described)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    const struct http_answer *a = http_get(s.h, "/openapi.json");
    EXPECT_STATUS(a, 200);
    for (unsigned i = 0; i < ROUTE_UNKNOWN; i++)
        ck_assert_msg(described(a->body, http_route_names[i]), "%s is not described", http_route_names[i]);
    stage_close(&s);
}
END_TEST

static void expect_operations(struct http_client *h)
{
    char value[64];
    EXPECT_STATUS(http_get(h, "/livez"), 200);
    expect_header(h, "Cache-Control", "no-store");
    const struct http_answer *a = http_get(h, "/readyz");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "status"), "ready");
    ck_assert_str_eq(MEMBER(value, a->body, "mode"), "embedded");
    ck_assert_str_ne(MEMBER(value, a->body, "journal"), "");
    ck_assert_ptr_nonnull(strstr(a->body, "\"redis\""));
    ck_assert_ptr_nonnull(strstr(a->body, "\"warnings\""));
    a = http_get(h, "/metrics");
    EXPECT_STATUS(a, 200);
    expect_header(h, "Content-Type", "text/plain; version=0.0.4");
    ck_assert_ptr_nonnull(strstr(a->body, "# TYPE phoenix_http_requests_total counter"));
    a = http_get(h, "/openapi.json");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"openapi\""));
    a = http_get(h, "/status");
    EXPECT_STATUS(a, 200);
    ck_assert_int_eq(a->body[0], '{');
    expect_header(h, "Content-Type", "application/json");
}

START_TEST(both_listeners_and_the_socket_serve_operations)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.unix_socket = true});
    struct http_client *clients[] = {daemon_client(d), http_open(daemon_admin_port(d)),
                                     http_open_unix(daemon_socket(d))};
    for (size_t i = 0; i < 3; i++)
        expect_operations(clients[i]);
    EXPECT_STATUS(http_get(clients[1], "/cache/k"), 404);
    expect_problem(clients[1], http_get(clients[1], "/cache/k"), 404, "no_such_route");
    EXPECT_STATUS(http_send(clients[2], "PUT", "/cache/k", "{\"response\":1}"), 201);
    EXPECT_STATUS(http_request(clients[2], "GET", "/cache/k", "Host: any.example", NULL, 0), 200);
    EXPECT_STATUS(http_get(clients[0], "/cache/k"), 200);
    for (size_t i = 0; i < 3; i++)
        http_close(&clients[i]);
    daemon_stop(&d);
}
END_TEST

START_TEST(requests_are_counted_by_route_and_status)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    for (int i = 0; i < 3; i++)
        EXPECT_STATUS(http_get(s.h, "/cache/k"), 404);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":1}"), 201);
    http_get(s.h, "/livez"); /* counted after the answer; this one came later */
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_requests_total{route=\"/cache/{id}\",status=\"404\"}") == 3,
             2000);
    ck_assert(daemon_metric(s.d, "phoenix_http_requests_total{route=\"/cache/{id}\",status=\"201\"}") == 1);
    ck_assert(daemon_metric(s.d, "phoenix_cache_reads_total{source=\"miss\"}") == 3);
    stage_close(&s);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    char text[4096] = "";
    for (int i = 0; i < 8; i++) {
        size_t n = strlen(text);
        format(text + n, sizeof text - n,
               "PUT /cache/p%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{\"response\":%d}"
               "GET /cache/p%d HTTP/1.1\r\nHost: localhost\r\n\r\n",
               i, i, i);
    }
    raw_http_send(&w, text);
    for (int i = 0; i < 8; i++) {
        char value[16];
        char number[16];
        ck_assert_int_eq(raw_status(&w, NULL), 201);
        struct raw_response a;
        ck_assert_int_eq(raw_status(&w, &a), 200);
        ck_assert_str_eq(MEMBER(value, a.body, "response"), FORMAT(number, "%d", i));
        raw_response_free(&a);
    }
    raw_http_close(&w);
    stage_close(&s);
}
END_TEST

START_TEST(a_half_closed_connection_gets_its_answer)
{
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":1}"), 201);
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    raw_http_send(&w, "GET /cache/k HTTP/1.1\r\nHost: localhost\r\n\r\n");
    (void)shutdown(w.fd, SHUT_WR);
    ck_assert_int_eq(raw_status(&w, NULL), 200);
    ck_assert(raw_http_wait_closed(&w, (int)test_ms(3000)));
    raw_http_close(&w);
    stage_close(&s);
}
END_TEST

START_TEST(expect_100_continue_is_honoured)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(s.d));
    raw_http_send(
        &w, "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_msg(raw_http_readable(&w, (int)test_ms(3000)), "no 100 Continue");
    raw_http_send(&w, "{\"response\":1}");
    ck_assert_int_eq(raw_status(&w, NULL), 201);
    raw_http_close(&w);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract_http");
    TCase *tc = test_case(suite, "http", 30);
    tcase_add_test(tc, unknown_paths_are_404_and_other_methods_405_with_allow);
    tcase_add_test(tc, a_body_over_the_limit_is_413_whether_its_length_is_told_or_not);
    tcase_add_test(tc, a_length_over_the_limit_is_refused_before_the_body_is_sent);
    tcase_add_test(tc, a_long_url_is_414_and_many_headers_431);
    tcase_add_test(tc, foreign_hosts_and_origins_are_403);
    tcase_add_test(tc, the_token_is_asked_for_and_reloaded_on_sighup);
    tcase_add_test(tc, a_rotated_token_is_taken_without_a_signal);
    tcase_add_test(tc, the_request_id_is_echoed_or_made);
    tcase_add_test(tc, every_route_is_described);
    tcase_add_test(tc, both_listeners_and_the_socket_serve_operations);
    tcase_add_test(tc, requests_are_counted_by_route_and_status);
    tcase_add_test(tc, pipelined_requests_are_answered_in_order);
    tcase_add_test(tc, a_half_closed_connection_gets_its_answer);
    tcase_add_test(tc, expect_100_continue_is_honoured);
    return test_run(suite);
}
