/* test_record_settle: writes whose answer did not come. */
#include "record_fixture.h"

static struct record_fixture f;
static atomic_uint step;
static char tag[ETAG_SIZE];

static void open_all(void)
{
    record_open(&f);
    /* The scripts are known from now on, so that each write is one command. */
    ck_assert_str_eq(record_now(&f, OP_ADD, "first", "1"), "ok n=1 new");
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

static bool nothing_kept(void)
{
    return strcmp(journal_text(&f, "k", false), "0 none") == 0 && unsettled_entries(f.unsettled) == 0;
}

static struct fake_verdict lose_answer(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.cut = is_record_write(c) && atomic_fetch_add(&step, 1) == 0};
}

/* Not executed. */
static struct fake_verdict lose_request(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool first = is_record_write(c) && atomic_fetch_add(&step, 1) == 0;
    return (struct fake_verdict){.reply = first ? ":" : NULL, .cut = first};
}

static unsigned settled(void)
{
    return (unsigned)metrics_sum(f.metrics, METRIC_RECORD_SETTLED, 0, 0);
}

START_TEST(a_change_whose_answer_was_lost_takes_effect_once)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    fake_redis_script(f.s.fake, lose_answer, NULL);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2");
    atomic_store(&step, 0);
    ck_assert_str_eq(record_if(&f, "k", etag_of_n(tag, "2"), NULL), "ok n=3");
    atomic_store(&step, 0);
    ck_assert_str_eq(record_now(&f, OP_ADD, "new", "1"), "ok n=1 new");
    ck_assert_str_eq(direct_n(&f, "k"), "3");
    ck_assert_uint_eq(settled(), 3);
    ck_assert(nothing_kept());
}
END_TEST

static struct fake_verdict never_answer(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.silent = is_record_write(c) && atomic_fetch_add(&step, 1) == 0};
}

START_TEST(a_change_whose_answer_does_not_come_in_time_takes_effect_once)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    fake_redis_script(f.s.fake, never_answer, NULL);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2");
    ck_assert_uint_eq(atomic_load(&step), 1);
    ck_assert_uint_eq(settled(), 1);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=3");
    ck_assert(nothing_kept());
}
END_TEST

START_TEST(one_that_was_lost_on_the_way_is_sent_again)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    fake_redis_script(f.s.fake, lose_request, NULL);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2");
    ck_assert_uint_eq(atomic_load(&step), 2);
    atomic_store(&step, 0);
    ck_assert_str_eq(record_if(&f, "k", etag_of_n(tag, "2"), NULL), "ok n=3");
    atomic_store(&step, 0);
    ck_assert_str_eq(record_now(&f, OP_ADD, "new", "1"), "ok n=1 new");
    atomic_store(&step, 0);
    ck_assert_str_eq(record_now(&f, OP_DELETE, "k", NULL), "ok deleted");
    ck_assert_uint_eq(atomic_load(&step), 2);
    ck_assert(nothing_kept());
}
END_TEST

START_TEST(a_deletion_whose_answer_was_lost_is_known_by_its_tombstone)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    fake_redis_script(f.s.fake, lose_answer, NULL);
    ck_assert_str_eq(record_now(&f, OP_DELETE, "k", NULL), "ok deleted");
    ck_assert_uint_eq(atomic_load(&step), 1);
    ck_assert_uint_eq(settled(), 1);
    atomic_store(&step, 0);
    ck_assert_str_eq(record_now(&f, OP_DELETE, "none", NULL), "ok deleted new");
    ck_assert(nothing_kept());
}
END_TEST

/* --- somebody else is faster than the look --- */

struct meanwhile {
    bool executed; /* the write that is lost */
    const char *op, *body;
    bool guarded;
    const char *then; /* what the value becomes before the look; NULL: deleted */
    bool tombstone;
    const char *expected, *n;
};

static const struct meanwhile MEANWHILE[] = {
    /* another's version that would show our change */
    {false, "add", "1", false, "{\"n\":10,\"writes\":[\"00000000-0000-7000-8000-000000000001\"]}", false,
     "ok n=11", "11"},
    {false, "add", "1", true, "{\"n\":10}", false, "precondition_failed", "10"},
    /* eight younger ones */
    {true, "add", "1", false,
     "{\"n\":10,\"writes\":[\"f1\",\"f2\",\"f3\",\"f4\",\"f5\",\"f6\",\"f7\",\"f8\"]}", false,
     "outcome_unknown", "10"},
    /* foreign since */
    {true, "add", "1", false, "not json", false, "foreign_value", "foreign"},
    /* gone since: what is not guarded is the hand-back's to decide */
    {true, "add", "1", false, NULL, true, "ok n=2 local", "none"},
    {true, "add", "1", true, NULL, true, "outcome_unknown", "none"},
    {false, "delete", NULL, false, "{\"n\":10,\"writes\":[\"w\"]}", false, "ok deleted", "none"},
    {true, "delete", NULL, false, "{\"n\":10,\"writes\":[\"x\"]}", false, "ok deleted local", "10"},
    {false, "delete", NULL, false, NULL, true, "ok deleted new", "none"},
    {true, "delete", NULL, false, "{\"n\":1,\"writes\":[\"w\"]}", false, "ok deleted", "none"},
};

static struct fake_verdict lose_and_hold(void *arg, const struct fake_command *c)
{
    const struct meanwhile *m = &MEANWHILE[*(const int *)arg];
    struct fake_verdict v = {0};
    if (is_record_write(c) && atomic_fetch_add(&step, 1) == 0) {
        v.cut = true;
        if (!m->executed) v.reply = ":";
    } else if (atomic_load(&step) == 1 && !fake_command_is(c, "CLIENT") && is_record_read(c)) {
        v.reply = "-LOADING wait\r\n"; /* no look before the test is ready */
    }
    return v;
}

START_TEST(what_came_between_decides)
{
    const struct meanwhile *m = &MEANWHILE[_i];
    static struct record_run r;
    set_direct("k", "{\"n\":1,\"writes\":[\"w\"]}");
    fake_redis_script(f.s.fake, lose_and_hold, &_i);
    if (m->guarded)
        record_begin_if(&f, &r, "k", etag_of_n(tag, "1"), NULL);
    else
        record_begin(&f, &r, m->op[0] == 'a' ? OP_ADD : OP_DELETE, "k", m->body);
    RUN_UNTIL(&f.s.on, atomic_load(&step) == 1);
    if (m->executed) RUN_UNTIL(&f.s.on, strcmp(direct_n(&f, "k"), m->op[0] == 'a' ? "2" : "none") == 0);
    if (m->then)
        set_direct("k", m->then);
    else
        resp_integer(f.s.direct, "DEL", "phoenix:session:k", NULL);
    if (m->tombstone)
        ck_assert_str_eq(resp_text(f.s.direct, "SET", "phoenix:gone:session:{phoenix:session:k}",
                                   "ffffffff-0000-7000-8000-000000000001 1", NULL),
                         "OK");
    atomic_store(&step, 2);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_str_eq(r.text, m->expected);
    ck_assert_str_eq(direct_n(&f, "k"), m->n);
}
END_TEST

/* --- what cannot be settled --- */

static struct fake_verdict then_nothing(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_record_write(c)) {
        atomic_store(&step, 1);
        return (struct fake_verdict){.cut = true};
    }
    return (struct fake_verdict){.cut = atomic_load(&step) != 0};
}

static void begin_unsettleable(struct record_run *r, bool guarded)
{
    atomic_store(&step, 0);
    fake_redis_script(f.s.fake, then_nothing, NULL);
    if (guarded)
        record_begin_if(&f, r, "k", etag_of_n(tag, "1"), NULL);
    else
        record_begin(&f, r, OP_ADD, "k", "1");
    RUN_UNTIL(&f.s.on, atomic_load(&step));
    for (int i = 0; i < 30; i++)
        loop_fixture_turn(&f.s.on);
    ck_assert_uint_eq(r->done, 0);
}

/* By the deadline, or (loop index 1) once the circuit opens. */
static void end_patience(bool circuit)
{
    if (circuit)
        state_open_circuit(&f.s);
    else
        f.s.on.ahead_us += test_ms(1600) * 1000;
}

START_TEST(not_settled_an_unguarded_one_is_journaled_under_its_id)
{
    static struct record_run r;
    set_direct("k", "{\"n\":1}");
    begin_unsettleable(&r, false);
    end_patience(_i == 1);
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_str_eq(r.text, "ok n=2 local");
    ck_assert_str_eq(journal_text(&f, "k", false), "1 op=2 base=some n=2 body=1");
    ck_assert_uint_eq(unsettled_entries(f.unsettled), 1);
    /* And what follows stands behind it. */
    fake_redis_script(f.s.fake, NULL, NULL);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=3 local");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=3 local");
}
END_TEST

START_TEST(not_settled_a_guarded_one_is_unknown_and_not_kept)
{
    static struct record_run r;
    set_direct("k", "{\"n\":1}");
    begin_unsettleable(&r, true);
    end_patience(_i == 1);
    if (_i == 0) {
        for (int i = 0; i < 30; i++)
            loop_fixture_turn(&f.s.on);
        ck_assert_uint_eq(r.done, 0); /* it has all its time */
        f.s.on.ahead_us += test_ms(401) * 1000;
    }
    RUN_UNTIL(&f.s.on, r.done);
    ck_assert_str_eq(r.text, "outcome_unknown");
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_RECORD_UNKNOWN, 0, 0), 1);
    ck_assert(nothing_kept());
}
END_TEST

START_TEST(an_optional_change_in_doubt_answers_what_was_read)
{
    set_direct("k", "{\"n\":1}");
    fake_redis_script(f.s.fake, lose_answer, NULL);
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=1");
    ck_assert(nothing_kept());
}
END_TEST

static struct fake_verdict cut_reads(void *arg, const struct fake_command *c)
{
    const unsigned *times = arg;
    return (struct fake_verdict){.cut = is_record_read(c) && atomic_fetch_add(&step, 1) < *times};
}

START_TEST(a_reading_in_doubt_is_repeated_once_then_the_copy_answers)
{
    static unsigned times = 1;
    set_direct("k", "{\"n\":1}");
    fake_redis_script(f.s.fake, cut_reads, &times);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=1");
    times = 100;
    atomic_store(&step, 0);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=1 local");
    ck_assert_uint_eq(atomic_load(&step), 2);
    ck_assert_str_eq(record_now(&f, OP_READ, "unseen", NULL), "redis_unavailable");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record_settle");
    TCase *c = test_case(suite, "settle", 60);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, a_change_whose_answer_was_lost_takes_effect_once);
    tcase_add_test(c, a_change_whose_answer_does_not_come_in_time_takes_effect_once);
    tcase_add_test(c, one_that_was_lost_on_the_way_is_sent_again);
    tcase_add_test(c, a_deletion_whose_answer_was_lost_is_known_by_its_tombstone);
    tcase_add_loop_test(c, what_came_between_decides, 0, sizeof MEANWHILE / sizeof MEANWHILE[0]);
    tcase_add_loop_test(c, not_settled_an_unguarded_one_is_journaled_under_its_id, 0, 2);
    tcase_add_loop_test(c, not_settled_a_guarded_one_is_unknown_and_not_kept, 0, 2);
    tcase_add_test(c, an_optional_change_in_doubt_answers_what_was_read);
    tcase_add_test(c, a_reading_in_doubt_is_repeated_once_then_the_copy_answers);
    return test_run(suite);
}
