/* server_answer: an answer as an MHD response. A response costs MHD two allocations and three for each of its
 * headers, so only what is needed is added. The body is not copied: MHD releases it through a held_body when
 * nothing sends it any more, and its bytes count as in flight until then. */
#include "http/server_internal.h"
#include "http/problem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void on_release(void *arg)
{
    struct held_body *held = arg;
    struct server *s = held->server;
    held->release(held->arg);
    if (held->bytes > 0) server_inflight_give(s, held->bytes);
    if (s->held_free_count == HELD_FREE_MAX) {
        free(held);
        return;
    }
    held->next = s->held_free;
    s->held_free = held;
    s->held_free_count++;
}

static struct held_body *hold(struct server *s, const struct answer *a)
{
    struct held_body *held = s->held_free;
    if (held) {
        s->held_free = held->next;
        s->held_free_count--;
    } else if (!(held = malloc(sizeof *held))) {
        return NULL;
    }
    *held = (struct held_body){.server = s,
                               .release = a->body.release,
                               .arg = a->body.arg,
                               .bytes = a->uncounted ? 0 : a->body.bytes.len};
    return held;
}

void server_held_free(struct server *s)
{
    while (s->held_free) {
        struct held_body *held = s->held_free;
        s->held_free = held->next;
        free(held);
    }
}

/* MHD takes no const body; it does not write to it. Takes over the body, also where it returns NULL. */
static struct MHD_Response *make_response(struct server *s, const struct answer *a)
{
    void *bytes = (void *)a->body.bytes.ptr;
    size_t len = a->body.bytes.len;
    if (len == 0 || !a->body.release) {
        struct MHD_Response *r = len == 0
                                     ? MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT)
                                     : MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_COPY);
        if (a->body.release) a->body.release(a->body.arg);
        return r;
    }
    struct held_body *held = hold(s, a);
    if (held) {
        struct MHD_Response *r =
            MHD_create_response_from_buffer_with_free_callback_cls(len, bytes, on_release, held);
        if (r) return r;
        on_release(held);
        return NULL;
    }
    a->body.release(a->body.arg);
    if (!a->uncounted) server_inflight_give(s, len);
    return NULL;
}

/* Made once a second. */
static const char *date_now(struct server *s)
{
    time_t now = (time_t)(clock_wall_ms(loop_clock(s->options.loop)) / 1000);
    struct tm utc;
    if ((int64_t)now != s->date_at && gmtime_r(&now, &utc)) {
        (void)strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
        s->date_at = (int64_t)now;
    }
    return s->date;
}

static bool add_headers(const struct exchange *x, struct MHD_Response *r, const struct answer *a)
{
    struct slice id = x->request.header[HTTP_HEADER_REQUEST_ID];
    bool has_control = false, good = MHD_add_response_header(r, "Date", date_now(x->server)) == MHD_YES;
    if (a->content_type) good &= MHD_add_response_header(r, "Content-Type", a->content_type) == MHD_YES;
    for (size_t i = 0; i < a->field_count; i++) {
        const struct http_field *f = &a->fields[i];
        has_control |= strcmp(f->name, "Cache-Control") == 0;
        good &= MHD_add_response_header(r, f->name, f->value) == MHD_YES;
    }
    if (!has_control) good &= MHD_add_response_header(r, "Cache-Control", "no-store") == MHD_YES;
    if (id.ptr) {
        char text[160];
        (void)snprintf(text, sizeof text, "%.*s", (int)id.len, id.ptr);
        good &= MHD_add_response_header(r, "X-Request-Id", text) == MHD_YES;
    }
    if (x->server->draining) good &= MHD_add_response_header(r, "Connection", "close") == MHD_YES;
    return good;
}

void server_answer(struct exchange *x, const struct answer *a)
{
    struct server *s = x->server;
    size_t len = a->body.bytes.len;
    bool counted = len > 0 && a->body.release && !a->uncounted;
    if (counted && a->body.owed) {
        server_inflight_force(s, len);
    } else if (counted && !server_inflight_take(s, len)) {
        a->body.release(a->body.arg);
        server_bound_hit(s, HTTP_BOUND_INFLIGHT_BYTES);
        s->keep.tag = NULL;
        server_problem(x, STATUS_OVERLOADED, "http.inflight_bytes_max is in use", 1000, NULL, 0);
        return;
    }
    struct MHD_Response *r = make_response(s, a);
    if (r && !add_headers(x, r, a)) {
        MHD_destroy_response(r);
        r = NULL;
    }
    bool suspended = x->phase == PHASE_SUSPENDED;
    x->response = r; /* NULL: server_queue closes the connection */
    x->http_status = a->http_status;
    x->response_bytes = len;
    exchange_move(x, PHASE_ANSWERED);
    if (!suspended) return;
    MHD_resume_connection(x->connection);
    s->run_wanted = true;
}

struct slice server_request_id(struct exchange *x)
{
    struct slice given = x->request.header[HTTP_HEADER_REQUEST_ID];
    if (given.ptr) return given;
    if (!x->made_id) {
        if (!(x->made_id = malloc(UUID_SIZE))) return SLICE_NONE;
        uuid_v7(clock_wall_ms(loop_clock(x->server->options.loop)), x->made_id);
    }
    return (struct slice){x->made_id, UUID_SIZE - 1};
}

/* Every answer under /cache names its backend, also one that no handler gave. */
static bool lacks_backend(const struct exchange *x, const struct http_field *fields, size_t count)
{
    static const struct slice cache = SLICE_LITERAL("/cache");
    bool under_cache = x->path.len >= cache.len && memcmp(x->path.ptr, cache.ptr, cache.len) == 0 &&
                       (x->path.len == cache.len || x->path.ptr[cache.len] == '/');
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, "Phoenix-Backend") == 0) return false;
    return under_cache && x->server->options.backend;
}

void server_problem(struct exchange *x, enum status status, const char *detail, int64_t retry_after_ms,
                    const struct http_field *fields, size_t field_count)
{
    struct http_field all[HTTP_FIELDS_MAX];
    char seconds[24];
    struct buf body = {0};
    x->problem = status;
    assert(field_count + 2 <= HTTP_FIELDS_MAX);
    if (field_count > 0) memcpy(all, fields, field_count * sizeof *fields);
    if (retry_after_ms >= 0) {
        (void)snprintf(seconds, sizeof seconds, "%lld", (long long)((retry_after_ms + 999) / 1000));
        all[field_count++] = (struct http_field){"Retry-After", seconds};
    }
    if (lacks_backend(x, all, field_count))
        all[field_count++] =
            (struct http_field){"Phoenix-Backend", x->server->options.backend(x->server->options.house)};
    struct problem p = {.status = status,
                        .detail = detail,
                        .instance = x->path,
                        .request_id = server_request_id(x),
                        .retry_after_ms = retry_after_ms};
    buf_reserve(&body, 512);
    problem_write(&p, &body);
    struct answer a = {.http_status = status_http(status),
                       .content_type = PROBLEM_TYPE,
                       .body = {.bytes = buf_slice(&body), .release = free, .arg = body.ptr},
                       .fields = all,
                       .field_count = field_count,
                       .uncounted = true};
    server_answer(x, &a);
}

enum MHD_Result server_queue(struct exchange *x)
{
    struct server *s = x->server;
    bool borrowed = x->response_borrowed;
    bool keep = s->dispatching == x && s->keep.tag && !borrowed && x->response_bytes <= HTTP_KEEP_BYTES_MAX;
    s->dispatching = NULL;
    if (!x->response) return MHD_NO;
    int64_t duration_us = loop_now_us(s->options.loop) - x->begun_us;
    metrics_count(s->options.cell, METRIC_HTTP_REQUESTS, x->request.route,
                  router_status_index(x->http_status), 1);
    metrics_observe_us(s->options.cell, METRIC_HTTP_SECONDS, x->request.route, duration_us);
    if (atomic_load_explicit(&s->options.shared->access_log, memory_order_relaxed) != HTTP_ACCESS_OFF)
        server_log_access(x, duration_us);
    struct MHD_Response *r = x->response;
    x->response = NULL;
    exchange_release_work(x); /* the handler has returned */
    exchange_move(x, PHASE_SENDING);
    enum MHD_Result queued = MHD_queue_response(x->connection, (unsigned)x->http_status, r);
    if (keep)
        server_kept_store(x, r);
    else if (!borrowed)
        MHD_destroy_response(r);
    return queued;
}
