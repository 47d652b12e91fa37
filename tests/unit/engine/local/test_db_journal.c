/* The journal: order, merging, setting aside, listing, and its counts. */
#include "db_fixture.h"

static struct db_fixture f;

static void start(void)
{
    db_fixture_start(&f);
}

static void stop(void)
{
    db_close(&f.db);
}

#define STATS(waiting, aside, oldest)                                                                        \
    do {                                                                                                     \
        struct db_journal_stats stats_;                                                                      \
        ck_assert_int_eq(db_journal_stats(f.db, &stats_), DB_OK);                                            \
        ck_assert_int_eq(stats_.entries, waiting);                                                           \
        ck_assert_int_eq(stats_.set_aside, aside);                                                           \
        ck_assert_int_eq(stats_.oldest_stamp_ms, oldest);                                                    \
    } while (0)

START_TEST(an_entry_comes_back_complete)
{
    BEGINS(&f);
    int64_t seq = append(&f, "a", "copy");
    int64_t deletion = append(&f, "b", NULL);
    int64_t empty = append(&f, "c", "");
    COMMITS(&f);
    db_fixture_reopen(&f);
    struct db_entry e;
    ck_assert_int_eq(db_journal_newest(f.db, KIND, slice_of("a"), &e), DB_OK);
    ck_assert_int_eq(e.seq, seq);
    ck_assert_uint_eq(e.kind, KIND);
    ck_assert_uint_eq(e.op, 3);
    ck_assert_uint_eq(e.flags, 5);
    ck_assert(slice_equal_text(e.id, "a"));
    ck_assert(slice_equal_text(e.change_id, "change"));
    ck_assert_uint_eq(e.base, UINT64_MAX);
    ck_assert_int_eq(e.stamp_ms, NOW);
    ck_assert_int_eq(e.expires_ms, NOW + 9);
    ck_assert(slice_equal_text(e.body, "body"));
    ck_assert(slice_equal_text(e.copy, "copy"));
    ck_assert_int_eq(db_journal_newest(f.db, KIND, slice_of("b"), &e), DB_OK);
    ck_assert_int_eq(e.seq, deletion);
    ck_assert_ptr_null(e.copy.ptr);
    ck_assert_int_eq(db_journal_newest(f.db, KIND, slice_of("c"), &e), DB_OK);
    ck_assert_int_eq(e.seq, empty);
    ck_assert_ptr_nonnull(e.copy.ptr);
    ck_assert_int_eq(db_journal_newest(f.db, KIND + 1, slice_of("a"), &e), DB_ABSENT);
}
END_TEST

START_TEST(oldest_and_newest_are_by_number)
{
    BEGINS(&f);
    int64_t first = append(&f, "a", "1");
    append(&f, "b", "x");
    int64_t middle = append(&f, "a", "2"), last = append(&f, "a", "3");
    COMMITS(&f);
    ck_assert(first < middle && middle < last);
    struct db_entry e;
    ck_assert_int_eq(db_journal_oldest(f.db, KIND, slice_of("a"), &e), DB_OK);
    ck_assert_int_eq(e.seq, first);
    ck_assert_int_eq(db_journal_newest(f.db, KIND, slice_of("a"), &e), DB_OK);
    ck_assert_int_eq(e.seq, last);
    BEGINS(&f);
    ck_assert_int_eq(db_journal_remove(f.db, first), DB_OK);
    ck_assert_int_eq(db_journal_remove(f.db, first), DB_ABSENT);
    COMMITS(&f);
    ck_assert_int_eq(db_journal_oldest(f.db, KIND, slice_of("a"), &e), DB_OK);
    ck_assert_int_eq(e.seq, middle);
}
END_TEST

START_TEST(a_number_is_not_given_twice)
{
    BEGINS(&f);
    int64_t first = append(&f, "a", "1");
    ck_assert_int_eq(db_journal_remove(f.db, first), DB_OK);
    COMMITS(&f);
    BEGINS(&f);
    int64_t second = append(&f, "a", "1");
    db_rollback(f.db);
    ck_assert_int_gt(second, first);
    BEGINS(&f);
    int64_t third = append(&f, "a", "1");
    COMMITS(&f);
    ck_assert_int_gt(third, second);
    db_fixture_reopen(&f);
    BEGINS(&f);
    ck_assert_int_gt(append(&f, "a", "1"), third);
    COMMITS(&f);
}
END_TEST

START_TEST(an_id_is_walked_from_entry_to_entry)
{
    struct db_entry e;
    BEGINS(&f);
    int64_t first = append(&f, "a", "1");
    append(&f, "b", "x");
    int64_t second = append(&f, "a", "2"), third = append(&f, "a", "3");
    ck_assert_int_eq(db_journal_set_aside(f.db, second, "alien"), DB_OK);
    COMMITS(&f);
    ck_assert_int_eq(db_journal_next(f.db, KIND, slice_of("a"), 0, &e), DB_OK);
    ck_assert_int_eq(e.seq, first);
    ck_assert_int_eq(db_journal_next(f.db, KIND, slice_of("a"), first, &e), DB_OK);
    ck_assert_int_eq(e.seq, third);
    ck_assert_int_eq(db_journal_next(f.db, KIND, slice_of("a"), third, &e), DB_ABSENT);
}
END_TEST

START_TEST(replacing_keeps_the_place_and_what_it_was_computed_from)
{
    BEGINS(&f);
    int64_t seq = append(&f, "a", "1");
    append(&f, "b", "x");
    struct db_entry with = {.change_id = slice_of("change2"),
                            .stamp_ms = 5,
                            .expires_ms = 6,
                            .body = slice_of("b2"),
                            .copy = slice_of("c2")};
    ck_assert_int_eq(db_journal_replace(f.db, seq, &with), DB_OK);
    ck_assert_int_eq(db_journal_replace(f.db, 999, &with), DB_ABSENT);
    COMMITS(&f);
    struct db_entry e;
    ck_assert_int_eq(db_journal_newest(f.db, KIND, slice_of("a"), &e), DB_OK);
    ck_assert_int_eq(e.seq, seq);
    ck_assert_int_eq(e.stamp_ms, 5);
    ck_assert_int_eq(e.expires_ms, 6);
    ck_assert(slice_equal_text(e.body, "b2"));
    ck_assert(slice_equal_text(e.copy, "c2"));
    ck_assert(slice_equal_text(e.change_id, "change2"));
    ck_assert_uint_eq(e.base, UINT64_MAX);
    ck_assert_int_eq(db_journal_each(f.db, false, 0, see_entry, &f), DB_OK);
    ck_assert_str_eq(f.seen, "a b");
}
END_TEST

static void see_reason(void *arg, const struct db_entry *entry)
{
    see(arg, entry->id);
    see(arg, entry->body);
}

START_TEST(what_is_set_aside_is_kept_for_a_person_and_waits_again_after_a_restart)
{
    BEGINS(&f);
    int64_t a = append(&f, "a", "1"), b = append(&f, "b", "2");
    append(&f, "c", "3");
    ck_assert_int_eq(db_journal_set_aside(f.db, a, "another type"), DB_OK);
    ck_assert_int_eq(db_journal_set_aside(f.db, a, "again"), DB_ABSENT);
    ck_assert_int_eq(db_journal_set_aside(f.db, b, "no JSON"), DB_OK);
    COMMITS(&f);
    struct db_entry e;
    unsigned count;
    ck_assert_int_eq(db_journal_oldest(f.db, KIND, slice_of("a"), &e), DB_ABSENT);
    ck_assert_int_eq(db_journal_newest(f.db, KIND, slice_of("a"), &e), DB_ABSENT);
    ck_assert_int_eq(db_journal_each(f.db, false, 0, see_entry, &f), DB_OK);
    ck_assert_int_eq(db_journal_list(f.db, KIND, SLICE_NONE, 9, see_entry, &f, &count), DB_OK);
    ck_assert_str_eq(f.seen, "c c");
    f.seen[0] = '\0';
    ck_assert_int_eq(db_journal_each(f.db, true, 1, see_reason, &f), DB_OK);
    ck_assert_str_eq(f.seen, "a another type");
    STATS(1, 2, NOW);
    BEGINS(&f);
    ck_assert_int_eq(db_journal_remove(f.db, b), DB_OK);
    COMMITS(&f);
    STATS(1, 1, NOW);
    db_fixture_reopen(&f);
    STATS(2, 0, NOW);
    ck_assert_int_eq(db_journal_oldest(f.db, KIND, slice_of("a"), &e), DB_OK);
}
END_TEST

START_TEST(a_list_shows_the_newest_of_each_id_page_by_page)
{
    BEGINS(&f);
    append(&f, "b", "b1");
    append(&f, "c", NULL);
    append(&f, "a", "a1");
    append(&f, "b", "b2");
    append(&f, "a", "a2");
    append(&f, "d", "d1");
    COMMITS(&f);
    unsigned count;
    ck_assert_int_eq(db_journal_list(f.db, KIND, SLICE_NONE, 2, see_copy, &f, &count), DB_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(f.seen, "a2 b2");
    f.seen[0] = '\0';
    ck_assert_int_eq(db_journal_list(f.db, KIND, slice_of("b"), 5, see_entry, &f, &count), DB_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(f.seen, "c d");
}
END_TEST

START_TEST(counts_follow_commits_rollbacks_and_reopening)
{
    STATS(0, 0, 0);
    BEGINS(&f);
    append(&f, "a", "1");
    int64_t aside = append(&f, "b", "1");
    ck_assert_int_eq(db_journal_set_aside(f.db, aside, "why"), DB_OK);
    STATS(1, 1, NOW);
    db_rollback(f.db);
    STATS(0, 0, 0);
    BEGINS(&f);
    append(&f, "a", "1");
    aside = append(&f, "b", "1");
    ck_assert_int_eq(db_journal_set_aside(f.db, aside, "why"), DB_OK);
    COMMITS(&f);
    STATS(1, 1, NOW);
    db_fixture_reopen(&f);
    STATS(2, 0, NOW);
}
END_TEST

START_TEST(appends_beyond_bytes_max_are_refused_and_removing_goes_on)
{
    db_close(&f.db);
    f.options.bytes_max = 1; /* what is there by itself is more */
    ck_assert(db_fixture_open(&f));
    struct db_entry e = {.kind = KIND, .id = slice_of("a")};
    int64_t seq = -1;
    BEGINS(&f);
    ck_assert_int_eq(db_journal_append(f.db, &e, &seq), DB_FULL);
    ck_assert_int_eq(seq, -1);
    ck_assert_ptr_nonnull(strstr(db_failure(f.db), "bytes_max"));
    BEGINS(&f);
    ck_assert_int_eq(db_journal_replace(f.db, 1, &e), DB_FULL);
    BEGINS(&f);
    ck_assert_int_eq(db_journal_remove(f.db, 1), DB_ABSENT);
    COMMITS(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db_journal");
    TCase *t = test_case(s, "db_journal", 30);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, an_entry_comes_back_complete);
    tcase_add_test(t, oldest_and_newest_are_by_number);
    tcase_add_test(t, a_number_is_not_given_twice);
    tcase_add_test(t, an_id_is_walked_from_entry_to_entry);
    tcase_add_test(t, replacing_keeps_the_place_and_what_it_was_computed_from);
    tcase_add_test(t, what_is_set_aside_is_kept_for_a_person_and_waits_again_after_a_restart);
    tcase_add_test(t, a_list_shows_the_newest_of_each_id_page_by_page);
    tcase_add_test(t, counts_follow_commits_rollbacks_and_reopening);
    tcase_add_test(t, appends_beyond_bytes_max_are_refused_and_removing_goes_on);
    return test_run(s);
}
