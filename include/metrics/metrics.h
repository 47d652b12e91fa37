/* metrics: counters, gauges and histograms from one table (metrics.def), as Prometheus text 0.0.4.
 *
 * Counters and histograms live in cells: one per thread, written by that thread alone with relaxed stores (no
 * locked instruction on the hot path), summed by whoever renders. Gauges are process-wide atomics. */
#ifndef PHOENIX_METRICS_METRICS_H
#define PHOENIX_METRICS_METRICS_H

#include "util/buf.h"

#include <stdint.h>

/* Dimensions. The names of their values are handed to metrics_create, but for LABEL_NODE's, which come and go
 * (metrics_node). */
enum metrics_label {
    LABEL_NONE,
    LABEL_ROUTE,
    LABEL_STATUS,
    LABEL_BOUND,
    LABEL_SOURCE,
    LABEL_BACKEND,
    LABEL_EXIT,
    LABEL_REPLAY,
    LABEL_HANDBACK,
    LABEL_BREAKER,
    LABEL_RESULT,
    LABEL_OUTCOME,
    LABEL_REDIRECTION,
    LABEL_TASK_STATE,
    LABEL_REDIS,
    LABEL_NODE, /* of gauges only; two labels in the text: redis, node */
    LABEL_COUNT
};

enum { METRICS_NODES_MAX = 128 };

enum metric {
#define COUNTER(id, name, l1, l2, help) METRIC_##id,
#define GAUGE(id, name, l1, help)       METRIC_##id,
#define HISTOGRAM(id, name, l1, help)   METRIC_##id,
#include "metrics/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    METRIC_COUNT
};

/* values[label]: the label's values in the order of their indexes; static strings. names[label]: the label's
 * name. */
struct metrics_labels {
    const char *name[LABEL_COUNT];
    const char *const *values[LABEL_COUNT];
    unsigned count[LABEL_COUNT];
};

struct metrics;
struct metrics_cell;

struct metrics *metrics_create(const struct metrics_labels *labels); /* NULL: no memory */
void metrics_destroy(struct metrics **m);                            /* cells too */
/* A cell for one thread; owned by the metrics. Any thread; before that thread's first count. */
struct metrics_cell *metrics_cell(struct metrics *m);

/* By the cell's thread. i, j: indexes into the labels' values, 0 where LABEL_NONE. A NULL cell counts
 * nothing. */
void metrics_count(struct metrics_cell *c, enum metric id, unsigned i, unsigned j, uint64_t n);
void metrics_observe_us(struct metrics_cell *c, enum metric id, unsigned i, int64_t us);

/* Any thread. NULL metrics: nothing. NAN: there is nothing to tell. */
void metrics_gauge(struct metrics *m, enum metric id, unsigned i, double value);
/* Which Redis node LABEL_NODE's index i stands for from now on; copied. NULL node: none. What its gauges said
 * of another one before is forgotten. Any thread. */
void metrics_node(struct metrics *m, unsigned i, const char *redis, const char *node);
/* Any thread: the sum over all cells (tests, /status). */
uint64_t metrics_sum(struct metrics *m, enum metric id, unsigned i, unsigned j);

/* Appends the exposition text. Series of a counter that never counted are left out unless the metric has no
 * label; so are gauges set to NAN, and those of nodes that were not set since the node is there. Buckets of
 * histograms: 1-2-5 steps from 50 us to 5 s. Any thread. */
void metrics_render(struct metrics *m, struct buf *out);

#endif
