/* lock_wake: the first that waits for a name on each loop of this daemon tries again at once. A hint: of two
 * that cross on their way to another loop the later one counts, and who misses it polls. */
#include "lock_private.h"

#include "util/hash.h"

static const struct hash_seed SEED = {0x6c6f636b, 0x77616b65}; /* any: it tells names apart, no more */

static uint64_t hash_of(struct slice name)
{
    return hash_bytes(&SEED, name.ptr, name.len);
}

static void wake_first(struct lock_port *port, uint64_t hash)
{
    if (port->waiters == 0) return;
    for (struct lock_work *w = port->first; w; w = w->next)
        if (w->waits && hash_of(w->name) == hash && lock_nudge(w)) return;
}

static void on_posted(void *arg)
{
    struct lock_port *port = arg;
    wake_first(port, atomic_load_explicit(&port->wake_hash, memory_order_relaxed));
}

void lock_wake(struct lock_port *port, struct slice name)
{
    const struct lock_store *store = port->store;
    uint64_t hash = hash_of(name);
    wake_first(port, hash);
    for (unsigned i = 0; i < store->port_count; i++) {
        struct lock_port *other = store->ports[i];
        if (other == port || atomic_load_explicit(&other->waiters_seen, memory_order_relaxed) == 0) continue;
        atomic_store_explicit(&other->wake_hash, hash, memory_order_relaxed);
        (void)loop_post(other->loop, on_posted, other);
    }
}
