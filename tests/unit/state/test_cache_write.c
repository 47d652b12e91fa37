/* test_cache_write: what a write may promise, whatever Redis does with it. */
#include "state_fixture.h"

static struct state_fixture f;
static atomic_uint step;
static char a[200], b[200];

static void open_redis(void)
{
    state_open(&f);
    (void)VALUE_AT(a, "a", 1);
    (void)VALUE_AT(b, "b", 2);
}

static void close_all(void)
{
    state_close(&f);
}

static const char *in_redis(void)
{
    return resp_text(f.direct, "GET", "phoenix:cache:k", NULL);
}

START_TEST(redis_takes_it_with_its_time_to_live)
{
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok");
    ck_assert_str_eq(in_redis(), a);
    long long left = resp_integer(f.direct, "PTTL", "phoenix:cache:k", NULL);
    ck_assert(left > 30000 && left <= 60000);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", b, STAMP_AT(2)), "ok replaced");
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, wall_ms()), "ok replaced");
    ck_assert_str_eq(in_redis(), "");
    ck_assert_uint_eq(pending(&f), 0);
}
END_TEST

START_TEST(create_only_is_redis_to_decide)
{
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, STAMP_AT(1)), "ok");
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", b, STAMP_AT(2)), "precondition_failed");
    ck_assert_str_eq(in_redis(), a);
}
END_TEST

START_TEST(what_was_written_is_not_trusted_until_read_back)
{
    lru_trust_begin(f.lru);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok");
    ck_assert_int_eq(strncmp(read_now(&f, "k", 0), "redis ", 6), 0);
    ck_assert_int_eq(strncmp(read_now(&f, "k", 0), "near ", 5), 0);
}
END_TEST

START_TEST(another_type_is_left_alone)
{
    ck_assert_int_eq(resp_integer(f.direct, "LPUSH", "phoenix:cache:k", "x", NULL), 1);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "foreign_value");
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, STAMP_AT(1)), "foreign_value");
    ck_assert_int_eq(resp_integer(f.direct, "LLEN", "phoenix:cache:k", NULL), 1);
}
END_TEST

START_TEST(with_the_circuit_open_it_is_kept_and_a_create_is_not)
{
    state_open_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, STAMP_AT(1)), "redis_unavailable local");
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok local");
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "other", NULL, wall_ms()), "ok local");
    ck_assert_uint_eq(pending(&f), 2);
}
END_TEST

START_TEST(behind_a_pending_write_everything_is_local_creates_too)
{
    state_open_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok local");
    state_close_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", b, STAMP_AT(2)), "precondition_failed local");
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", b, STAMP_AT(2)), "ok replaced local");
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, wall_ms()), "ok replaced local");
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, wall_ms() + 1), "ok local");
    ck_assert_str_eq(in_redis(), "");
    ck_assert_uint_eq(pending(&f), 1);
}
END_TEST

static struct fake_verdict refuse(void *arg, const struct fake_command *c)
{
    const char *const *reply = arg;
    bool write = fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL") || fake_command_is(c, "DEL");
    return (struct fake_verdict){.reply = write ? *reply : NULL};
}

static const struct {
    const char *error, *create;
} REFUSALS[] = {{"-OOM no\r\n", "redis_refused local"},
                {"-READONLY no\r\n", "redis_refused local"},
                {"-NOAUTH no\r\n", "redis_refused local"},
                {"-LOADING no\r\n", "redis_unavailable local"}};

START_TEST(what_redis_does_not_take_is_kept_and_a_create_is_told_so)
{
    const char *reply = REFUSALS[_i].error;
    fake_redis_script(f.fake, refuse, &reply);
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "c", a, STAMP_AT(1)), REFUSALS[_i].create);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok local");
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "d", NULL, wall_ms()), "ok local");
    ck_assert_uint_eq(pending(&f), 2);
    fake_redis_script(f.fake, NULL, NULL);
}
END_TEST

START_TEST(what_the_table_cannot_keep_is_not_promised)
{
    enum { LARGE = 1 << 20 };
    char *value = must_alloc(LARGE);
    memset(value, 'x', LARGE - 1);
    state_open_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", value, STAMP_AT(1)), "redis_unavailable local");
    ck_assert_uint_eq(pending(&f), 0);
    free(value);
}
END_TEST

START_TEST(a_script_flushed_away_is_sent_with_its_source)
{
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok");
    ck_assert_str_eq(resp_text(f.direct, "SCRIPT", "FLUSH", NULL), "OK");
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", b, STAMP_AT(2)), "ok replaced");
    ck_assert_str_eq(in_redis(), b);
}
END_TEST

/* --- in doubt --- */

static bool is_script(const struct fake_command *c)
{
    return fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
}

/* The first script is executed, its answer never arrives. */
static struct fake_verdict lose_answer(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.cut = is_script(c) && atomic_fetch_add(&step, 1) == 0};
}

/* It is not executed at all. */
static struct fake_verdict lose_command(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool first = is_script(c) && atomic_fetch_add(&step, 1) == 0;
    return (struct fake_verdict){.reply = first ? "+" : NULL, .cut = first};
}

static void know_script(void)
{
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "first", a, STAMP_AT(1)), "ok");
}

START_TEST(a_create_in_doubt_that_arrived_is_ok)
{
    know_script();
    fake_redis_script(f.fake, lose_answer, NULL);
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, STAMP_AT(1)), "ok");
    ck_assert_str_eq(in_redis(), a);
    ck_assert_uint_eq(pending(&f), 0);
}
END_TEST

START_TEST(one_that_did_not_arrive_is_sent_again)
{
    know_script();
    fake_redis_script(f.fake, lose_command, NULL);
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, STAMP_AT(1)), "ok");
    ck_assert_str_eq(in_redis(), a);
    ck_assert_uint_eq(atomic_load(&step), 2);
}
END_TEST

START_TEST(one_that_lost_against_another_is_412)
{
    know_script();
    ck_assert_str_eq(resp_text(f.direct, "SET", "phoenix:cache:k", b, NULL), "OK");
    fake_redis_script(f.fake, lose_answer, NULL);
    ck_assert_str_eq(write_now(&f, CACHE_CREATE, "k", a, STAMP_AT(1)), "precondition_failed");
    ck_assert_str_eq(in_redis(), b);
}
END_TEST

static struct fake_verdict then_refuse_all(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_script(c)) {
        atomic_store(&step, 1);
        return (struct fake_verdict){.cut = true};
    }
    return (struct fake_verdict){.cut = atomic_load(&step) != 0};
}

START_TEST(one_that_cannot_be_settled_by_the_deadline_is_unknown_and_not_kept)
{
    struct state_write w;
    know_script();
    fake_redis_script(f.fake, then_refuse_all, NULL);
    write_begin(&f, &w, CACHE_CREATE, "k", a, STAMP_AT(1));
    RUN_UNTIL(&f.on, atomic_load(&step));
    for (int i = 0; i < 30; i++)
        loop_fixture_turn(&f.on);
    ck_assert_uint_eq(w.done, 0);
    f.on.ahead_us += test_ms(2001) * 1000;
    RUN_UNTIL(&f.on, w.done);
    ck_assert_str_eq(write_text(&w.write), "outcome_unknown");
    ck_assert_uint_eq(pending(&f), 0);
}
END_TEST

START_TEST(nor_once_the_circuit_opens)
{
    struct state_write w;
    know_script();
    fake_redis_script(f.fake, then_refuse_all, NULL);
    write_begin(&f, &w, CACHE_CREATE, "k", a, STAMP_AT(1));
    RUN_UNTIL(&f.on, atomic_load(&step));
    state_open_circuit(&f);
    RUN_UNTIL(&f.on, w.done);
    ck_assert_str_eq(write_text(&w.write), "outcome_unknown");
}
END_TEST

START_TEST(an_unguarded_one_in_doubt_is_kept_to_be_handed_back)
{
    know_script();
    fake_redis_script(f.fake, lose_answer, NULL);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", a, STAMP_AT(1)), "ok local");
    ck_assert_uint_eq(pending(&f), 1);
    ck_assert_int_eq(strncmp(read_now(&f, "k", 0), "local ", 6), 0);
}
END_TEST

START_TEST(embedded_writes_are_the_tables)
{
    struct state_fixture e;
    state_open_embedded(&e);
    (void)VALUE_AT(a, "a", 1);
    ck_assert_str_eq(write_now(&e, CACHE_CREATE, "k", a, STAMP_AT(1)), "ok local");
    ck_assert_str_eq(write_now(&e, CACHE_CREATE, "k", a, STAMP_AT(1)), "precondition_failed local");
    ck_assert_str_eq(write_now(&e, CACHE_PUT, "k", a, STAMP_AT(2)), "ok replaced local");
    ck_assert_str_eq(write_now(&e, CACHE_DELETE, "k", NULL, STAMP_AT(3)), "ok local");
    ck_assert_str_eq(read_now(&e, "k", 0), "miss not_found local");
    ck_assert_str_eq(write_now(&e, CACHE_CREATE, "k", a, STAMP_AT(1)), "ok local");
    ck_assert_uint_eq(pending(&e), 0);
    state_close(&e);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_write");
    TCase *c = test_case(suite, "write", 30);
    tcase_add_checked_fixture(c, open_redis, close_all);
    tcase_add_test(c, redis_takes_it_with_its_time_to_live);
    tcase_add_test(c, create_only_is_redis_to_decide);
    tcase_add_test(c, what_was_written_is_not_trusted_until_read_back);
    tcase_add_test(c, another_type_is_left_alone);
    tcase_add_test(c, with_the_circuit_open_it_is_kept_and_a_create_is_not);
    tcase_add_test(c, behind_a_pending_write_everything_is_local_creates_too);
    tcase_add_loop_test(c, what_redis_does_not_take_is_kept_and_a_create_is_told_so, 0,
                        sizeof REFUSALS / sizeof REFUSALS[0]);
    tcase_add_test(c, what_the_table_cannot_keep_is_not_promised);
    tcase_add_test(c, a_script_flushed_away_is_sent_with_its_source);
    tcase_add_test(c, a_create_in_doubt_that_arrived_is_ok);
    tcase_add_test(c, one_that_did_not_arrive_is_sent_again);
    tcase_add_test(c, one_that_lost_against_another_is_412);
    tcase_add_test(c, one_that_cannot_be_settled_by_the_deadline_is_unknown_and_not_kept);
    tcase_add_test(c, nor_once_the_circuit_opens);
    tcase_add_test(c, an_unguarded_one_in_doubt_is_kept_to_be_handed_back);
    TCase *e = test_case(suite, "embedded", 10);
    tcase_add_test(e, embedded_writes_are_the_tables);
    return test_run(suite);
}
