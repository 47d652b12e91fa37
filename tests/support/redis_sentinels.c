/* redis_sentinels: the Sentinels start with what they would learn from each other within seconds. */
#include "redis_sentinels.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { START_MS = 15000 };

struct redis_sentinels {
    struct redis_server *servers[SENTINEL_SERVERS];
    struct redis_server *sentinels[SENTINELS];
    char url[128];
};

static void prepare_servers(struct redis_sentinels *s, const struct redis_sentinels_options *o)
{
    char lines[256];
    for (int i = 0; i < SENTINEL_SERVERS; i++) {
        s->servers[i] = redis_server_prepare(
            &(struct redis_server_options){.lines = o->server_lines, .host = o->hosts ? o->hosts[i] : NULL});
        /* By default a master waits 5 s for more replicas that might want the same copy. */
        redis_server_configure(s->servers[i], "repl-diskless-sync-delay 0\n");
        if (i == 0) continue;
        redis_server_configure(s->servers[i],
                               FORMAT(lines, "replicaof %s %d\n", redis_server_address(s->servers[0]),
                                      redis_server_port(s->servers[0])));
    }
}

static void prepare_sentinels(struct redis_sentinels *s, const struct redis_sentinels_options *o)
{
    char lines[512];
    for (int i = 0; i < SENTINELS; i++)
        s->sentinels[i] =
            redis_server_prepare(&(struct redis_server_options){.sentinel = true,
                                                                .config = {"sentinel.conf"},
                                                                .lines = o->sentinel_lines,
                                                                .host = o->hosts ? o->hosts[i] : NULL});
    for (int i = 0; i < SENTINELS; i++) {
        struct redis_server *one = s->sentinels[i];
        redis_server_configure(
            one, FORMAT(lines,
                        "sentinel myid %040x\nsentinel monitor mymaster %s %d 2\n"
                        "sentinel down-after-milliseconds mymaster %d\n"
                        "sentinel failover-timeout mymaster %d\n",
                        (unsigned)redis_server_port(one), redis_server_address(s->servers[0]),
                        redis_server_port(s->servers[0]), o->down_after_ms ? o->down_after_ms : 1000,
                        o->failover_timeout_ms ? o->failover_timeout_ms : 2000));
        for (int j = 1; j < SENTINEL_SERVERS; j++)
            redis_server_configure(one, FORMAT(lines, "sentinel known-replica mymaster %s %d\n",
                                               redis_server_address(s->servers[j]),
                                               redis_server_port(s->servers[j])));
        for (int j = 0; j < SENTINELS; j++) {
            int port = redis_server_port(s->sentinels[j]);
            if (j == i) continue;
            redis_server_configure(one, FORMAT(lines, "sentinel known-sentinel mymaster %s %d %040x\n",
                                               redis_server_address(s->sentinels[j]), port, (unsigned)port));
        }
    }
}

struct redis_sentinels *redis_sentinels_start(const struct redis_sentinels_options *options)
{
    static const struct redis_sentinels_options none;
    struct redis_sentinels *s = must_alloc(sizeof *s);
    if (options == NULL) options = &none;
    prepare_servers(s, options);
    prepare_sentinels(s, options);
    for (int i = 0; i < SENTINEL_SERVERS; i++)
        redis_server_launch(s->servers[i]);
    for (int i = 0; i < SENTINEL_SERVERS; i++)
        redis_server_await(s->servers[i]);
    for (int i = 0; i < SENTINELS; i++)
        redis_server_launch(s->sentinels[i]);
    for (int i = 0; i < SENTINELS; i++)
        redis_server_await(s->sentinels[i]);
    struct redis_server *const *a = s->sentinels;
    FORMAT(s->url, "redis-sentinel://%s:%d,%s:%d,%s:%d/mymaster", redis_server_address(a[0]),
           redis_server_port(a[0]), redis_server_address(a[1]), redis_server_port(a[1]),
           redis_server_address(a[2]), redis_server_port(a[2]));
    redis_sentinels_await_settled(s, START_MS);
    return s;
}

void redis_sentinels_stop(struct redis_sentinels **s)
{
    if (*s == NULL) return;
    for (int i = 0; i < SENTINELS; i++)
        redis_server_stop(&(*s)->sentinels[i]);
    for (int i = 0; i < SENTINEL_SERVERS; i++)
        redis_server_stop(&(*s)->servers[i]);
    free(*s);
    *s = NULL;
}

const char *redis_sentinels_url(const struct redis_sentinels *s)
{
    return s->url;
}

struct redis_server *redis_sentinels_server(struct redis_sentinels *s, int index)
{
    ck_assert(index >= 0 && index < SENTINEL_SERVERS);
    return s->servers[index];
}

struct redis_server *redis_sentinels_sentinel(struct redis_sentinels *s, int index)
{
    ck_assert(index >= 0 && index < SENTINELS);
    return s->sentinels[index];
}

/* --- what they say --- */

/* The index of the server that this Sentinel names as master; -1: none. */
static int named_by(struct redis_sentinels *s, struct redis_server *sentinel)
{
    struct resp_client *c = redis_server_client(sentinel);
    const struct resp_value *v = resp_call(c, "SENTINEL", "get-master-addr-by-name", "mymaster");
    int port = v && v->type == '*' && v->count == 2 ? (int)strtol(v->items[1].text, NULL, 10) : 0;
    resp_close(&c);
    for (int i = 0; i < SENTINEL_SERVERS; i++)
        if (redis_server_port(s->servers[i]) == port) return i;
    return -1;
}

int redis_sentinels_master(struct redis_sentinels *s)
{
    for (int i = 0; i < SENTINELS; i++) {
        if (!redis_server_reachable(s->sentinels[i])) continue;
        int master = named_by(s, s->sentinels[i]);
        if (master >= 0) return master;
    }
    return -1;
}

int redis_sentinels_master_port(struct redis_sentinels *s)
{
    int master = redis_sentinels_master(s);
    return master < 0 ? -1 : redis_server_port(s->servers[master]);
}

/* A member of a flat list of names and values; "" where it is none. */
static const char *member(const struct resp_value *v, const char *name)
{
    for (size_t i = 0; i + 1 < v->count; i += 2)
        if (v->items[i].text && strcmp(v->items[i].text, name) == 0) return v->items[i + 1].text;
    return "";
}

/* The server that says this port, when it runs. */
static bool runs_on(struct redis_sentinels *s, const char *port)
{
    for (int i = 0; i < SENTINEL_SERVERS; i++)
        if (redis_server_port(s->servers[i]) == (int)strtol(port, NULL, 10))
            return redis_server_reachable(s->servers[i]);
    return false;
}

static int running(struct redis_server *const members[], int count)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        n += redis_server_reachable(members[i]);
    return n;
}

static bool sees_all(struct redis_sentinels *s, struct redis_server *sentinel)
{
    char usable[32];
    struct resp_client *c = redis_server_client(sentinel);
    const struct resp_value *v = resp_call(c, "SENTINEL", "master", "mymaster");
    bool all = v && v->type == '*' && strcmp(member(v, "flags"), "master") == 0;
    v = all ? resp_call(c, "SENTINEL", "ckquorum", "mymaster") : NULL;
    FORMAT(usable, "OK %d usable", running(s->sentinels, SENTINELS));
    all = v && v->text && strncmp(v->text, usable, strlen(usable)) == 0;
    v = all ? resp_call(c, "SENTINEL", "replicas", "mymaster") : NULL;
    int in_step = 0;
    for (size_t i = 0; v && i < v->count; i++)
        in_step += runs_on(s, member(&v->items[i], "port")) &&
                   strcmp(member(&v->items[i], "flags"), "slave") == 0 &&
                   strcmp(member(&v->items[i], "master-link-status"), "ok") == 0;
    resp_close(&c);
    return all && in_step == running(s->servers, SENTINEL_SERVERS) - 1;
}

static bool is_master(struct redis_server *server)
{
    if (!redis_server_reachable(server)) return false;
    struct resp_client *c = redis_server_client(server);
    const struct resp_value *v = resp_call(c, "ROLE");
    bool master = v && v->type == '*' && v->count > 0 && strcmp(v->items[0].text, "master") == 0;
    resp_close(&c);
    return master;
}

/* To all replicas that run. A master that has sent one its data sends nothing more before the first
 * acknowledgement, up to a second later; to both ends, and to Sentinel, the link is up meanwhile. If such a
 * replica is promoted, all that was written since is lost. */
static bool streams(struct redis_sentinels *s, struct redis_server *master)
{
    static const char online[] = ",state=online,offset=";
    struct resp_client *c = redis_server_client(master);
    const char *at = resp_text(c, "INFO", "replication");
    int streaming = 0;
    while ((at = strstr(at, ",port=")) != NULL) {
        at += strlen(",port=");
        const char *state = strchr(at, ',');
        streaming += runs_on(s, at) && state && strncmp(state, online, strlen(online)) == 0 &&
                     strtoll(state + strlen(online), NULL, 10) > 0; /* acknowledged */
    }
    resp_close(&c);
    return streaming == running(s->servers, SENTINEL_SERVERS) - 1;
}

static bool settled(struct redis_sentinels *s)
{
    int master = redis_sentinels_master(s);
    if (master < 0 || !is_master(s->servers[master]) || !streams(s, s->servers[master])) return false;
    for (int i = 0; i < SENTINELS; i++) {
        if (!redis_server_reachable(s->sentinels[i])) continue;
        if (named_by(s, s->sentinels[i]) != master || !sees_all(s, s->sentinels[i])) return false;
    }
    return true;
}

/* Times of Sentinel's own that its configuration does not have: how often it looks, and how long it stands
 * still after a stall of the machine. They are lost when it is started again. A replica whose INFO, which
 * comes each second, is older than five pings is not promoted: these must take longer. */
static void hurry(struct redis_server *sentinel)
{
    if (!redis_server_reachable(sentinel)) return;
    struct resp_client *c = redis_server_client(sentinel);
    (void)resp_call(c, "SENTINEL", "DEBUG", "ping-period", "300", "tilt-period", "1000", "tilt-trigger",
                    "5000", "info-period", "1000", "publish-period", "500");
    resp_close(&c);
}

void redis_sentinels_await_settled(struct redis_sentinels *s, int ms)
{
    for (int i = 0; i < SENTINELS; i++)
        hurry(s->sentinels[i]);
    WAIT_FOR(settled(s), ms);
}

static bool told(struct redis_sentinels *s, int master)
{
    for (int i = 0; i < SENTINELS; i++)
        if (redis_server_reachable(s->sentinels[i]) && named_by(s, s->sentinels[i]) == master) return true;
    return false;
}

struct redis_promotion redis_sentinels_await_promotion(struct redis_sentinels *s, int old_master, int ms)
{
    struct redis_promotion p = {.server = -1};
    int64_t until = now_ms() + test_ms(ms);
    while (p.told_ms == 0) {
        for (int i = 0; i < SENTINEL_SERVERS && p.server < 0; i++)
            if (i != old_master && is_master(s->servers[i])) p.server = i;
        if (p.server >= 0 && p.taken_ms == 0) p.taken_ms = now_ms();
        if (p.server >= 0 && told(s, p.server)) p.told_ms = now_ms();
        ck_assert_msg(now_ms() < until, "no promotion within %d ms", (int)test_ms(ms));
        poll_pause();
    }
    return p;
}
