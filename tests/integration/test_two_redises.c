/* redis.url and redis.state_url on two real servers: each with keys, circuit, connections, recovery and
 * metrics of its own; and that state on a Redis that may evict it is told. */
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE, STATE, SERVERS };

static const char *const ROLES[SERVERS] = {"cache", "state"};

static struct redis_server *server[SERVERS];
static struct resp_client *r[SERVERS];
static struct daemon *d;
static struct http_client *h, *admin;
static char spool_env[TEST_PATH_MAX + 32];

static struct daemon *start_on(const struct redis_server *cache, const struct redis_server *state,
                               bool no_wait)
{
    char state_env[128];
    const char *env[] = {
        spool_env, state ? FORMAT(state_env, "PHOENIX_REDIS_STATE_URL=%s", redis_server_url(state)) : NULL,
        NULL};
    return daemon_start(
        &(struct daemon_options){.redis_url = redis_server_url(cache), .env = env, .no_wait = no_wait});
}

static void start_servers(const struct redis_server_options options[SERVERS])
{
    char path[TEST_PATH_MAX];
    FORMAT(spool_env, "PHOENIX_SPOOL_PATH=%s", scratch_path(path, "two.db"));
    for (int i = 0; i < SERVERS; i++) {
        server[i] = redis_server_start(&options[i]);
        r[i] = redis_server_client(server[i]);
    }
}

static void start_daemon(const struct redis_server *cache, const struct redis_server *state)
{
    d = start_on(cache, state, false);
    h = daemon_client(d);
    admin = http_open(daemon_admin_port(d));
}

static const struct redis_server_options AS_ADVISED[SERVERS] = {{.config = {"cache.conf"}, .durable = true},
                                                                {.config = {"state.conf"}, .durable = true}};

static double metric(const char *name, int which)
{
    char series[128];
    return daemon_metric(d, FORMAT(series, "%s{redis=\"%s\"}", name, ROLES[which]));
}

/* Requests that fail are what opens a circuit: each look asks. */
static bool circuit_is(int which, bool open)
{
    http_get(h, which == CACHE ? "/cache/absent" : "/session/absent");
    return metric("phoenix_redis_up", which) == (open ? 0 : 1);
}

static void open_all(void)
{
    start_servers(AS_ADVISED);
    start_daemon(server[CACHE], server[STATE]);
    for (int i = 0; i < SERVERS; i++)
        WAIT_FOR(circuit_is(i, false), 10000);
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 10000);
}

static void close_all(void)
{
    http_close(&h);
    http_close(&admin);
    if (d) daemon_stop(&d);
    for (int i = 0; i < SERVERS; i++) {
        resp_close(&r[i]);
        redis_server_stop(&server[i]);
    }
}

static void go_away(int which)
{
    resp_close(&r[which]);
    redis_server_kill(server[which]);
    WAIT_FOR(circuit_is(which, true), 10000);
}

static void come_back(int which)
{
    redis_server_restart(server[which]);
    r[which] = redis_server_client(server[which]);
    WAIT_FOR(circuit_is(which, false), 10000);
}

static const char *readyz(void)
{
    const struct http_answer *a = http_get(admin, "/readyz");
    EXPECT_STATUS(a, 200);
    return a->body;
}

/* --- one request of each resource --- */

static const struct request {
    const char *method, *path, *body;
    int redis_status, local_status; /* by who answers */
    const char *key;                /* what it leaves in Redis */
} requests[] = {
    {"PUT", "/cache/answer", "{\"response\":{\"text\":\"yes\"}}", 201, 201, "phoenix:cache:answer"},
    {"POST", "/session", "{\"correlation_id\":\"conversation\"}", 201, 201, "phoenix:session:conversation"},
    {"POST", "/health/planner/failure", NULL, 200, 200, "phoenix:health:planner"},
    {"POST", "/tasks", "{\"task_id\":\"summary\",\"payload\":1}", 201, 202,
     "phoenix:tasks:meta:{phoenix:tasks:queue}"},
    {"POST", "/locks/plan", "{\"ttl\":60}", 201, 503, "phoenix:locks:plan"},
};
enum { REQUESTS = sizeof requests / sizeof requests[0] };

static int server_of(const struct request *q)
{
    return q == &requests[0] ? CACHE : STATE;
}

/* `away`: the server that is; SERVERS: none. */
static void send_all(int away)
{
    for (const struct request *q = requests; q < requests + REQUESTS; q++) {
        bool local = server_of(q) == away;
        const struct http_answer *a = http_send(h, q->method, q->path, q->body);
        ck_assert_msg(a->status == (local ? q->local_status : q->redis_status), "%s %s: %d %s%s", q->method,
                      q->path, a->status, a->error, a->body);
        if (a->status < 300) expect_header(h, "Phoenix-Backend", local ? "local" : "redis");
    }
}

static bool keys_are_there(bool with_lock)
{
    for (const struct request *q = requests; q < requests + REQUESTS - (with_lock ? 0 : 1); q++)
        if (resp_integer(r[server_of(q)], "EXISTS", q->key) != 1) return false;
    return true;
}

/* Each where it belongs, and only there. */
static void expect_keys(bool with_lock)
{
    WAIT_FOR(keys_are_there(with_lock), 10000);
    for (const struct request *q = requests; q < requests + REQUESTS; q++)
        ck_assert_msg(resp_integer(r[1 - server_of(q)], "EXISTS", q->key) == 0, "%s on the %s's", q->key,
                      ROLES[1 - server_of(q)]);
}

static bool all_handed_back(void)
{
    return daemon_metric(d, "phoenix_pending_entries") + daemon_metric(d, "phoenix_journal_entries") +
               daemon_metric(d, "phoenix_tasks_spooled") ==
           0;
}

/* --- the facts --- */

START_TEST(each_key_is_on_its_own_redis)
{
    send_all(SERVERS);
    expect_keys(true);
    ck_assert_int_eq(resp_integer(r[CACHE], "DBSIZE"), 1);
    /* And nothing of the cache's is on the other one: neither value nor helper key. */
    const struct resp_value *all = resp_call(r[STATE], "KEYS", "*cache*");
    ck_assert_uint_eq(all->count, 0);
    EXPECT_STATUS(http_get(h, "/cache/answer"), 200);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{}"), 200);
    ck_assert_ptr_nonnull(strstr(readyz(), "\"status\":\"ready\",\"mode\":\"redis\""));
    for (int i = 0; i < SERVERS; i++) {
        ck_assert(metric("phoenix_redis_connections", i) >= 1);
        ck_assert(metric("phoenix_redis_calls_total", i) >= 1);
        WAIT_FOR(metric("redis_memory_used_bytes", i) > 0, 5000);
    }
}
END_TEST

static void expect_degraded(int away)
{
    char node[128];
    const char *body = readyz();
    ck_assert_ptr_nonnull(strstr(body, "\"mode\":\"degraded\""));
    for (int i = 0; i < SERVERS; i++) {
        FORMAT(node, "{\"redis\":\"%s\",\"node\":\"127.0.0.1:%d\",\"circuit\":\"%s", ROLES[i],
               redis_server_port(server[i]), i == away ? "" : "closed\"}");
        ck_assert_msg(strstr(body, node) != NULL, "no %s in %s", node, body);
        ck_assert(i != away || strstr(strstr(body, node), "closed\"}") != strstr(body, node) + strlen(node));
        ck_assert(metric("phoenix_redis_up", i) == (i == away ? 0 : 1));
    }
}

/* The other one is not even asked to wait: its circuit never moves. */
START_TEST(the_loss_of_one_redis_is_nothing_to_the_other)
{
    int away = _i, stays = 1 - _i;
    char series[100];
    FORMAT(series, "phoenix_breaker_changes_total{redis=\"%s\"}", ROLES[stays]);
    double changes = daemon_metric(d, series);
    go_away(away);
    send_all(away);
    expect_degraded(away);
    ck_assert(daemon_metric(d, "phoenix_near_live") == (away == CACHE ? 0 : 1));
    ck_assert(daemon_metric(d, away == CACHE ? "phoenix_pending_entries" : "phoenix_journal_entries") > 0);
    ck_assert(daemon_metric(d, away == CACHE ? "phoenix_journal_entries" : "phoenix_pending_entries") == 0);
    come_back(away);
    expect_keys(away == CACHE);
    WAIT_FOR(all_handed_back(), 10000);
    WAIT_FOR(daemon_metric(d, "phoenix_near_live") == 1, 10000);
    ck_assert_ptr_nonnull(strstr(readyz(), "\"status\":\"ready\",\"mode\":\"redis\""));
    ck_assert(daemon_metric(d, series) == changes);
}
END_TEST

START_TEST(both_may_go_and_come_back_one_after_the_other)
{
    go_away(CACHE);
    go_away(STATE);
    for (const struct request *q = requests; q < requests + REQUESTS; q++)
        EXPECT_STATUS(http_send(h, q->method, q->path, q->body), q->local_status);
    come_back(STATE);
    WAIT_FOR(daemon_metric(d, "phoenix_journal_entries") + daemon_metric(d, "phoenix_tasks_spooled") == 0,
             10000);
    ck_assert(daemon_metric(d, "phoenix_pending_entries") == 1);
    come_back(CACHE);
    expect_keys(false);
    WAIT_FOR(all_handed_back(), 10000);
}
END_TEST

/* A deletion is journaled in the file, beside what the state's Redis has to learn, and survives the daemon.
 */
START_TEST(a_deletion_is_handed_back_to_the_caches_redis)
{
    send_all(SERVERS);
    go_away(CACHE);
    EXPECT_STATUS(http_send(h, "DELETE", "/cache/answer", NULL), 204);
    expect_header(h, "Phoenix-Backend", "local");
    http_close(&h);
    http_close(&admin);
    daemon_signal(d, SIGKILL);
    daemon_wait(d, 5000);
    daemon_release(&d);
    (void)resp_call(r[STATE], "SET", "phoenix:cache:answer", "not the cache's Redis");
    start_daemon(server[CACHE], server[STATE]);
    ck_assert(daemon_metric(d, "phoenix_pending_entries") == 1);
    EXPECT_STATUS(http_get(h, "/cache/answer"), 404);
    come_back(CACHE);
    WAIT_FOR(daemon_metric(d, "phoenix_pending_entries") == 0, 10000);
    ck_assert_int_eq(resp_integer(r[CACHE], "EXISTS", "phoenix:cache:answer"), 0);
    ck_assert_int_eq(resp_integer(r[STATE], "EXISTS", "phoenix:cache:answer"), 1);
}
END_TEST

START_TEST(state_survives_while_the_caches_redis_evicts_everything)
{
    enum { VALUES = 400, VALUES_MAX = 10000, LEAST = 200, LARGE = 16 * 1024 };
    char path[64];
    static char text[LARGE + 1], body[LARGE + 64];
    (void)resp_call(r[CACHE], "CONFIG", "SET", "maxmemory", "3mb");
    send_all(SERVERS);
    memset(text, 'x', LARGE);
    FORMAT(body, "{\"response\":\"%s\"}", text);
    /* Keys used within one second are equally old to Redis: which of them go is chance. */
    for (int i = 0; i < VALUES || resp_integer(r[CACHE], "EXISTS", "phoenix:cache:answer"); i++) {
        ck_assert_int_lt(i, VALUES_MAX);
        FORMAT(path, "/cache/filler-%d", i);
        const struct http_answer *a = http_send(h, "PUT", path, body);
        ck_assert_msg(a->status == 201, "%s: %d %s", path, a->status, a->body);
        expect_header(h, "Phoenix-Backend", "redis");
    }
    WAIT_FOR(metric("phoenix_redis_evicted_keys", CACHE) > LEAST, 10000);
    ck_assert(metric("phoenix_redis_evicted_keys", STATE) == 0);
    for (const struct request *q = requests + 1; q < requests + REQUESTS; q++)
        ck_assert_msg(resp_integer(r[STATE], "EXISTS", q->key) == 1, "%s is gone", q->key);
    EXPECT_STATUS(http_get(h, "/session/conversation"), 200);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{}"), 200);
    /* That is as it should be: nothing to warn of. */
    ck_assert(daemon_metric(d, "phoenix_redis_state_evictable") == 0);
    ck_assert_ptr_nonnull(strstr(readyz(), "\"warnings\":[]"));
    ck_assert(!daemon_log_has(d, "may evict"));
}
END_TEST

START_TEST(a_journal_goes_to_no_other_pair_of_redises)
{
    go_away(STATE);
    EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"conversation\"}"), 201);
    http_close(&h);
    http_close(&admin);
    daemon_signal(d, SIGKILL);
    daemon_wait(d, 5000);
    daemon_release(&d);
    const struct redis_server *const wrong[][SERVERS] = {
        {server[STATE], server[CACHE]}, {server[CACHE], NULL}, {server[STATE], NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        d = start_on(wrong[i][CACHE], wrong[i][STATE], true);
        ck_assert_int_eq(daemon_wait(d, 10000), 1);
        ck_assert(daemon_log_has(d, "cache 127.0.0.1"));
        daemon_release(&d);
    }
    start_daemon(server[CACHE], server[STATE]);
    come_back(STATE);
    WAIT_FOR(daemon_metric(d, "phoenix_journal_entries") == 0, 10000);
    ck_assert_int_eq(resp_integer(r[STATE], "EXISTS", "phoenix:session:conversation"), 1);
}
END_TEST

/* --- state on a Redis that may evict it --- */

/* Two, of which the state's evicts; or one for all. */
static const struct redis_server_options EVICTING[SERVERS] = {
    {.config = {"cache.conf"}}, {.config = {"state.conf"}, .lines = "maxmemory-policy volatile-lru\n"}};

START_TEST(state_on_a_redis_that_may_evict_it_is_told)
{
    bool two = _i == 0;
    char warning[160];
    start_servers(EVICTING);
    start_daemon(server[CACHE], two ? server[STATE] : NULL);
    FORMAT(warning, "state lives on a Redis that may evict it: 127.0.0.1:%d has maxmemory-policy %s",
           redis_server_port(server[two ? STATE : CACHE]), two ? "volatile-lru" : "allkeys-lru");
    WAIT_FOR(daemon_metric(d, "phoenix_redis_state_evictable") == 1, 10000);
    ck_assert_ptr_nonnull(strstr(readyz(), warning));
    const struct http_answer *status = http_get(admin, "/status");
    EXPECT_STATUS(status, 200);
    ck_assert_ptr_nonnull(strstr(status->body, warning));
    ck_assert_ptr_nonnull(strstr(status->body, two ? "\"maxmemory_policy\":\"volatile-lru\""
                                                   : "\"maxmemory_policy\":\"allkeys-lru\""));
    WAIT_FOR(daemon_log_count(d, "state lives on a Redis that may evict it") == 1, 2000);
    (void)resp_call(r[two ? STATE : CACHE], "CONFIG", "SET", "maxmemory-policy", "noeviction");
    WAIT_FOR(daemon_metric(d, "phoenix_redis_state_evictable") == 0, 15000);
    ck_assert_ptr_nonnull(strstr(readyz(), "\"warnings\":[]"));
    WAIT_FOR(daemon_log_count(d, "this Redis does not evict state any more") == 1, 2000);
    ck_assert_uint_eq(daemon_log_count(d, "state lives on a Redis that may evict it"), 1);
}
END_TEST

START_TEST(status_shows_what_each_node_tells_of_itself)
{
    static const char *const members[] = {
        "\"connections\":",   "\"ping_ms\":", "\"used_memory\":",    "\"maxmemory\":536870912",
        "\"evicted_keys\":0", "\"clients\":", "\"append_only\":true"};
    WAIT_FOR(metric("redis_memory_used_bytes", STATE) > 0, 5000);
    const struct http_answer *a = http_get(admin, "/status");
    EXPECT_STATUS(a, 200);
    const char *node = strstr(a->body, "{\"redis\":\"state\"");
    ck_assert_msg(node != NULL, "%s", a->body);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        const char *at = strstr(node, members[i]);
        ck_assert_msg(at && at < strchr(node, '}'), "no %s in %s", members[i], node);
    }
    ck_assert_ptr_null(strstr(readyz(), "used_memory"));
}
END_TEST

START_TEST(in_embedded_mode_there_is_no_node_to_tell_of)
{
    d = daemon_start(NULL);
    admin = http_open(daemon_admin_port(d));
    ck_assert(daemon_metric(d, "phoenix_embedded") == 1);
    ck_assert(daemon_metric(d, "phoenix_redis_state_evictable") == 0);
    EXPECT_STATUS(http_get(admin, "/metrics"), 200);
    ck_assert_ptr_null(strstr(http_get(admin, "/metrics")->body, "node=\""));
    ck_assert_ptr_nonnull(strstr(readyz(), "\"redis\":[]"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("two_redises");
    TCase *c = test_case(suite, "two_redises", 60);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, each_key_is_on_its_own_redis);
    tcase_add_loop_test(c, the_loss_of_one_redis_is_nothing_to_the_other, CACHE, SERVERS);
    tcase_add_test(c, both_may_go_and_come_back_one_after_the_other);
    tcase_add_test(c, a_deletion_is_handed_back_to_the_caches_redis);
    tcase_add_test(c, state_survives_while_the_caches_redis_evicts_everything);
    tcase_add_test(c, a_journal_goes_to_no_other_pair_of_redises);
    tcase_add_test(c, status_shows_what_each_node_tells_of_itself);
    TCase *told_case = test_case(suite, "told", 60);
    tcase_add_checked_fixture(told_case, NULL, close_all);
    tcase_add_loop_test(told_case, state_on_a_redis_that_may_evict_it_is_told, 0, 2);
    tcase_add_test(told_case, in_embedded_mode_there_is_no_node_to_tell_of);
    return test_run(suite);
}
