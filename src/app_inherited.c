/* app_inherited: names are paired with descriptors by position; nothing is closed here. */
#include "app_inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS_MAX = 64 };

static const char *const NAMES[INHERITED_KINDS] = {"api", "admin", "unix"};

/* -1: not a number of 0 to `max`. */
static long read_number(const char *text, long max)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && n >= 0 && n <= max ? n : -1;
}

/* The family of a listening stream socket; -1: not one. */
static int family_of(int fd)
{
    int listens = 0, type = 0;
    socklen_t len = sizeof(int), type_len = sizeof(int);
    struct sockaddr_storage address = {0};
    socklen_t address_len = sizeof address;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || !listens ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0 || type != SOCK_STREAM ||
        getsockname(fd, (struct sockaddr *)&address, &address_len) != 0)
        return -1;
    return address.ss_family;
}

static int kind_of(const char *name, size_t len, int family)
{
    for (int kind = 0; kind < INHERITED_KINDS; kind++)
        if (strlen(NAMES[kind]) == len && memcmp(NAMES[kind], name, len) == 0)
            return kind == INHERITED_API && family == AF_UNIX ? INHERITED_UNIX : kind;
    return -1;
}

static bool place(struct inherited *found, int fd, const char *name, size_t len, char *error, size_t size)
{
    int family = family_of(fd);
    int kind = kind_of(name, len, family);
    int flags = fcntl(fd, F_GETFL);
    if (kind < 0)
        (void)snprintf(error, size,
                       "inherited socket %d is named %.*s: FileDescriptorName must be api, admin or unix", fd,
                       (int)len, name);
    else if (family < 0 || (kind == INHERITED_UNIX) != (family == AF_UNIX))
        (void)snprintf(error, size, "inherited socket %d (%s) is no listening %s socket", fd, NAMES[kind],
                       kind == INHERITED_UNIX ? "Unix" : "TCP");
    else if (found->fd[kind] >= 0)
        (void)snprintf(error, size, "two inherited sockets are for %s: one address each", NAMES[kind]);
    else if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        (void)snprintf(error, size, "inherited socket %d: %s", fd, strerror(errno));
    else
        return found->fd[kind] = fd, true;
    return false;
}

bool inherited_read(const struct inherited_env *env, pid_t self, int first_fd, struct inherited *out,
                    char *error, size_t size)
{
    struct inherited found = {{-1, -1, -1}};
    const char *name = env->names && *env->names ? env->names : NULL;
    if (env->fds && env->pid && read_number(env->pid, INT_MAX) == self) {
        long count = read_number(env->fds, FDS_MAX);
        if (count < 0) {
            (void)snprintf(error, size, "LISTEN_FDS is %.32s: expected 0 to %d", env->fds, FDS_MAX);
            return false;
        }
        for (long i = 0; i < count; i++) {
            size_t len = name ? strcspn(name, ":") : strlen(NAMES[INHERITED_API]);
            if (!place(&found, first_fd + (int)i, name ? name : NAMES[INHERITED_API], len, error, size))
                return false;
            if (name) name = name[len] ? name + len + 1 : NULL;
        }
    }
    *out = found;
    return true;
}

bool inherited_take(struct inherited *out, char *error, size_t size)
{
    struct inherited_env env = {getenv("LISTEN_PID"), getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES")};
    return inherited_read(&env, getpid(), INHERITED_FIRST_FD, out, error, size);
}
