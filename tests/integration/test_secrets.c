/* What is told in confidence stays there: secrets are planted wherever a caller or a configuration can put
 * one, the daemon is driven through success, refusals, an outage, conflicts and hand-back with everything
 * logged, and none may show up in a log line, a metric, a page about the daemon's state or a problem.
 *
 * Ids are no secrets: warnings about one record name it, and a problem's `instance` repeats the path to the
 * caller who sent it. The access log has neither. */
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Every secret begins so, and what comes behind tells which one it is. */
#define SECRET "planted"

#define TOKEN    SECRET "-bearer-token"
#define PASSWORD SECRET "-redis-password"
#define PROMPT   "I want you to act as an interviewer. " SECRET "-prompt"

static struct redis_server *redis;
static struct redis_proxy *proxy;
static struct resp_client *r;
static struct daemon *d;
static struct http_client *h;

static void expect_clean(const char *where, const char *text)
{
    const char *leak = strstr(text, SECRET);
    const char *from = leak && leak - text > 300 ? leak - 300 : text;
    ck_assert_msg(!leak, "%s holds a secret: …%.500s", where, from);
}

/* A problem says nothing of what was sent but, in `instance`, the path. */
static const struct http_answer *ask(const char *method, const char *path, const char *headers,
                                     const char *body)
{
    char all[1024], where[600];
    FORMAT(all, "Authorization: Bearer " TOKEN "\ntraceparent: " SECRET "-trace%s%s", headers ? "\n" : "",
           headers ? headers : "");
    const struct http_answer *a = http_request(h, method, path, all, body, body ? strlen(body) : 0);
    ck_assert_msg(a->status != 0, "%s %s: %s", method, path, a->error);
    FORMAT(where, "the problem of %s %.400s (%d)", method, path, a->status);
    if (a->status >= 400) expect_clean(where, a->body);
    return a;
}

static void expect_pages_clean(const char *when)
{
    static const char *const pages[] = {"/metrics", "/status", "/readyz", "/livez", "/openapi.json"};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        char where[100];
        const struct http_answer *a = ask("GET", pages[i], NULL, NULL);
        EXPECT_STATUS(a, 200);
        expect_clean(FORMAT(where, "%s, %s,", pages[i], when), a->body);
    }
}

struct request {
    const char *method, *path, *headers, *body;
    int status; /* while all is well; 0: whatever it says */
};

#define JSON_TEXT(text) "\"" text "\""
#define VALUE(name)     JSON_TEXT(SECRET "-" name)

static const struct request fine[] = {
    {"POST", "/cache", NULL,
     "{\"input\":" JSON_TEXT(PROMPT) ",\"response\":" VALUE("response") ",\"metadata\":{\"model\":" VALUE(
         "model") ",\"note\":" VALUE("metadata") "},\"scope\":{\"tenant\":" VALUE("scope") "}}",
     201},
    {"POST", "/cache", NULL,
     "{\"input\":" JSON_TEXT(PROMPT) ",\"response\":{\"text\":" VALUE("response") "}}", 201},
    {"POST", "/cache/lookup", NULL, "{\"input\":" JSON_TEXT(PROMPT) "}", 200},
    {"POST", "/cache/lookup", "Content-Type: text/plain", PROMPT, 200},
    {"POST", "/cache/lookup", "Content-Type: text/plain", SECRET "-input that nobody stored", 404},
    {"GET", "/cache?input=" SECRET "-query", NULL, NULL, 404},
    {"PUT", "/cache/interviewer", NULL, "{\"response\":" VALUE("response") "}", 201},
    {"GET", "/cache/interviewer", NULL, NULL, 200},
    {"POST", "/session", NULL,
     "{\"correlation_id\":\"s1\",\"plan_id\":" VALUE("plan") ",\"data\":{\"k\":" VALUE(
         "session") "},\"own\":" VALUE("own") "}",
     201},
    {"PATCH", "/session/s1", NULL, "{\"data\":" VALUE("patch") "}", 200},
    {"GET", "/session/s1", "If-None-Match: \"" SECRET "-etag\"", NULL, 200},
    {"PUT", "/health/a1", NULL, "{\"health\":\"Healthy\",\"note\":" VALUE("health") "}", 200},
    {"POST", "/health/a1/failure", NULL,
     "{\"reason\":" VALUE("reason") ",\"reporter\":" VALUE("reporter") "}", 200},
    {"POST", "/tasks", NULL,
     "{\"task_id\":\"t1\",\"agent\":\"a1\",\"payload\":{\"prompt\":" JSON_TEXT(PROMPT) "}}", 201},
    {"POST", "/locks/l1", "Idempotency-Key: " SECRET "-idempotency",
     "{\"ttl\":60,\"owner\":" VALUE("owner") "}", 201},
};

static const struct request refused[] = {
    {"POST", "/cache", NULL, "{\"input\":" JSON_TEXT(PROMPT) ",\"response\":" VALUE("cut"), 400},
    {"POST", "/cache", NULL, SECRET "-no-json", 400},
    {"POST", "/cache", NULL, "{\"input\":[" VALUE("shape") "],\"response\":1}", 422},
    {"POST", "/cache", NULL, "{\"input\":\"x\",\"response\":1,\"ttl\":" VALUE("ttl") "}", 422},
    {"POST", "/cache", NULL, "{\"input\":" JSON_TEXT(PROMPT "\\ud800") ",\"response\":1}", 422},
    {"POST", "/cache", NULL, "{\"input\":\"x\",\"response\":1,\"scope\":" VALUE("scope") "}", 422},
    {"GET", "/cache?input=this&" SECRET "-behind-a-bare-ampersand", NULL, NULL, 400},
    {"GET", "/cache?" SECRET "-query", NULL, NULL, 400},
    {"GET", "/cache?input=" SECRET "%zz", NULL, NULL, 400},
    {"PUT", "/cache/interviewer", "If-None-Match: " SECRET "-etag", "{\"response\":1}", 400},
    {"PUT", "/cache/interviewer", "If-Match: \"" SECRET "-etag\"", "{\"response\":1}", 400},
    {"GET", "/cache/interviewer", "Cache-Control: max-age=" SECRET "-age", NULL, 0},
    {"POST", "/session", NULL, "{\"correlation_id\":\"s1\",\"data\":" VALUE("session") "}", 409},
    {"POST", "/session", NULL, "{\"correlation_id\":\"" SECRET " with blanks\"}", 400},
    {"PUT", "/session/s1", NULL, "{\"state\":" VALUE("state") "}", 400},
    {"PATCH", "/session/s1", NULL, "{\"ttl\":" VALUE("ttl") "}", 422},
    {"PATCH", "/session/s1", "If-Match: \"" SECRET "-etag\"", "{\"data\":" VALUE("patch") "}", 412},
    {"PATCH", "/session/s1", "If-Match: " SECRET "-no-etag", "{\"data\":" VALUE("patch") "}", 400},
    {"GET", "/session?state=" SECRET "-state", NULL, NULL, 400},
    {"GET", "/session?cursor=" SECRET "-cursor", NULL, NULL, 400},
    {"GET", "/session?limit=" SECRET "-limit", NULL, NULL, 400},
    {"GET", "/session/s1?touch=" SECRET "-touch", NULL, NULL, 400},
    {"PUT", "/health/a1", NULL, "{\"health\":" VALUE("health") "}", 400},
    {"POST", "/health/a1/failure", NULL, "{\"reason\":" VALUE("reason") ",\"started_at\":" VALUE("time") "}",
     0},
    {"POST", "/tasks", NULL, "{\"task_id\":\"" SECRET " with blanks\",\"payload\":1}", 400},
    {"POST", "/tasks", NULL, "{\"payload\":" VALUE("payload") ",\"priority\":" VALUE("priority") "}", 422},
    {"POST", "/tasks/dequeue", NULL, "{\"agent\":" VALUE("agent\\u0000") "}", 0},
    {"POST", "/tasks/t1/ack", NULL, "{\"receipt\":" VALUE("receipt") "}", 409},
    {"POST", "/tasks/t1/nack", NULL, "{\"receipt\":" VALUE("receipt") ",\"reason\":" VALUE("reason") "}",
     409},
    {"GET", "/tasks?state=" SECRET "-state", NULL, NULL, 400},
    {"POST", "/locks/l1", NULL, "{\"ttl\":60,\"owner\":" VALUE("owner-two") "}", 409},
    {"PUT", "/locks/l1", NULL, "{\"ttl\":60,\"token\":" VALUE("lock-token") "}", 0},
    {"DELETE", "/locks/l1", "Phoenix-Lock-Token: " SECRET "-lock-token", NULL, 0},
    {"POST", "/locks/l1", "Idempotency-Key: " SECRET " blank", "{\"ttl\":60,\"owner\":" VALUE("owner") "}",
     400},
    {"GET", "/cache/interviewer", "Origin: http://" SECRET ".example", NULL, 403},
    {"GET", "/cache/interviewer", "Host: " SECRET ".example", NULL, 403},
    {"GET", "/cache/interviewer", "X-Request-Id: " SECRET " id", NULL, 400},
};

static void run(const struct request *requests, size_t count, bool well)
{
    for (size_t i = 0; i < count; i++) {
        const struct request *q = &requests[i];
        const struct http_answer *a = ask(q->method, q->path, q->headers, q->body);
        ck_assert_msg(!well || !q->status || a->status == q->status, "%s %s %s: %d instead of %d: %.300s",
                      q->method, q->path, q->body ? q->body : "", a->status, q->status, a->body);
    }
}
#define RUN(requests, well) run((requests), sizeof(requests) / sizeof(requests)[0], (well))

static char *log_now(void)
{
    char *log = daemon_log(d);
    expect_clean("the log", log);
    return log;
}

static void open_all(const char *format_env)
{
    static char token_env[TEST_PATH_MAX + 40], url[128];
    char path[TEST_PATH_MAX];
    redis = redis_server_start(NULL);
    r = redis_server_client(redis);
    static const char password[] = PASSWORD;
    ck_assert_str_eq(resp_text(r, "CONFIG", "SET", "requirepass", password), "OK");
    proxy = redis_proxy_start(redis_server_port(redis));
    FORMAT(url, "redis://:" PASSWORD "@%s", redis_proxy_url(proxy) + strlen("redis://"));
    scratch_write(scratch_path(path, "token"), TOKEN "\n");
    FORMAT(token_env, "PHOENIX_HTTP_TOKEN_FILE=%s", path);
    const char *env[] = {token_env, format_env, "PHOENIX_LOG_LEVEL=debug", "PHOENIX_HTTP_ACCESS_LOG=all",
                         NULL};
    d = daemon_start(&(struct daemon_options){.redis_url = url, .env = env});
    h = daemon_client(d);
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1, 10000);
    WAIT_FOR(ask("GET", "/session/absent", NULL, NULL)->status == 404, 10000);
}

static void close_all(void)
{
    http_close(&h);
    resp_close(&r);
    redis_proxy_stop(&proxy);
    redis_server_stop(&redis);
}

/* Others change meanwhile what is changed here, or put other types under the keys. */
static void outage(void)
{
    redis_proxy_refuse(proxy, true);
    redis_proxy_cut(proxy);
    WAIT_FOR(ask("GET", "/session/absent", NULL, NULL)->status == 503, 10000);
    RUN(fine, false);
    RUN(refused, false);
    EXPECT_STATUS(ask("PUT", "/session/s2", NULL, "{\"data\":" VALUE("session") "}"), 503);
    EXPECT_STATUS(ask("POST", "/session", NULL, "{\"correlation_id\":\"s3\",\"data\":" VALUE("session") "}"),
                  201);
    expect_pages_clean("in the outage");
    resp_text(r, "SET", "phoenix:session:s1",
              "{\"correlation_id\":\"s1\",\"state\":\"Completed\",\"data\":" VALUE("foreign") "}");
    resp_text(r, "LPUSH", "phoenix:session:s3", SECRET "-foreign-list");
    resp_text(r, "SET", "phoenix:health:a1", SECRET "-foreign-text");
    resp_text(r, "LPUSH", "phoenix:tasks:queue", SECRET "-bad-task");
    redis_proxy_refuse(proxy, false);
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1, 10000);
    WAIT_FOR(daemon_metric(d, "phoenix_journal_entries") == 0, 10000);
    WAIT_FOR(daemon_log_has(d, "a journaled change cannot be handed back: set aside"), 10000);
    WAIT_FOR(daemon_log_has(d, "items of the inbox are no tasks"), 10000);
    expect_pages_clean("after the hand-back");
}

/* Redis answers, but takes no writes. */
static void refusal(void)
{
    resp_text(r, "CONFIG", "SET", "maxmemory", "1");
    EXPECT_STATUS(ask("PUT", "/session/s4", NULL, "{\"data\":" VALUE("session") "}"), 503);
    RUN(fine, false);
    expect_pages_clean("while Redis refuses");
    resp_text(r, "CONFIG", "SET", "maxmemory", "0");
}

static void nothing_leaks(const char *format_env)
{
    open_all(format_env);
    RUN(fine, true);
    RUN(refused, true);
    expect_pages_clean("while all is well");
    http_request(h, "GET", "/cache/interviewer", "Authorization: Bearer " TOKEN "-not", NULL, 0);
    http_request(h, "GET", "/" SECRET "-no-such-path", "Authorization: Bearer " TOKEN, NULL, 0);
    http_request(h, "GET", "/cache/" SECRET "-id", "Authorization: Bearer " TOKEN, NULL, 0);
    outage();
    refusal();
    daemon_signal(d, SIGHUP);
    WAIT_FOR(daemon_log_has(d, "reloaded on SIGHUP"), 5000);
    /* The traceparent of all these requests was none, and they were many. */
    char *log = log_now();
    ck_assert_ptr_nonnull(strstr(log, "access"));
    ck_assert_ptr_null(strstr(log, "trace_id"));
    free(log);
    daemon_signal(d, SIGTERM);
    ck_assert_int_eq(daemon_wait(d, 15000), 0);
    free(log_now());
    daemon_release(&d);
    close_all();
}

START_TEST(nothing_leaks_into_logfmt)
{
    nothing_leaks("PHOENIX_LOG_FORMAT=logfmt");
}
END_TEST

START_TEST(nothing_leaks_into_json)
{
    nothing_leaks("PHOENIX_LOG_FORMAT=json");
}
END_TEST

/* Of a command that it does not know Redis repeats the arguments in its error. */
START_TEST(what_redis_repeats_of_a_command_it_does_not_know_is_not_told)
{
    static const struct {
        const char *command, *line;
    } cases[] = {{"AUTH", "Redis connection failed"}, {"EVALSHA", "access"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char url[128];
        const char *args[] = {"--rename-command", cases[i].command, "", NULL};
        redis = redis_server_start(&(struct redis_server_options){.args = args});
        FORMAT(url, "redis://:" PASSWORD "@127.0.0.1:%d", redis_server_port(redis));
        if (i > 0) FORMAT(url, "%s", redis_server_url(redis));
        const char *env[] = {"PHOENIX_LOG_LEVEL=debug", "PHOENIX_HTTP_ACCESS_LOG=all",
                             "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=100", NULL};
        d = daemon_start(&(struct daemon_options){.redis_url = url, .env = env});
        h = daemon_client(d);
        RUN(fine, false);
        expect_pages_clean(cases[i].command);
        WAIT_FOR(daemon_log_has(d, cases[i].line), 5000);
        free(log_now());
        http_close(&h);
        daemon_stop(&d);
        redis_server_stop(&redis);
    }
}
END_TEST

/* A spool that is full, without any Redis. */
START_TEST(nothing_leaks_from_a_full_spool)
{
    const char *env[] = {"PHOENIX_LOG_LEVEL=debug", "PHOENIX_HTTP_ACCESS_LOG=all",
                         "PHOENIX_SPOOL_BYTES_MAX=1048576", NULL};
    enum { BIG = 300000 };
    char *body = must_alloc(BIG + 64);
    char *at = paste(body, "{\"data\":\"" SECRET "-");
    memset(at, 'x', BIG);
    memcpy(at + BIG, "\"}", 3);
    d = daemon_start(&(struct daemon_options){.env = env});
    h = daemon_client(d);
    int status = 0;
    for (int i = 0; i < 8 && status != 503; i++) {
        char path[32];
        status = ask("PUT", FORMAT(path, "/session/s%d", i), NULL, body)->status;
    }
    ck_assert_int_eq(status, 503);
    RUN(fine, false);
    expect_pages_clean("with a full spool");
    WAIT_FOR(daemon_log_has(d, "spool has no room"), 5000);
    free(log_now());
    free(body);
    http_close(&h);
    daemon_stop(&d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("secrets");
    TCase *tc = test_case(suite, "secrets", 90);
    tcase_add_test(tc, nothing_leaks_into_logfmt);
    tcase_add_test(tc, nothing_leaks_into_json);
    tcase_add_test(tc, what_redis_repeats_of_a_command_it_does_not_know_is_not_told);
    tcase_add_test(tc, nothing_leaks_from_a_full_spool);
    return test_run(suite);
}
