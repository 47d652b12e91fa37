/* app_inherited: listening sockets that the service manager opened and passes on (sd_listen_fds(3):
 * LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES), so that a restart refuses nobody. Three variables are not worth a
 * library. */
#ifndef PHOENIX_SRC_APP_INHERITED_H
#define PHOENIX_SRC_APP_INHERITED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum inherited_kind { INHERITED_API, INHERITED_ADMIN, INHERITED_UNIX, INHERITED_KINDS };
enum { INHERITED_FIRST_FD = 3 };

struct inherited {
    int fd[INHERITED_KINDS]; /* -1: not inherited. Non-blocking, close-on-exec. */
};

/* Variables as text; NULL: not set. */
struct inherited_env {
    const char *pid, *fds, *names;
};

/* Sorts the sockets by their names: api, admin, unix. A socket without a name is the API's, and a Unix socket
 * of the API is `unix` whatever its name, so that one unit can hold both. What is meant for another process
 * is left alone. False with one line in `error`: a variable that cannot be read, an unknown name, two sockets
 * of a kind, or what is no listening stream socket; clients of a socket that nobody serves would hang.
 * `first_fd` is INHERITED_FIRST_FD but in tests. */
bool inherited_read(const struct inherited_env *env, pid_t self, int first_fd, struct inherited *out,
                    char *error, size_t size);

/* The same for this process. */
bool inherited_take(struct inherited *out, char *error, size_t size);

#endif
