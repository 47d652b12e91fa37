/* redis_server: a child process, and the directory and configuration file that outlive its restarts. */
#include "redis_server.h"
#include "process.h"
#include "redis_config.h"
#include "support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ARGV_MAX = 64, LINES_MAX = 8192, START_MS = 10000 };

struct redis_server {
    pid_t pid; /* 0: not running */
    bool paused;
    int port;
    struct redis_server_options options;
    char dir[TEST_PATH_MAX];
    char socket[TEST_PATH_MAX + 16];
    char config[TEST_PATH_MAX + 16];
    char lines[LINES_MAX]; /* what the test puts in place of the product's */
    char url[64];
};

static const char *program(char out[TEST_PATH_MAX])
{
    const char *given = getenv("REDIS_SERVER");
    if (given == NULL || *given == 0) given = "redis-server";
    return format(out, TEST_PATH_MAX, "%s%s", strchr(given, '/') ? "" : "/usr/bin/", given);
}

static void write_config(struct redis_server *s)
{
    static const char *const by_default[] = {"state.conf"};
    bool given = s->options.config[0] != NULL;
    redis_config_write(s->config, given ? s->options.config : by_default, given ? REDIS_CONFIGS_MAX : 1,
                       s->lines);
}

void redis_server_launch(struct redis_server *s)
{
    ck_assert_int_eq(s->pid, 0);
    char binary[TEST_PATH_MAX];
    char log[TEST_PATH_MAX + 16];
    const char *argv[ARGV_MAX] = {program(binary), s->config};
    size_t n = 2;
    struct stat st;
    if (stat(s->config, &st) != 0) write_config(s);
    if (s->options.sentinel) argv[n++] = "--sentinel";
    for (size_t i = 0; s->options.args && s->options.args[i]; i++) {
        ck_assert_uint_lt(n, ARGV_MAX - 1);
        argv[n++] = s->options.args[i];
    }
    FORMAT(log, "%s/redis.log", s->dir);
    if (s->options.host) netns_enter(s->options.host);
    s->pid = process_start(argv, NULL, log, log);
    if (s->options.host) netns_leave();
    s->paused = false;
}

static struct resp_client *connect_to(const struct redis_server *s, int ms)
{
    return s->options.host ? resp_connect_unix(s->socket, ms) : resp_connect(s->port, ms);
}

/* Answers anything but LOADING: a server that wants a password is ready too. */
static bool answers(struct redis_server *s)
{
    struct resp_client *c = connect_to(s, 0);
    if (c == NULL) return false;
    const struct resp_value *v = resp_call(c, "PING");
    bool ready = v && (v->type == '+' || (v->type == '-' && strncmp(v->text, "LOADING", 7) != 0));
    resp_close(&c);
    return ready;
}

void redis_server_await(struct redis_server *s)
{
    int64_t until = now_ms() + test_ms(START_MS);
    char path[64];
    while (!answers(s)) {
        ck_assert_msg(!process_ended(s->pid, NULL), "redis-server ended");
        ck_assert_msg(now_ms() < until, "redis-server on port %d does not answer: %s", s->port,
                      file_read(FORMAT(path, "/proc/%d/stat", (int)s->pid), NULL));
        poll_pause();
    }
}

void redis_server_configure(struct redis_server *s, const char *lines)
{
    size_t len = strlen(s->lines);
    format(s->lines + len, sizeof s->lines - len, "%s", lines);
}

static void configure(struct redis_server *s)
{
    char own[2 * TEST_PATH_MAX];
    redis_server_configure(
        s, FORMAT(own, "port %d\nbind %s\ndir %s\n", s->port, redis_server_address(s), s->dir));
    if (!s->options.sentinel) {
        redis_server_configure(
            s, FORMAT(own, "maxmemory 512mb\nsave \"\"\nappendonly %s\n", s->options.durable ? "yes" : "no"));
        redis_server_configure(s, "appendfsync always\nenable-debug-command yes\n");
    }
    /* Without a password others than the local machine are refused otherwise. */
    if (s->options.host) redis_server_configure(s, "protected-mode no\n");
    if (s->options.unix_socket || s->options.host)
        redis_server_configure(s, FORMAT(own, "unixsocket %s\n", s->socket));
    if (s->options.lines) redis_server_configure(s, s->options.lines);
}

struct redis_server *redis_server_prepare(const struct redis_server_options *options)
{
    static int serial;
    struct redis_server *s = must_alloc(sizeof *s);
    char name[32];
    scratch_path(s->dir, FORMAT(name, "redis-%d", ++serial));
    ck_assert(mkdir(s->dir, 0700) == 0);
    FORMAT(s->socket, "%s/redis.sock", s->dir);
    FORMAT(s->config, "%s/redis.conf", s->dir);
    s->port = port_reserve();
    if (options) s->options = *options;
    FORMAT(s->url, "redis://%s:%d", redis_server_address(s), s->port);
    configure(s);
    return s;
}

struct redis_server *redis_server_start(const struct redis_server_options *options)
{
    struct redis_server *s = redis_server_prepare(options);
    redis_server_restart(s);
    return s;
}

void redis_server_restart(struct redis_server *s)
{
    redis_server_launch(s);
    redis_server_await(s);
}

void redis_server_kill(struct redis_server *s)
{
    ck_assert_int_gt(s->pid, 0);
    process_kill(s->pid);
    s->pid = 0;
}

void redis_server_stop(struct redis_server **s)
{
    if (*s == NULL) return;
    if ((*s)->pid > 0) redis_server_kill(*s);
    free(*s);
    *s = NULL;
}

static void send_signal(struct redis_server *s, int signum)
{
    ck_assert_int_gt(s->pid, 0);
    ck_assert(kill(s->pid, signum) == 0);
}

void redis_server_pause(struct redis_server *s)
{
    send_signal(s, SIGSTOP);
    s->paused = true;
}

void redis_server_resume(struct redis_server *s)
{
    send_signal(s, SIGCONT);
    s->paused = false;
}

bool redis_server_reachable(const struct redis_server *s)
{
    return s->pid > 0 && !s->paused && !(s->options.host && netns_is_cut(s->options.host));
}

int redis_server_port(const struct redis_server *s)
{
    return s->port;
}

pid_t redis_server_pid(const struct redis_server *s)
{
    return s->pid;
}

const char *redis_server_socket(const struct redis_server *s)
{
    return s->socket;
}

const char *redis_server_address(const struct redis_server *s)
{
    return s->options.host ? netns_address(s->options.host) : "127.0.0.1";
}

const char *redis_server_url(const struct redis_server *s)
{
    return s->url;
}

struct resp_client *redis_server_client(const struct redis_server *s)
{
    struct resp_client *c = connect_to(s, START_MS);
    ck_assert_msg(c != NULL, "cannot connect to redis-server on port %d", s->port);
    return c;
}

char *redis_server_ask_list(const struct redis_server *s, const char *const args[])
{
    struct resp_client *c = redis_server_client(s);
    const char *text = resp_text_list(c, args);
    char *copy = must_copy(text, strlen(text));
    resp_close(&c);
    return copy;
}
