/* test_queue_model: random operations on the queue and on its model, each answer compared, and every so often
 * all that Redis holds. The seed is printed; MODEL_SEED=… runs the same again, MODEL_OPERATIONS=… says how
 * many. Time is the test's own and jumps. */
#include "../unit/state/queue_fixture.h"
#include "queue_model.h"

#include <inttypes.h>

enum { OPERATIONS = 3000, AUDIT_EVERY = 64, OPS_KEPT = 32, TICKS_MAX = 100 };

static struct queue_fixture f;
static struct model m;
static uint64_t seed, state;
static int64_t at; /* the operation's number */
static const char *what;

/* Of the last dequeues. */
static struct {
    char op[QUEUE_OP_SIZE];
    unsigned agents;
} ops[OPS_KEPT];
static size_t ops_count;
/* Of each task, a receipt it once had. */
static char old_receipts[MODEL_TASKS][MODEL_TEXT];

#define AGREE(condition, ...)                                                                                \
    do {                                                                                                     \
        char why_[256];                                                                                      \
        if (!(condition))                                                                                    \
            ck_abort_msg("MODEL_SEED=%" PRIu64 ", operation %" PRId64 " (%s): %s: %s", seed, at, what,       \
                         #condition, FORMAT(why_, __VA_ARGS__));                                             \
    } while (0)

/* splitmix64 (Vigna). */
static uint64_t next_random(void)
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(unsigned bound)
{
    return (unsigned)(next_random() % bound);
}

static bool chance(unsigned percent)
{
    return below(100) < percent;
}

static const char *const AGENTS[] = {"", "", "x", "xy", "z"};

/* --- one operation --- */

static struct {
    enum status status;
    size_t results;
    struct queue_verdict verdicts[16];
    struct {
        char id[8], receipt[MODEL_TEXT];
        unsigned attempt;
        int64_t ends_ms;
    } leases[16];
    struct {
        char id[8];
        enum queue_state state;
    } views[MODEL_TASKS];
} got;

static void copy_text(char *out, size_t size, struct slice s)
{
    snprintf(out, size, "%.*s", (int)s.len, s.ptr);
}

static void on_done(struct queue_op *op)
{
    f.done++;
    got.status = op->status;
    got.results = op->results;
    for (size_t i = 0; op->verdicts && i < op->results; i++)
        got.verdicts[i] = op->verdicts[i];
    for (size_t i = 0; op->leases && i < op->results; i++) {
        copy_text(got.leases[i].id, sizeof got.leases[i].id, op->leases[i].id);
        copy_text(got.leases[i].receipt, MODEL_TEXT, op->leases[i].receipt);
        got.leases[i].attempt = op->leases[i].attempt;
        got.leases[i].ends_ms = op->leases[i].ends_ms;
    }
    for (size_t i = 0; op->views && i < op->results; i++) {
        copy_text(got.views[i].id, sizeof got.views[i].id, op->views[i].id);
        got.views[i].state = op->views[i].state;
    }
    loop_stop(f.on.loop);
}

static void run(struct queue_op *op)
{
    op->done = on_done;
    m.now_us = f.now_us;
    queue_begin(&f, op);
    loop_timer_start(f.on.loop, &f.on.turn, loop_now_us(f.on.loop) + test_ms(10000) * 1000,
                     loop_fixture_on_turn, &f.on);
    if (!f.done) loop_run(f.on.loop);
    AGREE(f.done == 1, "no answer");
}

static unsigned task_of(const char *id)
{
    return (unsigned)strtoul(id + 1, NULL, 10);
}

/* What the model cannot know: how the backoff was spread. */
static void fill_in_backoff(unsigned task)
{
    struct model_task *t = &m.tasks[task];
    if (!t->alive || t->state != QUEUE_DELAYED || t->at != 0) return;
    t->at = (int64_t)strtod(
        resp_text(f.direct, "ZSCORE", "phoenix:tasks:delayed:{phoenix:tasks:queue}", t->id, NULL), NULL);
    double base = (double)(1000 << (t->failures - 1)), wait = (double)(t->at - model_now(&m));
    AGREE(wait >= 0.75 * base - 1 && wait <= 1.25 * base && wait <= 3000, "%s waits %.0f", t->id, wait);
}

/* The task's receipt, one it had, or none that ever was. */
static const char *some_receipt(unsigned task)
{
    const struct model_task *t = &m.tasks[task];
    unsigned kind = below(10);
    if (kind < 6 && t->receipt[0]) return t->receipt;
    return kind < 9 && old_receipts[task][0] ? old_receipts[task] : "r.AAAAAAAAAAAAAAAA.1.1";
}

static void try_enqueue(void)
{
    struct queue_task tasks[5];
    unsigned ids[5], count = 1 + below(5);
    for (unsigned i = 0; i < count; i++) {
        ids[i] = below(MODEL_TASKS);
        tasks[i] = queue_task_of(m.tasks[ids[i]].id, AGENTS[below(5)], below(4));
        tasks[i].max_attempts = 1 + below(3);
        tasks[i].delay_ms = chance(25) ? 1 + below(5000) : 0;
        tasks[i].ttl_ms = chance(30) ? 500 * (1 + (int64_t)below(10)) : 100000;
    }
    struct queue_op op = {.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks, count}};
    run(&op);
    AGREE(got.status == STATUS_OK && got.results == count, "%s", status_code(got.status));
    for (unsigned i = 0; i < count; i++) {
        enum queue_state known = model_add(&m, ids[i], &tasks[i]);
        AGREE(got.verdicts[i].added == (known == QUEUE_BAD), "%s", tasks[i].id.ptr);
        AGREE(known == QUEUE_BAD || got.verdicts[i].state == known, "%s is %s, not %s", tasks[i].id.ptr,
              queue_state_names[got.verdicts[i].state], queue_state_names[known]);
    }
}

static void try_dequeue(void)
{
    const char *agents[4] = {NULL};
    unsigned first = below(3);
    struct slice named[3];
    size_t agents_count = chance(50) ? 1 + below(3) : 0;
    for (size_t i = 0; i < agents_count; i++) {
        agents[i] = AGENTS[2 + (i + first) % 3];
        named[i] = slice_of(agents[i]);
    }
    unsigned count = 1 + below(5), expected[MODEL_TASKS * 4];
    int64_t lease_ms = 1 + below(chance(50) ? 3000 : 30000), passed;
    bool automatic = chance(10);
    m.now_us = f.now_us;
    size_t n = model_next(&m, agents, count, expected, &passed);
    struct queue_op op = {.verb = QUEUE_DEQUEUE,
                          .in.dequeue = {.agents = named,
                                         .agents_count = agents_count,
                                         .count = count,
                                         .lease_ms = lease_ms,
                                         .automatic = automatic}};
    run(&op);
    AGREE(got.status == STATUS_OK, "%s", status_code(got.status));
    AGREE(got.results == n, "%zu leases, not %zu", got.results, n);
    AGREE(op.expired == passed, "passed over %d, not %d", (int)op.expired, (int)passed);
    for (size_t i = 0; i < n; i++) {
        struct model_task *t = &m.tasks[expected[i]];
        AGREE(strcmp(got.leases[i].id, t->id) == 0, "%s, not %s", got.leases[i].id, t->id);
        AGREE(got.leases[i].attempt == t->failures + 1, "%s: attempt %u", t->id, got.leases[i].attempt);
        AGREE(strcmp(got.leases[i].receipt, old_receipts[expected[i]]) != 0, "%s: an old receipt", t->id);
        model_lease(&m, expected[i], got.leases[i].receipt, lease_ms, automatic);
        AGREE(got.leases[i].ends_ms == t->at, "%s", t->id);
        FORMAT(old_receipts[expected[i]], "%s", got.leases[i].receipt);
    }
    memcpy(ops[ops_count++ % OPS_KEPT].op, op.op_id, QUEUE_OP_SIZE);
}

static void try_ack(void)
{
    struct queue_ack acks[8];
    unsigned tasks[8], count = 1 + below(8);
    char receipts[8][MODEL_TEXT];
    m.now_us = f.now_us;
    for (unsigned i = 0; i < count; i++) {
        tasks[i] = below(MODEL_TASKS);
        acks[i] = (struct queue_ack){slice_of(m.tasks[tasks[i]].id),
                                     slice_of(FORMAT(receipts[i], "%s", some_receipt(tasks[i])))};
    }
    struct queue_op op = {.verb = QUEUE_ACK, .in.ack = {acks, count}};
    run(&op);
    AGREE(got.status == STATUS_OK && got.results == count, "%s", status_code(got.status));
    for (unsigned i = 0; i < count; i++) {
        enum status expected = model_ack(&m, tasks[i], receipts[i]);
        AGREE(got.verdicts[i].status == expected, "%s: %s, not %s", acks[i].id.ptr,
              status_code(got.verdicts[i].status), status_code(expected));
    }
}

static void try_nack(void)
{
    unsigned task = below(MODEL_TASKS);
    char receipt[MODEL_TEXT];
    int64_t delay_ms = chance(50) ? -1 : (int64_t)below(3) * 500;
    FORMAT(receipt, "%s", some_receipt(task));
    struct queue_op op = {.verb = QUEUE_NACK,
                          .in.nack = {.id = slice_of(m.tasks[task].id),
                                      .receipt = slice_of(receipt),
                                      .reason = SLICE_LITERAL("\"r\""),
                                      .delay_ms = delay_ms}};
    run(&op);
    enum status expected = model_nack(&m, task, receipt, delay_ms);
    AGREE(got.status == expected, "%s: %s, not %s", m.tasks[task].id, status_code(got.status),
          status_code(expected));
    fill_in_backoff(task);
}

static void try_extend(void)
{
    unsigned task = below(MODEL_TASKS);
    char receipt[MODEL_TEXT];
    int64_t lease_ms = 1 + below(10000);
    FORMAT(receipt, "%s", some_receipt(task));
    struct queue_op op = {.verb = QUEUE_EXTEND,
                          .in.extend = {slice_of(m.tasks[task].id), slice_of(receipt), lease_ms}};
    run(&op);
    enum status expected = model_extend(&m, task, receipt, lease_ms);
    AGREE(got.status == expected, "%s: %s, not %s", m.tasks[task].id, status_code(got.status),
          status_code(expected));
    AGREE(expected != STATUS_OK || op.lease_ends_ms == m.tasks[task].at, "%s", m.tasks[task].id);
}

static void try_one(enum queue_verb verb, enum status (*expect)(struct model *, unsigned))
{
    unsigned task = below(MODEL_TASKS);
    struct queue_op op = {.verb = verb, .in.task = {slice_of(m.tasks[task].id)}};
    run(&op);
    enum status expected = expect(&m, task);
    AGREE(got.status == expected, "%s: %s, not %s", m.tasks[task].id, status_code(got.status),
          status_code(expected));
}

static enum status expect_get(struct model *model, unsigned task)
{
    const struct model_task *t = &model->tasks[task];
    if (!t->alive) return STATUS_NOT_FOUND;
    return got.results == 1 && got.views[0].state == t->state ? STATUS_OK : STATUS_INTERNAL;
}

static void try_return(void)
{
    if (ops_count == 0) return;
    const char *op = ops[below((unsigned)(ops_count < OPS_KEPT ? ops_count : OPS_KEPT))].op;
    m.now_us = f.now_us;
    queue_return(f.port, op, 60000);
    RUN_UNTIL(&f.on, queue_returns(f.port) == 0);
    model_return(&m, op);
}

static void try_tick(void)
{
    struct queue_ticked sum = {0}, expected;
    m.now_us = f.now_us;
    for (int i = 0;; i++) {
        struct queue_op op = {.verb = QUEUE_TICK};
        run(&op);
        AGREE(got.status == STATUS_OK && i < TICKS_MAX, "%s", status_code(got.status));
        sum.ended += op.ticked.ended;
        sum.died += op.ticked.died;
        sum.finished += op.ticked.finished;
        sum.promoted += op.ticked.promoted;
        sum.expired += op.ticked.expired;
        sum.dead_forgotten += op.ticked.dead_forgotten;
        if (!op.ticked.more) break;
    }
    model_tick(&m, &expected);
    AGREE(sum.ended == expected.ended && sum.died == expected.died && sum.finished == expected.finished,
          "%d ended, %d died, %d finished", (int)expected.ended, (int)expected.died, (int)expected.finished);
    AGREE(sum.promoted == expected.promoted && sum.expired == expected.expired &&
              sum.dead_forgotten == expected.dead_forgotten,
          "%d promoted, %d expired, %d forgotten, not %d, %d, %d", (int)expected.promoted,
          (int)expected.expired, (int)expected.dead_forgotten, (int)sum.promoted, (int)sum.expired,
          (int)sum.dead_forgotten);
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        fill_in_backoff(i);
}

/* Foreign items, legal and broken, some twice. */
static void try_inbox(void)
{
    int64_t added = 0, known = 0, bad = 0;
    unsigned count = 1 + below(6);
    m.now_us = f.now_us;
    for (unsigned i = 0; i < count; i++) {
        char item[32];
        unsigned task = below(MODEL_TASKS), priority = below(4);
        bool broken = chance(20);
        if (broken)
            FORMAT(item, "!%u", task);
        else
            FORMAT(item, "t%u %u", task, priority);
        AGREE(resp_integer(f.direct, "LPUSH", "phoenix:tasks:queue", item, NULL) >= 1, "LPUSH");
        struct queue_task as = {.priority = priority, .max_attempts = 3, .ttl_ms = 1000000};
        if (broken) {
            m.arrivals++;
            m.bad[m.bad_count++] = model_now(&m);
            bad++;
        } else if (model_add(&m, task, &as) == QUEUE_BAD) {
            added++;
        } else {
            known++;
        }
    }
    struct queue_op op = {.verb = QUEUE_ADOPT};
    run(&op);
    AGREE(got.status == STATUS_OK && op.adopted.moved == count, "%s", status_code(got.status));
    AGREE(op.adopted.added == added && op.adopted.known == known && op.adopted.bad == bad, "%d %d %d",
          (int)added, (int)known, (int)bad);
}

static void try_counts(void)
{
    struct queue_op op = {.verb = QUEUE_COUNTS};
    run(&op);
    for (int i = 0; i <= QUEUE_BAD; i++)
        AGREE(op.counts.of[i] == model_count(&m, (enum queue_state)i), "%s: %d", queue_state_names[i],
              (int)op.counts.of[i]);
}

/* A dequeue that arrives late: its leases, or nothing. */
static void try_late(void)
{
    if (ops_count == 0) return;
    const char *op = ops[below((unsigned)(ops_count < OPS_KEPT ? ops_count : OPS_KEPT))].op;
    static const char *const PARTS[] = {"meta",       "body",  "leased", "ops",   "done",
                                        "done_order", "ready", "agents", "expiry"};
    enum { KEYS = sizeof PARTS / sizeof PARTS[0], ARGS = 7, ALL = 3 + KEYS + ARGS };
    size_t leased = 0, lens[ALL];
    m.now_us = f.now_us;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        leased += m.tasks[i].alive && m.tasks[i].state == QUEUE_LEASED &&
                  strncmp(m.tasks[i].receipt + 2, op, QUEUE_OP_SIZE - 1) == 0;
    if (leased == 0 && !model_is_returned(&m, op)) return; /* it would be a new one */
    char keys[KEYS][80], time[32];
    const char *argv[ALL] = {"EVALSHA", redis_script(REDIS_SCRIPT_QUEUE_DEQUEUE)->sha, "9"};
    const char *const args[ARGS] = {FORMAT(time, "%" PRId64, f.now_us), op, "5", "60000", "r", "1000000", ""};
    for (size_t i = 0; i < KEYS; i++)
        argv[3 + i] = FORMAT(keys[i], "phoenix:tasks:%s:{phoenix:tasks:queue}", PARTS[i]);
    memcpy(&argv[3 + KEYS], args, sizeof args);
    for (size_t i = 0; i < ALL; i++)
        lens[i] = strlen(argv[i]);
    const struct resp_value *v = resp_call_argv(f.direct, ALL, argv, lens);
    AGREE(v && v->type == '*' && v->count == 2 + 5 * leased, "%s", v && v->text ? v->text : "?");
    for (size_t i = 0; i < leased; i++) {
        const struct model_task *t = &m.tasks[task_of(v->items[2 + 5 * i].text)];
        AGREE(strcmp(v->items[2 + 5 * i + 2].text, t->receipt) == 0, "%s", t->id);
    }
}

static void try_list(void)
{
    char cursor[QUEUE_CURSOR_SIZE] = "";
    enum queue_state listed = (enum queue_state)below(QUEUE_BAD);
    unsigned expected[MODEL_TASKS];
    m.now_us = f.now_us;
    size_t n = model_list(&m, listed, expected), seen = 0;
    do {
        struct queue_op op = {.verb = QUEUE_LIST, .in.list = {listed, slice_of(cursor), 1 + below(9)}};
        run(&op);
        AGREE(got.status == STATUS_OK && seen + got.results <= n, "%s", status_code(got.status));
        for (size_t i = 0; i < got.results; i++)
            AGREE(strcmp(got.views[i].id, m.tasks[expected[seen + i]].id) == 0, "%s", got.views[i].id);
        seen += got.results;
        FORMAT(cursor, "%s", op.next);
    } while (cursor[0]);
    AGREE(seen == n, "%zu of %zu", seen, n);
}

/* --- all that Redis holds --- */

static const struct resp_value *in_redis(const char *const command[4], const char *part)
{
    char key[80];
    const char *const argv[] = {command[0],
                                FORMAT(key, "phoenix:tasks:%s:{phoenix:tasks:queue}", part),
                                command[1],
                                command[1] ? command[2] : NULL,
                                command[1] ? command[3] : NULL,
                                NULL};
    const struct resp_value *v = resp_call_list(f.direct, argv);
    AGREE(v && v->type == '*', "%s %s", command[0], part);
    return v;
}

static uint64_t number(const char **p, unsigned bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | (unsigned char)(*p)[i];
    *p += bytes;
    return n;
}

static void audit_meta(void)
{
    static const char *const HGETALL[4] = {"HGETALL"};
    size_t alive = 0;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        alive += m.tasks[i].alive;
    const struct resp_value *v = in_redis(HGETALL, "meta");
    AGREE(v->count == 2 * alive, "%zu of %zu in meta", v->count / 2, alive);
    for (size_t i = 0; i < v->count; i += 2) {
        const struct model_task *t = &m.tasks[task_of(v->items[i].text)];
        const char *p = v->items[i + 1].text;
        AGREE(t->alive && *p++ == "rdlx"[t->state], "%s", t->id);
        AGREE(number(&p, 2) == t->failures && number(&p, 2) == t->max && number(&p, 1) == t->priority, "%s",
              t->id);
        AGREE((int64_t)number(&p, 6) == t->arrival, "%s", t->id);
        AGREE((int64_t)(number(&p, 7) - (UINT64_C(1) << 52)) == t->rank, "%s", t->id);
        AGREE((int64_t)number(&p, 6) == t->added && (int64_t)number(&p, 6) == t->ttl, "%s", t->id);
        AGREE((int64_t)number(&p, 6) == t->ends && (int64_t)number(&p, 6) == t->at, "%s", t->id);
        p += 4;
        AGREE(strcmp(p, t->agent) == 0 && strcmp(p + strlen(p) + 1, t->receipt) == 0, "%s", t->id);
        p += strlen(p) + 1;
        p += strlen(p) + 1;
        unsigned lines = 0;
        for (; *p; p++)
            lines += *p == '\n';
        AGREE(lines == t->events, "%s: %u events, not %u", t->id, lines, t->events);
    }
    AGREE(in_redis((const char *const[4]){"HKEYS"}, "body")->count == alive, "body");
}

/* A zset holds exactly the tasks of these states, at the right score. */
static void audit_index(const char *part, unsigned states, size_t skip,
                        int64_t (*score)(const struct model_task *))
{
    size_t n = 0;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        n += m.tasks[i].alive && (states >> m.tasks[i].state & 1) != 0 &&
             (strcmp(part, "agents") != 0 || m.tasks[i].agent[0]);
    const struct resp_value *v = in_redis((const char *const[4]){"ZRANGE", "0", "-1", "WITHSCORES"}, part);
    AGREE(v->count == 2 * n, "%zu of %zu in %s", v->count / 2, n, part);
    for (size_t i = 0; i < v->count; i += 2) {
        const char *member = v->items[i].text;
        size_t behind = strcmp(part, "agents") == 0 ? strlen(member) + 1 + 13 : skip;
        const struct model_task *t = &m.tasks[task_of(member + behind)];
        AGREE(t->alive && (states >> t->state & 1) != 0 && strcmp(t->id, member + behind) == 0, "%s in %s",
              t->id, part);
        AGREE(strcmp(part, "agents") != 0 || strcmp(member, t->agent) == 0, "%s", t->id);
        AGREE((int64_t)strtod(v->items[i + 1].text, NULL) == score(t), "%s in %s: %s", t->id, part,
              v->items[i + 1].text);
    }
}

static int64_t score_rank(const struct model_task *t)
{
    return t->rank;
}

static int64_t score_at(const struct model_task *t)
{
    return t->at;
}

static int64_t score_ends(const struct model_task *t)
{
    return t->ends;
}

static int64_t score_none(const struct model_task *t)
{
    (void)t;
    return 0;
}

/* Finished ids: those that count are there with their receipt; what is there has its place in the order. */
static void audit_done(void)
{
    const struct resp_value *v = in_redis((const char *const[4]){"HGETALL"}, "done");
    size_t there = v->count / 2, live = 0;
    for (size_t i = 0; i < v->count; i += 2) {
        const struct model_task *t = &m.tasks[task_of(v->items[i].text)];
        const char *p = v->items[i + 1].text;
        AGREE(t->remembered && (int64_t)number(&p, 6) == t->done_ends, "%s", t->id);
        AGREE(*p == (t->how == QUEUE_ACKED ? 'a' : t->how == QUEUE_CANCELLED ? 'c' : 'p'), "%s", t->id);
        AGREE(strcmp(p + 1, t->done_receipt) == 0, "%s: %s", t->id, p + 1);
    }
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        live += m.tasks[i].remembered;
    AGREE(there == live, "%zu of %zu done", there, live);
    v = in_redis((const char *const[4]){"LRANGE", "0", "-1", NULL}, "done_order");
    AGREE(v->count >= there && (there > 0 || v->count == 0), "%zu in order, %zu done", v->count, there);
}

static void audit(void)
{
    enum { R = 1 << QUEUE_READY, D = 1 << QUEUE_DELAYED, L = 1 << QUEUE_LEASED, X = 1 << QUEUE_DEAD };
    m.now_us = f.now_us;
    audit_meta();
    audit_index("ready", R, 6, score_rank);
    audit_index("agents", R, 0, score_none);
    audit_index("expiry", R | D, 0, score_ends);
    audit_index("delayed", D, 0, score_at);
    audit_index("leased", L, 0, score_at);
    audit_index("dead", X, 0, score_at);
    audit_done();
    size_t returned = in_redis((const char *const[4]){"ZRANGE", "0", "-1", NULL}, "returned")->count;
    AGREE(returned == m.returned_count, "%zu of %zu returned", returned, m.returned_count);
    size_t leases = in_redis((const char *const[4]){"ZRANGE", "0", "-1", NULL}, "ops")->count;
    AGREE(leases == returned + (size_t)model_count(&m, QUEUE_LEASED), "%zu ops", leases);
    const struct resp_value *keys = resp_call(f.direct, "KEYS", "*");
    static const char *const PARTS[] = {
        ":meta:",   ":body:",   ":leased:",  ":ops:",     ":done:", ":done_order:", ":ready:",
        ":agents:", ":expiry:", ":delayed:", ":arrival:", ":dead:", ":returned:",   ":bad:"};
    for (size_t i = 0; i < keys->count; i++) {
        bool ours = false;
        for (size_t k = 0; k < sizeof PARTS / sizeof PARTS[0]; k++)
            ours = ours || strstr(keys->items[i].text, PARTS[k]);
        AGREE(ours, "%s is nobody's", keys->items[i].text);
    }
}

/* --- the run --- */

static void pass_time(void)
{
    unsigned kind = below(1000);
    if (kind < 500) return;
    if (kind < 700)
        f.now_us += below(5);
    else if (kind < 900)
        queue_pass_ms(&f, 500 * (1 + (int64_t)below(4))); /* so that ranks of different priorities tie */
    else if (kind < 990)
        queue_pass_ms(&f, below(10000));
    else
        queue_pass_ms(&f, below(200000));
}

static void step(void)
{
    static const struct {
        unsigned weight;
        const char *name;
        void (*run)(void);
    } MOVES[] = {{22, "enqueue", try_enqueue}, {24, "dequeue", try_dequeue}, {14, "ack", try_ack},
                 {10, "nack", try_nack},       {5, "extend", try_extend},    {3, "return", try_return},
                 {8, "tick", try_tick},        {4, "inbox", try_inbox},      {2, "counts", try_counts},
                 {2, "list", try_list},        {3, "late dequeue", try_late}};
    unsigned pick = below(100);
    for (size_t i = 0; i < sizeof MOVES / sizeof MOVES[0]; i++) {
        if (pick < MOVES[i].weight) {
            what = MOVES[i].name;
            MOVES[i].run();
            return;
        }
        pick -= MOVES[i].weight;
    }
    what = "cancel, requeue, get, purge";
    switch (below(8)) {
    case 0:
    case 1:
        try_one(QUEUE_CANCEL, model_cancel);
        break;
    case 2:
    case 3:
    case 4:
        try_one(QUEUE_REQUEUE, model_requeue);
        break;
    case 5:
    case 6:
        try_one(QUEUE_GET, expect_get);
        break;
    default: {
        struct queue_op op = {.verb = QUEUE_PURGE};
        run(&op);
        AGREE(op.count == model_purge(&m), "%d", (int)op.count);
    }
    }
}

static void open_model(void)
{
    const char *text = getenv("MODEL_SEED");
    queue_fixture_open(&f, false);
    struct queue_store_options options = *queue_store_options(f.store);
    options.retry_max_ms = 3000;
    options.aging_us = 1000000;
    options.dedupe_ms = 20000;
    options.bad_keep_ms = 30000;
    queue_port_destroy(&f.port);
    queue_store_destroy(&f.store);
    f.store = queue_store_create(&options);
    f.port = queue_port_create(f.store, f.on.loop, f.pool);
    ck_assert(f.store && f.port);
    seed = text ? strtoull(text, NULL, 10) : (uint64_t)now_us();
    state = seed;
    m = (struct model){.aging_us = options.aging_us,
                       .dedupe_ms = options.dedupe_ms,
                       .bad_keep_ms = options.bad_keep_ms,
                       .returned_ms = 600000};
    model_init(&m);
}

static void close_model(void)
{
    queue_fixture_close(&f);
}

START_TEST(the_queue_is_what_its_model_is)
{
    const char *text = getenv("MODEL_OPERATIONS");
    int64_t operations = text ? strtoll(text, NULL, 10) : OPERATIONS;
    printf("MODEL_SEED=%" PRIu64 " MODEL_OPERATIONS=%" PRId64 "\n", seed, operations);
    (void)fflush(stdout);
    for (at = 0; at < operations; at++) {
        step();
        if (at % AUDIT_EVERY == 0 || at == operations - 1) {
            what = "audit";
            audit();
        }
        pass_time();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue_model");
    TCase *c = test_case(suite, "model", 1500);
    tcase_add_checked_fixture(c, open_model, close_model);
    tcase_add_test(c, the_queue_is_what_its_model_is);
    return test_run(suite);
}
