/* queue_driver: what nobody asks the queue for and must happen all the same: ends leases and promotes delayed
 * tasks when they are due (each daemon at its own moments, so that many share the work), adopts what foreign
 * producers put into the inbox, counts for metrics. Control loop only; figures: any thread. */
#ifndef PHOENIX_STATE_QUEUE_DRIVER_H
#define PHOENIX_STATE_QUEUE_DRIVER_H

#include "metrics/metrics.h"
#include "state/queue_wait.h"

struct queue_driver;

struct queue_driver_options {
    struct loop *loop;
    struct queue_port *queue;
    struct queue_waits *waits;    /* told of what becomes ready here */
    struct redis_topology *redis; /* NULL: embedded */
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct metrics_cell *cell;
};

struct queue_driver *queue_driver_create(const struct queue_driver_options *options); /* NULL: no memory */
/* Its operations are through (queue_port_destroy). */
void queue_driver_destroy(struct queue_driver **driver);
/* Begins nothing more. */
void queue_driver_stop(struct queue_driver *driver);

/* As of a second or two ago; all -1 until it was answered. Any thread. */
struct queue_counts queue_driver_counts(const struct queue_driver *driver);

#endif
