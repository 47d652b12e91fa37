/* cache_store: what is shared by reads (cache_read.c) and writes (cache_write.c). */
#include "state/cache_store.h"

#include <stdio.h>
#include <stdlib.h>

const char *const cache_source_names[CACHE_SOURCE_COUNT] = {"near", "redis", "local", "stale", "miss"};

struct cache_store {
    struct cache_store_options options;
    char *prefix; /* "phoenix:cache:" */
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

bool cache_store_embedded(const struct cache_store *store)
{
    return !store->options.node;
}

bool cache_store_degraded(const struct cache_store *store)
{
    return store->options.node && !breaker_allows(redis_node_breaker(store->options.node));
}

int64_t cache_store_wall_ms(const struct cache_store *store)
{
    return store->options.node ? redis_node_wall_ms(store->options.node)
                               : clock_wall_ms(store->options.clock);
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

void cache_store_redis_key(const struct cache_store *store, struct slice key, struct buf *out)
{
    buf_append_text(out, store->prefix);
    buf_append_slice(out, key);
}
