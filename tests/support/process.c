/* process: fork, exec, wait with a deadline. */
#include "process.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void redirect(const char *path, int target)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
                  : open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dup2(fd, target) < 0) _exit(126);
}

enum { EXEC_MS = 3000, STARTS_MAX = 3 };

static pid_t start_once(const char *const argv[], const char *const environment[], const char *stdout_path,
                        const char *stderr_path)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    ck_assert_msg(pid >= 0, "fork: %s", strerror(errno));
    if (pid > 0) return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);
    redirect(stdout_path, STDOUT_FILENO);
    redirect(stderr_path, STDERR_FILENO);
    (void)signal(SIGPIPE, SIG_DFL);
    execve(argv[0], (char *const *)argv, environment ? (char *const *)environment : environ);
    _exit(127);
}

/* Now and then a child of a test with threads sleeps before its exec, for ever; another one is made then. The
 * pipe's end that it has closes with the exec. */
pid_t process_start(const char *const argv[], const char *const environment[], const char *stdout_path,
                    const char *stderr_path)
{
    for (int i = 0; i < STARTS_MAX; i++) {
        int ends[2];
        ck_assert_msg(pipe2(ends, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
        pid_t pid = start_once(argv, environment, stdout_path, stderr_path);
        (void)close(ends[1]);
        struct pollfd started = {.fd = ends[0], .events = POLLIN};
        bool runs = poll(&started, 1, (int)test_ms(EXEC_MS)) != 0;
        (void)close(ends[0]);
        if (runs) return pid;
        process_kill(pid);
    }
    ck_abort_msg("%s: its process does not get to it", argv[0]);
}

bool process_ended(pid_t pid, int *out_status)
{
    int status;
    pid_t r = waitpid(pid, &status, WNOHANG);
    ck_assert_msg(r >= 0, "waitpid %d: %s", (int)pid, strerror(errno));
    if (r == 0) return false;
    if (out_status) *out_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

bool process_wait(pid_t pid, int ms, int *out_status)
{
    int64_t until = now_ms() + test_ms(ms);
    while (!process_ended(pid, out_status)) {
        if (now_ms() > until) return false;
        poll_pause();
    }
    return true;
}

void process_kill(pid_t pid)
{
    ck_assert(kill(pid, SIGKILL) == 0);
    ck_assert(waitpid(pid, NULL, 0) == pid);
}

int process_run(const char *const argv[], const char *const environment[], int ms, const char *stdout_path,
                const char *stderr_path)
{
    int status = -1;
    pid_t pid = process_start(argv, environment, stdout_path, stderr_path);
    if (!process_wait(pid, ms, &status)) {
        process_kill(pid);
        ck_abort_msg("%s did not end within %d ms", argv[0], (int)test_ms(ms));
    }
    return status;
}

size_t process_rss(pid_t pid)
{
    char path[64];
    char *text = file_read(FORMAT(path, "/proc/%d/status", (int)pid), NULL);
    const char *line = strstr(text, "VmRSS:");
    size_t kib = line ? strtoul(line + 6, NULL, 10) : 0;
    free(text);
    return kib * 1024;
}
