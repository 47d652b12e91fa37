/* test_lock_redis: what strangers wrote, lost commands and lost replies, an open circuit. */
#include "lock_fixture.h"

static struct lock_fixture f;
static struct lock_try a, b, c;
static atomic_uint step;

enum { LONG_MS = 10000 };

#define LOCK_KEY "phoenix:locks:l"
#define GRANT    "phoenix:locks:grant:{phoenix:locks:l}"
#define COUNTER  "phoenix:locks:fence:{phoenix:locks:l}"
#define QUEUE    "phoenix:locks:queue:{phoenix:locks:l}"
#define SEEN     "phoenix:locks:seen:{phoenix:locks:l}"

static void open_redis(void)
{
    lock_fixture_open(&f, ON_REDIS);
}

static void close_all(void)
{
    lock_fixture_close(&f);
}

START_TEST(the_value_is_owner_and_fence_and_expires)
{
    char value[100];
    ck_assert_str_eq(acquire_now(&f, 0, &a, "me#1", LONG_MS), "ok");
    ck_assert_str_eq(resp_text(f.direct, "GET", LOCK_KEY, NULL),
                     FORMAT(value, "me#1#%lld", (long long)a.op.fence));
    long long left = resp_integer(f.direct, "PTTL", LOCK_KEY, NULL);
    ck_assert(left > 0 && left <= LONG_MS);
    ck_assert_str_eq(get_now(&f, 0, &b), "ok");
    ck_assert_str_eq(b.owner, "me#1");
    ck_assert_int_eq(b.op.fence, a.op.fence);
}
END_TEST

START_TEST(no_key_stays_for_ever)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    wait_begin(&f, 1, &b, "b", LONG_MS);
    static const char *const KEYS[] = {LOCK_KEY, GRANT, COUNTER, QUEUE, SEEN};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        ck_assert_msg(resp_integer(f.direct, "PTTL", KEYS[i], NULL) > 0, "%s", KEYS[i]);
    ck_assert_int_eq(resp_integer(f.direct, "DBSIZE", NULL), 5);
}
END_TEST

START_TEST(the_fence_rises_when_the_counter_is_gone_and_when_it_is_ahead_of_the_clock)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    ck_assert_int_eq(resp_integer(f.direct, "DEL", COUNTER, NULL), 1);
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    ck_assert_str_eq(acquire_now(&f, 1, &b, "b", LONG_MS), "ok");
    ck_assert_int_gt(b.op.fence, a.op.fence);
    ck_assert_str_eq(release_now(&f, 0, b.op.new_token), "ok");
    ck_assert_str_eq(resp_text(f.direct, "SET", COUNTER, "9000000000000000", NULL), "OK");
    ck_assert_str_eq(acquire_now(&f, 1, &c, "c", LONG_MS), "ok");
    ck_assert_int_eq(c.op.fence, INT64_C(9000000000000001));
}
END_TEST

START_TEST(a_strangers_lock_is_respected)
{
    ck_assert_str_eq(resp_text(f.direct, "SET", LOCK_KEY, "somebody", "NX", NULL), "OK");
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "lock_not_acquired");
    ck_assert_int_eq(a.op.retry_after_ms, -1);
    ck_assert_str_eq(get_now(&f, 0, &b), "ok");
    ck_assert_str_eq(b.owner, "somebody");
    ck_assert_int_eq(b.op.fence, 0);
    ck_assert_int_eq(b.op.valid_ms, -1);
    ck_assert_str_eq(resp_text(f.direct, "GET", LOCK_KEY, NULL), "somebody");
    lock_begin(&f, 0, &c, acquire_op("c", LONG_MS, LONG_MS));
    ck_assert_int_eq(resp_integer(f.direct, "DEL", LOCK_KEY, NULL), 1);
    ck_assert_str_eq(lock_end(&f, &c), "ok");
    ck_assert(resp_call(f.direct, "SET", LOCK_KEY, "somebody", "NX")->type == '_');
}
END_TEST

START_TEST(a_lock_that_a_stranger_wrote_over_is_lost)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    ck_assert_str_eq(resp_text(f.direct, "SET", LOCK_KEY, "somebody", NULL), "OK");
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "lock_lost");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "lock_lost");
    ck_assert_str_eq(resp_text(f.direct, "GET", LOCK_KEY, NULL), "somebody");
}
END_TEST

START_TEST(another_type_is_told_and_left_alone)
{
    ck_assert_int_eq(resp_integer(f.direct, "LPUSH", LOCK_KEY, "x", NULL), 1);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "foreign_value");
    ck_assert_str_eq(get_now(&f, 0, &a), "foreign_value");
    ck_assert_str_eq(renew_now(&f, 0, &a, "00000000000000000000000000000000", LONG_MS), "lock_lost");
    ck_assert_str_eq(release_now(&f, 0, "00000000000000000000000000000000"), "lock_lost");
    ck_assert_int_eq(resp_integer(f.direct, "LLEN", LOCK_KEY, NULL), 1);
}
END_TEST

START_TEST(scripts_flushed_away_are_sent_with_their_source)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    ck_assert_str_eq(resp_text(f.direct, "SCRIPT", "FLUSH", NULL), "OK");
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "ok");
    ck_assert_str_eq(get_now(&f, 1, &b), "ok");
    ck_assert_str_eq(resp_text(f.direct, "SCRIPT", "FLUSH", NULL), "OK");
    ck_assert_str_eq(release_now(&f, 1, a.op.new_token), "ok");
    ck_assert_str_eq(acquire_now(&f, 1, &b, "b", LONG_MS), "ok");
}
END_TEST

/* --- in doubt --- */

static bool is_script(const struct fake_command *command)
{
    return fake_command_is(command, "EVALSHA") || fake_command_is(command, "EVAL");
}

/* The first script is executed, its answer never arrives. */
static struct fake_verdict lose_answer(void *arg, const struct fake_command *command)
{
    (void)arg;
    return (struct fake_verdict){.cut = is_script(command) && atomic_fetch_add(&step, 1) == 0};
}

/* It is not executed at all. */
static struct fake_verdict lose_command(void *arg, const struct fake_command *command)
{
    (void)arg;
    bool first = is_script(command) && atomic_fetch_add(&step, 1) == 0;
    return (struct fake_verdict){.reply = first ? "+" : NULL, .cut = first};
}

/* Executed, and never answered. */
static struct fake_verdict never_answer(void *arg, const struct fake_command *command)
{
    (void)arg;
    return (struct fake_verdict){.silent = is_script(command)};
}

/* Their source is there, so that the first EVALSHA is the one that counts. */
static void know_scripts(void)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "first", LONG_MS), "ok");
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "ok");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
}

static fake_handler *const LOSSES[] = {lose_answer, lose_command};

START_TEST(an_acquire_whose_reply_or_command_was_lost_is_granted_once)
{
    char value[100];
    know_scripts();
    fake_redis_script(f.fake, LOSSES[_i], NULL);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    ck_assert_str_eq(resp_text(f.direct, "GET", LOCK_KEY, NULL),
                     FORMAT(value, "a#%lld", (long long)a.op.fence));
    ck_assert(a.op.valid_ms <= resp_integer(f.direct, "PTTL", LOCK_KEY, NULL) + test_ms(100));
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
}
END_TEST

START_TEST(so_is_a_waiters)
{
    know_scripts();
    ck_assert_str_eq(acquire_now(&f, 1, &b, "b", 300), "ok");
    fake_redis_script(f.fake, LOSSES[_i], NULL);
    lock_begin(&f, 0, &a, acquire_op("a", LONG_MS, LONG_MS));
    ck_assert_str_eq(lock_end(&f, &a), "ok");
    ck_assert_int_gt(a.op.fence, b.op.fence);
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", QUEUE, NULL), 0);
}
END_TEST

START_TEST(a_renewal_whose_reply_or_command_was_lost_holds)
{
    know_scripts();
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    fake_redis_script(f.fake, LOSSES[_i], NULL);
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, 60000), "ok");
    ck_assert_int_eq(b.op.fence, a.op.fence);
}
END_TEST

START_TEST(a_release_whose_reply_or_command_was_lost_is_done)
{
    know_scripts();
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    fake_redis_script(f.fake, LOSSES[_i], NULL);
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "ok");
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", LOCK_KEY, NULL), 0);
}
END_TEST

START_TEST(a_grant_that_cannot_be_settled_is_told_so_and_released_behind)
{
    know_scripts();
    fake_redis_script(f.fake, never_answer, NULL);
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "outcome_unknown");
    fake_redis_script(f.fake, NULL, NULL);
    RUN_UNTIL(&f.on, resp_integer(f.direct, "EXISTS", LOCK_KEY, NULL) == 0);
}
END_TEST

/* --- Redis away --- */

struct look {
    struct spool_op op;
    bool done, there;
    unsigned code;
    char body[64];
};

static enum db_result run_look(struct db *db, void *arg)
{
    struct look *look = arg;
    struct db_entry entry;
    enum db_result result = db_journal_oldest(db, JOURNAL_LOCK, SLICE_LITERAL("l"), &entry);
    look->there = result == DB_OK;
    if (!look->there) return result;
    look->code = entry.op;
    FORMAT(look->body, "%.*s", (int)entry.body.len, entry.body.ptr);
    return result;
}

static void on_looked(struct spool_op *op)
{
    ((struct look *)op->arg)->done = true;
}

static struct look look_into_journal(void)
{
    struct look look = {.done = false};
    look.op =
        (struct spool_op){.reads = true, .run = run_look, .done = on_looked, .arg = &look, .loop = f.on.loop};
    ck_assert(spool_submit(f.spool, &look.op));
    RUN_UNTIL(&f.on, look.done);
    return look;
}

static void on_back(struct lock_handback *h)
{
    *(bool *)h->arg = true;
}

static enum lock_handback_outcome hand_back(const char *body)
{
    static struct lock_handback h;
    bool done = false;
    h = (struct lock_handback){
        .name = SLICE_LITERAL("l"), .body = slice_of(body), .done = on_back, .arg = &done};
    lock_handback_start(f.ports[1], &h);
    RUN_UNTIL(&f.on, done);
    return h.outcome;
}

START_TEST(with_the_circuit_open_nothing_is_granted_and_a_release_is_journaled)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    lock_open_circuit(&f);
    ck_assert_str_eq(acquire_now(&f, 0, &b, "b", LONG_MS), "redis_unavailable");
    lock_begin(&f, 0, &b, acquire_op("b", LONG_MS, LONG_MS));
    ck_assert_str_eq(lock_end(&f, &b), "redis_unavailable");
    ck_assert_str_eq(renew_now(&f, 0, &b, a.op.new_token, LONG_MS), "redis_unavailable");
    ck_assert_str_eq(get_now(&f, 0, &b), "redis_unavailable");
    ck_assert(!look_into_journal().there);
    lock_begin(&f, 0, &b, (struct lock_op){.verb = LOCK_RELEASE, .token = slice_of(a.op.new_token)});
    ck_assert_str_eq(lock_end(&f, &b), "ok");
    ck_assert(b.op.journaled && b.op.local);
    struct look look = look_into_journal();
    ck_assert(look.there && look.code == LOCK_JOURNAL_RELEASE);
    ck_assert_str_eq(look.body, a.op.new_token);
    ck_assert(unsettled_has(f.unsettled, JOURNAL_LOCK, SLICE_LITERAL("l")));
    /* Behind the first one goes the next, also when Redis is there again. */
    lock_close_circuit(&f);
    lock_begin(&f, 0, &b, (struct lock_op){.verb = LOCK_RELEASE, .token = slice_of(a.op.new_token)});
    ck_assert_str_eq(lock_end(&f, &b), "ok");
    ck_assert(b.op.journaled);
    ck_assert_uint_eq(unsettled_entries(f.unsettled), 2);
    ck_assert_int_eq(hand_back(look.body), LOCK_HANDBACK_RELEASED);
    ck_assert_int_eq(hand_back(look.body), LOCK_HANDBACK_GONE);
    ck_assert_int_eq(resp_integer(f.direct, "EXISTS", LOCK_KEY, NULL), 0);
}
END_TEST

START_TEST(a_release_handed_back_after_the_grant_was_given_again_is_a_conflict)
{
    char old[LOCK_TOKEN_SIZE];
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", 100), "ok");
    FORMAT(old, "%s", a.op.new_token);
    RUN_UNTIL(&f.on, lock_is_free(&f));
    ck_assert_int_eq(hand_back(old), LOCK_HANDBACK_GONE);
    ck_assert_str_eq(acquire_now(&f, 0, &b, "b", LONG_MS), "ok");
    ck_assert_int_eq(hand_back(old), LOCK_HANDBACK_CONFLICT);
    ck_assert_str_eq(get_now(&f, 0, &c), "ok");
    ck_assert_str_eq(c.owner, "b");
    ck_assert_int_eq(hand_back("no token"), LOCK_HANDBACK_BROKEN);
    lock_open_circuit(&f);
    ck_assert_int_eq(hand_back(old), LOCK_HANDBACK_UNAVAILABLE);
}
END_TEST

static struct fake_verdict refuse(void *arg, const struct fake_command *command)
{
    (void)arg;
    return (struct fake_verdict){.reply = is_script(command) ? "-OOM no\r\n" : NULL};
}

START_TEST(a_refusal_is_told)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", LONG_MS), "ok");
    fake_redis_script(f.fake, refuse, NULL);
    ck_assert_str_eq(acquire_now(&f, 0, &b, "b", LONG_MS), "redis_refused");
    ck_assert_str_eq(b.detail, "OOM no");
    ck_assert_str_eq(release_now(&f, 0, a.op.new_token), "redis_refused");
    ck_assert_int_eq(hand_back(a.op.new_token), LOCK_HANDBACK_REFUSED);
}
END_TEST

START_TEST(a_waiter_outlives_a_lost_connection)
{
    ck_assert_str_eq(acquire_now(&f, 0, &a, "a", 700), "ok");
    wait_begin(&f, 1, &b, "b", LONG_MS);
    ck_assert_int_ge(resp_integer(f.direct, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL), 1);
    ck_assert_str_eq(lock_end(&f, &b), "ok");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock_redis");
    TCase *values = test_case(suite, "values", 30);
    tcase_add_checked_fixture(values, open_redis, close_all);
    tcase_add_test(values, the_value_is_owner_and_fence_and_expires);
    tcase_add_test(values, no_key_stays_for_ever);
    tcase_add_test(values, the_fence_rises_when_the_counter_is_gone_and_when_it_is_ahead_of_the_clock);
    tcase_add_test(values, a_strangers_lock_is_respected);
    tcase_add_test(values, a_lock_that_a_stranger_wrote_over_is_lost);
    tcase_add_test(values, another_type_is_told_and_left_alone);
    tcase_add_test(values, scripts_flushed_away_are_sent_with_their_source);
    TCase *doubt = test_case(suite, "doubt", 30);
    tcase_add_checked_fixture(doubt, open_redis, close_all);
    tcase_add_loop_test(doubt, an_acquire_whose_reply_or_command_was_lost_is_granted_once, 0, 2);
    tcase_add_loop_test(doubt, so_is_a_waiters, 0, 2);
    tcase_add_loop_test(doubt, a_renewal_whose_reply_or_command_was_lost_holds, 0, 2);
    tcase_add_loop_test(doubt, a_release_whose_reply_or_command_was_lost_is_done, 0, 2);
    tcase_add_test(doubt, a_grant_that_cannot_be_settled_is_told_so_and_released_behind);
    TCase *away = test_case(suite, "away", 30);
    tcase_add_checked_fixture(away, open_redis, close_all);
    tcase_add_test(away, with_the_circuit_open_nothing_is_granted_and_a_release_is_journaled);
    tcase_add_test(away, a_release_handed_back_after_the_grant_was_given_again_is_a_conflict);
    tcase_add_test(away, a_refusal_is_told);
    tcase_add_test(away, a_waiter_outlives_a_lost_connection);
    return test_run(suite);
}
