/* record: what /session and /health have in common: a change of one value that is attached to its exchange,
 * and lists. */
#ifndef PHOENIX_HTTP_HANDLERS_RECORD_H
#define PHOENIX_HTTP_HANDLERS_RECORD_H

#include "common.h"

#include "state/record.h"

struct record_request {
    struct record_op op; /* op.arg is the request */
    struct exchange *x;
    unsigned asked; /* the handler's own */
    char id[ID_LEN_MAX];
};

/* Attached to x, with kind, deadline, done and arg set. NULL: answered 503. */
struct record_request *record_request_new(struct exchange *x, unsigned kind,
                                          void (*done)(struct record_op *op));
/* If-Match and If-None-Match into the change. False: answered 400, one is no list of entity tags. */
bool record_request_conditions(struct record_request *r);
/* Counts the memory that the change takes, and starts it. */
void record_request_start(struct house *house, struct record_request *r);
/* Answers for an op whose status is not OK. absent: what NOT_FOUND says. */
void record_request_problem(struct record_request *r, const char *absent);

/* The members of a list's query; a list may have more behind them. */
enum { RECORD_QUERY_LIMIT, RECORD_QUERY_CURSOR, RECORD_QUERY_COUNT };

/* Appends an element for `value`, a JSON object. False: it is not wanted here. */
typedef bool record_show_fn(const struct house *house, unsigned filter, struct slice value, struct buf *out);

/* Answers with a page: {"<name>": […], "cursor": …}. */
void record_list_answer(struct house *house, struct exchange *x, unsigned kind, const char *name,
                        const struct handler_query *query, record_show_fn *show, unsigned filter);

#endif
