/* Facts about log: the bytes of a line, rates, the ring's bound, and that a reader who does not read holds
 * nobody up. The log's clock is the test's; only the flush at the end is real time. */
#include "log/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic int64_t now_us;

static int64_t mono_us(void *arg)
{
    (void)arg;
    return now_us;
}

static int64_t wall_ms(void *arg)
{
    (void)arg;
    return 1767323045678;
}

static const struct clock test_clock = {.mono_us = mono_us, .wall_ms = wall_ms};

static int ends[2];
static struct log *lg;
static char text[1 << 20];

static void start(enum log_format format)
{
    struct log_options options = {.fd = ends[1], .level = LOG_INFO, .format = format, .clock = &test_clock};
    lg = log_create(&options);
    ck_assert_ptr_nonnull(lg);
}

static void setup(void)
{
    now_us = 0;
    ck_assert_int_eq(pipe(ends), 0);
}

static void teardown(void)
{
    log_destroy(&lg);
    ck_assert_ptr_null(lg);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Ends the log and returns all that it wrote. */
static const char *finish(void)
{
    log_destroy(&lg);
    (void)close(ends[1]);
    ends[1] = -1;
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

static size_t count_of(const char *haystack, const char *needle)
{
    size_t n = 0;
    for (const char *p = haystack; (p = strstr(p, needle)); p++)
        n++;
    return n;
}

START_TEST(logfmt_quotes_what_needs_it)
{
    start(LOG_LOGFMT);
    LOG(lg, LOG_WARN, "circuit opened", LOG_S("node", "127.0.0.1:6379"), LOG_I("failures", -5),
        LOG_S("empty", ""), LOG_S("absent", NULL), LOG_S("blank", "a b"), LOG_S("equals", "a=b"),
        LOG_S("quote", "a\"b\\"));
    ck_assert_str_eq(finish(), "ts=2026-01-02T03:04:05.678Z level=warn event=\"circuit opened\" "
                               "node=127.0.0.1:6379 failures=-5 empty=\"\" blank=\"a b\" equals=\"a=b\" "
                               "quote=\"a\\\"b\\\\\"\n");
}
END_TEST

START_TEST(json_lines_are_json)
{
    start(LOG_JSON);
    LOG(lg, LOG_ERROR, "x", LOG_S("s", "a\"b\\c"), LOG_I("n", INT64_MIN), LOG_S("absent", NULL));
    log_write(lg, LOG_INFO, "y", NULL, 0);
    ck_assert_str_eq(finish(), "{\"ts\":\"2026-01-02T03:04:05.678Z\",\"level\":\"error\",\"event\":\"x\","
                               "\"s\":\"a\\\"b\\\\c\",\"n\":-9223372036854775808}\n"
                               "{\"ts\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"event\":\"y\"}\n");
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    const char *shown;
} hostile[] = {
    {"a\nb\r\tc", 6, "\"a\\nb\\r\\tc\""},
    {"\0\x01\x1b[31m\x7f", 8, "\"\\u0000\\u0001\\u001b[31m\\u007f\""},
    {"\xC2\x9B"
     "31m",
     5, "\"\\u009b31m\""},
    {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\""},
    {"\xFF\xC0\xAFz", 4, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\""},
    {"\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
    {"\xE2\x82", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
    {"\xF4\x90\x80\x80", 4, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
    {"\xE0\x80\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
};

START_TEST(hostile_bytes_are_escaped_in_both_formats)
{
    char want[128];
    start(_i % 2 ? LOG_JSON : LOG_LOGFMT);
    size_t at = (size_t)_i / 2;
    LOG(lg, LOG_INFO, "x", LOG_SL("v", ((struct slice){hostile[at].bytes, hostile[at].len})));
    (void)snprintf(want, sizeof want, _i % 2 ? ",\"v\":%s}\n" : " v=%s\n", hostile[at].shown);
    const char *got = finish();
    ck_assert_msg(strstr(got, want) != NULL, "got %s", got);
    ck_assert_uint_eq(count_of(got, "\n"), 1);
}
END_TEST

START_TEST(a_long_value_is_cut_at_a_character)
{
    char value[2000];
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = "\xC3\xA4"[i % 2];
    start(LOG_JSON);
    LOG(lg, LOG_INFO, "even", LOG_SL("v", ((struct slice){value, sizeof value})));
    LOG(lg, LOG_INFO, "odd", LOG_SL("v", ((struct slice){value + 1, sizeof value - 1})));
    const char *got = finish();
    ck_assert_uint_eq(count_of(got, "\xC3\xA4\xE2\x80\xA6\"}\n"), 2);
    ck_assert_uint_eq(count_of(got, "\xEF\xBF\xBD"), 1); /* the odd one's first byte, none at its end */
}
END_TEST

START_TEST(a_line_that_is_too_long_loses_whole_fields_and_says_so)
{
    char value[LOG_VALUE_MAX];
    memset(value, 1, sizeof value); /* six bytes each once escaped */
    struct slice v = {value, sizeof value};
    start(LOG_JSON);
    LOG(lg, LOG_INFO, "x", LOG_SL("a", v), LOG_SL("b", v), LOG_I("c", 7));
    const char *got = finish();
    ck_assert_uint_le(strlen(got), LOG_LINE_MAX);
    ck_assert_ptr_null(strstr(got, "\"b\""));
    ck_assert_ptr_nonnull(strstr(got, "\\u0001\",\"c\":7,\"cut\":true}\n"));
}
END_TEST

START_TEST(lines_below_the_level_are_not_written)
{
    start(LOG_LOGFMT);
    log_write(lg, LOG_DEBUG, "one", NULL, 0);
    log_set_level(lg, LOG_DEBUG);
    log_write(lg, LOG_DEBUG, "two", NULL, 0);
    log_set_level(lg, LOG_ERROR);
    log_write(lg, LOG_WARN, "three", NULL, 0);
    log_write(NULL, LOG_ERROR, "four", NULL, 0);
    log_set_level(NULL, LOG_ERROR);
    ck_assert_uint_eq(log_dropped(NULL), 0);
    ck_assert_str_eq(finish(), "ts=2026-01-02T03:04:05.678Z level=debug event=two\n");
}
END_TEST

START_TEST(an_event_has_twenty_lines_a_second_and_tells_of_the_others)
{
    char same[] = "noise"; /* the text counts, not where it stands */
    start(LOG_LOGFMT);
    for (int i = 0; i < 50; i++)
        log_write(lg, LOG_INFO, i % 2 ? "noise" : same, NULL, 0);
    log_write(lg, LOG_INFO, "other", NULL, 0);
    now_us = 999999;
    log_write(lg, LOG_INFO, "noise", NULL, 0);
    now_us = 1000000;
    log_write(lg, LOG_INFO, "noise", NULL, 0);
    log_write(lg, LOG_INFO, "noise", NULL, 0);
    ck_assert_uint_eq(log_dropped(lg), 0);
    const char *got = finish();
    ck_assert_uint_eq(count_of(got, "event=noise"), 22);
    ck_assert_uint_eq(count_of(got, "event=noise suppressed=31\n"), 1);
    ck_assert_uint_eq(count_of(got, "event=other\n"), 1);
}
END_TEST

START_TEST(more_events_than_the_table_holds_are_all_written)
{
    static char events[500][32]; /* within the ring, however late its thread is */
    start(LOG_LOGFMT);
    for (int i = 0; i < 500; i++) {
        (void)snprintf(events[i], sizeof events[i], "event-%d", i);
        now_us++;
        log_write(lg, LOG_INFO, events[i], NULL, 0);
    }
    ck_assert_uint_eq(count_of(finish(), "\n"), 500);
}
END_TEST

START_TEST(the_access_log_has_no_rate)
{
    start(LOG_LOGFMT);
    for (int i = 0; i < 100; i++)
        log_write_each(lg, LOG_INFO, "request", &LOG_I("i", i), 1);
    log_write_each(lg, LOG_DEBUG, "request", NULL, 0);
    ck_assert_uint_eq(count_of(finish(), "event=request i="), 100);
}
END_TEST

static int64_t elapsed_ms(const struct timespec *from)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (t.tv_sec - from->tv_sec) * 1000 + (t.tv_nsec - from->tv_nsec) / 1000000;
}

START_TEST(a_stuck_reader_holds_nobody_up_and_drops_are_counted)
{
    char value[400];
    memset(value, 'v', sizeof value);
    struct timespec from;
    start(LOG_LOGFMT);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 2000; i++)
        log_write_each(lg, LOG_INFO, "x", &LOG_SL("v", ((struct slice){value, sizeof value})), 1);
    ck_assert_int_lt(elapsed_ms(&from), 1000);
    ck_assert_uint_gt(log_dropped(lg), 500);
    clock_gettime(CLOCK_MONOTONIC, &from);
    log_destroy(&lg);
    ck_assert_int_lt(elapsed_ms(&from), 1500);
    ck_assert_int_ge(elapsed_ms(&from), 500);
}
END_TEST

START_TEST(a_reader_who_comes_back_is_told_what_was_dropped)
{
    char value[400];
    memset(value, 'v', sizeof value);
    start(LOG_LOGFMT);
    for (int i = 0; i < 2000; i++)
        log_write_each(lg, LOG_INFO, "x", &LOG_SL("v", ((struct slice){value, sizeof value})), 1);
    uint64_t dropped = log_dropped(lg);
    char want[64];
    (void)snprintf(want, sizeof want, "dropped=%llu\n", (unsigned long long)dropped);
    size_t len = 0;
    do {
        ssize_t n = read(ends[0], text + len, sizeof text - 1 - len);
        ck_assert_int_gt(n, 0);
        len += (size_t)n;
        text[len] = '\0';
    } while (!strstr(text, want));
    ck_assert_uint_eq(count_of(text, "event=x"), 2000 - dropped);
    ck_assert_uint_eq(count_of(text, "level=warn"), 1);
}
END_TEST

/* A terminal is writable for poll when there is room for anything, and then takes all or hangs: so the thread
 * hangs in write, not in poll. */
START_TEST(a_thread_that_hangs_in_write_does_not_hang_destroy)
{
    char value[LOG_VALUE_MAX], sink[65536];
    memset(value, 'v', sizeof value);
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0) return; /* no terminals in this sandbox */
    ck_assert_int_eq(grantpt(terminal), 0);
    ck_assert_int_eq(unlockpt(terminal), 0);
    int fd = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    ck_assert_int_ge(fd, 0);
    struct log_options options = {.fd = fd, .level = LOG_INFO, .format = LOG_JSON, .clock = &test_clock};
    struct timespec from;
    lg = log_create(&options);
    for (int i = 0; i < 400; i++)
        log_write_each(lg, LOG_INFO, "x", &LOG_SL("v", ((struct slice){value, sizeof value})), 1);
    clock_gettime(CLOCK_MONOTONIC, &from);
    log_destroy(&lg);
    ck_assert_int_lt(elapsed_ms(&from), 1500);
    ck_assert_int_ge(elapsed_ms(&from), 950); /* sooner, and it was in poll */
    /* Read on, so that the thread ends and frees what it was left with. */
    while (poll(&(struct pollfd){.fd = terminal, .events = POLLIN}, 1, 200) > 0 &&
           read(terminal, sink, sizeof sink) > 0)
        continue;
    /* The descriptors stay open until the test's process ends: nobody joined the thread that has them. */
}
END_TEST

START_TEST(a_closed_reader_costs_lines_not_the_process)
{
    (void)signal(SIGPIPE, SIG_DFL);
    start(LOG_LOGFMT);
    (void)close(ends[0]);
    log_write(lg, LOG_INFO, "x", NULL, 0);
    while (log_dropped(lg) == 0)
        (void)poll(NULL, 0, 1);
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    log_destroy(&lg);
    ck_assert_int_lt(elapsed_ms(&from), 500);
    ends[0] = -1;
}
END_TEST

START_TEST(a_descriptor_that_does_not_block_is_waited_for)
{
    char value[400];
    memset(value, 'v', sizeof value);
    ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    start(LOG_LOGFMT);
    for (int i = 0; i < 500; i++)
        log_write_each(lg, LOG_INFO, "x", &LOG_SL("v", ((struct slice){value, sizeof value})), 1);
    size_t len = 0;
    while (len == 0 || count_of(text, "event=x") < 500) {
        ssize_t n = read(ends[0], text + len, sizeof text - 1 - len);
        ck_assert_int_gt(n, 0);
        len += (size_t)n;
        text[len] = '\0';
    }
    ck_assert_uint_eq(log_dropped(lg), 0);
}
END_TEST

enum { WRITERS = 4, LINES = 200, TOTAL = WRITERS * LINES };

static void *write_many(void *arg)
{
    for (int i = 0; i < LINES; i++)
        LOG(arg, LOG_INFO, "from a thread", LOG_I("i", i));
    for (int i = 0; i < LINES; i++)
        log_write_each(arg, LOG_INFO, "each", &LOG_I("i", i), 1);
    return NULL;
}

static void *read_all(void *arg)
{
    size_t *len = arg;
    for (ssize_t n; (n = read(ends[0], text + *len, sizeof text - 1 - *len)) > 0;)
        *len += (size_t)n;
    return NULL;
}

START_TEST(lines_of_many_threads_stay_whole)
{
    pthread_t writers[WRITERS], reader;
    size_t len = 0;
    start(LOG_LOGFMT);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, &len), 0);
    for (size_t i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&writers[i], NULL, write_many, lg), 0);
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    log_destroy(&lg);
    (void)close(ends[1]);
    ends[1] = -1;
    pthread_join(reader, NULL);
    text[len] = '\0';
    ck_assert_uint_eq(count_of(text, "\n"), TOTAL + LOG_SITE_PER_S);
    ck_assert_uint_eq(count_of(text, "Z level=info event=each i="), TOTAL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, logfmt_quotes_what_needs_it);
    tcase_add_test(t, json_lines_are_json);
    tcase_add_loop_test(t, hostile_bytes_are_escaped_in_both_formats, 0,
                        (int)(2 * sizeof hostile / sizeof *hostile));
    tcase_add_test(t, a_long_value_is_cut_at_a_character);
    tcase_add_test(t, a_line_that_is_too_long_loses_whole_fields_and_says_so);
    tcase_add_test(t, lines_below_the_level_are_not_written);
    tcase_add_test(t, an_event_has_twenty_lines_a_second_and_tells_of_the_others);
    tcase_add_test(t, more_events_than_the_table_holds_are_all_written);
    tcase_add_test(t, the_access_log_has_no_rate);
    tcase_add_test(t, a_stuck_reader_holds_nobody_up_and_drops_are_counted);
    tcase_add_test(t, a_reader_who_comes_back_is_told_what_was_dropped);
    tcase_add_test(t, a_thread_that_hangs_in_write_does_not_hang_destroy);
    tcase_add_test(t, a_closed_reader_costs_lines_not_the_process);
    tcase_add_test(t, a_descriptor_that_does_not_block_is_waited_for);
    tcase_add_test(t, lines_of_many_threads_stay_whole);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
