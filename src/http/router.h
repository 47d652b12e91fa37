/* router: which route a path is. Patterns are compiled once per server, for its listener. */
#ifndef PHOENIX_SRC_HTTP_ROUTER_H
#define PHOENIX_SRC_HTTP_ROUTER_H

#include "http/exchange.h"
#include "http/routes.h"
#include "http/server.h"

struct router_entry {
    struct slice prefix; /* what comes before {id}, or the whole path */
    struct slice suffix; /* what comes behind {id} */
    bool has_id;
    bool open;       /* no token is asked for */
    bool local_only; /* where no token is set, loopback alone is answered */
    unsigned methods;
    unsigned route;
};

struct router {
    struct router_entry entries[ROUTE_LABEL_COUNT];
    unsigned count;
};

void router_init(struct router *r, enum http_listener listener);
/* The first entry that the raw path matches, or NULL. out_id: the raw segment in the place of {id}, not empty
 * and without '/'; ptr NULL where there is none. */
const struct router_entry *router_match(const struct router *r, struct slice path, struct slice *out_id);

enum { ROUTER_ALLOW_SIZE = sizeof "GET, HEAD, POST, PUT, DELETE, PATCH" };
/* The value of an Allow header. */
void router_allow(unsigned methods, char out[ROUTER_ALLOW_SIZE]);
enum http_method router_method(const char *name);
/* The label's index for a status. */
unsigned router_status_index(int http_status);

#endif
