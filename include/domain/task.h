/* task: the rules of /tasks as pure functions: what requests ask, what an item of the inbox
 * means, how tasks are shown. Any thread. Requests' slices point into the body or into the request's own
 * `bytes`; what is read is to be deinitialized also after a refusal. Refusals are INVALID_JSON, UNPROCESSABLE
 * or INVALID_ARGUMENT with the reason in out_error; OVERLOADED: no memory. */
#ifndef PHOENIX_DOMAIN_TASK_H
#define PHOENIX_DOMAIN_TASK_H

#include "state/queue.h"
#include "util/json.h"

/* What requests leave out. */
struct task_options {
    int64_t ttl_ms, lease_ms;
    unsigned max_attempts;
};

/* --- POST /tasks --- */

struct task_item {
    enum status status; /* OK, or why it is refused: */
    struct slice detail;
    struct slice id; /* ptr NULL: it has no legal one */
    size_t task;     /* OK: its place in tasks */
};

struct task_batch {
    bool is_array;
    struct task_item *items; /* as they were given */
    size_t items_count;
    struct queue_task *tasks; /* those that are not refused, in order */
    size_t tasks_count;
    struct buf bytes;
};

/* One task, or an array of 1 to 1000 whose items are judged one by one. now_ms: created_at where none is
 * given, and the time in made ids. A single task that is refused is the refusal of the whole. */
enum status task_batch_read(struct slice body, const struct task_options *options, int64_t now_ms,
                            struct task_batch *out, struct json_error *out_error);
void task_batch_deinit(struct task_batch *batch);
/* Appends the answer to verdicts of batch.tasks. Returns its HTTP status. */
int task_batch_show(const struct task_batch *batch, const struct queue_verdict *verdicts, struct buf *out);

/* --- the other requests --- */

struct task_dequeue {
    struct slice agents[QUEUE_AGENTS_MAX];
    size_t agents_count; /* 0: any */
    unsigned count;
    int64_t wait_ms, lease_ms;
    bool automatic;
    struct buf bytes;
};
/* An empty body asks for one task of any agent. */
enum status task_dequeue_read(struct slice body, const struct task_options *options, struct task_dequeue *out,
                              struct json_error *out_error);
void task_dequeue_deinit(struct task_dequeue *dequeue);

struct task_acks {
    struct queue_ack *acks;
    size_t count;
    struct buf bytes;
};
enum status task_acks_read(struct slice body, struct task_acks *out, struct json_error *out_error);
void task_acks_deinit(struct task_acks *acks);
/* Appends {"results": […]}. */
void task_acks_show(const struct task_acks *acks, const struct queue_verdict *verdicts, struct buf *out);

/* The bodies of ack, nack and extend. */
enum task_form { TASK_ACK, TASK_NACK, TASK_EXTEND };
struct task_report {
    struct slice receipt;
    struct slice reason; /* nack: a raw JSON string, cut to QUEUE_REASON_MAX bytes of text; empty: none */
    int64_t delay_ms;    /* nack; -1: the backoff */
    int64_t lease_ms;    /* extend */
    struct buf bytes;
};
enum status task_report_read(enum task_form form, struct slice body, struct task_report *out,
                             struct json_error *out_error);
void task_report_deinit(struct task_report *report);

/* --- the inbox --- */

/* queue_store_options.read_item; arg: struct task_options. The rules of POST /tasks, but the task_id must be
 * there, an empty agent or correlation_id is none, and unknown members are passed over: other programs write
 * them. */
bool task_item_read(void *arg, struct slice item, int64_t now_ms, struct buf *scratch, struct queue_task *out,
                    char reason[192]);

/* --- answers --- */

/* {"tasks": […]}; automatic: without receipt and lease. */
void task_leases_show(const struct queue_lease *leases, size_t count, bool automatic, struct buf *out);
/* One task as GET shows it, or a bad item. */
void task_view_show(const struct queue_view *view, struct buf *out);
/* {"tasks": […], "cursor": …}; next "": null. partial: only what this daemon knows. */
void task_list_show(const struct queue_view *views, size_t count, const char *next, bool partial,
                    struct buf *out);
/* {"counts": {…}, "oldest_ready_s": …} */
void task_counts_show(const struct queue_counts *counts, bool partial, struct buf *out);

/* What a path may name as {task_id}: no word of a route. */
bool task_id_ok(struct slice id);

#endif
