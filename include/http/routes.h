/* routes: the routes' numbers and the label values that the metrics of this room are counted under. All
 * tables are static and indexed by the enumerators. */
#ifndef PHOENIX_HTTP_ROUTES_H
#define PHOENIX_HTTP_ROUTES_H

enum http_route {
#define X(id, api, admin, path, auth, handler) ROUTE_##id,
#include "http/routes.def"
#undef X
    ROUTE_UNKNOWN, /* no such path on this listener; also what was refused before it was routed */
    ROUTE_LABEL_COUNT
};

/* Every status that an answer may have, in the order of the metric's label. Laid out by hand: clang-format 14
 * never comes to rest on a list like this. */
/* clang-format off */
#define HTTP_STATUSES(X) \
    X(200) X(201) X(202) X(204) X(304) X(400) X(401) X(403) X(404) X(405) X(409) X(412) X(413) X(414) \
    X(422) X(431) X(500) X(503) X(504)
/* clang-format on */

enum http_status_index {
#define X(status) HTTP_STATUS_##status,
    HTTP_STATUSES(X)
#undef X
        HTTP_STATUS_OTHER,
    HTTP_STATUS_COUNT
};

/* What can be full. Counted as METRIC_BOUND_HIT. X(enumerator, label) */
#define HTTP_BOUNDS(X)                                                                                       \
    X(CONNECTIONS, "connections")             /* http.connections_max; counted by who calls server_refuse */ \
    X(INFLIGHT_BYTES, "inflight_bytes")       /* http.inflight_bytes_max */                                  \
    X(BODY, "body")                           /* http.body_max */                                            \
    X(URI, "uri")                             /* HTTP_URI_MAX */                                             \
    X(HEADERS, "headers")                     /* HTTP_HEADERS_MAX */                                         \
    X(WAITERS, "waiters")                     /* locks.waiters_max, tasks.waiters_max */                     \
    X(ADMIN_CONNECTIONS, "admin_connections") /* of the admin listener: 64 */                                \
    X(SPOOL_QUEUE, "spool_queue")             /* operations that wait for the spool's thread: 65536 */

enum http_bound {
#define X(id, label) HTTP_BOUND_##id,
    HTTP_BOUNDS(X)
#undef X
        HTTP_BOUND_COUNT
};

enum { HTTP_URI_MAX = 4096, HTTP_HEADERS_MAX = 64 };

extern const char *const http_route_names[ROUTE_LABEL_COUNT];
extern const char *const http_status_names[HTTP_STATUS_COUNT];
extern const char *const http_bound_names[HTTP_BOUND_COUNT];

#endif
