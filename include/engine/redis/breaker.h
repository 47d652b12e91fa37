/* breaker: the circuit of one Redis (Nygard, "Release It!").
 *
 *            consecutive_failures or failure_rate          probe begins (due, or a connect succeeded)
 *   CLOSED ------------------------------------> OPEN --------------------------------------> HALF_OPEN
 *      ^                                           ^            probe fails: wait doubles          |
 *      |                                           +------------------------------------------------+
 *      +------------------------------------- probe succeeds ---------------------------------------+
 *
 * Callers ask breaker_allows (one atomic load) and record what came of each call with the generation it began
 * in; results of an older generation are ignored. Probes belong to one thread. Any thread may do the rest. */
#ifndef PHOENIX_ENGINE_REDIS_BREAKER_H
#define PHOENIX_ENGINE_REDIS_BREAKER_H

#include "util/clock.h"

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATE_COUNT };
extern const char *const breaker_state_names[BREAKER_STATE_COUNT];

enum breaker_outcome { BREAKER_SUCCESS, BREAKER_SLOW, BREAKER_FAILURE };

struct breaker;

struct breaker_options {
    int64_t consecutive_failures;
    double failure_rate; /* of failures and slow calls, once min_calls are in the window */
    int64_t window_ms;
    int64_t min_calls;
    int64_t open_min_ms, open_max_ms;
    const struct clock *clock;
    /* Called after each change, by the thread that caused it, with no lock held. */
    void (*on_change)(void *arg, enum breaker_state from, enum breaker_state to, const char *why);
    void *arg;
};

struct breaker *breaker_create(const struct breaker_options *options);
void breaker_destroy(struct breaker **b);

bool breaker_allows(const struct breaker *b);
enum breaker_state breaker_state(const struct breaker *b);
uint32_t breaker_generation(const struct breaker *b);
void breaker_record(struct breaker *b, uint32_t generation, enum breaker_outcome outcome);

/* Another server stands there now: what was in flight no longer counts, and an open circuit may be probed at
 * once. */
void breaker_renew(struct breaker *b);

/* OPEN and due (or `now_anyway`): becomes HALF_OPEN and returns true; the caller then probes and ends it. */
bool breaker_probe_begin(struct breaker *b, bool now_anyway);
void breaker_probe_end(struct breaker *b, bool ok);

#endif
