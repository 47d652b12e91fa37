/* app_redis: the Redises of the house: one, or with redis.state_url one for the cache and one for the rest,
 * each with a topology, pools, and an eye of the control loop. */
#include "app_private.h"

#include "engine/redis/secret.h"

#include <stdio.h>

/* Whoever names certificates expects TLS: no URL that asks for it is a mistake, not a wish for plain text. */
static bool tls_files_are_unnamed(const struct config *c, char *error, size_t size)
{
    const char *option = c->redis_tls_ca_file[0]     ? "redis.tls_ca_file"
                         : c->redis_tls_cert_file[0] ? "redis.tls_cert_file"
                         : c->redis_tls_key_file[0]  ? "redis.tls_key_file"
                                                     : NULL;
    if (option)
        snprintf(error, size,
                 "%s: no Redis URL asks for TLS; use rediss://, or ?tls=true with Sentinel or Cluster",
                 option);
    return option == NULL;
}

/* For whichever URL asks for it; one for both. */
static bool open_tls(const struct config *c, const struct redis_url *url, const struct redis_url *state,
                     struct redis_tls **tls, char *error, size_t size)
{
    *tls = NULL;
    if (url->kind == REDIS_EMBEDDED) return true;
    if (!url->tls && !state->tls) return tls_files_are_unnamed(c, error, size);
    const struct redis_tls_options options = {.ca_file = c->redis_tls_ca_file,
                                              .cert_file = c->redis_tls_cert_file,
                                              .key_file = c->redis_tls_key_file};
    *tls = redis_tls_create(&options, error, size);
    return *tls != NULL;
}

static struct redis_topology *open_topology(struct app *app, const struct redis_url *url,
                                            enum redis_role role,
                                            void (*on_change)(void *arg, enum breaker_state to), char *error,
                                            size_t size)
{
    const struct config *c = app->config;
    struct redis_topology_options options = {
        .url = url,
        .role = role,
        .password_file = c->redis_password_file,
        .tls = url->tls ? app->tls : NULL,
        .connect_timeout_ms = c->redis_connect_timeout_ms,
        .command_timeout_ms = c->redis_command_timeout_ms,
        .breaker = {c->breaker_consecutive_failures, c->breaker_failure_rate, c->breaker_window_ms,
                    c->breaker_min_calls, c->breaker_open_min_ms, c->breaker_open_max_ms, app->shared.clock,
                    NULL, NULL},
        .clock = app->shared.clock,
        .log = app->shared.log,
        .metrics = app->shared.metrics,
        .on_change = on_change,
        .arg = app};
    return redis_topology_create(&options, error, size);
}

static bool parse_urls(const struct config *c, struct redis_url *url, struct redis_url *state, char *error,
                       size_t size)
{
    *state = (struct redis_url){0};
    if (!redis_url_parse("redis.url", c->redis_url, url, error, size)) return false;
    if (!c->redis_state_url[0]) return true;
    bool good = redis_url_parse("redis.state_url", c->redis_state_url, state, error, size);
    if (good && (url->kind == REDIS_EMBEDDED || state->kind == REDIS_EMBEDDED)) {
        snprintf(error, size, "redis.state_url: it and redis.url both name a Redis, or it stays empty");
        good = false;
    }
    if (good) return true;
    redis_url_deinit(url);
    redis_url_deinit(state);
    return false;
}

bool app_redis_check(const struct config *c, char *error, size_t size)
{
    struct redis_url url, state;
    struct redis_tls *tls;
    if (!parse_urls(c, &url, &state, error, size)) return false;
    bool good = open_tls(c, &url, &state, &tls, error, size);
    redis_tls_destroy(&tls);
    if (good && url.kind != REDIS_EMBEDDED) {
        struct redis_secret *secret = redis_secret_create(c->redis_password_file, url.password, error, size);
        good = secret != NULL;
        redis_secret_destroy(&secret);
    }
    redis_url_deinit(&url);
    redis_url_deinit(&state);
    return good;
}

bool app_redis_open(struct app *app, char *error, size_t size)
{
    struct house_shared *s = &app->shared;
    if (!parse_urls(app->config, &app->url, &app->state_url, error, size)) return false;
    if (app->url.kind == REDIS_EMBEDDED) return true;
    if (!open_tls(app->config, &app->url, &app->state_url, &app->tls, error, size)) return false;
    bool two = app->state_url.kind != REDIS_EMBEDDED;
    s->cache_redis = open_topology(app, &app->url, two ? REDIS_OF_CACHE : REDIS_OF_ALL,
                                   two ? NULL : app_tasks_mode_changed, error, size);
    s->state_redis =
        two ? open_topology(app, &app->state_url, REDIS_OF_STATE, app_tasks_mode_changed, error, size)
            : s->cache_redis;
    return s->cache_redis && s->state_redis;
}

static struct redis_pool *open_pool(struct app *app, struct redis_topology *redis, struct loop *loop,
                                    unsigned share, struct metrics_cell *cell)
{
    const struct config *c = app->config;
    unsigned most = (unsigned)c->redis_pool_max_connections / share;
    struct redis_pool_options options = {.loop = loop,
                                         .topology = redis,
                                         .min_idle = (unsigned)c->redis_pool_min_idle,
                                         .connections_max = most ? most : 1,
                                         .inflight_max = (unsigned)c->redis_inflight_max,
                                         .queued_bytes = &app->shared.http.inflight_bytes,
                                         .log = app->shared.log,
                                         .cell = cell};
    if (options.min_idle > options.connections_max) options.min_idle = options.connections_max;
    return redis_pool_create(&options);
}

bool app_redis_pools(struct app *app, unsigned loop_index, unsigned share, struct metrics_cell *cell)
{
    struct house_shared *s = &app->shared;
    struct loop *loop = s->loops[loop_index];
    s->pools[loop_index] = open_pool(app, s->cache_redis, loop, share, cell);
    s->state_pools[loop_index] = s->state_redis == s->cache_redis
                                     ? s->pools[loop_index]
                                     : open_pool(app, s->state_redis, loop, share, cell);
    return s->pools[loop_index] && s->state_pools[loop_index];
}

void app_redis_close_pools(struct app *app, unsigned loop_index)
{
    struct house_shared *s = &app->shared;
    if (s->state_pools[loop_index] == s->pools[loop_index]) s->state_pools[loop_index] = NULL;
    redis_pool_destroy(&s->state_pools[loop_index]);
    redis_pool_destroy(&s->pools[loop_index]);
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

bool app_redis_watch(struct app *app, struct metrics_cell *cell)
{
    struct house_shared *s = &app->shared;
    const char *prefix = app->config->local_near ? cache_store_tracking_prefix(s->cache) : NULL;
    const struct redis_watch_options cache = {.loop = app->loop,
                                              .topology = s->cache_redis,
                                              .log = s->log,
                                              .cell = cell,
                                              .prefix = prefix,
                                              .on_live = on_near_live,
                                              .on_lost = on_near_lost,
                                              .on_change = on_change,
                                              .on_sure = on_near_sure,
                                              .arg = app};
    app->watch = redis_watch_create(&cache);
    if (!app->watch || s->state_redis == s->cache_redis) return app->watch != NULL;
    const struct redis_watch_options state = {
        .loop = app->loop, .topology = s->state_redis, .log = s->log, .cell = cell};
    app->state_watch = redis_watch_create(&state);
    return app->state_watch != NULL;
}

/* --- the rest of their lives --- */

static void reload_secret(struct app *app, struct redis_topology *redis)
{
    char error[512];
    if (!redis_secret_reload(redis_topology_secret(redis), error, sizeof error))
        LOG(app->shared.log, LOG_ERROR, "Redis password not reloaded; the old one stays",
            LOG_S("error", error));
}

void app_redis_reload(struct app *app)
{
    struct house_shared *s = &app->shared;
    if (s->cache_redis) reload_secret(app, s->cache_redis);
    if (s->state_redis != s->cache_redis) reload_secret(app, s->state_redis);
    char error[512];
    if (app->tls && !redis_tls_reload(app->tls, error, sizeof error))
        LOG(s->log, LOG_ERROR, "certificates for Redis not reloaded; the old ones stay",
            LOG_S("error", error));
}

void app_redis_close(struct app *app)
{
    struct house_shared *s = &app->shared;
    if (s->state_redis != s->cache_redis) redis_topology_destroy(&s->state_redis);
    s->state_redis = NULL;
    redis_topology_destroy(&s->cache_redis);
    redis_tls_destroy(&app->tls);
    redis_url_deinit(&app->url);
    redis_url_deinit(&app->state_url);
}
