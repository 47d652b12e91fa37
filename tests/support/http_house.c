/* http_house: see the header. The loop's thread owns everything but the atomics. */
#include "http_house.h"

#include <arpa/inet.h>
#include <check.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void house_pause(void)
{
    struct timespec ms = {.tv_nsec = 1000000};
    (void)nanosleep(&ms, NULL);
}

static void count_body_release(void *arg)
{
    struct house *h = arg;
    h->body_releases++;
}

static void count_state_release(void *state)
{
    struct house *h = state;
    h->state_releases++;
}

static void count_sent(void *arg, bool sent)
{
    struct house *h = arg;
    if (sent)
        h->sent++;
    else
        h->unsent++;
}

static void reply_text(struct exchange *x, struct slice text)
{
    struct http_body body = {.bytes = text};
    exchange_reply(x, 200, "text/plain", &body, NULL, 0);
}

static void reply_held(struct house *h, struct exchange *x, struct slice text)
{
    struct http_body body = {.bytes = text, .release = count_body_release, .arg = h};
    struct http_field fields[] = {{"ETag", "\"1\""}, {"Cache-Control", "private, max-age=1"}};
    exchange_reply(x, 200, "application/json", &body, fields, 2);
}

static void reply_kept(struct house *h, struct exchange *x)
{
    static char texts[64][16];
    if (exchange_reply_kept(x, h, 7)) return;
    ck_assert_uint_lt(h->kept_built, 64);
    char *text = texts[h->kept_built++];
    int len = snprintf(text, sizeof texts[0], "built %u", h->kept_built);
    exchange_keep(x, h, 7, loop_now_us(h->loop) + (int64_t)60 * 1000000);
    reply_held(h, x, (struct slice){text, (size_t)len});
}

static void on_cache_key(void *house, struct exchange *x)
{
    struct house *h = house;
    const struct http_request *r = exchange_request(x);
    h->dispatched++;
    exchange_attach(x, h, count_state_release);
    if (r->method == HTTP_PUT) {
        char text[32];
        int len = snprintf(text, sizeof text, "%zu", r->body.len);
        reply_text(x, (struct slice){text, (size_t)len});
    } else if (slice_equal_text(r->id, "park")) {
        ck_assert_uint_lt(h->parked_count, HOUSE_PARKED_MAX);
        h->parked[h->parked_count++] = x;
        h->parked_now++;
    } else if (slice_equal_text(r->id, "hello")) {
        reply_held(h, x, (struct slice)SLICE_LITERAL("hello"));
    } else if (slice_equal_text(r->id, "big")) {
        reply_held(h, x, (struct slice){h->big, HOUSE_BIG});
    } else if (slice_equal_text(r->id, "owed")) {
        struct http_body body = {
            .bytes = {h->big, HOUSE_BIG}, .release = count_body_release, .arg = h, .owed = true};
        exchange_reply(x, 200, "application/json", &body, NULL, 0);
    } else if (slice_equal_text(r->id, "watched")) {
        exchange_on_sent(x, count_sent, h);
        reply_held(h, x, (struct slice){h->big, HOUSE_BIG});
    } else if (slice_equal_text(r->id, "kept")) {
        reply_kept(h, x);
    } else if (slice_equal_text(r->id, "problem")) {
        exchange_problem(x, STATUS_FOREIGN_VALUE, "a \"list\"", 1500, NULL, 0);
    } else {
        reply_text(x, r->id);
    }
}

static void on_cache(void *house, struct exchange *x)
{
    struct house *h = house;
    const struct http_request *r = exchange_request(x);
    h->dispatched++;
    reply_text(x, r->method == HTTP_POST ? r->body : r->query);
}

static void on_ok(void *house, struct exchange *x)
{
    struct house *h = house;
    h->dispatched++;
    reply_text(x, (struct slice)SLICE_LITERAL("ok"));
}

static http_handler_fn *const handlers[ROUTE_UNKNOWN] = {
    [ROUTE_CACHE_LOOKUP] = on_cache, [ROUTE_CACHE] = on_cache, [ROUTE_CACHE_KEY] = on_cache_key,
    [ROUTE_LIVEZ] = on_ok,           [ROUTE_READYZ] = on_ok,   [ROUTE_METRICS] = on_ok,
    [ROUTE_OPENAPI] = on_ok,         [ROUTE_STATUS] = on_ok,
};

static void on_acceptable(struct house *h, int which)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    int fd = accept4(h->listeners[which], (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (h->shared.connections >= h->shared.limits.connections_max)
        server_refuse(fd);
    else
        server_adopt(h->server, fd, which == 0 ? HTTP_PEER_TCP : HTTP_PEER_UNIX);
}

static void on_tcp(void *arg, int events)
{
    (void)events;
    on_acceptable(arg, 0);
}

static void on_unix(void *arg, int events)
{
    (void)events;
    on_acceptable(arg, 1);
}

static void listen_both(struct house *h)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    socklen_t len = sizeof tcp;
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)snprintf(h->unix_path, sizeof h->unix_path, "/tmp/phoenix-house-%d-%p", (int)getpid(), (void *)h);
    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", h->unix_path);
    h->listeners[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    h->listeners[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(h->listeners[0], (struct sockaddr *)&tcp, sizeof tcp), 0);
    ck_assert_int_eq(bind(h->listeners[1], (struct sockaddr *)&local, sizeof local), 0);
    ck_assert_int_eq(getsockname(h->listeners[0], (struct sockaddr *)&tcp, &len), 0);
    h->port = ntohs(tcp.sin_port);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(listen(h->listeners[i], 64), 0);
        h->accepting[i] = loop_io_create(h->loop, h->listeners[i], LOOP_READ, i == 0 ? on_tcp : on_unix, h);
    }
}

static void *run_loop(void *arg)
{
    struct house *h = arg;
    loop_run(h->loop);
    return NULL;
}

static void set_limits(struct http_limits *to, const struct http_limits *from)
{
    *to = *from;
    if (!to->connections_max) to->connections_max = 100;
    if (!to->body_max) to->body_max = (size_t)1 << 20;
    if (!to->inflight_bytes_max) to->inflight_bytes_max = (size_t)1 << 26;
    if (!to->deadline_ms) to->deadline_ms = 1000;
    if (!to->request_timeout_ms) to->request_timeout_ms = 10000;
    if (!to->idle_timeout_ms) to->idle_timeout_ms = 75000;
}

void house_start(struct house *h, const struct house_options *options)
{
    static const struct house_options none = {0};
    struct metrics_labels labels = {0};
    char error[256];
    if (!options) options = &none;
    *h = (struct house){0};
    labels.name[LABEL_ROUTE] = "route";
    labels.values[LABEL_ROUTE] = http_route_names;
    labels.count[LABEL_ROUTE] = ROUTE_LABEL_COUNT;
    labels.name[LABEL_STATUS] = "status";
    labels.values[LABEL_STATUS] = http_status_names;
    labels.count[LABEL_STATUS] = HTTP_STATUS_COUNT;
    labels.name[LABEL_BOUND] = "bound";
    labels.values[LABEL_BOUND] = http_bound_names;
    labels.count[LABEL_BOUND] = HTTP_BOUND_COUNT;
    set_limits(&h->shared.limits, &options->limits);
    h->shared.auth = auth_create(options->token_file ? options->token_file : "",
                                 options->allowed_hosts ? options->allowed_hosts : "", error, sizeof error);
    ck_assert_msg(h->shared.auth != NULL, "%s", error);
    h->metrics = metrics_create(&labels);
    h->cell = metrics_cell(h->metrics);
    h->big = calloc(1, HOUSE_BIG);
    h->loop = loop_create(&clock_system);
    ck_assert_ptr_nonnull(h->big);
    ck_assert_ptr_nonnull(h->loop);
    struct server_options server = {.loop = h->loop,
                                    .shared = &h->shared,
                                    .listener = options->listener ? options->listener : HTTP_LISTENER_API,
                                    .handlers = handlers,
                                    .house = h,
                                    .metrics = h->metrics,
                                    .cell = h->cell};
    h->server = server_create(&server);
    ck_assert_ptr_nonnull(h->server);
    listen_both(h);
    ck_assert_int_eq(pthread_create(&h->thread, NULL, run_loop, h), 0);
}

struct call {
    struct house *h;
    void (*fn)(struct house *h);
    sem_t done;
};

static void on_call(void *arg)
{
    struct call *call = arg;
    call->fn(call->h);
    (void)sem_post(&call->done);
}

void house_call(struct house *h, void (*fn)(struct house *h))
{
    struct call call = {.h = h, .fn = fn};
    ck_assert_int_eq(sem_init(&call.done, 0, 0), 0);
    ck_assert(loop_post(h->loop, on_call, &call));
    while (sem_wait(&call.done) != 0) {
    }
    (void)sem_destroy(&call.done);
}

static void answer_parked(struct house *h)
{
    for (unsigned i = 0; i < h->parked_count; i++)
        reply_held(h, h->parked[i], (struct slice)SLICE_LITERAL("late"));
    h->parked_count = 0;
    h->parked_now = 0;
}

void house_answer_parked(struct house *h)
{
    house_call(h, answer_parked);
}

static void drain(struct house *h)
{
    server_drain(h->server);
}

void house_drain(struct house *h)
{
    house_call(h, drain);
}

uint64_t house_metric(struct house *h, enum metric id, unsigned i, unsigned j)
{
    return metrics_sum(h->metrics, id, i, j);
}

static void tear_down(struct house *h)
{
    for (int i = 0; i < 2; i++)
        loop_io_destroy(&h->accepting[i]);
    answer_parked(h);
}

static void destroy_server(struct house *h)
{
    server_destroy(&h->server);
}

void house_stop(struct house *h)
{
    house_call(h, tear_down);
    HOUSE_WAIT(server_exchanges(h->server) == 0);
    house_call(h, destroy_server);
    loop_stop(h->loop);
    (void)pthread_join(h->thread, NULL);
    loop_destroy(&h->loop);
    ck_assert_uint_eq(h->shared.inflight_bytes, 0);
    ck_assert_int_eq(h->shared.connections, 0);
    for (int i = 0; i < 2; i++)
        (void)close(h->listeners[i]);
    (void)unlink(h->unix_path);
    metrics_destroy(&h->metrics);
    auth_destroy(&h->shared.auth);
    free(h->big);
}
