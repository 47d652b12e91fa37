/* session: /session. The rules are domain/session's; here is how they are asked over HTTP and answered. */
#include "record.h"

#include "domain/session.h"
#include "util/etag.h"

#include <stdio.h>

static const char ABSENT[] = "there is no such session, or it has expired";

/* --- answering --- */

static void reply_session(struct record_request *r, int http_status)
{
    const struct record_op *op = &r->op;
    char etag[ETAG_SIZE], location[ID_LEN_MAX + sizeof "/session/"];
    struct buf body = {0};
    struct http_field fields[3] = {{"ETag", etag}, {"Phoenix-Backend", handler_backend(op->local)}};
    size_t count = 2;
    etag_format(op->etag, etag);
    if (http_status == 201) {
        (void)snprintf(location, sizeof location, "/session/%.*s", (int)op->change.id.len, op->change.id.ptr);
        fields[count++] = (struct http_field){"Location", location};
    }
    session_show(op->value, &body);
    handler_reply_json(r->x, http_status, &body, r->asked != SESSION_READ && r->asked != SESSION_TOUCH,
                       fields, count);
}

/* If-None-Match on a read is a question about the answer, not a guard of the touch. */
static bool is_known(struct record_request *r)
{
    struct slice none_match = exchange_request(r->x)->header[HTTP_HEADER_IF_NONE_MATCH];
    char etag[ETAG_SIZE];
    etag_format(r->op.etag, etag);
    if (!none_match.ptr || !etag_list_matches(none_match, (struct slice){etag + 1, ETAG_DIGITS}))
        return false;
    const struct http_field fields[] = {{"ETag", etag}, {"Phoenix-Backend", handler_backend(r->op.local)}};
    exchange_reply(r->x, 304, NULL, NULL, fields, 2);
    return true;
}

static void on_done(struct record_op *op)
{
    struct record_request *r = op->arg;
    const struct http_field backend = {"Phoenix-Backend", handler_backend(op->local)};
    if (op->status != STATUS_OK) {
        record_request_problem(r, ABSENT);
        return;
    }
    switch ((enum session_op)r->asked) {
    case SESSION_READ:
    case SESSION_TOUCH:
        if (!is_known(r)) reply_session(r, 200);
        return;
    case SESSION_DELETE:
        exchange_reply(r->x, 204, NULL, NULL, &backend, 1);
        return;
    case SESSION_CREATE:
    case SESSION_PUT:
        reply_session(r, op->existed ? 200 : 201);
        return;
    case SESSION_PATCH:
        reply_session(r, 200);
        return;
    }
}

/* --- asking --- */

static void start(struct house *house, struct exchange *x, enum session_op op, unsigned flags)
{
    const struct http_request *request = exchange_request(x);
    struct record_request *r = record_request_new(x, JOURNAL_SESSION, on_done);
    struct json_error error = {""};
    if (!r) return;
    r->asked = op;
    enum status status =
        session_change(op, flags, request->id, request->body, record_store_stamp_ms(house->records->store),
                       r->id, &r->op.change, &error);
    if (status != STATUS_OK) {
        handler_problem(x, status, error.detail);
        return;
    }
    bool reads = op == SESSION_READ || op == SESSION_TOUCH;
    if (!reads && !record_request_conditions(r)) return;
    record_request_start(house, r);
}

static void read_one(struct house *house, struct exchange *x)
{
    const struct http_request *request = exchange_request(x);
    struct handler_query query = {.name = "touch"};
    bool touch;
    if (!handler_read_query(x, &query, 1) || !handler_query_bool(x, &query, true, &touch)) return;
    if (request->header[HTTP_HEADER_IF_MATCH].ptr)
        handler_problem(x, STATUS_INVALID_ARGUMENT, "If-Match guards changes; a read knows If-None-Match");
    else
        start(house, x, touch && request->method == HTTP_GET ? SESSION_TOUCH : SESSION_READ, 0);
}

static void write_one(struct house *house, struct exchange *x, enum session_op op)
{
    struct handler_query query = {.name = "force"};
    bool force;
    if (handler_read_query(x, &query, 1) && handler_query_bool(x, &query, false, &force))
        start(house, x, op, force ? SESSION_FORCE : 0);
}

void handle_session(void *house, struct exchange *x)
{
    switch (exchange_request(x)->method) {
    case HTTP_PUT:
        write_one(house, x, SESSION_PUT);
        return;
    case HTTP_PATCH:
        write_one(house, x, SESSION_PATCH);
        return;
    case HTTP_DELETE:
        if (handler_no_query(x)) start(house, x, SESSION_DELETE, 0);
        return;
    default:
        read_one(house, x);
        return;
    }
}

/* --- all of them --- */

static bool show(const struct house *house, unsigned filter, struct slice value, struct buf *out)
{
    enum session_state state;
    (void)house;
    if (filter != SESSION_STATE_COUNT && (!session_state_of(value, &state) || state != filter)) return false;
    session_show(value, out);
    return true;
}

static void list(struct house *house, struct exchange *x)
{
    enum { QUERY_STATE = RECORD_QUERY_COUNT, QUERY_COUNT };
    struct handler_query query[QUERY_COUNT] = {[RECORD_QUERY_LIMIT] = {.name = "limit"},
                                               [RECORD_QUERY_CURSOR] = {.name = "cursor"},
                                               [QUERY_STATE] = {.name = "state"}};
    if (!handler_read_query(x, query, QUERY_COUNT)) return;
    unsigned state = query[QUERY_STATE].value.ptr ? 0 : SESSION_STATE_COUNT;
    if (query[QUERY_STATE].value.ptr) {
        while (state < SESSION_STATE_COUNT &&
               !slice_equal_text(query[QUERY_STATE].value, session_state_names[state]))
            state++;
        if (state == SESSION_STATE_COUNT) {
            handler_problem(x, STATUS_INVALID_ARGUMENT,
                            "query member state is none of Active, Completed, Failed");
            return;
        }
    }
    record_list_answer(house, x, JOURNAL_SESSION, "sessions", query, show, state);
}

void handle_session_collection(void *house, struct exchange *x)
{
    if (exchange_request(x)->method != HTTP_POST)
        list(house, x);
    else if (handler_no_query(x))
        start(house, x, SESSION_CREATE, 0);
}
