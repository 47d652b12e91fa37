/* app_listener: out of descriptors (EMFILE) a spare one is spent to accept and close, so that the queue
 * drains instead of spinning. */
#include "app_listener.h"

#include "http/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, ACCEPT_BATCH = 64, ADDRESS_MAX = 256, PORT_DIGITS = 5, PORT_MAX = 65535 };

#define UNIX_PATH_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)

struct listener {
    int fd, spare_fd;
    struct loop_io *io;
    listener_fn *fn;
    void *arg;
    char *path; /* Unix: removed on close */
};

static bool accept_one(struct listener *l)
{
    /* cppcheck-suppress nullPointer; accept4(2): NULL where the address is not wanted */
    int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (l->spare_fd < 0) l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* another took it */
        l->fn(l->arg, fd);
        return true;
    }
    if ((errno == EMFILE || errno == ENFILE) && l->spare_fd >= 0) {
        close(l->spare_fd);
        /* cppcheck-suppress nullPointer; as above */
        fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) close(fd);
        l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return fd >= 0;
    }
    return errno == EINTR || errno == ECONNABORTED;
}

static void on_readable(void *arg, int events)
{
    (void)events;
    struct listener *l = arg;
    for (int i = 0; i < ACCEPT_BATCH && accept_one(l); i++)
        ;
}

static struct listener *listener_new(struct loop *loop, int fd, listener_fn *fn, void *arg)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    *l = (struct listener){.fd = fd, .fn = fn, .arg = arg};
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    l->io = loop_io_create(loop, fd, LOOP_READ, on_readable, l);
    if (!l->io) {
        close(l->spare_fd);
        free(l);
        return NULL;
    }
    return l;
}

/* Splits "host:port" in place; host may be empty or bracketed. */
static bool split_address(char *text, char **out_host, char **out_port)
{
    char *colon = strrchr(text, ':');
    if (!colon || !colon[1]) return false;
    *colon = 0;
    *out_port = colon + 1;
    *out_host = text;
    size_t len = strlen(text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text[len - 1] = 0;
        *out_host = text + 1;
    }
    return true;
}

static int listen_on(const struct addrinfo *info)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int kept = errno;
    close(fd);
    errno = kept;
    return -1;
}

/* What to do about what the system says of an address or a path. */
static const char *remedy(int failure, bool is_path)
{
    switch (failure) {
    case EADDRINUSE:
        return is_path ? "a file that is no socket is there; remove it, or choose another path"
                       : "another process has this port; stop it, or choose another port";
    case EADDRNOTAVAIL:
        return "give an address of this machine, or 0.0.0.0 or [::] for all of them";
    case EACCES:
    case EPERM:
        return is_path ? "let this user write its directory, or choose another path"
                       : "choose a port above 1023, or allow this one (CAP_NET_BIND_SERVICE)";
    case ENOENT:
    case ENOTDIR:
        return "make its directory, or choose another path";
    default:
        return is_path ? "choose another path" : "choose another address";
    }
}

static void refuse(const char *option, const char *address, int failure, bool is_path, char *error,
                   size_t error_size)
{
    snprintf(error, error_size, "%s %s: %s; %s", option, address, strerror(failure),
             remedy(failure, is_path));
}

/* `text` holds what out_host and out_port show. */
static bool read_address(const char *option, const char *address, char text[ADDRESS_MAX], char **out_host,
                         char **out_port, char *error, size_t error_size)
{
    const char *why = strlen(address) < ADDRESS_MAX ? NULL : "is too long";
    if (!why) {
        memcpy(text, address, strlen(address) + 1);
        if (!split_address(text, out_host, out_port))
            why = "has no port";
        else if (strspn(*out_port, "0123456789") != strlen(*out_port) || strlen(*out_port) > PORT_DIGITS ||
                 strtol(*out_port, NULL, 10) > PORT_MAX)
            why = "the port must be a number up to 65535";
    }
    if (!why) return true;
    snprintf(error, error_size, "%s %.64s: %s; write host:port, [IPv6]:port or :port", option, address, why);
    return false;
}

bool listener_check_address(const char *option, const char *address, char *error, size_t error_size)
{
    char text[ADDRESS_MAX], *host, *port;
    return read_address(option, address, text, &host, &port, error, error_size);
}

static bool is_any4(const char *host)
{
    return !host[0] || strcmp(host, "0.0.0.0") == 0;
}

bool listener_same_port(const char *address, const char *other)
{
    char text[2][ADDRESS_MAX], *host[2], *port[2], none[1];
    if (!read_address("", address, text[0], &host[0], &port[0], none, sizeof none) ||
        !read_address("", other, text[1], &host[1], &port[1], none, sizeof none))
        return false;
    long wanted = strtol(port[0], NULL, 10);
    if (wanted == 0 || wanted != strtol(port[1], NULL, 10)) return false;
    for (int i = 0; i < 2; i++) {
        if (strcmp(host[i], "::") == 0) return true; /* IPv4's too */
        if (is_any4(host[i]) && !strchr(host[1 - i], ':')) return true;
    }
    return strcasecmp(host[0], host[1]) == 0;
}

struct listener *listener_open_tcp(struct loop *loop, const char *option, const char *address,
                                   listener_fn *fn, void *arg, char *error, size_t error_size)
{
    char text[ADDRESS_MAX], *host, *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list = NULL;
    if (!read_address(option, address, text, &host, &port, error, error_size)) return NULL;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (rc != 0) {
        snprintf(error, error_size, "%s %s: %s; %s", option, address, gai_strerror(rc),
                 remedy(EADDRNOTAVAIL, false));
        return NULL;
    }
    int fd = listen_on(list);
    int failure = errno;
    freeaddrinfo(list);
    struct listener *l = fd >= 0 ? listener_new(loop, fd, fn, arg) : NULL;
    if (l) return l;
    if (fd >= 0) {
        failure = ENOMEM;
        close(fd);
    }
    refuse(option, address, failure, false, error, error_size);
    return NULL;
}

static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    if (fd >= 0) close(fd);
    return yes;
}

bool listener_check_unix(const char *option, const char *path, char *error, size_t error_size)
{
    char directory[UNIX_PATH_MAX] = ".";
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (strlen(path) >= UNIX_PATH_MAX) {
        snprintf(error, error_size,
                 "%s %.64s…: a Unix socket's path has at most %zu bytes; choose a shorter one", option, path,
                 UNIX_PATH_MAX - 1);
        return false;
    }
    int failure = 0;
    if (slash) memcpy(directory, path, (size_t)(slash - path) + 1);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        failure = EADDRINUSE;
    else if (access(directory, W_OK | X_OK) != 0 && errno != ENOENT) /* a service manager may make it later */
        failure = errno;
    if (failure) refuse(option, path, failure, true, error, error_size);
    return failure == 0;
}

struct listener *listener_open_unix(struct loop *loop, const char *option, const char *path, listener_fn *fn,
                                    void *arg, char *error, size_t error_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!listener_check_unix(option, path, error, error_size)) return NULL;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (somebody_listens(&address)) {
        snprintf(error, error_size, "%s %s: another process listens there; stop it, or choose another path",
                 option, path);
        return NULL;
    }
    unlink(path); /* a stale socket, if anything */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(path, 0660) != 0 ||
        listen(fd, BACKLOG) != 0) {
        refuse(option, path, errno, true, error, error_size);
        if (fd >= 0) close(fd);
        return NULL;
    }
    struct listener *l = listener_new(loop, fd, fn, arg);
    if (l && (l->path = strdup(path))) return l;
    listener_close(&l);
    snprintf(error, error_size, "out of memory");
    return NULL;
}

struct listener *listener_open_fd(struct loop *loop, int fd, listener_fn *fn, void *arg)
{
    return listener_new(loop, fd, fn, arg);
}

bool listener_is_local(const struct listener *l)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(l->fd, (struct sockaddr *)&address, &len) != 0) return false;
    return address.ss_family == AF_UNIX || auth_peer_loopback((const struct sockaddr *)&address);
}

void listener_drain(struct listener *l)
{
    while (l && accept_one(l))
        ;
}

void listener_close(struct listener **listener)
{
    struct listener *l = *listener;
    if (!l) return;
    *listener = NULL;
    loop_io_destroy(&l->io);
    close(l->fd);
    close(l->spare_fd);
    if (l->path) unlink(l->path);
    free(l->path);
    free(l);
}
