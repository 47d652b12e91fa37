/* TLS to Redis: what works without it works over it; a server that cannot prove who it is, or that does not
 * take us, is never used, and the log says why. Where the build speaks no TLS there is nothing to test. */
#include "../support/process.h"
#include "../support/stage.h"
#include "../support/traffic.h"
#include "engine/redis/tls.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_ENV_SIZE = TEST_PATH_MAX + 64, BIG = 8 * 1000 * 1000 };

/* A Redis with a TLS port besides its plain one, through which the test looks at it. */
struct tls_scene {
    char dir[TEST_PATH_MAX];
    char port[16], cert[FILE_ENV_SIZE], key[FILE_ENV_SIZE], ca[FILE_ENV_SIZE];
    const char *args[16];
    struct redis_server *redis;
    struct resp_client *r;
    struct daemon *d;
    struct http_client *h;
};

static const char *in_dir(const struct tls_scene *s, char out[FILE_ENV_SIZE], const char *prefix,
                          const char *file)
{
    return format(out, FILE_ENV_SIZE, "%s%s/%s", prefix, s->dir, file);
}

static void make_certificates(struct tls_scene *s)
{
    char script[TEST_PATH_MAX], log[TEST_PATH_MAX];
    scratch_path(s->dir, "certificates");
    scratch_path(log, "certificates.log");
    ck_assert_int_eq(process_run((const char *const[]){"/bin/mkdir", s->dir, NULL}, NULL, 5000, NULL, NULL),
                     0);
    repository_path(script, "tests/support/certificates.sh");
    ck_assert_msg(
        process_run((const char *const[]){"/bin/sh", script, s->dir, NULL}, NULL, 30000, log, log) == 0,
        "openssl (3 or newer) could not make the certificates: %s", file_read(log, NULL));
}

/* Redis with the certificate `name`; `ask`: it wants one from its clients. */
static void start_redis(struct tls_scene *s, const char *name, bool ask)
{
    char file[64];
    *s = (struct tls_scene){0};
    make_certificates(s);
    FORMAT(s->port, "%d", port_reserve());
    const char *args[] = {"--tls-port",
                          s->port,
                          "--tls-cert-file",
                          in_dir(s, s->cert, "", FORMAT(file, "%s.pem", name)),
                          "--tls-key-file",
                          in_dir(s, s->key, "", FORMAT(file, "%s.key", name)),
                          "--tls-ca-cert-file",
                          in_dir(s, s->ca, "", "ca.pem"),
                          "--tls-auth-clients",
                          ask ? "yes" : "no",
                          NULL};
    memcpy(s->args, args, sizeof args);
    s->redis = redis_server_start(&(struct redis_server_options){.durable = true, .args = s->args});
    s->r = redis_server_client(s->redis);
}

struct client_files {
    const char *ca, *cert; /* by name; NULL: none */
};

/* `host` as in the URL. */
static void start_daemon(struct tls_scene *s, const char *host, const char *port, struct client_files files,
                         const char *const *more)
{
    char url[128], file[64], ca[FILE_ENV_SIZE], cert[FILE_ENV_SIZE], key[FILE_ENV_SIZE];
    const char *env[16] = {"PHOENIX_REDIS_CONNECT_TIMEOUT_MS=2000", "PHOENIX_REDIS_COMMAND_TIMEOUT_MS=2000"};
    size_t n = 2;
    if (files.ca) env[n++] = in_dir(s, ca, "PHOENIX_REDIS_TLS_CA_FILE=", FORMAT(file, "%s.pem", files.ca));
    if (files.cert) {
        env[n++] = in_dir(s, cert, "PHOENIX_REDIS_TLS_CERT_FILE=", FORMAT(file, "%s.pem", files.cert));
        env[n++] = in_dir(s, key, "PHOENIX_REDIS_TLS_KEY_FILE=", FORMAT(file, "%s.key", files.cert));
    }
    for (size_t i = 0; more && more[i]; i++)
        env[n++] = more[i];
    FORMAT(url, "rediss://%s:%s", host, port);
    s->d = daemon_start(&(struct daemon_options){.redis_url = url, .env = env});
    s->h = daemon_client(s->d);
}

static void end(struct tls_scene *s)
{
    http_close(&s->h);
    daemon_stop(&s->d);
    if (s->r) resp_close(&s->r);
    redis_server_stop(&s->redis);
}

static bool readyz_says(struct tls_scene *s, const char *status)
{
    char text[64];
    return strcmp(MEMBER(text, http_get(s->h, "/readyz")->body, "status"), status) == 0;
}

static bool reads_with(struct tls_scene *s, const char *path, const char *detail)
{
    const struct http_answer *a = http_get(s->h, path);
    const char *status = http_header(s->h, "Cache-Status");
    return a->status == 200 && status && strstr(status, detail);
}

/* Waits for a request that Redis answers. */
static void wait_for_redis(struct tls_scene *s)
{
    WAIT_FOR(readyz_says(s, "ready") &&
                 http_send(s->h, "PUT", "/cache/ping", "{\"response\":1}")->status < 300 &&
                 strcmp(http_header(s->h, "Phoenix-Backend"), "redis") == 0,
             15000);
}

static void expect_backend(struct tls_scene *s, const char *method, const char *path, const char *body,
                           int status)
{
    EXPECT_STATUS(http_send(s->h, method, path, body), status);
    ck_assert_str_eq(http_header(s->h, "Phoenix-Backend"), "redis");
}

START_TEST(everything_works_over_tls)
{
    struct tls_scene s;
    char receipt[256], body[512], token[128];
    start_redis(&s, "server", _i == 1);
    start_daemon(&s, _i == 0 ? "127.0.0.1" : "localhost", s.port,
                 (struct client_files){"ca", _i == 1 ? "client" : NULL}, NULL);
    wait_for_redis(&s);
    expect_backend(&s, "PUT", "/cache/k", "{\"response\":{\"a\":[1,2]}}", 201);
    WAIT_FOR(reads_with(&s, "/cache/k", "detail=near"), 10000);
    resp_text(s.r, "DEL", "phoenix:cache:k");
    WAIT_FOR(http_get(s.h, "/cache/k")->status == 404, 5000);

    expect_backend(&s, "POST", "/session", "{\"correlation_id\":\"c\",\"data\":[1]}", 201);
    expect_backend(&s, "PATCH", "/session/c", "{\"state\":\"Completed\"}", 200);
    expect_backend(&s, "POST", "/health/a/failure", "{}", 200);

    EXPECT_STATUS(http_send(s.h, "POST", "/locks/l", "{\"ttl\":10}"), 201);
    FORMAT(body, "Phoenix-Lock-Token: %s",
           MEMBER(token, http_send(s.h, "POST", "/locks/m", "{\"ttl\":10}")->body, "token"));
    EXPECT_STATUS(http_request(s.h, "DELETE", "/locks/m", body, NULL, 0), 204);

    /* One that waits is woken through the subscription. */
    struct raw_http waiter = raw_http_tcp((uint16_t)daemon_port(s.d));
    struct raw_response got = {0};
    raw_http_send(
        &waiter,
        "POST /tasks/dequeue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n{\"wait\":30}");
    WAIT_FOR(strstr(http_get(s.h, "/status")->body, "\"waiting\":1"), 5000);
    expect_backend(&s, "POST", "/tasks", "{\"task_id\":\"t\",\"payload\":1}", 201);
    ck_assert_int_eq(raw_status(&waiter, &got), 200);
    FORMAT(body, "{\"receipt\":\"%s\"}", MEMBER(receipt, strstr(got.body, "{\"task_id\""), "receipt"));
    expect_backend(&s, "POST", "/tasks/t/ack", body, 204);
    raw_response_free(&got);
    raw_http_close(&waiter);
    end(&s);
}
END_TEST

static const struct refusal {
    const char *fact, *server;
    bool ask, plain_port;
    const char *host;
    struct client_files files;
    const char *why;
} REFUSALS[] = {
    {"another name", "wrong_name", false, false, "localhost", {"ca", NULL}, "for another host name"},
    {"another address", "wrong_name", false, false, "127.0.0.1", {"ca", NULL}, "does not name this address"},
    {"an unknown CA", "server", false, false, "127.0.0.1", {"other_ca", NULL}, "CA is unknown here"},
    {"not among the system's CAs", "server", false, false, "127.0.0.1", {NULL, NULL}, "CA is unknown here"},
    {"expired", "expired", false, false, "localhost", {"ca", NULL}, "has expired"},
    {"we show none",
     "server",
     true,
     false,
     "127.0.0.1",
     {"ca", NULL},
     "asked for a client certificate, got none"},
    {"ours is a stranger's", "server", true, false, "127.0.0.1", {"ca", "stranger"}, "TLS: the server"},
    {"no TLS there", "server", false, true, "127.0.0.1", {"ca", NULL}, "on this port"},
};

START_TEST(who_cannot_prove_it_is_never_used)
{
    const struct refusal *c = &REFUSALS[_i];
    struct tls_scene s;
    char plain[16];
    start_redis(&s, c->server, c->ask);
    FORMAT(plain, "%d", redis_server_port(s.redis));
    start_daemon(
        &s, c->host, c->plain_port ? plain : s.port, c->files,
        (const char *const[]){"PHOENIX_HTTP_DRAIN_TIMEOUT_MS=100", NULL}); /* its write stays undelivered */
    WAIT_FOR(readyz_says(&s, "degraded"), 15000);
    WAIT_FOR(daemon_log_has(s.d, c->why), 15000);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":1}"), 201);
    ck_assert_str_eq(http_header(s.h, "Phoenix-Backend"), "local");
    ck_assert_msg(resp_integer(s.r, "DBSIZE") == 0, "%s: something reached Redis", c->fact);
    ck_assert_msg(strstr(resp_text(s.r, "INFO", "commandstats"), "cmdstat_set:") == NULL, "%s", c->fact);
    ck_assert_msg(strstr(resp_text(s.r, "INFO", "commandstats"), "cmdstat_ping:calls=1,") != NULL, "%s",
                  c->fact);
    end(&s);
}
END_TEST

static bool file_has(const char *path, const char *text)
{
    char *all = file_read(path, NULL);
    bool has = strstr(all, text) != NULL;
    free(all);
    return has;
}

START_TEST(the_name_is_sent_and_an_address_is_not)
{
    struct tls_scene s = {0};
    char address[32], out[TEST_PATH_MAX], cert[FILE_ENV_SIZE], key[FILE_ENV_SIZE];
    make_certificates(&s);
    FORMAT(s.port, "%d", port_reserve());
    scratch_path(out, "s_server.log");
    const char *argv[] = {"/usr/bin/openssl",
                          "s_server",
                          "-accept",
                          FORMAT(address, "127.0.0.1:%s", s.port),
                          "-cert",
                          in_dir(&s, cert, "", "server.pem"),
                          "-key",
                          in_dir(&s, key, "", "server.key"),
                          "-tlsextdebug",
                          "-www",
                          NULL};
    pid_t server = process_start(argv, NULL, out, out);
    WAIT_FOR(file_has(out, "ACCEPT"), 10000);
    start_daemon(&s, _i == 0 ? "localhost" : "127.0.0.1", s.port, (struct client_files){"ca", NULL}, NULL);
    /* Extensions are printed as they come, the name's before the versions'. */
    WAIT_FOR(file_has(out, "client extension \"supported versions\""), 15000);
    ck_assert_int_eq(file_has(out, "client extension \"server name\""), _i == 0);
    ck_assert_int_eq(file_has(out, ".localhost"), _i == 0);
    http_close(&s.h);
    daemon_stop(&s.d);
    process_kill(server);
}
END_TEST

START_TEST(eight_mib_go_through_and_come_back)
{
    struct tls_scene s;
    const char *env[] = {"PHOENIX_HTTP_DEADLINE_MS=10000", "PHOENIX_HTTP_INFLIGHT_BYTES_MAX=256MiB", NULL};
    char *body = must_alloc(BIG + 64);
    start_redis(&s, "server", false);
    start_daemon(&s, "127.0.0.1", s.port, (struct client_files){"ca", NULL}, env);
    wait_for_redis(&s);
    char *at = paste(body, "{\"response\":\"");
    for (size_t i = 0; i < BIG; i++)
        at[i] = (char)('a' + (i * 7919 + i / 26) % 26);
    memcpy(at + BIG, "\"}", sizeof "\"}");
    for (int round = 0; round < 3; round++) {
        EXPECT_STATUS(http_send(s.h, "PUT", "/cache/big", body), round ? 200 : 201);
        ck_assert_str_eq(http_header(s.h, "Phoenix-Backend"), "redis");
        const struct http_answer *a =
            http_request(s.h, "GET", "/cache/big", "Cache-Control: no-cache", NULL, 0);
        EXPECT_STATUS(a, 200);
        ck_assert_ptr_nonnull(strstr(http_header(s.h, "Cache-Status"), "detail=redis"));
        const char *back = strstr(a->body, "\"response\":\"");
        ck_assert(back && memcmp(back + strlen("\"response\":\""), at, BIG) == 0);
    }
    ck_assert(daemon_metric(s.d, "phoenix_redis_connections_abandoned_total") == 0);
    free(body);
    end(&s);
}
END_TEST

START_TEST(sixty_four_clients_are_served)
{
    struct tls_scene s;
    start_redis(&s, "server", false);
    start_daemon(&s, "127.0.0.1", s.port, (struct client_files){"ca", NULL}, NULL);
    wait_for_redis(&s);
    struct traffic *t = traffic_start(
        &(struct traffic_options){.port = daemon_port(s.d), .threads = 64, .keys = 4, .deadline_ms = 5000});
    traffic_run(t, 5000);
    traffic_stop(t);
    traffic_expect_in_redis(t, s.r, 10000);
    ck_assert(daemon_metric(s.d, "phoenix_redis_calls_total{result=\"ok\"}") > 1000);
    traffic_destroy(&t);
    end(&s);
}
END_TEST

START_TEST(a_killed_redis_is_outlived_and_found_again)
{
    struct tls_scene s;
    start_redis(&s, "server", true);
    /* A value's time to live may be late by as much as a command may take. */
    start_daemon(&s, "localhost", s.port, (struct client_files){"ca", "client"},
                 (const char *const[]){"PHOENIX_REDIS_COMMAND_TIMEOUT_MS=250", NULL});
    wait_for_redis(&s);
    resp_close(&s.r);
    struct traffic *t = traffic_start(&(struct traffic_options){.port = daemon_port(s.d)});
    for (int round = 0; round < 2; round++) {
        traffic_run(t, 500);
        redis_server_kill(s.redis);
        WAIT_FOR(readyz_says(&s, "degraded"), 15000);
        traffic_run(t, 500);
        redis_server_restart(s.redis);
        WAIT_FOR(readyz_says(&s, "ready"), 15000);
    }
    traffic_run(t, 500);
    traffic_stop(t);
    s.r = redis_server_client(s.redis);
    traffic_expect_in_redis(t, s.r, 20000);
    traffic_destroy(&t);
    end(&s);
}
END_TEST

START_TEST(certificates_are_read_again_on_sighup)
{
    struct tls_scene s;
    char from[FILE_ENV_SIZE], to[FILE_ENV_SIZE];
    start_redis(&s, "server", false);
    const char *copy[] = {"/bin/cp", in_dir(&s, from, "", "other_ca.pem"), in_dir(&s, to, "", "trusted.pem"),
                          NULL};
    ck_assert_int_eq(process_run(copy, NULL, 5000, NULL, NULL), 0);
    start_daemon(&s, "127.0.0.1", s.port, (struct client_files){"trusted", NULL}, NULL);
    WAIT_FOR(daemon_log_has(s.d, "CA is unknown here"), 15000);
    scratch_write(to, "no certificate");
    daemon_signal(s.d, SIGHUP);
    WAIT_FOR(daemon_log_has(s.d, "certificates for Redis not reloaded"), 5000);
    ck_assert(daemon_log_has(s.d, "redis.tls_ca_file"));
    copy[1] = in_dir(&s, from, "", "ca.pem");
    ck_assert_int_eq(process_run(copy, NULL, 5000, NULL, NULL), 0);
    daemon_signal(s.d, SIGHUP);
    wait_for_redis(&s);
    end(&s);
}
END_TEST

int main(void)
{
    if (!redis_tls_available()) {
        puts("skipped: this build's hiredis speaks no TLS (hiredis_ssl comes with 1.0)");
        puts("100%: Checks: 0, Failures: 0, Errors: 0");
        return 0;
    }
    Suite *suite = suite_create("redis_tls");
    TCase *tc = test_case(suite, "tls", 60);
    tcase_add_loop_test(tc, everything_works_over_tls, 0, 2);
    tcase_add_loop_test(tc, who_cannot_prove_it_is_never_used, 0, sizeof REFUSALS / sizeof REFUSALS[0]);
    tcase_add_loop_test(tc, the_name_is_sent_and_an_address_is_not, 0, 2);
    tcase_add_test(tc, eight_mib_go_through_and_come_back);
    tcase_add_test(tc, sixty_four_clients_are_served);
    tcase_add_test(tc, a_killed_redis_is_outlived_and_found_again);
    tcase_add_test(tc, certificates_are_read_again_on_sighup);
    return test_run(suite);
}
