/* queue_sent: a table of hashes, one a slot, the newest in it. A hash that is met by chance makes a task wait
 * for Redis that need not; one that was pushed out is not known any more, as is all after a restart. */
#include "queue_private.h"

#include "util/random.h"

#include <stdlib.h>

enum { SLOTS = 65536 };

struct queue_sent {
    struct hash_seed seed;
    _Atomic uint64_t slots[SLOTS]; /* 0: none */
};

struct queue_sent *queue_sent_create(void)
{
    struct queue_sent *sent = calloc(1, sizeof *sent);
    if (sent) random_bytes(&sent->seed, sizeof sent->seed);
    return sent;
}

static uint64_t hash_of(const struct queue_sent *sent, struct slice id)
{
    return hash_bytes(&sent->seed, id.ptr, id.len) | 1;
}

static size_t slot_of(uint64_t hash)
{
    return (size_t)(hash >> 32) % SLOTS;
}

void queue_sent_note(struct queue_sent *sent, struct slice id)
{
    uint64_t hash = hash_of(sent, id);
    atomic_store_explicit(&sent->slots[slot_of(hash)], hash, memory_order_relaxed);
}

bool queue_sent_has(const struct queue_sent *sent, struct slice id)
{
    uint64_t hash = hash_of(sent, id);
    return atomic_load_explicit(&sent->slots[slot_of(hash)], memory_order_relaxed) == hash;
}
