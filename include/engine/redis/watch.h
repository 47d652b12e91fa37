/* watch: the control thread's eye on one Redis: follows its topology, probes each serving node, and hears of
 * changes under a prefix from all of them (near cache). Control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_WATCH_H
#define PHOENIX_ENGINE_REDIS_WATCH_H

#include "engine/redis/topology.h"
#include "loop/loop.h"

struct redis_watch;

struct redis_watch_options {
    struct loop *loop;
    struct redis_topology *topology;
    struct log *log;
    struct metrics_cell *cell;
    const char *prefix;         /* NULL: changes are not wanted; borrowed */
    void (*on_live)(void *arg); /* from now on every change is told, by every serving node */
    void (*on_lost)(void *arg); /* not any more */
    void (*on_change)(void *arg, struct slice key); /* the whole key; ptr NULL: all of them (FLUSHALL) */
    /* What changed until now has been told; unless it comes again by `until_us` (loop_now_us), nothing is
     * known. */
    void (*on_sure)(void *arg, int64_t until_us);
    void *arg;
};

struct redis_watch *redis_watch_create(const struct redis_watch_options *options); /* NULL: no memory */
void redis_watch_destroy(struct redis_watch **watch);

#endif
