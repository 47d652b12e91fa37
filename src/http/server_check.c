/* server_check: one pass over the headers, then the questions in the order in which their answers may be
 * told: is it well-formed (400), may this caller speak here (403, 401), is there such a thing (404, 405), is
 * it small enough (413). What leaves the end of the message in doubt is answered at once, which closes the
 * connection; the rest is answered after the body, which keeps it. */
#include "http/server_internal.h"
#include "http/auth.h"
#include "util/uri.h"

#include <stdlib.h>

enum { REQUEST_ID_MAX = 128 };

struct scan {
    struct exchange *x;
    unsigned count;
    bool traced_twice;
    const char *broken; /* why the headers are malformed; NULL: they are not */
    const char *next;   /* where the next name must begin */
};

static const struct slice names[HTTP_HEADER_COUNT] = {
#define X(id, name) SLICE_LITERAL(name),
    HTTP_HEADERS(X)
#undef X
};

/* Of these a second one is refused: which of two would be meant? */
static const unsigned singles = 1U << HTTP_HEADER_HOST | 1U << HTTP_HEADER_CONTENT_LENGTH |
                                1U << HTTP_HEADER_TRANSFER_ENCODING | 1U << HTTP_HEADER_AUTHORIZATION |
                                1U << HTTP_HEADER_ORIGIN | 1U << HTTP_HEADER_REQUEST_ID;

static const char *const twice[HTTP_HEADER_COUNT] = {
#define X(id, name) "header " name " is there twice",
    HTTP_HEADERS(X)
#undef X
};

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && !(c != '\0' && strchr("-!#$%&'*+.^_`|~", c))) return false;
    }
    return len > 0;
}

/* MHD before 1.0 lets pass what later ones refuse: a NUL cuts a value, a folded line is glued to the name, a
 * bare LF ends a line. Each leaves its trace in where the pieces lie in its buffer: name NUL blanks value NUL
 * NUL, and the next name right behind. */
static bool parser_was_fooled(struct scan *scan, const char *name, size_t name_len, const char *value,
                              size_t value_len)
{
#if MHD_VERSION < 0x01000000
    if (scan->next && scan->next != name) return true;
    if (value <= name + name_len) return true;
    for (const char *p = name + name_len + 1; p < value; p++)
        if (*p != ' ' && *p != '\t') return true;
    if (value[value_len] != '\0' || value[value_len + 1] != '\0') return true;
    scan->next = value + value_len + 2;
#else
    (void)scan, (void)name, (void)name_len, (void)value, (void)value_len;
#endif
    return false;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                 const char *value, size_t value_len)
{
    struct scan *scan = cls;
    struct exchange *x = scan->x;
    (void)kind;
    scan->count++;
    if (!value) value = "";
    if (parser_was_fooled(scan, name, name_len, value, value_len) || memchr(value, '\r', value_len)) {
        scan->broken = "a header line is folded, ends without CR LF or holds a control character";
        return MHD_NO;
    }
    struct slice key = {name, name_len};
    for (unsigned i = 0; i < HTTP_HEADER_COUNT; i++) {
        if (name_len != names[i].len || !slice_equal_nocase(key, names[i])) continue;
        struct slice *at = &x->request.header[i];
        if (!at->ptr) {
            *at = slice_trim((struct slice){value, value_len});
        } else if (singles & 1U << i) {
            scan->broken = twice[i];
            return MHD_NO;
        } else if (i == HTTP_HEADER_TRACEPARENT) {
            scan->traced_twice = true;
        }
        return MHD_YES;
    }
    if (!is_token(name, name_len)) scan->broken = "a header's name is not a token";
    return scan->broken ? MHD_NO : MHD_YES;
}

static const bool blank_or_control[256] = {[0 ... ' '] = true, [0x7f] = true};

/* The request line and the target, as MHD left them. */
static const char *target_fault(const struct exchange *x, const char *version)
{
    if (x->path.len == 0 || x->path.ptr[0] != '/') return "the path must begin with '/'";
    size_t bad = 0;
    for (size_t i = 0; i < x->uri_len; i++)
        bad += blank_or_control[(unsigned char)x->path.ptr[i]];
    bool hidden_mark =
        x->path.len < x->uri_len && x->path.ptr[x->path.len] == '\0'; /* where MHD found the '?' */
    if (bad != hidden_mark) return "a blank or control character in the URL";
#if MHD_VERSION < 0x01000000
    if (version != x->path.ptr + x->uri_len + 1) return "a blank or control character in the URL";
#else
    (void)version; /* MHD has looked for both */
#endif
    return NULL;
}

/* How long the body is, and whether the message says so in one way only. */
static const char *framing_fault(struct exchange *x)
{
    struct slice coding = x->request.header[HTTP_HEADER_TRANSFER_ENCODING];
    struct slice length = x->request.header[HTTP_HEADER_CONTENT_LENGTH];
    x->chunked = coding.ptr != NULL;
    x->body_announced = 0;
    if (coding.ptr) {
        if (length.ptr) return "both Content-Length and Transfer-Encoding";
        if (x->http10) return "Transfer-Encoding needs HTTP/1.1";
        if (!slice_equal_nocase(coding, (struct slice)SLICE_LITERAL("chunked")))
            return "Transfer-Encoding must be chunked";
        return NULL;
    }
    if (!length.ptr) return NULL;
    if (length.len < 1 || length.len > 19) return "Content-Length must be a number";
    for (size_t i = 0; i < length.len; i++) {
        if (length.ptr[i] < '0' || length.ptr[i] > '9') return "Content-Length must be a number";
        x->body_announced = x->body_announced * 10 + (uint64_t)(length.ptr[i] - '0');
    }
    return NULL;
}

static bool is_known_host(const struct server *s, struct slice host)
{
    return host.len > 0 && slice_equal(host, (struct slice){s->host_known, s->host_known_len});
}

static void remember_host(struct server *s, struct slice host)
{
    if (host.len > sizeof s->host_known) return;
    memcpy(s->host_known, host.ptr, host.len);
    s->host_known_len = host.len;
}

static const char *host_fault(const struct exchange *x)
{
    struct slice host = x->request.header[HTTP_HEADER_HOST];
    if (!host.ptr) return x->http10 ? NULL : "header Host is missing";
    return is_known_host(x->server, host) || auth_host_wellformed(host) ? NULL
                                                                        : "header Host is not host[:port]";
}

static bool is_request_id(struct slice id)
{
    if (!id.ptr) return true;
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] <= ' ' || id.ptr[i] >= 0x7f) return false;
    return id.len >= 1 && id.len <= REQUEST_ID_MAX;
}

/* The admin listener may be open to a whole network for its probes: what callers have stored is shown there
 * to who has the token, or came over loopback (kubectl port-forward does). */
static bool is_from_here(const struct exchange *x)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    return getpeername(x->fd, (struct sockaddr *)&peer, &len) == 0 &&
           auth_peer_loopback((const struct sockaddr *)&peer);
}

static bool origin_fits(const struct exchange *x)
{
    const struct server_options *o = &x->server->options;
    struct slice origin = x->request.header[HTTP_HEADER_ORIGIN];
    if (auth_origin_ok(o->shared->auth, origin)) return true;
    return o->listener == HTTP_LISTENER_ADMIN && auth_token_needed(o->shared->auth) &&
           auth_origin_own(origin, x->request.header[HTTP_HEADER_HOST]);
}

/* Keeps web pages out. A Unix socket no page can reach; probes come to the admin listener by the pod's
 * address, so there Host says something only where nothing else protects. The admin listener's own page may
 * have been opened by such an address too, and what it sends carries the token. */
static const char *foreign(const struct exchange *x, const struct router_entry *route)
{
    const struct server_options *o = &x->server->options;
    struct slice host = x->request.header[HTTP_HEADER_HOST];
    if (x->peer == HTTP_PEER_UNIX) return NULL;
    if (!origin_fits(x)) return "header Origin names a foreign site";
    if (route && route->local_only && !auth_token_needed(o->shared->auth) && !is_from_here(x))
        return "without http.token_file the admin listener answers this over loopback only";
    if (!host.ptr) return NULL; /* HTTP/1.0: no browser sends that */
    bool unguarded = !(route && route->open) && !auth_token_needed(o->shared->auth);
    bool demanded = o->listener == HTTP_LISTENER_API || unguarded;
    if (!demanded || is_known_host(x->server, host)) return NULL;
    if (auth_host_ok(o->shared->auth, host)) {
        remember_host(x->server, host);
        return NULL;
    }
    return "header Host is neither loopback nor in http.allowed_hosts";
}

static bool decode_id(struct exchange *x, struct slice raw)
{
    char scratch[ID_LEN_MAX];
    struct slice id;
    if (!uri_id(raw, scratch, &id)) return false;
    if (id.ptr == scratch) {
        if (!(x->id_copy = malloc(id.len))) return false;
        memcpy(x->id_copy, id.ptr, id.len);
        id.ptr = x->id_copy;
    }
    x->request.id = id;
    return true;
}

static enum status check_form(struct exchange *x, const char *version, const char **out_detail)
{
    struct scan scan = {.x = x};
    if (x->uri_len > HTTP_URI_MAX) {
        *out_detail = "the URL is over 4096 bytes";
        server_bound_hit(x->server, HTTP_BOUND_URI);
        return STATUS_URI_TOO_LONG;
    }
    (void)MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, on_header, &scan);
    x->expects = x->request.header[HTTP_HEADER_EXPECT].ptr != NULL;
    if (scan.traced_twice) x->request.header[HTTP_HEADER_TRACEPARENT] = SLICE_NONE; /* which is meant? */
    struct slice *id = &x->request.header[HTTP_HEADER_REQUEST_ID];
    x->request_id_legal = is_request_id(*id);
    if (!x->request_id_legal) *id = SLICE_NONE; /* nobody shall echo it */
    if ((*out_detail = target_fault(x, version)) || (*out_detail = scan.broken) ||
        (*out_detail = framing_fault(x)) || (*out_detail = host_fault(x)))
        return STATUS_INVALID_ARGUMENT;
    if (scan.count <= HTTP_HEADERS_MAX) return STATUS_OK;
    *out_detail = "over 64 headers";
    server_bound_hit(x->server, HTTP_BOUND_HEADERS);
    return STATUS_HEADERS_TOO_LARGE;
}

static enum status check_access(struct exchange *x, const struct router_entry *route, const char **out_detail)
{
    const struct server_options *o = &x->server->options;
    if (!x->request_id_legal) {
        *out_detail = "header X-Request-Id must be 1 to 128 visible ASCII characters";
        return STATUS_INVALID_ARGUMENT;
    }
    if ((*out_detail = foreign(x, route))) return STATUS_FORBIDDEN;
    if (route && route->open) return STATUS_OK;
    if (auth_token_ok(o->shared->auth, x->request.header[HTTP_HEADER_AUTHORIZATION])) return STATUS_OK;
    *out_detail = "Authorization: Bearer with the daemon's token is needed";
    return STATUS_UNAUTHORIZED;
}

static enum status check_route(struct exchange *x, const struct router_entry *route, struct slice raw_id,
                               const char **out_detail)
{
    *out_detail = NULL;
    if (!route) return STATUS_NO_SUCH_ROUTE;
    if (!(route->methods & (unsigned)x->request.method)) {
        x->allowed = route->methods;
        return STATUS_METHOD_NOT_ALLOWED;
    }
    if (raw_id.ptr && !decode_id(x, raw_id)) {
        *out_detail = "the id in the path must be 1 to 256 of A-Z a-z 0-9 . _ : @ - and not . or ..";
        return STATUS_INVALID_ARGUMENT;
    }
    return STATUS_OK;
}

enum status exchange_check(struct exchange *x, const char *method, const char *version,
                           const char **out_detail, bool *out_close)
{
    struct server *s = x->server;
    struct slice raw_id = SLICE_NONE;
    *out_close = true;
    x->request.method = router_method(method);
    enum status status = check_form(x, version, out_detail);
    if (status != STATUS_OK) return status;
    const struct router_entry *route = router_match(&s->router, x->path, &raw_id);
    if (route) x->request.route = route->route;
    bool too_large = x->body_announced > s->options.shared->limits.body_max;
    /* Where the client waits for a 100 (Continue), or the body would be large, no one wants it any more. */
    *out_close = x->expects || too_large;
    status = check_access(x, route, out_detail);
    if (status == STATUS_OK) status = check_route(x, route, raw_id, out_detail);
    if (status != STATUS_OK || !too_large) return status;
    *out_detail = "the body is over http.body_max";
    server_bound_hit(s, HTTP_BOUND_BODY);
    return STATUS_TOO_LARGE;
}
