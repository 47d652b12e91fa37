/* test_queue_wait: which daemon is told of ready tasks, and who of a loop's waiters then asks the queue. */
#include "queue_fixture.h"
#include "state/queue_wait.h"

enum { GROUPS = 20, POLLERS = 64 };

struct caller {
    struct queue_waiter waiter;
    char name[16];
    struct slice agent;
    bool done;
};

static struct queue_fixture f;
static struct queue_waits *waits;
static struct queue_wait_port *port;
static struct caller callers[POLLERS + GROUPS + 1];
static unsigned called;
static atomic_uint asked; /* scripts that Redis was sent */
static atomic_bool holds;

static struct fake_verdict on_command(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (fake_command_is(c, "EVALSHA")) atomic_fetch_add(&asked, 1);
    return (struct fake_verdict){.hold = atomic_load(&holds)};
}

static void open_port(void)
{
    queue_fixture_open(&f, true);
    waits = queue_waits_create(&(struct queue_waits_options){.waiters_max = 1000});
    ck_assert_ptr_nonnull(waits);
    port = queue_wait_port_open(waits, f.on.loop, f.port);
    ck_assert_ptr_nonnull(port);
    called = 0;
    atomic_store(&holds, false);
    (void)queue_take(&f, "", 1, 1000); /* so that Redis knows the scripts */
    (void)queue_do(&f, QUEUE_COUNTS);
    fake_redis_script(f.fake, on_command, NULL);
    atomic_store(&asked, 0);
}

static void close_port(void)
{
    fake_redis_script(f.fake, NULL, NULL);
    fake_redis_release(f.fake);
    queue_wait_port_drain(port);
    queue_fixture_close(&f);
    queue_waits_destroy(&waits);
}

static bool is_gone(void *arg)
{
    (void)arg;
    return false;
}

static void on_done(struct queue_waiter *w)
{
    ((struct caller *)w->arg)->done = true;
}

/* agent NULL: any. */
static struct caller *call(const char *agent, int64_t wait_ms)
{
    struct caller *c = &callers[called++];
    *c = (struct caller){.waiter = {.wait_ms = wait_ms, .gone = is_gone, .done = on_done, .arg = c}};
    if (agent) c->agent = slice_of(FORMAT(c->name, "%s", agent));
    c->waiter.deadline_us = loop_now_us(f.on.loop) + test_ms(20000) * 1000;
    c->waiter.op = (struct queue_op){
        .verb = QUEUE_DEQUEUE,
        .in.dequeue = {.agents = &c->agent, .agents_count = agent != NULL, .count = 1, .lease_ms = 60000}};
    queue_wait_start(port, &c->waiter);
    return c;
}

/* How many asked since, once all that was said has been heard; the connection is one. */
static unsigned asked_since(void)
{
    loop_fixture_turn(&f.on);
    (void)queue_do(&f, QUEUE_COUNTS);
    return atomic_exchange(&asked, 0) - 1;
}

START_TEST(those_who_may_want_it_ask_and_no_others)
{
    char name[16];
    for (int i = 0; i < GROUPS; i++)
        (void)call(FORMAT(name, "a%d", i), 10000);
    (void)call(NULL, 10000);
    ck_assert_uint_eq(asked_since(), GROUPS + 1);
    queue_waits_ready(waits, 1, SLICE_LITERAL("a7"), true);
    ck_assert_uint_eq(asked_since(), 2); /* who asks for any, too */
    queue_waits_ready(waits, 1, SLICE_LITERAL("*"), true);
    ck_assert_uint_eq(asked_since(), 1);
    queue_waits_ready(waits, 1, SLICE_LITERAL("a"), true);
    ck_assert_uint_eq(asked_since(), 1);
    queue_waits_ready(waits, 1, SLICE_NONE, true);
    ck_assert_uint_eq(asked_since(), GROUPS + 1);
    queue_waits_ready(waits, 1, SLICE_LITERAL("a1"), true); /* heard of at once: as of several */
    queue_waits_ready(waits, 1, SLICE_LITERAL("a2"), true);
    ck_assert_uint_ge(asked_since(), 3);
}
END_TEST

START_TEST(those_who_do_not_wait_leave_those_who_do_their_turn)
{
    struct caller *waiter = call("Q", 10000);
    ck_assert_uint_eq(asked_since(), 1);
    atomic_store(&holds, true);
    for (int i = 0; i < POLLERS; i++)
        (void)call("P", 0);
    RUN_UNTIL(&f.on, atomic_load(&asked) == POLLERS);
    queue_waits_ready(waits, 1, SLICE_LITERAL("Q"), true);
    RUN_UNTIL(&f.on, atomic_load(&asked) == POLLERS + 1);
    atomic_store(&holds, false);
    fake_redis_release(f.fake);
    for (unsigned i = 1; i < called; i++)
        RUN_UNTIL(&f.on, callers[i].done);
    ck_assert(!waiter->done);
}
END_TEST

/* --- which daemon is told --- */

static void open_queue(void)
{
    queue_fixture_open(&f, false);
}

static void close_queue(void)
{
    queue_fixture_close(&f);
}

static const char *wait_for(const char *daemon, bool any)
{
    return queue_run(
        &f, &(struct queue_op){.verb = QUEUE_WAIT, .in.wait = {.daemon = slice_of(daemon), .waits = any}});
}

static const char *waiting(void)
{
    return resp_text(f.direct, "LINDEX", "phoenix:tasks:waiters:{phoenix:tasks:queue}", "0", NULL);
}

START_TEST(ready_tasks_are_told_to_daemons_in_turn_and_the_silent_lose_their_place)
{
    ck_assert_str_eq(wait_for("d1", true), "ok");
    ck_assert_str_eq(wait_for("d2", true), "ok");
    ck_assert_str_eq(wait_for("d1", true), "ok");
    ck_assert_str_eq(waiting(), "d1");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(waiting(), "d2");
    queue_pass_ms(&f, 2001);
    ck_assert_str_eq(wait_for("d1", true), "ok count=1");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +");
    ck_assert_str_eq(waiting(), "d1");
    ck_assert_int_eq(resp_integer(f.direct, "LLEN", "phoenix:tasks:waiters:{phoenix:tasks:queue}", NULL), 1);
    ck_assert_str_eq(wait_for("d1", false), "ok");
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", "phoenix:tasks:waiters:{phoenix:tasks:queue}",
                                  "phoenix:tasks:seen:{phoenix:tasks:queue}", NULL),
                     0);
}
END_TEST

static const char *pass_on(const char *daemon, unsigned hops)
{
    return queue_run(&f, &(struct queue_op){.verb = QUEUE_WAIT,
                                            .in.wait = {.daemon = slice_of(daemon),
                                                        .pass_on = 1,
                                                        .hops = hops,
                                                        .agent = SLICE_LITERAL("x")}});
}

static const char *line(void)
{
    static char text[64];
    const struct resp_value *v =
        resp_call(f.direct, "LRANGE", "phoenix:tasks:waiters:{phoenix:tasks:queue}", "0", "-1", NULL);
    size_t len = 0;
    text[0] = 0;
    for (size_t i = 0; i < v->count && len < sizeof text - 8; i++)
        len += strlen(format(text + len, sizeof text - len, "%s ", v->items[i].text));
    return text;
}

START_TEST(what_one_daemon_has_no_use_for_is_told_to_the_next_until_all_have_been)
{
    ck_assert_str_eq(wait_for("d1", true), "ok");
    ck_assert_str_eq(wait_for("d2", true), "ok");
    ck_assert_str_eq(wait_for("d3", true), "ok");
    ck_assert_str_eq(pass_on("d1", 1), "ok"); /* nothing is ready */
    ck_assert_str_eq(line(), "d1 d2 d3 ");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(line(), "d2 d3 d1 ");
    ck_assert_str_eq(pass_on("d1", 1), "ok count=1");
    ck_assert_str_eq(line(), "d3 d2 d1 "); /* d2 was told, and not d1 itself */
    ck_assert_str_eq(pass_on("d2", 2), "ok count=1");
    ck_assert_str_eq(line(), "d1 d3 d2 ");
    ck_assert_str_eq(pass_on("d3", 3), "ok count=1");
    ck_assert_str_eq(line(), "d1 d3 d2 ");
    ck_assert_str_eq(pass_on("stranger", 1), "ok count=1");
    ck_assert_str_eq(line(), "d3 d2 d1 ");
}
END_TEST

/* The next message of a subscription, which is there already; pongs of two stand between. */
static const char *told(struct resp_client *subscription)
{
    const struct resp_value *v;
    do
        v = resp_call(subscription, "PING");
    while (v && v->count == 2);
    ck_assert(v && v->count == 3);
    return v->items[2].text;
}

START_TEST(a_daemon_is_told_how_many_and_of_which_agent)
{
    struct resp_client *sub = redis_server_client(f.server);
    (void)resp_call(sub, "SUBSCRIBE", "phoenix:tasks:waiters:{phoenix:tasks:queue}:d1");
    ck_assert_str_eq(wait_for("d1", true), "ok");
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
    ck_assert_str_eq(told(sub), "1 0 x");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +");
    ck_assert_str_eq(told(sub), "1 0 *");
    struct queue_task tasks[] = {queue_task_of("c", "x", 0), queue_task_of("d", "x", 0),
                                 queue_task_of("e", "y", 0), queue_task_of("f", "x", 0)};
    struct queue_op op = {.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks, 2}};
    ck_assert_str_eq(queue_run(&f, &op), "ok + +");
    ck_assert_str_eq(told(sub), "2 0 x");
    op = (struct queue_op){.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks + 2, 2}};
    ck_assert_str_eq(queue_run(&f, &op), "ok + +");
    ck_assert_str_eq(told(sub), "2 0 ");
    ck_assert_str_eq(wait_for("d2", true), "ok count=1");
    ck_assert_str_eq(pass_on("d2", 1), "ok count=1");
    ck_assert_str_eq(told(sub), "1 1 x");
    ck_assert_str_eq(queue_take(&f, "y", 1, 60000), "ok e#1");
    ck_assert_str_eq(queue_nack_one(&f, "e", queue_receipt(&f, "e"), 0, "\"why\""), "ok");
    ck_assert_str_eq(told(sub), "1 0 y");
    resp_close(&sub);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue_wait");
    TCase *c = test_case(suite, "waiters", 30);
    tcase_add_checked_fixture(c, open_port, close_port);
    tcase_add_test(c, those_who_may_want_it_ask_and_no_others);
    tcase_add_test(c, those_who_do_not_wait_leave_those_who_do_their_turn);
    c = test_case(suite, "daemons", 30);
    tcase_add_checked_fixture(c, open_queue, close_queue);
    tcase_add_test(c, ready_tasks_are_told_to_daemons_in_turn_and_the_silent_lose_their_place);
    tcase_add_test(c, what_one_daemon_has_no_use_for_is_told_to_the_next_until_all_have_been);
    tcase_add_test(c, a_daemon_is_told_how_many_and_of_which_agent);
    return test_run(suite);
}
