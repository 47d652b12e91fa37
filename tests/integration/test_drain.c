/* SIGTERM under load: every request in flight is answered, what is pending is handed
 * back, exit 0. */
#include "../support/fake_redis.h"
#include "../support/load.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum { WAITING = 8 };

static struct fake_verdict hold_all(void *arg, const struct fake_command *c)
{
    atomic_uint *held = arg;
    if (!fake_command_names(c, "phoenix:cache:held")) return (struct fake_verdict){0};
    atomic_fetch_add(held, 1);
    return (struct fake_verdict){.hold = true};
}

START_TEST(requests_in_flight_are_answered_after_sigterm)
{
    char timeout[64];
    char deadline[64];
    char text[256];
    atomic_uint held = 0;
    const char *env[] = {FORMAT(timeout, "PHOENIX_REDIS_COMMAND_TIMEOUT_MS=%d", (int)test_ms(5000)),
                         FORMAT(deadline, "PHOENIX_HTTP_DEADLINE_MS=%d", (int)test_ms(6000)), NULL};
    struct redis_server *redis = redis_server_start(NULL);
    struct fake_redis *f = fake_redis_start(redis_server_port(redis));
    struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = fake_redis_url(f), .env = env});
    struct raw_http clients[WAITING];
    fake_redis_script(f, hold_all, &held);
    for (int i = 0; i < WAITING; i++) {
        clients[i] = raw_http_tcp((uint16_t)daemon_port(d));
        FORMAT(text, "GET /cache/held%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
        raw_http_send(&clients[i], text);
    }
    WAIT_FOR(atomic_load(&held) >= WAITING, 5000);
    daemon_signal(d, SIGTERM);
    struct http_client *admin = http_open(daemon_admin_port(d));
    WAIT_FOR(http_get(admin, "/readyz")->status != 200, 3000);
    http_close(&admin);
    fake_redis_script(f, NULL, NULL);
    fake_redis_release(f);
    for (int i = 0; i < WAITING; i++) {
        struct raw_response a = {0};
        ck_assert_int_eq(raw_status(&clients[i], &a), 404);
        const char *connection = raw_response_header(&a, "Connection");
        ck_assert(connection && strcasecmp(connection, "close") == 0);
        raw_response_free(&a);
        ck_assert(raw_http_wait_closed(&clients[i], (int)test_ms(3000)));
        raw_http_close(&clients[i]);
    }
    ck_assert_int_eq(daemon_wait(d, 12000), 0);
    daemon_release(&d);
    fake_redis_stop(&f);
    redis_server_stop(&redis);
}
END_TEST

static atomic_bool ending;

/* After SIGTERM a request may find no one; it never gets part of an answer. */
static void use(struct load_thread *t)
{
    char path[64];
    unsigned k = (unsigned)(load_random(t) % 50);
    FORMAT(path, "/cache/k%u", k);
    bool write = load_random(t) % 3 == 0;
    bool late = atomic_load(&ending);
    const struct http_answer *a =
        write ? http_send(t->http, "PUT", path, "{\"response\":1}") : http_get(t->http, path);
    bool gone = a->status == 0 && a->head[0] == 0 && (late || atomic_load(&ending));
    if (!gone && a->status != 200 && a->status != 201 && a->status != 404)
        load_fail(t, "%s %s: %d %s %.200s", write ? "PUT" : "GET", path, a->status, a->error, a->body);
    poll_pause();
}

START_TEST(sigterm_under_load_ends_with_0_and_no_broken_answer)
{
    struct stage s = stage_open(_i ? BACKEND_EMBEDDED : BACKEND_REDIS, NULL);
    atomic_store(&ending, false);
    struct load *l = load_start(8, daemon_port(s.d), use, NULL);
    WAIT_FOR(load_calls(l) > 300, 20000);
    atomic_store(&ending, true);
    daemon_signal(s.d, SIGTERM);
    ck_assert_int_eq(daemon_wait(s.d, 15000), 0);
    load_stop(&l);
    daemon_release(&s.d);
    stage_close(&s);
}
END_TEST

START_TEST(pending_writes_are_handed_back_before_the_end)
{
    char path[64];
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    redis_server_pause(s.redis);
    for (int i = 0; i < 50; i++) {
        int status = http_send(s.h, "PUT", FORMAT(path, "/cache/k%d", i), "{\"response\":1}")->status;
        ck_assert_int_eq(status, 201);
    }
    ck_assert(daemon_metric(s.d, "phoenix_pending_entries") > 0);
    daemon_signal(s.d, SIGTERM);
    redis_server_resume(s.redis);
    ck_assert_int_eq(daemon_wait(s.d, 15000), 0);
    daemon_release(&s.d);
    ck_assert_int_eq(resp_integer(s.r, "DBSIZE"), 50);
    stage_close(&s);
}
END_TEST

START_TEST(what_cannot_be_handed_back_is_told_and_the_end_comes_in_time)
{
    const char *env[] = {"PHOENIX_HTTP_DRAIN_TIMEOUT_MS=500", NULL};
    struct stage s = stage_open(BACKEND_REDIS, env);
    redis_server_kill(s.redis);
    for (int i = 0; i < 10; i++) {
        char path[64];
        EXPECT_STATUS(http_send(s.h, "PUT", FORMAT(path, "/cache/k%d", i), "{\"response\":1}"), 201);
    }
    EXPECT_STATUS(http_send(s.h, "DELETE", "/cache/gone", NULL), 204);
    EXPECT_STATUS(http_send(s.h, "POST", "/tasks", "[{\"payload\":1},{\"payload\":2},{\"payload\":3}]"), 202);
    int64_t from = now_ms();
    daemon_signal(s.d, SIGTERM);
    ck_assert_int_eq(daemon_wait(s.d, 10000), 0);
    ck_assert_int_lt(now_ms() - from, test_ms(4000));
    ck_assert(daemon_log_has(s.d, "pending_writes_lost=10 journal_entries_kept=1 tasks_kept=3"));
    daemon_release(&s.d);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("drain");
    TCase *tc = test_case(suite, "drain", 60);
    tcase_add_test(tc, requests_in_flight_are_answered_after_sigterm);
    tcase_add_loop_test(tc, sigterm_under_load_ends_with_0_and_no_broken_answer, 0, 2);
    tcase_add_test(tc, pending_writes_are_handed_back_before_the_end);
    tcase_add_test(tc, what_cannot_be_handed_back_is_told_and_the_end_comes_in_time);
    return test_run(suite);
}
