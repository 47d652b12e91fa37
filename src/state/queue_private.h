/* queue_private: the queue's Redis side from inside, for queue.c (an operation's life), queue_ask.c (what is
 * sent) and queue_answer.c (what the answer means). */
#ifndef PHOENIX_STATE_QUEUE_PRIVATE_H
#define PHOENIX_STATE_QUEUE_PRIVATE_H

#include "state/queue.h"

#include "engine/redis/script.h"
#include "loop/loop.h"

enum { QUEUE_KEYS = 17, QUEUE_NUMBERS = 8 };

struct queue_store {
    struct queue_store_options options;
    char *names; /* of the keys, one after the other */
    char *channel;
    struct slice keys[QUEUE_KEYS];
};

struct queue_work {
    struct queue_port *port;
    struct queue_op *op;
    struct queue_work *next, **prev; /* of the port's */
    struct redis_call call;
    struct redis_command command;
    struct loop_timer timer;
    bool doubtful; /* an earlier sending may have been executed */
    bool moving;   /* ADOPT: the second script */
    struct buf packed;
    struct buf scratch;
    void *results; /* what verdicts, leases or views point to */
    char numbers[QUEUE_NUMBERS][24];
    unsigned numbers_used;
};

/* --- queue.c --- */

const struct queue_store *queue_work_store(const struct queue_work *work);

/* --- queue_ask.c --- */

/* The command of a script with its keys and the time; arguments follow. */
void queue_command(const struct queue_store *store, enum redis_script_id id, struct queue_work *work);
void queue_arg(struct queue_work *work, struct slice arg);
void queue_arg_int(struct queue_work *work, int64_t value);
/* Builds the operation's command. False: OVERLOADED (no memory), or INVALID_ARGUMENT; set in the op. */
bool queue_ask(struct queue_work *work);
/* ADOPT's second command, for what the first one showed. False: no memory. */
bool queue_ask_move(struct queue_work *work, const struct redis_reply *shown);

/* --- queue_answer.c --- */

/* Sets the op's results and status. */
void queue_answer(struct queue_work *work, const struct redis_reply *reply);

#endif
