/* tools/run.sh: what `make run` starts stands beside another one, and the line that it prints works. */
#include "../support/daemon.h"
#include "../support/process.h"
#include "../support/support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct run {
    pid_t pid;
    int port, admin_port;
    char out[TEST_PATH_MAX];
};

/* Its BUILD is the scratch directory, for the spools go below it. */
static void start(struct run *r, const char *host, const char *name)
{
    char script[TEST_PATH_MAX], path[TEST_PATH_MAX], build[TEST_PATH_MAX + 16], listen[64], admin[64];
    *r = (struct run){.port = port_reserve(), .admin_port = port_reserve()};
    scratch_path(r->out, name);
    const char *own[] = {FORMAT(build, "BUILD=%s", scratch_path(path, "build")),
                         FORMAT(listen, "PHOENIX_HTTP_LISTEN=%s:%d", host, r->port),
                         FORMAT(admin, "PHOENIX_ADMIN_LISTEN=127.0.0.1:%d", r->admin_port), NULL};
    const char **env = daemon_environment(own, NULL);
    const char *const argv[] = {repository_path(script, "tools/run.sh"), NULL};
    r->pid = process_start(argv, env, r->out, r->out);
    free(env);
}

static bool answers(int port, const char *path)
{
    struct http_client *h = http_open(port);
    int status = http_get(h, path)->status;
    http_close(&h);
    return status == 200;
}

static void expect_runs(const struct run *r)
{
    char line[64];
    WAIT_FOR(answers(r->admin_port, "/readyz"), 10000);
    ck_assert(answers(r->port, "/livez"));
    char *out = file_read(r->out, NULL);
    ck_assert_msg(strstr(out, FORMAT(line, "curl -s http://127.0.0.1:%d/cache", r->port)), "%s", out);
    free(out);
}

static void stop(struct run *r)
{
    int status = -1;
    ck_assert_int_eq(kill(r->pid, SIGTERM), 0);
    ck_assert(process_wait(r->pid, 15000, &status));
    ck_assert_int_eq(status, 0);
}

START_TEST(two_on_ports_of_their_own_stand_side_by_side)
{
    char build[TEST_PATH_MAX], binary[TEST_PATH_MAX], link[TEST_PATH_MAX + 32];
    ck_assert_int_eq(mkdir(scratch_path(build, "build"), 0700), 0);
    ck_assert_int_eq(symlink(daemon_binary(binary), FORMAT(link, "%s/phoenix-cached", build)), 0);
    struct run first, second;
    start(&first, "127.0.0.1", "first");
    start(&second, "0.0.0.0", "second");
    expect_runs(&first);
    expect_runs(&second);
    stop(&first);
    stop(&second);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("make_run");
    TCase *tc = test_case(suite, "run", 60);
    tcase_add_test(tc, two_on_ports_of_their_own_stand_side_by_side);
    return test_run(suite);
}
