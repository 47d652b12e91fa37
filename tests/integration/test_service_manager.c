/* What a service manager or a container's health check sees: notifications, inherited sockets, --probe, the
 * files of `make install`. */
#include "../support/process.h"
#include "../support/stage.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* --- notifications --- */

/* Waits for this state; others are skipped. */
static void expect_state(int manager, const char *state)
{
    char text[256];
    struct timeval limit = {.tv_sec = 20};
    ck_assert_int_eq(setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    do {
        ssize_t len = recv(manager, text, sizeof text - 1, 0);
        ck_assert_msg(len > 0, "not told: %s", state);
        text[len] = 0;
    } while (strcmp(text, state) != 0);
}

START_TEST(the_manager_is_told_of_start_life_and_end)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[TEST_PATH_MAX], variable[TEST_PATH_MAX + 32];
    int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    FORMAT(address.sun_path, "%s", scratch_path(path, "notify"));
    ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, sizeof address), 0);
    struct daemon_options options = {
        .env = LIST(FORMAT(variable, "NOTIFY_SOCKET=%s", path), "WATCHDOG_USEC=200000")};
    struct daemon *d = daemon_start(&options);
    expect_state(manager, "READY=1");
    expect_state(manager, "WATCHDOG=1");
    expect_state(manager, "WATCHDOG=1");
    daemon_signal(d, SIGTERM);
    expect_state(manager, "STOPPING=1");
    ck_assert_int_eq(daemon_wait(d, 10000), 0);
    daemon_release(&d);
    close(manager);
}
END_TEST

/* --- inherited sockets --- */

struct sockets {
    int tcp, un, port;
    char path[TEST_PATH_MAX];
};

/* Both are inherited by children. */
static struct sockets sockets_open(void)
{
    struct sockets s = {.tcp = socket(AF_INET, SOCK_STREAM, 0), .un = socket(AF_UNIX, SOCK_STREAM, 0)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof in;
    ck_assert_int_eq(bind(s.tcp, (struct sockaddr *)&in, sizeof in), 0);
    ck_assert_int_eq(listen(s.tcp, 16), 0);
    ck_assert_int_eq(getsockname(s.tcp, (struct sockaddr *)&in, &len), 0);
    s.port = ntohs(in.sin_port);
    FORMAT(un.sun_path, "%s", scratch_path(s.path, "inherited.sock"));
    ck_assert_int_eq(bind(s.un, (struct sockaddr *)&un, sizeof un), 0);
    ck_assert_int_eq(listen(s.un, 16), 0);
    return s;
}

static void sockets_close(struct sockets *s)
{
    close(s->tcp);
    close(s->un);
}

/* As a service manager does it: descriptors from 3 on, and the process's own id in its environment. */
static pid_t start_with(const struct sockets *s, const char *names, int port, int admin_port, const char *log)
{
    char binary[TEST_PATH_MAX], script[256], fdnames[64], listen[64], admin[64], spool[TEST_PATH_MAX + 32];
    char path[TEST_PATH_MAX];
    FORMAT(script, "export LISTEN_PID=$$; exec \"$0\" 3<&%d 4<&%d", s->tcp, s->un);
    const char *env[] = {"LISTEN_FDS=2",
                         FORMAT(fdnames, "LISTEN_FDNAMES=%s", names),
                         FORMAT(listen, "PHOENIX_HTTP_LISTEN=127.0.0.1:%d", port),
                         FORMAT(admin, "PHOENIX_ADMIN_LISTEN=127.0.0.1:%d", admin_port),
                         FORMAT(spool, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "inherited.db")),
                         NULL};
    const char **environment = daemon_environment(env, NULL);
    pid_t pid = process_start(LIST("/bin/bash", "-c", script, daemon_binary(binary)), environment, log, log);
    free(environment);
    return pid;
}

static void stop(pid_t pid)
{
    int status = -1;
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_assert(process_wait(pid, 15000, &status));
    ck_assert_int_eq(status, 0);
}

static bool refuses(int port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = connect(fd, (struct sockaddr *)&in, sizeof in) != 0;
    close(fd);
    return refused;
}

static const char ASK[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

static void expect_served(struct raw_http *c)
{
    struct raw_response r;
    ck_assert(raw_http_receive(c, false, &r));
    ck_assert_int_eq(r.status, 200);
    raw_response_free(&r);
}

START_TEST(inherited_sockets_outlive_the_daemon_and_refuse_nobody)
{
    struct sockets s = sockets_open();
    char log[TEST_PATH_MAX];
    struct stat st;
    int port = port_reserve(), admin_port = port_reserve();
    scratch_path(log, "inherited.log");
    for (int life = 0; life < 2; life++) {
        /* Nobody serves yet: the connections wait. */
        struct raw_http tcp = raw_http_tcp((uint16_t)s.port), un = raw_http_unix(s.path);
        ck_assert(raw_http_send(&tcp, ASK) && raw_http_send(&un, ASK));
        pid_t pid = start_with(&s, life == 0 ? "api:unix" : "api:api", port, admin_port, log);
        expect_served(&tcp);
        expect_served(&un);
        ck_assert_msg(refuses(port), "http.listen is bound besides the inherited socket");
        raw_http_close(&tcp);
        raw_http_close(&un);
        stop(pid);
        ck_assert_msg(lstat(s.path, &st) == 0, "the inherited socket's file is gone");
    }
    char *text = file_read(log, NULL);
    ck_assert_ptr_nonnull(strstr(text, "the service manager's socket"));
    free(text);
    sockets_close(&s);
}
END_TEST

START_TEST(a_socket_that_nobody_would_serve_stops_the_start)
{
    struct sockets s = sockets_open();
    char log[TEST_PATH_MAX];
    int status = 0;
    scratch_path(log, "refused.log");
    pid_t pid = start_with(&s, "api:phoenix", port_reserve(), port_reserve(), log);
    ck_assert(process_wait(pid, 10000, &status));
    ck_assert_int_eq(status, 1);
    char *text = file_read(log, NULL);
    ck_assert_msg(strstr(text, "named phoenix") && strchr(text, '\n') == text + strlen(text) - 1, "%s", text);
    free(text);
    sockets_close(&s);
}
END_TEST

/* --- --probe --- */

static int probe(const char *const *env, const char *url, const char *config, char **out_err)
{
    static int serial;
    char binary[TEST_PATH_MAX], err[TEST_PATH_MAX], name[32];
    const char *argv[6] = {daemon_binary(binary), "--probe"};
    size_t n = 2;
    if (config) argv[n++] = "--config", argv[n++] = config;
    if (url) argv[n++] = url;
    scratch_path(err, FORMAT(name, "probe-%d.txt", serial++));
    const char **environment = daemon_environment(env, NULL);
    int status = process_run(argv, environment, 10000, NULL, err);
    free(environment);
    *out_err = file_read(err, NULL);
    return status;
}

static void expect_probe(int status, const char *const *env, const char *url, const char *config,
                         const char *said)
{
    char *err;
    int got = probe(env, url, config, &err);
    ck_assert_msg(got == status && strstr(err, said), "ended with %d: %s", got, err);
    ck_assert_msg(status == 0 ? !*err : strchr(err, '\n') == err + strlen(err) - 1, "not one line: %s", err);
    free(err);
}

START_TEST(a_probe_finds_the_daemon_by_its_configuration_or_a_url)
{
    struct daemon *d = daemon_start(NULL);
    char env[64], path[TEST_PATH_MAX], text[128], url[128];
    int port = daemon_admin_port(d);
    expect_probe(0, LIST(FORMAT(env, "PHOENIX_ADMIN_LISTEN=127.0.0.1:%d", port)), NULL, NULL, "");
    expect_probe(0, LIST(FORMAT(env, "PHOENIX_ADMIN_LISTEN=0.0.0.0:%d", port)), NULL, NULL, "");
    expect_probe(0, LIST(FORMAT(env, "PHOENIX_ADMIN_LISTEN=:%d", port)), NULL, NULL, "");
    scratch_path(path, "probe.conf");
    scratch_write(path, FORMAT(text, "[admin]\nlisten = 127.0.0.1:%d\n", port));
    expect_probe(0, NULL, NULL, path, "");
    expect_probe(0, NULL, FORMAT(url, "http://127.0.0.1:%d", port), NULL, "");
    expect_probe(0, NULL, FORMAT(url, "http://127.0.0.1:%d/livez", port), NULL, "");
    expect_probe(1, NULL, FORMAT(url, "http://127.0.0.1:%d/nothing", port), NULL, "404");
    daemon_signal(d, SIGTERM);
    ck_assert_int_eq(daemon_wait(d, 15000), 0);
    expect_probe(1, NULL, FORMAT(url, "http://127.0.0.1:%d", port), NULL, "refused");
    daemon_release(&d);
}
END_TEST

START_TEST(a_probe_that_cannot_be_asked_says_so)
{
    static const char *const urls[] = {
        "",      "127.0.0.1:8380", "https://127.0.0.1:1/", "http://",     "http:///readyz",
        "http:", "http://a b/",    "http://u@127.0.0.1:1", "http://h?q=1"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++)
        expect_probe(1, NULL, urls[i], NULL, "expected http://host:port");
    expect_probe(1, LIST("PHOENIX_ADMIN_LISTEN="), NULL, NULL, "admin.listen is empty");
    expect_probe(1, LIST("PHOENIX_HTTP_WORKERS=x"), NULL, NULL, "PHOENIX_HTTP_WORKERS");
    expect_probe(1, NULL, "http://[::1]:notaport/", NULL, "probe: ");
}
END_TEST

/* A server that says nothing. */
START_TEST(a_probe_ends_in_time_whatever_it_meets)
{
    struct sockets s = sockets_open();
    char url[64];
    char *err;
    int64_t from = now_ms();
    int status = probe(NULL, FORMAT(url, "http://127.0.0.1:%d/readyz", s.port), NULL, &err);
    ck_assert_msg(status == 1 && strstr(err, "within 2 s"), "%d %s", status, err);
    ck_assert_int_lt(now_ms() - from, test_ms(3000));
    free(err);
    sockets_close(&s);
}
END_TEST

/* --- make install --- */

static const char *const installed[] = {"usr/bin/phoenix-cached",
                                        "usr/lib/systemd/system/phoenix-cached.service",
                                        "usr/lib/systemd/system/phoenix-cached.socket",
                                        "usr/share/man/man8/phoenix-cached.8",
                                        "usr/share/man/man5/phoenix-cached.conf.5",
                                        "etc/phoenix-cached/phoenix-cached.conf"};
enum { INSTALLED = sizeof installed / sizeof installed[0] };

static void make(const char *target, const char *destination)
{
    char root[TEST_PATH_MAX], binary[TEST_PATH_MAX], log[TEST_PATH_MAX], build[TEST_PATH_MAX + 8];
    char destdir[TEST_PATH_MAX + 16];
    *strrchr(daemon_binary(binary), '/') = 0;
    int status = process_run(LIST("/usr/bin/make", "-s", "-C", repository_path(root, "."), "-o", "all",
                                  target, FORMAT(build, "BUILD=%s", binary),
                                  FORMAT(destdir, "DESTDIR=%s", destination), "PREFIX=/usr"),
                             NULL, 60000, scratch_path(log, "make.log"), log);
    char *text = file_read(log, NULL);
    ck_assert_msg(status == 0, "make %s: %s", target, text);
    free(text);
}

/* How many files are below it; each that should be there is counted. */
static size_t count_files(const char *destination)
{
    char script[TEST_PATH_MAX + 64], list[TEST_PATH_MAX], name[32];
    static int serial;
    scratch_path(list, FORMAT(name, "files-%d", serial++));
    FORMAT(script, "find '%s' ! -type d", destination);
    ck_assert_int_eq(process_run(LIST("/bin/sh", "-c", script), NULL, 10000, list, list), 0);
    char *text = file_read(list, NULL);
    size_t n = 0;
    for (const char *c = text; *c; c++)
        n += *c == '\n';
    free(text);
    return n;
}

START_TEST(install_puts_exactly_its_files_and_uninstall_takes_them)
{
    char destination[TEST_PATH_MAX], path[2 * TEST_PATH_MAX];
    struct stat st;
    scratch_path(destination, "destination");
    make("install", destination);
    ck_assert_uint_eq(count_files(destination), INSTALLED);
    for (size_t i = 0; i < INSTALLED; i++) {
        ck_assert_msg(stat(FORMAT(path, "%s/%s", destination, installed[i]), &st) == 0, "%s", installed[i]);
        ck_assert_uint_eq(st.st_mode & 07777, i == 0 ? 0755 : 0644);
    }
    char *unit = file_read(FORMAT(path, "%s/%s", destination, installed[1]), NULL);
    ck_assert_ptr_nonnull(strstr(unit, "\nExecStart=/usr/bin/phoenix-cached --config /etc/phoenix-cached/"));
    free(unit);
    make("uninstall", destination);
    ck_assert_uint_eq(count_files(destination), 0);
}
END_TEST

START_TEST(a_changed_configuration_survives_install_and_uninstall)
{
    char destination[TEST_PATH_MAX], path[2 * TEST_PATH_MAX];
    scratch_path(destination, "destination");
    make("install", destination);
    FORMAT(path, "%s/%s", destination, installed[INSTALLED - 1]);
    scratch_write(path, "[http]\nworkers = 1\n");
    make("install", destination);
    make("uninstall", destination);
    char *text = file_read(path, NULL);
    ck_assert_str_eq(text, "[http]\nworkers = 1\n");
    ck_assert_uint_eq(count_files(destination), 1);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("service_manager");
    TCase *tc = test_case(suite, "manager", 60);
    tcase_add_test(tc, the_manager_is_told_of_start_life_and_end);
    tcase_add_test(tc, inherited_sockets_outlive_the_daemon_and_refuse_nobody);
    tcase_add_test(tc, a_socket_that_nobody_would_serve_stops_the_start);
    tcase_add_test(tc, a_probe_finds_the_daemon_by_its_configuration_or_a_url);
    tcase_add_test(tc, a_probe_that_cannot_be_asked_says_so);
    tcase_add_test(tc, a_probe_ends_in_time_whatever_it_meets);
    tcase_add_test(tc, install_puts_exactly_its_files_and_uninstall_takes_them);
    tcase_add_test(tc, a_changed_configuration_survives_install_and_uninstall);
    return test_run(suite);
}
