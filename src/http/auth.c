/* auth: the bearer token and the Host and Origin rules. The list of allowed hosts never changes; the token is
 * read again while others ask, so it sits behind a lock, which nobody takes where no token is asked for. The
 * token itself never reaches a log line or an error text. */
#include "http/auth.h"
#include "util/random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { TOKEN_MAX = 4096, HOST_MAX = 255 };

/* The file as it was when the token was last read, or was to be read; all 0: it was not there. */
struct seen {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed; /* its content, or who may read it */
};

struct auth {
    char *token_file; /* NULL: no token is asked for */
    struct seen seen;
    char *allowed; /* names, each followed by a NUL; an empty one ends the list */
    pthread_mutex_t lock;
    char *token; /* under the lock */
    size_t token_len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Into a buffer of TOKEN_MAX + 2: one byte more than may be there, to notice what is too long. */
static bool read_token(const char *path, char **out_token, size_t *out_len, char *error, size_t error_size)
{
    char text[TOKEN_MAX + 64];
    FILE *file = fopen(path, "re");
    if (!file) {
        (void)snprintf(error, error_size, "http.token_file %s: %s; give a file that this user can read", path,
                       strerror(errno));
        return false;
    }
    size_t len = fread(text, 1, sizeof text, file);
    bool broken = ferror(file) != 0;
    (void)fclose(file);
    size_t from = 0;
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    while (from < len && is_blank(text[from]))
        from++;
    len -= from;
    bool legal = !broken && len >= 1 && len <= TOKEN_MAX;
    for (size_t i = 0; legal && i < len; i++)
        legal = text[from + i] > ' ' && text[from + i] < 0x7f;
    char *token = legal ? malloc(len) : NULL;
    if (!token) {
        (void)snprintf(
            error, error_size,
            "http.token_file %s: must hold one token of 1 to %d visible ASCII characters; write one "
            "into it (openssl rand -hex 32)",
            path, TOKEN_MAX);
        return false;
    }
    memcpy(token, text + from, len);
    *out_token = token;
    *out_len = len;
    return true;
}

/* "a, b c" as "a\0b\0c\0\0". */
static char *split_hosts(const char *text)
{
    char *list = calloc(1, strlen(text) + 2);
    if (!list) return NULL;
    char *at = list;
    for (const char *p = text; *p; p++) {
        bool separator = is_blank(*p) || *p == ',';
        if (!separator) *at++ = *p;
        if (separator && at != list && at[-1] != '\0') at++;
    }
    return list;
}

/* Follows links: Kubernetes replaces a directory behind one. */
static struct seen look_at(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return (struct seen){0};
    return (struct seen){st.st_dev, st.st_ino, st.st_size, st.st_ctim};
}

static bool is_same(const struct seen *a, const struct seen *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

bool auth_file_changed(const struct auth *a)
{
    if (!a->token_file) return false;
    const struct seen now = look_at(a->token_file);
    return !is_same(&now, &a->seen);
}

bool auth_reload(struct auth *a, char *error, size_t error_size)
{
    if (!a->token_file) return true;
    a->seen = look_at(a->token_file); /* before: a change while it is read is seen the next time */
    char *token = NULL;
    size_t len = 0;
    if (!read_token(a->token_file, &token, &len, error, error_size)) return false;
    (void)pthread_mutex_lock(&a->lock);
    char *old = a->token;
    a->token = token;
    a->token_len = len;
    (void)pthread_mutex_unlock(&a->lock);
    free(old);
    return true;
}

struct auth *auth_create(const char *token_file, const char *allowed_hosts, char *error, size_t error_size)
{
    struct auth *a = calloc(1, sizeof *a);
    if (!a) goto no_memory;
    if (pthread_mutex_init(&a->lock, NULL) != 0) {
        free(a);
        a = NULL;
        goto no_memory;
    }
    if (!(a->allowed = split_hosts(allowed_hosts))) goto no_memory;
    if (token_file[0] == '\0') return a;
    if (!(a->token_file = strdup(token_file))) goto no_memory;
    if (auth_reload(a, error, error_size)) return a;
    auth_destroy(&a);
    return NULL;
no_memory:
    (void)snprintf(error, error_size, "no memory");
    auth_destroy(&a);
    return NULL;
}

void auth_destroy(struct auth **ref)
{
    struct auth *a = *ref;
    *ref = NULL;
    if (!a) return;
    (void)pthread_mutex_destroy(&a->lock);
    free(a->token_file);
    free(a->allowed);
    free(a->token);
    free(a);
}

bool auth_token_needed(const struct auth *a)
{
    return a->token_file != NULL;
}

bool auth_token_ok(struct auth *a, struct slice authorization)
{
    static const struct slice scheme = SLICE_LITERAL("Bearer ");
    if (!a->token_file) return true;
    if (authorization.len <= scheme.len) return false;
    if (!slice_equal_nocase((struct slice){authorization.ptr, scheme.len}, scheme)) return false;
    struct slice given =
        slice_trim((struct slice){authorization.ptr + scheme.len, authorization.len - scheme.len});
    (void)pthread_mutex_lock(&a->lock);
    bool same = slice_equal_constant_time(given, (struct slice){a->token, a->token_len});
    (void)pthread_mutex_unlock(&a->lock);
    return same;
}

/* Splits host[:port]. An IPv6 literal comes without its brackets. False when it is none. */
static bool split_host(struct slice text, struct slice *out_host, bool *out_literal6)
{
    size_t end = 0;
    bool literal = text.len > 0 && text.ptr[0] == '[';
    if (literal) {
        const char *close = memchr(text.ptr, ']', text.len);
        if (!close) return false;
        *out_host = (struct slice){text.ptr + 1, (size_t)(close - text.ptr) - 1};
        end = (size_t)(close - text.ptr) + 1;
        for (size_t i = 0; i < out_host->len; i++)
            if (!out_host->ptr[i] || !strchr("0123456789abcdefABCDEF:.", out_host->ptr[i])) return false;
    } else {
        for (; end < text.len && text.ptr[end] != ':'; end++) {
            char c = text.ptr[end];
            bool alnum = is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
            if (!alnum && c != '.' && c != '-' && c != '_') return false;
        }
        *out_host = (struct slice){text.ptr, end};
    }
    *out_literal6 = literal;
    if (out_host->len == 0 || out_host->len > HOST_MAX) return false;
    if (end == text.len) return true;
    if (text.ptr[end] != ':' || text.len - end > 6) return false;
    for (size_t i = end + 1; i < text.len; i++)
        if (!is_digit(text.ptr[i])) return false;
    return true;
}

static bool is_loopback(struct slice host, bool literal6)
{
    static const struct slice local = SLICE_LITERAL("localhost"), below = SLICE_LITERAL(".localhost");
    char text[INET6_ADDRSTRLEN + 1];
    if (literal6 || is_digit(host.ptr[0])) {
        if (host.len >= sizeof text) return false;
        memcpy(text, host.ptr, host.len);
        text[host.len] = '\0';
        struct in6_addr six;
        struct in_addr four;
        if (literal6) return inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
        return inet_pton(AF_INET, text, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
    }
    if (host.ptr[host.len - 1] == '.') host.len--;
    if (slice_equal_nocase(host, local)) return true;
    return host.len > below.len &&
           slice_equal_nocase((struct slice){host.ptr + host.len - below.len, below.len}, below);
}

bool auth_host_ok(const struct auth *a, struct slice text)
{
    struct slice host;
    bool literal6;
    if (!split_host(text, &host, &literal6)) return false;
    if (is_loopback(host, literal6)) return true;
    for (const char *name = a->allowed; *name; name += strlen(name) + 1) {
        struct slice allowed = slice_of(name);
        if (allowed.len > 2 && name[0] == '[' && name[allowed.len - 1] == ']')
            allowed = (struct slice){name + 1, allowed.len - 2};
        if (slice_equal_nocase(host, allowed)) return true;
    }
    return false;
}

/* What stands behind http:// or https://; ptr NULL: it is no such origin. */
static struct slice origin_authority(struct slice origin)
{
    static const struct slice schemes[] = {SLICE_LITERAL("http://"), SLICE_LITERAL("https://")};
    for (size_t i = 0; i < 2; i++) {
        struct slice scheme = schemes[i];
        if (origin.len > scheme.len && slice_equal_nocase((struct slice){origin.ptr, scheme.len}, scheme))
            return (struct slice){origin.ptr + scheme.len, origin.len - scheme.len};
    }
    return SLICE_NONE;
}

bool auth_origin_ok(const struct auth *a, struct slice origin)
{
    struct slice authority = origin_authority(origin);
    return !origin.ptr || (authority.ptr && auth_host_ok(a, authority));
}

bool auth_origin_own(struct slice origin, struct slice host)
{
    struct slice authority = origin_authority(origin);
    return authority.ptr && slice_equal_nocase(authority, host);
}

bool auth_peer_loopback(const struct sockaddr *peer)
{
    if (peer->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, peer, sizeof four);
        return ntohl(four.sin_addr.s_addr) >> 24 == 127;
    }
    if (peer->sa_family != AF_INET6) return false;
    struct sockaddr_in6 six;
    memcpy(&six, peer, sizeof six);
    const struct in6_addr *address = &six.sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(address) || (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

bool auth_host_wellformed(struct slice text)
{
    struct slice host;
    bool literal6;
    return split_host(text, &host, &literal6);
}
