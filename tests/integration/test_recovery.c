/* What was accepted while cut off meets what others did meanwhile: two daemons on one Redis,
 * one of them behind a proxy that is cut. */
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server *redis;
static struct redis_proxy *proxy;
static struct resp_client *r;
static struct daemon *cut, *other;
static struct http_client *a, *b; /* the one that is cut off, the other one */
static char spool_env[TEST_PATH_MAX + 32];

/* Every worker is: that there is no such session is for Redis alone to say. */
static void wait_connected(const struct daemon *d)
{
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1, 10000);
    for (int i = 0; i < 8; i++) {
        struct http_client *h = daemon_client(d);
        WAIT_FOR(http_get(h, "/session/absent")->status == 404, 10000);
        http_close(&h);
    }
}

static void start_cut(bool connected)
{
    const char *env[] = {spool_env, "PHOENIX_HEALTH_FAILURE_THRESHOLD=3", "PHOENIX_HEALTH_OPEN_BASE_MS=30000",
                         NULL};
    cut = daemon_start(&(struct daemon_options){.redis_url = redis_proxy_url(proxy), .env = env});
    a = daemon_client(cut);
    if (connected) wait_connected(cut);
}

static void open_all(void)
{
    char path[TEST_PATH_MAX];
    FORMAT(spool_env, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "cut.db"));
    redis = redis_server_start(NULL);
    r = redis_server_client(redis);
    proxy = redis_proxy_start(redis_server_port(redis));
    start_cut(true);
    const char *env[] = {"PHOENIX_HEALTH_FAILURE_THRESHOLD=3", "PHOENIX_HEALTH_OPEN_BASE_MS=1000", NULL};
    other = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(redis), .env = env});
    b = daemon_client(other);
    wait_connected(other);
}

static void close_all(void)
{
    http_close(&a);
    http_close(&b);
    daemon_stop(&cut);
    daemon_stop(&other);
    resp_close(&r);
    redis_proxy_stop(&proxy);
    redis_server_stop(&redis);
}

static void cut_off(void)
{
    redis_proxy_refuse(proxy, true);
    redis_proxy_cut(proxy);
    WAIT_FOR(http_get(a, "/cache/absent")->status == 404 && daemon_metric(cut, "phoenix_redis_up") == 0,
             10000);
}

static void come_back(void)
{
    ck_assert(daemon_metric(cut, "phoenix_journal_entries") > 0);
    redis_proxy_refuse(proxy, false);
    WAIT_FOR(daemon_metric(cut, "phoenix_redis_up") == 1, 10000);
    WAIT_FOR(daemon_metric(cut, "phoenix_journal_entries") == 0, 10000);
    wait_connected(cut);
}

static void expect_conflicts(int count)
{
    ck_assert_int_eq((int)daemon_metric(cut, "phoenix_journal_conflicts_total"), count);
    WAIT_FOR(daemon_log_has(cut, "a journaled change met another one") == (count > 0), 2000);
}

static double handed(const char *outcome)
{
    char series[100];
    return daemon_metric(cut, FORMAT(series, "phoenix_journal_replays_total{outcome=\"%s\"}", outcome));
}

/* One request of one side. */
struct step {
    char side; /* 'a': the one that is cut off, 'b': the other; 0: none */
    const char *method, *path, *body;
    int status;
};

static void run(const struct step *steps, size_t count)
{
    for (size_t i = 0; i < count && steps[i].side; i++) {
        struct http_client *h = steps[i].side == 'a' ? a : b;
        const struct http_answer *got = http_send(h, steps[i].method, steps[i].path, steps[i].body);
        ck_assert_msg(got->status == steps[i].status, "%c %s %s %s: %d instead of %d: %s%.300s",
                      steps[i].side, steps[i].method, steps[i].path, steps[i].body ? steps[i].body : "",
                      got->status, steps[i].status, got->error, got->body);
        /* Some rules ask for the later one, and the daemons know Redis's clock but as well as a PING tells.
         */
        for (int64_t until = now_ms() + test_ms(20); now_ms() < until;)
            poll_pause();
    }
}

/* What the session's members are afterwards, as the other daemon shows them; "" for absent. */
struct member {
    const char *name, *value;
};

enum { STEPS = 4, MEMBERS = 4 };

static const struct conflict {
    const char *name;
    struct step before[STEPS], apart[STEPS];
    bool emptied; /* Redis loses everything while they are apart */
    int status;   /* of GET afterwards */
    struct member members[MEMBERS];
    int conflicts;
} conflicts[] = {
    {.name = "PATCH, and a touch on the other side",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}},
     .apart = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200}, {'b', "GET", "/session/s", NULL, 200}},
     .status = 200,
     .members = {{"data", "1"}}},
    {.name = "PATCH, and another PATCH",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"data\":0}", 201}},
     .apart = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200},
               {'b', "PATCH", "/session/s", "{\"plan_id\":\"p\"}", 200}},
     .status = 200,
     .members = {{"data", "1"}, {"plan_id", "p"}},
     .conflicts = 1},
    {.name = "PATCH, and a DELETE",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"data\":0}", 201}},
     .apart = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200}, {'b', "DELETE", "/session/s", NULL, 204}},
     .status = 404,
     .conflicts = 1},
    {.name = "PATCH, and a session that was made anew",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"old\"}", 201}},
     .apart = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200},
               {'b', "DELETE", "/session/s", NULL, 204},
               {'b', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"new\"}", 201}},
     .status = 200,
     .members = {{"data", "1"}, {"plan_id", "new"}},
     .conflicts = 1},
    {.name = "PATCH, and a Redis that was emptied",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"p\"}", 201}},
     .apart = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200}},
     .emptied = true,
     .status = 200,
     .members = {{"data", "1"}, {"plan_id", "p"}},
     .conflicts = 1},
    {.name = "PATCHes alone",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}},
     .apart = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200},
               {'a', "PATCH", "/session/s", "{\"data\":2,\"plan_id\":\"p\"}", 200},
               {'a', "PATCH", "/session/s", "{\"state\":\"Completed\"}", 200}},
     .status = 200,
     .members = {{"data", "2"}, {"plan_id", "p"}, {"state", "Completed"}}},
    {.name = "DELETE, and a session that was made anew",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}},
     .apart = {{'a', "DELETE", "/session/s", NULL, 204},
               {'b', "DELETE", "/session/s", NULL, 204},
               {'b', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"new\"}", 201}},
     .status = 200,
     .members = {{"plan_id", "new"}},
     .conflicts = 1},
    {.name = "DELETE of what had changed before",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}},
     .apart = {{'b', "PATCH", "/session/s", "{\"data\":1}", 200}, {'a', "DELETE", "/session/s", NULL, 204}},
     .status = 404},
    {.name = "a forced reopen",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"state\":\"Completed\"}", 201}},
     .apart = {{'a', "PATCH", "/session/s?force=true", "{\"state\":\"Active\"}", 200},
               {'b', "PATCH", "/session/s", "{\"data\":1}", 200}},
     .status = 200,
     .members = {{"state", "Active"}, {"data", "1"}},
     .conflicts = 1},
    {.name = "an unforced Active, and an end",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}},
     .apart = {{'b', "PATCH", "/session/s", "{\"state\":\"Completed\"}", 200},
               {'a', "PATCH", "/session/s", "{\"state\":\"Active\",\"data\":1}", 200}},
     .status = 200,
     .members = {{"state", "Completed"}, {"data", "1"}},
     .conflicts = 1},
    {.name = "PUT, the later one",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"old\"}", 201}},
     .apart = {{'b', "PATCH", "/session/s", "{\"data\":1}", 200},
               {'a', "PUT", "/session/s", "{\"plan_id\":\"put\"}", 200}},
     .status = 200,
     .members = {{"plan_id", "put"}, {"data", ""}},
     .conflicts = 1},
    {.name = "PUT, the earlier one",
     .before = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"old\"}", 201}},
     .apart = {{'a', "PUT", "/session/s", "{\"plan_id\":\"put\"}", 200},
               {'b', "PATCH", "/session/s", "{\"data\":1}", 200}},
     .status = 200,
     .members = {{"plan_id", "old"}, {"data", "1"}},
     .conflicts = 1},
    {.name = "POST of an id that there is",
     .apart = {{'b', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"b\"}", 201},
               {'a', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"a\"}", 201}},
     .status = 200,
     .members = {{"plan_id", "b"}},
     .conflicts = 1},
    {.name = "POST alone",
     .apart = {{'a', "POST", "/session", "{\"correlation_id\":\"s\",\"plan_id\":\"a\"}", 201}},
     .status = 200,
     .members = {{"plan_id", "a"}}},
};
enum { CONFLICTS = sizeof conflicts / sizeof conflicts[0] };

START_TEST(a_session_that_changed_on_both_sides_is_settled_by_its_rule)
{
    const struct conflict *c = &conflicts[_i];
    char value[200];
    run(c->before, STEPS);
    cut_off();
    run(c->apart, STEPS);
    if (c->emptied) ck_assert_str_eq(resp_text(r, "FLUSHALL"), "OK");
    come_back();
    for (int i = 0; i < 2; i++) { /* both see the same */
        const struct http_answer *got = http_get(i ? a : b, "/session/s?touch=false");
        ck_assert_msg(got->status == c->status, "%s: %d %s", c->name, got->status, got->body);
        for (const struct member *m = c->members; m < c->members + MEMBERS && m->name; m++)
            ck_assert_msg(strcmp(MEMBER(value, got->body, m->name), m->value) == 0, "%s: %s is %s in %s",
                          c->name, m->name, value, got->body);
    }
    if (c->status == 200) {
        long long left = resp_integer(r, "PTTL", "phoenix:session:s", NULL);
        ck_assert_msg(left > 7100000 && left <= 7200000, "%s: %lld ms left", c->name, left);
    }
    expect_conflicts(c->conflicts);
}
END_TEST

START_TEST(touches_of_both_sides_leave_the_later_one)
{
    char late[64], value[64];
    static const struct step BEFORE[] = {
        {'a', "POST", "/session", "{\"correlation_id\":\"s\",\"ttl\":600}", 201}};
    run(BEFORE, 1);
    cut_off();
    WAIT_FOR(resp_integer(r, "PTTL", "phoenix:session:s", NULL) < 600000 - 1200, 5000);
    const struct http_answer *got = http_get(a, "/session/s");
    EXPECT_STATUS(got, 200);
    MEMBER(late, got->body, "last_accessed");
    come_back();
    MEMBER(value, resp_text(r, "GET", "phoenix:session:s"), "last_accessed");
    ck_assert_str_eq(value, late);
    ck_assert(resp_integer(r, "PTTL", "phoenix:session:s", NULL) > 600000 - 1000);
    expect_conflicts(0);
}
END_TEST

/* --- agents' health --- */

START_TEST(reports_of_one_side_arrive_each_once)
{
    char value[64];
    static const struct step REPORTS[] = {{'a', "POST", "/health/h/failure", NULL, 200},
                                          {'a', "POST", "/health/h/failure", NULL, 200}};
    run(REPORTS, 1);
    cut_off();
    run(REPORTS, 1);
    come_back();
    ck_assert_str_eq(MEMBER(value, http_get(b, "/health/h")->body, "consecutive_failures"), "2");
    expect_conflicts(0);
}
END_TEST

START_TEST(reports_on_both_sides_leave_redis_record_and_the_later_end_of_the_open_time)
{
    char value[64], until[64];
    static const struct step BEFORE[] = {{'a', "POST", "/health/h/failure", NULL, 200}};
    static const struct step APART[] = {{'b', "POST", "/health/h/failure", NULL, 200},
                                        {'a', "POST", "/health/h/failure", NULL, 200},
                                        {'a', "POST", "/health/h/failure", NULL, 200}};
    run(BEFORE, 1);
    cut_off();
    run(APART, 3);
    MEMBER(until, http_get(a, "/health/h")->body, "circuit_open_until");
    ck_assert_msg(until[0] == '2', "not open: %s", until);
    come_back();
    const struct http_answer *got = http_get(b, "/health/h");
    ck_assert_str_eq(MEMBER(value, got->body, "consecutive_failures"), "2");
    ck_assert_str_eq(MEMBER(value, got->body, "circuit"), "Open");
    ck_assert_str_eq(MEMBER(value, got->body, "circuit_open_until"), until);
    expect_conflicts(2);
    /* The next outage goes on from what came of this one. */
    cut_off();
    run(BEFORE, 1);
    come_back();
    ck_assert_str_eq(MEMBER(value, http_get(b, "/health/h")->body, "consecutive_failures"), "3");
    expect_conflicts(2);
}
END_TEST

START_TEST(the_newer_put_of_health_wins)
{
    char value[64];
    static const struct step BEFORE[] = {{'a', "PUT", "/health/h", "{\"health\":\"Healthy\"}", 200}};
    static const struct step APART[] = {{'b', "PUT", "/health/h", "{\"health\":\"Degraded\"}", 200},
                                        {'a', "PUT", "/health/h", "{\"health\":\"Unhealthy\"}", 200}};
    run(BEFORE, 1);
    cut_off();
    run(APART, 2);
    come_back();
    ck_assert_str_eq(MEMBER(value, http_get(b, "/health/h")->body, "health"), "Unhealthy");
    expect_conflicts(1);
}
END_TEST

/* --- locks --- */

START_TEST(a_release_that_comes_after_the_grant_was_repeated_frees_nobody)
{
    char token[64], line[128];
    const struct http_answer *got = http_send(a, "POST", "/locks/l", "{\"ttl\":0.5}");
    EXPECT_STATUS(got, 201);
    FORMAT(line, "Phoenix-Lock-Token: %s", MEMBER(token, got->body, "token"));
    cut_off();
    EXPECT_STATUS(http_request(a, "DELETE", "/locks/l", line, NULL, 0), 202);
    EXPECT_STATUS(http_send(b, "POST", "/locks/l", "{\"ttl\":600,\"wait\":5,\"owner\":\"b\"}"), 201);
    come_back();
    EXPECT_STATUS(http_get(b, "/locks/l"), 200);
    expect_conflicts(1);
    ck_assert_int_eq((int)handed("dropped"), 1);
}
END_TEST

START_TEST(a_release_arrives)
{
    char token[64], line[128];
    const struct http_answer *got = http_send(a, "POST", "/locks/l", "{\"ttl\":600}");
    EXPECT_STATUS(got, 201);
    FORMAT(line, "Phoenix-Lock-Token: %s", MEMBER(token, got->body, "token"));
    cut_off();
    EXPECT_STATUS(http_request(a, "DELETE", "/locks/l", line, NULL, 0), 202);
    EXPECT_STATUS(http_get(b, "/locks/l"), 200);
    come_back();
    EXPECT_STATUS(http_get(b, "/locks/l"), 404);
    expect_conflicts(0);
}
END_TEST

/* --- one timeout --- */

START_TEST(a_single_timeout_leaves_no_entry_and_no_key_stuck)
{
    char value[64], body[64];
    static const struct step BEFORE[] = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}};
    run(BEFORE, 1);
    for (int i = 1; i <= 3; i++) {
        redis_proxy_hold(proxy); /* the connections that are open; new ones work */
        EXPECT_STATUS(http_send(a, "PATCH", "/session/s", FORMAT(body, "{\"data\":%d}", i)), 200);
        WAIT_FOR(daemon_metric(cut, "phoenix_journal_entries") == 0, 5000);
        ck_assert_str_eq(MEMBER(value, resp_text(r, "GET", "phoenix:session:s"), "data"),
                         FORMAT(body, "%d", i));
        redis_proxy_lift(proxy);
    }
    EXPECT_STATUS(http_send(a, "PATCH", "/session/s", "{\"data\":9}"), 200);
    ck_assert_str_eq(http_header(a, "Phoenix-Backend"), "redis");
    ck_assert_str_eq(MEMBER(value, http_get(b, "/session/s")->body, "data"), "9");
    expect_conflicts(0);
}
END_TEST

/* --- the process dies --- */

static void kill_cut(void)
{
    http_close(&a);
    daemon_signal(cut, SIGKILL);
    daemon_wait(cut, 5000);
    daemon_release(&cut);
}

START_TEST(what_was_accepted_survives_the_process)
{
    char value[64];
    static const struct step BEFORE[] = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201},
                                         {'a', "PUT", "/cache/k", "{\"response\":1}", 201}};
    static const struct step APART[] = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200},
                                        {'a', "POST", "/health/h/failure", NULL, 200},
                                        {'a', "DELETE", "/cache/k", NULL, 204}};
    run(BEFORE, 2);
    cut_off();
    run(APART, 3);
    kill_cut();
    start_cut(false);
    WAIT_FOR(daemon_metric(cut, "phoenix_redis_up") == 0 || http_get(a, "/cache/absent")->status != 404,
             10000);
    const struct http_answer *got = http_get(a, "/session/s");
    EXPECT_STATUS(got, 200);
    ck_assert_str_eq(MEMBER(value, got->body, "data"), "1");
    ck_assert_str_eq(http_header(a, "Phoenix-Backend"), "local");
    come_back();
    WAIT_FOR(daemon_metric(cut, "phoenix_pending_entries") == 0, 10000);
    ck_assert_str_eq(MEMBER(value, http_get(b, "/session/s")->body, "data"), "1");
    ck_assert_str_eq(MEMBER(value, http_get(b, "/health/h")->body, "consecutive_failures"), "1");
    EXPECT_STATUS(http_get(b, "/cache/k"), 404);
    expect_conflicts(0);
}
END_TEST

START_TEST(what_redis_will_never_take_is_set_aside_and_told)
{
    static const struct step BEFORE[] = {{'a', "POST", "/session", "{\"correlation_id\":\"s\"}", 201}};
    static const struct step APART[] = {{'a', "PATCH", "/session/s", "{\"data\":1}", 200}};
    run(BEFORE, 1);
    cut_off();
    run(APART, 1);
    ck_assert_int_eq(resp_integer(r, "DEL", "phoenix:session:s", NULL), 1);
    ck_assert_int_eq(resp_integer(r, "LPUSH", "phoenix:session:s", "x", NULL), 1);
    come_back();
    WAIT_FOR(daemon_metric(cut, "phoenix_journal_set_aside") == 1, 5000);
    ck_assert_int_eq((int)handed("foreign"), 1);
    expect_problem(a, http_get(a, "/session/s"), 409, "foreign_value");
    WAIT_FOR(strstr(http_get(a, "/status")->body, "\"reason\":\"Redis holds another type under its key\""),
             5000);
    ck_assert_ptr_nonnull(strstr(http_get(a, "/status")->body, "\"kind\":\"session\",\"id\":\"s\""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery");
    TCase *tc = test_case(suite, "recovery", 60);
    tcase_add_checked_fixture(tc, open_all, close_all);
    tcase_add_loop_test(tc, a_session_that_changed_on_both_sides_is_settled_by_its_rule, 0, CONFLICTS);
    tcase_add_test(tc, touches_of_both_sides_leave_the_later_one);
    tcase_add_test(tc, reports_of_one_side_arrive_each_once);
    tcase_add_test(tc, reports_on_both_sides_leave_redis_record_and_the_later_end_of_the_open_time);
    tcase_add_test(tc, the_newer_put_of_health_wins);
    tcase_add_test(tc, a_release_that_comes_after_the_grant_was_repeated_frees_nobody);
    tcase_add_test(tc, a_release_arrives);
    tcase_add_test(tc, a_single_timeout_leaves_no_entry_and_no_key_stuck);
    tcase_add_test(tc, what_was_accepted_survives_the_process);
    tcase_add_test(tc, what_redis_will_never_take_is_set_aside_and_told);
    return test_run(suite);
}
