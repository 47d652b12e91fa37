/* test_cache_value: the JSON under phoenix:cache:{hash}, written and looked at. */
#include "../../support/support.h"
#include "state/cache_value.h"

#include <string.h>

static const int64_t STAMP_MS = INT64_C(1700000000123);

START_TEST(it_is_written_in_the_order_that_others_write_it)
{
    struct buf out = {0};
    cache_value_write(&out, SLICE_LITERAL("{\"a\": 1.0}"), SLICE_LITERAL("{\"model\":\"m\", \"x\":[ ]}"),
                      STAMP_MS, 3600);
    ck_assert(slice_equal_text(buf_slice(&out),
                               "{\"response\":{\"a\": 1.0},\"timestamp\":\"2023-11-14T22:13:20.123Z\","
                               "\"ttl\":3600,\"metadata\":{\"model\":\"m\", \"x\":[ ]}}"));
    buf_deinit(&out);
}
END_TEST

START_TEST(without_metadata_it_has_the_default_one)
{
    struct buf out = {0};
    cache_value_write(&out, SLICE_LITERAL("null"), SLICE_NONE, STAMP_MS, 1);
    ck_assert(slice_equal_text(buf_slice(&out),
                               "{\"response\":null,\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"ttl\":1,"
                               "\"metadata\":{\"model\":\"\",\"tokens\":0,\"provider\":\"\"}}"));
    buf_deinit(&out);
}
END_TEST

START_TEST(what_is_written_is_read_back)
{
    struct buf out = {0};
    int64_t stamp = -1;
    cache_value_write(&out, SLICE_LITERAL("\"\\ud83d\\ude00\""), SLICE_NONE, STAMP_MS, 31536000);
    ck_assert(cache_value_inspect(buf_slice(&out), &stamp));
    ck_assert_int_eq(stamp, STAMP_MS);
    ck_assert_uint_le(out.len, CACHE_VALUE_OVERHEAD_MAX);
    buf_deinit(&out);
}
END_TEST

static const struct {
    const char *value;
    bool json;
    int64_t stamp_ms;
} CASES[] = {
    {"{}", true, 0},
    {"[1,2]", true, 0},
    {"\"text\"", true, 0},
    {" 7 ", true, 0},
    {"null", true, 0},
    {"{\"timestamp\":\"2023-11-14T23:13:20+01:00\"}", true, INT64_C(1700000000000)},
    {"{\"timestamp\":\"2023-11-14T22:13:20.999999999Z\"}", true, INT64_C(1700000000999)},
    {"{\"timestamp\":1700000000}", true, 0},
    {"{\"timestamp\":null}", true, 0},
    {"{\"timestamp\":\"yesterday\"}", true, 0},
    {"{\"timestamp\":\"2023-11-14\"}", true, 0},
    {"{\"a\":{\"timestamp\":\"2023-11-14T22:13:20Z\"}}", true, 0},
    {"{\"timestamp\":\"2023-11-14T22:13:20Z\",\"timestamp\":\"2024-11-14T22:13:20Z\"}", true, 0},
    {"{\"a\":1,\"a\":2}", true, 0},
    {"", false, 0},
    {" ", false, 0},
    {"{", false, 0},
    {"{\"a\":1}x", false, 0},
    {"{\"a\":\"\xff\"}", false, 0},
    {"not json", false, 0},
};

START_TEST(any_json_is_a_value_and_only_a_true_timestamp_counts)
{
    int64_t stamp = -1;
    ck_assert_msg(cache_value_inspect(slice_of(CASES[_i].value), &stamp) == CASES[_i].json, "%s",
                  CASES[_i].value);
    if (CASES[_i].json)
        ck_assert_msg(stamp == CASES[_i].stamp_ms, "%s: %lld", CASES[_i].value, (long long)stamp);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_value");
    TCase *c = test_case(suite, "value", 10);
    tcase_add_test(c, it_is_written_in_the_order_that_others_write_it);
    tcase_add_test(c, without_metadata_it_has_the_default_one);
    tcase_add_test(c, what_is_written_is_read_back);
    tcase_add_loop_test(c, any_json_is_a_value_and_only_a_true_timestamp_counts, 0,
                        sizeof CASES / sizeof CASES[0]);
    return test_run(suite);
}
