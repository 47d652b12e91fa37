/* queue_wait: dequeues that wait for a task. They sit in this daemon's memory, in order of arrival for each
 * set of agents, and take no connection and no time while they do.
 *
 *     published to this daemon's channel --> control loop --\
 *     made ready by this daemon, Redis away ------------------+--> a port: "so many are ready" --> its first
 *     once a second, if any are ready ----------------------/      waiters try a dequeue
 *
 * A wake-up is a hint and nothing rides on it: whoever is woken asks the queue. One that nobody here could
 * use goes on to the next port and then, through Redis, to the next daemon.
 *
 * In Redis a daemon stands in the list of those to be told while it has waiters (QUEUE_WAIT, said again every
 * second). With Redis away, or none, only what happens in this daemon makes tasks ready.
 *
 * The store is shared by all threads; a port belongs to one loop. */
#ifndef PHOENIX_STATE_QUEUE_WAIT_H
#define PHOENIX_STATE_QUEUE_WAIT_H

#include "engine/redis/topology.h"
#include "metrics/metrics.h"
#include "state/queue.h"

#include <stdatomic.h>

enum { QUEUE_WAIT_PORTS_MAX = 64, QUEUE_WAIT_NAME_SIZE = 40 };

struct queue_waits;

struct queue_waits_options {
    struct redis_topology *redis; /* NULL: embedded */
    const char *key;              /* of the queue: its node is asked; borrowed */
    const char *channel;          /* what stands before a daemon's name in its channel; NULL: embedded */
    unsigned waiters_max;         /* of a port */
    struct log *log;
};

struct queue_waits *queue_waits_create(const struct queue_waits_options *options); /* NULL: no memory */
/* After the loops. */
void queue_waits_destroy(struct queue_waits **waits);

/* --- the control loop's part --- */

/* Subscribes, and keeps this daemon's place in Redis. `queue` outlives the part. False: no memory. */
bool queue_waits_open(struct queue_waits *waits, struct loop *control, struct queue_port *queue,
                      struct metrics_cell *cell);
void queue_waits_close(struct queue_waits *waits);

/* Any thread: `count` tasks became ready in this daemon; agent as in queue_op.in.wait. `local`: Redis does
 * not know them, so only this daemon can tell of them; else they count where the subscription does not. */
void queue_waits_ready(struct queue_waits *waits, unsigned count, struct slice agent, bool local);
/* Any thread: Redis went away or came back; who waits looks where the tasks are now. */
void queue_waits_mode_changed(struct queue_waits *waits);
/* Waiting now, all ports. Any thread. */
unsigned queue_waits_waiting(struct queue_waits *waits);
/* Whether this daemon hears of tasks. Any thread. */
bool queue_waits_live(struct queue_waits *waits);

/* --- a loop's part --- */

struct queue_wait_port;

/* Opened before the loops' threads run; freed with the store. NULL: no memory. */
struct queue_wait_port *queue_wait_port_open(struct queue_waits *waits, struct loop *loop,
                                             struct queue_port *queue);
/* Who waits gets nothing, at once, and nobody waits any more. Loop thread, or when it no longer turns: then
 * before redis_pool_destroy and queue_port_destroy, which end the attempts. NULL is fine. */
void queue_wait_port_drain(struct queue_wait_port *port);

struct queue_wait_group;

struct queue_waiter {
    /* set by the caller; it lives until done, and what its slices show */
    struct queue_op op;      /* a QUEUE_DEQUEUE: in.dequeue, its agents sorted and each once */
    int64_t wait_ms;         /* 0: not at all */
    int64_t deadline_us;     /* of the answer, the wait included */
    bool (*gone)(void *arg); /* nobody waits for the answer any more: no task is leased for it */
    void (*done)(struct queue_waiter *waiter);
    void *arg;
    /* valid in done, as the op's results are. OK without leases: there was nothing. REDIS_UNAVAILABLE: only
     * where it does not wait */
    bool full; /* op.status OVERLOADED: waiters_max wait already */
    /* the port's */
    struct queue_wait_port *port;
    struct queue_wait_group *group; /* NULL: does not wait */
    struct queue_waiter *next;
    struct loop_timer timer;
    uint64_t arrival, told, epoch; /* told: hints had come when it tried; epoch: was when it tried */
    bool trying, over, hinted;
};

/* Calls done exactly once, by the deadline, perhaps before it returns. */
void queue_wait_start(struct queue_wait_port *port, struct queue_waiter *waiter);

#endif
