/* Pending writes of the LRU table: order, takings, settling, their budget. */
#include "lru_fixture.h"

static struct fixture f;

static void open_table(void)
{
    fixture_open(&f, 1 << 20, 1 << 18);
}

static void close_table(void)
{
    fixture_close(&f);
}

static struct lru_entry *take(void)
{
    unsigned flags = 0;
    struct lru_entry *e = lru_pending_take(f.lru, &flags);
    if (e) ck_assert_uint_eq(flags & (LRU_OWN | LRU_PENDING), LRU_OWN | LRU_PENDING);
    return e;
}

static void settle(struct lru_entry *e, bool superseded)
{
    lru_settle(f.lru, e, superseded);
    lru_release(e);
}

static void untake(struct lru_entry *e)
{
    lru_untake(f.lru, e);
    lru_release(e);
}

/* Takes the next, which must be this one; the reference is the caller's. */
static struct lru_entry *take_expecting(const char *value)
{
    struct lru_entry *e = take();
    ck_assert_ptr_nonnull(e);
    ck_assert(slice_equal_text(lru_entry_value(e), value));
    return e;
}

static void nothing_to_take(void)
{
    ck_assert_ptr_null(take());
}

static void pending_is(uint64_t entries)
{
    ck_assert_uint_eq(fixture_stats(&f).pending_entries, entries);
    if (entries == 0) ck_assert_uint_eq(fixture_stats(&f).pending_bytes, 0);
}

START_TEST(taking_goes_in_the_order_of_the_puts)
{
    char key[16];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        put(&f, key, key, LRU_PENDING);
    }
    put(&f, "plain", "plain", 0);
    put(&f, "0", "0 again", LRU_PENDING);
    for (int i = 1; i < 200; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        settle(take_expecting(key), false);
    }
    settle(take_expecting("0 again"), false);
    nothing_to_take();
    pending_is(0);
    LOOKS(&f, "0", "0 again/o");
}
END_TEST

START_TEST(settled_it_is_an_ordinary_own_entry)
{
    lru_trust_begin(f.lru);
    put(&f, "k", "v", LRU_PENDING);
    settle(take_expecting("v"), false);
    LOOKS(&f, "k", "v/o");
    pending_is(0);
    fill(&f, "k", "v");
    LOOKS(&f, "k", "v/to");
}
END_TEST

START_TEST(a_settled_tombstone_and_a_superseded_value_go)
{
    put(&f, "gone", "", LRU_PENDING | LRU_DELETED);
    put(&f, "k", "v", LRU_PENDING);
    unsigned flags;
    struct lru_entry *e = lru_pending_take(f.lru, &flags);
    ck_assert_uint_eq(flags, LRU_OWN | LRU_PENDING | LRU_DELETED);
    settle(e, false);
    LOOKS(&f, "gone", "-");
    settle(take_expecting("v"), true);
    LOOKS(&f, "k", "-");
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_INVALIDATED], 1);
    pending_is(0);
}
END_TEST

START_TEST(untaken_it_waits_behind_the_others)
{
    put(&f, "a", "a", LRU_PENDING);
    put(&f, "b", "b", LRU_PENDING);
    untake(take_expecting("a"));
    settle(take_expecting("b"), false);
    settle(take_expecting("a"), false);
    nothing_to_take();
}
END_TEST

START_TEST(a_taken_key_has_no_second_taker)
{
    put(&f, "k", "v", LRU_PENDING);
    struct lru_entry *e = take_expecting("v");
    nothing_to_take();
    put(&f, "k", "w", LRU_PENDING);
    nothing_to_take();
    put(&f, "k", "x", 0);
    nothing_to_take();
    LOOKS(&f, "k", "x/op");
    settle(e, _i);
    LOOKS(&f, "k", "x/op");
    settle(take_expecting("x"), false);
    LOOKS(&f, "k", "x/o");
    pending_is(0);
}
END_TEST

START_TEST(untaking_what_was_replaced_frees_the_replacement)
{
    put(&f, "k", "v", LRU_PENDING);
    put(&f, "j", "j", LRU_PENDING);
    struct lru_entry *e = take_expecting("v");
    put(&f, "k", "", LRU_PENDING | LRU_DELETED);
    untake(e);
    settle(take_expecting("j"), false);
    settle(take_expecting(""), false);
    nothing_to_take();
    LOOKS(&f, "k", "-");
}
END_TEST

START_TEST(a_replacement_that_expires_keeps_the_key_the_takers)
{
    put(&f, "k", "v", LRU_PENDING);
    struct lru_entry *e = take_expecting("v");
    put_at(&f, "k", "w", LRU_PENDING, 0, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    LOOKS(&f, "k", "w/opd");
    nothing_to_take();
    put(&f, "k", "x", LRU_PENDING); /* the key is still in the taker's hands */
    nothing_to_take();
    settle(e, false);
    settle(take_expecting("x"), false);
}
END_TEST

START_TEST(an_earlier_write_put_while_taken_makes_it_go_once_more)
{
    put_at(&f, "k", "late", LRU_PENDING, 200, 0);
    struct lru_entry *e = take_expecting("late");
    put_at(&f, "k", "early", LRU_PENDING, 100, 0);
    settle(e, false);
    LOOKS(&f, "k", "late/op");
    settle(take_expecting("late"), false);
    LOOKS(&f, "k", "late/o");
    put_at(&f, "k", "early", LRU_PENDING, 100, 0);
    e = take_expecting("late");
    put_at(&f, "k", "early", LRU_PENDING, 100, 0);
    settle(e, true);
    LOOKS(&f, "k", "-");
    pending_is(0);
}
END_TEST

START_TEST(expired_values_are_handed_out_as_deletions)
{
    put_at(&f, "a", "a", LRU_PENDING, 0, f.wall_ms + 5);
    put_at(&f, "b", "b", LRU_PENDING, 0, f.wall_ms + 9);
    put_at(&f, "gone", "", LRU_PENDING | LRU_DELETED, 0, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    static const struct {
        const char *value;
        unsigned deleted;
    } order[] = {{"a", LRU_DELETED}, {"b", 0}, {"", LRU_DELETED}};
    for (int i = 0; i < 3; i++) {
        unsigned flags = 0;
        struct lru_entry *e = lru_pending_take(f.lru, &flags);
        ck_assert_ptr_nonnull(e);
        ck_assert(slice_equal_text(lru_entry_value(e), order[i].value));
        ck_assert_uint_eq(flags, LRU_OWN | LRU_PENDING | order[i].deleted);
        settle(e, false);
    }
    nothing_to_take();
    pending_is(0);
    LOOKS(&f, "b", "b/o");
}
END_TEST

START_TEST(a_value_that_expires_while_taken_stays_until_it_is_settled)
{
    put_at(&f, "k", "v", LRU_PENDING, 0, f.wall_ms + 5);
    struct lru_entry *e = take_expecting("v");
    fixture_pass_ms(&f, 5);
    LOOKS(&f, "k", "v/opd");
    pending_is(1);
    put(&f, "k", "w", LRU_PENDING);
    nothing_to_take();
    settle(e, false);
    settle(take_expecting("w"), false);
}
END_TEST

START_TEST(settled_an_expired_value_is_gone_and_counted_as_expired)
{
    put_at(&f, "k", "v", LRU_PENDING, 0, f.wall_ms + 5);
    struct lru_entry *e = take_expecting("v");
    fixture_pass_ms(&f, 5);
    settle(e, _i);
    struct lru_stats s = fixture_stats(&f);
    ck_assert_uint_eq(s.entries, 0);
    ck_assert_uint_eq(s.exits[LRU_EXIT_EXPIRED], 1);
    ck_assert_uint_eq(s.exits[LRU_EXIT_INVALIDATED], 0);
    pending_is(0);
    LOOKS(&f, "k", "-");
    nothing_to_take();
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_EXPIRED], 1);
}
END_TEST

START_TEST(an_expired_value_goes_once_more_over_an_earlier_write_put_while_taken)
{
    put_at(&f, "k", "late", LRU_PENDING, 200, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    struct lru_entry *e = take_expecting("late");
    put_at(&f, "k", "early", LRU_PENDING, 100, 0);
    settle(e, false);
    LOOKS(&f, "k", "late/opd");
    untake(take_expecting("late"));
    LOOKS(&f, "k", "late/opd");
    settle(take_expecting("late"), false);
    LOOKS(&f, "k", "-");
    pending_is(0);
}
END_TEST

START_TEST(an_expired_value_that_is_given_up_is_not_served)
{
    static char value[30000];
    memset(value, 'x', sizeof value - 1);
    close_table();
    fixture_open(&f, 1 << 20, 50000);
    put_at(&f, "old", value, LRU_PENDING, 0, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    put(&f, "new", value, LRU_PENDING);
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_PENDING_BUDGET], 1);
    pending_is(1);
    LOOKS(&f, "old", "-");
    ck_assert_uint_eq(fixture_stats(&f).entries, 1);
}
END_TEST

START_TEST(pending_entries_are_not_evicted)
{
    char key[16], value[1000];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    put(&f, "mine", "v", LRU_PENDING);
    put(&f, "gone", "", LRU_PENDING | LRU_DELETED);
    put_at(&f, "over", "v", LRU_PENDING, 0, f.wall_ms + 5);
    fixture_pass_ms(&f, 5);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        fill(&f, key, value);
    }
    ck_assert_uint_gt(fixture_stats(&f).exits[LRU_EXIT_BUDGET], 1000);
    LOOKS(&f, "mine", "v/op");
    LOOKS(&f, "gone", "/opd");
    LOOKS(&f, "over", "v/opd");
}
END_TEST

START_TEST(over_its_budget_the_oldest_is_given_up_across_shards)
{
    char key[16], value[1000];
    int given_up = 0;
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    put(&f, "gone", "", LRU_PENDING | LRU_DELETED);
    put(&f, "first", value, LRU_PENDING);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        put(&f, key, value, LRU_PENDING);
        ck_assert_uint_le(fixture_stats(&f).pending_bytes, 1 << 18);
        given_up = (int)fixture_stats(&f).exits[LRU_EXIT_PENDING_BUDGET];
        ck_assert_uint_eq(fixture_stats(&f).pending_entries + (uint64_t)given_up, (uint64_t)i + 3);
    }
    ck_assert_int_gt(given_up, 10);
    LOOKS(&f, "gone", "-");
    struct lru_hit hit;
    ck_assert(lru_get(f.lru, slice_of("first"), &hit));
    ck_assert_uint_eq(hit.flags, LRU_OWN);
    lru_release(hit.entry);
    struct lru_entry *e = take();
    (void)snprintf(key, sizeof key, "%d", given_up - 2);
    ck_assert(slice_equal_text(lru_entry_key(e), key));
    settle(e, false);
}
END_TEST

START_TEST(a_write_alone_over_the_pending_budget_costs_no_other)
{
    static char value[60000];
    close_table();
    fixture_open(&f, 1 << 20, 50000);
    memset(value, 'x', sizeof value - 1);
    put(&f, "k", "v", LRU_PENDING);
    put(&f, "big", value, LRU_PENDING);
    LOOKS(&f, "k", "v/op");
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_PENDING_BUDGET], 1);
    pending_is(1);
    struct lru_hit hit;
    ck_assert(lru_get(f.lru, slice_of("big"), &hit));
    ck_assert_uint_eq(hit.flags, LRU_OWN);
    lru_release(hit.entry);
}
END_TEST

START_TEST(a_pending_budget_of_none_pins_nothing)
{
    close_table();
    fixture_open(&f, 1 << 20, 0);
    put(&f, "k", "v", LRU_PENDING);
    put(&f, "gone", "", LRU_PENDING | LRU_DELETED);
    LOOKS(&f, "k", "v/o");
    LOOKS(&f, "gone", "-");
    nothing_to_take();
    pending_is(0);
}
END_TEST

/* Everything pending is in takers' hands, and grows there: what is given up then stays one taker's. */
START_TEST(given_up_while_taken_the_key_stays_the_takers)
{
    static char value[30000];
    memset(value, 'x', sizeof value - 1);
    close_table();
    fixture_open(&f, 1 << 20, 50000);
    put(&f, "a", "a", LRU_PENDING);
    struct lru_entry *a = take_expecting("a");
    put(&f, "b", value, LRU_PENDING);
    struct lru_entry *b = take();
    value[0] = 'c';
    put(&f, "c", value, LRU_PENDING); /* the only one that nobody has in hand */
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_PENDING_BUDGET], 1);
    nothing_to_take();
    LOOKS(&f, "a", "a/op");
    put(&f, "a", value, LRU_PENDING); /* parked, hence the first to go */
    ck_assert_uint_eq(fixture_stats(&f).exits[LRU_EXIT_PENDING_BUDGET], 2);
    put(&f, "a", "a2", LRU_PENDING);
    nothing_to_take();
    settle(a, false);
    settle(take_expecting("a2"), false);
    settle(b, false);
    nothing_to_take();
    pending_is(0);
}
END_TEST

START_TEST(what_is_taken_is_not_given_up)
{
    static char value[30000];
    memset(value, 'x', sizeof value - 1);
    close_table();
    fixture_open(&f, 1 << 18, 1 << 20); /* half of the whole is the most that is pinned */
    struct lru_entry *taken[20];
    char key[16];
    int count = 0;
    for (int i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        put(&f, key, value, LRU_PENDING);
        if ((taken[count] = take())) count++;
        ck_assert_uint_le(fixture_stats(&f).bytes, 1 << 18);
        ck_assert_uint_le(fixture_stats(&f).pending_bytes, 1 << 17);
    }
    ck_assert_int_eq(count, 4);
    for (int i = 0; i < 4; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        struct lru_hit hit;
        ck_assert(lru_get(f.lru, slice_of(key), &hit));
        ck_assert_uint_eq(hit.flags, LRU_OWN | LRU_PENDING);
        lru_release(hit.entry);
    }
    for (int i = 0; i < count; i++)
        settle(taken[i], false);
    nothing_to_take();
    pending_is(0);
}
END_TEST

START_TEST(a_put_too_large_drops_the_older_value_and_its_taking_can_end)
{
    static char value[200000];
    bool replaced = false;
    struct lru_meta meta = {0};
    put(&f, "k", "v", LRU_PENDING);
    struct lru_entry *e = take_expecting("v");
    ck_assert(
        !lru_put(f.lru, slice_of("k"), (struct slice){value, sizeof value}, &meta, LRU_PENDING, &replaced));
    ck_assert(replaced);
    LOOKS(&f, "k", "-");
    pending_is(0);
    ck_assert_uint_eq(fixture_stats(&f).too_large, 1);
    settle(e, false);
    nothing_to_take();
}
END_TEST

START_TEST(a_taken_entry_outlives_the_table)
{
    put(&f, "k", "v", LRU_PENDING);
    struct lru_entry *e = take_expecting("v");
    close_table();
    ck_assert(slice_equal_text(lru_entry_value(e), "v"));
    lru_release(e);
    open_table();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lru_pending");
    TCase *t = tcase_create("rules");
    tcase_add_checked_fixture(t, open_table, close_table);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, taking_goes_in_the_order_of_the_puts);
    tcase_add_test(t, settled_it_is_an_ordinary_own_entry);
    tcase_add_test(t, a_settled_tombstone_and_a_superseded_value_go);
    tcase_add_test(t, untaken_it_waits_behind_the_others);
    tcase_add_loop_test(t, a_taken_key_has_no_second_taker, 0, 2);
    tcase_add_test(t, untaking_what_was_replaced_frees_the_replacement);
    tcase_add_test(t, a_replacement_that_expires_keeps_the_key_the_takers);
    tcase_add_test(t, an_earlier_write_put_while_taken_makes_it_go_once_more);
    tcase_add_test(t, expired_values_are_handed_out_as_deletions);
    tcase_add_test(t, a_value_that_expires_while_taken_stays_until_it_is_settled);
    tcase_add_loop_test(t, settled_an_expired_value_is_gone_and_counted_as_expired, 0, 2);
    tcase_add_test(t, an_expired_value_goes_once_more_over_an_earlier_write_put_while_taken);
    tcase_add_test(t, an_expired_value_that_is_given_up_is_not_served);
    tcase_add_test(t, pending_entries_are_not_evicted);
    tcase_add_test(t, over_its_budget_the_oldest_is_given_up_across_shards);
    tcase_add_test(t, a_write_alone_over_the_pending_budget_costs_no_other);
    tcase_add_test(t, a_pending_budget_of_none_pins_nothing);
    tcase_add_test(t, given_up_while_taken_the_key_stays_the_takers);
    tcase_add_test(t, what_is_taken_is_not_given_up);
    tcase_add_test(t, a_put_too_large_drops_the_older_value_and_its_taking_can_end);
    tcase_add_test(t, a_taken_entry_outlives_the_table);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return fixture_run(suite());
}
