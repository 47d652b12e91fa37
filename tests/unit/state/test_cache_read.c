/* test_cache_read: who answers a read, and what a late answer may leave in the table. */
#include "state_fixture.h"

static struct state_fixture f;
static atomic_uint step;

static void open_redis(void)
{
    state_open(&f);
}

static void close_all(void)
{
    state_close(&f);
}

static void put_direct(const char *key, const char *value)
{
    char name[128];
    ck_assert_str_eq(
        resp_text(f.direct, "SET", FORMAT(name, "phoenix:cache:%s", key), value, "PX", "60000", NULL), "OK");
}

static void invalidated(const char *key)
{
    char name[128];
    cache_store_invalidate(f.store, slice_of(FORMAT(name, "phoenix:cache:%s", key)));
}

START_TEST(redis_answers_and_under_live_tracking_the_table_the_next_time)
{
    put_direct("k", "{\"a\":1}");
    lru_trust_begin(f.lru);
    ck_assert_str_eq(read_now(&f, "k", 0), "redis {\"a\":1}");
    ck_assert_str_eq(read_now(&f, "k", 0), "near {\"a\":1}");
    ck_assert_str_eq(read_now(&f, "k", CACHE_NO_CACHE), "redis {\"a\":1}");
    ck_assert_uint_eq(fake_redis_count(f.fake, "GETRANGE"), 2);
}
END_TEST

START_TEST(without_tracking_every_read_goes_to_redis)
{
    put_direct("k", "1");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    put_direct("k", "2");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 2");
}
END_TEST

START_TEST(an_invalidation_and_the_loss_of_tracking_end_trust)
{
    put_direct("k", "1");
    lru_trust_begin(f.lru);
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    put_direct("k", "2");
    invalidated("k");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 2");
    ck_assert_str_eq(read_now(&f, "k", 0), "near 2");
    lru_trust_end(f.lru);
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 2");
    cache_store_invalidate(f.store, SLICE_NONE);
    cache_store_invalidate(f.store, SLICE_LITERAL("other")); /* not below the prefix: nothing to do */
}
END_TEST

START_TEST(a_miss_is_known_and_drops_what_the_table_had)
{
    put_direct("k", "1");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    ck_assert_int_eq(resp_integer(f.direct, "DEL", "phoenix:cache:k", NULL), 1);
    ck_assert_str_eq(read_now(&f, "k", 0), "miss not_found");
    state_open_circuit(&f);
    ck_assert_str_eq(read_now(&f, "k", 0), "miss not_found unavailable local");
}
END_TEST

START_TEST(while_the_circuit_is_open_the_table_answers)
{
    put_direct("k", "1");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    state_open_circuit(&f);
    ck_assert_str_eq(read_now(&f, "k", 0), "stale 1 local");
    ck_assert_str_eq(read_now(&f, "k", CACHE_NO_CACHE), "stale 1 local");
    ck_assert_str_eq(read_now(&f, "other", 0), "miss not_found unavailable local");
}
END_TEST

START_TEST(only_if_cached_never_asks)
{
    put_direct("k", "1");
    ck_assert_str_eq(read_now(&f, "k", CACHE_ONLY_IF_CACHED), "miss not_in_table local");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    ck_assert_str_eq(read_now(&f, "k", CACHE_ONLY_IF_CACHED), "stale 1 local");
    ck_assert_uint_eq(fake_redis_count(f.fake, "GETRANGE"), 1);
}
END_TEST

START_TEST(what_is_no_json_or_another_type_or_too_large_is_foreign)
{
    char *large = must_alloc(100003);
    memset(large, 'x', 100002);
    large[0] = large[100001] = '"';
    put_direct("text", "not json");
    put_direct("empty", "");
    put_direct("large", large);
    ck_assert_int_eq(resp_integer(f.direct, "LPUSH", "phoenix:cache:list", "1", NULL), 1);
    ck_assert_str_eq(read_now(&f, "text", 0), "miss foreign_value");
    ck_assert_str_eq(read_now(&f, "empty", 0), "miss foreign_value");
    ck_assert_str_eq(read_now(&f, "large", 0), "miss foreign_value");
    ck_assert_str_eq(read_now(&f, "list", 0), "miss foreign_value");
    free(large);
}
END_TEST

static struct fake_verdict hold_once(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.hold = fake_command_is(c, "GETRANGE") && atomic_fetch_add(&step, 1) == 0};
}

/* A read whose reply is held back while the key changes. */
static const char *read_across(void (*change)(void))
{
    static struct state_read r;
    fake_redis_script(f.fake, hold_once, NULL);
    read_begin(&f, &r, "k");
    RUN_UNTIL(&f.on, fake_redis_count(f.fake, "GETRANGE") == 1);
    change();
    fake_redis_release(f.fake);
    RUN_UNTIL(&f.on, r.done);
    return result_text(&r.result);
}

static void change_invalidated(void)
{
    put_direct("k", "\"new\"");
    invalidated("k");
}

static void change_written_here(void)
{
    lru_touch_slot(f.lru, slice_of("k"));
}

static void change_tracking(void)
{
    lru_trust_end(f.lru);
    lru_trust_begin(f.lru);
}

static void change_nothing(void)
{
}

static const struct {
    void (*change)(void);
    const char *next;
} RACES[] = {{change_nothing, "near \"old\""},
             {change_invalidated, "redis \"new\""},
             {change_written_here, "redis \"old\""},
             {change_tracking, "redis \"old\""}};

START_TEST(an_answer_that_was_overtaken_is_not_trusted)
{
    put_direct("k", "\"old\"");
    lru_trust_begin(f.lru);
    ck_assert_str_eq(read_across(RACES[_i].change), "redis \"old\"");
    ck_assert_str_eq(read_now(&f, "k", 0), RACES[_i].next);
}
END_TEST

START_TEST(a_pending_write_of_ours_is_read_before_redis)
{
    char value[200];
    put_direct("k", "1");
    state_open_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", VALUE_AT(value, "ours", 30), wall_ms()), "ok local");
    state_close_circuit(&f);
    ck_assert_ptr_nonnull(strstr(read_now(&f, "k", CACHE_NO_CACHE), "local {\"response\":\"ours\""));
    state_open_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, wall_ms() + 1), "ok replaced local");
    state_close_circuit(&f);
    ck_assert_str_eq(read_now(&f, "k", 0), "miss not_found local");
}
END_TEST

static struct fake_verdict cut_once(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.cut = fake_command_is(c, "GETRANGE") && atomic_fetch_add(&step, 1) == 0,
                                 .cut_at = 3};
}

START_TEST(a_read_whose_connection_died_asks_once_more)
{
    put_direct("k", "1");
    fake_redis_script(f.fake, cut_once, NULL);
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    ck_assert_uint_eq(fake_redis_count(f.fake, "GETRANGE"), 2);
}
END_TEST

static struct fake_verdict cut_always(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.cut = fake_command_is(c, "GETRANGE")};
}

START_TEST(but_not_for_ever)
{
    put_direct("k", "1");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    fake_redis_script(f.fake, cut_always, NULL);
    ck_assert_str_eq(read_now(&f, "k", 0), "stale 1 local");
    ck_assert_uint_eq(fake_redis_count(f.fake, "GETRANGE"), 3);
}
END_TEST

static struct fake_verdict refuse(void *arg, const struct fake_command *c)
{
    const char *const *reply = arg;
    return (struct fake_verdict){.reply = fake_command_is(c, "GETRANGE") ? *reply : NULL};
}

START_TEST(a_refusal_falls_back_to_the_table_without_repeating)
{
    static const char *ERRORS[] = {"-LOADING Redis is loading\r\n", "-NOPERM no\r\n", "-OOM no\r\n"};
    put_direct("k", "1");
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
    for (size_t i = 0; i < 3; i++) {
        fake_redis_script(f.fake, refuse, &ERRORS[i]);
        ck_assert_str_eq(read_now(&f, "k", 0), "stale 1 local");
        ck_assert_str_eq(read_now(&f, "none", 0), "miss not_found unavailable local");
    }
    ck_assert_uint_eq(fake_redis_count(f.fake, "GETRANGE"), 7);
}
END_TEST

static struct fake_verdict appears(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool first = fake_command_is(c, "PTTL") && atomic_fetch_add(&step, 1) == 0;
    return (struct fake_verdict){.reply = first ? ":-2\r\n" : NULL};
}

START_TEST(a_key_that_comes_between_the_two_commands_is_asked_for_again)
{
    put_direct("k", "1");
    fake_redis_script(f.fake, appears, NULL);
    ck_assert_str_eq(read_now(&f, "k", 0), "redis 1");
}
END_TEST

static struct fake_verdict goes(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool first = fake_command_is(c, "PTTL") && atomic_fetch_add(&step, 1) == 0;
    return (struct fake_verdict){.reply = first ? ":1\r\n" : NULL};
}

START_TEST(a_key_that_goes_between_the_two_commands_is_a_miss_not_foreign)
{
    fake_redis_script(f.fake, goes, NULL);
    ck_assert_str_eq(read_now(&f, "k", 0), "miss not_found");
}
END_TEST

START_TEST(what_is_left_to_live_comes_from_redis)
{
    struct state_read r;
    put_direct("k", "1");
    ck_assert_str_eq(resp_text(f.direct, "SET", "phoenix:cache:forever", "1", NULL), "OK");
    read_begin(&f, &r, "k");
    RUN_UNTIL(&f.on, r.done);
    int64_t left = lru_entry_meta(r.result.entry)->expires_ms - wall_ms();
    ck_assert_int_gt(left, 60000 - test_ms(5000));
    ck_assert_int_le(left, 60001);
    lru_release(r.result.entry);
    read_begin(&f, &r, "forever");
    RUN_UNTIL(&f.on, r.done);
    ck_assert_int_eq(lru_entry_meta(r.result.entry)->expires_ms, 0);
    lru_release(r.result.entry);
}
END_TEST

START_TEST(embedded_the_table_is_the_truth)
{
    struct state_fixture e;
    char value[200];
    state_open_embedded(&e);
    ck_assert(cache_store_embedded(e.store) && !cache_store_degraded(e.store, SLICE_LITERAL("k")));
    ck_assert_str_eq(read_now(&e, "k", 0), "miss not_found local");
    ck_assert_str_eq(read_now(&e, "k", CACHE_ONLY_IF_CACHED), "miss not_in_table local");
    ck_assert_str_eq(write_now(&e, CACHE_PUT, "k", VALUE_AT(value, "v", 1), wall_ms()), "ok local");
    ck_assert_ptr_nonnull(strstr(read_now(&e, "k", CACHE_NO_CACHE), "local {\"response\":\"v\""));
    state_close(&e);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_read");
    TCase *c = test_case(suite, "read", 30);
    tcase_add_checked_fixture(c, open_redis, close_all);
    tcase_add_test(c, redis_answers_and_under_live_tracking_the_table_the_next_time);
    tcase_add_test(c, without_tracking_every_read_goes_to_redis);
    tcase_add_test(c, an_invalidation_and_the_loss_of_tracking_end_trust);
    tcase_add_test(c, a_miss_is_known_and_drops_what_the_table_had);
    tcase_add_test(c, while_the_circuit_is_open_the_table_answers);
    tcase_add_test(c, only_if_cached_never_asks);
    tcase_add_test(c, what_is_no_json_or_another_type_or_too_large_is_foreign);
    tcase_add_loop_test(c, an_answer_that_was_overtaken_is_not_trusted, 0, sizeof RACES / sizeof RACES[0]);
    tcase_add_test(c, a_pending_write_of_ours_is_read_before_redis);
    tcase_add_test(c, a_read_whose_connection_died_asks_once_more);
    tcase_add_test(c, but_not_for_ever);
    tcase_add_test(c, a_refusal_falls_back_to_the_table_without_repeating);
    tcase_add_test(c, a_key_that_comes_between_the_two_commands_is_asked_for_again);
    tcase_add_test(c, a_key_that_goes_between_the_two_commands_is_a_miss_not_foreign);
    tcase_add_test(c, what_is_left_to_live_comes_from_redis);
    TCase *e = test_case(suite, "embedded", 10);
    tcase_add_test(e, embedded_the_table_is_the_truth);
    return test_run(suite);
}
