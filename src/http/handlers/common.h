/* What handlers share. */
#ifndef PHOENIX_HTTP_HANDLERS_COMMON_H
#define PHOENIX_HTTP_HANDLERS_COMMON_H

#include "http/exchange.h"
#include "http/handlers.h"
#include "http/house.h"
#include "util/buf.h"

enum { HANDLER_RETRY_AFTER_MS = 1000 }; /* what a 503 suggests */

/* What the header Phoenix-Backend says. */
const char *handler_backend(bool local);

/* A query member that the handler knows. */
struct handler_query {
    const char *name;
    bool is_text;       /* people write it: where a bare & parts it, the rest is not repeated to anybody */
    struct slice value; /* out: raw; ptr NULL: not given; `name` alone and `name=` are empty */
};
/* Fills `members`. False: the request has been answered: 400, naming a member that is unknown (unless one
 * is_text) or given twice. */
bool handler_read_query(struct exchange *x, struct handler_query *members, size_t count);
/* True when the request has no query; else it has been answered: 400, naming the first member. */
bool handler_no_query(struct exchange *x);
/* A member that is true or false; absent: `otherwise`. False: answered 400. */
bool handler_query_bool(struct exchange *x, const struct handler_query *member, bool otherwise,
                        bool *out_value);
/* A page's size, 1 to 1000 (absent: 100), and where it begins; the cursor is decoded into `scratch`, absent:
 * empty. False: answered 400. */
bool handler_query_limit(struct exchange *x, const struct handler_query *member, unsigned *out_limit);
bool handler_query_cursor(struct exchange *x, const struct handler_query *member, char *scratch, size_t size,
                          struct slice *out_cursor);

/* Answers a problem with no more to say than its detail. */
void handler_problem(struct exchange *x, enum status status, const char *detail);
/* The same for what may work later: 503 with Retry-After. */
void handler_busy(struct exchange *x, enum status status, const char *detail);
void handler_no_memory(struct exchange *x);
/* Counts working memory against http.inflight_bytes_max. False: answered 503. */
bool handler_hold(struct exchange *x, size_t bytes);

/* Answers with JSON. Takes over the body and leaves it empty; where it has failed the answer is 503. `owed`
 * as in struct http_body. */
void handler_reply_json(struct exchange *x, int http_status, struct buf *body, bool owed,
                        const struct http_field *fields, size_t field_count);

#endif
