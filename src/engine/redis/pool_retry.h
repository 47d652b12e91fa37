/* pool_retry: calls that their node did not execute, since another one serves their key by now or nobody does
 * for a moment (READONLY, TRYAGAIN, …), until they are tried again. Each stays within its deadline. Loop
 * thread only. */
#ifndef PHOENIX_ENGINE_REDIS_POOL_RETRY_H
#define PHOENIX_ENGINE_REDIS_POOL_RETRY_H

#include "engine/redis/pool.h"

enum { RETRY_CALLS_MAX = 1024, RETRY_TRIES_MAX = 16 };

/* Set up by its owner: loop, again, arg; the rest zero. */
struct retry_list {
    struct loop *loop;
    void (*again)(void *arg, struct redis_call *call); /* it is due */
    void *arg;
    struct redis_call *calls, **tail; /* tail: valid while there are any */
    unsigned count;
    struct loop_timer timer;
};

/* Counts a try of the call and has it called for again in `delay_us`; 0: in the loop's next turn. False: its
 * deadline comes first, or a bound is reached; the caller is to be done with it. */
bool retry_list_add(struct retry_list *list, struct redis_call *call, int64_t delay_us);
/* Ends it: takes one out, due or not; NULL: no more. */
struct redis_call *retry_list_take(struct retry_list *list);

#endif
