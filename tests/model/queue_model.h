/* queue_model: what the task queue should be, as simply as it can be said: an array of tasks, each in one
 * state, looked through from end to end. Times in ms but for now_us and ranks. One thread. */
#ifndef TESTS_MODEL_QUEUE_MODEL_H
#define TESTS_MODEL_QUEUE_MODEL_H

#include "state/queue.h"

#include <stdint.h>

enum {
    MODEL_TASKS = 60,
    MODEL_HISTORY = 8,
    MODEL_TEXT = 64,
    MODEL_RETURNED_MAX = 65536,
    MODEL_BAD_MAX = 4096
};

struct model_task {
    char id[8];
    bool alive;
    enum queue_state state;
    unsigned failures, max, priority;
    int64_t arrival, rank, added, ttl, ends, at;
    char agent[8];
    char receipt[MODEL_TEXT]; /* "" unless leased */
    bool automatic;
    char history[MODEL_HISTORY][MODEL_TEXT]; /* newest first: 'n' or 'e' and the receipt, "q" */
    unsigned events;
    bool remembered; /* finished within the dedupe window: */
    enum queue_state how;
    char done_receipt[MODEL_TEXT];
    int64_t done_ends;
};

struct model {
    int64_t now_us;
    int64_t aging_us, dedupe_ms, bad_keep_ms, returned_ms;
    int64_t arrivals;
    struct model_task tasks[MODEL_TASKS];
    struct {
        char op[QUEUE_OP_SIZE];
        int64_t at;
    } returned[MODEL_RETURNED_MAX];
    size_t returned_count;
    int64_t bad[MODEL_BAD_MAX]; /* when each was set aside */
    size_t bad_count;
};

void model_init(struct model *m);
/* "t7" is 7. */
unsigned model_task_of(const char *id);
int64_t model_now(const struct model *m);

/* Adds one; the state its id had, or QUEUE_BAD where it was added. */
enum queue_state model_add(struct model *m, unsigned task, const struct queue_task *as);
/* The tasks that a dequeue should lease, in order. agents NULL-terminated; none: all. Returns how many;
 * out_passed: those that it passed over. */
size_t model_next(struct model *m, const char *const *agents, size_t count, unsigned *out,
                  int64_t *out_passed);
void model_lease(struct model *m, unsigned task, const char *receipt, int64_t lease_ms, bool automatic);
enum status model_ack(struct model *m, unsigned task, const char *receipt);
/* delay -1: by backoff; then at is left to be filled in (0). */
/* As model_ack, after an outage: a lease that ended counts unless another holds the task. */
enum status model_settle(struct model *m, unsigned task, const char *receipt);
enum status model_nack(struct model *m, unsigned task, const char *receipt, int64_t delay_ms);
enum status model_extend(struct model *m, unsigned task, const char *receipt, int64_t lease_ms);
enum status model_cancel(struct model *m, unsigned task);
enum status model_requeue(struct model *m, unsigned task);
int64_t model_purge(struct model *m);
void model_return(struct model *m, const char *op);
bool model_is_returned(const struct model *m, const char *op);
/* Everything that is due. Sets `out`'s counts (not more, inbox, next_ms, done_forgotten). Tasks that failed
 * have at 0. */
void model_tick(struct model *m, struct queue_ticked *out);
int64_t model_count(const struct model *m, enum queue_state state);
/* Tasks of a state in the order of its index. */
size_t model_list(const struct model *m, enum queue_state state, unsigned *out);

#endif
