/* load: threads that call a function over and over until told to stop. The first failure that a thread
 * reports is kept and fails the test when the load is stopped, in the test's own thread. */
#ifndef TESTS_SUPPORT_LOAD_H
#define TESTS_SUPPORT_LOAD_H

#include "http_client.h"

#include <stdatomic.h>
#include <stdint.h>

enum { LOAD_THREADS_MAX = 64 };

struct load;

struct load_thread {
    struct load *load;
    unsigned index;
    struct http_client *http; /* this thread's own */
    uint64_t random;          /* a state of load_random */
    uint64_t round;           /* calls before this one */
    void *arg;                /* load_start's */
};

typedef void load_fn(struct load_thread *t);

/* HTTP clients are opened on `port` (0: none). */
struct load *load_start(unsigned threads, int port, load_fn *fn, void *arg);
/* Stops, joins, and fails the test on a reported failure. Returns the number of calls of `fn`. */
uint64_t load_stop(struct load **l);
/* Ends the threads without judging. */
uint64_t load_stop_quietly(struct load **l, char *out_failure, size_t size);

void load_fail(struct load_thread *t, const char *text, ...) __attribute__((format(printf, 2, 3)));
bool load_failed(struct load *l);
uint64_t load_calls(struct load *l); /* so far, all threads */
uint64_t load_random(struct load_thread *t);

/* Latencies in microseconds, by any thread. */
struct latencies;
struct latencies *latencies_create(void);
void latencies_destroy(struct latencies **l);
void latencies_add(struct latencies *l, int64_t us);
void latencies_clear(struct latencies *l);
int64_t latencies_quantile(struct latencies *l, double q); /* 1.0: the worst */
uint64_t latencies_count(struct latencies *l);

#endif
