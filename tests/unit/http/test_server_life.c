/* The life of connections and exchanges: keep-alive, pipelines, bodies and their bounds, late answers,
 * clients that leave, time limits, kept answers, draining. */
#include "../../support/http_house.h"
#include "../../support/raw_http.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST      "Host: localhost\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static struct house house;

static void set_up(void)
{
    house_start(&house, NULL);
}

static void tear_down(void)
{
    house_stop(&house);
}

static void expect(struct raw_http *c, const char *request, int status, const char *body)
{
    struct raw_response r = raw_http_ask(c, request);
    ck_assert_int_eq(r.status, status);
    if (body) ck_assert_str_eq(r.body, body);
    raw_response_free(&r);
}

static void expect_next(struct raw_http *c, int status, const char *body)
{
    struct raw_response r = {0};
    ck_assert(raw_http_receive(c, false, &r));
    ck_assert_int_eq(r.status, status);
    if (body) ck_assert_str_eq(r.body, body);
    raw_response_free(&r);
}

START_TEST(a_connection_serves_many_requests_on_both_listeners)
{
    struct raw_http c[2] = {raw_http_tcp(house.port), raw_http_unix(house.unix_path)};
    for (int i = 0; i < 2; i++) {
        for (int n = 0; n < 100; n++)
            expect(&c[i], GET("/cache/hello"), 200, "hello");
    }
    ck_assert_uint_eq(server_connections(house.server), 2);
    for (int i = 0; i < 2; i++)
        raw_http_close(&c[i]);
    HOUSE_WAIT(server_connections(house.server) == 0);
    ck_assert_uint_eq(house.body_releases, 200);
    ck_assert_uint_eq(house.state_releases, 200);
    ck_assert_uint_eq(house_metric(&house, METRIC_HTTP_REQUESTS, ROUTE_CACHE_KEY, HTTP_STATUS_200), 200);
}
END_TEST

START_TEST(whether_an_answer_left_whole_is_told_once)
{
    struct raw_http c = raw_http_unix(house.unix_path); /* TCP's buffers could take all of it */
    expect(&c, GET("/cache/watched"), 200, NULL);
    expect(&c, GET("/cache/hello"), 200, "hello");
    ck_assert_uint_eq(house.sent, 1);
    ck_assert(raw_http_send(&c, GET("/cache/watched")));
    ck_assert(raw_http_readable(&c, RAW_HTTP_LIMIT_MS));
    raw_http_close(&c);
    HOUSE_WAIT(house.unsent == 1);
    ck_assert_uint_eq(house.sent, 1);
}
END_TEST

static bool parked_is_gone;

static void look_at_parked(struct house *h)
{
    parked_is_gone = exchange_gone(h->parked[0]);
}

START_TEST(a_client_that_closed_while_its_request_waits_is_seen_to_be_gone)
{
    struct raw_http c[2] = {raw_http_tcp(house.port), raw_http_unix(house.unix_path)};
    for (int i = 0; i < 2; i++) {
        ck_assert(raw_http_send(&c[i], GET("/cache/park")));
        HOUSE_WAIT(house.parked_now == 1);
        house_call(&house, look_at_parked);
        ck_assert(!parked_is_gone);
        raw_http_close(&c[i]);
        HOUSE_WAIT((house_call(&house, look_at_parked), parked_is_gone));
        house_answer_parked(&house);
    }
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&c, GET("/cache/a")
                                    GET("/cache/park") "POST /cache HTTP/1.1\r\n" HOST
                                                       "Content-Length: 3\r\n\r\nabc" GET("/cache/b")));
    expect_next(&c, 200, "a");
    HOUSE_WAIT(house.parked_now == 1);
    ck_assert(!raw_http_readable(&c, 20));
    house_answer_parked(&house);
    expect_next(&c, 200, "late");
    expect_next(&c, 200, "abc");
    expect_next(&c, 200, "b");
    raw_http_close(&c);
}
END_TEST

START_TEST(bodies_arrive_whole_by_length_and_by_chunks)
{
    struct raw_http c = raw_http_tcp(house.port);
    static char body[300000], request[310000];
    memset(body, 'x', sizeof body - 1);
    int head =
        snprintf(request, sizeof request, "PUT /cache/a HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n%s",
                 sizeof body - 1, body);
    ck_assert_int_gt(head, 0);
    expect(&c, request, 200, "299999");
    expect(&c,
           "POST /cache HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
           "3\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: 1\r\n\r\n",
           200, "abcd");
    expect(&c, "PUT /cache/a HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 200, "0");
    expect(&c, "PUT /cache/a HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 200,
           "2");
    expect(&c, "GET /cache/a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 200, "a");
    raw_http_close(&c);
}
END_TEST

START_TEST(a_body_announced_over_the_limit_is_answered_413_at_once)
{
    struct raw_http c = raw_http_tcp(house.port);
    struct raw_response r =
        raw_http_ask(&c, "PUT /cache/a HTTP/1.1\r\n" HOST "Content-Length: 1048577\r\n\r\n");
    ck_assert_int_eq(r.status, 413);
    ck_assert_ptr_nonnull(strstr(r.body, "too_large"));
    ck_assert(raw_http_wait_closed(&c, 5000));
    ck_assert_uint_eq(house_metric(&house, METRIC_BOUND_HIT, HTTP_BOUND_BODY, 0), 1);
    raw_response_free(&r);
    raw_http_close(&c);
}
END_TEST

static void send_chunks(struct raw_http *c, size_t count)
{
    static char chunk[65536 + 16];
    int head = snprintf(chunk, sizeof chunk, "%x\r\n", 65536);
    memset(chunk + head, 'x', 65536);
    chunk[head + 65536] = '\r';
    chunk[head + 65537] = '\n';
    ck_assert(raw_http_send(c, "PUT /cache/a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"));
    for (size_t i = 0; i < count; i++)
        ck_assert(raw_http_send_bytes(c, chunk, (size_t)head + 65536 + 2));
    ck_assert(raw_http_send(c, "0\r\n\r\n"));
}

START_TEST(chunks_over_the_limit_are_read_to_their_end_and_answered_413)
{
    struct raw_http c = raw_http_tcp(house.port);
    send_chunks(&c, 16);
    expect_next(&c, 200, "1048576");
    send_chunks(&c, 40);
    expect_next(&c, 413, NULL);
    expect(&c, GET("/cache/a"), 200, "a");
    raw_http_close(&c);
}
END_TEST

START_TEST(a_request_without_a_handlers_answer_waits_and_a_half_closed_client_gets_it)
{
    struct raw_http c[2] = {raw_http_tcp(house.port), raw_http_unix(house.unix_path)};
    for (int i = 0; i < 2; i++) {
        ck_assert(raw_http_send(&c[i], GET("/cache/park")));
        ck_assert_int_eq(shutdown(c[i].fd, SHUT_WR), 0);
    }
    HOUSE_WAIT(house.parked_now == 2);
    ck_assert_uint_eq(server_exchanges(house.server), 2);
    house_answer_parked(&house);
    for (int i = 0; i < 2; i++) {
        expect_next(&c[i], 200, "late");
        ck_assert(raw_http_wait_closed(&c[i], 5000));
        raw_http_close(&c[i]);
    }
}
END_TEST

START_TEST(a_half_closed_client_gets_an_answer_given_at_once)
{
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&c, GET("/cache/hello") GET("/cache/a")));
    ck_assert_int_eq(shutdown(c.fd, SHUT_WR), 0);
    expect_next(&c, 200, "hello");
    expect_next(&c, 200, "a");
    ck_assert(raw_http_wait_closed(&c, 5000));
    raw_http_close(&c);
}
END_TEST

static void reset(struct raw_http *c)
{
    struct linger now = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    raw_http_close(c);
}

START_TEST(a_client_that_left_while_suspended_leaves_nothing_behind)
{
    for (int how = 0; how < 2; how++) {
        struct raw_http c = raw_http_tcp(house.port);
        ck_assert(raw_http_send(&c, GET("/cache/park")));
        HOUSE_WAIT(house.parked_now == 1);
        if (how == 0)
            raw_http_close(&c);
        else
            reset(&c);
        house_answer_parked(&house);
        HOUSE_WAIT(server_connections(house.server) == 0);
        ck_assert_uint_eq(house.body_releases, (unsigned)how + 1);
        ck_assert_uint_eq(house.state_releases, (unsigned)how + 1);
    }
}
END_TEST

START_TEST(a_client_that_leaves_in_its_body_leaves_nothing_behind)
{
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&c, "PUT /cache/a HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nabc"));
    HOUSE_WAIT(server_exchanges(house.server) == 1 && house.shared.inflight_bytes > 0);
    raw_http_close(&c);
    HOUSE_WAIT(server_connections(house.server) == 0 && server_exchanges(house.server) == 0);
    ck_assert_uint_eq(house.dispatched, 0);
}
END_TEST

START_TEST(many_waiters_are_resumed_together)
{
    struct raw_http c[HOUSE_PARKED_MAX];
    for (int i = 0; i < HOUSE_PARKED_MAX; i++) {
        c[i] = raw_http_tcp(house.port);
        ck_assert(raw_http_send(&c[i], GET("/cache/park") GET("/cache/after")));
    }
    HOUSE_WAIT(house.parked_now == HOUSE_PARKED_MAX);
    house_answer_parked(&house);
    for (int i = 0; i < HOUSE_PARKED_MAX; i++) {
        expect_next(&c[i], 200, "late");
        expect_next(&c[i], 200, "after");
        raw_http_close(&c[i]);
    }
}
END_TEST

START_TEST(a_kept_answer_is_built_once_and_not_used_for_request_ids)
{
    struct raw_http c = raw_http_tcp(house.port);
    for (int i = 0; i < 5; i++) {
        struct raw_response r = raw_http_ask(&c, GET("/cache/kept"));
        ck_assert_str_eq(r.body, "built 1");
        ck_assert_str_eq(raw_response_header(&r, "ETag"), "\"1\"");
        ck_assert_str_eq(raw_response_header(&r, "Cache-Control"), "private, max-age=1");
        raw_response_free(&r);
    }
    expect(&c, "GET /cache/kept HTTP/1.1\r\n" HOST "X-Request-Id: 1\r\n\r\n", 200, "built 2");
    expect(&c, GET("/cache/kept"), 200, "built 1");
    struct raw_response r = raw_http_ask(&c, "HEAD /cache/kept HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_str_eq(raw_response_header(&r, "Content-Length"), "7");
    raw_response_free(&r);
    ck_assert_uint_eq(house.body_releases, 1);
    raw_http_close(&c);
}
END_TEST

START_TEST(answers_over_the_bytes_in_flight_are_503)
{
    struct house_options o = {.limits = {.inflight_bytes_max = (size_t)HOUSE_BIG + HOUSE_BIG / 2}};
    house_start(&house, &o);
    struct raw_http slow = raw_http_tcp(house.port), c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&slow, GET("/cache/big")));
    ck_assert(
        raw_http_readable(&slow, 5000)); /* 4 MiB are more than the sockets hold, so it is still referenced */
    struct raw_response r = raw_http_ask(&c, GET("/cache/big"));
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(raw_response_header(&r, "Retry-After"), "1");
    ck_assert_ptr_nonnull(strstr(r.body, "\"code\":\"overloaded\""));
    raw_response_free(&r);
    ck_assert_uint_eq(house_metric(&house, METRIC_BOUND_HIT, HTTP_BOUND_INFLIGHT_BYTES, 0), 1);
    expect(&c, GET("/cache/owed"), 200, NULL); /* what tells of a change is not refused */
    expect_next(&slow, 200, NULL);
    HOUSE_WAIT(house.body_releases == 3);
    expect(&c, GET("/cache/big"), 200, NULL);
    raw_http_close(&slow);
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(uploads_over_the_bytes_in_flight_are_503_and_announcing_costs_nothing)
{
    struct house_options o = {.limits = {.inflight_bytes_max = 256UL * 1024}};
    house_start(&house, &o);
    struct raw_http announcer = raw_http_tcp(house.port), c = raw_http_tcp(house.port);
    ck_assert(
        raw_http_send(&announcer, "PUT /cache/a HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\nabc"));
    HOUSE_WAIT(server_exchanges(house.server) == 1);
    ck_assert_uint_lt(house.shared.inflight_bytes, 32768);
    send_chunks(&c, 8);
    expect_next(&c, 503, NULL);
    expect(&c, GET("/cache/a"), 200, "a");
    raw_http_close(&announcer);
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

static const struct house_options hasty = {.limits = {.request_timeout_ms = 150, .idle_timeout_ms = 150}};
static const struct house_options patient = {.limits = {.request_timeout_ms = 150, .idle_timeout_ms = 60000}};

/* Sends a byte every 20 ms until the peer closes. */
static void dribble_until_closed(struct raw_http *c, const char *text)
{
    int left = 500;
    for (const char *p = text; left > 0; left--) {
        if (!raw_http_send_bytes(c, p, 1)) break;
        if (p[1]) p++;
        if (raw_http_wait_closed(c, 20)) break;
    }
    ck_assert_int_gt(left, 0);
}

START_TEST(who_dribbles_headers_or_body_is_closed)
{
    static const char *const begins[] = {
        "",                                                                      /* the request line */
        "GET /livez HTTP/1.1\r\n",                                               /* headers */
        "PUT /cache/a HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n",       /* a body */
        "PUT /cache/a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nff", /* a chunk */
        GET("/livez"), /* the second request's line */
    };
    house_start(&house, &patient);
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&c, begins[_i]));
    if (_i == 4) expect_next(&c, 200, "ok");
    dribble_until_closed(
        &c, _i < 2 || _i == 4 ? "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" : "1");
    HOUSE_WAIT(server_connections(house.server) == 0);
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(who_dribbles_into_a_unix_socket_is_closed)
{
    house_start(&house, &hasty);
    struct raw_http c = raw_http_unix(house.unix_path);
    dribble_until_closed(
        &c, "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(idle_connections_are_closed)
{
    house_start(&house, &hasty);
    struct raw_http c[3] = {raw_http_tcp(house.port), raw_http_tcp(house.port),
                            raw_http_unix(house.unix_path)};
    expect(&c[1], GET("/livez"), 200, "ok");
    for (int i = 0; i < 3; i++) {
        ck_assert(raw_http_wait_closed(&c[i], 5000));
        raw_http_close(&c[i]);
    }
    HOUSE_WAIT(server_connections(house.server) == 0);
    house_stop(&house);
}
END_TEST

START_TEST(a_connection_in_use_is_not_closed)
{
    house_start(&house, &hasty);
    struct raw_http c = raw_http_tcp(house.port);
    for (int i = 0; i < 12; i++) {
        expect(&c, GET("/livez"), 200, "ok");
        ck_assert(!raw_http_readable(&c, 40));
    }
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(a_suspended_request_outlives_the_timeouts)
{
    house_start(&house, &hasty);
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&c, GET("/cache/park")));
    ck_assert(!raw_http_readable(&c, 600));
    house_answer_parked(&house);
    expect_next(&c, 200, "late");
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(who_does_not_read_the_answer_is_closed)
{
    house_start(&house, &hasty);
    struct raw_http c = raw_http_tcp(house.port);
    ck_assert(raw_http_send(&c, GET("/cache/big")));
    HOUSE_WAIT(house.body_releases == 1);
    HOUSE_WAIT(server_connections(house.server) == 0);
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(draining_answers_what_comes_and_closes)
{
    struct raw_http busy = raw_http_tcp(house.port), idle = raw_http_tcp(house.port);
    struct raw_http late = raw_http_tcp(house.port);
    expect(&idle, GET("/cache/kept"), 200, "built 1");
    ck_assert(raw_http_send(&busy, GET("/cache/park")));
    HOUSE_WAIT(house.parked_now == 1);
    house_drain(&house);
    struct raw_response r = raw_http_ask(&late, GET("/cache/kept"));
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(raw_response_header(&r, "Connection"), "close");
    raw_response_free(&r);
    ck_assert(raw_http_wait_closed(&late, 5000));
    ck_assert(raw_http_wait_closed(&idle, 5000));
    house_answer_parked(&house);
    expect_next(&busy, 200, "late");
    ck_assert(raw_http_wait_closed(&busy, 5000));
    HOUSE_WAIT(server_connections(house.server) == 0);
    raw_http_close(&busy);
    raw_http_close(&idle);
    raw_http_close(&late);
}
END_TEST

START_TEST(over_the_connection_bound_there_is_a_503)
{
    struct house_options o = {.limits = {.connections_max = 1}};
    house_start(&house, &o);
    struct raw_http c = raw_http_tcp(house.port);
    expect(&c, GET("/livez"), 200, "ok");
    for (int i = 0; i < 20; i++) {
        struct raw_http over = raw_http_tcp(house.port);
        struct raw_response r = raw_http_ask(&over, GET("/livez"));
        ck_assert_int_eq(r.status, 503);
        ck_assert_str_eq(raw_response_header(&r, "Retry-After"), "1");
        ck_assert_ptr_nonnull(strstr(r.body, "\"code\":\"overloaded\""));
        raw_response_free(&r);
        raw_http_close(&over);
    }
    raw_http_close(&c);
    house_stop(&house);
}
END_TEST

START_TEST(a_server_with_open_connections_is_destroyed)
{
    house_start(&house, NULL);
    struct raw_http c = raw_http_tcp(house.port), half = raw_http_tcp(house.port);
    expect(&c, GET("/cache/kept"), 200, "built 1");
    ck_assert(raw_http_send(&half, "GET /livez HTTP/1.1\r\nHo"));
    HOUSE_WAIT(server_connections(house.server) == 2);
    house_stop(&house);
    ck_assert(raw_http_wait_closed(&c, 5000));
    raw_http_close(&c);
    raw_http_close(&half);
}
END_TEST

static TCase *plain_case(void)
{
    TCase *t = tcase_create("plain");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_connection_serves_many_requests_on_both_listeners);
    tcase_add_test(t, pipelined_requests_are_answered_in_order);
    tcase_add_test(t, whether_an_answer_left_whole_is_told_once);
    tcase_add_test(t, a_client_that_closed_while_its_request_waits_is_seen_to_be_gone);
    tcase_add_test(t, bodies_arrive_whole_by_length_and_by_chunks);
    tcase_add_test(t, a_body_announced_over_the_limit_is_answered_413_at_once);
    tcase_add_test(t, chunks_over_the_limit_are_read_to_their_end_and_answered_413);
    tcase_add_test(t, a_request_without_a_handlers_answer_waits_and_a_half_closed_client_gets_it);
    tcase_add_test(t, a_half_closed_client_gets_an_answer_given_at_once);
    tcase_add_test(t, a_client_that_left_while_suspended_leaves_nothing_behind);
    tcase_add_test(t, a_client_that_leaves_in_its_body_leaves_nothing_behind);
    tcase_add_test(t, many_waiters_are_resumed_together);
    tcase_add_test(t, a_kept_answer_is_built_once_and_not_used_for_request_ids);
    tcase_add_test(t, draining_answers_what_comes_and_closes);
    return t;
}

static TCase *own_case(void)
{
    TCase *t = tcase_create("own house");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, answers_over_the_bytes_in_flight_are_503);
    tcase_add_test(t, uploads_over_the_bytes_in_flight_are_503_and_announcing_costs_nothing);
    tcase_add_loop_test(t, who_dribbles_headers_or_body_is_closed, 0, 5);
    tcase_add_test(t, who_dribbles_into_a_unix_socket_is_closed);
    tcase_add_test(t, idle_connections_are_closed);
    tcase_add_test(t, a_connection_in_use_is_not_closed);
    tcase_add_test(t, a_suspended_request_outlives_the_timeouts);
    tcase_add_test(t, who_does_not_read_the_answer_is_closed);
    tcase_add_test(t, over_the_connection_bound_there_is_a_503);
    tcase_add_test(t, a_server_with_open_connections_is_destroyed);
    return t;
}

int main(void)
{
    Suite *suite = suite_create("server_life");
    suite_add_tcase(suite, plain_case());
    suite_add_tcase(suite, own_case());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
