/* Every node of a cluster has series and a line in /status of its own, as long as it serves; what it was
 * replaced by takes them over under its own name. */
#include "../support/redis_cluster.h"
#include "../support/stage.h"

#include <string.h>

enum { SETTLE_MS = 20000 };

static const char *const GAUGES[] = {"phoenix_redis_up",           "phoenix_breaker_state",
                                     "phoenix_redis_connections",  "phoenix_redis_memory_max_bytes",
                                     "phoenix_redis_evicted_keys", "redis_memory_used_bytes",
                                     "redis_connected_clients",    "redis_total_commands_processed",
                                     "redis_keyspace_hits",        "redis_keyspace_misses"};

static struct redis_cluster *c;
static struct daemon *d;
static struct http_client *h, *admin;

static void open_all(void)
{
    const char *env[] = {"PHOENIX_BREAKER_OPEN_MAX_MS=1000", NULL};
    c = redis_cluster_start(NULL);
    d = daemon_start(&(struct daemon_options){.redis_url = redis_cluster_url(c), .env = env});
    h = daemon_client(d);
    admin = http_open(daemon_admin_port(d));
    WAIT_FOR(daemon_log_has(d, "the cluster's slots are known"), SETTLE_MS);
}

static void close_all(void)
{
    http_close(&h);
    http_close(&admin);
    daemon_stop(&d);
    redis_cluster_stop(&c);
}

/* How often this stands in the answer. */
static unsigned seen(const char *path, const char *text)
{
    unsigned n = 0;
    const struct http_answer *a = http_get(admin, path);
    EXPECT_STATUS(a, 200);
    for (const char *at = a->body; (at = strstr(at, text)); at++)
        n++;
    return n;
}

static unsigned of_node(const char *metric, int index)
{
    char series[160];
    return seen("/metrics", FORMAT(series, "\n%s{redis=\"all\",node=\"127.0.0.1:%d\"} ", metric,
                                   redis_server_port(redis_cluster_node(c, index))));
}

static unsigned of_all(const char *metric)
{
    char series[160];
    return seen("/metrics", FORMAT(series, "\n%s{", metric));
}

static unsigned in_status(int index)
{
    char node[96];
    return seen("/status", FORMAT(node, "{\"redis\":\"all\",\"node\":\"127.0.0.1:%d\",\"circuit\":\"closed\"",
                                  redis_server_port(redis_cluster_node(c, index))));
}

static bool all_told(void)
{
    for (size_t i = 0; i < sizeof GAUGES / sizeof GAUGES[0]; i++)
        if (of_all(GAUGES[i]) != CLUSTER_MASTERS) return false;
    return true;
}

START_TEST(each_master_has_its_own_series)
{
    WAIT_FOR(all_told(), SETTLE_MS);
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        for (size_t k = 0; k < sizeof GAUGES / sizeof GAUGES[0]; k++)
            ck_assert_msg(of_node(GAUGES[k], i) == 1, "%s of node %d", GAUGES[k], i);
        ck_assert_uint_eq(in_status(i), 1);
    }
    ck_assert(daemon_metric(d, "phoenix_redis_up") == CLUSTER_MASTERS);
}
END_TEST

START_TEST(a_node_that_serves_nothing_any_more_is_gone_from_the_text)
{
    WAIT_FOR(all_told(), SETTLE_MS);
    const char *key = "phoenix:cache:k";
    int slot = redis_cluster_slot(c, key), old = redis_cluster_owner(c, slot);
    redis_server_kill(redis_cluster_node(c, old));
    int now = redis_cluster_await_owner(c, slot, old, SETTLE_MS, NULL);
    /* A request that fails is what makes the daemon look. */
    WAIT_FOR(http_get(h, "/cache/k")->status == 404 && of_node("phoenix_redis_up", now) == 1 &&
                 of_node("phoenix_redis_up", old) == 0,
             SETTLE_MS);
    WAIT_FOR(all_told() && of_node("redis_memory_used_bytes", now) == 1 && in_status(now) == 1, SETTLE_MS);
    for (size_t k = 0; k < sizeof GAUGES / sizeof GAUGES[0]; k++)
        ck_assert_msg(of_node(GAUGES[k], old) == 0, "%s", GAUGES[k]);
    ck_assert_uint_eq(in_status(old), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node_metrics");
    TCase *t = test_case(suite, "node_metrics", 90);
    tcase_add_checked_fixture(t, open_all, close_all);
    tcase_add_test(t, each_master_has_its_own_series);
    tcase_add_test(t, a_node_that_serves_nothing_any_more_is_gone_from_the_text);
    return test_run(suite);
}
