/* state_fixture: a store over a real redis-server behind a scripted fake, a pool and a port on one loop, and
 * reads and writes that wait for their end. The script runs on the fake's thread: what it shares is atomic.
 */
#ifndef PHOENIX_TESTS_STATE_FIXTURE_H
#define PHOENIX_TESTS_STATE_FIXTURE_H

#include "../../support/fake_redis.h"
#include "../../support/redis_server.h"
#include "../engine/redis/topology_fixture.h"
#include "../loop/loop_fixture.h"
#include "engine/redis/node_private.h"
#include "engine/redis/script.h"
#include "state/cache_store.h"
#include "state/cache_value.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state_fixture {
    struct loop_fixture on;
    struct redis_server *server;
    struct resp_client *direct; /* past the fake */
    struct fake_redis *fake;
    struct redis_url url;
    struct redis_topology *topology;
    struct redis_node *node; /* its only one */
    struct lru *lru;
    struct cache_store *store;
    struct redis_pool *pool;
    struct cache_port port;
};

static inline void state_open_store(struct state_fixture *f)
{
    f->lru = lru_create(&(struct lru_options){
        .bytes_max = 4 << 20, .pending_bytes_max = 1 << 20, .near_ttl_ms = 60000, .clock = &f->on.clock});
    ck_assert_ptr_nonnull(f->lru);
    f->store = cache_store_create(&(struct cache_store_options){.lru = f->lru,
                                                                .redis = f->topology,
                                                                .prefix = "phoenix",
                                                                .clock = &f->on.clock,
                                                                .value_max = 100000,
                                                                .deadline_ms = test_ms(2000)});
    ck_assert_ptr_nonnull(f->store);
    f->port = (struct cache_port){
        .store = f->store, .loop = f->on.loop, .pool = f->pool, .sha = sha256_create(), .cell = NULL};
    ck_assert_ptr_nonnull(f->port.sha);
}

static inline void state_open_embedded(struct state_fixture *f)
{
    memset(f, 0, sizeof *f);
    loop_fixture_open(&f->on);
    state_open_store(f);
}

static inline void state_open(struct state_fixture *f)
{
    char error[200];
    memset(f, 0, sizeof *f);
    ck_assert(redis_scripts_init());
    loop_fixture_open(&f->on);
    f->server = redis_server_start(NULL);
    f->direct = redis_server_client(f->server);
    f->fake = fake_redis_start(redis_server_port(f->server));
    ck_assert(redis_url_parse("redis.url", fake_redis_url(f->fake), &f->url, error, sizeof error));
    const struct redis_topology_options topology = topology_options(&f->url, &f->on.clock, 500);
    f->topology = topology_open(&topology);
    f->node = topology_only(f->topology);
    f->pool = topology_pool(f->topology, f->on.loop, 4);
    state_open_store(f);
    RUN_UNTIL(&f->on, redis_pool_ready(f->pool) == 1);
}

static inline void state_close(struct state_fixture *f)
{
    redis_pool_destroy(&f->pool);
    sha256_destroy(&f->port.sha);
    cache_store_destroy(&f->store);
    ck_assert_ptr_null(f->store);
    lru_destroy(&f->lru);
    loop_fixture_close(&f->on);
    redis_topology_destroy(&f->topology);
    redis_url_deinit(&f->url);
    fake_redis_stop(&f->fake);
    resp_close(&f->direct);
    redis_server_stop(&f->server);
}

static inline void state_open_circuit(struct state_fixture *f)
{
    struct breaker *b = redis_node_breaker(f->node);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
}

static inline void state_close_circuit(struct state_fixture *f)
{
    ck_assert(breaker_probe_begin(redis_node_breaker(f->node), true));
    breaker_probe_end(redis_node_breaker(f->node), true);
}

/* A value whose timestamp is so many seconds after 2023-11-14T22:13:20Z. */
static inline const char *value_at(char *out, size_t size, const char *response, int second)
{
    return format(
        out, size,
        "{\"response\":\"%s\",\"timestamp\":\"2023-11-14T22:13:%02d.000Z\",\"ttl\":60,\"metadata\":{}}",
        response, second);
}
#define VALUE_AT(array, response, second) value_at((array), sizeof(array), (response), (second))
#define STAMP_AT(second)                  (INT64_C(1699999980000) + (second)*INT64_C(1000))

/* --- one read --- */

struct state_read {
    struct cache_read read;
    struct cache_result result;
    unsigned done;
};

static inline void on_state_read(struct cache_read *read, struct cache_result *result)
{
    struct state_read *r = read->arg;
    r->done++;
    r->result = *result;
}

static inline void read_begin(struct state_fixture *f, struct state_read *r, const char *key)
{
    *r = (struct state_read){.read = {.key = slice_of(key),
                                      .deadline_us = loop_now_us(f->on.loop) + test_ms(2000) * 1000,
                                      .done = on_state_read,
                                      .arg = r}};
    cache_read_start(&f->port, &r->read);
}

/* "redis value", "near value", "miss not_found", with " unavailable" and " local" behind. */
static inline const char *result_text(struct cache_result *result)
{
    static char text[512];
    struct slice value =
        result->entry ? lru_entry_value(result->entry) : slice_of(status_code(result->status));
    snprintf(text, sizeof text, "%s %.*s%s%s", cache_source_names[result->source], (int)value.len, value.ptr,
             result->unavailable ? " unavailable" : "", result->local ? " local" : "");
    lru_release(result->entry);
    result->entry = NULL;
    return text;
}

/* As a handler does: the table first, then Redis. */
static inline const char *read_now(struct state_fixture *f, const char *key, unsigned flags)
{
    struct state_read r = {0};
    if (cache_read_table(&f->port, slice_of(key), flags, &r.result)) return result_text(&r.result);
    read_begin(f, &r, key);
    RUN_UNTIL(&f->on, r.done);
    ck_assert_uint_eq(r.done, 1);
    return result_text(&r.result);
}

/* --- one write --- */

struct state_write {
    struct cache_write write;
    unsigned done;
};

static inline void on_state_write(struct cache_write *write)
{
    ((struct state_write *)write->arg)->done++;
}

static inline void write_begin(struct state_fixture *f, struct state_write *w, enum cache_write_kind kind,
                               const char *key, const char *value, int64_t stamp_ms)
{
    *w = (struct state_write){.write = {.kind = kind,
                                        .key = slice_of(key),
                                        .value = slice_of(value),
                                        .stamp_ms = stamp_ms,
                                        .ttl_ms = 60000,
                                        .deadline_us = loop_now_us(f->on.loop) + test_ms(2000) * 1000,
                                        .done = on_state_write,
                                        .arg = w}};
    cache_write_start(&f->port, &w->write);
}

/* "ok", "ok replaced local", "precondition_failed", … */
static inline const char *write_text(const struct cache_write *w)
{
    static char text[128];
    return FORMAT(text, "%s%s%s", status_code(w->status), w->replaced ? " replaced" : "",
                  w->local ? " local" : "");
}

static inline const char *write_now(struct state_fixture *f, enum cache_write_kind kind, const char *key,
                                    const char *value, int64_t stamp_ms)
{
    struct state_write w;
    write_begin(f, &w, kind, key, value, stamp_ms);
    RUN_UNTIL(&f->on, w.done);
    ck_assert_uint_eq(w.done, 1);
    return write_text(&w.write);
}

static inline uint64_t pending(struct state_fixture *f)
{
    struct lru_stats stats;
    lru_stats(f->lru, &stats);
    return stats.pending_entries;
}

#endif
