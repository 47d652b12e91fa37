/* tasks_list: the queue as a whole: how many, a page of one state, purging the dead. */
#include "tasks.h"

#include <stdlib.h>

enum { QUERY_STATE, QUERY_LIMIT, QUERY_CURSOR, QUERY_COUNT };

/* --- counts --- */

static void on_counts(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    task_counts_show(&op->counts, op->partial, &body);
    task_reply_json(call->x, 200, &body, false, op);
}

/* --- a page --- */

static void on_page(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    task_list_show(op->views, op->results, op->next, op->partial, &body);
    task_reply_json(call->x, 200, &body, false, op);
}

static void list(struct house *house, struct exchange *x, struct handler_query *query)
{
    enum queue_state state;
    if (!queue_state_of(query[QUERY_STATE].value, &state)) {
        handler_problem(x, STATUS_INVALID_ARGUMENT,
                        "query member state is none of ready, delayed, leased, dead, bad");
        return;
    }
    struct task_call *call = task_call_new(house, x, QUEUE_LIST, on_page);
    if (!call) return;
    call->op.in.list.state = state;
    if (!(call->more = malloc(QUEUE_CURSOR_SIZE))) {
        handler_no_memory(x);
        return;
    }
    if (handler_query_limit(x, &query[QUERY_LIMIT], &call->op.in.list.limit) &&
        handler_query_cursor(x, &query[QUERY_CURSOR], call->more, QUEUE_CURSOR_SIZE,
                             &call->op.in.list.cursor))
        task_call_start(call);
}

static void look(struct house *house, struct exchange *x)
{
    struct handler_query query[QUERY_COUNT] = {[QUERY_STATE] = {.name = "state"},
                                               [QUERY_LIMIT] = {.name = "limit"},
                                               [QUERY_CURSOR] = {.name = "cursor"}};
    if (!handler_read_query(x, query, QUERY_COUNT)) return;
    if (query[QUERY_STATE].value.ptr) {
        list(house, x, query);
    } else if (query[QUERY_LIMIT].value.ptr || query[QUERY_CURSOR].value.ptr) {
        handler_problem(x, STATUS_INVALID_ARGUMENT, "query members limit and cursor need state");
    } else {
        struct task_call *call = task_call_new(house, x, QUEUE_COUNTS, on_counts);
        if (call) task_call_start(call);
    }
}

/* --- purging: step by step until none is left or the time is over --- */

static void on_purged(struct queue_op *op)
{
    struct task_call *call = op->arg;
    int64_t *purged = call->more;
    struct buf body = {0};
    bool known = op->status == STATUS_OK;
    if (!known && *purged == 0) {
        task_problem(call->house, call->x, op);
        return;
    }
    *purged += known ? op->count : 0;
    if (known && op->left > 0 && loop_now_us(call->house->loop) < op->deadline_us) {
        task_call_start(call);
        return;
    }
    buf_printf(&body, "{\"purged\":%lld,\"left\":", (long long)*purged);
    if (known)
        buf_append_i64(&body, op->left);
    else
        buf_append_text(&body, "null");
    buf_append_char(&body, '}');
    task_reply_json(call->x, 200, &body, true, op);
}

static void purge(struct house *house, struct exchange *x)
{
    struct handler_query query = {.name = "state"};
    if (!handler_read_query(x, &query, 1)) return;
    if (!slice_equal_text(query.value, "dead")) {
        handler_problem(x, STATUS_INVALID_ARGUMENT, "only the dead are purged: ?state=dead");
        return;
    }
    struct task_call *call = task_call_new(house, x, QUEUE_PURGE, on_purged);
    if (!call) return;
    if ((call->more = calloc(1, sizeof(int64_t))))
        task_call_start(call);
    else
        handler_no_memory(x);
}

void handle_task_collection(void *house, struct exchange *x)
{
    switch (exchange_request(x)->method) {
    case HTTP_POST:
        if (handler_no_query(x)) task_enqueue(house, x);
        return;
    case HTTP_DELETE:
        purge(house, x);
        return;
    default:
        look(house, x);
    }
}
