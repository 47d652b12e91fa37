/* breaker: state and generation are one atomic word for readers; all changes happen under a mutex. The window
 * is a ring of WINDOW_SLOTS buckets. */
#include "engine/redis/breaker.h"

#include "util/random.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_SLOTS = 10 };

const char *const breaker_state_names[BREAKER_STATE_COUNT] = {"closed", "open", "half-open"};

struct bucket {
    int64_t slot; /* number of the time slot that this bucket counts */
    uint32_t calls, bad;
};

struct breaker {
    struct breaker_options options;
    _Atomic uint64_t word; /* generation << 8 | state */
    pthread_mutex_t lock;
    int64_t failures_in_row;
    struct bucket window[WINDOW_SLOTS];
    int64_t open_wait_ms;
    int64_t probe_due_ms;
};

static enum breaker_state state_of(uint64_t word)
{
    return (enum breaker_state)(word & 0xff);
}

enum breaker_state breaker_state(const struct breaker *b)
{
    return state_of(atomic_load_explicit(&b->word, memory_order_acquire));
}

bool breaker_allows(const struct breaker *b)
{
    return breaker_state(b) == BREAKER_CLOSED;
}

uint32_t breaker_generation(const struct breaker *b)
{
    return (uint32_t)(atomic_load_explicit(&b->word, memory_order_acquire) >> 8);
}

struct breaker *breaker_create(const struct breaker_options *options)
{
    struct breaker *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->options = *options;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void breaker_destroy(struct breaker **b)
{
    if (!*b) return;
    pthread_mutex_destroy(&(*b)->lock);
    free(*b);
    *b = NULL;
}

/* Under the lock. */
static void set_state(struct breaker *b, enum breaker_state to)
{
    uint64_t word = atomic_load_explicit(&b->word, memory_order_relaxed);
    atomic_store_explicit(&b->word, (((word >> 8) + 1) << 8) | (uint64_t)to, memory_order_release);
    b->failures_in_row = 0;
    memset(b->window, 0, sizeof b->window);
}

/* Under the lock. Waits between a half and the whole of the doubled time, so that daemons do not probe in
 * step. */
static void open_circuit(struct breaker *b)
{
    int64_t wait = b->open_wait_ms ? b->open_wait_ms * 2 : b->options.open_min_ms;
    if (wait > b->options.open_max_ms) wait = b->options.open_max_ms;
    b->open_wait_ms = wait;
    b->probe_due_ms =
        clock_mono_ms(b->options.clock) + wait / 2 + (int64_t)random_below((uint64_t)(wait / 2 + 1));
    set_state(b, BREAKER_OPEN);
}

static bool window_is_bad(struct breaker *b, bool bad)
{
    int64_t width = b->options.window_ms / WINDOW_SLOTS > 0 ? b->options.window_ms / WINDOW_SLOTS : 1;
    int64_t slot = clock_mono_ms(b->options.clock) / width;
    struct bucket *bucket = &b->window[slot % WINDOW_SLOTS];
    if (bucket->slot != slot) *bucket = (struct bucket){.slot = slot};
    bucket->calls++;
    bucket->bad += bad;
    if (!bad) return false;
    int64_t calls = 0, bads = 0;
    for (int i = 0; i < WINDOW_SLOTS; i++) {
        if (b->window[i].slot <= slot - WINDOW_SLOTS) continue;
        calls += b->window[i].calls;
        bads += b->window[i].bad;
    }
    return calls >= b->options.min_calls && (double)bads >= b->options.failure_rate * (double)calls;
}

void breaker_record(struct breaker *b, uint32_t generation, enum breaker_outcome outcome)
{
    const char *why = NULL;
    pthread_mutex_lock(&b->lock);
    if (generation == breaker_generation(b) && breaker_state(b) == BREAKER_CLOSED) {
        b->failures_in_row = outcome == BREAKER_FAILURE ? b->failures_in_row + 1 : 0;
        if (window_is_bad(b, outcome != BREAKER_SUCCESS)) why = "failure_rate";
        if (b->failures_in_row >= b->options.consecutive_failures) why = "consecutive_failures";
        if (why) open_circuit(b);
    }
    pthread_mutex_unlock(&b->lock);
    if (why) b->options.on_change(b->options.arg, BREAKER_CLOSED, BREAKER_OPEN, why);
}

void breaker_renew(struct breaker *b)
{
    pthread_mutex_lock(&b->lock);
    set_state(b, breaker_state(b));
    b->probe_due_ms = 0;
    pthread_mutex_unlock(&b->lock);
}

bool breaker_probe_begin(struct breaker *b, bool now_anyway)
{
    pthread_mutex_lock(&b->lock);
    bool begin = breaker_state(b) == BREAKER_OPEN &&
                 (now_anyway || clock_mono_ms(b->options.clock) >= b->probe_due_ms);
    if (begin) set_state(b, BREAKER_HALF_OPEN);
    pthread_mutex_unlock(&b->lock);
    if (begin) b->options.on_change(b->options.arg, BREAKER_OPEN, BREAKER_HALF_OPEN, "probe");
    return begin;
}

void breaker_probe_end(struct breaker *b, bool ok)
{
    pthread_mutex_lock(&b->lock);
    bool half_open = breaker_state(b) == BREAKER_HALF_OPEN;
    if (half_open && ok) {
        b->open_wait_ms = 0;
        set_state(b, BREAKER_CLOSED);
    } else if (half_open) {
        open_circuit(b);
    }
    pthread_mutex_unlock(&b->lock);
    if (half_open)
        b->options.on_change(b->options.arg, BREAKER_HALF_OPEN, ok ? BREAKER_CLOSED : BREAKER_OPEN,
                             ok ? "probe succeeded" : "probe failed");
}
