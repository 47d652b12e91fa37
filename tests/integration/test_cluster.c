/* A real cluster, three masters and a replica of each: every resource works over it, and a listing goes
 * through all masters. */
#include "../support/load.h"
#include "../support/redis_cluster.h"
#include "../support/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 60 };

static struct redis_cluster *c;
static struct daemon *d;
static struct http_client *h;

static void open_all(void)
{
    c = redis_cluster_start(&(struct redis_cluster_options){.no_replicas = true});
    d = daemon_start(&(struct daemon_options){.redis_url = redis_cluster_url(c)});
    h = daemon_client(d);
    WAIT_FOR(daemon_log_has(d, "the cluster's slots are known"), 5000);
}

static void close_all(void)
{
    http_close(&h);
    daemon_stop(&d);
    redis_cluster_stop(&c);
}

/* The daemon is nobody but the user of config/redis/users.acl, with what a cluster needs besides. */
static void open_as_user(void)
{
    char path[TEST_PATH_MAX], lines[4096], url[300];
    char *text = file_read(repository_path(path, "config/redis/users.acl"), NULL);
    char *user = strstr(text, "\nuser ");
    ck_assert_ptr_nonnull(user);
    user[1 + strcspn(user + 1, "\n")] = 0;
    FORMAT(lines, "%s >secret +cluster|slots +cluster|info +asking\n", user + 1);
    free(text);
    c = redis_cluster_start(&(struct redis_cluster_options){.no_replicas = true, .lines = lines});
    FORMAT(url, "redis-cluster://phoenix:secret@%s", redis_cluster_url(c) + strlen("redis-cluster://"));
    d = daemon_start(&(struct daemon_options){.redis_url = url});
    h = daemon_client(d);
    WAIT_FOR(daemon_log_has(d, "the cluster's slots are known"), 5000);
}

static const struct http_answer *post(const char *path, const char *body)
{
    return http_send(h, "POST", path, body);
}

static void expect_redis(void)
{
    expect_header(h, "Phoenix-Backend", "redis");
}

START_TEST(the_cache_is_spread_over_all_masters_and_repeats_are_near)
{
    char id[32], path[64], body[96], got[64];
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 5000);
    for (int i = 0; i < KEYS; i++) {
        FORMAT(body, "{\"response\":\"%s\",\"ttl\":600}", FORMAT(id, "k-%d", i));
        EXPECT_STATUS(http_send(h, "PUT", FORMAT(path, "/cache/%s", id), body), 201);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < KEYS; i++) {
            const struct http_answer *a = http_get(h, FORMAT(path, "/cache/k-%d", i));
            EXPECT_STATUS(a, 200);
            ck_assert_str_eq(MEMBER(got, a->body, "response"), FORMAT(id, "k-%d", i));
            expect_redis();
        }
    ck_assert(daemon_metric(d, "phoenix_cache_reads_total{source=\"near\"}") >= KEYS);
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        struct resp_client *r = redis_server_client(redis_cluster_node(c, i));
        ck_assert_int_gt(resp_integer(r, "DBSIZE"), 0);
        resp_close(&r);
    }
    ck_assert(daemon_metric(d, "phoenix_redis_redirections_total{kind=\"exhausted\"}") == 0);
    EXPECT_STATUS(http_send(h, "DELETE", "/cache/k-0", NULL), 204);
    EXPECT_STATUS(http_get(h, "/cache/k-0"), 404);
}
END_TEST

/* Each session that GET /session shows, once. */
static unsigned listed(const char *what, const char *member, bool *out_partial)
{
    char path[600], cursor[300] = "", seen[KEYS] = {0}, flag[16];
    unsigned count = 0;
    *out_partial = false;
    do {
        const struct http_answer *a =
            http_get(h, FORMAT(path, "/%s?limit=7%s%s", what, *cursor ? "&cursor=" : "", cursor));
        EXPECT_STATUS(a, 200);
        char key[64];
        FORMAT(key, "\"%s\":\"s-", member);
        for (const char *p = a->body; (p = strstr(p, key)); p++) {
            long i = strtol(p + strlen(key), NULL, 10);
            ck_assert(i >= 0 && i < KEYS && !seen[i]);
            seen[i] = 1;
            count++;
        }
        *out_partial = *out_partial || strcmp(MEMBER(flag, a->body, "partial"), "true") == 0;
        MEMBER(cursor, a->body, "cursor");
    } while (strcmp(cursor, "null") != 0);
    return count;
}

START_TEST(sessions_and_agents_work_and_their_lists_are_complete)
{
    char path[64], body[96];
    bool partial;
    for (int i = 0; i < KEYS; i++) {
        EXPECT_STATUS(post("/session", FORMAT(body, "{\"correlation_id\":\"s-%d\",\"plan_id\":\"p\"}", i)),
                      201);
        EXPECT_STATUS(http_send(h, "PUT", FORMAT(path, "/health/s-%d", i), "{\"health\":\"Healthy\"}"), 200);
        expect_redis();
    }
    for (int i = 0; i < KEYS; i++) {
        EXPECT_STATUS(http_send(h, "PATCH", FORMAT(path, "/session/s-%d", i), "{\"state\":\"Completed\"}"),
                      200);
        EXPECT_STATUS(post(FORMAT(path, "/health/s-%d/failure", i), "{}"), 200);
        expect_redis();
    }
    ck_assert_uint_eq(listed("session", "correlation_id", &partial), KEYS);
    ck_assert(!partial);
    ck_assert_uint_eq(listed("health", "agent_id", &partial), KEYS);
    ck_assert(!partial);
    EXPECT_STATUS(http_send(h, "DELETE", "/session/s-1", NULL), 204);
    EXPECT_STATUS(http_get(h, "/session/s-1"), 404);
}
END_TEST

START_TEST(a_list_without_one_master_says_that_it_is_partial)
{
    char body[96];
    bool partial;
    for (int i = 0; i < KEYS; i++)
        EXPECT_STATUS(post("/session", FORMAT(body, "{\"correlation_id\":\"s-%d\"}", i)), 201);
    redis_server_kill(redis_cluster_node(c, 1));
    unsigned count = listed("session", "correlation_id", &partial);
    ck_assert(partial);
    ck_assert_uint_gt(count, KEYS / 3);
    ck_assert_uint_lt(count, KEYS);
    redis_server_restart(redis_cluster_node(c, 1));
}
END_TEST

START_TEST(locks_exclude_and_wait)
{
    char path[64], token[64], header[96], body[96];
    for (int i = 0; i < 12; i++) {
        FORMAT(path, "/locks/l-%d", i);
        const struct http_answer *a = post(path, "{\"ttl\":60}");
        EXPECT_STATUS(a, 201);
        MEMBER(token, a->body, "token");
        EXPECT_STATUS(post(path, "{\"ttl\":60}"), 409);
        EXPECT_STATUS(http_send(h, "PUT", path, FORMAT(body, "{\"token\":\"%s\",\"ttl\":60}", token)), 200);
        EXPECT_STATUS(http_get(h, path), 200);
        FORMAT(header, "Phoenix-Lock-Token: %s", token);
        EXPECT_STATUS(http_request(h, "DELETE", path, header, NULL, 0), 204);
        EXPECT_STATUS(post(path, "{\"ttl\":0.2}"), 201);
        EXPECT_STATUS(post(path, "{\"ttl\":60,\"wait\":5}"), 201);
    }
}
END_TEST

static void enqueue_later(struct load_thread *t)
{
    char body[64];
    http_send(t->http, "POST", "/tasks",
              FORMAT(body, "{\"task_id\":\"w-%lu\",\"payload\":1}", (unsigned long)t->round));
    for (int64_t until = now_ms() + test_ms(20); now_ms() < until;)
        poll_pause();
}

START_TEST(tasks_flow_and_waiting_requests_are_woken)
{
    char body[64], id[64], receipt[96], path[96];
    for (int i = 0; i < 20; i++)
        EXPECT_STATUS(post("/tasks", FORMAT(body, "{\"task_id\":\"t-%d\",\"payload\":{\"n\":%d}}", i, i)),
                      201);
    for (int i = 0; i < 20; i++) {
        const struct http_answer *a = post("/tasks/dequeue", "{}");
        EXPECT_STATUS(a, 200);
        const char *task = strchr(a->body, '[') + 1;
        MEMBER(id, task, "task_id");
        MEMBER(receipt, task, "receipt");
        EXPECT_STATUS(post(FORMAT(path, "/tasks/%s/ack", id), FORMAT(body, "{\"receipt\":\"%s\"}", receipt)),
                      204);
    }
    EXPECT_STATUS(post("/tasks/dequeue", "{}"), 204);
    struct load *load = load_start(1, daemon_port(d), enqueue_later, NULL);
    for (int i = 0; i < 10; i++)
        EXPECT_STATUS(post("/tasks/dequeue", "{\"wait\":10,\"ack\":\"auto\"}"), 200);
    load_stop(&load);
    EXPECT_STATUS(http_get(h, "/tasks"), 200);
    expect_redis();
}
END_TEST

START_TEST(the_daemons_redis_user_suffices)
{
    char path[64], id[32];
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 5000);
    for (int i = 0; i < 12; i++) {
        FORMAT(path, "/cache/k-%d", i);
        EXPECT_STATUS(http_send(h, "PUT", path, "{\"response\":\"r\",\"ttl\":600}"), 201);
        EXPECT_STATUS(http_get(h, path), 200);
        EXPECT_STATUS(http_send(h, "PUT", FORMAT(path, "/session/s-%d", i), "{}"), 201);
        EXPECT_STATUS(post(FORMAT(path, "/locks/l-%d", i), "{\"ttl\":60}"), 201);
    }
    EXPECT_STATUS(post("/tasks", "{\"payload\":1}"), 201);
    EXPECT_STATUS(http_get(h, "/session"), 200);
    FORMAT(path, "phoenix:cache:%s", FORMAT(id, "k-%d", 0));
    int slot = redis_cluster_slot(c, path), to = (redis_cluster_owner(c, slot) + 1) % CLUSTER_MASTERS;
    redis_cluster_migration_begin(c, slot, to);
    while (redis_cluster_migration_step(c, slot, to, 10) > 0)
        continue;
    EXPECT_STATUS(http_request(h, "GET", "/cache/k-0", "Cache-Control: no-cache", NULL, 0), 200);
    expect_redis();
    ck_assert(daemon_metric(d, "phoenix_redis_redirections_total{kind=\"ask\"}") > 0);
    redis_cluster_migration_end(c, slot, to);
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        struct resp_client *r = redis_server_client(redis_cluster_node(c, i));
        const struct resp_value *log = resp_call(r, "ACL", "LOG");
        ck_assert(log && log->type == '*' && log->count == 0);
        resp_close(&r);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cluster");
    TCase *t = test_case(s, "resources", 60);
    tcase_add_checked_fixture(t, open_all, close_all);
    tcase_add_test(t, the_cache_is_spread_over_all_masters_and_repeats_are_near);
    tcase_add_test(t, sessions_and_agents_work_and_their_lists_are_complete);
    tcase_add_test(t, a_list_without_one_master_says_that_it_is_partial);
    tcase_add_test(t, locks_exclude_and_wait);
    tcase_add_test(t, tasks_flow_and_waiting_requests_are_woken);
    t = test_case(s, "user", 60);
    tcase_add_checked_fixture(t, open_as_user, close_all);
    tcase_add_test(t, the_daemons_redis_user_suffices);
    return test_run(s);
}
