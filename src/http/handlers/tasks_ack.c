/* tasks_ack: POST /tasks/ack: many acks by one operation, each judged for itself. */
#include "tasks.h"

#include "util/json_edit.h"

#include <stdlib.h>

enum { ITEM_OVERHEAD = 512 }; /* what one takes, packed and answered */

struct item {
    enum status status; /* not OK: refused before it was asked */
    struct slice id;    /* ptr NULL: it cannot be told */
};

struct acks {
    struct queue_ack acks[QUEUE_ACK_MAX];
    struct item items[QUEUE_ACK_MAX];
    size_t count;
};

static void append_result(struct buf *out, struct slice id, enum status status, bool journaled)
{
    buf_append_text(out, "{\"task_id\":");
    if (id.ptr)
        json_append_string(out, id);
    else
        buf_append_text(out, "null");
    if (status == STATUS_OK)
        buf_printf(out, ",\"status\":%d}", journaled ? 202 : 204);
    else
        buf_printf(out, ",\"status\":%d,\"code\":\"%s\"}", status_http(status), status_code(status));
}

static void answer(struct task_call *call, const struct queue_op *op)
{
    const struct acks *a = call->more;
    struct buf body = {0};
    size_t at = 0, acked = 0, stale = 0;
    buf_append_text(&body, "{\"results\":[");
    for (size_t i = 0; i < a->count; i++) {
        enum status status = a->items[i].status;
        bool asked = status == STATUS_OK, journaled = false;
        if (asked) {
            status = op->verdicts[at].status;
            journaled = op->verdicts[at++].journaled;
        }
        acked += status == STATUS_OK;
        stale += status == STATUS_STALE_RECEIPT;
        if (i > 0) buf_append_char(&body, ',');
        append_result(&body, a->items[i].id, status, journaled);
    }
    buf_append_text(&body, "]}");
    metrics_count(call->house->cell, METRIC_TASK_ACKED, 0, 0, acked);
    metrics_count(call->house->cell, METRIC_TASK_STALE, 0, 0, stale);
    task_reply_json(call->x, 200, &body, true, op);
}

static void on_acked(struct queue_op *op)
{
    struct task_call *call = op->arg;
    if (op->status == STATUS_OK)
        answer(call, op);
    else
        task_problem(call->house, call->x, op);
}

static void read_items(struct task_call *call, struct slice array)
{
    struct acks *a = call->more;
    struct slice one;
    size_t asked = 0;
    for (; json_element_next(&array, &one); a->count++) {
        enum status status = task_acks_item_read(one, &a->acks[asked], NULL);
        a->items[a->count] = (struct item){status, a->acks[asked].id};
        asked += status == STATUS_OK;
    }
    call->op.in.ack.acks = a->acks;
    call->op.in.ack.count = asked;
}

void handle_task_acks(void *house, struct exchange *x)
{
    struct json_error error = {""};
    struct slice array;
    size_t count;
    if (!handler_no_query(x)) return;
    enum status status = task_acks_read(exchange_request(x)->body, &array, &count, &error);
    if (status != STATUS_OK) {
        handler_problem(x, status, error.detail);
        return;
    }
    struct task_call *call = task_call_new(house, x, QUEUE_ACK, on_acked);
    if (!call || !handler_hold(x, sizeof(struct acks) + count * ITEM_OVERHEAD)) return;
    if (!(call->more = calloc(1, sizeof(struct acks)))) {
        handler_no_memory(x);
        return;
    }
    read_items(call, array);
    if (call->op.in.ack.count > 0)
        task_call_start(call);
    else
        answer(call, &call->op);
}
