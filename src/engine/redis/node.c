/* node: one mutex for the password and the condemned; everything read on a hot path is atomic. */
#include "node_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PASSWORD_SIZE = 1024 };

struct redis_node {
    struct redis_node_options options;
    char name[REDIS_HOST_SIZE + 16];
    struct breaker *breaker;
    struct metrics_cell *cell; /* guarded by cell_lock: circuit changes come from any thread */
    pthread_mutex_t cell_lock;
    _Atomic int64_t offset_ms;
    _Atomic unsigned turn;
    _Atomic bool password_refused;
    _Atomic size_t condemned_count;
    pthread_mutex_t lock;
    char password[PASSWORD_SIZE];
    struct condemned condemned[CONDEMNED_MAX];
};

static void on_change(void *arg, enum breaker_state from, enum breaker_state to, const char *why)
{
    struct redis_node *node = arg;
    LOG(node->options.log, to == BREAKER_OPEN && from == BREAKER_CLOSED ? LOG_WARN : LOG_INFO,
        "circuit changed", LOG_S("redis", node->name), LOG_S("from", breaker_state_names[from]),
        LOG_S("to", breaker_state_names[to]), LOG_S("why", why),
        LOG_S("effect", to == BREAKER_CLOSED ? "Redis answers; pending writes are handed back"
                                             : "the local table answers; writes are kept to be handed back"));
    metrics_gauge(node->options.metrics, METRIC_BREAKER_STATE, 0, (double)to);
    metrics_gauge(node->options.metrics, METRIC_REDIS_UP, 0, to == BREAKER_CLOSED ? 1 : 0);
    pthread_mutex_lock(&node->cell_lock);
    metrics_count(node->cell, METRIC_BREAKER_CHANGES, (unsigned)to, 0, 1);
    pthread_mutex_unlock(&node->cell_lock);
    if (node->options.on_change) node->options.on_change(node->options.arg, to);
}

struct redis_node *redis_node_create(const struct redis_node_options *options, char *error, size_t error_size)
{
    struct redis_node *node = calloc(1, sizeof *node);
    if (!node) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    node->options = *options;
    pthread_mutex_init(&node->lock, NULL);
    pthread_mutex_init(&node->cell_lock, NULL);
    const struct redis_url *url = options->url;
    if (url->kind == REDIS_UNIX)
        snprintf(node->name, sizeof node->name, "%s", url->path);
    else
        snprintf(node->name, sizeof node->name, "%s:%d", url->seeds[0].host, url->seeds[0].port);
    struct breaker_options breaker = options->breaker;
    breaker.on_change = on_change;
    breaker.arg = node;
    node->breaker = breaker_create(&breaker);
    node->cell = options->metrics ? metrics_cell(options->metrics) : NULL;
    metrics_gauge(options->metrics, METRIC_REDIS_UP, 0, 1);
    if (!node->breaker || !redis_node_reload_password(node, error, error_size)) {
        redis_node_destroy(&node);
        return NULL;
    }
    return node;
}

void redis_node_destroy(struct redis_node **node_ptr)
{
    struct redis_node *node = *node_ptr;
    if (!node) return;
    *node_ptr = NULL;
    breaker_destroy(&node->breaker);
    pthread_mutex_destroy(&node->lock);
    pthread_mutex_destroy(&node->cell_lock);
    explicit_bzero(node->password, sizeof node->password);
    free(node);
}

struct breaker *redis_node_breaker(struct redis_node *node)
{
    return node->breaker;
}

const struct redis_node_options *redis_node_options(const struct redis_node *node)
{
    return &node->options;
}

const char *redis_node_name(const struct redis_node *node)
{
    return node->name;
}

/* --- password --- */

static bool read_password(const char *path, char *out, size_t size, char *error, size_t error_size)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(error, error_size, "redis.password_file %s: %s", path, strerror(errno));
        return false;
    }
    size_t len = fread(out, 1, size - 1, file);
    bool whole = fgetc(file) == EOF && !ferror(file);
    fclose(file);
    while (len && (out[len - 1] == '\n' || out[len - 1] == '\r'))
        len--;
    out[len] = 0;
    if (!whole || len == 0) {
        snprintf(error, error_size, "redis.password_file %s: empty, unreadable or over %zu bytes", path,
                 size - 1);
        return false;
    }
    return true;
}

bool redis_node_reload_password(struct redis_node *node, char *error, size_t error_size)
{
    char password[PASSWORD_SIZE] = "";
    if (node->options.password_file[0]) {
        if (!read_password(node->options.password_file, password, sizeof password, error, error_size))
            return false;
    } else if (node->options.url->password) {
        if (strlen(node->options.url->password) >= sizeof password) {
            snprintf(error, error_size, "redis.url: the password is over %zu bytes", sizeof password - 1);
            return false;
        }
        memcpy(password, node->options.url->password, strlen(node->options.url->password) + 1);
    }
    pthread_mutex_lock(&node->lock);
    memcpy(node->password, password, sizeof password);
    pthread_mutex_unlock(&node->lock);
    explicit_bzero(password, sizeof password);
    atomic_store(&node->password_refused, false);
    return true;
}

bool redis_node_password(struct redis_node *node, char *out, size_t size)
{
    pthread_mutex_lock(&node->lock);
    bool fits = strlen(node->password) < size;
    if (fits) memcpy(out, node->password, strlen(node->password) + 1);
    pthread_mutex_unlock(&node->lock);
    return fits;
}

void redis_node_note_password_refused(struct redis_node *node)
{
    atomic_store(&node->password_refused, true);
}

bool redis_node_password_refused(struct redis_node *node)
{
    return atomic_load(&node->password_refused);
}

/* --- addresses --- */

unsigned redis_node_turn(const struct redis_node *node)
{
    return atomic_load(&node->turn);
}

void redis_node_next_turn(struct redis_node *node, unsigned used)
{
    atomic_compare_exchange_strong(&node->turn, &used, used + 1);
}

/* --- clock --- */

int64_t redis_node_wall_ms(const struct redis_node *node)
{
    return clock_wall_ms(node->options.clock) + atomic_load_explicit(&node->offset_ms, memory_order_relaxed);
}

void redis_node_set_offset(struct redis_node *node, int64_t offset_ms)
{
    atomic_store_explicit(&node->offset_ms, offset_ms, memory_order_relaxed);
}

/* --- condemned connections --- */

bool redis_node_quiet(const struct redis_node *node)
{
    return atomic_load(&node->condemned_count) == 0;
}

static void remove_at(struct redis_node *node, size_t i)
{
    size_t count = atomic_load(&node->condemned_count);
    memmove(&node->condemned[i], &node->condemned[i + 1], (count - i - 1) * sizeof node->condemned[0]);
    atomic_store(&node->condemned_count, count - 1);
}

void redis_node_condemn(struct redis_node *node, const struct condemned *c)
{
    pthread_mutex_lock(&node->lock);
    bool full = atomic_load(&node->condemned_count) == CONDEMNED_MAX;
    if (full) remove_at(node, 0);
    size_t count = atomic_load(&node->condemned_count);
    node->condemned[count] = *c;
    atomic_store(&node->condemned_count, count + 1);
    pthread_mutex_unlock(&node->lock);
    if (full)
        LOG(node->options.log, LOG_WARN, "gave up on ending an old connection; a late write may still land",
            LOG_S("redis", node->name));
}

size_t redis_node_condemned(struct redis_node *node, const char *run_id,
                            struct condemned out[CONDEMNED_BATCH])
{
    size_t n = 0;
    pthread_mutex_lock(&node->lock);
    for (size_t i = 0; i < atomic_load(&node->condemned_count);) {
        if (strcmp(node->condemned[i].run_id, run_id) != 0)
            remove_at(node, i);
        else
            i++;
    }
    for (size_t i = 0; i < atomic_load(&node->condemned_count) && n < CONDEMNED_BATCH; i++)
        out[n++] = node->condemned[i];
    pthread_mutex_unlock(&node->lock);
    return n;
}

void redis_node_absolve(struct redis_node *node, const struct condemned *list, size_t count)
{
    pthread_mutex_lock(&node->lock);
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < atomic_load(&node->condemned_count); i++)
            if (node->condemned[i].client_id == list[k].client_id &&
                strcmp(node->condemned[i].run_id, list[k].run_id) == 0) {
                remove_at(node, i);
                break;
            }
    pthread_mutex_unlock(&node->lock);
}
