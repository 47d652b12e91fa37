/* test_tracking: live, lost, what is told, and the silence that ends it. */
#include "redis_fixture.h"

#include "engine/redis/tracking.h"

static struct redis_fixture f;
static struct redis_tracking *tracking;
static unsigned live, lost, changes;
static char told[256];

static void on_live(void *arg)
{
    (void)arg;
    ck_assert_uint_eq(live, lost);
    live++;
}

static void on_lost(void *arg)
{
    (void)arg;
    lost++;
    ck_assert_uint_eq(live, lost);
}

static void on_change(void *arg, struct slice key)
{
    (void)arg;
    size_t len = strlen(told);
    changes++;
    if (key.ptr)
        format(told + len, sizeof told - len, "%.*s ", (int)key.len, key.ptr);
    else
        format(told + len, sizeof told - len, "* ");
}

static void open_all(void)
{
    redis_fixture_open(&f, "", 0);
    tracking = redis_tracking_create(&(struct redis_tracking_options){.loop = f.on.loop,
                                                                      .node = f.node,
                                                                      .prefix = "phoenix:cache:",
                                                                      .on_live = on_live,
                                                                      .on_lost = on_lost,
                                                                      .on_change = on_change});
    ck_assert_ptr_nonnull(tracking);
}

static void close_all(void)
{
    redis_tracking_destroy(&tracking);
    ck_assert_ptr_null(tracking);
    redis_fixture_close(&f);
}

#define MESSAGE "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"

START_TEST(it_is_live_once_the_subscription_is_confirmed)
{
    RUN_UNTIL(&f.on, live == 1);
    ck_assert_ptr_nonnull(strstr(f.log, "1 CLIENT TRACKING ON REDIRECT 101 BCAST PREFIX phoenix:cache:\n"
                                        "1 SUBSCRIBE __redis__:invalidate\n"));
}
END_TEST

static const char *no_confirmation(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    return command_is(command, "SUBSCRIBE") && p->number == 1 ? "" : NULL;
}

START_TEST(without_confirmation_it_is_never_live_and_tries_anew)
{
    f.script = no_confirmation;
    RUN_UNTIL(&f.on, redis_saw(&f, "1 SUBSCRIBE"));
    ck_assert_uint_eq(live, 0);
    f.on.ahead_us += test_ms(251) * 1000;
    RUN_UNTIL(&f.on, live == 1);
    ck_assert_uint_eq(lost, 0);
    ck_assert_uint_eq(f.accepted, 2);
}
END_TEST

START_TEST(each_key_of_a_message_is_told)
{
    RUN_UNTIL(&f.on, live == 1);
    peer_send(&f.peers[0], MESSAGE "*2\r\n$15\r\nphoenix:cache:a\r\n$15\r\nphoenix:cache:b\r\n");
    peer_send(&f.peers[0], MESSAGE "*1\r\n$15\r\nphoenix:cache:c\r\n");
    RUN_UNTIL(&f.on, changes == 3);
    ck_assert_str_eq(told, "phoenix:cache:a phoenix:cache:b phoenix:cache:c ");
}
END_TEST

START_TEST(a_null_payload_means_every_key)
{
    RUN_UNTIL(&f.on, live == 1);
    peer_send(&f.peers[0], MESSAGE "$-1\r\n");
    RUN_UNTIL(&f.on, changes == 1);
    ck_assert_str_eq(told, "* ");
    peer_send(&f.peers[0], MESSAGE "*-1\r\n");
    RUN_UNTIL(&f.on, changes == 2);
    ck_assert_str_eq(told, "* * ");
}
END_TEST

START_TEST(a_closed_connection_is_lost_at_once_and_live_again_after_the_next)
{
    RUN_UNTIL(&f.on, live == 1);
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, lost == 1);
    RUN_UNTIL(&f.on, live == 2);
    ck_assert_uint_eq(f.accepted, 2);
}
END_TEST

START_TEST(the_heartbeat_keeps_a_quiet_connection)
{
    RUN_UNTIL(&f.on, live == 1);
    for (unsigned beats = 2; beats < 5; beats++) {
        f.on.ahead_us += INT64_C(1001000);
        RUN_UNTIL(&f.on, redis_saw(&f, "1 SUBSCRIBE") == beats);
        for (int i = 0; i < 5; i++)
            loop_fixture_turn(&f.on);
    }
    ck_assert_uint_eq(lost, 0);
    ck_assert_uint_eq(f.accepted, 1);
}
END_TEST

static bool silent;

static const char *maybe_silent(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return silent && command_is(command, "SUBSCRIBE") ? "" : NULL;
}

START_TEST(a_silent_connection_is_lost_when_its_beat_is_not_answered)
{
    f.script = maybe_silent;
    RUN_UNTIL(&f.on, live == 1);
    silent = true;
    f.on.ahead_us += INT64_C(1001000);
    RUN_UNTIL(&f.on, redis_saw(&f, "1 SUBSCRIBE") == 2);
    ck_assert_uint_eq(lost, 0);
    f.on.ahead_us += test_ms(251) * 1000;
    RUN_UNTIL(&f.on, lost == 1);
    silent = false;
    RUN_UNTIL(&f.on, live == 2);
}
END_TEST

static const char *refuse(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    return command_is2(command, "CLIENT", "TRACKING") && p->number == 1 ? "-NOPERM no tracking\r\n" : NULL;
}

START_TEST(a_refusal_is_tried_again_later)
{
    f.script = refuse;
    RUN_UNTIL(&f.on, redis_saw(&f, "1 CLIENT TRACKING") && f.peers[0].fd < 0);
    f.on.ahead_us += INT64_C(1000000);
    for (int i = 0; i < 20; i++)
        loop_fixture_turn(&f.on);
    ck_assert_uint_eq(f.accepted, 1);
    ck_assert_uint_eq(live + lost, 0);
}
END_TEST

START_TEST(strange_messages_are_passed_over)
{
    RUN_UNTIL(&f.on, live == 1);
    peer_send(&f.peers[0], MESSAGE "*0\r\n");
    peer_send(&f.peers[0], MESSAGE "*1\r\n$15\r\nphoenix:cache:z\r\n");
    RUN_UNTIL(&f.on, changes == 1);
    ck_assert_str_eq(told, "phoenix:cache:z ");
}
END_TEST

#define CHANNEL "$20\r\n__redis__:invalidate\r\n"

static const char *const MISSHAPEN[] = {
    "*0\r\n",
    "*1\r\n$7\r\nmessage\r\n",
    "*2\r\n$7\r\nmessage\r\n" CHANNEL,
    "*4\r\n$7\r\nmessage\r\n" CHANNEL "*0\r\n*0\r\n",
    "*3\r\n:1\r\n" CHANNEL "*0\r\n",
    "*3\r\n$-1\r\n" CHANNEL "*0\r\n",
    "*3\r\n*0\r\n" CHANNEL "*0\r\n",
    "*3\r\n+message\r\n" CHANNEL "*0\r\n",
    "*3\r\n$7\r\nmessage\r\n:1\r\n*0\r\n",
    "*3\r\n$7\r\nmessage\r\n$-1\r\n*0\r\n",
    "*3\r\n$7\r\nmessage\r\n*1\r\n:1\r\n*0\r\n",
    "*3\r\n$11\r\nunsubscribe\r\n" CHANNEL "$1\r\n0\r\n",
    "*3\r\n$11\r\nunsubscribe\r\n" CHANNEL ":0\r\n" MESSAGE "*0\r\n",
    "*3\r\n$12\r\npunsubscribe\r\n" CHANNEL "$1\r\n0\r\n",
};

/* hiredis would abort the process. */
START_TEST(a_push_without_its_shape_ends_the_connection)
{
    RUN_UNTIL(&f.on, live == 1);
    peer_send(&f.peers[0], MISSHAPEN[_i]);
    RUN_UNTIL(&f.on, live == 2);
    ck_assert_uint_eq(f.accepted, 2);
    ck_assert_uint_eq(changes, 0);
}
END_TEST

START_TEST(destroying_a_live_one_tells_the_loss)
{
    RUN_UNTIL(&f.on, live == 1);
    redis_tracking_destroy(&tracking);
    ck_assert_uint_eq(lost, 1);
    redis_tracking_destroy(&tracking);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tracking");
    TCase *c = test_case(suite, "tracking", 20);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, it_is_live_once_the_subscription_is_confirmed);
    tcase_add_test(c, without_confirmation_it_is_never_live_and_tries_anew);
    tcase_add_test(c, each_key_of_a_message_is_told);
    tcase_add_test(c, a_null_payload_means_every_key);
    tcase_add_test(c, a_closed_connection_is_lost_at_once_and_live_again_after_the_next);
    tcase_add_test(c, the_heartbeat_keeps_a_quiet_connection);
    tcase_add_test(c, a_silent_connection_is_lost_when_its_beat_is_not_answered);
    tcase_add_test(c, a_refusal_is_tried_again_later);
    tcase_add_test(c, strange_messages_are_passed_over);
    tcase_add_loop_test(c, a_push_without_its_shape_ends_the_connection, 0,
                        sizeof MISSHAPEN / sizeof MISSHAPEN[0]);
    tcase_add_test(c, destroying_a_live_one_tells_the_loss);
    return test_run(suite);
}
