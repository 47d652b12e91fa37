/* tracking: hears of every change under a prefix, from one Redis, on a connection of its own (CLIENT TRACKING
 * … BCAST, redirected to itself, so that one death ends both). Control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_TRACKING_H
#define PHOENIX_ENGINE_REDIS_TRACKING_H

#include "engine/redis/node.h"
#include "loop/loop.h"
#include "util/slice.h"

struct redis_tracking;

struct redis_tracking_options {
    struct loop *loop;
    struct redis_node *node;
    const char *prefix; /* borrowed */
    struct log *log;
    struct metrics_cell *cell;
    void (*on_live)(void *arg);                     /* from now on every change is told */
    void (*on_lost)(void *arg);                     /* not any more */
    void (*on_change)(void *arg, struct slice key); /* the whole key; ptr NULL: all of them (FLUSHALL) */
    void *arg;
    /* After each heartbeat: what changed until the beat was sent has been told. Unless on_sure comes again by
     * `until_us` (loop_now_us), nothing is known. May be NULL. */
    void (*on_sure)(void *arg, int64_t until_us);
};

struct redis_tracking *redis_tracking_create(const struct redis_tracking_options *options);
/* The node may be somewhere else by now: what is told from the place before counts no longer. */
void redis_tracking_look(struct redis_tracking *tracking);
void redis_tracking_destroy(struct redis_tracking **tracking);

#endif
