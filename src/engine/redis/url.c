/* url: a hand-written split; the forms are few and the errors should name what is wrong. */
#include "engine/redis/url.h"

#include "util/buf.h"
#include "util/uri.h"

#include <stdio.h>
#include <stdlib.h>

static char *copy(struct slice s)
{
    char *text = malloc(s.len + 1);
    if (!text) abort(); /* at start; nothing runs yet */
    if (s.len) memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    return text;
}

static bool fail(char *error, size_t size, const char *what)
{
    snprintf(error, size, "%s", what);
    return false;
}

static bool take_number(struct slice s, int max, int *out)
{
    if (s.len == 0 || s.len > 5) return false;
    int n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
        n = n * 10 + (s.ptr[i] - '0');
    }
    if (n > max) return false;
    *out = n;
    return true;
}

static char *decoded(struct slice raw)
{
    struct buf b = {0};
    char *text = NULL;
    if (uri_decode(raw, false, &b) && !b.failed && (b.len == 0 || !memchr(b.ptr, 0, b.len)))
        text = copy(buf_slice(&b));
    buf_deinit(&b);
    return text;
}

/* user:password@ or :password@; consumes up to the last '@' before the first '/'. */
static bool take_credentials(struct slice *rest, struct redis_url *out)
{
    const char *slash = memchr(rest->ptr, '/', rest->len);
    struct slice authority = {rest->ptr, slash ? (size_t)(slash - rest->ptr) : rest->len};
    const char *at = authority.len ? memrchr(authority.ptr, '@', authority.len) : NULL;
    if (!at) return true;
    struct slice both = {rest->ptr, (size_t)(at - rest->ptr)};
    const char *colon = both.len ? memchr(both.ptr, ':', both.len) : NULL;
    struct slice user = {both.ptr, colon ? (size_t)(colon - both.ptr) : both.len};
    struct slice password =
        colon ? (struct slice){colon + 1, (size_t)(both.ptr + both.len - colon - 1)} : SLICE_NONE;
    if (user.len && !(out->user = decoded(user))) return false;
    if (password.ptr && !(out->password = decoded(password))) return false;
    rest->len -= (size_t)(at + 1 - rest->ptr);
    rest->ptr = at + 1;
    return true;
}

/* No name or address holds these; mostly it is a list or a query that belongs to another kind of URL. */
static bool host_is_plain(struct slice host)
{
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.ptr[i] <= ' ' || strchr(",?#", host.ptr[i])) return false;
    return true;
}

static bool parse_tcp(struct slice rest, struct redis_url *out, char *error, size_t size)
{
    const char *slash = memchr(rest.ptr, '/', rest.len);
    struct slice address = {rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len};
    if (slash) {
        struct slice db = {slash + 1, (size_t)(rest.ptr + rest.len - slash - 1)};
        if (db.len && !take_number(db, 65535, &out->db))
            return fail(error, size, "after the host comes /<database number>, nothing else");
    }
    struct slice host = address, port = SLICE_NONE;
    if (address.len && address.ptr[0] == '[') {
        const char *end = memchr(address.ptr, ']', address.len);
        if (!end) return fail(error, size, "an IPv6 address ends with ]");
        host = (struct slice){address.ptr + 1, (size_t)(end - address.ptr - 1)};
        struct slice tail = {end + 1, (size_t)(address.ptr + address.len - end - 1)};
        if (tail.len && tail.ptr[0] == ':')
            port = (struct slice){tail.ptr + 1, tail.len - 1};
        else if (tail.len)
            return fail(error, size, "after ] comes :<port>");
    } else {
        const char *colon = address.len ? memchr(address.ptr, ':', address.len) : NULL;
        if (colon) {
            host.len = (size_t)(colon - address.ptr);
            port = (struct slice){colon + 1, (size_t)(address.ptr + address.len - colon - 1)};
        }
    }
    if (host.len == 0) return fail(error, size, "no host (redis://host:6379)");
    if (!host_is_plain(host))
        return fail(error, size, "the host is one name or address, and no query follows");
    struct redis_address *seed = &out->seeds[0];
    seed->port = 6379;
    if (port.ptr && (!take_number(port, 65535, &seed->port) || seed->port == 0))
        return fail(error, size, "the port is a number from 1 to 65535");
    if (host.len >= sizeof seed->host) return fail(error, size, "the host's name is too long");
    memcpy(seed->host, host.ptr, host.len);
    out->seed_count = 1;
    return true;
}

static bool parse_unix(struct slice rest, struct redis_url *out, char *error, size_t size)
{
    const char *question = rest.len ? memchr(rest.ptr, '?', rest.len) : NULL;
    struct slice path = {rest.ptr, question ? (size_t)(question - rest.ptr) : rest.len};
    if (question) {
        struct slice query = {question + 1, (size_t)(rest.ptr + rest.len - question - 1)};
        if (query.len < 3 || memcmp(query.ptr, "db=", 3) != 0 ||
            !take_number((struct slice){query.ptr + 3, query.len - 3}, 65535, &out->db))
            return fail(error, size, "after the socket's path comes ?db=<database number>, nothing else");
    }
    if (path.len == 0 || path.ptr[0] != '/')
        return fail(error, size, "the socket's path is absolute (unix:///run/redis/redis.sock)");
    if (path.len > 107)
        return fail(error, size,
                    "the socket's path is longer than 107 bytes, which Unix sockets do not allow");
    out->path = copy(path);
    return true;
}

bool redis_url_parse(const char *option, const char *text, struct redis_url *out, char *line,
                     size_t line_size)
{
    char error[128] = "";
    const size_t error_size = sizeof error;
    *out = (struct redis_url){0};
    struct slice all = slice_of(text);
    if (slice_equal_text(all, "embedded:")) return true;
    bool ok = false;
    if (strncmp(text, "redis://", 8) == 0) {
        out->kind = REDIS_TCP;
        struct slice rest = {text + 8, all.len - 8};
        ok = take_credentials(&rest, out) ? parse_tcp(rest, out, error, error_size)
                                          : fail(error, error_size, "user or password has a broken %-escape");
    } else if (strncmp(text, "unix://", 7) == 0) {
        out->kind = REDIS_UNIX;
        struct slice rest = {text + 7, all.len - 7};
        ok = take_credentials(&rest, out) ? parse_unix(rest, out, error, error_size)
                                          : fail(error, error_size, "user or password has a broken %-escape");
    } else if (strncmp(text, "rediss://", 9) == 0) {
        fail(error, error_size, "this build speaks no TLS to Redis; use redis:// or unix://");
    } else if (strncmp(text, "redis-sentinel://", 17) == 0 || strncmp(text, "redis-cluster://", 16) == 0) {
        fail(error, error_size, "this build knows one Redis node only; use redis:// or unix://");
    } else {
        fail(error, error_size, "is none of redis://host:port/db, unix:///path?db=n, embedded:");
    }
    if (ok) return true;
    snprintf(line, line_size, "%s: %s", option, error);
    redis_url_deinit(out);
    return false;
}

void redis_url_deinit(struct redis_url *u)
{
    free(u->path);
    free(u->user);
    free(u->password);
    *u = (struct redis_url){0};
}
