/* The Sentinels themselves fail: dead, hung, without knowledge of the master, all of them gone, not there
 * yet. Any one that is left is enough; with none the daemon stays where it is; and several daemons agree. */
#include "../support/load.h"
#include "../support/redis_sentinels.h"
#include "../support/stage.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 2, MOVED_WITHIN_MS = 1000, FAST_US = 200000 };

/* A busy machine's stall is no outage. */
static const char *const ENV[] = {"PHOENIX_REDIS_COMMAND_TIMEOUT_MS=1000", NULL};
static const char SILENCE[] = "no sentinel tells where the Redis master is";
static const char UNKNOWING[] = "a sentinel does not know the master; the others are asked";

static struct redis_sentinels *rig;
static struct daemon *d;
static struct http_client *h;
static struct load *load;
static _Atomic unsigned on_redis_count, local_count;

/* --- the rig and its daemons --- */

static struct redis_server *sentinel(int index)
{
    return redis_sentinels_sentinel(rig, index);
}

static bool is_on_redis(struct http_client *client)
{
    http_send(client, "PUT", "/cache/is-it-there", "{\"response\":\"r\",\"ttl\":600}");
    const char *backend = http_header(client, "Phoenix-Backend");
    return backend && strcmp(backend, "redis") == 0;
}

static void start_daemon(void)
{
    d = daemon_start(&(struct daemon_options){.redis_url = redis_sentinels_url(rig), .env = ENV});
    h = daemon_client(d);
}

static void open_on_redis(void)
{
    start_daemon();
    WAIT_FOR(is_on_redis(h), 10000);
}

static void close_all(void)
{
    http_close(&h);
    daemon_stop(&d);
    redis_sentinels_stop(&rig);
}

static double changes(const struct daemon *of)
{
    return daemon_metric(of, "phoenix_redis_topology_changes_total");
}

static const char *readyz(const char *name, char out[64])
{
    return member_of(out, 64, http_get(h, "/readyz")->body, name);
}

/* --- requests, without a pause: each gets its answer --- */

static void put_next(struct load_thread *t)
{
    char path[64];
    FORMAT(path, "/cache/of-%u-%llu", t->index, (unsigned long long)t->round);
    const struct http_answer *a = http_send(t->http, "PUT", path, "{\"response\":\"r\",\"ttl\":600}");
    if (a->status != 200 && a->status != 201) {
        load_fail(t, "PUT %s: %d %s%.300s", path, a->status, a->error, a->body);
        return;
    }
    const char *backend = http_header(t->http, "Phoenix-Backend");
    bool redis = backend && strcmp(backend, "redis") == 0;
    atomic_fetch_add(redis ? &on_redis_count : &local_count, 1);
    for (int64_t until = now_ms() + 2; now_ms() < until;)
        poll_pause();
}

/* So many more are answered, all by Redis. */
static void expect_served_by_redis(unsigned more)
{
    unsigned local = local_count, target = on_redis_count + more;
    WAIT_FOR(on_redis_count >= target || load_failed(load), 20000);
    ck_assert_msg(local_count == local, "%u were answered without Redis", local_count - local);
}

/* --- one or two of three are of no use --- */

static void lose_master(void)
{
    redis_server_kill(redis_sentinels_server(rig, 0));
}

/* By the last one: it asks nobody's consent, so the others need not be there. */
static void switch_master(void)
{
    free(redis_server_ask(sentinel(2), "SENTINEL", "FAILOVER", "mymaster"));
}

static void nothing(void)
{
}

static void kill_first(void)
{
    redis_server_kill(sentinel(0));
}
static void kill_second(void)
{
    redis_server_kill(sentinel(1));
}

static void hang_first(void)
{
    redis_server_pause(sentinel(0));
}
static void hang_second(void)
{
    redis_server_pause(sentinel(1));
}

static void make_first_forget(void)
{
    free(redis_server_ask(sentinel(0), "SENTINEL", "REMOVE", "mymaster"));
}

static const struct fault {
    const char *name;
    void (*first)(void); /* before the daemon starts; the first is the first of its URL, too */
    void (*later)(void); /* while it runs */
    void (*fail_over)(void);
    const char *told; /* in the log; NULL: nothing in particular */
} FAULTS[] = {
    {"one dead from the start", kill_first, nothing, lose_master, NULL},
    {"one dead from the start, another later", kill_first, kill_second, switch_master, NULL},
    {"one hung from the start, another later", hang_first, hang_second, switch_master, NULL},
    {"one that does not know the master, another hung", make_first_forget, hang_second, switch_master,
     UNKNOWING},
};

START_TEST(one_that_is_left_is_enough_to_follow_the_master)
{
    const struct fault *fault = &FAULTS[_i];
    rig = redis_sentinels_start(NULL);
    fault->first();
    open_on_redis();
    load = load_start(THREADS, daemon_port(d), put_next, NULL);
    expect_served_by_redis(50);
    fault->later();
    expect_served_by_redis(400); /* over a second: all are asked again meanwhile */
    if (fault->told) ck_assert(daemon_log_has(d, fault->told));
    double before = changes(d);
    fault->fail_over();
    struct redis_promotion p = redis_sentinels_await_promotion(rig, 0, 30000);
    WAIT_FOR(changes(d) > before, 5000);
    unsigned target = on_redis_count + THREADS + 1; /* the last of them was sent from here on */
    WAIT_FOR(on_redis_count >= target || load_failed(load), 5000);
    int64_t took_ms = now_ms() - p.told_ms;
    load_stop(&load);
    ck_assert_int_le(took_ms, test_ms(MOVED_WITHIN_MS));
    EXPECT_STATUS(http_send(h, "PUT", "/cache/after", "{\"response\":\"r\",\"ttl\":600}"), 201);
    struct resp_client *r = redis_server_client(redis_sentinels_server(rig, p.server));
    WAIT_FOR(*redis_value(r, "after") != 0, 5000);
    resp_close(&r);
    ck_assert(!daemon_log_has(d, SILENCE));
    close_all();
}
END_TEST

/* --- none is left --- */

static void kill_all(void)
{
    for (int i = 0; i < SENTINELS; i++)
        redis_server_kill(sentinel(i));
}

static void restart_all(void)
{
    for (int i = 0; i < SENTINELS; i++)
        redis_server_launch(sentinel(i));
    for (int i = 0; i < SENTINELS; i++)
        redis_server_await(sentinel(i));
}

static double connects(void)
{
    return daemon_metric(d, "phoenix_redis_connects_total{outcome=\"ok\"}");
}

START_TEST(without_any_the_daemon_stays_on_its_master)
{
    rig = redis_sentinels_start(NULL);
    open_on_redis();
    load = load_start(THREADS, daemon_port(d), put_next, NULL);
    double moves = changes(d);
    kill_all();
    WAIT_FOR(daemon_log_has(d, SILENCE) || load_failed(load), 15000);
    expect_served_by_redis(50);
    double before = connects();
    struct resp_client *r = redis_server_client(redis_sentinels_server(rig, 0));
    ck_assert_int_gt(resp_integer(r, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), 0);
    resp_close(&r);
    WAIT_FOR(connects() > before && is_on_redis(h), 5000);
    expect_served_by_redis(50);
    ck_assert(changes(d) == moves);
    restart_all();
    WAIT_FOR(daemon_log_has(d, "sentinels tell where the Redis master is again"), 10000);
    redis_sentinels_await_settled(rig, 30000);
    expect_served_by_redis(50);
    switch_master();
    (void)redis_sentinels_await_promotion(rig, 0, 30000);
    WAIT_FOR(changes(d) == moves + 1 && is_on_redis(h), 5000);
    load_stop(&load);
    close_all();
}
END_TEST

static void expect_fast(const struct http_answer *a, int status)
{
    EXPECT_STATUS(a, status);
    ck_assert_int_le(a->took_us, test_ms(FAST_US));
}

START_TEST(a_daemon_that_starts_before_them_is_degraded_until_they_come)
{
    char text[64];
    rig = redis_sentinels_start(NULL);
    kill_all();
    start_daemon(); /* /readyz says 200 */
    expect_fast(http_get(h, "/livez"), 200);
    WAIT_FOR(strcmp(readyz("status", text), "degraded") == 0, 5000);
    expect_fast(http_send(h, "PUT", "/cache/early", "{\"response\":\"bird\",\"ttl\":600}"), 201);
    expect_header(h, "Phoenix-Backend", "local");
    expect_fast(http_get(h, "/cache/early"), 200);
    expect_fast(http_send(h, "POST", "/session", "{\"correlation_id\":\"early\"}"), 201);
    expect_header(h, "Phoenix-Backend", "local");
    expect_fast(http_send(h, "POST", "/locks/early", "{\"ttl\":30}"), 503);
    restart_all();
    WAIT_FOR(is_on_redis(h) && strcmp(readyz("status", text), "ready") == 0, 15000);
    struct resp_client *r = redis_server_client(redis_sentinels_server(rig, 0));
    WAIT_FOR(strstr(redis_value(r, "early"), "bird"), 10000);
    WAIT_FOR(resp_integer(r, "EXISTS", "phoenix:session:early") == 1, 10000);
    resp_close(&r);
    EXPECT_STATUS(http_send(h, "POST", "/locks/early", "{\"ttl\":30}"), 201);
    close_all();
}
END_TEST

/* --- two daemons --- */

static const char *lock_body(char out[300], const char *token)
{
    return format(out, 300, "{\"token\":\"%s\",\"ttl\":120}", token);
}

START_TEST(a_lock_held_through_one_daemon_is_seen_by_the_other_after_a_failover)
{
    char token[128], body[300], line[160], fence[32], later[32];
    rig = redis_sentinels_start(NULL);
    open_on_redis();
    struct daemon *other =
        daemon_start(&(struct daemon_options){.redis_url = redis_sentinels_url(rig), .env = ENV});
    struct http_client *o = daemon_client(other);
    WAIT_FOR(is_on_redis(o), 10000);
    const struct http_answer *a = http_send(h, "POST", "/locks/agreed", "{\"ttl\":120}");
    EXPECT_STATUS(a, 201);
    MEMBER(token, a->body, "token");
    MEMBER(fence, a->body, "fence");
    expect_problem(o, http_send(o, "POST", "/locks/agreed", "{\"ttl\":30}"), 409, "lock_not_acquired");
    struct resp_client *r = redis_server_client(redis_sentinels_server(rig, 0));
    ck_assert_int_eq(resp_integer(r, "SET", "seen", "1"), -1);
    ck_assert_int_eq(resp_integer(r, "WAIT", "2", "5000"), 2); /* the lock is there, whoever is promoted */
    resp_close(&r);
    double before[] = {changes(d), changes(other)};
    lose_master();
    (void)redis_sentinels_await_promotion(rig, 0, 30000);
    WAIT_FOR(changes(d) == before[0] + 1 && changes(other) == before[1] + 1, 5000);
    WAIT_FOR(is_on_redis(h) && is_on_redis(o), 5000);
    expect_problem(o, http_send(o, "POST", "/locks/agreed", "{\"ttl\":30}"), 409, "lock_not_acquired");
    EXPECT_STATUS(http_send(h, "PUT", "/locks/agreed", lock_body(body, token)), 200);
    EXPECT_STATUS(http_send(o, "PUT", "/locks/agreed", lock_body(body, token)), 200);
    FORMAT(line, "Phoenix-Lock-Token: %s", token);
    EXPECT_STATUS(http_request(o, "DELETE", "/locks/agreed", line, NULL, 0), 204);
    expect_problem(h, http_send(h, "PUT", "/locks/agreed", lock_body(body, token)), 409, "lock_lost");
    a = http_send(h, "POST", "/locks/agreed", "{\"ttl\":30}");
    EXPECT_STATUS(a, 201);
    ck_assert(strtoll(MEMBER(later, a->body, "fence"), NULL, 10) > strtoll(fence, NULL, 10));
    http_close(&o);
    daemon_stop(&other);
    close_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sentinel faults");
    for (int i = 0; i < (int)(sizeof FAULTS / sizeof FAULTS[0]); i++)
        tcase_add_loop_test(test_case(suite, FAULTS[i].name, 120),
                            one_that_is_left_is_enough_to_follow_the_master, i, i + 1);
    tcase_add_test(test_case(suite, "none is left", 120), without_any_the_daemon_stays_on_its_master);
    tcase_add_test(test_case(suite, "none is there yet", 120),
                   a_daemon_that_starts_before_them_is_degraded_until_they_come);
    tcase_add_test(test_case(suite, "two daemons", 120),
                   a_lock_held_through_one_daemon_is_seen_by_the_other_after_a_failover);
    return test_run(suite);
}
