/* app_tasks: the task queue's parts: the store and the waiting that all loops share, a port and a waiting
 * room of each worker, and on the control loop the driver and the subscription. */
#ifndef PHOENIX_SRC_APP_TASKS_H
#define PHOENIX_SRC_APP_TASKS_H

#include "engine/redis/breaker.h"

struct app;
struct worker;

/* Into app->shared, after its node and spool. */
bool app_tasks_open(struct app *app);
bool app_tasks_open_worker(struct worker *w);
/* After the workers and the replay pool. */
bool app_tasks_open_control(struct app *app);
/* The circuit has changed; as redis_node_options.on_change. Any thread. */
void app_tasks_mode_changed(void *app, enum breaker_state to);

/* Redis has all that it can be told. Control loop. */
bool app_tasks_handed_back(const struct app *app);
/* Who waits is answered. Any thread. */
void app_tasks_drain(struct app *app);
/* When the loop no longer turns: the first before its pool is destroyed, the second after it. */
void app_tasks_stop_worker(struct worker *w);
void app_tasks_close_worker(struct worker *w);
void app_tasks_stop_control(struct app *app);
void app_tasks_close_control(struct app *app);
/* After spool and loops. */
void app_tasks_close(struct app *app);

#endif
