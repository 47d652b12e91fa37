/* support: main, scratch directories, time, formatting. Owns the root of all scratch directories of this
 * binary; the tests' processes inherit its name. */
#include "support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUILT_FACTOR 5.0
#elif __has_feature(thread_sanitizer)
#define BUILT_FACTOR 8.0
#endif
#endif
#if !defined(BUILT_FACTOR) && defined(__SANITIZE_ADDRESS__)
#define BUILT_FACTOR 5.0
#elif !defined(BUILT_FACTOR) && defined(__SANITIZE_THREAD__)
#define BUILT_FACTOR 8.0
#elif !defined(BUILT_FACTOR)
#define BUILT_FACTOR 1.0
#endif

enum { RESERVED_MAX = 256 };

static char scratch_root[64];
static int reserved[RESERVED_MAX]; /* sockets of port_reserve */
static size_t reserved_count;

/* --- time --- */

static int64_t clock_us(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) != 0) ck_abort_msg("clock_gettime: %s", strerror(errno));
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t now_ms(void)
{
    return now_us() / 1000;
}

int64_t wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

void poll_pause(void)
{
    struct timespec t = {0, 3000000};
    (void)nanosleep(&t, NULL);
}

static _Thread_local char seen[320] = "nothing";

void test_saw(const char *text, ...)
{
    va_list args;
    va_start(args, text);
    (void)vsnprintf(seen, sizeof seen, text, args);
    va_end(args);
}

const char *test_seen(void)
{
    return seen;
}

double test_scale(void)
{
    const char *given = getenv("TEST_SCALE");
    double factor = given ? strtod(given, NULL) : 1.0;
    return BUILT_FACTOR * (factor > 0 ? factor : 1.0);
}

bool test_sanitized(void)
{
    return BUILT_FACTOR > 1.0;
}

int64_t test_ms(int64_t ms)
{
    return (int64_t)((double)ms * test_scale());
}

/* --- text and memory --- */

char *format(char *out, size_t size, const char *text, ...)
{
    va_list args;
    va_start(args, text);
    int n = vsnprintf(out, size, text, args);
    va_end(args);
    if (n < 0 || (size_t)n >= size) ck_abort_msg("does not fit %zu bytes: %s", size, text);
    return out;
}

void *must_realloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (p == NULL) ck_abort_msg("no memory for %zu bytes", size);
    return p;
}

void *must_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (p == NULL) ck_abort_msg("no memory for %zu bytes", size);
    return p;
}

char *must_copy(const void *bytes, size_t len)
{
    char *p = must_alloc(len + 1);
    if (len) memcpy(p, bytes, len);
    return p;
}

char *paste(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

char *file_read(const char *path, size_t *out_len)
{
    FILE *f = fopen(path, "rbe");
    size_t len = 0;
    size_t cap = 4096;
    char *text = must_alloc(cap);
    while (f && !feof(f) && !ferror(f)) {
        if (cap - len < 2) text = must_realloc(text, cap *= 2);
        len += fread(text + len, 1, cap - len - 1, f);
    }
    if (f) (void)fclose(f);
    text[len] = 0;
    if (out_len) *out_len = len;
    return text;
}

/* --- scratch --- */

const char *scratch_path(char out[TEST_PATH_MAX], const char *name)
{
    char dir[96];
    FORMAT(dir, "%s/%ld", scratch_root, (long)getpid());
    ck_assert_msg(mkdir(dir, 0700) == 0 || errno == EEXIST, "mkdir %s: %s", dir, strerror(errno));
    return format(out, TEST_PATH_MAX, "%s/%s", dir, name);
}

void scratch_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "wbe");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    ck_assert(fputs(text, f) >= 0);
    ck_assert(fclose(f) == 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void clean_test(void)
{
    char dir[96];
    remove_tree(FORMAT(dir, "%s/%ld", scratch_root, (long)getpid()));
    while (reserved_count)
        (void)close(reserved[--reserved_count]);
}

static int print_log(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    size_t len = strlen(path);
    if (type != FTW_F || len < 4 || strcmp(path + len - 4, ".log") != 0) return 0;
    size_t size = 0;
    char *text = file_read(path, &size);
    size_t from = size > 8000 ? size - 8000 : 0;
    if (printf("--- %s of a failed test%s ---\n%s\n", path, from ? " (its end)" : "", text + from) < 0)
        (void)fflush(stdout);
    free(text);
    return 0;
}

const char *daemon_binary(char out[TEST_PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, TEST_PATH_MAX - 1);
    ck_assert(n > 0);
    out[n] = 0;
    for (int up = 0; up < 3; up++) { /* BUILD/tests/integration/test_x */
        char *slash = strrchr(out, '/');
        ck_assert_ptr_nonnull(slash);
        *slash = 0;
    }
    size_t len = strlen(out);
    return format(out + len, TEST_PATH_MAX - len, "/phoenix-cached") - len;
}

/* The nearest directory above the binary that holds a Makefile. */
const char *repository_path(char out[TEST_PATH_MAX], const char *name)
{
    char dir[TEST_PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    ck_assert(n > 0);
    dir[n] = 0;
    char *slash;
    while ((slash = strrchr(dir, '/')) != NULL && slash != dir) {
        *slash = 0;
        format(out, TEST_PATH_MAX, "%s/Makefile", dir);
        if (access(out, R_OK) == 0) return format(out, TEST_PATH_MAX, "%s/%s", dir, name);
    }
    return format(out, TEST_PATH_MAX, "%s", name);
}

/* --- main --- */

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void prepare_test(void)
{
    raise_descriptors();
}

int test_run(Suite *suite)
{
    const char *tmp = getenv("TMPDIR");
    int fits = snprintf(scratch_root, sizeof scratch_root, "%s/phoenix-XXXXXX", tmp ? tmp : "/tmp");
    if (fits < 0 || (size_t)fits >= sizeof scratch_root || mkdtemp(scratch_root) == NULL) {
        perror(scratch_root);
        return EXIT_FAILURE;
    }
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) return EXIT_FAILURE;
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (failed) (void)nftw(scratch_root, print_log, 16, FTW_PHYS);
    remove_tree(scratch_root);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

TCase *test_case(Suite *suite, const char *name, int timeout_s)
{
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, (double)timeout_s * test_scale());
    tcase_add_checked_fixture(tc, prepare_test, clean_test);
    suite_add_tcase(suite, tc);
    return tc;
}

/* --- ports --- */

int port_reserve(void)
{
    ck_assert_uint_lt(reserved_count, RESERVED_MAX);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int on = 1;
    ck_assert_msg(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0, "bind: %s", strerror(errno));
    ck_assert(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    /* Set after an exclusive bind: a server with SO_REUSEADDR may share the port, a second reservation may
     * not. The descriptor stays open until the test's process ends. */
    ck_assert(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    reserved[reserved_count++] = fd;
    return ntohs(at.sin_port);
}
