/* tasks: /tasks/{id}: one task, by its id and perhaps its receipt; and many acks at once. The rules are
 * domain/task's and the queue's; here is how they are asked over HTTP and answered. */
#include "tasks.h"

#include "util/rfc3339.h"

#include <stdlib.h>

/* --- calls --- */

static void free_call(void *arg)
{
    struct task_call *call = arg;
    task_batch_deinit(&call->batch);
    task_acks_deinit(&call->acks);
    task_report_deinit(&call->report);
    free(call->more);
    free(call);
}

struct task_call *task_call_new(struct house *house, struct exchange *x, enum queue_verb verb,
                                void (*done)(struct queue_op *op))
{
    struct task_call *call = calloc(1, sizeof *call);
    if (!call) {
        handler_no_memory(x);
        return NULL;
    }
    call->op.verb = verb;
    call->op.deadline_us = exchange_deadline_us(x);
    call->op.done = done;
    call->op.arg = call;
    call->x = x;
    call->house = house;
    exchange_attach(x, call, free_call);
    return call;
}

void task_call_start(struct task_call *call)
{
    queue_start(call->house->queue, &call->op);
}

/* --- answers --- */

static const char *why_not(enum status status)
{
    switch (status) {
    case STATUS_NOT_FOUND:
        return "there is no such task, or it has finished";
    case STATUS_STALE_RECEIPT:
        return "the lease has ended, or the task was finished, given back or cancelled";
    case STATUS_INVALID_TRANSITION:
        return "only dead tasks are requeued";
    case STATUS_INVALID_ARGUMENT:
        return "query member cursor is none that was given out";
    case STATUS_REDIS_UNAVAILABLE:
        return "cannot be answered truthfully while Redis is away";
    case STATUS_SPOOL_UNAVAILABLE:
        return "the local store cannot commit";
    case STATUS_OUTCOME_UNKNOWN:
        return "it was sent, and Redis did not say what became of it";
    case STATUS_FOREIGN_VALUE:
        return "one of the queue's keys holds another type; it was left untouched";
    case STATUS_OVERLOADED:
        return "out of memory";
    default:
        return NULL;
    }
}

void task_problem(struct house *house, struct exchange *x, const struct queue_op *op)
{
    const struct http_field backend = {"Phoenix-Backend", handler_backend(op->local)};
    int64_t retry_after_ms = status_http(op->status) == 503 ? HANDLER_RETRY_AFTER_MS : -1;
    if (op->status == STATUS_STALE_RECEIPT) metrics_count(house->cell, METRIC_TASK_STALE, 0, 0, 1);
    exchange_problem(x, op->status, op->detail[0] ? op->detail : why_not(op->status), retry_after_ms,
                     &backend, 1);
}

void task_reply_done(struct exchange *x, const struct queue_op *op, bool journaled)
{
    const struct http_field backend = {"Phoenix-Backend", handler_backend(op->local)};
    exchange_reply(x, journaled ? 202 : 204, NULL, NULL, &backend, 1);
}

void task_reply_json(struct exchange *x, int http_status, struct buf *body, bool owed,
                     const struct queue_op *op)
{
    const struct http_field backend = {"Phoenix-Backend", handler_backend(op->local)};
    handler_reply_json(x, http_status, body, owed, &backend, 1);
}

/* --- by id --- */

static bool id_ok(struct exchange *x)
{
    if (task_id_ok(exchange_request(x)->id)) return handler_no_query(x);
    handler_problem(x, STATUS_INVALID_ARGUMENT, "dequeue and ack are words of routes and name no task");
    return false;
}

static struct task_call *call_on(struct house *house, struct exchange *x, enum queue_verb verb,
                                 void (*done)(struct queue_op *op))
{
    return id_ok(x) ? task_call_new(house, x, verb, done) : NULL;
}

static void on_got(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    task_view_show(&op->views[0], &body);
    task_reply_json(call->x, 200, &body, false, op);
}

static void on_changed(struct queue_op *op)
{
    struct task_call *call = op->arg;
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    if (op->verb == QUEUE_NACK) metrics_count(call->house->cell, METRIC_TASK_NACKED, 0, 0, 1);
    bool ready = op->verb == QUEUE_REQUEUE || (op->verb == QUEUE_NACK && op->in.nack.delay_ms == 0);
    if (ready && !op->local) queue_waits_ready(call->house->shared->waits, 1, SLICE_NONE, false);
    task_reply_done(call->x, op, op->journaled);
}

void handle_task(void *house, struct exchange *x)
{
    bool cancels = exchange_request(x)->method == HTTP_DELETE;
    struct task_call *call =
        call_on(house, x, cancels ? QUEUE_CANCEL : QUEUE_GET, cancels ? on_changed : on_got);
    if (!call) return;
    call->op.in.task.id = exchange_request(x)->id;
    task_call_start(call);
}

void handle_task_requeue(void *house, struct exchange *x)
{
    struct task_call *call = call_on(house, x, QUEUE_REQUEUE, on_changed);
    if (!call) return;
    call->op.in.task.id = exchange_request(x)->id;
    task_call_start(call);
}

/* --- by receipt --- */

static void start_or_refuse(struct task_call *call, enum status status, const struct json_error *error)
{
    if (status == STATUS_OK)
        task_call_start(call);
    else if (status == STATUS_OVERLOADED)
        handler_no_memory(call->x);
    else
        handler_problem(call->x, status, error->detail);
}

static void on_acked(struct queue_op *op)
{
    struct task_call *call = op->arg;
    if (op->status == STATUS_OK) op->status = op->verdicts[0].status;
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    metrics_count(call->house->cell, METRIC_TASK_ACKED, 0, 0, 1);
    task_reply_done(call->x, op, op->verdicts[0].journaled);
}

static void on_extended(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    char ends[RFC3339_SIZE];
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    rfc3339_format(op->lease_ends_ms, ends);
    buf_printf(&body, "{\"lease_expires_at\":\"%s\"}", ends);
    task_reply_json(call->x, 200, &body, true, op);
}

void handle_task_ack(void *house, struct exchange *x)
{
    struct task_call *call = call_on(house, x, QUEUE_ACK, on_acked);
    if (!call) return;
    struct json_error error = {""};
    struct queue_ack *ack = call->more = calloc(1, sizeof *ack);
    if (!ack) {
        handler_no_memory(x);
        return;
    }
    enum status status = task_report_read(TASK_ACK, exchange_request(x)->body, &call->report, &error);
    *ack = (struct queue_ack){exchange_request(x)->id, call->report.receipt};
    call->op.in.ack.acks = ack;
    call->op.in.ack.count = 1;
    start_or_refuse(call, status, &error);
}

void handle_task_nack(void *house, struct exchange *x)
{
    struct task_call *call = call_on(house, x, QUEUE_NACK, on_changed);
    if (!call) return;
    struct json_error error = {""};
    const struct task_report *r = &call->report;
    enum status status = task_report_read(TASK_NACK, exchange_request(x)->body, &call->report, &error);
    call->op.in.nack.id = exchange_request(x)->id;
    call->op.in.nack.receipt = r->receipt;
    call->op.in.nack.reason = r->reason;
    call->op.in.nack.delay_ms = r->delay_ms;
    start_or_refuse(call, status, &error);
}

void handle_task_extend(void *house, struct exchange *x)
{
    struct task_call *call = call_on(house, x, QUEUE_EXTEND, on_extended);
    if (!call) return;
    struct json_error error = {""};
    enum status status = task_report_read(TASK_EXTEND, exchange_request(x)->body, &call->report, &error);
    call->op.in.extend.id = exchange_request(x)->id;
    call->op.in.extend.receipt = call->report.receipt;
    call->op.in.extend.lease_ms = call->report.lease_ms;
    start_or_refuse(call, status, &error);
}

/* --- many acks --- */

static void on_all_acked(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    size_t acked = 0, stale = 0;
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    for (size_t i = 0; i < op->results; i++) {
        acked += op->verdicts[i].status == STATUS_OK;
        stale += op->verdicts[i].status == STATUS_STALE_RECEIPT;
    }
    metrics_count(call->house->cell, METRIC_TASK_ACKED, 0, 0, acked);
    metrics_count(call->house->cell, METRIC_TASK_STALE, 0, 0, stale);
    task_acks_show(&call->acks, op->verdicts, &body);
    task_reply_json(call->x, 200, &body, true, op);
}

void handle_task_acks(void *house, struct exchange *x)
{
    enum { SHARE = 4, FIXED = QUEUE_ACK_MAX * 64 }; /* read, packed, sent, answered */
    struct json_error error = {""};
    if (!handler_no_query(x)) return;
    struct task_call *call = task_call_new(house, x, QUEUE_ACK, on_all_acked);
    if (!call || !handler_hold(x, SHARE * exchange_request(x)->body.len + FIXED)) return;
    enum status status = task_acks_read(exchange_request(x)->body, &call->acks, &error);
    call->op.in.ack.acks = call->acks.acks;
    call->op.in.ack.count = call->acks.count;
    start_or_refuse(call, status, &error);
}
