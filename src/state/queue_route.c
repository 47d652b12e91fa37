/* queue_route: which engine an operation goes to, and what follows where that one cannot answer.
 *
 *   embedded      the file
 *   circuit open  the file; what only Redis knows is REDIS_UNAVAILABLE
 *   else          the file first where it may hold the task or gave the receipt; Redis for what that leaves;
 * and the file again for what Redis did not take: enqueues, acks, nacks, dequeues, counts and lists. What was
 * sent and not settled in time is kept as in doubt, and so is a task whose id Redis has taken before, or may
 * have taken from a process that was killed.
 *
 * An operation of the caller's is one or more inner ones, one at a time. Of an enqueue or ack each inner one
 * has the items that are still open. */
#include "queue_local.h"

#include <assert.h>
#include <stdlib.h>

enum { COMMIT_US = 100000 }; /* kept back of a deadline, for what goes to the file after Redis */

struct route {
    struct queue_port *port;
    struct queue_op *op; /* the caller's */
    struct queue_op inner;
    enum queue_local_mode mode; /* of the file's, while it is asked */
    /* enqueue, ack: all verdicts, and which items are open */
    struct queue_verdict *verdicts;
    size_t *open;
    void *items; /* the open ones, for the inner op */
    size_t open_count;
};

static void ask_redis(struct route *r);

static const struct queue_store_options *options_of(const struct queue_port *port)
{
    return &port->store->options;
}

static bool has_items(const struct queue_op *op)
{
    return op->verb == QUEUE_ENQUEUE || op->verb == QUEUE_ACK;
}

static size_t count_of(const struct queue_op *op)
{
    return op->verb == QUEUE_ENQUEUE ? op->in.enqueue.count : op->in.ack.count;
}

/* --- items --- */

static bool open_items(struct route *r)
{
    size_t count = count_of(r->op);
    size_t size = r->op->verb == QUEUE_ENQUEUE ? sizeof(struct queue_task) : sizeof(struct queue_ack);
    r->verdicts = calloc(count, sizeof *r->verdicts);
    r->open = malloc(count * sizeof *r->open);
    r->items = malloc(count * size);
    for (size_t i = 0; r->open && i < count; i++)
        r->open[i] = i;
    r->open_count = count;
    return r->verdicts && r->open && r->items;
}

static void show_open(struct route *r)
{
    if (r->op->verb == QUEUE_ENQUEUE) {
        struct queue_task *tasks = r->items;
        for (size_t i = 0; i < r->open_count; i++)
            tasks[i] = r->op->in.enqueue.tasks[r->open[i]];
        r->inner.in.enqueue.tasks = tasks;
        r->inner.in.enqueue.count = r->open_count;
    } else {
        struct queue_ack *acks = r->items;
        for (size_t i = 0; i < r->open_count; i++)
            acks[i] = r->op->in.ack.acks[r->open[i]];
        r->inner.in.ack.acks = acks;
        r->inner.in.ack.count = r->open_count;
    }
}

/* Takes the inner op's verdicts. Those that it left (NOT_FOUND, where it only looked) stay open. */
static void close_items(struct route *r, bool looked)
{
    size_t left = 0;
    for (size_t i = 0; i < r->open_count && i < r->inner.results; i++) {
        size_t at = r->open[i];
        r->verdicts[at] = r->inner.verdicts[i];
        if (looked && r->verdicts[at].status == STATUS_NOT_FOUND) r->open[left++] = at;
    }
    r->open_count = left;
}

/* An item that got no answer is what the whole op would be: of others it is not to be lost. */
static void fail_open(struct route *r, enum status status)
{
    for (size_t i = 0; i < r->open_count; i++)
        r->verdicts[r->open[i]] = (struct queue_verdict){.status = status};
}

/* --- ends --- */

static void end(struct route *r)
{
    struct queue_op *op = r->op;
    queue_copy_results(op, &r->inner);
    if (r->verdicts && op->status == STATUS_OK) {
        op->verdicts = r->verdicts;
        op->results = count_of(op);
    }
    op->done(op);
    free(r->verdicts);
    free(r->open);
    free(r->items);
    free(r);
}

/* Where some acks are done the op is: the others are told one by one. An enqueue is all or nothing: repeated,
 * it finds what was known. */
static void end_failed(struct route *r)
{
    if (r->op->verb == QUEUE_ACK && r->open_count < r->op->in.ack.count) {
        fail_open(r, r->inner.status);
        r->inner.status = STATUS_OK;
    }
    end(r);
}

/* --- the file --- */

static void on_local(struct queue_op *inner)
{
    struct route *r = inner->arg;
    enum status status = inner->status;
    bool looked = r->mode == QUEUE_LOCAL_LOOK;
    if (r->verdicts) {
        if (status != STATUS_OK) {
            end_failed(r);
            return;
        }
        close_items(r, looked);
        if (looked && r->open_count > 0)
            ask_redis(r);
        else
            end(r);
        return;
    }
    if (status != STATUS_NOT_FOUND) {
        end(r);
    } else if (looked && !r->port->closing) {
        ask_redis(r);
    } else {
        inner->status = STATUS_REDIS_UNAVAILABLE; /* what is not here may be there */
        end(r);
    }
}

static void ask_file(struct route *r, enum queue_local_mode mode)
{
    r->mode = mode;
    r->inner.deadline_us = r->op->deadline_us;
    r->inner.done = on_local;
    if (r->verdicts) show_open(r);
    queue_local_start(r->port->local, &r->inner, mode);
}

/* --- Redis --- */

static bool falls_back(enum queue_verb verb)
{
    switch (verb) {
    case QUEUE_ENQUEUE:
    case QUEUE_DEQUEUE:
    case QUEUE_ACK:
    case QUEUE_NACK:
    case QUEUE_COUNTS:
    case QUEUE_LIST:
        return true;
    default:
        return false;
    }
}

static void note_sent(struct route *r)
{
    for (size_t i = 0; i < r->inner.in.enqueue.count; i++)
        queue_sent_note(r->port->store->sent, r->inner.in.enqueue.tasks[i].id);
}

static void on_redis(struct queue_op *inner)
{
    struct route *r = inner->arg;
    bool doubt = inner->status == STATUS_OUTCOME_UNKNOWN;
    if (doubt || inner->status == STATUS_REDIS_UNAVAILABLE) {
        if (falls_back(inner->verb) && !r->port->closing)
            ask_file(r, doubt ? QUEUE_LOCAL_DOUBT : QUEUE_LOCAL_USUAL);
        else
            end_failed(r);
        return;
    }
    atomic_store_explicit(&r->port->store->reached, true, memory_order_relaxed);
    if (inner->status != STATUS_OK) {
        end_failed(r);
        return;
    }
    if (inner->verb == QUEUE_ENQUEUE) note_sent(r);
    if (r->verdicts) close_items(r, false);
    end(r);
}

static int64_t redis_deadline_us(const struct route *r)
{
    int64_t now = loop_now_us(r->port->loop), left = r->op->deadline_us - now;
    int64_t kept = left / 4 < COMMIT_US ? left / 4 : COMMIT_US;
    return falls_back(r->op->verb) && left > 0 ? r->op->deadline_us - kept : r->op->deadline_us;
}

static void ask_redis(struct route *r)
{
    if (r->port->closing) {
        r->inner.status = STATUS_REDIS_UNAVAILABLE;
        end_failed(r);
        return;
    }
    r->inner.deadline_us = redis_deadline_us(r);
    r->inner.done = on_redis;
    if (r->verdicts) show_open(r);
    queue_redis_start(r->port, &r->inner);
}

/* --- start --- */

static bool any_local_receipt(const struct queue_op *op)
{
    for (size_t i = 0; i < op->in.ack.count; i++)
        if (queue_is_local_receipt(op->in.ack.acks[i].receipt)) return true;
    return false;
}

/* Redis is there: whether the file may know of it all the same. */
static bool file_may_know(const struct queue_port *port, const struct queue_op *op)
{
    switch (op->verb) {
    case QUEUE_ACK:
        return any_local_receipt(op);
    case QUEUE_NACK:
        return queue_is_local_receipt(op->in.nack.receipt);
    case QUEUE_EXTEND:
        return queue_is_local_receipt(op->in.extend.receipt);
    case QUEUE_ENQUEUE:
    case QUEUE_GET:
    case QUEUE_CANCEL:
    case QUEUE_REQUEUE:
        return atomic_load_explicit(&port->store->held, memory_order_relaxed) > 0;
    default:
        return false;
    }
}

/* What is Redis's alone. */
static bool is_of_redis(enum queue_verb verb)
{
    return verb == QUEUE_PURGE || verb == QUEUE_ADOPT || verb == QUEUE_SETTLE;
}

void queue_start(struct queue_port *port, struct queue_op *op)
{
    assert(options_of(port)->redis || port->local);
    if (!port->local || (options_of(port)->redis && is_of_redis(op->verb))) {
        queue_redis_start(port, op);
        return;
    }
    if (!options_of(port)->redis) {
        queue_local_start(port->local, op, QUEUE_LOCAL_USUAL);
        return;
    }
    struct route *r = calloc(1, sizeof *r);
    if (r) *r = (struct route){.port = port, .op = op, .inner = *op};
    if (!r || (has_items(op) && !open_items(r))) {
        queue_reset_results(op);
        op->status = STATUS_OVERLOADED;
        op->done(op);
        if (r) free(r->verdicts);
        if (r) free(r->open);
        if (r) free(r->items);
        free(r);
        return;
    }
    r->inner.arg = r;
    if (queue_is_away(port->store))
        ask_file(r, QUEUE_LOCAL_USUAL);
    else if (file_may_know(port, op))
        ask_file(r, QUEUE_LOCAL_LOOK);
    else
        ask_redis(r);
}

void queue_return(struct queue_port *port, const char op_id[QUEUE_OP_SIZE], int64_t lease_ms)
{
    if (op_id[0] == '.' && port->local)
        queue_local_return(port->local, op_id);
    else
        queue_redis_return(port, op_id, lease_ms);
}
