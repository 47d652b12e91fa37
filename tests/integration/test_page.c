/* The page and what it needs, on the admin listener of a real daemon: routes, headers, the policy's hashes,
 * dead letters, and who is let in. What it looks like and does in a browser is tests/page.sh's. */
#include "../support/stage.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_PAGE "text/html; charset=utf-8"

static struct stage s;
static struct http_client *admin;

static void open_stage(int backend)
{
    static const char *const env[] = {"PHOENIX_TASKS_RETRY_BASE_MS=1", NULL};
    s = stage_open((enum backend)backend, env);
    admin = http_open(daemon_admin_port(s.d));
}

static void close_stage(void)
{
    http_close(&admin);
    stage_close(&s);
}

/* 'sha256-<base64>' of what stands between the two marks: what a browser computes. */
static void expect_hashed(const char *policy, const char *page, const char *from, const char *to)
{
    char expected[128];
    unsigned char digest[EVP_MAX_MD_SIZE], base64[2 * EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    const char *start = strstr(page, from), *end = start ? strstr(start, to) : NULL;
    if (!end) {
        ck_abort_msg("the page has no %s", from);
        return;
    }
    start += strlen(from);
    ck_assert_int_eq(EVP_Digest(start, (size_t)(end - start), digest, &digest_len, EVP_sha256(), NULL), 1);
    EVP_EncodeBlock(base64, digest, (int)digest_len);
    ck_assert_msg(strstr(policy, FORMAT(expected, "'sha256-%s'", (const char *)base64)) != NULL,
                  "%s of %s is not in: %s", expected, from, policy);
}

START_TEST(the_page_comes_with_a_policy_that_lets_run_only_what_is_in_it)
{
    open_stage(BACKEND_EMBEDDED);
    const struct http_answer *a = http_get(admin, "/");
    EXPECT_STATUS(a, 200);
    char *policy = must_copy(http_header(admin, "Content-Security-Policy"),
                             strlen(http_header(admin, "Content-Security-Policy")));
    expect_hashed(policy, a->body, "<style>", "</style>");
    expect_hashed(policy, a->body, "<script>", "</script>");
    ck_assert_ptr_eq(strstr(policy, "default-src 'none'"), policy);
    static const char *const parts[] = {"connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
                                        "form-action 'none'"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(policy, parts[i]) != NULL, "%s is not in %s", parts[i], policy);
    ck_assert_ptr_null(strstr(policy, "unsafe"));
    ck_assert_ptr_null(strstr(policy, "http"));
    free(policy);
    expect_header(admin, "Content-Type", HEADER_PAGE);
    expect_header(admin, "X-Content-Type-Options", "nosniff");
    expect_header(admin, "Referrer-Policy", "no-referrer");
    expect_header(admin, "Cache-Control", "no-store");
    ck_assert_uint_lt(a->len, 40000);
    close_stage();
}
END_TEST

START_TEST(the_page_needs_no_other_file)
{
    static const char *const marks[] = {"<script src", "<link rel=\"stylesheet\"", "@import", "url(", "<img",
                                        "https://"};
    open_stage(BACKEND_EMBEDDED);
    const struct http_answer *a = http_get(admin, "/");
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        ck_assert_msg(strstr(a->body, marks[i]) == NULL, "the page has %s", marks[i]);
    close_stage();
}
END_TEST

START_TEST(the_admin_listener_serves_what_the_page_needs_and_no_more)
{
    static const struct {
        const char *method, *path;
        int status;
    } cases[] = {
        {"GET", "/", 200},           {"GET", "/tasks", 200},
        {"POST", "/", 405},          {"GET", "/tasks?state=dead", 200},
        {"GET", "/health", 200},     {"GET", "/health/nobody", 404},
        {"GET", "/tasks/none", 404}, {"POST", "/tasks/none/requeue", 404},
        {"POST", "/tasks", 405},     {"DELETE", "/tasks", 400},
        {"PUT", "/health/a", 405},   {"DELETE", "/tasks?state=dead", 200},
        {"DELETE", "/tasks/a", 405}, {"POST", "/health/a/success", 404},
        {"GET", "/session", 404},    {"POST", "/tasks/a/ack", 404},
        {"GET", "/cache/a", 404},    {"GET", "/locks/a", 404},
    };
    open_stage(_i);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct http_answer *a = http_request(admin, cases[i].method, cases[i].path, NULL, NULL, 0);
        ck_assert_msg(a->status == cases[i].status, "%s %s: %d instead of %d: %s", cases[i].method,
                      cases[i].path, a->status, cases[i].status, a->body);
    }
    expect_problem(s.h, http_get(s.h, "/"), 404, "no_such_route");
    close_stage();
}
END_TEST

/* Enqueued, taken once and given back: dead. */
static void make_dead(const char *id)
{
    char body[256], path[64], receipt[128];
    EXPECT_STATUS(http_send(s.h, "POST", "/tasks",
                            FORMAT(body, "{\"task_id\":\"%s\",\"max_attempts\":1,\"payload\":1e400}", id)),
                  201);
    const struct http_answer *a = http_send(s.h, "POST", "/tasks/dequeue", "{}");
    EXPECT_STATUS(a, 200);
    const char *at = strstr(a->body, "\"receipt\":\"") + strlen("\"receipt\":\"");
    FORMAT(receipt, "%.*s", (int)strcspn(at, "\""), at);
    FORMAT(body, "{\"receipt\":\"%s\",\"reason\":\"provider answered 529\"}", receipt);
    EXPECT_STATUS(http_send(s.h, "POST", FORMAT(path, "/tasks/%s/nack", id), body), 204);
}

START_TEST(dead_letters_are_looked_into_requeued_and_purged_there)
{
    open_stage(_i);
    make_dead("first");
    const struct http_answer *a = http_get(admin, "/tasks/first");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"payload\":1e400"));
    ck_assert_ptr_nonnull(strstr(a->body, "provider answered 529"));
    a = http_get(admin, "/tasks?state=dead&limit=10");
    ck_assert_ptr_nonnull(strstr(a->body, "\"task_id\":\"first\""));
    EXPECT_STATUS(http_send(admin, "POST", "/tasks/first/requeue", NULL), 204);
    EXPECT_STATUS(http_send(admin, "POST", "/tasks/first/requeue", NULL), 409);
    a = http_get(s.h, "/tasks/first");
    ck_assert_ptr_nonnull(strstr(a->body, "\"state\":\"ready\""));
    EXPECT_STATUS(http_send(s.h, "DELETE", "/tasks/first", NULL), 204);
    make_dead("second");
    a = http_send(admin, "DELETE", "/tasks?state=dead", NULL);
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"purged\":1,\"left\":0"));
    close_stage();
}
END_TEST

START_TEST(agents_are_shown_there)
{
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/health/reviewer/failure", "{}"), 200);
    const struct http_answer *a = http_get(admin, "/health");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"reviewer\""));
    EXPECT_STATUS(http_get(admin, "/health/reviewer"), 200);
    close_stage();
}
END_TEST

START_TEST(what_the_page_shows_stays_there_while_redis_is_away)
{
    open_stage(BACKEND_REDIS);
    redis_server_kill(s.redis);
    WAIT_FOR(http_get(admin, "/tasks?state=ready")->status == 200 &&
                 strstr(http_get(admin, "/tasks?state=ready")->body, "\"partial\":true"),
             10000);
    EXPECT_STATUS(http_send(s.h, "POST", "/tasks", "{\"task_id\":\"kept\",\"payload\":1}"), 202);
    const struct http_answer *a = http_get(admin, "/tasks?state=ready");
    ck_assert_ptr_nonnull(strstr(a->body, "\"kept\""));
    a = http_get(admin, "/health");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"partial\":true"));
    close_stage();
}
END_TEST

START_TEST(a_daemon_stops_with_a_page_that_is_asking)
{
    open_stage(_i);
    struct raw_http c = raw_http_tcp((uint16_t)daemon_admin_port(s.d));
    for (int i = 0; i < 50; i++)
        raw_http_send(&c, "GET /tasks?state=dead HTTP/1.1\r\nHost: localhost\r\n\r\n"
                          "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    close_stage();
    raw_http_close(&c);
}
END_TEST

START_TEST(a_foreign_page_is_kept_out_and_so_is_who_lacks_the_token)
{
    char token[TEST_PATH_MAX], line[TEST_PATH_MAX + 32];
    scratch_path(token, "token");
    scratch_write(token, "s3cret\n");
    const char *env[] = {FORMAT(line, "PHOENIX_HTTP_TOKEN_FILE=%s", token), NULL};
    struct daemon *d = daemon_start(&(struct daemon_options){.env = env});
    struct http_client *h = http_open(daemon_admin_port(d));
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"", 401},
        {"Authorization: Bearer wrong", 401},
        {"Authorization: Bearer s3cret", 404},
        {"Authorization: Bearer s3cret\nOrigin: http://evil.example", 403},
        {"Authorization: Bearer s3cret\nOrigin: null", 403},
        {"Authorization: Bearer s3cret\nHost: 10.1.2.3:8380\nOrigin: http://10.1.2.3:8380", 404},
        {"Authorization: Bearer s3cret\nHost: 10.1.2.3:8380\nOrigin: http://10.1.2.3:80", 403},
        {"Host: 10.1.2.3:8380\nOrigin: http://10.1.2.3:8380", 401},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct http_answer *a =
            http_request(h, "POST", "/tasks/none/requeue", cases[i].headers, NULL, 0);
        ck_assert_msg(a->status == cases[i].status, "%s: %d", cases[i].headers, a->status);
    }
    EXPECT_STATUS(http_get(h, "/"), 200);
    http_close(&h);
    daemon_stop(&d);
}
END_TEST

START_TEST(without_a_token_a_name_that_was_made_to_point_here_is_refused)
{
    open_stage(BACKEND_EMBEDDED);
    static const char *const paths[] = {"/tasks?state=dead", "/health", "/status"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        EXPECT_STATUS(http_request(admin, "GET", paths[i], "Host: evil.example", NULL, 0), 403);
    EXPECT_STATUS(http_request(admin, "POST", "/tasks/a/requeue",
                               "Host: evil.example\nOrigin: http://evil.example", NULL, 0),
                  403);
    EXPECT_STATUS(http_request(admin, "GET", "/", "Host: evil.example", NULL, 0), 200);
    close_stage();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("page");
    TCase *tc = test_case(suite, "page", 30);
    tcase_add_test(tc, the_page_comes_with_a_policy_that_lets_run_only_what_is_in_it);
    tcase_add_test(tc, the_page_needs_no_other_file);
    tcase_add_loop_test(tc, the_admin_listener_serves_what_the_page_needs_and_no_more, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, dead_letters_are_looked_into_requeued_and_purged_there, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, agents_are_shown_there, 0, BACKEND_COUNT);
    tcase_add_test(tc, what_the_page_shows_stays_there_while_redis_is_away);
    tcase_add_loop_test(tc, a_daemon_stops_with_a_page_that_is_asking, 0, BACKEND_COUNT);
    tcase_add_test(tc, a_foreign_page_is_kept_out_and_so_is_who_lacks_the_token);
    tcase_add_test(tc, without_a_token_a_name_that_was_made_to_point_here_is_refused);
    return test_run(suite);
}
