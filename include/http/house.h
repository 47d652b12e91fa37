/* house: what handlers are handed: the process's shared rooms and their own loop's. */
#ifndef PHOENIX_HTTP_HOUSE_H
#define PHOENIX_HTTP_HOUSE_H

#include "domain/task.h"
#include "http/server.h"
#include "state/cache_store.h"
#include "state/lock.h"
#include "state/queue_driver.h"
#include "state/record.h"

#include <pthread.h>

enum { LOOPS_MAX = 65 };

enum { HOUSE_ASIDE_MAX = 16 };

/* A change that Redis will never take, as /status shows it. */
struct house_aside {
    unsigned kind;
    int64_t stamp_ms;
    char id[ID_LEN_MAX + 1], reason[96];
};

/* Shared by all loops; written before the threads start, the atomics apart. */
struct house_shared {
    struct http_shared http;
    bool api_open; /* beyond this machine, and no token is asked for */
    struct cache_store *cache;
    struct lru *lru;
    struct redis_topology *cache_redis; /* NULL: embedded */
    struct redis_topology *state_redis; /* the same one, unless redis.state_url says otherwise */
    struct spool *spool;
    struct unsettled *unsettled;
    struct record_store *records;
    struct {
        _Atomic int64_t set_aside;
        _Atomic int64_t oldest_ms; /* when the oldest was accepted; 0: there is none */
        pthread_mutex_t aside_lock;
        struct house_aside aside[HOUSE_ASIDE_MAX]; /* the first of those set aside, under aside_lock */
        unsigned aside_count;
    } journal; /* as of a second ago */
    struct metrics *metrics;
    struct log *log;
    const struct clock *clock;
    int64_t cache_ttl_s;
    struct lock_store *locks;
    int64_t lock_ttl_max_ms;
    struct queue_store *queue;
    struct queue_waits *waits;
    struct queue_driver *queue_driver;
    struct task_options tasks;
    struct loop *loops[LOOPS_MAX]; /* control first, then the workers */
    unsigned loop_count;
    struct redis_pool *pools[LOOPS_MAX];       /* of the cache's Redis */
    struct redis_pool *state_pools[LOOPS_MAX]; /* likewise; NULL where it is the same one */
    int64_t started_wall_ms;
    _Atomic bool ready;     /* the listeners are open */
    _Atomic bool near_live; /* invalidations arrive */
    bool near_wanted;       /* they are to: local.near, and there is a Redis */

    pthread_mutex_t scrape_lock; /* one scrape at a time: the deltas below */
    struct metrics_cell *scrape_cell;
    uint64_t exits_seen[LRU_EXIT_COUNT], too_large_seen, dropped_seen, turned_away_seen;
};

struct house {
    struct house_shared *shared;
    struct record_port *records;
    struct queue_port *queue;
    /* NULL on the admin listener's loop, which has no route that needs them. */
    struct cache_port *cache;
    struct lock_port *lock;
    struct queue_wait_port *waiters;
    struct metrics_cell *cell;
    struct loop *loop;
};

#endif
