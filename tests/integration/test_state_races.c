/* Many at once: guarded and unguarded changes of one session, touches between them, reporters
 * of one agent's health, and the permits of a half-open circuit across two daemons. */
#include "../support/load.h"
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 8, INCREMENTS = 100, REPORTERS = 20, REPORTS = 25, PROBES = 3, THREADS_MAX = 20 };

static struct stage s;
static atomic_uint done[THREADS_MAX]; /* by thread */

static void clear_counts(void)
{
    for (unsigned i = 0; i < THREADS_MAX; i++)
        atomic_store(&done[i], 0);
}

static unsigned total(void)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < THREADS_MAX; i++)
        sum += atomic_load(&done[i]);
    return sum;
}

/* True while the thread has more to do. */
static bool has_more(const struct load_thread *t, unsigned each)
{
    if (atomic_load(&done[t->index]) < each) return true;
    poll_pause();
    return false;
}

/* Sixteen lost races are told as 503 overloaded: nothing happened. */
static bool lost_races(const struct http_answer *a)
{
    return a->status == 503 && strstr(a->body, "\"overloaded\"");
}

static void open_stage(int backend)
{
    clear_counts();
    s = stage_open((enum backend)backend, NULL);
    EXPECT_STATUS(http_send(s.h, "POST", "/session", "{\"correlation_id\":\"k\",\"data\":0}"), 201);
}

/* --- one session --- */

static void increment_guarded(struct load_thread *t)
{
    char number[32];
    char line[128];
    char body[64];
    if (!has_more(t, INCREMENTS)) return;
    const struct http_answer *a = http_get(t->http, "/session/k");
    if (a->status != 200) {
        load_fail(t, "GET: %d %s", a->status, a->body);
        return;
    }
    long next = strtol(MEMBER(number, a->body, "data"), NULL, 10) + 1;
    FORMAT(line, "If-Match: %s", http_header(t->http, "ETag"));
    FORMAT(body, "{\"data\":%ld}", next);
    a = http_request(t->http, "PATCH", "/session/k", line, body, strlen(body));
    if (a->status == 200)
        atomic_fetch_add(&done[t->index], 1);
    else if (a->status != 412 && !lost_races(a))
        load_fail(t, "PATCH: %d %s", a->status, a->body);
}

START_TEST(guarded_increments_are_neither_lost_nor_doubled)
{
    char value[32];
    open_stage(_i);
    struct load *l = load_start(CLIENTS, daemon_port(s.d), increment_guarded, NULL);
    WAIT_FOR(load_failed(l) || total() == CLIENTS * INCREMENTS, 60000);
    load_stop(&l);
    ck_assert_str_eq(MEMBER(value, http_get(s.h, "/session/k")->body, "data"), "800");
    stage_close(&s);
}
END_TEST

/* Each thread replaces the whole by something whose parts belong together, and looks at what is there. */
static void replace_unguarded(struct load_thread *t)
{
    char body[256];
    char parts[128];
    char value[128];
    unsigned long long n = load_random(t) % 1000000;
    FORMAT(parts, "[%llu,%llu,%llu]", n, n, n);
    FORMAT(body, "{\"data\":%s,\"n\":%llu}", parts, n);
    const struct http_answer *a = http_send(t->http, "PUT", "/session/k", body);
    if (a->status != 200 && !lost_races(a)) load_fail(t, "PUT: %d %s", a->status, a->body);
    a = http_get(t->http, "/session/k");
    if (a->status != 200) load_fail(t, "GET: %d %s", a->status, a->body);
    MEMBER(value, a->body, "n");
    FORMAT(parts, "[%s,%s,%s]", value, value, value);
    if (*value && strcmp(MEMBER(body, a->body, "data"), parts) != 0) load_fail(t, "torn: %s", a->body);
    atomic_fetch_add(&done[t->index], 1);
}

START_TEST(unguarded_replacements_are_not_torn)
{
    open_stage(_i);
    struct load *l = load_start(CLIENTS, daemon_port(s.d), replace_unguarded, NULL);
    WAIT_FOR(load_failed(l) || total() > 1000, 60000);
    load_stop(&l);
    stage_close(&s);
}
END_TEST

/* Each thread counts in a member of its own: a patch that is applied anew loses nobody else's. */
static void patch_own_member(struct load_thread *t)
{
    char body[64];
    if (!has_more(t, INCREMENTS)) return;
    unsigned next = atomic_load(&done[t->index]) + 1;
    FORMAT(body, "{\"m%u\":%u}", t->index, next);
    const struct http_answer *a = http_send(t->http, "PATCH", "/session/k", body);
    if (a->status == 200)
        atomic_store(&done[t->index], next);
    else if (!lost_races(a))
        load_fail(t, "PATCH: %d %s", a->status, a->body);
}

START_TEST(patches_of_different_members_lose_none)
{
    char name[16];
    char value[32];
    open_stage(_i);
    struct load *l = load_start(CLIENTS, daemon_port(s.d), patch_own_member, NULL);
    WAIT_FOR(load_failed(l) || total() == CLIENTS * INCREMENTS, 60000);
    load_stop(&l);
    const struct http_answer *a = http_get(s.h, "/session/k");
    for (unsigned i = 0; i < CLIENTS; i++)
        ck_assert_str_eq(MEMBER(value, a->body, FORMAT(name, "m%u", i)), "100");
    stage_close(&s);
}
END_TEST

static void touch(struct load_thread *t)
{
    const struct http_answer *a = http_get(t->http, "/session/k");
    if (a->status != 200) load_fail(t, "GET: %d %s", a->status, a->body);
}

START_TEST(touches_cause_no_412)
{
    char line[128];
    char body[64];
    open_stage(_i);
    EXPECT_STATUS(http_get(s.h, "/session/k?touch=false"), 200);
    FORMAT(line, "If-Match: %s", http_header(s.h, "ETag"));
    struct load *l = load_start(4, daemon_port(s.d), touch, NULL);
    int64_t until = now_ms() + 3000; /* touches that write are a second apart */
    for (unsigned i = 0; now_ms() < until; i++) {
        FORMAT(body, "{\"data\":%u}", i);
        const struct http_answer *a = http_request(s.h, "PATCH", "/session/k", line, body, strlen(body));
        EXPECT_STATUS(a, 200);
        FORMAT(line, "If-Match: %s", http_header(s.h, "ETag"));
    }
    load_stop(&l);
    stage_close(&s);
}
END_TEST

/* --- one agent --- */

static void report_failure(struct load_thread *t)
{
    if (!has_more(t, REPORTS)) return;
    const struct http_answer *a = http_send(t->http, "POST", "/health/agent/failure", NULL);
    if (a->status == 200)
        atomic_fetch_add(&done[t->index], 1);
    else if (!lost_races(a))
        load_fail(t, "failure: %d %s", a->status, a->body);
}

START_TEST(parallel_reports_count_exactly)
{
    char value[32];
    open_stage(_i);
    struct load *l = load_start(REPORTERS, daemon_port(s.d), report_failure, NULL);
    WAIT_FOR(load_failed(l) || total() == REPORTERS * REPORTS, 60000);
    load_stop(&l);
    ck_assert_str_eq(MEMBER(value, http_get(s.h, "/health/agent")->body, "consecutive_failures"), "500");
    stage_close(&s);
}
END_TEST

static atomic_uint granted;

static void ask_for_a_permit(struct load_thread *t)
{
    const struct http_answer *a = http_send(t->http, "POST", "/health/agent/permit", NULL);
    if (a->status != 200 && !lost_races(a)) load_fail(t, "permit: %d %s", a->status, a->body);
    if (a->status == 200 && strstr(a->body, "\"allowed\":true")) atomic_fetch_add(&granted, 1);
    atomic_fetch_add(&done[t->index], 1);
}

START_TEST(two_daemons_hand_out_no_more_probes_than_one)
{
    char circuit[32];
    const char *env[] = {"PHOENIX_HEALTH_FAILURE_THRESHOLD=1", "PHOENIX_HEALTH_OPEN_BASE_MS=100",
                         "PHOENIX_HEALTH_PROBES=3", "PHOENIX_HEALTH_PROBE_TTL_MS=600000", NULL};
    s = stage_open(BACKEND_REDIS, env);
    struct daemon *other =
        daemon_start(&(struct daemon_options){.redis_url = redis_server_url(s.redis), .env = env});
    clear_counts();
    atomic_store(&granted, 0);
    EXPECT_STATUS(http_send(s.h, "POST", "/health/agent/failure", NULL), 200);
    WAIT_FOR(strcmp(MEMBER(circuit, http_get(s.h, "/health/agent")->body, "circuit"), "HalfOpen") == 0, 5000);
    struct load *one = load_start(4, daemon_port(s.d), ask_for_a_permit, NULL);
    struct load *two = load_start(4, daemon_port(other), ask_for_a_permit, NULL);
    WAIT_FOR(load_failed(one) || load_failed(two) || total() > 400, 30000);
    load_stop(&one);
    load_stop(&two);
    ck_assert_uint_eq(atomic_load(&granted), PROBES);
    daemon_stop(&other);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state_races");
    TCase *tc = test_case(suite, "races", 90);
    tcase_add_loop_test(tc, guarded_increments_are_neither_lost_nor_doubled, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, unguarded_replacements_are_not_torn, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, patches_of_different_members_lose_none, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, touches_cause_no_412, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, parallel_reports_count_exactly, 0, BACKEND_COUNT);
    tcase_add_test(tc, two_daemons_hand_out_no_more_probes_than_one);
    return test_run(suite);
}
