/* watch: an eye (probe and tracking) on each serving node. The table is covered, and its entries may be
 * trusted, only while every serving node's tracking is live; sure is the least of what each says. */
#include "engine/redis/watch.h"

#include "engine/redis/probe.h"
#include "engine/redis/tracking.h"
#include "topology_private.h"

#include <stdlib.h>

struct eye {
    struct redis_watch *watch;
    struct redis_node *node;
    struct redis_probe *probe;
    struct redis_tracking *tracking; /* NULL: not wanted */
    bool live;
    int64_t sure_until_us;
};

struct redis_watch {
    struct redis_watch_options options;
    struct eye eyes[REDIS_NODES_MAX]; /* by the node's index; without a probe: none */
    bool live;
};

static bool all_live(const struct redis_watch *w, int64_t *until_us)
{
    bool any = false;
    *until_us = INT64_MAX;
    for (unsigned i = 0; i < redis_topology_count(w->options.topology); i++) {
        const struct eye *eye = &w->eyes[i];
        if (!redis_node_serves(redis_topology_at(w->options.topology, i))) continue;
        if (!eye->live) return false;
        if (eye->sure_until_us < *until_us) *until_us = eye->sure_until_us;
        any = true;
    }
    return any;
}

static void judge(struct redis_watch *w)
{
    int64_t until_us;
    bool live = all_live(w, &until_us), was = w->live;
    w->live = live;
    if (was && !live) w->options.on_lost(w->options.arg);
    if (!was && live) w->options.on_live(w->options.arg);
    if (live) w->options.on_sure(w->options.arg, until_us);
}

static void on_live(void *arg)
{
    struct eye *eye = arg;
    eye->live = true; /* judged when it is sure, right after */
}

static void on_lost(void *arg)
{
    struct eye *eye = arg;
    eye->live = false;
    judge(eye->watch);
}

static void on_sure(void *arg, int64_t until_us)
{
    struct eye *eye = arg;
    eye->sure_until_us = until_us;
    judge(eye->watch);
}

static void on_change(void *arg, struct slice key)
{
    struct eye *eye = arg;
    eye->watch->options.on_change(eye->watch->options.arg, key);
}

static void close_eye(struct eye *eye)
{
    eye->live = false;
    redis_tracking_destroy(&eye->tracking);
    redis_probe_destroy(&eye->probe);
}

static bool open_eye(struct redis_watch *w, struct redis_node *node)
{
    struct eye *eye = &w->eyes[redis_node_options(node)->index];
    const struct redis_watch_options *o = &w->options;
    *eye = (struct eye){.watch = w, .node = node};
    struct redis_probe_options probe = {o->loop, node, o->log, o->metrics, o->cell};
    struct redis_tracking_options tracking = {o->loop, node,    o->prefix, o->log, o->cell,
                                              on_live, on_lost, on_change, eye,    on_sure};
    eye->probe = redis_probe_create(&probe);
    eye->tracking = o->prefix ? redis_tracking_create(&tracking) : NULL;
    if (eye->probe && (eye->tracking || !o->prefix)) return true;
    close_eye(eye);
    return false;
}

/* The map has changed, or a node's place. */
static void look(struct redis_watch *w)
{
    for (unsigned i = 0; i < redis_topology_count(w->options.topology); i++) {
        struct redis_node *node = redis_topology_at(w->options.topology, i);
        struct eye *eye = &w->eyes[i];
        if (!redis_node_serves(node))
            close_eye(eye);
        else if (eye->probe)
            redis_probe_look(eye->probe);
        else if (!open_eye(w, node)) /* no memory: its circuit stays as it is until the next change */
            LOG(w->options.log, LOG_ERROR, "cannot watch a Redis node",
                LOG_S("redis", redis_node_name(node)));
    }
    judge(w);
}

struct redis_watch *redis_watch_create(const struct redis_watch_options *options)
{
    struct redis_watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->options = *options;
    look(w);
    if (!w->eyes[0].probe) redis_watch_destroy(&w);
    return w;
}

void redis_watch_destroy(struct redis_watch **watch)
{
    struct redis_watch *w = *watch;
    if (!w) return;
    *watch = NULL;
    for (unsigned i = 0; i < REDIS_NODES_MAX; i++)
        close_eye(&w->eyes[i]);
    free(w);
}
