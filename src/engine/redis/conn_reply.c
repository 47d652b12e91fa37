/* conn_reply: what replies mean for the calls in flight, in the order of sending. */
#include "conn_private.h"

#include "engine/redis/errors.h"

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

static void take_error(struct conn *c, struct redis_call *call, struct slice text)
{
    static const enum redis_outcome OUTCOME[] = {[REDIS_ERROR_RESEND] = REDIS_CALL_REFUSED,
                                                 [REDIS_ERROR_UNAVAILABLE] = REDIS_CALL_UNAVAILABLE,
                                                 [REDIS_ERROR_REFUSED] = REDIS_CALL_REFUSED,
                                                 [REDIS_ERROR_FOREIGN] = REDIS_CALL_FOREIGN};
    enum redis_outcome outcome = OUTCOME[redis_error_class(text)];
    if (outcome > call->worst) call->worst = outcome;
    text = without_arguments(text);
    snprintf(call->error, sizeof call->error, "%.*s", (int)(text.len < 95 ? text.len : 95),
             text.ptr ? text.ptr : "");
    if (strncmp(call->error, "WRONGPASS", 9) == 0 || strncmp(call->error, "NOAUTH", 6) == 0)
        redis_node_note_password_refused(c->options.node);
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

void conn_on_reply(redisAsyncContext *ctx, void *reply, void *privdata)
{
    struct redis_call *call = privdata;
    struct conn *c = ctx->ev.data;
    if (call->received == call->count) return; /* failed already, by an earlier command of its own */
    if (reply && !c->doomed) take_reply(c, call, reply);
    /* Out of step: this very answer may be another request's. */
    if (!reply || c->doomed) {
        call->received = call->count;
        bool sent = call->begin < c->appended - conn_unsent(ctx);
        call->outcome = sent ? REDIS_CALL_IN_DOUBT : REDIS_CALL_UNAVAILABLE;
        snprintf(call->error, sizeof call->error, "%s",
                 c->why[0] ? c->why
                 : reply   ? "unexpected reply"
                           : "connection lost");
        if (reply) snprintf(c->why, sizeof c->why, "unexpected reply");
        conn_unlink(c, call);
        call->next = NULL;
        *c->failed_tail = call;
        c->failed_tail = &call->next;
        return;
    }
    if (++call->received < call->count) return;
    conn_unlink(c, call);
    if (is_noscript(call)) {
        conn_send(c, call); /* with its source this time */
        return;
    }
    call->outcome = call->worst;
    if (call != &c->greeting) conn_record(c, call);
    call->done(call);
}

/* --- guard ---
 *
 * hiredis asserts that each reply has a command waiting for it. The reader's constructors are the one place
 * before that where a surplus reply can be refused: a NULL from one makes a reader error, which ends the
 * connection. */

static bool is_surplus(const redisReadTask *task)
{
    struct conn *c = task->privdata;
    if (task->parent || c->on_message) return false;
    if (c->awaited == 0) return true;
    c->awaited--;
    return false;
}

static const redisReplyObjectFunctions *plain(const redisReadTask *task)
{
    return ((const struct conn *)task->privdata)->plain;
}

static void *guard_string(const redisReadTask *task, char *text, size_t len)
{
    return is_surplus(task) ? NULL : plain(task)->createString(task, text, len);
}

#if HIREDIS_MAJOR >= 1
static void *guard_array(const redisReadTask *task, size_t len)
#else
static void *guard_array(const redisReadTask *task, int len)
#endif
{
    return is_surplus(task) ? NULL : plain(task)->createArray(task, len);
}

static void *guard_integer(const redisReadTask *task, long long value)
{
    return is_surplus(task) ? NULL : plain(task)->createInteger(task, value);
}

static void *guard_nil(const redisReadTask *task)
{
    return is_surplus(task) ? NULL : plain(task)->createNil(task);
}

void conn_guard_reader(struct conn *c)
{
    redisReader *reader = c->ctx->c.reader;
    c->plain = reader->fn;
    c->guarded = *reader->fn;
    c->guarded.createString = guard_string;
    c->guarded.createArray = guard_array;
    c->guarded.createInteger = guard_integer;
    c->guarded.createNil = guard_nil;
    reader->fn = &c->guarded;
    reader->privdata = c;
}
