/* tasks: /tasks/{id}: one task, by its id and perhaps its receipt. The rules are domain/task's and the
 * queue's; here is how they are asked over HTTP and answered. */
#include "tasks.h"

#include "util/rfc3339.h"

#include <stdlib.h>

/* --- calls --- */

static void free_call(void *arg)
{
    struct task_call *call = arg;
    buf_deinit(&call->scratch);
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

/* --- a task, shown --- */

void task_append_time(struct buf *out, const char *name, int64_t ms)
{
    char text[RFC3339_SIZE];
    rfc3339_format(ms, text);
    buf_printf(out, ",\"%s\":\"%s\"", name, text);
}

static void append_bad(struct buf *out, const struct queue_view *view)
{
    buf_append_text(out, "{\"state\":\"bad\",\"reason\":");
    json_append_string(out, view->reason);
    task_append_time(out, "set_aside_at", view->at_ms);
    buf_append_text(out, ",\"item\":");
    json_append_string(out, view->body);
    buf_append_char(out, '}');
}

static void append_attempts(struct buf *out, struct slice history)
{
    struct queue_event event;
    const char *comma = "";
    buf_append_text(out, ",\"attempts\":[");
    while (queue_event_next(&history, &event)) {
        char at[RFC3339_SIZE];
        rfc3339_format(event.at_ms, at);
        const char *what = event.kind == 'n' ? "nacked" : event.kind == 'e' ? "lease_ended" : "requeued";
        buf_printf(out, "%s{\"event\":\"%s\",\"at\":\"%s\",\"reason\":", comma, what, at);
        if (event.kind == 'n' && event.reason.len > 2)
            buf_append_slice(out, event.reason);
        else
            buf_append_text(out, "null");
        buf_append_char(out, '}');
        comma = ",";
    }
    buf_append_text(out, "]}");
}

void task_append_view(struct buf *out, const struct queue_view *view)
{
    static const char *const AT[QUEUE_STATE_COUNT] = {
        [QUEUE_DELAYED] = "due_at", [QUEUE_LEASED] = "lease_expires_at", [QUEUE_DEAD] = "forgotten_at"};
    if (view->state == QUEUE_BAD) {
        append_bad(out, view);
        return;
    }
    task_open(view->body, out);
    buf_printf(out, "\"state\":\"%s\",\"attempt\":%u,\"max_attempts\":%u", queue_state_names[view->state],
               view->attempt, view->max_attempts);
    if (view->state == QUEUE_READY || view->state == QUEUE_DELAYED)
        task_append_time(out, "expires_at", view->ends_ms);
    if (AT[view->state]) task_append_time(out, AT[view->state], view->at_ms);
    append_attempts(out, view->history);
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
    task_append_view(&body, &op->views[0]);
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
    if (ready && !op->local) queue_waits_ready(call->house->shared->waits, 1, false);
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
    ack->id = exchange_request(x)->id;
    call->op.in.ack.acks = ack;
    call->op.in.ack.count = 1;
    start_or_refuse(call, task_ack_read(exchange_request(x)->body, &ack->receipt, &error), &error);
}

void handle_task_nack(void *house, struct exchange *x)
{
    struct task_call *call = call_on(house, x, QUEUE_NACK, on_changed);
    if (!call) return;
    struct json_error error = {""};
    struct queue_op *op = &call->op;
    op->in.nack.id = exchange_request(x)->id;
    start_or_refuse(call,
                    task_nack_read(exchange_request(x)->body, &call->scratch, &op->in.nack.receipt,
                                   &op->in.nack.delay_ms, &op->in.nack.reason, &error),
                    &error);
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

void handle_task_extend(void *house, struct exchange *x)
{
    struct task_call *call = call_on(house, x, QUEUE_EXTEND, on_extended);
    if (!call) return;
    struct json_error error = {""};
    struct queue_op *op = &call->op;
    op->in.extend.id = exchange_request(x)->id;
    start_or_refuse(
        call,
        task_extend_read(exchange_request(x)->body, &op->in.extend.receipt, &op->in.extend.lease_ms, &error),
        &error);
}
