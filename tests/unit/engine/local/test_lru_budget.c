/* The byte budget of the LRU table: exact under any mix, honest about the process's memory; and a random walk
 * over all operations beside a simple model. */
#include "lru_fixture.h"

#include <malloc.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static uint64_t random_state;

static uint32_t below(uint32_t bound) /* splitmix64 */
{
    random_state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((z ^ (z >> 31)) >> 32) % bound;
}

/* --- sizes --- */

static const size_t budgets[] = {1 << 16, 1 << 18, 1 << 20, 1 << 23};

START_TEST(a_hostile_mix_of_sizes_keeps_the_budget)
{
    static char value[1 << 21];
    struct fixture f;
    size_t budget = budgets[_i];
    fixture_open(&f, budget, budget / 4);
    random_state = (uint64_t)_i + 1; /* the loop's index, which check prints, is the seed */
    for (int i = 0; i < 20000; i++) {
        char key[200];
        uint32_t top = below(10) == 0 ? (uint32_t)(budget / 4) : 1U << below(12);
        struct slice v = {value, below(top + 1)};
        int len = snprintf(key, sizeof key, "%*u", 1 + (int)below(150), below(3000));
        struct slice k = {key, (size_t)len};
        struct lru_meta meta = {0};
        bool replaced;
        if (below(2)) {
            struct lru_token token = lru_fill_begin(f.lru, k);
            lru_release(lru_fill(f.lru, k, v, &meta, &token));
        } else {
            lru_put(f.lru, k, v, &meta, below(3) ? 0 : LRU_PENDING, &replaced);
        }
        struct lru_stats s = fixture_stats(&f);
        MUST(s.bytes <= budget);
        MUST(s.pending_bytes <= budget / 4);
    }
    ck_assert_uint_gt(fixture_stats(&f).too_large, 0);
    ck_assert_uint_gt(fixture_stats(&f).exits[LRU_EXIT_BUDGET], 0);
    ck_assert_uint_gt(fixture_stats(&f).exits[LRU_EXIT_PENDING_BUDGET], 0);
    fixture_close(&f);
}
END_TEST

START_TEST(a_value_over_an_eighth_of_the_budget_is_handed_out_but_not_kept)
{
    static char value[1 << 17];
    struct fixture f;
    fixture_open(&f, 1 << 20, 1 << 18);
    struct lru_meta meta = {0};
    bool replaced = true;
    struct slice fits = {value, (1 << 17) - 200}, over = {value, 1 << 17};
    fill(&f, "k", "old");
    ck_assert(!lru_put(f.lru, slice_of("k"), over, &meta, 0, &replaced));
    ck_assert(replaced);
    LOOKS(&f, "k", "-");
    fill(&f, "k", "old");
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    struct lru_entry *e = lru_fill(f.lru, slice_of("k"), over, &meta, &token);
    ck_assert(slice_equal(lru_entry_value(e), over));
    lru_release(e);
    LOOKS(&f, "k", "-");
    ck_assert_uint_eq(fixture_stats(&f).too_large, 2);
    ck_assert(lru_put(f.lru, slice_of("k"), fits, &meta, 0, &replaced));
    ck_assert_uint_eq(fixture_stats(&f).too_large, 2);
    ck_assert_uint_eq(fixture_stats(&f).entries, 1);
    fixture_close(&f);
}
END_TEST

START_TEST(what_is_read_outlives_what_is_not)
{
    struct fixture f;
    char key[32], value[1000];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    fixture_open(&f, 1 << 20, 0);
    fill(&f, "hot", "v");
    fill(&f, "cold", "v");
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        fill(&f, key, value);
        LOOKS(&f, "hot", "v/");
    }
    LOOKS(&f, "cold", "-");
    fixture_close(&f);
}
END_TEST

START_TEST(what_expired_is_counted_as_such_when_evicted)
{
    struct fixture f;
    char key[32], value[1000];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    fixture_open(&f, 1 << 20, 0);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "old %d", i);
        put_at(&f, key, value, 0, 0, f.wall_ms + 5);
    }
    fixture_pass_ms(&f, 5);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        fill(&f, key, value);
    }
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_EXPIRED], 300);
    fixture_close(&f);
}
END_TEST

#ifndef SANITIZED
static size_t resident(void)
{
    char line[128] = "", *end = line;
    FILE *statm = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(statm);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, statm));
    (void)fclose(statm);
    (void)strtol(line, &end, 10); /* the first number is the whole address space */
    return (size_t)strtol(end, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(a_million_entries_cost_at_most_120_bytes_each)
{
    enum { COUNT = 1000000, KEY = 64, VALUE = 100 };
    struct fixture f;
    char key[KEY + 1], value[VALUE];
    memset(value, 'v', sizeof value);
    fixture_open(&f, (size_t)1 << 30, 0);
    size_t before = resident();
    uint64_t counted_before = fixture_stats(&f).bytes;
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(key, sizeof key, "%064d", i);
        struct slice k = {key, KEY};
        struct lru_meta meta = {0};
        struct lru_token token = lru_fill_begin(f.lru, k);
        lru_release(lru_fill(f.lru, k, (struct slice){value, sizeof value}, &meta, &token));
    }
    size_t grown = resident() - before;
    uint64_t counted = fixture_stats(&f).bytes - counted_before;
    ck_assert_uint_eq(fixture_stats(&f).entries, COUNT);
    double each = (double)grown / COUNT - KEY - VALUE;
    printf("%.1f bytes of memory per entry beyond key and value; counted %.1f\n", each,
           (double)counted / COUNT - KEY - VALUE);
    ck_assert_double_le(each, 120);
    /* The count is what the process pays, within 2 %. */
    ck_assert_double_le((double)grown, (double)counted * 1.02);
    fixture_close(&f);
}
END_TEST

START_TEST(large_values_are_counted_for_what_they_cost)
{
    static char value[400000];
    struct fixture f;
    char key[32];
    memset(value, 'v', sizeof value);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    fixture_open(&f, (size_t)1 << 30, 0);
    size_t before = resident();
    uint64_t counted_before = fixture_stats(&f).bytes;
    for (int i = 0; i < 500; i++) {
        struct slice v = {value, 1000 + 700 * (size_t)i};
        struct lru_meta meta = {0};
        bool replaced;
        (void)snprintf(key, sizeof key, "%d", i);
        ck_assert(lru_put(f.lru, slice_of(key), v, &meta, 0, &replaced));
    }
    double grown = (double)(resident() - before);
    double counted = (double)(fixture_stats(&f).bytes - counted_before);
    ck_assert_double_le(grown, counted * 1.02);
    ck_assert_double_ge(grown, counted * 0.95);
    fixture_close(&f);
}
END_TEST
#endif

/* --- the model: what each key must look like, without a budget --- */

enum { KEYS = 12 };

struct modelled {
    bool present, deleted, own, pending, trusted;
    int value;
    int64_t stamp_ms, expires_ms, filled_us;
    uint32_t bumps;
    bool again;
    struct lru_entry *in_hand; /* the value of this key that someone has in hand */
    bool in_hand_current;      /* and it is the one in the table */
};

struct walk {
    struct fixture f;
    struct modelled keys[KEYS];
    bool live;
    uint32_t epoch;
};

struct open_fill {
    struct lru_token token;
    int key;
    uint32_t bumps, epoch;
    bool open, live;
};

static void model_drop(struct modelled *m)
{
    m->present = m->deleted = m->own = m->pending = m->trusted = m->again = false;
    m->in_hand_current = false;
}

static bool model_over(const struct walk *w, const struct modelled *m)
{
    return m->present && m->expires_ms && w->f.wall_ms >= m->expires_ms;
}

static void model_expire(struct walk *w, struct modelled *m)
{
    if (!m->pending && model_over(w, m)) model_drop(m);
}

/* What is over and still there is pending, and acts as a tombstone. */
static bool model_hidden(const struct walk *w, const struct modelled *m)
{
    return m->deleted || model_over(w, m);
}

static void text_of(int key, int value, char out[2][32])
{
    (void)snprintf(out[0], 32, "key %d", key);
    (void)snprintf(out[1], 32, "value %d", value);
}

static int key_of(const struct lru_entry *e)
{
    struct slice text = lru_entry_key(e);
    int key = 0;
    for (size_t i = 4; i < text.len; i++)
        key = key * 10 + (text.ptr[i] - '0');
    return key;
}

static void check_key(struct walk *w, int key)
{
    struct modelled *m = &w->keys[key];
    char text[2][32], expected[64] = "-";
    text_of(key, m->value, text);
    model_expire(w, m);
    bool trusted = m->trusted && w->f.mono_us - m->filled_us < 60000000;
    if (m->present) {
        (void)snprintf(expected, sizeof expected, "%s/%s%s%s%s", m->deleted ? "" : text[1],
                       trusted ? "t" : "", m->own ? "o" : "", m->pending ? "p" : "",
                       model_hidden(w, m) ? "d" : "");
    }
    LOOKS(&w->f, text[0], expected);
}

static void walk_put(struct walk *w, int key)
{
    struct modelled *m = &w->keys[key];
    bool deleted = below(3) == 0, pending = below(2);
    int value = (int)below(3);
    struct lru_meta meta = {.stamp_ms = below(4), .expires_ms = below(3) ? 0 : w->f.wall_ms + 1 + below(50)};
    char text[2][32];
    text_of(key, value, text);
    model_expire(w, m);
    bool was = m->present && !model_hidden(w, m), replaced = !was;
    unsigned flags = (deleted ? LRU_DELETED : 0U) | (pending ? LRU_PENDING : 0U);
    MUST(lru_put(w->f.lru, slice_of(text[0]), deleted ? SLICE_NONE : slice_of(text[1]), &meta, flags,
                 &replaced));
    MUST(replaced == was);
    m->bumps++;
    if (m->present && m->own && meta.stamp_ms && m->stamp_ms > meta.stamp_ms) {
        m->trusted = false;
        if (pending && m->in_hand_current && m->pending) m->again = true;
        m->pending |= pending;
        return;
    }
    pending |= m->present && m->pending;
    model_drop(m);
    m->present = m->own = true;
    m->deleted = deleted;
    m->pending = pending;
    m->value = value;
    m->stamp_ms = meta.stamp_ms;
    m->expires_ms = meta.expires_ms;
}

static void walk_fill_end(struct walk *w, struct open_fill *o)
{
    struct modelled *m = &w->keys[o->key];
    int value = (int)below(3);
    struct lru_meta meta = {.stamp_ms = below(4)};
    char text[2][32];
    text_of(o->key, value, text);
    model_expire(w, m);
    bool kept = m->bumps == o->bumps && !m->pending;
    o->open = false;
    if (below(4) == 0) {
        lru_fill_absent(w->f.lru, slice_of(text[0]), &o->token);
        if (kept) model_drop(m);
        return;
    }
    lru_release(lru_fill(w->f.lru, slice_of(text[0]), slice_of(text[1]), &meta, &o->token));
    if (!kept) return;
    bool own = m->present && m->own && !m->deleted && m->value == value;
    model_drop(m);
    m->present = true;
    m->own = own;
    m->value = value;
    m->stamp_ms = meta.stamp_ms;
    m->expires_ms = 0;
    m->trusted = o->live && w->live && o->epoch == w->epoch;
    m->filled_us = w->f.mono_us;
}

static void walk_take(struct walk *w)
{
    for (int key = 0; key < KEYS; key++)
        model_expire(w, &w->keys[key]);
    unsigned flags = 0;
    struct lru_entry *e = lru_pending_take(w->f.lru, &flags);
    if (!e) {
        for (int key = 0; key < KEYS; key++)
            MUST(!w->keys[key].pending || w->keys[key].in_hand);
        return;
    }
    int key = key_of(e);
    struct modelled *m = &w->keys[key];
    MUST(m->present && m->pending && !m->in_hand);
    MUST(model_hidden(w, m) == ((flags & LRU_DELETED) != 0));
    m->in_hand = e;
    m->in_hand_current = true;
}

static void walk_release(struct walk *w, int key)
{
    struct modelled *m = &w->keys[key];
    if (!m->in_hand) return;
    model_expire(w, m);
    bool settle = below(2), superseded = below(2);
    if (settle) {
        lru_settle(w->f.lru, m->in_hand, superseded);
    } else {
        lru_untake(w->f.lru, m->in_hand);
    }
    lru_release(m->in_hand);
    m->in_hand = NULL;
    bool current = m->in_hand_current, again = m->again;
    m->in_hand_current = m->again = false;
    if (!current || !settle || (again && !superseded)) return;
    m->pending = false;
    if (model_hidden(w, m) || superseded) model_drop(m);
}

static void walk_tracking(struct walk *w)
{
    if (below(2)) {
        lru_trust_begin(w->f.lru);
        w->live = true;
    } else {
        lru_trust_end(w->f.lru);
        w->live = false;
    }
    w->epoch++;
    for (int key = 0; key < KEYS; key++)
        w->keys[key].trusted = false;
}

static void walk_invalidate(struct walk *w, int key)
{
    struct modelled *m = &w->keys[key];
    char text[2][32];
    text_of(key, 0, text);
    lru_invalidate(w->f.lru, slice_of(text[0]));
    m->bumps++;
    m->trusted = false;
    if (!m->own) model_drop(m);
}

static void walk_invalidate_all(struct walk *w)
{
    lru_invalidate_all(w->f.lru);
    w->epoch++;
    for (int key = 0; key < KEYS; key++) {
        w->keys[key].bumps++;
        w->keys[key].trusted = false;
        if (!w->keys[key].own) model_drop(&w->keys[key]);
    }
}

static void walk_step(struct walk *w, struct open_fill *fills, int fills_count)
{
    int key = (int)below(KEYS);
    struct open_fill *o = &fills[below((uint32_t)fills_count)];
    uint32_t what = below(100);
    if (what < 25) {
        walk_put(w, key);
    } else if (what < 60 && o->open) {
        walk_fill_end(w, o);
    } else if (what < 60) {
        char text[2][32];
        text_of(key, 0, text);
        *o = (struct open_fill){.token = lru_fill_begin(w->f.lru, slice_of(text[0])),
                                .key = key,
                                .bumps = w->keys[key].bumps,
                                .epoch = w->epoch,
                                .open = true,
                                .live = w->live};
    } else if (what < 70) {
        walk_take(w);
    } else if (what < 85) {
        walk_release(w, key);
    } else if (what < 90) {
        walk_invalidate(w, key);
    } else if (what < 92) {
        walk_tracking(w);
    } else if (what < 93) {
        walk_invalidate_all(w);
    } else {
        fixture_pass_ms(&w->f, below(20) ? below(10) : 60000);
    }
}

static void walk_check_all(struct walk *w)
{
    uint64_t present = 0, pending = 0;
    for (int key = 0; key < KEYS; key++) {
        check_key(w, key);
        present += w->keys[key].present;
        pending += w->keys[key].pending;
    }
    MUST(fixture_stats(&w->f).entries == present);
    MUST(fixture_stats(&w->f).pending_entries == pending);
}

/* Keys that share a stamp make each other's fills untrusted, which the model does not know of. */
static bool keys_share_a_stamp(struct fixture *f)
{
    uint64_t slots[KEYS];
    for (int key = 0; key < KEYS; key++) {
        char text[2][32];
        text_of(key, 0, text);
        slots[key] = lru_fill_begin(f->lru, slice_of(text[0])).hash % 65536;
        for (int other = 0; other < key; other++)
            if (slots[other] == slots[key]) return true;
    }
    return false;
}

START_TEST(a_random_walk_agrees_with_the_model)
{
    struct walk w = {0};
    struct open_fill fills[4] = {0};
    random_state = (uint64_t)_i * 1000003;
    fixture_open(&w.f, 1 << 20, 1 << 18);
    while (keys_share_a_stamp(&w.f)) { /* hashes are seeded anew with each table */
        fixture_close(&w.f);
        fixture_open(&w.f, 1 << 20, 1 << 18);
    }
    uint64_t empty = fixture_stats(&w.f).bytes;
    for (int i = 0; i < 4000; i++) {
        walk_step(&w, fills, 4);
        walk_check_all(&w);
    }
    for (int key = 0; key < KEYS; key++) {
        struct lru_entry *held = w.keys[key].in_hand;
        if (held) lru_settle(w.f.lru, held, true);
        lru_release(held);
    }
    struct lru_entry *e;
    unsigned flags;
    while ((e = lru_pending_take(w.f.lru, &flags))) {
        lru_settle(w.f.lru, e, true);
        lru_release(e);
    }
    for (int key = 0; key < KEYS; key++) {
        char text[2][32];
        text_of(key, 0, text);
        struct lru_token token = lru_fill_begin(w.f.lru, slice_of(text[0]));
        lru_fill_absent(w.f.lru, slice_of(text[0]), &token);
    }
    ck_assert_uint_eq(fixture_stats(&w.f).bytes, empty);
    ck_assert_uint_eq(fixture_stats(&w.f).pending_bytes, 0);
    fixture_close(&w.f);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lru_budget");
    TCase *t = tcase_create("budget");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_hostile_mix_of_sizes_keeps_the_budget, 0, sizeof budgets / sizeof *budgets);
    tcase_add_test(t, a_value_over_an_eighth_of_the_budget_is_handed_out_but_not_kept);
    tcase_add_test(t, what_is_read_outlives_what_is_not);
    tcase_add_test(t, what_expired_is_counted_as_such_when_evicted);
#ifndef SANITIZED
    tcase_add_test(t, a_million_entries_cost_at_most_120_bytes_each);
    tcase_add_test(t, large_values_are_counted_for_what_they_cost);
#endif
    tcase_add_loop_test(t, a_random_walk_agrees_with_the_model, 0, 50); /* the index is the seed */
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return fixture_run(suite());
}
