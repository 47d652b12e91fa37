/* Facts about json_canonical. */
#include "util/json.h"

#include <check.h>
#include <time.h>

START_TEST(objects_have_one_canonical_form)
{
    static const struct {
        const char *text;
        const char *canonical;
    } cases[] = {
        {"{}", "{}"},
        {"{ }", "{}"},
        {"{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
        {"{ \"b\" : [ 3 , { \"z\" : null , \"y\" : true } , [ ] ] ,\n\"a\" : { } }",
         "{\"a\":{},\"b\":[3,{\"y\":true,\"z\":null},[]]}"},
        /* a prefix comes first, the empty name before all */
        {"{\"ab\":1,\"a\":2,\"\":3,\"aa\":4}", "{\"\":3,\"a\":2,\"aa\":4,\"ab\":1}"},
        /* RFC 8785, 3.2.3, but in the order of UTF-8 bytes: U+FB33 before U+1F600 */
        {"{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
         "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,\"\xef\xac\xb3\":3,"
         "\"\xf0\x9f\x98\x80\":5}"},
        /* RFC 8785, 3.2.2 */
        {"{\"s\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"}",
         "{\"s\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"},
        {"{\"a\":\"\\u007f\\b\\f\\u001F\"}", "{\"a\":\"\x7f\\b\\f\\u001f\"}"},
        /* numbers as written */
        {"{\"n\":[1.0,1e0,1E+00,-0,0.10,100000000000000000000000000]}",
         "{\"n\":[1.0,1e0,1E+00,-0,0.10,100000000000000000000000000]}"},
        /* names that sort by what they stand for */
        {"{\"b\":1,\"\\u0061\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"a\\u0062c\":1,\"ab\":2}", "{\"ab\":2,\"abc\":1}"},
    };
    struct buf out = {0};
    struct buf again = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&out);
        buf_clear(&again);
        ck_assert_int_eq(json_validate(slice_of(cases[i].text), NULL, NULL), STATUS_OK);
        ck_assert_msg(json_canonical(slice_of(cases[i].text), &out, NULL) == STATUS_OK, "%s", cases[i].text);
        ck_assert_msg(slice_equal_text(buf_slice(&out), cases[i].canonical), "%s gives %.*s", cases[i].text,
                      (int)out.len, out.ptr);
        ck_assert_int_eq(json_canonical(buf_slice(&out), &again, NULL), STATUS_OK);
        ck_assert(slice_equal(buf_slice(&out), buf_slice(&again)));
    }
    buf_deinit(&out);
    buf_deinit(&again);
}
END_TEST

START_TEST(what_has_no_canonical_form_is_refused)
{
    static const struct {
        const char *text;
        const char *detail;
    } cases[] = {
        {"{\"a\":1,\"a\":1}", "member \"a\" appears twice"},
        {"{\"a\":1,\"b\":1,\"a\":1}", "member \"a\" appears twice"},
        {"{\"x\":[[{\"a\":1,\"\\u0061\":1}]]}", "member \"\\u0061\" appears twice"},
        {"{\"x\":\"\\u0000\"}", "a string or name in the object holds \\u0000"},
        {"{\"\\u0000\":1}", "a string or name in the object holds \\u0000"},
        {"{\"x\":[\"\\ud800\"]}", "a string or name in the object holds a lone surrogate"},
        {"{\"x\":{\"\\udc00\":1}}", "a string or name in the object holds a lone surrogate"},
    };
    struct buf out = {0};
    buf_append_text(&out, "before");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_error error;
        ck_assert_int_eq(json_canonical(slice_of(cases[i].text), &out, &error), STATUS_UNPROCESSABLE);
        ck_assert_msg(strstr(cases[i].detail, "twice") == NULL
                          ? strcmp(error.detail, cases[i].detail) == 0
                          : strstr(error.detail, "appears twice") != NULL,
                      "%s: %s", cases[i].text, error.detail);
        ck_assert(slice_equal_text(buf_slice(&out), "before"));
    }
    buf_deinit(&out);
}
END_TEST

START_TEST(a_bound_is_told)
{
    struct buf out = {.max = 5};
    ck_assert_int_eq(json_canonical(SLICE_LITERAL("{\"a\":1}"), &out, NULL), STATUS_OVERLOADED);
    ck_assert_uint_eq(out.len, 0);
    buf_deinit(&out);
}
END_TEST

/* {"b":{"b":…{"big":[0,0,…]}…,"a":1},"a":1}: every level has its members out of order and a large one. */
static void nested_large(struct buf *text, int depth, size_t size)
{
    buf_clear(text);
    for (int i = 0; i < depth; i++)
        buf_append_text(text, "{\"b\":");
    buf_append_char(text, '[');
    while (text->len < size)
        buf_append_text(text, "0,0,0,0,0,0,0,0,");
    buf_append_text(text, "0]");
    for (int i = 0; i < depth; i++)
        buf_append_text(text, ",\"a\":1}");
}

START_TEST(containers_that_are_skipped_to_their_end_keep_their_content)
{
    struct buf text = {0};
    struct buf out = {0};
    for (size_t size = 200; size < 900; size += 50) {
        nested_large(&text, 3, size);
        buf_clear(&out);
        ck_assert_int_eq(json_canonical(buf_slice(&text), &out, NULL), STATUS_OK);
        ck_assert_uint_eq(out.len, text.len);
        ck_assert_mem_eq(out.ptr, "{\"a\":1,\"b\":{\"a\":1,\"b\":{\"a\":1,\"b\":[0,0", 37);
        ck_assert_mem_eq(out.ptr + out.len - 6, ",0]}}}", 6);
        ck_assert_int_eq(json_validate(buf_slice(&out), NULL, NULL), STATUS_OK);
    }
    buf_deinit(&text);
    buf_deinit(&out);
}
END_TEST

START_TEST(depth_does_not_multiply_the_time)
{
    struct buf text = {0};
    struct buf out = {0};
    nested_large(&text, 127, 8 << 20);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_OK);
    clock_t start = clock();
    ck_assert_int_eq(json_canonical(buf_slice(&text), &out, NULL), STATUS_OK);
    /* Sanitizers included; reading the array at each level would take many times as long. */
    ck_assert_double_lt((double)(clock() - start) / CLOCKS_PER_SEC, 2.0);
    buf_deinit(&text);
    buf_deinit(&out);
}
END_TEST

START_TEST(many_members_are_sorted)
{
    struct buf text = {0};
    struct buf out = {0};
    buf_append_char(&text, '{');
    for (int i = 9999; i > 1000; i--)
        buf_printf(&text, "\"%d\":{\"b\":%d,\"a\":0},", i, i);
    buf_append_text(&text, "\"1000\":0}");
    ck_assert_int_eq(json_canonical(buf_slice(&text), &out, NULL), STATUS_OK);
    ck_assert_mem_eq(out.ptr, "{\"1000\":0,\"1001\":{\"a\":0,\"b\":1001},\"1002\"", 38);
    ck_assert_mem_eq(out.ptr + out.len - 25, ",\"9999\":{\"a\":0,\"b\":9999}}", 25);
    ck_assert_uint_eq(out.len, text.len);
    buf_deinit(&text);
    buf_deinit(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_canonical");
    TCase *tests = tcase_create("json_canonical");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, objects_have_one_canonical_form);
    tcase_add_test(tests, what_has_no_canonical_form_is_refused);
    tcase_add_test(tests, a_bound_is_told);
    tcase_add_test(tests, containers_that_are_skipped_to_their_end_keep_their_content);
    tcase_add_test(tests, depth_does_not_multiply_the_time);
    tcase_add_test(tests, many_members_are_sorted);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
