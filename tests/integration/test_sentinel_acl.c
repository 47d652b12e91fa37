/* The user that config/redis/users.acl gives the Sentinels: it suffices to find the master, to learn of the
 * other Sentinels and to hear of a switch (complete), and without any one of its permissions something is
 * refused (minimal). */
#include "../support/redis_sentinels.h"
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

enum { RULES_MAX = 24, RULE_SIZE = 48 };

static struct redis_sentinels *rig;
static struct resp_client *admins[SENTINELS];
static struct daemon *d;
static struct http_client *h;

/* --- the rules --- */

/* The words behind "user phoenix on" of the line that begins so. */
static size_t read_rules(const char *begin, char rules[][RULE_SIZE])
{
    char path[TEST_PATH_MAX];
    char *text = file_read(repository_path(path, "config/redis/users.acl"), NULL), *rest = NULL;
    char *line = strstr(text, begin);
    size_t n = 0;
    ck_assert_ptr_nonnull(line);
    line += strlen(begin);
    line[strcspn(line, "\n")] = 0;
    for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (n == RULES_MAX) break;
        FORMAT(rules[n], "%s", word);
        n++;
    }
    free(text);
    ck_assert_uint_gt(n, 0);
    return n;
}

/* All of them but one. */
static void set_user(struct resp_client *r, char rules[][RULE_SIZE], size_t count, size_t without)
{
    const char *argv[RULES_MAX + 8] = {"ACL", "SETUSER", "phoenix", "reset", "on", ">secret"};
    size_t lens[RULES_MAX + 8], n = 6;
    for (size_t i = 0; i < count; i++)
        if (i != without) argv[n++] = rules[i];
    for (size_t i = 0; i < n; i++)
        lens[i] = strlen(argv[i]);
    const struct resp_value *v = resp_call_argv(r, n, argv, lens);
    ck_assert_msg(v && v->type == '+', "ACL SETUSER: %s", v ? v->text : "no answer");
}

/* How many refusals the Sentinel remembers. */
static size_t refusals(int sentinel)
{
    const struct resp_value *log = resp_call(admins[sentinel], "ACL", "LOG");
    ck_assert(log && log->type == '*');
    return log->count;
}

/* --- the rig: the test's own connections stay, all others need a user --- */

static char rules[RULES_MAX][RULE_SIZE];
static size_t rule_count;

static void open_rig(void)
{
    char url[160], secret[TEST_PATH_MAX], file[TEST_PATH_MAX + 64];
    rig = redis_sentinels_start(NULL);
    rule_count = read_rules("#   user phoenix on ", rules);
    for (int i = 0; i < SENTINELS; i++) {
        admins[i] = redis_server_client(redis_sentinels_sentinel(rig, i));
        set_user(admins[i], rules, rule_count, rule_count);
        ck_assert_str_eq(resp_text(admins[i], "ACL", "SETUSER", "default", "resetpass", ">other"), "OK");
        struct resp_client *r = redis_server_client(redis_sentinels_server(rig, i));
        ck_assert_str_eq(
            resp_text(r, "ACL", "SETUSER", "phoenix", "on", ">secret", "~phoenix:*", "&*", "+@all"), "OK");
        resp_close(&r);
    }
    scratch_write(scratch_path(secret, "password"), "secret\n");
    const char *env[] = {FORMAT(file, "PHOENIX_REDIS_PASSWORD_FILE=%s", secret), NULL};
    FORMAT(url, "redis-sentinel://phoenix@127.0.0.1:%d/mymaster",
           redis_server_port(redis_sentinels_sentinel(rig, 0)));
    d = daemon_start(&(struct daemon_options){.redis_url = url, .env = env});
    h = daemon_client(d);
}

static void close_rig(void)
{
    http_close(&h);
    daemon_stop(&d);
    for (int i = 0; i < SENTINELS; i++)
        resp_close(&admins[i]);
    redis_sentinels_stop(&rig);
}

/* Asking on one connection, listening on another. */
static bool is_followed(int sentinel)
{
    const char *list = resp_text(admins[sentinel], "CLIENT", "LIST");
    return strstr(list, "sub=2 ") && strstr(list, "cmd=sentinel|");
}

static double moves(void)
{
    return daemon_metric(d, "phoenix_redis_topology_changes_total");
}

START_TEST(the_user_of_the_file_may_do_all_that_is_needed)
{
    WAIT_FOR(moves() == 1, 10000);
    for (int i = 0; i < SENTINELS; i++) /* the URL names the first alone */
        WAIT_FOR(is_followed(i), 15000);
    ck_assert_str_eq(resp_text(admins[0], "SENTINEL", "FAILOVER", "mymaster"), "OK");
    WAIT_FOR(moves() == 2, 30000);
    for (int i = 0; i < SENTINELS; i++)
        ck_assert_uint_eq(refusals(i), 0);
}
END_TEST

START_TEST(each_of_its_permissions_is_needed)
{
    for (size_t i = 0; i < rule_count; i++) {
        if (strcmp(rules[i], "-@all") == 0) continue;
        WAIT_FOR(is_followed(0), 15000);
        ck_assert_uint_eq(refusals(0), 0);
        set_user(admins[0], rules, rule_count, i);
        (void)resp_integer(admins[0], "CLIENT", "KILL", "USER", "phoenix");
        WAIT_FOR(refusals(0) > 0, 15000);
        set_user(admins[0], rules, rule_count, rule_count);
        (void)resp_integer(admins[0], "CLIENT", "KILL", "USER", "phoenix");
        ck_assert_str_eq(resp_text(admins[0], "ACL", "LOG", "RESET"), "OK");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sentinel_acl");
    TCase *c = test_case(suite, "sentinel_acl", 120);
    tcase_add_checked_fixture(c, open_rig, close_rig);
    tcase_add_test(c, the_user_of_the_file_may_do_all_that_is_needed);
    tcase_add_test(c, each_of_its_permissions_is_needed);
    return test_run(suite);
}
