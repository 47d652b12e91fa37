/* watch: an eye (probe and tracking) on each serving node. The table is covered, and its entries may be
 * trusted, only while every serving node's tracking is live; sure is the least of what each says. When the
 * map has changed, what was covered is lost and begins anew: who served a key before may have told nothing of
 * its last changes. */
#include "engine/redis/watch.h"

#include "engine/redis/probe.h"
#include "engine/redis/tracking.h"
#include "node_private.h"
#include "topology_cluster.h"
#include "topology_sentinel.h"

#include <stdlib.h>

struct eye {
    struct redis_watch *watch;
    struct redis_node *node;
    struct redis_probe *probe;
    struct redis_tracking *tracking; /* NULL: not wanted */
    unsigned moves;                  /* of the node, when the eye was opened */
    bool live;
    int64_t sure_until_us;
};

struct redis_watch {
    struct redis_watch_options options;
    struct topology_sentinel *sentinel; /* NULL: none to follow */
    struct topology_cluster *cluster;   /* likewise */
    struct eye eyes[REDIS_NODES_MAX];   /* by the node's index; without a probe: none */
    unsigned version;                   /* of the map, when it was last looked at */
    bool live;
};

static bool all_live(const struct redis_watch *w, int64_t *until_us)
{
    bool any = false;
    *until_us = INT64_MAX;
    for (unsigned i = 0; i < redis_topology_count(w->options.topology); i++) {
        const struct eye *eye = &w->eyes[i];
        const struct redis_node *node = redis_topology_at(w->options.topology, i);
        if (!redis_node_serves(node)) continue;
        if (!eye->live || !redis_node_covered(node, redis_node_moves(node))) return false;
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
    redis_node_set_covered(eye->node, eye->moves, true);
}

static void on_lost(void *arg)
{
    struct eye *eye = arg;
    eye->live = false;
    redis_node_set_covered(eye->node, eye->moves, false);
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
    if (eye->live) redis_node_set_covered(eye->node, eye->moves, false);
    eye->live = false;
    redis_tracking_destroy(&eye->tracking);
    redis_probe_destroy(&eye->probe);
}

static bool open_eye(struct redis_watch *w, struct redis_node *node)
{
    struct eye *eye = &w->eyes[redis_node_options(node)->index];
    const struct redis_watch_options *o = &w->options;
    *eye = (struct eye){.watch = w, .node = node, .moves = redis_node_moves(node)};
    struct redis_probe_options probe = {o->loop, node, o->log, o->cell};
    struct redis_tracking_options tracking = {o->loop, node,    o->prefix, o->log, o->cell,
                                              on_live, on_lost, on_change, eye,    on_sure};
    eye->probe = redis_probe_create(&probe);
    eye->tracking = o->prefix ? redis_tracking_create(&tracking) : NULL;
    if (eye->probe && (eye->tracking || !o->prefix)) return true;
    close_eye(eye);
    return false;
}

static void look_again(struct eye *eye)
{
    redis_probe_look(eye->probe);
    if (eye->tracking) redis_tracking_look(eye->tracking);
    eye->moves = redis_node_moves(eye->node); /* what is heard of from now on is heard of from there */
}

/* The map has changed, or a node's place. */
static void look(struct redis_watch *w)
{
    unsigned version = topology_version(w->options.topology);
    if (w->live && version != w->version) {
        w->live = false;
        w->options.on_lost(w->options.arg);
    }
    w->version = version;
    for (unsigned i = 0; i < redis_topology_count(w->options.topology); i++) {
        struct redis_node *node = redis_topology_at(w->options.topology, i);
        struct eye *eye = &w->eyes[i];
        if (!redis_node_serves(node))
            close_eye(eye);
        else if (eye->probe)
            look_again(eye);
        else if (!open_eye(w, node)) /* no memory: its circuit stays as it is until the next change */
            LOG(w->options.log, LOG_ERROR, "cannot watch a Redis node",
                LOG_S("redis", redis_node_name(node)));
    }
    judge(w);
}

static void on_changed(void *arg)
{
    look(arg);
}

/* Whoever keeps the map true, where it can change. */
static bool follow(struct redis_watch *w)
{
    const struct redis_watch_options *o = &w->options;
    struct follower_options follower = {o->loop, o->topology, o->cell, on_changed, w};
    switch (redis_topology_options(o->topology)->url->kind) {
    case REDIS_SENTINEL:
        w->sentinel = topology_sentinel_create(&follower);
        return w->sentinel != NULL;
    case REDIS_CLUSTER:
        w->cluster = topology_cluster_create(&follower);
        return w->cluster != NULL;
    default:
        return true;
    }
}

struct redis_watch *redis_watch_create(const struct redis_watch_options *options)
{
    struct redis_watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->options = *options;
    look(w);
    if (!w->eyes[0].probe || !follow(w)) redis_watch_destroy(&w);
    return w;
}

void redis_watch_destroy(struct redis_watch **watch)
{
    struct redis_watch *w = *watch;
    if (!w) return;
    *watch = NULL;
    topology_sentinel_destroy(&w->sentinel);
    topology_cluster_destroy(&w->cluster);
    for (unsigned i = 0; i < REDIS_NODES_MAX; i++)
        close_eye(&w->eyes[i]);
    free(w);
}
