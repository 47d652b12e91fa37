/* server_request: MHD's callbacks, from the request line to the end of the connection.
 *
 * MHD calls on_request first with the headers, then with each piece of the body, then until there is an
 * answer. An answer given to the first call closes the connection, so a welcome request is never answered
 * there.
 *
 * Once a request is dispatched, MHD does not close its connection before it is answered: within the same
 * MHD_run it does not come back to it, and after that it is suspended. */
#include "http/server_internal.h"

#include <assert.h>
#include <stdlib.h>

static struct exchange *exchange_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info->socket_context;
}

/* --- the connection ----------------------------------------------------------------------------------------
 */

static void connection_begins(struct server *s, struct MHD_Connection *c, void **socket_context)
{
    atomic_fetch_add_explicit(&s->options.shared->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->connection_count, 1, memory_order_relaxed);
    struct exchange *x = calloc(1, sizeof *x);
    *socket_context = x;
    if (!x) return; /* on_request_line finds none, on_request closes */
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    x->server = s;
    x->connection = c;
    x->fd = info->connect_fd;
    x->peer = (uint8_t)s->adopting;
    x->request.route = ROUTE_UNKNOWN;
    x->next = s->connections;
    if (x->next) x->next->prev = x;
    s->connections = x;
    server_timeout_watch(s);
}

static void connection_ends(struct server *s, struct exchange *x)
{
    atomic_fetch_sub_explicit(&s->options.shared->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->connection_count, 1, memory_order_relaxed);
    if (!x) return;
    if (x->prev)
        x->prev->next = x->next;
    else
        s->connections = x->next;
    if (x->next) x->next->prev = x->prev;
    x->prev = x->next = NULL;
    assert(x->phase == PHASE_IDLE);
    exchange_reset(x);
    free(x);
}

void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                   enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_begins(cls, c, socket_context);
    else
        connection_ends(cls, *socket_context);
}

/* --- the request -------------------------------------------------------------------------------------------
 */

/* Where MHD's split of the query into arguments would refuse what is fine (each takes a piece of the
 * connection's memory) and would make blanks of its '+', a NUL in place of its first byte keeps the query
 * whole in MHD's buffer; on_request puts the byte back. The buffer is writable: MHD is about to write to it.
 */
void *on_request_line(void *cls, const char *uri, struct MHD_Connection *c)
{
    struct exchange *x = exchange_of(c);
    (void)cls;
    if (!x || !uri) return x;
    exchange_move(x, PHASE_HEAD);
    x->uri_len = strlen(uri);
    char *mark = memchr(uri, '?', x->uri_len);
    x->path = (struct slice){uri, mark ? (size_t)(mark - uri) : x->uri_len};
    if (!mark) return x;
    x->request.query = (struct slice){mark + 1, x->uri_len - x->path.len - 1};
    x->query_first = mark[1];
    mark[1] = '\0';
    return x;
}

static void release_body(struct exchange *x)
{
    if (!x->body) return;
    free(x->body);
    server_inflight_give(x->server, x->body_cap);
    x->body = NULL;
    x->body_len = x->body_cap = 0;
}

static void count_exchange(struct exchange *x, bool on)
{
    if (x->counted == on) return;
    x->counted = on;
    if (on)
        atomic_fetch_add_explicit(&x->server->exchange_count, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&x->server->exchange_count, 1, memory_order_relaxed);
}

void exchange_release_work(struct exchange *x)
{
    release_body(x);
    x->request.body = SLICE_NONE;
    count_exchange(x, false);
    server_inflight_give(x->server, x->held);
    x->held = 0;
    if (x->state_release) x->state_release(x->state);
    x->state_release = NULL;
    x->state = NULL;
}

void exchange_reset(struct exchange *x)
{
    exchange_release_work(x);
    free(x->id_copy);
    x->id_copy = NULL;
    if (x->response && !x->response_borrowed) MHD_destroy_response(x->response);
    x->response = NULL;
    x->response_borrowed = false;
    x->request = (struct http_request){.route = ROUTE_UNKNOWN};
    x->path = SLICE_NONE;
    x->refused = x->problem = STATUS_OK;
    x->refused_detail = NULL;
    free(x->made_id);
    x->made_id = NULL;
}

void on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *con_cls;
    (void)cls;
    (void)c;
    if (!x || x->phase == PHASE_IDLE) return;
    *con_cls = NULL;
    assert(x->phase != PHASE_DISPATCHED && x->phase != PHASE_SUSPENDED);
    if (x->sent) x->sent(x->sent_arg, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    x->sent = NULL;
    exchange_reset(x);
    x->requests++;
    exchange_move(x, PHASE_IDLE);
}

static void refuse(struct exchange *x, enum status status, const char *detail)
{
    x->refused = status;
    x->refused_detail = detail;
    release_body(x);
}

static void answer_refusal(struct exchange *x)
{
    char allow[ROUTER_ALLOW_SIZE];
    struct http_field field = {0};
    int64_t retry_after_ms = x->refused == STATUS_OVERLOADED ? 1000 : -1;
    if (x->refused == STATUS_METHOD_NOT_ALLOWED) {
        router_allow(x->allowed, allow);
        field = (struct http_field){"Allow", allow};
    }
    if (x->refused == STATUS_UNAUTHORIZED) field = (struct http_field){"WWW-Authenticate", "Bearer"};
    server_problem(x, x->refused, x->refused_detail, retry_after_ms, &field, field.name ? 1 : 0);
}

static enum MHD_Result on_headers(struct exchange *x, const char *method, const char *version)
{
    const struct server_options *o = &x->server->options;
    const char *detail = NULL;
    bool close_now = false;
    if (x->request.query.len > 0) ((char *)x->path.ptr)[x->path.len + 1] = x->query_first;
    x->http10 = strcmp(version, "HTTP/1.0") == 0;
    x->begun_us = loop_now_us(o->loop);
    count_exchange(x, true);
    exchange_move(x, PHASE_BODY);
    enum status status = exchange_check(x, method, version, &detail, &close_now);
    if (status == STATUS_OK) return MHD_YES;
    refuse(x, status, detail);
    if (!close_now) return MHD_YES;
    answer_refusal(x);
    return server_queue(x);
}

/* Grows with what has arrived, not with what was announced: announcing costs nothing. */
static bool body_grow(struct exchange *x, size_t more)
{
    size_t need = x->body_len + more, max = x->server->options.shared->limits.body_max;
    size_t cap = x->body_cap + x->body_cap / 2;
    if (need <= x->body_cap) return true;
    if (cap < BODY_FIRST) cap = BODY_FIRST;
    if (cap > max) cap = max;
    if (!x->chunked && cap > x->body_announced) cap = (size_t)x->body_announced;
    if (cap < need) cap = need;
    if (!server_inflight_take(x->server, cap - x->body_cap)) return false;
    char *grown = realloc(x->body, cap);
    if (!grown) {
        server_inflight_give(x->server, cap - x->body_cap);
        return false;
    }
    x->body = grown;
    x->body_cap = cap;
    return true;
}

static void on_body(struct exchange *x, const char *bytes, size_t len)
{
    if (x->refused != STATUS_OK) return; /* read and forgotten: nothing can be answered before its end */
    if (len > x->server->options.shared->limits.body_max - x->body_len) {
        server_bound_hit(x->server, HTTP_BOUND_BODY);
        refuse(x, STATUS_TOO_LARGE, "the body is over http.body_max");
        return;
    }
    if (!body_grow(x, len)) {
        server_bound_hit(x->server, HTTP_BOUND_INFLIGHT_BYTES);
        refuse(x, STATUS_OVERLOADED, "http.inflight_bytes_max is in use");
        return;
    }
    memcpy(x->body + x->body_len, bytes, len);
    x->body_len += len;
}

static void dispatch(struct exchange *x)
{
    struct server *s = x->server;
    x->request.body = (struct slice){x->body, x->body_len};
    exchange_move(x, PHASE_DISPATCHED);
    s->dispatching = x;
    s->keep.tag = NULL;
    if (s->ending) {
        server_problem(x, STATUS_OVERLOADED, "the daemon is stopping", 1000, NULL, 0);
        return;
    }
    s->options.handlers[x->request.route](s->options.house, x);
}

static enum MHD_Result on_complete_request(struct exchange *x)
{
    switch ((enum phase)x->phase) {
    case PHASE_BODY:
        if (x->refused != STATUS_OK)
            answer_refusal(x);
        else
            dispatch(x);
        if (x->phase == PHASE_ANSWERED) return server_queue(x);
        x->server->dispatching = NULL;
        x->next_unanswered = x->server->unanswered;
        x->server->unanswered = x;
        return MHD_YES;
    case PHASE_ANSWERED:
        return server_queue(x);
    default:
        return MHD_NO;
    }
}

enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                           const char *version, const char *upload, size_t *upload_len, void **con_cls)
{
    struct exchange *x = *con_cls;
    (void)cls;
    (void)c;
    (void)url; /* x->path is the same bytes */
    if (!x || x->phase == PHASE_IDLE) return MHD_NO;
    if (x->phase == PHASE_HEAD) return on_headers(x, method, version);
    if (*upload_len == 0) return on_complete_request(x);
    on_body(x, upload, *upload_len);
    *upload_len = 0;
    return MHD_YES;
}
