/* test_errors: which error reply means what. */
#include "../../../support/support.h"
#include "engine/redis/errors.h"

static const struct {
    const char *text;
    enum redis_error class;
} CASES[] = {
    {"NOSCRIPT No matching script. Please use EVAL.", REDIS_ERROR_RESEND},
    {"LOADING Redis is loading the dataset in memory", REDIS_ERROR_UNAVAILABLE},
    {"CLUSTERDOWN The cluster is down", REDIS_ERROR_UNAVAILABLE},
    {"MASTERDOWN Link with MASTER is down", REDIS_ERROR_UNAVAILABLE},
    {"BUSY Redis is busy running a script", REDIS_ERROR_UNAVAILABLE},
    {"TRYAGAIN Multiple keys request during rehashing of slot", REDIS_ERROR_TRYAGAIN},
    {"MOVED 3999 127.0.0.1:6381", REDIS_ERROR_MOVED},
    {"ASK 3999 127.0.0.1:6381", REDIS_ERROR_ASK},
    {"ERR max number of clients reached", REDIS_ERROR_UNAVAILABLE},
    {"READONLY You can't write against a read only replica.", REDIS_ERROR_MISPLACED},
    {"OOM command not allowed when used memory > 'maxmemory'.", REDIS_ERROR_REFUSED},
    {"MISCONF Redis is configured to save RDB snapshots", REDIS_ERROR_REFUSED},
    {"NOREPLICAS Not enough good replicas to write.", REDIS_ERROR_REFUSED},
    {"NOAUTH Authentication required.", REDIS_ERROR_REFUSED},
    {"WRONGPASS invalid username-password pair", REDIS_ERROR_REFUSED},
    {"NOPERM this user has no permissions", REDIS_ERROR_REFUSED},
    {"WRONGTYPE Operation against a key holding the wrong kind of value", REDIS_ERROR_FOREIGN},
    {"ERR value is not an integer or out of range script: ab, on @user_script:9.", REDIS_ERROR_FOREIGN},
    {"ERR unknown command 'NOSUCH'", REDIS_ERROR_REFUSED},
    /* Whole words only, and only the first. */
    {"LOADINGX not the word", REDIS_ERROR_REFUSED},
    {"loading in lower case", REDIS_ERROR_REFUSED},
    {"ERR LOADING comes second", REDIS_ERROR_REFUSED},
    {"LOADING", REDIS_ERROR_UNAVAILABLE},
    {"WRONGTYPE", REDIS_ERROR_FOREIGN},
    {" ", REDIS_ERROR_REFUSED},
    {"", REDIS_ERROR_REFUSED},
};

START_TEST(each_error_reply_has_its_class)
{
    ck_assert_msg(redis_error_class(slice_of(CASES[_i].text)) == CASES[_i].class, "%s", CASES[_i].text);
}
END_TEST

START_TEST(no_text_at_all_is_refused)
{
    ck_assert_int_eq(redis_error_class(SLICE_NONE), REDIS_ERROR_REFUSED);
}
END_TEST

START_TEST(nothing_behind_the_slice_is_read)
{
    ck_assert_int_eq(redis_error_class((struct slice){"LOADING", 4}), REDIS_ERROR_REFUSED);
    ck_assert_int_eq(redis_error_class((struct slice){"OOM", 3}), REDIS_ERROR_REFUSED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors");
    TCase *c = test_case(suite, "errors", 10);
    tcase_add_loop_test(c, each_error_reply_has_its_class, 0, sizeof CASES / sizeof CASES[0]);
    tcase_add_test(c, no_text_at_all_is_refused);
    tcase_add_test(c, nothing_behind_the_slice_is_read);
    return test_run(suite);
}
