/* The daemon is killed at random moments while it accepts changes without Redis and while it hands them back:
 * whatever it acknowledged is in Redis afterwards, once, in order, with the time it has left.
 * SPOOL_KILL_ROUNDS (3) says how often. */
#include "../support/load.h"
#include "../support/redis_proxy.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { WRITERS = 6, SESSION_TTL_MS = 7200000, ROUND_MS = 60000 };

/* What one writer knows of its own session and its own agent. */
static struct {
    atomic_uint next;  /* the number last sent in a PATCH */
    atomic_uint acked; /* the highest that was acknowledged */
    atomic_uint reports,
        uncertain; /* failures reported since the last look: acknowledged, or without an answer */
} writers[WRITERS];
static atomic_bool reporting;

static struct redis_server *redis;
static struct redis_proxy *proxy;
static struct resp_client *r;
static struct daemon *d;
static struct http_client *h;
static struct load *load;
static char spool_env[TEST_PATH_MAX + 32];
static unsigned long long counted[WRITERS]; /* failures in Redis at the last look */

static void start_daemon(void)
{
    const char *env[] = {spool_env, "PHOENIX_SPOOL_REPLAY_PER_S=800",
                         "PHOENIX_HEALTH_FAILURE_THRESHOLD=1000000", NULL};
    d = daemon_start(&(struct daemon_options){.redis_url = redis_proxy_url(proxy), .env = env});
    h = daemon_client(d);
}

static void patch(struct load_thread *t)
{
    char path[32], body[64];
    unsigned n = atomic_fetch_add(&writers[t->index].next, 1) + 1;
    const struct http_answer *got =
        http_send(t->http, "PATCH", FORMAT(path, "/session/s%u", t->index), FORMAT(body, "{\"data\":%u}", n));
    if (got->status == 200)
        atomic_store(&writers[t->index].acked, n);
    else if (got->status != 0 && got->status != 503 && got->status != 504)
        load_fail(t, "PATCH: %d %s", got->status, got->body);
    if (got->status != 200) poll_pause();
}

static void report(struct load_thread *t)
{
    char path[32];
    const struct http_answer *got =
        http_send(t->http, "POST", FORMAT(path, "/health/h%u/failure", t->index), NULL);
    if (got->status == 200)
        atomic_fetch_add(&writers[t->index].reports, 1);
    else if (got->status == 0 || got->status == 504)
        atomic_fetch_add(&writers[t->index].uncertain, 1);
    else if (got->status != 503)
        load_fail(t, "POST failure: %d %s", got->status, got->body);
}

static void write_both(struct load_thread *t)
{
    patch(t);
    if (atomic_load(&reporting)) report(t);
}

static void start_load(bool reports)
{
    atomic_store(&reporting, reports);
    load = load_start(WRITERS, daemon_port(d), write_both, NULL);
}

static void kill_daemon(void)
{
    http_close(&h);
    daemon_signal(d, SIGKILL);
    daemon_wait(d, 5000);
    daemon_release(&d);
    load_stop(&load);
}

static unsigned acked_writes(void)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < WRITERS; i++)
        sum += atomic_load(&writers[i].acked) + atomic_load(&writers[i].reports);
    return sum;
}

static void run_for(int64_t ms)
{
    for (int64_t until = now_ms() + ms; now_ms() < until && !load_failed(load);)
        poll_pause();
}

/* Each key is read once, so that the daemon has a copy to go on from. */
static void warm_up(void)
{
    char path[32];
    for (unsigned i = 0; i < WRITERS; i++) {
        EXPECT_STATUS(http_get(h, FORMAT(path, "/session/s%u", i)), 200);
        EXPECT_STATUS(http_get(h, FORMAT(path, "/health/h%u", i)), 200);
    }
}

static void cut_off(void)
{
    redis_proxy_refuse(proxy, true);
    redis_proxy_cut(proxy);
    WAIT_FOR(http_get(h, "/cache/absent")->status == 404 && daemon_metric(d, "phoenix_redis_up") == 0, 10000);
}

static void expect_all_in_redis(int round)
{
    char key[64], number[32];
    for (unsigned i = 0; i < WRITERS; i++) {
        const char *value = resp_text(r, "GET", FORMAT(key, "phoenix:session:s%u", i));
        unsigned long long n = strtoull(MEMBER(number, value, "data"), NULL, 10);
        unsigned acked = atomic_load(&writers[i].acked), next = atomic_load(&writers[i].next);
        ck_assert_msg(n >= acked && n <= next, "round %d, s%u: %llu instead of %u to %u", round, i, n, acked,
                      next);
        long long left = resp_integer(r, "PTTL", key, NULL);
        ck_assert_msg(left > SESSION_TTL_MS - test_ms(ROUND_MS) && left <= SESSION_TTL_MS,
                      "s%u: %lld ms left", i, left);
        value = resp_text(r, "GET", FORMAT(key, "phoenix:health:h%u", i));
        n = strtoull(MEMBER(number, value, "consecutive_failures"), NULL, 10);
        unsigned reports = atomic_exchange(&writers[i].reports, 0);
        unsigned uncertain = atomic_exchange(&writers[i].uncertain, 0);
        ck_assert_msg(n >= counted[i] + reports && n <= counted[i] + reports + uncertain,
                      "round %d, h%u: %llu failures instead of %llu + %u to %u more", round, i, n, counted[i],
                      reports, uncertain);
        counted[i] = n;
    }
}

static int random_ms(int most)
{
    return rand() % (most + 1); /* NOLINT(cert-msc30-c,cert-msc50-cpp): when to kill, no secret */
}

static void one_round(int round)
{
    warm_up();
    cut_off();
    unsigned before = acked_writes();
    start_load(true);
    WAIT_FOR(acked_writes() > before + 100 || load_failed(load), 20000);
    run_for(random_ms(200));
    if (round % 2 == 0) { /* while it accepts; what it has no copy of, it refuses afterwards */
        kill_daemon();
        start_daemon();
        WAIT_FOR(http_get(h, "/cache/absent")->status == 404 && daemon_metric(d, "phoenix_redis_up") == 0,
                 10000);
        start_load(false);
        run_for(random_ms(100));
    }
    ck_assert(daemon_metric(d, "phoenix_journal_entries") > 0);
    redis_proxy_refuse(proxy, false);
    run_for(random_ms(800)); /* while it hands back, and accepts more behind that */
    kill_daemon();
    start_daemon();
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1 && daemon_metric(d, "phoenix_journal_entries") == 0,
             ROUND_MS);
    expect_all_in_redis(round);
    ck_assert_int_eq((int)daemon_metric(d, "phoenix_journal_conflicts_total"), 0);
}

START_TEST(what_was_acknowledged_is_in_redis_once_and_in_order)
{
    char path[TEST_PATH_MAX], body[64];
    const char *rounds = getenv("SPOOL_KILL_ROUNDS");
    srand((unsigned)now_us());
    FORMAT(spool_env, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "killed.db"));
    redis = redis_server_start(NULL);
    r = redis_server_client(redis);
    proxy = redis_proxy_start(redis_server_port(redis));
    start_daemon();
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1, 5000);
    for (unsigned i = 0; i < WRITERS; i++) {
        EXPECT_STATUS(
            http_send(h, "POST", "/session", FORMAT(body, "{\"correlation_id\":\"s%u\",\"data\":0}", i)),
            201);
        EXPECT_STATUS(http_send(h, "POST", FORMAT(body, "/health/h%u/failure", i), NULL), 200);
        counted[i] = 1;
    }
    for (int round = 0; round < (rounds ? strtol(rounds, NULL, 10) : 3); round++)
        one_round(round);
    http_close(&h);
    daemon_stop(&d);
    resp_close(&r);
    redis_proxy_stop(&proxy);
    redis_server_stop(&redis);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool_kill");
    TCase *tc = test_case(suite, "kill", 900);
    tcase_add_test(tc, what_was_acknowledged_is_in_redis_once_and_in_order);
    return test_run(suite);
}
