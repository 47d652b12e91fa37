/* url: a hand-written split over a table of the forms. Every step returns NULL or what is wrong, in words of
 * this file alone: nothing of the text is quoted, so no password can show. */
#include "engine/redis/url.h"

#include "engine/redis/secret.h"
#include "engine/redis/tls.h"
#include "util/buf.h"
#include "util/uri.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { DB_MAX = 65535, PORT_MAX = 65535, UNIX_PATH_MAX = 107 };

typedef const char *step_fn(struct slice rest, struct redis_url *out);

static step_fn parse_unix, parse_tcp, parse_sentinel, parse_cluster;

static const struct form {
    const char *scheme;
    enum redis_kind kind;
    bool tls;
    step_fn *parse;
} FORMS[] = {{"redis://", REDIS_TCP, false, parse_tcp},
             {"rediss://", REDIS_TCP, true, parse_tcp},
             {"unix://", REDIS_UNIX, false, parse_unix},
             {"redis-sentinel://", REDIS_SENTINEL, false, parse_sentinel},
             {"redis-cluster://", REDIS_CLUSTER, false, parse_cluster}};

/* --- pieces --- */

static char *copy(struct slice s)
{
    char *text = malloc(s.len + 1);
    if (!text) abort(); /* at start; nothing runs yet */
    if (s.len) memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    return text;
}

/* What comes before the first `mark`; `rest` then begins behind it, or is SLICE_NONE where there is none. */
static struct slice cut(struct slice *rest, char mark)
{
    struct slice all = *rest;
    const char *at = all.len ? memchr(all.ptr, mark, all.len) : NULL;
    if (!at) {
        *rest = SLICE_NONE;
        return all;
    }
    *rest = (struct slice){at + 1, (size_t)(all.ptr + all.len - at - 1)};
    return (struct slice){all.ptr, (size_t)(at - all.ptr)};
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
    if (b.len) explicit_bzero(b.ptr, b.len);
    buf_deinit(&b);
    return text;
}

/* user:password@ or :password@; consumes up to the last '@' before the first '/'. */
static const char *take_credentials(struct slice *rest, struct redis_url *out)
{
    static const char broken[] = "user or password has a broken %-escape";
    struct slice path = *rest;
    struct slice authority = cut(&path, '/');
    const char *at = authority.len ? memrchr(authority.ptr, '@', authority.len) : NULL;
    if (!at) return NULL;
    struct slice password = {authority.ptr, (size_t)(at - authority.ptr)};
    struct slice user = cut(&password, ':');
    if (user.len && !(out->user = decoded(user))) return broken;
    if (password.ptr && !(out->password = decoded(password))) return broken;
    if (out->password && strlen(out->password) >= REDIS_PASSWORD_SIZE)
        return "the password is over 1023 bytes";
    rest->len -= (size_t)(at + 1 - rest->ptr);
    rest->ptr = at + 1;
    return NULL;
}

static bool is_ipv6(struct slice s)
{
    struct in6_addr address;
    char text[INET6_ADDRSTRLEN];
    struct slice zone = s;
    struct slice number = cut(&zone, '%'); /* fe80::1%eth0 */
    if (number.len >= sizeof text) return false;
    snprintf(text, sizeof text, "%.*s", (int)number.len, number.ptr);
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* No name or address holds these; mostly it is a piece of another kind of URL. */
static bool is_plain(struct slice host)
{
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.ptr[i] <= ' ' || host.ptr[i] == 127 || strchr("?#%@[]", host.ptr[i]))
            return false;
    return true;
}

static const char *take_seed(struct slice text, int default_port, struct redis_address *out)
{
    struct slice port = text, host;
    bool bracketed = text.len && text.ptr[0] == '[';
    if (bracketed) {
        port = (struct slice){text.ptr + 1, text.len - 1};
        host = cut(&port, ']');
        if (!port.ptr) return "an IPv6 address ends with ]";
        if (port.len && port.ptr[0] != ':') return "after ] comes :<port>";
        port = port.len ? (struct slice){port.ptr + 1, port.len - 1} : SLICE_NONE;
    } else {
        host = cut(&port, ':');
    }
    if (host.len == 0) return "no host, or an empty one in the list (redis://host:6379)";
    if (bracketed ? !is_ipv6(host) : !is_plain(host))
        return "a host is a name, an address, or an IPv6 address in [ ]";
    out->port = default_port;
    if (port.ptr && (!take_number(port, PORT_MAX, &out->port) || out->port == 0))
        return "the port is a number from 1 to 65535 (an IPv6 address stands in [ ])";
    if (host.len >= sizeof out->host) return "the host's name is too long";
    snprintf(out->host, sizeof out->host, "%.*s", (int)host.len, host.ptr);
    return NULL;
}

static const char *take_seeds(struct slice list, int default_port, struct redis_url *out)
{
    do {
        if (out->seed_count == REDIS_SEEDS_MAX)
            return "over 16 hosts: name some of them, the others are found through these";
        const char *wrong = take_seed(cut(&list, ','), default_port, &out->seeds[out->seed_count]);
        if (wrong) return wrong;
        out->seed_count++;
    } while (list.ptr);
    return NULL;
}

static const char *take_tls(struct slice query, struct redis_url *out)
{
    struct slice name, value;
    bool said = out->tls; /* by rediss:// */
    for (; uri_query_next(&query, &name, &value); said = true) {
        if (!slice_equal_text(name, "tls")) return "after ? comes tls=true or tls=false, nothing else";
        bool yes = slice_equal_text(value, "true");
        if (!yes && !slice_equal_text(value, "false")) return "tls is true or false";
        if (said && yes != out->tls)
            return "tls=false contradicts rediss:// or tls=true: leave one of them out";
        out->tls = yes;
    }
    return NULL;
}

/* --- forms: what comes behind the scheme and the credentials --- */

/* hosts[/tail][?query] */
static const char *take_hosts(struct slice rest, int default_port, struct redis_url *out,
                              struct slice *out_tail)
{
    struct slice query = rest;
    struct slice tail = cut(&query, '?');
    struct slice hosts = cut(&tail, '/');
    if (tail.len && memchr(tail.ptr, '@', tail.len)) return "a / in the user or password is written %2F";
    const char *wrong = take_seeds(hosts, default_port, out);
    *out_tail = tail;
    return wrong ? wrong : take_tls(query, out);
}

static const char *parse_tcp(struct slice rest, struct redis_url *out)
{
    struct slice db;
    const char *wrong = take_hosts(rest, 6379, out, &db);
    if (wrong) return wrong;
    if (out->seed_count > 1)
        return "one host stands here; several need redis-sentinel:// or redis-cluster://";
    if (db.len && !take_number(db, DB_MAX, &out->db))
        return "after the host comes /<database number>, nothing else";
    return NULL;
}

static const char *parse_cluster(struct slice rest, struct redis_url *out)
{
    struct slice db;
    const char *wrong = take_hosts(rest, 6379, out, &db);
    if (wrong) return wrong;
    if (db.len && !take_number(db, DB_MAX, &out->db)) return "after the hosts comes ?tls=true, nothing else";
    if (out->db) return "a Redis Cluster has database 0 alone: leave the number out";
    return NULL;
}

/* Sentinel itself takes no other names. */
static bool is_master_name(struct slice s)
{
    static const char bytes[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return s.len > 0 && strspn(s.ptr, bytes) >= s.len;
}

static const char *parse_sentinel(struct slice rest, struct redis_url *out)
{
    struct slice db;
    const char *wrong = take_hosts(rest, 26379, out, &db);
    if (wrong) return wrong;
    struct slice master = cut(&db, '/');
    if (master.len == 0) return "no master's name: redis-sentinel://host,host,host/<master>";
    if (!is_master_name(master)) return "a master's name is made of A-Z a-z 0-9 . _ -";
    if (db.len && !take_number(db, DB_MAX, &out->db))
        return "after the master's name comes /<database number>, nothing else";
    out->master = copy(master);
    return NULL;
}

static const char *parse_unix(struct slice query, struct redis_url *out)
{
    struct slice path = cut(&query, '?'), name, value;
    while (uri_query_next(&query, &name, &value)) {
        if (slice_equal_text(name, "tls")) return "TLS runs over TCP only: leave tls out, or use rediss://";
        if (!slice_equal_text(name, "db") || !take_number(value, DB_MAX, &out->db))
            return "after the socket's path comes ?db=<database number>, nothing else";
    }
    if (path.len == 0 || path.ptr[0] != '/')
        return "the socket's path is absolute (unix:///run/redis/redis.sock)";
    if (path.len > UNIX_PATH_MAX)
        return "the socket's path is longer than 107 bytes, which Unix sockets do not allow";
    out->path = copy(path);
    return NULL;
}

static const char *parse(struct slice text, struct redis_url *out)
{
    if (slice_equal_text(text, "embedded:")) return NULL;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        size_t len = strlen(FORMS[i].scheme);
        if (text.len < len || memcmp(text.ptr, FORMS[i].scheme, len) != 0) continue;
        struct slice rest = {text.ptr + len, text.len - len};
        out->kind = FORMS[i].kind;
        out->tls = FORMS[i].tls;
        const char *wrong = take_credentials(&rest, out);
        if (!wrong) wrong = FORMS[i].parse(rest, out);
        if (!wrong && out->tls && !redis_tls_available())
            wrong = "this build speaks no TLS to Redis (that needs hiredis 1.0 and hiredis_ssl, as in Debian "
                    "13): "
                    "use one that does, or leave TLS out";
        return wrong;
    }
    return "is none of redis://host:port/db, rediss:// (TLS), unix:///path?db=n, "
           "redis-sentinel://host,host/master, redis-cluster://host,host, embedded:";
}

bool redis_url_parse(const char *option, const char *text, struct redis_url *out, char *error,
                     size_t error_size)
{
    *out = (struct redis_url){0};
    const char *wrong = parse(slice_of(text), out);
    if (!wrong) return true;
    snprintf(error, error_size, "%s: %s", option, wrong);
    redis_url_deinit(out);
    return false;
}

void redis_url_deinit(struct redis_url *u)
{
    if (u->password) explicit_bzero(u->password, strlen(u->password));
    free(u->path);
    free(u->master);
    free(u->user);
    free(u->password);
    *u = (struct redis_url){0};
}
