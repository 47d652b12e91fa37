/* Waiting dequeues: many of them cost neither connections nor time, each task finds
 * one that waits for it at once, none is forgotten when the subscription or Redis goes, daemons share fairly,
 * and who has left gets nothing. */
#include "../support/load.h"
#include "../support/stage.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MANY = 1000,
    TASKS = 1000,
    DESCRIPTORS = 4000,
    PROMPT_MS = 400
}; /* well below the second after which everybody looks */

static struct stage s;

static struct raw_http wait_at(struct daemon *d, const char *body)
{
    char text[600];
    struct raw_http c = raw_http_tcp((uint16_t)daemon_port(d));
    FORMAT(text, "POST /tasks/dequeue HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
           strlen(body), body);
    ck_assert(raw_http_send(&c, text));
    return c;
}

static unsigned waiting(struct daemon *d)
{
    struct http_client *h = daemon_client(d);
    const char *at = strstr(http_get(h, "/status")->body, "\"waiting\":");
    ck_assert_ptr_nonnull(at);
    unsigned n = (unsigned)strtoul(at + strlen("\"waiting\":"), NULL, 10);
    http_close(&h);
    return n;
}

static bool is_subscribed(struct daemon *d)
{
    struct http_client *h = daemon_client(d);
    bool yes = strstr(http_get(h, "/status")->body, "\"subscribed\":true") != NULL;
    http_close(&h);
    return yes;
}

static void enqueue(const char *body)
{
    const struct http_answer *a = http_send(s.h, "POST", "/tasks", body);
    /* 200: a slow Redis, and the enqueue was sent again. */
    ck_assert_msg(a->status == 201 || a->status == 202 || a->status == 200, "%d %s", a->status, a->body);
}

/* The id of the task that this one got, which must come soon; "" for any. */
static void expect_task(struct raw_http *c, const char *id, int ms)
{
    struct raw_response r;
    char mark[64];
    FORMAT(mark, "\"task_id\":\"%s%s", id, *id ? "\"" : "");
    ck_assert_msg(raw_http_readable(c, (int)test_ms(ms)), "%s does not come", id);
    ck_assert(raw_http_receive(c, false, &r));
    ck_assert_msg(r.status == 200 && strstr(r.body, mark), "%s: %d %s", id, r.status, r.body);
    ck_assert_msg(strstr(r.body, "\"attempt\":1") != NULL, "%s", r.body);
    raw_response_free(&r);
}

/* --- many --- */

static void allow_descriptors(void)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur >= DESCRIPTORS) return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* CPU time of the process, in ms. */
static long long cpu_ms(pid_t pid)
{
    enum { FIELD_USER = 11, FIELD_SYSTEM = 12 }; /* behind the name, from 0 */
    char path[64];
    size_t len;
    unsigned long ticks = 0;
    char *text = file_read(FORMAT(path, "/proc/%d/stat", (int)pid), &len);
    char *at = strrchr(text, ')');
    ck_assert_ptr_nonnull(at);
    at++;
    for (int i = 0; i <= FIELD_SYSTEM; i++) {
        at += strspn(at, " ");
        if (i >= FIELD_USER) ticks += strtoul(at, NULL, 10);
        at += strcspn(at, " ");
    }
    free(text);
    return (long long)ticks * 1000 / sysconf(_SC_CLK_TCK);
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

START_TEST(a_thousand_wait_for_nothing_and_each_gets_one)
{
    static const char *const env[] = {"PHOENIX_HTTP_CONNECTIONS_MAX=2000", NULL};
    static struct raw_http clients[MANY];
    allow_descriptors();
    s = stage_open((enum backend)_i, env);
    unsigned before = s.r ? lines_of(resp_text(s.r, "CLIENT", "LIST")) : 0;
    for (int i = 0; i < MANY; i++)
        clients[i] = wait_at(s.d, "{\"wait\":60}");
    WAIT_FOR(waiting(s.d) == MANY, 20000);
    if (s.r) {
        ck_assert_uint_le(lines_of(resp_text(s.r, "CLIENT", "LIST")), before + 2);
        const struct resp_value *channels = resp_call(s.r, "PUBSUB", "CHANNELS", "phoenix:tasks:*");
        ck_assert_uint_eq(channels->count, 1);
    }
    long long cpu = cpu_ms(daemon_pid(s.d));
    int64_t until = now_ms() + 2000;
    while (now_ms() < until)
        poll_pause();
    cpu = cpu_ms(daemon_pid(s.d)) - cpu;
    ck_assert_msg(cpu <= test_ms(100), "waiting for 2 s took %lld ms", cpu);
    for (int i = 0; i < MANY; i += 2)
        enqueue("[{\"payload\":1},{\"payload\":2}]");
    for (int i = 0; i < MANY; i++) {
        struct raw_response r;
        ck_assert_int_eq(raw_status(&clients[i], &r), 200);
        ck_assert_ptr_null(strstr(strstr(r.body, "\"task_id\"") + 1, "\"task_id\""));
        raw_response_free(&r);
        raw_http_close(&clients[i]);
    }
    ck_assert_uint_eq(waiting(s.d), 0);
    ck_assert(daemon_metric_sum(s.d, "phoenix_task_deliveries_total") == MANY);
    stage_close(&s);
}
END_TEST

START_TEST(who_came_first_is_served_first)
{
    enum { LINE = 8 };
    static const char *const env[] = {"PHOENIX_HTTP_WORKERS=1", NULL};
    struct raw_http clients[LINE];
    char body[64], id[16];
    s = stage_open((enum backend)_i, env);
    for (unsigned i = 0; i < LINE; i++) {
        clients[i] = wait_at(s.d, "{\"wait\":60}");
        WAIT_FOR(waiting(s.d) == i + 1, 5000);
    }
    for (unsigned i = 0; i < LINE; i++) {
        enqueue(FORMAT(body, "{\"task_id\":\"%s\",\"payload\":1}", FORMAT(id, "t%u", i)));
        expect_task(&clients[i], id, PROMPT_MS);
        raw_http_close(&clients[i]);
    }
    stage_close(&s);
}
END_TEST

START_TEST(who_has_left_gets_nothing_and_the_next_one_gets_it_at_once)
{
    enum { ROUNDS = 10 };
    char body[64], id[16];
    s = stage_open((enum backend)_i, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct raw_http left = wait_at(s.d, "{\"wait\":60}"), stays;
        WAIT_FOR(waiting(s.d) == 1, 5000);
        stays = wait_at(s.d, "{\"wait\":60}");
        WAIT_FOR(waiting(s.d) == 2, 5000);
        raw_http_close(&left);
        enqueue(FORMAT(body, "{\"task_id\":\"%s\",\"payload\":1}", FORMAT(id, "t%u", i)));
        expect_task(&stays, id, 2000);
        raw_http_close(&stays);
        WAIT_FOR(waiting(s.d) == 0, 5000);
    }
    stage_close(&s);
}
END_TEST

START_TEST(an_answer_that_does_not_leave_whole_gives_its_task_back)
{
    enum { LARGE = 6 * 1024 * 1024 };
    const struct linger reset = {1, 0};
    /* So much takes its time on a busy machine, and a command given up would cost the task an attempt. */
    static const char *const patient[] = {"PHOENIX_REDIS_COMMAND_TIMEOUT_MS=4000", NULL};
    s = stage_open((enum backend)_i, patient);
    char *body = must_alloc(LARGE + 64);
    char *at = paste(body, "{\"task_id\":\"t\",\"payload\":\"");
    memset(at, 'x', LARGE);
    paste(at + LARGE, "\"}")[0] = 0;
    enqueue(body);
    free(body);
    struct raw_http c = wait_at(s.d, "{\"lease\":600,\"wait\":30}");
    ck_assert(raw_http_readable(&c, (int)test_ms(5000)));
    ck_assert_ptr_nonnull(strstr(http_get(s.h, "/tasks")->body, "\"leased\":1"));
    ck_assert_int_eq(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    raw_http_close(&c);
    WAIT_FOR(strstr(http_get(s.h, "/tasks")->body, "\"ready\":1") != NULL, 2000);
    ck_assert(daemon_metric(s.d, "phoenix_task_returned_total") == 1);
    ck_assert_ptr_nonnull(strstr(http_send(s.h, "POST", "/tasks/dequeue", "{}")->body, "\"attempt\":1,"));
    stage_close(&s);
}
END_TEST

/* --- what goes, and comes back --- */

START_TEST(nothing_is_forgotten_when_the_subscription_dies)
{
    enum { ROUNDS = 8 };
    char body[64], id[16];
    s = stage_open(BACKEND_REDIS, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct raw_http c = wait_at(s.d, "{\"wait\":60}");
        WAIT_FOR(waiting(s.d) == 1, 5000);
        (void)resp_call(s.r, "CLIENT", "KILL", "TYPE", "pubsub");
        enqueue(FORMAT(body, "{\"task_id\":\"%s\",\"payload\":1}", FORMAT(id, "t%u", i)));
        expect_task(&c, id, 2500);
        raw_http_close(&c);
    }
    WAIT_FOR(is_subscribed(s.d), 5000);
    stage_close(&s);
}
END_TEST

START_TEST(what_another_daemon_enqueues_is_found_while_the_subscription_is_away)
{
    s = stage_open(BACKEND_REDIS, NULL);
    struct daemon *other = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(s.redis)});
    struct raw_http c = wait_at(other, "{\"wait\":60}");
    WAIT_FOR(waiting(other) == 1, 5000);
    (void)resp_call(s.r, "CLIENT", "KILL", "TYPE", "pubsub");
    enqueue("{\"task_id\":\"t\",\"payload\":1}");
    expect_task(&c, "t", 2500);
    raw_http_close(&c);
    daemon_stop(&other);
    stage_close(&s);
}
END_TEST

START_TEST(who_waits_is_served_though_redis_will_not_have_the_daemon_in_its_line)
{
    struct raw_http c[2];
    s = stage_open(BACKEND_REDIS, NULL);
    struct daemon *other = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(s.redis)});
    struct resp_client *r = redis_server_client(s.redis);
    ck_assert_str_eq(resp_text(r, "SET", "phoenix:tasks:seen:{phoenix:tasks:queue}", "hello", NULL), "OK");
    for (unsigned i = 0; i < 2; i++) {
        c[i] = wait_at(other, "{\"wait\":60}");
        WAIT_FOR(waiting(other) == i + 1, 5000);
    }
    enqueue("{\"task_id\":\"a\",\"payload\":1}");
    enqueue("{\"task_id\":\"b\",\"payload\":1}");
    WAIT_FOR(waiting(other) == 0, 5000); /* which of them gets which is chance: they may wait on two loops */
    for (int i = 0; i < 2; i++) {
        expect_task(&c[i], "", 5000);
        raw_http_close(&c[i]);
    }
    resp_close(&r);
    daemon_stop(&other);
    stage_close(&s);
}
END_TEST

START_TEST(who_waits_follows_the_mode_out_and_back)
{
    s = stage_open_durable(NULL);
    struct raw_http c = wait_at(s.d, "{\"wait\":60}"), later = wait_at(s.d, "{\"wait\":60}");
    WAIT_FOR(waiting(s.d) == 2, 5000);
    redis_server_kill(s.redis);
    WAIT_FOR(daemon_metric(s.d, "phoenix_breaker_state") > 0 || http_get(s.h, "/cache/x")->status == 0, 5000);
    ck_assert_uint_eq(waiting(s.d), 2);
    enqueue("{\"task_id\":\"away\",\"payload\":1}");
    struct pollfd fds[2] = {{c.fd, POLLIN, 0}, {later.fd, POLLIN, 0}};
    ck_assert_int_ge(poll(fds, 2, (int)test_ms(2000)), 1);
    struct raw_http *got = fds[0].revents ? &c : &later, *waits = fds[0].revents ? &later : &c;
    expect_task(got, "away", 100);
    redis_server_restart(s.redis);
    WAIT_FOR(daemon_metric(s.d, "phoenix_breaker_state") == 0, 10000);
    enqueue("{\"task_id\":\"back\",\"payload\":1}");
    expect_task(waits, "back", 3000);
    raw_http_close(&c);
    raw_http_close(&later);
    stage_close(&s);
}
END_TEST

/* --- several daemons --- */

START_TEST(a_task_finds_the_one_daemon_where_its_agent_is_asked_for)
{
    enum { OTHERS = 2, ROUNDS = 12 };
    struct daemon *others[OTHERS];
    struct raw_http idle[OTHERS + 1];
    char body[100], id[16];
    s = stage_open(BACKEND_REDIS, NULL);
    for (int i = 0; i < OTHERS; i++)
        others[i] = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(s.redis)});
    for (int i = 0; i <= OTHERS; i++) {
        struct daemon *d = i < OTHERS ? others[i] : s.d;
        idle[i] = wait_at(d, "{\"agent\":\"nobody\",\"wait\":60}");
        WAIT_FOR(waiting(d) == 1, 5000);
    }
    unsigned late = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct raw_http c = wait_at(others[0], "{\"agent\":\"x\",\"wait\":60}");
        WAIT_FOR(waiting(others[0]) == 2, 5000);
        int64_t since = now_ms();
        enqueue(FORMAT(body, "{\"task_id\":\"%s\",\"agent\":\"x\",\"payload\":1}", FORMAT(id, "t%u", i)));
        expect_task(&c, id, 2500);
        late += now_ms() - since > test_ms(PROMPT_MS);
        raw_http_close(&c);
        WAIT_FOR(waiting(others[0]) == 1, 5000);
    }
    ck_assert_uint_le(late, 1);
    for (int i = 0; i <= OTHERS; i++)
        raw_http_close(&idle[i]);
    for (int i = 0; i < OTHERS; i++)
        daemon_stop(&others[i]);
    stage_close(&s);
}
END_TEST

static void work(struct load_thread *t)
{
    char id[64], receipt[96], path[100], body[160];
    if (!t->http) return;
    const struct http_answer *a = http_send(t->http, "POST", "/tasks/dequeue", "{\"wait\":1}");
    if (a->status == 204) return;
    const char *text = a->status == 200 ? a->body + strlen("{\"tasks\":[") : "";
    if (a->status != 200 || !MEMBER(id, text, "task_id")[0] || !MEMBER(receipt, text, "receipt")[0]) {
        load_fail(t, "%d %s %s", a->status, a->error, a->body);
        return;
    }
    a = http_send(t->http, "POST", FORMAT(path, "/tasks/%s/ack", id),
                  FORMAT(body, "{\"receipt\":\"%s\"}", receipt));
    if (a->status != 204) load_fail(t, "ack: %d %s %s", a->status, a->error, a->body);
}

/* So many tasks, singly or in batches; how many of them `mine` acked. */
static double hand_out(struct daemon *mine, struct daemon *theirs, bool batches)
{
    enum { BATCH = 50 };
    char batch[16 * BATCH + 2], *at = batch;
    *at++ = '[';
    for (int i = 0; i < BATCH; i++)
        at = paste(at, i ? ",{\"payload\":1}" : "{\"payload\":1}");
    paste(at, "]")[0] = 0;
    double before = daemon_metric(mine, "phoenix_task_acks_total"),
           before_all = before + daemon_metric(theirs, "phoenix_task_acks_total");
    for (int i = 0; i < TASKS; i += batches ? BATCH : 1)
        enqueue(batches ? batch : "{\"payload\":1}");
    WAIT_FOR(daemon_metric(mine, "phoenix_task_acks_total") +
                     daemon_metric(theirs, "phoenix_task_acks_total") - before_all >=
                 TASKS,
             30000);
    return daemon_metric(mine, "phoenix_task_acks_total") - before;
}

/* On a busy machine one of the two may get less of it than the other for a while: who is unfair is so each
 * time. */
START_TEST(two_daemons_with_equal_waiters_share)
{
    enum { WORKERS = 8, TRIES = 3 };
    s = stage_open(BACKEND_REDIS, NULL);
    struct daemon *other = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(s.redis)});
    struct load *one = load_start(WORKERS, daemon_port(s.d), work, NULL);
    struct load *two = load_start(WORKERS, daemon_port(other), work, NULL);
    double mine = 0;
    for (int i = 0; i < TRIES && (mine < 0.4 * TASKS || mine > 0.6 * TASKS); i++) {
        WAIT_FOR(waiting(s.d) == WORKERS && waiting(other) == WORKERS, 5000);
        mine = hand_out(s.d, other, _i);
    }
    ck_assert_msg(mine >= 0.4 * TASKS && mine <= 0.6 * TASKS, "%.0f of %d, each time", mine, TASKS);
    load_stop(&one);
    load_stop(&two);
    daemon_stop(&other);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waiting dequeues");
    TCase *both = test_case(suite, "either backend", 60);
    tcase_add_loop_test(both, a_thousand_wait_for_nothing_and_each_gets_one, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, who_came_first_is_served_first, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, who_has_left_gets_nothing_and_the_next_one_gets_it_at_once, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, an_answer_that_does_not_leave_whole_gives_its_task_back, 0, BACKEND_COUNT);
    TCase *redis = test_case(suite, "Redis", 60);
    tcase_add_test(redis, nothing_is_forgotten_when_the_subscription_dies);
    tcase_add_test(redis, what_another_daemon_enqueues_is_found_while_the_subscription_is_away);
    tcase_add_test(redis, who_waits_is_served_though_redis_will_not_have_the_daemon_in_its_line);
    tcase_add_test(redis, who_waits_follows_the_mode_out_and_back);
    tcase_add_test(redis, a_task_finds_the_one_daemon_where_its_agent_is_asked_for);
    tcase_add_loop_test(redis, two_daemons_with_equal_waiters_share, 0, 2); /* singly, in arrays */
    return test_run(suite);
}
