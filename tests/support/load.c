/* load: plain threads, an atomic stop flag, a mutex around the first failure. */
#include "load.h"
#include "support.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct load {
    atomic_bool stop, failed;
    atomic_uint_fast64_t calls;
    pthread_mutex_t lock;
    char failure[512];
    load_fn *fn;
    unsigned count;
    pthread_t threads[LOAD_THREADS_MAX];
    struct load_thread state[LOAD_THREADS_MAX];
};

static void *run(void *arg)
{
    struct load_thread *t = arg;
    while (!atomic_load(&t->load->stop) && !atomic_load(&t->load->failed)) {
        t->load->fn(t);
        t->round++;
        atomic_fetch_add(&t->load->calls, 1);
    }
    return NULL;
}

struct load *load_start(unsigned threads, int port, load_fn *fn, void *arg)
{
    ck_assert_uint_le(threads, LOAD_THREADS_MAX);
    struct load *l = must_alloc(sizeof *l);
    l->fn = fn;
    l->count = threads;
    ck_assert(pthread_mutex_init(&l->lock, NULL) == 0);
    for (unsigned i = 0; i < threads; i++) {
        l->state[i] = (struct load_thread){.load = l,
                                           .index = i,
                                           .http = port ? http_open(port) : NULL,
                                           .random = 0x9E3779B97F4A7C15u * (i + 1),
                                           .arg = arg};
        ck_assert(pthread_create(&l->threads[i], NULL, run, &l->state[i]) == 0);
    }
    return l;
}

uint64_t load_stop_quietly(struct load **l, char *out_failure, size_t size)
{
    atomic_store(&(*l)->stop, true);
    for (unsigned i = 0; i < (*l)->count; i++) {
        (void)pthread_join((*l)->threads[i], NULL);
        http_close(&(*l)->state[i].http);
    }
    uint64_t calls = atomic_load(&(*l)->calls);
    format(out_failure, size, "%s", (*l)->failure);
    (void)pthread_mutex_destroy(&(*l)->lock);
    free(*l);
    *l = NULL;
    return calls;
}

uint64_t load_stop(struct load **l)
{
    char failure[512];
    uint64_t calls = load_stop_quietly(l, failure, sizeof failure);
    ck_assert_msg(failure[0] == 0, "%s", failure);
    return calls;
}

void load_fail(struct load_thread *t, const char *text, ...)
{
    va_list args;
    va_start(args, text);
    (void)pthread_mutex_lock(&t->load->lock);
    if (t->load->failure[0] == 0) (void)vsnprintf(t->load->failure, sizeof t->load->failure, text, args);
    (void)pthread_mutex_unlock(&t->load->lock);
    va_end(args);
    atomic_store(&t->load->failed, true);
}

bool load_failed(struct load *l)
{
    return atomic_load(&l->failed);
}

uint64_t load_calls(struct load *l)
{
    return atomic_load(&l->calls);
}

uint64_t load_random(struct load_thread *t)
{
    t->random ^= t->random << 13; /* xorshift64 (Marsaglia) */
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

/* --- latencies --- */

struct latencies {
    pthread_mutex_t lock;
    int64_t *us;
    size_t count, cap;
};

struct latencies *latencies_create(void)
{
    struct latencies *l = must_alloc(sizeof *l);
    ck_assert(pthread_mutex_init(&l->lock, NULL) == 0);
    return l;
}

void latencies_destroy(struct latencies **l)
{
    if (*l == NULL) return;
    (void)pthread_mutex_destroy(&(*l)->lock);
    free((*l)->us);
    free(*l);
    *l = NULL;
}

void latencies_add(struct latencies *l, int64_t us)
{
    (void)pthread_mutex_lock(&l->lock);
    if (l->count == l->cap) l->us = must_realloc(l->us, (l->cap = l->cap * 2 + 1024) * sizeof *l->us);
    l->us[l->count++] = us;
    (void)pthread_mutex_unlock(&l->lock);
}

void latencies_clear(struct latencies *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->count = 0;
    (void)pthread_mutex_unlock(&l->lock);
}

static int compare_us(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t latencies_quantile(struct latencies *l, double q)
{
    int64_t us = 0;
    (void)pthread_mutex_lock(&l->lock);
    if (l->count) {
        qsort(l->us, l->count, sizeof *l->us, compare_us);
        size_t at = (size_t)((double)(l->count - 1) * q);
        us = l->us[at];
    }
    (void)pthread_mutex_unlock(&l->lock);
    return us;
}

uint64_t latencies_count(struct latencies *l)
{
    (void)pthread_mutex_lock(&l->lock);
    uint64_t n = l->count;
    (void)pthread_mutex_unlock(&l->lock);
    return n;
}
