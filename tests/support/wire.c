/* wire: a blocking socket with poll for its deadlines. */
#include "wire.h"
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct wire *wire_open_small(int port, int receive_bytes)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) ck_abort_msg("socket: %s", strerror(errno));
    if (receive_bytes > 0) (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        ck_abort_msg("connect to port %d: %s", port, strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct wire *w = must_alloc(sizeof *w);
    w->fd = fd;
    return w;
}

struct wire *wire_open(int port)
{
    return wire_open_small(port, 0);
}

void wire_close(struct wire **w)
{
    if (*w == NULL) return;
    (void)close((*w)->fd);
    free((*w)->in);
    free((*w)->head);
    free((*w)->body);
    free(*w);
    *w = NULL;
}

bool wire_send(struct wire *w, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(w->fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool wire_text(struct wire *w, const char *text)
{
    return wire_send(w, text, strlen(text));
}

void wire_half_close(struct wire *w)
{
    (void)shutdown(w->fd, SHUT_WR);
}

/* 1: got bytes; 0: closed; -1: nothing by then */
static int receive(struct wire *w, int64_t until)
{
    for (;;) {
        int64_t left = until - now_ms();
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        if (left <= 0) return -1;
        if (poll(&p, 1, (int)left) <= 0) continue;
        if (w->cap - w->len < 65536) w->in = must_realloc(w->in, w->cap = w->cap * 2 + 65536);
        ssize_t n = recv(w->fd, w->in + w->len, w->cap - w->len, 0);
        if (n > 0) w->len += (size_t)n;
        return n > 0;
    }
}

static size_t content_length(const char *head)
{
    const char *at = strcasestr(head, "\r\nContent-Length:");
    return at ? strtoul(at + 17, NULL, 10) : 0;
}

/* Takes a complete answer off the buffer. */
static bool take(struct wire *w, bool head)
{
    const char *end = w->len ? memmem(w->in, w->len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) return false;
    size_t head_len = (size_t)(end - w->in) + 4;
    char *text = must_copy(w->in, head_len);
    int status = strncmp(text, "HTTP/1.", 7) == 0 ? (int)strtol(text + 9, NULL, 10) : 0;
    size_t body_len = head || status < 200 || status == 204 || status == 304 ? 0 : content_length(text);
    if (w->len < head_len + body_len) {
        free(text);
        return false;
    }
    free(w->head);
    free(w->body);
    w->head = text;
    w->body = must_copy(w->in + head_len, body_len);
    w->status = status;
    w->len -= head_len + body_len;
    memmove(w->in, w->in + head_len + body_len, w->len);
    return true;
}

int wire_answer(struct wire *w, bool head, int ms)
{
    int64_t until = now_ms() + test_ms(ms);
    while (!take(w, head)) {
        int r = receive(w, until);
        if (r <= 0) return r;
    }
    return w->status;
}

bool wire_closed(struct wire *w, int ms)
{
    int64_t until = now_ms() + test_ms(ms);
    int r;
    while ((r = receive(w, until)) > 0)
        w->len = 0;
    return r == 0;
}

int wire_once(int port, const char *bytes, size_t len, int ms, bool *out_closed)
{
    struct wire *w = wire_open(port);
    (void)wire_send(w, bytes, len);
    int status = wire_answer(w, false, ms);
    if (out_closed) *out_closed = wire_closed(w, ms);
    wire_close(&w);
    return status;
}
