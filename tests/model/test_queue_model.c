/* test_queue_model: random operations on the queue and on its model, each answer compared, and every so often
 * all that Redis holds (queue_audit.c). The seed is printed; MODEL_SEED=… runs the same again,
 * MODEL_OPERATIONS=… says how many. Time is the test's own and jumps. */
#include "queue_audit.h"

#include <inttypes.h>

enum { OPERATIONS = 3000, AUDIT_EVERY = 64, OPS_KEPT = 32, TICKS_MAX = 100 };

static struct model_run r;
static uint64_t state; /* of the random numbers */

/* Of the last dequeues. */
static struct {
    char op[QUEUE_OP_SIZE];
    unsigned agents;
} ops[OPS_KEPT];
static size_t ops_count;
/* Of each task, a receipt it once had. */
static char old_receipts[MODEL_TASKS][MODEL_TEXT];

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
    r.f.done++;
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
    loop_stop(r.f.on.loop);
}

static void run(struct queue_op *op)
{
    op->done = on_done;
    r.m.now_us = r.f.now_us;
    queue_begin(&r.f, op);
    loop_timer_start(r.f.on.loop, &r.f.on.turn, loop_now_us(r.f.on.loop) + test_ms(10000) * 1000,
                     loop_fixture_on_turn, &r.f.on);
    if (!r.f.done) loop_run(r.f.on.loop);
    AGREE(&r, r.f.done == 1, "no answer");
}

/* What the model cannot know: how the backoff was spread. */
static void fill_in_backoff(unsigned task)
{
    struct model_task *t = &r.m.tasks[task];
    if (!t->alive || t->state != QUEUE_DELAYED || t->at != 0) return;
    t->at = queue_due_ms(&r.f, t->id);
    double base = (double)(1000 << (t->failures - 1)), wait = (double)(t->at - model_now(&r.m));
    AGREE(&r, wait >= 0.75 * base - 1 && wait <= 1.25 * base && wait <= 3000, "%s waits %.0f", t->id, wait);
}

/* The task's receipt, one it had, or none that ever was. */
static const char *some_receipt(unsigned task)
{
    const struct model_task *t = &r.m.tasks[task];
    unsigned kind = below(10);
    if (kind < 6 && t->receipt[0]) return t->receipt;
    return kind < 9 && old_receipts[task][0] ? old_receipts[task] : "r.AAAAAAAAAAAAAAAA.1.1";
}

/* To the queue these might be ids that the daemon has just made: none is known, none comes twice. */
static bool could_be_made(const unsigned *ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct model_task *t = &r.m.tasks[ids[i]];
        if (t->alive || (t->remembered && t->done_ends > model_now(&r.m))) return false;
        for (unsigned k = 0; k < i; k++)
            if (ids[k] == ids[i]) return false;
    }
    return true;
}

static void try_enqueue(void)
{
    struct queue_task tasks[5];
    unsigned ids[5], count = 1 + below(5);
    r.m.now_us = r.f.now_us;
    for (unsigned i = 0; i < count; i++) {
        ids[i] = below(MODEL_TASKS);
        tasks[i] = queue_task_of(r.m.tasks[ids[i]].id, AGENTS[below(5)], below(4));
        tasks[i].max_attempts = 1 + below(3);
        tasks[i].delay_ms = chance(25) ? 1 + below(5000) : 0;
        tasks[i].ttl_ms = chance(30) ? 500 * (1 + (int64_t)below(10)) : 100000;
    }
    bool made = chance(50) && could_be_made(ids, count);
    for (unsigned i = 0; i < count; i++)
        tasks[i].made = made;
    struct queue_op op = {.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks, count}};
    run(&op);
    AGREE(&r, got.status == STATUS_OK && got.results == count, "%s", status_code(got.status));
    for (unsigned i = 0; i < count; i++) {
        enum queue_state known = model_add(&r.m, ids[i], &tasks[i]);
        AGREE(&r, got.verdicts[i].added == (known == QUEUE_BAD), "%s", tasks[i].id.ptr);
        AGREE(&r, known == QUEUE_BAD || got.verdicts[i].state == known, "%s is %s, not %s", tasks[i].id.ptr,
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
    r.m.now_us = r.f.now_us;
    size_t n = model_next(&r.m, agents, count, expected, &passed);
    struct queue_op op = {.verb = QUEUE_DEQUEUE,
                          .in.dequeue = {.agents = named,
                                         .agents_count = agents_count,
                                         .count = count,
                                         .lease_ms = lease_ms,
                                         .automatic = automatic}};
    run(&op);
    AGREE(&r, got.status == STATUS_OK, "%s", status_code(got.status));
    AGREE(&r, got.results == n, "%zu leases, not %zu", got.results, n);
    AGREE(&r, op.expired == passed, "passed over %d, not %d", (int)op.expired, (int)passed);
    for (size_t i = 0; i < n; i++) {
        struct model_task *t = &r.m.tasks[expected[i]];
        AGREE(&r, strcmp(got.leases[i].id, t->id) == 0, "%s, not %s", got.leases[i].id, t->id);
        AGREE(&r, got.leases[i].attempt == t->failures + 1, "%s: attempt %u", t->id, got.leases[i].attempt);
        AGREE(&r, strcmp(got.leases[i].receipt, old_receipts[expected[i]]) != 0, "%s: an old receipt", t->id);
        model_lease(&r.m, expected[i], got.leases[i].receipt, lease_ms, automatic);
        AGREE(&r, got.leases[i].ends_ms == t->at, "%s", t->id);
        FORMAT(old_receipts[expected[i]], "%s", got.leases[i].receipt);
    }
    memcpy(ops[ops_count++ % OPS_KEPT].op, op.op_id, QUEUE_OP_SIZE);
}

static void try_acks(enum queue_verb verb, enum status (*expect)(struct model *, unsigned, const char *))
{
    struct queue_ack acks[8];
    unsigned tasks[8], count = 1 + below(8);
    char receipts[8][MODEL_TEXT];
    r.m.now_us = r.f.now_us;
    for (unsigned i = 0; i < count; i++) {
        tasks[i] = below(MODEL_TASKS);
        acks[i] = (struct queue_ack){
            slice_of(r.m.tasks[tasks[i]].id),
            slice_of(
                FORMAT(receipts[i], "%s", verb == QUEUE_SETTLE && chance(10) ? "" : some_receipt(tasks[i])))};
    }
    struct queue_op op = {.verb = verb, .in.ack = {acks, count}};
    run(&op);
    AGREE(&r, got.status == STATUS_OK && got.results == count, "%s", status_code(got.status));
    for (unsigned i = 0; i < count; i++) {
        enum status expected = expect(&r.m, tasks[i], receipts[i]);
        AGREE(&r, got.verdicts[i].status == expected, "%s: %s, not %s", acks[i].id.ptr,
              status_code(got.verdicts[i].status), status_code(expected));
    }
}

static void try_ack(void)
{
    try_acks(QUEUE_ACK, model_ack);
}

static void try_settle(void)
{
    if (!r.f.embedded) try_acks(QUEUE_SETTLE, model_settle); /* there is nothing to hand back */
}

static void try_nack(void)
{
    unsigned task = below(MODEL_TASKS);
    char receipt[MODEL_TEXT];
    int64_t delay_ms = chance(50) ? -1 : (int64_t)below(3) * 500;
    FORMAT(receipt, "%s", some_receipt(task));
    struct queue_op op = {.verb = QUEUE_NACK,
                          .in.nack = {.id = slice_of(r.m.tasks[task].id),
                                      .receipt = slice_of(receipt),
                                      .reason = SLICE_LITERAL("\"r\""),
                                      .delay_ms = delay_ms}};
    run(&op);
    enum status expected = model_nack(&r.m, task, receipt, delay_ms);
    AGREE(&r, got.status == expected, "%s: %s, not %s", r.m.tasks[task].id, status_code(got.status),
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
                          .in.extend = {slice_of(r.m.tasks[task].id), slice_of(receipt), lease_ms}};
    run(&op);
    enum status expected = model_extend(&r.m, task, receipt, lease_ms);
    AGREE(&r, got.status == expected, "%s: %s, not %s", r.m.tasks[task].id, status_code(got.status),
          status_code(expected));
    AGREE(&r, expected != STATUS_OK || op.lease_ends_ms == r.m.tasks[task].at, "%s", r.m.tasks[task].id);
}

static void try_one(enum queue_verb verb, enum status (*expect)(struct model *, unsigned))
{
    unsigned task = below(MODEL_TASKS);
    struct queue_op op = {.verb = verb, .in.task = {slice_of(r.m.tasks[task].id)}};
    run(&op);
    enum status expected = expect(&r.m, task);
    AGREE(&r, got.status == expected, "%s: %s, not %s", r.m.tasks[task].id, status_code(got.status),
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
    r.m.now_us = r.f.now_us;
    queue_return(r.f.port, op, 60000);
    RUN_UNTIL(&r.f.on, queue_returns(r.f.port) == 0);
    model_return(&r.m, op);
}

static void try_tick(void)
{
    struct queue_ticked sum = {0}, expected;
    r.m.now_us = r.f.now_us;
    for (int i = 0;; i++) {
        struct queue_op op = {.verb = QUEUE_TICK};
        run(&op);
        AGREE(&r, got.status == STATUS_OK && i < TICKS_MAX, "%s", status_code(got.status));
        sum.ended += op.ticked.ended;
        sum.died += op.ticked.died;
        sum.finished += op.ticked.finished;
        sum.promoted += op.ticked.promoted;
        sum.expired += op.ticked.expired;
        sum.dead_forgotten += op.ticked.dead_forgotten;
        if (!op.ticked.more) break;
    }
    model_tick(&r.m, &expected);
    AGREE(&r, sum.ended == expected.ended && sum.died == expected.died && sum.finished == expected.finished,
          "%d ended, %d died, %d finished", (int)expected.ended, (int)expected.died, (int)expected.finished);
    AGREE(&r,
          sum.promoted == expected.promoted && sum.expired == expected.expired &&
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
    if (r.f.embedded) return; /* has no inbox */
    unsigned count = 1 + below(6);
    r.m.now_us = r.f.now_us;
    for (unsigned i = 0; i < count; i++) {
        char item[32];
        unsigned task = below(MODEL_TASKS), priority = below(4);
        bool broken = chance(20);
        if (broken)
            FORMAT(item, "!%u", task);
        else
            FORMAT(item, "t%u %u", task, priority);
        AGREE(&r, resp_integer(r.f.direct, "LPUSH", "phoenix:tasks:queue", item, NULL) >= 1, "LPUSH");
        struct queue_task as = {.priority = priority, .max_attempts = 3, .ttl_ms = 1000000};
        if (broken) {
            r.m.arrivals++;
            r.m.bad[r.m.bad_count++] = model_now(&r.m);
            bad++;
        } else if (model_add(&r.m, task, &as) == QUEUE_BAD) {
            added++;
        } else {
            known++;
        }
    }
    struct queue_op op = {.verb = QUEUE_ADOPT};
    run(&op);
    AGREE(&r, got.status == STATUS_OK && op.adopted.moved == count, "%s", status_code(got.status));
    AGREE(&r, op.adopted.added == added && op.adopted.known == known && op.adopted.bad == bad, "%d %d %d",
          (int)added, (int)known, (int)bad);
}

static void try_counts(void)
{
    struct queue_op op = {.verb = QUEUE_COUNTS};
    run(&op);
    for (int i = 0; i <= QUEUE_BAD; i++)
        AGREE(&r, op.counts.of[i] == model_count(&r.m, (enum queue_state)i), "%s: %d", queue_state_names[i],
              (int)op.counts.of[i]);
}

/* A dequeue that arrives late: its leases, or nothing. */
static void try_late(void)
{
    if (ops_count == 0 || r.f.embedded) return; /* the file's dequeues do not arrive late */
    const char *op = ops[below((unsigned)(ops_count < OPS_KEPT ? ops_count : OPS_KEPT))].op;
    static const char *const PARTS[] = {"meta",       "body",  "leased", "ops",   "done",
                                        "done_order", "ready", "agents", "expiry"};
    enum { KEYS = sizeof PARTS / sizeof PARTS[0], ARGS = 7, ALL = 3 + KEYS + ARGS };
    size_t leased = 0, lens[ALL];
    r.m.now_us = r.f.now_us;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        leased += r.m.tasks[i].alive && r.m.tasks[i].state == QUEUE_LEASED &&
                  strncmp(r.m.tasks[i].receipt + 2, op, QUEUE_OP_SIZE - 1) == 0;
    if (leased == 0 && !model_is_returned(&r.m, op)) return; /* it would be a new one */
    char keys[KEYS][80], time[32];
    const char *argv[ALL] = {"EVALSHA", redis_script(REDIS_SCRIPT_QUEUE_DEQUEUE)->sha, "9"};
    const char *const args[ARGS] = {
        FORMAT(time, "%" PRId64, r.f.now_us), op, "5", "60000", "r", "1000000", ""};
    for (size_t i = 0; i < KEYS; i++)
        argv[3 + i] = FORMAT(keys[i], "phoenix:tasks:%s:{phoenix:tasks:queue}", PARTS[i]);
    memcpy(&argv[3 + KEYS], args, sizeof args);
    for (size_t i = 0; i < ALL; i++)
        lens[i] = strlen(argv[i]);
    const struct resp_value *v = resp_call_argv(r.f.direct, ALL, argv, lens);
    AGREE(&r, v && v->type == '*' && v->count == 2 + 5 * leased, "%s", v && v->text ? v->text : "?");
    for (size_t i = 0; i < leased; i++) {
        const struct model_task *t = &r.m.tasks[model_task_of(v->items[2 + 5 * i].text)];
        AGREE(&r, strcmp(v->items[2 + 5 * i + 2].text, t->receipt) == 0, "%s", t->id);
    }
}

static void try_list(void)
{
    char cursor[QUEUE_CURSOR_SIZE] = "";
    enum queue_state listed = (enum queue_state)below(QUEUE_BAD);
    unsigned expected[MODEL_TASKS];
    r.m.now_us = r.f.now_us;
    size_t n = model_list(&r.m, listed, expected), seen = 0;
    do {
        struct queue_op op = {.verb = QUEUE_LIST, .in.list = {listed, slice_of(cursor), 1 + below(9)}};
        run(&op);
        AGREE(&r, got.status == STATUS_OK && seen + got.results <= n, "%s", status_code(got.status));
        for (size_t i = 0; i < got.results; i++)
            AGREE(&r, strcmp(got.views[i].id, r.m.tasks[expected[seen + i]].id) == 0, "%s", got.views[i].id);
        seen += got.results;
        FORMAT(cursor, "%s", op.next);
    } while (cursor[0]);
    AGREE(&r, seen == n, "%zu of %zu", seen, n);
}

/* --- what the file shows of every state, in order --- */

static void on_shown(struct queue_op *op)
{
    unsigned expected[MODEL_TASKS];
    size_t n = model_list(&r.m, op->in.list.state, expected);
    r.f.done++;
    AGREE(&r, op->results == n, "%zu of %zu %s", op->results, n, queue_state_names[op->in.list.state]);
    for (size_t i = 0; i < n; i++) {
        const struct model_task *t = &r.m.tasks[expected[i]];
        const struct queue_view *v = &op->views[i];
        unsigned lines = 0;
        for (size_t k = 0; k < v->history.len; k++)
            lines += v->history.ptr[k] == '\n';
        AGREE(&r, slice_equal_text(v->id, t->id) && v->state == t->state, "%s", t->id);
        AGREE(&r, slice_equal_text(v->agent, t->agent) && v->priority == t->priority, "%s", t->id);
        AGREE(&r, v->attempt == t->failures + (t->state == QUEUE_LEASED) && v->max_attempts == t->max, "%s",
              t->id);
        AGREE(&r,
              v->added_ms == t->added && v->ttl_ms == t->ttl && v->ends_ms == t->ends && v->at_ms == t->at,
              "%s", t->id);
        AGREE(&r, lines == t->events, "%s: %u events, not %u", t->id, lines, t->events);
    }
}

static void audit_embedded(void)
{
    r.m.now_us = r.f.now_us;
    for (int i = QUEUE_READY; i <= QUEUE_DEAD; i++) {
        struct queue_op op = {.verb = QUEUE_LIST,
                              .in.list = {.state = (enum queue_state)i, .limit = QUEUE_LIST_MAX},
                              .done = on_shown};
        queue_begin(&r.f, &op);
        RUN_UNTIL(&r.f.on, r.f.done);
    }
    try_counts();
}

/* --- the run --- */

static void pass_time(void)
{
    unsigned kind = below(1000);
    if (kind < 500) return;
    if (kind < 700)
        r.f.now_us += below(5);
    else if (kind < 900)
        queue_pass_ms(&r.f, 500 * (1 + (int64_t)below(4))); /* so that ranks of different priorities tie */
    else if (kind < 990)
        queue_pass_ms(&r.f, below(10000));
    else
        queue_pass_ms(&r.f, below(200000));
}

static void step(void)
{
    static const struct {
        unsigned weight;
        const char *name;
        void (*run)(void);
    } MOVES[] = {{22, "enqueue", try_enqueue}, {24, "dequeue", try_dequeue}, {12, "ack", try_ack},
                 {2, "settle", try_settle},    {10, "nack", try_nack},       {5, "extend", try_extend},
                 {3, "return", try_return},    {8, "tick", try_tick},        {4, "inbox", try_inbox},
                 {2, "counts", try_counts},    {2, "list", try_list},        {3, "late dequeue", try_late}};
    unsigned pick = below(100);
    for (size_t i = 0; i < sizeof MOVES / sizeof MOVES[0]; i++) {
        if (pick < MOVES[i].weight) {
            r.what = MOVES[i].name;
            MOVES[i].run();
            return;
        }
        pick -= MOVES[i].weight;
    }
    r.what = "cancel, requeue, get, purge";
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
        AGREE(&r, op.count == model_purge(&r.m), "%d", (int)op.count);
    }
    }
}

static void set_model(void)
{
    const char *text = getenv("MODEL_SEED");
    struct queue_store_options options = *queue_store_options(r.f.store);
    options.retry_max_ms = 3000;
    options.aging_us = 1000000;
    options.dedupe_ms = 20000;
    options.bad_keep_ms = 30000;
    queue_port_destroy(&r.f.port);
    queue_store_destroy(&r.f.store);
    r.f.store = queue_store_create(&options);
    r.f.port = queue_port_create(r.f.store, r.f.on.loop, r.f.pool);
    ck_assert(r.f.store && r.f.port);
    r.seed = text ? strtoull(text, NULL, 10) : (uint64_t)now_us();
    state = r.seed;
    r.m = (struct model){.aging_us = options.aging_us,
                         .dedupe_ms = options.dedupe_ms,
                         .bad_keep_ms = options.bad_keep_ms,
                         .returned_ms = 600000};
    model_init(&r.m);
}

static void open_model(void)
{
    queue_fixture_open(&r.f, false);
    set_model();
}

static void open_embedded_model(void)
{
    queue_fixture_open_embedded(&r.f);
    set_model();
}

static void close_model(void)
{
    queue_fixture_close(&r.f);
}

START_TEST(the_queue_is_what_its_model_is)
{
    const char *text = getenv("MODEL_OPERATIONS");
    int64_t operations = text ? strtoll(text, NULL, 10) : OPERATIONS;
    printf("MODEL_SEED=%" PRIu64 " MODEL_OPERATIONS=%" PRId64 "\n", r.seed, operations);
    (void)fflush(stdout);
    for (r.at = 0; r.at < operations; r.at++) {
        step();
        if (r.at % AUDIT_EVERY == 0 || r.at == operations - 1) {
            r.what = "audit";
            if (r.f.embedded)
                audit_embedded();
            else
                model_audit(&r);
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
    c = test_case(suite, "embedded", 1500);
    tcase_add_checked_fixture(c, open_embedded_model, close_model);
    tcase_add_test(c, the_queue_is_what_its_model_is);
    return test_run(suite);
}
