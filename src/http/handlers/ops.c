/* ops: what probes, Prometheus and people ask. Everything here is in memory: neither Redis nor the disk is
 * asked. */
#include "common.h"

#include "http/routes.h"
#include "ops_redis.h"
#include "util/json_doc.h"
#include "util/rfc3339.h"

#include <math.h>
#include <stdlib.h>

enum { STALLED_MS = 10000 };

static const char OPENAPI[] = {
#ifdef __cppcheck__ /* takes minutes over a list of that length */
    0
#else
#include "embed/openapi.json.h"
#endif
};

static void reply_doc(struct exchange *x, int http_status, struct json_doc *doc)
{
    struct buf text = {0};
    if (doc && json_doc_print(doc, &text)) {
        const struct http_body body = {.bytes = buf_slice(&text)};
        exchange_reply(x, http_status, "application/json", &body, NULL, 0);
    } else {
        handler_problem(x, STATUS_OVERLOADED, "out of memory");
    }
    buf_deinit(&text);
    json_doc_destroy(&doc);
}

void handle_livez(void *arg, struct exchange *x)
{
    struct house_shared *shared = ((struct house *)arg)->shared;
    int64_t now_ms = clock_mono_ms(shared->clock);
    bool turning = true;
    for (unsigned i = 0; i < shared->loop_count; i++)
        turning = turning && now_ms - loop_stamp_ms(shared->loops[i]) <= STALLED_MS;
    struct json_doc *doc = json_doc_create();
    if (doc) json_node_set_string(json_doc_root(doc), "status", slice_of(turning ? "alive" : "stalled"));
    reply_doc(x, turning ? 200 : 503, doc);
}

static bool is_well(const struct house_shared *shared)
{
    return !shared->cache_redis ||
           (redis_topology_well(shared->cache_redis) && redis_topology_well(shared->state_redis));
}

static const char *mode_of(struct house_shared *shared)
{
    return !shared->cache_redis ? "embedded" : is_well(shared) ? "redis" : "degraded";
}

static const char *status_of(struct house_shared *shared)
{
    if (atomic_load(&shared->http.draining)) return "draining";
    if (!atomic_load(&shared->ready)) return "starting";
    return is_well(shared) ? "ready" : "degraded";
}

static void put_readiness(struct house_shared *shared, struct json_node *root, bool all)
{
    struct lru_stats stats;
    lru_stats(shared->lru, &stats);
    json_node_set_string(root, "status", slice_of(status_of(shared)));
    json_node_set_string(root, "mode", slice_of(mode_of(shared)));
    struct json_node *redis = json_node_add_array(root, "redis");
    ops_redis_put(shared, redis, all);
    /* What Redis has still to learn, from memory and from the file. */
    json_node_set_int(root, "journal",
                      (int64_t)(stats.pending_entries + unsettled_entries(shared->unsettled)));
    struct json_node *warnings = json_node_add_array(root, "warnings");
    enum spool_health health = spool_health(shared->spool);
    if (health == SPOOL_FULL) json_array_add_string(warnings, SLICE_LITERAL("spool full"));
    if (health == SPOOL_BROKEN) json_array_add_string(warnings, SLICE_LITERAL("spool broken"));
    ops_redis_warn(shared, warnings);
    if (shared->api_open)
        json_array_add_string(warnings, SLICE_LITERAL("the API is open to the network without a token"));
    if (!shared->cache_redis)
        json_array_add_string(warnings,
                              SLICE_LITERAL("embedded mode: nothing is shared with other instances"));
}

void handle_readyz(void *arg, struct exchange *x)
{
    struct house_shared *shared = ((struct house *)arg)->shared;
    bool ready = atomic_load(&shared->ready) && !atomic_load(&shared->http.draining);
    struct json_doc *doc = json_doc_create();
    if (doc) put_readiness(shared, json_doc_root(doc), false);
    reply_doc(x, ready ? 200 : 503, doc);
}

static void put_aside(struct house_shared *shared, struct json_node *spool)
{
    static const char *const KINDS[JOURNAL_KIND_END] = {[JOURNAL_SESSION] = "session",
                                                        [JOURNAL_HEALTH] = "health",
                                                        [JOURNAL_LOCK] = "lock",
                                                        [JOURNAL_CACHE] = "cache"};
    struct json_node *list = json_node_add_array(spool, "set_aside_first");
    pthread_mutex_lock(&shared->journal.aside_lock);
    for (unsigned i = 0; i < shared->journal.aside_count; i++) {
        const struct house_aside *a = &shared->journal.aside[i];
        struct json_node *entry = json_array_add_object(list);
        char accepted[RFC3339_SIZE];
        rfc3339_format(a->stamp_ms, accepted);
        json_node_set_string(entry, "kind", slice_of(a->kind < JOURNAL_KIND_END ? KINDS[a->kind] : NULL));
        json_node_set_string(entry, "id", slice_of(a->id));
        json_node_set_string(entry, "accepted_at", slice_of(accepted));
        json_node_set_string(entry, "reason", slice_of(a->reason));
    }
    pthread_mutex_unlock(&shared->journal.aside_lock);
}

static void put_spool(struct house_shared *shared, struct json_node *root)
{
    static const char *const HEALTH[] = {
        [SPOOL_GOOD] = "good", [SPOOL_FULL] = "full", [SPOOL_BROKEN] = "broken"};
    struct spool_stats stats;
    char oldest[RFC3339_SIZE];
    int64_t oldest_ms = atomic_load(&shared->journal.oldest_ms);
    struct json_node *spool = json_node_add_object(root, "spool");
    spool_stats(shared->spool, &stats);
    json_node_set_string(spool, "health", slice_of(HEALTH[spool_health(shared->spool)]));
    json_node_set_int(spool, "entries", (int64_t)unsettled_entries(shared->unsettled));
    if (oldest_ms) rfc3339_format(oldest_ms, oldest);
    json_node_set_string(spool, "oldest", oldest_ms ? slice_of(oldest) : SLICE_NONE);
    json_node_set_int(spool, "set_aside", atomic_load(&shared->journal.set_aside));
    put_aside(shared, spool);
    json_node_set_int(spool, "bytes", stats.bytes);
    json_node_set_int(spool, "groups", (int64_t)stats.groups);
    json_node_set_int(spool, "operations", (int64_t)stats.operations);
}

static void put_tasks(struct house_shared *shared, struct json_node *root)
{
    struct queue_counts counts = queue_driver_counts(shared->queue_driver);
    struct json_node *tasks = json_node_add_object(root, "tasks");
    for (unsigned i = 0; i <= QUEUE_BAD; i++) {
        if (counts.of[i] < 0)
            json_node_set_null(tasks, queue_state_names[i]); /* not known yet */
        else
            json_node_set_int(tasks, queue_state_names[i], counts.of[i]);
    }
    json_node_set_int(tasks, "inbox", counts.inbox < 0 ? 0 : counts.inbox);
    json_node_set_number(tasks, "oldest_ready_s",
                         counts.oldest_ready_ms < 0 ? 0 : (double)counts.oldest_ready_ms / 1000);
    json_node_set_int(tasks, "waiting", queue_waits_waiting(shared->waits));
    json_node_set_bool(tasks, "subscribed", queue_waits_live(shared->waits));
}

void handle_status(void *arg, struct exchange *x)
{
    struct house_shared *shared = ((struct house *)arg)->shared;
    struct json_doc *doc = json_doc_create();
    if (doc) {
        struct json_node *root = json_doc_root(doc);
        struct lru_stats stats;
        char started[RFC3339_SIZE];
        lru_stats(shared->lru, &stats);
        rfc3339_format(shared->started_wall_ms, started);
        put_readiness(shared, root, true);
        json_node_set_string(root, "version", slice_of(PHOENIX_VERSION));
        json_node_set_string(root, "started_at", slice_of(started));
        struct json_node *table = json_node_add_object(root, "table");
        json_node_set_int(table, "entries", (int64_t)stats.entries);
        json_node_set_int(table, "bytes", (int64_t)stats.bytes);
        json_node_set_int(table, "pending_entries", (int64_t)stats.pending_entries);
        json_node_set_int(table, "pending_bytes", (int64_t)stats.pending_bytes);
        json_node_set_bool(table, "near_live", atomic_load(&shared->near_live));
        put_spool(shared, root);
        put_tasks(shared, root);
        struct json_node *reads = json_node_add_object(root, "cache_reads");
        for (unsigned i = 0; i < CACHE_SOURCE_COUNT; i++)
            json_node_set_int(reads, cache_source_names[i],
                              (int64_t)metrics_sum(shared->metrics, METRIC_CACHE_READS, i, 0));
        struct json_node *http = json_node_add_object(root, "http");
        json_node_set_int(http, "connections", atomic_load(&shared->http.connections));
        json_node_set_int(http, "inflight_bytes", (int64_t)atomic_load(&shared->http.inflight_bytes));
    }
    reply_doc(x, 200, doc);
}

/* Counters that others keep are brought into ours as differences. */
static void collect(struct house_shared *shared)
{
    struct lru_stats stats;
    lru_stats(shared->lru, &stats);
    for (unsigned i = 0; i < LRU_EXIT_COUNT; i++) {
        metrics_count(shared->scrape_cell, METRIC_LRU_EXITS, i, 0, stats.exits[i] - shared->exits_seen[i]);
        shared->exits_seen[i] = stats.exits[i];
    }
    metrics_count(shared->scrape_cell, METRIC_LRU_TOO_LARGE, 0, 0, stats.too_large - shared->too_large_seen);
    shared->too_large_seen = stats.too_large;
    struct spool_stats spool;
    spool_stats(shared->spool, &spool);
    metrics_count(shared->scrape_cell, METRIC_BOUND_HIT, HTTP_BOUND_SPOOL_QUEUE, 0,
                  spool.turned_away - shared->turned_away_seen);
    shared->turned_away_seen = spool.turned_away;
    uint64_t dropped = log_dropped(shared->log);
    metrics_count(shared->scrape_cell, METRIC_LOG_DROPPED, 0, 0, dropped - shared->dropped_seen);
    shared->dropped_seen = dropped;
    int64_t oldest_ms = atomic_load(&shared->journal.oldest_ms);
    int64_t waited_ms = oldest_ms ? cache_store_wall_ms(shared->cache) - oldest_ms : 0;
    const struct {
        enum metric id;
        double value;
    } gauges[] = {{METRIC_LRU_BYTES, (double)stats.bytes},
                  {METRIC_LRU_ENTRIES, (double)stats.entries},
                  {METRIC_PENDING_ENTRIES, (double)stats.pending_entries},
                  {METRIC_PENDING_BYTES, (double)stats.pending_bytes},
                  {METRIC_JOURNAL_ENTRIES, (double)unsettled_entries(shared->unsettled)},
                  {METRIC_JOURNAL_OLDEST, waited_ms > 0 ? (double)waited_ms / 1000 : 0},
                  {METRIC_JOURNAL_SET_ASIDE, (double)atomic_load(&shared->journal.set_aside)},
                  {METRIC_NEAR_LIVE, !shared->near_wanted ? (double)NAN : atomic_load(&shared->near_live)},
                  {METRIC_EMBEDDED, shared->cache_redis ? 0 : 1},
                  {METRIC_HTTP_CONNECTIONS, (double)atomic_load(&shared->http.connections)},
                  {METRIC_HTTP_INFLIGHT_BYTES, (double)atomic_load(&shared->http.inflight_bytes)},
                  {METRIC_START_TIME, (double)shared->started_wall_ms / 1000}};
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        metrics_gauge(shared->metrics, gauges[i].id, 0, gauges[i].value);
}

void handle_metrics(void *arg, struct exchange *x)
{
    struct house_shared *shared = ((struct house *)arg)->shared;
    struct buf text = {0};
    pthread_mutex_lock(&shared->scrape_lock);
    collect(shared);
    ops_redis_collect(shared);
    pthread_mutex_unlock(&shared->scrape_lock);
    metrics_render(shared->metrics, &text);
    const struct http_body body = {.bytes = buf_slice(&text)};
    exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", &body, NULL, 0);
    buf_deinit(&text);
}

void handle_openapi(void *arg, struct exchange *x)
{
    (void)arg;
    const struct http_body body = {.bytes = {OPENAPI, sizeof OPENAPI}};
    exchange_reply(x, 200, "application/json", &body, NULL, 0);
}
