/* redis_cluster: made by CLUSTER MEET between all nodes, so that none waits for gossip. */
#include "redis_cluster.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { START_MS = 15000, ID_MAX = 48 };

struct redis_cluster {
    struct redis_server *nodes[CLUSTER_NODES_MAX];
    int bus[CLUSTER_NODES_MAX]; /* the port of the nodes' own connections */
    char ids[CLUSTER_NODES_MAX][ID_MAX];
    int count;
    struct redis_cluster_options options;
    char url[256];
};

static char *number(char out[16], int n)
{
    return format(out, 16, "%d", n);
}

/* A command that must be answered OK. */
#define expect_ok(client, ...) ck_assert_str_eq(resp_text((client), __VA_ARGS__), "OK")

static int first_running(struct redis_cluster *c)
{
    for (int i = 0; i < c->count; i++)
        if (redis_server_reachable(c->nodes[i])) return i;
    ck_abort_msg("no node of the cluster runs");
    return -1;
}

static int index_of_port(struct redis_cluster *c, long long port)
{
    for (int i = 0; i < c->count; i++)
        if (redis_server_port(c->nodes[i]) == port) return i;
    return -1;
}

/* --- start --- */

static int masters(const struct redis_cluster *c)
{
    return c->options.masters ? c->options.masters : CLUSTER_MASTERS;
}

static int first_nodes(const struct redis_cluster *c)
{
    return c->options.no_replicas ? masters(c) : 2 * masters(c);
}

static int prepare(struct redis_cluster *c)
{
    ck_assert_int_lt(c->count, CLUSTER_NODES_MAX);
    int i = c->count++;
    char lines[256];
    bool apart = c->options.hosts && i < first_nodes(c);
    c->nodes[i] =
        redis_server_prepare(&(struct redis_server_options){.config = {"state.conf", "cluster.conf"},
                                                            .lines = c->options.lines,
                                                            .host = apart ? c->options.hosts[i] : NULL});
    c->bus[i] = port_reserve();
    redis_server_configure(c->nodes[i],
                           FORMAT(lines,
                                  "cluster-port %d\ncluster-node-timeout %d\ncluster-announce-ip %s\n"
                                  "repl-diskless-sync-delay 0\n",
                                  c->bus[i], c->options.node_timeout_ms ? c->options.node_timeout_ms : 1000,
                                  redis_server_address(c->nodes[i])));
    redis_server_launch(c->nodes[i]);
    return i;
}

static void learn_id(struct redis_cluster *c, int i)
{
    redis_server_await(c->nodes[i]);
    char *id = redis_server_ask(c->nodes[i], "CLUSTER", "MYID");
    FORMAT(c->ids[i], "%s", id);
    free(id);
}

static void meet(struct redis_cluster *c, int from, int to)
{
    char port[16];
    char bus[16];
    struct resp_client *client = redis_server_client(c->nodes[from]);
    expect_ok(client, "CLUSTER", "MEET", redis_server_address(c->nodes[to]),
              number(port, redis_server_port(c->nodes[to])), number(bus, c->bus[to]));
    resp_close(&client);
}

/* CLUSTER NODES of this node says so many times `word` (which names a state or a role). */
static int mentions(struct redis_cluster *c, int at, const char *word)
{
    int n = 0;
    char *text = redis_server_ask(c->nodes[at], "CLUSTER", "NODES");
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
        n++;
    free(text);
    return n;
}

static bool all_known(struct redis_cluster *c)
{
    for (int i = 0; i < c->count; i++) {
        if (!redis_server_reachable(c->nodes[i])) continue;
        if (mentions(c, i, "@") != c->count || mentions(c, i, "handshake") > 0) return false;
    }
    return true;
}

static void give_slots(struct redis_cluster *c)
{
    char first[16];
    char last[16];
    char epoch[16];
    for (int i = 0; i < masters(c); i++) {
        struct resp_client *client = redis_server_client(c->nodes[i]);
        expect_ok(client, "CLUSTER", "SET-CONFIG-EPOCH", number(epoch, i + 1));
        expect_ok(client, "CLUSTER", "ADDSLOTSRANGE", number(first, CLUSTER_SLOTS * i / masters(c)),
                  number(last, CLUSTER_SLOTS * (i + 1) / masters(c) - 1));
        resp_close(&client);
    }
}

struct redis_cluster *redis_cluster_start(const struct redis_cluster_options *options)
{
    struct redis_cluster *c = must_alloc(sizeof *c);
    if (options) c->options = *options;
    int count = first_nodes(c);
    for (int i = 0; i < count; i++)
        (void)prepare(c);
    for (int i = 0; i < count; i++)
        learn_id(c, i);
    give_slots(c);
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            meet(c, i, j);
    WAIT_FOR(all_known(c), START_MS);
    for (int i = masters(c); i < count; i++) {
        struct resp_client *client = redis_server_client(c->nodes[i]);
        expect_ok(client, "CLUSTER", "REPLICATE", c->ids[i - masters(c)]);
        resp_close(&client);
    }
    FORMAT(c->url, "redis-cluster://");
    for (int i = 0; i < count; i++) {
        size_t len = strlen(c->url);
        format(c->url + len, sizeof c->url - len, "%s%s:%d", i ? "," : "", redis_server_address(c->nodes[i]),
               redis_server_port(c->nodes[i]));
    }
    for (int i = masters(c); i < count; i++)
        WAIT_FOR(redis_cluster_replica(c, i - masters(c)) == i, START_MS);
    redis_cluster_await_settled(c, START_MS);
    return c;
}

int redis_cluster_add(struct redis_cluster *c)
{
    int i = prepare(c);
    learn_id(c, i);
    for (int j = 0; j < i; j++)
        if (redis_server_reachable(c->nodes[j])) meet(c, i, j);
    WAIT_FOR(all_known(c), START_MS);
    redis_cluster_await_settled(c, START_MS);
    return i;
}

void redis_cluster_stop(struct redis_cluster **c)
{
    if (*c == NULL) return;
    for (int i = 0; i < (*c)->count; i++)
        redis_server_stop(&(*c)->nodes[i]);
    free(*c);
    *c = NULL;
}

const char *redis_cluster_url(const struct redis_cluster *c)
{
    return c->url;
}

int redis_cluster_nodes(const struct redis_cluster *c)
{
    return c->count;
}

struct redis_server *redis_cluster_node(struct redis_cluster *c, int index)
{
    ck_assert(index >= 0 && index < c->count);
    return c->nodes[index];
}

/* --- who serves what --- */

int redis_cluster_slot(struct redis_cluster *c, const char *key)
{
    struct resp_client *client = redis_server_client(c->nodes[first_running(c)]);
    int slot = (int)resp_integer(client, "CLUSTER", "KEYSLOT", key);
    resp_close(&client);
    return slot;
}

/* As node `at` sees it: an entry is first slot, last slot, master, replicas; each node is ip, port, id… */
static int owner_seen_by(struct redis_cluster *c, int at, int slot)
{
    int owner = -1;
    struct resp_client *client = redis_server_client(c->nodes[at]);
    const struct resp_value *v = resp_call(client, "CLUSTER", "SLOTS");
    for (size_t i = 0; v && v->type == '*' && i < v->count; i++) {
        const struct resp_value *range = v->items[i].items;
        if (slot >= range[0].integer && slot <= range[1].integer)
            owner = index_of_port(c, range[2].items[1].integer);
    }
    resp_close(&client);
    return owner;
}

int redis_cluster_owner(struct redis_cluster *c, int slot)
{
    return owner_seen_by(c, first_running(c), slot);
}

/* A line of CLUSTER NODES: id ip:port@bus flags master … CLUSTER SLOTS leaves out replicas of an empty
 * master. */
int redis_cluster_replica(struct redis_cluster *c, int master)
{
    int replica = -1;
    char *text = redis_server_ask(c->nodes[first_running(c)], "CLUSTER", "NODES");
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *word = NULL;
        (void)strtok_r(line, " ", &word);
        const char *address = strtok_r(NULL, " ", &word);
        const char *flags = strtok_r(NULL, " ", &word);
        const char *of = strtok_r(NULL, " ", &word);
        ck_assert(address && flags && of);
        if (strstr(flags, "slave") == NULL || strstr(flags, "fail") || strcmp(of, c->ids[master]) != 0)
            continue;
        replica = index_of_port(c, strtol(strchr(address, ':') + 1, NULL, 10));
    }
    free(text);
    return replica;
}

/* The masters' ranges in order, as text: what nodes agree about. */
static void view(struct redis_cluster *c, int at, char *out, size_t size)
{
    char *to = format(out, size, "%s", "");
    struct resp_client *client = redis_server_client(c->nodes[at]);
    const struct resp_value *v = resp_call(client, "CLUSTER", "SLOTS");
    for (int slot = 0; v && v->type == '*' && slot < CLUSTER_SLOTS;) {
        const struct resp_value *next = NULL;
        for (size_t i = 0; i < v->count; i++)
            if (v->items[i].items[0].integer == slot) next = &v->items[i];
        if (next == NULL) break;
        size_t len = strlen(out);
        format(to + len, size - len, "%d:%lld ", slot, next->items[2].items[1].integer);
        slot = (int)next->items[1].integer + 1;
    }
    resp_close(&client);
}

static bool in_step(struct redis_server *node)
{
    struct resp_client *client = redis_server_client(node);
    const struct resp_value *v = resp_call(client, "ROLE");
    bool ok = v && v->type == '*' && v->count > 3 && strcmp(v->items[0].text, "slave") == 0
                  ? strcmp(v->items[3].text, "connected") == 0
                  : v && v->type == '*';
    resp_close(&client);
    return ok;
}

static bool settled(struct redis_cluster *c)
{
    char agreed[4096] = "";
    char seen[4096];
    for (int i = 0; i < c->count; i++) {
        if (!redis_server_reachable(c->nodes[i])) continue;
        char *info = redis_server_ask(c->nodes[i], "CLUSTER", "INFO");
        bool ok = strstr(info, "cluster_state:ok") && strstr(info, "cluster_slots_assigned:16384");
        free(info);
        view(c, i, seen, sizeof seen);
        if (*agreed == 0) FORMAT(agreed, "%s", seen);
        if (!ok || strcmp(agreed, seen) != 0 || !in_step(c->nodes[i])) return false;
    }
    return true;
}

/* Replicas that ought to be: a node that was told to replicate may not have begun. */
static bool roles_known(struct redis_cluster *c)
{
    int replicas = -1;
    for (int i = 0; i < c->count; i++) {
        if (!redis_server_reachable(c->nodes[i])) continue;
        int n = mentions(c, i, "slave ");
        if (replicas < 0) replicas = n;
        if (n != replicas) return false;
    }
    return true;
}

void redis_cluster_await_settled(struct redis_cluster *c, int ms)
{
    WAIT_FOR(settled(c) && roles_known(c), ms);
}

static bool all_see(struct redis_cluster *c, int slot, int owner)
{
    for (int i = 0; i < c->count; i++)
        if (redis_server_reachable(c->nodes[i]) && owner_seen_by(c, i, slot) != owner) return false;
    return true;
}

int redis_cluster_await_owner(struct redis_cluster *c, int slot, int old_owner, int ms, int64_t *out_ms)
{
    int owner = -1;
    int64_t until = now_ms() + test_ms(ms);
    while (owner < 0) {
        ck_assert_msg(now_ms() < until, "slot %d got no other owner within %d ms", slot, (int)test_ms(ms));
        for (int i = 0; i < c->count && owner < 0; i++) {
            int seen = redis_server_reachable(c->nodes[i]) ? owner_seen_by(c, i, slot) : -1;
            if (seen >= 0 && seen != old_owner) owner = seen;
        }
        if (owner < 0) poll_pause();
    }
    if (out_ms) *out_ms = now_ms();
    WAIT_FOR(all_see(c, slot, owner), ms);
    return owner;
}

/* --- slots on their way --- */

void redis_cluster_migration_begin(struct redis_cluster *c, int slot, int to)
{
    char text[16];
    int from = redis_cluster_owner(c, slot);
    ck_assert(from >= 0 && from != to);
    struct resp_client *client = redis_server_client(c->nodes[to]);
    expect_ok(client, "CLUSTER", "SETSLOT", number(text, slot), "IMPORTING", c->ids[from]);
    resp_close(&client);
    client = redis_server_client(c->nodes[from]);
    expect_ok(client, "CLUSTER", "SETSLOT", text, "MIGRATING", c->ids[to]);
    resp_close(&client);
}

int redis_cluster_migration_step(struct redis_cluster *c, int slot, int to, int max)
{
    char text[16];
    char count[16];
    char port[16];
    int moved = 0;
    int from = redis_cluster_owner(c, slot);
    struct resp_client *list = redis_server_client(c->nodes[from]);
    struct resp_client *client = redis_server_client(c->nodes[from]);
    const struct resp_value *keys =
        resp_call(list, "CLUSTER", "GETKEYSINSLOT", number(text, slot), number(count, max));
    ck_assert(keys && keys->type == '*');
    for (size_t i = 0; i < keys->count; i++) {
        const char *answer =
            resp_text(client, "MIGRATE", redis_server_address(c->nodes[to]),
                      number(port, redis_server_port(c->nodes[to])), keys->items[i].text, "0", "5000");
        /* NOKEY: it expired or was deleted meanwhile. */
        ck_assert_msg(strcmp(answer, "OK") == 0 || strcmp(answer, "NOKEY") == 0, "MIGRATE: %s", answer);
        moved += strcmp(answer, "OK") == 0;
    }
    resp_close(&client);
    resp_close(&list);
    return moved;
}

static int64_t epoch(struct redis_cluster *c, int at, const char *which)
{
    char *info = redis_server_ask(c->nodes[at], "CLUSTER", "INFO");
    const char *line = strstr(info, which);
    ck_assert_ptr_nonnull(line);
    int64_t n = strtoll(line + strlen(which), NULL, 10);
    free(info);
    return n;
}

static bool knows_all_epochs(struct redis_cluster *c, int at)
{
    int64_t known = epoch(c, at, "cluster_current_epoch:");
    for (int i = 0; i < c->count; i++)
        if (redis_server_reachable(c->nodes[i]) && epoch(c, i, "cluster_my_epoch:") > known) return false;
    return true;
}

void redis_cluster_migration_end(struct redis_cluster *c, int slot, int to)
{
    char text[16];
    int from = redis_cluster_owner(c, slot);
    /* A new owner gives itself a greater epoch than it knows of. If the old one's is greater still, because
     * it got a slot a moment ago, its last claim takes this slot back, and no node ever comes to agree. */
    WAIT_FOR(knows_all_epochs(c, to), 5000);
    /* The new owner first: were it the old one, a key written between would have no owner. */
    int order[CLUSTER_NODES_MAX + 2] = {to, from};
    int n = 2;
    for (int i = 0; i < c->count; i++)
        if (i != to && i != from) order[n++] = i;
    for (int i = 0; i < n; i++) {
        struct redis_server *node = c->nodes[order[i]];
        if (!redis_server_reachable(node)) continue;
        struct resp_client *client = redis_server_client(node);
        const struct resp_value *v =
            resp_call(client, "CLUSTER", "SETSLOT", number(text, slot), "NODE", c->ids[to]);
        /* Replicas refuse: their masters tell them. */
        ck_assert_msg(v && (v->type == '+' || i >= 2), "SETSLOT NODE: %s", v ? v->text : "no answer");
        resp_close(&client);
    }
}

void redis_cluster_migrate(struct redis_cluster *c, int first, int last, int to)
{
    for (int slot = first; slot <= last; slot++) {
        redis_cluster_migration_begin(c, slot, to);
        while (redis_cluster_migration_step(c, slot, to, 100) > 0)
            continue;
        redis_cluster_migration_end(c, slot, to);
    }
}
