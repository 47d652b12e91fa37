/* ops_redis: the nodes of the cache's Redis, then those of the state's, where it is another. A node's index
 * gives its place among the metrics' nodes, so that a node that is used again for another keeps it. */
#include "ops_redis.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

static_assert(METRICS_NODES_MAX >= 2 * REDIS_NODES_MAX, "each of two Redises may have as many nodes");

enum { WARNING_MAX = REDIS_HOST_SIZE + 160 };

/* A Redis of the house and where its pools are. */
struct side {
    const struct redis_topology *redis;
    struct redis_pool *const *pools;
    unsigned first; /* place of its first node */
};

static unsigned list_sides(const struct house_shared *shared, struct side out[2])
{
    unsigned n = 0;
    if (shared->cache_redis) out[n++] = (struct side){shared->cache_redis, shared->pools, 0};
    if (shared->state_redis != shared->cache_redis)
        out[n++] = (struct side){shared->state_redis, shared->state_pools, REDIS_NODES_MAX};
    return n;
}

static unsigned connections_to(const struct house_shared *shared, const struct side *side, unsigned node)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < shared->loop_count; i++)
        ready += side->pools[i] ? redis_pool_ready_at(side->pools[i], node) : 0;
    return ready;
}

static const char *role_of(const struct redis_topology *redis)
{
    return redis_role_names[redis_topology_options(redis)->role];
}

/* --- /readyz, /status --- */

static void put_known(struct json_node *node, const char *name, int64_t value)
{
    if (value < 0)
        json_node_set_null(node, name);
    else
        json_node_set_int(node, name, value);
}

static void put_info(struct json_node *node, struct redis_node *it)
{
    struct redis_info info;
    int64_t ping_us;
    redis_node_info(it, &info, &ping_us);
    if (ping_us < 0)
        json_node_set_null(node, "ping_ms");
    else
        json_node_set_number(node, "ping_ms", (double)ping_us / 1000);
    put_known(node, "used_memory", info.memory_bytes);
    put_known(node, "maxmemory", info.memory_max_bytes);
    json_node_set_string(node, "maxmemory_policy", info.policy[0] ? slice_of(info.policy) : SLICE_NONE);
    put_known(node, "evicted_keys", info.evicted_keys);
    put_known(node, "clients", info.clients);
    if (info.append_only < 0)
        json_node_set_null(node, "append_only");
    else
        json_node_set_bool(node, "append_only", info.append_only != 0);
}

static void put_side(const struct house_shared *shared, const struct side *side, struct json_node *list,
                     bool all)
{
    for (unsigned i = 0; i < redis_topology_count(side->redis); i++) {
        struct redis_node *it = redis_topology_at(side->redis, i);
        if (!redis_node_serves(it)) continue;
        struct json_node *node = json_array_add_object(list);
        enum breaker_state state = breaker_state(redis_node_breaker(it));
        json_node_set_string(node, "redis", slice_of(role_of(side->redis)));
        json_node_set_string(node, "node", slice_of(redis_node_name(it)));
        json_node_set_string(node, "circuit", slice_of(breaker_state_names[state]));
        if (!all) continue;
        json_node_set_int(node, "connections", connections_to(shared, side, i));
        put_info(node, it);
    }
}

void ops_redis_put(struct house_shared *shared, struct json_node *list, bool all)
{
    struct side sides[2];
    unsigned count = list_sides(shared, sides);
    for (unsigned i = 0; i < count; i++)
        put_side(shared, &sides[i], list, all);
}

/* The policy of the state's node `i`; false: it evicts nothing, or serves nothing. */
static bool evicts_state(const struct house_shared *shared, unsigned i, struct redis_info *out)
{
    struct redis_node *node = redis_topology_at(shared->state_redis, i);
    int64_t ping_us;
    redis_node_info(node, out, &ping_us);
    return redis_node_serves(node) && redis_info_evicts(out);
}

static void warn(struct json_node *warnings, const char *what, const struct redis_node *node,
                 const char *detail)
{
    char text[WARNING_MAX];
    int len = snprintf(text, sizeof text, "%s: %s %s", what, redis_node_name(node), detail);
    if (len > 0 && (size_t)len < sizeof text) json_array_add_string(warnings, slice_of(text));
}

static void warn_of_refusals(const struct side *side, struct json_node *warnings)
{
    char detail[8 + REDIS_REFUSAL_SIZE] = "says ";
    for (unsigned i = 0; i < redis_topology_count(side->redis); i++) {
        struct redis_node *node = redis_topology_at(side->redis, i);
        if (redis_node_serves(node) && redis_node_refuses(node, detail + strlen("says ")))
            warn(warnings, "Redis refuses calls", node, detail);
    }
}

void ops_redis_warn(struct house_shared *shared, struct json_node *warnings)
{
    struct redis_info info;
    struct side sides[2];
    unsigned count = list_sides(shared, sides);
    char detail[32 + sizeof info.policy];
    for (unsigned i = 0; shared->state_redis && i < redis_topology_count(shared->state_redis); i++) {
        if (!evicts_state(shared, i, &info)) continue;
        snprintf(detail, sizeof detail, "has maxmemory-policy %s", info.policy);
        warn(warnings, "state lives on a Redis that may evict it", redis_topology_at(shared->state_redis, i),
             detail);
    }
    for (unsigned i = 0; i < count; i++)
        warn_of_refusals(&sides[i], warnings);
}

/* --- /metrics --- */

static double known(int64_t value)
{
    return value < 0 ? NAN : (double)value;
}

static void collect_node(const struct house_shared *shared, const struct side *side, unsigned i)
{
    struct redis_node *node = redis_topology_at(side->redis, i);
    struct metrics *m = shared->metrics;
    unsigned at = side->first + i;
    bool serves = redis_node_serves(node);
    metrics_node(m, at, role_of(side->redis), serves ? redis_node_name(node) : NULL);
    if (!serves) return;
    struct redis_info info;
    int64_t ping_us;
    redis_node_info(node, &info, &ping_us);
    enum breaker_state state = breaker_state(redis_node_breaker(node));
    metrics_gauge(m, METRIC_REDIS_UP, at, state == BREAKER_CLOSED ? 1 : 0);
    metrics_gauge(m, METRIC_BREAKER_STATE, at, (double)state);
    metrics_gauge(m, METRIC_REDIS_CONNECTIONS, at, connections_to(shared, side, i));
    metrics_gauge(m, METRIC_REDIS_MEMORY, at, known(info.memory_bytes));
    metrics_gauge(m, METRIC_REDIS_MEMORY_MAX, at, known(info.memory_max_bytes));
    metrics_gauge(m, METRIC_REDIS_CLIENTS, at, known(info.clients));
    metrics_gauge(m, METRIC_REDIS_COMMANDS, at, known(info.commands));
    metrics_gauge(m, METRIC_REDIS_HITS, at, known(info.hits));
    metrics_gauge(m, METRIC_REDIS_MISSES, at, known(info.misses));
    metrics_gauge(m, METRIC_REDIS_EVICTED, at, known(info.evicted_keys));
}

void ops_redis_collect(struct house_shared *shared)
{
    struct side sides[2];
    struct redis_info info;
    unsigned count = list_sides(shared, sides);
    for (unsigned s = 0; s < count; s++)
        for (unsigned i = 0; i < redis_topology_count(sides[s].redis); i++)
            collect_node(shared, &sides[s], i);
    bool evictable = false;
    for (unsigned i = 0; shared->state_redis && i < redis_topology_count(shared->state_redis); i++)
        evictable = evictable || evicts_state(shared, i, &info);
    metrics_gauge(shared->metrics, METRIC_STATE_EVICTABLE, 0, evictable ? 1 : 0);
}
