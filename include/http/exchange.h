/* exchange: one request and its one answer. Made by the server when the headers are in, dispatched when the
 * body is, answered by exactly one call of exchange_reply, exchange_problem or exchange_reply_kept: at once,
 * or later from the same loop (the connection is suspended meanwhile and the exchange stays valid until
 * answered; it is gone afterwards). Whoever holds one must answer by its deadline; the calls to Redis that
 * they make are bounded by it. Loop thread only. */
#ifndef PHOENIX_HTTP_EXCHANGE_H
#define PHOENIX_HTTP_EXCHANGE_H

#include "util/slice.h"
#include "util/status.h"
#include "util/trace.h"

#include <stdint.h>

struct exchange;

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_DELETE = 16,
    HTTP_PATCH = 32,
    HTTP_OTHER = 64
};

/* Request headers that anyone reads. X(enumerator, name) */
#define HTTP_HEADERS(X)                                                                                      \
    X(HOST, "Host")                                                                                          \
    X(CONTENT_LENGTH, "Content-Length")                                                                      \
    X(TRANSFER_ENCODING, "Transfer-Encoding")                                                                \
    X(CONTENT_TYPE, "Content-Type")                                                                          \
    X(AUTHORIZATION, "Authorization")                                                                        \
    X(ORIGIN, "Origin")                                                                                      \
    X(REQUEST_ID, "X-Request-Id")                                                                            \
    X(TRACEPARENT, "traceparent")                                                                            \
    X(IF_MATCH, "If-Match")                                                                                  \
    X(IF_NONE_MATCH, "If-None-Match")                                                                        \
    X(CACHE_CONTROL, "Cache-Control")                                                                        \
    X(IDEMPOTENCY_KEY, "Idempotency-Key")                                                                    \
    X(LOCK_TOKEN, "Phoenix-Lock-Token")                                                                      \
    X(EXPECT, "Expect")

enum http_header {
#define X(id, name) HTTP_HEADER_##id,
    HTTP_HEADERS(X)
#undef X
        HTTP_HEADER_COUNT
};

/* A view that lives as long as the exchange. */
struct http_request {
    enum http_method method;
    unsigned route;     /* index into routes.def */
    struct slice id;    /* the decoded path parameter; ptr NULL where the route has none */
    struct slice query; /* raw, without the '?' */
    struct slice body;  /* len 0 where there is none */
    struct slice header[HTTP_HEADER_COUNT]; /* ptr NULL: absent. A list header given twice: the first one */
};

const struct http_request *exchange_request(const struct exchange *x);
/* By when the answer must have been given (loop_now_us's clock). Leaves the server a margin below
 * http.deadline_ms. */
int64_t exchange_deadline_us(const struct exchange *x);
/* What the handler needs for as long as its operation runs; `release` (may be NULL) is called once, some time
 * after the answer was given and never from within the call that gives it. */
void exchange_attach(struct exchange *x, void *state, void (*release)(void *state));

/* Which trace the request belongs to, for log lines that belong to it. Reads the header anew each time. */
struct trace exchange_trace(const struct exchange *x);

/* Whether the client has closed its end, or the connection broke: then an answer will hardly arrive. One
 * system call. */
bool exchange_gone(const struct exchange *x);
/* Calls fn once when the answer is through: sent, all its bytes are the kernel's; or not, it has not left
 * whole. To be called before the answer is given, at most once per exchange. */
void exchange_on_sent(struct exchange *x, void (*fn)(void *arg, bool sent), void *arg);

/* Counts (more) working memory of the handler's against http.inflight_bytes_max until the exchange ends.
 * False: over the bound, and no more is counted. */
bool exchange_hold(struct exchange *x, size_t bytes);

/* An answer's body: borrowed bytes with a release that is called once nothing references them (never before),
 * or none. */
struct http_body {
    struct slice bytes;
    void (*release)(void *arg); /* NULL: the bytes are copied at once */
    void *arg;
    bool owed; /* tells of what has happened: counted as in flight, but sent whatever the bound says */
};

struct http_field {
    const char *name;
    const char *value; /* copied; no CR, LF */
};

enum { HTTP_FIELDS_MAX = 10 };

/* Answers. `content_type` NULL: no body type. Adds what every answer carries (X-Request-Id echoed,
 * `Cache-Control: no-store` unless a field of that name is given, Date). For HEAD the body is measured, not
 * sent. */
void exchange_reply(struct exchange *x, int http_status, const char *content_type,
                    const struct http_body *body, const struct http_field *fields, size_t field_count);

/* Answers application/problem+json from the table in status.def: type "about:blank", title, status, code,
 * detail, instance (the request's path), request_id. `retry_after_ms` >= 0 adds Retry-After (rounded up) and
 * the member. Extra fields as above. */
void exchange_problem(struct exchange *x, enum status status, const char *detail, int64_t retry_after_ms,
                      const struct http_field *fields, size_t field_count);

/* Kept answers: a hot key's MHD response, kept per worker while `tag` (an address that the body's release
 * keeps alive) and `variant` match and until `until_us`. exchange_reply_kept answers with it and returns
 * true, or returns false; it answers only within the handler's own call. exchange_keep, called right before
 * exchange_reply, asks for that reply to be kept (bodies of at most HTTP_KEEP_BYTES_MAX). Neither does
 * anything outside of the handler's own call, when the request carries X-Request-Id, or while the server
 * drains. */
enum { HTTP_KEEP_BYTES_MAX = 16 * 1024 };
bool exchange_reply_kept(struct exchange *x, const void *tag, unsigned variant);
void exchange_keep(struct exchange *x, const void *tag, unsigned variant, int64_t until_us);

#endif
