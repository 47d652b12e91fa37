/* crew: producers and workers, a thread each, that keep to their daemon whatever happens to it and write into
 * the ledger what they were told. */
#ifndef TESTS_CHAOS_CREW_H
#define TESTS_CHAOS_CREW_H

#include "ledger.h"

#include "../support/load.h"

enum { DAEMONS = 2, WORKERS = 8, PRODUCERS = 4, TAKE_MAX = 4, ARRAY_MAX = 20, LEASE_MS = 2000 };

struct crew {
    struct ledger *ledger;
    uint64_t seed;
    unsigned tasks;
    int64_t produce_ms;       /* over which the producers spread the tasks */
    atomic_int port[DAEMONS]; /* 0: down */
    struct load *producers, *workers;
};

void crew_start(struct crew *c);
bool crew_failed(struct crew *c);
/* Fails the test with the first answer that the contract does not know. */
void crew_stop_producers(struct crew *c);
void crew_stop_workers(struct crew *c);

/* splitmix64 (Steele, Lea, Flood). */
uint64_t chaos_random(uint64_t *state);
unsigned chaos_below(uint64_t *state, unsigned bound);

#endif
