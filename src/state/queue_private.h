/* queue_private: the queue's Redis side from inside, for queue.c (an operation's life), queue_ask.c (what is
 * sent) and queue_answer.c (what the answer means). */
#ifndef PHOENIX_STATE_QUEUE_PRIVATE_H
#define PHOENIX_STATE_QUEUE_PRIVATE_H

#include "state/queue.h"

#include "engine/redis/script.h"
#include "loop/loop.h"
#include "util/hash.h"

#include <stdatomic.h>

enum { QUEUE_KEYS = 17, QUEUE_NUMBERS = 8 };

struct queue_local;
struct queue_sent;
struct giving_back;

struct queue_store {
    struct queue_store_options options;
    /* Rows of the file that Redis has to learn of, roughly: never 0 while there are any. */
    _Atomic int64_t held;
    struct queue_sent *sent; /* NULL: embedded, or no spool */
    _Atomic bool reached;    /* Redis has answered since the start */
    int64_t unsure_until_ms; /* monotonic; 0: the process before ended in order */
    char *names;             /* of the keys, one after the other */
    char *channel;
    struct slice keys[QUEUE_KEYS];
};

struct queue_port {
    struct queue_store *store;
    struct loop *loop;
    struct redis_pool *pool;
    struct queue_work *works;
    struct giving_back *returns;
    size_t returns_count;
    struct loop_timer returns_timer;
    struct queue_local *local; /* NULL: no spool */
    bool closing;
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

/* queue_start and queue_return on Redis. */
void queue_redis_start(struct queue_port *port, struct queue_op *op);
void queue_redis_return(struct queue_port *port, const char op_id[QUEUE_OP_SIZE], int64_t lease_ms);
void queue_make_op_id(char out[QUEUE_OP_SIZE]);
void queue_reset_results(struct queue_op *op);
const struct queue_store *queue_work_store(const struct queue_work *work);

/* --- queue_sent.c: ids that Redis has taken from this daemon lately. Enqueued again while it is away such a
 * task is kept as in doubt, for it may run there. Any thread. --- */

struct queue_sent *queue_sent_create(void); /* NULL: no memory. For free() */
void queue_sent_note(struct queue_sent *sent, struct slice id);
bool queue_sent_has(const struct queue_sent *sent, struct slice id);
/* The process before was killed, perhaps over an enqueue that Redis may have, and its caller may repeat it
 * now. */
bool queue_is_unsure(const struct queue_store *store);
/* The node that serves the queue: its circuit is open; it is quiet. */
bool queue_is_away(const struct queue_store *store);
bool queue_is_quiet(const struct queue_store *store);

/* --- queue_ask.c --- */

/* The command of a script with its keys and the time; arguments follow. */
void queue_command(const struct queue_store *store, enum redis_script_id id, struct queue_work *work);
void queue_arg(struct queue_work *work, struct slice arg);
void queue_arg_int(struct queue_work *work, int64_t value);
/* The backoff's three arguments. */
void queue_arg_backoff(struct queue_work *work, const struct queue_store_options *options);
/* What is many is packed into one argument: big-endian numbers, bytes behind their length. */
void queue_put_int(struct buf *out, uint64_t value, unsigned bytes);
void queue_put_bytes(struct buf *out, struct slice s, unsigned length_bytes);
/* Builds the operation's command. False: OVERLOADED (no memory), or INVALID_ARGUMENT; set in the op. */
bool queue_ask(struct queue_work *work);
/* ADOPT's second command, for what the first one showed. False: no memory. */
bool queue_ask_move(struct queue_work *work, const struct redis_reply *shown);

/* --- queue_answer.c --- */

/* Sets the op's results and status. */
void queue_answer(struct queue_work *work, const struct redis_reply *reply);

#endif
