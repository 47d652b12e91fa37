/* tracking: a repeated SUBSCRIBE is the heartbeat (a PING in subscribe mode never calls back in hiredis
 * 0.14): one is due every BEAT_MS and must be confirmed within the command timeout, or the connection is
 * given up. */
#include "engine/redis/tracking.h"

#include "conn.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { BEAT_MS = 1000, RECONNECT_MS = 250, REFUSED_RETRY_MS = 30000 };
static const char CHANNEL[] = "__redis__:invalidate";

struct redis_tracking {
    struct redis_tracking_options options;
    struct conn_group *group;
    struct conn *conn;
    bool live, awaiting_beat, refused, closing;
    char client_id[24];
    int64_t beat_us; /* when the heartbeat was sent */
    struct loop_timer timer;
    struct redis_call call;
    struct redis_command command;
};

static void on_timer(void *arg);

static void later(struct redis_tracking *t, int64_t ms)
{
    loop_timer_start(t->options.loop, &t->timer, loop_now_us(t->options.loop) + ms * 1000, on_timer, t);
}

static void on_beat(struct redis_tracking *t)
{
    t->awaiting_beat = false;
    later(t, BEAT_MS);
    bool begins = !t->live;
    t->live = true;
    if (begins) t->options.on_live(t->options.arg);
    /* The next beat is sent in BEAT_MS and confirmed within the time-out, or this connection is given up. */
    int64_t timeout_ms = redis_node_options(t->options.node)->command_timeout_ms;
    if (t->options.on_sure)
        t->options.on_sure(t->options.arg, t->beat_us + (BEAT_MS + 2 * timeout_ms) * 1000);
    if (!begins) return;
    LOG(t->options.log, LOG_INFO, "near cache live", LOG_S("redis", redis_node_name(t->options.node)));
}

static void on_changed(struct redis_tracking *t, const struct redis_reply *keys)
{
    if (keys->type != REDIS_TYPE_ARRAY) { /* nil: FLUSHALL, FLUSHDB */
        t->options.on_change(t->options.arg, SLICE_NONE);
        return;
    }
    struct redis_reply key;
    for (size_t i = 0; redis_reply_element(keys, i, &key); i++)
        t->options.on_change(t->options.arg, key.text);
    metrics_count(t->options.cell, METRIC_INVALIDATIONS, 0, 0, (uint64_t)keys->integer);
}

static void on_message(void *arg, const struct redis_reply *message)
{
    struct redis_tracking *t = arg;
    struct redis_reply kind, payload;
    if (!redis_reply_element(message, 0, &kind) || !redis_reply_element(message, 2, &payload)) return;
    if (slice_equal_text(kind.text, "subscribe"))
        on_beat(t);
    else if (slice_equal_text(kind.text, "message"))
        on_changed(t, &payload);
}

static void beat(struct redis_tracking *t)
{
    t->awaiting_beat = true;
    t->beat_us = loop_now_us(t->options.loop);
    conn_subscribe(t->conn, CHANNEL, on_message, t);
    later(t, redis_node_options(t->options.node)->command_timeout_ms);
}

static void on_tracking(struct redis_call *call)
{
    struct redis_tracking *t = call->arg;
    if (call->outcome == REDIS_CALL_OK) {
        beat(t);
    } else if (call->outcome == REDIS_CALL_REFUSED) {
        LOG(t->options.log, LOG_WARN,
            "no near cache: Redis refuses CLIENT TRACKING; every read goes to Redis",
            LOG_S("redis", redis_node_name(t->options.node)), LOG_S("error", call->error));
        t->refused = true;
        conn_abandon(t->conn, "CLIENT TRACKING refused");
    } else if (t->conn && call->outcome == REDIS_CALL_UNAVAILABLE) {
        conn_abandon(t->conn, call->error);
    }
}

static void on_ready(void *arg)
{
    struct redis_tracking *t = arg;
    snprintf(t->client_id, sizeof t->client_id, "%lld", (long long)conn_client_id(t->conn));
    t->command = (struct redis_command){.argc = 8,
                                        .argv = {SLICE_LITERAL("CLIENT"), SLICE_LITERAL("TRACKING"),
                                                 SLICE_LITERAL("ON"), SLICE_LITERAL("REDIRECT"),
                                                 slice_of(t->client_id), SLICE_LITERAL("BCAST"),
                                                 SLICE_LITERAL("PREFIX"), slice_of(t->options.prefix)},
                                        .types = REDIS_TYPE_STATUS};
    t->call = (struct redis_call){.commands = &t->command, .count = 1, .done = on_tracking, .arg = t};
    t->call.start_us = loop_now_us(t->options.loop);
    t->call.deadline_us = t->call.start_us + redis_node_options(t->options.node)->command_timeout_ms * 1000;
    t->call.generation = breaker_generation(redis_node_breaker(t->options.node));
    conn_submit(t->conn, &t->call);
}

static void on_closed(void *arg, const char *why)
{
    struct redis_tracking *t = arg;
    bool was_live = t->live;
    t->conn = NULL;
    t->live = t->awaiting_beat = false;
    if (was_live) t->options.on_lost(t->options.arg);
    if (t->closing) return;
    if (was_live)
        LOG(t->options.log, LOG_WARN, "near cache lost; reads go to Redis until it is back",
            LOG_S("redis", redis_node_name(t->options.node)), LOG_S("why", why));
    later(t, t->refused ? REFUSED_RETRY_MS : RECONNECT_MS + (int64_t)random_below(RECONNECT_MS));
    t->refused = false;
}

static void on_timer(void *arg)
{
    struct redis_tracking *t = arg;
    if (t->conn && conn_stale(t->conn)) {
        conn_abandon(t->conn, "the node has moved");
    } else if (t->conn && t->awaiting_beat) {
        conn_abandon(t->conn, "the invalidation connection is silent");
    } else if (t->conn) {
        beat(t);
    } else {
        struct conn_options options = {.group = t->group,
                                       .node = t->options.node,
                                       .log = t->options.log,
                                       .cell = t->options.cell,
                                       .events = {on_ready, on_closed, NULL, t}};
        t->conn = conn_open(&options);
        if (!t->conn) later(t, RECONNECT_MS);
    }
}

void redis_tracking_look(struct redis_tracking *t)
{
    if (t->closing || (t->conn && !conn_stale(t->conn))) return;
    if (t->conn) conn_abandon(t->conn, "the node has moved");
    later(t, 0);
}

struct redis_tracking *redis_tracking_create(const struct redis_tracking_options *options)
{
    struct redis_tracking *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->options = *options;
    t->group = conn_group_create(options->loop);
    if (!t->group) {
        free(t);
        return NULL;
    }
    later(t, 0);
    return t;
}

void redis_tracking_destroy(struct redis_tracking **tracking)
{
    struct redis_tracking *t = *tracking;
    if (!t) return;
    *tracking = NULL;
    t->closing = true;
    if (t->conn) conn_abandon(t->conn, "shutting down");
    loop_timer_stop(&t->timer);
    conn_group_destroy(&t->group);
    free(t);
}
