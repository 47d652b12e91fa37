/* app_accept: listeners, and the worker that each connection goes to. Control thread. */
#include "app_private.h"

#include "http/auth.h"
#include "http/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADMIN_CONNECTIONS_MAX = 64 };

static const char *const OPTIONS[] = {[INHERITED_API] = "http.listen",
                                      [INHERITED_ADMIN] = "admin.listen",
                                      [INHERITED_UNIX] = "http.unix_socket"};

struct handover {
    struct app *app;
    struct server *server;
    int fd;
    enum http_peer peer;
};

static void adopt(void *arg)
{
    struct handover *h = arg;
    server_adopt(h->server, h->fd, h->peer);
    atomic_fetch_sub(&h->app->on_the_way, 1);
    free(h);
}

static void hand_over(struct app *app, int fd, enum http_peer peer)
{
    struct http_shared *http = &app->shared.http;
    if (atomic_load(&http->connections) + atomic_load(&app->on_the_way) >= http->limits.connections_max) {
        metrics_count(app->admin_house.cell, METRIC_BOUND_HIT, HTTP_BOUND_CONNECTIONS, 0, 1);
        server_refuse(fd);
        return;
    }
    struct worker *least = &app->workers[0];
    for (unsigned i = 1; i < app->worker_count; i++)
        if (server_connections(app->workers[i].server) < server_connections(least->server))
            least = &app->workers[i];
    struct handover *h = malloc(sizeof *h);
    if (!h) {
        server_refuse(fd);
        return;
    }
    *h = (struct handover){app, least->server, fd, peer};
    atomic_fetch_add(&app->on_the_way, 1);
    if (!loop_post(least->loop, adopt, h)) {
        atomic_fetch_sub(&app->on_the_way, 1);
        free(h);
        server_refuse(fd);
    }
}

static void on_api_connection(void *arg, int fd)
{
    hand_over(arg, fd, HTTP_PEER_TCP);
}

static void on_unix_connection(void *arg, int fd)
{
    hand_over(arg, fd, HTTP_PEER_UNIX);
}

static void on_admin_connection(void *arg, int fd)
{
    struct app *app = arg;
    if (server_connections(app->admin) < ADMIN_CONNECTIONS_MAX) {
        server_adopt(app->admin, fd, HTTP_PEER_TCP);
    } else {
        metrics_count(app->admin_house.cell, METRIC_BOUND_HIT, HTTP_BOUND_ADMIN_CONNECTIONS, 0, 1);
        server_refuse(fd);
    }
}

/* An inherited socket goes before an address: that one is not bound. */
static struct listener *open_listener(struct app *app, enum inherited_kind kind, const char *address,
                                      listener_fn *fn, char *error, size_t size)
{
    int fd = app->inherited.fd[kind];
    if (fd >= 0) {
        struct listener *l = listener_open_fd(app->loop, fd, fn, app);
        (void)snprintf(error, size, "out of memory or descriptors");
        return l;
    }
    return kind == INHERITED_UNIX
               ? listener_open_unix(app->loop, OPTIONS[kind], address, fn, app, error, size)
               : listener_open_tcp(app->loop, OPTIONS[kind], address, fn, app, error, size);
}

static bool check_api(const struct config *c, const struct inherited *inherited, char *error, size_t size)
{
    bool tcp = c->http_listen[0], un = c->http_unix_socket[0];
    if (!tcp && !un && inherited->fd[INHERITED_API] < 0 && inherited->fd[INHERITED_UNIX] < 0) {
        (void)snprintf(error, size,
                       "http.listen: is empty, and so is http.unix_socket: nobody could ask; "
                       "give one of them");
        return false;
    }
    return (!tcp || listener_check_address(OPTIONS[INHERITED_API], c->http_listen, error, size)) &&
           (!un || inherited->fd[INHERITED_UNIX] >= 0 ||
            listener_check_unix(OPTIONS[INHERITED_UNIX], c->http_unix_socket, error, size));
}

bool app_check_addresses(const struct config *c, const struct inherited *inherited, char *error, size_t size)
{
    if (!check_api(c, inherited, error, size)) return false;
    if (!c->admin_listen[0]) return true;
    if (!listener_check_address(OPTIONS[INHERITED_ADMIN], c->admin_listen, error, size)) return false;
    if (!c->http_listen[0] || !listener_same_port(c->http_listen, c->admin_listen)) return true;
    (void)snprintf(error, size, "admin.listen %s: http.listen %s has this port; give each a port of its own",
                   c->admin_listen, c->http_listen);
    return false;
}

bool app_open_listeners(struct app *app, char *error, size_t size)
{
    const struct config *c = app->config;
    struct {
        enum inherited_kind kind;
        const char *address;
        listener_fn *fn;
        struct listener **out;
    } const listeners[] = {
        {INHERITED_API, c->http_listen, on_api_connection, &app->api_listener},
        {INHERITED_UNIX, c->http_unix_socket, on_unix_connection, &app->unix_listener},
        {INHERITED_ADMIN, c->admin_listen, on_admin_connection, &app->admin_listener},
    };
    for (size_t i = 0; i < sizeof listeners / sizeof listeners[0]; i++) {
        enum inherited_kind kind = listeners[i].kind;
        if (!listeners[i].address[0] && app->inherited.fd[kind] < 0) continue;
        *listeners[i].out = open_listener(app, kind, listeners[i].address, listeners[i].fn, error, size);
        if (!*listeners[i].out) return false;
    }
    app->shared.api_open = app->api_listener && !listener_is_local(app->api_listener) &&
                           !auth_token_needed(app->shared.http.auth);
    return true;
}

const char *app_listens_on(const struct app *app, enum inherited_kind kind, const char *address)
{
    return app->inherited.fd[kind] >= 0 ? "the service manager's socket" : address;
}
