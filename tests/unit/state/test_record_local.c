/* test_record_local: changes that the spool commits: the journal while Redis is away, records when there is
 * no Redis. */
#include "record_fixture.h"

static struct record_fixture f;
static char tag[ETAG_SIZE];

static void open_all(void)
{
    record_open(&f);
}

static void open_embedded(void)
{
    record_open_embedded(&f);
}

static void close_all(void)
{
    record_close(&f);
}

static uint64_t entries(void)
{
    return unsettled_entries(f.unsettled);
}

/* --- the circuit is open --- */

START_TEST(a_change_is_journaled_with_its_base_and_read_back)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "2"), "ok n=3 local");
    ck_assert_str_eq(journal_text(&f, "k", false), "1 op=2 base=some n=3 body=2");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=3 local");
    ck_assert_str_eq(record_now(&f, OP_ADD, "new", "5"), "ok n=5 new local");
    ck_assert_str_eq(journal_text(&f, "new", false), "2 op=2 base=none n=5 body=5");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "k", NULL), "ok deleted local");
    ck_assert_str_eq(journal_text(&f, "k", false), "3 op=6 base=some n=gone body=");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found local");
    ck_assert_str_eq(record_now(&f, OP_PATCH, "k", "1"), "not_found local");
    ck_assert_uint_eq(entries(), 3);
    ck_assert_str_eq(direct_n(&f, "k"), "1");
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_RECORD_OPERATIONS, 1, 0), 6);
}
END_TEST

START_TEST(what_is_not_known_is_not_denied)
{
    ck_assert_str_eq(record_now(&f, OP_READ, "absent", NULL), "not_found");
    ck_assert_str_eq(record_now(&f, OP_ADD, "gone", "1"), "ok n=1 new");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "gone", NULL), "ok deleted");
    state_open_circuit(&f.s);
    static const char *const IDS[] = {"absent", "gone", "unseen"};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(record_now(&f, OP_READ, IDS[i], NULL), "redis_unavailable");
        ck_assert_str_eq(record_now(&f, OP_TOUCH, IDS[i], NULL), "redis_unavailable");
        ck_assert_str_eq(record_now(&f, OP_PATCH, IDS[i], "1"), "redis_unavailable");
    }
    ck_assert_str_eq(journal_text(&f, "unseen", false), "0 none");
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(readings_of_a_copy_need_no_spool)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    struct record_run r;
    record_begin(&f, &r, OP_READ, "k", NULL);
    ck_assert_uint_eq(r.done, 1);
    ck_assert_str_eq(r.text, "ok n=1 local");
    int64_t left = r.expires_ms - redis_node_wall_ms(f.s.node);
    ck_assert(left > 60000 - test_ms(10000) && left <= 60000);
    f.s.on.ahead_us += 61 * INT64_C(1000000);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "redis_unavailable");
}
END_TEST

START_TEST(copies_and_redis_count_expiry_by_clocks_of_their_own)
{
    redis_node_set_offset(f.s.node, 3600000);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    struct record_run r;
    record_begin(&f, &r, OP_READ, "k", NULL);
    int64_t left = r.expires_ms - redis_node_wall_ms(f.s.node);
    ck_assert(left > 60000 - test_ms(10000) && left <= 60000);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2 local");
    f.s.on.ahead_us += 61 * INT64_C(1000000);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found local"); /* known, and over */
}
END_TEST

START_TEST(a_guarded_change_needs_its_newest_version_in_the_journal)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    ck_assert_str_eq(record_if(&f, "k", etag_of_n(tag, "1"), NULL), "redis_unavailable");
    ck_assert_str_eq(record_if(&f, "new", NULL, "*"), "redis_unavailable");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2 local");
    ck_assert_str_eq(record_if(&f, "k", tag, NULL), "precondition_failed local");
    ck_assert_str_eq(record_if(&f, "k", etag_of_n(tag, "2"), NULL), "ok n=3 local");
    ck_assert_uint_eq(entries(), 2);
}
END_TEST

START_TEST(touches_are_kept_one_per_key_and_a_change_between_them_keeps_its_place)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    for (int i = 0; i < 3; i++) {
        f.s.on.ahead_us += 2000000;
        ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=1 local");
    }
    ck_assert_str_eq(journal_text(&f, "k", false), "1 op=5 base=some n=1 body=");
    ck_assert_uint_eq(entries(), 1);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2 local");
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=2 local");
    ck_assert_str_eq(journal_text(&f, "k", false), "3 op=5 base=some n=2 body=");
    ck_assert_uint_eq(entries(), 3);
}
END_TEST

START_TEST(behind_unsettled_entries_everything_is_local_until_they_are_gone)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2 local");
    state_close_circuit(&f.s);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=2 local");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=3 local");
    ck_assert_str_eq(record_now(&f, OP_ADD, "other", "1"), "ok n=1 new");
    ck_assert_str_eq(direct_n(&f, "k"), "1");
    (void)journal_text(&f, "k", true);
    (void)journal_text(&f, "k", true);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2");
}
END_TEST

START_TEST(one_that_finds_the_journal_empty_goes_to_redis_after_all)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    ck_assert(unsettled_enter(f.unsettled, JOURNAL_SESSION, slice_of("k")));
    static struct record_run r, s;
    record_begin(&f, &r, OP_ADD, "k", "1");
    record_begin(&f, &s, OP_READ, "k", NULL);
    unsettled_leave(f.unsettled, JOURNAL_SESSION, slice_of("k"));
    RUN_UNTIL(&f.s.on, r.done && s.done);
    ck_assert_str_eq(r.text, "ok n=2");
    ck_assert_ptr_null(strstr(s.text, "local"));
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

static struct fake_verdict loading(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.reply = is_record_write(c) ? "-LOADING wait\r\n" : NULL};
}

START_TEST(redis_away_for_the_write_means_the_journal_on_the_version_just_read)
{
    ck_assert_str_eq(resp_text(f.s.direct, "SET", "phoenix:session:k", "{\"n\":6}", NULL), "OK");
    fake_redis_script(f.s.fake, loading, NULL);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=7 local");
    ck_assert_str_eq(record_if(&f, "other", NULL, "*"), "redis_unavailable");
    ck_assert_str_eq(record_now(&f, OP_ADD, "new", "1"), "ok n=1 new local");
    ck_assert_uint_eq(entries(), 2);
}
END_TEST

/* --- a spool that is slow, or cannot --- */

struct block {
    struct spool_op op;
    atomic_bool running, go;
    enum db_result result;
    bool done;
};

static enum db_result run_block(struct db *db, void *arg)
{
    struct block *b = arg;
    (void)db;
    atomic_store(&b->running, true);
    while (!atomic_load(&b->go))
        poll_pause();
    return b->result;
}

static void on_block(struct spool_op *op)
{
    ((struct block *)op->arg)->done = true;
}

static void block_spool(struct block *b)
{
    *b = (struct block){.op = {.run = run_block, .done = on_block, .arg = b, .loop = f.s.on.loop}};
    ck_assert(spool_submit(f.spool, &b->op));
    WAIT_FOR(atomic_load(&b->running), 5000);
}

static struct block block;

START_TEST(a_spool_that_is_late_leaves_a_write_unknown_and_frees_it_later)
{
    static struct record_run w, t, r;
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    block_spool(&block);
    record_begin(&f, &w, OP_ADD, "k", "1");
    record_begin(&f, &t, OP_TOUCH, "k", NULL);
    record_begin(&f, &r, OP_READ, "k", NULL);
    f.s.on.ahead_us += test_ms(2001) * 1000;
    RUN_UNTIL(&f.s.on, w.done && t.done && r.done);
    ck_assert_str_eq(w.text, "outcome_unknown");
    ck_assert_str_eq(t.text, "spool_unavailable");
    ck_assert_str_eq(r.text, "spool_unavailable");
    memset(&w, 0xA5, sizeof w); /* its memory is the caller's again */
    atomic_store(&block.go, true);
    RUN_UNTIL(&f.s.on, block.done);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=2 local");
    ck_assert_uint_ge(entries(), 1);
}
END_TEST

START_TEST(a_port_that_closes_before_the_spool_answers_leaks_nothing)
{
    static struct record_run r;
    state_open_circuit(&f.s);
    block_spool(&block);
    record_begin(&f, &r, OP_ADD, "k", "1");
    redis_pool_destroy(&f.s.pool);
    record_port_close(&f.ports[0]);
    ck_assert_str_eq(r.text, "outcome_unknown");
    atomic_store(&block.go, true);
}
END_TEST

static void fill_spool(void)
{
    static const char *const BIG = "8888";
    for (int i = 0; i < 200; i++) {
        char id[32];
        const char *text = record_now(&f, OP_SET, FORMAT(id, "fill%d", i), BIG);
        if (strncmp(text, "spool_unavailable", 17) == 0) return;
        ck_assert_msg(strncmp(text, "ok", 2) == 0, "%s", text);
    }
    ck_abort_msg("the spool never filled");
}

static void open_small(void)
{
    memset(&f, 0, sizeof f);
    state_open(&f.s);
    record_open_house(&f, 192 << 10);
}

START_TEST(a_full_spool_promises_nothing_and_forgets_nothing)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new");
    state_open_circuit(&f.s);
    fill_spool();
    uint64_t before = entries();
    ck_assert_str_eq(record_now(&f, OP_SET, "k", "8888"), "spool_unavailable");
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=1 local");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=1 local");
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "fill0", NULL), "ok n=8888 local");
    ck_assert_uint_eq(entries(), before);
    state_close_circuit(&f.s);
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2");
}
END_TEST

/* --- embedded --- */

START_TEST(embedded_the_records_are_the_truth)
{
    ck_assert(record_store_embedded(f.store));
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found local");
    ck_assert_str_eq(record_now(&f, OP_PATCH, "k", "1"), "not_found local");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new local");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=2 local");
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", "1"), "ok n=2 local");
    ck_assert_str_eq(record_if(&f, "k", etag_of_n(tag, "1"), NULL), "precondition_failed local");
    ck_assert_str_eq(record_if(&f, "k", etag_of_n(tag, "2"), NULL), "ok n=3 local");
    ck_assert_str_eq(record_if(&f, "k", NULL, "*"), "precondition_failed local");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "k", NULL), "ok deleted local");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found local");
    ck_assert_str_eq(record_now(&f, OP_SET, "k", "9999"), "too_large local");
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(embedded_records_expire)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new local");
    f.s.on.ahead_us += 61 * INT64_C(1000000);
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "not_found local");
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new local");
}
END_TEST

START_TEST(embedded_increments_of_many_all_count)
{
    static struct record_run runs[100];
    for (int i = 0; i < 100; i++)
        record_begin(&f, &runs[i], OP_ADD, "k", "1");
    for (int i = 0; i < 100; i++) {
        RUN_UNTIL(&f.s.on, runs[i].done);
        ck_assert_uint_eq(runs[i].op.status, STATUS_OK);
    }
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=100 local");
}
END_TEST

START_TEST(embedded_a_touch_that_cannot_be_committed_is_still_a_reading)
{
    ck_assert_str_eq(record_now(&f, OP_ADD, "k", "1"), "ok n=1 new local");
    fill_spool();
    ck_assert_str_eq(record_now(&f, OP_TOUCH, "k", NULL), "ok n=1 local");
    ck_assert_str_eq(record_now(&f, OP_READ, "k", NULL), "ok n=1 local");
}
END_TEST

static void open_small_embedded(void)
{
    memset(&f, 0, sizeof f);
    state_open_embedded(&f.s);
    record_open_house(&f, 192 << 10);
}

int main(void)
{
    Suite *suite = suite_create("record_local");
    TCase *c = test_case(suite, "journal", 60);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, a_change_is_journaled_with_its_base_and_read_back);
    tcase_add_test(c, what_is_not_known_is_not_denied);
    tcase_add_test(c, readings_of_a_copy_need_no_spool);
    tcase_add_test(c, copies_and_redis_count_expiry_by_clocks_of_their_own);
    tcase_add_test(c, a_guarded_change_needs_its_newest_version_in_the_journal);
    tcase_add_test(c, touches_are_kept_one_per_key_and_a_change_between_them_keeps_its_place);
    tcase_add_test(c, behind_unsettled_entries_everything_is_local_until_they_are_gone);
    tcase_add_test(c, one_that_finds_the_journal_empty_goes_to_redis_after_all);
    tcase_add_test(c, redis_away_for_the_write_means_the_journal_on_the_version_just_read);
    tcase_add_test(c, a_spool_that_is_late_leaves_a_write_unknown_and_frees_it_later);
    tcase_add_test(c, a_port_that_closes_before_the_spool_answers_leaks_nothing);
    TCase *full = test_case(suite, "full", 60);
    tcase_add_checked_fixture(full, open_small, close_all);
    tcase_add_test(full, a_full_spool_promises_nothing_and_forgets_nothing);
    TCase *e = test_case(suite, "embedded", 60);
    tcase_add_checked_fixture(e, open_embedded, close_all);
    tcase_add_test(e, embedded_the_records_are_the_truth);
    tcase_add_test(e, embedded_records_expire);
    tcase_add_test(e, embedded_increments_of_many_all_count);
    TCase *small = test_case(suite, "embedded_full", 60);
    tcase_add_checked_fixture(small, open_small_embedded, close_all);
    tcase_add_test(small, embedded_a_touch_that_cannot_be_committed_is_still_a_reading);
    return test_run(suite);
}
