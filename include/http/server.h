/* server: libmicrohttpd on one loop, in external-epoll mode without a listen socket. The only room that knows
 * MHD (src/http/server*.c). Checks what the parser lets through (Hosts, lengths, codings, sizes),
 * authenticates, routes, collects bodies within bounds, dispatches, answers, and closes the slow. One server
 * per loop; workers and the admin listener use the same code with other routes. */
#ifndef PHOENIX_HTTP_SERVER_H
#define PHOENIX_HTTP_SERVER_H

#include "http/exchange.h"
#include "log/log.h"
#include "loop/loop.h"
#include "metrics/metrics.h"

#include <stdatomic.h>

/* Each has methods of its own per route (routes.def). */
enum http_listener { HTTP_LISTENER_API = 1, HTTP_LISTENER_ADMIN = 2 };
enum http_peer { HTTP_PEER_TCP, HTTP_PEER_UNIX };

/* Shared by all servers of the process. */
struct http_limits {
    int64_t connections_max;
    size_t body_max;
    size_t inflight_bytes_max;
    int64_t deadline_ms, request_timeout_ms, idle_timeout_ms;
};

enum http_access_log { HTTP_ACCESS_OFF, HTTP_ACCESS_ERRORS, HTTP_ACCESS_ALL };
enum { HTTP_SHARE_BITS = 32 };

struct http_shared {
    struct http_limits limits;
    _Atomic int access_log;         /* enum http_access_log; may change while servers run */
    _Atomic uint64_t access_sample; /* of ALL: so many of 2^HTTP_SHARE_BITS requests */
    struct auth *auth;              /* http/auth.h: token, allowed hosts */
    _Atomic size_t inflight_bytes;
    _Atomic int64_t connections;
    _Atomic bool draining;
};

typedef void http_handler_fn(void *house, struct exchange *x);

struct server;

struct server_options {
    struct loop *loop;
    struct http_shared *shared;
    enum http_listener listener;
    http_handler_fn *const *handlers; /* by enum http_route (http/routes.h); outlives the server */
    void *house;                      /* handed to handlers */
    const char *(*backend)(
        void *house); /* "redis" or "local": what problems under /cache name; NULL: nothing */
    struct log *log;
    struct metrics *metrics;
    struct metrics_cell *cell;
};

struct server *server_create(const struct server_options *options); /* NULL: no memory or descriptors */

/* Takes over an accepted, non-blocking socket; counts it in shared->connections until it is closed. Loop
 * thread. Over the connection bound the caller answers (server_refuse) instead. */
void server_adopt(struct server *s, int fd, enum http_peer peer);
/* Writes a fixed 503 `overloaded` to a just accepted socket without waiting, and closes it. Any thread. */
void server_refuse(int fd);

unsigned server_connections(const struct server *s); /* any thread */
unsigned server_exchanges(const struct server *s); /* dispatched or receiving, not yet answered; any thread */

/* From now on each answer carries `Connection: close`, and connections without a request for 250 ms are
 * closed (not at once: a request that is on its way shall be answered). Loop thread. */
void server_drain(struct server *s);
/* Answers 503 to what no handler has answered and closes what is still open. When the loop no longer turns: a
 * handler's operation must not answer any more. */
void server_destroy(struct server **s);

#endif
