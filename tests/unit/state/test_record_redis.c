/* test_record_redis: changes that Redis takes, refuses, or gives to another first. */
#include "record_fixture.h"

static struct record_fixture f;
static atomic_uint step;
static char tag[ETAG_SIZE];

static void open_all(void)
{
    record_open(&f);
}

static void close_all(void)
{
    record_close(&f);
}

static void set_direct(const char *id, const char *value)
{
    char key[300];
    ck_assert_str_eq(
        resp_text(f.s.direct, "SET", FORMAT(key, "phoenix:session:%s", id), value, "PX", "60000", NULL),
        "OK");
}

START_TEST(a_change_is_read_applied_and_written_with_its_expiry)
{
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "2"), "ok n=2 new");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "3"), "ok n=5");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=5");
    ck_assert_str_eq(direct_n(&f, "k"), "5");
    long long left = resp_integer(f.s.direct, "PTTL", "phoenix:session:k", NULL);
    ck_assert(left > 60000 - test_ms(10000) && left <= 60000);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_RECORD_OPERATIONS, 0, 0), 4);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_RECORD_RACES, 0, 0), 0);
}
END_TEST

START_TEST(what_is_read_shows_tag_and_expiry)
{
    struct record_run r;
    set_direct("k", "{\"n\":7}");
    record_begin(&f, &r, OP_READ, "k", NULL);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_str_eq(r.etag, etag_of_n(tag, "7"));
    int64_t left = r.expires_ms - redis_node_wall_ms(f.s.node);
    ck_assert(left > 60000 - test_ms(10000) && left <= 60000);
    ck_assert_str_eq(resp_text(f.s.direct, "SET", "phoenix:session:k", "{\"n\":8}", NULL), "OK");
    record_begin(&f, &r, OP_READ, "k", NULL);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_int_eq(r.expires_ms, 0);
}
END_TEST

START_TEST(a_deletion_leaves_a_tombstone_and_a_write_removes_it)
{
    struct record_run r;
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "2"), "ok n=2 new");
    record_begin(&f, &r, OP_DELETE, "k", NULL);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_str_eq(r.text, "ok deleted");
    char expected[80];
    FORMAT(expected, "%s %lld", r.op.change.change_id, (long long)r.op.change.stamp_ms);
    ck_assert_str_eq(direct_tombstone(&f, "k"), expected);
    ck_assert_str_eq(direct_n(&f, "k"), "none");
    ck_assert_int_gt(resp_integer(f.s.direct, "PTTL", "phoenix:gone:session:{phoenix:session:k}", NULL), 0);

    int64_t deleted_ms = r.op.change.stamp_ms;
    record_begin(&f, &r, OP_READ, "k", NULL);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_int_eq(r.op.note[0], deleted_ms);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    ck_assert_str_eq(direct_tombstone(&f, "k"), "");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "none", NULL), "ok deleted new");
    ck_assert_str_ne(direct_tombstone(&f, "none"), "");
}
END_TEST

START_TEST(preconditions_are_judged_by_the_version_at_hand)
{
    struct {
        const char *id, *match, *none_match, *expected;
    } cases[] = {{"k", etag_of_n(tag, "1"), NULL, "ok n=2"},
                 {"k", tag, NULL, "precondition_failed"},
                 {"k", "*", NULL, "ok n=3"},
                 {"k", "\"0000000000000000\", \"1111111111111111\"", NULL, "precondition_failed"},
                 {"k", NULL, "*", "precondition_failed"},
                 {"k", NULL, tag, "ok n=4"},
                 {"other", "*", NULL, "precondition_failed"},
                 {"other", NULL, "*", "ok n=1 new"},
                 {"other", NULL, tag, "precondition_failed"}};
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_str_eq(record_if(&f, cases[i].id, cases[i].match, cases[i].none_match), cases[i].expected);
}
END_TEST

START_TEST(a_refusal_of_the_rules_is_the_answer_and_a_precondition_comes_before_it)
{
    struct record_run r;
    ck_assert_str_eq(record_now(&f, OP_PATCH, "k", "1"), "not_found");
    r = (struct record_run){.op = {.kind = JOURNAL_SESSION,
                                   .change = change_of(OP_PATCH, "k", "1"),
                                   .deadline_us = loop_now_us(f.s.on.loop) + test_ms(2000) * 1000,
                                   .done = on_record_done,
                                   .arg = &r}};
    r.op.change.if_match = slice_of("*");
    record_start(&f.ports[0], &r.op);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_str_eq(r.text, "precondition_failed");
}
END_TEST

START_TEST(what_is_no_record_is_foreign_and_left_as_it_is)
{
    char *large = must_alloc(10100);
    memset(large, ' ', 10099);
    large[10099] = 0;
    memcpy(large, "{\"n\":1}", 7);
    set_direct("large", large);
    set_direct("text", "not json");
    set_direct("empty", "");
    ck_assert_int_eq(resp_integer(f.s.direct, "LPUSH", "phoenix:session:list", "1", NULL), 1);
    static const char *const IDS[] = {"large", "text", "empty", "list"};
    for (size_t i = 0; i < 4; i++)
        for (unsigned op = OP_READ; op < OP_DELETE; op++)
            ck_assert_str_eq(record_now(&f, op, IDS[i], "1"), "foreign_value");
    ck_assert_str_eq(record_if(&f, "text", "*", NULL), "foreign_value");
    ck_assert_str_eq(resp_text(f.s.direct, "GET", "phoenix:session:text", NULL), "not json");
    free(large);
}
END_TEST

START_TEST(a_value_that_would_grow_over_the_bound_is_not_written)
{
    set_direct("k", "{\"n\":1}");
    ck_assert_str_eq(record_now(&f, OP_SET, "k", "9999"), "too_large");
    ck_assert_str_eq(direct_n(&f, "k"), "1");
}
END_TEST

static struct fake_verdict race_until(void *arg, const struct fake_command *c)
{
    unsigned *races = arg;
    bool lose = is_record_write(c) && atomic_fetch_add(&step, 1) < *races;
    return (struct fake_verdict){.reply = lose ? "*3\r\n$7\r\n{\"n\":7}\r\n:-1\r\n$-1\r\n" : NULL};
}

START_TEST(a_lost_race_is_tried_again_but_not_for_ever)
{
    static unsigned races = 3;
    set_direct("k", "{\"n\":7}");
    ck_assert_str_eq(record_now(&f, OP_ADD, "other", "1"), "ok n=1 new"); /* the scripts are known */
    fake_redis_script(f.s.fake, race_until, &races);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=8");
    ck_assert_uint_eq(atomic_load(&step), 4);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_RECORD_RACES, 0, 0), 3);
    races = 1000;
    atomic_store(&step, 0);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "overloaded");
    ck_assert_uint_eq(atomic_load(&step), 17);
    ck_assert_str_eq(direct_n(&f, "k"), "8");
}
END_TEST

START_TEST(an_optional_change_that_loses_a_race_answers_what_was_read)
{
    static unsigned races = 1000;
    set_direct("k", "{\"n\":4}");
    fake_redis_script(f.s.fake, race_until, &races);
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=4");
    ck_assert_uint_eq(atomic_load(&step), 1);
    fake_redis_script(f.s.fake, NULL, NULL);
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=4");
    ck_assert_int_gt(resp_integer(f.s.direct, "STRLEN", "phoenix:session:k", NULL), 20);
}
END_TEST

/* --- many at once --- */

enum { CLIENTS = 8, ROUNDS = 100 };

struct client {
    struct record_op op;
    struct record_port *port;
    bool guarded;
    char tag[ETAG_SIZE];
    unsigned left, others;
};

static void client_next(struct client *c);

static void on_client_done(struct record_op *op)
{
    struct client *c = op->arg;
    bool was_read = op->change.op == OP_READ;
    if (op->etag) etag_format(op->etag, c->tag);
    if (!was_read && op->status == STATUS_OK)
        c->left--;
    else if (op->status != STATUS_PRECONDITION_FAILED && !was_read)
        c->others++;
    c->op.change = (struct record_change){0};
    if (op->status == STATUS_PRECONDITION_FAILED && !was_read) c->tag[0] = 0;
    if (c->left && !c->others) client_next(c);
}

static void client_next(struct client *c)
{
    bool reads = c->guarded && !c->tag[0];
    c->op = (struct record_op){.kind = JOURNAL_SESSION,
                               .change = change_of(reads ? OP_READ : OP_ADD, "k", "1"),
                               .deadline_us = loop_now_us(f.s.on.loop) + test_ms(5000) * 1000,
                               .done = on_client_done,
                               .arg = c};
    if (c->guarded && !reads) c->op.change.if_match = slice_of(c->tag);
    record_start(c->port, &c->op);
}

static bool all_done(const struct client *clients)
{
    unsigned left = 0;
    for (int i = 0; i < CLIENTS; i++)
        left += clients[i].left && !clients[i].others;
    return left == 0;
}

START_TEST(increments_of_many_all_count_guarded_or_not)
{
    static struct client clients[CLIENTS];
    set_direct("k", "{\"n\":0}");
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.port = &f.ports[i % 2], .guarded = _i == 1, .left = ROUNDS};
        client_next(&clients[i]);
    }
    int64_t until = now_ms() + test_ms(20000);
    while (!all_done(clients) && now_ms() < until)
        loop_fixture_turn(&f.s.on);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_uint_eq(clients[i].others, 0);
        ck_assert_uint_eq(clients[i].left, 0);
    }
    ck_assert_str_eq(direct_n(&f, "k"), "800");
}
END_TEST

START_TEST(changes_of_one_key_on_one_loop_lose_no_races)
{
    static struct record_run runs[40];
    for (int i = 0; i < 40; i++)
        record_begin(&f, &runs[i], OP_ADD, i % 4 ? "k" : "other", "1");
    for (int i = 0; i < 40; i++) {
        RUN_UNTIL(&f.s.on, runs[i].done);
        ck_assert_uint_eq(runs[i].op.status, STATUS_OK);
    }
    ck_assert_str_eq(runs[39].text, "ok n=30"); /* in the order of their coming */
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_RECORD_RACES, 0, 0), 0);
}
END_TEST

static struct fake_verdict hold_writes(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.hold = is_record_write(c)};
}

START_TEST(one_that_waits_for_its_turn_is_told_by_its_deadline)
{
    static struct record_run first, second, reading;
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    fake_redis_script(f.s.fake, hold_writes, NULL);
    record_begin(&f, &first, OP_ADD, "k", "1");
    RUN_UNTIL(&f.s.on, strcmp(direct_n(&f, "k"), "2") == 0);
    f.s.on.ahead_us -= test_ms(1900) * 1000;
    record_begin(&f, &second, OP_ADD, "k", "1");
    f.s.on.ahead_us += test_ms(1900) * 1000;
    RUN_UNTIL(&f.s.on, second.done);
    ck_assert_str_eq(second.text, "overloaded");
    ck_assert_uint_eq(first.done, 0);
    record_begin(&f, &reading, OP_READ, "k", NULL); /* waits for nobody but its connection */
    fake_redis_release(f.s.fake);
    RUN_UNTIL(&f.s.on, first.done && reading.done);
    ck_assert_str_eq(first.text, "ok n=2");
    ck_assert_str_eq(reading.text, "ok n=2");
}
END_TEST

START_TEST(the_script_answers_a_lost_race_briefly_to_who_does_not_ask_for_more)
{
    const char *source = redis_script(REDIS_SCRIPT_RECORD_WRITE)->source.ptr;
    char *text = must_copy(source, redis_script(REDIS_SCRIPT_RECORD_WRITE)->source.len);
    struct {
        const char *condition, *expected;
        long long answer;
    } cases[] = {
        {"equals", "x", -1}, {"absent", "", 1}, {"absent", "", -1}, {"equals", "v", 1}, {"equals", "w", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_int_eq(resp_integer(f.s.direct, "EVAL", text, "2", "{k}v", "{k}g", cases[i].condition,
                                      cases[i].expected, "0", "v", "t", "1000", NULL),
                         cases[i].answer);
    ck_assert_int_eq(
        resp_integer(f.s.direct, "EVAL", text, "2", "{k}v", "{k}g", "equals", "v", "", "", "t", "1000", NULL),
        1);
    ck_assert_str_eq(resp_text(f.s.direct, "GET", "{k}g", NULL), "t");
    free(text);
}
END_TEST

/* --- refusals --- */

static struct fake_verdict refuse_writes(void *arg, const struct fake_command *c)
{
    const char *const *reply = arg;
    return (struct fake_verdict){.reply = is_record_write(c) ? *reply : NULL};
}

static struct fake_verdict refuse_reads(void *arg, const struct fake_command *c)
{
    const char *const *reply = arg;
    return (struct fake_verdict){.reply = is_record_read(c) ? *reply : NULL};
}

START_TEST(a_refusal_is_told_and_nothing_is_journaled)
{
    static const char *ERRORS[] = {"-OOM no\r\n", "-NOPERM no\r\n", "-MISCONF no\r\n"};
    set_direct("k", "{\"n\":4}");
    for (size_t i = 0; i < 3; i++) {
        fake_redis_script(f.s.fake, refuse_writes, &ERRORS[i]);
        ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "redis_refused");
        ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", "1"), "ok n=4");
        fake_redis_script(f.s.fake, refuse_reads, &ERRORS[i]);
        ck_assert_str_eq(record_now(&f, OP_READ, "k", "1"), "redis_refused");
    }
    ck_assert_str_eq(journal_text(&f, "k", false), "0 none");
    ck_assert_uint_eq(unsettled_entries(f.unsettled), 0);
}
END_TEST

START_TEST(a_full_redis_refuses_writes_and_still_deletes)
{
    set_direct("k", "{\"n\":4}");
    ck_assert_str_eq(resp_text(f.s.direct, "CONFIG", "SET", "maxmemory", "1", NULL), "OK");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=4");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "redis_refused");
    ck_assert_str_eq(direct_n(&f, "k"), "4");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "k", NULL), "ok deleted");
    ck_assert_str_eq(direct_n(&f, "k"), "none");
    ck_assert_str_ne(direct_tombstone(&f, "k"), "");
}
END_TEST

START_TEST(scripts_flushed_away_are_sent_with_their_source)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    ck_assert_str_eq(resp_text(f.s.direct, "SCRIPT", "FLUSH", NULL), "OK");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2");
}
END_TEST

START_TEST(another_type_under_the_tombstones_key_counts_as_none)
{
    ck_assert_int_eq(resp_integer(f.s.direct, "LPUSH", "phoenix:gone:session:{phoenix:session:k}", "1", NULL),
                     1);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "k", NULL), "ok deleted");
}
END_TEST

START_TEST(the_port_s_end_answers_what_is_in_flight)
{
    static struct record_run r;
    static unsigned races = 0;
    fake_redis_script(f.s.fake, race_until, &races);
    record_begin(&f, &r, OP_ADD, "k", "1");
    redis_pool_destroy(&f.s.pool);
    record_port_close(&f.ports[0]);
    ck_assert_uint_eq(r.done, 1);
    for (size_t i = 0; i < RECORD_BUCKETS; i++)
        ck_assert_ptr_null(f.ports[0].open[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record_redis");
    TCase *c = test_case(suite, "redis", 60);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, a_change_is_read_applied_and_written_with_its_expiry);
    tcase_add_test(c, what_is_read_shows_tag_and_expiry);
    tcase_add_test(c, a_deletion_leaves_a_tombstone_and_a_write_removes_it);
    tcase_add_test(c, preconditions_are_judged_by_the_version_at_hand);
    tcase_add_test(c, a_refusal_of_the_rules_is_the_answer_and_a_precondition_comes_before_it);
    tcase_add_test(c, what_is_no_record_is_foreign_and_left_as_it_is);
    tcase_add_test(c, a_value_that_would_grow_over_the_bound_is_not_written);
    tcase_add_test(c, a_lost_race_is_tried_again_but_not_for_ever);
    tcase_add_test(c, an_optional_change_that_loses_a_race_answers_what_was_read);
    tcase_add_loop_test(c, increments_of_many_all_count_guarded_or_not, 0, 2);
    tcase_add_test(c, changes_of_one_key_on_one_loop_lose_no_races);
    tcase_add_test(c, one_that_waits_for_its_turn_is_told_by_its_deadline);
    tcase_add_test(c, the_script_answers_a_lost_race_briefly_to_who_does_not_ask_for_more);
    tcase_add_test(c, a_refusal_is_told_and_nothing_is_journaled);
    tcase_add_test(c, a_full_redis_refuses_writes_and_still_deletes);
    tcase_add_test(c, scripts_flushed_away_are_sent_with_their_source);
    tcase_add_test(c, another_type_under_the_tombstones_key_counts_as_none);
    tcase_add_test(c, the_port_s_end_answers_what_is_in_flight);
    return test_run(suite);
}
