/* cache_store: what is shared by reads (cache_read.c) and writes (cache_write.c). */
#include "cache_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

const char *const cache_source_names[CACHE_SOURCE_COUNT] = {"near", "redis", "local", "stale", "miss"};

struct cache_store {
    struct cache_store_options options;
    char *prefix;             /* "phoenix:cache:" */
    _Atomic int64_t stamp_ms; /* the latest given out */
    struct spool *spool;
    _Atomic uint64_t journal_rows;
};

struct cache_store *cache_store_create(const struct cache_store_options *options)
{
    struct cache_store *store = calloc(1, sizeof *store);
    if (!store) return NULL;
    store->options = *options;
    if (asprintf(&store->prefix, "%s:cache:", options->prefix) < 0) {
        free(store);
        return NULL;
    }
    return store;
}

void cache_store_destroy(struct cache_store **store)
{
    if (!*store) return;
    free((*store)->prefix);
    free(*store);
    *store = NULL;
}

void cache_store_set_spool(struct cache_store *store, struct spool *spool)
{
    store->spool = spool;
}

struct spool *cache_store_spool(struct cache_store *store)
{
    return store->spool;
}

_Atomic uint64_t *cache_store_journal_rows(struct cache_store *store)
{
    return &store->journal_rows;
}

bool cache_store_embedded(const struct cache_store *store)
{
    return !store->options.redis;
}

bool cache_store_degraded(const struct cache_store *store, struct slice key)
{
    char bytes[CACHE_REDIS_KEY_MAX];
    return store->options.redis &&
           !redis_topology_allows(store->options.redis, cache_store_redis_key(store, key, bytes));
}

bool cache_store_quiet(const struct cache_store *store, struct slice key)
{
    char bytes[CACHE_REDIS_KEY_MAX];
    return redis_topology_quiet(store->options.redis, cache_store_redis_key(store, key, bytes));
}

int64_t cache_store_wall_ms(const struct cache_store *store)
{
    return store->options.redis ? redis_topology_wall_ms(store->options.redis)
                                : clock_wall_ms(store->options.clock);
}

int64_t cache_store_stamp_ms(struct cache_store *store)
{
    int64_t now = cache_store_wall_ms(store), last = atomic_load(&store->stamp_ms);
    while (last < now && !atomic_compare_exchange_weak(&store->stamp_ms, &last, now))
        ;
    return last < now ? now : last;
}

struct lru *cache_store_lru(struct cache_store *store)
{
    return store->options.lru;
}

const struct cache_store_options *cache_store_options(const struct cache_store *store)
{
    return &store->options;
}

const char *cache_store_tracking_prefix(const struct cache_store *store)
{
    return store->prefix;
}

void cache_store_invalidate(struct cache_store *store, struct slice redis_key)
{
    size_t len = strlen(store->prefix);
    if (!redis_key.ptr)
        lru_invalidate_all(store->options.lru);
    else if (redis_key.len >= len)
        lru_invalidate(store->options.lru, (struct slice){redis_key.ptr + len, redis_key.len - len});
}

struct slice cache_store_redis_key(const struct cache_store *store, struct slice key,
                                   char out[CACHE_REDIS_KEY_MAX])
{
    size_t len = strlen(store->prefix);
    assert(len + key.len <= CACHE_REDIS_KEY_MAX);
    memcpy(out, store->prefix, len);
    memcpy(out + len, key.ptr, key.len);
    return (struct slice){out, len + key.len};
}
