/* app_probe: one request, and of the answer only the status line. */
#include "app_probe.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AUTHORITY_MAX = 256, REQUEST_MAX = 1024, STATUS_LINE_MAX = 64 };

/* "host:port", "[v6]:port" or a host alone, in place. */
static void split_authority(char *text, char **out_host, const char **out_port)
{
    char *bracket = text[0] == '[' ? strchr(text, ']') : NULL;
    char *colon = strchr(bracket ? bracket : text, ':');
    *out_host = bracket ? text + 1 : text;
    *out_port = colon ? colon + 1 : "80";
    if (bracket) *bracket = 0;
    if (colon) *colon = 0;
}

static int connect_any(const struct addrinfo *list)
{
    int fd = -1;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            int kept = errno;
            close(fd);
            errno = kept;
            fd = -1;
        }
    }
    return fd;
}

static int open_connection(const char *authority, char *error, size_t size)
{
    char text[AUTHORITY_MAX], *host;
    const char *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    memcpy(text, authority, strlen(authority) + 1);
    split_authority(text, &host, &port);
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        (void)snprintf(error, size, "probe: %s: %s", authority, gai_strerror(rc));
        return -1;
    }
    int fd = connect_any(list);
    if (fd < 0) (void)snprintf(error, size, "probe: %s: %s", authority, strerror(errno));
    freeaddrinfo(list);
    return fd;
}

/* As much of the status line as fits, without its end. Empty: no answer. */
static void read_status_line(int fd, char out[STATUS_LINE_MAX])
{
    size_t len = 0;
    ssize_t n = 1;
    out[0] = 0;
    while (n > 0 && len < STATUS_LINE_MAX - 1 && !strchr(out, '\n')) {
        n = recv(fd, out + len, STATUS_LINE_MAX - 1 - len, 0);
        if (n > 0) len += (size_t)n;
        out[len] = 0;
    }
    out[strcspn(out, "\r\n")] = 0;
}

static bool ask(const char *authority, const char *path, char *error, size_t size)
{
    char request[REQUEST_MAX], line[STATUS_LINE_MAX] = "";
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                       path, authority);
    if (len < 0 || len >= REQUEST_MAX) {
        (void)snprintf(error, size, "probe: the URL is too long");
        return false;
    }
    int fd = open_connection(authority, error, size);
    if (fd < 0) return false;
    bool sent = send(fd, request, (size_t)len, MSG_NOSIGNAL) == len;
    if (sent) read_status_line(fd, line);
    close(fd);
    if (strncmp(line, "HTTP/1.1 200", 12) == 0 && (line[12] == ' ' || !line[12])) return true;
    (void)snprintf(error, size, "probe: http://%s%s answered: %s", authority, path,
                   line[0] ? line : "nothing");
    return false;
}

bool probe_url(const char *url, char *error, size_t size)
{
    static const char SCHEME[] = "http://";
    char authority[AUTHORITY_MAX];
    const char *start = strncmp(url, SCHEME, sizeof SCHEME - 1) == 0 ? url + sizeof SCHEME - 1 : "";
    size_t len = strcspn(start, "/?#");
    const char *path = start + len;
    if (len == 0 || len >= sizeof authority || (*path && *path != '/') || strpbrk(url, " \r\n\t@")) {
        (void)snprintf(error, size, "probe: expected http://host:port[/path]");
        return false;
    }
    memcpy(authority, start, len);
    authority[len] = 0;
    return ask(authority, path[0] && path[1] ? path : "/readyz", error, size);
}

bool probe_listen(const char *listen, char *error, size_t size)
{
    static const struct {
        const char *any, *loopback;
    } ALL[] = {{":", "127.0.0.1:"}, {"0.0.0.0:", "127.0.0.1:"}, {"[::]:", "[::1]:"}};
    char url[AUTHORITY_MAX + 16];
    const char *host = "", *rest = listen;
    if (!*listen) {
        (void)snprintf(error, size,
                       "probe: admin.listen is empty; give the URL: --probe http://host:port/readyz");
        return false;
    }
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++)
        if (strncmp(listen, ALL[i].any, strlen(ALL[i].any)) == 0) {
            host = ALL[i].loopback;
            rest = listen + strlen(ALL[i].any);
            break;
        }
    int len = snprintf(url, sizeof url, "http://%s%s", host, rest);
    if (len > 0 && (size_t)len < sizeof url) return probe_url(url, error, size);
    (void)snprintf(error, size, "probe: admin.listen is too long");
    return false;
}
