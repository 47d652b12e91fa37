/* redis_server: a child process and the directory that outlives its restarts. */
#include "redis_server.h"
#include "process.h"
#include "support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ARGV_MAX = 64, START_MS = 10000 };

struct redis_server {
    pid_t pid; /* 0: not running */
    int port;
    bool durable, unix_socket;
    const char *const *args;
    char dir[TEST_PATH_MAX];
    char socket[TEST_PATH_MAX + 16];
    char url[64];
};

static void spawn(struct redis_server *s)
{
    const char *argv[ARGV_MAX] = {"/usr/bin/redis-server", NULL};
    char port[16];
    char log[TEST_PATH_MAX + 16];
    size_t n = 1;
    const char *fixed[] = {"--port",
                           FORMAT(port, "%d", s->port),
                           "--bind",
                           "127.0.0.1",
                           "--dir",
                           s->dir,
                           "--save",
                           "",
                           "--daemonize",
                           "no",
                           "--databases",
                           "16",
                           "--appendonly",
                           s->durable ? "yes" : "no",
                           "--appendfsync",
                           "always",
                           "--enable-debug-command",
                           "yes"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        argv[n++] = fixed[i];
    if (s->unix_socket) {
        argv[n++] = "--unixsocket";
        argv[n++] = s->socket;
    }
    for (size_t i = 0; s->args && s->args[i]; i++) {
        ck_assert_uint_lt(n, ARGV_MAX - 1);
        argv[n++] = s->args[i];
    }
    FORMAT(log, "%s/redis.log", s->dir);
    s->pid = process_start(argv, NULL, log, log);
}

/* Answers anything but LOADING: a server that wants a password is ready too. */
static bool answers(struct redis_server *s)
{
    struct resp_client *c = resp_connect(s->port, 0);
    if (c == NULL) return false;
    const struct resp_value *v = resp_call(c, "PING", NULL);
    bool ready = v && (v->type == '+' || (v->type == '-' && strncmp(v->text, "LOADING", 7) != 0));
    resp_close(&c);
    return ready;
}

struct redis_server *redis_server_prepare(const struct redis_server_options *options)
{
    static int serial;
    struct redis_server *s = must_alloc(sizeof *s);
    char name[32];
    scratch_path(s->dir, FORMAT(name, "redis-%d", ++serial));
    ck_assert(mkdir(s->dir, 0700) == 0);
    FORMAT(s->socket, "%s/redis.sock", s->dir);
    s->port = port_reserve();
    FORMAT(s->url, "redis://127.0.0.1:%d", s->port);
    if (options) {
        s->durable = options->durable;
        s->unix_socket = options->unix_socket;
        s->args = options->args;
    }
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
    ck_assert_int_eq(s->pid, 0);
    spawn(s);
    int64_t until = now_ms() + test_ms(START_MS);
    while (!answers(s)) {
        ck_assert_msg(!process_ended(s->pid, NULL), "redis-server ended");
        ck_assert_msg(now_ms() < until, "redis-server on port %d does not answer", s->port);
        poll_pause();
    }
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
}

void redis_server_resume(struct redis_server *s)
{
    send_signal(s, SIGCONT);
}

int redis_server_port(const struct redis_server *s)
{
    return s->port;
}

const char *redis_server_socket(const struct redis_server *s)
{
    return s->socket;
}

const char *redis_server_url(const struct redis_server *s)
{
    return s->url;
}

struct resp_client *redis_server_client(const struct redis_server *s)
{
    struct resp_client *c = resp_connect(s->port, START_MS);
    ck_assert_msg(c != NULL, "cannot connect to redis-server on port %d", s->port);
    return c;
}
