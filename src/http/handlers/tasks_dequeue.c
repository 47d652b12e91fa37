/* tasks_dequeue: POST /tasks/dequeue. What was leased for an answer that does not leave goes back. */
#include "tasks.h"

#include "http/routes.h"
#include "util/rfc3339.h"

#include <stdlib.h>

enum { AUTO_LEASE_MS = 10000 }; /* how long an answer without leases may take to leave */

struct dequeue {
    struct queue_waiter waiter;
    struct exchange *x;
    struct house *house;
    struct task_dequeue asked;
};

/* --- after the answer --- */

/* Outlives the exchange. */
struct delivery {
    struct queue_op op; /* of an automatic one: its ack */
    struct house *house;
    char op_id[QUEUE_OP_SIZE];
    int64_t lease_ms;
    size_t count;
    bool automatic;
    struct queue_ack acks[]; /* automatic; their text follows */
};

static void on_acked(struct queue_op *op)
{
    free(op->arg);
}

static void on_sent(void *arg, bool sent)
{
    struct delivery *d = arg;
    struct queue_port *queue = d->house->queue;
    if (sent && d->automatic && queue) {
        d->op = (struct queue_op){.verb = QUEUE_ACK,
                                  .in.ack = {.acks = d->acks, .count = d->count},
                                  .deadline_us = loop_now_us(d->house->loop) + AUTO_LEASE_MS * INT64_C(1000),
                                  .done = on_acked,
                                  .arg = d};
        queue_start(queue, &d->op);
        return;
    }
    if (!sent && queue) {
        metrics_count(d->house->cell, METRIC_TASK_RETURNED, 0, 0, d->count);
        queue_return(queue, d->op_id, d->lease_ms);
    }
    free(d);
}

static void copy_acks(struct delivery *d, const struct queue_op *op)
{
    char *at = (char *)&d->acks[op->results];
    for (size_t i = 0; i < op->results; i++) {
        const struct queue_lease *lease = &op->leases[i];
        memcpy(at, lease->id.ptr, lease->id.len);
        d->acks[i].id = (struct slice){at, lease->id.len};
        at += lease->id.len;
        memcpy(at, lease->receipt.ptr, lease->receipt.len);
        d->acks[i].receipt = (struct slice){at, lease->receipt.len};
        at += lease->receipt.len;
    }
}

/* False: no memory; then what was leased goes back. */
static bool watch_sending(struct dequeue *q)
{
    const struct queue_op *op = &q->waiter.op;
    size_t text = 0;
    if (q->asked.automatic)
        for (size_t i = 0; i < op->results; i++)
            text += sizeof(struct queue_ack) + op->leases[i].id.len + op->leases[i].receipt.len;
    struct delivery *d = calloc(1, sizeof *d + text);
    if (!d) return false;
    d->house = q->house;
    memcpy(d->op_id, op->op_id, sizeof d->op_id);
    d->lease_ms = op->in.dequeue.lease_ms;
    d->count = op->results;
    d->automatic = q->asked.automatic;
    if (d->automatic) copy_acks(d, op);
    exchange_on_sent(q->x, on_sent, d);
    return true;
}

/* --- the answer --- */

static void answer_tasks(struct dequeue *q)
{
    const struct queue_op *op = &q->waiter.op;
    struct buf body = {0};
    size_t bytes = 64;
    for (size_t i = 0; i < op->results; i++)
        bytes += op->leases[i].body.len + op->leases[i].receipt.len + 128;
    buf_reserve(&body, bytes);
    task_leases_show(op->leases, op->results, q->asked.automatic, &body);
    if (body.failed || !watch_sending(q)) {
        queue_return(q->house->queue, op->op_id, op->in.dequeue.lease_ms);
        buf_deinit(&body);
        handler_no_memory(q->x);
        return;
    }
    metrics_count(q->house->cell, METRIC_TASK_DELIVERIES, op->local, 0, op->results);
    task_reply_json(q->x, 200, &body, true, op);
}

static void on_done(struct queue_waiter *waiter)
{
    struct dequeue *q = waiter->arg;
    struct queue_op *op = &waiter->op;
    if (waiter->full) {
        metrics_count(q->house->cell, METRIC_BOUND_HIT, HTTP_BOUND_WAITERS, 0, 1);
        handler_busy(q->x, STATUS_OVERLOADED, "tasks.waiters_max dequeues wait already");
    } else if (op->status != STATUS_OK) {
        task_problem(q->house, q->x, op);
    } else if (op->results == 0) {
        task_reply_done(q->x, op, false);
    } else {
        answer_tasks(q);
    }
}

/* --- asking --- */

static bool is_gone(void *arg)
{
    const struct dequeue *q = arg;
    return exchange_gone(q->x);
}

/* Who asks for the same agents stands in the same line. */
static int compare(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void free_dequeue(void *arg)
{
    struct dequeue *q = arg;
    task_dequeue_deinit(&q->asked);
    free(q);
}

void handle_task_dequeue(void *arg, struct exchange *x)
{
    struct house *house = arg;
    struct json_error error = {""};
    if (!handler_no_query(x)) return;
    struct dequeue *q = calloc(1, sizeof *q);
    if (!q) {
        handler_no_memory(x);
        return;
    }
    exchange_attach(x, q, free_dequeue);
    q->x = x;
    q->house = house;
    enum status status =
        task_dequeue_read(exchange_request(x)->body, &house->shared->tasks, &q->asked, &error);
    if (status == STATUS_OVERLOADED) {
        handler_no_memory(x);
        return;
    }
    if (status != STATUS_OK) {
        handler_problem(x, status, error.detail);
        return;
    }
    qsort(q->asked.agents, q->asked.agents_count, sizeof q->asked.agents[0], compare);
    if (!handler_hold(x, sizeof *q + q->asked.bytes.cap)) return;
    q->waiter = (struct queue_waiter){.wait_ms = q->asked.wait_ms,
                                      .deadline_us = exchange_deadline_us(x) + q->asked.wait_ms * 1000,
                                      .gone = is_gone,
                                      .done = on_done,
                                      .arg = q};
    q->waiter.op.verb = QUEUE_DEQUEUE;
    q->waiter.op.in.dequeue.agents = q->asked.agents;
    q->waiter.op.in.dequeue.agents_count = q->asked.agents_count;
    q->waiter.op.in.dequeue.count = q->asked.count;
    q->waiter.op.in.dequeue.lease_ms = q->asked.automatic ? AUTO_LEASE_MS : q->asked.lease_ms;
    q->waiter.op.in.dequeue.automatic = q->asked.automatic;
    queue_wait_start(house->waiters, &q->waiter);
}
