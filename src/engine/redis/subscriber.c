/* subscriber: a repeated SUBSCRIBE is the heartbeat, as in tracking: one is due every BEAT_MS and must be
 * confirmed within the command timeout, or the connection is given up and another one opened. */
#include "engine/redis/subscriber.h"

#include "conn.h"
#include "util/random.h"

#include <stdlib.h>

enum { BEAT_MS = 1000, RECONNECT_MIN_MS = 50, RECONNECT_MAX_MS = 1000 };

struct redis_subscriber {
    struct redis_subscriber_options options;
    struct conn_group *group;
    struct conn *conn;
    struct redis_node *node; /* where conn leads */
    bool live, awaiting_beat, closing;
    int64_t backoff_ms;
    struct loop_timer timer;
};

static void on_timer(void *arg);

static void later(struct redis_subscriber *s, int64_t ms)
{
    loop_timer_start(s->options.loop, &s->timer, loop_now_us(s->options.loop) + ms * 1000, on_timer, s);
}

static void on_beat(struct redis_subscriber *s)
{
    bool begins = !s->live;
    s->awaiting_beat = false;
    s->live = true;
    s->backoff_ms = 0;
    later(s, BEAT_MS);
    if (begins) s->options.on_live(s->options.arg);
}

static void on_message(void *arg, const struct redis_reply *message)
{
    struct redis_subscriber *s = arg;
    struct redis_reply kind, payload;
    if (!redis_reply_element(message, 0, &kind) || !redis_reply_element(message, 2, &payload)) return;
    if (slice_equal_text(kind.text, "subscribe"))
        on_beat(s);
    else if (slice_equal_text(kind.text, "message"))
        s->options.on_message(s->options.arg, payload.text);
}

static void beat(struct redis_subscriber *s)
{
    s->awaiting_beat = true;
    conn_subscribe(s->conn, s->options.channel, on_message, s);
    later(s, redis_topology_options(s->options.topology)->command_timeout_ms);
}

static void on_ready(void *arg)
{
    beat(arg);
}

static void on_closed(void *arg, const char *why)
{
    struct redis_subscriber *s = arg;
    bool was_live = s->live;
    s->conn = NULL;
    s->live = s->awaiting_beat = false;
    if (was_live) s->options.on_lost(s->options.arg);
    if (s->closing) return;
    if (was_live)
        LOG(s->options.log, LOG_WARN,
            "subscription lost; waiting requests look for themselves until it is back",
            LOG_S("redis", redis_node_name(s->node)), LOG_S("why", why));
    s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : RECONNECT_MIN_MS;
    if (s->backoff_ms > RECONNECT_MAX_MS) s->backoff_ms = RECONNECT_MAX_MS;
    later(s, s->backoff_ms / 2 + (int64_t)random_below((uint64_t)s->backoff_ms));
}

static void on_timer(void *arg)
{
    struct redis_subscriber *s = arg;
    if (s->conn && (conn_stale(s->conn) || !redis_node_serves(s->node))) {
        conn_abandon(s->conn, "the node has moved");
    } else if (s->conn && s->awaiting_beat) {
        conn_abandon(s->conn, "the subscription is silent");
    } else if (s->conn) {
        beat(s);
    } else {
        s->node = redis_topology_node(s->options.topology, slice_of(s->options.key));
        struct conn_options options = {.group = s->group,
                                       .node = s->node,
                                       .log = s->options.log,
                                       .cell = s->options.cell,
                                       .events = {on_ready, on_closed, NULL, s}};
        s->conn = conn_open(&options);
        if (!s->conn) later(s, RECONNECT_MAX_MS);
    }
}

struct redis_subscriber *redis_subscriber_create(const struct redis_subscriber_options *options)
{
    struct redis_subscriber *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->options = *options;
    s->group = conn_group_create(options->loop);
    if (!s->group) {
        free(s);
        return NULL;
    }
    later(s, 0);
    return s;
}

void redis_subscriber_destroy(struct redis_subscriber **subscriber)
{
    struct redis_subscriber *s = *subscriber;
    if (!s) return;
    *subscriber = NULL;
    s->closing = true;
    if (s->conn) conn_abandon(s->conn, "shutting down");
    loop_timer_stop(&s->timer);
    conn_group_destroy(&s->group);
    free(s);
}
