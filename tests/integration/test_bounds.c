/* Bounds: thousands of connections, large bodies, a table at its budget, slow readers: memory
 * stays within the formula and what is too much is answered 503 `overloaded`. Memory is judged in plain
 * builds only: sanitizers have their own. */
#include "../support/load.h"
#include "../support/stage.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
static const size_t CONNECTION_COST = (size_t)9 * 1024, SLACK = 16 * MIB;

static void expect_memory(const struct daemon *d, size_t table, size_t connections, size_t inflight)
{
    size_t allowed = 2 * table + connections * CONNECTION_COST + inflight + SLACK;
    size_t rss = daemon_rss(d);
    ck_assert_msg(test_sanitized() || rss <= allowed, "%zu KiB resident, %zu KiB allowed", rss / 1024,
                  allowed / 1024);
}

START_TEST(four_thousand_connections_are_served_within_the_memory_bound)
{
    enum { CLIENTS = 4096 };
    static struct raw_http clients[CLIENTS];
    const char *env[] = {"PHOENIX_HTTP_CONNECTIONS_MAX=5000", "PHOENIX_LOCAL_BYTES_MAX=4MiB",
                         "PHOENIX_HTTP_INFLIGHT_BYTES_MAX=4MiB", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":1}"), 201);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = raw_http_tcp((uint16_t)daemon_port(s.d));
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_connections") >= CLIENTS, 20000);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CLIENTS; i++)
            raw_http_send(&clients[i], "GET /cache/k HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for (int i = 0; i < CLIENTS; i++)
            ck_assert_int_eq(raw_status(&clients[i], NULL), 200);
    }
    expect_memory(s.d, 4 * MIB, CLIENTS, 4 * MIB);
    for (int i = 0; i < CLIENTS; i++)
        raw_http_close(&clients[i]);
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_connections") <= 2, 10000);
    stage_close(&s);
}
END_TEST

START_TEST(a_connection_too_many_is_answered_overloaded)
{
    const char *env[] = {"PHOENIX_HTTP_CONNECTIONS_MAX=8", NULL};
    struct raw_http clients[8];
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    for (int i = 0; i < 8; i++) {
        clients[i] = raw_http_tcp((uint16_t)daemon_port(s.d));
        raw_http_send(&clients[i], "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
        ck_assert_int_eq(raw_status(&clients[i], NULL), 200);
    }
    struct raw_http more = raw_http_tcp((uint16_t)daemon_port(s.d));
    raw_http_send(&more, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    struct raw_response a = {0};
    ck_assert_int_eq(raw_status(&more, &a), 503);
    ck_assert_msg(strstr(a.body, "\"overloaded\""), "%s", a.body);
    ck_assert_ptr_nonnull(raw_response_header(&a, "Retry-After"));
    raw_response_free(&a);
    ck_assert(raw_http_wait_closed(&more, (int)test_ms(3000)));
    raw_http_close(&more);
    ck_assert(daemon_metric_sum(s.d, "phoenix_bound_hit_total{") >= 1); /* the admin listener still answers */
    for (int i = 0; i < 8; i++)
        raw_http_close(&clients[i]);
    WAIT_FOR(http_get(s.h, "/livez")->status == 200, 5000);
    stage_close(&s);
}
END_TEST

/* What the rig itself has asked there may be leaving just now, and make room for one or two more. */
START_TEST(the_admin_listener_too_has_a_bound_and_counts_what_it_refuses)
{
    enum { ADMIN_MAX = 64, MORE = 6 };
    static const char SERIES[] = "phoenix_bound_hit_total{bound=\"admin_connections\"}";
    struct raw_http clients[ADMIN_MAX + MORE];
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    int count = 0, status = 0;
    while (count < ADMIN_MAX)
        clients[count++] = raw_http_tcp((uint16_t)daemon_admin_port(s.d));
    while (status == 0 && count < ADMIN_MAX + MORE) {
        clients[count] = raw_http_tcp((uint16_t)daemon_admin_port(s.d));
        if (raw_http_readable(&clients[count], (int)test_ms(1000)))
            status = raw_status(&clients[count], NULL);
        count++;
    }
    ck_assert_int_eq(status, 503);
    for (int i = 0; i < count; i++)
        raw_http_close(&clients[i]);
    WAIT_FOR(strstr(http_get(s.h, "/metrics")->body, SERIES) != NULL, 5000); /* over the API's listener */
    stage_close(&s);
}
END_TEST

START_TEST(uploads_beyond_the_bytes_in_flight_are_answered_overloaded)
{
    const char *env[] = {"PHOENIX_HTTP_INFLIGHT_BYTES_MAX=1MiB", "PHOENIX_HTTP_BODY_MAX=1MiB", NULL};
    struct raw_http clients[8];
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    size_t part = 300000;
    char *blanks = must_alloc(part);
    memset(blanks, ' ', part);
    for (int i = 0; i < 8; i++) {
        clients[i] = raw_http_tcp((uint16_t)daemon_port(s.d));
        raw_http_send(&clients[i],
                      "PUT /cache/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n");
        (void)raw_http_send_bytes(&clients[i], blanks, part);
    }
    WAIT_FOR(daemon_metric_sum(s.d, "phoenix_bound_hit_total{bound=\"inflight_bytes") >= 4, 5000);
    ck_assert(daemon_metric(s.d, "phoenix_http_inflight_bytes") <= (double)(1 * MIB));
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 404); /* small requests still pass */
    int refused = 0;
    for (int i = 0; i < 8; i++) { /* nothing can be answered before an upload's end */
        struct raw_response a = {0};
        (void)raw_http_send_bytes(&clients[i], blanks, 400000 - part);
        int status = raw_status(&clients[i], &a);
        ck_assert_msg(status == 503 || status == 400, "%d", status); /* blanks are not JSON */
        ck_assert(status == 400 || strstr(a.body, "\"overloaded\""));
        refused += status == 503;
        raw_response_free(&a);
    }
    ck_assert_msg(refused >= 4 && refused < 8, "%d of 8 refused", refused);
    for (int i = 0; i < 8; i++)
        raw_http_close(&clients[i]);
    EXPECT_STATUS(http_get(s.h, "/livez"), 200);
    free(blanks);
    stage_close(&s);
}
END_TEST

static const char *const small[] = {
    "PHOENIX_LOCAL_BYTES_MAX=8MiB",          "PHOENIX_HTTP_INFLIGHT_BYTES_MAX=16MiB",
    "PHOENIX_HTTP_REQUEST_TIMEOUT_MS=60000", "PHOENIX_REDIS_COMMAND_TIMEOUT_MS=10000",
    "PHOENIX_HTTP_DEADLINE_MS=15000",        NULL}; /* size is at stake, not time */

/* Mostly small values, some large, each rewritten in other sizes: what fragments a heap. */
static void write_hostile(struct load_thread *t)
{
    static const size_t sizes[] = {10, 100, 1000, 5000, 20000, 70000, 130000, 300000, 900000};
    uint64_t dice = load_random(t);
    size_t pick = (size_t)(dice % 1000);
    size_t which = pick < 700 ? pick % 4 : pick < 950 ? 4 + pick % 2 : 6 + pick % 3;
    size_t len = sizes[which] + (size_t)((dice >> 20) % (sizes[which] / 2));
    char path[64];
    FORMAT(path, "/cache/h%u", (unsigned)((dice >> 40) % 20000));
    char *body = must_alloc(len + 32);
    size_t at = strlen(format(body, 32, "{\"response\":\""));
    memset(body + at, 'a' + (int)(dice % 26), len);
    paste(body + at + len, "\"}");
    const struct http_answer *a = http_send(t->http, "PUT", path, body);
    if (a->status != 200 && a->status != 201 && a->status != 503)
        load_fail(t, "PUT %s of %zu bytes: %d %s %.200s", path, len, a->status, a->error, a->body);
    free(body);
}

/* Asks for a large value and reads it a little at a time. */
static struct raw_http slow_reader(int port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int bytes = 4096;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
    ck_assert_msg(connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect: %s", strerror(errno));
    struct raw_http c = raw_http_of(fd);
    raw_http_send(&c, "GET /cache/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return c;
}

static void put_large(struct stage *s)
{
    size_t len = 900000;
    char *body = must_alloc(len + 32);
    size_t at = strlen(format(body, 32, "{\"response\":\""));
    memset(body + at, 'x', len);
    paste(body + at + len, "\"}");
    int status = http_send(s->h, "PUT", "/cache/large", body)->status;
    ck_assert_msg(status == 200 || status == 201, "%d", status);
    free(body);
}

START_TEST(memory_is_bounded_under_hostile_sizes_uploads_and_slow_readers)
{
    enum { READERS = 12, UPLOADS = 6 };
    struct raw_http readers[READERS];
    struct raw_http uploads[UPLOADS];
    struct stage s = stage_open((enum backend)_i, small);
    put_large(&s);
    for (int i = 0; i < READERS; i++)
        readers[i] = slow_reader(daemon_port(s.d));
    for (int i = 0; i < UPLOADS; i++) {
        uploads[i] = raw_http_tcp((uint16_t)daemon_port(s.d));
        raw_http_send(
            &uploads[i],
            "PUT /cache/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n{\"response\":\"");
    }
    struct load *l = load_start(4, daemon_port(s.d), write_hostile, NULL);
    size_t worst = 0;
    uint64_t enough = test_sanitized() ? 600 : 6000;
    int64_t until = now_ms() + test_ms(40000);
    while (load_calls(l) < enough && !load_failed(l) && now_ms() < until) {
        size_t rss = daemon_rss(s.d);
        worst = rss > worst ? rss : worst;
        poll_pause();
    }
    load_stop(&l);
    size_t allowed = 16 * MIB + (size_t)(READERS + UPLOADS + 8) * CONNECTION_COST + 16 * MIB + SLACK;
    ck_assert_msg(test_sanitized() || worst <= allowed, "%zu KiB resident, %zu KiB allowed", worst / 1024,
                  allowed / 1024);
    ck_assert(daemon_metric(s.d, "phoenix_lru_bytes") <= (double)(8 * MIB));
    ck_assert(daemon_metric(s.d, "phoenix_http_inflight_bytes") <= (double)(16 * MIB));
    for (int i = 0; i < READERS; i++)
        raw_http_close(&readers[i]);
    for (int i = 0; i < UPLOADS; i++)
        raw_http_close(&uploads[i]);
    stage_close(&s);
}
END_TEST

START_TEST(an_8_mib_body_passes_and_one_byte_more_does_not)
{
    size_t len = 8 * MIB;
    char *body = must_alloc(len + 2);
    /* A value over an eighth is not kept. Size is at stake, not time. */
    const char *env[] = {"PHOENIX_LOCAL_BYTES_MAX=128MiB", "PHOENIX_REDIS_COMMAND_TIMEOUT_MS=10000",
                         "PHOENIX_HTTP_DEADLINE_MS=15000", NULL};
    struct stage s = stage_open((enum backend)_i, env);
    memset(body, ' ', len + 1);
    paste(body, "{\"response\":\"");
    paste(body + len - 2, "\"}");
    EXPECT_STATUS(http_request(s.h, "PUT", "/cache/k", NULL, body, len), 201);
    const struct http_answer *a = http_get(s.h, "/cache/k");
    EXPECT_STATUS(a, 200);
    ck_assert_uint_gt(a->len, len - 20);
    /* It is refused by its headers; a client that sends on all the same may lose the answer to a reset. */
    WAIT_FOR(http_request(s.h, "PUT", "/cache/k", NULL, body, len + 1)->status == 413, 3000);
    free(body);
    stage_close(&s);
}
END_TEST

START_TEST(slow_readers_are_closed_and_give_their_memory_back)
{
    const char *env[] = {"PHOENIX_HTTP_IDLE_TIMEOUT_MS=500", "PHOENIX_HTTP_INFLIGHT_BYTES_MAX=16MiB", NULL};
    struct stage s = stage_open(BACKEND_EMBEDDED, env);
    put_large(&s);
    struct raw_http readers[4];
    for (int i = 0; i < 4; i++)
        readers[i] = slow_reader(daemon_port(s.d));
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_connections") <= 2, 15000);
    WAIT_FOR(daemon_metric(s.d, "phoenix_http_inflight_bytes") == 0, 5000);
    for (int i = 0; i < 4; i++)
        raw_http_close(&readers[i]);
    stage_close(&s);
}
END_TEST

START_TEST(pending_writes_beyond_their_budget_are_given_up_and_counted)
{
    char path[64];
    const char *env[] = {"PHOENIX_LOCAL_BYTES_MAX=1MiB", "PHOENIX_LOCAL_PENDING_BYTES_MAX=64KiB", NULL};
    struct stage s = stage_open(BACKEND_REDIS, env);
    redis_server_kill(s.redis);
    for (int i = 0; i < 2000; i++) {
        int status =
            http_send(s.h, "PUT", FORMAT(path, "/cache/k%d", i), "{\"response\":\"0123456789\"}")->status;
        ck_assert_int_eq(status, 201);
    }
    ck_assert(daemon_metric(s.d, "phoenix_pending_bytes") <= 64.0 * 1024);
    ck_assert(daemon_metric(s.d, "phoenix_lru_exits_total{reason=\"pending_budget\"}") > 100);
    EXPECT_STATUS(http_get(s.h, "/cache/k1999"), 200);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bounds");
    TCase *tc = test_case(suite, "bounds", 90);
    tcase_add_test(tc, four_thousand_connections_are_served_within_the_memory_bound);
    tcase_add_test(tc, a_connection_too_many_is_answered_overloaded);
    tcase_add_test(tc, the_admin_listener_too_has_a_bound_and_counts_what_it_refuses);
    tcase_add_test(tc, uploads_beyond_the_bytes_in_flight_are_answered_overloaded);
    tcase_add_loop_test(tc, memory_is_bounded_under_hostile_sizes_uploads_and_slow_readers, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, an_8_mib_body_passes_and_one_byte_more_does_not, 0, BACKEND_COUNT);
    tcase_add_test(tc, slow_readers_are_closed_and_give_their_memory_back);
    tcase_add_test(tc, pending_writes_beyond_their_budget_are_given_up_and_counted);
    return test_run(suite);
}
