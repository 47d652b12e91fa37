/* server_timeout: closes the slow, by a tick over the server's connections while there are any. The tick
 * stamps a phase when it first sees it, so that no request pays for reading a clock; what it measures is late
 * by at most one tick. shutdown(2) makes MHD see the end and clean up.
 *
 * MHD tells nothing of a request before its first line is complete. On TCP the kernel's count of received
 * bytes betrays one that dribbles: what has come in since the connection was last seen idle, while no request
 * shows up. A Unix socket has no such count: a connection without a complete request line is closed
 * idle_timeout_ms after its last answer, whatever it dribbles. Nor does MHD see an end of file that came
 * together with the last request (it is edge-triggered and reads no further after a short read), so the tick
 * looks for that as well. Suspended requests are bounded by their deadline, not from here. */
#include "http/server_internal.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* As in the kernel's net/tcp_states.h: the peer's FIN is in. */
enum { CLOSE_WAIT = 8 };

enum { TICK_MIN_US = 5 * 1000, TICK_MAX_US = 1000 * 1000, TICK_DRAIN_US = 50 * 1000, TICKS_PER_TIMEOUT = 8 };

struct look {
    uint64_t received; /* bytes, ever; 0 where the kernel does not count */
    bool ended;        /* the peer sends nothing more */
};

static struct look look_at(const struct exchange *x)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    char byte;
    if (x->peer == HTTP_PEER_UNIX)
        return (struct look){.ended = recv(x->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0};
    if (getsockopt(x->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) return (struct look){0};
    return (struct look){.received = info.tcpi_bytes_received, .ended = info.tcpi_state == CLOSE_WAIT};
}

static bool has_unread(const struct exchange *x)
{
    int unread = 0;
    return ioctl(x->fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* On the end's arrival MHD calls on_completed and on_connection, in a later MHD_run. */
static void close_slow(struct exchange *x)
{
    if (x->shut) return;
    x->shut = true;
    (void)shutdown(x->fd, SHUT_RDWR);
}

static void check_idle(struct exchange *x, int64_t now)
{
    const struct http_limits *limits = &x->server->options.shared->limits;
    struct look look = look_at(x);
    if (x->since_us == 0) {
        x->since_us = now;
        x->dribble_us = 0;
        x->bytes_seen = x->requests == 0 ? 0 : look.received;
    }
    int64_t idle_us = now - x->since_us;
    bool unwanted = look.ended || (x->server->draining && idle_us > DRAIN_IDLE_US);
    if (idle_us > limits->idle_timeout_ms * 1000 || (unwanted && !has_unread(x))) {
        close_slow(x);
        return;
    }
    if (x->dribble_us == 0) {
        if (look.received > x->bytes_seen) x->dribble_us = now;
    } else if (now - x->dribble_us > limits->request_timeout_ms * 1000) {
        close_slow(x);
    }
}

static void check(struct exchange *x, int64_t now)
{
    const struct http_limits *limits = &x->server->options.shared->limits;
    int64_t timeout_ms = 0;
    switch ((enum phase)x->phase) {
    case PHASE_IDLE:
        check_idle(x, now);
        return;
    case PHASE_HEAD:
    case PHASE_BODY:
        timeout_ms = limits->request_timeout_ms;
        break;
    case PHASE_SENDING:
        timeout_ms = limits->idle_timeout_ms;
        break;
    default:
        return;
    }
    if (x->since_us == 0) x->since_us = now;
    if (now - x->since_us > timeout_ms * 1000) close_slow(x);
}

static void on_tick(void *arg)
{
    struct server *s = arg;
    int64_t now = loop_now_us(s->options.loop);
    for (struct exchange *x = s->connections; x; x = x->next)
        check(x, now);
    server_inflight_settle(s);
    server_timeout_watch(s);
}

void server_timeout_init(struct server *s)
{
    const struct http_limits *limits = &s->options.shared->limits;
    int64_t shortest = limits->request_timeout_ms;
    if (limits->idle_timeout_ms < shortest) shortest = limits->idle_timeout_ms;
    s->tick_us = shortest * 1000 / TICKS_PER_TIMEOUT;
    if (s->tick_us < TICK_MIN_US) s->tick_us = TICK_MIN_US;
    if (s->tick_us > TICK_MAX_US) s->tick_us = TICK_MAX_US;
}

void server_timeout_watch(struct server *s)
{
    if (!s->connections && s->inflight_reserved == s->inflight_used) return;
    int64_t every = s->draining && s->tick_us > TICK_DRAIN_US ? TICK_DRAIN_US : s->tick_us;
    int64_t due = loop_now_us(s->options.loop) + every;
    if (loop_timer_running(&s->tick) && s->tick.due_us <= due) return;
    loop_timer_start(s->options.loop, &s->tick, due, on_tick, s);
}
