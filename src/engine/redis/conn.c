/* conn: hiredis' async context on our loop. The adapter differs from hiredis' own in one thing: "something to
 * send" puts the connection on its group's list, and the group writes once per turn, so that all commands of
 * a turn leave in one send.
 *
 * Calls in flight are a list in the order of sending; hiredis answers in that order too. When the context
 * ends, each gets a NULL reply: whether its bytes had left is read off the output buffer then. Calls are done
 * only when hiredis is out of its own code (settle), since a caller's reaction may be to open, end or use
 * connections. */
#include "conn.h"

#include "engine/redis/errors.h"
#include "node_private.h"

#include <assert.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { GREETING_COMMANDS = 4, PASSWORD_SIZE = 1024, KEEPALIVE_S = 15 };

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_GREETING, CONN_READY, CONN_DEAD };

struct conn_group {
    struct loop *loop;
    struct loop_hook *hook;
    struct conn *dirty;
    struct buf scratch; /* for formatting; empty between calls */
};

struct conn {
    struct conn_options options;
    struct conn_group *group;
    enum conn_state state;
    redisAsyncContext *ctx; /* NULL before connecting and once hiredis has let go */
    struct loop_io *io;
    struct loop_resolve *resolve;
    struct loop_timer timer; /* greeting deadline, then the calls' deadlines */
    struct conn *next_dirty;
    bool is_dirty;
    int depth;      /* inside hiredis or a callback of ours: settle later */
    bool finishing; /* settle is running */
    bool doomed;    /* to be ended when depth is 0 */
    char why[96];

    struct redis_call *calls, **calls_tail; /* in flight, oldest first */
    unsigned inflight;
    struct redis_call *failed, **failed_tail; /* waiting for settle */
    uint64_t appended;                        /* bytes handed to hiredis so far */

    unsigned turn;       /* of the host's addresses */
    uint32_t generation; /* the breaker's, when this connection was begun */
    int64_t client_id;
    char run_id[RUN_ID_SIZE];
    char password[PASSWORD_SIZE];
    char db[16];
    struct redis_call greeting;
    struct redis_command greeting_commands[GREETING_COMMANDS];
    struct condemned kills[CONDEMNED_BATCH];
    char kill_ids[CONDEMNED_BATCH][24];

    void (*on_message)(void *arg, const struct redis_reply *message);
    void *on_message_arg;
};

static void settle(struct conn *c);
static void greet_kill(struct conn *c);
static void on_deadline(void *arg);

/* --- adapter --- */

static void make_dirty(struct conn *c)
{
    if (c->is_dirty) return;
    c->is_dirty = true;
    c->next_dirty = c->group->dirty;
    c->group->dirty = c;
}

static void ev_add_write(void *arg)
{
    make_dirty(arg);
}

static void ev_nothing(void *arg)
{
    (void)arg; /* reading is always on; writing is watched only while a flush was partial */
}

/* hiredis calls this last thing before it frees the context, whatever ended it. */
static void ev_cleanup(void *arg)
{
    struct conn *c = arg;
    loop_io_destroy(&c->io);
    if (!c->why[0])
        snprintf(c->why, sizeof c->why, "%s",
                 c->ctx && c->ctx->errstr && c->ctx->errstr[0] ? c->ctx->errstr : "closed");
    c->ctx = NULL;
}

static size_t unsent(const struct conn *c)
{
    return c->ctx && c->ctx->c.obuf ? sdslen(c->ctx->c.obuf) : 0;
}

static void watch(struct conn *c)
{
    bool connecting = !(c->ctx->c.flags & REDIS_CONNECTED);
    int events = LOOP_READ | (connecting || unsent(c) ? LOOP_WRITE : 0);
    if (c->io) loop_io_set(c->io, events);
}

static bool flush_dirty(void *arg)
{
    struct conn_group *group = arg;
    bool worked = group->dirty != NULL;
    while (group->dirty) {
        struct conn *c = group->dirty;
        group->dirty = c->next_dirty;
        c->is_dirty = false;
        if (!c->ctx) continue;
        c->depth++;
        if (c->ctx->c.flags & REDIS_CONNECTED) redisAsyncHandleWrite(c->ctx);
        if (c->ctx) watch(c);
        c->depth--;
        settle(c);
    }
    return worked;
}

static void on_io(void *arg, int events)
{
    struct conn *c = arg;
    c->depth++;
    if (events & LOOP_WRITE) redisAsyncHandleWrite(c->ctx);
    if (c->ctx && (events & LOOP_READ)) redisAsyncHandleRead(c->ctx);
    if (c->ctx) watch(c);
    c->depth--;
    settle(c);
}

struct conn_group *conn_group_create(struct loop *loop)
{
    struct conn_group *group = calloc(1, sizeof *group);
    if (!group) return NULL;
    group->loop = loop;
    group->hook = loop_hook_add(loop, flush_dirty, group);
    if (!group->hook) {
        free(group);
        return NULL;
    }
    return group;
}

void conn_group_destroy(struct conn_group **group)
{
    if (!*group) return;
    loop_hook_remove(&(*group)->hook);
    buf_deinit(&(*group)->scratch);
    free(*group);
    *group = NULL;
}

/* --- ending --- */

static void record(struct conn *c, const struct redis_call *call)
{
    struct redis_node *node = c->options.node;
    int64_t took_us = loop_now_us(c->group->loop) - call->start_us;
    enum breaker_outcome outcome = BREAKER_SUCCESS;
    if (call->outcome == REDIS_CALL_UNAVAILABLE || call->outcome == REDIS_CALL_IN_DOUBT)
        outcome = BREAKER_FAILURE;
    else if (took_us > redis_node_options(node)->command_timeout_ms * 1000 / 2)
        outcome = BREAKER_SLOW;
    breaker_record(redis_node_breaker(node), call->generation, outcome);
    metrics_count(c->options.cell, METRIC_REDIS_CALLS, call->outcome, 0, 1);
    metrics_observe_us(c->options.cell, METRIC_REDIS_SECONDS, 0, took_us);
}

static void unlink_call(struct conn *c, struct redis_call *call)
{
    *call->prev = call->next;
    if (call->next)
        call->next->prev = call->prev;
    else
        c->calls_tail = call->prev;
    c->inflight--;
    if (c->options.queued_bytes)
        atomic_fetch_sub_explicit(c->options.queued_bytes, call->bytes, memory_order_relaxed);
}

/* What Redis (or something between) still holds of this connection may yet run: the next connection kills it
 * first. Before any caller learns that its call failed, so that whoever replays sees a node that is not
 * quiet. */
static void condemn(struct conn *c)
{
    struct redis_call *call = c->failed;
    while (call && call->outcome != REDIS_CALL_IN_DOUBT)
        call = call->next;
    if (!call || !c->client_id) return;
    struct condemned entry = {.client_id = c->client_id};
    memcpy(entry.run_id, c->run_id, sizeof entry.run_id);
    redis_node_condemn(c->options.node, &entry);
}

static void finish_failed(struct conn *c)
{
    while (c->failed) {
        struct redis_call *call = c->failed;
        c->failed = call->next;
        if (!c->failed) c->failed_tail = &c->failed;
        if (call != &c->greeting) record(c, call);
        call->done(call);
    }
}

static void connect_failed(struct conn *c)
{
    struct breaker *breaker = redis_node_breaker(c->options.node);
    metrics_count(c->options.cell, METRIC_REDIS_CONNECTS, 1, 0, 1);
    if (c->state == CONN_CONNECTING) redis_node_next_turn(c->options.node, c->turn);
    breaker_record(breaker, c->generation, BREAKER_FAILURE);
}

/* RST instead of FIN: what the kernel still holds must not leave later, over a newer write. */
static void end_context(struct conn *c)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->ctx->c.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    c->depth++;
    redisAsyncFree(c->ctx);
    c->depth--;
}

/* Runs whenever hiredis is out of its code: ends the doomed, completes the failed, tells the owner of the
 * death. */
static void settle(struct conn *c)
{
    if (c->depth || c->finishing) return;
    if (c->doomed && c->ctx) end_context(c);
    if (c->ctx || c->state == CONN_RESOLVING || c->state == CONN_DEAD) return;
    c->finishing = true;
    if (c->state != CONN_READY) connect_failed(c);
    c->state = CONN_DEAD;
    loop_timer_stop(&c->timer);
    condemn(c);
    finish_failed(c);
    for (struct conn **p = &c->group->dirty; *p; p = &(*p)->next_dirty)
        if (*p == c) {
            *p = c->next_dirty;
            break;
        }
    c->options.events.closed(c->options.events.arg, c->why);
    explicit_bzero(c->password, sizeof c->password);
    free(c);
}

void conn_abandon(struct conn *c, const char *why)
{
    if (c->state == CONN_DEAD) return;
    if (!c->why[0]) snprintf(c->why, sizeof c->why, "%s", why);
    c->doomed = true;
    if (c->state == CONN_RESOLVING) {
        loop_resolve_cancel(&c->resolve);
        c->state = CONN_CONNECTING; /* and no context: settle takes it from here */
    }
    settle(c);
}

static void on_deadline(void *arg)
{
    struct conn *c = arg;
    if (c->state != CONN_READY) {
        conn_abandon(c, c->state == CONN_GREETING ? "greeting timed out" : "connect timed out");
        return;
    }
    int64_t now = loop_now_us(c->group->loop), next = INT64_MAX;
    for (struct redis_call *call = c->calls; call; call = call->next) {
        if (call->deadline_us <= now) {
            metrics_count(c->options.cell, METRIC_REDIS_ABANDONED, 0, 0, 1);
            conn_abandon(c, "a command was not answered in time");
            return;
        }
        if (call->deadline_us < next) next = call->deadline_us;
    }
    if (next != INT64_MAX) loop_timer_start(c->group->loop, &c->timer, next, on_deadline, c);
}

/* --- replies --- */

static const struct {
    int hiredis;
    enum redis_type type;
} TYPES[] = {{REDIS_REPLY_NIL, REDIS_TYPE_NIL},
             {REDIS_REPLY_STRING, REDIS_TYPE_STRING},
             {REDIS_REPLY_INTEGER, REDIS_TYPE_INTEGER},
             {REDIS_REPLY_STATUS, REDIS_TYPE_STATUS},
             {REDIS_REPLY_ARRAY, REDIS_TYPE_ARRAY}};

static struct redis_reply reply_view(const redisReply *r)
{
    struct redis_reply view = {
        .integer = r->integer, .text = {r->str, r->str ? (size_t)r->len : 0}, .raw = r};
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (TYPES[i].hiredis == r->type) view.type = TYPES[i].type;
    if (view.type == REDIS_TYPE_ARRAY) view.integer = (int64_t)r->elements;
    return view;
}

bool redis_reply_element(const struct redis_reply *array, size_t i, struct redis_reply *out)
{
    const redisReply *r = array->raw;
    if (array->type != REDIS_TYPE_ARRAY || i >= r->elements) return false;
    *out = reply_view(r->element[i]);
    return true;
}

static void take_error(struct conn *c, struct redis_call *call, struct slice text)
{
    static const enum redis_outcome OUTCOME[] = {[REDIS_ERROR_RESEND] = REDIS_CALL_REFUSED,
                                                 [REDIS_ERROR_UNAVAILABLE] = REDIS_CALL_UNAVAILABLE,
                                                 [REDIS_ERROR_REFUSED] = REDIS_CALL_REFUSED,
                                                 [REDIS_ERROR_FOREIGN] = REDIS_CALL_FOREIGN};
    enum redis_outcome outcome = OUTCOME[redis_error_class(text)];
    if (outcome > call->worst) call->worst = outcome;
    snprintf(call->error, sizeof call->error, "%.*s", (int)(text.len < 95 ? text.len : 95),
             text.ptr ? text.ptr : "");
    if (slice_equal_text((struct slice){text.ptr, text.len < 9 ? text.len : 9}, "WRONGPASS") ||
        slice_equal_text((struct slice){text.ptr, text.len < 6 ? text.len : 6}, "NOAUTH"))
        redis_node_note_password_refused(c->options.node);
}

static void take_reply(struct conn *c, struct redis_call *call, const redisReply *r)
{
    struct redis_reply *out = &call->replies[call->received];
    *out = reply_view(r);

    if (r->type == REDIS_REPLY_ERROR)
        take_error(c, call, out->text);
    else if (!(out->type & call->commands[call->received].types))
        c->doomed = true;
}

static void send_call(struct conn *c, struct redis_call *call);

static bool is_noscript(const struct redis_call *call)
{
    return call->worst == REDIS_CALL_REFUSED && !call->with_source && call->count == 1 &&
           call->commands[0].script && redis_error_class(slice_of(call->error)) == REDIS_ERROR_RESEND;
}

static void on_reply(redisAsyncContext *ctx, void *reply, void *privdata)
{
    struct redis_call *call = privdata;
    struct conn *c = ctx->ev.data;
    if (reply) take_reply(c, call, reply);
    /* Out of step: this very answer may be another request's. */
    if (!reply || c->doomed) {
        if (call->received == call->count) return; /* failed already, by an earlier command of its own */
        call->received = call->count;
        bool sent = call->begin < c->appended - unsent(c);
        call->outcome = sent ? REDIS_CALL_IN_DOUBT : REDIS_CALL_UNAVAILABLE;
        snprintf(call->error, sizeof call->error, "%s",
                 c->why[0] ? c->why
                 : reply   ? "unexpected reply"
                           : "connection lost");
        if (reply) snprintf(c->why, sizeof c->why, "unexpected reply");
        unlink_call(c, call);
        call->next = NULL;
        *c->failed_tail = call;
        c->failed_tail = &call->next;
        return;
    }
    if (++call->received < call->count) return;
    unlink_call(c, call);
    if (is_noscript(call)) {
        send_call(c, call); /* with its source this time */
        return;
    }
    call->outcome = call->worst;
    if (call != &c->greeting) record(c, call);
    call->done(call);
}

static void send_call(struct conn *c, struct redis_call *call)
{
    call->with_source = call->received == call->count; /* only a NOSCRIPT brings an answered call back here */
    call->received = 0;
    call->worst = REDIS_CALL_OK;
    call->error[0] = 0;
    call->next = NULL;
    call->prev = c->calls_tail;
    *c->calls_tail = call;
    c->calls_tail = &call->next;
    c->inflight++;
    call->begin = c->appended;

    struct buf *scratch = &c->group->scratch;
    for (unsigned i = 0; i < call->count; i++) {
        buf_clear(scratch);
        resp_append_command(scratch, &call->commands[i], call->with_source);
        if (scratch->failed ||
            redisAsyncFormattedCommand(c->ctx, on_reply, call, scratch->ptr, scratch->len) != REDIS_OK)
            abort(); /* out of memory with a command half queued: nothing truthful can follow */
        c->appended += scratch->len;
    }
    call->bytes = c->appended - call->begin;
    if (scratch->cap > 64 * 1024) buf_deinit(scratch);
    if (c->options.queued_bytes)
        atomic_fetch_add_explicit(c->options.queued_bytes, call->bytes, memory_order_relaxed);
    make_dirty(c);
}

static void submit(struct conn *c, struct redis_call *call)
{
    call->received = 0;
    send_call(c, call);
    if (c->state == CONN_READY && (!loop_timer_running(&c->timer) || c->timer.due_us > call->deadline_us))
        loop_timer_start(c->group->loop, &c->timer, call->deadline_us, on_deadline, c);
}

void conn_submit(struct conn *c, struct redis_call *call)
{
    assert(c->state == CONN_READY && c->ctx);
    submit(c, call);
}

static void on_subscription(redisAsyncContext *ctx, void *reply, void *privdata)
{
    (void)privdata;
    struct conn *c = ctx->ev.data;
    if (!reply) return;
    struct redis_reply view = reply_view(reply);
    c->on_message(c->on_message_arg, &view);
}

void conn_subscribe(struct conn *c, const char *channel,
                    void (*fn)(void *arg, const struct redis_reply *message), void *arg)
{
    assert(c->state == CONN_READY && c->ctx);
    c->on_message = fn;
    c->on_message_arg = arg;
    redisAsyncCommand(c->ctx, on_subscription, NULL, "SUBSCRIBE %s", channel);
}

/* --- greeting --- */

static void greeting_call(struct conn *c, unsigned count, void (*done)(struct redis_call *call))
{
    c->greeting =
        (struct redis_call){.commands = c->greeting_commands, .count = count, .done = done, .arg = c};
    c->greeting.start_us = loop_now_us(c->group->loop);
    c->greeting.deadline_us = INT64_MAX; /* the greeting as a whole has the connection's timer */
    submit(c, &c->greeting);
}

static void greeted(struct conn *c)
{
    c->state = CONN_READY;
    loop_timer_stop(&c->timer);
    metrics_count(c->options.cell, METRIC_REDIS_CONNECTS, 0, 0, 1);
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
    bool answered = call->outcome == REDIS_CALL_OK ||
                    (call->outcome == REDIS_CALL_REFUSED && strncmp(call->error, "ERR", 3) == 0);
    if (!answered) {
        greeting_failed(c, call);
        return;
    }
    redis_node_absolve(c->options.node, c->kills, call->count);
    greet_kill(c);
}

static void greet_kill(struct conn *c)
{
    size_t n = redis_node_condemned(c->options.node, c->run_id, c->kills);
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

static void on_greeted(struct redis_call *call)
{
    struct conn *c = call->arg;
    if (greeting_failed(c, call)) return;
    c->client_id = call->replies[call->count - 2].integer;
    read_run_id(c, call->replies[call->count - 1].text);
    greet_kill(c);
}

static void greet(struct conn *c)
{
    const struct redis_url *url = redis_node_options(c->options.node)->url;
    unsigned n = 0;
    if (!redis_node_password(c->options.node, c->password, sizeof c->password)) c->password[0] = 0;
    struct redis_command *commands = c->greeting_commands;
    if (c->password[0]) {
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
    commands[n++] = (struct redis_command){
        .argc = 2, .argv = {SLICE_LITERAL("INFO"), SLICE_LITERAL("server")}, .types = REDIS_TYPE_STRING};
    c->state = CONN_GREETING;
    greeting_call(c, n, on_greeted);
}

/* --- connecting --- */

static void on_connect(const redisAsyncContext *ctx, int status)
{
    struct conn *c = ctx->ev.data;
    if (status != REDIS_OK) {
        snprintf(c->why, sizeof c->why, "connect: %.80s", ctx->c.errstr[0] ? ctx->c.errstr : "failed");
        return; /* hiredis frees the context; ev_cleanup follows */
    }
    greet(c);
}

static void set_socket_options(int fd)
{
    int on = 1, idle = KEEPALIVE_S;
    unsigned timeout_ms = KEEPALIVE_S * 2000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

static void start(struct conn *c, redisAsyncContext *ctx)
{
    c->state = CONN_CONNECTING;
    if (!ctx || ctx->err) {
        snprintf(c->why, sizeof c->why, "connect: %.80s", ctx && ctx->errstr ? ctx->errstr : "out of memory");
        if (ctx) redisAsyncFree(ctx);
        settle(c);
        return;
    }
    c->ctx = ctx;
    ctx->ev.data = c;
    ctx->ev.addRead = ev_nothing;
    ctx->ev.delRead = ev_nothing;
    ctx->ev.addWrite = ev_add_write;
    ctx->ev.delWrite = ev_nothing;
    ctx->ev.cleanup = ev_cleanup;
    if (redis_node_options(c->options.node)->url->kind == REDIS_TCP) set_socket_options(ctx->c.fd);
    c->io = loop_io_create(c->group->loop, ctx->c.fd, LOOP_READ | LOOP_WRITE, on_io, c);
    redisAsyncSetConnectCallback(ctx, on_connect);
    if (!c->io) conn_abandon(c, "no memory to watch the socket");
}

static void on_resolved(void *arg, int error, const struct sockaddr *address, socklen_t len)
{
    struct conn *c = arg;
    char ip[64] = "";
    if (!error) error = getnameinfo(address, len, ip, sizeof ip, NULL, 0, NI_NUMERICHOST);
    loop_resolve_cancel(&c->resolve);
    if (error) {
        conn_abandon(c, "the host name does not resolve");
        return;
    }
    start(c, redisAsyncConnect(ip, redis_node_options(c->options.node)->url->port));
}

static void arm_greeting(struct conn *c)
{
    int64_t due_us =
        loop_now_us(c->group->loop) + redis_node_options(c->options.node)->connect_timeout_ms * 1000;
    loop_timer_start(c->group->loop, &c->timer, due_us, on_deadline, c);
}

static void start_unix(void *arg)
{
    struct conn *c = arg;
    arm_greeting(c);
    start(c, redisAsyncConnectUnix(redis_node_options(c->options.node)->url->path));
}

struct conn *conn_open(const struct conn_options *options)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->options = *options;
    c->group = options->group;
    c->calls_tail = &c->calls;
    c->failed_tail = &c->failed;
    c->generation = breaker_generation(redis_node_breaker(options->node));
    const struct redis_url *url = redis_node_options(options->node)->url;
    struct loop *loop = c->group->loop;
    if (url->kind == REDIS_UNIX) {
        /* On the timer, because a refused connect is known at once and `closed` must not come from inside. */
        loop_timer_start(loop, &c->timer, loop_now_us(loop), start_unix, c);
        return c;
    }
    c->turn = redis_node_turn(options->node);
    c->resolve = loop_resolve(loop, url->host, url->port, c->turn, on_resolved, c);
    if (!c->resolve) {
        free(c);
        return NULL;
    }
    arm_greeting(c);
    return c;
}

bool conn_ready(const struct conn *c)
{
    return c->state == CONN_READY && !c->doomed && c->ctx;
}

unsigned conn_inflight(const struct conn *c)
{
    return c->inflight;
}

int64_t conn_client_id(const struct conn *c)
{
    return c->client_id;
}
