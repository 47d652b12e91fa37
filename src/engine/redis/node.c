/* node: one mutex for the place and the condemned; everything read on a hot path is atomic. Names of places
 * are kept until the end, since log lines of any thread may hold them; a node that moves to and fro has one
 * for each place. */
#include "node_private.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const redis_role_names[REDIS_ROLE_COUNT] = {"all", "cache", "state"};

enum { LEAVE_EVERY_MS = 1000, REFUSAL_RELOG_MS = 10000, REFUSAL_OTHER_MS = 100, REFUSAL_FRESH_MS = 5000 };

struct name {
    struct name *next;
    char text[];
};

struct redis_node {
    struct redis_node_options options;
    _Atomic(struct name *) name;
    struct name *names; /* all it has had, in no order */
    struct breaker *breaker;
    struct metrics_cell *cell; /* guarded by cell_lock: circuit changes come from any thread */
    pthread_mutex_t cell_lock;
    _Atomic int64_t offset_ms;
    _Atomic unsigned turn, moves;
    _Atomic int64_t left_ms; /* for being a replica */
    _Atomic bool serves;
    _Atomic int64_t covered_at; /* this count of moves; -1: not covered */
    _Atomic size_t condemned_count;
    pthread_mutex_t lock;
    struct redis_address at;
    struct redis_info info;
    int64_t ping_us;
    struct {
        char text[96]; /* as last logged; empty: none */
        int64_t at_ms, logged_ms;
    } refusal;
    struct condemned condemned[CONDEMNED_MAX];
};

static void on_change(void *arg, enum breaker_state from, enum breaker_state to, const char *why)
{
    struct redis_node *node = arg;
    LOG(node->options.log, to == BREAKER_OPEN && from == BREAKER_CLOSED ? LOG_WARN : LOG_INFO,
        "circuit changed", LOG_S("redis", redis_node_name(node)), LOG_S("from", breaker_state_names[from]),
        LOG_S("to", breaker_state_names[to]), LOG_S("why", why),
        LOG_S("effect", to == BREAKER_CLOSED ? "Redis answers; pending writes are handed back"
                                             : "the local table answers; writes are kept to be handed back"));
    pthread_mutex_lock(&node->cell_lock);
    metrics_count(node->cell, METRIC_BREAKER_CHANGES, node->options.role, (unsigned)to, 1);
    pthread_mutex_unlock(&node->cell_lock);
    if (node->options.on_change) node->options.on_change(node->options.arg, to);
}

static void print_name(const struct redis_node *node, char *out, size_t size)
{
    if (node->options.url->kind == REDIS_UNIX)
        snprintf(out, size, "%s", node->options.url->path);
    else if (node->at.port == 0)
        snprintf(out, size, "unknown");
    else
        snprintf(out, size, strchr(node->at.host, ':') ? "[%s]:%d" : "%s:%d", node->at.host, node->at.port);
}

/* Under the lock, or before there is another thread. False: no memory. */
static bool name_it(struct redis_node *node)
{
    char text[REDIS_HOST_SIZE + 16];
    struct name *name = node->names;
    print_name(node, text, sizeof text);
    while (name && strcmp(name->text, text) != 0)
        name = name->next;
    if (!name) {
        if (!(name = calloc(1, sizeof *name + strlen(text) + 1))) return false;
        memcpy(name->text, text, strlen(text));
        name->next = node->names;
        node->names = name;
    }
    atomic_store(&node->name, name);
    return true;
}

/* Under the lock, or before there is another thread. */
static void forget_info(struct redis_node *node)
{
    redis_info_parse(SLICE_NONE, &node->info);
    node->ping_us = -1;
    node->refusal.text[0] = 0;
}

struct redis_node *redis_node_create(const struct redis_node_options *options)
{
    struct redis_node *node = calloc(1, sizeof *node);
    if (!node) return NULL;
    node->options = *options;
    pthread_mutex_init(&node->lock, NULL);
    pthread_mutex_init(&node->cell_lock, NULL);
    if (options->at)
        node->at = *options->at;
    else if (options->url->kind == REDIS_TCP)
        node->at = options->url->seeds[0];
    struct breaker_options breaker = options->breaker;
    breaker.on_change = on_change;
    breaker.arg = node;
    node->breaker = breaker_create(&breaker);
    node->cell = options->metrics ? metrics_cell(options->metrics) : NULL;
    atomic_store(&node->serves, true);
    atomic_store(&node->covered_at, -1);
    atomic_store(&node->left_ms, -LEAVE_EVERY_MS);
    forget_info(node);
    if (!node->breaker || !name_it(node)) redis_node_destroy(&node);
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
    for (struct name *name = node->names, *next; name; name = next) {
        next = name->next;
        free(name);
    }
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
    return atomic_load(&node->name)->text;
}

/* --- its place --- */

unsigned redis_node_address(struct redis_node *node, struct redis_address *out)
{
    pthread_mutex_lock(&node->lock);
    *out = node->at;
    unsigned moves = atomic_load(&node->moves);
    pthread_mutex_unlock(&node->lock);
    return moves;
}

unsigned redis_node_moves(const struct redis_node *node)
{
    return atomic_load_explicit(&node->moves, memory_order_acquire);
}

void redis_node_move(struct redis_node *node, const struct redis_address *to)
{
    pthread_mutex_lock(&node->lock);
    node->at = *to;
    forget_info(node);
    (void)name_it(node); /* without memory it keeps the old name */
    atomic_fetch_add(&node->moves, 1);
    pthread_mutex_unlock(&node->lock);
    breaker_renew(node->breaker);
}

void redis_node_leave(struct redis_node *node, unsigned moves)
{
    atomic_compare_exchange_strong(&node->moves, &moves, moves + 1);
}

void redis_node_leave_replica(struct redis_node *node, unsigned moves)
{
    int64_t now = clock_mono_ms(node->options.clock), left = atomic_load(&node->left_ms);
    if (node->options.url->kind != REDIS_TCP || moves != redis_node_moves(node) ||
        now - left < LEAVE_EVERY_MS || !atomic_compare_exchange_strong(&node->left_ms, &left, now))
        return;
    redis_node_leave(node, moves);
    LOG(node->options.log, LOG_WARN, "Redis is a replica; connecting anew, its name may lead to the master",
        LOG_S("redis", redis_node_name(node)));
}

bool redis_node_serves(const struct redis_node *node)
{
    return atomic_load_explicit(&node->serves, memory_order_relaxed);
}

void redis_node_set_serves(struct redis_node *node, bool serves)
{
    atomic_store(&node->serves, serves);
}

bool redis_node_takes_calls(const struct redis_node *node)
{
    return breaker_allows(node->breaker) || !redis_node_serves(node);
}

bool redis_node_covered(const struct redis_node *node, unsigned moves)
{
    return node->options.url->kind != REDIS_CLUSTER ||
           atomic_load_explicit(&node->covered_at, memory_order_acquire) == (int64_t)moves;
}

void redis_node_set_covered(struct redis_node *node, unsigned moves, bool covered)
{
    atomic_store_explicit(&node->covered_at, covered ? (int64_t)moves : -1, memory_order_release);
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

/* --- what it tells of itself --- */

void redis_node_info(struct redis_node *node, struct redis_info *out, int64_t *out_ping_us)
{
    pthread_mutex_lock(&node->lock);
    *out = node->info;
    *out_ping_us = node->ping_us;
    pthread_mutex_unlock(&node->lock);
}

void redis_node_set_info(struct redis_node *node, const struct redis_info *info)
{
    pthread_mutex_lock(&node->lock);
    node->info = *info;
    pthread_mutex_unlock(&node->lock);
}

void redis_node_set_ping(struct redis_node *node, int64_t ping_us)
{
    pthread_mutex_lock(&node->lock);
    node->ping_us = ping_us;
    pthread_mutex_unlock(&node->lock);
}

/* --- what it refuses --- */

static size_t word_len(const char *text)
{
    return strcspn(text, " ");
}

static bool is_same_refusal(const char *a, const char *b)
{
    size_t len = word_len(a);
    if (strncmp(a, "NOPERM", 6) == 0) return strcmp(a, b) == 0;
    return len == word_len(b) && memcmp(a, b, len) == 0;
}

bool redis_node_note_refusal(struct redis_node *node, const char *error)
{
    int64_t now = clock_mono_ms(node->options.clock);
    pthread_mutex_lock(&node->lock);
    int64_t quiet_ms = is_same_refusal(node->refusal.text, error) ? REFUSAL_RELOG_MS : REFUSAL_OTHER_MS;
    bool tell = now - node->refusal.logged_ms >= quiet_ms;
    node->refusal.at_ms = now;
    if (tell) {
        node->refusal.logged_ms = now;
        snprintf(node->refusal.text, sizeof node->refusal.text, "%s", error);
    }
    pthread_mutex_unlock(&node->lock);
    return tell;
}

bool redis_node_refuses(struct redis_node *node, char out_word[REDIS_REFUSAL_SIZE])
{
    pthread_mutex_lock(&node->lock);
    const char *text = node->refusal.text;
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    bool refuses = text[0] && clock_mono_ms(node->options.clock) - node->refusal.at_ms < REFUSAL_FRESH_MS;
    if (refuses) snprintf(out_word, REDIS_REFUSAL_SIZE, "%.*s", (int)len, text);
    pthread_mutex_unlock(&node->lock);
    return refuses;
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
            LOG_S("redis", redis_node_name(node)));
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
