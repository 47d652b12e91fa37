/* The LRU table under four threads: meant for ThreadSanitizer, but what is asserted holds without it too. */
#include "lru_fixture.h"

#include <pthread.h>

enum { THREADS = 4, KEYS = 64, ROUNDS = 100000 };

struct shared {
    struct lru *lru;
    _Atomic int in_hand[KEYS];    /* takers of the key's values */
    _Atomic uint32_t truth[KEYS]; /* what "Redis" holds, in the coherence test */
    _Atomic int failures;
    _Atomic bool done;
};

struct worker {
    struct shared *shared;
    pthread_t thread;
    uint32_t number, state;
};

static uint32_t below(struct worker *w, uint32_t bound) /* xorshift32 */
{
    w->state ^= w->state << 13;
    w->state ^= w->state >> 17;
    w->state ^= w->state << 5;
    return w->state % bound;
}

static struct slice key_text(uint32_t key, char text[32])
{
    int len = snprintf(text, 32, "key %02u", key);
    return (struct slice){text, (size_t)len};
}

static void expect(struct shared *s, bool what)
{
    if (!what) atomic_fetch_add(&s->failures, 1);
}

static void run(struct shared *s, void *(*body)(void *), int count)
{
    struct worker workers[THREADS];
    for (int i = 0; i < count; i++) {
        workers[i] = (struct worker){.shared = s, .number = (uint32_t)i, .state = (uint32_t)i + 1};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, body, &workers[i]), 0);
    }
    for (int i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
    ck_assert_int_eq(atomic_load(&s->failures), 0);
}

static struct lru *open_table(size_t bytes_max)
{
    struct lru *lru = lru_create(&(struct lru_options){.bytes_max = bytes_max,
                                                       .pending_bytes_max = bytes_max / 4,
                                                       .near_ttl_ms = 60000,
                                                       .clock = &clock_system});
    ck_assert_ptr_nonnull(lru);
    return lru;
}

/* --- everything at once --- */

static void check_entry(struct shared *s, struct slice key, struct lru_entry *e)
{
    struct slice value = lru_entry_value(e);
    expect(s, slice_equal(lru_entry_key(e), key));
    for (size_t i = 0; i < value.len; i += 100)
        expect(s, value.ptr[i] == key.ptr[key.len - 1]);
}

static void hand_back(struct worker *w)
{
    struct shared *s = w->shared;
    unsigned flags;
    struct lru_entry *e = lru_pending_take(s->lru, &flags);
    if (!e) return;
    struct slice text = lru_entry_key(e);
    int key = (text.ptr[4] - '0') * 10 + text.ptr[5] - '0';
    expect(s, atomic_fetch_add(&s->in_hand[key], 1) == 0);
    if (below(w, 4) == 0) (void)sched_yield();
    expect(s, atomic_fetch_sub(&s->in_hand[key], 1) == 1);
    uint32_t how = below(w, 4);
    if (how) {
        lru_settle(s->lru, e, how == 1);
    } else {
        lru_untake(s->lru, e);
    }
    lru_release(e);
}

static void write_or_fill(struct worker *w, struct slice key, const struct lru_token *token)
{
    static const char zeroes[1];
    char value[6000];
    bool replaced, deleted = below(w, 8) == 0;
    struct lru *lru = w->shared->lru;
    struct slice text = {value, below(w, sizeof value)};
    struct lru_meta meta = {.expires_ms = below(w, 4) ? 0 : clock_wall_ms(&clock_system) + 1 + below(w, 3),
                            .stamp_ms = below(w, 3)};
    memset(value, key.ptr[key.len - 1], sizeof value);
    if (token) {
        lru_release(lru_fill(lru, key, text, &meta, token));
    } else {
        unsigned flags = (deleted ? LRU_DELETED : 0U) | (below(w, 2) ? LRU_PENDING : 0U);
        lru_put(lru, key, deleted ? (struct slice){zeroes, 0} : text, &meta, flags, &replaced);
    }
}

static void *hammer(void *arg)
{
    struct worker *w = arg;
    struct shared *s = w->shared;
    struct lru_hit hit;
    for (int i = 0; i < ROUNDS; i++) {
        char text[32];
        struct slice key = key_text(below(w, KEYS), text);
        struct lru_token token = lru_fill_begin(s->lru, key);
        uint32_t what = below(w, 100);
        if (what < 40 && lru_get(s->lru, key, &hit)) {
            check_entry(s, key, hit.entry);
            lru_release(hit.entry);
        } else if (what < 55) {
            write_or_fill(w, key, NULL);
        } else if (what < 70) {
            write_or_fill(w, key, &token);
        } else if (what < 90) {
            hand_back(w);
        } else if (what < 95) {
            lru_invalidate(s->lru, key);
        } else if (what < 97) {
            lru_fill_absent(s->lru, key, &token);
        } else if (what == 97) {
            lru_trust_begin(s->lru);
        } else if (what == 98) {
            lru_trust_end(s->lru);
        } else if (i % 8 == 0) {
            lru_invalidate_all(s->lru);
        }
    }
    return NULL;
}

START_TEST(four_threads_keep_the_budget_and_one_taker_per_key)
{
    struct shared s = {.lru = open_table(100000)};
    run(&s, hammer, THREADS);
    struct lru_stats stats;
    lru_stats(s.lru, &stats);
    ck_assert_uint_le(stats.bytes, 100000);
    ck_assert_uint_le(stats.pending_bytes, 25000);
    ck_assert_uint_gt(stats.exits[LRU_EXIT_BUDGET], 0);
    ck_assert_uint_gt(stats.exits[LRU_EXIT_PENDING_BUDGET], 0);
    struct lru_entry *e;
    unsigned flags;
    while ((e = lru_pending_take(s.lru, &flags))) {
        lru_settle(s.lru, e, false);
        lru_release(e);
    }
    lru_stats(s.lru, &stats);
    ck_assert_uint_eq(stats.pending_entries, 0);
    ck_assert_uint_eq(stats.pending_bytes, 0);
    lru_destroy(&s.lru);
}
END_TEST

/* --- pending puts over their budget, beside takers --- */

static void *put_or_take(void *arg)
{
    struct worker *w = arg;
    static const char value[2000];
    for (int i = 0; i < 3 * ROUNDS; i++) {
        char text[32];
        bool replaced;
        struct lru_meta meta = {0};
        struct slice key = key_text(below(w, 12), text);
        if (w->number % 2 || below(w, 2)) {
            hand_back(w);
        } else {
            lru_put(w->shared->lru, key, (struct slice){value, below(w, sizeof value)}, &meta, LRU_PENDING,
                    &replaced);
        }
    }
    return NULL;
}

START_TEST(giving_up_never_frees_a_key_that_is_in_hand)
{
    struct shared s = {
        .lru = lru_create(&(struct lru_options){
            .bytes_max = 1 << 18, .pending_bytes_max = 4096, .near_ttl_ms = 60000, .clock = &clock_system})};
    ck_assert_ptr_nonnull(s.lru);
    run(&s, put_or_take, THREADS);
    struct lru_stats stats;
    lru_stats(s.lru, &stats);
    ck_assert_uint_gt(stats.exits[LRU_EXIT_PENDING_BUDGET], 0);
    ck_assert_uint_le(stats.pending_bytes, 4096);
    lru_destroy(&s.lru);
}
END_TEST

/* --- coherence: thread 0 changes values and invalidates, the others fill what they read --- */

static void change_keys(struct worker *w)
{
    struct shared *s = w->shared;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        char text[32];
        uint32_t index = below(w, 4), seen;
        struct slice key = key_text(index, text);
        struct lru_hit hit;
        atomic_store(&s->truth[index], i);
        lru_invalidate(s->lru, key);
        if (!lru_get(s->lru, key, &hit)) continue;
        memcpy(&seen, lru_entry_value(hit.entry).ptr, sizeof seen);
        expect(s, seen == i);
        lru_release(hit.entry);
    }
    atomic_store(&s->done, true);
}

static void fill_keys(struct worker *w)
{
    struct shared *s = w->shared;
    while (!atomic_load(&s->done)) {
        char text[32];
        uint32_t index = below(w, 4);
        struct slice key = key_text(index, text);
        struct lru_meta meta = {0};
        struct lru_token token = lru_fill_begin(s->lru, key);
        uint32_t value = atomic_load(&s->truth[index]);
        if (below(w, 4) == 0) (void)sched_yield();
        struct slice bytes = {(const char *)&value, sizeof value};
        lru_release(lru_fill(s->lru, key, bytes, &meta, &token));
    }
}

static void *cohere(void *arg)
{
    struct worker *w = arg;
    if (w->number == 0) {
        change_keys(w);
    } else {
        fill_keys(w);
    }
    return NULL;
}

START_TEST(after_an_invalidation_nothing_older_is_there)
{
    struct shared s = {.lru = open_table(1 << 20)};
    lru_trust_begin(s.lru);
    run(&s, cohere, THREADS);
    lru_destroy(&s.lru);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lru_threads");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, four_threads_keep_the_budget_and_one_taker_per_key);
    tcase_add_test(t, giving_up_never_frees_a_key_that_is_in_hand);
    tcase_add_test(t, after_an_invalidation_nothing_older_is_there);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return fixture_run(suite());
}
