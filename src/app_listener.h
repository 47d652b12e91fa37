/* app_listener: listening sockets of the control loop, TCP and Unix. Accepts in bounded batches; what to do
 * with a connection is the owner's. */
#ifndef PHOENIX_APP_LISTENER_H
#define PHOENIX_APP_LISTENER_H

#include "loop/loop.h"

struct listener;
typedef void listener_fn(void *arg, int fd); /* non-blocking; the receiver's to close */

/* "host:port", "[v6]:port" or ":port" (all addresses). NULL with a line in `error`, which names the option.
 */
struct listener *listener_open_tcp(struct loop *loop, const char *option, const char *address,
                                   listener_fn *fn, void *arg, char *error, size_t error_size);
/* Its form alone. */
bool listener_check_address(const char *option, const char *address, char *error, size_t error_size);
/* Of two well-formed addresses: the second could not be bound beside the first. Names are compared as text.
 */
bool listener_same_port(const char *address, const char *other);
/* What can be said of a Unix socket's path without making one: its length, its directory, what is there. */
bool listener_check_unix(const char *option, const char *path, char *error, size_t error_size);
/* A stale socket file (nobody listens) is replaced; a live one is an error. Mode 0660. */
struct listener *listener_open_unix(struct loop *loop, const char *option, const char *path, listener_fn *fn,
                                    void *arg, char *error, size_t error_size);
/* A listening socket that another process opened; non-blocking. Its file, if it has one, stays at the close.
 * NULL: no memory; `fd` is then still the caller's. */
struct listener *listener_open_fd(struct loop *loop, int fd, listener_fn *fn, void *arg);
/* Nobody beyond this machine reaches it: a loopback address, or a Unix socket. */
bool listener_is_local(const struct listener *l);
/* Accepts what is queued: before a close while running, so that no client that has connected is reset. */
void listener_drain(struct listener *l);
void listener_close(struct listener **l);

#endif
