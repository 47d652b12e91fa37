/* Groups, order, failures and recovery of the spool. */
#include "spool_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct spool_fixture f;

enum { ROOM = 1 << 26, WORKS = 64 };

/* What a test asks of the spool. The spool's thread writes `runs`, `found`, `value` before done. */
struct work {
    struct spool_op op;
    char id[16], value[16];
    size_t bytes; /* of the value; 0: the id is the value */
    unsigned runs, found;
    bool done;
    unsigned order; /* in which it was done on its loop */
};

static struct work works[WORKS + 8];
static unsigned done_count, done_on[LOOPS];

static void on_done(struct spool_op *op)
{
    struct work *w = op->arg;
    ck_assert(!w->done);
    w->done = true;
    w->order = done_on[op->loop == f.loops[1]]++;
    done_count++;
}

static bool start_work(struct work *w, enum db_result (*run)(struct db *, void *), unsigned loop, bool reads)
{
    char id[sizeof w->id];
    memcpy(id, w->id, sizeof id);
    *w = (struct work){.bytes = w->bytes,
                       .op = {.reads = reads, .run = run, .done = on_done, .arg = w, .loop = f.loops[loop]}};
    memcpy(w->id, id, sizeof id);
    return spool_submit(f.spool, &w->op);
}

static enum db_result run_put(struct db *db, void *arg)
{
    struct work *w = arg;
    w->runs++;
    char *value = must_alloc(w->bytes + sizeof w->id);
    memset(value, 'x', w->bytes);
    FORMAT(w->value, "%s", w->id);
    memcpy(value + w->bytes, w->id, sizeof w->id);
    struct db_record record = {slice_of(w->id), {value, w->bytes + strlen(w->id)}, 0};
    enum db_result result = db_record_put(db, KIND, &record);
    free(value);
    return result;
}

static enum db_result run_get(struct db *db, void *arg)
{
    struct work *w = arg;
    struct db_record record;
    enum db_result result = db_record_get(db, KIND, slice_of(w->id), 1, &record);
    w->found = result == DB_OK;
    return result;
}

static enum db_result run_remove(struct db *db, void *arg)
{
    return db_record_remove(db, KIND, slice_of(((struct work *)arg)->id));
}

static enum db_result run_full(struct db *db, void *arg)
{
    (void)db;
    ((struct work *)arg)->runs++;
    return DB_FULL;
}

/* Holds the spool's thread until the gate is opened. */
static enum db_result run_gate(struct db *db, void *arg)
{
    (void)db;
    (void)arg;
    pthread_mutex_lock(&f.lock);
    f.at_gate = true;
    pthread_cond_broadcast(&f.moved);
    while (!f.gate_open)
        pthread_cond_wait(&f.moved, &f.lock);
    pthread_mutex_unlock(&f.lock);
    return DB_OK;
}

static struct work gate;

static void close_gate(void)
{
    f.at_gate = f.gate_open = false;
    ck_assert(start_work(&gate, run_gate, 0, true));
    pthread_mutex_lock(&f.lock);
    while (!f.at_gate)
        pthread_cond_wait(&f.moved, &f.lock);
    pthread_mutex_unlock(&f.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&f.lock);
    f.gate_open = true;
    pthread_cond_broadcast(&f.moved);
    pthread_mutex_unlock(&f.lock);
}

static struct work *put(unsigned i, size_t bytes)
{
    struct work *w = &works[i];
    FORMAT(w->id, "id%u", i);
    w->bytes = bytes;
    return w;
}

/* Submits, waits; whether it was committed. */
static bool commits(unsigned i, size_t bytes)
{
    struct work *w = put(i, bytes);
    ck_assert(start_work(w, run_put, 0, false));
    TURN_UNTIL(&f, w->done);
    return w->op.committed;
}

static bool refuses(unsigned i)
{
    return !start_work(put(i, 0), run_put, 0, false);
}

static bool holds(const char *id)
{
    struct work w = {.runs = 0};
    FORMAT(w.id, "%s", id);
    ck_assert(start_work(&w, run_get, 0, true));
    TURN_UNTIL(&f, w.done);
    ck_assert(w.op.committed);
    return w.found;
}

static void start(void)
{
    disk_install();
    spool_fixture_start(&f, ROOM, 0);
}

static void stop(void)
{
    spool_fixture_stop(&f);
}

/* --- groups --- */

START_TEST(what_queues_during_a_group_is_one_commit_with_one_sync)
{
    ck_assert(commits(WORKS, 0)); /* the log's header is synced */
    struct spool_stats before, after;
    spool_stats(f.spool, &before);
    close_gate();
    int syncs = atomic_load(&disk.syncs);
    for (unsigned i = 0; i < WORKS; i++)
        ck_assert(start_work(put(i, 0), run_put, i % LOOPS, false));
    open_gate();
    TURN_UNTIL(&f, done_count == WORKS + 2);
    spool_stats(f.spool, &after);
    ck_assert_uint_eq(after.operations - before.operations, WORKS);
    ck_assert_uint_eq(after.groups - before.groups, 1);
    ck_assert_int_eq(atomic_load(&disk.syncs) - syncs, 1);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_SPOOL_OPERATIONS, 0, 0), WORKS + 1);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_SPOOL_GROUPS, 0, 0), 2);
    ck_assert_int_eq((int64_t)metrics_sum(f.metrics, METRIC_SPOOL_BYTES, 0, 0), after.bytes);
    for (unsigned i = 0; i < WORKS; i++) {
        ck_assert(works[i].op.committed);
        ck_assert_uint_eq(works[i].runs, 1);
        if (i >= LOOPS) ck_assert_uint_eq(works[i].order, works[i - LOOPS].order + 1);
    }
}
END_TEST

START_TEST(reads_see_what_their_group_committed)
{
    close_gate();
    struct work read = {.id = "id1"};
    ck_assert(start_work(put(1, 0), run_put, 0, false));
    ck_assert(start_work(&read, run_get, 1, true));
    open_gate();
    TURN_UNTIL(&f, read.done && works[1].done);
    ck_assert(read.op.committed);
    ck_assert(read.found);
    ck_assert(!holds("none"));
}
END_TEST

START_TEST(the_queue_is_bounded)
{
    spool_destroy(&f.spool);
    f.options.queue_max = 4;
    spool_fixture_open(&f);
    close_gate();
    for (unsigned i = 0; i < 4; i++)
        ck_assert(start_work(put(i, 0), run_put, 0, false));
    ck_assert(refuses(4));
    struct spool_stats stats;
    spool_stats(f.spool, &stats);
    ck_assert_uint_eq(stats.turned_away, 1);
    open_gate();
    TURN_UNTIL(&f, done_count == 5);
    ck_assert(commits(4, 0));
}
END_TEST

START_TEST(destroying_finishes_what_is_queued)
{
    close_gate();
    for (unsigned i = 0; i < 10; i++)
        ck_assert(start_work(put(i, 0), run_put, 0, false));
    open_gate();
    spool_destroy(&f.spool);
    spool_fixture_open(&f);
    TURN_UNTIL(&f, done_count == 11);
    for (unsigned i = 0; i < 10; i++)
        ck_assert(works[i].op.committed && holds(works[i].id));
}
END_TEST

static enum db_result run_mask(struct db *db, void *arg)
{
    (void)db;
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    ((struct work *)arg)->found = sigismember(&set, SIGTERM) == 1;
    return DB_OK;
}

START_TEST(its_thread_takes_no_signal)
{
    ck_assert(start_work(&works[0], run_mask, 0, true));
    TURN_UNTIL(&f, works[0].done);
    ck_assert(works[0].found);
}
END_TEST

/* --- no room --- */

START_TEST(one_that_finds_no_room_does_not_sink_the_others)
{
    close_gate();
    ck_assert(start_work(put(0, 0), run_put, 0, false));
    ck_assert(start_work(put(1, 0), run_full, 0, false));
    ck_assert(start_work(put(2, 0), run_put, 1, false));
    open_gate();
    TURN_UNTIL(&f, done_count == 4);
    ck_assert(works[0].op.committed);
    ck_assert(!works[1].op.committed);
    ck_assert(works[2].op.committed);
    ck_assert_uint_eq(works[1].runs, 2);
    ck_assert(holds("id0") && holds("id2"));
    ck_assert_int_eq(spool_health(f.spool), SPOOL_FULL);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_SPOOL_STATE, 0, 0), 1);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_SPOOL_FAILURES, 0, 0), 1);
}
END_TEST

START_TEST(a_full_spool_refuses_for_a_second_and_recovers)
{
    spool_destroy(&f.spool);
    f.options.db.bytes_max = 300000;
    spool_fixture_open(&f);
    ck_assert(commits(0, 150000));
    ck_assert(!commits(1, 150000));
    ck_assert(refuses(2));
    ck_assert(holds("id0") && !holds("id1"));
    struct work remove = {.id = "id0"};
    remove.op = (struct spool_op){
        .frees = true, .run = run_remove, .done = on_done, .arg = &remove, .loop = f.loops[0]};
    ck_assert(spool_submit(f.spool, &remove.op));
    TURN_UNTIL(&f, remove.done);
    ck_assert(remove.op.committed);
    ck_assert_int_eq(spool_health(f.spool), SPOOL_FULL);
    ck_assert(refuses(2));
    atomic_fetch_add(&f.ahead_us, 1000000);
    ck_assert(commits(1, 150000));
    ck_assert_int_eq(spool_health(f.spool), SPOOL_GOOD);
    ck_assert_uint_eq(metrics_sum(f.metrics, METRIC_SPOOL_STATE, 0, 0), 0);
}
END_TEST

START_TEST(a_full_disk_acknowledges_nothing_and_recovers)
{
    ck_assert(commits(0, 0));
    atomic_store(&disk.writes_full, 1);
    ck_assert(!commits(1, 0));
    ck_assert_int_eq(spool_health(f.spool), SPOOL_FULL);
    ck_assert(refuses(1));
    atomic_fetch_add(&f.ahead_us, 1000000);
    ck_assert(!commits(1, 0));
    atomic_store(&disk.writes_full, 0);
    atomic_fetch_add(&f.ahead_us, 1000000);
    ck_assert(commits(2, 0));
    ck_assert_int_eq(spool_health(f.spool), SPOOL_GOOD);
    spool_fixture_reopen(&f);
    ck_assert(holds("id0") && !holds("id1") && holds("id2"));
}
END_TEST

/* A directory with a megabyte of room; false where this process may not mount. */
static bool mount_small(char *out, size_t size)
{
    char path[TEST_PATH_MAX];
    format(out, size, "%s", scratch_path(path, "small"));
    return mkdir(out, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", out, "tmpfs", 0, "size=1m") == 0;
}

START_TEST(a_small_file_system_that_fills_up_recovers_when_there_is_room)
{
    char small[TEST_PATH_MAX], ballast[TEST_PATH_MAX];
    spool_destroy(&f.spool); /* a process with threads may not unshare everywhere */
    if (!mount_small(small, sizeof small)) {
        printf("skipped: this process may not mount a tmpfs\n");
        spool_fixture_open(&f);
        return;
    }
    FORMAT(ballast, "%.400s/ballast", small);
    FORMAT(f.path, "%.400s/spool.db", small);
    spool_fixture_open(&f);
    ck_assert(commits(0, 0));
    FILE *file = fopen(ballast, "w");
    ck_assert_ptr_nonnull(file);
    static char block[900000];
    ck_assert_uint_eq(fwrite(block, 1, 700000, file), 700000);
    fclose(file);
    ck_assert(!commits(1, 500000));
    ck_assert_int_eq(spool_health(f.spool), SPOOL_FULL);
    ck_assert(holds("id0") && !holds("id1"));
    unlink(ballast);
    atomic_fetch_add(&f.ahead_us, 1000000);
    ck_assert(commits(1, 200000));
    ck_assert_int_eq(spool_health(f.spool), SPOOL_GOOD);
    spool_fixture_reopen(&f);
    ck_assert(holds("id0") && holds("id1"));
    spool_destroy(&f.spool);
    ck_assert_int_eq(umount2(small, MNT_DETACH), 0);
}
END_TEST

/* --- a failed sync --- */

START_TEST(after_a_failed_sync_nothing_is_acknowledged_until_it_is_reopened)
{
    ck_assert(commits(0, 0));
    atomic_store(&disk.syncs_left, 0);
    ck_assert(!commits(1, 0));
    atomic_store(&disk.syncs_left, -1);
    ck_assert_int_eq(spool_health(f.spool), SPOOL_BROKEN);
    atomic_fetch_add(&f.ahead_us, 10000000);
    ck_assert(refuses(2));
    ck_assert(holds("id0") && !holds("id1"));
    spool_fixture_reopen(&f);
    ck_assert_int_eq(spool_health(f.spool), SPOOL_GOOD);
    ck_assert(holds("id0") && !holds("id2"));
    ck_assert(commits(3, 0));
}
END_TEST

START_TEST(a_sync_that_fails_while_the_log_is_moved_breaks_it_and_loses_nothing)
{
    ck_assert(commits(0, 0));
    atomic_store(&disk.syncs_left, 1); /* the commit's own */
    ck_assert(commits(1, 5000000));
    TURN_UNTIL(&f, spool_health(f.spool) == SPOOL_BROKEN);
    atomic_store(&disk.syncs_left, -1);
    ck_assert(refuses(2));
    ck_assert(holds("id1"));
    spool_fixture_reopen(&f);
    ck_assert(holds("id0") && holds("id1"));
    ck_assert(commits(2, 0));
}
END_TEST

/* --- sweeping --- */

static enum db_result run_expired(struct db *db, void *arg)
{
    enum db_result result = DB_OK;
    for (int i = 0; result == DB_OK && i < 250; i++) {
        char id[16];
        struct db_record record = {slice_of(FORMAT(id, "e%d", i)), slice_of("x"), 1};
        result = db_record_put(db, KIND, &record);
    }
    (void)arg;
    return result;
}

static void count_one(void *arg, const struct db_record *record)
{
    (void)record;
    ++*(unsigned *)arg;
}

static enum db_result run_count(struct db *db, void *arg)
{
    struct work *w = arg;
    unsigned count;
    w->found = 0;
    return db_record_list(db, KIND, SLICE_NONE, 1000, 0, count_one, &w->found, &count);
}

static unsigned rows(void)
{
    ck_assert(start_work(&works[0], run_count, 0, true));
    TURN_UNTIL(&f, works[0].done);
    return works[0].found;
}

START_TEST(the_expired_are_swept_once_in_a_time_all_of_them)
{
    spool_destroy(&f.spool);
    f.options.sweep_every_ms = 3600000;
    spool_fixture_open(&f);
    ck_assert_uint_eq(rows(), 0);
    ck_assert(start_work(&works[1], run_expired, 0, false));
    TURN_UNTIL(&f, works[1].done);
    ck_assert_uint_eq(rows(), 250);
    atomic_fetch_add(&f.ahead_us, 3600000000);
    TURN_UNTIL(&f, rows() == 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spool");
    TCase *t = test_case(s, "spool", 30);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, what_queues_during_a_group_is_one_commit_with_one_sync);
    tcase_add_test(t, reads_see_what_their_group_committed);
    tcase_add_test(t, the_queue_is_bounded);
    tcase_add_test(t, destroying_finishes_what_is_queued);
    tcase_add_test(t, its_thread_takes_no_signal);
    tcase_add_test(t, one_that_finds_no_room_does_not_sink_the_others);
    tcase_add_test(t, a_full_spool_refuses_for_a_second_and_recovers);
    tcase_add_test(t, a_full_disk_acknowledges_nothing_and_recovers);
    tcase_add_test(t, a_small_file_system_that_fills_up_recovers_when_there_is_room);
    tcase_add_test(t, after_a_failed_sync_nothing_is_acknowledged_until_it_is_reopened);
    tcase_add_test(t, a_sync_that_fails_while_the_log_is_moved_breaks_it_and_loses_nothing);
    tcase_add_test(t, the_expired_are_swept_once_in_a_time_all_of_them);
    return test_run(s);
}
