/* conn: hiredis' async context on our loop. The adapter differs from hiredis' own in one thing: "something to
 * send" puts the connection on its group's list, and the group writes once per turn, so that all commands of
 * a turn leave in one send.
 *
 * Calls in flight are a list in the order of sending; hiredis answers in that order too. When the context
 * ends, each gets a NULL reply: whether its bytes had left is read off the output buffer then. Calls are done
 * only when hiredis is out of its own code (settle), since a caller's reaction may be to open, end or use
 * connections. */
#include "conn_private.h"

#include "denial.h"

#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { KEEPALIVE_S = 15 };

static void settle(struct conn *c);
static void on_deadline(void *arg);
static void begin_tls(struct conn *c);

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
    struct conn *c = arg;
    /* A partial write ends with this call too; the rest waits until the socket is writable (watch), not for
     * the flush that is running, which would never end. */
    if (!c->writing) make_dirty(c);
}

static void ev_nothing(void *arg)
{
    (void)arg; /* reading is always on; writing is watched only while a flush was partial */
}

static void explain_end(struct conn *c)
{
    snprintf(c->why, sizeof c->why, "%s",
             c->ctx && c->ctx->errstr && c->ctx->errstr[0] ? c->ctx->errstr : "closed");
    char denied[sizeof c->why]; /* of a SUBSCRIBE, which has no call */
    if (redis_denial(slice_of(c->why), NULL, denied, sizeof denied)) conn_log_refusal(c, denied);
    if (c->tls) tls_session_explain(c->tls, c->state == CONN_READY, c->why, sizeof c->why);
}

/* hiredis calls this when it is about to free the context, whatever ended it; from 1.0 on before the last
 * callbacks where the connection broke, so that these cannot go by c->ctx. */
static void ev_cleanup(void *arg)
{
    struct conn *c = arg;
    loop_io_destroy(&c->io);
    if (!c->why[0]) explain_end(c);
    tls_session_end(&c->tls);
    c->ctx = NULL;
}

static void watch(struct conn *c)
{
    bool connecting = !(c->ctx->c.flags & REDIS_CONNECTED);
    bool unsent = conn_unsent(c->ctx) && !c->write_awaits_read;
    if (c->io) loop_io_set(c->io, LOOP_READ | (connecting || unsent ? LOOP_WRITE : 0));
}

/* TLS takes all that waits and goes on with that until it is through, whatever has come behind it meanwhile.
 */
static void offer(struct conn *c)
{
    if (c->tls && c->appended - conn_unsent(c->ctx) >= c->offered) c->offered = c->appended;
}

static void write_out(struct conn *c)
{
    c->writing = true;
    offer(c);
    if (c->tls) tls_session_prepare(c->tls);
    redisAsyncHandleWrite(c->ctx);
    c->writing = false;
    c->backlog = c->ctx && conn_unsent(c->ctx);
    c->write_awaits_read = c->backlog && c->tls && tls_session_awaits_read(c->tls);
}

static void read_in(struct conn *c)
{
    do {
        if (c->backlog) offer(c); /* what could not be written goes first */
        if (c->tls) tls_session_prepare(c->tls);
        redisAsyncHandleRead(c->ctx);
    } while (c->ctx && !c->doomed && c->tls && tls_session_pending(c->tls));
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
        if (conn_stale(c)) conn_leave(c); /* what waits here must not reach a master that was demoted */
        if (!c->doomed && (c->ctx->c.flags & REDIS_CONNECTED)) write_out(c);
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
    if (conn_stale(c) && c->backlog) conn_leave(c);
    if ((events & LOOP_WRITE) && !c->doomed) write_out(c);
    if (c->ctx && !c->doomed && (events & LOOP_READ)) read_in(c);
    if (c->ctx && c->tls_due) begin_tls(c);
    if (c->ctx) watch(c);
    c->depth--;
    settle(c);
}

struct conn_group *conn_group_create(struct loop *loop)
{
    struct conn_group *group = calloc(1, sizeof *group);
    if (!group) return NULL;
    group->loop = loop;
    loop_hook_add(loop, &group->hook, flush_dirty, group);
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

/* What Redis (or something between) still holds of this connection may yet run: the next connection kills it
 * first. Before any caller learns that its call failed, so that whoever replays sees a node that is not
 * quiet. */
static void condemn(struct conn *c)
{
    struct redis_call *call = c->failed;
    if (!redis_node_options(c->options.node)->topology) return; /* is only asked (topology_outsider) */
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
        if (call != &c->greeting) conn_record(c, call);
        call->done(call);
    }
}

static void connect_failed(struct conn *c)
{
    struct breaker *breaker = redis_node_breaker(c->options.node);
    metrics_count(c->options.cell, METRIC_REDIS_CONNECTS, redis_node_options(c->options.node)->role, 1, 1);
    if (c->state == CONN_CONNECTING) redis_node_next_turn(c->options.node, c->turn);
    if (redis_node_options(c->options.node)->topology)
        redis_topology_suspect(redis_node_options(c->options.node)->topology);
    if (!c->options.spare) breaker_record(breaker, c->generation, BREAKER_FAILURE);
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
        conn_abandon(c, c->tls && !tls_session_established(c->tls)
                            ? "the TLS handshake timed out (does the server speak TLS on this port?)"
                        : c->state == CONN_GREETING ? "greeting timed out"
                                                    : "connect timed out");
        return;
    }
    int64_t now = loop_now_us(c->group->loop), next = INT64_MAX;
    for (struct redis_call *call = c->calls; call; call = call->next) {
        if (call->deadline_us <= now) {
            metrics_count(c->options.cell, METRIC_REDIS_ABANDONED, redis_node_options(c->options.node)->role,
                          0, 1);
            conn_abandon(c, "a command was not answered in time");
            return;
        }
        if (call->deadline_us < next) next = call->deadline_us;
    }
    if (next != INT64_MAX) loop_timer_start(c->group->loop, &c->timer, next, on_deadline, c);
}

/* --- calls --- */

static void on_asked(redisAsyncContext *ctx, void *reply, void *privdata)
{
    (void)ctx;
    (void)reply; /* what comes of it the command behind it tells */
    (void)privdata;
}

static void ask(struct conn *c)
{
    static const char ASKING[] = "*1\r\n$6\r\nASKING\r\n";
    if (redisAsyncFormattedCommand(c->ctx, on_asked, NULL, ASKING, sizeof ASKING - 1) != REDIS_OK) abort();
    c->appended += sizeof ASKING - 1;
    c->awaited++;
}

void conn_send(struct conn *c, struct redis_call *call)
{
    call->with_source = call->received == call->count; /* only a NOSCRIPT brings an answered call back here */
    call->received = 0;
    call->worst = REDIS_CALL_OK;
    call->error[0] = 0;
    call->redirected = false;
    call->covered = redis_node_covered(c->options.node, c->moves);
    call->next = NULL;
    call->prev = c->calls_tail;
    *c->calls_tail = call;
    c->calls_tail = &call->next;
    c->inflight++;
    call->begin = c->appended;

    struct buf *scratch = &c->group->scratch;
    for (unsigned i = 0; i < call->count; i++) {
        if (call->asking) ask(c);
        buf_clear(scratch);
        resp_append_command(scratch, &call->commands[i], call->with_source);
        if (scratch->failed ||
            redisAsyncFormattedCommand(c->ctx, conn_on_reply, call, scratch->ptr, scratch->len) != REDIS_OK)
            abort(); /* out of memory with a command half queued: nothing truthful can follow */
        c->appended += scratch->len;
        c->awaited++;
    }
    call->bytes = c->appended - call->begin;
    if (scratch->cap > 65536) buf_deinit(scratch);
    if (c->options.queued_bytes)
        atomic_fetch_add_explicit(c->options.queued_bytes, call->bytes, memory_order_relaxed);
    make_dirty(c);
}

void conn_submit_any(struct conn *c, struct redis_call *call)
{
    call->received = 0;
    conn_send(c, call);
    if (c->state == CONN_READY && (!loop_timer_running(&c->timer) || c->timer.due_us > call->deadline_us))
        loop_timer_start(c->group->loop, &c->timer, call->deadline_us, on_deadline, c);
}

void conn_submit(struct conn *c, struct redis_call *call)
{
    assert(c->state == CONN_READY && c->ctx);
    conn_submit_any(c, call);
}

static void on_subscription(redisAsyncContext *ctx, void *reply, void *privdata)
{
    (void)privdata;
    struct conn *c = ctx->ev.data;
    if (!reply) return;
    struct redis_reply view = conn_reply_view(reply);
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

/* --- connecting --- */

static void on_connect(const redisAsyncContext *ctx, int status)
{
    struct conn *c = ctx->ev.data;
    if (status != REDIS_OK) {
        snprintf(c->why, sizeof c->why, "connect: %.80s", ctx->c.errstr[0] ? ctx->c.errstr : "failed");
        return; /* hiredis frees the context; ev_cleanup follows */
    }
    if (redis_node_options(c->options.node)->tls)
        c->tls_due = true;
    else
        conn_greet(c);
}

static void begin_tls(struct conn *c)
{
    char why[sizeof c->why];
    c->tls_due = false;
    if (c->doomed) return;
    c->tls =
        tls_session_begin(redis_node_options(c->options.node)->tls, &c->ctx->c, c->at.host, why, sizeof why);
    if (c->tls)
        conn_greet(c); /* waits in hiredis until both sides have proved who they are */
    else
        conn_abandon(c, why);
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
    conn_guard_reader(c);
    if (redis_node_options(c->options.node)->url->kind != REDIS_UNIX) set_socket_options(ctx->c.fd);
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
    start(c, redisAsyncConnect(ip, c->at.port));
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

static void on_nowhere(void *arg)
{
    conn_abandon(arg, "no sentinel has told where the master is");
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
    c->moves = redis_node_address(options->node, &c->at);
    c->turn = redis_node_turn(options->node);
    if (c->at.port == 0) {
        loop_timer_start(loop, &c->timer, loop_now_us(loop), on_nowhere, c);
        return c;
    }
    c->resolve = loop_resolve(loop, c->at.host, c->at.port, c->turn, on_resolved, c);
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

bool conn_stale(const struct conn *c)
{
    return c->moves != redis_node_moves(c->options.node);
}

unsigned conn_moves(const struct conn *c)
{
    return c->moves;
}

unsigned conn_inflight(const struct conn *c)
{
    return c->inflight;
}

int64_t conn_client_id(const struct conn *c)
{
    return c->client_id;
}
