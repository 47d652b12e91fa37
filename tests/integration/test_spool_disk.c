/* A disk that fails under the spool (tests/preload/failing_disk.c): nothing is acknowledged that is not on
 * it, what was is there afterwards, and a disk with room again is noticed without a restart. */
#include "../support/stage.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__ /* its runtime wants to be loaded first */
enum { LOADABLE = false };
#else
enum { LOADABLE = true };
#endif

static struct stage s;
static char disk[TEST_PATH_MAX], spool[TEST_PATH_MAX + 32], preload[TEST_PATH_MAX + 32],
    name[TEST_PATH_MAX + 32];
static const char *env[5];

/* It lies beside the tests. */
static void find_library(void)
{
    char build[TEST_PATH_MAX];
    daemon_binary(build);
    *strrchr(build, '/') = '\0';
    FORMAT(preload, "LD_PRELOAD=%s/tests/preload/failing_disk.so", build);
    ck_assert_int_eq(access(strchr(preload, '=') + 1, R_OK), 0);
}

static void open_stage(enum backend backend)
{
    char path[TEST_PATH_MAX];
    find_library();
    scratch_path(disk, "disk");
    scratch_path(path, "kept.db");
    FORMAT(spool, "PHOENIX_SPOOL_PATH=%s", path);
    FORMAT(name, "FAILING_DISK=%s", disk);
    env[0] = spool, env[1] = preload, env[2] = name, env[3] = "PHOENIX_HTTP_DRAIN_TIMEOUT_MS=200";
    s = backend == BACKEND_REDIS ? stage_open_durable(env) : stage_open(backend, env);
}

static void set_failing(const char *how, bool on)
{
    char path[TEST_PATH_MAX + 8];
    FORMAT(path, "%s.%s", disk, how);
    if (on)
        ck_assert_int_eq(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
    else
        ck_assert_int_eq(unlink(path), 0);
}

/* Redis gone: what follows must be kept here. */
static void lose_redis(void)
{
    if (s.backend == BACKEND_EMBEDDED) return;
    redis_server_kill(s.redis);
    WAIT_FOR(daemon_metric(s.d, "phoenix_redis_up") == 0, 10000);
}

static const struct http_answer *create(const char *id)
{
    char body[128];
    return http_send(s.h, "POST", "/session", FORMAT(body, "{\"correlation_id\":\"%s\",\"data\":1}", id));
}

static void restart_daemon(void)
{
    daemon_signal(s.d, SIGKILL);
    (void)daemon_wait(s.d, 10000);
    daemon_release(&s.d);
    http_close(&s.h);
    struct daemon_options o = {.redis_url = s.redis ? redis_server_url(s.redis) : NULL, .env = env};
    s.d = daemon_start(&o);
    s.h = daemon_client(s.d);
}

static void expect_in_the_end(const char *id, int status)
{
    if (s.redis) {
        redis_server_restart(s.redis);
        WAIT_FOR(daemon_metric(s.d, "phoenix_redis_up") == 1, 10000);
        WAIT_FOR(daemon_metric(s.d, "phoenix_journal_entries") == 0 ||
                     daemon_metric(s.d, "phoenix_spool_state") == 2,
                 10000);
    }
    char path[64];
    FORMAT(path, "/session/%s?touch=false", id);
    WAIT_FOR(http_get(s.h, path)->status == status, 10000);
}

START_TEST(a_full_disk_refuses_changes_until_there_is_room_again)
{
    open_stage((enum backend)_i);
    lose_redis();
    EXPECT_STATUS(create("before"), 201);
    set_failing("full", true);
    expect_problem(s.h, create("refused"), 503, "spool_unavailable");
    expect_problem(s.h, create("refused"), 503, "spool_unavailable");
    EXPECT_STATUS(http_get(s.h, "/session/before?touch=false"), 200);
    WAIT_FOR(daemon_metric(s.d, "phoenix_spool_state") == 1, 5000);
    ck_assert_ptr_nonnull(strstr(http_get(s.h, "/readyz")->body, "spool full"));
    set_failing("full", false);
    WAIT_FOR(create("after")->status == 201, 10000);
    WAIT_FOR(daemon_log_has(s.d, "spool has room again"), 5000);
    restart_daemon();
    if (s.backend == BACKEND_EMBEDDED) EXPECT_STATUS(http_get(s.h, "/session/refused"), 404);
    expect_in_the_end("after", 200);
    EXPECT_STATUS(http_get(s.h, "/session/before"), 200);
    EXPECT_STATUS(http_get(s.h, "/session/refused"), 404);
    stage_close(&s);
}
END_TEST

START_TEST(after_a_failed_sync_nothing_is_acknowledged_until_a_restart)
{
    open_stage((enum backend)_i);
    lose_redis();
    EXPECT_STATUS(create("before"), 201);
    set_failing("sync", true);
    expect_problem(s.h, create("refused"), 503, "spool_unavailable");
    set_failing("sync", false);
    for (int i = 0; i < 3; i++)
        expect_problem(s.h, create("later"), 503, "spool_unavailable");
    ck_assert_int_eq((int)daemon_metric(s.d, "phoenix_spool_state"), 2);
    EXPECT_STATUS(http_get(s.h, "/session/before?touch=false"), 200);
    restart_daemon();
    EXPECT_STATUS(create("after"), 201);
    expect_in_the_end("before", 200);
    EXPECT_STATUS(http_get(s.h, "/session/after"), 200);
    EXPECT_STATUS(http_get(s.h, "/session/later"), 404);
    stage_close(&s);
}
END_TEST

START_TEST(after_a_failed_sync_what_was_committed_is_still_handed_back_tasks_after_a_restart)
{
    open_stage(BACKEND_REDIS);
    lose_redis();
    EXPECT_STATUS(create("before"), 201);
    EXPECT_STATUS(http_send(s.h, "POST", "/tasks", "{\"task_id\":\"t\",\"payload\":1}"), 202);
    set_failing("sync", true);
    expect_problem(s.h, create("refused"), 503, "spool_unavailable");
    redis_server_restart(s.redis);
    WAIT_FOR(daemon_metric(s.d, "phoenix_redis_up") == 1, 10000);
    resp_close(&s.r);
    s.r = redis_server_client(s.redis);
    WAIT_FOR(resp_integer(s.r, "EXISTS", "phoenix:session:before", NULL) == 1, 10000);
    WAIT_FOR(daemon_metric(s.d, "phoenix_journal_entries") == 0, 10000);
    WAIT_FOR(create("direct")->status == 201, 10000);
    ck_assert_int_eq((int)daemon_metric(s.d, "phoenix_tasks_spooled"), 1);
    set_failing("sync", false);
    restart_daemon();
    WAIT_FOR(daemon_metric(s.d, "phoenix_tasks_handed_back_total") == 1, 10000);
    WAIT_FOR(daemon_metric(s.d, "phoenix_tasks_spooled") == 0, 10000);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool disk");
    if (LOADABLE) {
        TCase *tc = test_case(suite, "spool disk", 60);
        tcase_add_loop_test(tc, a_full_disk_refuses_changes_until_there_is_room_again, 0, BACKEND_COUNT);
        tcase_add_loop_test(tc, after_a_failed_sync_nothing_is_acknowledged_until_a_restart, 0,
                            BACKEND_COUNT);
        tcase_add_test(tc, after_a_failed_sync_what_was_committed_is_still_handed_back_tasks_after_a_restart);
    }
    return test_run(suite);
}
