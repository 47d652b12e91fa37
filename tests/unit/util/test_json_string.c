/* Facts about strings in util/json. */
#include "util/json.h"

#include <check.h>

START_TEST(strings_are_decoded)
{
    static const struct {
        const char *raw;
        const char *text;
    } cases[] = {
        {"\"\"", ""},
        {"\"plain \xc3\xa4\"", "plain \xc3\xa4"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"a\\u0041b\\u00e4c\\u20aCd\"", "aAb\xc3\xa4"
                                          "c\xe2\x82\xac"
                                          "d"},
        {"\"\\uD83D\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\ud800\\udc00\\udbff\\udfff\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\"\\u0001\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
         "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
        {"\"\\\\u0000\"", "\\u0000"},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&out);
        ck_assert_msg(json_string_decode(slice_of(cases[i].raw), "n", &out, NULL) == STATUS_OK, "%s",
                      cases[i].raw);
        ck_assert_msg(slice_equal_text(buf_slice(&out), cases[i].text), "%s", cases[i].raw);
    }
    buf_deinit(&out);
}
END_TEST

START_TEST(strings_that_no_text_stands_for_are_refused_by_name)
{
    static const struct {
        const char *raw;
        const char *detail;
    } cases[] = {
        {"\"abc\\u0000\"", "member \"input\" must not hold \\u0000"},
        {"\"abc\\ud800\"", "member \"input\" must not hold a lone surrogate"},
        {"\"\\udc00\\ud800\"", "member \"input\" must not hold a lone surrogate"},
        {"\"\\ud83d\\ud83d\\ude00\"", "member \"input\" must not hold a lone surrogate"},
        {"\"\\ud83dx\\ude00\"", "member \"input\" must not hold a lone surrogate"},
        {"\"\\ud83d\\n\"", "member \"input\" must not hold a lone surrogate"},
    };
    struct buf out = {0};
    buf_append_text(&out, "before");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_error error;
        enum status status = json_string_decode(slice_of(cases[i].raw), "input", &out, &error);
        ck_assert_int_eq(status, STATUS_UNPROCESSABLE);
        ck_assert_str_eq(error.detail, cases[i].detail);
        ck_assert(slice_equal_text(buf_slice(&out), "before"));
    }
    buf_deinit(&out);
}
END_TEST

START_TEST(a_string_beyond_the_bound_is_told)
{
    struct buf out = {.max = 4};
    ck_assert_int_eq(json_string_decode(SLICE_LITERAL("\"abcde\""), "n", &out, NULL), STATUS_OVERLOADED);
    ck_assert_uint_eq(out.len, 0);
    buf_clear(&out);
    ck_assert_int_eq(json_string_decode(SLICE_LITERAL("\"ab\\u0063d\""), "n", &out, NULL), STATUS_OK);
    buf_deinit(&out);
}
END_TEST

START_TEST(a_string_without_escapes_needs_no_copy)
{
    struct slice raw = SLICE_LITERAL("\"plain\"");
    struct slice plain = json_string_plain(raw);
    ck_assert_ptr_eq(plain.ptr, raw.ptr + 1);
    ck_assert_uint_eq(plain.len, 5);
    plain = json_string_plain(SLICE_LITERAL("\"\""));
    ck_assert_ptr_nonnull(plain.ptr);
    ck_assert_uint_eq(plain.len, 0);
    ck_assert_ptr_null(json_string_plain(SLICE_LITERAL("\"a\\n\"")).ptr);
}
END_TEST

START_TEST(any_bytes_become_a_string)
{
    static const struct {
        struct slice text;
        const char *json;
    } cases[] = {
        {SLICE_NONE, "\"\""},
        {SLICE_LITERAL("a\xc3\xa4\xf0\x9f\x98\x80\x7f/"), "\"a\xc3\xa4\xf0\x9f\x98\x80\x7f/\""},
        {SLICE_LITERAL("\"\\\b\t\n\f\r"), "\"\\\"\\\\\\b\\t\\n\\f\\r\""},
        {SLICE_LITERAL("\0\x01\x1f"), "\"\\u0000\\u0001\\u001f\""},
        {SLICE_LITERAL("\xff"), "\"\xef\xbf\xbd\""},
        {SLICE_LITERAL("long enough\xc3"), "\"long enough\xef\xbf\xbd\""},
        {SLICE_LITERAL("\xed\xa0\x80z"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\""},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&out);
        json_append_string(&out, cases[i].text);
        ck_assert_msg(slice_equal_text(buf_slice(&out), cases[i].json), "case %zu", i);
    }
    buf_deinit(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_string");
    TCase *tests = tcase_create("json_string");
    tcase_add_test(tests, strings_are_decoded);
    tcase_add_test(tests, strings_that_no_text_stands_for_are_refused_by_name);
    tcase_add_test(tests, a_string_beyond_the_bound_is_told);
    tcase_add_test(tests, a_string_without_escapes_needs_no_copy);
    tcase_add_test(tests, any_bytes_become_a_string);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
