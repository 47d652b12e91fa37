/* app: who owns what. The control loop is the main thread's: listeners, signals, admin server, probe,
 * tracking, replay. Each worker is a thread with a loop, a server and a pool. What they share (house_shared)
 * is complete before the first thread starts.
 *
 * Stopping: readyz turns 503 and listeners close → workers drain → pending writes are handed back → loops
 * stop → everything is destroyed by its own thread or after it was joined. */
#include "app.h"

#include "http/auth.h"
#include "http/handlers_table.h"
#include "http/house.h"
#include "app_listener.h"

#include "engine/redis/probe.h"
#include "engine/redis/script.h"
#include "engine/redis/tracking.h"
#include "app_machine.h"
#include "state/cache_replay.h"
#include "state/cache_value.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    MMAP_THRESHOLD = 128 * 1024,
    DRAIN_LOOK_MS = 20,
    LOCAL_BYTES_DEFAULT = 64 * 1024 * 1024,
    CONTROL = 0,
    ADMIN_CONNECTIONS_MAX = 64,
    DESCRIPTORS_SPARE = 256
};

extern char **environ;

struct worker {
    struct app *app;
    pthread_t thread;
    bool running;
    struct loop *loop;
    struct server *server;
    struct redis_pool *pool;
    struct cache_port port;
    struct house house;
};

struct app {
    struct config *config;
    const char *config_path;
    struct house_shared shared;
    struct redis_url url;
    struct loop *loop;
    struct worker workers[LOOPS_MAX - 1];
    unsigned worker_count;
    struct house admin_house;
    struct server *admin;
    struct listener *api_listener, *unix_listener, *admin_listener;
    struct redis_probe *probe;
    struct redis_tracking *tracking;
    struct redis_pool *replay_pool;
    struct cache_port replay_port;
    struct cache_replay *replay;
    struct loop_signal *signals[3];
    struct loop_timer drain_timer;
    _Atomic int64_t on_the_way; /* connections accepted and not yet counted by a worker */
    int64_t drain_until_us;
    bool draining;
};

static enum log_level log_level_of(const struct config *c)
{
    static const char *const NAMES[] = {"debug", "info", "warn", "error"}; /* config_load admits no other */
    for (unsigned i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(c->log_level, NAMES[i]) == 0) return (enum log_level)i;
    return LOG_INFO;
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
                                            [LABEL_BREAKER] = "to",
                                            [LABEL_RESULT] = "result",
                                            [LABEL_OUTCOME] = "outcome"},
                                   .values = {[LABEL_ROUTE] = http_route_names,
                                              [LABEL_STATUS] = http_status_names,
                                              [LABEL_BOUND] = http_bound_names,
                                              [LABEL_SOURCE] = cache_source_names,
                                              [LABEL_BACKEND] = BACKENDS,
                                              [LABEL_EXIT] = EXITS,
                                              [LABEL_REPLAY] = replay_outcome_names,
                                              [LABEL_BREAKER] = breaker_state_names,
                                              [LABEL_RESULT] = redis_outcome_names,
                                              [LABEL_OUTCOME] = OUTCOMES},
                                   .count = {[LABEL_ROUTE] = ROUTE_LABEL_COUNT,
                                             [LABEL_STATUS] = HTTP_STATUS_COUNT,
                                             [LABEL_BOUND] = HTTP_BOUND_COUNT,
                                             [LABEL_SOURCE] = CACHE_SOURCE_COUNT,
                                             [LABEL_BACKEND] = 2,
                                             [LABEL_EXIT] = LRU_EXIT_COUNT,
                                             [LABEL_REPLAY] = REPLAY_OUTCOME_COUNT,
                                             [LABEL_BREAKER] = BREAKER_STATE_COUNT,
                                             [LABEL_RESULT] = REDIS_OUTCOME_COUNT,
                                             [LABEL_OUTCOME] = 2}};
}

/* --- connections --- */

struct handover {
    struct app *app;
    struct server *server;
    int fd;
    enum http_peer peer;
};

static void adopt(void *arg)
{
    struct handover *h = arg;
    server_adopt(h->server, h->fd, h->peer);
    atomic_fetch_sub(&h->app->on_the_way, 1);
    free(h);
}

static void hand_over(struct app *app, int fd, enum http_peer peer)
{
    struct http_shared *http = &app->shared.http;
    if (atomic_load(&http->connections) + atomic_load(&app->on_the_way) >= http->limits.connections_max) {
        metrics_count(app->admin_house.cell, METRIC_BOUND_HIT, HTTP_BOUND_CONNECTIONS, 0, 1);
        server_refuse(fd);
        return;
    }
    struct worker *least = &app->workers[0];
    for (unsigned i = 1; i < app->worker_count; i++)
        if (server_connections(app->workers[i].server) < server_connections(least->server))
            least = &app->workers[i];
    struct handover *h = malloc(sizeof *h);
    if (!h) {
        server_refuse(fd);
        return;
    }
    *h = (struct handover){app, least->server, fd, peer};
    atomic_fetch_add(&app->on_the_way, 1);
    if (!loop_post(least->loop, adopt, h)) {
        atomic_fetch_sub(&app->on_the_way, 1);
        free(h);
        server_refuse(fd);
    }
}

static void on_api_connection(void *arg, int fd)
{
    hand_over(arg, fd, HTTP_PEER_TCP);
}

static void on_unix_connection(void *arg, int fd)
{
    hand_over(arg, fd, HTTP_PEER_UNIX);
}

static void on_admin_connection(void *arg, int fd)
{
    struct app *app = arg;
    if (server_connections(app->admin) < ADMIN_CONNECTIONS_MAX)
        server_adopt(app->admin, fd, HTTP_PEER_TCP);
    else
        server_refuse(fd);
}

static bool open_listeners(struct app *app, char *error, size_t size)
{
    const struct config *c = app->config;
    if (c->http_listen[0] && !(app->api_listener = listener_open_tcp(app->loop, c->http_listen,
                                                                     on_api_connection, app, error, size)))
        return false;
    if (c->http_unix_socket[0] &&
        !(app->unix_listener =
              listener_open_unix(app->loop, c->http_unix_socket, on_unix_connection, app, error, size)))
        return false;
    return !c->admin_listen[0] || (app->admin_listener = listener_open_tcp(
                                       app->loop, c->admin_listen, on_admin_connection, app, error, size));
}

/* --- near cache --- */

static void on_near_live(void *arg)
{
    struct app *app = arg;
    lru_trust_begin(app->shared.lru);
    atomic_store(&app->shared.near_live, true);
}

/* A control loop that is late must not make old values pass for fresh: the workers see for themselves. */
static void on_near_sure(void *arg, int64_t until_us)
{
    struct app *app = arg;
    lru_trust_until(app->shared.lru, until_us / 1000);
}

static void on_near_lost(void *arg)
{
    struct app *app = arg;
    lru_trust_end(app->shared.lru);
    atomic_store(&app->shared.near_live, false);
}

static void on_change(void *arg, struct slice key)
{
    struct app *app = arg;
    cache_store_invalidate(app->shared.cache, key);
}

/* --- workers --- */

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    loop_run(w->loop);
    return NULL;
}

static struct redis_pool *open_pool(struct app *app, struct loop *loop, unsigned share,
                                    struct metrics_cell *cell)
{
    const struct config *c = app->config;
    unsigned most = (unsigned)c->redis_pool_max_connections / share;
    struct redis_pool_options options = {.loop = loop,
                                         .node = app->shared.node,
                                         .min_idle = (unsigned)c->redis_pool_min_idle,
                                         .connections_max = most ? most : 1,
                                         .inflight_max = (unsigned)c->redis_inflight_max,
                                         .queued_bytes = &app->shared.http.inflight_bytes,
                                         .log = app->shared.log,
                                         .cell = cell};
    if (options.min_idle > options.connections_max) options.min_idle = options.connections_max;
    return redis_pool_create(&options);
}

static bool open_port(struct app *app, struct cache_port *port, struct loop *loop, struct redis_pool *pool,
                      struct metrics_cell *cell)
{
    *port = (struct cache_port){
        .store = app->shared.cache, .loop = loop, .pool = pool, .sha = sha256_create(), .cell = cell};
    return port->sha != NULL;
}

static const char *backend_now(void *arg)
{
    const struct house_shared *shared = ((struct house *)arg)->shared;
    return cache_store_embedded(shared->cache) || cache_store_degraded(shared->cache) ? "local" : "redis";
}

static bool build_worker(struct app *app, struct worker *w)
{
    struct metrics_cell *cell = metrics_cell(app->shared.metrics);
    w->app = app;
    w->loop = loop_create(app->shared.clock);
    if (!cell || !w->loop) return false;
    if (app->shared.node && !(w->pool = open_pool(app, w->loop, app->worker_count, cell))) return false;
    if (!open_port(app, &w->port, w->loop, w->pool, cell)) return false;
    w->house = (struct house){&app->shared, &w->port, cell};
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
    app->shared.pools[app->shared.loop_count] = w->pool;
    app->shared.loops[app->shared.loop_count++] = w->loop;
    return w->server != NULL;
}

static bool start_workers(struct app *app)
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

static bool build_node(struct app *app, char *error, size_t size)
{
    const struct config *c = app->config;
    struct redis_node_options options = {.url = &app->url,
                                         .password_file = c->redis_password_file,
                                         .connect_timeout_ms = c->redis_connect_timeout_ms,
                                         .command_timeout_ms = c->redis_command_timeout_ms,
                                         .breaker = {c->breaker_consecutive_failures, c->breaker_failure_rate,
                                                     c->breaker_window_ms, c->breaker_min_calls,
                                                     c->breaker_open_min_ms, c->breaker_open_max_ms,
                                                     app->shared.clock, NULL, NULL},
                                         .clock = app->shared.clock,
                                         .log = app->shared.log,
                                         .metrics = app->shared.metrics};
    app->shared.node = redis_node_create(&options, error, size);
    return app->shared.node != NULL;
}

static bool build_shared(struct app *app, char *error, size_t size)
{
    const struct config *c = app->config;
    struct house_shared *s = &app->shared;
    struct log_options log = {.fd = STDERR_FILENO,
                              .level = log_level_of(c),
                              .format = strcmp(c->log_format, "json") == 0 ? LOG_JSON : LOG_LOGFMT,
                              .clock = s->clock};
    struct metrics_labels labels = label_table();
    s->log = log_create(&log);
    s->metrics = metrics_create(&labels);
    s->scrape_cell = s->metrics ? metrics_cell(s->metrics) : NULL;
    app->admin_house = (struct house){s, NULL, s->metrics ? metrics_cell(s->metrics) : NULL};
    s->started_wall_ms = clock_wall_ms(s->clock);
    s->cache_ttl_s = c->cache_ttl;
    s->http.limits = (struct http_limits){
        c->http_connections_max, (size_t)c->http_body_max,   (size_t)c->http_inflight_bytes_max,
        c->http_deadline_ms,     c->http_request_timeout_ms, c->http_idle_timeout_ms,
        c->http_access_log};
    s->http.auth = auth_create(c->http_token_file, c->http_allowed_hosts, error, size);
    if (!s->http.auth || !redis_url_parse(c->redis_url, &app->url, error, size)) return false;
    if (app->url.kind != REDIS_EMBEDDED && !build_node(app, error, size)) return false;
    size_t bytes = table_bytes(c);
    struct lru_options table = {
        .bytes_max = bytes,
        .pending_bytes_max = c->local_pending_bytes_max ? (size_t)c->local_pending_bytes_max : bytes / 4,
        .near_ttl_ms = c->local_near_ttl_ms,
        .clock = &clock_coarse};
    s->lru = lru_create(&table);
    struct cache_store_options store = {.lru = s->lru,
                                        .node = s->node,
                                        .prefix = c->redis_prefix,
                                        .clock = s->clock,
                                        .value_max = (size_t)c->http_body_max + CACHE_VALUE_OVERHEAD_MAX,
                                        .deadline_ms = c->http_deadline_ms * 2};
    s->cache = s->lru ? cache_store_create(&store) : NULL;
    app->loop = loop_create(s->clock);
    s->loops[s->loop_count++] = app->loop;
    snprintf(error, size, "out of memory or descriptors");
    return s->log && s->metrics && s->scrape_cell && app->admin_house.cell && s->cache && app->loop &&
           redis_scripts_init();
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
    if (!app->admin || !s->node) return app->admin != NULL;
    struct redis_probe_options probe = {app->loop, s->node, s->log, s->metrics, cell};
    struct redis_tracking_options tracking = {app->loop,    s->node,   cache_store_tracking_prefix(s->cache),
                                              s->log,       cell,      on_near_live,
                                              on_near_lost, on_change, app,
                                              on_near_sure};
    app->probe = redis_probe_create(&probe);
    app->tracking = app->config->local_near ? redis_tracking_create(&tracking) : NULL;
    app->replay_pool = open_pool(app, app->loop, (unsigned)app->config->redis_pool_max_connections, cell);
    s->pools[CONTROL] = app->replay_pool;
    if (!app->replay_pool || !open_port(app, &app->replay_port, app->loop, app->replay_pool, cell))
        return false;
    struct cache_replay_options replay = {&app->replay_port, app->config->spool_replay_per_s, s->log};
    app->replay = cache_replay_create(&replay);
    return app->probe && app->replay && (app->tracking || !app->config->local_near);
}

/* --- stopping --- */

static void drain_server(void *arg)
{
    server_drain(arg);
}

static unsigned exchanges_open(struct app *app)
{
    unsigned open = 0;
    for (unsigned i = 0; i < app->worker_count; i++)
        open += server_exchanges(app->workers[i].server);
    return open;
}

static void on_drain_timer(void *arg)
{
    struct app *app = arg;
    struct lru_stats stats;
    lru_stats(app->shared.lru, &stats);
    int64_t connections = atomic_load(&app->shared.http.connections) + atomic_load(&app->on_the_way);
    int64_t now = loop_now_us(app->loop);
    bool done = exchanges_open(app) == 0 && connections == (int64_t)server_connections(app->admin) &&
                stats.pending_entries == 0;
    if (!done && now < app->drain_until_us) {
        loop_timer_start(app->loop, &app->drain_timer, now + DRAIN_LOOK_MS * INT64_C(1000), on_drain_timer,
                         app);
        return;
    }
    if (!done)
        LOG(app->shared.log, LOG_WARN, "drain timeout over", LOG_I("requests", exchanges_open(app)),
            LOG_I("pending_writes_lost", stats.pending_entries));
    loop_stop(app->loop);
}

static void on_stop(void *arg)
{
    struct app *app = arg;
    if (app->draining) return;
    app->draining = true;
    LOG(app->shared.log, LOG_INFO, "stopping: finishing what is in flight");
    atomic_store(&app->shared.http.draining, true);
    listener_drain(app->api_listener);
    listener_drain(app->unix_listener);
    listener_close(&app->api_listener);
    listener_close(&app->unix_listener);
    for (unsigned i = 0; i < app->worker_count; i++)
        (void)loop_post(app->workers[i].loop, drain_server, app->workers[i].server);
    app->drain_until_us = loop_now_us(app->loop) + app->config->http_drain_timeout_ms * 1000;
    on_drain_timer(app);
}

static void warn_unknown(void *arg, const char *text)
{
    LOG(arg, LOG_WARN, "configuration", LOG_S("warning", text));
}

/* Reloads what can be: the bearer token, the Redis password, the log level. The rest needs a restart. */
static void on_reload(void *arg)
{
    struct app *app = arg;
    struct log *log = app->shared.log;
    char error[512];
    struct config fresh;
    struct config_error config_error;
    if (!config_load(&fresh, app->config_path, environ, warn_unknown, log, &config_error)) {
        LOG(log, LOG_ERROR, "configuration not reloaded; the old one stays",
            LOG_S("error", config_error.text));
    } else {
        log_set_level(log, log_level_of(&fresh));
        config_deinit(&fresh);
    }
    if (!auth_reload(app->shared.http.auth, error, sizeof error))
        LOG(log, LOG_ERROR, "token not reloaded; the old one stays", LOG_S("error", error));
    if (app->shared.node && !redis_node_reload_password(app->shared.node, error, sizeof error))
        LOG(log, LOG_ERROR, "Redis password not reloaded; the old one stays", LOG_S("error", error));
    LOG(log, LOG_INFO, "reloaded on SIGHUP");
}

static void stop_workers(struct app *app)
{
    for (unsigned i = 0; i < app->worker_count; i++)
        if (app->workers[i].running) {
            loop_stop(app->workers[i].loop);
            pthread_join(app->workers[i].thread, NULL);
        }
}

static void destroy_worker(struct worker *w)
{
    redis_pool_destroy(&w->pool); /* what was in flight is answered now, so that no exchange is open below */
    if (w->server) server_destroy(&w->server);
    sha256_destroy(&w->port.sha);
    loop_destroy(&w->loop);
}

static void destroy(struct app *app)
{
    struct house_shared *s = &app->shared;
    listener_close(&app->api_listener);
    listener_close(&app->unix_listener);
    listener_close(&app->admin_listener);
    stop_workers(app);
    for (unsigned i = 0; i < app->worker_count; i++)
        destroy_worker(&app->workers[i]);
    redis_pool_destroy(&app->replay_pool);
    cache_replay_destroy(&app->replay);
    sha256_destroy(&app->replay_port.sha);
    redis_tracking_destroy(&app->tracking);
    redis_probe_destroy(&app->probe);
    if (app->admin) server_destroy(&app->admin);
    for (size_t i = 0; i < sizeof app->signals / sizeof app->signals[0]; i++)
        loop_signal_destroy(&app->signals[i]);
    loop_timer_stop(&app->drain_timer);
    loop_destroy(&app->loop);
    cache_store_destroy(&s->cache);
    lru_destroy(&s->lru);
    redis_node_destroy(&s->node);
    redis_url_deinit(&app->url);
    auth_destroy(&s->http.auth);
    metrics_destroy(&s->metrics);
    log_destroy(&s->log);
    pthread_mutex_destroy(&s->scrape_lock);
}

static bool start(struct app *app, char *error, size_t size)
{
    if (!build_shared(app, error, size)) return false;
    app->worker_count = app->config->http_workers ? (unsigned)app->config->http_workers : machine_workers();
    for (unsigned i = 0; i < app->worker_count; i++)
        if (!build_worker(app, &app->workers[i])) return false;
    if (!build_control(app)) return false;
    app->signals[0] = loop_signal_create(app->loop, SIGTERM, on_stop, app);
    app->signals[1] = loop_signal_create(app->loop, SIGINT, on_stop, app);
    app->signals[2] = loop_signal_create(app->loop, SIGHUP, on_reload, app);
    if (!open_listeners(app, error, size)) return false;
    snprintf(error, size, "cannot start threads");
    return start_workers(app);
}

/* A soft limit below what connections_max needs is raised as far as the hard one allows. */
static void raise_descriptors(const struct config *c)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)(c->http_connections_max + c->redis_pool_max_connections + DESCRIPTORS_SPARE);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

bool app_run(struct config *config, const char *config_path, char *error, size_t error_size)
{
    struct app *app = calloc(1, sizeof *app);
    if (!app) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    /* Before the first allocation of size: with glibc's default arenas the table grew to four times its
     * budget. */
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors(config);
    app->config = config;
    app->config_path = config_path;
    app->shared.clock = &clock_system;
    pthread_mutex_init(&app->shared.scrape_lock, NULL);
    bool ok = start(app, error, error_size);
    if (ok) {
        LOG(app->shared.log, LOG_INFO, "ready", LOG_S("listen", config->http_listen),
            LOG_S("admin", config->admin_listen),
            LOG_S("redis", app->shared.node ? redis_node_name(app->shared.node)
                                            : "none (embedded mode: nothing is shared)"),
            LOG_I("workers", app->worker_count), LOG_S("version", PHOENIX_VERSION));
        atomic_store(&app->shared.ready, true);
        machine_notify("READY=1");
        loop_run(app->loop);
        machine_notify("STOPPING=1");
    }
    destroy(app);
    free(app);
    return ok;
}

bool app_check(const struct config *config, char *error, size_t error_size)
{
    struct redis_url url;
    struct auth *auth = auth_create(config->http_token_file, config->http_allowed_hosts, error, error_size);
    bool ok = auth && redis_url_parse(config->redis_url, &url, error, error_size);
    if (ok) redis_url_deinit(&url);
    auth_destroy(&auth);
    return ok;
}
