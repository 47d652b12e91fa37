/* topology: an array of nodes that only grows and, for a cluster, a byte per slot: the index of its node.
 * Both are read without a lock; a reader that sees a slot's old node is corrected by that node (MOVED). */
#include "topology_private.h"

#include "cluster_map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis_topology {
    struct redis_topology_options options;
    struct redis_secret *secret;
    char name[512];
    bool cluster;
    pthread_mutex_t lock; /* for growing, and for who follows */
    _Atomic(struct redis_node *) nodes[REDIS_NODES_MAX];
    _Atomic unsigned count;
    _Atomic uint8_t slots[REDIS_SLOTS]; /* Cluster */
    _Atomic unsigned version;
    _Atomic bool suspected;
    struct loop *loop;
    void (*follow)(void *arg);
    void *follow_arg;
};

static void name_it(struct redis_topology *t)
{
    static const char *const SCHEMES[] = {[REDIS_TCP] = "",
                                          [REDIS_UNIX] = "",
                                          [REDIS_SENTINEL] = "redis-sentinel://",
                                          [REDIS_CLUSTER] = "redis-cluster://"};
    const struct redis_url *url = t->options.url;
    int len = snprintf(t->name, sizeof t->name, "%s%s", SCHEMES[url->kind], url->path ? url->path : "");
    for (unsigned i = 0; i < url->seed_count && len < (int)sizeof t->name; i++)
        len += snprintf(t->name + len, sizeof t->name - (size_t)len, "%s%s:%d", i ? "," : "",
                        url->seeds[i].host, url->seeds[i].port);
    if (url->master && len < (int)sizeof t->name)
        snprintf(t->name + len, sizeof t->name - (size_t)len, "/%s", url->master);
}

/* A circuit that opens says that its node may serve no longer. */
static void on_circuit(void *arg, enum breaker_state to)
{
    struct redis_topology *t = arg;
    if (to == BREAKER_OPEN) redis_topology_suspect(t);
    if (t->options.on_change) t->options.on_change(t->options.arg, to);
}

/* Under the lock, or before there is another thread. */
static struct redis_node *add_node(struct redis_topology *t, const struct redis_address *at)
{
    const struct redis_topology_options *o = &t->options;
    unsigned index = atomic_load(&t->count);
    if (index == REDIS_NODES_MAX) return NULL;
    struct redis_node_options options = {.url = o->url,
                                         .at = at,
                                         .topology = t,
                                         .index = index,
                                         .role = o->role,
                                         .secret = t->secret,
                                         .tls = o->tls,
                                         .connect_timeout_ms = o->connect_timeout_ms,
                                         .command_timeout_ms = o->command_timeout_ms,
                                         .breaker = o->breaker,
                                         .clock = o->clock,
                                         .log = o->log,
                                         .metrics = o->metrics,
                                         .on_change = on_circuit,
                                         .arg = t};
    struct redis_node *node = redis_node_create(&options);
    if (!node) return NULL;
    atomic_store(&t->nodes[index], node);
    atomic_store(&t->count, index + 1);
    return node;
}

struct redis_node *topology_outsider(const struct redis_topology *t, const struct redis_url *url,
                                     struct redis_secret *secret, const struct redis_address *at)
{
    const struct redis_topology_options *o = &t->options;
    struct redis_node_options options = {.url = url,
                                         .at = at,
                                         .secret = secret,
                                         .tls = o->tls,
                                         .connect_timeout_ms = o->connect_timeout_ms,
                                         .command_timeout_ms = o->command_timeout_ms,
                                         .breaker = {.consecutive_failures = INT64_MAX,
                                                     .failure_rate = 2,
                                                     .window_ms = 1000,
                                                     .min_calls = INT64_MAX,
                                                     .clock = o->clock},
                                         .clock = o->clock,
                                         .log = o->log};
    return redis_node_create(&options);
}

struct redis_topology *redis_topology_create(const struct redis_topology_options *options, char *error,
                                             size_t error_size)
{
    static const struct redis_address NOWHERE = {.port = 0};
    struct redis_topology *t = calloc(1, sizeof *t);
    if (!t) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    const struct redis_url *url = options->url;
    t->options = *options;
    t->cluster = url->kind == REDIS_CLUSTER;
    pthread_mutex_init(&t->lock, NULL);
    name_it(t);
    t->secret = redis_secret_create(options->password_file, url->password, error, error_size);
    /* A cluster's slots all begin at its first seed; it knows better. */
    const struct redis_address *at = url->kind == REDIS_SENTINEL ? &NOWHERE : t->cluster ? url->seeds : NULL;
    if (t->secret && !add_node(t, at)) {
        snprintf(error, error_size, "out of memory");
        redis_secret_destroy(&t->secret);
    }
    if (!t->secret) redis_topology_destroy(&t);
    return t;
}

void redis_topology_destroy(struct redis_topology **topology)
{
    struct redis_topology *t = *topology;
    if (!t) return;
    *topology = NULL;
    for (unsigned i = 0; i < atomic_load(&t->count); i++) {
        struct redis_node *node = atomic_load(&t->nodes[i]);
        redis_node_destroy(&node);
    }
    redis_secret_destroy(&t->secret);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

const struct redis_topology_options *redis_topology_options(const struct redis_topology *t)
{
    return &t->options;
}

const char *redis_topology_name(const struct redis_topology *t)
{
    return t->name;
}

struct redis_secret *redis_topology_secret(struct redis_topology *t)
{
    return t->secret;
}

/* --- asking --- */

unsigned redis_topology_count(const struct redis_topology *t)
{
    return atomic_load(&t->count);
}

struct redis_node *redis_topology_at(const struct redis_topology *t, unsigned i)
{
    return atomic_load_explicit(&t->nodes[i], memory_order_acquire);
}

struct redis_node *redis_topology_node(const struct redis_topology *t, struct slice key)
{
    if (!t->cluster) return redis_topology_at(t, 0);
    unsigned slot = key.ptr ? redis_slot(key) : 0;
    return redis_topology_at(t, atomic_load_explicit(&t->slots[slot], memory_order_acquire));
}

bool redis_topology_allows(const struct redis_topology *t, struct slice key)
{
    return breaker_allows(redis_node_breaker(redis_topology_node(t, key)));
}

bool redis_topology_quiet(const struct redis_topology *t, struct slice key)
{
    return redis_node_quiet(redis_topology_node(t, key));
}

int64_t redis_topology_wall_ms(const struct redis_topology *t)
{
    return redis_node_wall_ms(redis_topology_node(t, SLICE_NONE));
}

bool redis_topology_well(const struct redis_topology *t)
{
    for (unsigned i = 0; i < redis_topology_count(t); i++) {
        struct redis_node *node = redis_topology_at(t, i);
        if (redis_node_serves(node) && !breaker_allows(redis_node_breaker(node))) return false;
    }
    return true;
}

bool redis_topology_some_ready(const struct redis_topology *t)
{
    for (unsigned i = 0; i < redis_topology_count(t); i++) {
        struct redis_node *node = redis_topology_at(t, i);
        if (redis_node_serves(node) && breaker_allows(redis_node_breaker(node)) && redis_node_quiet(node))
            return true;
    }
    return false;
}

/* --- changing --- */

static struct redis_node *find_node(struct redis_topology *t, const struct redis_address *at)
{
    for (unsigned i = 0; i < atomic_load(&t->count); i++) {
        struct redis_node *node = redis_topology_at(t, i);
        struct redis_address has;
        redis_node_address(node, &has);
        if (has.port == at->port && strcmp(has.host, at->host) == 0) return node;
    }
    return NULL;
}

/* Under the lock. The node at an address, made or moved there when there is none; *out_new says so. Nobody
 * moves one that is `kept` (by index; NULL: one that serves). */
static struct redis_node *take_node(struct redis_topology *t, const struct redis_address *at,
                                    const bool *kept, bool *out_new)
{
    struct redis_node *node = find_node(t, at);
    *out_new = !node;
    if (!node) node = add_node(t, at);
    for (unsigned i = 0; !node && i < REDIS_NODES_MAX; i++) {
        struct redis_node *idle = redis_topology_at(t, i);
        if (kept ? kept[i] : redis_node_serves(idle)) continue;
        node = idle;
        redis_node_move(node, at);
        atomic_fetch_add(&t->version, 1);
    }
    return node;
}

struct redis_node *topology_guest_at(struct redis_topology *t, const struct redis_address *at)
{
    bool new;
    pthread_mutex_lock(&t->lock);
    struct redis_node *node = take_node(t, at, NULL, &new);
    if (node && new) redis_node_set_serves(node, false);
    pthread_mutex_unlock(&t->lock);
    return node;
}

/* Under the lock. */
static void set_slot(struct redis_topology *t, unsigned slot, const struct redis_node *node)
{
    uint8_t index = (uint8_t)redis_node_options(node)->index;
    if (atomic_exchange_explicit(&t->slots[slot], index, memory_order_acq_rel) != index)
        atomic_fetch_add(&t->version, 1);
}

struct redis_node *topology_slot_moved(struct redis_topology *t, unsigned slot,
                                       const struct redis_address *to)
{
    bool new;
    pthread_mutex_lock(&t->lock);
    struct redis_node *node = take_node(t, to, NULL, &new);
    if (node) {
        redis_node_set_serves(node, true);
        set_slot(t, slot, node);
    }
    pthread_mutex_unlock(&t->lock);
    return node;
}

unsigned topology_version(const struct redis_topology *t)
{
    return atomic_load(&t->version);
}

/* Under the lock. */
static void settle(struct redis_topology *t)
{
    bool serves[REDIS_NODES_MAX] = {false};
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
        serves[atomic_load_explicit(&t->slots[slot], memory_order_relaxed)] = true;
    for (unsigned i = 0; i < atomic_load(&t->count); i++)
        redis_node_set_serves(redis_topology_at(t, i), serves[i]);
}

unsigned topology_apply(struct redis_topology *t, const struct cluster_map *map)
{
    struct redis_node *nodes[CLUSTER_MAP_NODES_MAX] = {NULL};
    bool kept[REDIS_NODES_MAX] = {false}, new;
    unsigned left_out = 0;
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < map->count; i++) {
        nodes[i] = find_node(t, &map->nodes[i]);
        if (nodes[i]) kept[redis_node_options(nodes[i])->index] = true;
    }
    for (unsigned i = 0; i < map->count; i++) {
        if (!nodes[i]) nodes[i] = take_node(t, &map->nodes[i], kept, &new);
        if (nodes[i])
            kept[redis_node_options(nodes[i])->index] = true;
        else
            left_out++;
    }
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
        if (map->owner[slot] != CLUSTER_MAP_NOBODY && nodes[map->owner[slot]])
            set_slot(t, slot, nodes[map->owner[slot]]);
    settle(t);
    pthread_mutex_unlock(&t->lock);
    return left_out;
}

/* --- suspicion --- */

static void on_suspected(void *arg)
{
    struct redis_topology *t = arg;
    atomic_store(&t->suspected, false);
    if (t->follow) t->follow(t->follow_arg);
}

void redis_topology_suspect(struct redis_topology *t)
{
    if (atomic_exchange(&t->suspected, true)) return;
    pthread_mutex_lock(&t->lock);
    if (!t->loop || !loop_post(t->loop, on_suspected, t)) atomic_store(&t->suspected, false);
    pthread_mutex_unlock(&t->lock);
}

void topology_follow(struct redis_topology *t, struct loop *loop, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&t->lock);
    t->loop = loop;
    t->follow = fn;
    t->follow_arg = arg;
    pthread_mutex_unlock(&t->lock);
}
