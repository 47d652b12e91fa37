/* test_denial: what Redis 7.0 and 8 say where an ACL refuses, and what is told of it. */
#include "../../../support/support.h"
#include "engine/redis/denial.h"

#include <string.h>

static const char SOURCE[] =
    "local a = redis.pcall('STRLEN', KEYS[1])\n\nif a then\n    call('ZADD', KEYS[1], 0, a)\nend\n";
static const struct redis_script SCRIPT = {.source = {SOURCE, sizeof SOURCE - 1}, .sha = ""};

static const struct {
    const char *text;
    bool in_script;
    const char *told; /* NULL: not a denial */
} CASES[] = {
    {"NOPERM this user has no permissions to run the 'client|id' command", false, "run 'client|id'"},
    {"NOPERM User p has no permissions to run the 'subscribe' command", false, "run 'subscribe'"},
    {"NOPERM this user has no permissions to access one of the keys used as arguments", false,
     "touch this key"},
    {"NOPERM No permissions to access a key", false, "touch this key"},
    {"NOPERM this user has no permissions to access one of the channels used as arguments", false,
     "use this channel"},
    {"NOPERM No permissions to access a channel", false, "use this channel"},
    {"ERR The user executing the script can't run this command or subcommand script: e0c8, on "
     "@user_script:4.",
     true, "run 'ZADD'"},
    {"ERR The user executing the script can't run this command or subcommand", true, "run 'STRLEN'"},
    {"ERR The user executing the script can't run this command or subcommand script: e0, on @user_script:99.",
     true, "run a command"},
    {"ERR The user executing the script can't run this command or subcommand", false, "run a command"},
    {"ERR The user executing the script can't access at least one of the keys mentioned in the command "
     "arguments "
     "script: 51c1, on @user_script:4.",
     true, "touch this key with 'ZADD'"},
    {"ERR ACL failure in script: User p has no permissions to run the 'zadd' command script: e0, on "
     "@user_script:1.",
     true, "run 'zadd'"},
    {"ERR ACL failure in script: User p has no permissions to run the 'llen' command", true, "run 'llen'"},
    {"ERR ACL failure in script: No permissions to access a key script: 51c, on @user_script:4.", true,
     "touch this key with 'ZADD'"},
    {"NOPERM ", false, "run a command"},
    {"NOPERM run the 'never ends", false, "run a command"},
    {"NOPERMX no", false, NULL},
    {"ERR unknown command 'zadd'", true, NULL},
    {"WRONGTYPE Operation against a key holding the wrong kind of value", true, NULL},
    {"", false, NULL},
};

START_TEST(a_denial_names_the_command)
{
    char told[96] = "", expected[96];
    bool denied =
        redis_denial(slice_of(CASES[_i].text), CASES[_i].in_script ? &SCRIPT : NULL, told, sizeof told);
    ck_assert_int_eq(denied, CASES[_i].told != NULL);
    if (denied) ck_assert_str_eq(told, FORMAT(expected, "NOPERM this user may not %s", CASES[_i].told));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("denial");
    TCase *c = test_case(suite, "denial", 10);
    tcase_add_loop_test(c, a_denial_names_the_command, 0, sizeof CASES / sizeof CASES[0]);
    return test_run(suite);
}
