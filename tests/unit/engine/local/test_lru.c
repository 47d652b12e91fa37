/* Look-ups, fills, writes and coherence, one thread: each rule of engine/local/lru.h. */
#include "lru_fixture.h"

#include <stdio.h>

static struct fixture f;

static void open_table(void)
{
    fixture_open(&f, 1 << 20, 1 << 18);
}

static void close_table(void)
{
    fixture_close(&f);
}

/* --- look-ups --- */

START_TEST(an_absent_key_is_no_hit)
{
    LOOKS(&f, "k", "-");
    put(&f, "k1", "v", 0);
    LOOKS(&f, "k", "-");
}
END_TEST

START_TEST(a_hit_hands_out_the_bytes_and_the_meta)
{
    bool replaced;
    struct lru_meta meta = {.expires_ms = FIXTURE_START_MS + 9, .stamp_ms = 77, .etag = 0x0123456789abcdef};
    struct slice value = {"a\0b", 3};
    ck_assert(lru_put(f.lru, slice_of("k"), value, &meta, 0, &replaced));
    struct lru_hit hit;
    ck_assert(lru_get(f.lru, slice_of("k"), &hit));
    ck_assert(slice_equal(lru_entry_value(hit.entry), value));
    ck_assert(slice_equal_text(lru_entry_key(hit.entry), "k"));
    ck_assert_int_eq(lru_entry_meta(hit.entry)->expires_ms, meta.expires_ms);
    ck_assert_int_eq(lru_entry_meta(hit.entry)->stamp_ms, 77);
    ck_assert_uint_eq(lru_entry_meta(hit.entry)->etag, meta.etag);
    lru_release(hit.entry);
}
END_TEST

START_TEST(an_expired_entry_is_never_returned)
{
    put_at(&f, "k", "v", 0, 0, f.wall_ms + 100);
    fixture_pass_ms(&f, 99);
    LOOKS(&f, "k", "v/o");
    fixture_pass_ms(&f, 1);
    LOOKS(&f, "k", "-");
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_EXPIRED], 1);
    ck_assert_uint_eq(fixture_stats(&f).entries, 0);
}
END_TEST

START_TEST(a_reference_outlives_removal_and_the_table)
{
    put(&f, "k", "value", 0);
    struct lru_hit hit;
    ck_assert(lru_get(f.lru, slice_of("k"), &hit));
    uint64_t with = fixture_stats(&f).bytes;
    put(&f, "k", "other", 0);
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    lru_fill_absent(f.lru, slice_of("k"), &token);
    ck_assert_uint_lt(fixture_stats(&f).bytes, with);
    lru_retain(hit.entry);
    lru_release(hit.entry);
    close_table();
    ck_assert(slice_equal_text(lru_entry_value(hit.entry), "value"));
    lru_release(hit.entry);
    lru_release(NULL);
    open_table();
}
END_TEST

START_TEST(destroy_accepts_null)
{
    struct lru *none = NULL;
    lru_destroy(&none);
}
END_TEST

START_TEST(many_keys_are_all_found_while_buckets_grow)
{
    char key[32];
    close_table();
    fixture_open(&f, 64 << 20, 0);
    for (int i = 0; i < 30000; i++) {
        (void)snprintf(key, sizeof key, "key-%d", i);
        put(&f, key, key, 0);
        (void)snprintf(key, sizeof key, "key-%d", i / 2);
        ck_assert_str_ne(look(&f, key), "-");
    }
    for (int i = 0; i < 30000; i++) {
        (void)snprintf(key, sizeof key, "key-%d", i);
        struct lru_hit hit;
        ck_assert(lru_get(f.lru, slice_of(key), &hit));
        ck_assert(slice_equal_text(lru_entry_value(hit.entry), key));
        lru_release(hit.entry);
    }
    ck_assert_uint_eq(fixture_stats(&f).entries, 30000);
}
END_TEST

/* --- trust --- */

START_TEST(a_fill_under_live_tracking_is_trusted)
{
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/t");
}
END_TEST

START_TEST(a_fill_without_tracking_is_a_plain_fallback)
{
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/");
    lru_trust_begin(f.lru);
    LOOKS(&f, "k", "v/");
}
END_TEST

START_TEST(the_end_of_tracking_takes_all_trust_and_a_new_epoch_does_not_return_it)
{
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    lru_trust_end(f.lru);
    LOOKS(&f, "k", "v/");
    lru_trust_begin(f.lru);
    LOOKS(&f, "k", "v/");
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/t");
}
END_TEST

START_TEST(a_fill_begun_in_another_epoch_is_kept_untrusted)
{
    lru_trust_begin(f.lru);
    struct lru_token before = lru_fill_begin(f.lru, slice_of("k"));
    lru_trust_begin(f.lru);
    fill_by(&f, "k", "v", before);
    LOOKS(&f, "k", "v/");
    struct lru_token live = lru_fill_begin(f.lru, slice_of("k"));
    lru_trust_end(f.lru);
    fill_by(&f, "k", "w", live);
    LOOKS(&f, "k", "w/");
}
END_TEST

START_TEST(trust_ends_after_near_ttl)
{
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    fixture_pass_ms(&f, 59999);
    LOOKS(&f, "k", "v/t");
    fixture_pass_ms(&f, 1);
    LOOKS(&f, "k", "v/");
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/t");
}
END_TEST

START_TEST(epochs_that_wrap_bring_no_trust_back)
{
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    fixture_pass_ms(&f, 60000);
    for (int i = 0; i < (1 << 24) - 1; i++)
        lru_trust_begin(f.lru);
    LOOKS(&f, "k", "v/");
    fill(&f, "k", "w");
    LOOKS(&f, "k", "w/t");
}
END_TEST

/* --- the fill race --- */

START_TEST(a_fill_after_the_invalidation_of_its_key_is_not_kept)
{
    lru_trust_begin(f.lru);
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    lru_invalidate(f.lru, slice_of("k"));
    fill_by(&f, "k", "old", token);
    LOOKS(&f, "k", "-");
}
END_TEST

START_TEST(an_invalidation_after_the_fill_removes_it)
{
    lru_trust_begin(f.lru);
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    fill_by(&f, "k", "old", token);
    lru_invalidate(f.lru, slice_of("k"));
    LOOKS(&f, "k", "-");
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_INVALIDATED], 1);
    fill_by(&f, "k", "old", token);
    LOOKS(&f, "k", "-");
}
END_TEST

START_TEST(a_fill_across_a_write_or_its_sending_is_not_kept)
{
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    lru_touch_slot(f.lru, slice_of("k"));
    fill_by(&f, "k", "old", token);
    LOOKS(&f, "k", "-");
    token = lru_fill_begin(f.lru, slice_of("k"));
    put(&f, "k", "new", 0);
    fill_by(&f, "k", "old", token);
    LOOKS(&f, "k", "new/o");
    token = lru_fill_begin(f.lru, slice_of("k"));
    put(&f, "k", "", LRU_DELETED);
    fill_by(&f, "k", "old", token);
    LOOKS(&f, "k", "/od");
}
END_TEST

START_TEST(a_fill_across_a_flush_is_not_kept)
{
    lru_trust_begin(f.lru);
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    lru_invalidate_all(f.lru);
    fill_by(&f, "k", "old", token);
    LOOKS(&f, "k", "-");
    fill(&f, "k", "new");
    LOOKS(&f, "k", "new/t");
}
END_TEST

START_TEST(an_absence_across_a_write_drops_nothing)
{
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    put(&f, "k", "v", 0);
    lru_fill_absent(f.lru, slice_of("k"), &token);
    LOOKS(&f, "k", "v/o");
    token = lru_fill_begin(f.lru, slice_of("k"));
    lru_fill_absent(f.lru, slice_of("k"), &token);
    LOOKS(&f, "k", "-");
    put(&f, "k", "v", LRU_PENDING);
    token = lru_fill_begin(f.lru, slice_of("k"));
    lru_fill_absent(f.lru, slice_of("k"), &token);
    LOOKS(&f, "k", "v/op");
}
END_TEST

/* --- own writes --- */

START_TEST(a_put_is_own_and_untrusted)
{
    lru_trust_begin(f.lru);
    fill(&f, "k", "v");
    put(&f, "k", "v", 0);
    LOOKS(&f, "k", "v/o");
}
END_TEST

START_TEST(replaced_tells_whether_a_live_value_was_there)
{
    ck_assert(!put(&f, "k", "v", 0));
    ck_assert(put(&f, "k", "w", 0));
    ck_assert(put(&f, "k", "", LRU_DELETED));
    ck_assert(!put(&f, "k", "v", LRU_PENDING));
    ck_assert(put_at(&f, "k", "w", 0, 0, f.wall_ms + 10));
    fixture_pass_ms(&f, 10);
    ck_assert(!put(&f, "k", "v", 0));
}
END_TEST

/* stamps of the old and the new value, and which one is left */
static const struct {
    int64_t old_stamp, new_stamp;
    const char *left;
} orders[] = {{100, 200, "new/o"}, {200, 100, "old/o"}, {100, 100, "new/o"},
              {0, 100, "new/o"},   {100, 0, "new/o"},   {0, 0, "new/o"}};

START_TEST(of_own_writes_the_later_stamp_stays)
{
    put_at(&f, "k", "old", 0, orders[_i].old_stamp, 0);
    ck_assert(put_at(&f, "k", "new", 0, orders[_i].new_stamp, 0));
    LOOKS(&f, "k", orders[_i].left);
}
END_TEST

START_TEST(an_expired_or_foreign_entry_with_a_later_stamp_does_not_stay)
{
    put_at(&f, "k", "old", 0, 200, f.wall_ms + 10);
    fixture_pass_ms(&f, 10);
    put_at(&f, "k", "new", 0, 100, 0);
    LOOKS(&f, "k", "new/o");
    struct lru_token token = lru_fill_begin(f.lru, slice_of("j"));
    struct lru_meta meta = {.stamp_ms = 200};
    lru_release(lru_fill(f.lru, slice_of("j"), slice_of("old"), &meta, &token));
    put_at(&f, "j", "new", 0, 100, 0);
    LOOKS(&f, "j", "new/o");
}
END_TEST

START_TEST(an_entry_that_stays_over_an_earlier_write_loses_trust)
{
    lru_trust_begin(f.lru);
    put_at(&f, "k", "v", 0, 200, 0);
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    struct lru_meta meta = {.stamp_ms = 200};
    lru_release(lru_fill(f.lru, slice_of("k"), slice_of("v"), &meta, &token));
    LOOKS(&f, "k", "v/to");
    put_at(&f, "k", "w", 0, 100, 0);
    LOOKS(&f, "k", "v/o");
}
END_TEST

START_TEST(pending_sticks_to_whichever_stays)
{
    put_at(&f, "a", "old", LRU_PENDING, 100, 0);
    put_at(&f, "a", "new", 0, 200, 0);
    LOOKS(&f, "a", "new/op");
    put_at(&f, "b", "old", 0, 200, 0);
    put_at(&f, "b", "new", LRU_PENDING, 100, 0);
    LOOKS(&f, "b", "old/op");
    put_at(&f, "c", "old", LRU_PENDING, 100, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    put_at(&f, "c", "new", 0, 200, 0);
    LOOKS(&f, "c", "new/op");
    ck_assert_uint_eq(fixture_stats(&f).pending_entries, 3);
}
END_TEST

START_TEST(a_fill_with_other_bytes_takes_own_and_with_the_same_keeps_it)
{
    lru_trust_begin(f.lru);
    put(&f, "k", "v", 0);
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/to");
    fill(&f, "k", "w");
    LOOKS(&f, "k", "w/t");
}
END_TEST

START_TEST(a_fill_never_replaces_a_pending_entry)
{
    lru_trust_begin(f.lru);
    put(&f, "k", "mine", LRU_PENDING);
    put(&f, "gone", "", LRU_PENDING | LRU_DELETED);
    fill(&f, "k", "theirs");
    fill(&f, "gone", "theirs");
    LOOKS(&f, "k", "mine/op");
    LOOKS(&f, "gone", "/opd");
}
END_TEST

START_TEST(a_pending_value_that_has_expired_hides_what_redis_says)
{
    lru_trust_begin(f.lru);
    put_at(&f, "k", "mine", LRU_PENDING, 0, f.wall_ms + 5);
    uint64_t pinned = fixture_stats(&f).pending_bytes;
    fixture_pass_ms(&f, 4);
    LOOKS(&f, "k", "mine/op");
    fixture_pass_ms(&f, 1);
    LOOKS(&f, "k", "mine/opd");
    fill(&f, "k", "theirs");
    LOOKS(&f, "k", "mine/opd");
    struct lru_token token = lru_fill_begin(f.lru, slice_of("k"));
    lru_fill_absent(f.lru, slice_of("k"), &token);
    lru_invalidate(f.lru, slice_of("k"));
    lru_invalidate_all(f.lru);
    LOOKS(&f, "k", "mine/opd");
    struct lru_stats s = fixture_stats(&f);
    ck_assert_uint_eq(s.entries, 1);
    ck_assert_uint_eq(s.pending_entries, 1);
    ck_assert_uint_eq(s.pending_bytes, pinned);
    for (int why = 0; why < LRU_EXIT_COUNT; why++)
        ck_assert_uint_eq(s.exits[why], 0);
}
END_TEST

START_TEST(a_put_over_a_pending_value_that_has_expired_replaces_nothing_live)
{
    put_at(&f, "k", "old", LRU_PENDING, 100, f.wall_ms + 5);
    put_at(&f, "j", "old", LRU_PENDING, 100, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    ck_assert(!put_at(&f, "k", "new", LRU_PENDING, 200, 0));
    LOOKS(&f, "k", "new/op");
    ck_assert(!put_at(&f, "j", "new", LRU_PENDING | LRU_IF_ABSENT, 200, 0));
    LOOKS(&f, "j", "new/op");
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_EXPIRED], 0);
}
END_TEST

START_TEST(a_put_behind_a_pending_value_only_changes_nothing_once_that_is_settled)
{
    struct lru_meta meta = {.stamp_ms = 200};
    bool replaced;
    put_at(&f, "k", "old", LRU_PENDING, 100, 0);
    unsigned flags;
    struct lru_entry *taken = lru_pending_take(f.lru, &flags);
    ck_assert(lru_put(f.lru, slice_of("k"), slice_of("new"), &meta,
                      LRU_PENDING | LRU_IF_PENDING | LRU_IF_ABSENT, &replaced));
    ck_assert(replaced);
    LOOKS(&f, "k", "old/op");
    lru_settle(f.lru, taken, false);
    lru_release(taken);
    ck_assert(!lru_put(f.lru, slice_of("k"), slice_of("new"), &meta,
                       LRU_PENDING | LRU_IF_PENDING | LRU_IF_ABSENT, &replaced));
    LOOKS(&f, "k", "old/o");
    ck_assert(
        !lru_put(f.lru, slice_of("j"), slice_of("new"), &meta, LRU_PENDING | LRU_IF_PENDING, &replaced));
    ck_assert_uint_eq(fixture_stats(&f).pending_entries, 0);
}
END_TEST

START_TEST(an_earlier_write_does_not_replace_a_later_pending_value_that_has_expired)
{
    unsigned pending = _i ? LRU_PENDING : 0;
    put_at(&f, "k", "late", LRU_PENDING, 200, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    ck_assert(!put_at(&f, "k", "early", pending, 100, 0));
    LOOKS(&f, "k", "late/opd");
    ck_assert_uint_eq(fixture_stats(&f).pending_entries, 1);
}
END_TEST

/* --- tombstones --- */

START_TEST(an_acknowledged_tombstone_hides_until_it_expires_or_is_filled)
{
    put_at(&f, "k", "", LRU_DELETED, 0, f.wall_ms + 1000);
    put_at(&f, "j", "", LRU_DELETED, 0, f.wall_ms + 1000);
    LOOKS(&f, "k", "/od");
    fill(&f, "k", "written since");
    LOOKS(&f, "k", "written since/");
    fixture_pass_ms(&f, 1000);
    LOOKS(&f, "j", "-");
}
END_TEST

START_TEST(a_pending_tombstone_never_expires)
{
    put_at(&f, "k", "", LRU_DELETED | LRU_PENDING, 0, f.wall_ms + 1000);
    fixture_pass_ms(&f, 1000000);
    LOOKS(&f, "k", "/opd");
    unsigned flags;
    struct lru_entry *e = lru_pending_take(f.lru, &flags);
    ck_assert_ptr_nonnull(e);
    lru_untake(f.lru, e);
    lru_release(e);
    put(&f, "k", "again", 0);
    LOOKS(&f, "k", "again/op");
}
END_TEST

/* --- coherence --- */

START_TEST(an_invalidation_removes_plain_entries_and_untrusts_own_ones)
{
    lru_trust_begin(f.lru);
    fill(&f, "plain", "v");
    put(&f, "own", "v", 0);
    fill(&f, "own", "v");
    put(&f, "pending", "v", LRU_PENDING);
    put(&f, "gone", "", LRU_DELETED);
    LOOKS(&f, "own", "v/to");
    const char *keys[] = {"plain", "own", "pending", "gone", "absent"};
    for (int i = 0; i < 5; i++)
        lru_invalidate(f.lru, slice_of(keys[i]));
    LOOKS(&f, "plain", "-");
    LOOKS(&f, "own", "v/o");
    LOOKS(&f, "pending", "v/op");
    LOOKS(&f, "gone", "/od");
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_INVALIDATED], 1);
}
END_TEST

START_TEST(a_flush_does_the_same_for_every_key)
{
    char key[32];
    lru_trust_begin(f.lru);
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        if (i % 3 == 0) put(&f, key, "v", i % 2 ? LRU_PENDING : 0);
        fill(&f, key, "v");
    }
    LOOKS(&f, "0", "v/to");
    lru_invalidate_all(f.lru);
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        LOOKS(&f, key, i % 3 ? "-" : i % 2 ? "v/op" : "v/o");
    }
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_INVALIDATED], 2000);
    fill(&f, "1", "v");
    LOOKS(&f, "1", "v/t");
}
END_TEST

START_TEST(a_flush_without_tracking_starts_none)
{
    fill(&f, "k", "v");
    lru_invalidate_all(f.lru);
    LOOKS(&f, "k", "-");
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lru");
    TCase *t = tcase_create("rules");
    tcase_add_checked_fixture(t, open_table, close_table);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, an_absent_key_is_no_hit);
    tcase_add_test(t, a_hit_hands_out_the_bytes_and_the_meta);
    tcase_add_test(t, an_expired_entry_is_never_returned);
    tcase_add_test(t, a_reference_outlives_removal_and_the_table);
    tcase_add_test(t, destroy_accepts_null);
    tcase_add_test(t, many_keys_are_all_found_while_buckets_grow);
    tcase_add_test(t, a_fill_under_live_tracking_is_trusted);
    tcase_add_test(t, a_fill_without_tracking_is_a_plain_fallback);
    tcase_add_test(t, the_end_of_tracking_takes_all_trust_and_a_new_epoch_does_not_return_it);
    tcase_add_test(t, a_fill_begun_in_another_epoch_is_kept_untrusted);
    tcase_add_test(t, trust_ends_after_near_ttl);
    tcase_add_test(t, epochs_that_wrap_bring_no_trust_back);
    tcase_add_test(t, a_fill_after_the_invalidation_of_its_key_is_not_kept);
    tcase_add_test(t, an_invalidation_after_the_fill_removes_it);
    tcase_add_test(t, a_fill_across_a_write_or_its_sending_is_not_kept);
    tcase_add_test(t, a_fill_across_a_flush_is_not_kept);
    tcase_add_test(t, an_absence_across_a_write_drops_nothing);
    tcase_add_test(t, a_put_is_own_and_untrusted);
    tcase_add_test(t, replaced_tells_whether_a_live_value_was_there);
    tcase_add_loop_test(t, of_own_writes_the_later_stamp_stays, 0, sizeof orders / sizeof *orders);
    tcase_add_test(t, an_expired_or_foreign_entry_with_a_later_stamp_does_not_stay);
    tcase_add_test(t, an_entry_that_stays_over_an_earlier_write_loses_trust);
    tcase_add_test(t, pending_sticks_to_whichever_stays);
    tcase_add_test(t, a_fill_with_other_bytes_takes_own_and_with_the_same_keeps_it);
    tcase_add_test(t, a_fill_never_replaces_a_pending_entry);
    tcase_add_test(t, a_pending_value_that_has_expired_hides_what_redis_says);
    tcase_add_test(t, a_put_over_a_pending_value_that_has_expired_replaces_nothing_live);
    tcase_add_test(t, a_put_behind_a_pending_value_only_changes_nothing_once_that_is_settled);
    tcase_add_loop_test(t, an_earlier_write_does_not_replace_a_later_pending_value_that_has_expired, 0, 2);
    tcase_add_test(t, an_acknowledged_tombstone_hides_until_it_expires_or_is_filled);
    tcase_add_test(t, a_pending_tombstone_never_expires);
    tcase_add_test(t, an_invalidation_removes_plain_entries_and_untrusts_own_ones);
    tcase_add_test(t, a_flush_does_the_same_for_every_key);
    tcase_add_test(t, a_flush_without_tracking_starts_none);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return fixture_run(suite());
}
