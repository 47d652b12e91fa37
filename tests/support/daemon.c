/* daemon: the process, its reserved ports and its log in the scratch directory, where the main prints it when
 * the test fails. Looks at the daemon through its admin listener with a client of its own, one per call:
 * several threads may ask. */
#include "daemon.h"
#include "process.h"
#include "support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { READY_MS = 10000, STOP_MS = 20000 };

extern char **environ;

struct daemon {
    pid_t pid; /* 0: ended */
    int port, admin_port;
    char log[TEST_PATH_MAX];
    char socket[TEST_PATH_MAX];
    char spool[TEST_PATH_MAX];
};

static const char *const inherited[] = {
    "PATH=", "HOME=", "TMPDIR=", "ASAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS="};

static bool is_inherited(const char *entry)
{
    for (size_t i = 0; i < sizeof inherited / sizeof inherited[0]; i++)
        if (strncmp(entry, inherited[i], strlen(inherited[i])) == 0) return true;
    return false;
}

static size_t list_length(const char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n + 1) == 0;
}

/* Appends, or replaces an entry of the same name: getenv takes the first of two. */
static void put(const char **list, size_t *n, const char *entry)
{
    for (size_t i = 0; i < *n; i++) {
        if (same_name(list[i], entry)) {
            list[i] = entry;
            return;
        }
    }
    list[(*n)++] = entry;
}

const char **daemon_environment(const char *const *first, const char *const *more)
{
    size_t inherit = 0;
    for (char **e = environ; *e; e++)
        inherit += is_inherited(*e);
    const char **list = must_alloc((inherit + list_length(first) + list_length(more) + 1) * sizeof *list);
    size_t n = 0;
    for (char **e = environ; *e; e++)
        if (is_inherited(*e)) put(list, &n, *e);
    for (size_t i = 0; first && first[i]; i++)
        put(list, &n, first[i]);
    for (size_t i = 0; more && more[i]; i++)
        put(list, &n, more[i]);
    return list;
}

static void spawn(struct daemon *d, const struct daemon_options *o)
{
    char binary[TEST_PATH_MAX];
    char listen[64];
    char admin[64];
    char url[TEST_PATH_MAX + 32];
    char socket[TEST_PATH_MAX + 32];
    char spool[TEST_PATH_MAX + 32];
    const char *first[] = {FORMAT(listen, "PHOENIX_HTTP_LISTEN=127.0.0.1:%d", d->port),
                           FORMAT(admin, "PHOENIX_ADMIN_LISTEN=127.0.0.1:%d", d->admin_port),
                           FORMAT(url, "PHOENIX_REDIS_URL=%s", o->redis_url ? o->redis_url : "embedded:"),
                           FORMAT(spool, "PHOENIX_SPOOL_PATH=%s", d->spool),
                           o->unix_socket ? FORMAT(socket, "PHOENIX_HTTP_UNIX_SOCKET=%s", d->socket) : NULL,
                           NULL};
    const char **environment = daemon_environment(first, o->env);
    const char **argv = must_alloc((list_length(o->args) + 2) * sizeof *argv);
    argv[0] = daemon_binary(binary);
    for (size_t i = 0; o->args && o->args[i]; i++)
        argv[i + 1] = o->args[i];
    d->pid = process_start(argv, environment, d->log, d->log);
    free(argv);
    free(environment);
}

struct daemon *daemon_start(const struct daemon_options *options)
{
    static int serial;
    struct daemon_options o = options ? *options : (struct daemon_options){0};
    struct daemon *d = must_alloc(sizeof *d);
    char name[32];
    serial++;
    scratch_path(d->log, FORMAT(name, "daemon-%d.log", serial));
    scratch_path(d->socket, FORMAT(name, "daemon-%d.sock", serial));
    scratch_path(d->spool, FORMAT(name, "daemon-%d.db", serial));
    d->port = port_reserve();
    d->admin_port = port_reserve();
    spawn(d, &o);
    int64_t until = now_ms() + test_ms(READY_MS);
    while (!o.no_wait && !daemon_ready(d)) {
        int status = 0;
        ck_assert_msg(!process_ended(d->pid, &status), "the daemon ended with %d before it was ready",
                      status);
        ck_assert_msg(now_ms() < until, "the daemon is not ready");
        poll_pause();
    }
    return d;
}

void daemon_signal(struct daemon *d, int signum)
{
    ck_assert_int_gt(d->pid, 0);
    ck_assert(kill(d->pid, signum) == 0);
}

int daemon_wait(struct daemon *d, int ms)
{
    int status = -1;
    ck_assert_int_gt(d->pid, 0);
    ck_assert_msg(process_wait(d->pid, ms, &status), "the daemon did not end within %d ms", (int)test_ms(ms));
    d->pid = 0;
    return status;
}

void daemon_release(struct daemon **d)
{
    ck_assert_int_eq((*d)->pid, 0);
    free(*d);
    *d = NULL;
}

void daemon_stop(struct daemon **d)
{
    if (*d == NULL) return;
    daemon_signal(*d, SIGTERM);
    int status = daemon_wait(*d, STOP_MS);
    ck_assert_msg(status == 0, "the daemon ended with %d", status);
    daemon_release(d);
}

pid_t daemon_pid(const struct daemon *d)
{
    return d->pid;
}

int daemon_port(const struct daemon *d)
{
    return d->port;
}

int daemon_admin_port(const struct daemon *d)
{
    return d->admin_port;
}

const char *daemon_socket(const struct daemon *d)
{
    return d->socket;
}

const char *daemon_spool(const struct daemon *d)
{
    return d->spool;
}

struct http_client *daemon_client(const struct daemon *d)
{
    return http_open(d->port);
}

bool daemon_ready(const struct daemon *d)
{
    struct http_client *c = http_open(d->admin_port);
    bool ready = http_get(c, "/readyz")->status == 200;
    http_close(&c);
    return ready;
}

static bool begins(const char *line, const char *prefix)
{
    return strncmp(line, prefix, strlen(prefix)) == 0;
}

/* Where `name="value"` ends; no value has an escaped quote. */
static size_t pair_length(const char *pair)
{
    size_t name = strcspn(pair, "\"");
    ck_assert_msg(pair[name] == '"', "not name=\"value\": %s", pair);
    return name + 1 + strcspn(pair + name + 1, "\"") + 1;
}

/* Whether the line has each `name="value"` of the list, which ends with a brace. */
static bool has_labels(const char *line, const char *list)
{
    char *labels = strndup(line, strcspn(line, "\n"));
    bool has = true;
    while (has && *list && *list != '}') {
        size_t len = pair_length(list);
        const char *at = memmem(labels, strlen(labels), list, len);
        has = at && strchr("{,", at[-1]);
        list += len + (list[len] == ',');
    }
    free(labels);
    return has;
}

static bool matches(const char *line, const char *series)
{
    size_t name = strcspn(series, "{");
    if (strncmp(line, series, name) != 0 || !strchr("{ ", line[name])) return false;
    return !series[name] || has_labels(line, series + name + 1);
}

static double sum_series(const struct daemon *d, const char *series,
                         bool (*wanted)(const char *line, const char *series))
{
    struct http_client *c = http_open(d->admin_port);
    const struct http_answer *a = http_get(c, "/metrics");
    ck_assert_msg(a->status == 200, "/metrics: %d %s", a->status, a->error);
    double sum = 0;
    for (const char *line = a->body; *line;) {
        if (wanted(line, series)) {
            size_t len = strcspn(line, "\n");
            const char *value = memrchr(line, ' ', len);
            sum += value ? strtod(value, NULL) : 0;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    http_close(&c);
    return sum;
}

double daemon_metric(const struct daemon *d, const char *series)
{
    return sum_series(d, series, matches);
}

double daemon_metric_sum(const struct daemon *d, const char *prefix)
{
    return sum_series(d, prefix, begins);
}

char *daemon_log(const struct daemon *d)
{
    return file_read(d->log, NULL);
}

unsigned daemon_log_count(const struct daemon *d, const char *text)
{
    char *log = daemon_log(d);
    unsigned count = 0;
    for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
        count++;
    free(log);
    return count;
}

bool daemon_log_has(const struct daemon *d, const char *text)
{
    return daemon_log_count(d, text) > 0;
}

size_t daemon_rss(const struct daemon *d)
{
    return process_rss(d->pid);
}
