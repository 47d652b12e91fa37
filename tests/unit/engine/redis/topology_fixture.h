/* topology_fixture: a topology whose circuits open only when a test opens them. */
#ifndef PHOENIX_TESTS_TOPOLOGY_FIXTURE_H
#define PHOENIX_TESTS_TOPOLOGY_FIXTURE_H

#include "../../../support/support.h"
#include "engine/redis/pool.h"

static inline struct redis_topology_options topology_options(const struct redis_url *url,
                                                             const struct clock *clock, int64_t command_ms)
{
    return (struct redis_topology_options){.url = url,
                                           .password_file = "",
                                           .connect_timeout_ms = test_ms(2 * command_ms),
                                           .command_timeout_ms = test_ms(command_ms),
                                           .breaker = {.consecutive_failures = 1000,
                                                       .failure_rate = 1.1,
                                                       .window_ms = 10000,
                                                       .min_calls = 20,
                                                       .open_min_ms = 100,
                                                       .open_max_ms = 200,
                                                       .clock = clock},
                                           .clock = clock};
}

static inline struct redis_topology *topology_open(const struct redis_topology_options *options)
{
    char error[200] = "";
    struct redis_topology *topology = redis_topology_create(options, error, sizeof error);
    ck_assert_msg(topology != NULL, "%s", error);
    return topology;
}

/* The one node of a Redis that has no other. */
static inline struct redis_node *topology_only(struct redis_topology *topology)
{
    return redis_topology_node(topology, SLICE_NONE);
}

static inline struct redis_pool *topology_pool(struct redis_topology *topology, struct loop *loop,
                                               unsigned connections_max)
{
    struct redis_pool *pool =
        redis_pool_create(&(struct redis_pool_options){.loop = loop,
                                                       .topology = topology,
                                                       .min_idle = 1,
                                                       .connections_max = connections_max,
                                                       .inflight_max = 1024});
    ck_assert_ptr_nonnull(pool);
    return pool;
}

#endif
