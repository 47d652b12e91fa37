/* raw_http: a blocking client over one socket, with poll before each read. */
#include "raw_http.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct raw_http raw_http_of(int fd)
{
    return (struct raw_http){.fd = fd};
}

struct raw_http raw_http_tcp(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return raw_http_of(fd);
}

struct raw_http raw_http_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return raw_http_of(fd);
}

void raw_http_close(struct raw_http *c)
{
    if (c->fd >= 0) (void)close(c->fd);
    free(c->pending);
    *c = (struct raw_http){.fd = -1};
}

bool raw_http_send_bytes(struct raw_http *c, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool raw_http_send(struct raw_http *c, const char *text)
{
    return raw_http_send_bytes(c, text, strlen(text));
}

bool raw_http_readable(struct raw_http *c, int ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    return c->pending_len > 0 || poll(&p, 1, ms) > 0;
}

/* One more read into pending. False at the end, or when nothing comes in time. */
static bool read_more(struct raw_http *c, int ms)
{
    char piece[16384];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, ms) <= 0) return false;
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n <= 0) return false;
    char *grown = realloc(c->pending, c->pending_len + (size_t)n + 1);
    ck_assert_ptr_nonnull(grown);
    memcpy(grown + c->pending_len, piece, (size_t)n);
    c->pending = grown;
    c->pending_len += (size_t)n;
    c->pending[c->pending_len] = '\0';
    return true;
}

static char *take(struct raw_http *c, size_t len)
{
    char *text = malloc(len + 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, c->pending, len);
    text[len] = '\0';
    memmove(c->pending, c->pending + len, c->pending_len - len + 1);
    c->pending_len -= len;
    return text;
}

static bool receive_head(struct raw_http *c, struct raw_response *out)
{
    const char *end = NULL;
    while (!c->pending || !(end = strstr(c->pending, "\r\n\r\n")))
        if (!read_more(c, RAW_HTTP_LIMIT_MS)) return false;
    *out = (struct raw_response){.head = take(c, (size_t)(end - c->pending) + 4)};
    out->status = (int)strtol(out->head + strlen("HTTP/1.1 "), NULL, 10);
    return true;
}

bool raw_http_receive(struct raw_http *c, bool head_only, struct raw_response *out)
{
    do {
        if (!receive_head(c, out)) return false;
        if (out->status == 100) raw_response_free(out);
    } while (!out->head);
    const char *length = raw_response_header(out, "Content-Length");
    size_t len = length && !head_only && out->status != 304 ? (size_t)strtoul(length, NULL, 10) : 0;
    while (c->pending_len < len) {
        if (read_more(c, RAW_HTTP_LIMIT_MS)) continue;
        raw_response_free(out);
        return false;
    }
    out->body = take(c, len);
    out->body_len = len;
    return true;
}

void raw_response_free(struct raw_response *r)
{
    free(r->head);
    free(r->body);
    *r = (struct raw_response){0};
}

struct raw_response raw_http_ask(struct raw_http *c, const char *text)
{
    struct raw_response r = {0};
    (void)raw_http_send(c, text); /* the answer may come before all is sent */
    bool head = strncmp(text, "HEAD ", 5) == 0;
    ck_assert_msg(raw_http_receive(c, head, &r), "no response to: %.200s", text);
    return r;
}

const char *raw_response_header(const struct raw_response *r, const char *name)
{
    static _Thread_local char value[1024];
    size_t len = strlen(name);
    for (const char *line = strstr(r->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) != 0 || line[len] != ':') continue;
        const char *from = line + len + 1;
        from += strspn(from, " \t");
        (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
        return value;
    }
    return NULL;
}

bool raw_http_wait_closed(struct raw_http *c, int ms)
{
    char piece[4096];
    int64_t until = now_ms() + ms;
    for (;;) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int64_t left = until - now_ms();
        if (left < 0 || poll(&p, 1, (int)left) <= 0) return false;
        if (recv(c->fd, piece, sizeof piece, 0) <= 0) return true;
    }
}
