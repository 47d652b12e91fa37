/* queue_fixture: a queue over a real redis-server behind a scripted fake, or over the spool's file, with a
 * time of the test's own, and operations that wait for their end and tell what came of them in a line of
 * text. */
#ifndef PHOENIX_TESTS_QUEUE_FIXTURE_H
#define PHOENIX_TESTS_QUEUE_FIXTURE_H

#include "../../support/fake_redis.h"
#include "../../support/redis_server.h"
#include "../engine/redis/topology_fixture.h"
#include "../loop/loop_fixture.h"
#include "engine/redis/node_private.h"
#include "engine/redis/script.h"
#include "state/queue.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_TEXT_MAX = 1 << 16 };

struct queue_fixture {
    struct loop_fixture on;
    bool embedded;
    struct spool *spool;
    struct redis_server *server;
    struct resp_client *direct; /* past the fake */
    struct fake_redis *fake;    /* NULL: none between */
    struct redis_url url;
    struct redis_topology *topology;
    struct redis_node *node; /* its only one */
    struct redis_pool *pool;
    struct queue_store *store;
    struct queue_port *port;
    int64_t now_us;
    unsigned done;
    char text[QUEUE_TEXT_MAX];
    char op_id[QUEUE_OP_SIZE];
    struct {
        char id[16], receipt[64];
    } leased[32]; /* the last leases */
    size_t leased_count;
    int64_t due_ms; /* of the last task shown */
};

/* An item is "<id>", with " <priority>" behind it. */
static inline bool queue_fixture_item(void *arg, struct slice item, int64_t now_ms, struct buf *scratch,
                                      struct queue_task *out, char reason[192])
{
    (void)arg;
    (void)now_ms;
    if (item.len == 0 || item.ptr[0] == '!') {
        snprintf(reason, 192, "no item");
        return false;
    }
    const char *blank = memchr(item.ptr, ' ', item.len);
    buf_append(scratch, "{}", 2);
    *out = (struct queue_task){.id = {item.ptr, blank ? (size_t)(blank - item.ptr) : item.len},
                               .body = buf_slice(scratch),
                               .priority = blank ? (unsigned)(blank[1] - '0') : 0,
                               .max_attempts = 3,
                               .ttl_ms = 1000000};
    return true;
}

static inline void queue_fixture_open_spool(struct queue_fixture *f, const char *identity)
{
    char path[TEST_PATH_MAX], error[300];
    f->spool = spool_create(
        &(struct spool_options){
            .db = {.path = scratch_path(path, "spool.db"), .identity = identity, .bytes_max = 64 << 20},
            .queue_max = 10000,
            .clock = &clock_system},
        error, sizeof error);
    ck_assert_msg(f->spool != NULL, "%s", error);
}

/* No Redis: the spool's file. */
static inline void queue_fixture_open_embedded(struct queue_fixture *f)
{
    memset(f, 0, sizeof *f);
    f->embedded = true;
    loop_fixture_open(&f->on);
    queue_fixture_open_spool(f, "embedded");
    f->now_us = INT64_C(1800000000000000);
    f->store = queue_store_create(&(struct queue_store_options){.spool = f->spool,
                                                                .clock = &clock_system,
                                                                .prefix = "phoenix",
                                                                .retry_base_ms = 1000,
                                                                .retry_max_ms = 300000,
                                                                .dedupe_ms = 86400000,
                                                                .aging_us = 60000000,
                                                                .now_us = &f->now_us});
    ck_assert_ptr_nonnull(f->store);
    f->port = queue_port_create(f->store, f->on.loop, NULL);
    ck_assert_ptr_nonnull(f->port);
}

/* options: NULL for none. */
static inline void queue_fixture_open_on(struct queue_fixture *f, bool with_fake,
                                         const struct redis_server_options *options)
{
    char error[200];
    memset(f, 0, sizeof *f);
    ck_assert(redis_scripts_init());
    loop_fixture_open(&f->on);
    f->server = redis_server_start(options);
    f->direct = redis_server_client(f->server);
    if (with_fake) f->fake = fake_redis_start(redis_server_port(f->server));
    ck_assert(redis_url_parse("redis.url", with_fake ? fake_redis_url(f->fake) : redis_server_url(f->server),
                              &f->url, error, sizeof error));
    const struct redis_topology_options topology = topology_options(&f->url, &f->on.clock, 500);
    f->topology = topology_open(&topology);
    f->node = topology_only(f->topology);
    f->pool = topology_pool(f->topology, f->on.loop, 1);
    f->now_us = INT64_C(1800000000000000);
    f->store = queue_store_create(&(struct queue_store_options){.redis = f->topology,
                                                                .prefix = "phoenix",
                                                                .retry_base_ms = 1000,
                                                                .retry_max_ms = 300000,
                                                                .dedupe_ms = 86400000,
                                                                .aging_us = 60000000,
                                                                .bad_keep_ms = 86400000,
                                                                .item_max = 10000,
                                                                .read_item = queue_fixture_item,
                                                                .now_us = &f->now_us});
    ck_assert_ptr_nonnull(f->store);
    f->port = queue_port_create(f->store, f->on.loop, f->pool);
    ck_assert_ptr_nonnull(f->port);
    RUN_UNTIL(&f->on, redis_pool_ready(f->pool) == 1);
}

static inline void queue_fixture_open(struct queue_fixture *f, bool with_fake)
{
    queue_fixture_open_on(f, with_fake, NULL);
}

static inline void queue_fixture_close(struct queue_fixture *f)
{
    redis_pool_destroy(&f->pool);
    queue_port_destroy(&f->port);
    spool_destroy(&f->spool);
    loop_fixture_close(&f->on);
    queue_store_destroy(&f->store);
    redis_topology_destroy(&f->topology);
    redis_url_deinit(&f->url);
    if (f->fake) fake_redis_stop(&f->fake);
    resp_close(&f->direct);
    if (f->server) redis_server_stop(&f->server);
}

static inline void queue_pass_ms(struct queue_fixture *f, int64_t ms)
{
    f->now_us += ms * 1000;
}

/* --- what came of an operation, as text --- */

static inline void queue_say(struct queue_fixture *f, const char *text, struct slice s)
{
    size_t len = strlen(f->text);
    snprintf(f->text + len, sizeof f->text - len, "%s%.*s", text, (int)s.len, s.ptr ? s.ptr : "");
}

static inline void queue_say_number(struct queue_fixture *f, const char *name, int64_t n)
{
    size_t len = strlen(f->text);
    if (n) snprintf(f->text + len, sizeof f->text - len, " %s=%lld", name, (long long)n);
}

static inline void queue_say_ticked(struct queue_fixture *f, const struct queue_ticked *t)
{
    queue_say_number(f, "more", t->more);
    queue_say_number(f, "ended", t->ended);
    queue_say_number(f, "died", t->died);
    queue_say_number(f, "finished", t->finished);
    queue_say_number(f, "promoted", t->promoted);
    queue_say_number(f, "expired", t->expired);
    queue_say_number(f, "dead_forgotten", t->dead_forgotten);
    queue_say_number(f, "done_forgotten", t->done_forgotten);
    queue_say_number(f, "inbox", t->inbox);
}

static inline void queue_say_view(struct queue_fixture *f, const struct queue_view *v)
{
    char text[64];
    queue_say(f, " ", v->state == QUEUE_BAD ? v->body : v->id);
    if (v->state == QUEUE_BAD)
        queue_say(f, ":", v->reason);
    else
        queue_say(f, FORMAT(text, ":%s:%u", queue_state_names[v->state], v->attempt), SLICE_NONE);
    struct slice rest = v->history;
    for (struct queue_event e; queue_event_next(&rest, &e);)
        queue_say(f, FORMAT(text, " %c", e.kind), e.reason);
}

/* "ok", then per verb: "+" or the state per task enqueued, "+-?!" per ack ("~": journaled), "id#attempt" per
 * lease, … */
static inline void on_queue_done(struct queue_op *op)
{
    struct queue_fixture *f = op->arg;
    f->done++;
    snprintf(f->text, sizeof f->text, "%s", status_code(op->status));
    for (size_t i = 0; op->verdicts && i < op->results; i++) {
        const struct queue_verdict *v = &op->verdicts[i];
        if (op->verb == QUEUE_ACK || op->verb == QUEUE_SETTLE)
            queue_say(f,
                      v->status == STATUS_OK                  ? " +"
                      : v->status == STATUS_NOT_FOUND         ? " ?"
                      : v->status == STATUS_REDIS_UNAVAILABLE ? " !"
                                                              : " -",
                      SLICE_NONE);
        else
            queue_say(f, " ", slice_of(v->added ? "+" : queue_state_names[v->state]));
        if (v->journaled) queue_say(f, "~", SLICE_NONE);
    }
    if (op->journaled) queue_say(f, " ~", SLICE_NONE);
    if (op->partial) queue_say(f, " partial", SLICE_NONE);
    for (size_t i = 0; op->leases && i < op->results; i++) {
        char text[32];
        queue_say(f, " ", op->leases[i].id);
        queue_say(f, FORMAT(text, "#%u", op->leases[i].attempt), SLICE_NONE);
        size_t at = f->leased_count++ % (sizeof f->leased / sizeof f->leased[0]);
        FORMAT(f->leased[at].id, "%.*s", (int)op->leases[i].id.len, op->leases[i].id.ptr);
        FORMAT(f->leased[at].receipt, "%.*s", (int)op->leases[i].receipt.len, op->leases[i].receipt.ptr);
    }
    for (size_t i = 0; op->views && i < op->results; i++)
        f->due_ms = op->views[i].at_ms;
    for (size_t i = 0; op->views && i < op->results; i++)
        queue_say_view(f, &op->views[i]);
    if (op->verb == QUEUE_TICK) queue_say_ticked(f, &op->ticked);
    if (op->verb == QUEUE_ADOPT) {
        queue_say_number(f, "shown", op->adopted.shown);
        queue_say_number(f, "added", op->adopted.added);
        queue_say_number(f, "known", op->adopted.known);
        queue_say_number(f, "bad", op->adopted.bad);
    }
    for (int i = 0; op->verb == QUEUE_COUNTS && i <= QUEUE_BAD; i++)
        queue_say_number(f, queue_state_names[i], op->counts.of[i]);
    queue_say_number(f, "inbox", op->counts.inbox);
    queue_say_number(f, "oldest", op->counts.oldest_ready_ms);
    queue_say_number(f, "count", op->count);
    queue_say_number(f, "left", op->left);
    queue_say_number(f, "passed", op->expired);
    memcpy(f->op_id, op->op_id, sizeof f->op_id);
}

static inline void queue_begin(struct queue_fixture *f, struct queue_op *op)
{
    f->done = 0;
    op->deadline_us = loop_now_us(f->on.loop) + test_ms(2000) * 1000;
    if (!op->done) op->done = on_queue_done;
    op->arg = f;
    queue_start(f->port, op);
}

static inline const char *queue_run(struct queue_fixture *f, struct queue_op *op)
{
    queue_begin(f, op);
    RUN_UNTIL(&f->on, f->done);
    ck_assert_uint_eq(f->done, 1);
    return f->text;
}

static inline struct queue_task queue_task_of(const char *id, const char *agent, unsigned priority)
{
    return (struct queue_task){.id = slice_of(id),
                               .agent = slice_of(agent),
                               .body = SLICE_LITERAL("{\"payload\":1}"),
                               .priority = priority,
                               .max_attempts = 3,
                               .ttl_ms = 1000000};
}

static inline const char *queue_add_task(struct queue_fixture *f, const struct queue_task *task)
{
    return queue_run(f, &(struct queue_op){.verb = QUEUE_ENQUEUE, .in.enqueue = {task, 1}});
}

static inline const char *queue_add(struct queue_fixture *f, const char *id, const char *agent,
                                    unsigned priority)
{
    struct queue_task task = queue_task_of(id, agent, priority);
    return queue_add_task(f, &task);
}

/* When a delayed task is due. */
static inline int64_t queue_due_ms(struct queue_fixture *f, const char *id)
{
    if (!f->embedded)
        return (int64_t)strtod(
            resp_text(f->direct, "ZSCORE", "phoenix:tasks:delayed:{phoenix:tasks:queue}", id, NULL), NULL);
    f->due_ms = 0;
    (void)queue_run(f, &(struct queue_op){.verb = QUEUE_GET, .in.task = {slice_of(id)}});
    return f->due_ms;
}

/* One agent, "" for all. */
static inline const char *queue_take(struct queue_fixture *f, const char *agent, unsigned count,
                                     int64_t lease_ms)
{
    struct slice name = slice_of(agent);
    return queue_run(f, &(struct queue_op){.verb = QUEUE_DEQUEUE,
                                           .in.dequeue = {.agents = &name,
                                                          .agents_count = name.len ? 1 : 0,
                                                          .count = count,
                                                          .lease_ms = lease_ms}});
}

/* The receipt that was told last of a task. */
static inline const char *queue_told_receipt(const struct queue_fixture *f, const char *id)
{
    enum { KEPT = sizeof f->leased / sizeof f->leased[0] };
    for (size_t i = f->leased_count; i > 0 && i + KEPT > f->leased_count; i--)
        if (strcmp(f->leased[(i - 1) % KEPT].id, id) == 0) return f->leased[(i - 1) % KEPT].receipt;
    return "";
}

/* The receipt that META has of a task: behind the fixed fields and the agent. */
static inline const char *queue_receipt(struct queue_fixture *f, const char *id)
{
    static char receipt[64];
    if (f->embedded) return queue_told_receipt(f, id);
    const char *const argv[] = {"HGET", "phoenix:tasks:meta:{phoenix:tasks:queue}", id, NULL};
    const struct resp_value *v = resp_call_list(f->direct, argv);
    receipt[0] = 0;
    if (v && v->type == '$') {
        const char *agent = v->text + 47;
        snprintf(receipt, sizeof receipt, "%s", agent + strlen(agent) + 1);
    }
    return receipt;
}

static inline const char *queue_ack_one(struct queue_fixture *f, const char *id, const char *receipt)
{
    struct queue_ack ack = {slice_of(id), slice_of(receipt)};
    return queue_run(f, &(struct queue_op){.verb = QUEUE_ACK, .in.ack = {&ack, 1}});
}

static inline const char *queue_settle_one(struct queue_fixture *f, const char *id, const char *receipt)
{
    struct queue_ack ack = {slice_of(id), slice_of(receipt)};
    return queue_run(f, &(struct queue_op){.verb = QUEUE_SETTLE, .in.ack = {&ack, 1}});
}

static inline const char *queue_nack_one(struct queue_fixture *f, const char *id, const char *receipt,
                                         int64_t delay_ms, const char *reason)
{
    return queue_run(f, &(struct queue_op){.verb = QUEUE_NACK,
                                           .in.nack = {.id = slice_of(id),
                                                       .receipt = slice_of(receipt),
                                                       .reason = slice_of(reason),
                                                       .delay_ms = delay_ms}});
}

static inline const char *queue_extend_one(struct queue_fixture *f, const char *id, const char *receipt,
                                           int64_t lease_ms)
{
    return queue_run(f, &(struct queue_op){.verb = QUEUE_EXTEND,
                                           .in.extend = {slice_of(id), slice_of(receipt), lease_ms}});
}

static inline const char *queue_one(struct queue_fixture *f, enum queue_verb verb, const char *id)
{
    return queue_run(f, &(struct queue_op){.verb = verb, .in.task = {slice_of(id)}});
}

static inline const char *queue_do(struct queue_fixture *f, enum queue_verb verb)
{
    return queue_run(f, &(struct queue_op){.verb = verb});
}

#endif
