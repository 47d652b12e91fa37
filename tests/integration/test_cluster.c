/* A real cluster, three masters and a replica of each: every resource works over it, slots move and masters
 * die under traffic, and only the keys of a failed shard are answered by the daemon itself. */
#include "../support/redis_cluster.h"
#include "../support/stage.h"
#include "../support/traffic.h"

#include <stdlib.h>
#include <string.h>

enum { KEYS = 60, SETTLE_MS = 20000 };

static struct redis_cluster *c;
static struct daemon *d;
static struct http_client *h;

static void open_with(const struct redis_cluster_options *options, const char *const *env)
{
    c = redis_cluster_start(options);
    d = daemon_start(&(struct daemon_options){.redis_url = redis_cluster_url(c), .env = env});
    h = daemon_client(d);
}

static void open_all(void)
{
    open_with(NULL, NULL);
}

static void open_masters(void)
{
    open_with(&(struct redis_cluster_options){.no_replicas = true}, NULL);
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

static int slot_of(const char *format_text, int i)
{
    char id[64], key[96];
    snprintf(id, sizeof id, "%s-%d", format_text, i);
    return redis_cluster_slot(c, FORMAT(key, "phoenix:cache:%s", id));
}

static const struct http_answer *put_cache(const char *id, const char *response)
{
    char path[96], body[128];
    return http_send(h, "PUT", FORMAT(path, "/cache/%s", id),
                     FORMAT(body, "{\"response\":\"%s\",\"ttl\":600}", response));
}

static bool from_redis(void)
{
    const char *backend = http_header(h, "Phoenix-Backend");
    return backend && strcmp(backend, "redis") == 0;
}

/* --- all resources --- */

START_TEST(the_cache_works_over_all_masters_and_repeats_are_near)
{
    char id[32], path[64], got[64];
    for (int i = 0; i < KEYS; i++)
        EXPECT_STATUS(put_cache(FORMAT(id, "k-%d", i), id), 201);
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 5000);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < KEYS; i++) {
            const struct http_answer *a = http_get(h, FORMAT(path, "/cache/k-%d", i));
            EXPECT_STATUS(a, 200);
            ck_assert_str_eq(MEMBER(got, a->body, "response"), FORMAT(id, "k-%d", i));
            ck_assert(from_redis());
            if (round == 1) expect_header(h, "Cache-Status", "hit");
        }
    ck_assert(daemon_metric(d, "phoenix_cache_reads_total{source=\"near\"}") >= KEYS / 2);
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        char *size = redis_server_ask(redis_cluster_node(c, i), "DBSIZE");
        ck_assert_int_gt(atoi(size), 0);
        free(size);
    }
    ck_assert(redirections("exhausted") == 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cluster");
    TCase *t = test_case(s, "resources", 60);
    tcase_add_checked_fixture(t, open_all, close_all);
    tcase_add_test(t, the_cache_works_over_all_masters_and_repeats_are_near);
    return test_run(s);
}
