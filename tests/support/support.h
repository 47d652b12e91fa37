/* support: what every test binary stands on: a main, a scratch directory, time scaled to the build, waiting
 * for conditions, formatting.
 *
 * Each test runs in a process of its own (check's CK_FORK). What a test starts ends with it, whatever
 * happens: child processes die with their parent (process.h), scratch directories live below one root that
 * the main removes. A directory that is still there when all tests have run belongs to a test that failed;
 * its logs are printed first. */
#ifndef TESTS_SUPPORT_SUPPORT_H
#define TESTS_SUPPORT_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEST_PATH_MAX = 512 };

/* The body of a test binary's main: runs the suite, prints check's closing line, returns the exit status. */
int test_run(Suite *suite);

/* A test case with its fixtures and a timeout (scaled). Added to the suite. */
TCase *test_case(Suite *suite, const char *name, int timeout_s);

/* How much slower than a plain build on an idle machine: the sanitizer's factor times TEST_SCALE. */
double test_scale(void);
bool test_sanitized(void);
int64_t test_ms(int64_t ms); /* scaled */

int64_t now_ms(void); /* monotonic */
int64_t now_us(void);
int64_t wall_ms(void); /* since 1970 */
void poll_pause(void); /* between two looks at a condition */

/* What a test saw last, told when it waits in vain: http_request notes its answers. */
void test_saw(const char *text, ...) __attribute__((format(printf, 1, 2)));
const char *test_seen(void);

/* Waits until the condition holds; fails the test after `ms` (scaled). */
#define WAIT_FOR(condition, ms)                                                                              \
    do {                                                                                                     \
        int64_t wait_until_ = now_ms() + test_ms(ms);                                                        \
        while (!(condition)) {                                                                               \
            ck_assert_msg(now_ms() < wait_until_, "waited %d ms for: %s; seen last: %s", (int)test_ms(ms),   \
                          #condition, test_seen());                                                          \
            poll_pause();                                                                                    \
        }                                                                                                    \
    } while (0)

/* A path below this test's own scratch directory, which is made at the first call. */
const char *scratch_path(char out[TEST_PATH_MAX], const char *name);
void scratch_write(const char *path, const char *text);
/* The whole file, NUL-terminated; the caller frees. An absent file is "". */
char *file_read(const char *path, size_t *out_len);
/* Where the daemon and the repository are. */
const char *daemon_binary(char out[TEST_PATH_MAX]);
const char *repository_path(char out[TEST_PATH_MAX], const char *name);

/* snprintf that must fit. Returns `out`. */
char *format(char *out, size_t size, const char *text, ...) __attribute__((format(printf, 3, 4)));
#define FORMAT(array, ...) format((array), sizeof(array), __VA_ARGS__)

/* Allocation that cannot fail. */
void *must_alloc(size_t size);
void *must_realloc(void *old, size_t size);
char *must_copy(const void *bytes, size_t len); /* NUL-terminated */

/* Copies text into the middle of a longer one: no NUL. Returns the end of what was written. */
char *paste(char *to, const char *text);

/* A port on 127.0.0.1 that stays this process's own: a bound socket that does not listen holds it, so that
 * neither another test nor an outgoing connection gets it while its server is down. */
int port_reserve(void);

#endif
