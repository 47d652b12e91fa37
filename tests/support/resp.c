/* resp: a recursive parser over complete bytes, and a blocking client with a receive buffer that is parsed
 * again as it grows. Values are small in tests; simplicity wins over speed. */
#include "resp.h"
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- parsing --- */

static int parse_at(const char *p, size_t len, int depth, struct resp_value *out, size_t *used);

static int parse_array(const char *p, size_t len, size_t head, long long count, int depth,
                       struct resp_value *out, size_t *used)
{
    if (count > RESP_ITEMS_MAX || depth > 8) return -1;
    struct resp_value v = {.type = '*', .count = 0};
    v.items = must_alloc((size_t)count * sizeof *v.items);
    size_t at = head;
    for (long long i = 0; i < count; i++) {
        size_t n = 0;
        int r = parse_at(p + at, len - at, depth + 1, &v.items[i], &n);
        if (r <= 0) {
            resp_release(&v);
            return r;
        }
        v.count++;
        at += n;
    }
    *out = v;
    *used = at;
    return 1;
}

static int parse_bulk(const char *p, size_t len, size_t head, long long size, struct resp_value *out,
                      size_t *used)
{
    if (len - head < (size_t)size + 2) return 0;
    if (memcmp(p + head + size, "\r\n", 2) != 0) return -1;
    *out = (struct resp_value){.type = '$', .text = must_copy(p + head, (size_t)size), .len = (size_t)size};
    *used = head + (size_t)size + 2;
    return 1;
}

static int parse_at(const char *p, size_t len, int depth, struct resp_value *out, size_t *used)
{
    if (len == 0) return 0;
    if (strchr("+-:$*", p[0]) == NULL || p[0] == 0) return -1;
    const char *end = memmem(p, len, "\r\n", 2);
    if (end == NULL) return len > 65536 ? -1 : 0;
    size_t head = (size_t)(end - p) + 2;
    if (p[0] == '+' || p[0] == '-') {
        size_t n = head - 3;
        *out = (struct resp_value){.type = p[0], .text = must_copy(p + 1, n), .len = n};
        *used = head;
        return 1;
    }
    char *stop = NULL;
    errno = 0;
    long long n = strtoll(p + 1, &stop, 10);
    if (stop != end || errno != 0) return -1;
    if (p[0] == ':')
        *out = (struct resp_value){.type = ':', .integer = n};
    else if (n < 0)
        *out = (struct resp_value){.type = '_'};
    else
        return p[0] == '$' ? parse_bulk(p, len, head, n, out, used)
                           : parse_array(p, len, head, n, depth, out, used);
    *used = head;
    return 1;
}

int resp_parse(const char *bytes, size_t len, struct resp_value *out, size_t *out_used)
{
    return parse_at(bytes, len, 0, out, out_used);
}

void resp_release(struct resp_value *v)
{
    for (size_t i = 0; i < v->count; i++)
        resp_release(&v->items[i]);
    free(v->items);
    free(v->text);
    *v = (struct resp_value){.type = '_'};
}

/* --- client --- */

struct resp_client {
    int fd;
    char *in;
    size_t len, cap;
    struct resp_value answer;
};

static struct resp_client *connect_to(const struct sockaddr *address, socklen_t len, int ms)
{
    int64_t until = now_ms() + test_ms(ms);
    int fd;
    for (;;) {
        fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_msg(fd >= 0, "socket: %s", strerror(errno));
        if (connect(fd, address, len) == 0) break;
        (void)close(fd);
        if (now_ms() >= until) return NULL;
        poll_pause();
    }
    int64_t patience = test_ms(ms);
    struct timeval limit = {.tv_sec = (time_t)(patience / 1000),
                            .tv_usec = (suseconds_t)(patience % 1000 * 1000)};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    struct resp_client *c = must_alloc(sizeof *c);
    c->fd = fd;
    c->answer.type = '_';
    return c;
}

struct resp_client *resp_connect(int port, int ms)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect_to((struct sockaddr *)&at, sizeof at, ms);
}

struct resp_client *resp_connect_unix(const char *path, int ms)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    FORMAT(at.sun_path, "%s", path);
    return connect_to((struct sockaddr *)&at, sizeof at, ms);
}

void resp_close(struct resp_client **c)
{
    if (*c == NULL) return;
    (void)close((*c)->fd);
    free((*c)->in);
    resp_release(&(*c)->answer);
    free(*c);
    *c = NULL;
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_command(struct resp_client *c, size_t argc, const char *const argv[], const size_t lens[])
{
    size_t size = 32;
    for (size_t i = 0; i < argc; i++)
        size += lens[i] + 32;
    char *out = must_alloc(size);
    size_t at = strlen(format(out, size, "*%zu\r\n", argc));
    for (size_t i = 0; i < argc; i++) {
        at += strlen(format(out + at, size - at, "$%zu\r\n", lens[i]));
        memcpy(out + at, argv[i], lens[i]);
        at += lens[i];
        memcpy(out + at, "\r\n", 2);
        at += 2;
    }
    bool ok = send_all(c->fd, out, at);
    free(out);
    return ok;
}

static const struct resp_value *receive(struct resp_client *c)
{
    for (;;) {
        size_t used = 0;
        int r = resp_parse(c->in, c->len, &c->answer, &used);
        if (r < 0) return NULL;
        if (r > 0) {
            memmove(c->in, c->in + used, c->len - used);
            c->len -= used;
            return &c->answer;
        }
        if (c->cap - c->len < 16384) c->in = must_realloc(c->in, c->cap = c->cap * 2 + 16384);
        ssize_t n = recv(c->fd, c->in + c->len, c->cap - c->len, 0);
        if (n <= 0) return NULL;
        c->len += (size_t)n;
    }
}

const struct resp_value *resp_call_argv(struct resp_client *c, size_t argc, const char *const argv[],
                                        const size_t lens[])
{
    resp_release(&c->answer);
    return send_command(c, argc, argv, lens) ? receive(c) : NULL;
}

enum { ARGS_MAX = 16 };

static const struct resp_value *call_list(struct resp_client *c, va_list args)
{
    const char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
    size_t argc = 0;
    const char *arg;
    while ((arg = va_arg(args, const char *)) != NULL) {
        ck_assert_uint_lt(argc, ARGS_MAX);
        argv[argc] = arg;
        lens[argc++] = strlen(arg);
    }
    return resp_call_argv(c, argc, argv, lens);
}

const struct resp_value *resp_call(struct resp_client *c, ...)
{
    va_list args;
    va_start(args, c);
    const struct resp_value *v = call_list(c, args);
    va_end(args);
    return v;
}

const char *resp_text(struct resp_client *c, ...)
{
    va_list args;
    va_start(args, c);
    const struct resp_value *v = call_list(c, args);
    va_end(args);
    ck_assert_msg(v != NULL, "Redis did not answer");
    return v->text ? v->text : "";
}

long long resp_integer(struct resp_client *c, ...)
{
    va_list args;
    va_start(args, c);
    const struct resp_value *v = call_list(c, args);
    va_end(args);
    ck_assert_msg(v != NULL, "Redis did not answer");
    return v->type == ':' ? v->integer : -1;
}
