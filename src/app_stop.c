/* app_stop: readyz turns 503 and listeners close → workers drain → what Redis has still to learn is handed
 * back → loops stop → everything is destroyed by its own thread or after it was joined. */
#include "app_private.h"

#include "app_machine.h"
#include "http/auth.h"

enum { DRAIN_LOOK_MS = 20 };

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
                stats.pending_entries == 0 &&
                (!app->record_replay || record_replay_idle(app->record_replay)) && app_tasks_handed_back(app);
    if (!done && now < app->drain_until_us) {
        loop_timer_start(app->loop, &app->drain_timer, now + DRAIN_LOOK_MS * INT64_C(1000), on_drain_timer,
                         app);
        return;
    }
    if (!done)
        LOG(app->shared.log, LOG_WARN, "drain timeout over", LOG_I("requests", exchanges_open(app)),
            LOG_I("pending_writes_lost", stats.pending_entries),
            LOG_I("journal_entries_kept", (int64_t)unsettled_entries(app->shared.unsettled)));
    loop_stop(app->loop);
}

void app_on_stop(void *arg)
{
    struct app *app = arg;
    if (app->draining) return;
    app->draining = true;
    LOG(app->shared.log, LOG_INFO, "stopping: finishing what is in flight");
    machine_notify("STOPPING=1");
    atomic_store(&app->shared.http.draining, true);
    listener_drain(app->api_listener);
    listener_drain(app->unix_listener);
    listener_close(&app->api_listener);
    listener_close(&app->unix_listener);
    for (unsigned i = 0; i < app->worker_count; i++)
        (void)loop_post(app->workers[i].loop, drain_server, app->workers[i].server);
    app_tasks_drain(app);
    app->drain_until_us = loop_now_us(app->loop) + app->config->http_drain_timeout_ms * 1000;
    on_drain_timer(app);
}

static void stop_workers(struct app *app)
{
    for (unsigned i = 0; i < app->worker_count; i++)
        if (app->workers[i].running) {
            loop_stop(app->workers[i].loop);
            pthread_join(app->workers[i].thread, NULL);
        }
}

/* What was in flight is answered now, so that no exchange is open when the server goes. */
static void close_worker(struct worker *w)
{
    if (w->loop) loop_flush(w->loop); /* connections handed over, results of the spool */
    app_tasks_stop_worker(w);
    if (w->index) app_redis_close_pools(w->app, w->index); /* 0: it was never built */
    app_tasks_close_worker(w);
    if (w->records.store) record_port_close(&w->records);
    cache_port_close(&w->port);
    lock_port_close(w->locks);
    if (w->server) server_destroy(&w->server);
    sha256_destroy(&w->port.sha);
}

/* Loops no longer turn. What came to the spool before is committed and told to whom it concerns; answers are
 * no longer among that. */
static void finish(struct app *app)
{
    for (unsigned i = 0; i < app->worker_count; i++)
        close_worker(&app->workers[i]);
    app_tasks_stop_control(app);
    if (app->record_replay) record_replay_stop(app->record_replay);
    app_redis_close_pools(app, 0); /* the control loop's */
    app_tasks_close_control(app);
    if (app->admin_records.store) record_port_close(&app->admin_records);
    lock_port_close(app->replay_locks);
    app_state_close_spool(&app->state);
    for (unsigned i = 0; i < app->worker_count; i++)
        loop_destroy(&app->workers[i].loop);
    if (app->loop) loop_flush(app->loop);
}

void app_destroy(struct app *app)
{
    struct house_shared *s = &app->shared;
    listener_close(&app->api_listener);
    listener_close(&app->unix_listener);
    listener_close(&app->admin_listener);
    stop_workers(app);
    finish(app);
    cache_replay_destroy(&app->replay);
    record_replay_destroy(&app->record_replay);
    redis_watch_destroy(&app->watch);
    redis_watch_destroy(&app->state_watch);
    if (app->admin) server_destroy(&app->admin);
    for (size_t i = 0; i < sizeof app->signals / sizeof app->signals[0]; i++)
        loop_signal_destroy(&app->signals[i]);
    loop_timer_stop(&app->token_timer);
    loop_timer_stop(&app->drain_timer);
    watchdog_stop(&app->watchdog);
    loop_destroy(&app->loop);
    lock_store_destroy(&s->locks);
    app_tasks_close(app);
    app_state_close(&app->state);
    cache_store_destroy(&s->cache);
    lru_destroy(&s->lru);
    app_redis_close(app);
    auth_destroy(&s->http.auth);
    metrics_destroy(&s->metrics);
    log_destroy(&s->log);
    pthread_mutex_destroy(&s->scrape_lock);
    pthread_mutex_destroy(&s->journal.aside_lock);
}
