/* cache_replay: hands pending cache writes and deletions back to Redis, from the control loop, whenever there
 * are some, the circuit is closed and no given-up connection is left alive.
 *
 * Each is a read, a decision and a conditional write: Redis's value with a later `timestamp` wins; else ours
 * is written over exactly the bytes that were read, with the time to live that is left. One at a time per
 * key, at most REPLAY_SLOTS at once. */
#ifndef PHOENIX_STATE_CACHE_REPLAY_H
#define PHOENIX_STATE_CACHE_REPLAY_H

#include "state/cache_store.h"

struct cache_replay;

/* The order is that of the metric's label. */
enum replay_outcome {
    REPLAY_WRITTEN,
    REPLAY_YIELDED,
    REPLAY_EXPIRED,
    REPLAY_REFUSED,
    REPLAY_FOREIGN,
    REPLAY_OUTCOME_COUNT
};
extern const char *const replay_outcome_names[REPLAY_OUTCOME_COUNT];

struct cache_replay_options {
    struct cache_port *port; /* on the control loop, with a pool of its own */
    int64_t per_s;           /* at least; more where the backlog would take longer than 5 s */
    struct log *log;
};

struct cache_replay *cache_replay_create(const struct cache_replay_options *options);
/* The port's pool must be gone first, so that no call is in flight. */
void cache_replay_destroy(struct cache_replay **replay);

#endif
