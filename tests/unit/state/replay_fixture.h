/* replay_fixture: a journal in a real file, a real redis-server behind a scripted fake, and rules whose
 * values remember in which order their changes came: {"log":"abc","writes":[…]}. */
#ifndef PHOENIX_TESTS_REPLAY_FIXTURE_H
#define PHOENIX_TESTS_REPLAY_FIXTURE_H

#include "state_fixture.h"

#include "state/record_replay.h"
#include "state/record_value.h"
#include "util/etag.h"
#include "util/json_edit.h"

enum fake_op { FAKE_APPEND = 1, FAKE_DELETE = 2, FAKE_DROP = 3 };

struct replay_fixture {
    struct state_fixture on;
    char path[TEST_PATH_MAX];
    struct spool *spool;
    struct unsettled *unsettled;
    struct record_store *records;
    struct record_port port;
    struct record_replay *replay;
    struct metrics *metrics;
    int64_t per_s, age_max_ms;
    handback_lock_fn *hand_lock_back;
    void (*on_merge)(struct replay_fixture *f, const struct record_entry *entry); /* in the middle of one */
};

static struct replay_fixture *replay_now; /* the rules know nothing of the fixture */

static inline uint64_t fake_etag(struct slice value)
{
    return etag_of(value) | 1;
}

static inline enum record_verdict fake_merge(const struct record_rules *rules,
                                             const struct record_entry *entry,
                                             const struct record_version *current, int64_t now_ms,
                                             struct record_result *out)
{
    (void)rules;
    (void)now_ms;
    struct slice log = current->value.ptr ? json_member(current->value, "log") : SLICE_LITERAL("\"\"");
    if (replay_now->on_merge) replay_now->on_merge(replay_now, entry);
    if (!log.ptr || log.len < 2) {
        out->status = STATUS_FOREIGN_VALUE;
        return RECORD_REFUSE;
    }
    out->conflict = entry->base != (current->value.ptr ? fake_etag(current->value) : 0);
    if (entry->change->op == FAKE_DROP) return RECORD_KEEP;
    if (entry->change->op == FAKE_DELETE) return RECORD_DELETE;
    buf_append_text(&out->value, "{\"log\":");
    buf_append(&out->value, log.ptr, log.len - 1);
    buf_append_slice(&out->value, entry->change->body);
    buf_append_text(&out->value, "\",\"writes\":");
    record_value_writes(current->value.ptr ? json_member(current->value, "writes") : SLICE_NONE,
                        slice_of(entry->change->change_id), &out->value);
    buf_append_text(&out->value, "}");
    out->expires_ms = entry->expires_ms;
    return RECORD_WRITE;
}

static inline void replay_open(struct replay_fixture *f)
{
    static const char *const LABEL[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    struct metrics_labels labels = {0};
    char error[300];
    for (int i = 0; i < LABEL_COUNT; i++) {
        labels.name[i] = "label";
        labels.values[i] = LABEL;
        labels.count[i] = 8;
    }
    *f = (struct replay_fixture){.per_s = 10000};
    replay_now = f;
    state_open(&f->on);
    ck_assert_ptr_nonnull(f->metrics = metrics_create(&labels));
    f->spool = spool_create(
        &(struct spool_options){
            .db = {.path = scratch_path(f->path, "spool.db"), .identity = "test", .bytes_max = 64 << 20},
            .queue_max = 1024,
            .clock = &f->on.on.clock,
            .metrics = f->metrics,
            .cell = metrics_cell(f->metrics)},
        error, sizeof error);
    ck_assert_msg(f->spool != NULL, "%s", error);
    ck_assert_ptr_nonnull(f->unsettled = unsettled_create());
    struct record_store_options options = {.redis = f->on.topology,
                                           .spool = f->spool,
                                           .lru = f->on.lru,
                                           .unsettled = f->unsettled,
                                           .prefix = "phoenix",
                                           .clock = &f->on.on.clock,
                                           .value_max = 1000,
                                           .tombstone_ms = 60000};
    options.rules[JOURNAL_SESSION] =
        (struct record_rules){.name = "session", .merge = fake_merge, .etag = fake_etag};
    ck_assert_ptr_nonnull(f->records = record_store_create(&options));
    f->port = (struct record_port){
        .store = f->records, .loop = f->on.on.loop, .pool = f->on.pool, .cell = metrics_cell(f->metrics)};
}

static inline void replay_start(struct replay_fixture *f)
{
    f->replay = record_replay_create(&(struct record_replay_options){.port = &f->port,
                                                                     .per_s = f->per_s,
                                                                     .age_max_ms = f->age_max_ms,
                                                                     .hand_lock_back = f->hand_lock_back});
    ck_assert_ptr_nonnull(f->replay);
}

static inline void replay_close(struct replay_fixture *f)
{
    if (f->replay) record_replay_stop(f->replay);
    redis_pool_destroy(&f->on.pool);
    spool_destroy(&f->spool);
    loop_flush(f->on.on.loop);
    record_replay_destroy(&f->replay);
    ck_assert_ptr_null(f->replay);
    record_replay_destroy(&f->replay);
    record_store_destroy(&f->records);
    unsettled_destroy(&f->unsettled);
    state_close(&f->on);
    metrics_destroy(&f->metrics);
}

/* --- the journal's side --- */

struct fake_entry {
    struct spool_op op;
    struct db_entry entry;
    char id[64], change_id[UUID_SIZE], body[64];
    bool done;
};

static inline enum db_result run_fake_append(struct db *db, void *arg)
{
    int64_t seq;
    return db_journal_append(db, &((struct fake_entry *)arg)->entry, &seq);
}

static inline void on_fake_appended(struct spool_op *op)
{
    ck_assert(op->committed);
    ((struct fake_entry *)op->arg)->done = true;
}

/* `e` lives until done. */
static inline void append_begin(struct replay_fixture *f, struct fake_entry *e, const char *id, unsigned op,
                                const char *body)
{
    *e = (struct fake_entry){
        .op = {.run = run_fake_append, .done = on_fake_appended, .arg = e, .loop = f->on.on.loop}};
    (void)FORMAT(e->id, "%s", id);
    (void)FORMAT(e->body, "%s", body);
    uuid_v7(clock_wall_ms(&f->on.on.clock), e->change_id);
    e->entry = (struct db_entry){.kind = JOURNAL_SESSION,
                                 .op = op,
                                 .id = slice_of(e->id),
                                 .change_id = slice_of(e->change_id),
                                 .stamp_ms = clock_wall_ms(&f->on.on.clock),
                                 .expires_ms = clock_wall_ms(&f->on.on.clock) + 60000,
                                 .body = slice_of(e->body),
                                 .copy = SLICE_LITERAL("{}")};
}

static inline void append_submit(struct replay_fixture *f, struct fake_entry *e)
{
    ck_assert(unsettled_enter(f->unsettled, e->entry.kind, e->entry.id));
    ck_assert(spool_submit(f->spool, &e->op));
}

static inline void append(struct replay_fixture *f, const char *id, unsigned op, const char *body)
{
    struct fake_entry e;
    append_begin(f, &e, id, op, body);
    append_submit(f, &e);
    RUN_UNTIL(&f->on.on, e.done);
}

static inline enum db_result run_fake_stats(struct db *db, void *arg)
{
    return db_journal_stats(db, arg);
}

static inline void on_fake_stats(struct spool_op *op)
{
    op->arg = NULL;
}

static inline struct db_journal_stats journal_stats(struct replay_fixture *f)
{
    struct db_journal_stats stats = {.entries = -1};
    struct spool_op op = {
        .reads = true, .run = run_fake_stats, .done = on_fake_stats, .arg = &stats, .loop = f->on.on.loop};
    ck_assert(spool_submit(f->spool, &op));
    RUN_UNTIL(&f->on.on, op.arg == NULL);
    return stats;
}

/* --- Redis's side --- */

static inline const char *log_in_redis(struct replay_fixture *f, const char *id)
{
    static char text[256];
    char key[100];
    const char *value = resp_text(f->on.direct, "GET", FORMAT(key, "phoenix:session:%s", id));
    struct slice log = *value ? json_member(slice_of(value), "log") : SLICE_LITERAL("\"\"");
    return FORMAT(text, "%.*s", (int)log.len - 2, log.ptr + 1);
}

static inline unsigned handed(struct replay_fixture *f, enum handback outcome)
{
    return (unsigned)metrics_sum(f->metrics, METRIC_JOURNAL_REPLAYS, outcome, 0);
}

static inline void run_dry(struct replay_fixture *f)
{
    RUN_UNTIL(&f->on.on, record_replay_idle(f->replay));
    ck_assert_int_eq(journal_stats(f).entries, 0);
}

#endif
