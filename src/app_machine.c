/* app_machine: the own cgroup's files (v2, then v1), read once at start; sd_notify is one datagram, not worth
 * a library. */
#include "app_machine.h"

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { WORKERS_DEFAULT = 2 };

/* A v1 "no limit" is a number near 2^63. */
static const int64_t NO_LIMIT = INT64_C(1) << 60;

static bool read_first_line(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool ok = fgets(out, (int)size, file) != NULL;
    fclose(file);
    return ok;
}

/* In a container the own cgroup is mounted at the root; on a host it is below, as /proc/self/cgroup says. */
static bool read_cgroup(const char *name, char *out, size_t size)
{
    char line[512] = "", path[640];
    if (read_first_line("/proc/self/cgroup", line, sizeof line) && strncmp(line, "0::", 3) == 0) {
        line[strcspn(line, "\n")] = 0;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", line + 3, name);
        if (read_first_line(path, out, size)) return true;
    }
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s", name);
    return read_first_line(path, out, size);
}

unsigned machine_workers(void)
{
    unsigned n = WORKERS_DEFAULT;
    cpu_set_t set;
    char line[128];
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0 && (unsigned)CPU_COUNT(&set) < n)
        n = (unsigned)CPU_COUNT(&set);
    if (read_cgroup("cpu.max", line, sizeof line) && strncmp(line, "max", 3) != 0) {
        char *rest;
        long long quota = strtoll(line, &rest, 10), period = strtoll(rest, NULL, 10);
        long long cpus = period > 0 ? (quota + period - 1) / period : n;
        if (cpus > 0 && cpus < (long long)n) n = (unsigned)cpus;
    }
    return n;
}

int64_t machine_memory_limit(void)
{
    char line[128];
    if (!read_cgroup("memory.max", line, sizeof line) &&
        !read_first_line("/sys/fs/cgroup/memory/memory.limit_in_bytes", line, sizeof line))
        return 0;
    int64_t limit = strtoll(line, NULL, 10); /* "max" reads as 0 */
    return limit < NO_LIMIT ? limit : 0;
}

void machine_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@') address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, len);
    close(fd);
}
