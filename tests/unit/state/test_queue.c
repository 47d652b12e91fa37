/* test_queue: order, leases, retries and ends of tasks, on a real Redis and on the spool's file, with a time
 * of the test's own. */
#include "queue_fixture.h"

static struct queue_fixture f;

static void open_queue(void)
{
    queue_fixture_open(&f, false);
}

static void open_embedded(void)
{
    queue_fixture_open_embedded(&f);
}

static void close_queue(void)
{
    queue_fixture_close(&f);
}

static const char *counts(void)
{
    return queue_do(&f, QUEUE_COUNTS);
}

/* --- adding and order --- */

START_TEST(what_is_added_is_leased_and_finished_once)
{
    char receipt[64];
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok ready");
    ck_assert_str_eq(counts(), "ok ready=1");
    ck_assert_str_eq(queue_take(&f, "", 10, 1000), "ok a#1");
    FORMAT(receipt, "%s", queue_receipt(&f, "a"));
    ck_assert_int_eq(strncmp(receipt, f.embedded ? "l." : "r.", 2), 0);
    ck_assert_str_eq(queue_take(&f, "", 10, 1000), "ok");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok leased");
    ck_assert_str_eq(queue_ack_one(&f, "a", "r.wrong"), "ok -");
    ck_assert_str_eq(queue_ack_one(&f, "a", receipt), "ok +");
    ck_assert_str_eq(queue_ack_one(&f, "a", receipt), "ok +");
    ck_assert_str_eq(queue_ack_one(&f, "a", "r.wrong"), "ok -");
    ck_assert_str_eq(queue_ack_one(&f, "b", receipt), "ok ?");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok acked");
    ck_assert_str_eq(counts(), "ok");
}
END_TEST

START_TEST(first_in_first_out_within_an_array_and_across_agents)
{
    struct queue_task tasks[4] = {queue_task_of("z", "x", 0), queue_task_of("y", "w", 0),
                                  queue_task_of("z", "x", 0), queue_task_of("m", "", 0)};
    ck_assert_str_eq(queue_run(&f, &(struct queue_op){.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks, 4}}),
                     "ok + + ready +");
    f.now_us++;
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 3, 1000), "ok z#1 y#1 m#1");
    ck_assert_str_eq(queue_take(&f, "", 3, 1000), "ok a#1");
}
END_TEST

START_TEST(an_agent_gets_its_own_and_several_are_merged_by_rank)
{
    const char *const order[][2] = {{"1", "x"}, {"2", "xy"}, {"3", "x"}, {"4", "y"}, {"5", ""}, {"6", "xy"}};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        ck_assert_str_eq(queue_add(&f, order[i][0], order[i][1], 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "x", 1, 1000), "ok 1#1");
    ck_assert_str_eq(queue_take(&f, "none", 1, 1000), "ok");
    struct slice agents[2] = {SLICE_LITERAL("xy"), SLICE_LITERAL("x")};
    ck_assert_str_eq(
        queue_run(&f,
                  &(struct queue_op){
                      .verb = QUEUE_DEQUEUE,
                      .in.dequeue = {.agents = agents, .agents_count = 2, .count = 10, .lease_ms = 1000}}),
        "ok 2#1 3#1 6#1");
    ck_assert_str_eq(queue_take(&f, "", 10, 1000), "ok 4#1 5#1");
}
END_TEST

START_TEST(priority_outweighs_aging_s_of_waiting_and_no_more)
{
    ck_assert_str_eq(queue_add(&f, "old", "", 0), "ok +");
    queue_pass_ms(&f, 119000);
    ck_assert_str_eq(queue_add(&f, "two", "", 2), "ok +");
    queue_pass_ms(&f, 2000);
    ck_assert_str_eq(queue_add(&f, "late two", "", 2), "ok +");
    ck_assert_str_eq(queue_add(&f, "urgent", "", 255), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 10, 1000), "ok urgent#1 two#1 old#1 late two#1");
}
END_TEST

START_TEST(equal_ranks_go_by_arrival)
{
    ck_assert_str_eq(queue_add(&f, "z", "g", 0), "ok +");
    queue_pass_ms(&f, 60000);
    ck_assert_str_eq(queue_add(&f, "a", "g", 1), "ok +");
    ck_assert_str_eq(queue_take(&f, "g", 1, 1000), "ok z#1");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
}
END_TEST

START_TEST(a_delayed_task_comes_when_it_is_due_ranked_by_then)
{
    struct queue_task task = queue_task_of("d", "x", 0);
    task.delay_ms = 5000;
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok");
    queue_pass_ms(&f, 4999);
    ck_assert_str_eq(queue_add(&f, "before", "", 0), "ok +");
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok");
    queue_pass_ms(&f, 2);
    ck_assert_str_eq(queue_add(&f, "behind", "", 0), "ok +");
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    ck_assert_str_eq(queue_take(&f, "", 3, 1000), "ok before#1 d#1 behind#1");
}
END_TEST

/* --- leases --- */

START_TEST(a_lease_that_ends_gives_the_task_back_until_it_is_dead)
{
    char old[64];
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    FORMAT(old, "%s", queue_receipt(&f, "a"));
    queue_pass_ms(&f, 999);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok");
    queue_pass_ms(&f, 1);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1");
    ck_assert_str_eq(queue_ack_one(&f, "a", old), "ok -");
    ck_assert_str_eq(queue_nack_one(&f, "a", old, 0, ""), "stale_receipt");
    ck_assert_str_eq(queue_extend_one(&f, "a", old, 1000), "stale_receipt");
    queue_pass_ms(&f, 740);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok");
    queue_pass_ms(&f, 510);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    ck_assert_str_eq(queue_take(&f, "x", 1, 1000), "ok a#2");
    ck_assert_str_eq(queue_ack_one(&f, "a", old), "ok -");
    ck_assert_str_eq(queue_nack_one(&f, "a", queue_receipt(&f, "a"), 10, "\"no \\u00e9\""), "ok");
    queue_pass_ms(&f, 10);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    ck_assert_str_eq(queue_take(&f, "x", 1, 1000), "ok a#3");
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1 died=1");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"),
                     "ok a:dead:3 e\"lease ended\" n\"no \\u00e9\" e\"lease ended\"");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok dead");
}
END_TEST

START_TEST(retries_keep_their_rank)
{
    ck_assert_str_eq(queue_add(&f, "first", "", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok first#1");
    f.now_us++;
    ck_assert_str_eq(queue_add(&f, "second", "", 0), "ok +");
    ck_assert_str_eq(queue_nack_one(&f, "first", queue_receipt(&f, "first"), 0, ""), "ok");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok first#2 second#1");
}
END_TEST

START_TEST(the_backoff_doubles_up_to_its_cap)
{
    struct queue_task task = queue_task_of("a", "", 0);
    task.max_attempts = 100;
    task.ttl_ms = INT64_C(31536000000);
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    for (int i = 0; i < 12; i++) {
        int64_t base = i < 9 ? 1000 << i : 300000;
        ck_assert_int_eq(strncmp(queue_take(&f, "", 1, 1000), "ok a#", 5), 0);
        ck_assert_str_eq(queue_nack_one(&f, "a", queue_receipt(&f, "a"), -1, ""), "ok");
        int64_t left_ms = queue_due_ms(&f, "a") - f.now_us / 1000;
        double wait = (double)left_ms;
        ck_assert_msg(wait >= (double)base * 0.75 - 1 && wait <= (double)(base * 5) / 4 && wait <= 300000,
                      "%d: %f", i, wait);
        queue_pass_ms(&f, (int64_t)wait);
        ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    }
    const char *shown = queue_one(&f, QUEUE_GET, "a");
    unsigned events = 0;
    for (const char *p = shown; (p = strstr(p, " n\"")); p++)
        events++;
    ck_assert_uint_eq(events, 8);
}
END_TEST

START_TEST(an_extended_lease_ends_later)
{
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    ck_assert_str_eq(queue_extend_one(&f, "a", queue_receipt(&f, "a"), 5000), "ok");
    ck_assert_str_eq(queue_extend_one(&f, "b", "r.x", 5000), "not_found");
    queue_pass_ms(&f, 4999);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok");
    queue_pass_ms(&f, 1);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1");
}
END_TEST

START_TEST(a_nack_repeated_is_known_by_the_history)
{
    char receipt[64];
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    FORMAT(receipt, "%s", queue_receipt(&f, "a"));
    ck_assert_str_eq(queue_nack_one(&f, "a", receipt, 0, ""), "ok");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#2");
    ck_assert_str_eq(queue_nack_one(&f, "a", receipt, 0, ""), "ok");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:leased:2 n\"\"");
    ck_assert_str_eq(queue_nack_one(&f, "none", receipt, 0, ""), "not_found");
}
END_TEST

START_TEST(an_automatic_lease_that_ends_has_finished_its_task)
{
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
    ck_assert_str_eq(
        queue_run(&f, &(struct queue_op){.verb = QUEUE_DEQUEUE,
                                         .in.dequeue = {.count = 1, .lease_ms = 1000, .automatic = true}}),
        "ok a#1");
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1 finished=1");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok acked");
}
END_TEST

START_TEST(what_is_returned_is_ready_at_once_with_its_attempt_and_rank)
{
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
    f.now_us++;
    ck_assert_str_eq(queue_add(&f, "b", "x", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok a#1");
    queue_return(f.port, f.op_id, 60000);
    RUN_UNTIL(&f.on, queue_returns(f.port) == 0);
    ck_assert_str_eq(queue_take(&f, "x", 2, 60000), "ok a#1 b#1");
}
END_TEST

/* --- ends --- */

START_TEST(ready_and_delayed_ones_past_their_time_go_leased_ones_finish)
{
    struct queue_task task = queue_task_of("delayed", "", 0);
    task.delay_ms = task.ttl_ms = 5000;
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    task = queue_task_of("leased", "", 0);
    task.ttl_ms = 5000;
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 10000), "ok leased#1");
    task.id = SLICE_LITERAL("ready");
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    queue_pass_ms(&f, 5000);
    ck_assert_str_eq(queue_take(&f, "", 1, 10000), "ok passed=1");
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok expired=2");
    ck_assert_str_eq(counts(), "ok leased=1");
    ck_assert_str_eq(queue_add(&f, "ready", "", 0), "ok +");
    ck_assert_str_eq(queue_ack_one(&f, "leased", queue_receipt(&f, "leased")), "ok +");
}
END_TEST

START_TEST(a_cancelled_task_is_gone_and_its_receipt_stale)
{
    char receipt[64];
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 10000), "ok a#1");
    FORMAT(receipt, "%s", queue_receipt(&f, "a"));
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "a"), "ok count=1");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "a"), "ok count=1");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "b"), "not_found");
    ck_assert_str_eq(queue_ack_one(&f, "a", receipt), "ok -");
    ck_assert_str_eq(queue_nack_one(&f, "a", receipt, 0, ""), "stale_receipt");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok cancelled");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "not_found");
    ck_assert_str_eq(counts(), "ok");
}
END_TEST

static void make_dead(const char *id)
{
    struct queue_task task = queue_task_of(id, "x", 0);
    task.max_attempts = 1;
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    queue_take(&f, "x", 1, 1000);
    ck_assert_str_eq(queue_nack_one(&f, id, queue_receipt(&f, id), -1, "\"bad\""), "ok");
}

START_TEST(a_requeued_task_starts_anew)
{
    make_dead("a");
    ck_assert_str_eq(queue_add(&f, "before", "", 0), "ok +");
    queue_pass_ms(&f, 10);
    ck_assert_str_eq(queue_one(&f, QUEUE_REQUEUE, "a"), "ok");
    ck_assert_str_eq(queue_one(&f, QUEUE_REQUEUE, "a"), "invalid_transition");
    ck_assert_str_eq(queue_one(&f, QUEUE_REQUEUE, "none"), "not_found");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:ready:0 n\"bad\" q\"requeued\"");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok before#1 a#1");
}
END_TEST

START_TEST(the_dead_live_their_time_from_their_death)
{
    queue_pass_ms(&f, 5000);
    make_dead("a");
    queue_pass_ms(&f, 999999);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok");
    queue_pass_ms(&f, 1);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok dead_forgotten=1");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
}
END_TEST

START_TEST(purged_ids_are_remembered_like_finished_ones_for_the_dedupe_window)
{
    make_dead("a");
    make_dead("b");
    ck_assert_str_eq(queue_do(&f, QUEUE_PURGE), "ok count=2");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok purged");
    queue_pass_ms(&f, 86400000);
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok done_forgotten=2");
    if (f.embedded) return;
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", "phoenix:tasks:done:{phoenix:tasks:queue}",
                                  "phoenix:tasks:done_order:{phoenix:tasks:queue}", NULL),
                     0);
}
END_TEST

START_TEST(work_done_in_an_outage_is_settled_unless_another_holds_the_task)
{
    char first[64], second[64];
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    FORMAT(first, "%s", queue_receipt(&f, "a"));
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1");
    queue_pass_ms(&f, 2000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#2");
    FORMAT(second, "%s", queue_receipt(&f, "a"));
    ck_assert_str_eq(queue_settle_one(&f, "a", first), "ok -");
    ck_assert_str_eq(queue_settle_one(&f, "a", ""), "ok -");
    ck_assert_str_eq(queue_nack_one(&f, "a", second, 0, ""), "ok");
    ck_assert_str_eq(queue_settle_one(&f, "a", second), "ok -");
    ck_assert_str_eq(queue_settle_one(&f, "a", first), "ok +");
    ck_assert_str_eq(queue_settle_one(&f, "a", first), "ok +");
    ck_assert_str_eq(queue_settle_one(&f, "a", second), "ok -");
    ck_assert_str_eq(queue_settle_one(&f, "none", first), "ok ?");
    ck_assert_str_eq(counts(), "ok");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok acked");
}
END_TEST

START_TEST(what_a_daemon_worked_off_itself_is_finished_here_too)
{
    ck_assert_str_eq(queue_add(&f, "here", "x", 0), "ok +");
    ck_assert_str_eq(queue_settle_one(&f, "here", ""), "ok +");
    ck_assert_str_eq(queue_settle_one(&f, "elsewhere", ""), "ok +");
    ck_assert_str_eq(queue_settle_one(&f, "elsewhere", ""), "ok +");
    ck_assert_str_eq(queue_add(&f, "elsewhere", "", 0), "ok acked");
    ck_assert_str_eq(counts(), "ok");
}
END_TEST

/* --- the inbox --- */

static void push(const char *item)
{
    ck_assert_int_ge(resp_integer(f.direct, "LPUSH", "phoenix:tasks:queue", item, NULL), 1);
}

START_TEST(foreign_items_are_adopted_in_order_and_bad_ones_set_aside)
{
    char *large = must_alloc(20001);
    memset(large, 'x', 20000);
    large[20000] = 0;
    push("one 0");
    push("!broken");
    push(large);
    push("two 9");
    push("one 0");
    free(large);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok inbox=5");
    ck_assert_str_eq(queue_do(&f, QUEUE_ADOPT), "ok shown=5 added=2 known=1 bad=2");
    ck_assert_str_eq(queue_do(&f, QUEUE_ADOPT), "ok");
    ck_assert_str_eq(queue_take(&f, "", 5, 1000), "ok two#1 one#1");
    ck_assert_str_eq(counts(), "ok leased=2 bad=2");
    const char *list =
        queue_run(&f, &(struct queue_op){.verb = QUEUE_LIST, .in.list = {QUEUE_BAD, SLICE_NONE, 10}});
    ck_assert_int_eq(strncmp(list, "ok !broken:no item xxxx", 23), 0);
    ck_assert_ptr_nonnull(strstr(list, "x:larger than http.body_max: 20000 bytes"));
    ck_assert_uint_lt(strlen(list), 4200);
    queue_pass_ms(&f, 86400000);
    (void)queue_do(&f, QUEUE_TICK);
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", "phoenix:tasks:bad:{phoenix:tasks:queue}", NULL), 0);
}
END_TEST

START_TEST(an_inbox_of_another_type_is_foreign_and_stops_nothing_else)
{
    ck_assert_str_eq(resp_text(f.direct, "SET", "phoenix:tasks:queue", "x", NULL), "OK");
    ck_assert_str_eq(queue_do(&f, QUEUE_ADOPT), "foreign_value");
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(counts(), "ok ready=1");
}
END_TEST

/* --- lists --- */

static char next_cursor[QUEUE_CURSOR_SIZE];

static void on_page(struct queue_op *op)
{
    on_queue_done(op);
    FORMAT(next_cursor, "%s", op->next);
}

static const char *page(enum queue_state state, const char *cursor, unsigned limit)
{
    return queue_run(
        &f,
        &(struct queue_op){.verb = QUEUE_LIST, .in.list = {state, slice_of(cursor), limit}, .done = on_page});
}

START_TEST(lists_are_paged_in_the_order_of_delivery_though_tasks_come_and_go)
{
    char cursor[QUEUE_CURSOR_SIZE];
    struct queue_task tasks[5];
    static const char *const ids[5] = {"e", "d", "c", "b", "a"};
    for (int i = 0; i < 5; i++)
        tasks[i] = queue_task_of(ids[i], "", 0);
    ck_assert_str_eq(queue_run(&f, &(struct queue_op){.verb = QUEUE_ENQUEUE, .in.enqueue = {tasks, 5}}),
                     "ok + + + + +");
    ck_assert_str_eq(page(QUEUE_READY, "", 2), "ok e:ready:0 d:ready:0");
    FORMAT(cursor, "%s", next_cursor);
    ck_assert_str_eq(page(QUEUE_READY, cursor, 2), "ok c:ready:0 b:ready:0");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "d"), "ok count=1");
    ck_assert_str_eq(page(QUEUE_READY, cursor, 2), "ok c:ready:0 b:ready:0");
    ck_assert_str_eq(page(QUEUE_READY, next_cursor, 2), "ok a:ready:0");
    ck_assert_str_eq(next_cursor, "");
    ck_assert_str_eq(page(QUEUE_LEASED, "", 2), "ok");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok e#1 c#1");
    ck_assert_str_eq(page(QUEUE_LEASED, "", 1), "ok c:leased:1");
    ck_assert_str_eq(page(QUEUE_LEASED, next_cursor, 1), "ok e:leased:1");
    ck_assert_str_eq(page(QUEUE_LEASED, "nonsense", 1), "invalid_argument");
    ck_assert_str_eq(page(QUEUE_LEASED, "1.0g", 1), "invalid_argument");
}
END_TEST

START_TEST(the_age_of_the_oldest_ready_task_is_told)
{
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    queue_pass_ms(&f, 7000);
    ck_assert_str_eq(queue_add(&f, "b", "", 255), "ok +");
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(counts(), "ok ready=2 oldest=8000");
}
END_TEST

START_TEST(a_batch_ends_before_its_bodies_are_too_many)
{
    enum { LARGE = 5 << 20 };
    char *body = must_alloc(LARGE);
    memset(body, ' ', LARGE);
    struct queue_task task = queue_task_of("a", "", 0);
    task.body = (struct slice){body, LARGE};
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    task.id = SLICE_LITERAL("b");
    ck_assert_str_eq(queue_add_task(&f, &task), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 10, 1000), "ok a#1");
    ck_assert_str_eq(queue_take(&f, "", 10, 1000), "ok b#1");
    free(body);
}
END_TEST

START_TEST(bad_items_are_shown_page_by_page)
{
    ck_assert_int_eq(resp_integer(f.direct, "LPUSH", "phoenix:tasks:queue", "!1", "!2", "!3", NULL), 3);
    ck_assert_str_eq(queue_do(&f, QUEUE_ADOPT), "ok shown=3 bad=3");
    ck_assert_str_eq(page(QUEUE_BAD, "", 1), "ok !1:no item");
    ck_assert_str_eq(page(QUEUE_BAD, next_cursor, 1), "ok !2:no item");
    ck_assert_str_eq(page(QUEUE_BAD, next_cursor, 1), "ok !3:no item");
    ck_assert_str_eq(next_cursor, "");
}
END_TEST

static void add_common(TCase *c)
{
    tcase_add_test(c, what_is_added_is_leased_and_finished_once);
    tcase_add_test(c, first_in_first_out_within_an_array_and_across_agents);
    tcase_add_test(c, an_agent_gets_its_own_and_several_are_merged_by_rank);
    tcase_add_test(c, priority_outweighs_aging_s_of_waiting_and_no_more);
    tcase_add_test(c, equal_ranks_go_by_arrival);
    tcase_add_test(c, a_delayed_task_comes_when_it_is_due_ranked_by_then);
    tcase_add_test(c, a_lease_that_ends_gives_the_task_back_until_it_is_dead);
    tcase_add_test(c, retries_keep_their_rank);
    tcase_add_test(c, the_backoff_doubles_up_to_its_cap);
    tcase_add_test(c, an_extended_lease_ends_later);
    tcase_add_test(c, a_nack_repeated_is_known_by_the_history);
    tcase_add_test(c, an_automatic_lease_that_ends_has_finished_its_task);
    tcase_add_test(c, what_is_returned_is_ready_at_once_with_its_attempt_and_rank);
    tcase_add_test(c, ready_and_delayed_ones_past_their_time_go_leased_ones_finish);
    tcase_add_test(c, a_cancelled_task_is_gone_and_its_receipt_stale);
    tcase_add_test(c, a_requeued_task_starts_anew);
    tcase_add_test(c, the_dead_live_their_time_from_their_death);
    tcase_add_test(c, purged_ids_are_remembered_like_finished_ones_for_the_dedupe_window);
    tcase_add_test(c, lists_are_paged_in_the_order_of_delivery_though_tasks_come_and_go);
    tcase_add_test(c, the_age_of_the_oldest_ready_task_is_told);
    tcase_add_test(c, a_batch_ends_before_its_bodies_are_too_many);
}

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *c = test_case(suite, "redis", 30);
    tcase_add_checked_fixture(c, open_queue, close_queue);
    add_common(c);
    tcase_add_test(c, work_done_in_an_outage_is_settled_unless_another_holds_the_task);
    tcase_add_test(c, what_a_daemon_worked_off_itself_is_finished_here_too);
    tcase_add_test(c, foreign_items_are_adopted_in_order_and_bad_ones_set_aside);
    tcase_add_test(c, an_inbox_of_another_type_is_foreign_and_stops_nothing_else);
    tcase_add_test(c, bad_items_are_shown_page_by_page);
    c = test_case(suite, "embedded", 30);
    tcase_add_checked_fixture(c, open_embedded, close_queue);
    add_common(c);
    return test_run(suite);
}
