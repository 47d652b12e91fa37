/* conn_reply: what replies mean for the calls in flight, in the order of sending. */
#include "conn_private.h"

#include "cluster_map.h"
#include "denial.h"
#include "engine/redis/errors.h"
#include "topology_private.h"

#include <hiredis/sds.h>
#include <stdio.h>
#include <string.h>

size_t conn_unsent(const redisAsyncContext *ctx)
{
    return ctx->c.obuf ? sdslen(ctx->c.obuf) : 0;
}

void conn_record(struct conn *c, const struct redis_call *call)
{
    struct redis_node *node = c->options.node;
    const struct redis_node_options *options = redis_node_options(node);
    int64_t took_us = loop_now_us(c->group->loop) - call->start_us;
    enum breaker_outcome outcome = BREAKER_SUCCESS;
    if (call->outcome == REDIS_CALL_UNAVAILABLE || call->outcome == REDIS_CALL_IN_DOUBT)
        outcome = BREAKER_FAILURE;
    else if (took_us > options->command_timeout_ms * 1000 / 2)
        outcome = BREAKER_SLOW;
    breaker_record(redis_node_breaker(node), call->generation, outcome);
    metrics_count(c->options.cell, METRIC_REDIS_CALLS, options->role, call->outcome, 1);
    metrics_observe_us(c->options.cell, METRIC_REDIS_SECONDS, options->role, took_us);
}

void conn_unlink(struct conn *c, struct redis_call *call)
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

static const struct {
    int hiredis;
    enum redis_type type;
} TYPES[] = {{REDIS_REPLY_NIL, REDIS_TYPE_NIL},
             {REDIS_REPLY_STRING, REDIS_TYPE_STRING},
             {REDIS_REPLY_INTEGER, REDIS_TYPE_INTEGER},
             {REDIS_REPLY_STATUS, REDIS_TYPE_STATUS},
             {REDIS_REPLY_ARRAY, REDIS_TYPE_ARRAY}};

struct redis_reply conn_reply_view(const redisReply *r)
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
    *out = conn_reply_view(r->element[i]);
    return true;
}

/* Of a command that it does not know Redis repeats the arguments: a password, or a part of a value. What this
 * leaves is in log lines and problems. */
static struct slice without_arguments(struct slice text)
{
    static const char marker[] = ", with args beginning with:";
    const char *at = text.len ? memmem(text.ptr, text.len, marker, sizeof marker - 1) : NULL;
    return at ? (struct slice){text.ptr, (size_t)(at - text.ptr)} : text;
}

/* Callers may ask for the same as often as they like. */
void conn_log_refusal(struct conn *c, const char *error)
{
    bool denied = strncmp(error, "NOPERM", 6) == 0;
    if (!redis_node_note_refusal(c->options.node, error)) return;
    LOG(c->options.log, LOG_WARN,
        denied ? "Redis does not permit us something; see config/redis/users.acl"
               : "Redis refuses calls; it is there, and changed nothing",
        LOG_S("redis", redis_node_name(c->options.node)), LOG_S("why", error));
}

/* The map learns of a MOVED at once: calls that follow need not be told. */
static void take_redirection(const struct conn *c, struct redis_call *call, enum redis_error class,
                             struct slice text)
{
    struct redis_topology *t = redis_node_options(c->options.node)->topology;
    struct redis_address to;
    unsigned slot;
    if (class != REDIS_ERROR_MOVED && class != REDIS_ERROR_ASK && class != REDIS_ERROR_TRYAGAIN) return;
    if (!t || redis_topology_options(t)->url->kind != REDIS_CLUSTER) return;
    call->redirected = true;
    call->redirection = class == REDIS_ERROR_MOVED ? REDIS_REDIRECTION_MOVED
                        : class == REDIS_ERROR_ASK ? REDIS_REDIRECTION_ASK
                                                   : REDIS_REDIRECTION_TRYAGAIN;
    bool told = class != REDIS_ERROR_TRYAGAIN && cluster_redirection(text, c->at.host, &slot, &to);
    call->to = !told                        ? NULL
               : class == REDIS_ERROR_MOVED ? topology_slot_moved(t, slot, &to)
                                            : topology_guest_at(t, &to);
}

static void take_error(struct conn *c, struct redis_call *call, struct slice text)
{
    static const enum redis_outcome OUTCOME[] = {
        [REDIS_ERROR_RESEND] = REDIS_CALL_REFUSED,       [REDIS_ERROR_MISPLACED] = REDIS_CALL_REFUSED,
        [REDIS_ERROR_MOVED] = REDIS_CALL_REFUSED,        [REDIS_ERROR_ASK] = REDIS_CALL_REFUSED,
        [REDIS_ERROR_TRYAGAIN] = REDIS_CALL_UNAVAILABLE, [REDIS_ERROR_UNAVAILABLE] = REDIS_CALL_UNAVAILABLE,
        [REDIS_ERROR_REFUSED] = REDIS_CALL_REFUSED,      [REDIS_ERROR_FOREIGN] = REDIS_CALL_FOREIGN};
    enum redis_error class = redis_error_class(text);
    enum redis_outcome outcome = OUTCOME[class];
    if (c->options.events.misplaced) take_redirection(c, call, class, text);
    char error[sizeof call->error];
    text = without_arguments(text);
    snprintf(error, sizeof error, "%.*s", (int)(text.len < 95 ? text.len : 95), text.ptr ? text.ptr : "");
    if (redis_denial(text, call->commands[call->received].script, error, sizeof error))
        conn_log_refusal(c, error);
    /* Redis may close right behind it (maxclients), before the rest of the greeting is answered. */
    if (c->state == CONN_GREETING && outcome == REDIS_CALL_UNAVAILABLE)
        snprintf(c->why, sizeof c->why, "%s", error);
    if (strncmp(error, "WRONGPASS", 9) == 0 || strncmp(error, "NOAUTH", 6) == 0)
        redis_secret_note_refused(redis_node_options(c->options.node)->secret);
    /* The first of the worst: after a WRONGPASS all others say NOAUTH. */
    if (outcome > call->worst || !call->error[0]) memcpy(call->error, error, sizeof error);
    if (outcome > call->worst) call->worst = outcome;
}

static void take_reply(struct conn *c, struct redis_call *call, const redisReply *r)
{
    struct redis_reply *out = &call->replies[call->received];
    *out = conn_reply_view(r);

    if (r->type == REDIS_REPLY_ERROR)
        take_error(c, call, out->text);
    else if (!(out->type & call->commands[call->received].types))
        c->doomed = true;
}

static bool is_noscript(const struct redis_call *call)
{
    return call->worst == REDIS_CALL_REFUSED && !call->with_source && call->count == 1 &&
           call->commands[0].script && redis_error_class(slice_of(call->error)) == REDIS_ERROR_RESEND;
}

/* Not executed, and another server is to be asked. */
static bool is_taken_back(const struct conn *c, struct redis_call *call)
{
    return call != &c->greeting && c->options.events.misplaced &&
           c->options.events.misplaced(c->options.events.arg, call);
}

void conn_leave(struct conn *c)
{
    if (!c->why[0]) snprintf(c->why, sizeof c->why, "the node has moved");
    c->doomed = true;
}

static void fail(struct conn *c, const redisAsyncContext *ctx, struct redis_call *call, bool answered)
{
    bool sent = call->begin < c->offered || call->begin < c->appended - conn_unsent(ctx);
    call->received = call->count;
    call->outcome = sent ? REDIS_CALL_IN_DOUBT : REDIS_CALL_UNAVAILABLE;
    if (answered && !c->why[0]) snprintf(c->why, sizeof c->why, "unexpected reply");
    snprintf(call->error, sizeof call->error, "%.*s", (int)sizeof call->error - 1,
             c->why[0] ? c->why : "connection lost");
    conn_unlink(c, call);
    if (!sent && conn_stale(c) && is_taken_back(c, call)) return;
    call->next = NULL;
    *c->failed_tail = call;
    c->failed_tail = &call->next;
}

void conn_on_reply(redisAsyncContext *ctx, void *reply, void *privdata)
{
    struct redis_call *call = privdata;
    struct conn *c = ctx->ev.data;
    if (call->received == call->count) return; /* failed already, by an earlier command of its own */
    /* What a server has done that is no longer the one need not last; only that it refused is certain. */
    if (reply && conn_stale(c) && ((const redisReply *)reply)->type != REDIS_REPLY_ERROR) conn_leave(c);
    if (reply && !c->doomed) take_reply(c, call, reply);
    /* Out of step: this very answer may be another request's. */
    if (!reply || c->doomed) {
        fail(c, ctx, call, reply != NULL);
        return;
    }
    if (++call->received < call->count) return;
    conn_unlink(c, call);
    if (is_noscript(call)) {
        conn_send(c, call); /* with its source this time */
        return;
    }
    if (call->worst != REDIS_CALL_OK &&
        (call->redirected || redis_error_class(slice_of(call->error)) == REDIS_ERROR_MISPLACED) &&
        is_taken_back(c, call))
        return;
    call->outcome = call->worst;
    if (call != &c->greeting) {
        if (call->outcome == REDIS_CALL_REFUSED) conn_log_refusal(c, call->error);
        conn_record(c, call);
    }
    call->done(call);
}

/* --- guard ---
 *
 * hiredis asserts that each reply has a command waiting for it, and that what is pushed to a subscriber has
 * its shape. The reader's constructors are the one place before that where another can be refused: a NULL
 * from one makes a reader error, which ends the connection. */

enum { PUSH_ELEMENTS = 3, PUSH_WORDS = 2 };

static bool is_surplus(const redisReadTask *task)
{
    struct conn *c = task->privdata;
    if (task->parent || c->on_message) return false;
    if (c->awaited == 0) return true;
    c->awaited--;
    return false;
}

/* What it is, and the channel. */
static bool is_push_word(const redisReadTask *task)
{
    const struct conn *c = task->privdata;
    return c->on_message && task->parent && !task->parent->parent && task->idx < PUSH_WORDS;
}

static bool is_misshapen_word(const redisReadTask *task, struct slice text)
{
    if (!is_push_word(task)) return false;
    return task->type != REDIS_REPLY_STRING ||
           (task->idx == 0 && !slice_equal_text(text, "subscribe") && !slice_equal_text(text, "message"));
}

static const redisReplyObjectFunctions *plain(const redisReadTask *task)
{
    return ((const struct conn *)task->privdata)->plain;
}

static void *guard_string(const redisReadTask *task, char *text, size_t len)
{
    if (is_surplus(task) || is_misshapen_word(task, (struct slice){text, len})) return NULL;
    return plain(task)->createString(task, text, len);
}

#if HIREDIS_MAJOR >= 1
static void *guard_array(const redisReadTask *task, size_t len)
#else
static void *guard_array(const redisReadTask *task, int len)
#endif
{
    const struct conn *c = task->privdata;
    bool push = c->on_message && !task->parent;
    if (is_surplus(task) || is_push_word(task) || (push && len != PUSH_ELEMENTS)) return NULL;
    return task->type == REDIS_REPLY_ARRAY ? plain(task)->createArray(task, len) : NULL;
}

static void *guard_integer(const redisReadTask *task, long long value)
{
    return is_surplus(task) || is_push_word(task) ? NULL : plain(task)->createInteger(task, value);
}

static void *guard_nil(const redisReadTask *task)
{
    return is_surplus(task) || is_push_word(task) ? NULL : plain(task)->createNil(task);
}

#if HIREDIS_MAJOR >= 1
/* RESP3, which nobody asked for. */
static void *refuse_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)task;
    (void)value;
    (void)text;
    (void)len;
    return NULL;
}

static void *refuse_bool(const redisReadTask *task, int value)
{
    (void)task;
    (void)value;
    return NULL;
}
#endif

void conn_guard_reader(struct conn *c)
{
    redisReader *reader = c->ctx->c.reader;
    c->plain = reader->fn;
    c->guarded = *reader->fn;
    c->guarded.createString = guard_string;
    c->guarded.createArray = guard_array;
    c->guarded.createInteger = guard_integer;
    c->guarded.createNil = guard_nil;
#if HIREDIS_MAJOR >= 1
    c->guarded.createDouble = refuse_double;
    c->guarded.createBool = refuse_bool;
#endif
    reader->fn = &c->guarded;
    reader->privdata = c;
}
