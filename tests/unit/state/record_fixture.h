/* record_fixture: a record store over a real redis-server behind a scripted fake, or embedded, with a spool
 * of its own, two ports on one loop, and rules that count: {"n":3,"t":<touched>,"writes":[…]}, whose tag
 * covers n alone. */
#ifndef PHOENIX_TESTS_RECORD_FIXTURE_H
#define PHOENIX_TESTS_RECORD_FIXTURE_H

#include "state_fixture.h"

#include "state/record.h"
#include "state/record_value.h"
#include "util/etag.h"
#include "util/json_edit.h"

/* --- rules --- */

enum { OP_READ = 1, OP_ADD, OP_SET, OP_PATCH, OP_TOUCH, OP_DELETE };

static inline struct record_change change_of(unsigned op, const char *id, const char *body)
{
    static const unsigned TRAITS[] = {[OP_READ] = RECORD_READS | RECORD_NEEDS_COPY,
                                      [OP_ADD] = 0,
                                      [OP_SET] = 0,
                                      [OP_PATCH] = RECORD_NEEDS_COPY,
                                      [OP_TOUCH] = RECORD_OPTIONAL | RECORD_NEEDS_COPY | RECORD_MERGES,
                                      [OP_DELETE] = 0};
    return (struct record_change){
        .op = op, .traits = TRAITS[op], .id = slice_of(id), .body = slice_of(body ? body : "")};
}

static inline int64_t member_int(struct slice value, const char *name)
{
    int64_t n = 0;
    struct slice raw = json_member(value, name);
    if (raw.ptr) (void)json_int(raw, name, 0, INT64_MAX, &n, NULL);
    return n;
}

static inline bool is_counter(struct slice value)
{
    enum json_type type;
    return json_validate(value, &type, NULL) == STATUS_OK && type == JSON_OBJECT &&
           json_member(value, "n").ptr;
}

static inline void write_counter(const struct record_change *change, struct slice before, int64_t n,
                                 int64_t touched, struct record_result *out)
{
    buf_printf(&out->value, "{\"n\":%lld,\"t\":%lld,\"writes\":", (long long)n, (long long)touched);
    record_value_writes(before.ptr ? json_member(before, "writes") : SLICE_NONE, slice_of(change->change_id),
                        &out->value);
    buf_append_char(&out->value, '}');
    out->expires_ms = change->stamp_ms + 60000;
}

static inline enum record_verdict counter_apply(const struct record_rules *rules,
                                                const struct record_change *change,
                                                const struct record_version *current,
                                                struct record_result *out)
{
    (void)rules;
    struct slice value = current->value;
    if (value.ptr && !is_counter(value)) {
        out->status = STATUS_FOREIGN_VALUE;
        return RECORD_REFUSE;
    }
    int64_t n = value.ptr ? member_int(value, "n") : 0, touched = value.ptr ? member_int(value, "t") : 0;
    out->note[0] = current->deleted_ms;
    switch (change->op) {
    case OP_READ:
        return RECORD_KEEP;
    case OP_TOUCH:
        if (!value.ptr || touched == change->stamp_ms) return RECORD_KEEP;
        write_counter(change, value, n, change->stamp_ms, out);
        return RECORD_WRITE;
    case OP_DELETE:
        return RECORD_DELETE;
    case OP_PATCH:
        if (!value.ptr) {
            out->status = STATUS_NOT_FOUND;
            return RECORD_REFUSE;
        }
        break;
    default:
        break;
    }
    char text[32] = "";
    ck_assert_uint_lt(change->body.len, sizeof text);
    memcpy(text, change->body.ptr, change->body.len);
    int64_t body = strtoll(text, NULL, 10);
    write_counter(change, value, change->op == OP_SET ? body : n + (body ? body : 1), touched, out);
    /* 9999: over value_max; 8888: large */
    size_t size = body == 9999 ? 10001 : body == 8888 ? 9000 : 0;
    while (out->value.len < size)
        buf_append_char(&out->value, ' ');
    return RECORD_WRITE;
}

static inline uint64_t counter_etag(struct slice value)
{
    return etag_of(json_member(value, "n"));
}

/* --- the house --- */

struct record_fixture {
    struct state_fixture s;
    struct unsettled *unsettled;
    struct spool *spool;
    struct record_store *store;
    struct redis_pool *second; /* connections of the second port */
    struct record_port ports[2];
    struct metrics *metrics;
    char path[TEST_PATH_MAX];
};

static inline void record_open_house(struct record_fixture *f, int64_t spool_bytes)
{
    static const char *const LABEL[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    struct metrics_labels labels = {0};
    char error[200];
    for (int i = 0; i < LABEL_COUNT; i++) {
        labels.name[i] = "label";
        labels.values[i] = LABEL;
        labels.count[i] = 8;
    }
    ck_assert_ptr_nonnull(f->metrics = metrics_create(&labels));
    ck_assert_ptr_nonnull(f->unsettled = unsettled_create());
    f->spool = spool_create(
        &(struct spool_options){
            .db = {.path = scratch_path(f->path, "spool.db"), .identity = "test", .bytes_max = spool_bytes},
            .queue_max = 1000,
            .clock = &f->s.on.clock,
            .metrics = f->metrics,
            .cell = metrics_cell(f->metrics)},
        error, sizeof error);
    ck_assert_msg(f->spool != NULL, "%s", error);
    struct record_store_options options = {.redis = f->s.topology,
                                           .spool = f->spool,
                                           .lru = f->s.lru,
                                           .unsettled = f->unsettled,
                                           .prefix = "phoenix",
                                           .clock = &f->s.on.clock,
                                           .value_max = 10000,
                                           .tombstone_ms = 60000};
    options.rules[JOURNAL_SESSION] =
        (struct record_rules){.name = "session", .apply = counter_apply, .etag = counter_etag};
    ck_assert_ptr_nonnull(f->store = record_store_create(&options));
    for (int i = 0; i < 2; i++)
        f->ports[i] = (struct record_port){.store = f->store,
                                           .loop = f->s.on.loop,
                                           .pool = i ? f->second : f->s.pool,
                                           .cell = metrics_cell(f->metrics)};
}

static inline void record_open(struct record_fixture *f)
{
    memset(f, 0, sizeof *f);
    state_open(&f->s);
    f->second = topology_pool(f->s.topology, f->s.on.loop, 2);
    RUN_UNTIL(&f->s.on, redis_pool_ready(f->second) == 1);
    record_open_house(f, 64 << 20);
}

static inline void record_open_embedded(struct record_fixture *f)
{
    memset(f, 0, sizeof *f);
    state_open_embedded(&f->s);
    record_open_house(f, 64 << 20);
}

static inline void record_close(struct record_fixture *f)
{
    redis_pool_destroy(&f->second);
    redis_pool_destroy(&f->s.pool);
    record_port_close(&f->ports[0]);
    record_port_close(&f->ports[1]);
    spool_destroy(&f->spool);
    /* What the spool gave back is run by the loop's end. */
    struct redis_topology *topology = f->s.topology;
    struct lru *lru = f->s.lru;
    f->s.topology = NULL;
    f->s.lru = NULL;
    state_close(&f->s);
    record_store_destroy(&f->store);
    unsettled_destroy(&f->unsettled);
    lru_destroy(&lru);
    redis_topology_destroy(&topology);
    metrics_destroy(&f->metrics);
}

/* --- one change --- */

struct record_run {
    struct record_op op;
    unsigned done;
    char text[256];
    char etag[ETAG_SIZE];
    int64_t expires_ms;
};

/* "ok n=3", "not_found", … with " new" where nothing was before and " local" behind. */
static inline void on_record_done(struct record_op *op)
{
    struct record_run *r = op->arg;
    static const char *const VERDICTS[] = {"", "", " deleted", ""};
    char n[32] = "";
    r->done++;
    if (op->value.ptr) FORMAT(n, " n=%lld", (long long)member_int(op->value, "n"));
    FORMAT(r->text, "%s%s%s%s%s", status_code(op->status), n, VERDICTS[op->verdict],
           op->status == STATUS_OK && !op->existed ? " new" : "", op->local ? " local" : "");
    etag_format(op->etag, r->etag);
    r->expires_ms = op->expires_ms;
}

static inline void record_begin(struct record_fixture *f, struct record_run *r, unsigned op, const char *id,
                                const char *body)
{
    *r = (struct record_run){.op = {.kind = JOURNAL_SESSION,
                                    .change = change_of(op, id, body),
                                    .deadline_us = loop_now_us(f->s.on.loop) + test_ms(2000) * 1000,
                                    .done = on_record_done,
                                    .arg = r}};
    record_start(&f->ports[0], &r->op);
}

static inline const char *record_now(struct record_fixture *f, unsigned op, const char *id, const char *body)
{
    static struct record_run r;
    record_begin(f, &r, op, id, body);
    RUN_UNTIL(&f->s.on, r.done);
    ck_assert_uint_eq(r.done, 1);
    return r.text;
}

/* An ADD under If-Match. */
static inline void record_begin_if(struct record_fixture *f, struct record_run *r, const char *id,
                                   const char *if_match, const char *if_none_match)
{
    *r = (struct record_run){.op = {.kind = JOURNAL_SESSION,
                                    .change = change_of(OP_ADD, id, "1"),
                                    .deadline_us = loop_now_us(f->s.on.loop) + test_ms(2000) * 1000,
                                    .done = on_record_done,
                                    .arg = r}};
    r->op.change.if_match = slice_of(if_match);
    r->op.change.if_none_match = slice_of(if_none_match);
    record_start(&f->ports[0], &r->op);
}

static inline const char *record_if(struct record_fixture *f, const char *id, const char *if_match,
                                    const char *if_none_match)
{
    static struct record_run r;
    record_begin_if(f, &r, id, if_match, if_none_match);
    RUN_UNTIL(&f->s.on, r.done);
    return r.text;
}

static inline const char *etag_of_n(char out[ETAG_SIZE], const char *n)
{
    etag_format(etag_of(slice_of(n)), out);
    return out;
}

/* --- looking --- */

static inline const char *direct_n(struct record_fixture *f, const char *id)
{
    static char text[32];
    char key[300];
    const char *value = resp_text(f->s.direct, "GET", FORMAT(key, "phoenix:session:%s", id), NULL);
    if (!is_counter(slice_of(value))) return value[0] ? "foreign" : "none";
    return FORMAT(text, "%lld", (long long)member_int(slice_of(value), "n"));
}

static inline const char *direct_tombstone(struct record_fixture *f, const char *id)
{
    char key[600];
    return resp_text(f->s.direct, "GET", FORMAT(key, "phoenix:gone:session:{phoenix:session:%s}", id), NULL);
}

struct journal_look {
    struct spool_op op;
    char id[64];
    char text[600];
    bool remove;
    unsigned done;
};

static inline enum db_result run_journal_look(struct db *db, void *arg)
{
    struct journal_look *l = arg;
    struct db_journal_stats stats;
    struct db_entry e;
    enum db_result r = db_journal_stats(db, &stats);
    if (r != DB_OK) return r;
    r = db_journal_newest(db, JOURNAL_SESSION, slice_of(l->id), &e);
    if (r == DB_ABSENT) {
        FORMAT(l->text, "%lld none", (long long)stats.entries);
        return r;
    }
    char n[32] = "gone";
    if (e.copy.ptr) FORMAT(n, "%lld", (long long)member_int(e.copy, "n"));
    FORMAT(l->text, "%lld op=%u base=%s n=%s body=%.*s", (long long)stats.entries, e.op,
           e.base ? "some" : "none", n, (int)e.body.len, e.body.ptr ? e.body.ptr : "");
    return l->remove ? db_journal_remove(db, e.seq) : DB_OK;
}

static inline void on_journal_look(struct spool_op *op)
{
    ((struct journal_look *)op->arg)->done++;
}

/* How many entries there are, and the id's newest: "1 op=2 base=none n=1 body=1", "0 none". */
static inline const char *journal_text(struct record_fixture *f, const char *id, bool remove)
{
    static struct journal_look l;
    l = (struct journal_look){.remove = remove};
    l.op = (struct spool_op){
        .reads = !remove, .run = run_journal_look, .done = on_journal_look, .arg = &l, .loop = f->s.on.loop};
    FORMAT(l.id, "%s", id);
    ck_assert(spool_submit(f->spool, &l.op));
    RUN_UNTIL(&f->s.on, l.done);
    if (remove) unsettled_leave(f->unsettled, JOURNAL_SESSION, slice_of(id));
    return l.text;
}

static inline bool is_record_write(const struct fake_command *c)
{
    return (fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL")) && c->argc == 12;
}

static inline bool is_record_read(const struct fake_command *c)
{
    return (fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL")) && c->argc == 6;
}

#endif
