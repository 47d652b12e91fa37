/* Sentinel: a master, two replicas and three Sentinels. While clients write, the master is lost in
 * each way. Every request gets its answer meanwhile; within a second of the promotion the daemon is on the
 * new master, and stays there; what it acknowledged by itself is there afterwards. */
#include "../support/load.h"
#include "../support/redis_sentinels.h"
#include "../support/stage.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, WRITES_MAX = 20000, MOVED_WITHIN_MS = 1000 };

static struct redis_sentinels *rig;
static struct netns *hosts[SENTINELS];
static struct daemon *d;
static struct http_client *h;
static struct load *load;

/* --- traffic: every write is of a key of its own --- */

struct write {
    int64_t sent_ms, acked_ms;
    bool local; /* acknowledged by the daemon, to be handed back */
};

static struct write writes[THREADS][WRITES_MAX];
static _Atomic unsigned counts[THREADS];

static void put_next(struct load_thread *t)
{
    unsigned n = counts[t->index];
    char path[64];
    int64_t sent = now_ms();
    FORMAT(path, "/cache/w-%u-%u", t->index, n);
    const struct http_answer *a = http_send(t->http, "PUT", path, "{\"response\":\"r\",\"ttl\":600}");
    if (a->status != 200 && a->status != 201) {
        load_fail(t, "PUT %s: %d %s%.300s", path, a->status, a->error, a->body);
        return;
    }
    const char *backend = http_header(t->http, "Phoenix-Backend");
    writes[t->index][n] = (struct write){sent, now_ms(), backend && strcmp(backend, "local") == 0};
    counts[t->index] = n + 1;
}

static void get_last(struct load_thread *t)
{
    char path[64];
    FORMAT(path, "/cache/w-%u-%u", t->index, counts[t->index] - 1);
    const struct http_answer *a = http_get(t->http, path);
    /* What a demoted master alone had seen may be gone; the daemon's own are not. */
    if (a->status != 200 && a->status != 404)
        load_fail(t, "GET %s: %d %s%.300s", path, a->status, a->error, a->body);
}

/* Its number is the number of the last write. */
static void patch_session(struct load_thread *t)
{
    char path[64];
    char body[64];
    FORMAT(path, "/session/s-%u", t->index);
    const struct http_answer *a =
        http_send(t->http, "PATCH", path, FORMAT(body, "{\"data\":%u}", counts[t->index]));
    if (a->status != 200) load_fail(t, "PATCH %s: %d %s%.300s", path, a->status, a->error, a->body);
}

static void client(struct load_thread *t)
{
    if (counts[t->index] == WRITES_MAX) return;
    put_next(t);
    get_last(t);
    if (t->round % 4 == 0) patch_session(t);
    for (int64_t until = now_ms() + 2; now_ms() < until;)
        poll_pause();
}

static unsigned writes_so_far(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < THREADS; i++)
        n += counts[i];
    return n;
}

/* A failure of a client's ends the waiting, and the test with its reason. */
#define AWAIT(condition, ms)                                                                                 \
    do {                                                                                                     \
        WAIT_FOR((condition) || load_failed(load), ms);                                                      \
        if (load_failed(load)) load_stop(&load);                                                             \
    } while (0)

static void run_for(unsigned more)
{
    unsigned target = writes_so_far() + more;
    AWAIT(writes_so_far() >= target, 20000);
}

/* The first that the new master has acknowledged; INT64_MAX: none yet. */
static int64_t first_on_redis(int64_t since_ms)
{
    int64_t first = INT64_MAX;
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned n = 0, count = counts[i]; n < count; n++)
            if (!writes[i][n].local && writes[i][n].sent_ms >= since_ms && writes[i][n].acked_ms < first)
                first = writes[i][n].acked_ms;
    return first;
}

static unsigned local_writes(void)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned n = 0; n < counts[i]; n++)
            sum += writes[i][n].local;
    return sum;
}

/* All that the daemon acknowledged by itself, and all that was sent once it was on the new master. */
static void expect_on(int server, int64_t since_ms)
{
    struct resp_client *r = redis_server_client(redis_sentinels_server(rig, server));
    char key[64];
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned n = 0; n < counts[i]; n++) {
            if (!writes[i][n].local && writes[i][n].sent_ms < since_ms) continue;
            FORMAT(key, "phoenix:cache:w-%u-%u", i, n);
            ck_assert_msg(resp_integer(r, "EXISTS", key) == 1, "%s (%s, %lld ms after the move) is lost", key,
                          writes[i][n].local ? "local" : "redis",
                          (long long)(writes[i][n].sent_ms - since_ms));
        }
    resp_close(&r);
}

/* --- the daemon --- */

static double changes(void)
{
    return daemon_metric(d, "phoenix_redis_topology_changes_total");
}

static bool on_redis(void)
{
    const char *backend;
    http_send(h, "PUT", "/cache/is-it-there", "{\"response\":\"r\",\"ttl\":600}");
    backend = http_header(h, "Phoenix-Backend");
    return backend && strcmp(backend, "redis") == 0;
}

static void start_daemon(const char *url)
{
    d = daemon_start(&(struct daemon_options){.redis_url = url, .no_wait = true});
    h = daemon_client(d);
}

static void open_rig(struct netns *const *on)
{
    char path[64];
    rig = redis_sentinels_start(&(struct redis_sentinels_options){.hosts = on});
    start_daemon(redis_sentinels_url(rig));
    WAIT_FOR(on_redis() && daemon_ready(d), 10000);
    for (unsigned i = 0; i < THREADS; i++) {
        FORMAT(path, "{\"correlation_id\":\"s-%u\"}", i);
        EXPECT_STATUS(http_send(h, "POST", "/session", path), 201);
    }
    /* A failover loses what the promoted replica has not seen; these are there whichever it is. */
    struct resp_client *r = redis_server_client(redis_sentinels_server(rig, 0));
    ck_assert_int_eq(resp_integer(r, "SET", "seen", "1"), -1);
    ck_assert_int_eq(resp_integer(r, "WAIT", "2", "5000"), 2);
    resp_close(&r);
}

static void close_all(void)
{
    http_close(&h);
    daemon_stop(&d);
    redis_sentinels_stop(&rig);
}

static void expect_resources_work(void)
{
    char token[128];
    char path[300];
    const struct http_answer *a = http_send(h, "POST", "/locks/after", "{\"ttl\":30}");
    EXPECT_STATUS(a, 201);
    MEMBER(token, a->body, "token");
    EXPECT_STATUS(http_send(h, "PUT", "/locks/after", FORMAT(path, "{\"token\":\"%s\",\"ttl\":60}", token)),
                  200);
    EXPECT_STATUS(http_send(h, "POST", "/tasks", "{\"task_id\":\"after\",\"agent\":\"x\",\"payload\":1}"),
                  201);
    EXPECT_STATUS(http_send(h, "POST", "/tasks/dequeue", "{\"agent\":\"x\"}"), 200);
}

/* --- the ways to lose a master --- */

static struct redis_server *first_server(void)
{
    return redis_sentinels_server(rig, 0);
}

static void killed(void)
{
    redis_server_kill(first_server());
}
static void killed_end(void)
{
    redis_server_restart(first_server());
}

static void hung(void)
{
    redis_server_pause(first_server());
}
static void hung_end(void)
{
    redis_server_resume(first_server());
}

static void planned(void)
{
    free(redis_server_ask(redis_sentinels_sentinel(rig, 1), "SENTINEL", "FAILOVER", "mymaster"));
}
static void nothing(void)
{
}

static void parted(void)
{
    netns_cut(hosts[0]);
}
static void parted_end(void)
{
    netns_join(hosts[0]);
}

static const struct loss {
    const char *name;
    void (*begin)(void), (*end)(void);
    bool degraded; /* the master is gone before there is another one */
    bool machines; /* in network namespaces */
} LOSSES[] = {
    {"killed -9", killed, killed_end, true, false},
    {"hung", hung, hung_end, true, false},
    {"a planned failover", planned, nothing, false, false},
    {"partitioned away", parted, parted_end, true, true},
};

START_TEST(the_daemon_follows_the_master)
{
    const struct loss *loss = &LOSSES[_i];
    if (loss->machines) {
        if (!netns_begin()) return; /* it has said why */
        for (int i = 0; i < SENTINELS; i++)
            hosts[i] = netns_create();
    }
    open_rig(loss->machines ? hosts : NULL);
    load = load_start(THREADS, daemon_port(d), client, NULL);
    run_for(100);
    double before = changes();
    loss->begin();
    struct redis_promotion p = redis_sentinels_await_promotion(rig, 0, 30000);
    AWAIT(changes() > before, 5000);
    int64_t moved_ms = now_ms();
    AWAIT(first_on_redis(moved_ms) != INT64_MAX, 5000);
    int64_t first_ms = first_on_redis(moved_ms);
    printf("%s: taken to told %lld ms, told to moved %lld ms, to the first write %lld ms; %u of %u writes "
           "local\n",
           loss->name, (long long)(p.told_ms - p.taken_ms), (long long)(moved_ms - p.told_ms),
           (long long)(first_ms - p.told_ms), local_writes(), writes_so_far());
    (void)fflush(stdout);
    ck_assert_int_le(first_ms - p.told_ms, test_ms(MOVED_WITHIN_MS));
    loss->end();
    redis_sentinels_await_settled(rig, 30000);
    run_for(200);
    load_stop(&load);
    WAIT_FOR(daemon_metric(d, "phoenix_journal_entries") == 0 &&
                 daemon_metric(d, "phoenix_pending_entries") == 0,
             10000);
    ck_assert(!loss->degraded || local_writes() > 0);
    expect_on(p.server, moved_ms);
    ck_assert_msg(changes() == before + 1, "it moved %d times", (int)(changes() - before));
    expect_resources_work();
    close_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sentinel");
    for (int i = 0; i < (int)(sizeof LOSSES / sizeof LOSSES[0]); i++)
        tcase_add_loop_test(test_case(suite, LOSSES[i].name, 120), the_daemon_follows_the_master, i, i + 1);
    return test_run(suite);
}
