/* queue_replay: hands the spool's tasks back to Redis, on the control loop, whenever there are
 * any, the circuit is closed and no given-up connection is left alive.
 *
 * First what Redis has to learn of tasks that were finished or given back, then the tasks themselves, with
 * rank, attempts, history and what is left of their times; those leased here stay until their ack or the
 * lease's end, which it sees to. A task is taken from everybody's reach and committed so before it is sent,
 * and removed when Redis has it; since Redis knows its id by then, a crash anywhere in between sends it again
 * to no effect. At most `per_s` a second. */
#ifndef PHOENIX_STATE_QUEUE_REPLAY_H
#define PHOENIX_STATE_QUEUE_REPLAY_H

#include "state/queue.h"

struct queue_replay;

struct queue_replay_options {
    struct queue_store *store; /* with node and spool */
    struct loop *loop;
    struct redis_pool *pool;
    int64_t per_s;
    int64_t age_max_ms; /* of acks and nacks; 0: none */
    struct log *log;
    struct metrics *metrics;
    struct metrics_cell *cell;
};

struct queue_replay *queue_replay_create(const struct queue_replay_options *options); /* NULL: no memory */
/* Before pool and spool go: what comes back from them is seen to its end and begins nothing. */
void queue_replay_stop(struct queue_replay *replay);
/* After pool and spool are gone and the loop was flushed, so that nothing is in flight. */
void queue_replay_destroy(struct queue_replay **replay);

/* Nothing in flight and nothing left; of what is leased here, nothing can be handed back yet. */
bool queue_replay_idle(const struct queue_replay *replay);
/* Tasks, acks and nacks that were in the spool when it was last looked at. */
int64_t queue_replay_held(const struct queue_replay *replay);

struct queue_replay_stats {
    int64_t tasks, known;      /* handed back; of these, Redis had the id */
    int64_t learnt, conflicts; /* acks and nacks; of these, another receipt held the task */
    int64_t expired, given_up;
};
const struct queue_replay_stats *queue_replay_stats(const struct queue_replay *replay); /* since the start */

#endif
