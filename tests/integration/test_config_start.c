/* Arguments, configuration, exit codes, and what stops a start with one line that names the place.
 */
#include "../support/process.h"
#include "../support/stage.h"
#include "engine/redis/tls.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct run {
    int status;
    char *out, *err;
};

/* Runs the daemon with these arguments and environment until it ends by itself. On ports of its own: another
 * daemon may have the default ones. */
static struct run run(const char *const *args, const char *const *env)
{
    static int serial;
    char binary[TEST_PATH_MAX];
    char out[TEST_PATH_MAX];
    char err[TEST_PATH_MAX];
    char path[TEST_PATH_MAX];
    char spool[TEST_PATH_MAX + 32];
    char name[32];
    const char *argv[8] = {daemon_binary(binary)};
    for (size_t i = 0; args && args[i]; i++)
        argv[i + 1] = args[i];
    serial++;
    scratch_path(out, FORMAT(name, "out-%d.txt", serial));
    scratch_path(err, FORMAT(name, "err-%d.txt", serial));
    scratch_path(path, FORMAT(name, "spool-%d.db", serial));
    const char *first[] = {FORMAT(spool, "PHOENIX_SPOOL_PATH=%s", path), "PHOENIX_HTTP_LISTEN=127.0.0.1:0",
                           "PHOENIX_ADMIN_LISTEN=127.0.0.1:0", NULL};
    const char **environment = daemon_environment(first, env);
    struct run r = {.status = process_run(argv, environment, 10000, out, err)};
    free(environment);
    r.out = file_read(out, NULL);
    r.err = file_read(err, NULL);
    return r;
}

static void run_end(struct run *r)
{
    free(r->out);
    free(r->err);
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The start fails with 1 and one line that holds these parts. */
static void expect_refusal(const char *const *args, const char *const *env, const char *part,
                           const char *other)
{
    struct run r = run(args, env);
    ck_assert_msg(r.status == 1, "ended with %d: %s", r.status, r.err);
    ck_assert_msg(strstr(r.err, part) && strstr(r.err, other), "not named: %s and %s in: %s", part, other,
                  r.err);
    ck_assert_msg(lines(r.err) == 1, "not one line: %s", r.err);
    run_end(&r);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

START_TEST(version_and_help_say_what_this_is)
{
    struct run r = run(ARGS("--version"), NULL);
    ck_assert_int_eq(r.status, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "phoenix-cached"));
    ck_assert_ptr_nonnull(strstr(r.out, "hiredis"));
    run_end(&r);
    r = run(ARGS("--help"), NULL);
    ck_assert_int_eq(r.status, 0);
    static const char *const parts[] = {"--config",    "--check-config", "--print-config",
                                        "http.listen", "redis.url",      "breaker.open_max_ms"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(r.out, parts[i]), "--help lacks %s", parts[i]);
    run_end(&r);
}
END_TEST

START_TEST(wrong_usage_ends_with_2)
{
    struct run r = run(ARGS("--nonsense"), NULL);
    ck_assert_int_eq(r.status, 2);
    ck_assert_ptr_nonnull(strstr(r.err, "--nonsense"));
    run_end(&r);
    r = run(ARGS("--config"), NULL);
    ck_assert_int_eq(r.status, 2);
    run_end(&r);
    r = run(ARGS("stray"), NULL);
    ck_assert_int_eq(r.status, 2);
    run_end(&r);
}
END_TEST

static const char *write_config(char path[TEST_PATH_MAX], const char *text)
{
    scratch_path(path, "test.conf");
    scratch_write(path, text);
    return path;
}

START_TEST(check_config_judges_and_does_not_start)
{
    char path[TEST_PATH_MAX];
    write_config(path,
                 "[http]\nworkers = 2\nbody_max = 1MiB\n[redis]\nurl = redis://user:hush@127.0.0.1:1/2\n");
    struct run r = run(ARGS("--config", path, "--check-config"), NULL);
    ck_assert_msg(r.status == 0, "%d %s", r.status, r.err);
    run_end(&r);
    write_config(path, "[http]\nworkers = 2\n\nbody_maxx = 1\n");
    expect_refusal(ARGS("--config", path, "--check-config"), NULL, "body_maxx", ":4");
}
END_TEST

/* None of them is there: what a server would say belongs to the daemon's run. */
START_TEST(check_config_takes_every_form_of_url)
{
    static const char *const urls[] = {"redis://127.0.0.1:1/2",
                                       "unix:///run/redis/redis.sock?db=1",
                                       "redis-sentinel://127.0.0.1:1,127.0.0.1:2/mymaster",
                                       "redis-sentinel://user:hush@10.0.0.1,10.0.0.2,10.0.0.3/my.master-1/3",
                                       "redis-cluster://127.0.0.1:1,127.0.0.1:2",
                                       "embedded:"};
    char line[160];
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct run r = run(ARGS("--check-config"), ARGS(FORMAT(line, "PHOENIX_REDIS_URL=%s", urls[i])));
        ck_assert_msg(r.status == 0 && !*r.err, "%s: %d %s", urls[i], r.status, r.err);
        ck_assert_ptr_null(strstr(r.out, "hush"));
        run_end(&r);
    }
}
END_TEST

START_TEST(print_config_shows_what_holds_without_the_password)
{
    char path[TEST_PATH_MAX];
    write_config(path,
                 "[http]\nworkers = 2\nbody_max = 1MiB\n[redis]\nurl = redis://user:hush@127.0.0.1:1/2\n");
    struct run r =
        run(ARGS("--config", path, "--print-config"), ARGS("PHOENIX_HTTP_WORKERS=3", "PHOENIX_CACHE_TTL=60"));
    ck_assert_msg(r.status == 0, "%d %s", r.status, r.err);
    ck_assert_ptr_null(strstr(r.out, "hush"));
    static const char *const parts[] = {"[http]", "workers=3", "body_max=1MiB", "ttl=60", "[redis]", "***"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(r.out, parts[i]), "lacks %s: %s", parts[i], r.out);
    write_config(path, r.out); /* what it prints, it reads */
    run_end(&r);
    r = run(ARGS("--config", path, "--check-config"), NULL);
    ck_assert_msg(r.status == 0, "%d %s", r.status, r.err);
    run_end(&r);
}
END_TEST

START_TEST(mistakes_in_the_file_name_their_line)
{
    static const struct {
        const char *text, *part, *line;
    } cases[] = {
        {"[http]\n\nnonsense = 1\n", "nonsense", ":3"},
        {"[nonsense]\nlisten = 1\n", "nonsense", ":1"},
        {"[http]\nworkers = many\n", "workers", ":2"},
        {"[http]\n; comment\nworkers = 65\n", "workers", ":3"},
        {"[http]\nbody_max = 1\n", "body_max", ":2"},
        {"[breaker]\nfailure_rate = 2\n", "failure_rate", ":2"},
        {"[local]\nnear = perhaps\n", "near", ":2"},
    };
    char path[TEST_PATH_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refusal(ARGS("--config", write_config(path, cases[i].text)), NULL, cases[i].part,
                       cases[i].line);
    scratch_path(path, "absent.conf");
    expect_refusal(ARGS("--config", path), NULL, "absent.conf", "");
}
END_TEST

START_TEST(mistakes_in_the_environment_name_their_variable)
{
    expect_refusal(NULL, ARGS("PHOENIX_HTTP_WORKERS=x"), "PHOENIX_HTTP_WORKERS", "");
    expect_refusal(NULL, ARGS("PHOENIX_HTTP_DEADLINE_MS=5"), "PHOENIX_HTTP_DEADLINE_MS", "50");
    expect_refusal(NULL, ARGS("PHOENIX_LOG_LEVEL=loud"), "PHOENIX_LOG_LEVEL", "loud");
}
END_TEST

#define TEN  "0123456789"
#define LONG TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "012" /* with /tmp/ 108 */

/* What somebody may get wrong who starts it for the first time: the option and the value, the cause, what to
 * do. `checked`: --check-config finds it too, since it needs neither a port nor the file. */
static const struct mistake {
    const char *variable, *place, *cause, *remedy;
    bool checked;
} mistakes[] = {
    {"PHOENIX_HTTP_LISTEN=127.0.0.1:99999", "http.listen 127.0.0.1:99999", "up to 65535", "write host:port",
     true},
    {"PHOENIX_HTTP_LISTEN=127.0.0.1:80x", "http.listen 127.0.0.1:80x", "a number", "write host:port", true},
    {"PHOENIX_HTTP_LISTEN=localhost", "http.listen localhost", "no port", "write host:port", true},
    {"PHOENIX_HTTP_LISTEN=127.0.0.1:", "http.listen", "no port", "write host:port", true},
    {"PHOENIX_HTTP_LISTEN=nowhere.invalid:8379", "http.listen nowhere.invalid:8379", "",
     "give an address of this machine", false},
    {"PHOENIX_HTTP_LISTEN=203.0.113.1:8379", "http.listen 203.0.113.1:8379",
     "Cannot assign requested address", "give an address of this machine", false},
    {"PHOENIX_ADMIN_LISTEN=:-1", "admin.listen :-1", "a number", "write host:port", true},
    {"PHOENIX_HTTP_UNIX_SOCKET=/nonexistent/a.sock", "http.unix_socket /nonexistent/a.sock",
     "No such file or directory", "make its directory", false},
    {"PHOENIX_HTTP_UNIX_SOCKET=/etc/passwd", "http.unix_socket /etc/passwd", "no socket", "remove it", true},
    {"PHOENIX_HTTP_UNIX_SOCKET=/tmp/" LONG, "http.unix_socket /tmp/", "at most 107 bytes", "a shorter one",
     true},
    {"PHOENIX_HTTP_LISTEN=", "http.listen", "nobody could ask", "give one of them", true},
    {"PHOENIX_SPOOL_PATH=/nonexistent/a.db", "spool.path /nonexistent/a.db", "No such file or directory",
     "make its directory", true},
    {"PHOENIX_SPOOL_PATH=/etc/passwd/a.db", "spool.path /etc/passwd/a.db", "Not a directory",
     "make its directory", true},
    {"PHOENIX_SPOOL_PATH=/tmp", "spool.path /tmp", "Is a directory", "give the name of a file", true},
    {"PHOENIX_SPOOL_PATH=", "spool.path", "empty", "give the name of a file", true},
    {"PHOENIX_SPOOL_PATH=/sys/phoenix.db", "spool.path /sys/phoenix.db", "", "let this user write there",
     false},
    {"PHOENIX_SPOOL_PATH=/etc/passwd", "spool.path /etc/passwd", "not a SQLite database", "move it away",
     false},
    {"PHOENIX_REDIS_URL=http://127.0.0.1", "redis.url", "none of", "redis://host:port/db", true},
    {"PHOENIX_REDIS_URL=127.0.0.1:6379", "redis.url", "none of", "redis://host:port/db", true},
    {"PHOENIX_REDIS_URL=redis://127.0.0.1:66000", "redis.url", "the port", "1 to 65535", true},
    {"PHOENIX_REDIS_URL=redis://127.0.0.1/zero", "redis.url", "after the host", "/<database number>", true},
    {"PHOENIX_REDIS_URL=redis-sentinel://10.0.0.1,10.0.0.2:26380", "redis.url", "no master's name",
     "redis-sentinel://host,host,host/<master>", true},
    {"PHOENIX_REDIS_URL=redis-sentinel://10.0.0.1/my master", "redis.url", "a master's name", "A-Z a-z 0-9",
     true},
    {"PHOENIX_REDIS_URL=redis-sentinel:///mymaster", "redis.url", "no host", "redis://host:6379", true},
    {"PHOENIX_HTTP_TOKEN_FILE=/nonexistent/token", "http.token_file /nonexistent/token",
     "No such file or directory", "give a file", true},
    {"PHOENIX_HTTP_TOKEN_FILE=/dev/null", "http.token_file /dev/null", "must hold one token",
     "write one into it", true},
    {"PHOENIX_REDIS_PASSWORD_FILE=/nonexistent/password", "redis.password_file /nonexistent/password",
     "No such file or directory", "give a file", true},
    {"PHOENIX_REDIS_PASSWORD_FILE=/dev/null", "redis.password_file /dev/null", "empty",
     "write the password into it", true},
    {"PHOENIX_HTTP_BODY_MAX=8MB", "PHOENIX_HTTP_BODY_MAX", "\"8MB\"", "MiB", true},
    {"PHOENIX_LOCAL_NEAR=perhaps", "PHOENIX_LOCAL_NEAR", "\"perhaps\"", "true", true},
    {"PHOENIX_TASKS_DEDUPE=10", "PHOENIX_TASKS_DEDUPE", "below spool.age_max", "raise it", true},
};

START_TEST(every_mistake_is_told_with_its_cause_and_its_remedy_in_one_line)
{
    const struct mistake *m = &mistakes[_i];
    const char *env[] = {"PHOENIX_REDIS_URL=redis://127.0.0.1:1", m->variable, NULL};
    expect_refusal(NULL, env, m->place, m->cause);
    expect_refusal(NULL, env, m->remedy, "phoenix-cached: ");
    if (m->checked) expect_refusal(ARGS("--check-config"), env, m->place, m->remedy);
}
END_TEST

START_TEST(a_password_that_is_too_long_is_told_with_its_url)
{
    char password[1100], url[1200];
    memset(password, 'p', sizeof password);
    password[1024] = 0;
    const char *env[] = {"PHOENIX_REDIS_URL=redis://127.0.0.1:1",
                         FORMAT(url, "PHOENIX_REDIS_STATE_URL=redis://:%s@127.0.0.1:2", password), NULL};
    expect_refusal(NULL, env, "redis.state_url", "over 1023 bytes");
    expect_refusal(ARGS("--check-config"), env, "redis.state_url", "over 1023 bytes");
}
END_TEST

START_TEST(a_token_file_without_a_token_stops_the_start)
{
    char path[TEST_PATH_MAX];
    char line[TEST_PATH_MAX + 32];
    scratch_path(path, "empty-token");
    scratch_write(path, " \n");
    expect_refusal(NULL, ARGS(FORMAT(line, "PHOENIX_HTTP_TOKEN_FILE=%s", path)), "empty-token", "one token");
}
END_TEST

START_TEST(one_port_for_both_listeners_is_told_as_that)
{
    static const char *const pairs[][2] = {
        {"127.0.0.1:8379", "127.0.0.1:8379"}, {"0.0.0.0:8379", "127.0.0.1:8379"},
        {"127.0.0.1:8379", ":08379"},         {"[::]:8379", "127.0.0.1:8379"},
        {"[::1]:8379", "[::]:8379"},          {":8379", "localhost:8379"},
    };
    char api[64], admin[64], place[64], cause[64];
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *const env[] = {FORMAT(api, "PHOENIX_HTTP_LISTEN=%s", pairs[i][0]),
                                   FORMAT(admin, "PHOENIX_ADMIN_LISTEN=%s", pairs[i][1]), NULL};
        FORMAT(place, "admin.listen %s", pairs[i][1]);
        FORMAT(cause, "http.listen %s", pairs[i][0]);
        expect_refusal(NULL, env, place, cause);
        expect_refusal(ARGS("--check-config"), env, cause, "give each a port of its own");
    }
}
END_TEST

START_TEST(one_port_of_two_addresses_is_no_mistake)
{
    static const char *const pairs[][2] = {{"127.0.0.1:8379", "127.0.0.2:8379"},
                                           {"0.0.0.0:8379", "[::1]:8379"},
                                           {"127.0.0.1:0", "127.0.0.1:0"},
                                           {"127.0.0.1:8379", ""}};
    char api[64], admin[64];
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct run r =
            run(ARGS("--check-config"), ARGS(FORMAT(api, "PHOENIX_HTTP_LISTEN=%s", pairs[i][0]),
                                             FORMAT(admin, "PHOENIX_ADMIN_LISTEN=%s", pairs[i][1])));
        ck_assert_msg(r.status == 0, "%s %s: %d %s", pairs[i][0], pairs[i][1], r.status, r.err);
        run_end(&r);
    }
}
END_TEST

START_TEST(a_spool_of_another_daemon_stops_the_start_and_does_not_fail_the_check)
{
    char line[TEST_PATH_MAX + 32];
    struct daemon *d = daemon_start(NULL);
    const char *const env[] = {FORMAT(line, "PHOENIX_SPOOL_PATH=%s", daemon_spool(d)), NULL};
    expect_refusal(NULL, env, daemon_spool(d), "in use by another process; each daemon needs a spool.path");
    struct run r = run(ARGS("--check-config"), env);
    ck_assert_msg(r.status == 0, "%d %s", r.status, r.err);
    run_end(&r);
    daemon_stop(&d);
}
END_TEST

START_TEST(unusable_combinations_stop_the_start)
{
    expect_refusal(NULL, ARGS("PHOENIX_REDIS_URL=redis-cluster://a,b/3"), "redis.url", "database 0 alone");
    expect_refusal(NULL, ARGS("PHOENIX_REDIS_URL=redis-sentinel://a,b"), "redis.url", "no master");
    expect_refusal(NULL, ARGS("PHOENIX_REDIS_URL=unix:///run/redis.sock?tls=true"), "redis.url", "over TCP");
    expect_refusal(NULL, ARGS("PHOENIX_REDIS_URL=redis://h/0?timeout=1"), "redis.url", "tls=true");
    expect_refusal(NULL, ARGS("PHOENIX_REDIS_URL=redis://h", "PHOENIX_REDIS_TLS_CERT_FILE=/a.pem"),
                   "redis.tls_cert_file", "no Redis URL asks for TLS");
    if (!redis_tls_available()) {
        expect_refusal(NULL, ARGS("PHOENIX_REDIS_URL=rediss://127.0.0.1:6379"), "redis.url", "hiredis_ssl");
        return;
    }
    static const char url[] = "PHOENIX_REDIS_URL=rediss://127.0.0.1:6379";
    expect_refusal(NULL, ARGS(url, "PHOENIX_REDIS_TLS_CA_FILE=/absent.pem"), "redis.tls_ca_file",
                   "/absent.pem");
    expect_refusal(NULL, ARGS(url, "PHOENIX_REDIS_TLS_CERT_FILE=/a.pem"), "redis.tls_key_file", "both");
}
END_TEST

START_TEST(a_taken_port_stops_the_start)
{
    char listen[64];
    char admin[64];
    struct daemon *d = daemon_start(NULL);
    FORMAT(listen, "PHOENIX_HTTP_LISTEN=127.0.0.1:%d", daemon_port(d));
    FORMAT(admin, "PHOENIX_ADMIN_LISTEN=127.0.0.1:%d", port_reserve());
    char port[16];
    struct run r = run(NULL, ARGS(listen, admin));
    ck_assert_msg(r.status == 1, "ended with %d: %s", r.status, r.err);
    ck_assert_msg(strstr(r.err, FORMAT(port, ":%d", daemon_port(d))), "port not named: %s", r.err);
    ck_assert_msg(strstr(r.err, "another process has this port; stop it, or choose another"), "%s", r.err);
    ck_assert_msg(lines(r.err) == 1, "not one line: %s", r.err);
    run_end(&r);
    daemon_stop(&d);
}
END_TEST

START_TEST(an_api_that_is_open_without_a_token_is_warned_of)
{
    static const char said[] = "the API is open to the network without a token";
    static const struct {
        const char *listen;
        bool token, warned;
    } cases[] = {{"0.0.0.0:0", false, true}, {":0", false, true},           {"0.0.0.0:0", true, false},
                 {"", false, false},         {"127.0.0.1:0", false, false}, {"localhost:0", false, false}};
    char path[TEST_PATH_MAX], listen[64], token[TEST_PATH_MAX + 32];
    scratch_path(path, "token");
    scratch_write(path, "s3cret");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .env = ARGS(FORMAT(listen, "PHOENIX_HTTP_LISTEN=%s", cases[i].listen),
                        FORMAT(token, "PHOENIX_HTTP_TOKEN_FILE=%s", cases[i].token ? path : "")),
            .unix_socket = true});
        struct http_client *h = http_open(daemon_admin_port(d));
        const struct http_answer *a = http_get(h, "/readyz");
        ck_assert_msg((strstr(a->body, said) != NULL) == cases[i].warned, "%s: %s", listen, a->body);
        http_close(&h);
        daemon_signal(d, SIGTERM);
        ck_assert_int_eq(daemon_wait(d, 10000), 0);
        char *log = daemon_log(d);
        const char *at = strstr(log, said);
        ck_assert_msg((at != NULL) == cases[i].warned, "%s: %s", listen, log);
        ck_assert_msg(!at || (strstr(at, "remedy=\"set http.token_file") && !strstr(at + 1, said)), "%s",
                      log);
        free(log);
        daemon_release(&d);
    }
}
END_TEST

START_TEST(unknown_variables_warn_and_service_links_do_not)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .env = ARGS("PHOENIX_HTTP_WORKRES=2", "PHOENIX_CACHED_PORT=tcp://10.0.0.1:8379",
                    "PHOENIX_CACHED_SERVICE_HOST=10.0.0.1", "PHOENIX_CACHED_PORT_8379_TCP_ADDR=10.0.0.1")});
    WAIT_FOR(daemon_log_has(d, "PHOENIX_HTTP_WORKRES"), 3000);
    ck_assert(!daemon_log_has(d, "SERVICE_HOST"));
    ck_assert(!daemon_log_has(d, "PHOENIX_CACHED_PORT"));
    daemon_stop(&d);
}
END_TEST

START_TEST(sigterm_and_sigint_end_with_0)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = daemon_start(NULL);
        daemon_signal(d, signals[i]);
        ck_assert_int_eq(daemon_wait(d, 10000), 0);
        daemon_release(&d);
    }
}
END_TEST

START_TEST(sighup_rereads_the_log_level)
{
    char path[TEST_PATH_MAX];
    write_config(path, "[log]\nlevel = error\n");
    struct daemon *d = daemon_start(&(struct daemon_options){.args = ARGS("--config", path)});
    ck_assert(!daemon_log_has(d, "level=info"));
    write_config(path, "[log]\nlevel = info\n");
    daemon_signal(d, SIGHUP);
    WAIT_FOR(daemon_log_has(d, "level=info"), 5000);
    daemon_stop(&d);
}
END_TEST

START_TEST(a_stale_unix_socket_is_replaced_and_removed_at_the_end)
{
    for (int i = 0; i < 2; i++) {
        char socket[TEST_PATH_MAX + 32];
        char path[TEST_PATH_MAX];
        scratch_path(path, "shared.sock");
        struct daemon *d = daemon_start(
            &(struct daemon_options){.env = ARGS(FORMAT(socket, "PHOENIX_HTTP_UNIX_SOCKET=%s", path))});
        struct http_client *h = http_open_unix(path);
        EXPECT_STATUS(http_get(h, "/livez"), 200);
        http_close(&h);
        daemon_signal(d, i == 0 ? SIGKILL : SIGTERM); /* the first leaves its socket behind */
        ck_assert_int_eq(daemon_wait(d, 10000), i == 0 ? 128 + SIGKILL : 0);
        daemon_release(&d);
    }
}
END_TEST

START_TEST(logs_are_json_when_asked)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.env = ARGS("PHOENIX_LOG_FORMAT=json")});
    WAIT_FOR(daemon_log_has(d, "ready"), 3000);
    char *log = daemon_log(d);
    ck_assert_msg(log[0] == '{' && strstr(log, "\"level\":\"info\""), "%s", log);
    free(log);
    daemon_stop(&d);
}
END_TEST

START_TEST(embedded_mode_is_told)
{
    struct daemon *d = daemon_start(NULL);
    WAIT_FOR(daemon_log_has(d, "embedded"), 3000);
    daemon_stop(&d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_start");
    TCase *tc = test_case(suite, "start", 40);
    tcase_add_test(tc, version_and_help_say_what_this_is);
    tcase_add_test(tc, wrong_usage_ends_with_2);
    tcase_add_test(tc, check_config_judges_and_does_not_start);
    tcase_add_test(tc, check_config_takes_every_form_of_url);
    tcase_add_test(tc, print_config_shows_what_holds_without_the_password);
    tcase_add_test(tc, mistakes_in_the_file_name_their_line);
    tcase_add_test(tc, mistakes_in_the_environment_name_their_variable);
    tcase_add_loop_test(tc, every_mistake_is_told_with_its_cause_and_its_remedy_in_one_line, 0,
                        sizeof mistakes / sizeof mistakes[0]);
    tcase_add_test(tc, a_token_file_without_a_token_stops_the_start);
    tcase_add_test(tc, a_password_that_is_too_long_is_told_with_its_url);
    tcase_add_test(tc, one_port_for_both_listeners_is_told_as_that);
    tcase_add_test(tc, one_port_of_two_addresses_is_no_mistake);
    tcase_add_test(tc, a_spool_of_another_daemon_stops_the_start_and_does_not_fail_the_check);
    tcase_add_test(tc, unusable_combinations_stop_the_start);
    tcase_add_test(tc, a_taken_port_stops_the_start);
    tcase_add_test(tc, an_api_that_is_open_without_a_token_is_warned_of);
    tcase_add_test(tc, unknown_variables_warn_and_service_links_do_not);
    tcase_add_test(tc, sigterm_and_sigint_end_with_0);
    tcase_add_test(tc, sighup_rereads_the_log_level);
    tcase_add_test(tc, a_stale_unix_socket_is_replaced_and_removed_at_the_end);
    tcase_add_test(tc, logs_are_json_when_asked);
    tcase_add_test(tc, embedded_mode_is_told);
    return test_run(suite);
}
