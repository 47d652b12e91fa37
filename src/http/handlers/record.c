/* record: see the header. */
#include "record.h"

#include "util/etag.h"
#include "util/json.h"

#include <stdlib.h>

enum {
    CHANGE_OVERHEAD = 1024, /* what a change takes beside its body */
    SHOWN_OVERHEAD = 128    /* what an element has beside its value */
};

/* --- one value --- */

struct record_request *record_request_new(struct exchange *x, unsigned kind,
                                          void (*done)(struct record_op *op))
{
    struct record_request *r = calloc(1, sizeof *r);
    if (!r) {
        handler_no_memory(x);
        return NULL;
    }
    r->x = x;
    r->op.kind = kind;
    r->op.deadline_us = exchange_deadline_us(x);
    r->op.done = done;
    r->op.arg = r;
    exchange_attach(x, r, free);
    return r;
}

bool record_request_conditions(struct record_request *r)
{
    const struct http_request *request = exchange_request(r->x);
    struct slice match = request->header[HTTP_HEADER_IF_MATCH];
    struct slice none_match = request->header[HTTP_HEADER_IF_NONE_MATCH];
    if (match.ptr && !etag_list_valid(match)) {
        handler_problem(r->x, STATUS_INVALID_ARGUMENT, "If-Match is neither * nor a list of entity tags");
        return false;
    }
    if (none_match.ptr && !etag_list_valid(none_match)) {
        handler_problem(r->x, STATUS_INVALID_ARGUMENT,
                        "If-None-Match is neither * nor a list of entity tags");
        return false;
    }
    r->op.change.if_match = match;
    r->op.change.if_none_match = none_match;
    return true;
}

void record_request_start(struct house *house, struct record_request *r)
{
    /* The value that comes of a change, and what hiredis or the spool copies of it, live beside the body. */
    size_t body = r->op.change.body.len;
    r->op.change.trace = exchange_trace(r->x);
    if (body == 0 || handler_hold(r->x, 2 * body + CHANGE_OVERHEAD)) record_start(house->records, &r->op);
}

static const char *why_not(enum status status)
{
    switch (status) {
    case STATUS_REDIS_UNAVAILABLE:
        return "cannot be answered truthfully while Redis is away";
    case STATUS_OUTCOME_UNKNOWN:
        return "the change was sent, and Redis did not say what became of it";
    case STATUS_PRECONDITION_FAILED:
        return "If-Match or If-None-Match does not hold for the value as it is now";
    case STATUS_FOREIGN_VALUE:
        return "the key holds another type, or no value of this kind; it was left untouched";
    default:
        return NULL;
    }
}

static void answer_problem(struct exchange *x, enum status status, const char *detail)
{
    if (status_http(status) == 503)
        handler_busy(x, status, detail);
    else
        handler_problem(x, status, detail);
}

void record_request_problem(struct record_request *r, const char *absent)
{
    const struct record_op *op = &r->op;
    const char *detail = op->detail && op->detail[0]      ? op->detail
                         : op->status == STATUS_NOT_FOUND ? absent
                                                          : why_not(op->status);
    answer_problem(r->x, op->status, detail);
}

/* --- a page of them --- */

struct page {
    struct record_list list;
    struct house *house;
    struct exchange *x;
    record_show_fn *show;
    unsigned filter;
    bool too_large, any;
    struct buf body;
    char cursor[sizeof((struct record_list *)NULL)->next];
};

static void free_page(void *arg)
{
    struct page *page = arg;
    buf_deinit(&page->body);
    free(page);
}

static void on_each(struct record_list *list, struct slice id, struct slice value, int64_t expires_ms)
{
    struct page *page = list->arg;
    (void)id;
    (void)expires_ms;
    if (page->too_large) return;
    if (!exchange_hold(page->x, value.len + SHOWN_OVERHEAD)) {
        page->too_large = true;
        return;
    }
    size_t before = page->body.len;
    if (page->any) buf_append_char(&page->body, ',');
    if (page->show(page->house, page->filter, value, &page->body))
        page->any = true;
    else if (!page->body.failed)
        page->body.len = before;
}

static void on_page(struct record_list *list)
{
    struct page *page = list->arg;
    struct buf *body = &page->body;
    if (list->status != STATUS_OK) {
        answer_problem(page->x, list->status,
                       list->detail && list->detail[0] ? list->detail : why_not(list->status));
        return;
    }
    if (page->too_large) {
        handler_busy(page->x, STATUS_OVERLOADED,
                     "the page does not fit into http.inflight_bytes_max: ask for fewer (limit)");
        return;
    }
    buf_append_text(body, "],\"cursor\":");
    if (list->next[0])
        json_append_string(body, slice_of(list->next));
    else
        buf_append_text(body, "null");
    buf_append_text(body, list->partial ? ",\"partial\":true}" : "}");
    const struct http_field backend = {"Phoenix-Backend", handler_backend(list->local)};
    handler_reply_json(page->x, 200, body, false, &backend, 1);
}

void record_list_answer(struct house *house, struct exchange *x, unsigned kind, const char *name,
                        const struct handler_query *query, record_show_fn *show, unsigned filter)
{
    struct page *page = calloc(1, sizeof *page);
    if (!page) {
        handler_no_memory(x);
        return;
    }
    exchange_attach(x, page, free_page);
    page->house = house;
    page->x = x;
    page->show = show;
    page->filter = filter;
    page->list.kind = kind;
    page->list.deadline_us = exchange_deadline_us(x);
    page->list.each = on_each;
    page->list.done = on_page;
    page->list.arg = page;
    if (!handler_query_limit(x, &query[RECORD_QUERY_LIMIT], &page->list.limit) ||
        !handler_query_cursor(x, &query[RECORD_QUERY_CURSOR], page->cursor, sizeof page->cursor,
                              &page->list.cursor))
        return;
    buf_printf(&page->body, "{\"%s\":[", name);
    record_list_start(house->records, &page->list);
}
