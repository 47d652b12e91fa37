/* record_replay: hands the journal back to Redis, from the control loop, whenever a key
 * is unsettled, the circuit is closed and no given-up connection is left alive.
 *
 * The keys' order is that in which they came, a key's entries go in their own order, one at a time; at most
 * `per_s` entries a second, so that live requests hardly notice. What was accepted goes first and leaves the
 * spool only when Redis has it, so a crash anywhere in between hands back again, and the id in the value says
 * that it was done. */
#ifndef PHOENIX_STATE_RECORD_REPLAY_H
#define PHOENIX_STATE_RECORD_REPLAY_H

#include "state/record.h"

struct record_replay;

/* What became of an entry. The order is that of the metric's label. */
enum handback {
    HANDBACK_WRITTEN,  /* Redis took it, merged or not */
    HANDBACK_DONE,     /* Redis had it already */
    HANDBACK_DROPPED,  /* the rules leave Redis's version as it is */
    HANDBACK_EXPIRED,  /* its time to live has run out meanwhile */
    HANDBACK_GIVEN_UP, /* older than spool.age_max */
    HANDBACK_FOREIGN,  /* set aside: Redis holds something else under its key */
    HANDBACK_REFUSED,  /* Redis does not take it now: tried again */
    HANDBACK_COUNT,
    HANDBACK_AWAY = HANDBACK_COUNT /* no outcome: Redis is away or in doubt, tried again */
};
extern const char *const handback_names[HANDBACK_COUNT];

/* What became of a lock's entry: one of the above, or HANDBACK_AWAY. `text`: why, of REFUSED and FOREIGN;
 * lives as long as the program. */
typedef void handback_lock_done_fn(void *done_arg, enum handback outcome, bool conflict, const char *text);
/* Ends the lock of a journaled release: `body` is the entry's, as the lock's room wrote it; both live until
 * `done`, which is called exactly once, on the port's loop, perhaps before this returns. */
typedef void handback_lock_fn(void *arg, struct slice name, struct slice body, handback_lock_done_fn *done,
                              void *done_arg);

struct record_replay_options {
    struct record_port *port; /* on the control loop, with a pool of its own */
    int64_t per_s;
    int64_t age_max_ms;               /* 0: none */
    handback_lock_fn *hand_lock_back; /* NULL: there are none */
    void *lock_arg;
    struct log *log;
};

struct record_replay *record_replay_create(const struct record_replay_options *options); /* NULL: no memory */
/* Before pool and spool go: what comes back from them is seen to its end and begins nothing. */
void record_replay_stop(struct record_replay *replay);
/* After pool and spool are gone and the loop was flushed, so that nothing is in flight. */
void record_replay_destroy(struct record_replay **replay);

/* Nothing in flight and nothing left. */
bool record_replay_idle(const struct record_replay *replay);

#endif
