/* app_handback: what hands the journal back to Redis, on the control loop, with the locks' part in it. */
#include "app_private.h"

#include <stdlib.h>

/* A release on its way; its memory is its own, for it may end after the hand-back was stopped. */
struct release {
    struct lock_handback handback;
    handback_lock_done_fn *done;
    void *arg;
};

static void on_released(struct lock_handback *handback)
{
    static const struct {
        enum handback outcome;
        const char *text;
    } TABLE[] = {
        [LOCK_HANDBACK_RELEASED] = {HANDBACK_WRITTEN, ""},
        [LOCK_HANDBACK_GONE] = {HANDBACK_DONE, ""},
        [LOCK_HANDBACK_CONFLICT] = {HANDBACK_DROPPED, ""},
        [LOCK_HANDBACK_BROKEN] = {HANDBACK_FOREIGN, "no lock token"},
        [LOCK_HANDBACK_REFUSED] = {HANDBACK_REFUSED, "Redis refuses the release"},
        [LOCK_HANDBACK_UNAVAILABLE] = {HANDBACK_AWAY, ""},
    };
    struct release *r = handback->arg;
    enum lock_handback_outcome outcome = handback->outcome;
    r->done(r->arg, TABLE[outcome].outcome, outcome == LOCK_HANDBACK_CONFLICT, TABLE[outcome].text);
    free(r);
}

static void hand_lock_back(void *arg, struct slice name, struct slice body, handback_lock_done_fn *done,
                           void *done_arg)
{
    struct app *app = arg;
    struct release *r = calloc(1, sizeof *r);
    if (!r) {
        done(done_arg, HANDBACK_AWAY, false, "");
        return;
    }
    *r = (struct release){.handback = {.name = name, .body = body, .done = on_released, .arg = r},
                          .done = done,
                          .arg = done_arg};
    lock_handback_start(app->replay_locks, &r->handback);
}

bool app_build_handback(struct app *app, struct metrics_cell *cell)
{
    struct house_shared *s = &app->shared;
    const struct config *c = app->config;
    struct cache_replay_options cache = {&app->replay_port, c->spool_replay_per_s, s->log};
    app->record_replay_port = (struct record_port){
        .store = s->records, .loop = app->loop, .pool = app->state_replay_pool, .cell = cell};
    struct record_replay_options records = {.port = &app->record_replay_port,
                                            .per_s = c->spool_replay_per_s,
                                            .age_max_ms = c->spool_age_max * 1000,
                                            .hand_lock_back = hand_lock_back,
                                            .lock_arg = app,
                                            .log = s->log};
    app->replay = cache_replay_create(&cache);
    app->replay_locks = lock_port_open(s->locks, app->loop, app->state_replay_pool, cell);
    app->record_replay = record_replay_create(&records);
    return app->replay && app->replay_locks && app->record_replay;
}
