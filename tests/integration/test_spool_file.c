/* The spool's file as an operator meets it: what embedded mode keeps over a restart and a kill, one daemon to
 * a file, and files that belong to something else. */
#include "../support/load.h"
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A daemon whose file outlives it. */
struct place {
    char path[TEST_PATH_MAX];
    char spool[TEST_PATH_MAX + 32];
    const char *drain; /* its timeout */
    const char *env[3];
};

static struct place place_make(void)
{
    struct place p = {.drain = "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=200"};
    scratch_path(p.path, "kept.db");
    FORMAT(p.spool, "PHOENIX_SPOOL_PATH=%s", p.path);
    return p;
}

static struct daemon_options options_at(struct place *p, const char *redis_url)
{
    p->env[0] = p->spool;
    p->env[1] = p->drain;
    p->env[2] = NULL;
    return (struct daemon_options){.redis_url = redis_url, .env = p->env};
}

static struct daemon *start_at(struct place *p, const char *redis_url)
{
    struct daemon_options o = options_at(p, redis_url);
    return daemon_start(&o);
}

static void kill_at_once(struct daemon **d)
{
    daemon_signal(*d, SIGKILL);
    ck_assert_int_eq(daemon_wait(*d, 10000), 128 + SIGKILL);
    daemon_release(d);
}

/* The start fails with 1 and a line that holds both parts. */
static void expect_no_start(struct place *p, const char *redis_url, const char *part, const char *other)
{
    struct daemon_options o = options_at(p, redis_url);
    o.no_wait = true;
    struct daemon *d = daemon_start(&o);
    ck_assert_int_eq(daemon_wait(d, 10000), 1);
    char *log = daemon_log(d);
    ck_assert_msg(strstr(log, part) && strstr(log, other), "not named: %s and %s in: %s", part, other, log);
    free(log);
    daemon_release(&d);
}

START_TEST(embedded_state_survives_a_restart_and_a_kill)
{
    static const char *const paths[] = {"/session/k?touch=false", "/health/agent", "/session"};
    char before[3][2048];
    char etag[64];
    struct place p = place_make();
    struct daemon *d = start_at(&p, NULL);
    struct http_client *h = daemon_client(d);
    EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"k\",\"data\":[1.0, 2]}"), 201);
    EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"short\",\"ttl\":1}"), 201);
    EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"gone\"}"), 201);
    EXPECT_STATUS(http_send(h, "DELETE", "/session/gone", NULL), 204);
    for (int i = 0; i < 3; i++)
        EXPECT_STATUS(http_send(h, "POST", "/health/agent/failure", NULL), 200);
    WAIT_FOR(http_get(h, "/session/short?touch=false")->status == 404, 5000);
    for (size_t i = 0; i < 3; i++)
        FORMAT(before[i], "%s", http_get(h, paths[i])->body);
    EXPECT_STATUS(http_get(h, paths[0]), 200);
    FORMAT(etag, "%s", http_header(h, "ETag"));
    for (int round = 0; round < 2; round++) {
        http_close(&h);
        if (round == 0)
            daemon_stop(&d);
        else
            kill_at_once(&d);
        d = start_at(&p, NULL);
        h = daemon_client(d);
        for (size_t i = 0; i < 3; i++)
            ck_assert_str_eq(http_get(h, paths[i])->body, before[i]);
        EXPECT_STATUS(http_get(h, paths[0]), 200);
        ck_assert_str_eq(http_header(h, "ETag"), etag);
        expect_problem(h, http_get(h, "/session/gone"), 404, "not_found");
    }
    http_close(&h);
    daemon_stop(&d);
}
END_TEST

START_TEST(every_acknowledged_change_survives_a_kill)
{
    char value[64];
    char body[64];
    char number[16];
    struct place p = place_make();
    int acked = 0;
    for (int round = 0; round < 3; round++) {
        struct daemon *d = start_at(&p, NULL);
        struct http_client *h = daemon_client(d);
        if (round == 0)
            EXPECT_STATUS(http_send(h, "PUT", "/session/k", "{}"), 201);
        else
            ck_assert_str_eq(MEMBER(value, http_get(h, "/session/k")->body, "data"),
                             FORMAT(number, "%d", acked));
        for (int i = 0; i < 20; i++) {
            FORMAT(body, "{\"data\":%d}", acked + 1);
            EXPECT_STATUS(http_send(h, "PATCH", "/session/k", body), 200);
            acked++;
        }
        http_close(&h);
        kill_at_once(&d);
    }
}
END_TEST

enum { WRITERS = 8 };
static _Atomic unsigned acknowledged[WRITERS];
static atomic_bool ending;

static const char *own_session(char out[64], unsigned index)
{
    return format(out, 64, "/session/s%u", index);
}

/* Each thread counts in a session of its own. */
static void count_on(struct load_thread *t)
{
    char path[64];
    char body[64];
    unsigned next = atomic_load(&acknowledged[t->index]) + 1;
    FORMAT(body, "{\"data\":%u}", next);
    bool late = atomic_load(&ending);
    const struct http_answer *a = http_send(t->http, "PUT", own_session(path, t->index), body);
    if (a->status == 200 || a->status == 201)
        atomic_store(&acknowledged[t->index], next);
    else if (!(late || atomic_load(&ending)) || (a->status != 0 && a->status != 503 && a->status != 504))
        load_fail(t, "PUT: %d %s %s", a->status, a->error, a->body);
    else
        poll_pause();
}

static const struct {
    int signum, status;
    const char *drain;
} ends[] = {
    {SIGTERM, 0, "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=1000"},
    {SIGTERM, 0, "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=0"}, /* with requests in flight */
    {SIGKILL, 128 + SIGKILL, "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=0"},
};

static void create_own_sessions(const struct daemon *d)
{
    char body[64];
    struct http_client *h = daemon_client(d);
    for (unsigned i = 0; i < WRITERS; i++) {
        FORMAT(body, "{\"correlation_id\":\"s%u\",\"data\":0}", i);
        EXPECT_STATUS(http_send(h, "POST", "/session", body), 201);
    }
    http_close(&h);
}

static void expect_acknowledged(const struct daemon *d)
{
    char path[64];
    char value[64];
    struct http_client *h = daemon_client(d);
    for (unsigned i = 0; i < WRITERS; i++) {
        unsigned acked = atomic_load(&acknowledged[i]);
        const struct http_answer *a = http_get(h, own_session(path, i));
        EXPECT_STATUS(a, 200);
        unsigned long there = strtoul(MEMBER(value, a->body, "data"), NULL, 10);
        /* One more was perhaps on its way when the end came. */
        ck_assert_msg(there == acked || there == acked + 1, "%lu, acknowledged %u", there, acked);
    }
    http_close(&h);
}

/* Embedded, and with a Redis that is not there: what is acknowledged is in the file. */
START_TEST(what_was_acknowledged_under_load_is_there_after_any_end)
{
    size_t end = (size_t)_i / 2;
    struct redis_server *redis = _i % 2 ? redis_server_prepare(NULL) : NULL;
    const char *url = redis ? redis_server_url(redis) : NULL;
    struct place p = place_make();
    p.drain = ends[end].drain;
    struct daemon *d = start_at(&p, url);
    create_own_sessions(d);
    atomic_store(&ending, false);
    struct load *l = load_start(WRITERS, daemon_port(d), count_on, NULL);
    WAIT_FOR(load_failed(l) || load_calls(l) > 500, 20000);
    atomic_store(&ending, true);
    daemon_signal(d, ends[end].signum);
    ck_assert_int_eq(daemon_wait(d, 15000), ends[end].status);
    load_stop(&l);
    daemon_release(&d);
    d = start_at(&p, url);
    expect_acknowledged(d);
    daemon_stop(&d);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(a_file_serves_one_daemon)
{
    struct place p = place_make();
    struct daemon *d = start_at(&p, NULL);
    struct http_client *h = daemon_client(d);
    expect_no_start(&p, NULL, p.path, "another process");
    EXPECT_STATUS(http_send(h, "PUT", "/session/k", "{}"), 201); /* the first one minds nothing */
    http_close(&h);
    daemon_stop(&d);
    d = start_at(&p, NULL);
    daemon_stop(&d);
}
END_TEST

START_TEST(a_file_with_embedded_records_does_not_serve_a_redis)
{
    struct redis_server *redis = redis_server_start(NULL);
    struct place p = place_make();
    struct daemon *d = start_at(&p, NULL);
    struct http_client *h = daemon_client(d);
    EXPECT_STATUS(http_send(h, "PUT", "/session/k", "{}"), 201);
    http_close(&h);
    daemon_stop(&d);
    expect_no_start(&p, redis_server_url(redis), p.path, "embedded");
    d = start_at(&p, NULL);
    daemon_stop(&d);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(a_journal_is_known_from_the_start_and_stays_with_its_redis)
{
    char value[64];
    struct redis_server *redis = redis_server_prepare(NULL); /* a port where nothing listens */
    struct redis_server *other = redis_server_start(NULL);
    struct place p = place_make();
    struct daemon *d = start_at(&p, redis_server_url(redis));
    struct http_client *h = daemon_client(d);
    EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"k\",\"data\":7}"), 201);
    expect_header(h, "Phoenix-Backend", "local");
    http_close(&h);
    kill_at_once(&d);
    expect_no_start(&p, NULL, p.path, "redis");
    expect_no_start(&p, redis_server_url(other), p.path, "redis");
    d = start_at(&p, redis_server_url(redis));
    h = daemon_client(d);
    ck_assert_str_eq(MEMBER(value, http_get(h, "/readyz")->body, "journal"), "1");
    const struct http_answer *a = http_get(h, "/session/k");
    EXPECT_STATUS(a, 200);
    expect_header(h, "Phoenix-Backend", "local");
    ck_assert_str_eq(MEMBER(value, a->body, "data"), "7");
    http_close(&h);
    daemon_stop(&d);
    redis_server_stop(&other);
    redis_server_stop(&redis);
}
END_TEST

START_TEST(what_cannot_be_opened_is_named)
{
    struct place p = place_make();
    scratch_write(p.path,
                  "this is no database, but long enough to be looked at as one: 0123456789 0123456789\n");
    expect_no_start(&p, NULL, p.path, "database");
    FORMAT(p.spool, "PHOENIX_SPOOL_PATH=%s.d/missing/kept.db", p.path);
    expect_no_start(&p, NULL, p.path, "kept.db");
}
END_TEST

START_TEST(a_relative_path_is_below_the_state_directory)
{
    char dir[TEST_PATH_MAX];
    char list[TEST_PATH_MAX + 64];
    char path[TEST_PATH_MAX + 32];
    const char *env[] = {FORMAT(list, "STATE_DIRECTORY=%s:/nowhere", scratch_path(dir, "state")),
                         "PHOENIX_SPOOL_PATH=own.db", NULL};
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    struct daemon *d = daemon_start(&(struct daemon_options){.env = env});
    ck_assert_int_eq(access(FORMAT(path, "%s/own.db", dir), R_OK), 0);
    daemon_stop(&d);
}
END_TEST

START_TEST(status_shows_the_spool)
{
    static const char *const members[] = {"\"spool\":{",     "\"health\":\"good\"", "\"entries\":0",
                                          "\"oldest\":null", "\"set_aside\":0",     "\"bytes\":"};
    struct stage s = stage_open(_i ? BACKEND_EMBEDDED : BACKEND_REDIS, NULL);
    const struct http_answer *a = http_get(s.h, "/status");
    EXPECT_STATUS(a, 200);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        ck_assert_msg(strstr(a->body, members[i]), "no %s in %s", members[i], a->body);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool_file");
    TCase *tc = test_case(suite, "file", 60);
    tcase_add_test(tc, embedded_state_survives_a_restart_and_a_kill);
    tcase_add_test(tc, every_acknowledged_change_survives_a_kill);
    tcase_add_loop_test(tc, what_was_acknowledged_under_load_is_there_after_any_end, 0,
                        2 * sizeof ends / sizeof ends[0]);
    tcase_add_test(tc, a_file_serves_one_daemon);
    tcase_add_test(tc, a_file_with_embedded_records_does_not_serve_a_redis);
    tcase_add_test(tc, a_journal_is_known_from_the_start_and_stays_with_its_redis);
    tcase_add_test(tc, what_cannot_be_opened_is_named);
    tcase_add_test(tc, a_relative_path_is_below_the_state_directory);
    tcase_add_loop_test(tc, status_shows_the_spool, 0, BACKEND_COUNT);
    return test_run(suite);
}
