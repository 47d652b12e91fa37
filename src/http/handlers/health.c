/* health: /health. The rules are domain/health's; here is how they are asked over HTTP and answered. */
#include "record.h"

#include "domain/health.h"

static const char ABSENT[] = "nothing is known of this agent";

/* --- answering --- */

static void reply_permit(struct record_request *r)
{
    const struct record_op *op = &r->op;
    const struct http_field backend = {"Phoenix-Backend", handler_backend(op->local)};
    bool known = op->status == STATUS_OK; /* what nobody has reported on may be called */
    bool allowed = !known || op->note[HEALTH_NOTE_ALLOWED] != 0;
    int64_t circuit = known ? op->note[HEALTH_NOTE_CIRCUIT] : HEALTH_CLOSED;
    int64_t retry_ms = op->note[HEALTH_NOTE_RETRY_AFTER_MS];
    struct buf body = {0};
    buf_printf(&body, "{\"allowed\":%s,\"circuit\":\"%s\"", allowed ? "true" : "false",
               health_circuit_names[circuit]);
    if (!allowed && retry_ms > 0)
        buf_printf(&body, ",\"retry_after\":%lld.%03d", (long long)(retry_ms / 1000), (int)(retry_ms % 1000));
    buf_append_char(&body, '}');
    handler_reply_json(r->x, 200, &body, true, &backend, 1);
}

static void on_done(struct record_op *op)
{
    struct record_request *r = op->arg;
    const struct http_field backend = {"Phoenix-Backend", handler_backend(op->local)};
    struct buf body = {0};
    bool permit = r->asked == HEALTH_PERMIT;
    if (permit && (op->status == STATUS_OK || op->status == STATUS_NOT_FOUND)) {
        reply_permit(r);
    } else if (op->status != STATUS_OK) {
        record_request_problem(r, ABSENT);
    } else if (r->asked == HEALTH_DELETE) {
        exchange_reply(r->x, 204, NULL, NULL, &backend, 1);
    } else {
        health_show(op->value, op->change.stamp_ms, r->asked == HEALTH_READ, &body);
        handler_reply_json(r->x, 200, &body, r->asked != HEALTH_READ, &backend, 1);
    }
}

/* --- asking --- */

static void start(struct house *house, struct exchange *x, enum health_op op)
{
    const struct http_request *request = exchange_request(x);
    struct json_error error = {""};
    if (!handler_no_query(x)) return;
    if (op != HEALTH_READ &&
        (request->header[HTTP_HEADER_IF_MATCH].ptr || request->header[HTTP_HEADER_IF_NONE_MATCH].ptr)) {
        handler_problem(x, STATUS_INVALID_ARGUMENT, "If-Match and If-None-Match are not known here");
        return;
    }
    struct record_request *r = record_request_new(x, JOURNAL_HEALTH, on_done);
    if (!r) return;
    r->asked = op;
    enum status status = health_change(op, request->id, request->body, &r->op.change, &error);
    if (status == STATUS_OK)
        record_request_start(house, r);
    else
        handler_problem(x, status, error.detail);
}

void handle_health(void *house, struct exchange *x)
{
    enum http_method method = exchange_request(x)->method;
    start(house, x, method == HTTP_PUT ? HEALTH_PUT : method == HTTP_DELETE ? HEALTH_DELETE : HEALTH_READ);
}

void handle_health_success(void *house, struct exchange *x)
{
    start(house, x, HEALTH_SUCCESS);
}

void handle_health_failure(void *house, struct exchange *x)
{
    start(house, x, HEALTH_FAILURE);
}

void handle_health_permit(void *house, struct exchange *x)
{
    start(house, x, HEALTH_PERMIT);
}

/* --- all of them --- */

static bool show(const struct house *house, unsigned filter, struct slice value, struct buf *out)
{
    (void)filter;
    health_show(value, record_store_stamp_ms(house->records->store), true, out);
    return true;
}

void handle_health_collection(void *house, struct exchange *x)
{
    struct handler_query query[RECORD_QUERY_COUNT] = {
        [RECORD_QUERY_LIMIT] = {.name = "limit"}, [RECORD_QUERY_CURSOR] = {.name = "cursor"}};
    if (handler_read_query(x, query, RECORD_QUERY_COUNT))
        record_list_answer(house, x, JOURNAL_HEALTH, "agents", query, show, 0);
}
