/* tasks: what the files of /tasks share: tasks.c (one task by its id), tasks_enqueue.c, tasks_dequeue.c,
 * tasks_list.c (the queue as a whole). */
#ifndef PHOENIX_HTTP_HANDLERS_TASKS_H
#define PHOENIX_HTTP_HANDLERS_TASKS_H

#include "common.h"

/* One operation on behalf of an exchange; attached to it, so it lives until the answer was given. */
struct task_call {
    struct queue_op op;
    struct exchange *x;
    struct house *house;
    /* What op's slices show; which of them, the verb says. */
    struct task_batch batch;
    struct task_acks acks;
    struct task_report report;
    void *more; /* free()d with the call */
};

/* NULL: answered 503. `done` may be called before task_call_start returns. */
struct task_call *task_call_new(struct house *house, struct exchange *x, enum queue_verb verb,
                                void (*done)(struct queue_op *op));
void task_call_start(struct task_call *call);
/* Answers what is not STATUS_OK. */
void task_problem(struct house *house, struct exchange *x, const struct queue_op *op);
/* 202 where Redis has still to learn of it, else 204. */
void task_reply_done(struct exchange *x, const struct queue_op *op, bool journaled);
void task_reply_json(struct exchange *x, int http_status, struct buf *body, bool owed,
                     const struct queue_op *op);

/* POST /tasks. */
void task_enqueue(struct house *house, struct exchange *x);

#endif
