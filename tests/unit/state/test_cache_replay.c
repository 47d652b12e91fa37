/* test_cache_replay: what is handed back, what yields, and what is tried again. */
#include "state_fixture.h"

#include "state/cache_replay.h"

static struct state_fixture f;
static struct cache_replay *replay;
static struct metrics *metrics;
static atomic_uint step;
static char a[200], b[200];

static void open_all(void)
{
    static const char *const LABEL[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    struct metrics_labels labels = {0};
    for (int i = 0; i < LABEL_COUNT; i++) {
        labels.name[i] = "label";
        labels.values[i] = LABEL;
        labels.count[i] = 8;
    }
    state_open(&f);
    ck_assert_ptr_nonnull(metrics = metrics_create(&labels));
    f.port.cell = metrics_cell(metrics);
    state_open_circuit(&f);
    (void)VALUE_AT(a, "a", 10);
    (void)VALUE_AT(b, "b", 20);
}

static void start(void)
{
    state_close_circuit(&f);
    replay = cache_replay_create(&(struct cache_replay_options){.port = &f.port, .per_s = 1000});
    ck_assert_ptr_nonnull(replay);
}

static void close_all(void)
{
    redis_pool_destroy(&f.pool);
    cache_replay_destroy(&replay);
    ck_assert_ptr_null(replay);
    cache_replay_destroy(&replay);
    state_close(&f);
    metrics_destroy(&metrics);
}

static unsigned outcome(enum replay_outcome o)
{
    return (unsigned)metrics_sum(metrics, METRIC_REPLAYS, o, 0);
}

static void keep(enum cache_write_kind kind, const char *key, const char *value, int64_t stamp_ms)
{
    const char *text = write_now(&f, kind, key, value, stamp_ms);
    ck_assert_msg(strncmp(text, "ok", 2) == 0 && strstr(text, "local"), "%s", text);
}

static void set_direct(const char *value)
{
    ck_assert_str_eq(resp_text(f.direct, "SET", "phoenix:cache:k", value, NULL), "OK");
}

static const char *in_redis(void)
{
    return resp_text(f.direct, "GET", "phoenix:cache:k", NULL);
}

static void run_out(void)
{
    RUN_UNTIL(&f.on, pending(&f) == 0);
}

START_TEST(a_write_is_handed_back_with_the_time_that_is_left)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    f.on.ahead_us += 20 * INT64_C(1000000);
    start();
    run_out();
    ck_assert_str_eq(in_redis(), a);
    long long left = resp_integer(f.direct, "PTTL", "phoenix:cache:k", NULL);
    ck_assert(left > 20000 && left <= 40000);
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 1);
    state_open_circuit(&f); /* the copy stays as a fallback */
    ck_assert_int_eq(strncmp(read_now(&f, "k", 0), "stale ", 6), 0);
}
END_TEST

START_TEST(nothing_is_handed_back_while_the_circuit_is_open_or_a_given_up_connection_may_live)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    struct condemned c = {.client_id = 999, .run_id = "other"};
    redis_node_condemn(f.node, &c);
    start();
    f.on.ahead_us += 1000000;
    for (int i = 0; i < 50; i++)
        loop_fixture_turn(&f.on);
    ck_assert_uint_eq(pending(&f), 1);
    ck_assert_str_eq(in_redis(), "");
    redis_node_absolve(f.node, &c, 1);
    run_out();
    ck_assert_str_eq(in_redis(), a);
}
END_TEST

START_TEST(over_an_older_value_ours_is_written)
{
    set_direct(a);
    keep(CACHE_PUT, "k", b, STAMP_AT(20));
    start();
    run_out();
    ck_assert_str_eq(in_redis(), b);
}
END_TEST

START_TEST(to_a_later_value_ours_yields)
{
    set_direct(b);
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    start();
    run_out();
    ck_assert_str_eq(in_redis(), b);
    ck_assert_uint_eq(outcome(REPLAY_YIELDED), 1);
    ck_assert_str_eq(read_now(&f, "k", CACHE_ONLY_IF_CACHED), "miss not_in_table local");
}
END_TEST

START_TEST(the_same_bytes_had_arrived_and_are_not_written_again)
{
    set_direct(a);
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    start();
    run_out();
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 1);
    ck_assert_uint_eq(fake_redis_count(f.fake, "EVALSHA") + fake_redis_count(f.fake, "EVAL"), 0);
}
END_TEST

START_TEST(a_deletion_deletes_what_is_older_and_yields_to_what_is_later)
{
    set_direct(a);
    keep(CACHE_DELETE, "k", NULL, STAMP_AT(15));
    start();
    run_out();
    ck_assert_str_eq(in_redis(), "");
    state_open_circuit(&f);
    keep(CACHE_DELETE, "k", NULL, STAMP_AT(15));
    set_direct(b);
    state_close_circuit(&f);
    run_out();
    ck_assert_str_eq(in_redis(), b);
    ck_assert_uint_eq(outcome(REPLAY_YIELDED), 1);
}
END_TEST

START_TEST(a_deletion_of_nothing_is_done)
{
    keep(CACHE_DELETE, "k", NULL, STAMP_AT(15));
    start();
    run_out();
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 1);
}
END_TEST

START_TEST(another_type_is_left_alone_and_counted)
{
    ck_assert_int_eq(resp_integer(f.direct, "LPUSH", "phoenix:cache:k", "x", NULL), 1);
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    start();
    run_out();
    ck_assert_int_eq(resp_integer(f.direct, "LLEN", "phoenix:cache:k", NULL), 1);
    ck_assert_uint_eq(outcome(REPLAY_FOREIGN), 1);
}
END_TEST

START_TEST(what_has_expired_meanwhile_is_never_written)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    f.on.ahead_us += 61 * INT64_C(1000000);
    start();
    run_out();
    ck_assert_str_eq(in_redis(), "");
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN) + outcome(REPLAY_EXPIRED), 1);
    ck_assert_uint_eq(fake_redis_count(f.fake, "EVALSHA") + fake_redis_count(f.fake, "EVAL"), 0);
    ck_assert_str_eq(read_now(&f, "k", CACHE_ONLY_IF_CACHED), "miss not_in_table local");
}
END_TEST

START_TEST(what_an_expired_value_had_replaced_is_deleted)
{
    set_direct(a);
    keep(CACHE_PUT, "k", b, STAMP_AT(20));
    f.on.ahead_us += 61 * INT64_C(1000000);
    ck_assert_uint_eq(pending(&f), 1);
    start();
    run_out();
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", "phoenix:cache:k", NULL), 0);
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 1);
    ck_assert_uint_eq(outcome(REPLAY_REFUSED), 0);
}
END_TEST

START_TEST(an_expired_value_yields_to_a_later_one)
{
    set_direct(b);
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    f.on.ahead_us += 61 * INT64_C(1000000);
    start();
    run_out();
    ck_assert_str_eq(in_redis(), b);
    ck_assert_uint_eq(outcome(REPLAY_YIELDED), 1);
}
END_TEST

static struct fake_verdict refuse_twice(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool script = fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
    return (struct fake_verdict){.reply =
                                     script && atomic_fetch_add(&step, 1) < 2 ? "-OOM no memory\r\n" : NULL};
}

START_TEST(a_refused_one_is_tried_again_after_a_while)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    fake_redis_script(f.fake, refuse_twice, NULL);
    start();
    run_out();
    ck_assert_str_eq(in_redis(), a);
    ck_assert_uint_eq(outcome(REPLAY_REFUSED), 2);
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 1);
}
END_TEST

static struct fake_verdict cut_first(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool script = fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
    return (struct fake_verdict){.cut = script && atomic_fetch_add(&step, 1) == 0};
}

START_TEST(one_in_doubt_is_looked_at_again)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    fake_redis_script(f.fake, cut_first, NULL);
    start();
    run_out();
    ck_assert_str_eq(in_redis(), a);
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 1);
}
END_TEST

static struct fake_verdict hold_script(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool script = fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
    return (struct fake_verdict){.hold = script && atomic_fetch_add(&step, 1) == 0};
}

START_TEST(a_newer_write_of_the_key_goes_after_the_one_under_way)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    fake_redis_script(f.fake, hold_script, NULL);
    start();
    RUN_UNTIL(&f.on, atomic_load(&step) == 1);
    keep(CACHE_PUT, "k", b, STAMP_AT(20)); /* behind the first, in the table */
    fake_redis_release(f.fake);
    run_out();
    ck_assert_str_eq(in_redis(), b);
}
END_TEST

static struct fake_verdict change_before_write(void *arg, const struct fake_command *c)
{
    /* Another daemon writes between the look and the write: the script sees other bytes. */
    bool script = fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
    if (script && atomic_fetch_add(&step, 1) == 0) {
        struct resp_client *r = resp_connect(*(int *)arg, 5000);
        (void)resp_call(r, "SET", "phoenix:cache:k", b, NULL);
        resp_close(&r);
    }
    return (struct fake_verdict){0};
}

START_TEST(a_value_that_came_between_look_and_write_is_looked_at_anew)
{
    int port = redis_server_port(f.server);
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    fake_redis_script(f.fake, change_before_write, &port);
    start();
    run_out();
    ck_assert_str_eq(in_redis(), b);
    ck_assert_uint_eq(outcome(REPLAY_YIELDED), 1);
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), 0);
}
END_TEST

START_TEST(a_backlog_of_many_keys_is_drained)
{
    enum { KEYS = 300 };
    char key[16], name[40];
    for (int i = 0; i < KEYS; i++)
        keep(CACHE_PUT, FORMAT(key, "k%d", i), a, STAMP_AT(10));
    start();
    run_out();
    for (int i = 0; i < KEYS; i += 37)
        ck_assert_str_eq(resp_text(f.direct, "GET", FORMAT(name, "phoenix:cache:k%d", i), NULL), a);
    ck_assert_uint_eq(outcome(REPLAY_WRITTEN), KEYS);
}
END_TEST

START_TEST(destroyed_in_the_middle_it_leaves_the_write_pending)
{
    keep(CACHE_PUT, "k", a, STAMP_AT(10));
    fake_redis_script(f.fake, hold_script, NULL);
    start();
    RUN_UNTIL(&f.on, atomic_load(&step) == 1);
    redis_pool_destroy(&f.pool);
    cache_replay_destroy(&replay);
    ck_assert_uint_eq(pending(&f), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_replay");
    TCase *c = test_case(suite, "replay", 30);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, a_write_is_handed_back_with_the_time_that_is_left);
    tcase_add_test(c, nothing_is_handed_back_while_the_circuit_is_open_or_a_given_up_connection_may_live);
    tcase_add_test(c, over_an_older_value_ours_is_written);
    tcase_add_test(c, to_a_later_value_ours_yields);
    tcase_add_test(c, the_same_bytes_had_arrived_and_are_not_written_again);
    tcase_add_test(c, a_deletion_deletes_what_is_older_and_yields_to_what_is_later);
    tcase_add_test(c, a_deletion_of_nothing_is_done);
    tcase_add_test(c, another_type_is_left_alone_and_counted);
    tcase_add_test(c, what_has_expired_meanwhile_is_never_written);
    tcase_add_test(c, what_an_expired_value_had_replaced_is_deleted);
    tcase_add_test(c, an_expired_value_yields_to_a_later_one);
    tcase_add_test(c, a_refused_one_is_tried_again_after_a_while);
    tcase_add_test(c, one_in_doubt_is_looked_at_again);
    tcase_add_test(c, a_newer_write_of_the_key_goes_after_the_one_under_way);
    tcase_add_test(c, a_value_that_came_between_look_and_write_is_looked_at_anew);
    tcase_add_test(c, a_backlog_of_many_keys_is_drained);
    tcase_add_test(c, destroyed_in_the_middle_it_leaves_the_write_pending);
    return test_run(suite);
}
