/* What the table promises the rooms above beyond its own rules: which pending writes it can keep, and how
 * long it trusts without being told again. */
#include "lru_fixture.h"

static struct fixture f;

static void open_table(void)
{
    fixture_open(&f, 1 << 20, 50000);
}

static void close_table(void)
{
    fixture_close(&f);
}

START_TEST(what_fits_stays_pending_and_what_does_not_would_not)
{
    static char value[1 << 18];
    memset(value, 'x', sizeof value - 1);
    for (size_t len = 1000; len < sizeof value; len += 997) {
        struct slice v = {value, len};
        struct lru_meta meta = {0};
        struct lru_hit hit;
        bool replaced, fits = lru_pending_fits(f.lru, slice_of("k"), v);
        (void)lru_put(f.lru, slice_of("k"), v, &meta, LRU_PENDING, &replaced);
        bool there = lru_get(f.lru, slice_of("k"), &hit);
        bool pending = there && (hit.flags & LRU_PENDING);
        if (there) lru_release(hit.entry);
        MUST(fits == pending);
    }
}
END_TEST

START_TEST(nothing_is_trusted_past_the_time_that_was_told)
{
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/t");
    lru_trust_until(f.lru, f.mono_us / 1000 + 1500);
    fixture_pass_ms(&f, 1500);
    LOOKS(&f, "k", "v/t");
    fixture_pass_ms(&f, 1);
    LOOKS(&f, "k", "v/");
    lru_trust_until(f.lru, f.mono_us / 1000 + 1500);
    LOOKS(&f, "k", "v/t");
}
END_TEST

START_TEST(tracking_that_begins_anew_has_no_bound_until_it_is_told)
{
    lru_trust_begin(f.lru);
    lru_trust_until(f.lru, 0);
    lru_trust_end(f.lru);
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/t");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lru, as the rooms above see it");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, open_table, close_table);
    tcase_add_test(t, what_fits_stays_pending_and_what_does_not_would_not);
    tcase_add_test(t, nothing_is_trusted_past_the_time_that_was_told);
    tcase_add_test(t, tracking_that_begins_anew_has_no_bound_until_it_is_told);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
