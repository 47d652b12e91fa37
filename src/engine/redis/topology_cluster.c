/* topology_cluster: rounds. A round asks one node after another until one gives a map that may be believed:
 * first those that serve and answer, then the configured ones (whose names may lead somewhere else by now),
 * at last those that serve and do not answer.
 *
 *        suspicion, or the poll is due
 *   WAITING ------------------------> ASKING a node: CLUSTER INFO, CLUSTER SLOTS
 *      ^                               |   ^   |
 *      |   believed, or nobody is left |   |   | no answer, or a map that is not believed yet
 *      +-------------------------------+   +---+
 *
 * A map is believed at once when its node says that the cluster is well and knows of no older epoch than the
 * map at hand came with: the epoch counts the cluster's elections and slot moves, and whoever was cut off
 * knows an older one. Of the others the best is kept, and taken when nobody has a better one; but not from a
 * node that knows of an older epoch and cannot serve.
 *
 * Rounds never overlap, and suspicions of many callers make one; its distance from the one before doubles
 * while rounds change nothing. Each question has a connection, and a node, of its own: what becomes of it is
 * nothing to the circuits. */
#include "topology_cluster.h"

#include "cluster_map.h"
#include "conn.h"
#include "node_private.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CANDIDATES_MAX = 2 * REDIS_NODES_MAX + REDIS_SEEDS_MAX,
    ADDRESSES_TRIED = 8,
    TURNS = 1024,
    DISTANCE_MIN_MS = 100,
    DISTANCE_MAX_MS = 1000,
    POLL_MS = 3000,
    AWAY_POLL_MS = 500 /* while a circuit is open */
};

struct topology_cluster {
    struct follower_options options;
    struct conn_group *group;
    struct loop_timer timer;
    bool closing, asking, suspected, known; /* known: a map was believed */
    int64_t begun_us, distance_ms;          /* of the last round; until the next */
    uint64_t epoch;                         /* of the map at hand */
    unsigned version;                       /* as `changed` was last told of */
    unsigned left_out, turn;
    bool missing_logged;

    /* a round's */
    struct redis_address candidates[CANDIDATES_MAX];
    unsigned count, next;
    struct redis_node *node; /* who is asked */
    struct conn *conn;
    struct redis_call call;
    struct redis_command command;
    struct cluster_map *map, *best; /* the one being told; of those not believed */
    bool believed, fallback;        /* best is one */
    bool was_suspected;
};

static void on_timer(void *arg);
static void ask_next(struct topology_cluster *c);

static const struct redis_topology_options *topology_of(const struct topology_cluster *c)
{
    return redis_topology_options(c->options.topology);
}

/* --- when --- */

static void arm(struct topology_cluster *c)
{
    bool well = c->known && redis_topology_well(c->options.topology);
    int64_t wait_ms = c->suspected ? c->distance_ms : well ? POLL_MS : AWAY_POLL_MS;
    int64_t jitter_us = (int64_t)random_below((uint64_t)wait_ms * 250); /* daemons do not ask in step */
    loop_timer_start(c->options.loop, &c->timer, c->begun_us + wait_ms * 1000 + jitter_us, on_timer, c);
}

static void on_suspected(void *arg)
{
    struct topology_cluster *c = arg;
    if (c->suspected) return;
    c->suspected = true;
    if (!c->asking) arm(c);
}

static void end_round(struct topology_cluster *c)
{
    bool changed = c->version != topology_version(c->options.topology);
    c->asking = false;
    c->distance_ms = changed || !c->was_suspected ? DISTANCE_MIN_MS : 2 * c->distance_ms;
    if (c->distance_ms > DISTANCE_MAX_MS) c->distance_ms = DISTANCE_MAX_MS;
    arm(c);
    c->version = topology_version(c->options.topology);
    if (changed) c->options.changed(c->options.arg);
}

/* --- what is believed --- */

static void apply(struct topology_cluster *c, const struct cluster_map *map)
{
    unsigned left_out = topology_apply(c->options.topology, map);
    if (left_out && left_out != c->left_out)
        LOG(topology_of(c)->log, LOG_ERROR,
            "the cluster has more masters than this daemon follows; the rest are reached by redirections "
            "that fail: use fewer, larger ones",
            LOG_I("masters", map->count), LOG_I("followed", map->count - left_out));
    c->left_out = left_out;
    if (c->version != topology_version(c->options.topology) || !c->known)
        LOG(topology_of(c)->log, LOG_INFO, "the cluster's slots are known",
            LOG_S("redis", redis_topology_name(c->options.topology)), LOG_I("masters", map->count),
            LOG_I("slots", map->slots), LOG_I("epoch", map->epoch), LOG_S("state", map->ok ? "ok" : "fail"));
    c->epoch = map->epoch;
    c->known = true;
    c->missing_logged = false;
    metrics_count(c->options.cell, METRIC_REDIS_MAPS, redis_topology_options(c->options.topology)->role, 0,
                  1);
}

static void end_of_candidates(struct topology_cluster *c)
{
    if (c->fallback && (c->best->ok || c->best->epoch >= c->epoch)) {
        apply(c, c->best);
    } else {
        metrics_count(c->options.cell, METRIC_REDIS_MAPS, redis_topology_options(c->options.topology)->role,
                      1, 1);
        if (!c->missing_logged)
            LOG(topology_of(c)->log, LOG_WARN, "no node of the cluster tells who serves which slot",
                LOG_S("redis", redis_topology_name(c->options.topology)), LOG_I("asked", c->count));
        c->missing_logged = true;
    }
    end_round(c);
}

static bool is_better(const struct cluster_map *a, const struct cluster_map *b)
{
    return a->ok != b->ok ? a->ok : a->epoch > b->epoch;
}

static void judge(struct topology_cluster *c)
{
    c->believed = c->map->ok && c->map->epoch >= c->epoch;
    if (c->believed) {
        apply(c, c->map);
    } else if (!c->fallback || is_better(c->map, c->best)) {
        c->fallback = true;
        struct cluster_map *worse = c->best;
        c->best = c->map;
        c->map = worse;
    }
}

/* --- asking one --- */

static void send_command(struct topology_cluster *c, struct slice what, unsigned types,
                         void (*done)(struct redis_call *call))
{
    c->command = (struct redis_command){.argc = 2, .argv = {SLICE_LITERAL("CLUSTER"), what}, .types = types};
    c->call = (struct redis_call){.commands = &c->command, .count = 1, .done = done, .arg = c};
    c->call.start_us = loop_now_us(c->options.loop);
    c->call.deadline_us = c->call.start_us + topology_of(c)->command_timeout_ms * 1000;
    conn_submit(c->conn, &c->call);
}

/* The connection's end is what the round goes on from, whatever came before. */
static void on_slots(struct redis_call *call)
{
    struct topology_cluster *c = call->arg;
    const char *asked = c->candidates[c->next - 1].host;
    if (call->outcome == REDIS_CALL_OK && cluster_map_take_slots(c->map, &call->replies[0], asked)) judge(c);
    if (c->conn) conn_abandon(c->conn, "answered");
}

static void on_info(struct redis_call *call)
{
    struct topology_cluster *c = call->arg;
    if (call->outcome == REDIS_CALL_OK && cluster_map_take_info(c->map, call->replies[0].text))
        send_command(c, SLICE_LITERAL("SLOTS"), REDIS_TYPE_ARRAY, on_slots);
    else if (c->conn)
        conn_abandon(c->conn, "no cluster");
}

static void on_ready(void *arg)
{
    send_command(arg, SLICE_LITERAL("INFO"), REDIS_TYPE_STRING, on_info);
}

static void on_closed(void *arg, const char *why)
{
    struct topology_cluster *c = arg;
    (void)why;
    c->conn = NULL;
    redis_node_destroy(&c->node);
    if (c->closing) return;
    if (c->believed)
        end_round(c);
    else
        ask_next(c);
}

/* Its node counts for nothing: no circuit that could open, no metrics. */
static bool open_conn(struct topology_cluster *c, const struct redis_address *at)
{
    struct redis_topology *t = c->options.topology;
    c->node = topology_outsider(t, topology_of(c)->url, redis_topology_secret(t), at);
    if (!c->node) return false;
    for (unsigned i = 0; i < c->turn % ADDRESSES_TRIED; i++) /* a name may have several, and some be dead */
        redis_node_next_turn(c->node, i);
    struct conn_options options = {.group = c->group,
                                   .node = c->node,
                                   .log = topology_of(c)->log,
                                   .events = {.ready = on_ready, .closed = on_closed, .arg = c}};
    c->conn = conn_open(&options);
    if (!c->conn) redis_node_destroy(&c->node);
    return c->conn != NULL;
}

static void ask_next(struct topology_cluster *c)
{
    while (c->next < c->count)
        if (open_conn(c, &c->candidates[c->next++])) return;
    end_of_candidates(c);
}

/* --- a round --- */

static void add_candidate(struct topology_cluster *c, const struct redis_address *at)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->candidates[i].port == at->port && strcmp(c->candidates[i].host, at->host) == 0) return;
    if (c->count < CANDIDATES_MAX) c->candidates[c->count++] = *at;
}

/* From another one each time, so that no node is everybody's. */
static void add_serving(struct topology_cluster *c, bool answering)
{
    struct redis_topology *t = c->options.topology;
    unsigned count = redis_topology_count(t);
    for (unsigned i = 0; i < count; i++) {
        struct redis_node *node = redis_topology_at(t, (i + c->turn) % count);
        struct redis_address at;
        if (!redis_node_serves(node) || breaker_allows(redis_node_breaker(node)) != answering) continue;
        redis_node_address(node, &at);
        add_candidate(c, &at);
    }
}

static void on_timer(void *arg)
{
    struct topology_cluster *c = arg;
    const struct redis_url *url = topology_of(c)->url;
    c->begun_us = loop_now_us(c->options.loop);
    c->asking = true;
    c->was_suspected = c->suspected;
    c->suspected = c->believed = c->fallback = false;
    c->count = c->next = 0;
    c->turn = (unsigned)random_below(TURNS);
    add_serving(c, true);
    for (unsigned i = 0; i < url->seed_count; i++)
        add_candidate(c, &url->seeds[(i + c->turn) % url->seed_count]);
    add_serving(c, false);
    ask_next(c);
}

struct topology_cluster *topology_cluster_create(const struct follower_options *options)
{
    struct topology_cluster *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->options = *options;
    c->distance_ms = DISTANCE_MIN_MS;
    c->group = conn_group_create(options->loop);
    c->map = calloc(1, sizeof *c->map);
    c->best = calloc(1, sizeof *c->best);
    if (!c->group || !c->map || !c->best) {
        topology_cluster_destroy(&c);
        return NULL;
    }
    c->version = topology_version(options->topology);
    topology_follow(options->topology, options->loop, on_suspected, c);
    loop_timer_start(options->loop, &c->timer, loop_now_us(options->loop), on_timer, c);
    return c;
}

void topology_cluster_destroy(struct topology_cluster **cluster)
{
    struct topology_cluster *c = *cluster;
    if (!c) return;
    *cluster = NULL;
    c->closing = true;
    topology_follow(c->options.topology, NULL, NULL, NULL);
    if (c->conn) conn_abandon(c->conn, "shutting down");
    loop_timer_stop(&c->timer);
    conn_group_destroy(&c->group);
    free(c->map);
    free(c->best);
    free(c);
}
