/* probe: the control thread's eye on one Redis, on a connection of its own: closes the circuit again, keeps
 * the clock offset, polls INFO, re-reads a refused password. Control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_PROBE_H
#define PHOENIX_ENGINE_REDIS_PROBE_H

#include "engine/redis/node.h"
#include "loop/loop.h"

struct redis_probe;

struct redis_probe_options {
    struct loop *loop;
    struct redis_node *node;
    struct log *log;
    struct metrics_cell *cell;
};

struct redis_probe *redis_probe_create(const struct redis_probe_options *options);
void redis_probe_destroy(struct redis_probe **probe);
/* The node may be somewhere else by now: looks at once. */
void redis_probe_look(struct redis_probe *probe);

#endif
