/* conn_greet: a connection's first words, and the killing of condemned ones, which a ready connection may be
 * asked for too. */
#include "conn_private.h"

#include <stdio.h>

static void greet_kill(struct conn *c);

static void greeting_call(struct conn *c, unsigned count, void (*done)(struct redis_call *call))
{
    c->greeting =
        (struct redis_call){.commands = c->greeting_commands, .count = count, .done = done, .arg = c};
    c->greeting.start_us = loop_now_us(c->group->loop);
    /* The greeting as a whole has the connection's timer; once that is over, calls have it. */
    c->greeting.deadline_us =
        c->state == CONN_READY
            ? c->greeting.start_us + redis_node_options(c->options.node)->command_timeout_ms * 1000
            : INT64_MAX;
    conn_submit_any(c, &c->greeting);
}

static void greeted(struct conn *c)
{
    c->state = CONN_READY;
    loop_timer_stop(&c->timer);
    metrics_count(c->options.cell, METRIC_REDIS_CONNECTS, redis_node_options(c->options.node)->role, 0, 1);
    c->options.events.ready(c->options.events.arg);
}

static bool greeting_failed(struct conn *c, const struct redis_call *call)
{
    if (call->outcome == REDIS_CALL_OK) return false;
    if (c->ctx) { /* an error reply, not a lost connection */
        snprintf(c->why, sizeof c->why, "%s", call->error);
        c->doomed = true;
    }
    return true;
}

static void on_killed(struct redis_call *call)
{
    struct conn *c = call->arg;
    /* "No such client" is success: it is gone. */
    bool answered = call->outcome == REDIS_CALL_OK || call->outcome == REDIS_CALL_REFUSED;
    if (!answered && c->state == CONN_READY) {
        c->killing = false; /* Redis cannot serve now; the connection itself is well */
        return;
    }
    if (!answered) {
        greeting_failed(c, call);
        return;
    }
    /* A user that may not kill: to insist would keep us from Redis until it restarts. */
    if (call->outcome == REDIS_CALL_REFUSED && strncmp(call->error, "ERR", 3) != 0)
        LOG(c->options.log, LOG_WARN, "cannot end an old connection; a late write may still land",
            LOG_S("redis", redis_node_name(c->options.node)), LOG_S("error", call->error));
    redis_node_absolve(c->options.node, c->kills, call->count);
    greet_kill(c);
}

static void greet_kill(struct conn *c)
{
    size_t n = redis_node_condemned(c->options.node, c->run_id, c->kills);
    if (n == 0 && c->state == CONN_READY) {
        c->killing = false;
        return;
    }
    if (n == 0) {
        greeted(c);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(c->kill_ids[i], sizeof c->kill_ids[i], "%lld", (long long)c->kills[i].client_id);
        c->greeting_commands[i] =
            (struct redis_command){.argc = 4,
                                   .argv = {SLICE_LITERAL("CLIENT"), SLICE_LITERAL("KILL"),
                                            SLICE_LITERAL("ID"), slice_of(c->kill_ids[i])},
                                   .types = REDIS_TYPE_INTEGER | REDIS_TYPE_STATUS};
    }
    greeting_call(c, (unsigned)n, on_killed);
}

void conn_kill_condemned(struct conn *c)
{
    if (!conn_ready(c) || c->killing) return;
    c->killing = true;
    greet_kill(c);
}

static void read_run_id(struct conn *c, struct slice info)
{
    const char *at = info.len ? memmem(info.ptr, info.len, "run_id:", 7) : NULL;
    if (!at) return;
    at += 7;
    size_t n = 0;
    while (n < RUN_ID_SIZE - 1 && at + n < info.ptr + info.len && at[n] != '\r' && at[n] != '\n')
        n++;
    memcpy(c->run_id, at, n);
    c->run_id[n] = 0;
}

static bool says(struct slice info, const char *line)
{
    return info.len && memmem(info.ptr, info.len, line, strlen(line));
}

/* Sentinels may be behind, and a master may have been demoted since. At the address of a cluster's node that
 * is gone there may be a Redis of somebody else, which would take every key for its own. */
static bool is_wrong_server(struct conn *c, struct slice info)
{
    enum redis_kind kind = redis_node_options(c->options.node)->url->kind;
    const char *why = NULL;
    if (kind == REDIS_SENTINEL && !says(info, "\nrole:master")) why = "it is a replica, not the master";
    if (kind == REDIS_CLUSTER && says(info, "\nredis_mode:standalone")) why = "it is no node of a cluster";
    if (!why) return false;
    snprintf(c->why, sizeof c->why, "%s", why);
    c->doomed = true;
    return true;
}

static void on_greeted(struct redis_call *call)
{
    struct conn *c = call->arg;
    struct slice info = call->replies[call->count - 1].text;
    if (greeting_failed(c, call) || is_wrong_server(c, info)) return;
    c->client_id = call->replies[call->count - 2].integer;
    read_run_id(c, info);
    greet_kill(c);
}

void conn_greet(struct conn *c)
{
    const struct redis_url *url = redis_node_options(c->options.node)->url;
    unsigned n = 0;
    redis_secret_copy(redis_node_options(c->options.node)->secret, c->password);
    struct redis_command *commands = c->greeting_commands;
    if (c->password[0] || url->user) {
        struct redis_command *auth = &commands[n++];
        *auth = (struct redis_command){
            .argc = 2, .argv = {SLICE_LITERAL("AUTH"), slice_of(c->password)}, .types = REDIS_TYPE_STATUS};
        if (url->user) {
            auth->argc = 3;
            auth->argv[1] = slice_of(url->user);
            auth->argv[2] = slice_of(c->password);
        }
    }
    if (url->db) {
        snprintf(c->db, sizeof c->db, "%d", url->db);
        commands[n++] = (struct redis_command){
            .argc = 2, .argv = {SLICE_LITERAL("SELECT"), slice_of(c->db)}, .types = REDIS_TYPE_STATUS};
    }
    commands[n++] = (struct redis_command){
        .argc = 2, .argv = {SLICE_LITERAL("CLIENT"), SLICE_LITERAL("ID")}, .types = REDIS_TYPE_INTEGER};
    /* With the role, where it matters; two sections at once only Redis 7 can. */
    commands[n++] = (struct redis_command){.argc = url->kind == REDIS_SENTINEL ? 1 : 2,
                                           .argv = {SLICE_LITERAL("INFO"), SLICE_LITERAL("server")},
                                           .types = REDIS_TYPE_STRING};
    c->state = CONN_GREETING;
    greeting_call(c, n, on_greeted);
}
