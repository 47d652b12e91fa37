/* app: start, reload, end. What is built is in app_private.h. */
#include "app.h"

#include "app_machine.h"
#include "app_private.h"
#include "http/auth.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { TOKEN_LOOK_MS = 1000, MMAP_THRESHOLD = 128 * 1024, DESCRIPTORS_SPARE = 256, DESCRIPTORS_PER_NODE = 4 };

extern char **environ;

static void warn_unknown(void *arg, const char *text)
{
    LOG(arg, LOG_WARN, "configuration", LOG_S("warning", text));
}

static bool reload_token(struct app *app)
{
    char error[512];
    if (auth_reload(app->shared.http.auth, error, sizeof error)) return true;
    LOG(app->shared.log, LOG_ERROR, "token not reloaded; the old one stays", LOG_S("error", error));
    return false;
}

/* Who rotates a mounted secret sends no signal. */
static void on_token_look(void *arg)
{
    struct app *app = arg;
    if (auth_file_changed(app->shared.http.auth) && reload_token(app))
        LOG(app->shared.log, LOG_INFO, "token reloaded: its file has changed");
    loop_timer_start(app->loop, &app->token_timer, loop_now_us(app->loop) + TOKEN_LOOK_MS * INT64_C(1000),
                     on_token_look, app);
}

/* Reloads what can be: the bearer token, the Redis password, the log level, the access log. The rest needs a
 * restart. */
static void on_reload(void *arg)
{
    struct app *app = arg;
    struct log *log = app->shared.log;
    struct config fresh;
    struct config_error config_error;
    if (!config_load(&fresh, app->config_path, environ, warn_unknown, log, &config_error)) {
        LOG(log, LOG_ERROR, "configuration not reloaded; the old one stays",
            LOG_S("error", config_error.text));
    } else {
        log_set_level(log, app_log_level(&fresh));
        app_set_access_log(app, &fresh);
        config_deinit(&fresh);
    }
    (void)reload_token(app);
    app_redis_reload(app);
    LOG(log, LOG_INFO, "reloaded on SIGHUP");
}

static bool start(struct app *app, char *error, size_t size)
{
    if (!app_check_addresses(app->config, &app->inherited, error, size) || !app_build(app, error, size))
        return false;
    app->signals[0] = loop_signal_create(app->loop, SIGTERM, app_on_stop, app);
    app->signals[1] = loop_signal_create(app->loop, SIGINT, app_on_stop, app);
    app->signals[2] = loop_signal_create(app->loop, SIGHUP, on_reload, app);
    if (!app_open_listeners(app, error, size)) return false;
    snprintf(error, size, "cannot start threads");
    return app_start_workers(app);
}

static void tell_ready(struct app *app)
{
    const struct house_shared *s = &app->shared;
    const char *listen = app_listens_on(app, INHERITED_API, app->config->http_listen);
    LOG(s->log, LOG_INFO, "ready", LOG_S("listen", listen),
        LOG_S("admin", app_listens_on(app, INHERITED_ADMIN, app->config->admin_listen)),
        LOG_S("redis", s->cache_redis ? redis_topology_name(s->cache_redis)
                                      : "none (embedded mode: nothing is shared)"),
        LOG_S("state_redis", s->state_redis ? redis_topology_name(s->state_redis) : "none"),
        LOG_S("spool", app->state.path), LOG_I("journal", (int64_t)unsettled_entries(s->unsettled)),
        LOG_I("workers", app->worker_count), LOG_S("version", PHOENIX_VERSION));
    if (s->api_open)
        LOG(s->log, LOG_WARN, "the API is open to the network without a token", LOG_S("listen", listen),
            LOG_S("remedy", "set http.token_file, or give http.listen a loopback address"));
}

/* A soft limit below what connections_max and a cluster's nodes need is raised as far as the hard one allows.
 */
static void raise_descriptors(const struct config *c)
{
    struct rlimit limit;
    int64_t redis = (c->redis_pool_max_connections + DESCRIPTORS_PER_NODE) * REDIS_NODES_MAX;
    rlim_t wanted = (rlim_t)(c->http_connections_max + redis + DESCRIPTORS_SPARE);
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
    pthread_mutex_init(&app->shared.journal.aside_lock, NULL);
    bool ok = inherited_take(&app->inherited, error, error_size) && start(app, error, error_size);
    if (ok) {
        tell_ready(app);
        atomic_store(&app->shared.ready, true);
        machine_notify("READY=1");
        if (auth_token_needed(app->shared.http.auth)) on_token_look(app);
        watchdog_start(&app->watchdog, app->shared.loops, app->shared.loop_count);
        loop_run(app->loop);
    }
    app_destroy(app);
    free(app);
    return ok;
}

bool app_check(const struct config *config, char *error, size_t error_size)
{
    struct auth *auth = auth_create(config->http_token_file, config->http_allowed_hosts, error, error_size);
    struct inherited inherited;
    bool ok = auth && inherited_take(&inherited, error, error_size) &&
              app_check_addresses(config, &inherited, error, error_size) &&
              app_redis_check(config, error, error_size) && app_state_check(config, error, error_size);
    auth_destroy(&auth);
    return ok;
}
