/* test_record_replay_disk: the hand-back over a spool that has no room, or that cannot sync any more. */
#include "../engine/local/spool_fixture.h"
#include "replay_fixture.h"

static struct replay_fixture f;

static void open_all(void)
{
    disk_install();
    replay_open(&f);
    append(&f, "k", FAKE_APPEND, "a");
    append(&f, "j", FAKE_APPEND, "x");
    append(&f, "k", FAKE_APPEND, "b");
    append(&f, "k", FAKE_APPEND, "c");
}

static void close_all(void)
{
    replay_close(&f);
}

START_TEST(without_room_an_entry_is_not_done_again_and_goes_when_there_is_room)
{
    atomic_store(&disk.writes_full, 1);
    replay_start(&f);
    RUN_UNTIL(&f.on.on, handed(&f, HANDBACK_WRITTEN) == 2);
    for (int i = 0; i < 300; i++)
        loop_fixture_turn(&f.on.on);
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), 2); /* k's next waits until its first has left */
    ck_assert_uint_eq(unsettled_entries(f.unsettled), 4);
    atomic_store(&disk.writes_full, 0);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "abc");
    ck_assert_str_eq(log_in_redis(&f, "j"), "x");
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), 4);
}
END_TEST

START_TEST(after_a_failed_sync_all_is_handed_back_once_though_nothing_can_be_removed)
{
    atomic_store(&disk.syncs_left, 0);
    replay_start(&f);
    RUN_UNTIL(&f.on.on, record_replay_idle(f.replay));
    ck_assert_str_eq(log_in_redis(&f, "k"), "abc");
    ck_assert_str_eq(log_in_redis(&f, "j"), "x");
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), 4);
    ck_assert_int_eq(spool_health(f.spool), SPOOL_BROKEN);
    /* A change that is about to find out that it cannot be committed makes nothing come again. */
    ck_assert(unsettled_enter(f.unsettled, JOURNAL_SESSION, SLICE_LITERAL("k")));
    for (int i = 0; i < 300; i++)
        loop_fixture_turn(&f.on.on);
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN) + handed(&f, HANDBACK_DONE), 4);
    unsettled_leave(f.unsettled, JOURNAL_SESSION, SLICE_LITERAL("k"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record_replay_disk");
    TCase *tc = test_case(suite, "disk", 20);
    tcase_add_checked_fixture(tc, open_all, close_all);
    tcase_add_test(tc, without_room_an_entry_is_not_done_again_and_goes_when_there_is_room);
    tcase_add_test(tc, after_a_failed_sync_all_is_handed_back_once_though_nothing_can_be_removed);
    return test_run(suite);
}
