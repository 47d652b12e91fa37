/* test_queue_doubt: what an operation costs, and what becomes of it when replies are lost, scripts flushed,
 * Redis restarted or full. */
#include "queue_fixture.h"

static struct queue_fixture f;
static atomic_uint step;
static char receipt[64];

static void open_queue(void)
{
    queue_fixture_open(&f, true);
    atomic_store(&step, 0);
}

static void close_queue(void)
{
    fake_redis_script(f.fake, NULL, NULL);
    queue_fixture_close(&f);
}

static const char *keep_receipt(const char *id)
{
    return FORMAT(receipt, "%s", queue_receipt(&f, id));
}

/* --- the operations, each with what comes before it --- */

static const char *run_enqueue(void)
{
    return queue_add(&f, "new", "x", 0);
}

static const char *run_enqueue_made(void)
{
    struct queue_task task = queue_task_of("new", "x", 0);
    task.made = true;
    return queue_add_task(&f, &task);
}

static const char *run_enqueue_many(void)
{
    enum { MANY = 1000 };
    static struct queue_task tasks[MANY];
    static char ids[MANY][16];
    for (int i = 0; i < MANY; i++)
        tasks[i] = queue_task_of(FORMAT(ids[i], "n%d", i), "x", 0);
    (void)queue_run(&f, &(struct queue_op){.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks, MANY}});
    f.text[4] = 0;
    return f.text;
}

static const char *run_dequeue(void)
{
    return queue_take(&f, "", 1, 60000);
}

static const char *run_dequeue_many(void)
{
    (void)queue_take(&f, "", 100, 60000);
    f.text[4] = 0;
    return f.text;
}

static const char *run_dequeue_agent(void)
{
    return queue_take(&f, "x", 1, 60000);
}

static const char *run_ack(void)
{
    return queue_ack_one(&f, "b", receipt);
}

static const char *run_ack_many(void)
{
    static struct queue_ack acks[100];
    static char ids[100][16], receipts[100][64];
    for (int i = 0; i < 100; i++) {
        FORMAT(ids[i], "n%d", i);
        FORMAT(receipts[i], "%.18s.%d.1", receipt, i + 1);
        acks[i] = (struct queue_ack){slice_of(ids[i]), slice_of(receipts[i])};
    }
    (void)queue_run(&f, &(struct queue_op){.verb = QUEUE_ACK, .in.ack = {acks, 100}});
    for (size_t i = 3; i < strlen(f.text); i += 2)
        ck_assert_msg(f.text[i] == '+', "%.200s", f.text);
    f.text[4] = 0;
    return f.text;
}

static const char *run_settle(void)
{
    return queue_settle_one(&f, "b", receipt);
}

static const char *run_nack(void)
{
    return queue_nack_one(&f, "b", receipt, -1, "\"why\"");
}

static const char *run_extend(void)
{
    return queue_extend_one(&f, "b", receipt, 70000);
}

static const char *run_cancel(void)
{
    return queue_one(&f, QUEUE_CANCEL, "a");
}

static const char *run_get(void)
{
    return queue_one(&f, QUEUE_GET, "a");
}

static const char *run_requeue(void)
{
    return queue_one(&f, QUEUE_REQUEUE, "b");
}

static const char *run_purge(void)
{
    return queue_do(&f, QUEUE_PURGE);
}

static const char *run_tick(void)
{
    return queue_do(&f, QUEUE_TICK);
}

static const char *run_counts(void)
{
    return queue_do(&f, QUEUE_COUNTS);
}

static const char *run_wait(void)
{
    return queue_run(
        &f, &(struct queue_op){.verb = QUEUE_WAIT, .in.wait = {.daemon = SLICE_LITERAL("d"), .waits = true}});
}

static const char *run_adopt(void)
{
    return queue_do(&f, QUEUE_ADOPT);
}

static void none(void)
{
}

static void one_ready(void)
{
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
}

static void one_leased(void)
{
    struct queue_task task = queue_task_of("b", "x", 0);
    task.max_attempts = 1;
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok b#1");
    (void)keep_receipt("b");
}

static void one_dead(void)
{
    one_leased();
    ck_assert_str_eq(run_nack(), "ok");
}

static void many_ready(void)
{
    ck_assert_str_eq(run_enqueue_many(), "ok +");
}

static void many_leased(void)
{
    many_ready();
    ck_assert_str_eq(run_dequeue_many(), "ok n");
    (void)keep_receipt("n0");
}

static void one_in_the_inbox(void)
{
    ck_assert_int_eq(resp_integer(f.direct, "LPUSH", "phoenix:tasks:queue", "item", NULL), 1);
}

static const struct {
    const char *name;
    void (*before)(void);
    const char *(*run)(void);
    const char *says;
    const char *after_loss; /* repeated after Redis had executed it; NULL: the same */
    unsigned round_trips,
        commands; /* commands: what the scripts call, with a time of the test's (TIME is one more) */
} OPERATIONS[] = {
    {"enqueue", none, run_enqueue, "ok +", "ok ready", 1, 9},
    {"enqueue with an id of our own", none, run_enqueue_made, "ok +", NULL, 1, 7},
    {"enqueue 1000", none, run_enqueue_many, "ok +", "ok r", 1, 9},
    {"dequeue", one_ready, run_dequeue, "ok a#1", NULL, 1, 10},
    {"dequeue of an agent", one_ready, run_dequeue_agent, "ok a#1", NULL, 1, 10},
    {"dequeue 100", many_ready, run_dequeue_many, "ok n", NULL, 1, 10},
    {"dequeue nothing", none, run_dequeue, "ok", NULL, 1, 2},
    {"ack", one_leased, run_ack, "ok +", NULL, 1, 7},
    {"ack 100", many_leased, run_ack_many, "ok +", NULL, 1, 7},
    {"settle", one_leased, run_settle, "ok +", NULL, 1, 8},
    {"nack", one_leased, run_nack, "ok", NULL, 1, 5},
    {"extend", one_leased, run_extend, "ok", NULL, 1, 4},
    {"cancel", one_ready, run_cancel, "ok count=1", NULL, 1, 8},
    {"get", one_ready, run_get, "ok a:ready:0", NULL, 1, 2},
    {"requeue", one_dead, run_requeue, "ok", NULL, 1, 8},
    {"purge", one_dead, run_purge, "ok count=1", "ok", 1, 7},
    {"tick", one_leased, run_tick, "ok", NULL, 1, 10},
    {"counts", one_ready, run_counts, "ok ready=1", NULL, 1, 10},
    {"wait", none, run_wait, "ok", NULL, 1, 4},
    {"adopt", one_in_the_inbox, run_adopt, "ok shown=1 added=1", NULL, 2, 13},
};
enum { OPERATION_COUNT = sizeof OPERATIONS / sizeof OPERATIONS[0] };

static unsigned commands_executed(void)
{
    unsigned total = 0;
    const char *info = resp_text(f.direct, "INFO", "commandstats", NULL);
    for (const char *p = info; (p = strstr(p, "cmdstat_")); p++) {
        const char *calls = strstr(p, ":calls=");
        bool ours = strncmp(p, "cmdstat_eval", 12) != 0 && strncmp(p, "cmdstat_config", 14) != 0 &&
                    strncmp(p, "cmdstat_info", 12) != 0;
        if (ours && calls) total += (unsigned)strtoul(calls + 7, NULL, 10);
    }
    return total;
}

static bool is_script(const struct fake_command *c)
{
    return fake_command_is(c, "EVALSHA") || fake_command_is(c, "EVAL");
}

static struct fake_verdict count_scripts(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_script(c)) atomic_fetch_add(&step, 1);
    return (struct fake_verdict){0};
}

START_TEST(an_operation_is_one_round_trip_and_few_commands)
{
    /* A first time, so that Redis knows the script; then from the same beginning. */
    OPERATIONS[_i].before();
    ck_assert_str_eq(OPERATIONS[_i].run(), OPERATIONS[_i].says);
    ck_assert_str_eq(resp_text(f.direct, "FLUSHALL", NULL), "OK");
    OPERATIONS[_i].before();
    fake_redis_script(f.fake, count_scripts, NULL);
    ck_assert_str_eq(resp_text(f.direct, "CONFIG", "RESETSTAT", NULL), "OK");
    ck_assert_str_eq(OPERATIONS[_i].run(), OPERATIONS[_i].says);
    ck_assert_uint_eq(atomic_load(&step), OPERATIONS[_i].round_trips);
    unsigned commands = commands_executed();
    ck_assert_msg(commands == OPERATIONS[_i].commands, "%s: %u commands", OPERATIONS[_i].name, commands);
}
END_TEST

/* The next script is executed, its answer never arrives. */
static struct fake_verdict lose_answer(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.cut = is_script(c) && atomic_fetch_add(&step, 1) == 0};
}

/* It is not executed at all. */
static struct fake_verdict lose_command(void *arg, const struct fake_command *c)
{
    (void)arg;
    bool first = is_script(c) && atomic_fetch_add(&step, 1) == 0;
    return (struct fake_verdict){.reply = first ? "+" : NULL, .cut = first};
}

/* All keys of the queue but the one that merely counts, as Redis would save them. */
static char *dump(void)
{
    static const char *const PARTS[] = {"meta",   "body",   "leased",  "done", "done_order", "ready",
                                        "agents", "expiry", "delayed", "dead", "bad",        NULL};
    struct buf all = {0};
    for (size_t i = 0; PARTS[i]; i++) {
        char key[100];
        const char *const argv[] = {"DEBUG", "DIGEST-VALUE",
                                    FORMAT(key, "phoenix:tasks:%s:{phoenix:tasks:queue}", PARTS[i]), NULL};
        const struct resp_value *v = resp_call_list(f.direct, argv);
        ck_assert_ptr_nonnull(v);
        buf_append_text(&all, v->count ? v->items[0].text : v->text ? v->text : "");
        buf_append_char(&all, '\n');
    }
    buf_append_char(&all, 0);
    return all.ptr;
}

START_TEST(a_lost_reply_changes_nothing)
{
    /* So that it is sent by its hash, once. */
    OPERATIONS[_i].before();
    (void)OPERATIONS[_i].run();
    ck_assert_str_eq(resp_text(f.direct, "FLUSHALL", NULL), "OK");
    OPERATIONS[_i].before();
    fake_redis_script(f.fake, lose_answer, NULL);
    const char *expected = OPERATIONS[_i].after_loss ? OPERATIONS[_i].after_loss : OPERATIONS[_i].says;
    ck_assert_str_eq(OPERATIONS[_i].run(), expected);
    ck_assert_uint_ge(atomic_load(&step), 2);
}
END_TEST

/* It is not looked for at first, and must be the second time. */
START_TEST(an_id_of_our_own_is_added_once)
{
    (void)run_enqueue_made();
    ck_assert_str_eq(resp_text(f.direct, "FLUSHALL", NULL), "OK");
    fake_redis_script(f.fake, lose_answer, NULL);
    ck_assert_str_eq(run_enqueue_made(), "ok +");
    ck_assert_str_eq(run_counts(), "ok ready=1");
    ck_assert_str_eq(queue_take(&f, "", 2, 60000), "ok new#1");
    ck_assert_str_eq(run_dequeue(), "ok");
}
END_TEST

START_TEST(a_lost_command_is_sent_again)
{
    OPERATIONS[_i].before();
    (void)OPERATIONS[_i].run();
    ck_assert_str_eq(resp_text(f.direct, "FLUSHALL", NULL), "OK");
    OPERATIONS[_i].before();
    fake_redis_script(f.fake, lose_command, NULL);
    ck_assert_str_eq(OPERATIONS[_i].run(), OPERATIONS[_i].says);
}
END_TEST

START_TEST(a_flushed_script_is_sent_with_its_source)
{
    OPERATIONS[_i].before();
    ck_assert_str_eq(resp_text(f.direct, "SCRIPT", "FLUSH", NULL), "OK");
    ck_assert_str_eq(OPERATIONS[_i].run(), OPERATIONS[_i].says);
}
END_TEST

/* As a command that arrives late. */
static const struct resp_value *dequeue_again(const char *op)
{
    static const char *const PARTS[] = {"meta",       "body",  "leased", "ops",   "done",
                                        "done_order", "ready", "agents", "expiry"};
    enum { KEYS = sizeof PARTS / sizeof PARTS[0], ARGS = 7 };
    char keys[KEYS][80];
    const char *argv[3 + KEYS + ARGS] = {"EVALSHA", redis_script(REDIS_SCRIPT_QUEUE_DEQUEUE)->sha, "9"};
    const char *const args[ARGS] = {"", op, "1", "60000", "r", "1000", ""};
    size_t lens[3 + KEYS + ARGS];
    for (size_t i = 0; i < KEYS; i++)
        argv[3 + i] = FORMAT(keys[i], "phoenix:tasks:%s:{phoenix:tasks:queue}", PARTS[i]);
    memcpy(&argv[3 + KEYS], args, sizeof args);
    for (size_t i = 0; i < 3 + KEYS + ARGS; i++)
        lens[i] = strlen(argv[i]);
    return resp_call_argv(f.direct, 3 + KEYS + ARGS, argv, lens);
}

START_TEST(a_dequeue_repeated_returns_the_same_leases)
{
    char before[64];
    char *state;
    one_ready();
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +");
    ck_assert_str_eq(run_dequeue(), "ok a#1");
    (void)keep_receipt("a");
    FORMAT(before, "%s", receipt);
    state = dump();
    char op[QUEUE_OP_SIZE];
    FORMAT(op, "%s", f.op_id);
    const struct resp_value *again = dequeue_again(op);
    ck_assert_uint_eq(again->count, 7);
    ck_assert_str_eq(again->items[2].text, "a");
    ck_assert_str_eq(again->items[4].text, before);
    char *now = dump();
    ck_assert_str_eq(state, now);
    free(state);
    free(now);
    /* Once it was returned it leases nothing. */
    queue_return(f.port, op, 60000);
    RUN_UNTIL(&f.on, queue_returns(f.port) == 0);
    ck_assert_uint_eq(dequeue_again(op)->count, 2);
    ck_assert_str_eq(run_dequeue(), "ok a#1");
    /* And that is forgotten in time. */
    queue_pass_ms(&f, 600000);
    (void)run_tick();
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", "phoenix:tasks:returned:{phoenix:tasks:queue}", NULL),
                     0);
}
END_TEST

/* The first script is executed and its answer lost; then nothing is answered until the test says so. */
static struct fake_verdict lose_all(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (is_script(c) && atomic_fetch_add(&step, 1) == 0) return (struct fake_verdict){.cut = true};
    return (struct fake_verdict){.cut = atomic_load(&step) != 0};
}

START_TEST(a_dequeue_that_cannot_be_settled_costs_neither_attempt_nor_the_leases_time)
{
    one_ready();
    (void)run_dequeue();
    queue_return(f.port, f.op_id, 60000);
    RUN_UNTIL(&f.on, queue_returns(f.port) == 0);
    fake_redis_script(f.fake, lose_all, NULL);
    struct queue_op op = {.verb = QUEUE_DEQUEUE, .in.dequeue = {.count = 1, .lease_ms = 60000}};
    queue_begin(&f, &op);
    RUN_UNTIL(&f.on, atomic_load(&step));
    f.on.ahead_us += test_ms(2001) * 1000;
    RUN_UNTIL(&f.on, f.done);
    ck_assert_str_eq(f.text, "redis_unavailable");
    ck_assert_uint_eq(queue_returns(f.port), 1);
    fake_redis_script(f.fake, NULL, NULL);
    RUN_UNTIL(&f.on, queue_returns(f.port) == 0);
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:ready:0");
    ck_assert_str_eq(run_dequeue(), "ok a#1");
}
END_TEST

START_TEST(an_enqueue_that_cannot_be_settled_is_unknown)
{
    (void)queue_add(&f, "a", "", 0);
    fake_redis_script(f.fake, lose_all, NULL);
    struct queue_task task = queue_task_of("b", "", 0);
    struct queue_op op = {.verb = QUEUE_ENQUEUE, .in.enqueue = {&task, 1}};
    queue_begin(&f, &op);
    RUN_UNTIL(&f.on, atomic_load(&step));
    f.on.ahead_us += test_ms(2001) * 1000;
    RUN_UNTIL(&f.on, f.done);
    ck_assert_str_eq(f.text, "outcome_unknown");
}
END_TEST

START_TEST(with_the_circuit_open_nothing_is_sent)
{
    struct breaker *b = redis_node_breaker(f.node);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
    ck_assert_str_eq(run_enqueue(), "redis_unavailable");
    ck_assert_str_eq(run_dequeue(), "redis_unavailable");
    ck_assert_uint_eq(queue_returns(f.port), 0);
}
END_TEST

START_TEST(when_memory_is_full_enqueues_are_refused_whole_and_work_goes_on)
{
    one_leased();
    one_ready();
    ck_assert_str_eq(queue_nack_one(&f, "b", receipt, -1, ""), "ok"); /* so that every script is known */
    ck_assert_str_eq(queue_ack_one(&f, "none", receipt), "ok ?");
    ck_assert_str_eq(queue_settle_one(&f, "none", receipt), "ok ?");
    (void)run_tick();
    char *before = dump();
    ck_assert_str_eq(resp_text(f.direct, "CONFIG", "SET", "maxmemory", "1", NULL), "OK");
    ck_assert_str_eq(run_enqueue(), "redis_refused");
    char *after = dump();
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    ck_assert_str_eq(run_dequeue(), "ok a#1");
    ck_assert_str_eq(queue_extend_one(&f, "a", keep_receipt("a"), 1000), "ok");
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(run_tick(), "ok ended=1");
    queue_pass_ms(&f, 2000);
    ck_assert_str_eq(run_tick(), "ok promoted=1");
    ck_assert_str_eq(run_dequeue(), "ok a#2");
    ck_assert_str_eq(queue_ack_one(&f, "a", keep_receipt("a")), "ok +");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "b"), "ok count=1");
    ck_assert_str_eq(queue_settle_one(&f, "worked off elsewhere", "l.x"), "ok +");
}
END_TEST

static const char *key_of(const char *part)
{
    static char key[100];
    return FORMAT(key, "phoenix:tasks:%s:{phoenix:tasks:queue}", part);
}

/* Nothing is half done where a stranger's value stands in for a key, and all goes on when it is gone. */
START_TEST(a_foreign_key_refuses_what_needs_it_whole)
{
    static const char *const PARTS[] = {"meta", "body", "ready", "agents", "expiry", "arrival"};
    const char *part = PARTS[_i];
    ck_assert_str_eq(resp_text(f.direct, "SET", key_of(part), "hello", NULL), "OK");
    ck_assert_str_eq(run_enqueue(), "foreign_value");
    one_in_the_inbox();
    if (strcmp(part, "agents") != 0) ck_assert_str_eq(run_adopt(), "foreign_value shown=1");
    ck_assert_int_eq(resp_integer(f.direct, "LLEN", "phoenix:tasks:queue", NULL), 1);
    ck_assert_str_eq(resp_text(f.direct, "GET", key_of(part), NULL), "hello");
    ck_assert_int_eq(resp_integer(f.direct, "DEL", key_of(part), NULL), 1);
    ck_assert_str_eq(run_enqueue(), "ok +");
    ck_assert_str_eq(run_adopt(), "ok shown=1 added=1");
    ck_assert_str_eq(queue_take(&f, "", 5, 60000), "ok new#1 item#1");
    ck_assert_str_eq(run_counts(), "ok leased=2");
}
END_TEST

START_TEST(what_a_stranger_deletes_stops_nothing_else)
{
    one_ready();
    ck_assert_str_eq(queue_add(&f, "c", "x", 0), "ok +");
    struct queue_task task = queue_task_of("d", "", 0);
    task.delay_ms = 1000;
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    ck_assert_int_eq(
        resp_integer(f.direct, "HDEL", "phoenix:tasks:meta:{phoenix:tasks:queue}", "a", "d", NULL), 2);
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +"); /* behind c now, and once */
    ck_assert_str_eq(queue_take(&f, "x", 5, 1000), "ok c#1 a#1");
    ck_assert_int_eq(resp_integer(f.direct, "ZCARD", "phoenix:tasks:agents:{phoenix:tasks:queue}", NULL), 0);
    queue_pass_ms(&f, 2000000);
    ck_assert_str_eq(run_tick(), "ok ended=2 promoted=1 expired=3");
    ck_assert_str_eq(run_counts(), "ok");
}
END_TEST

START_TEST(a_killed_and_restarted_redis_knows_all_it_acknowledged)
{
    queue_fixture_close(&f);
    queue_fixture_open_on(&f, true, &(struct redis_server_options){.durable = true});
    one_leased();
    one_ready();
    char *before = dump();
    redis_server_kill(f.server);
    redis_server_restart(f.server);
    resp_close(&f.direct);
    f.direct = redis_server_client(f.server);
    char *after = dump();
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    RUN_UNTIL(&f.on, strcmp(run_ack(), "ok +") == 0);
    ck_assert_str_eq(run_dequeue(), "ok a#1");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue_doubt");
    TCase *c = test_case(suite, "doubt", 30);
    tcase_add_checked_fixture(c, open_queue, close_queue);
    tcase_add_loop_test(c, an_operation_is_one_round_trip_and_few_commands, 0, OPERATION_COUNT);
    tcase_add_loop_test(c, a_lost_reply_changes_nothing, 0, OPERATION_COUNT);
    tcase_add_test(c, an_id_of_our_own_is_added_once);
    tcase_add_loop_test(c, a_lost_command_is_sent_again, 0, OPERATION_COUNT);
    tcase_add_loop_test(c, a_flushed_script_is_sent_with_its_source, 0, OPERATION_COUNT);
    tcase_add_test(c, a_dequeue_repeated_returns_the_same_leases);
    tcase_add_test(c, a_dequeue_that_cannot_be_settled_costs_neither_attempt_nor_the_leases_time);
    tcase_add_test(c, an_enqueue_that_cannot_be_settled_is_unknown);
    tcase_add_test(c, with_the_circuit_open_nothing_is_sent);
    tcase_add_test(c, when_memory_is_full_enqueues_are_refused_whole_and_work_goes_on);
    tcase_add_test(c, a_killed_and_restarted_redis_knows_all_it_acknowledged);
    tcase_add_test(c, what_a_stranger_deletes_stops_nothing_else);
    tcase_add_loop_test(c, a_foreign_key_refuses_what_needs_it_whole, 0, 6);
    return test_run(suite);
}
