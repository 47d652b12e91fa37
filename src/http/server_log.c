/* server_log: the access log: which answers get a line, and what it holds. The route's pattern stands for the
 * path and nothing for the query, so that neither a key nor an id nor an input reaches the log. */
#include "http/server_internal.h"

static const char *method_name(enum http_method method)
{
    static const struct {
        enum http_method method;
        const char *name;
    } methods[] = {{HTTP_GET, "GET"}, {HTTP_HEAD, "HEAD"},     {HTTP_POST, "POST"},
                   {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"}, {HTTP_PATCH, "PATCH"}};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].method == method) return methods[i].name;
    return "other";
}

/* Of a trace all requests or none, in every daemon that samples alike. Without one, one in so many. */
static bool is_sampled(struct server *s, const struct trace *trace)
{
    uint64_t share = atomic_load_explicit(&s->options.shared->access_sample, memory_order_relaxed);
    if (trace->id[0]) return trace_dice(trace) < share;
    s->sample_due += share;
    if (s->sample_due >> HTTP_SHARE_BITS == 0) return false;
    s->sample_due -= UINT64_C(1) << HTTP_SHARE_BITS;
    return true;
}

void server_log_access(struct exchange *x, int64_t duration_us)
{
    struct server *s = x->server;
    bool failed = x->http_status >= 500;
    int mode = atomic_load_explicit(&s->options.shared->access_log, memory_order_relaxed);
    if (!failed && mode != HTTP_ACCESS_ALL) return;
    struct trace trace = exchange_trace(x);
    if (!failed && !is_sampled(s, &trace)) return;
    const struct log_field fields[] = {
        LOG_S("method", method_name(x->request.method)),
        LOG_S("route", http_route_names[x->request.route]),
        LOG_I("status", x->http_status),
        LOG_SL("code", x->problem == STATUS_OK ? SLICE_NONE : slice_of(status_code(x->problem))),
        LOG_I("duration_us", duration_us),
        LOG_I("bytes", x->response_bytes),
        LOG_SL("request_id", server_request_id(x)),
        LOG_TRACE(&trace)};
    log_write_each(s->options.log, failed ? LOG_WARN : LOG_INFO, "access", fields,
                   sizeof fields / sizeof fields[0]);
}
