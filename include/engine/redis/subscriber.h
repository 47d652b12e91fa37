/* subscriber: hears what is published on one channel of one Redis, on a connection of its own: to the node
 * that serves a key (in a cluster any would do: what is published reaches all). What is published while it is
 * not live is lost. Control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_SUBSCRIBER_H
#define PHOENIX_ENGINE_REDIS_SUBSCRIBER_H

#include "engine/redis/topology.h"
#include "loop/loop.h"
#include "util/slice.h"

struct redis_subscriber;

struct redis_subscriber_options {
    struct loop *loop;
    struct redis_topology *topology;
    const char *key;     /* borrowed */
    const char *channel; /* borrowed */
    struct log *log;
    struct metrics_cell *cell;
    void (*on_live)(void *arg); /* from now on every message is told */
    void (*on_lost)(void *arg); /* not any more */
    void (*on_message)(void *arg, struct slice payload);
    void *arg;
};

struct redis_subscriber *redis_subscriber_create(const struct redis_subscriber_options *options);
void redis_subscriber_destroy(struct redis_subscriber **subscriber);

#endif
