/* lock_fixture: two ports to the same locks, as two daemons have them (redis: a store, a node's pool each;
 * embedded: two loops' worth of one daemon), on one loop, and operations that are awaited. */
#ifndef PHOENIX_TESTS_LOCK_FIXTURE_H
#define PHOENIX_TESTS_LOCK_FIXTURE_H

#include "../../support/fake_redis.h"
#include "../../support/redis_server.h"
#include "../engine/redis/topology_fixture.h"
#include "../loop/loop_fixture.h"
#include "engine/redis/node_private.h"
#include "engine/redis/script.h"
#include "state/lock.h"
#include "state/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ON_REDIS, ON_EMBEDDED, BACKENDS };
enum { PORTS = 2, WAITERS_MAX = 8 };

struct lock_fixture {
    struct loop_fixture on;
    bool redis;
    struct redis_server *server;
    struct resp_client *direct; /* past the fake */
    struct fake_redis *fake;
    struct redis_url url;
    struct redis_topology *topology;
    struct redis_node *node; /* its only one */
    struct spool *spool;
    struct unsettled *unsettled;
    struct redis_pool *pools[PORTS];
    struct lock_store *stores[PORTS];
    struct lock_port *ports[PORTS];
};

static inline void lock_open_spool(struct lock_fixture *f)
{
    char path[TEST_PATH_MAX], error[300];
    f->spool = spool_create(
        &(struct spool_options){
            .db = {.path = scratch_path(path, "spool.db"), .identity = "test", .bytes_max = 64 << 20},
            .queue_max = 1000,
            .clock = &clock_system},
        error, sizeof error);
    ck_assert_msg(f->spool != NULL, "%s", error);
}

static inline void lock_open_node(struct lock_fixture *f)
{
    char error[200];
    ck_assert(redis_scripts_init());
    f->server = redis_server_start(NULL);
    f->direct = redis_server_client(f->server);
    f->fake = fake_redis_start(redis_server_port(f->server));
    ck_assert(redis_url_parse("redis.url", fake_redis_url(f->fake), &f->url, error, sizeof error));
    const struct redis_topology_options topology = topology_options(&f->url, &f->on.clock, 300);
    f->topology = topology_open(&topology);
    f->node = topology_only(f->topology);
    f->unsettled = unsettled_create();
    ck_assert_ptr_nonnull(f->unsettled);
}

static inline void lock_open_ports(struct lock_fixture *f)
{
    struct lock_store_options options = {.redis = f->topology,
                                         .spool = f->spool,
                                         .unsettled = f->unsettled,
                                         .prefix = "phoenix",
                                         .clock = &clock_system,
                                         .ttl_max_ms = 3600000,
                                         .waiters_max = WAITERS_MAX};
    for (unsigned i = 0; i < PORTS; i++) {
        if (f->redis) f->pools[i] = topology_pool(f->topology, f->on.loop, 2);
        if (i == 0 || f->redis) f->stores[i] = lock_store_create(&options);
        f->ports[i] = lock_port_open(f->stores[f->redis ? i : 0], f->on.loop, f->pools[i], NULL);
        ck_assert_ptr_nonnull(f->ports[i]);
    }
    if (f->redis) RUN_UNTIL(&f->on, redis_pool_ready(f->pools[0]) == 1 && redis_pool_ready(f->pools[1]) == 1);
}

static inline void lock_fixture_open(struct lock_fixture *f, int backend)
{
    memset(f, 0, sizeof *f);
    f->redis = backend == ON_REDIS;
    loop_fixture_open(&f->on);
    if (f->redis) lock_open_node(f);
    lock_open_spool(f);
    lock_open_ports(f);
}

static inline void lock_fixture_close(struct lock_fixture *f)
{
    for (unsigned i = 0; i < PORTS; i++) {
        redis_pool_destroy(&f->pools[i]);
        lock_port_close(f->ports[i]);
    }
    spool_destroy(&f->spool);
    loop_fixture_close(&f->on);
    for (unsigned i = 0; i < PORTS; i++)
        lock_store_destroy(&f->stores[i]);
    unsettled_destroy(&f->unsettled);
    redis_topology_destroy(&f->topology);
    redis_url_deinit(&f->url);
    if (f->fake) fake_redis_stop(&f->fake);
    resp_close(&f->direct);
    if (f->server) redis_server_stop(&f->server);
}

static inline void lock_open_circuit(struct lock_fixture *f)
{
    struct breaker *b = redis_node_breaker(f->node);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
}

static inline void lock_close_circuit(struct lock_fixture *f)
{
    ck_assert(breaker_probe_begin(redis_node_breaker(f->node), true));
    breaker_probe_end(redis_node_breaker(f->node), true);
}

/* --- operations --- */

struct lock_try {
    struct lock_op op;
    unsigned done;
    bool gone;
    char owner[64]; /* GET */
    char detail[200];
};

static inline void on_lock_done(struct lock_op *op)
{
    struct lock_try *t = op->arg;
    t->done++;
    if (op->status == STATUS_OK && op->verb == LOCK_GET)
        FORMAT(t->owner, "%.*s", (int)op->owner_now.len, op->owner_now.ptr);
    FORMAT(t->detail, "%s", op->detail ? op->detail : "");
}

static inline bool is_lock_gone(void *arg)
{
    return ((struct lock_try *)arg)->gone;
}

static inline void lock_begin(struct lock_fixture *f, unsigned port, struct lock_try *t, struct lock_op op)
{
    *t = (struct lock_try){.op = op};
    t->op.name = op.name.ptr ? op.name : SLICE_LITERAL("l");
    t->op.deadline_us = loop_now_us(f->on.loop) + (test_ms(2000) + op.wait_ms) * 1000;
    t->op.gone = is_lock_gone;
    t->op.done = on_lock_done;
    t->op.arg = t;
    lock_start(f->ports[port], &t->op);
}

static inline const char *lock_end(struct lock_fixture *f, struct lock_try *t)
{
    RUN_UNTIL(&f->on, t->done);
    ck_assert_uint_eq(t->done, 1);
    return status_code(t->op.status);
}

static inline struct lock_op acquire_op(const char *owner, int64_t ttl_ms, int64_t wait_ms)
{
    return (struct lock_op){
        .verb = LOCK_ACQUIRE, .owner = slice_of(owner), .ttl_ms = ttl_ms, .wait_ms = wait_ms};
}

static inline const char *acquire_now(struct lock_fixture *f, unsigned port, struct lock_try *t,
                                      const char *owner, int64_t ttl_ms)
{
    lock_begin(f, port, t, acquire_op(owner, ttl_ms, 0));
    return lock_end(f, t);
}

static inline const char *release_now(struct lock_fixture *f, unsigned port, const char *token)
{
    struct lock_try t;
    lock_begin(f, port, &t, (struct lock_op){.verb = LOCK_RELEASE, .token = slice_of(token)});
    return lock_end(f, &t);
}

static inline const char *renew_now(struct lock_fixture *f, unsigned port, struct lock_try *t,
                                    const char *token, int64_t ttl_ms)
{
    lock_begin(f, port, t, (struct lock_op){.verb = LOCK_RENEW, .token = slice_of(token), .ttl_ms = ttl_ms});
    return lock_end(f, t);
}

static inline const char *get_now(struct lock_fixture *f, unsigned port, struct lock_try *t)
{
    lock_begin(f, port, t, (struct lock_op){.verb = LOCK_GET});
    return lock_end(f, t);
}

static inline bool lock_is_free(struct lock_fixture *f)
{
    struct lock_try t;
    return strcmp(get_now(f, 0, &t), "not_found") == 0;
}

/* A waiter that stands in the queue when this returns. */
static inline void wait_begin(struct lock_fixture *f, unsigned port, struct lock_try *t, const char *owner,
                              int64_t wait_ms)
{
    static const char QUEUE[] = "phoenix:locks:queue:{phoenix:locks:l}";
    long long before = f->redis ? resp_integer(f->direct, "ZCARD", QUEUE, NULL) : 0;
    lock_begin(f, port, t, acquire_op(owner, 10000, wait_ms));
    /* The spool runs what one loop submits in order. */
    if (f->redis) RUN_UNTIL(&f->on, resp_integer(f->direct, "ZCARD", QUEUE, NULL) == before + 1);
}

#endif
