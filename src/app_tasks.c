/* app_tasks: see the header. Ports are closed after their pools, so that each operation has ended by then. */
#include "app_private.h"

static const int64_t BAD_KEEP_MS = INT64_C(7) * 86400 * 1000;

static void on_ready(void *arg, int64_t count, struct slice agent)
{
    struct app *app = arg;
    if (app->shared.waits) queue_waits_ready(app->shared.waits, (unsigned)count, agent, true);
}

void app_tasks_mode_changed(void *arg, enum breaker_state to)
{
    struct app *app = arg;
    if (to != BREAKER_HALF_OPEN && app->shared.waits) queue_waits_mode_changed(app->shared.waits);
}

bool app_tasks_open(struct app *app)
{
    const struct config *c = app->config;
    struct house_shared *s = &app->shared;
    s->tasks = (struct task_options){.ttl_ms = c->tasks_ttl * 1000,
                                     .lease_ms = c->tasks_lease * 1000,
                                     .max_attempts = (unsigned)c->tasks_max_attempts};
    const struct queue_store_options store = {.redis = s->state_redis,
                                              .spool = s->spool,
                                              .clock = s->clock,
                                              .on_ready = on_ready,
                                              .ready_arg = app,
                                              .prefix = c->redis_prefix,
                                              .retry_base_ms = c->tasks_retry_base_ms,
                                              .retry_max_ms = c->tasks_retry_max_ms,
                                              .dedupe_ms = c->tasks_dedupe * 1000,
                                              .aging_us = c->tasks_aging_s * 1000000,
                                              .bad_keep_ms = BAD_KEEP_MS,
                                              .item_max = (size_t)c->http_body_max,
                                              .read_item = task_item_read,
                                              .arg = &s->tasks,
                                              .log = s->log};
    if (!(s->queue = queue_store_create(&store))) return false;
    const struct queue_waits_options waits = {.redis = s->state_redis,
                                              .key = queue_store_key(s->queue),
                                              .channel =
                                                  s->state_redis ? queue_store_channel(s->queue) : NULL,
                                              .waiters_max = (unsigned)c->tasks_waiters_max,
                                              .log = s->log};
    return (s->waits = queue_waits_create(&waits)) != NULL;
}

bool app_tasks_open_worker(struct worker *w)
{
    struct house_shared *s = &w->app->shared;
    w->house.loop = w->loop;
    w->house.queue = queue_port_create(s->queue, w->loop, w->state_pool);
    w->house.waiters = w->house.queue ? queue_wait_port_open(s->waits, w->loop, w->house.queue) : NULL;
    return w->house.waiters != NULL;
}

static bool open_replay(struct app *app)
{
    const struct queue_replay_options options = {.store = app->shared.queue,
                                                 .loop = app->loop,
                                                 .pool = app->state_replay_pool,
                                                 .per_s = app->config->spool_replay_per_s,
                                                 .age_max_ms = app->config->spool_age_max * 1000,
                                                 .log = app->shared.log,
                                                 .metrics = app->shared.metrics,
                                                 .cell = app->admin_house.cell};
    return (app->queue_replay = queue_replay_create(&options)) != NULL;
}

bool app_tasks_open_control(struct app *app)
{
    struct house_shared *s = &app->shared;
    struct metrics_cell *cell = app->admin_house.cell;
    app->queue = queue_port_create(s->queue, app->loop, app->state_replay_pool);
    app->admin_house.loop = app->loop;
    app->admin_house.queue = app->queue;
    if (!app->queue || !queue_waits_open(s->waits, app->loop, app->queue, cell)) return false;
    const struct queue_driver_options driver = {.loop = app->loop,
                                                .queue = app->queue,
                                                .waits = s->waits,
                                                .redis = s->state_redis,
                                                .clock = s->clock,
                                                .log = s->log,
                                                .metrics = s->metrics,
                                                .cell = cell};
    if (!(s->queue_driver = queue_driver_create(&driver))) return false;
    return !s->state_redis || open_replay(app);
}

static void drain_port(void *arg)
{
    queue_wait_port_drain(arg);
}

void app_tasks_drain(struct app *app)
{
    for (unsigned i = 0; i < app->worker_count; i++)
        (void)loop_post(app->workers[i].loop, drain_port, app->workers[i].house.waiters);
}

void app_tasks_stop_worker(struct worker *w)
{
    queue_wait_port_drain(w->house.waiters);
}

void app_tasks_close_worker(struct worker *w)
{
    queue_port_destroy(&w->house.queue);
}

void app_tasks_stop_control(struct app *app)
{
    if (app->queue_replay) queue_replay_stop(app->queue_replay);
    queue_driver_stop(app->shared.queue_driver);
    queue_waits_close(app->shared.waits);
}

void app_tasks_close_control(struct app *app)
{
    queue_port_destroy(&app->queue);
    app->admin_house.queue = NULL;
}

void app_tasks_close(struct app *app)
{
    queue_replay_destroy(&app->queue_replay);
    queue_driver_destroy(&app->shared.queue_driver);
    queue_waits_destroy(&app->shared.waits);
    queue_store_destroy(&app->shared.queue);
}

bool app_tasks_handed_back(const struct app *app)
{
    return !app->queue_replay || queue_replay_idle(app->queue_replay);
}
