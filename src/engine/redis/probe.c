/* probe: connects every CONNECT_MS while it has no connection, whatever the circuit's timer says; a
 * connection that greets is proof enough to probe at once. PING is what tells LOADING and MASTERDOWN; TIME
 * rides along for the clock offset. */
#include "engine/redis/probe.h"

#include "conn.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>

static const int64_t WALL_MAX_MS =
    INT64_C(253402300799999) / 2; /* far in the future, and far from the last year that prints */

enum { SLOW_TRIP_MS = 50, CONNECT_MS = 500, PING_MS = 1000, LOOK_MS = 50, INFO_EVERY = 5 };

struct redis_probe {
    struct redis_probe_options options;
    struct conn_group *group;
    struct conn *conn;
    bool ready, busy, probing, closing, awaiting_logged;
    unsigned pings;
    int64_t next_ping_us;
    int64_t sent_wall_ms, sent_us;
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

static void gauge_from(struct redis_probe *p, struct slice info, const char *name, enum metric metric)
{
    const char *at = memmem(info.ptr, info.len, name, strlen(name));
    if (at) metrics_gauge(p->options.metrics, metric, 0, strtod(at + strlen(name), NULL));
}

static void on_info(struct redis_call *call)
{
    struct redis_probe *p = call->arg;
    p->busy = false;
    if (call->outcome != REDIS_CALL_OK) return;
    /* hiredis ends strings with a NUL, so strtod stops within the reply. */
    struct slice info = call->replies[0].text;
    gauge_from(p, info, "\nused_memory:", METRIC_REDIS_MEMORY);
    gauge_from(p, info, "\nmaxmemory:", METRIC_REDIS_MEMORY_MAX);
    gauge_from(p, info, "\nconnected_clients:", METRIC_REDIS_CLIENTS);
    gauge_from(p, info, "\ntotal_commands_processed:", METRIC_REDIS_COMMANDS);
    gauge_from(p, info, "\nkeyspace_hits:", METRIC_REDIS_HITS);
    gauge_from(p, info, "\nkeyspace_misses:", METRIC_REDIS_MISSES);
    gauge_from(p, info, "\nevicted_keys:", METRIC_REDIS_EVICTED);
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

static void take_time(struct redis_probe *p, const struct redis_reply *time)
{
    struct redis_reply seconds, micros;
    if (!redis_reply_element(time, 0, &seconds) || !redis_reply_element(time, 1, &micros) ||
        !seconds.text.len || !micros.text.len)
        return;
    int64_t server_ms =
        strtoll(seconds.text.ptr, NULL, 10) * 1000 + strtoll(micros.text.ptr, NULL, 10) / 1000;
    int64_t half_trip_ms = (loop_now_us(p->options.loop) - p->sent_us) / 2000;
    if (server_ms < 0 || server_ms > WALL_MAX_MS || half_trip_ms > SLOW_TRIP_MS)
        return; /* absurd, or too vague */
    redis_node_set_offset(p->options.node, server_ms - (p->sent_wall_ms + half_trip_ms));
}

static void on_pong(struct redis_call *call)
{
    struct redis_probe *p = call->arg;
    p->busy = false;
    /* PING decides; a TIME that this user may not ask for costs the clock offset only. */
    bool timed = call->outcome == REDIS_CALL_OK;
    bool ok = timed || (call->outcome == REDIS_CALL_REFUSED && call->replies[0].type == REDIS_TYPE_STATUS);
    if (timed) take_time(p, &call->replies[1]);
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
    p->awaiting_logged = false;
    p->probing = breaker_probe_begin(redis_node_breaker(p->options.node), true);
    ping(p);
    later(p, LOOK_MS);
}

static void on_closed(void *arg, const char *why)
{
    struct redis_probe *p = arg;
    p->conn = NULL;
    p->ready = p->busy = false;
    if (p->closing) return;
    if (!p->awaiting_logged)
        LOG(p->options.log, LOG_WARN, "Redis is away; waiting for it",
            LOG_S("redis", redis_node_name(p->options.node)), LOG_S("why", why));
    p->awaiting_logged = true;
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
                                   .events = {on_ready, on_closed, p}};
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
