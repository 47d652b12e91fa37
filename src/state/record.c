/* record: the store, and what the ways of a change have in common.
 *
 *     embedded                    record_local.c: the record, commit → answer
 *     redis                       record_redis.c: read → judge → write → answer
 *       lost race                   judged again
 *       in doubt                    settled by looking; not settled: journal, or OUTCOME_UNKNOWN
 *     key unsettled, Redis away   record_local.c: the journal, commit → answer */
#include "record_private.h"

#include "util/etag.h"
#include "util/json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* How long the table remembers a deletion that Redis took: longer than a reading that began before it. */
enum { DELETED_MS = 5000 };

struct record_store {
    struct record_store_options options;
    _Atomic int64_t stamp_ms; /* the latest given out */
    _Atomic int64_t order;
};

struct record_store *record_store_create(const struct record_store_options *options)
{
    struct record_store *store = calloc(1, sizeof *store);
    if (store) store->options = *options;
    return store;
}

void record_store_destroy(struct record_store **store)
{
    free(*store);
    *store = NULL;
}

const struct record_store_options *record_store_options(const struct record_store *store)
{
    return &store->options;
}

bool record_store_embedded(const struct record_store *store)
{
    return !store->options.redis;
}

bool record_degraded(const struct record_store *store, unsigned kind, struct slice id)
{
    char bytes[RECORD_KEY_MAX];
    return store->options.redis &&
           !redis_topology_allows(store->options.redis, record_key(store, kind, id, bytes));
}

bool record_quiet(const struct record_store *store, unsigned kind, struct slice id)
{
    char bytes[RECORD_KEY_MAX];
    return redis_topology_quiet(store->options.redis, record_key(store, kind, id, bytes));
}

int64_t record_wall_ms(const struct record_store *store)
{
    return store->options.redis ? redis_topology_wall_ms(store->options.redis)
                                : clock_wall_ms(store->options.clock);
}

int64_t record_store_stamp_ms(struct record_store *store)
{
    int64_t now = record_wall_ms(store), last = atomic_load(&store->stamp_ms);
    while (last < now && !atomic_compare_exchange_weak(&store->stamp_ms, &last, now))
        ;
    return last < now ? now : last;
}

int64_t record_next_order(struct record_store *store)
{
    return atomic_fetch_add(&store->order, 1) + 1;
}

/* --- keys --- */

struct slice record_key(const struct record_store *store, unsigned kind, struct slice id,
                        char out[RECORD_KEY_MAX])
{
    assert(id.len <= ID_LEN_MAX);
    int len = snprintf(out, RECORD_KEY_MAX, "%s:%s:%.*s", store->options.prefix,
                       store->options.rules[kind].name, (int)id.len, id.ptr);
    assert(len > 0 && len < RECORD_KEY_MAX);
    return (struct slice){out, (size_t)len};
}

struct slice record_gone_key(const struct record_store *store, unsigned kind, struct slice id,
                             char out[RECORD_GONE_KEY_MAX])
{
    char key[RECORD_KEY_MAX];
    struct slice tag = record_key(store, kind, id, key);
    int len = snprintf(out, RECORD_GONE_KEY_MAX, "%s:gone:%s:{%.*s}", store->options.prefix,
                       store->options.rules[kind].name, (int)tag.len, tag.ptr);
    assert(len > 0 && len < RECORD_GONE_KEY_MAX);
    return (struct slice){out, (size_t)len};
}

struct slice record_table_key(unsigned kind, struct slice id, char out[RECORD_TABLE_KEY_MAX])
{
    out[0] = (char)kind;
    memcpy(out + 1, id.ptr, id.len);
    return (struct slice){out, 1 + id.len};
}

/* --- judging --- */

const struct record_rules *record_rules_of(const struct record_work *w)
{
    return &w->store->options.rules[w->kind];
}

bool record_guarded(const struct record_work *w)
{
    return !record_is(w, RECORD_READS | RECORD_OPTIONAL) &&
           (w->change.if_match.ptr || w->change.if_none_match.ptr);
}

static bool preconditions_hold(const struct record_work *w)
{
    if (!record_guarded(w)) return true;
    bool there = w->version.value.ptr != NULL;
    char quoted[ETAG_SIZE];
    if (there) etag_format(record_rules_of(w)->etag(w->version.value), quoted);
    struct slice etag = {quoted + 1, ETAG_DIGITS};
    if (w->change.if_match.ptr && !(there && etag_list_matches(w->change.if_match, etag))) return false;
    return !(w->change.if_none_match.ptr && there && etag_list_matches(w->change.if_none_match, etag));
}

static void refuse(struct record_work *w, enum status status, const char *detail)
{
    w->verdict = RECORD_REFUSE;
    w->result.status = status;
    snprintf(w->result.detail, sizeof w->result.detail, "%s", detail);
}

void record_judge(struct record_work *w)
{
    const struct record_rules *rules = record_rules_of(w);
    buf_deinit(&w->result.value);
    w->result = (struct record_result){0};
    w->verdict = rules->apply(rules, &w->change, &w->version, &w->result);
    /* What is no record has no tag to compare. */
    if (w->verdict == RECORD_REFUSE && w->result.status == STATUS_FOREIGN_VALUE) return;
    if (!preconditions_hold(w))
        refuse(w, STATUS_PRECONDITION_FAILED,
               w->version.value.ptr ? "the value is another than the precondition names"
                                    : "there is no value");
    else if (w->verdict == RECORD_WRITE && w->result.value.failed)
        refuse(w, STATUS_OVERLOADED, "out of memory");
    else if (w->verdict == RECORD_WRITE && w->result.value.len > w->store->options.value_max)
        refuse(w, STATUS_TOO_LARGE, "the value would grow over http.body_max");
}

void record_keep_copy(struct record_work *w)
{
    const struct record_store_options *options = &w->store->options;
    char bytes[RECORD_TABLE_KEY_MAX];
    bool deleted = w->verdict == RECORD_DELETE, unused;
    int64_t wall_ms = clock_wall_ms(options->clock);
    struct lru_meta meta = {.stamp_ms = w->order};
    if (deleted)
        meta.expires_ms = wall_ms + DELETED_MS;
    else if (w->result.expires_ms) /* by Redis's clock; the table's is ours */
        meta.expires_ms = w->result.expires_ms - record_wall_ms(w->store) + wall_ms;
    lru_put(options->lru, record_table_key(w->kind, w->change.id, bytes),
            deleted ? SLICE_NONE : buf_slice(&w->result.value), &meta, deleted ? LRU_DELETED : 0, &unused);
}

/* --- turns --- */

static struct record_work **bucket_of(struct record_port *port, struct slice id)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (unsigned char)id.ptr[i]) * 16777619u;
    return &port->open[(hash ^ hash >> 16) % RECORD_BUCKETS];
}

static void on_turn(void *arg)
{
    record_redis_start(arg);
}

static void on_waited(void *arg)
{
    record_fail(arg, STATUS_OVERLOADED, "other changes of this key took too long");
}

static bool same_key(const struct record_work *a, const struct record_work *b)
{
    return a->kind == b->kind && slice_equal(a->change.id, b->change.id);
}

/* Whether it may begin; else its turn will come. */
static bool take_turn(struct record_work *w)
{
    if (record_is(w, RECORD_READS | RECORD_OPTIONAL)) return true;
    for (struct record_work *other = *bucket_of(w->port, w->change.id); other; other = other->next)
        if (other->holding && same_key(other, w)) w->waiting = true;
    w->holding = !w->waiting;
    if (w->waiting) loop_timer_start(w->port->loop, &w->timer, w->op->deadline_us, on_waited, w);
    return w->holding;
}

void record_pass_turn(struct record_work *w)
{
    if (!w->holding) return;
    w->holding = false;
    struct record_work *oldest = NULL; /* a bucket begins with the youngest */
    for (struct record_work *other = *bucket_of(w->port, w->change.id); other; other = other->next)
        if (other->waiting && same_key(other, w)) oldest = other;
    if (!oldest) return;
    oldest->waiting = false;
    oldest->holding = true;
    loop_timer_start(w->port->loop, &oldest->timer, loop_now_us(w->port->loop), on_turn, oldest);
}

/* --- ends --- */

void record_work_free(struct record_work *w)
{
    lru_release(w->base);
    buf_deinit(&w->result.value);
    buf_deinit(&w->current);
    free(w->owned);
    free(w);
}

static void finish(struct record_work *w)
{
    struct record_op *op = w->op;
    loop_timer_stop(&w->timer);
    record_pass_turn(w);
    *w->prev = w->next;
    if (w->next) w->next->prev = w->prev;
    metrics_count(w->port->cell, METRIC_RECORD_OPERATIONS, op->local ? 1 : 0, 0, 1);
    if (op->status == STATUS_OUTCOME_UNKNOWN) metrics_count(w->port->cell, METRIC_RECORD_UNKNOWN, 0, 0, 1);
    w->op = NULL;
    w->port = NULL;
    op->work = NULL;
    op->done(op);
    if (!w->posted) record_work_free(w);
}

static void show(struct record_work *w, struct slice value, int64_t expires_ms)
{
    struct record_op *op = w->op;
    op->value = value;
    op->expires_ms = expires_ms;
    if (value.ptr) op->etag = record_rules_of(w)->etag(value);
}

void record_answer(struct record_work *w, bool local)
{
    struct record_op *op = w->op;
    op->local = local;
    op->verdict = w->verdict;
    op->existed = w->version.value.ptr != NULL;
    memcpy(op->note, w->result.note, sizeof op->note);
    switch (w->verdict) {
    case RECORD_KEEP:
        show(w, w->version.value, w->version.expires_ms);
        if (!op->existed) op->status = STATUS_NOT_FOUND;
        break;
    case RECORD_WRITE:
        show(w, buf_slice(&w->result.value), w->result.expires_ms);
        break;
    case RECORD_DELETE:
        break;
    case RECORD_REFUSE:
        op->status = w->result.status;
        op->detail = w->result.detail;
    }
    finish(w);
}

void record_answer_as_read(struct record_work *w, bool local)
{
    struct record_op *op = w->op;
    op->local = local;
    op->verdict = RECORD_KEEP;
    op->existed = w->base_version.value.ptr != NULL;
    show(w, w->base_version.value, w->base_version.expires_ms);
    if (!op->existed) op->status = STATUS_NOT_FOUND;
    finish(w);
}

void record_fail(struct record_work *w, enum status status, const char *detail)
{
    w->op->verdict = RECORD_REFUSE;
    w->op->status = status;
    w->op->detail = detail;
    finish(w);
}

bool record_is_object(struct slice value)
{
    enum json_type type;
    return json_validate(value, &type, NULL) == STATUS_OK && type == JSON_OBJECT;
}

/* --- begin and close --- */

static void fill_change(struct record_store *store, struct record_change *change)
{
    if (change->change_id[0]) return;
    change->stamp_ms = record_store_stamp_ms(store);
    uuid_v7(change->stamp_ms, change->change_id);
}

void record_start(struct record_port *port, struct record_op *op)
{
    op->status = STATUS_OK;
    op->detail = "";
    op->verdict = RECORD_KEEP;
    op->local = op->existed = false;
    op->value = SLICE_NONE;
    op->expires_ms = 0;
    op->etag = 0;
    memset(op->note, 0, sizeof op->note);
    fill_change(port->store, &op->change);
    struct record_work *w = op->work = calloc(1, sizeof *w);
    if (!w) {
        op->status = STATUS_OVERLOADED;
        op->detail = "out of memory";
        op->verdict = RECORD_REFUSE;
        op->done(op);
        return;
    }
    w->store = port->store;
    w->port = port;
    w->op = op;
    w->kind = op->kind;
    w->change = op->change;
    w->started_us = loop_now_us(port->loop);
    w->prev = bucket_of(port, w->change.id);
    w->next = *w->prev;
    if (w->next) w->next->prev = &w->next;
    *w->prev = w;
    if (record_store_embedded(port->store))
        record_embedded_start(w);
    else if (take_turn(w))
        record_redis_start(w);
}

void record_port_close(struct record_port *port)
{
    for (size_t i = 0; i < RECORD_BUCKETS; i++)
        while (port->open[i]) {
            struct record_work *w = port->open[i];
            record_fail(w, record_is(w, RECORD_READS) ? STATUS_SPOOL_UNAVAILABLE : STATUS_OUTCOME_UNKNOWN,
                        "the daemon is stopping");
            assert(port->open[i] != w);
        }
    record_lists_close(port);
}
