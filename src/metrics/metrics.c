/* metrics: the table gives each metric its place in one flat array of numbers; a cell is such an array, owned
 * by one thread. A series is a metric with its labels' indexes; a histogram's series takes a number per
 * bucket and one for the sum. Nothing is ever removed, so a renderer walks the cells' list without a lock: a
 * cell is complete before it is linked. Counts are read while they are written: each number is right, and a
 * histogram's _count is summed from its buckets, so that a scrape never contradicts itself. Only the nodes'
 * names change; a lock guards them, taken by who renders and who names. */
#include "metrics/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum kind { COUNTER_KIND, GAUGE_KIND, HISTOGRAM_KIND };

struct row {
    enum kind kind;
    const char *name;
    enum metrics_label l1, l2;
    const char *help;
};

static const struct row rows[METRIC_COUNT] = {
#define COUNTER(id, name, l1, l2, help) {COUNTER_KIND, name, l1, l2, help},
#define GAUGE(id, name, l1, help)       {GAUGE_KIND, name, l1, LABEL_NONE, help},
#define HISTOGRAM(id, name, l1, help)   {HISTOGRAM_KIND, name, l1, LABEL_NONE, help},
#include "metrics/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

/* Upper bounds, in microseconds and as `le` shows them. */
static const struct {
    int64_t us;
    const char *le;
} bounds[] = {
    {50, "0.00005"}, {100, "0.0001"}, {200, "0.0002"}, {500, "0.0005"}, {1000, "0.001"}, {2000, "0.002"},
    {5000, "0.005"}, {10000, "0.01"}, {20000, "0.02"}, {50000, "0.05"}, {100000, "0.1"}, {200000, "0.2"},
    {500000, "0.5"}, {1000000, "1"},  {2000000, "2"},  {5000000, "5"},
};
enum {
    BOUND_COUNT = sizeof bounds / sizeof *bounds,
    BUCKETS = BOUND_COUNT + 1,
    HISTOGRAM_WIDTH = BUCKETS + 1
};
static_assert(BOUND_COUNT == 16, "find_bucket halves 16 bounds four times");

enum { CACHE_LINE = 64 };

/* Where a metric's numbers are, and how its labels' indexes reach them. */
struct place {
    size_t base;
    unsigned n1, n2; /* how many values each label has; 1 where there is none */
};

struct metrics_cell {
    const struct metrics *owner;
    struct metrics_cell *next;
    _Alignas(CACHE_LINE) _Atomic uint64_t number[];
};

/* A node's labels; NULL: nobody is there. */
struct node_labels {
    char *redis, *node;
};

struct metrics {
    struct metrics_labels labels;
    struct place place[METRIC_COUNT];
    size_t numbers; /* per cell */
    _Atomic(struct metrics_cell *) cells;
    _Atomic double *gauges;
    pthread_mutex_t nodes_lock;
    struct node_labels nodes[METRICS_NODES_MAX];
};

static unsigned label_size(const struct metrics_labels *labels, enum metrics_label l)
{
    return l == LABEL_NONE ? 1 : l == LABEL_NODE ? METRICS_NODES_MAX : labels->count[l];
}

struct metrics *metrics_create(const struct metrics_labels *labels)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->labels = *labels;
    pthread_mutex_init(&m->nodes_lock, NULL);
    size_t gauges = 0;
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        struct place *p = &m->place[id];
        p->n1 = label_size(labels, rows[id].l1);
        p->n2 = label_size(labels, rows[id].l2);
        size_t series = (size_t)p->n1 * p->n2;
        if (rows[id].kind == GAUGE_KIND) {
            p->base = gauges;
            gauges += series;
        } else {
            p->base = m->numbers;
            m->numbers += rows[id].kind == HISTOGRAM_KIND ? series * HISTOGRAM_WIDTH : series;
        }
    }
    m->gauges = calloc(gauges + 1, sizeof *m->gauges);
    if (!m->gauges) metrics_destroy(&m);
    return m;
}

void metrics_destroy(struct metrics **pm)
{
    struct metrics *m = *pm;
    *pm = NULL;
    if (!m) return;
    struct metrics_cell *next, *c = atomic_load_explicit(&m->cells, memory_order_acquire);
    for (; c; c = next) {
        next = c->next;
        free(c);
    }
    for (unsigned i = 0; i < METRICS_NODES_MAX; i++) {
        free(m->nodes[i].redis);
        free(m->nodes[i].node);
    }
    pthread_mutex_destroy(&m->nodes_lock);
    free(m->gauges);
    free(m);
}

struct metrics_cell *metrics_cell(struct metrics *m)
{
    size_t size = sizeof(struct metrics_cell) + m->numbers * sizeof(uint64_t);
    size =
        (size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1); /* whole lines: two threads' cells share none */
    struct metrics_cell *c = aligned_alloc(CACHE_LINE, size);
    if (!c) return NULL;
    c->owner = m;
    for (size_t i = 0; i < m->numbers; i++)
        atomic_init(&c->number[i], 0);
    c->next = atomic_load_explicit(&m->cells, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&m->cells, &c->next, c, memory_order_release,
                                                  memory_order_relaxed))
        continue;
    return c;
}

/* Only the cell's own thread writes, so load and store need not be one step. */
static inline void add(_Atomic uint64_t *number, uint64_t n)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline size_t series_of(const struct place *p, unsigned i, unsigned j)
{
    assert(i < p->n1);
    assert(j < p->n2);
    return (size_t)i * p->n2 + j;
}

void metrics_count(struct metrics_cell *c, enum metric id, unsigned i, unsigned j, uint64_t n)
{
    if (!c) return;
    assert(rows[id].kind == COUNTER_KIND);
    const struct place *p = &c->owner->place[id];
    add(&c->number[p->base + series_of(p, i, j)], n);
}

/* The first bucket whose bound is not below us; BOUND_COUNT is +Inf. */
static unsigned find_bucket(int64_t us)
{
    unsigned at = 0;
    for (unsigned step = BOUND_COUNT / 2; step; step /= 2)
        if (us > bounds[at + step - 1].us) at += step;
    return at + (us > bounds[at].us);
}

void metrics_observe_us(struct metrics_cell *c, enum metric id, unsigned i, int64_t us)
{
    if (!c) return;
    assert(rows[id].kind == HISTOGRAM_KIND);
    const struct place *p = &c->owner->place[id];
    _Atomic uint64_t *series = &c->number[p->base + series_of(p, i, 0) * HISTOGRAM_WIDTH];
    if (us < 0) us = 0;
    add(&series[find_bucket(us)], 1);
    add(&series[BUCKETS], (uint64_t)us);
}

void metrics_gauge(struct metrics *m, enum metric id, unsigned i, double value)
{
    if (!m) return;
    assert(rows[id].kind == GAUGE_KIND);
    const struct place *p = &m->place[id];
    atomic_store_explicit(&m->gauges[p->base + series_of(p, i, 0)], value, memory_order_relaxed);
}

/* Under nodes_lock. */
static void forget_node(struct metrics *m, unsigned i)
{
    for (unsigned id = 0; id < METRIC_COUNT; id++)
        if (rows[id].l1 == LABEL_NODE)
            atomic_store_explicit(&m->gauges[m->place[id].base + i], NAN, memory_order_relaxed);
    free(m->nodes[i].redis);
    free(m->nodes[i].node);
    m->nodes[i] = (struct node_labels){NULL, NULL};
}

static bool is_node(const struct node_labels *at, const char *redis, const char *node)
{
    return at->node && node && strcmp(at->node, node) == 0 && strcmp(at->redis, redis) == 0;
}

void metrics_node(struct metrics *m, unsigned i, const char *redis, const char *node)
{
    if (!m) return;
    assert(i < METRICS_NODES_MAX);
    pthread_mutex_lock(&m->nodes_lock);
    struct node_labels *at = &m->nodes[i];
    if (!is_node(at, redis, node)) {
        forget_node(m, i);
        if (node) *at = (struct node_labels){strdup(redis), strdup(node)};
        if (!at->redis || !at->node) forget_node(m, i);
    }
    pthread_mutex_unlock(&m->nodes_lock);
}

static double gauge_value(struct metrics *m, size_t at)
{
    return atomic_load_explicit(&m->gauges[at], memory_order_relaxed);
}

static uint64_t sum_number(struct metrics *m, size_t at)
{
    uint64_t sum = 0;
    for (struct metrics_cell *c = atomic_load_explicit(&m->cells, memory_order_acquire); c; c = c->next)
        sum += atomic_load_explicit(&c->number[at], memory_order_relaxed);
    return sum;
}

uint64_t metrics_sum(struct metrics *m, enum metric id, unsigned i, unsigned j)
{
    if (!m) return 0;
    const struct place *p = &m->place[id];
    size_t series = series_of(p, i, j);
    if (rows[id].kind == COUNTER_KIND) return sum_number(m, p->base + series);
    if (rows[id].kind == GAUGE_KIND) {
        double value = gauge_value(m, p->base + series);
        return value > 0 ? (uint64_t)value : 0;
    }
    uint64_t sum = 0;
    for (size_t b = 0; b < BUCKETS; b++)
        sum += sum_number(m, p->base + series * HISTOGRAM_WIDTH + b);
    return sum;
}

static void append_escaped(struct buf *out, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\n') {
            buf_append_text(out, "\\n");
            continue;
        }
        if (*text == '\\' || (quotes && *text == '"')) buf_append_char(out, '\\');
        buf_append_char(out, *text);
    }
}

static void append_value(struct buf *out, double value)
{
    if (isinf(value))
        buf_append_text(out, value > 0 ? "+Inf" : "-Inf");
    else if (value == floor(value) && fabs(value) < 1e15)
        buf_printf(out, "%.0f", value);
    else
        buf_printf(out, "%.15g", value);
}

static void append_pair(struct buf *out, const char *name, const char *value, char *separator)
{
    buf_printf(out, "%c%s=\"", *separator, name);
    append_escaped(out, value, true);
    buf_append_char(out, '"');
    *separator = ',';
}

/* `separator` is what stands before the next label: the brace until there was one. */
static void append_label(const struct metrics *m, struct buf *out, enum metrics_label l, unsigned index,
                         char *separator)
{
    if (l == LABEL_NODE) {
        append_pair(out, "redis", m->nodes[index].redis, separator);
        append_pair(out, "node", m->nodes[index].node, separator);
    } else if (l != LABEL_NONE) {
        append_pair(out, m->labels.name[l], m->labels.values[l][index], separator);
    }
}

/* name, suffix and {labels}, to where the value follows. */
static void append_series(const struct metrics *m, struct buf *out, unsigned id, const char *suffix,
                          unsigned i, unsigned j, const char *le)
{
    const struct row *r = &rows[id];
    char separator = '{';
    buf_append_text(out, r->name);
    buf_append_text(out, suffix);
    append_label(m, out, r->l1, i, &separator);
    append_label(m, out, r->l2, j, &separator);
    if (le) {
        buf_printf(out, "%cle=\"%s\"", separator, le);
        separator = ',';
    }
    buf_append_text(out, separator == ',' ? "} " : " ");
}

static void render_histogram(struct metrics *m, struct buf *out, unsigned id, unsigned i)
{
    size_t at = m->place[id].base + (size_t)i * HISTOGRAM_WIDTH;
    uint64_t cumulative = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        cumulative += sum_number(m, at + b);
        append_series(m, out, id, "_bucket", i, 0, b < BOUND_COUNT ? bounds[b].le : "+Inf");
        buf_printf(out, "%" PRIu64 "\n", cumulative);
    }
    uint64_t us = sum_number(m, at + BUCKETS);
    append_series(m, out, id, "_sum", i, 0, NULL);
    buf_printf(out, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
    append_series(m, out, id, "_count", i, 0, NULL);
    buf_printf(out, "%" PRIu64 "\n", cumulative);
}

static void render_series(struct metrics *m, struct buf *out, unsigned id, unsigned i, unsigned j)
{
    const struct place *p = &m->place[id];
    if (rows[id].kind == HISTOGRAM_KIND) {
        render_histogram(m, out, id, i);
        return;
    }
    append_series(m, out, id, "", i, j, NULL);
    if (rows[id].kind == GAUGE_KIND)
        append_value(out, gauge_value(m, p->base + i));
    else
        buf_printf(out, "%" PRIu64, sum_number(m, p->base + (size_t)i * p->n2 + j));
    buf_append_char(out, '\n');
}

static bool is_shown(struct metrics *m, unsigned id, unsigned i, unsigned j)
{
    const struct row *r = &rows[id];
    if (r->l1 == LABEL_NODE && !m->nodes[i].node) return false;
    if (r->kind == GAUGE_KIND) return !isnan(gauge_value(m, m->place[id].base + i));
    return (r->l1 == LABEL_NONE && r->l2 == LABEL_NONE) || metrics_sum(m, (enum metric)id, i, j) > 0;
}

void metrics_render(struct metrics *m, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&m->nodes_lock);
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        const struct row *r = &rows[id];
        buf_printf(out, "# HELP %s ", r->name);
        append_escaped(out, r->help, false);
        buf_printf(out, "\n# TYPE %s %s\n", r->name, types[r->kind]);
        for (unsigned i = 0; i < m->place[id].n1; i++)
            for (unsigned j = 0; j < m->place[id].n2; j++)
                if (is_shown(m, id, i, j)) render_series(m, out, id, i, j);
    }
    pthread_mutex_unlock(&m->nodes_lock);
}
