/* queue_wait_private: what the waiting's two files share: queue_wait.c (a loop's waiters) and queue_wake.c
 * (who is told of what, on the control loop). */
#ifndef PHOENIX_STATE_QUEUE_WAIT_PRIVATE_H
#define PHOENIX_STATE_QUEUE_WAIT_PRIVATE_H

#include "state/queue_wait.h"

#include "engine/redis/subscriber.h"
#include "util/uri.h"

#include <pthread.h>

enum { HINT_MAX = 1000, HINT_AGENT_SIZE = ID_LEN_MAX + 1 };

/* `count` tasks are ready. Zeroed: none is known of. */
struct queue_hint {
    unsigned count;
    unsigned ports;              /* that may still be told, once nobody here can use it */
    unsigned hops;               /* daemons that were told before this one */
    bool published;              /* it came through Redis, and goes on there */
    bool ask;                    /* nobody said so: look */
    char agent[HINT_AGENT_SIZE]; /* as in queue_op.in.wait */
};

struct queue_waits {
    struct queue_waits_options options;
    struct queue_wait_port *ports[QUEUE_WAIT_PORTS_MAX];
    unsigned port_count;
    char daemon[QUEUE_WAIT_NAME_SIZE];
    char *channel;
    _Atomic unsigned turn;    /* which port is told next */
    _Atomic bool standing;    /* in Redis's list, as far as we know */
    _Atomic bool live;        /* the subscription is */
    _Atomic bool beat_wanted; /* and posted to the control loop */
    _Atomic bool closed;
    _Atomic uint64_t epoch; /* from 1 */
    /* control loop */
    struct loop *control;
    struct queue_port *queue;
    struct redis_subscriber *subscriber;
    struct loop_timer timer;
    struct queue_op stand, pass; /* QUEUE_WAITs */
    struct queue_hint passed;    /* what pass tells */
    bool stand_runs, stand_again, pass_runs;
    /* under the lock, which is held across no call */
    pthread_mutex_t lock;
    struct queue_hint passing; /* to go to the next daemon */
};

/* --- queue_wait.c --- */

/* Any thread. */
void queue_wait_port_tell(struct queue_wait_port *port, const struct queue_hint *hint);
unsigned queue_wait_port_waiting(const struct queue_wait_port *port);

/* --- queue_wake.c; any thread --- */

/* Makes one of two. True: `into` was empty. */
bool queue_hint_add(struct queue_hint *into, const struct queue_hint *more);

/* What was found dry in an epoch is dry as long as it lasts: each task that becomes ready meanwhile is
 * announced, and this daemon has heard of none that it could not use. 0: not everything is heard. */
uint64_t queue_wake_epoch(struct queue_waits *waits);
/* The first waiter came to a port. */
void queue_wake_joined(struct queue_waits *waits);
/* Tells the next port that has waiters; `from`: the one whose waiters could not use it, or NULL. Where there
 * is none the hint goes on to the next daemon. */
void queue_wake_next(struct queue_waits *waits, const struct queue_wait_port *from, struct queue_hint hint);
unsigned queue_wait_port_index(const struct queue_wait_port *port);

#endif
