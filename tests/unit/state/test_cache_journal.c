/* test_cache_journal: deletions that Redis has not seen survive the process, the table's budget and a spool
 * that cannot commit. */
#include "state_fixture.h"

#include "state/cache_journal.h"
#include "state/cache_replay.h"
#include "state/record.h"

static struct state_fixture f;
static struct spool *spool;
static struct cache_replay *replay;
static char a[200], b[200];

static void open_spool(unsigned queue_max)
{
    static char path[TEST_PATH_MAX];
    char error[300];
    spool = spool_create(
        &(struct spool_options){
            .db = {.path = scratch_path(path, "spool.db"), .identity = "test", .bytes_max = 64 << 20},
            .queue_max = queue_max,
            .clock = &f.on.clock},
        error, sizeof error);
    ck_assert_msg(spool != NULL, "%s", error);
    cache_store_set_spool(f.store, spool);
}

static void open_all(void)
{
    state_open(&f);
    open_spool(1024);
    state_open_circuit(&f);
    (void)VALUE_AT(a, "a", 10);
    (void)VALUE_AT(b, "b", 20);
    ck_assert_str_eq(resp_text(f.direct, "SET", "phoenix:cache:k", a), "OK");
}

static void close_all(void)
{
    redis_pool_destroy(&f.pool);
    cache_port_close(&f.port);
    spool_destroy(&spool);
    loop_flush(f.on.loop);
    cache_replay_destroy(&replay);
    state_close(&f);
}

static void start(void)
{
    state_close_circuit(&f);
    replay = cache_replay_create(&(struct cache_replay_options){.port = &f.port, .per_s = 1000});
    ck_assert_ptr_nonnull(replay);
}

static const char *in_redis(void)
{
    return resp_text(f.direct, "GET", "phoenix:cache:k", NULL);
}

/* --- rows, and a new process that finds them --- */

static void on_row(void *arg, const struct db_entry *entry)
{
    ck_assert_uint_eq(entry->kind, JOURNAL_CACHE);
    struct cache_store *store = arg;
    if (store) cache_journal_restore(store, entry->id, entry->stamp_ms);
}

static enum db_result run_restore(struct db *db, void *arg)
{
    return db_journal_each(db, false, 0, on_row, arg);
}

static void on_restored(struct spool_op *op)
{
    op->run = NULL;
}

static void restart(void)
{
    spool_destroy(&spool);
    cache_store_destroy(&f.store);
    lru_destroy(&f.lru);
    sha256_destroy(&f.port.sha);
    state_open_store(&f);
    open_spool(1024);
    struct spool_op op = {
        .reads = true, .run = run_restore, .done = on_restored, .arg = f.store, .loop = f.on.loop};
    ck_assert(spool_submit(spool, &op));
    RUN_UNTIL(&f.on, op.run == NULL);
}

static enum db_result run_stats(struct db *db, void *arg)
{
    return db_journal_stats(db, arg);
}

static int64_t rows_in_file(void)
{
    struct db_journal_stats stats = {0};
    struct spool_op op = {
        .reads = true, .run = run_stats, .done = on_restored, .arg = &stats, .loop = f.on.loop};
    ck_assert(spool_submit(spool, &op));
    RUN_UNTIL(&f.on, op.run == NULL);
    return stats.entries;
}

START_TEST(a_deletion_is_committed_and_goes_when_it_is_handed_back)
{
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "ok local");
    ck_assert_int_eq(rows_in_file(), 1);
    ck_assert_uint_eq(cache_journal_rows(f.store), 1);
    ck_assert_str_eq(read_now(&f, "k", 0), "miss not_found local");
    start();
    RUN_UNTIL(&f.on, cache_journal_rows(f.store) == 0);
    ck_assert_str_eq(in_redis(), "");
    ck_assert_int_eq(rows_in_file(), 0);
}
END_TEST

START_TEST(a_deletion_survives_the_process)
{
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "ok local");
    restart();
    ck_assert_uint_eq(pending(&f), 1);
    start();
    RUN_UNTIL(&f.on, cache_journal_rows(f.store) == 0);
    ck_assert_str_eq(in_redis(), "");
}
END_TEST

START_TEST(a_deletion_that_survived_yields_to_what_is_later)
{
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "ok local");
    restart();
    ck_assert_str_eq(resp_text(f.direct, "SET", "phoenix:cache:k", b), "OK");
    start();
    RUN_UNTIL(&f.on, cache_journal_rows(f.store) == 0);
    ck_assert_str_eq(in_redis(), b);
}
END_TEST

START_TEST(a_write_behind_a_deletion_takes_its_row_away)
{
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "ok local");
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", b, STAMP_AT(20)), "ok local");
    start();
    RUN_UNTIL(&f.on, cache_journal_rows(f.store) == 0);
    ck_assert_str_eq(in_redis(), b);
    ck_assert_int_eq(rows_in_file(), 0);
}
END_TEST

START_TEST(what_the_table_gave_up_comes_from_the_journal_again)
{
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "ok local");
    unsigned flags;
    struct lru_entry *entry = lru_pending_take(f.lru, &flags);
    ck_assert_ptr_nonnull(entry);
    lru_settle(f.lru, entry, true);
    lru_release(entry);
    ck_assert_uint_eq(pending(&f), 0);
    start();
    RUN_UNTIL(&f.on, cache_journal_rows(f.store) == 0);
    ck_assert_str_eq(in_redis(), "");
}
END_TEST

START_TEST(without_a_commit_a_deletion_is_not_acknowledged)
{
    spool_destroy(&spool);
    open_spool(0);
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "spool_unavailable local");
    ck_assert_uint_eq(pending(&f), 0);
    ck_assert_str_eq(write_now(&f, CACHE_PUT, "k", b, STAMP_AT(20)), "ok local");
}
END_TEST

START_TEST(a_deletion_that_redis_takes_needs_no_row)
{
    state_close_circuit(&f);
    ck_assert_str_eq(write_now(&f, CACHE_DELETE, "k", NULL, STAMP_AT(15)), "ok replaced");
    ck_assert_int_eq(rows_in_file(), 0);
    ck_assert_str_eq(in_redis(), "");
}
END_TEST

START_TEST(closing_tells_what_still_waits_for_the_spool)
{
    struct state_write w;
    write_begin(&f, &w, CACHE_DELETE, "k", NULL, STAMP_AT(15));
    ck_assert_uint_eq(w.done, 0);
    cache_port_close(&f.port);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_str_eq(write_text(&w.write), "spool_unavailable local");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_journal");
    TCase *tc = test_case(suite, "deletions", 20);
    tcase_add_checked_fixture(tc, open_all, close_all);
    tcase_add_test(tc, a_deletion_is_committed_and_goes_when_it_is_handed_back);
    tcase_add_test(tc, a_deletion_survives_the_process);
    tcase_add_test(tc, a_deletion_that_survived_yields_to_what_is_later);
    tcase_add_test(tc, a_write_behind_a_deletion_takes_its_row_away);
    tcase_add_test(tc, what_the_table_gave_up_comes_from_the_journal_again);
    tcase_add_test(tc, without_a_commit_a_deletion_is_not_acknowledged);
    tcase_add_test(tc, a_deletion_that_redis_takes_needs_no_row);
    tcase_add_test(tc, closing_tells_what_still_waits_for_the_spool);
    return test_run(suite);
}
