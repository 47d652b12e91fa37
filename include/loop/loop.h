/* loop: one libuv loop per thread, and all that the rooms above need of libuv: watched descriptors, timers,
 * posting a call to another thread's loop, look-ups off the loop, and hooks that run once a turn. All
 * functions but loop_post, loop_stop and loop_stamp_ms belong to the loop's own thread (or to its creator
 * before the thread runs). */
#ifndef PHOENIX_LOOP_LOOP_H
#define PHOENIX_LOOP_LOOP_H

#include "util/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;

struct loop *loop_create(const struct clock *clock); /* NULL: no memory or descriptors */
void loop_destroy(struct loop **loop);               /* after loop_run returned; closes what is left */
void loop_run(struct loop *loop);                    /* until loop_stop */
void loop_flush(struct loop *loop); /* runs what was posted, and what that posts; the loop does not turn */
void loop_stop(struct loop *loop);  /* any thread */

/* Monotonic; reads the clock (20 ns). */
int64_t loop_now_us(const struct loop *loop);
const struct clock *loop_clock(const struct loop *loop);
/* When the loop last turned (monotonic ms), stamped every 500 ms. Any thread. */
int64_t loop_stamp_ms(const struct loop *loop);

/* Runs fn(arg) on the loop's thread, in order of posting. Any thread. False: no memory. */
typedef void loop_call_fn(void *arg);
bool loop_post(struct loop *loop, loop_call_fn *fn, void *arg);

/* Hooks: run before each wait, in the order in which they were added. One returns true when it did or left
 * anything to do: then all run again before the loop waits. Intrusive, so that there can be any number: a
 * zeroed struct is idle. Hooks may add and remove hooks, themselves too. */
typedef bool loop_hook_fn(void *arg);
struct loop_hook {
    struct loop *loop; /* NULL: idle */
    struct loop_hook *next, **prev;
    loop_hook_fn *fn;
    void *arg;
};
void loop_hook_add(struct loop *loop, struct loop_hook *hook, loop_hook_fn *fn, void *arg);
void loop_hook_remove(struct loop_hook *hook); /* nothing when it is idle */

/* Timers: intrusive, a binary heap over one libuv timer. A zeroed struct is idle. Starting a running one
 * moves it. The callback may start it again. Due times are on loop_now_us's clock. */
struct loop_timer {
    struct loop *loop;
    int64_t due_us;
    size_t slot; /* 1-based place in the heap; 0: idle */
    loop_call_fn *fn;
    void *arg;
};
void loop_timer_start(struct loop *loop, struct loop_timer *t, int64_t due_us, loop_call_fn *fn, void *arg);
void loop_timer_stop(struct loop_timer *t);
static inline bool loop_timer_running(const struct loop_timer *t)
{
    return t->slot != 0;
}

/* Watches a descriptor until destroyed; destroy before closing the descriptor. Level-triggered. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_io_fn(void *arg, int events);
struct loop_io;
struct loop_io *loop_io_create(struct loop *loop, int fd, int events, loop_io_fn *fn, void *arg);
void loop_io_set(struct loop_io *io, int events);
void loop_io_destroy(struct loop_io **io);

/* Resolves host (name or literal) and port off the loop; of several addresses it takes number `turn` (from 0,
 * round and round), so that a caller who could not connect tries the next one. The callback gets 0 and an
 * address, or a getaddrinfo error. A cancelled look-up never calls back. */
typedef void loop_resolve_fn(void *arg, int error, const struct sockaddr *address, socklen_t len);
struct loop_resolve;
struct loop_resolve *loop_resolve(struct loop *loop, const char *host, int port, unsigned turn,
                                  loop_resolve_fn *fn, void *arg);
void loop_resolve_cancel(struct loop_resolve **r); /* also needed after the callback */

/* Signals, on one loop of the process. */
struct loop_signal;
struct loop_signal *loop_signal_create(struct loop *loop, int signum, loop_call_fn *fn, void *arg);
void loop_signal_destroy(struct loop_signal **s);

#endif
