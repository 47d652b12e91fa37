/* task: what requests of /tasks (API.md §7) must hold, and what a foreign item must to become a task. Pure;
 * any thread. Each form refuses with INVALID_JSON, UNPROCESSABLE or INVALID_ARGUMENT and the reason in
 * out_error; OVERLOADED: no memory. */
#ifndef PHOENIX_DOMAIN_TASK_H
#define PHOENIX_DOMAIN_TASK_H

#include "state/queue.h"
#include "util/json.h"

enum {
    TASK_WAIT_MAX_MS = 60 * 1000,
    TASK_LEASE_MIN_MS = 1000,
    TASK_LEASE_MAX_MS = 43200 * 1000,
    TASK_RECEIPT_MAX = 64
};

struct task_options {
    int64_t ttl_s; /* tasks.ttl */
    unsigned max_attempts;
    int64_t lease_s;
};

/* What reading a task of so many bytes takes of scratch, at most. */
size_t task_scratch_bytes(size_t len);

/* An object of POST /tasks. What `out` shows stands in `json` or in `scratch`, which must not move: so much
 * is reserved in it. now_ms: of created_at and of an id that is made. */
enum status task_read(const struct task_options *options, struct slice json, int64_t now_ms,
                      struct buf *scratch, struct queue_task *out, struct json_error *out_error);
/* An item of the inbox; options: a struct task_options. As queue_store_options.read_item. */
bool task_read_item(void *options, struct slice item, int64_t now_ms, struct buf *scratch,
                    struct queue_task *out, char reason[192]);
/* An id that a path could name, and no route word. */
bool task_id_ok(struct slice id);

struct task_dequeue {
    struct slice agents[QUEUE_AGENTS_MAX]; /* sorted, each once; in `scratch` */
    size_t agents_count;
    unsigned count;
    int64_t wait_ms, lease_ms;
    bool automatic;
};
enum status task_dequeue_read(const struct task_options *options, struct slice body, struct buf *scratch,
                              struct task_dequeue *out, struct json_error *out_error);

/* {"receipt"} */
enum status task_ack_read(struct slice body, struct slice *out_receipt, struct json_error *out_error);
/* {"receipt", "delay"?, "reason"?}; the reason as a raw JSON string, cut, in `scratch`. */
enum status task_nack_read(struct slice body, struct buf *scratch, struct slice *out_receipt,
                           int64_t *out_delay_ms, struct slice *out_reason, struct json_error *out_error);
/* {"receipt", "lease"} */
enum status task_extend_read(struct slice body, struct slice *out_receipt, int64_t *out_lease_ms,
                             struct json_error *out_error);
/* {"acks": […]}: the raw array and how many elements it has (1 to QUEUE_ACK_MAX). */
enum status task_acks_read(struct slice body, struct slice *out_acks, size_t *out_count,
                           struct json_error *out_error);
/* One of them. out->id is set wherever it can be told. */
enum status task_acks_item_read(struct slice item, struct queue_ack *out, struct json_error *out_error);

/* The elements of a validated array; stops counting beyond `most`. */
size_t task_array_count(struct slice array, size_t most);

/* Appends a task's body, a JSON object, without its closing brace, and the comma before what follows. */
void task_open(struct slice body, struct buf *out);

#endif
