/* router: routes.def as a table of prefix, {id}, suffix. A match is a few comparisons of lengths and short
 * runs of bytes per route; with so few routes that is cheaper than any tree. Holds no state but the table. */
#include "http/router.h"

enum { OPEN, TOKEN, TOKEN_LOCAL };

static const struct {
    unsigned api, admin; /* methods */
    const char *path;
    unsigned auth;
} routes[] = {
#define X(id, api, admin, path, auth, handler) {api, admin, path, auth},
#include "http/routes.def"
#undef X
};

const char *const http_route_names[ROUTE_LABEL_COUNT] = {
#define X(id, api, admin, path, auth, handler) path,
#include "http/routes.def"
#undef X
    "unknown"};

const char *const http_status_names[HTTP_STATUS_COUNT] = {
#define X(status) #status,
    HTTP_STATUSES(X)
#undef X
        "other"};

const char *const http_bound_names[HTTP_BOUND_COUNT] = {
#define X(id, label) label,
    HTTP_BOUNDS(X)
#undef X
};

static const struct {
    const char *name;
    enum http_method method;
} methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
               {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"PATCH", HTTP_PATCH}};

enum { METHOD_COUNT = sizeof methods / sizeof methods[0] };

void router_init(struct router *r, enum http_listener listener)
{
    r->count = 0;
    for (unsigned i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        unsigned of_listener = listener == HTTP_LISTENER_API ? routes[i].api : routes[i].admin;
        if (!of_listener) continue;
        struct slice path = slice_of(routes[i].path);
        const char *id = strstr(path.ptr, "{id}");
        struct router_entry *e = &r->entries[r->count++];
        *e = (struct router_entry){.prefix = path,
                                   .has_id = id != NULL,
                                   .open = routes[i].auth == OPEN,
                                   .local_only =
                                       routes[i].auth == TOKEN_LOCAL && listener == HTTP_LISTENER_ADMIN,
                                   .methods = of_listener,
                                   .route = i};
        if (e->methods & HTTP_GET) e->methods |= HTTP_HEAD;
        if (!id) continue;
        e->prefix.len = (size_t)(id - path.ptr);
        e->suffix = slice_of(id + strlen("{id}"));
    }
}

const struct router_entry *router_match(const struct router *r, struct slice path, struct slice *out_id)
{
    for (unsigned i = 0; i < r->count; i++) {
        const struct router_entry *e = &r->entries[i];
        if (!e->has_id) {
            if (!slice_equal(path, e->prefix)) continue;
            *out_id = SLICE_NONE;
            return e;
        }
        if (path.len <= e->prefix.len + e->suffix.len) continue;
        if (memcmp(path.ptr, e->prefix.ptr, e->prefix.len) != 0) continue;
        struct slice id = {path.ptr + e->prefix.len, path.len - e->prefix.len - e->suffix.len};
        if (memcmp(id.ptr + id.len, e->suffix.ptr, e->suffix.len) != 0) continue;
        if (memchr(id.ptr, '/', id.len)) continue;
        *out_id = id;
        return e;
    }
    return NULL;
}

void router_allow(unsigned allowed, char out[ROUTER_ALLOW_SIZE])
{
    char *at = out;
    for (unsigned i = 0; i < METHOD_COUNT; i++) {
        if (!(allowed & (unsigned)methods[i].method)) continue;
        if (at != out) at = stpcpy(at, ", ");
        at = stpcpy(at, methods[i].name);
    }
    *at = '\0';
}

enum http_method router_method(const char *name)
{
    for (unsigned i = 0; i < METHOD_COUNT; i++)
        if (strcmp(name, methods[i].name) == 0) return methods[i].method;
    return HTTP_OTHER;
}

unsigned router_status_index(int http_status)
{
    switch (http_status) {
#define X(status)                                                                                            \
    case status:                                                                                             \
        return HTTP_STATUS_##status;
        HTTP_STATUSES(X)
#undef X
    default:
        return HTTP_STATUS_OTHER;
    }
}
