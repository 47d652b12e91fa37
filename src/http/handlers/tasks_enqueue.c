/* tasks_enqueue: POST /tasks: one task, or an array by one operation. */
#include "tasks.h"

enum { SHARE = 3, ITEM_OVERHEAD = 1024 }; /* as read, packed and sent; what one takes beside its bytes */

static void on_added(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    size_t added = 0, ready = 0;
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    for (size_t i = 0; i < op->results; i++) {
        added += op->verdicts[i].added;
        ready += op->verdicts[i].added && op->verdicts[i].state == QUEUE_READY;
    }
    metrics_count(call->house->cell, METRIC_TASK_ENQUEUED, op->local, 0, added);
    if (!op->local) queue_waits_ready(call->house->shared->waits, (unsigned)ready, SLICE_NONE, false);
    int http_status = task_batch_show(&call->batch, op->verdicts, &body);
    task_reply_json(call->x, http_status, &body, true, op);
}

static void start(struct task_call *call)
{
    const struct task_batch *batch = &call->batch;
    struct buf body = {0};
    if (!handler_hold(call->x, batch->items_count * ITEM_OVERHEAD)) return;
    call->op.in.enqueue.tasks = batch->tasks;
    call->op.in.enqueue.count = batch->tasks_count;
    if (batch->tasks_count > 0) {
        task_call_start(call);
        return;
    }
    int http_status = task_batch_show(batch, NULL, &body);
    handler_reply_json(call->x, http_status, &body, false, NULL, 0);
}

void task_enqueue(struct house *house, struct exchange *x)
{
    const struct house_shared *shared = house->shared;
    struct slice body = exchange_request(x)->body;
    struct json_error error = {""};
    struct task_call *call = task_call_new(house, x, QUEUE_ENQUEUE, on_added);
    if (!call || !handler_hold(x, SHARE * body.len + ITEM_OVERHEAD)) return;
    enum status status =
        task_batch_read(body, &shared->tasks, clock_wall_ms(shared->clock), &call->batch, &error);
    if (status == STATUS_OK)
        start(call);
    else if (status == STATUS_OVERLOADED)
        handler_no_memory(x);
    else
        handler_problem(x, status, error.detail);
}
