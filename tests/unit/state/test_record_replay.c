/* test_record_replay: order, once, pace, and what becomes of each kind of failure. */
#include "replay_fixture.h"

static struct replay_fixture f;
static atomic_uint step;

static void open_all(void)
{
    replay_open(&f);
}

static void close_all(void)
{
    replay_close(&f);
}

static bool is_script(const struct fake_command *c)
{
    return fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
}

static bool is_write_of(const struct fake_command *c, const char *key)
{
    return is_script(c) && c->argc > 7 && fake_command_names(c, key);
}

START_TEST(a_keys_entries_arrive_in_their_order_and_leave_the_spool)
{
    append(&f, "k", FAKE_APPEND, "a");
    append(&f, "other", FAKE_APPEND, "x");
    append(&f, "k", FAKE_APPEND, "b");
    append(&f, "k", FAKE_APPEND, "c");
    ck_assert_int_eq(journal_stats(&f).entries, 4);
    replay_start(&f);
    ck_assert(!record_replay_idle(f.replay));
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "abc");
    ck_assert_str_eq(log_in_redis(&f, "other"), "x");
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), 4);
    ck_assert(!unsettled_has(f.unsettled, JOURNAL_SESSION, SLICE_LITERAL("k")));
}
END_TEST

START_TEST(a_value_gets_the_time_that_is_left)
{
    append(&f, "k", FAKE_APPEND, "a");
    f.on.on.ahead_us += 20 * INT64_C(1000000);
    replay_start(&f);
    run_dry(&f);
    long long left = resp_integer(f.on.direct, "PTTL", "phoenix:session:k", NULL);
    ck_assert(left > 20000 && left <= 40000);
}
END_TEST

START_TEST(what_expired_meanwhile_is_dropped_with_what_it_replaced)
{
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:old", "{\"log\":\"o\"}"), "OK");
    append(&f, "new", FAKE_APPEND, "a");
    append(&f, "old", FAKE_APPEND, "a");
    f.on.on.ahead_us += 61 * INT64_C(1000000);
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(resp_text(f.on.direct, "GET", "phoenix:session:new"), "");
    WAIT_FOR(*resp_text(f.on.direct, "GET", "phoenix:session:old") == 0, 1000);
    ck_assert_uint_eq(handed(&f, HANDBACK_EXPIRED), 2);
}
END_TEST

START_TEST(nothing_is_handed_back_while_the_circuit_is_open_or_a_given_up_connection_may_live)
{
    append(&f, "k", FAKE_APPEND, "a");
    struct condemned c = {.client_id = 999, .run_id = "other"};
    state_open_circuit(&f.on);
    redis_node_condemn(f.on.node, &c);
    replay_start(&f);
    for (int i = 0; i < 150; i++)
        loop_fixture_turn(&f.on.on);
    state_close_circuit(&f.on);
    for (int i = 0; i < 150; i++)
        loop_fixture_turn(&f.on.on);
    ck_assert_uint_eq(unsettled_entries(f.unsettled), 1);
    redis_node_absolve(f.on.node, &c, 1);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "a");
}
END_TEST

START_TEST(what_redis_had_before_a_crash_is_not_done_twice)
{
    struct fake_entry e;
    char value[200];
    append_begin(&f, &e, "k", FAKE_APPEND, "a");
    (void)FORMAT(value, "{\"log\":\"a\",\"writes\":[\"%s\"]}", e.change_id);
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:k", value), "OK");
    append_submit(&f, &e);
    RUN_UNTIL(&f.on.on, e.done);
    append(&f, "k", FAKE_APPEND, "b");
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "ab");
    ck_assert_uint_eq(handed(&f, HANDBACK_DONE), 1);
}
END_TEST

START_TEST(a_deletion_leaves_its_id_and_is_not_done_twice)
{
    struct fake_entry e;
    char gone[] = "phoenix:gone:session:{phoenix:session:k}";
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:k", "{\"log\":\"o\"}"), "OK");
    append_begin(&f, &e, "k", FAKE_DELETE, "");
    append_submit(&f, &e);
    RUN_UNTIL(&f.on.on, e.done);
    replay_start(&f);
    run_dry(&f);
    ck_assert_int_eq(resp_integer(f.on.direct, "EXISTS", "phoenix:session:k", NULL), 0);
    ck_assert_int_eq(strncmp(resp_text(f.on.direct, "GET", gone), e.change_id, UUID_SIZE - 1), 0);
    long long left = resp_integer(f.on.direct, "PTTL", gone, NULL);
    ck_assert(left > 50000 && left <= 60000);
    e.done = false;
    append_submit(&f, &e);
    RUN_UNTIL(&f.on.on, e.done);
    run_dry(&f);
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), 1);
    ck_assert_uint_eq(handed(&f, HANDBACK_DONE), 1);
}
END_TEST

static struct fake_verdict lose_the_first_reply(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_write_of(c, "phoenix:session:k") && atomic_fetch_add(&step, 1) == 0)
        return (struct fake_verdict){.cut = true};
    return (struct fake_verdict){0};
}

START_TEST(a_write_whose_reply_is_lost_takes_effect_once)
{
    fake_redis_script(f.on.fake, lose_the_first_reply, NULL);
    append(&f, "k", FAKE_APPEND, "a");
    append(&f, "k", FAKE_APPEND, "b");
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "ab");
}
END_TEST

static struct fake_verdict refuse_bad(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_write_of(c, "phoenix:session:bad") && atomic_fetch_add(&step, 1) < 4)
        return (struct fake_verdict){.reply = "-OOM command not allowed\r\n"};
    return (struct fake_verdict){0};
}

START_TEST(a_refused_key_waits_and_holds_up_no_other)
{
    fake_redis_script(f.on.fake, refuse_bad, NULL);
    append(&f, "bad", FAKE_APPEND, "a");
    append(&f, "bad", FAKE_APPEND, "b");
    for (int i = 0; i < 40; i++) {
        char id[16];
        append(&f, FORMAT(id, "k%d", i), FAKE_APPEND, "x");
    }
    replay_start(&f);
    RUN_UNTIL(&f.on.on, unsettled_entries(f.unsettled) == 2);
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), 40);
    ck_assert_str_eq(log_in_redis(&f, "bad"), "");
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "bad"), "ab");
    ck_assert_uint_eq(handed(&f, HANDBACK_REFUSED), 4);
}
END_TEST

START_TEST(what_redis_will_never_take_is_set_aside)
{
    ck_assert_int_eq(resp_integer(f.on.direct, "LPUSH", "phoenix:session:list", "x", NULL), 1);
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:text", "no json"), "OK");
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:empty", ""), "OK");
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:alien", "{\"a\":1}"), "OK");
    char large[1200];
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = 0;
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:large", large), "OK");
    static const char *const IDS[] = {"list", "text", "empty", "alien", "large"};
    for (int i = 0; i < 5; i++)
        append(&f, IDS[i], FAKE_APPEND, "a");
    append(&f, "list", FAKE_APPEND, "b");
    replay_start(&f);
    run_dry(&f);
    ck_assert_int_eq(journal_stats(&f).set_aside, 6);
    ck_assert_uint_eq(handed(&f, HANDBACK_FOREIGN), 6);
    ck_assert_str_eq(resp_text(f.on.direct, "GET", "phoenix:session:text"), "no json");
    ck_assert_str_eq(resp_text(f.on.direct, "GET", "phoenix:session:alien"), "{\"a\":1}");
}
END_TEST

START_TEST(what_is_older_than_age_max_is_given_up)
{
    f.age_max_ms = 30000;
    append(&f, "old", FAKE_APPEND, "a");
    f.on.on.ahead_us += 31 * INT64_C(1000000);
    append(&f, "young", FAKE_APPEND, "b");
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "old"), "");
    ck_assert_str_eq(log_in_redis(&f, "young"), "b");
    ck_assert_uint_eq(handed(&f, HANDBACK_GIVEN_UP), 1);
}
END_TEST

START_TEST(no_more_than_per_s_go_in_a_second)
{
    enum { ENTRIES = 30, PER_S = 100, BURST = 4 };
    f.per_s = PER_S;
    for (int i = 0; i < ENTRIES; i++) {
        char id[16];
        append(&f, FORMAT(id, "k%d", i), FAKE_APPEND, "x");
    }
    replay_start(&f);
    int64_t begin = now_us();
    while (!record_replay_idle(f.replay)) {
        loop_fixture_turn(&f.on.on);
        int64_t allowed = (now_us() - begin) * PER_S / 1000000 + BURST;
        ck_assert_int_le((int)handed(&f, HANDBACK_WRITTEN), allowed);
    }
    ck_assert_uint_eq(handed(&f, HANDBACK_WRITTEN), ENTRIES);
}
END_TEST

static struct resp_client *stranger;

static struct fake_verdict write_before(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_write_of(c, "phoenix:session:k") && atomic_fetch_add(&step, 1) == 0)
        resp_call(stranger, "SET", "phoenix:session:k", "{\"log\":\"F\"}");
    return (struct fake_verdict){0};
}

START_TEST(a_foreign_write_in_between_is_merged_with_and_not_overwritten)
{
    char text[300];
    stranger = redis_server_client(f.on.server);
    fake_redis_script(f.on.fake, write_before, NULL);
    append(&f, "k", FAKE_APPEND, "a");
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "Fa");
    ck_assert_uint_eq((unsigned)metrics_sum(f.metrics, METRIC_JOURNAL_CONFLICTS, 0, 0), 1);
    const char key[] = {JOURNAL_SESSION, 'k'};
    struct lru_hit hit; /* the table has what came of it */
    ck_assert(lru_get(f.on.lru, (struct slice){key, sizeof key}, &hit));
    struct slice copy = lru_entry_value(hit.entry);
    ck_assert_str_eq(FORMAT(text, "%.*s", (int)copy.len, copy.ptr),
                     resp_text(f.on.direct, "GET", "phoenix:session:k"));
    lru_release(hit.entry);
    resp_close(&stranger);
}
END_TEST

START_TEST(what_the_rules_drop_is_a_conflict_once)
{
    ck_assert_str_eq(resp_text(f.on.direct, "SET", "phoenix:session:k", "{\"log\":\"o\"}"), "OK");
    append(&f, "k", FAKE_DROP, "");
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "o");
    ck_assert_uint_eq(handed(&f, HANDBACK_DROPPED), 1);
    ck_assert_uint_eq((unsigned)metrics_sum(f.metrics, METRIC_JOURNAL_CONFLICTS, 0, 0), 1);
}
END_TEST

static struct fake_entry late;

static void append_once(struct replay_fixture *fixture, const struct record_entry *entry)
{
    (void)entry;
    fixture->on_merge = NULL;
    append_submit(fixture, &late);
}

START_TEST(a_write_that_comes_while_its_key_is_in_hand_goes_next)
{
    append_begin(&f, &late, "k", FAKE_APPEND, "b");
    append(&f, "k", FAKE_APPEND, "a");
    f.on_merge = append_once;
    replay_start(&f);
    run_dry(&f);
    ck_assert(late.done);
    ck_assert_str_eq(log_in_redis(&f, "k"), "ab");
}
END_TEST

static enum db_result run_merge_touch(struct db *db, void *arg)
{
    struct db_entry newest;
    enum db_result result = db_journal_newest(db, JOURNAL_SESSION, SLICE_LITERAL("k"), &newest);
    return result == DB_OK ? db_journal_replace(db, newest.seq, &((struct fake_entry *)arg)->entry) : result;
}

static void replace_once(struct replay_fixture *fixture, const struct record_entry *entry)
{
    (void)entry;
    fixture->on_merge = NULL;
    late.op.run = run_merge_touch;
    ck_assert(spool_submit(fixture->spool, &late.op));
}

START_TEST(an_entry_that_is_replaced_while_in_hand_is_handed_back_again)
{
    append_begin(&f, &late, "k", FAKE_APPEND, "b");
    append(&f, "k", FAKE_APPEND, "a");
    f.on_merge = replace_once;
    replay_start(&f);
    run_dry(&f);
    ck_assert_str_eq(log_in_redis(&f, "k"), "ab");
}
END_TEST

static unsigned lock_calls;

static void hand_lock(void *arg, struct slice name, struct slice body, handback_lock_done_fn *done,
                      void *done_arg)
{
    (void)arg;
    ck_assert(slice_equal_text(name, "lock") && slice_equal_text(body, "token"));
    static const enum handback OUTCOMES[] = {HANDBACK_AWAY, HANDBACK_REFUSED, HANDBACK_DROPPED};
    done(done_arg, OUTCOMES[lock_calls++], true, "why");
}

START_TEST(a_release_goes_to_the_locks)
{
    struct fake_entry e;
    f.hand_lock_back = hand_lock;
    append_begin(&f, &e, "lock", 1, "token");
    e.entry.kind = JOURNAL_LOCK;
    append_submit(&f, &e);
    replay_start(&f);
    RUN_UNTIL(&f.on.on, e.done);
    run_dry(&f);
    ck_assert_uint_eq(lock_calls, 3);
    ck_assert_uint_eq(handed(&f, HANDBACK_DROPPED), 1);
    ck_assert_uint_eq(handed(&f, HANDBACK_REFUSED), 1);
    ck_assert_uint_eq((unsigned)metrics_sum(f.metrics, METRIC_JOURNAL_CONFLICTS, 0, 0), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record_replay");
    TCase *tc = test_case(suite, "hand-back", 20);
    tcase_add_checked_fixture(tc, open_all, close_all);
    tcase_add_test(tc, a_keys_entries_arrive_in_their_order_and_leave_the_spool);
    tcase_add_test(tc, a_value_gets_the_time_that_is_left);
    tcase_add_test(tc, what_expired_meanwhile_is_dropped_with_what_it_replaced);
    tcase_add_test(tc, nothing_is_handed_back_while_the_circuit_is_open_or_a_given_up_connection_may_live);
    tcase_add_test(tc, what_redis_had_before_a_crash_is_not_done_twice);
    tcase_add_test(tc, a_deletion_leaves_its_id_and_is_not_done_twice);
    tcase_add_test(tc, a_write_whose_reply_is_lost_takes_effect_once);
    tcase_add_test(tc, a_refused_key_waits_and_holds_up_no_other);
    tcase_add_test(tc, what_redis_will_never_take_is_set_aside);
    tcase_add_test(tc, what_is_older_than_age_max_is_given_up);
    tcase_add_test(tc, no_more_than_per_s_go_in_a_second);
    tcase_add_test(tc, a_foreign_write_in_between_is_merged_with_and_not_overwritten);
    tcase_add_test(tc, what_the_rules_drop_is_a_conflict_once);
    tcase_add_test(tc, a_write_that_comes_while_its_key_is_in_hand_goes_next);
    tcase_add_test(tc, an_entry_that_is_replaced_while_in_hand_is_handed_back_again);
    tcase_add_test(tc, a_release_goes_to_the_locks);
    return test_run(suite);
}
