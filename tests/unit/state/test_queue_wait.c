/* test_queue_wait: who of a loop's waiters asks the queue when one is told of ready tasks. */
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

int main(void)
{
    Suite *suite = suite_create("queue_wait");
    TCase *c = test_case(suite, "waiters", 30);
    tcase_add_checked_fixture(c, open_port, close_port);
    tcase_add_test(c, those_who_may_want_it_ask_and_no_others);
    tcase_add_test(c, those_who_do_not_wait_leave_those_who_do_their_turn);
    return test_run(suite);
}
