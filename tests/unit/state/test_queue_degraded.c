/* test_queue_degraded: the queue while Redis is away, and what becomes of it afterwards: a real Redis behind
 * a fake, the spool's file, and a circuit that the test opens and closes. */
#include "queue_fixture.h"
#include "state/queue_replay.h"
#include "state/record_replay.h"

#include <semaphore.h>

static struct queue_fixture f;
static struct queue_replay_stats stats; /* of the last hand-back */

static void open_store(void)
{
    struct queue_store_options options = *queue_store_options(f.store);
    options.spool = f.spool;
    queue_port_destroy(&f.port);
    queue_store_destroy(&f.store);
    f.store = queue_store_create(&options);
    f.port = queue_port_create(f.store, f.on.loop, f.pool);
    ck_assert(f.store && f.port);
}

static void open_queue(void)
{
    queue_fixture_open(&f, true);
    queue_fixture_open_spool(&f, "redis");
    open_store();
}

static void close_queue(void)
{
    queue_fixture_close(&f);
}

static void go_away(void)
{
    struct breaker *b = redis_node_breaker(f.node);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
}

static void come_back(void)
{
    ck_assert(breaker_probe_begin(redis_node_breaker(f.node), true));
    breaker_probe_end(redis_node_breaker(f.node), true);
    RUN_UNTIL(&f.on, redis_pool_ready(f.pool) == 1 && redis_node_quiet(f.node));
}

static struct metrics *metrics; /* NULL but in the test that reads them */

static struct queue_replay *begin_hand_back(void)
{
    struct queue_replay *replay =
        queue_replay_create(&(struct queue_replay_options){.store = f.store,
                                                           .loop = f.on.loop,
                                                           .pool = f.pool,
                                                           .per_s = 100000,
                                                           .age_max_ms = 86400000,
                                                           .metrics = metrics,
                                                           .cell = metrics ? metrics_cell(metrics) : NULL});
    ck_assert_ptr_nonnull(replay);
    return replay;
}

static void hand_back(void)
{
    struct queue_replay *replay = begin_hand_back();
    RUN_UNTIL(&f.on, queue_replay_idle(replay));
    stats = *queue_replay_stats(replay);
    queue_replay_stop(replay);
    queue_replay_destroy(&replay);
}

static const char *told(const char *id)
{
    static char receipt[64];
    return FORMAT(receipt, "%s", queue_told_receipt(&f, id));
}

/* --- work that goes on --- */

START_TEST(what_is_enqueued_while_redis_is_away_is_leased_and_finished_here)
{
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok +~");
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok ready");
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok partial ready=1");
    ck_assert_str_eq(queue_take(&f, "x", 1, 1000), "ok a#1");
    ck_assert_int_eq(strncmp(told("a"), "l.", 2), 0);
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:leased:1");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok acked");
    come_back();
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok acked"); /* the file still knows */
    hand_back();
    ck_assert_int_eq(stats.learnt, 1);
    ck_assert_int_eq(stats.tasks, 0);
    ck_assert_str_eq(queue_add(&f, "a", "x", 0), "ok acked"); /* Redis knows */
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok");
}
END_TEST

START_TEST(a_failed_attempt_counts_and_is_not_forgotten_by_the_hand_back)
{
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    ck_assert_str_eq(queue_nack_one(&f, "a", told("a"), 0, "\"no\""), "ok");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#2");
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:delayed:2 n\"no\" e\"lease ended\"");
    come_back();
    hand_back();
    ck_assert_int_eq(stats.tasks, 1);
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:delayed:2 n\"no\" e\"lease ended\"");
    queue_pass_ms(&f, 300000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#3");
    ck_assert_str_eq(queue_nack_one(&f, "a", queue_receipt(&f, "a"), 0, ""), "ok");
    ck_assert_int_eq(strncmp(queue_one(&f, QUEUE_GET, "a"), "ok a:dead:3", 11), 0);
}
END_TEST

START_TEST(an_ack_that_waited_too_long_is_told_as_lost)
{
    struct metrics_labels labels = {.name[LABEL_HANDBACK] = "outcome",
                                    .values[LABEL_HANDBACK] = handback_names,
                                    .count[LABEL_HANDBACK] = HANDBACK_COUNT};
    ck_assert_ptr_nonnull(metrics = metrics_create(&labels));
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    go_away();
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +~");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok b#1");
    ck_assert_str_eq(queue_ack_one(&f, "b", told("b")),
                     "ok +"); /* Redis has not heard of it: nothing is lost */
    queue_pass_ms(&f, 86400001);
    come_back();
    hand_back();
    ck_assert_int_eq(stats.learnt, 0);
    ck_assert_int_eq(stats.given_up, 2);
    ck_assert_uint_eq(metrics_sum(metrics, METRIC_JOURNAL_REPLAYS, HANDBACK_GIVEN_UP, 0), 1);
    metrics_destroy(&metrics);
}
END_TEST

START_TEST(ranks_times_and_states_come_over_as_they_were)
{
    struct queue_task late = queue_task_of("late", "", 0), brief = queue_task_of("brief", "", 0),
                      dead = queue_task_of("dead", "", 200);
    late.delay_ms = 5000;
    brief.ttl_ms = 60000;
    dead.max_attempts = 1;
    ck_assert_str_eq(queue_add(&f, "old", "", 0), "ok +");
    go_away();
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_add_task(&f, &late), "ok +~");
    ck_assert_str_eq(queue_add_task(&f, &brief), "ok +~");
    ck_assert_str_eq(queue_add_task(&f, &dead), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok dead#1");
    ck_assert_str_eq(queue_nack_one(&f, "dead", told("dead"), -1, "\"x\""), "ok");
    ck_assert_str_eq(queue_add(&f, "urgent", "", 1), "ok +~");
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok partial ready=2 delayed=1 dead=1");
    queue_pass_ms(&f, 2000);
    come_back();
    hand_back();
    ck_assert_int_eq(stats.tasks, 4);
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok ready=3 delayed=1 dead=1 oldest=4000");
    ck_assert_str_eq(queue_take(&f, "", 1, 100000), "ok urgent#1");
    ck_assert_str_eq(queue_take(&f, "", 1, 100000), "ok old#1");
    queue_pass_ms(&f, 2000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=1");
    queue_pass_ms(&f, 55000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok expired=1");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "brief"), "not_found");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "dead"), "ok dead:dead:1 n\"x\"");
}
END_TEST

START_TEST(one_that_is_leased_here_stays_until_its_lease_has_ended)
{
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok a#1 b#1");
    char receipt[64];
    FORMAT(receipt, "%s", told("b"));
    come_back();
    hand_back();
    ck_assert_int_eq(stats.tasks, 0);
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok leased");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok");
    ck_assert_str_eq(queue_extend_one(&f, "b", receipt, 5000), "ok");
    queue_pass_ms(&f, 1000);
    hand_back();
    ck_assert_int_eq(stats.tasks, 1);
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:delayed:1 e\"lease ended\"");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok -");
    ck_assert_str_eq(queue_ack_one(&f, "b", receipt), "ok +");
    hand_back();
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok acked");
}
END_TEST

START_TEST(what_a_caller_never_got_is_ready_again_at_once)
{
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok a#1");
    queue_return(f.port, f.op_id, 60000);
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok a#1");
}
END_TEST

START_TEST(a_task_given_out_at_most_once_is_finished_for_redis_too)
{
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(
        queue_run(&f, &(struct queue_op){.verb = QUEUE_DEQUEUE,
                                         .in.dequeue = {.count = 1, .lease_ms = 1000, .automatic = true}}),
        "ok a#1");
    ck_assert_int_eq(strncmp(told("a"), "b.", 2), 0);
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=1 finished=1");
    come_back();
    hand_back();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok acked");
}
END_TEST

/* --- exactly once --- */

static void copy_file(const char *from, const char *to)
{
    char command[2 * TEST_PATH_MAX + 16];
    FORMAT(command, "cp %s %s", from, to);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c): paths of the test's own */
}

START_TEST(a_crash_between_redis_and_the_spool_hands_back_again_to_no_effect)
{
    char spool[TEST_PATH_MAX], saved[TEST_PATH_MAX];
    scratch_path(spool, "spool.db");
    scratch_path(saved, "saved.db");
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +~");
    ck_assert_str_eq(queue_add(&f, "c", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
    spool_destroy(&f.spool);
    copy_file(spool, saved);
    queue_fixture_open_spool(&f, "redis");
    open_store();
    come_back();
    hand_back();
    ck_assert_int_eq(stats.tasks, 2);
    ck_assert_str_eq(queue_take(&f, "", 1, 100000), "ok b#1");
    ck_assert_str_eq(queue_ack_one(&f, "b", queue_receipt(&f, "b")), "ok +");
    /* As if nothing had been removed. */
    spool_destroy(&f.spool);
    copy_file(saved, spool);
    queue_fixture_open_spool(&f, "redis");
    open_store();
    hand_back();
    ck_assert_int_eq(stats.tasks, 2);
    ck_assert_int_eq(stats.known, 2);
    ck_assert_int_eq(stats.learnt, 1);
    ck_assert_int_eq(stats.conflicts, 0);
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok ready=1");
    ck_assert_str_eq(queue_take(&f, "", 9, 1000), "ok c#1");
}
END_TEST

START_TEST(many_go_over_in_rounds_and_none_twice)
{
    enum { TASKS = 250 };
    char id[16], text[32];
    go_away();
    for (int i = 0; i < TASKS; i++)
        ck_assert_str_eq(queue_add(&f, FORMAT(id, "t%d", i), i % 2 ? "x" : "", 0), "ok +~");
    come_back();
    hand_back();
    ck_assert_int_eq(stats.tasks, TASKS);
    ck_assert_int_eq(stats.known, 0);
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), FORMAT(text, "ok ready=%d", TASKS));
    ck_assert_str_eq(queue_take(&f, "x", 2, 1000), "ok t1#1 t3#1");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok t0#1 t2#1");
}
END_TEST

static atomic_bool loses;

static struct fake_verdict lose_scripts(void *arg, const struct fake_command *c)
{
    (void)arg;
    return (struct fake_verdict){.silent = atomic_load(&loses) && fake_command_is(c, "EVALSHA")};
}

START_TEST(an_enqueue_in_doubt_is_kept_not_leased_here_and_added_once)
{
    ck_assert_str_eq(queue_add(&f, "first", "", 0), "ok +"); /* the script is loaded */
    atomic_store(&loses, true);
    fake_redis_script(f.fake, lose_scripts, NULL);
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    atomic_store(&loses, false);
    go_away();
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:ready:0");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "a"), "redis_unavailable");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok ready");
    come_back();
    hand_back();
    ck_assert_int_eq(stats.tasks, 1);
    ck_assert_int_eq(stats.known, 1);
    ck_assert_str_eq(queue_take(&f, "", 9, 1000), "ok first#1 a#1");
}
END_TEST

/* --- what Redis has leased --- */

static void lease_from_redis(const char *id, int64_t lease_ms)
{
    char text[32];
    ck_assert_str_eq(queue_add(&f, id, "", 0), "ok +");
    ck_assert_str_eq(queue_take(&f, "", 1, lease_ms), FORMAT(text, "ok %s#1", id));
}

START_TEST(one_that_redis_has_taken_is_not_leased_here_when_it_is_enqueued_again)
{
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +");
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 2, 1000), "ok b#1");
    ck_assert_str_eq(queue_ack_one(&f, "b", told("b")), "ok +");
    come_back();
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok a#1");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
    hand_back();
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok acked");
}
END_TEST

START_TEST(an_ack_is_kept_and_finishes_the_task_afterwards)
{
    lease_from_redis("a", 60000);
    go_away();
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +~");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +~");
    ck_assert_str_eq(queue_nack_one(&f, "a", told("a"), -1, ""), "stale_receipt");
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok acked");
    ck_assert_str_eq(queue_ack_one(&f, "a", "x.nonsense"), "ok -");
    come_back();
    hand_back();
    ck_assert_int_eq(stats.learnt, 1);
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
}
END_TEST

START_TEST(an_ack_finishes_a_task_that_waits_again_but_not_one_of_another_receipt)
{
    char first[64], second[64];
    lease_from_redis("a", 1000);
    FORMAT(first, "%s", told("a"));
    lease_from_redis("b", 1000);
    FORMAT(second, "%s", told("b"));
    go_away();
    ck_assert_str_eq(queue_ack_one(&f, "a", first), "ok +~");
    ck_assert_str_eq(queue_ack_one(&f, "b", second), "ok +~");
    come_back();
    queue_pass_ms(&f, 1000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok ended=2");
    queue_pass_ms(&f, 10000);
    ck_assert_str_eq(queue_do(&f, QUEUE_TICK), "ok promoted=2");
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok a#2");
    hand_back();
    ck_assert_int_eq(stats.learnt, 2);
    ck_assert_int_eq(stats.conflicts, 1);
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok leased=1");
    ck_assert_str_eq(queue_ack_one(&f, "a", queue_receipt(&f, "a")), "ok +");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok acked");
}
END_TEST

START_TEST(an_ack_in_doubt_is_kept_and_takes_effect_once)
{
    lease_from_redis("a", 60000);
    atomic_store(&loses, true);
    fake_redis_script(f.fake, lose_scripts, NULL);
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +~");
    atomic_store(&loses, false);
    hand_back();
    ck_assert_int_eq(stats.learnt, 1);
    ck_assert_int_eq(stats.conflicts, 0);
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
}
END_TEST

static atomic_uint refusals;

static struct fake_verdict refuse_scripts(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (!fake_command_is(c, "EVALSHA")) return (struct fake_verdict){0};
    atomic_fetch_add(&refusals, 1);
    return (struct fake_verdict){.reply = "-OOM command not allowed\r\n"};
}

START_TEST(what_redis_refuses_is_not_kept_and_what_it_refuses_to_take_back_stays)
{
    fake_redis_script(f.fake, refuse_scripts, NULL);
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "redis_refused");
    go_away();
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok partial");
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +~");
    come_back();
    struct queue_replay *replay = begin_hand_back();
    unsigned before = atomic_load(&refusals);
    RUN_UNTIL(&f.on, atomic_load(&refusals) >= before + 2);
    ck_assert(!queue_replay_idle(replay));
    fake_redis_script(f.fake, NULL, NULL);
    RUN_UNTIL(&f.on, queue_replay_idle(replay));
    ck_assert_int_eq(queue_replay_stats(replay)->tasks, 1);
    queue_replay_stop(replay);
    queue_replay_destroy(&replay);
    ck_assert_str_eq(queue_take(&f, "", 9, 1000), "ok b#1");
}
END_TEST

START_TEST(what_cannot_leave_is_kept_within_the_same_request)
{
    fake_redis_stop(&f.fake);
    RUN_UNTIL(&f.on, redis_pool_ready(f.pool) == 0);
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~"); /* the circuit is closed as yet */
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok a#1");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok +");
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok partial");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "b"), "redis_unavailable");
}
END_TEST

START_TEST(a_nack_is_kept_with_what_is_left_of_its_delay)
{
    lease_from_redis("a", 60000);
    go_away();
    ck_assert_str_eq(queue_nack_one(&f, "a", told("a"), 5000, "\"busy\""), "ok ~");
    ck_assert_str_eq(queue_ack_one(&f, "a", told("a")), "ok -");
    queue_pass_ms(&f, 2000);
    come_back();
    hand_back();
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "a"), "ok a:delayed:1 n\"busy\"");
    ck_assert_int_eq(queue_due_ms(&f, "a"), f.now_us / 1000 + 3000);
}
END_TEST

START_TEST(acks_of_both_engines_go_in_one_call)
{
    char far[64], near[64];
    lease_from_redis("far", 60000);
    FORMAT(far, "%s", told("far"));
    go_away();
    ck_assert_str_eq(queue_add(&f, "near", "", 0), "ok +~");
    ck_assert_str_eq(queue_take(&f, "", 1, 60000), "ok near#1");
    FORMAT(near, "%s", told("near"));
    come_back();
    struct queue_ack acks[] = {{SLICE_LITERAL("far"), slice_of(far)},
                               {SLICE_LITERAL("near"), slice_of(near)},
                               {SLICE_LITERAL("no"), slice_of(near)},
                               {SLICE_LITERAL("no"), slice_of(far)}};
    ck_assert_str_eq(queue_run(&f, &(struct queue_op){.verb = QUEUE_ACK, .in.ack = {acks, 4}}), "ok + + ? ?");
    go_away();
    ck_assert_str_eq(queue_run(&f, &(struct queue_op){.verb = QUEUE_ACK, .in.ack = {acks, 4}}),
                     "ok +~ + ! +~");
}
END_TEST

START_TEST(what_only_redis_knows_is_unavailable)
{
    lease_from_redis("a", 60000);
    ck_assert_str_eq(queue_add(&f, "b", "", 0), "ok +");
    go_away();
    ck_assert_str_eq(queue_extend_one(&f, "a", told("a"), 1000), "redis_unavailable");
    ck_assert_str_eq(queue_one(&f, QUEUE_GET, "b"), "redis_unavailable");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "b"), "redis_unavailable");
    ck_assert_str_eq(queue_one(&f, QUEUE_REQUEUE, "b"), "redis_unavailable");
    ck_assert_str_eq(queue_do(&f, QUEUE_PURGE), "redis_unavailable");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok");
    ck_assert_str_eq(queue_do(&f, QUEUE_COUNTS), "ok partial");
    ck_assert_str_eq(
        queue_run(&f, &(struct queue_op){.verb = QUEUE_LIST, .in.list = {.state = QUEUE_READY, .limit = 9}}),
        "ok partial");
}
END_TEST

START_TEST(one_cancelled_here_does_not_come_back)
{
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_str_eq(queue_one(&f, QUEUE_REQUEUE, "a"), "invalid_transition");
    ck_assert_str_eq(queue_one(&f, QUEUE_CANCEL, "a"), "ok count=1");
    come_back();
    hand_back();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok cancelled");
}
END_TEST

/* --- the spool --- */

START_TEST(a_full_spool_refuses_tasks_and_lets_them_be_worked_on)
{
    static char body[1 << 20];
    memset(body, 'x', sizeof body);
    struct queue_task task = queue_task_of("a", "", 0);
    task.body = (struct slice){body, sizeof body};
    char id[16];
    go_away();
    unsigned added = 0;
    for (;; added++) {
        task.id = slice_of(FORMAT(id, "t%u", added));
        if (strcmp(queue_add_task(&f, &task), "ok +~") != 0) break;
    }
    ck_assert_str_eq(f.text, "spool_unavailable");
    ck_assert_str_eq(queue_take(&f, "", 1, 1000), "ok t0#1");
    ck_assert_str_eq(queue_ack_one(&f, "t0", told("t0")), "ok +");
}
END_TEST

static sem_t gate;

static enum db_result wait_at_gate(struct db *db, void *arg)
{
    (void)db;
    (void)arg;
    (void)sem_wait(&gate);
    return DB_OK;
}

static void on_passed(struct spool_op *op)
{
    (void)op;
}

START_TEST(a_late_spool_is_told_of_in_time_and_what_it_leases_too_late_is_returned)
{
    static struct spool_op blocker = {.run = wait_at_gate, .done = on_passed};
    go_away();
    ck_assert_str_eq(queue_add(&f, "a", "", 0), "ok +~");
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    blocker.loop = f.on.loop;
    ck_assert(spool_submit(f.spool, &blocker));
    struct queue_op take = {.verb = QUEUE_DEQUEUE, .in.dequeue = {.count = 1, .lease_ms = 60000}};
    struct queue_task task = queue_task_of("b", "", 0);
    struct queue_op add = {.verb = QUEUE_ENQUEUE, .in.enqueue = {&task, 1}};
    take.deadline_us = add.deadline_us = loop_now_us(f.on.loop) + 20000;
    take.done = add.done = on_queue_done;
    take.arg = add.arg = &f;
    f.done = 0;
    queue_start(f.port, &take);
    queue_start(f.port, &add);
    RUN_UNTIL(&f.on, f.done == 2);
    ck_assert_int_eq(take.status, STATUS_SPOOL_UNAVAILABLE);
    ck_assert_int_eq(add.status, STATUS_OUTCOME_UNKNOWN);
    ck_assert_int_eq(sem_post(&gate), 0);
    RUN_UNTIL(&f.on, strcmp(queue_take(&f, "", 2, 60000), "ok a#1 b#1") == 0 ||
                         (queue_return(f.port, f.op_id, 60000), false));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue_degraded");
    TCase *c = test_case(suite, "queue_degraded", 30);
    tcase_add_checked_fixture(c, open_queue, close_queue);
    tcase_add_test(c, what_is_enqueued_while_redis_is_away_is_leased_and_finished_here);
    tcase_add_test(c, a_failed_attempt_counts_and_is_not_forgotten_by_the_hand_back);
    tcase_add_test(c, an_ack_that_waited_too_long_is_told_as_lost);
    tcase_add_test(c, ranks_times_and_states_come_over_as_they_were);
    tcase_add_test(c, one_that_is_leased_here_stays_until_its_lease_has_ended);
    tcase_add_test(c, what_a_caller_never_got_is_ready_again_at_once);
    tcase_add_test(c, a_task_given_out_at_most_once_is_finished_for_redis_too);
    tcase_add_test(c, a_crash_between_redis_and_the_spool_hands_back_again_to_no_effect);
    tcase_add_test(c, many_go_over_in_rounds_and_none_twice);
    tcase_add_test(c, an_enqueue_in_doubt_is_kept_not_leased_here_and_added_once);
    tcase_add_test(c, one_that_redis_has_taken_is_not_leased_here_when_it_is_enqueued_again);
    tcase_add_test(c, an_ack_is_kept_and_finishes_the_task_afterwards);
    tcase_add_test(c, an_ack_finishes_a_task_that_waits_again_but_not_one_of_another_receipt);
    tcase_add_test(c, an_ack_in_doubt_is_kept_and_takes_effect_once);
    tcase_add_test(c, what_redis_refuses_is_not_kept_and_what_it_refuses_to_take_back_stays);
    tcase_add_test(c, what_cannot_leave_is_kept_within_the_same_request);
    tcase_add_test(c, a_nack_is_kept_with_what_is_left_of_its_delay);
    tcase_add_test(c, acks_of_both_engines_go_in_one_call);
    tcase_add_test(c, what_only_redis_knows_is_unavailable);
    tcase_add_test(c, one_cancelled_here_does_not_come_back);
    tcase_add_test(c, a_full_spool_refuses_tasks_and_lets_them_be_worked_on);
    tcase_add_test(c, a_late_spool_is_told_of_in_time_and_what_it_leases_too_late_is_returned);
    return test_run(suite);
}
