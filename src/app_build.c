/* app_build: the house, from the log up to the servers. */
#include "app_private.h"

#include "app_machine.h"
#include "engine/redis/script.h"
#include "http/auth.h"
#include "http/handlers_table.h"
#include "http/routes.h"
#include "state/cache_value.h"

#include <stdio.h>
#include <unistd.h>

enum { LOCAL_BYTES_DEFAULT = 64 * 1024 * 1024, CONTROL = 0 };

enum log_level app_log_level(const struct config *c)
{
    static const char *const NAMES[] = {"debug", "info", "warn", "error"}; /* config_load admits no other */
    for (unsigned i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(c->log_level, NAMES[i]) == 0) return (enum log_level)i;
    return LOG_INFO;
}

void app_set_access_log(struct app *app, const struct config *c)
{
    static const struct {
        const char *name;
        enum http_access_log mode;
    } NAMES[] = {{"errors", HTTP_ACCESS_ERRORS}, {"all", HTTP_ACCESS_ALL}, {"true", HTTP_ACCESS_ALL}};
    enum http_access_log mode = HTTP_ACCESS_OFF; /* "off", "false"; config_load admits no other */
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(c->http_access_log, NAMES[i].name) == 0) mode = NAMES[i].mode;
    atomic_store(&app->shared.http.access_sample,
                 (uint64_t)(c->http_access_log_sample * (double)(UINT64_C(1) << HTTP_SHARE_BITS)));
    atomic_store(&app->shared.http.access_log, (int)mode);
}

static struct metrics_labels label_table(void)
{
    static const char *const BACKENDS[] = {"redis", "local"};
    static const char *const EXITS[] = {"budget", "expired", "invalidated", "pending_budget"};
    static const char *const OUTCOMES[] = {"ok", "failed"};
    return (struct metrics_labels){.name = {[LABEL_ROUTE] = "route",
                                            [LABEL_STATUS] = "status",
                                            [LABEL_BOUND] = "bound",
                                            [LABEL_SOURCE] = "source",
                                            [LABEL_BACKEND] = "backend",
                                            [LABEL_EXIT] = "reason",
                                            [LABEL_REPLAY] = "outcome",
                                            [LABEL_HANDBACK] = "outcome",
                                            [LABEL_BREAKER] = "to",
                                            [LABEL_RESULT] = "result",
                                            [LABEL_OUTCOME] = "outcome",
                                            [LABEL_REDIRECTION] = "kind",
                                            [LABEL_TASK_STATE] = "state",
                                            [LABEL_REDIS] = "redis"},
                                   .values = {[LABEL_ROUTE] = http_route_names,
                                              [LABEL_STATUS] = http_status_names,
                                              [LABEL_BOUND] = http_bound_names,
                                              [LABEL_SOURCE] = cache_source_names,
                                              [LABEL_BACKEND] = BACKENDS,
                                              [LABEL_EXIT] = EXITS,
                                              [LABEL_REPLAY] = replay_outcome_names,
                                              [LABEL_HANDBACK] = handback_names,
                                              [LABEL_BREAKER] = breaker_state_names,
                                              [LABEL_RESULT] = redis_outcome_names,
                                              [LABEL_OUTCOME] = OUTCOMES,
                                              [LABEL_REDIRECTION] = redis_redirection_names,
                                              [LABEL_TASK_STATE] = queue_state_names,
                                              [LABEL_REDIS] = redis_role_names},
                                   .count = {[LABEL_ROUTE] = ROUTE_LABEL_COUNT,
                                             [LABEL_STATUS] = HTTP_STATUS_COUNT,
                                             [LABEL_BOUND] = HTTP_BOUND_COUNT,
                                             [LABEL_SOURCE] = CACHE_SOURCE_COUNT,
                                             [LABEL_BACKEND] = 2,
                                             [LABEL_EXIT] = LRU_EXIT_COUNT,
                                             [LABEL_REPLAY] = REPLAY_OUTCOME_COUNT,
                                             [LABEL_HANDBACK] = HANDBACK_COUNT,
                                             [LABEL_BREAKER] = BREAKER_STATE_COUNT,
                                             [LABEL_RESULT] = REDIS_OUTCOME_COUNT,
                                             [LABEL_OUTCOME] = 2,
                                             [LABEL_REDIRECTION] = REDIS_REDIRECTION_COUNT,
                                             [LABEL_TASK_STATE] = QUEUE_BAD + 1,
                                             [LABEL_REDIS] = REDIS_ROLE_COUNT}};
}

/* --- workers --- */

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    loop_run(w->loop);
    return NULL;
}

static bool open_port(struct app *app, struct cache_port *port, struct loop *loop, struct redis_pool *pool,
                      struct metrics_cell *cell)
{
    *port = (struct cache_port){
        .store = app->shared.cache, .loop = loop, .pool = pool, .sha = sha256_create(), .cell = cell};
    return port->sha != NULL;
}

static struct record_port record_port_on(struct app *app, struct loop *loop, struct redis_pool *pool,
                                         struct metrics_cell *cell)
{
    return (struct record_port){.store = app->shared.records, .loop = loop, .pool = pool, .cell = cell};
}

static bool build_locks(struct app *app)
{
    const struct config *c = app->config;
    struct house_shared *s = &app->shared;
    struct lock_store_options options = {.redis = s->state_redis,
                                         .spool = s->spool,
                                         .unsettled = s->unsettled,
                                         .prefix = c->redis_prefix,
                                         .clock = s->clock,
                                         .ttl_max_ms = c->locks_ttl_max * 1000,
                                         .waiters_max = (unsigned)c->locks_waiters_max,
                                         .draining = &s->http.draining,
                                         .log = s->log};
    s->lock_ttl_max_ms = options.ttl_max_ms;
    s->locks = lock_store_create(&options);
    return s->locks != NULL;
}

static const char *backend_now(void *arg)
{
    const struct house_shared *shared = ((struct house *)arg)->shared;
    return shared->cache_redis && redis_topology_well(shared->cache_redis) ? "redis" : "local";
}

static bool build_worker(struct app *app, struct worker *w)
{
    struct metrics_cell *cell = metrics_cell(app->shared.metrics);
    w->app = app;
    w->loop = loop_create(app->shared.clock);
    if (!cell || !w->loop) return false;
    unsigned index = app->shared.loop_count++;
    app->shared.loops[index] = w->loop;
    if (app->shared.cache_redis && !app_redis_pools(app, index, app->worker_count, cell)) return false;
    w->index = index;
    w->pool = app->shared.pools[index];
    w->state_pool = app->shared.state_pools[index];
    if (!open_port(app, &w->port, w->loop, w->pool, cell)) return false;
    w->records = record_port_on(app, w->loop, w->state_pool, cell);
    if (!(w->locks = lock_port_open(app->shared.locks, w->loop, w->state_pool, cell))) return false;
    w->house = (struct house){
        .shared = &app->shared, .cache = &w->port, .records = &w->records, .lock = w->locks, .cell = cell};
    if (!app_tasks_open_worker(w)) return false;
    struct server_options options = {.loop = w->loop,
                                     .shared = &app->shared.http,
                                     .listener = HTTP_LISTENER_API,
                                     .handlers = http_handlers,
                                     .house = &w->house,
                                     .backend = backend_now,
                                     .log = app->shared.log,
                                     .metrics = app->shared.metrics,
                                     .cell = cell};
    w->server = server_create(&options);
    return w->server != NULL;
}

bool app_start_workers(struct app *app)
{
    for (unsigned i = 0; i < app->worker_count; i++) {
        struct worker *w = &app->workers[i];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) return false;
        w->running = true;
    }
    return true;
}

/* --- building --- */

static size_t table_bytes(const struct config *c)
{
    if (c->local_bytes_max) return (size_t)c->local_bytes_max;
    int64_t limit = machine_memory_limit();
    return limit > 0 && limit / 4 < LOCAL_BYTES_DEFAULT ? (size_t)(limit / 4) : LOCAL_BYTES_DEFAULT;
}

static bool build_shared(struct app *app, char *error, size_t size)
{
    const struct config *c = app->config;
    struct house_shared *s = &app->shared;
    struct log_options log = {.fd = STDERR_FILENO,
                              .level = app_log_level(c),
                              .format = strcmp(c->log_format, "json") == 0 ? LOG_JSON : LOG_LOGFMT,
                              .clock = s->clock};
    struct metrics_labels labels = label_table();
    s->log = log_create(&log);
    s->metrics = metrics_create(&labels);
    s->scrape_cell = s->metrics ? metrics_cell(s->metrics) : NULL;
    app->admin_house = (struct house){.shared = s, .cell = s->metrics ? metrics_cell(s->metrics) : NULL};
    s->started_wall_ms = clock_wall_ms(s->clock);
    s->cache_ttl_s = c->cache_ttl;
    s->http.limits = (struct http_limits){
        c->http_connections_max, (size_t)c->http_body_max,   (size_t)c->http_inflight_bytes_max,
        c->http_deadline_ms,     c->http_request_timeout_ms, c->http_idle_timeout_ms};
    app_set_access_log(app, c);
    s->http.auth = auth_create(c->http_token_file, c->http_allowed_hosts, error, size);
    if (!s->http.auth || !app_redis_open(app, error, size)) return false;
    s->near_wanted = c->local_near && s->cache_redis;
    size_t bytes = table_bytes(c);
    struct lru_options table = {
        .bytes_max = bytes,
        .pending_bytes_max = c->local_pending_bytes_max ? (size_t)c->local_pending_bytes_max : bytes / 4,
        .near_ttl_ms = c->local_near_ttl_ms,
        .clock = &clock_coarse};
    s->lru = lru_create(&table);
    struct cache_store_options store = {.lru = s->lru,
                                        .redis = s->cache_redis,
                                        .prefix = c->redis_prefix,
                                        .clock = s->clock,
                                        .value_max = (size_t)c->http_body_max + CACHE_VALUE_OVERHEAD_MAX,
                                        .deadline_ms = c->http_deadline_ms * 2};
    s->cache = s->lru ? cache_store_create(&store) : NULL;
    app->loop = loop_create(s->clock);
    s->loops[s->loop_count++] = app->loop;
    snprintf(error, size, "out of memory or descriptors");
    return s->log && s->metrics && s->scrape_cell && app->admin_house.cell && s->cache && app->loop &&
           redis_scripts_init() && app_state_open(&app->state, s, c, app->loop, error, size) &&
           build_locks(app) && app_tasks_open(app);
}

/* What the page shows and does goes over the hand-back's connection: nobody's request waits for it. */
static void open_admin_records(struct app *app)
{
    app->admin_records = record_port_on(app, app->loop, app->state_replay_pool, app->admin_house.cell);
    app->admin_house.records = &app->admin_records;
}

static bool build_control(struct app *app)
{
    struct house_shared *s = &app->shared;
    struct metrics_cell *cell = app->admin_house.cell;
    struct server_options admin = {.loop = app->loop,
                                   .shared = &s->http,
                                   .listener = HTTP_LISTENER_ADMIN,
                                   .handlers = http_handlers,
                                   .house = &app->admin_house,
                                   .log = s->log,
                                   .metrics = s->metrics,
                                   .cell = cell};
    app->admin = server_create(&admin);
    if (!app->admin) return false;
    if (!s->cache_redis) {
        open_admin_records(app);
        return app_tasks_open_control(app);
    }
    unsigned all = (unsigned)app->config->redis_pool_max_connections; /* one connection to each node */
    if (!app_redis_pools(app, CONTROL, all, cell)) return false;
    app->replay_pool = s->pools[CONTROL];
    app->state_replay_pool = s->state_pools[CONTROL];
    open_admin_records(app);
    app->replay_port =
        (struct cache_port){.store = s->cache, .loop = app->loop, .pool = app->replay_pool, .cell = cell};
    return app_redis_watch(app, cell) && app_build_handback(app, cell) && app_tasks_open_control(app);
}

bool app_build(struct app *app, char *error, size_t size)
{
    if (!build_shared(app, error, size)) return false;
    snprintf(error, size, "out of memory or descriptors");
    app->worker_count = app->config->http_workers ? (unsigned)app->config->http_workers : machine_workers();
    for (unsigned i = 0; i < app->worker_count; i++)
        if (!build_worker(app, &app->workers[i])) return false;
    return build_control(app);
}
