/* lru_fixture: a table with a clock that the test moves, and one-line puts, fills and look-ups. */
#ifndef PHOENIX_TESTS_LRU_FIXTURE_H
#define PHOENIX_TESTS_LRU_FIXTURE_H

#include "engine/local/lru.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define FIXTURE_START_MS INT64_C(1700000000000)

/* As ck_assert, but silent when it holds: check writes to a file at every assertion, which loops cannot
 * afford. */
#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) ck_abort_msg("does not hold: %s", #what);                                               \
    } while (0)

struct fixture {
    struct lru *lru;
    struct clock clock;
    int64_t mono_us, wall_ms;
};

static inline int64_t fixture_mono(void *arg)
{
    const struct fixture *f = arg;
    return f->mono_us;
}

static inline int64_t fixture_wall(void *arg)
{
    const struct fixture *f = arg;
    return f->wall_ms;
}

static inline void fixture_open(struct fixture *f, size_t bytes_max, size_t pending_bytes_max)
{
    f->mono_us = 5000000;
    f->wall_ms = FIXTURE_START_MS;
    f->clock = (struct clock){fixture_mono, fixture_wall, f};
    f->lru = lru_create(&(struct lru_options){.bytes_max = bytes_max,
                                              .pending_bytes_max = pending_bytes_max,
                                              .near_ttl_ms = 60000,
                                              .clock = &f->clock});
    ck_assert_ptr_nonnull(f->lru);
}

static inline void fixture_close(struct fixture *f)
{
    lru_destroy(&f->lru);
    ck_assert_ptr_null(f->lru);
}

static inline void fixture_pass_ms(struct fixture *f, int64_t ms)
{
    f->mono_us += ms * 1000;
    f->wall_ms += ms;
}

static inline struct lru_stats fixture_stats(struct fixture *f)
{
    struct lru_stats s;
    lru_stats(f->lru, &s);
    return s;
}

/* Returns lru_put's out_replaced; the put must succeed. */
static inline bool put_at(struct fixture *f, const char *key, const char *value, unsigned flags,
                          int64_t stamp_ms, int64_t expires_ms)
{
    bool replaced = false;
    struct lru_meta meta = {.stamp_ms = stamp_ms, .expires_ms = expires_ms};
    MUST(lru_put(f->lru, slice_of(key), slice_of(value), &meta, flags, &replaced));
    return replaced;
}

static inline bool put(struct fixture *f, const char *key, const char *value, unsigned flags)
{
    return put_at(f, key, value, flags, 0, 0);
}

static inline void fill_by(struct fixture *f, const char *key, const char *value, struct lru_token token)
{
    struct lru_meta meta = {0};
    struct lru_entry *e = lru_fill(f->lru, slice_of(key), slice_of(value), &meta, &token);
    MUST(e != NULL);
    MUST(slice_equal_text(lru_entry_key(e), key));
    MUST(slice_equal_text(lru_entry_value(e), value));
    lru_release(e);
}

static inline void fill(struct fixture *f, const char *key, const char *value)
{
    fill_by(f, key, value, lru_fill_begin(f->lru, slice_of(key)));
}

/* What a look-up says, in one word to compare: "-" for none, else the value (a tombstone's is empty) and
 * letters: t(rusted), o(wn), p(ending), d(eleted). */
static inline const char *look(struct fixture *f, const char *key)
{
    static _Thread_local char text[256];
    struct lru_hit hit;
    if (!lru_get(f->lru, slice_of(key), &hit)) return "-";
    struct slice value = lru_entry_value(hit.entry);
    (void)snprintf(text, sizeof text, "%.*s/%s%s%s%s", (int)value.len, value.ptr, hit.trusted ? "t" : "",
                   hit.flags & LRU_OWN ? "o" : "", hit.flags & LRU_PENDING ? "p" : "",
                   hit.flags & LRU_DELETED ? "d" : "");
    lru_release(hit.entry);
    return text;
}

#define LOOKS(f, key, expected)                                                                              \
    do {                                                                                                     \
        const char *looks = look(f, key);                                                                    \
        if (strcmp(looks, expected) != 0) ck_abort_msg("%s is %s, not %s", key, looks, expected);            \
    } while (0)

static inline int fixture_run(Suite *suite)
{
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
