/* A cluster's masters die, hang, and leave too few: no request to /cache fails, only the keys of the failed
 * shard are answered by the daemon itself, and what was written meanwhile is in Redis afterwards. */
#include "../support/load.h"
#include "../support/redis_cluster.h"
#include "../support/stage.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, KEYS = 12, SPOOLED = 20, FAILOVER_MS = 20000, MANY_MASTERS = 8, SESSIONS = 80 };

static struct redis_cluster *c;
static struct daemon *d;
static struct http_client *h;
static int failed; /* the node that is brought down, a master */

/* A key of each thread, and what its shard has to do with the failed one. */
static struct {
    char name[32];
    bool of_failed;
    unsigned written;
} keys[THREADS][KEYS];
static _Atomic bool down;
static _Atomic unsigned others_redis, failed_local;

static bool is_of_failed(const char *room, const char *id)
{
    char key[96];
    return redis_cluster_owner(c, redis_cluster_slot(c, FORMAT(key, "phoenix:%s:%s", room, id))) == failed;
}

static void open_cluster(const struct redis_cluster_options *options)
{
    const char *env[] = {"PHOENIX_BREAKER_OPEN_MAX_MS=1000", NULL};
    c = redis_cluster_start(options);
    d = daemon_start(&(struct daemon_options){.redis_url = redis_cluster_url(c), .env = env});
    h = daemon_client(d);
    WAIT_FOR(daemon_log_has(d, "the cluster's slots are known"), 5000);
    failed = 1;
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned k = 0; k < KEYS; k++) {
            FORMAT(keys[t][k].name, "f-%u-%u", t, k);
            keys[t][k].of_failed = is_of_failed("cache", keys[t][k].name);
        }
}

static void open_all(void)
{
    open_cluster(NULL);
}

static void open_masters(void)
{
    open_cluster(&(struct redis_cluster_options){.no_replicas = true});
}

/* In which a hung node is missed late. */
static void open_patient(void)
{
    open_cluster(&(struct redis_cluster_options){.no_replicas = true, .node_timeout_ms = 8000});
}

static void open_many(void)
{
    open_cluster(&(struct redis_cluster_options){
        .no_replicas = true, .masters = MANY_MASTERS, .node_timeout_ms = 8000});
}

static void close_all(void)
{
    http_close(&h);
    daemon_stop(&d);
    redis_cluster_stop(&c);
}

static bool is_well(void)
{
    char mode[32];
    return strcmp(MEMBER(mode, http_get(h, "/readyz")->body, "mode"), "redis") == 0 &&
           daemon_metric(d, "phoenix_pending_entries") == 0 &&
           daemon_metric(d, "phoenix_journal_entries") == 0;
}

/* --- traffic --- */

/* Who answered for the other shards is Redis, always. */
static void judge_backend(struct load_thread *t, bool of_failed, const char *what)
{
    const char *backend = http_header(t->http, "Phoenix-Backend");
    bool redis = backend && strcmp(backend, "redis") == 0;
    if (!of_failed && !redis)
        load_fail(t, "%s, of a shard that is well: Phoenix-Backend: %s", what, backend ? backend : "none");
    if (!of_failed && atomic_load(&down)) atomic_fetch_add(&others_redis, 1);
    if (of_failed && !redis) atomic_fetch_add(&failed_local, 1);
}

static void write_one(struct load_thread *t, unsigned k)
{
    char path[64], body[96];
    const char *name = keys[t->index][k].name;
    FORMAT(body, "{\"response\":\"%s/%u\",\"ttl\":600}", name, keys[t->index][k].written + 1);
    const struct http_answer *a = http_send(t->http, "PUT", FORMAT(path, "/cache/%s", name), body);
    if (a->status != 200 && a->status != 201) {
        load_fail(t, "PUT %s: %d %s%.200s", name, a->status, a->error, a->body);
        return;
    }
    keys[t->index][k].written++;
    judge_backend(t, keys[t->index][k].of_failed, name);
}

static void read_one(struct load_thread *t, unsigned k)
{
    char path[64], got[64], want[64];
    const char *name = keys[t->index][k].name;
    const struct http_answer *a = http_get(t->http, FORMAT(path, "/cache/%s", name));
    bool of_failed = keys[t->index][k].of_failed;
    if (a->status != 200 && a->status != 404) {
        load_fail(t, "GET %s: %d %s%.200s", name, a->status, a->error, a->body);
        return;
    }
    MEMBER(got, a->body, "response");
    /* What the failed master had acknowledged and not yet replicated is gone with it: that is Redis's. */
    FORMAT(want, "%s/", name);
    if (a->status == 200 && strncmp(got, want, strlen(want)) != 0)
        load_fail(t, "GET %s gave another's value: %s", name, got);
    FORMAT(want, "%s/%u", name, keys[t->index][k].written);
    if (!of_failed && keys[t->index][k].written && strcmp(got, want) != 0)
        load_fail(t, "GET %s gave %d %s instead of %s", name, a->status, got, want);
    if (a->status == 200) judge_backend(t, of_failed, name);
}

static void one_request(struct load_thread *t)
{
    uint64_t dice = load_random(t);
    if (dice & 1)
        write_one(t, (unsigned)((dice >> 8) % KEYS));
    else
        read_one(t, (unsigned)((dice >> 8) % KEYS));
    poll_pause();
}

/* --- what is written meanwhile --- */

/* The first ids, of that form and in that room, that live on the failed shard. */
static unsigned next_of_failed(const char *room, unsigned from)
{
    char id[32];
    while (!is_of_failed(room, FORMAT(id, "s-%u", from)))
        from++;
    return from;
}

static unsigned spooled_cache[SPOOLED], spooled_session[SPOOLED];

static void choose_spooled(void)
{
    unsigned cache = 0, session = 0;
    for (unsigned i = 0; i < SPOOLED; i++) {
        cache = spooled_cache[i] = next_of_failed("cache", cache + 1);
        session = spooled_session[i] = next_of_failed("session", session + 1);
    }
}

static void write_spooled(void)
{
    char path[64], body[128];
    WAIT_FOR(daemon_metric(d, "phoenix_cache_writes_total{backend=\"local\"}") > 0, 5000);
    for (unsigned i = 0; i < SPOOLED; i++) {
        FORMAT(body, "{\"response\":\"spooled %u\",\"ttl\":600}", i);
        EXPECT_STATUS(http_send(h, "PUT", FORMAT(path, "/cache/s-%u", spooled_cache[i]), body), 201);
        expect_header(h, "Phoenix-Backend", "local");
        FORMAT(body, "{\"plan_id\":\"plan %u\"}", i);
        const struct http_answer *a =
            http_send(h, "PUT", FORMAT(path, "/session/s-%u", spooled_session[i]), body);
        ck_assert_msg(a->status == 201 || a->status == 202 || a->status == 503, "%d %s", a->status, a->body);
        FORMAT(body, "{\"correlation_id\":\"s-%u\",\"plan_id\":\"plan %u\"}", spooled_session[i], i);
        a = http_send(h, "POST", "/session", body);
        ck_assert_msg(a->status == 201 || a->status == 202, "%d %s", a->status, a->body);
    }
}

static bool put_fails_over(unsigned i)
{
    char path[64];
    (void)http_send(h, "PUT", FORMAT(path, "/cache/s-%u", i), "{\"response\":\"x\",\"ttl\":600}");
    const char *backend = http_header(h, "Phoenix-Backend");
    return backend && strcmp(backend, "local") == 0;
}

static unsigned of_failed_among_o(unsigned count)
{
    char id[32];
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++)
        n += is_of_failed("cache", FORMAT(id, "o-%u", i));
    return n;
}

static void expect_cached_on(int owner)
{
    char key[32], got[64], want[16];
    struct resp_client *r = redis_server_client(redis_cluster_node(c, owner));
    for (unsigned i = 0; i < SPOOLED; i++) {
        FORMAT(key, "s-%u", spooled_cache[i]);
        ck_assert_str_eq(MEMBER(got, redis_value(r, key), "response"), FORMAT(want, "%u", i));
    }
    resp_close(&r);
}

static void expect_spooled_on(int owner)
{
    char key[96], got[128], want[64];
    struct resp_client *r = redis_server_client(redis_cluster_node(c, owner));
    for (unsigned i = 0; i < SPOOLED; i++) {
        FORMAT(key, "phoenix:cache:s-%u", spooled_cache[i]);
        ck_assert_str_eq(MEMBER(got, resp_text(r, "GET", key), "response"), FORMAT(want, "spooled %u", i));
        FORMAT(key, "phoenix:session:s-%u", spooled_session[i]);
        ck_assert_str_eq(MEMBER(got, resp_text(r, "GET", key), "plan_id"), FORMAT(want, "plan %u", i));
    }
    resp_close(&r);
}

/* --- the tests --- */

static void bring_down(bool hang)
{
    atomic_store(&down, true);
    if (hang)
        redis_server_pause(redis_cluster_node(c, failed));
    else
        redis_server_kill(redis_cluster_node(c, failed));
}

static void fail_over(bool hang)
{
    int slot = CLUSTER_SLOTS / 2; /* node 1's */
    int64_t promoted_ms;
    choose_spooled();
    struct load *load = load_start(THREADS, daemon_port(d), one_request, NULL);
    WAIT_FOR(load_calls(load) > 400, 20000);
    bring_down(hang);
    write_spooled();
    int owner = redis_cluster_await_owner(c, slot, failed, FAILOVER_MS, &promoted_ms);
    WAIT_FOR(is_well(), 10000);
    int64_t back_ms = now_ms() - promoted_ms;
    uint64_t calls = load_calls(load);
    WAIT_FOR(load_calls(load) > calls + 400 || load_failed(load), 20000);
    load_stop(&load);
    ck_assert(atomic_load(&failed_local) > 0 && atomic_load(&others_redis) > 100);
    expect_spooled_on(owner);
    printf("%s: all well and handed back %d ms after the promotion, %u answers for the others meanwhile\n",
           hang ? "hung" : "killed", (int)back_ms, atomic_load(&others_redis));
    (void)fflush(stdout);
    ck_assert_msg(back_ms < test_ms(3000), "well again %d ms after the promotion", (int)back_ms);
    if (hang) redis_server_resume(redis_cluster_node(c, failed));
}

START_TEST(a_killed_master_costs_the_others_nothing_and_its_spooled_writes_arrive)
{
    fail_over(false);
}
END_TEST

START_TEST(a_hung_master_costs_the_others_nothing_and_its_spooled_writes_arrive)
{
    fail_over(true);
    char path[64], got[64];
    WAIT_FOR(redis_cluster_owner(c, CLUSTER_SLOTS / 2) != failed, 5000);
    for (unsigned i = 0; i < SPOOLED; i++) { /* who was hung says nothing old */
        const struct http_answer *a = http_request(h, "GET", FORMAT(path, "/cache/s-%u", spooled_cache[i]),
                                                   "Cache-Control: no-cache", NULL, 0);
        EXPECT_STATUS(a, 200);
        ck_assert(strncmp(MEMBER(got, a->body, "response"), "spooled", 7) == 0);
    }
}
END_TEST

static void write_to_dead_shard(void)
{
    char path[64], body[64];
    for (unsigned i = 0; i < SPOOLED; i++) {
        FORMAT(body, "{\"response\":\"%u\",\"ttl\":600}", i);
        const struct http_answer *a =
            http_send(h, "PUT", FORMAT(path, "/cache/s-%u", spooled_cache[i]), body);
        ck_assert_msg(a->status == 201 || a->status == 200, "%d %s", a->status, a->body);
        FORMAT(body, "{\"correlation_id\":\"s-%u\"}", spooled_session[i]);
        a = http_send(h, "POST", "/session", body);
        ck_assert_msg(a->status == 201 || a->status == 202, "%d %s", a->status, a->body);
    }
}

START_TEST(what_waits_for_a_dead_shard_holds_up_no_other)
{
    char path[64], body[64];
    choose_spooled();
    redis_server_kill(redis_cluster_node(c, failed));
    WAIT_FOR(strstr(http_get(h, "/readyz")->body, "\"circuit\":\"closed\"") != NULL &&
                 put_fails_over(spooled_cache[0]),
             10000);
    write_to_dead_shard();
    double cache = daemon_metric(d, "phoenix_pending_entries");
    double journal = daemon_metric(d, "phoenix_journal_entries");
    ck_assert(cache >= SPOOLED && journal >= SPOOLED);
    /* Another one hangs for a moment, shorter than the cluster would mind; its entries come behind those. */
    redis_server_pause(redis_cluster_node(c, 2));
    for (unsigned i = 0; i < SPOOLED; i++) {
        FORMAT(body, "{\"response\":\"%u\",\"ttl\":600}", i);
        EXPECT_STATUS(http_send(h, "PUT", FORMAT(path, "/cache/o-%u", i), body), 201);
    }
    ck_assert(daemon_metric(d, "phoenix_pending_entries") > cache);
    redis_server_resume(redis_cluster_node(c, 2));
    WAIT_FOR(daemon_metric(d, "phoenix_pending_entries") <= cache + of_failed_among_o(SPOOLED), 10000);
    ck_assert(daemon_metric(d, "phoenix_journal_entries") >= SPOOLED);
    redis_server_restart(redis_cluster_node(c, failed));
    WAIT_FOR(is_well(), 20000);
    expect_cached_on(failed);
}
END_TEST

START_TEST(a_cluster_that_is_down_is_answered_for_and_its_circuits_stay_open)
{
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned k = 0; k < KEYS; k++)
            keys[t][k].of_failed = true; /* no shard is left to itself */
    struct load *load = load_start(THREADS, daemon_port(d), one_request, NULL);
    WAIT_FOR(load_calls(load) > 400, 20000);
    redis_server_kill(redis_cluster_node(c, 1));
    redis_server_kill(redis_cluster_node(c, 2));
    struct resp_client *r = redis_server_client(redis_cluster_node(c, 0));
    WAIT_FOR(strstr(resp_text(r, "CLUSTER", "INFO"), "cluster_state:fail") != NULL, 15000);
    /* It still says PONG; that closes nothing. */
    WAIT_FOR(strstr(http_get(h, "/readyz")->body, "\"circuit\":\"closed\"") == NULL, 10000);
    double changes = daemon_metric(d, "phoenix_breaker_changes_total{to=\"closed\"}");
    uint64_t calls = load_calls(load);
    WAIT_FOR(load_calls(load) > calls + 2000 || load_failed(load), 30000);
    ck_assert(daemon_metric(d, "phoenix_breaker_changes_total{to=\"closed\"}") == changes);
    redis_server_restart(redis_cluster_node(c, 1));
    redis_server_restart(redis_cluster_node(c, 2));
    WAIT_FOR(is_well(), 20000);
    load_stop(&load);
    resp_close(&r);
}
END_TEST

/* --- many masters --- */

static void pause_all(void)
{
    for (int i = 0; i < MANY_MASTERS; i++)
        redis_server_pause(redis_cluster_node(c, i));
}

static void resume_all(void)
{
    for (int i = 0; i < MANY_MASTERS; i++)
        redis_server_resume(redis_cluster_node(c, i));
}

static bool all_circuits(const char *state)
{
    char want[32];
    int n = 0;
    FORMAT(want, "\"circuit\":\"%s\"", state);
    for (const char *at = http_get(h, "/readyz")->body; (at = strstr(at, want)) != NULL; at++)
        n++;
    return n == MANY_MASTERS;
}

/* So that every circuit opens: each shard is asked. */
static void put_everywhere(void)
{
    char path[64];
    for (unsigned i = 0; i < SESSIONS; i++)
        (void)http_send(h, "PUT", FORMAT(path, "/cache/e-%u", i), "{\"response\":1,\"ttl\":600}");
}

static void expect_sessions(void)
{
    char id[32], path[64], key[64];
    int seen[MANY_MASTERS] = {0};
    for (unsigned i = 0; i < SESSIONS; i++) {
        FORMAT(id, "m-%u", i);
        int slot = redis_cluster_slot(c, FORMAT(key, "phoenix:session:%s", id));
        seen[slot * MANY_MASTERS / CLUSTER_SLOTS]++;
        EXPECT_STATUS(http_get(h, FORMAT(path, "/session/%s", id)), 200);
        expect_header(h, "Phoenix-Backend", "redis");
    }
    for (int i = 0; i < MANY_MASTERS; i++)
        ck_assert_int_gt(seen[i], 0);
}

START_TEST(many_masters_that_hang_together_get_everything_back_and_their_leases_end)
{
    char body[64];
    EXPECT_STATUS(http_send(h, "POST", "/tasks", "{\"task_id\":\"t\",\"payload\":1}"), 201);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{\"lease\":1}"), 200);
    pause_all();
    WAIT_FOR((put_everywhere(), all_circuits("open")), 20000);
    for (unsigned i = 0; i < SESSIONS; i++)
        EXPECT_STATUS(http_send(h, "POST", "/session", FORMAT(body, "{\"correlation_id\":\"m-%u\"}", i)),
                      201);
    ck_assert(daemon_metric(d, "phoenix_journal_entries") >= SESSIONS);
    resume_all();
    WAIT_FOR(is_well() && all_circuits("closed"), 20000);
    expect_sessions();
    const struct http_answer *a = http_send(h, "POST", "/tasks/dequeue", "{\"wait\":20}");
    EXPECT_STATUS(a, 200);
    ck_assert_msg(strstr(a->body, "\"task_id\":\"t\"") != NULL, "%.300s", a->body);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cluster_failover");
    TCase *t = test_case(s, "failover", 90);
    tcase_add_checked_fixture(t, open_all, close_all);
    tcase_add_test(t, a_killed_master_costs_the_others_nothing_and_its_spooled_writes_arrive);
    tcase_add_test(t, a_hung_master_costs_the_others_nothing_and_its_spooled_writes_arrive);
    t = test_case(s, "down", 90);
    tcase_add_checked_fixture(t, open_masters, close_all);
    tcase_add_test(t, a_cluster_that_is_down_is_answered_for_and_its_circuits_stay_open);
    t = test_case(s, "many masters", 90);
    tcase_add_checked_fixture(t, open_many, close_all);
    tcase_add_test(t, many_masters_that_hang_together_get_everything_back_and_their_leases_end);
    t = test_case(s, "hand-back", 90);
    tcase_add_checked_fixture(t, open_patient, close_all);
    tcase_add_test(t, what_waits_for_a_dead_shard_holds_up_no_other);
    return test_run(s);
}
