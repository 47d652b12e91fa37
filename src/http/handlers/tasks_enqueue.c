/* tasks_enqueue: POST /tasks. Of an array each element is judged for itself: those refused are told by their
 * place, the others go in by one operation. */
#include "tasks.h"

#include "util/json_edit.h"

#include <stdlib.h>

enum { ITEM_OVERHEAD = 256 };

/* An element that was refused, or which of the op's tasks it is. */
struct item {
    enum status status;
    size_t at; /* in tasks, or of its detail in scratch */
};

struct enqueue {
    size_t count;       /* elements */
    struct item *items; /* behind the tasks */
    struct queue_task tasks[];
};

/* --- answers --- */

static void count_added(struct task_call *call, const struct queue_op *op, size_t added)
{
    size_t ready = 0;
    for (size_t i = 0; i < op->results; i++)
        ready += op->verdicts[i].added && op->verdicts[i].state == QUEUE_READY;
    metrics_count(call->house->cell, METRIC_TASK_ENQUEUED, op->local, 0, added);
    if (!op->local) queue_waits_ready(call->house->shared->waits, (unsigned)ready, false);
}

static int status_of(const struct queue_verdict *v)
{
    return !v->added ? 200 : v->journaled ? 202 : 201;
}

static void on_one(struct queue_op *op)
{
    struct task_call *call = op->arg;
    struct buf body = {0};
    if (op->status != STATUS_OK) {
        task_problem(call->house, call->x, op);
        return;
    }
    const struct queue_verdict *v = &op->verdicts[0];
    struct slice id = op->in.enqueue.tasks[0].id;
    count_added(call, op, v->added);
    buf_printf(&body, "{\"task_id\":\"%.*s\"", (int)id.len, id.ptr);
    if (!v->added) buf_printf(&body, ",\"state\":\"%s\"", queue_state_names[v->state]);
    buf_append_char(&body, '}');
    task_reply_json(call->x, status_of(v), &body, true, op);
}

static void append_refused(struct buf *out, enum status status, const char *detail)
{
    buf_printf(out, "{\"task_id\":null,\"status\":%d,\"code\":\"%s\",\"detail\":", status_http(status),
               status_code(status));
    json_append_string(out, slice_of(detail));
    buf_append_char(out, '}');
}

static void append_verdict(struct buf *out, struct slice id, const struct queue_verdict *v)
{
    buf_printf(out, "{\"task_id\":\"%.*s\",\"status\":%d", (int)id.len, id.ptr, status_of(v));
    if (!v->added) buf_printf(out, ",\"state\":\"%s\"", queue_state_names[v->state]);
    buf_append_char(out, '}');
}

/* verdicts NULL: all were refused. */
static void answer_many(struct task_call *call, const struct queue_verdict *verdicts)
{
    const struct enqueue *e = call->more;
    struct buf body = {0};
    int overall = 422;
    size_t added = 0;
    buf_append_text(&body, "{\"results\":[");
    for (size_t i = 0; i < e->count; i++) {
        const struct item *item = &e->items[i];
        if (i > 0) buf_append_char(&body, ',');
        if (!verdicts || item->status != STATUS_OK) {
            append_refused(&body, item->status, call->scratch.ptr + item->at);
            continue;
        }
        const struct queue_verdict *v = &verdicts[item->at];
        append_verdict(&body, e->tasks[item->at].id, v);
        added += v->added;
        if (overall == 422) overall = 200;
        if (v->added) overall = v->journaled ? 202 : 201;
    }
    buf_append_text(&body, "]}");
    if (verdicts) count_added(call, &call->op, added);
    task_reply_json(call->x, overall, &body, true, &call->op);
}

static void on_many(struct queue_op *op)
{
    struct task_call *call = op->arg;
    if (op->status == STATUS_OK)
        answer_many(call, op->verdicts);
    else
        task_problem(call->house, call->x, op);
}

/* --- asking --- */

/* Reserves so that nothing in scratch moves, and counts that, what is packed for sending, and what is
 * answered. */
static bool reserve(struct task_call *call, size_t scratch_bytes, size_t count)
{
    size_t body = exchange_request(call->x)->body.len;
    if (!handler_hold(call->x, scratch_bytes + body + count * ITEM_OVERHEAD)) return false;
    struct enqueue *e = calloc(1, sizeof *e + count * (sizeof e->tasks[0] + sizeof e->items[0]));
    call->more = e;
    buf_reserve(&call->scratch, scratch_bytes);
    if (!e || call->scratch.failed) {
        handler_no_memory(call->x);
        return false;
    }
    e->items = (struct item *)&e->tasks[count];
    return true;
}

static void enqueue_one(struct task_call *call)
{
    struct house *house = call->house;
    struct slice body = exchange_request(call->x)->body;
    struct json_error error = {""};
    if (!reserve(call, task_scratch_bytes(body.len), 1)) return;
    struct enqueue *e = call->more;
    enum status status = task_read(&house->shared->tasks, body, clock_wall_ms(house->shared->clock),
                                   &call->scratch, &e->tasks[0], &error);
    if (status == STATUS_OVERLOADED) {
        handler_no_memory(call->x);
    } else if (status != STATUS_OK) {
        handler_problem(call->x, status, error.detail);
    } else {
        call->op.in.enqueue.tasks = e->tasks;
        call->op.in.enqueue.count = 1;
        task_call_start(call);
    }
}

static void read_items(struct task_call *call, struct slice array)
{
    struct house *house = call->house;
    struct enqueue *e = call->more;
    int64_t now_ms = clock_wall_ms(house->shared->clock);
    struct slice one;
    size_t tasks = 0;
    for (; json_element_next(&array, &one); e->count++) {
        struct json_error error = {""};
        enum status status =
            task_read(&house->shared->tasks, one, now_ms, &call->scratch, &e->tasks[tasks], &error);
        struct item *item = &e->items[e->count];
        *item = (struct item){status, tasks};
        if (status == STATUS_OK) {
            tasks++;
            continue;
        }
        item->at = call->scratch.len;
        buf_append(&call->scratch, error.detail, strlen(error.detail) + 1);
    }
    call->op.in.enqueue.tasks = e->tasks;
    call->op.in.enqueue.count = tasks;
}

static void enqueue_many(struct task_call *call)
{
    struct slice body = exchange_request(call->x)->body, rest = body, one;
    size_t count = task_array_count(body, QUEUE_ENQUEUE_MAX), bytes = 0;
    if (count < 1 || count > QUEUE_ENQUEUE_MAX) {
        handler_problem(call->x, STATUS_INVALID_ARGUMENT, "the array must have 1 to 1000 elements");
        return;
    }
    while (json_element_next(&rest, &one))
        bytes += task_scratch_bytes(one.len) + sizeof(struct json_error);
    if (!reserve(call, bytes, count)) return;
    read_items(call, body);
    if (call->scratch.failed)
        handler_no_memory(call->x);
    else if (call->op.in.enqueue.count > 0)
        task_call_start(call);
    else
        answer_many(call, NULL);
}

void task_enqueue(struct house *house, struct exchange *x)
{
    enum json_type type;
    struct json_error error = {""};
    enum status status = json_validate(exchange_request(x)->body, &type, &error);
    if (status != STATUS_OK) {
        handler_problem(x, status, error.detail);
    } else if (type != JSON_OBJECT && type != JSON_ARRAY) {
        handler_problem(x, STATUS_UNPROCESSABLE, "the body is neither a task nor an array of tasks");
    } else {
        bool many = type == JSON_ARRAY;
        struct task_call *call = task_call_new(house, x, QUEUE_ENQUEUE, many ? on_many : on_one);
        if (!call) return;
        if (many)
            enqueue_many(call);
        else
            enqueue_one(call);
    }
}
