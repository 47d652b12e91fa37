/* exchange: what handlers see of a request, and their ways to answer. */
#include "http/server_internal.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

const struct http_request *exchange_request(const struct exchange *x)
{
    return &x->request;
}

int64_t exchange_deadline_us(const struct exchange *x)
{
    /* The margin is for what comes after the handler's answer: the turn's end, resuming, sending. */
    int64_t deadline_us = x->server->options.shared->limits.deadline_ms * 1000;
    int64_t margin_us = deadline_us / 10 < 10000 ? 10000 : deadline_us / 10;
    return x->begun_us + deadline_us - margin_us;
}

struct trace exchange_trace(const struct exchange *x)
{
    struct trace trace;
    (void)trace_read(x->request.header[HTTP_HEADER_TRACEPARENT], &trace);
    return trace;
}

void exchange_attach(struct exchange *x, void *state, void (*release)(void *state))
{
    assert(!x->state_release);
    x->state = state;
    x->state_release = release;
}

bool exchange_gone(const struct exchange *x)
{
    char byte;
    ssize_t n = recv(x->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void exchange_on_sent(struct exchange *x, void (*fn)(void *arg, bool sent), void *arg)
{
    assert(!x->sent);
    x->sent = fn;
    x->sent_arg = arg;
}

bool exchange_hold(struct exchange *x, size_t bytes)
{
    if (!server_inflight_take(x->server, bytes)) {
        server_bound_hit(x->server, HTTP_BOUND_INFLIGHT_BYTES);
        return false;
    }
    x->held += bytes;
    return true;
}

void exchange_reply(struct exchange *x, int http_status, const char *content_type,
                    const struct http_body *body, const struct http_field *fields, size_t field_count)
{
    assert(field_count <= HTTP_FIELDS_MAX);
    struct answer a = {.http_status = http_status,
                       .content_type = content_type,
                       .fields = fields,
                       .field_count = field_count};
    if (body) a.body = *body;
    server_answer(x, &a);
}

void exchange_problem(struct exchange *x, enum status status, const char *detail, int64_t retry_after_ms,
                      const struct http_field *fields, size_t field_count)
{
    if (x->server->dispatching == x) x->server->keep.tag = NULL;
    server_problem(x, status, detail, retry_after_ms, fields, field_count);
}

static bool may_keep(const struct exchange *x)
{
    /* Only within the handler's call: until a later answer is queued its slot could be given to another. */
    return x->server->dispatching == x && !x->server->draining &&
           x->request.header[HTTP_HEADER_REQUEST_ID].ptr == NULL;
}

bool exchange_reply_kept(struct exchange *x, const void *tag, unsigned variant)
{
    if (!may_keep(x)) return false;
    const struct kept_slot *slot = server_kept_find(x->server, tag, variant, x->begun_us);
    if (!slot) return false;
    x->response = slot->response;
    x->response_borrowed = true;
    x->http_status = slot->http_status;
    x->response_bytes = slot->bytes;
    exchange_move(x, PHASE_ANSWERED);
    return true;
}

void exchange_keep(struct exchange *x, const void *tag, unsigned variant, int64_t until_us)
{
    if (!may_keep(x)) return;
    x->server->keep.tag = tag;
    x->server->keep.variant = variant;
    x->server->keep.until_us = until_us;
}
