/* Coherence: what another client changes, or another worker writes, is not served from the table
 * once its invalidation has arrived; a fill that comes too late is not kept; a dead invalidation connection
 * ends all trust. */
#include "../support/fake_redis.h"
#include "../support/raw_http.h"
#include "../support/stage.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static bool detail_is(struct http_client *h, const char *detail)
{
    const char *status = http_header(h, "Cache-Status");
    char wanted[64];
    return status && strstr(status, FORMAT(wanted, "detail=%s", detail)) != NULL;
}

static bool reads_near(struct http_client *h, const char *path)
{
    EXPECT_STATUS(http_get(h, path), 200);
    return detail_is(h, "near");
}

static void put_value(struct resp_client *r, const char *key, const char *response)
{
    char value[512];
    redis_put(r, key, cache_value(value, sizeof value, response, 0, 600), 600000);
}

START_TEST(a_second_read_is_answered_from_the_table)
{
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    put_value(s.r, "k", "1");
    WAIT_FOR(reads_near(s.h, "/cache/k"), 5000);
    expect_header(s.h, "Phoenix-Backend", "redis");
    double asked = daemon_metric_sum(s.d, "phoenix_redis_calls_total{");
    for (int i = 0; i < 50; i++)
        ck_assert(reads_near(s.h, "/cache/k"));
    ck_assert(daemon_metric_sum(s.d, "phoenix_redis_calls_total{") - asked < 10);
    ck_assert(daemon_metric(s.d, "phoenix_cache_reads_total{source=\"near\"}") >= 50);
    stage_close(&s);
}
END_TEST

/* After a change is seen once, the old value never comes back. */
static void expect_change(struct http_client *h, const char *path, const char *old, const char *new)
{
    char value[128];
    int64_t until = now_ms() + test_ms(3000);
    for (;;) {
        const struct http_answer *a = http_get(h, path);
        EXPECT_STATUS(a, 200);
        if (strcmp(MEMBER(value, a->body, "response"), new) == 0) break;
        ck_assert_str_eq(value, old);
        ck_assert_msg(now_ms() < until, "%s still says %s", path, old);
    }
    for (int i = 0; i < 50; i++)
        ck_assert_str_eq(MEMBER(value, http_get(h, path)->body, "response"), new);
}

START_TEST(a_value_changed_by_another_client_is_not_served_from_the_table)
{
    const char *env[] = {"PHOENIX_HTTP_WORKERS=2", NULL};
    struct stage s = stage_open(BACKEND_REDIS, env);
    struct http_client *others[3];
    for (int i = 0; i < 3; i++) /* connections on both workers */
        others[i] = daemon_client(s.d);
    put_value(s.r, "k", "0");
    char old[32] = "0";
    for (int round = 1; round <= 10; round++) {
        char new[32];
        for (int i = 0; i < 3; i++)
            WAIT_FOR(reads_near(others[i], "/cache/k"), 5000);
        put_value(s.r, "k", FORMAT(new, "%d", round));
        for (int i = 0; i < 3; i++)
            expect_change(others[i], "/cache/k", i == 0 ? old : new, new);
        FORMAT(old, "%d", round);
    }
    ck_assert_int_eq(resp_integer(s.r, "DEL", "phoenix:cache:k"), 1);
    WAIT_FOR(http_get(others[0], "/cache/k")->status == 404, 3000);
    for (int i = 0; i < 30; i++)
        EXPECT_STATUS(http_get(others[i % 3], "/cache/k"), 404);
    for (int i = 0; i < 3; i++)
        http_close(&others[i]);
    stage_close(&s);
}
END_TEST

START_TEST(a_write_by_one_worker_is_seen_by_the_other_at_once)
{
    char body[64];
    char value[64];
    const char *env[] = {"PHOENIX_HTTP_WORKERS=2", NULL};
    struct stage s = stage_open(BACKEND_REDIS, env);
    struct http_client *clients[4];
    for (int i = 0; i < 4; i++)
        clients[i] = daemon_client(s.d);
    EXPECT_STATUS(http_send(clients[0], "PUT", "/cache/k", "{\"response\":\"0\"}"), 201);
    for (int round = 1; round <= 200; round++) {
        FORMAT(body, "{\"response\":\"%d\"}", round);
        EXPECT_STATUS(http_send(clients[round % 4], "PUT", "/cache/k", body), 200);
        for (int i = 0; i < 4; i++) {
            const struct http_answer *a = http_get(clients[i], "/cache/k");
            EXPECT_STATUS(a, 200);
            ck_assert_int_eq(strtol(MEMBER(value, a->body, "response"), NULL, 10), round);
        }
    }
    EXPECT_STATUS(http_send(clients[0], "DELETE", "/cache/k", NULL), 204);
    for (int i = 0; i < 4; i++) {
        EXPECT_STATUS(http_get(clients[i], "/cache/k"), 404);
        http_close(&clients[i]);
    }
    stage_close(&s);
}
END_TEST

/* --- races, made to happen by a Redis in between that holds an answer --- */

struct held_reads {
    atomic_bool on;
    atomic_uint seen;
};

static struct fake_verdict hold_reads(void *arg, const struct fake_command *c)
{
    static const char *const reads[] = {"GET", "GETRANGE", "PTTL", "GETEX", "EVAL", "EVALSHA", "EVALSHA_RO"};
    struct held_reads *held = arg;
    if (!atomic_load(&held->on) || !fake_command_names(c, "phoenix:cache:raced"))
        return (struct fake_verdict){0};
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        if (fake_command_is(c, reads[i])) {
            atomic_fetch_add(&held->seen, 1);
            return (struct fake_verdict){.hold = true};
        }
    }
    return (struct fake_verdict){0};
}

struct race {
    struct redis_server *redis;
    struct resp_client *r;
    struct fake_redis *f;
    struct daemon *d;
    struct http_client *h;
    struct held_reads held;
    char key[32], path[64]; /* of this round */
};

static void race_open(struct race *x)
{
    char timeout[64];
    char deadline[64];
    const char *env[] = {FORMAT(timeout, "PHOENIX_REDIS_COMMAND_TIMEOUT_MS=%d", (int)test_ms(5000)),
                         FORMAT(deadline, "PHOENIX_HTTP_DEADLINE_MS=%d", (int)test_ms(6000)), NULL};
    *x = (struct race){.redis = redis_server_start(NULL)};
    x->r = redis_server_client(x->redis);
    x->f = fake_redis_start(redis_server_port(x->redis));
    fake_redis_script(x->f, hold_reads, &x->held);
    x->d = daemon_start(&(struct daemon_options){.redis_url = fake_redis_url(x->f), .env = env});
    x->h = daemon_client(x->d);
    WAIT_FOR(daemon_metric(x->d, "phoenix_near_live") == 1, 5000);
}

static void race_close(struct race *x)
{
    http_close(&x->h);
    daemon_stop(&x->d);
    fake_redis_stop(&x->f);
    resp_close(&x->r);
    redis_server_stop(&x->redis);
}

/* A key of its own for each round: no table knows it yet. */
static void race_begin(struct race *x, int round)
{
    FORMAT(x->key, "raced-%d", round);
    FORMAT(x->path, "/cache/%s", x->key);
    double heard = daemon_metric(x->d, "phoenix_invalidations_total");
    put_value(x->r, x->key, "\"old\"");
    WAIT_FOR(daemon_metric(x->d, "phoenix_invalidations_total") > heard, 3000);
}

static long long keyspace_hits(struct resp_client *r)
{
    const char *at = strstr(resp_text(r, "INFO", "stats"), "keyspace_hits:");
    ck_assert_ptr_nonnull(at);
    return strtoll(at + strlen("keyspace_hits:"), NULL, 10);
}

/* Sends a read whose answer is held in the fake, after Redis has given it. */
static struct raw_http begin_held_read(struct race *x)
{
    char text[256];
    long long hits = keyspace_hits(x->r);
    atomic_store(&x->held.seen, 0);
    atomic_store(&x->held.on, true);
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(x->d));
    raw_http_send(&w, FORMAT(text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", x->path));
    WAIT_FOR(atomic_load(&x->held.seen) > 0 && keyspace_hits(x->r) > hits, 3000);
    atomic_store(&x->held.on, false);
    return w;
}

static void end_held_read(struct race *x, struct raw_http *w)
{
    fake_redis_release(x->f);
    ck_assert_int_eq(raw_status(w, NULL), 200);
    raw_http_close(w);
}

START_TEST(a_fill_that_arrives_after_the_invalidation_is_not_kept)
{
    struct race x;
    race_open(&x);
    for (int round = 0; round < 5; round++) {
        race_begin(&x, round);
        struct raw_http w = begin_held_read(&x);
        double heard = daemon_metric(x.d, "phoenix_invalidations_total");
        put_value(x.r, x.key, "\"new\"");
        WAIT_FOR(daemon_metric(x.d, "phoenix_invalidations_total") > heard, 3000);
        end_held_read(&x, &w);
        expect_change(x.h, x.path, "(nothing else)", "new");
    }
    race_close(&x);
}
END_TEST

/* A write whose answer may be held behind the read's, on the same connection: only Redis is awaited. */
static struct raw_http begin_write(struct race *x)
{
    char text[256];
    struct raw_http w = raw_http_tcp((uint16_t)daemon_port(x->d));
    raw_http_send(
        &w,
        FORMAT(text, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n{\"response\":\"new\"}",
               x->path));
    WAIT_FOR(strstr(redis_value(x->r, x->key), "new") != NULL, 3000);
    return w;
}

START_TEST(a_fill_that_arrives_after_a_write_through_the_daemon_is_not_kept)
{
    struct race x;
    race_open(&x);
    for (int round = 0; round < 5; round++) {
        race_begin(&x, round);
        struct raw_http w = begin_held_read(&x);
        struct raw_http writer = begin_write(&x);
        end_held_read(&x, &w);
        ck_assert_int_eq(raw_status(&writer, NULL), 200);
        raw_http_close(&writer);
        expect_change(x.h, x.path, "(nothing else)", "new");
        EXPECT_STATUS(http_send(x.h, "DELETE", x.path, NULL), 204);
        EXPECT_STATUS(http_get(x.h, x.path), 404);
    }
    race_close(&x);
}
END_TEST

START_TEST(a_fill_begun_before_tracking_was_lost_is_not_trusted)
{
    struct race x;
    race_open(&x);
    race_begin(&x, 0);
    struct raw_http w = begin_held_read(&x);
    ck_assert_int_ge(resp_integer(x.r, "CLIENT", "KILL", "TYPE", "pubsub"), 1);
    put_value(x.r, x.key, "\"new\""); /* nobody hears of it */
    WAIT_FOR(daemon_log_has(x.d, "near cache lost"), 5000);
    end_held_read(&x, &w);
    expect_change(x.h, x.path, "(nothing else)", "new");
    race_close(&x);
}
END_TEST

/* --- the invalidation connection --- */

static struct fake_verdict refuse_tracking(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (fake_command_is(c, "SUBSCRIBE") || fake_command_names(c, "TRACKING"))
        return (struct fake_verdict){.reply = "-ERR not now\r\n"};
    return (struct fake_verdict){0};
}

START_TEST(when_the_invalidation_connection_dies_reads_go_to_redis_at_once)
{
    struct race x;
    race_open(&x);
    put_value(x.r, "k", "\"old\"");
    WAIT_FOR(reads_near(x.h, "/cache/k"), 5000);
    fake_redis_script(x.f, refuse_tracking, NULL); /* it shall not come back yet */
    ck_assert_int_ge(resp_integer(x.r, "CLIENT", "KILL", "TYPE", "pubsub"), 1);
    put_value(x.r, "k", "\"new\"");
    WAIT_FOR(daemon_metric(x.d, "phoenix_near_live") == 0, 3000);
    for (int i = 0; i < 20; i++) {
        char value[64];
        const struct http_answer *a = http_get(x.h, "/cache/k");
        EXPECT_STATUS(a, 200);
        ck_assert_str_eq(MEMBER(value, a->body, "response"), "new");
        ck_assert(detail_is(x.h, "redis"));
    }
    fake_redis_script(x.f, NULL, NULL);
    WAIT_FOR(daemon_metric(x.d, "phoenix_near_live") == 1, 15000);
    WAIT_FOR(reads_near(x.h, "/cache/k"), 5000);
    put_value(x.r, "k", "\"newest\"");
    expect_change(x.h, "/cache/k", "new", "newest");
    race_close(&x);
}
END_TEST

START_TEST(flushall_empties_the_table_too)
{
    char path[64];
    char key[32];
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    for (int i = 0; i < 20; i++) {
        put_value(s.r, FORMAT(key, "k%d", i), "1");
        WAIT_FOR(reads_near(s.h, FORMAT(path, "/cache/k%d", i)), 5000);
    }
    ck_assert_str_eq(resp_text(s.r, "FLUSHALL"), "OK");
    for (int i = 0; i < 20; i++)
        WAIT_FOR(http_get(s.h, FORMAT(path, "/cache/k%d", i))->status == 404, 3000);
    stage_close(&s);
}
END_TEST

static bool tells_near(const struct daemon *d)
{
    struct http_client *h = http_open(daemon_admin_port(d));
    bool tells = strstr(http_get(h, "/metrics")->body, "\nphoenix_near_live ") != NULL;
    http_close(&h);
    return tells;
}

START_TEST(with_near_off_every_read_asks_redis)
{
    const char *env[] = {"PHOENIX_LOCAL_NEAR=false", NULL};
    struct stage s = stage_open(BACKEND_REDIS, env);
    put_value(s.r, "k", "1");
    for (int i = 0; i < 10; i++) {
        EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
        ck_assert(detail_is(s.h, "redis"));
    }
    ck_assert(!tells_near(s.d));
    stage_close(&s);
}
END_TEST

START_TEST(embedded_there_is_no_near_cache_to_lose)
{
    struct stage s = stage_open(BACKEND_EMBEDDED, NULL);
    ck_assert(!tells_near(s.d));
    stage_close(&s);
}
END_TEST

START_TEST(a_near_cache_that_redis_never_allowed_is_told_of)
{
    static const char *const args[] = {"--user", "default",          "on", "nopass", "~*", "&*",
                                       "+@all",  "-client|tracking", NULL};
    struct redis_server *redis = redis_server_start(&(struct redis_server_options){.args = args});
    struct daemon_options o = {.redis_url = redis_server_url(redis)};
    struct daemon *d = daemon_start(&o);
    WAIT_FOR(daemon_log_has(d, "no near cache: Redis refuses CLIENT TRACKING"), 10000);
    ck_assert(tells_near(d) && daemon_metric(d, "phoenix_near_live") == 0);
    daemon_stop(&d);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(an_entry_is_trusted_for_near_ttl_only)
{
    const char *env[] = {"PHOENIX_LOCAL_NEAR_TTL_MS=300", NULL};
    struct stage s = stage_open(BACKEND_REDIS, env);
    put_value(s.r, "k", "1");
    for (int i = 0; i < 2; i++) {
        WAIT_FOR(reads_near(s.h, "/cache/k"), 5000);
        WAIT_FOR(!reads_near(s.h, "/cache/k"), 5000);
        ck_assert(detail_is(s.h, "redis"));
    }
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("coherence");
    TCase *tc = test_case(suite, "coherence", 60);
    tcase_add_test(tc, a_second_read_is_answered_from_the_table);
    tcase_add_test(tc, a_value_changed_by_another_client_is_not_served_from_the_table);
    tcase_add_test(tc, a_write_by_one_worker_is_seen_by_the_other_at_once);
    tcase_add_test(tc, a_fill_that_arrives_after_the_invalidation_is_not_kept);
    tcase_add_test(tc, a_fill_that_arrives_after_a_write_through_the_daemon_is_not_kept);
    tcase_add_test(tc, a_fill_begun_before_tracking_was_lost_is_not_trusted);
    tcase_add_test(tc, when_the_invalidation_connection_dies_reads_go_to_redis_at_once);
    tcase_add_test(tc, flushall_empties_the_table_too);
    tcase_add_test(tc, with_near_off_every_read_asks_redis);
    tcase_add_test(tc, embedded_there_is_no_near_cache_to_lose);
    tcase_add_test(tc, a_near_cache_that_redis_never_allowed_is_told_of);
    tcase_add_test(tc, an_entry_is_trusted_for_near_ttl_only);
    return test_run(suite);
}
