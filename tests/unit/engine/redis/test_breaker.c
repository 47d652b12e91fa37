/* test_breaker: every arc of the drawing in breaker.h, on a clock that the test moves. */
#include "../../../support/support.h"
#include "engine/redis/breaker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static int64_t mono_us;

static int64_t read_mono(void *arg)
{
    (void)arg;
    return mono_us;
}

static int64_t read_wall(void *arg)
{
    (void)arg;
    return mono_us / 1000;
}

static const struct clock clock_of_test = {read_mono, read_wall, NULL};

static struct breaker *b;
static char changes[1024];

static void on_change(void *arg, enum breaker_state from, enum breaker_state to, const char *why)
{
    (void)arg;
    size_t len = strlen(changes);
    format(changes + len, sizeof changes - len, "%s>%s(%s) ", breaker_state_names[from],
           breaker_state_names[to], why);
}

static void open_breaker(void)
{
    mono_us = 3600 * INT64_C(1000000);
    b = breaker_create(&(struct breaker_options){.consecutive_failures = 5,
                                                 .failure_rate = 0.5,
                                                 .window_ms = 10000,
                                                 .min_calls = 20,
                                                 .open_min_ms = 500,
                                                 .open_max_ms = 5000,
                                                 .clock = &clock_of_test,
                                                 .on_change = on_change});
    ck_assert_ptr_nonnull(b);
}

static void close_breaker(void)
{
    breaker_destroy(&b);
    ck_assert_ptr_null(b);
    breaker_destroy(&b);
}

static void pass_ms(int64_t ms)
{
    mono_us += ms * 1000;
}

static void record(unsigned times, enum breaker_outcome outcome)
{
    for (unsigned i = 0; i < times; i++)
        breaker_record(b, breaker_generation(b), outcome);
}

START_TEST(it_begins_closed)
{
    ck_assert(breaker_allows(b));
    ck_assert_int_eq(breaker_state(b), BREAKER_CLOSED);
    ck_assert(!breaker_probe_begin(b, true)); /* nothing to probe */
    breaker_probe_end(b, false);
    ck_assert(breaker_allows(b));
    ck_assert_str_eq(changes, "");
}
END_TEST

START_TEST(failures_in_a_row_open_it)
{
    record(4, BREAKER_FAILURE);
    ck_assert(breaker_allows(b));
    record(1, BREAKER_SUCCESS);
    record(4, BREAKER_FAILURE);
    ck_assert(breaker_allows(b));
    record(1, BREAKER_FAILURE);
    ck_assert(!breaker_allows(b));
    ck_assert_str_eq(changes, "closed>open(consecutive_failures) ");
}
END_TEST

START_TEST(the_rate_of_failures_opens_it_once_enough_calls_are_in_the_window)
{
    for (int i = 0; i < 9; i++) {
        record(1, BREAKER_FAILURE);
        record(1, BREAKER_SUCCESS);
    }
    record(1, BREAKER_FAILURE);
    ck_assert(breaker_allows(b)); /* 19 calls */
    record(1, BREAKER_FAILURE);
    ck_assert(!breaker_allows(b));
    ck_assert_str_eq(changes, "closed>open(failure_rate) ");
}
END_TEST

START_TEST(a_rate_below_the_threshold_does_not)
{
    for (int i = 0; i < 200; i++) {
        record(2, BREAKER_SUCCESS);
        record(1, BREAKER_FAILURE);
    }
    ck_assert(breaker_allows(b));
}
END_TEST

START_TEST(slow_calls_count_for_the_rate_but_not_as_failures_in_a_row)
{
    record(19, BREAKER_SLOW);
    ck_assert(breaker_allows(b));
    record(1, BREAKER_SLOW);
    ck_assert(!breaker_allows(b));
    ck_assert_str_eq(changes, "closed>open(failure_rate) ");
}
END_TEST

START_TEST(a_slow_call_is_an_answer_and_ends_a_row_of_failures)
{
    record(4, BREAKER_FAILURE);
    record(1, BREAKER_SLOW);
    record(4, BREAKER_FAILURE);
    ck_assert(breaker_allows(b));
}
END_TEST

START_TEST(what_left_the_window_counts_no_more)
{
    for (int i = 0; i < 9; i++) {
        record(1, BREAKER_FAILURE);
        record(1, BREAKER_SUCCESS);
    }
    pass_ms(10000);
    record(1, BREAKER_FAILURE);
    record(1, BREAKER_SUCCESS);
    record(1, BREAKER_FAILURE);
    ck_assert(breaker_allows(b));
}
END_TEST

START_TEST(the_window_rolls_slot_by_slot)
{
    for (int i = 0; i < 10; i++) { /* two a second, all bad, for ten seconds */
        record(1, BREAKER_SLOW);
        if (i < 9) pass_ms(1000);
    }
    record(9, BREAKER_SLOW);
    ck_assert(breaker_allows(b)); /* 19 in the window */
    pass_ms(1000);                /* the first one falls out */
    record(1, BREAKER_SLOW);
    ck_assert(breaker_allows(b));
    record(1, BREAKER_SLOW);
    ck_assert(!breaker_allows(b));
}
END_TEST

START_TEST(results_of_an_older_generation_are_ignored)
{
    uint32_t first = breaker_generation(b);
    record(5, BREAKER_FAILURE);
    ck_assert_uint_ne(breaker_generation(b), first);
    ck_assert(breaker_probe_begin(b, true));
    breaker_probe_end(b, true);
    ck_assert(breaker_allows(b));
    for (int i = 0; i < 100; i++)
        breaker_record(b, first, BREAKER_FAILURE);
    ck_assert(breaker_allows(b));
    record(4, BREAKER_FAILURE);
    breaker_record(b, first, BREAKER_SUCCESS); /* nor does it end a row */
    record(1, BREAKER_FAILURE);
    ck_assert(!breaker_allows(b));
}
END_TEST

START_TEST(while_open_nothing_but_a_probe_changes_it)
{
    record(5, BREAKER_FAILURE);
    uint32_t generation = breaker_generation(b);
    record(50, BREAKER_SUCCESS);
    record(50, BREAKER_FAILURE);
    ck_assert_uint_eq(breaker_generation(b), generation);
    breaker_probe_end(b, true); /* none began */
    ck_assert_int_eq(breaker_state(b), BREAKER_OPEN);
}
END_TEST

START_TEST(a_probe_begins_when_due_and_its_success_closes)
{
    record(5, BREAKER_FAILURE);
    ck_assert(!breaker_probe_begin(b, false));
    pass_ms(500);
    ck_assert(breaker_probe_begin(b, false));
    ck_assert(!breaker_allows(b)); /* half-open is for the probe alone */
    ck_assert(!breaker_probe_begin(b, true));
    breaker_probe_end(b, true);
    ck_assert(breaker_allows(b));
    ck_assert_str_eq(changes, "closed>open(consecutive_failures) open>half-open(probe) "
                              "half-open>closed(probe succeeded) ");
}
END_TEST

START_TEST(a_successful_connect_probes_before_it_is_due)
{
    record(5, BREAKER_FAILURE);
    ck_assert(breaker_probe_begin(b, true));
    breaker_probe_end(b, false);
    ck_assert_int_eq(breaker_state(b), BREAKER_OPEN);
    ck_assert_ptr_nonnull(strstr(changes, "half-open>open(probe failed)"));
}
END_TEST

static int64_t wait_until_due(void)
{
    int64_t waited = 0;
    while (!breaker_probe_begin(b, false)) {
        pass_ms(1);
        ck_assert_int_lt(++waited, 100000);
    }
    return waited;
}

START_TEST(each_failed_probe_doubles_the_wait_up_to_the_cap_jittered_down_to_half)
{
    static const int64_t WAIT[] = {500, 1000, 2000, 4000, 5000, 5000};
    bool varies = false;
    for (int round = 0; round < 20; round++) {
        int64_t first = 0;
        record(5, BREAKER_FAILURE);
        for (size_t i = 0; i < sizeof WAIT / sizeof WAIT[0]; i++) {
            int64_t waited = wait_until_due();
            ck_assert_int_ge(waited, WAIT[i] / 2);
            ck_assert_int_le(waited, WAIT[i]);
            if (i == 0) first = waited;
            breaker_probe_end(b, i + 1 == sizeof WAIT / sizeof WAIT[0]); /* the last closes: from 500 again */
        }
        varies = varies || first != 500;
        changes[0] = 0;
    }
    ck_assert(varies);
}
END_TEST

START_TEST(closing_forgets_what_was_counted)
{
    record(19, BREAKER_SLOW);
    record(5, BREAKER_FAILURE);
    ck_assert(breaker_probe_begin(b, true));
    breaker_probe_end(b, true);
    record(4, BREAKER_FAILURE);
    record(14, BREAKER_SLOW);
    ck_assert(breaker_allows(b));
}
END_TEST

static void *fail_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        (void)breaker_allows(b);
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
    }
    return NULL;
}

START_TEST(many_threads_open_it_once)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fail_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_str_eq(changes, "closed>open(consecutive_failures) ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("breaker");
    TCase *c = test_case(suite, "breaker", 20);
    tcase_add_checked_fixture(c, open_breaker, close_breaker);
    tcase_add_test(c, it_begins_closed);
    tcase_add_test(c, failures_in_a_row_open_it);
    tcase_add_test(c, the_rate_of_failures_opens_it_once_enough_calls_are_in_the_window);
    tcase_add_test(c, a_rate_below_the_threshold_does_not);
    tcase_add_test(c, slow_calls_count_for_the_rate_but_not_as_failures_in_a_row);
    tcase_add_test(c, a_slow_call_is_an_answer_and_ends_a_row_of_failures);
    tcase_add_test(c, what_left_the_window_counts_no_more);
    tcase_add_test(c, the_window_rolls_slot_by_slot);
    tcase_add_test(c, results_of_an_older_generation_are_ignored);
    tcase_add_test(c, while_open_nothing_but_a_probe_changes_it);
    tcase_add_test(c, a_probe_begins_when_due_and_its_success_closes);
    tcase_add_test(c, a_successful_connect_probes_before_it_is_due);
    tcase_add_test(c, each_failed_probe_doubles_the_wait_up_to_the_cap_jittered_down_to_half);
    tcase_add_test(c, closing_forgets_what_was_counted);
    tcase_add_test(c, many_threads_open_it_once);
    return test_run(suite);
}
