/* test_conn: one connection's life as its calls see it: greeting, one write a turn, deadlines, in doubt or
 * not, replies that make no sense, the end. Through a pool of one connection. */
#include "redis_fixture.h"

#include "engine/redis/script.h"

static struct redis_fixture f;
static struct redis_pool *pool;
static struct counted_call a, b, c;

static void close_all(void)
{
    redis_pool_destroy(&pool);
    ck_assert_ptr_null(pool);
    redis_fixture_close(&f);
}

static void open_plain(void)
{
    redis_fixture_open(&f, "", 0);
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
}

static void submit(struct counted_call *call)
{
    ck_assert(redis_pool_submit(pool, &call->call));
    ck_assert_uint_eq(call->done, 0); /* never from inside */
}

/* --- greeting --- */

START_TEST(a_connection_says_who_it_is_before_it_is_ready)
{
    redis_fixture_open(&f, "app:secret@", 3);
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    ck_assert_str_eq(f.log, "1 AUTH app secret\n1 SELECT 3\n1 CLIENT ID\n1 INFO server\n");
}
END_TEST

START_TEST(a_password_alone_is_the_default_users)
{
    redis_fixture_open(&f, ":secret@", 0);
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    ck_assert_uint_eq(redis_saw(&f, "AUTH secret"), 1);
}
END_TEST

START_TEST(a_user_without_a_password_is_that_user_nevertheless)
{
    redis_fixture_open(&f, "app@", 0);
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
    ck_assert_uint_eq(redis_saw(&f, "AUTH app "), 1);
}
END_TEST

static const char *refuse_auth(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "AUTH") ? "-WRONGPASS invalid username-password pair\r\n"
                                       : "-NOAUTH Authentication required.\r\n";
}

START_TEST(a_refused_password_fails_the_calls_that_wait_and_is_noted)
{
    redis_fixture_open(&f, ":secret@", 0);
    f.script = refuse_auth;
    pool = open_test_pool(&f, 0, 1);
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(a.call.error, "WRONGPASS"));
    ck_assert(redis_secret_refused(redis_topology_secret(f.topology)));
    ck_assert_uint_eq(redis_saw(&f, "GET"), 0);
}
END_TEST

static const char *odd_auth(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "AUTH") ? ":1\r\n" : NULL;
}

START_TEST(a_greeting_of_four_commands_that_makes_no_sense_from_the_first_on_ends)
{
    redis_fixture_open(&f, "app:secret@", 3);
    f.script = odd_auth;
    pool = open_test_pool(&f, 0, 1);
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_UNAVAILABLE);
}
END_TEST

static const char *no_greeting(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    (void)command;
    return "";
}

START_TEST(a_silent_greeting_is_given_up_after_the_connect_timeout)
{
    redis_fixture_open(&f, "", 0);
    f.script = no_greeting;
    pool = open_test_pool(&f, 1, 1);
    RUN_UNTIL(&f.on, f.accepted == 1);
    f.on.ahead_us += test_ms(501) * 1000;
    RUN_UNTIL(&f.on, f.accepted == 2);
    ck_assert_uint_eq(redis_pool_ready(pool), 0);
}
END_TEST

START_TEST(a_unix_socket_that_is_not_there_fails_the_calls)
{
    redis_fixture_open(&f, "", 0);
    redis_url_deinit(&f.url);
    char path[TEST_PATH_MAX], text[TEST_PATH_MAX + 16], error[200];
    ck_assert(redis_url_parse("redis.url", FORMAT(text, "unix://%s", scratch_path(path, "none.sock")), &f.url,
                              error, sizeof error));
    pool = open_test_pool(&f, 0, 1);
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_UNAVAILABLE);
}
END_TEST

/* --- calls --- */

START_TEST(the_calls_of_one_turn_leave_in_one_write)
{
    static struct counted_call calls[60];
    unsigned reads = f.peers[0].reads;
    for (size_t i = 0; i < 60; i++)
        submit(get_init(&calls[i], "k"));
    RUN_UNTIL(&f.on, calls[59].done);
    ck_assert_uint_eq(f.peers[0].reads, reads + 1);
    for (size_t i = 0; i < 60; i++) {
        ck_assert_uint_eq(calls[i].done, 1);
        ck_assert_int_eq(calls[i].call.outcome, REDIS_CALL_OK);
        ck_assert_str_eq(calls[i].text, "v");
    }
}
END_TEST

START_TEST(a_call_of_many_commands_is_done_with_its_last_reply)
{
    call_init(&a, 3, "INCR", "k", REDIS_TYPE_INTEGER);
    submit(&a);
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_OK);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(a.call.replies[i].integer, 1);
}
END_TEST

static const char *const ERRORS[][2] = {
    {"-WRONGTYPE Operation\r\n", "foreign"}, {"-OOM command not allowed\r\n", "refused"},
    {"-MISCONF no disk\r\n", "refused"},     {"-LOADING Redis is loading\r\n", "unavailable"},
    {"-ERR no such\r\n", "refused"},         {"-NOSCRIPT no script at all\r\n", "refused"},
};
static const char *error_reply;

static const char *answer_error(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "GET") ? error_reply : NULL;
}

START_TEST(an_error_reply_is_the_outcome_of_its_class_and_the_connection_lives)
{
    error_reply = ERRORS[_i][0];
    f.script = answer_error;
    submit(get_init(&a, "k"));
    submit(call_init(&b, 1, "INCR", "k", REDIS_TYPE_INTEGER));
    RUN_UNTIL(&f.on, a.done && b.done);
    ck_assert_str_eq(redis_outcome_names[a.call.outcome], ERRORS[_i][1]);
    ck_assert_int_eq(strncmp(a.call.error, error_reply + 1, 4), 0);
    ck_assert_int_eq(b.call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(f.accepted, 1);
}
END_TEST

static unsigned answered;

static const char *first_refused(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    if (!command_is(command, "GET")) return NULL;
    answered++;
    return answered == 1 ? "-LOADING now\r\n" : answered == 2 ? "-WRONGTYPE it is\r\n" : NULL;
}

START_TEST(of_many_replies_the_worst_is_the_outcome)
{
    f.script = first_refused;
    submit(call_init(&a, 3, "GET", "k", REDIS_TYPE_STRING));
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert_str_eq(a.call.error, "LOADING now");
}
END_TEST

static const char *no_scripts(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    if (command_is(command, "EVALSHA")) return "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    return command_is(command, "EVAL") ? ":1\r\n" : NULL;
}

static void script_init(struct counted_call *call)
{
    call_init(call, 1, "1", "k", REDIS_TYPE_INTEGER);
    ck_assert(redis_scripts_init());
    call->commands[0].script = redis_script(REDIS_SCRIPT_STRING_WRITE);
}

START_TEST(a_script_that_redis_forgot_goes_again_with_its_source)
{
    f.script = no_scripts;
    script_init(&a);
    script_init(&b);
    submit(&a);
    submit(&b);
    RUN_UNTIL(&f.on, a.done && b.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_OK);
    ck_assert_int_eq(b.call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(redis_saw(&f, "EVALSHA"), 2);
    ck_assert_uint_eq(redis_saw(&f, "EVAL "), 2);
}
END_TEST

static const char *never_scripts(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return strncasecmp(command->items[0].text, "EVAL", 4) == 0 ? "-NOSCRIPT still not\r\n" : NULL;
}

START_TEST(noscript_for_the_source_itself_is_refused_not_repeated)
{
    f.script = never_scripts;
    script_init(&a);
    submit(&a);
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_REFUSED);
    ck_assert_uint_eq(redis_saw(&f, "EVAL"), 2);
}
END_TEST

START_TEST(a_reply_of_another_type_ends_the_connection_for_all_behind_it)
{
    call_init(&a, 2, "GET", "k", REDIS_TYPE_INTEGER);       /* strings come */
    a.call.commands = must_alloc(2 * sizeof a.commands[0]); /* so that reading behind them shows */
    memcpy(a.call.commands, a.commands, 2 * sizeof a.commands[0]);
    submit(&a);
    submit(call_init(&b, 2, "GET", "k", REDIS_TYPE_STRING));
    submit(call_init(&c, 4, "GET", "k", REDIS_TYPE_STRING));
    RUN_UNTIL(&f.on, a.done && b.done && c.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert_int_eq(b.call.outcome, REDIS_CALL_IN_DOUBT); /* the answer may have been another's */
    ck_assert_int_eq(c.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert_str_eq(a.call.error, "unexpected reply");
    ck_assert_str_eq(b.call.error, "unexpected reply");
    ck_assert_str_eq(c.call.error, "unexpected reply");
    free(a.call.commands);
    RUN_UNTIL(&f.on, f.accepted == 2 && redis_pool_ready(pool) == 1);
    ck_assert_uint_eq(a.done + b.done + c.done, 3);
    ck_assert_uint_eq(redis_saw(&f, "2 CLIENT KILL ID 101"), 1);
}
END_TEST

static const char *garbage(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "GET") ? "?what\r\n" : NULL;
}

START_TEST(bytes_that_are_no_reply_end_the_connection)
{
    f.script = garbage;
    submit(get_init(&a, "k"));
    submit(get_init(&b, "k"));
    RUN_UNTIL(&f.on, a.done && b.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert_int_eq(b.call.outcome, REDIS_CALL_IN_DOUBT);
}
END_TEST

static const char *unasked(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    (void)p;
    return command_is(command, "GET") ? "$1\r\nv\r\n-ERR max number of clients reached\r\n" : NULL;
}

START_TEST(an_error_that_nobody_asked_for_ends_the_connection)
{
    f.script = unasked;
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, a.done && f.accepted == 2);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_OK);
}
END_TEST

/* --- in doubt or not --- */

static const char *silent_gets(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    (void)x;
    return command_is(command, "GET") && p->number == 1 ? "" : NULL;
}

START_TEST(a_call_past_its_deadline_gives_up_the_connection_and_the_next_one_kills_it_first)
{
    f.script = silent_gets;
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET"));
    submit(get_init(&b, "k"));
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET") == 2);
    ck_assert(redis_node_quiet(f.node));
    f.on.ahead_us += test_ms(251) * 1000;
    RUN_UNTIL(&f.on, a.done && b.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert_int_eq(b.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert(!redis_node_quiet(f.node));
    get_init(&c, "k");
    RUN_UNTIL(&f.on, redis_pool_submit(pool, &c.call));
    RUN_UNTIL(&f.on, c.done);
    ck_assert_int_eq(c.call.outcome, REDIS_CALL_OK);
    ck_assert_uint_eq(a.done + b.done, 2);
    ck_assert(redis_node_quiet(f.node));
    ck_assert_ptr_nonnull(strstr(f.log, "2 CLIENT ID\n2 INFO server\n2 CLIENT KILL ID 101\n2 GET k\n"));
}
END_TEST

static bool quiet_in_done;

static void on_doubt(struct redis_call *call)
{
    on_counted(call);
    quiet_in_done = redis_node_quiet(f.node);
}

START_TEST(a_caller_who_learns_of_doubt_finds_the_connection_condemned)
{
    f.script = silent_gets;
    get_init(&a, "k")->call.done = on_doubt;
    quiet_in_done = true;
    submit(&a);
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET"));
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, a.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert(!quiet_in_done);
}
END_TEST

START_TEST(a_call_none_of_whose_bytes_left_is_unavailable_and_condemns_nothing)
{
    submit(get_init(&a, "k"));
    redis_pool_destroy(&pool); /* in the same turn, before anything was flushed */
    ck_assert_uint_eq(a.done, 1);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert(redis_node_quiet(f.node));
    loop_fixture_turn(&f.on);
    ck_assert_uint_eq(redis_saw(&f, "GET"), 0);
}
END_TEST

static bool unread(const struct peer *p)
{
    char first;
    return recv(p->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

START_TEST(of_a_write_that_stuck_halfway_the_tail_is_unsent)
{
    enum { LARGE = 8 << 20 };
    char *value = must_alloc(LARGE);
    memset(value, 'x', LARGE - 1);
    loop_io_set(f.peers[0].io, 0); /* reads no more; the socket's buffers fill */
    submit(get_init(&a, value));
    submit(get_init(&b, "k"));
    RUN_UNTIL(&f.on, unread(&f.peers[0]));
    f.on.ahead_us += test_ms(251) * 1000;
    RUN_UNTIL(&f.on, a.done && b.done);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert_int_eq(b.call.outcome, REDIS_CALL_UNAVAILABLE);
    ck_assert(!redis_node_quiet(f.node));
    free(value);
}
END_TEST

START_TEST(a_redis_that_came_up_anew_is_not_asked_to_kill)
{
    f.script = silent_gets;
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET"));
    FORMAT(f.run_id, "run-2");
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, a.done && f.accepted == 2 && redis_pool_ready(pool) == 1);
    ck_assert_int_eq(a.call.outcome, REDIS_CALL_IN_DOUBT);
    ck_assert_uint_eq(redis_saw(&f, "CLIENT KILL"), 0);
    ck_assert(redis_node_quiet(f.node));
}
END_TEST

static const char *nobody_to_kill(struct redis_fixture *x, struct peer *p, const struct resp_value *command)
{
    if (command_is2(command, "CLIENT", "KILL")) return "-ERR No such client\r\n";
    return silent_gets(x, p, command);
}

START_TEST(a_connection_that_is_gone_already_is_absolved_too)
{
    f.script = nobody_to_kill;
    submit(get_init(&a, "k"));
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET"));
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, a.done && redis_pool_ready(pool) == 1 && f.accepted == 2);
    ck_assert(redis_node_quiet(f.node));
}
END_TEST

START_TEST(more_condemned_than_a_batch_are_all_killed_before_the_first_call)
{
    for (int i = 0; i < CONDEMNED_BATCH * 2 + 1; i++) {
        struct condemned entry = {.client_id = 500 + i, .run_id = "run-1"};
        redis_node_condemn(f.node, &entry);
    }
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, f.accepted == 2 && redis_pool_ready(pool) == 1);
    ck_assert_uint_eq(redis_saw(&f, "2 CLIENT KILL ID 50"), CONDEMNED_BATCH * 2 + 1);
    ck_assert(redis_node_quiet(f.node));
}
END_TEST

static void on_resubmit(struct redis_call *call)
{
    on_counted(call);
    (void)redis_pool_submit(pool, &get_init(&c, "again")->call);
}

START_TEST(a_reaction_to_a_failure_may_submit_again)
{
    f.script = silent_gets;
    get_init(&a, "k")->call.done = on_resubmit;
    submit(&a);
    submit(get_init(&b, "k"));
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET") == 2);
    peer_close(&f.peers[0]);
    RUN_UNTIL(&f.on, a.done && b.done);
    ck_assert_uint_eq(a.done, 1);
    ck_assert_uint_eq(b.done, 1);
    RUN_UNTIL(&f.on, redis_pool_ready(pool) == 1);
}
END_TEST

static void on_destroy(void *arg)
{
    (void)arg;
    redis_pool_destroy(&pool);
}

START_TEST(destroying_the_pool_completes_each_call_in_flight_once)
{
    static struct counted_call calls[20];
    f.script = silent_gets;
    for (size_t i = 0; i < 20; i++)
        submit(get_init(&calls[i], "k"));
    RUN_UNTIL(&f.on, redis_saw(&f, "1 GET") == 20);
    ck_assert(loop_post(f.on.loop, on_destroy, NULL));
    RUN_UNTIL(&f.on, pool == NULL);
    for (size_t i = 0; i < 20; i++) {
        ck_assert_uint_eq(calls[i].done, 1);
        ck_assert_int_eq(calls[i].call.outcome, REDIS_CALL_IN_DOUBT);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conn");
    TCase *g = test_case(suite, "greeting", 20);
    tcase_add_checked_fixture(g, NULL, close_all);
    tcase_add_test(g, a_connection_says_who_it_is_before_it_is_ready);
    tcase_add_test(g, a_password_alone_is_the_default_users);
    tcase_add_test(g, a_user_without_a_password_is_that_user_nevertheless);
    tcase_add_test(g, a_refused_password_fails_the_calls_that_wait_and_is_noted);
    tcase_add_test(g, a_greeting_of_four_commands_that_makes_no_sense_from_the_first_on_ends);
    tcase_add_test(g, a_silent_greeting_is_given_up_after_the_connect_timeout);
    tcase_add_test(g, a_unix_socket_that_is_not_there_fails_the_calls);
    TCase *t = test_case(suite, "calls", 20);
    tcase_add_checked_fixture(t, open_plain, close_all);
    tcase_add_test(t, the_calls_of_one_turn_leave_in_one_write);
    tcase_add_test(t, a_call_of_many_commands_is_done_with_its_last_reply);
    tcase_add_loop_test(t, an_error_reply_is_the_outcome_of_its_class_and_the_connection_lives, 0,
                        sizeof ERRORS / sizeof ERRORS[0]);
    tcase_add_test(t, of_many_replies_the_worst_is_the_outcome);
    tcase_add_test(t, a_script_that_redis_forgot_goes_again_with_its_source);
    tcase_add_test(t, noscript_for_the_source_itself_is_refused_not_repeated);
    tcase_add_test(t, a_reply_of_another_type_ends_the_connection_for_all_behind_it);
    tcase_add_test(t, bytes_that_are_no_reply_end_the_connection);
    tcase_add_test(t, an_error_that_nobody_asked_for_ends_the_connection);
    tcase_add_test(t, a_call_past_its_deadline_gives_up_the_connection_and_the_next_one_kills_it_first);
    tcase_add_test(t, a_caller_who_learns_of_doubt_finds_the_connection_condemned);
    tcase_add_test(t, a_call_none_of_whose_bytes_left_is_unavailable_and_condemns_nothing);
    tcase_add_test(t, of_a_write_that_stuck_halfway_the_tail_is_unsent);
    tcase_add_test(t, a_redis_that_came_up_anew_is_not_asked_to_kill);
    tcase_add_test(t, a_connection_that_is_gone_already_is_absolved_too);
    tcase_add_test(t, more_condemned_than_a_batch_are_all_killed_before_the_first_call);
    tcase_add_test(t, a_reaction_to_a_failure_may_submit_again);
    tcase_add_test(t, destroying_the_pool_completes_each_call_in_flight_once);
    return test_run(suite);
}
