/* server: libmicrohttpd behind one watched descriptor and one hook. MHD never waits: its epoll descriptor is
 * watched by the loop, and the hook runs it for what that descriptor does not tell (resumed and adopted
 * connections, a timeout of 0), a few times per turn at most, so that requests of many connections are
 * answered by one pass.
 *
 * Everything belongs to the loop's thread; the two counts are read by any. */
#include "http/server_internal.h"
#include "http/auth.h"

#include <assert.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* To where each phase may move, as a set of bits. */
static const unsigned char phase_moves[PHASE_COUNT] = {
    [PHASE_IDLE] = 1 << PHASE_HEAD,
    [PHASE_HEAD] = 1 << PHASE_BODY | 1 << PHASE_IDLE,
    [PHASE_BODY] = 1 << PHASE_DISPATCHED | 1 << PHASE_ANSWERED | 1 << PHASE_IDLE,
    [PHASE_DISPATCHED] = 1 << PHASE_SUSPENDED | 1 << PHASE_ANSWERED,
    [PHASE_SUSPENDED] = 1 << PHASE_ANSWERED,
    [PHASE_ANSWERED] = 1 << PHASE_SENDING | 1 << PHASE_IDLE,
    [PHASE_SENDING] = 1 << PHASE_IDLE,
};

void exchange_move(struct exchange *x, enum phase to)
{
    assert(phase_moves[x->phase] & 1U << to);
    x->phase = (uint8_t)to;
    x->since_us = 0;
}

void server_bound_hit(struct server *s, enum http_bound bound)
{
    metrics_count(s->options.cell, METRIC_BOUND_HIT, bound, 0, 1);
}

static bool timeout_is_due(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    return MHD_get_timeout(s->mhd, &ms) == MHD_YES && ms == 0;
}

/* A request that was not answered at once is suspended here and not where it was dispatched: by now MHD has
 * noted that the connection waits for us, and does not read from it on resuming. That saves a system call,
 * and gives a half-closed client its answer: an end of file found there would close the connection
 * unanswered. */
static void run(struct server *s)
{
    s->run_wanted = false;
    (void)MHD_run(s->mhd);
    while (s->unanswered) {
        struct exchange *x = s->unanswered;
        s->unanswered = x->next_unanswered;
        if (x->phase != PHASE_DISPATCHED) continue;
        MHD_suspend_connection(x->connection);
        exchange_move(x, PHASE_SUSPENDED);
    }
}

static void on_epoll(void *arg, int events)
{
    (void)events;
    run(arg);
}

static bool on_turn(void *arg)
{
    struct server *s = arg;
    bool ran = false;
    for (int i = 0; i < RUNS_PER_TURN && (s->run_wanted || timeout_is_due(s)); i++) {
        run(s);
        ran = true;
    }
    return ran; /* what handlers began must be flushed by the others' hooks before the loop waits */
}

/* MHD's own decoding would end a path at %00 and make two segments of one with %2F. */
static size_t on_unescape(void *cls, struct MHD_Connection *c, char *text)
{
    (void)cls;
    (void)c;
    return strlen(text);
}

static struct MHD_Daemon *start_daemon(struct server *s)
{
    /* Without the channel to itself that MHD_ALLOW_SUSPEND_RESUME implies: the hook does its work. Dates are
     * ours (server_answer.c): MHD would make one for each answer, kept ones too. */
    unsigned flags = (MHD_ALLOW_SUSPEND_RESUME & ~(unsigned)MHD_USE_ITC) | MHD_USE_EPOLL |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_SUPPRESS_DATE_NO_CLOCK;
    struct MHD_OptionItem strict[] = {
#if MHD_VERSION >= 0x01000000
        {MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, NULL}, /* no folded lines, no redirects for blanks in URLs */
#endif
        {MHD_OPTION_END, 0, NULL}
    };
#if MHD_VERSION >= 0x01000000
    flags |= MHD_USE_NO_THREAD_SAFETY;
#endif
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, s,                         /**/
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_POOL, /**/
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)INT_MAX,              /**/
                            MHD_OPTION_CONNECTION_TIMEOUT, 0U,                           /**/
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,                /**/
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,              /**/
                            MHD_OPTION_URI_LOG_CALLBACK, on_request_line, s,             /**/
                            MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, s,                /**/
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,                        /**/
                            MHD_OPTION_ARRAY, strict,                                    /**/
                            MHD_OPTION_END);
}

struct server *server_create(const struct server_options *options)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->options = *options;
    router_init(&s->router, options->listener);
    server_timeout_init(s);
    if (!(s->mhd = start_daemon(s))) goto fail;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info) goto fail;
    if (!(s->io = loop_io_create(options->loop, info->epoll_fd, LOOP_READ, on_epoll, s))) goto fail;
    loop_hook_add(options->loop, &s->hook, on_turn, s);
    return s;
fail:
    server_destroy(&s);
    return NULL;
}

void server_destroy(struct server **ref)
{
    struct server *s = *ref;
    *ref = NULL;
    if (!s) return;
    if (s->hook.loop) {
        /* MHD cannot be stopped with suspended connections. Their handlers' loops no longer turn, so nobody
         * else answers. What these had sent may have been done: "overloaded" would deny it. */
        for (struct exchange *x = s->connections; x; x = x->next)
            if (x->phase == PHASE_SUSPENDED)
                exchange_problem(x, STATUS_OUTCOME_UNKNOWN, "the daemon is stopping", -1, NULL, 0);
        s->ending = true; /* a turn may also find a request that is new */
        (void)on_turn(s);
        loop_hook_remove(&s->hook);
    }
    loop_io_destroy(&s->io);
    loop_timer_stop(&s->tick);
    loop_timer_stop(&s->sweep);
    if (s->mhd) MHD_stop_daemon(s->mhd);
    server_kept_clear(s);
    server_held_free(s);
    assert(s->inflight_used == 0);
    server_inflight_settle(s);
    free(s);
}

void server_adopt(struct server *s, int fd, enum http_peer peer)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    bool unix_peer = peer == HTTP_PEER_UNIX;
    /* MHD wants an address; only its family tells it something (whether TCP_NODELAY makes sense). */
    const struct sockaddr *address =
        unix_peer ? (const struct sockaddr *)&local : (const struct sockaddr *)&tcp;
    s->adopting = peer;
    s->run_wanted = true;
    /* On failure MHD has closed the socket, and told on_connection if it had told of its begin. */
    (void)MHD_add_connection(s->mhd, fd, address, unix_peer ? sizeof local.sun_family : sizeof tcp);
}

void server_refuse(int fd)
{
    static const char body[] =
        "{\"type\":\"about:blank\",\"title\":\"A bound was reached\",\"status\":503,\"code\":\"overloaded\","
        "\"detail\":\"http.connections_max connections are open\",\"retry_after_ms\":1000}";
    char text[512];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                       "Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       sizeof body - 1, body);
    (void)send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    /* What is left unread at close makes a reset of it, which could overtake the answer. */
    char drain[4096];
    for (int i = 0; i < 16 && recv(fd, drain, sizeof drain, MSG_DONTWAIT) > 0; i++) {
    }
    (void)close(fd);
}

unsigned server_connections(const struct server *s)
{
    return atomic_load_explicit(&s->connection_count, memory_order_relaxed);
}

unsigned server_exchanges(const struct server *s)
{
    return atomic_load_explicit(&s->exchange_count, memory_order_relaxed);
}

void server_drain(struct server *s)
{
    s->draining = true;
    server_kept_clear(s);
    server_timeout_watch(s);
}
