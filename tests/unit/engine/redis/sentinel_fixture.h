/* sentinel_fixture: sentinels and Redises of the test's own on one loop, which say what the test wants: whom
 * each names, of which epoch, and which of the Redises is a master. */
#ifndef PHOENIX_TESTS_SENTINEL_FIXTURE_H
#define PHOENIX_TESTS_SENTINEL_FIXTURE_H

#include "redis_fixture.h"

enum { FAKES = 3, NOWHERE = -1, UNKNOWN = -2, NONSENSE = -3 };

struct fake_sentinel {
    struct redis_fixture f;
    int names;        /* a Redis by index, or one of the above */
    const char *host; /* how it calls that; NULL: by its address */
    int epoch;        /* -1: it refuses to tell */
    bool silent, slow_first;
    bool password; /* must be given */
    bool in[PEERS_MAX + 1];
    int other;    /* the sentinel that it names; -1: none */
    bool loading; /* will not say where the master is */
    int crowd;    /* it names so many sentinels more, where nobody is */
};

struct fake_data {
    struct redis_fixture f;
    bool replica;
    bool read_only; /* answers writes so, whatever its role looks like */
};

struct sentinel_fixture {
    struct loop_fixture on;
    struct fake_sentinel sentinels[FAKES];
    struct fake_data data[FAKES];
    struct redis_url url;
    struct redis_topology *topology;
    struct redis_node *node;
};

static struct sentinel_fixture *sentinel_fixture_now; /* the scripts' */

static inline const char *fake_text(char *out, size_t size, const char *text)
{
    return format(out, size, "$%zu\r\n%s\r\n", strlen(text), text);
}

static inline int fake_port(const struct redis_fixture *f)
{
    return f->url.seeds[0].port;
}

static inline const char *reply_subscribed(const struct resp_value *command)
{
    static char text[128];
    char channel[64];
    return FORMAT(text, "*3\r\n$9\r\nsubscribe\r\n%s:1\r\n",
                  fake_text(channel, sizeof channel, command->items[1].text));
}

static inline const char *reply_address(const char *host, int port)
{
    static char text[128];
    char name[64];
    char digits[16];
    char bulk[32];
    return FORMAT(text, "*2\r\n%s%s", fake_text(name, sizeof name, host ? host : "127.0.0.1"),
                  fake_text(bulk, sizeof bulk, FORMAT(digits, "%d", port)));
}

static inline const char *reply_crowd(int count)
{
    static char text[8192];
    char digits[16];
    char bulk[32];
    size_t len = (size_t)snprintf(text, sizeof text, "*%d\r\n", count);
    for (int port = 1; port <= count; port++)
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "*4\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n%s",
                                fake_text(bulk, sizeof bulk, FORMAT(digits, "%d", port)));
    ck_assert_uint_lt(len, sizeof text);
    return text;
}

static inline const char *sentinel_question(struct fake_sentinel *s, const struct resp_value *command)
{
    static char text[256];
    char digits[16];
    char bulk[32];
    struct sentinel_fixture *all = sentinel_fixture_now;
    if (command_is2(command, "SENTINEL", "MASTER")) {
        if (s->names == UNKNOWN || s->epoch < 0) return "-ERR No such master with that name\r\n";
        fake_text(bulk, sizeof bulk, FORMAT(digits, "%d", s->epoch));
        return FORMAT(text, "*4\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$12\r\nconfig-epoch\r\n%s", bulk);
    }
    if (command_is2(command, "SENTINEL", "SENTINELS")) {
        if (s->crowd) return reply_crowd(s->crowd);
        if (s->other < 0) return "*0\r\n";
        FORMAT(digits, "%d", fake_port(&all->sentinels[s->other].f));
        return FORMAT(text, "*1\r\n*4\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n%s",
                      fake_text(bulk, sizeof bulk, digits));
    }
    if (s->loading) return "-LOADING not now\r\n";
    if (s->names == UNKNOWN) return "*-1\r\n";
    if (s->names == NONSENSE) return reply_address(s->host, 70000);
    return reply_address(s->host, s->names == NOWHERE ? 1 : fake_port(&all->data[s->names].f));
}

static inline const char *sentinel_script(struct redis_fixture *f, struct peer *p,
                                          const struct resp_value *command)
{
    struct fake_sentinel *s = sentinel_fixture_now->sentinels;
    while (&s->f != f)
        s++;
    if (s->silent) return "";
    if (command_is(command, "AUTH")) {
        s->in[p->number] = command->count == 3 && strcmp(command->items[1].text, "u") == 0 &&
                           strcmp(command->items[2].text, "p") == 0;
        return s->in[p->number] ? "+OK\r\n" : "-WRONGPASS no\r\n";
    }
    if (s->password && !s->in[p->number]) return "-NOAUTH Authentication required.\r\n";
    if (command_is(command, "SUBSCRIBE")) return reply_subscribed(command);
    return command_is(command, "SENTINEL") ? sentinel_question(s, command) : NULL;
}

static inline const char *data_script(struct redis_fixture *f, struct peer *p,
                                      const struct resp_value *command)
{
    static char text[256];
    char info[128];
    (void)p;
    struct fake_data *d = sentinel_fixture_now->data;
    while (&d->f != f)
        d++;
    if (command_is(command, "INFO")) {
        FORMAT(info, "# Server\r\nrun_id:%s\r\n# Replication\r\nrole:%s\r\n", f->run_id,
               d->replica ? "slave" : "master");
        return FORMAT(text, "$%zu\r\n%s\r\n", strlen(info), info);
    }
    if (command_is(command, "INCR") && (d->replica || d->read_only))
        return "-READONLY You can't write against a read only replica.\r\n";
    return command_is(command, "SUBSCRIBE") ? reply_subscribed(command) : NULL;
}

static inline void fake_open(struct redis_fixture *f, struct loop *loop, peer_script *script)
{
    static int number;
    f->on.loop = loop;
    f->script = script;
    FORMAT(f->run_id, "run-%d", ++number);
    redis_listen(f);
}

/* All of them up; the sentinels name Redis 0, of epoch 1. The URL names the first `seeds` sentinels. */
static inline void sentinel_fixture_open(struct sentinel_fixture *s, unsigned seeds)
{
    char text[160], error[200];
    memset(s, 0, sizeof *s);
    sentinel_fixture_now = s;
    loop_fixture_open(&s->on);
    for (int i = 0; i < FAKES; i++) {
        s->sentinels[i].epoch = 1;
        s->sentinels[i].other = -1;
        fake_open(&s->sentinels[i].f, s->on.loop, sentinel_script);
        fake_open(&s->data[i].f, s->on.loop, data_script);
    }
    char *at = text + snprintf(text, sizeof text, "redis-sentinel://u:p@");
    for (unsigned i = 0; i < seeds; i++)
        at += snprintf(at, 32, "%s127.0.0.1:%d", i ? "," : "", fake_port(&s->sentinels[i].f));
    snprintf(at, 32, "/mymaster");
    ck_assert_msg(redis_url_parse("redis.url", text, &s->url, error, sizeof error), "%s", error);
    struct redis_topology_options topology = topology_options(&s->url, &s->on.clock, 250);
    s->topology = topology_open(&topology);
    s->node = topology_only(s->topology);
}

static inline void sentinel_fixture_close(struct sentinel_fixture *s)
{
    for (int i = 0; i < FAKES; i++) {
        redis_vanish(&s->sentinels[i].f);
        redis_vanish(&s->data[i].f);
    }
    loop_fixture_close(&s->on);
    redis_topology_destroy(&s->topology);
    redis_url_deinit(&s->url);
    for (int i = 0; i < FAKES; i++)
        for (unsigned k = 0; k < PEERS_MAX; k++) {
            free(s->sentinels[i].f.peers[k].in);
            free(s->data[i].f.peers[k].in);
        }
}

/* Where the node is: a Redis by index; NOWHERE. */
static inline int sentinel_fixture_at(const struct sentinel_fixture *s)
{
    struct redis_address at;
    redis_node_address(s->node, &at);
    for (int i = 0; i < FAKES; i++)
        if (at.port == fake_port(&s->data[i].f)) return i;
    return NOWHERE;
}

static inline void sentinel_fixture_move(struct sentinel_fixture *s, int to)
{
    struct redis_address at = {.host = "127.0.0.1", .port = fake_port(&s->data[to].f)};
    redis_node_move(s->node, &at);
}

#endif
