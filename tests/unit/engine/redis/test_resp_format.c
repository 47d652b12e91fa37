/* test_resp_format: commands as they leave. */
#include "../../../support/support.h"
#include "engine/redis/conn.h"
#include "engine/redis/script.h"

#include <string.h>

static void expect_bytes(const struct redis_command *command, bool with_source, const char *bytes, size_t len)
{
    struct buf out = {0};
    resp_append_command(&out, command, with_source);
    ck_assert(!out.failed);
    ck_assert_uint_eq(out.len, len);
    ck_assert(memcmp(out.ptr, bytes, len) == 0);
    buf_deinit(&out);
}
#define EXPECT_BYTES(command, with_source, text)                                                             \
    expect_bytes((command), (with_source), (text), sizeof(text) - 1)

START_TEST(a_command_is_an_array_of_bulk_strings)
{
    EXPECT_BYTES((&(struct redis_command){.argc = 1, .argv = {SLICE_LITERAL("PING")}}), false,
                 "*1\r\n$4\r\nPING\r\n");
    EXPECT_BYTES((&(struct redis_command){
                     .argc = 3, .argv = {SLICE_LITERAL("SET"), SLICE_LITERAL("k"), SLICE_LITERAL("v")}}),
                 false, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
}
END_TEST

START_TEST(arguments_are_any_bytes_also_none)
{
    EXPECT_BYTES((&(struct redis_command){
                     .argc = 3, .argv = {SLICE_LITERAL("SET"), {"a\r\n\0$", 5}, SLICE_LITERAL("")}}),
                 false, "*3\r\n$3\r\nSET\r\n$5\r\na\r\n\0$\r\n$0\r\n\r\n");
}
END_TEST

START_TEST(a_script_goes_by_its_sha_then_with_its_source)
{
    static const struct redis_script script = {.source = {"return 1", 8}, .sha = "0123"};
    const struct redis_command command = {
        .script = &script, .argc = 2, .argv = {SLICE_LITERAL("1"), SLICE_LITERAL("key")}};
    EXPECT_BYTES(&command, false, "*4\r\n$7\r\nEVALSHA\r\n$4\r\n0123\r\n$1\r\n1\r\n$3\r\nkey\r\n");
    EXPECT_BYTES(&command, true, "*4\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n");
}
END_TEST

START_TEST(keys_given_apart_go_with_their_number_before_the_arguments)
{
    static const struct redis_script script = {.source = {"return 1", 8}, .sha = "0123"};
    const struct slice keys[2] = {SLICE_LITERAL("k1"), SLICE_LITERAL("k2")};
    const struct redis_command command = {
        .script = &script, .keys = keys, .keys_count = 2, .argc = 1, .argv = {SLICE_LITERAL("a")}};
    EXPECT_BYTES(&command, false,
                 "*6\r\n$7\r\nEVALSHA\r\n$4\r\n0123\r\n$1\r\n2\r\n$2\r\nk1\r\n$2\r\nk2\r\n$1\r\na\r\n");
}
END_TEST

START_TEST(commands_append)
{
    struct buf out = {0};
    const struct redis_command ping = {.argc = 1, .argv = {SLICE_LITERAL("PING")}};
    for (int i = 0; i < 3; i++)
        resp_append_command(&out, &ping, false);
    ck_assert_uint_eq(out.len, 42);
    buf_deinit(&out);
}
END_TEST

START_TEST(the_scripts_are_there_and_named_by_their_sha)
{
    ck_assert(redis_scripts_init());
    for (int i = 0; i < REDIS_SCRIPT_COUNT; i++) {
        const struct redis_script *s = redis_script((enum redis_script_id)i);
        ck_assert_uint_gt(s->source.len, 0);
        ck_assert_uint_eq(strlen(s->sha), 40);
        ck_assert_uint_eq(strspn(s->sha, "0123456789abcdef"), 40);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resp_format");
    TCase *c = test_case(suite, "resp", 10);
    tcase_add_test(c, a_command_is_an_array_of_bulk_strings);
    tcase_add_test(c, arguments_are_any_bytes_also_none);
    tcase_add_test(c, a_script_goes_by_its_sha_then_with_its_source);
    tcase_add_test(c, keys_given_apart_go_with_their_number_before_the_arguments);
    tcase_add_test(c, commands_append);
    tcase_add_test(c, the_scripts_are_there_and_named_by_their_sha);
    return test_run(suite);
}
