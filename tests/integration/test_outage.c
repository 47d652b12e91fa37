/* Outage: with eight clients reading, writing and deleting, Redis breaks in each way and comes
 * back. Every request gets one answer, its own, in time, no 5xx; afterwards Redis holds what was
 * acknowledged. */
#include "../support/fake_redis.h"
#include "../support/redis_proxy.h"
#include "../support/stage.h"
#include "../support/traffic.h"

#include <stdlib.h>
#include <string.h>

/* Where the daemon's Redis is, so that a fault can be put there. */
struct scene {
    struct redis_server *redis;
    struct redis_proxy *proxy;
    struct fake_redis *fake;
    struct resp_client *r;
};

/* --- faults --- */

static void kill_begin(struct scene *s)
{
    redis_server_kill(s->redis);
}
static void kill_end(struct scene *s)
{
    redis_server_restart(s->redis);
}

static void stop_begin(struct scene *s)
{
    redis_server_pause(s->redis);
}
static void stop_end(struct scene *s)
{
    redis_server_resume(s->redis);
}

static void hole_begin(struct scene *s)
{
    redis_proxy_hold_new(s->proxy, true);
    redis_proxy_hold(s->proxy);
}
static void hole_end(struct scene *s)
{
    redis_proxy_lift(s->proxy);
}

static void refuse_begin(struct scene *s)
{
    redis_proxy_refuse(s->proxy, true);
    redis_proxy_cut(s->proxy);
}
static void refuse_end(struct scene *s)
{
    redis_proxy_refuse(s->proxy, false);
}

static void slow_begin(struct scene *s)
{
    redis_proxy_delay(s->proxy, (int)test_ms(700));
}
static void slow_end(struct scene *s)
{
    redis_proxy_delay(s->proxy, 0);
}

static bool in_list(const struct fake_command *c, const char *const *names)
{
    for (size_t i = 0; names[i]; i++)
        if (fake_command_is(c, names[i])) return true;
    return false;
}

static struct fake_verdict cut_all(void *arg, const struct fake_command *c)
{
    (void)arg;
    (void)c;
    return (struct fake_verdict){.cut = true, .cut_at = 3};
}

static struct fake_verdict delay_all(void *arg, const struct fake_command *c)
{
    (void)arg;
    (void)c;
    return (struct fake_verdict){.delay_ms = (int)test_ms(600)};
}

static struct fake_verdict silence(void *arg, const struct fake_command *c)
{
    (void)arg;
    (void)c;
    return (struct fake_verdict){.silent = true};
}

static struct fake_verdict garbage(void *arg, const struct fake_command *c)
{
    (void)arg;
    (void)c;
    return (struct fake_verdict){.reply = "HTTP/1.1 400 Bad Request\r\n\r\n"};
}

static struct fake_verdict loading(void *arg, const struct fake_command *c)
{
    static const char *const allowed[] = {"AUTH", "CLIENT", "SELECT", "SUBSCRIBE", "INFO", "HELLO", NULL};
    (void)arg;
    if (in_list(c, allowed)) return (struct fake_verdict){0};
    return (struct fake_verdict){.reply = "-LOADING Redis is loading the dataset in memory\r\n"};
}

static struct fake_verdict noauth(void *arg, const struct fake_command *c)
{
    (void)arg;
    (void)c;
    return (struct fake_verdict){.reply = "-NOAUTH Authentication required.\r\n"};
}

static struct fake_verdict noscript(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (fake_command_is(c, "EVALSHA"))
        return (struct fake_verdict){.reply = "-NOSCRIPT No matching script. Please use EVAL.\r\n"};
    return (struct fake_verdict){0};
}

static struct fake_verdict misconf(void *arg, const struct fake_command *c)
{
    static const char *const writes[] = {"SET", "DEL", "UNLINK", "EVAL", "EVALSHA", NULL};
    (void)arg;
    if (in_list(c, writes))
        return (struct fake_verdict){.reply = "-MISCONF Redis is configured to save RDB snapshots\r\n"};
    return (struct fake_verdict){0};
}

static struct fake_verdict maxclients(void *arg, const struct fake_command *c)
{
    (void)arg;
    (void)c;
    return (struct fake_verdict){
        .reply = "-ERR max number of clients reached\r\n", .cut = true, .cut_at = 1000};
}

static void fake_end(struct scene *s)
{
    fake_redis_script(s->fake, NULL, NULL);
}

#define FAKED(name)                                                                                          \
    static void name##_begin(struct scene *s)                                                                \
    {                                                                                                        \
        fake_redis_script(s->fake, name, NULL);                                                              \
    }
FAKED(cut_all)
FAKED(delay_all)
FAKED(silence)
FAKED(garbage)
FAKED(loading)
FAKED(noauth)
FAKED(noscript)
FAKED(misconf)
FAKED(maxclients)

static void flush_begin(struct scene *s)
{
    ck_assert_str_eq(resp_text(s->r, "SCRIPT", "FLUSH", "SYNC"), "OK");
}
static void nothing(struct scene *s)
{
    (void)s;
}

static void oom_begin(struct scene *s)
{
    ck_assert_str_eq(resp_text(s->r, "CONFIG", "SET", "maxmemory", "1"), "OK");
}
static void oom_end(struct scene *s)
{
    ck_assert_str_eq(resp_text(s->r, "CONFIG", "SET", "maxmemory", "0"), "OK");
}

/* A replica of nobody: it still reads, and refuses writes. */
static void readonly_begin(struct scene *s)
{
    ck_assert_str_eq(resp_text(s->r, "REPLICAOF", "127.0.0.1", "1"), "OK");
}
static void readonly_end(struct scene *s)
{
    ck_assert_str_eq(resp_text(s->r, "REPLICAOF", "NO", "ONE"), "OK");
}

enum way { DIRECT, BY_PROXY, BY_FAKE };

static const struct fault {
    const char *name;
    enum way way;
    void (*begin)(struct scene *s);
    void (*end)(struct scene *s);
    bool opens; /* the circuit must open */
} faults[] = {
    {"killed and restarted", DIRECT, kill_begin, kill_end, true},
    {"stopped and continued", DIRECT, stop_begin, stop_end, true},
    {"black-holed", BY_PROXY, hole_begin, hole_end, true},
    {"refused", BY_PROXY, refuse_begin, refuse_end, true},
    {"slow", BY_PROXY, slow_begin, slow_end, true},
    {"replies cut", BY_FAKE, cut_all_begin, fake_end, true},
    {"replies delayed", BY_FAKE, delay_all_begin, fake_end, true},
    {"never answering", BY_FAKE, silence_begin, fake_end, true},
    {"garbage", BY_FAKE, garbage_begin, fake_end, true},
    {"LOADING", BY_FAKE, loading_begin, fake_end, true},
    {"NOAUTH", BY_FAKE, noauth_begin, fake_end, false},
    {"NOSCRIPT", BY_FAKE, noscript_begin, fake_end, false},
    {"scripts flushed", DIRECT, flush_begin, nothing, false},
    {"MISCONF", BY_FAKE, misconf_begin, fake_end, false},
    {"maxclients", BY_FAKE, maxclients_begin, fake_end, true},
    {"OOM", DIRECT, oom_begin, oom_end, false},
    {"READONLY", DIRECT, readonly_begin, readonly_end, false},
};
enum { FAULTS = sizeof faults / sizeof faults[0] };

/* --- the test --- */

static const char *scene_open(struct scene *s, enum way way)
{
    *s = (struct scene){.redis = redis_server_start(&(struct redis_server_options){.durable = true})};
    s->r = redis_server_client(s->redis);
    if (way == BY_PROXY) {
        s->proxy = redis_proxy_start(redis_server_port(s->redis));
        return redis_proxy_url(s->proxy);
    }
    if (way == BY_FAKE) {
        s->fake = fake_redis_start(redis_server_port(s->redis));
        return fake_redis_url(s->fake);
    }
    return redis_server_url(s->redis);
}

static void scene_close(struct scene *s)
{
    resp_close(&s->r);
    fake_redis_stop(&s->fake);
    redis_proxy_stop(&s->proxy);
    redis_server_stop(&s->redis);
}

START_TEST(every_request_is_answered_in_time_and_nothing_acknowledged_is_lost)
{
    const struct fault *fault = &faults[_i];
    struct scene s;
    const char *url = scene_open(&s, fault->way);
    struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = url});
    struct traffic *t = traffic_start(&(struct traffic_options){.port = daemon_port(d)});
    traffic_run(t, 500);
    fault->begin(&s);
    if (fault->opens) WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 0, 10000);
    traffic_run(t, 1500);
    fault->end(&s);
    int64_t back = now_ms();
    traffic_run(t, 500);
    WAIT_FOR(daemon_metric(d, "phoenix_redis_up") == 1, 10000);
    traffic_stop(t);
    WAIT_FOR(daemon_metric(d, "phoenix_pending_entries") == 0, 10000);
    resp_close(&s.r);
    s.r = redis_server_client(s.redis);
    traffic_expect_in_redis(t, s.r, 1000);
    ck_assert_msg(now_ms() - back < test_ms(12000), "%s: handed back after %d ms", fault->name,
                  (int)(now_ms() - back));
    ck_assert_msg(daemon_metric_sum(d, "phoenix_http_requests_total{") > 2000, "%s: requests are not counted",
                  fault->name);
    traffic_destroy(&t);
    daemon_stop(&d);
    scene_close(&s);
}
END_TEST

START_TEST(what_redis_refuses_is_in_the_log_and_a_warning_while_it_lasts)
{
    static const char WARNING[] = "says OOM\"", EVENT[] = "event=\"Redis refuses calls;";
    char path[64];
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    ck_assert_ptr_null(strstr(http_get(s.h, "/readyz")->body, WARNING));
    ck_assert_str_eq(resp_text(s.r, "CONFIG", "SET", "maxmemory", "1"), "OK");
    for (int i = 0; i < 40; i++) {
        expect_problem(s.h, http_send(s.h, "PUT", FORMAT(path, "/session/s%d", i), "{}"), 503,
                       "redis_refused");
        (void)http_send(s.h, "POST", "/tasks", "{\"payload\":1}"); /* by another script */
    }
    ck_assert_ptr_nonnull(strstr(http_get(s.h, "/readyz")->body, WARNING));
    WAIT_FOR(daemon_log_has(s.d, "why=\"OOM command not allowed"), 5000);
    ck_assert_uint_le(daemon_log_count(s.d, EVENT), 2); /* one each 10 s */
    ck_assert_str_eq(resp_text(s.r, "CONFIG", "SET", "maxmemory", "0"), "OK");
    WAIT_FOR(strstr(http_get(s.h, "/readyz")->body, WARNING) == NULL, 20000);
    stage_close(&s);
}
END_TEST

static void replicate(struct redis_server *of, struct redis_server *from)
{
    char port[16];
    free(redis_server_ask(of, "REPLICAOF", "127.0.0.1", FORMAT(port, "%d", redis_server_port(from))));
}

static bool in_step(struct redis_server *replica)
{
    char *info = redis_server_ask(replica, "INFO", "replication");
    bool up = strstr(info, "master_link_status:up") != NULL;
    free(info);
    return up;
}

static bool put_session(struct http_client *h)
{
    const struct http_answer *a = http_send(h, "PUT", "/session/s", "{\"plan_id\":\"p\"}");
    const char *backend = http_header(h, "Phoenix-Backend");
    return a->status < 300 && backend && strcmp(backend, "redis") == 0;
}

/* The name of a Kubernetes Service, or HAProxy: what is connected stays connected, the new goes to the
 * master. */
START_TEST(a_name_that_leads_to_another_master_is_followed)
{
    struct redis_server *old = redis_server_start(NULL), *new = redis_server_start(NULL);
    struct redis_proxy *proxy = redis_proxy_start(redis_server_port(old));
    struct daemon *d = daemon_start(&(struct daemon_options){.redis_url = redis_proxy_url(proxy)});
    struct http_client *h = daemon_client(d);
    replicate(new, old);
    WAIT_FOR(put_session(h) && in_step(new), 10000);
    free(redis_server_ask(new, "REPLICAOF", "NO", "ONE"));
    replicate(old, new);
    redis_proxy_lead_to(proxy, redis_server_port(new));
    WAIT_FOR(put_session(h), 10000);
    ck_assert(daemon_log_has(d, "Redis is a replica; connecting anew"));
    free(redis_server_ask(new, "SET", "phoenix:cache:new", "{\"response\":1}"));
    WAIT_FOR(http_get(h, "/cache/new")->status == 200, 10000);
    http_close(&h);
    daemon_stop(&d);
    redis_proxy_stop(&proxy);
    redis_server_stop(&new);
    redis_server_stop(&old);
}
END_TEST

static void time_read(struct load_thread *t)
{
    char path[64];
    unsigned k = (unsigned)(load_random(t) % 200);
    const struct http_answer *a =
        http_request(t->http, "GET", FORMAT(path, "/cache/k%u", k), "Cache-Control: no-cache", NULL, 0);
    if (a->status != 200) load_fail(t, "GET %s: %d", path, a->status);
    latencies_add(t->arg, a->took_us);
}

static int64_t p99(struct daemon *d)
{
    struct latencies *l = latencies_create();
    struct load *load = load_start(2, daemon_port(d), time_read, l);
    WAIT_FOR(latencies_count(l) >= 3000 || load_failed(load), 30000);
    load_stop(&load);
    int64_t us = latencies_quantile(l, 0.99);
    latencies_destroy(&l);
    return us;
}

START_TEST(reads_with_the_circuit_open_are_no_slower_than_through_redis)
{
    char path[64];
    struct stage s = stage_open(BACKEND_REDIS, NULL);
    for (int i = 0; i < 200; i++)
        EXPECT_STATUS(http_send(s.h, "PUT", FORMAT(path, "/cache/k%d", i), "{\"response\":\"some text\"}"),
                      201);
    int64_t healthy = p99(s.d);
    redis_server_kill(s.redis);
    http_get(s.h, "/cache/absent");
    WAIT_FOR(daemon_metric(s.d, "phoenix_redis_up") == 0 || http_get(s.h, "/cache/absent")->status == 0,
             5000);
    int64_t open = p99(s.d);
    /* a scheduler's turn of slack: other tests share the machine */
    ck_assert_msg(open <= healthy + test_ms(10) * 1000, "p99 %d us open, %d us healthy", (int)open,
                  (int)healthy);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outage");
    TCase *tc = test_case(suite, "outage", 90);
    tcase_add_loop_test(tc, every_request_is_answered_in_time_and_nothing_acknowledged_is_lost, 0, FAULTS);
    tcase_add_test(tc, what_redis_refuses_is_in_the_log_and_a_warning_while_it_lasts);
    tcase_add_test(tc, a_name_that_leads_to_another_master_is_followed);
    tcase_add_test(tc, reads_with_the_circuit_open_are_no_slower_than_through_redis);
    return test_run(suite);
}
