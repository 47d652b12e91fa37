/* test_node: the password and where it comes from, the condemned connections, the clock. */
#include "topology_fixture.h"

#include "engine/redis/node_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct redis_url url;
static struct redis_topology *topology;
static struct redis_node *node; /* its only one */
static char error[256];

static bool open_with(const char *text, const char *password_file)
{
    char why[200];
    ck_assert_msg(redis_url_parse("redis.url", text, &url, why, sizeof why), "%s", why);
    struct redis_topology_options options = topology_options(&url, &clock_system, 250);
    options.password_file = password_file;
    topology = redis_topology_create(&options, error, sizeof error);
    node = topology ? topology_only(topology) : NULL;
    return topology != NULL;
}

static void close_node(void)
{
    redis_topology_destroy(&topology);
    ck_assert_ptr_null(topology);
    redis_topology_destroy(&topology);
    redis_url_deinit(&url);
}

static struct redis_secret *secret(void)
{
    return redis_topology_secret(topology);
}

static const char *password(void)
{
    static char text[REDIS_PASSWORD_SIZE];
    redis_secret_copy(secret(), text);
    return text;
}

START_TEST(it_is_named_after_its_place)
{
    ck_assert(open_with("redis://u:p@h:7", ""));
    ck_assert_str_eq(redis_node_name(node), "h:7");
    close_node();
    ck_assert(open_with("unix:///run/r.sock", ""));
    ck_assert_str_eq(redis_node_name(node), "/run/r.sock");
}
END_TEST

START_TEST(the_password_is_the_urls)
{
    ck_assert(open_with("redis://h", ""));
    ck_assert_str_eq(password(), "");
    close_node();
    ck_assert(open_with("redis://:p%20w@h", ""));
    ck_assert_str_eq(password(), "p w");
}
END_TEST

START_TEST(a_password_file_wins_and_loses_its_line_ends)
{
    char path[TEST_PATH_MAX];
    scratch_write(scratch_path(path, "password"), " from file \r\n\n");
    ck_assert(open_with("redis://:url@h", path));
    ck_assert_str_eq(password(), " from file ");
}
END_TEST

START_TEST(an_unusable_password_file_stops_the_start_and_is_named)
{
    char path[TEST_PATH_MAX], large[1100];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    scratch_path(path, "password");
    const char *const TEXTS[] = {NULL, "", "\n", large};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        if (TEXTS[i]) scratch_write(path, TEXTS[i]);
        ck_assert(!open_with("redis://:url@h", path));
        ck_assert_msg(strstr(error, path) != NULL, "%s", error);
        redis_url_deinit(&url);
    }
}
END_TEST

START_TEST(the_longest_password_that_fits_a_file_is_taken)
{
    char path[TEST_PATH_MAX], large[1024];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    scratch_write(scratch_path(path, "password"), large);
    bool opened = open_with("redis://h", path);
    ck_assert_msg(opened, "%s", error);
    ck_assert_uint_eq(strlen(password()), 1023);
}
END_TEST

START_TEST(reloading_reads_the_file_again_and_forgets_a_refusal)
{
    char path[TEST_PATH_MAX];
    scratch_write(scratch_path(path, "password"), "old\n");
    ck_assert(open_with("redis://h", path));
    ck_assert(!redis_secret_refused(secret()));
    redis_secret_note_refused(secret());
    ck_assert(redis_secret_refused(secret()));
    scratch_write(path, "new\n");
    ck_assert_str_eq(password(), "old");
    ck_assert(redis_secret_reload(secret(), error, sizeof error));
    ck_assert_str_eq(password(), "new");
    ck_assert(!redis_secret_refused(secret()));
}
END_TEST

START_TEST(a_reload_that_fails_keeps_the_old_password)
{
    char path[TEST_PATH_MAX];
    scratch_write(scratch_path(path, "password"), "old\n");
    ck_assert(open_with("redis://h", path));
    ck_assert_int_eq(unlink(path), 0);
    redis_secret_note_refused(secret());
    ck_assert(!redis_secret_reload(secret(), error, sizeof error));
    ck_assert_str_eq(password(), "old");
    ck_assert(redis_secret_refused(secret()));
}
END_TEST

static int64_t now_of_test;

static int64_t mono_us(void *arg)
{
    (void)arg;
    return now_of_test * 1000;
}

static const char *refuses(void)
{
    static char word[REDIS_REFUSAL_SIZE];
    return redis_node_refuses(node, word) ? word : "no";
}

START_TEST(what_is_refused_is_worth_a_line_at_times_however_it_alternates)
{
    char why[200];
    const struct clock clock = {mono_us, mono_us, NULL};
    ck_assert(redis_url_parse("redis.url", "redis://h", &url, why, sizeof why));
    struct redis_topology_options options = topology_options(&url, &clock, 250);
    ck_assert_ptr_nonnull(topology = redis_topology_create(&options, error, sizeof error));
    node = topology_only(topology);
    now_of_test = 1000000;
    ck_assert_str_eq(refuses(), "no");
    ck_assert(redis_node_note_refusal(node, "OOM command not allowed"));
    ck_assert(!redis_node_note_refusal(node, "OOM another"));
    ck_assert(!redis_node_note_refusal(node, "MISCONF disk"));
    ck_assert_str_eq(refuses(), "OOM");
    now_of_test += 100;
    ck_assert(redis_node_note_refusal(node, "MISCONF disk"));
    ck_assert(!redis_node_note_refusal(node, "OOM command not allowed"));
    ck_assert_str_eq(refuses(), "MISCONF");
    now_of_test += 5000;
    ck_assert_str_eq(refuses(), "no");
    ck_assert(!redis_node_note_refusal(node, "MISCONF disk"));
    now_of_test += 5000;
    ck_assert(redis_node_note_refusal(node, "MISCONF disk"));
}
END_TEST

START_TEST(its_clock_is_ours_plus_the_offset)
{
    ck_assert(open_with("redis://h", ""));
    int64_t before = wall_ms();
    ck_assert_int_ge(redis_node_wall_ms(node), before);
    ck_assert_int_le(redis_node_wall_ms(node), before + test_ms(2000));
    redis_node_set_offset(node, -3600000);
    ck_assert_int_ge(redis_node_wall_ms(node), before - 3600000);
    ck_assert_int_lt(redis_node_wall_ms(node), before);
}
END_TEST

/* --- condemned --- */

static void condemn(int64_t id, const char *run_id)
{
    struct condemned c = {.client_id = id};
    FORMAT(c.run_id, "%s", run_id);
    redis_node_condemn(node, &c);
}

START_TEST(the_condemned_are_handed_out_in_batches_until_absolved)
{
    struct condemned out[CONDEMNED_BATCH];
    ck_assert(open_with("redis://h", ""));
    ck_assert(redis_node_quiet(node));
    for (int i = 0; i < CONDEMNED_BATCH + 1; i++)
        condemn(i + 1, "run");
    ck_assert(!redis_node_quiet(node));
    ck_assert_uint_eq(redis_node_condemned(node, "run", out), CONDEMNED_BATCH);
    ck_assert_int_eq(out[0].client_id, 1);
    ck_assert_uint_eq(redis_node_condemned(node, "run", out), CONDEMNED_BATCH); /* looking absolves none */
    redis_node_absolve(node, out, CONDEMNED_BATCH);
    ck_assert(!redis_node_quiet(node));
    redis_node_absolve(node, out, CONDEMNED_BATCH); /* twice: another connection did it too */
    ck_assert_uint_eq(redis_node_condemned(node, "run", out), 1);
    ck_assert_int_eq(out[0].client_id, CONDEMNED_BATCH + 1);
    redis_node_absolve(node, out, 1);
    ck_assert(redis_node_quiet(node));
}
END_TEST

START_TEST(those_of_another_server_process_died_with_it)
{
    struct condemned out[CONDEMNED_BATCH];
    ck_assert(open_with("redis://h", ""));
    condemn(1, "old");
    condemn(2, "new");
    condemn(3, "old");
    ck_assert_uint_eq(redis_node_condemned(node, "new", out), 1);
    ck_assert_int_eq(out[0].client_id, 2);
    redis_node_absolve(node, out, 1);
    ck_assert(redis_node_quiet(node));
}
END_TEST

START_TEST(an_id_is_absolved_in_its_own_process_only)
{
    struct condemned other = {.client_id = 7, .run_id = "other"};
    ck_assert(open_with("redis://h", ""));
    condemn(7, "run");
    redis_node_absolve(node, &other, 1);
    ck_assert(!redis_node_quiet(node));
}
END_TEST

START_TEST(over_the_bound_the_oldest_is_forgotten)
{
    struct condemned out[CONDEMNED_BATCH];
    size_t left = 0;
    ck_assert(open_with("redis://h", ""));
    for (int i = 0; i < CONDEMNED_MAX + 2; i++)
        condemn(i, "run");
    size_t n = redis_node_condemned(node, "run", out);
    ck_assert_int_eq(out[0].client_id, 2);
    for (; n; n = redis_node_condemned(node, "run", out)) {
        redis_node_absolve(node, out, n);
        left += n;
    }
    ck_assert_uint_eq(left, CONDEMNED_MAX);
    ck_assert(redis_node_quiet(node));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node");
    TCase *c = test_case(suite, "node", 10);
    tcase_add_checked_fixture(c, NULL, close_node);
    tcase_add_test(c, it_is_named_after_its_place);
    tcase_add_test(c, the_password_is_the_urls);
    tcase_add_test(c, a_password_file_wins_and_loses_its_line_ends);
    tcase_add_test(c, an_unusable_password_file_stops_the_start_and_is_named);
    tcase_add_test(c, the_longest_password_that_fits_a_file_is_taken);
    tcase_add_test(c, reloading_reads_the_file_again_and_forgets_a_refusal);
    tcase_add_test(c, a_reload_that_fails_keeps_the_old_password);
    tcase_add_test(c, what_is_refused_is_worth_a_line_at_times_however_it_alternates);
    tcase_add_test(c, its_clock_is_ours_plus_the_offset);
    tcase_add_test(c, the_condemned_are_handed_out_in_batches_until_absolved);
    tcase_add_test(c, those_of_another_server_process_died_with_it);
    tcase_add_test(c, an_id_is_absolved_in_its_own_process_only);
    tcase_add_test(c, over_the_bound_the_oldest_is_forgotten);
    return test_run(suite);
}
