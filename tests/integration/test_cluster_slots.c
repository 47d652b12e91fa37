/* Slots move between a cluster's masters, step by step, while requests come: none fails, none is answered
 * with a wrong value, and what is written at a slot's new owner is seen. */
#include "../support/load.h"
#include "../support/redis_cluster.h"
#include "../support/stage.h"
#include "../support/traffic.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 24, SESSIONS = 8 };

static struct redis_cluster *c;
static struct daemon *d;
static struct http_client *h;

static void open_cluster(const struct redis_cluster_options *options)
{
    c = redis_cluster_start(options);
    d = daemon_start(&(struct daemon_options){.redis_url = redis_cluster_url(c)});
    h = daemon_client(d);
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 5000);
}

static void open_masters(void)
{
    open_cluster(&(struct redis_cluster_options){.no_replicas = true});
}

/* As behind something that the nodes cannot see: they name ports alone. */
static void open_nameless(void)
{
    open_cluster(&(struct redis_cluster_options){
        .no_replicas = true, .lines = "cluster-preferred-endpoint-type unknown-endpoint\n"});
}

static void close_all(void)
{
    http_close(&h);
    daemon_stop(&d);
    redis_cluster_stop(&c);
}

static double redirections(const char *kind)
{
    char series[80];
    return daemon_metric(d, FORMAT(series, "phoenix_redis_redirections_total{kind=\"%s\"}", kind));
}

static int slot_of(const char *room, const char *id)
{
    char key[96];
    return redis_cluster_slot(c, FORMAT(key, "phoenix:%s:%s", room, id));
}

/* Another master than the slot's. */
static int elsewhere(int slot)
{
    return (redis_cluster_owner(c, slot) + 1) % redis_cluster_nodes(c);
}

static void move_under(struct traffic *t, int slot, int to)
{
    redis_cluster_migration_begin(c, slot, to);
    traffic_run(t, 40);
    while (redis_cluster_migration_step(c, slot, to, 1) > 0)
        traffic_run(t, 40);
    redis_cluster_migration_end(c, slot, to);
}

static void move_slots(void)
{
    char id[32];
    struct traffic *t =
        traffic_start(&(struct traffic_options){.port = daemon_port(d), .threads = 4, .keys = 8});
    traffic_run(t, 500);
    for (unsigned i = 0; i < SLOTS; i++) {
        int slot = slot_of("cache", FORMAT(id, "traffic-%u-%u", i % 4, i / 4));
        move_under(t, slot, elsewhere(slot));
    }
    traffic_run(t, 500);
    traffic_stop(t);
    traffic_destroy(&t);
    ck_assert(redirections("moved") > 0);
    ck_assert(redirections("ask") > 0);
    ck_assert(redirections("exhausted") == 0);
    ck_assert(daemon_metric(d, "phoenix_cache_writes_total{backend=\"local\"}") == 0);
    ck_assert(daemon_metric(d, "phoenix_breaker_changes_total{to=\"open\"}") == 0);
}

START_TEST(slots_move_under_traffic_and_nobody_notices)
{
    move_slots();
    /* One round at least, and no more than the throttle lets through. */
    double rounds = daemon_metric(d, "phoenix_redis_map_refreshes_total{outcome=\"ok\"}");
    ck_assert_msg(rounds >= 2 && rounds < 200, "%g rounds", rounds);
}
END_TEST

START_TEST(nodes_without_a_host_are_where_the_others_are)
{
    move_slots();
}
END_TEST

/* --- scripts with several keys --- */

static unsigned patched[SESSIONS];

static void patch_own(struct load_thread *t)
{
    char path[64], body[64], got[96], want[64];
    FORMAT(path, "/session/m-%u", t->index);
    FORMAT(body, "{\"plan_id\":\"%u\"}", patched[t->index] + 1);
    const struct http_answer *a = http_send(t->http, "PATCH", path, body);
    if (a->status != 200 && a->status != 202)
        load_fail(t, "PATCH %s: %d %s%.200s", path, a->status, a->error, a->body);
    else
        patched[t->index]++;
    a = http_get(t->http, path);
    if (a->status != 200 ||
        strcmp(MEMBER(got, a->body, "plan_id"), FORMAT(want, "%u", patched[t->index])) != 0)
        load_fail(t, "GET %s: %d instead of plan %s: %.200s", path, a->status, want, a->body);
    poll_pause();
}

START_TEST(sessions_wait_while_their_keys_are_apart)
{
    char id[32], body[96], key[96], got[64], want[32];
    for (unsigned i = 0; i < SESSIONS; i++) {
        FORMAT(body, "{\"correlation_id\":\"m-%u\",\"plan_id\":\"0\"}", i);
        EXPECT_STATUS(http_send(h, "POST", "/session", body), 201);
    }
    struct load *load = load_start(SESSIONS, daemon_port(d), patch_own, NULL);
    for (unsigned i = 0; i < 2 * SESSIONS; i++) {
        int slot = slot_of("session", FORMAT(id, "m-%u", i % SESSIONS)), to = elsewhere(slot);
        double before = redirections("tryagain");
        redis_cluster_migration_begin(c, slot, to);
        /* The session is there, its tombstone is nowhere: Redis waits to see. */
        WAIT_FOR(redirections("tryagain") > before || load_failed(load), 5000);
        while (redis_cluster_migration_step(c, slot, to, 10) > 0)
            continue;
        redis_cluster_migration_end(c, slot, to);
    }
    load_stop(&load);
    WAIT_FOR(daemon_metric(d, "phoenix_journal_entries") == 0, 10000);
    for (unsigned i = 0; i < SESSIONS; i++) {
        FORMAT(key, "phoenix:session:m-%u", i);
        struct resp_client *r =
            redis_server_client(redis_cluster_node(c, redis_cluster_owner(c, redis_cluster_slot(c, key))));
        ck_assert_str_eq(MEMBER(got, resp_text(r, "GET", key), "plan_id"), FORMAT(want, "%u", patched[i]));
        resp_close(&r);
    }
    ck_assert(daemon_metric(d, "phoenix_breaker_changes_total{to=\"open\"}") == 0);
}
END_TEST

/* --- near cache --- */

enum { WATCHED = 6 };

/* Fills the table all the time, so that whatever could be trusted wrongly is. */
static void read_watched(struct load_thread *t)
{
    char path[64];
    FORMAT(path, "/cache/w-%u", (unsigned)(load_random(t) % WATCHED));
    const struct http_answer *a = http_get(t->http, path);
    if (a->status != 200) load_fail(t, "GET %s: %d %s%.200s", path, a->status, a->error, a->body);
}

static bool shows(const char *path, const char *want)
{
    char got[64];
    const struct http_answer *a = http_get(h, path);
    return a->status == 200 && strcmp(MEMBER(got, a->body, "response"), want) == 0;
}

/* Straight at the new owner, again and again from the moment when it is that. */
static void write_behind(int owner, const char *id)
{
    char path[64], value[256], want[32], json[40];
    struct resp_client *r = redis_server_client(redis_cluster_node(c, owner));
    FORMAT(path, "/cache/%s", id);
    for (unsigned i = 0; i < 10; i++) {
        FORMAT(want, "by %d, %u", owner, i);
        FORMAT(json, "\"%s\"", want);
        redis_put(r, id, cache_value(value, sizeof value, json, 0, 600), 600000);
        int64_t until = now_ms() + test_ms(1000);
        while (!shows(path, want))
            ck_assert_msg(now_ms() < until, "%s instead of '%s' at %s: %s", path, want, redis_value(r, id),
                          http_get(h, path)->head);
    }
    resp_close(&r);
}

static void move_watched(int to)
{
    char id[32];
    for (unsigned i = 0; i < WATCHED; i++) {
        int slot = slot_of("cache", FORMAT(id, "w-%u", i));
        if (redis_cluster_owner(c, slot) == to) continue;
        redis_cluster_migration_begin(c, slot, to);
        while (redis_cluster_migration_step(c, slot, to, 10) > 0)
            continue;
        redis_cluster_migration_end(c, slot, to);
        write_behind(to, id);
    }
}

START_TEST(writes_at_a_new_owner_are_seen_at_once_and_trust_comes_back)
{
    char path[64], body[64];
    for (unsigned i = 0; i < WATCHED; i++) {
        FORMAT(body, "{\"response\":\"%u\",\"ttl\":600}", i);
        EXPECT_STATUS(http_send(h, "PUT", FORMAT(path, "/cache/w-%u", i), body), 201);
    }
    struct load *load = load_start(3, daemon_port(d), read_watched, NULL);
    WAIT_FOR(daemon_metric(d, "phoenix_cache_reads_total{source=\"near\"}") > 100, 5000);
    move_watched(2);
    int added = redis_cluster_add(c); /* that nobody has heard of */
    move_watched(added);
    WAIT_FOR(strstr(http_get(h, "/readyz")->body, "\"degraded\"") == NULL, 5000);
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 5000);
    double near = daemon_metric(d, "phoenix_cache_reads_total{source=\"near\"}");
    WAIT_FOR(daemon_metric(d, "phoenix_cache_reads_total{source=\"near\"}") > near + 100, 5000);
    write_behind(added, "w-0");
    load_stop(&load);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cluster_slots");
    TCase *t = test_case(s, "slots", 90);
    tcase_add_checked_fixture(t, open_masters, close_all);
    tcase_add_test(t, slots_move_under_traffic_and_nobody_notices);
    tcase_add_test(t, sessions_wait_while_their_keys_are_apart);
    tcase_add_test(t, writes_at_a_new_owner_are_seen_at_once_and_trust_comes_back);
    t = test_case(s, "nameless", 90);
    tcase_add_checked_fixture(t, open_nameless, close_all);
    tcase_add_test(t, nodes_without_a_host_are_where_the_others_are);
    return test_run(s);
}
