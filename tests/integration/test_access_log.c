/* The access log (OPERATIONS): who gets a line, what stands in it, and the caller's trace in what is logged
 * for it. */
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define TRACE    "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN     "00f067aa0ba902b7"
#define IN_TRACE "traceparent: 00-" TRACE "-" SPAN "-01"

/* Lines are written behind the answers, in order: once a later event is there, all of them are. */
static void wait_written(struct daemon *d)
{
    unsigned before = daemon_log_count(d, "reloaded on SIGHUP");
    daemon_signal(d, SIGHUP);
    WAIT_FOR(daemon_log_count(d, "reloaded on SIGHUP") > before, 5000);
}

/* The line that holds this text, in a static buffer; "" where there is none. */
static const char *line_with(const struct daemon *d, const char *text)
{
    static char line[1024];
    char *log = daemon_log(d);
    const char *at = strstr(log, text), *from = at;
    line[0] = '\0';
    while (from && from > log && from[-1] != '\n')
        from--;
    if (from) FORMAT(line, "%.*s", (int)strcspn(from, "\n"), from);
    free(log);
    return line;
}

/* One answered 200, one 404, one 503: the deadline of a lock that needs Redis. */
static void three_requests(struct http_client *h, const char *headers)
{
    EXPECT_STATUS(http_request(h, "GET", "/livez", headers, NULL, 0), 200);
    EXPECT_STATUS(http_request(h, "GET", "/cache/interviewer", headers, NULL, 0), 404);
    EXPECT_STATUS(http_request(h, "POST", "/locks/interviewer", headers, "{\"ttl\":5}", 9), 503);
}

static const char *const away = "redis://127.0.0.1:1"; /* nothing listens there */

static const struct {
    const char *mode, *sample;
    unsigned fine, failed; /* lines of the two answered below 500 and of the one answered 503 */
} modes[] = {
    {"", "", 0, 0},        {"off", "1", 0, 0}, {"false", "1", 0, 0}, {"errors", "1", 0, 1},
    {"errors", "0", 0, 1}, {"all", "", 2, 1},  {"true", "1", 2, 1},  {"all", "0", 0, 1},
};

START_TEST(each_mode_logs_what_it_names)
{
    char mode[64], sample[64];
    const char *env[] = {"PHOENIX_HTTP_WORKERS=1", mode, sample, NULL};
    FORMAT(mode, "%s%s", modes[_i].mode[0] ? "PHOENIX_HTTP_ACCESS_LOG=" : "HOME=", modes[_i].mode);
    FORMAT(sample, "%s%s",
           modes[_i].sample[0] ? "PHOENIX_HTTP_ACCESS_LOG_SAMPLE=" : "LANG=", modes[_i].sample);
    struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = away, .env = env});
    struct http_client *h = daemon_client(d);
    unsigned before = 0;
    wait_written(d);
    before = daemon_log_count(d, "level=info event=access"); /* the start's own probes */
    three_requests(h, NULL);
    wait_written(d);
    ck_assert_uint_eq(daemon_log_count(d, "level=warn event=access"), modes[_i].failed);
    ck_assert_uint_eq(daemon_log_count(d, "level=info event=access") - before, modes[_i].fine);
    http_close(&h);
    daemon_stop(&d);
}
END_TEST

START_TEST(a_line_names_the_route_and_the_trace_and_never_the_path)
{
    const char *env[] = {"PHOENIX_HTTP_ACCESS_LOG=all", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    EXPECT_STATUS(
        http_request(s.h, "GET", "/session/interviewer?touch=false", IN_TRACE "\nX-Request-Id: r-1", NULL, 0),
        404);
    wait_written(s.d);
    const char *line = line_with(s.d, "request_id=r-1");
    ck_assert_ptr_nonnull(strstr(
        line,
        " level=info event=access method=GET route=/session/{id} status=404 code=not_found duration_us="));
    ck_assert_ptr_nonnull(strstr(line, " request_id=r-1 trace_id=" TRACE " span_id=" SPAN));
    ck_assert_ptr_null(strstr(line, "interviewer"));
    ck_assert_ptr_null(strstr(line, "touch"));
    stage_close(&s);
}
END_TEST

START_TEST(json_lines_have_the_same_fields)
{
    const char *env[] = {"PHOENIX_HTTP_ACCESS_LOG=all", "PHOENIX_LOG_FORMAT=json", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    EXPECT_STATUS(http_request(s.h, "GET", "/tasks/interviewer", IN_TRACE "\nX-Request-Id: r-1", NULL, 0),
                  404);
    wait_written(s.d);
    const char *line = line_with(s.d, "\"request_id\":\"r-1\"");
    ck_assert_ptr_nonnull(strstr(line, "\"event\":\"access\",\"method\":\"GET\",\"route\":\"/tasks/"
                                       "{id}\",\"status\":404,\"code\":\"not_found\","));
    ck_assert_ptr_nonnull(strstr(line, ",\"trace_id\":\"" TRACE "\",\"span_id\":\"" SPAN "\"}"));
    stage_close(&s);
}
END_TEST

/* Also two good ones: nobody can tell which is meant. */
START_TEST(an_invalid_traceparent_is_as_good_as_none)
{
    static const char *const headers[] = {"traceparent: 00-" TRACE "-0000000000000000-01",
                                          "traceparent: interviewer", IN_TRACE "\n" IN_TRACE};
    const char *env[] = {"PHOENIX_HTTP_ACCESS_LOG=all", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        EXPECT_STATUS(http_request(s.h, "GET", "/session/interviewer", headers[i], NULL, 0), 404);
    wait_written(s.d);
    ck_assert_uint_eq(daemon_log_count(s.d, "route=/session/{id}"), 3);
    ck_assert_uint_eq(daemon_log_count(s.d, "trace_id="), 0);
    ck_assert_uint_eq(daemon_log_count(s.d, "span_id="), 0);
    stage_close(&s);
}
END_TEST

/* The dice of the first trace are 0x0e…, of the second 0xf0…: below and above half. */
START_TEST(of_a_trace_all_requests_are_sampled_or_none)
{
    const char *env[] = {"PHOENIX_HTTP_ACCESS_LOG=all", "PHOENIX_HTTP_ACCESS_LOG_SAMPLE=0.5", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    for (int i = 0; i < 10; i++) {
        EXPECT_STATUS(http_request(s.h, "GET", "/cache/interviewer", IN_TRACE, NULL, 0), 404);
        EXPECT_STATUS(http_request(s.h, "GET", "/cache/interviewer",
                                   "traceparent: 00-4bf92f3577b34da6a3ce929df00e4736-" SPAN "-01", NULL, 0),
                      404);
    }
    wait_written(s.d);
    ck_assert_uint_eq(daemon_log_count(s.d, "trace_id=" TRACE), 10);
    ck_assert_uint_eq(daemon_log_count(s.d, "trace_id=4bf92f3577b34da6a3ce929df00e4736"), 0);
    stage_close(&s);
}
END_TEST

START_TEST(without_a_trace_one_in_so_many_is_sampled)
{
    const char *env[] = {"PHOENIX_HTTP_ACCESS_LOG=all", "PHOENIX_HTTP_ACCESS_LOG_SAMPLE=0.125",
                         "PHOENIX_HTTP_WORKERS=1", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    for (int i = 0; i < 80; i++)
        EXPECT_STATUS(http_get(s.h, "/cache/interviewer"), 404);
    wait_written(s.d);
    ck_assert_uint_eq(daemon_log_count(s.d, "route=/cache/{id}"), 10);
    stage_close(&s);
}
END_TEST

/* Hours may lie between a request and the line that says what became of it. The file keeps its trace, also
 * when the daemon is started anew. */
START_TEST(a_change_that_cannot_be_handed_back_is_told_with_its_trace)
{
    char path[TEST_PATH_MAX], spool[TEST_PATH_MAX + 32];
    const char *env[] = {FORMAT(spool, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "kept.db")), NULL};
    struct redis_server *redis = redis_server_start(NULL);
    struct redis_proxy *proxy = redis_proxy_start(redis_server_port(redis));
    struct resp_client *r = redis_server_client(redis);
    redis_proxy_refuse(proxy, true);
    const struct daemon_options options = {.redis_url = redis_proxy_url(proxy), .env = env};
    struct daemon *d = daemon_start(&options);
    struct http_client *h = daemon_client(d);
    EXPECT_STATUS(http_request(h, "POST", "/session", IN_TRACE, "{\"correlation_id\":\"interviewer\"}", 32),
                  201);
    EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"explainer\"}"), 201);
    http_close(&h);
    daemon_signal(d, SIGKILL);
    daemon_wait(d, 5000);
    daemon_release(&d);
    resp_text(r, "LPUSH", "phoenix:session:interviewer", "no session");
    resp_text(r, "LPUSH", "phoenix:session:explainer", "no session");
    redis_proxy_refuse(proxy, false);
    d = daemon_start(&options);
    WAIT_FOR(daemon_log_count(d, "a journaled change cannot be handed back: set aside") == 2, 10000);
    ck_assert_ptr_nonnull(strstr(line_with(d, "id=interviewer"), " trace_id=" TRACE " span_id=" SPAN));
    ck_assert_ptr_null(strstr(line_with(d, "id=explainer"), "trace_id="));
    daemon_stop(&d);
    resp_close(&r);
    redis_proxy_stop(&proxy);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(sighup_switches_it_on_and_off)
{
    char path[TEST_PATH_MAX];
    const char *args[] = {"--config", scratch_path(path, "daemon.conf"), NULL};
    scratch_write(path, "[http]\naccess_log = off\n");
    struct daemon *d = daemon_start(&(struct daemon_options){.args = args});
    struct http_client *h = daemon_client(d);
    EXPECT_STATUS(http_get(h, "/cache/interviewer"), 404);
    scratch_write(path, "[http]\naccess_log = all\n");
    wait_written(d);
    EXPECT_STATUS(http_get(h, "/session/interviewer"), 404);
    scratch_write(path, "[http]\naccess_log = errors\n");
    wait_written(d);
    EXPECT_STATUS(http_get(h, "/tasks/interviewer"), 404);
    wait_written(d);
    ck_assert_uint_eq(daemon_log_count(d, "route=/cache/{id}"), 0);
    ck_assert_uint_eq(daemon_log_count(d, "route=/session/{id}"), 1);
    ck_assert_uint_eq(daemon_log_count(d, "route=/tasks/{id}"), 0);
    http_close(&h);
    daemon_stop(&d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("access_log");
    TCase *tc = test_case(suite, "access_log", 60);
    tcase_add_loop_test(tc, each_mode_logs_what_it_names, 0, (int)(sizeof modes / sizeof modes[0]));
    tcase_add_test(tc, a_line_names_the_route_and_the_trace_and_never_the_path);
    tcase_add_test(tc, json_lines_have_the_same_fields);
    tcase_add_test(tc, an_invalid_traceparent_is_as_good_as_none);
    tcase_add_test(tc, of_a_trace_all_requests_are_sampled_or_none);
    tcase_add_test(tc, without_a_trace_one_in_so_many_is_sampled);
    tcase_add_test(tc, a_change_that_cannot_be_handed_back_is_told_with_its_trace);
    tcase_add_test(tc, sighup_switches_it_on_and_off);
    return test_run(suite);
}
