/* process: child processes of a test. Each is killed by the kernel when the test's process ends, so start
 * them from the test's main thread. */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts argv[0] with exactly this environment (NULL: the test's). Output goes to these files (appended;
 * NULL: /dev/null). Fails the test when it cannot be forked; a missing program shows as exit code 127. */
pid_t process_start(const char *const argv[], const char *const environment[], const char *stdout_path,
                    const char *stderr_path);
/* Waits up to `ms` (scaled). True: it ended; out_status is its exit code, or 128 + signal. */
bool process_wait(pid_t pid, int ms, int *out_status);
bool process_ended(pid_t pid, int *out_status);
/* SIGKILL and reap. */
void process_kill(pid_t pid);
/* Runs to the end; fails the test after `ms` (scaled). Returns its exit code. */
int process_run(const char *const argv[], const char *const environment[], int ms, const char *stdout_path,
                const char *stderr_path);
size_t process_rss(pid_t pid);

#endif
