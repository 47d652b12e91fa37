/* locks: /locks. Each request is an operation attached to its exchange; the rules are in domain/lock, the
 * attempts in state/lock. */
#include "common.h"

#include "domain/lock.h"
#include "http/routes.h"
#include "state/lock.h"
#include "util/rfc3339.h"

#include <stdio.h>
#include <stdlib.h>

enum { RETRY_AFTER_MS = 1000 };

struct lock_request_op {
    struct lock_op op;
    struct exchange *x;
    struct house *house;
};

/* A grant whose answer may not arrive. */
struct told {
    struct lock_port *port;
    size_t name_len;
    char token[LOCK_TOKEN_SIZE];
    char name[];
};

static const char *backend_of(const struct lock_op *op)
{
    return op->local ? "local" : "redis";
}

static bool is_gone(void *arg)
{
    const struct lock_request_op *r = arg;
    return exchange_gone(r->x);
}

static void on_sent(void *arg, bool sent)
{
    struct told *told = arg;
    if (!sent) lock_abandon(told->port, (struct slice){told->name, told->name_len}, slice_of(told->token));
    free(told);
}

/* Without an idempotency key nobody can come back for a grant that was not told. */
static void watch_sending(struct lock_request_op *r)
{
    struct slice name = exchange_request(r->x)->id;
    if (r->op.idempotency_key.len > 0) return;
    struct told *told = malloc(sizeof *told + name.len);
    if (!told) return; /* the lock then ends with its time */
    told->port = r->house->lock;
    told->name_len = name.len;
    memcpy(told->token, r->op.new_token, sizeof told->token);
    memcpy(told->name, name.ptr, name.len);
    exchange_on_sent(r->x, on_sent, told);
}

static void answer(struct lock_request_op *r, int http_status, const char *text, size_t len)
{
    const struct http_field backend = {"Phoenix-Backend", backend_of(&r->op)};
    const struct http_body body = {.bytes = {text, len}};
    exchange_reply(r->x, http_status, len ? "application/json" : NULL, len ? &body : NULL, &backend, 1);
}

static void answer_grant(struct lock_request_op *r)
{
    const struct lock_op *op = &r->op;
    char text[256], expires[RFC3339_SIZE], token[LOCK_TOKEN_SIZE + 16] = "";
    bool acquired = op->verb == LOCK_ACQUIRE;
    rfc3339_format(op->expires_ms, expires);
    if (acquired) snprintf(token, sizeof token, "\"token\":\"%s\",", op->new_token);
    int len = snprintf(text, sizeof text, "{%s\"fence\":%lld,\"expires_at\":\"%s\",\"valid_for_ms\":%lld}",
                       token, (long long)op->fence, expires, (long long)op->valid_ms);
    if (acquired) watch_sending(r);
    answer(r, acquired ? 201 : 200, text, (size_t)len);
}

/* A stranger's lock has no fence, and perhaps no end. */
static void answer_holder(struct lock_request_op *r)
{
    struct buf text = {0};
    buf_append_text(&text, "{\"owner\":");
    json_append_string(&text, r->op.owner_now);
    if (r->op.fence > 0)
        buf_printf(&text, ",\"fence\":%lld", (long long)r->op.fence);
    else
        buf_append_text(&text, ",\"fence\":null");
    if (r->op.valid_ms >= 0)
        buf_printf(&text, ",\"ttl_left_ms\":%lld}", (long long)r->op.valid_ms);
    else
        buf_append_text(&text, ",\"ttl_left_ms\":null}");
    if (text.failed)
        exchange_problem(r->x, STATUS_OVERLOADED, "out of memory", RETRY_AFTER_MS, NULL, 0);
    else
        answer(r, 200, text.ptr, text.len);
    buf_deinit(&text);
}

static void on_done(struct lock_op *op)
{
    struct lock_request_op *r = op->arg;
    if (op->status == STATUS_OK) {
        if (op->verb == LOCK_RELEASE)
            answer(r, op->journaled ? 202 : 204, NULL, 0);
        else if (op->verb == LOCK_GET)
            answer_holder(r);
        else
            answer_grant(r);
        return;
    }
    int64_t retry_after_ms = -1;
    if (status_http(op->status) == 503) retry_after_ms = RETRY_AFTER_MS;
    if (op->status == STATUS_LOCK_NOT_ACQUIRED) retry_after_ms = op->retry_after_ms;
    if (op->waiters_full) metrics_count(r->house->cell, METRIC_BOUND_HIT, HTTP_BOUND_WAITERS, 0, 1);
    exchange_problem(r->x, op->status, op->detail, retry_after_ms, NULL, 0);
}

/* Takes over what `op` says; its slices must live until this returns. */
static void start(struct house *house, struct exchange *x, const struct lock_op *op)
{
    struct lock_request_op *r = malloc(sizeof *r);
    if (!r) {
        exchange_problem(x, STATUS_OVERLOADED, "out of memory", RETRY_AFTER_MS, NULL, 0);
        return;
    }
    *r = (struct lock_request_op){.op = *op, .x = x, .house = house};
    r->op.name = exchange_request(x)->id;
    r->op.deadline_us = exchange_deadline_us(x) + op->wait_ms * 1000;
    r->op.trace = exchange_trace(x);
    r->op.gone = is_gone;
    r->op.done = on_done;
    r->op.arg = r;
    exchange_attach(x, r, free);
    lock_start(house->lock, &r->op);
}

static void acquire(struct house *house, struct exchange *x)
{
    const struct http_request *request = exchange_request(x);
    struct slice idem = request->header[HTTP_HEADER_IDEMPOTENCY_KEY];
    struct lock_acquire_request wanted;
    struct json_error error = {""};
    char made[UUID_SIZE];
    struct buf owner = {0};
    enum status status =
        lock_acquire_read(request->body, house->shared->lock_ttl_max_ms, &wanted, &owner, &error);
    if (status != STATUS_OK) {
        handler_problem(x, status, error.detail);
    } else if (idem.ptr && !lock_idempotency_key_ok(idem)) {
        handler_problem(x, STATUS_INVALID_ARGUMENT,
                        "Idempotency-Key must be 1 to 256 visible ASCII characters");
    } else if (idem.ptr && !wanted.has_owner) {
        handler_problem(x, STATUS_INVALID_ARGUMENT, "Idempotency-Key needs an owner");
    } else {
        uuid_v7(clock_wall_ms(house->shared->clock), made);
        start(house, x,
              &(struct lock_op){.verb = LOCK_ACQUIRE,
                                .owner = wanted.has_owner ? buf_slice(&owner) : slice_of(made),
                                .idempotency_key = idem,
                                .ttl_ms = wanted.ttl_ms,
                                .wait_ms = wanted.wait_ms});
    }
    buf_deinit(&owner);
}

static void renew(struct house *house, struct exchange *x)
{
    struct lock_renew_request wanted;
    struct json_error error = {""};
    enum status status =
        lock_renew_read(exchange_request(x)->body, house->shared->lock_ttl_max_ms, &wanted, &error);
    if (status == STATUS_OK)
        start(house, x,
              &(struct lock_op){.verb = LOCK_RENEW, .token = wanted.token, .ttl_ms = wanted.ttl_ms});
    else
        handler_problem(x, status, error.detail);
}

static void release(struct house *house, struct exchange *x)
{
    struct slice token = exchange_request(x)->header[HTTP_HEADER_LOCK_TOKEN];
    if (!token.ptr)
        handler_problem(x, STATUS_INVALID_ARGUMENT, "the header Phoenix-Lock-Token is missing");
    else if (!lock_token_ok(token))
        handler_problem(x, STATUS_INVALID_ARGUMENT, "Phoenix-Lock-Token is no lock token");
    else
        start(house, x, &(struct lock_op){.verb = LOCK_RELEASE, .token = token});
}

void handle_lock(void *arg, struct exchange *x)
{
    struct house *house = arg;
    if (!handler_no_query(x)) return;
    switch (exchange_request(x)->method) {
    case HTTP_POST:
        acquire(house, x);
        return;
    case HTTP_PUT:
        renew(house, x);
        return;
    case HTTP_DELETE:
        release(house, x);
        return;
    default:
        start(house, x, &(struct lock_op){.verb = LOCK_GET});
    }
}
