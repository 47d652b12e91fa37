/* probe: connects every CONNECT_MS while it has no connection, whatever the circuit's timer says; a
 * connection that greets is proof enough to probe at once. PING is what tells LOADING and MASTERDOWN; TIME
 * rides along for the clock offset. A cluster's node answers PING whatever has become of its cluster: to
 * close its circuit it must say, too, that the cluster is well. */
#include "engine/redis/probe.h"

#include "conn.h"
#include "engine/redis/topology.h"
#include "node_private.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>

static const int64_t WALL_MAX_MS =
    INT64_C(253402300799999) / 2; /* far in the future, and far from the last year that prints */

enum {
    SLOW_TRIP_MS = 50,
    DIGITS_MAX = 15,
    CONNECT_MS = 500,
    PING_MS = 1000,
    LOOK_MS = 50,
    INFO_EVERY = 5,
    RELOG_MS = 3000
};

struct redis_probe {
    struct redis_probe_options options;
    struct conn_group *group;
    struct conn *conn;
    bool ready, busy, probing, closing;
    bool was_master;    /* the server that its name led to */
    char awaiting[128]; /* why it is away, as last logged; empty: it is not */
    int64_t logged_us;
    unsigned pings;
    int64_t next_ping_us;
    int64_t sent_wall_ms, sent_us;
    int64_t time_us,
        trip_us; /* when the server's clock was last learned, and how long that reply took; 0: never */
    struct loop_timer timer;
    struct redis_call call;
    struct redis_command commands[2];
};

static void on_timer(void *arg);

static void later(struct redis_probe *p, int64_t ms)
{
    loop_timer_start(p->options.loop, &p->timer, loop_now_us(p->options.loop) + ms * 1000, on_timer, p);
}

/* --- INFO --- */

/* Once per change, and only where something is kept that must not go. */
static void tell_eviction(struct redis_probe *p, const struct redis_info *was, const struct redis_info *now)
{
    bool evicts = redis_info_evicts(now);
    if (redis_node_options(p->options.node)->role == REDIS_OF_CACHE || evicts == redis_info_evicts(was))
        return;
    LOG(p->options.log, evicts ? LOG_WARN : LOG_INFO,
        evicts ? "state lives on a Redis that may evict it" : "this Redis does not evict state any more",
        LOG_S("redis", redis_node_name(p->options.node)), LOG_S("maxmemory_policy", now->policy),
        LOG_S("remedy", evicts ? "maxmemory-policy noeviction there, or a redis.state_url of its own" : ""));
}

/* A Redis that only reads are asked of never says READONLY. */
static void check_role(struct redis_probe *p, struct slice info)
{
    const struct redis_node_options *node = redis_node_options(p->options.node);
    if (memmem(info.ptr, info.len, "\nrole:master", 12)) p->was_master = true;
    if (!memmem(info.ptr, info.len, "\nrole:slave", 11)) return;
    if (p->was_master) redis_node_leave_replica(p->options.node, conn_moves(p->conn));
    if (node->url->kind != REDIS_SENTINEL) return;
    redis_node_leave(p->options.node, conn_moves(p->conn));
    redis_topology_suspect(node->topology);
}

static void on_info(struct redis_call *call)
{
    struct redis_probe *p = call->arg;
    p->busy = false;
    if (call->outcome != REDIS_CALL_OK || conn_stale(p->conn)) return;
    check_role(p, call->replies[0].text);
    struct redis_info was, now;
    int64_t ping_us;
    redis_node_info(p->options.node, &was, &ping_us);
    redis_info_parse(call->replies[0].text, &now);
    redis_node_set_info(p->options.node, &now);
    tell_eviction(p, &was, &now);
}

static void send_probe(struct redis_probe *p, unsigned count, void (*done)(struct redis_call *call))
{
    int64_t now = loop_now_us(p->options.loop);
    p->call = (struct redis_call){.commands = p->commands, .count = count, .done = done, .arg = p};
    p->call.start_us = now;
    p->call.deadline_us = now + redis_node_options(p->options.node)->command_timeout_ms * 1000;
    p->call.generation = breaker_generation(redis_node_breaker(p->options.node));
    p->busy = true;
    conn_submit(p->conn, &p->call);
}

/* --- PING and TIME --- */

/* A reply says what the clock was at some moment of its trip. One that took much longer than the one that
 * holds is passed over, until that one is so old that the clocks may have drifted as far apart (1 ms a
 * second). */
static bool is_vague(const struct redis_probe *p, int64_t trip_us, int64_t now_us)
{
    if (trip_us > SLOW_TRIP_MS * INT64_C(2000)) return true;
    return p->time_us && trip_us > 2 * p->trip_us + (now_us - p->time_us) / 1000;
}

static void take_time(struct redis_probe *p, const struct redis_reply *time)
{
    struct redis_reply seconds, micros;
    if (!redis_reply_element(time, 0, &seconds) || !redis_reply_element(time, 1, &micros) ||
        !seconds.text.len || seconds.text.len > DIGITS_MAX || !micros.text.len)
        return;
    int64_t server_ms =
        strtoll(seconds.text.ptr, NULL, 10) * 1000 + strtoll(micros.text.ptr, NULL, 10) / 1000;
    int64_t now_us = loop_now_us(p->options.loop), trip_us = now_us - p->sent_us;
    if (server_ms < 0 || server_ms > WALL_MAX_MS || is_vague(p, trip_us, now_us)) return;
    p->time_us = now_us;
    p->trip_us = trip_us;
    redis_node_set_offset(p->options.node, server_ms - (p->sent_wall_ms + trip_us / 2000));
}

static bool asks_for_state(const struct redis_probe *p)
{
    return p->probing && redis_node_options(p->options.node)->url->kind == REDIS_CLUSTER;
}

/* A node whose user may not ask is believed. */
static bool cluster_is_well(const struct redis_call *call)
{
    if (call->outcome != REDIS_CALL_OK) return true;
    struct slice info = call->replies[1].text;
    return !memmem(info.ptr, info.len, "cluster_state:fail", 18);
}

static void on_pong(struct redis_call *call)
{
    struct redis_probe *p = call->arg;
    p->busy = false;
    /* PING decides; a TIME that this user may not ask for costs the clock offset only. */
    bool complete = call->outcome == REDIS_CALL_OK;
    bool ok = complete || (call->outcome == REDIS_CALL_REFUSED && call->replies[0].type == REDIS_TYPE_STATUS);
    if (asks_for_state(p))
        ok = ok && cluster_is_well(call);
    else if (complete)
        take_time(p, &call->replies[1]);
    if (ok && !conn_stale(p->conn))
        redis_node_set_ping(p->options.node, loop_now_us(p->options.loop) - p->sent_us);
    if (p->probing) breaker_probe_end(redis_node_breaker(p->options.node), ok);
    p->probing = false;
    if (ok && p->ready && ++p->pings % INFO_EVERY == 1) {
        p->commands[0] =
            (struct redis_command){.argc = 1, .argv = {SLICE_LITERAL("INFO")}, .types = REDIS_TYPE_STRING};
        send_probe(p, 1, on_info);
    }
}

static void ping(struct redis_probe *p)
{
    p->commands[0] =
        (struct redis_command){.argc = 1, .argv = {SLICE_LITERAL("PING")}, .types = REDIS_TYPE_STATUS};
    if (asks_for_state(p))
        p->commands[1] = (struct redis_command){
            .argc = 2, .argv = {SLICE_LITERAL("CLUSTER"), SLICE_LITERAL("INFO")}, .types = REDIS_TYPE_STRING};
    else
        p->commands[1] =
            (struct redis_command){.argc = 1, .argv = {SLICE_LITERAL("TIME")}, .types = REDIS_TYPE_ARRAY};
    p->sent_us = loop_now_us(p->options.loop);
    p->sent_wall_ms = clock_wall_ms(loop_clock(p->options.loop));
    p->next_ping_us = p->sent_us + PING_MS * INT64_C(1000);
    send_probe(p, 2, on_pong);
}

/* --- connection --- */

static void on_ready(void *arg)
{
    struct redis_probe *p = arg;
    p->ready = true;
    p->time_us = 0; /* perhaps another server's clock by now */
    p->awaiting[0] = 0;
    p->pings = 0; /* INFO at once: a Redis that was started again may have other options */
    p->probing = breaker_probe_begin(redis_node_breaker(p->options.node), true);
    ping(p);
    later(p, LOOK_MS);
}

/* Once, and again for another reason: the second address of a name may be there, and be another server. */
static void log_away(struct redis_probe *p, const char *why)
{
    int64_t now = loop_now_us(p->options.loop);
    if (p->awaiting[0] && (strcmp(p->awaiting, why) == 0 || now - p->logged_us < RELOG_MS * INT64_C(1000)))
        return;
    LOG(p->options.log, LOG_WARN, "Redis is away; waiting for it",
        LOG_S("redis", redis_node_name(p->options.node)), LOG_S("why", why));
    snprintf(p->awaiting, sizeof p->awaiting, "%s", why);
    p->logged_us = now;
}

static void on_closed(void *arg, const char *why)
{
    struct redis_probe *p = arg;
    bool moved = conn_stale(p->conn);
    p->conn = NULL;
    p->ready = p->busy = false;
    if (p->closing) return;
    if (moved) {
        later(p, 0);
        return;
    }
    log_away(p, why);
    later(p, CONNECT_MS / 2 + (int64_t)random_below(CONNECT_MS / 2));
}

/* Not only before connecting: Redis lets a connection live on whose password has changed, and ours may be the
 * last one that does. */
static void reread_password(struct redis_probe *p)
{
    char error[256];
    struct redis_secret *secret = redis_node_options(p->options.node)->secret;
    if (redis_secret_refused(secret) && !redis_secret_reload(secret, error, sizeof error))
        LOG(p->options.log, LOG_ERROR, "password file unreadable", LOG_S("error", error));
}

static void connect_now(struct redis_probe *p)
{
    struct conn_options options = {.group = p->group,
                                   .node = p->options.node,
                                   .log = p->options.log,
                                   .cell = p->options.cell,
                                   .events = {on_ready, on_closed, NULL, p}};
    p->conn = conn_open(&options);
    if (!p->conn) later(p, CONNECT_MS);
}

static void on_timer(void *arg)
{
    struct redis_probe *p = arg;
    reread_password(p);
    if (p->conn && conn_stale(p->conn)) conn_abandon(p->conn, "the node has moved");
    if (!p->conn) {
        connect_now(p);
        return;
    }
    if (p->ready && !p->busy && conn_ready(p->conn)) {
        p->probing = breaker_probe_begin(redis_node_breaker(p->options.node), false);
        if (p->probing || loop_now_us(p->options.loop) >= p->next_ping_us) ping(p);
    }
    later(p, breaker_allows(redis_node_breaker(p->options.node)) ? PING_MS : LOOK_MS);
}

void redis_probe_look(struct redis_probe *p)
{
    if (!p->closing) later(p, 0);
}

struct redis_probe *redis_probe_create(const struct redis_probe_options *options)
{
    struct redis_probe *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->options = *options;
    p->group = conn_group_create(options->loop);
    if (!p->group) {
        free(p);
        return NULL;
    }
    later(p, 0);
    return p;
}

void redis_probe_destroy(struct redis_probe **probe)
{
    struct redis_probe *p = *probe;
    if (!p) return;
    *probe = NULL;
    p->closing = true;
    if (p->conn) conn_abandon(p->conn, "shutting down");
    loop_timer_stop(&p->timer);
    conn_group_destroy(&p->group);
    free(p);
}
