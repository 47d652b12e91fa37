/* app_private: what the app's files share: who owns what. The control loop is the main thread's: listeners,
 * signals, admin server, probe, tracking, replay. Each worker is a thread with a loop, a server and a pool.
 * What they share (house_shared) is complete before the first thread starts. */
#ifndef PHOENIX_SRC_APP_PRIVATE_H
#define PHOENIX_SRC_APP_PRIVATE_H

#include "app_inherited.h"
#include "app_listener.h"
#include "app_state.h"
#include "app_tasks.h"
#include "app_watchdog.h"
#include "config/config.h"
#include "engine/redis/tls.h"
#include "engine/redis/watch.h"
#include "http/house.h"
#include "state/cache_replay.h"
#include "state/queue_replay.h"
#include "state/record_replay.h"

struct worker {
    struct app *app;
    pthread_t thread;
    bool running;
    unsigned index; /* of its loop among all */
    struct loop *loop;
    struct server *server;
    struct redis_pool *pool;
    struct redis_pool *state_pool; /* the same one, unless state has a Redis of its own */
    struct cache_port port;
    struct record_port records;
    struct lock_port *locks;
    struct house house;
};

struct app {
    struct config *config;
    const char *config_path;
    struct house_shared shared;
    struct redis_url url, state_url;
    struct redis_tls *tls; /* NULL: neither URL asks for it */
    struct app_state state;
    struct loop *loop;
    struct worker workers[LOOPS_MAX - 1];
    unsigned worker_count;
    struct house admin_house;
    struct server *admin;
    struct inherited inherited; /* taken first of all, so that no descriptor is mistaken for one */
    struct listener *api_listener, *unix_listener, *admin_listener;
    struct watchdog watchdog;
    struct redis_watch *watch, *state_watch;
    struct redis_pool *replay_pool, *state_replay_pool; /* one, unless state has a Redis of its own */
    struct cache_port replay_port;
    struct cache_replay *replay;
    struct record_port admin_records; /* what the admin listener shows */
    struct queue_port *queue;         /* the driver's, likewise; and the admin listener's */
    struct queue_replay *queue_replay;
    struct record_port record_replay_port; /* the journal's hand-back shares the pool */
    struct lock_port *replay_locks;        /* likewise */
    struct record_replay *record_replay;
    struct loop_signal *signals[3];
    struct loop_timer token_timer, drain_timer;
    _Atomic int64_t on_the_way; /* connections accepted and not yet counted by a worker */
    int64_t drain_until_us;
    bool draining;
};

/* --- app_build.c --- */

enum log_level app_log_level(const struct config *c);
/* http.access_log and its sampling; any time. */
void app_set_access_log(struct app *app, const struct config *c);
/* What all loops share; then the workers (not running yet), and what the control loop has to itself. */
bool app_build(struct app *app, char *error, size_t size);
bool app_start_workers(struct app *app);

/* --- app_redis.c --- */

/* Whether redis.url, redis.state_url and the certificates can be used; one line in `error` if not. */
bool app_redis_check(const struct config *c, char *error, size_t size);
bool app_redis_open(struct app *app, char *error, size_t size);
/* The loop's pools; each node gets redis.pool_max_connections / share connections, at least one. */
bool app_redis_pools(struct app *app, unsigned loop_index, unsigned share, struct metrics_cell *cell);
void app_redis_close_pools(struct app *app, unsigned loop_index);
bool app_redis_watch(struct app *app, struct metrics_cell *cell);
void app_redis_reload(struct app *app);
void app_redis_close(struct app *app);

/* --- app_handback.c --- */

bool app_build_handback(struct app *app, struct metrics_cell *cell);

/* --- app_accept.c --- */

/* What can be said of the addresses without binding any, beside the sockets that are there already. */
bool app_check_addresses(const struct config *c, const struct inherited *inherited, char *error, size_t size);
bool app_open_listeners(struct app *app, char *error, size_t size);
/* For the log: the address of the configuration, or that it was not bound. */
const char *app_listens_on(const struct app *app, enum inherited_kind kind, const char *address);

/* --- app_stop.c --- */

/* SIGTERM, SIGINT: begins to drain; the control loop stops when that is done, or its time is over. */
void app_on_stop(void *app);
/* Also of an app that is half built. */
void app_destroy(struct app *app);

#endif
