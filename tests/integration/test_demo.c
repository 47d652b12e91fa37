/* tools/demo.sh: all that it tells is so (it fails otherwise), and nothing of it is left, whatever ends it.
 */
#include "../support/process.h"
#include "../support/support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct demo {
    pid_t pid;
    char out[TEST_PATH_MAX], err[TEST_PATH_MAX], tmp[TEST_PATH_MAX];
    const char *env[8];
    char lines[4][TEST_PATH_MAX + 32];
};

/* Its files go below the scratch directory. */
static void start(struct demo *d)
{
    char script[TEST_PATH_MAX], build[TEST_PATH_MAX];
    const char *const argv[] = {repository_path(script, "tools/demo.sh"), NULL};
    size_t n = 0;
    scratch_path(d->out, "out");
    scratch_path(d->err, "err");
    scratch_path(d->tmp, "tmp");
    ck_assert_int_eq(mkdir(d->tmp, 0700), 0);
    daemon_binary(build);
    *strrchr(build, '/') = 0;
    d->env[n++] = FORMAT(d->lines[0], "PATH=%s", getenv("PATH"));
    d->env[n++] = FORMAT(d->lines[1], "BUILD=%s", build);
    d->env[n++] = FORMAT(d->lines[2], "TMPDIR=%s", d->tmp);
    d->env[n++] = "LC_ALL=C.UTF-8";
    const char *server = getenv("REDIS_SERVER");
    if (server) d->env[n++] = FORMAT(d->lines[3], "REDIS_SERVER=%s", server);
    d->env[n] = NULL;
    d->pid = process_start(argv, d->env, d->out, d->err);
}

static bool has_said(const struct demo *d, const char *text)
{
    char *out = file_read(d->out, NULL);
    bool yes = strstr(out, text) != NULL;
    free(out);
    return yes;
}

static int end_of(const struct demo *d, int ms)
{
    int status = -1;
    ck_assert(process_wait(d->pid, ms, &status));
    return status;
}

static void expect_nothing_left(const struct demo *d)
{
    char *out = file_read(d->out, NULL), *at = out;
    ck_assert_msg(rmdir(d->tmp) == 0, "files are left in %s", d->tmp);
    unsigned processes = 0;
    while ((at = strstr(at, "(process ")) != NULL) {
        at += strlen("(process ");
        ck_assert_msg(kill((pid_t)strtol(at, NULL, 10), 0) != 0, "process %.8s runs", at);
        processes++;
    }
    ck_assert_uint_eq(processes, 3);
    free(out);
}

START_TEST(the_tour_is_as_it_tells_and_leaves_nothing)
{
    struct demo d;
    start(&d);
    int status = end_of(&d, 60000);
    char *err = file_read(d.err, NULL);
    ck_assert_msg(status == 0, "ended with %d: %s", status, err);
    free(err);
    ck_assert(has_said(&d, "That was all of it"));
    expect_nothing_left(&d);
}
END_TEST

START_TEST(ctrl_c_in_the_middle_leaves_nothing)
{
    struct demo d;
    start(&d);
    WAIT_FOR(has_said(&d, "== 3. Queue"), 30000);
    ck_assert_int_eq(kill(d.pid, SIGINT), 0);
    ck_assert_int_eq(end_of(&d, 30000), 128 + SIGINT);
    ck_assert(!has_said(&d, "That was all of it"));
    expect_nothing_left(&d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("demo");
    TCase *tc = test_case(suite, "demo", 90);
    tcase_add_test(tc, the_tour_is_as_it_tells_and_leaves_nothing);
    tcase_add_test(tc, ctrl_c_in_the_middle_leaves_nothing);
    return test_run(suite);
}
