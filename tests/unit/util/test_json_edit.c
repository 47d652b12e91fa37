/* test_json_edit: changes on raw text. What is not named is compared byte for byte. */
#include "../../support/support.h"
#include "util/json_edit.h"

#include <stdlib.h>
#include <string.h>

static struct buf out;
static struct json_error error;

static void clear(void)
{
    buf_deinit(&out);
    out.max = 0;
    error.detail[0] = 0;
}

static void expect_out(const char *expected)
{
    ck_assert_msg(slice_equal_text(buf_slice(&out), expected), "%.*s instead of %s", (int)out.len, out.ptr,
                  expected);
    ck_assert_int_eq(json_validate(buf_slice(&out), NULL, &error), STATUS_OK);
}

/* --- walking --- */

START_TEST(members_are_walked_in_order_with_their_bytes)
{
    struct slice rest =
        SLICE_LITERAL(" {\"a\" : 1.0 ,\"b}\\\"\":{\"x\":[\"}\",2]}\n,\t\"\\u0063\" :null,\"\":\"\" } ");
    static const char *const expected[][2] = {
        {"\"a\"", "1.0"}, {"\"b}\\\"\"", "{\"x\":[\"}\",2]}"}, {"\"\\u0063\"", "null"}, {"\"\"", "\"\""}};
    struct slice name, value;
    for (size_t i = 0; i < 4; i++) {
        ck_assert(json_member_next(&rest, &name, &value));
        ck_assert(slice_equal_text(name, expected[i][0]));
        ck_assert(slice_equal_text(value, expected[i][1]));
    }
    ck_assert(!json_member_next(&rest, &name, &value));
    ck_assert(!json_member_next(&rest, &name, &value));
}
END_TEST

START_TEST(empty_containers_have_nothing_to_walk)
{
    static const char *const texts[] = {"{}", " { } ", "[]", " [\n] "};
    struct slice name, value;
    for (size_t i = 0; i < 4; i++) {
        struct slice rest = slice_of(texts[i]);
        ck_assert(i < 2 ? !json_member_next(&rest, &name, &value) : !json_element_next(&rest, &value));
    }
    struct slice none = SLICE_NONE;
    ck_assert(!json_member_next(&none, &name, &value));
    ck_assert(!json_element_next(&none, &value));
}
END_TEST

START_TEST(elements_are_walked_in_order_with_their_bytes)
{
    struct slice rest = SLICE_LITERAL(" [ 1e400 ,[[],{}] , \"],\", {\"a\":[1,2]},true]");
    static const char *const expected[] = {"1e400", "[[],{}]", "\"],\"", "{\"a\":[1,2]}", "true"};
    struct slice value;
    for (size_t i = 0; i < 5; i++) {
        ck_assert(json_element_next(&rest, &value));
        ck_assert(slice_equal_text(value, expected[i]));
    }
    ck_assert(!json_element_next(&rest, &value));
}
END_TEST

START_TEST(a_member_is_found_by_its_decoded_name_and_the_first_one_counts)
{
    struct slice object = SLICE_LITERAL("{\"x\":{\"a\":0},\"\\u0061\":1,\"a\":2,\"ab\":3,\"a\\u0000\":4}");
    ck_assert(slice_equal_text(json_member(object, "a"), "1"));
    ck_assert(slice_equal_text(json_member(object, "ab"), "3"));
    ck_assert_ptr_null(json_member(object, "b").ptr);
    ck_assert_ptr_null(json_member(SLICE_LITERAL("{}"), "b").ptr);
}
END_TEST

/* --- editing --- */

static const struct {
    const char *object;
    struct json_edit edits[3];
    size_t count;
    const char *expected;
} EDITS[] = {
    {"{}", {{"a", {"1", 1}}}, 1, "{\"a\":1}"},
    {"{ }", {{"a", {"1", 1}}}, 1, "{\"a\":1}"},
    {"{}", {{"a", {NULL, 0}}}, 1, "{}"},
    {"{\"a\":1}", {{"a", {NULL, 0}}}, 1, "{}"},
    {"{\"a\":1}", {{"a", {"[2, 3]", 6}}}, 1, "{\"a\":[2, 3]}"},
    {" { \"a\" : 1.0 , \"b\" : 1e400 } \n", {{"a", {"2", 1}}}, 1, " { \"a\" : 2 , \"b\" : 1e400 } \n"},
    {"{\"a\": 1, \"b\": 2, \"c\": 3}", {{"b", {NULL, 0}}}, 1, "{\"a\": 1, \"c\": 3}"},
    {"{\"a\": 1, \"b\": 2, \"c\": 3}", {{"c", {NULL, 0}}}, 1, "{\"a\": 1, \"b\": 2}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {{"a", {NULL, 0}}}, 1, "{\"b\":2,\"c\":3}"},
    {"{\"c\":3}", {{"a", {"1", 1}}, {"c", {NULL, 0}}, {"b", {"2", 1}}}, 3, "{\"a\":1,\"b\":2}"},
    {"{\"\\u0061\":\"\\u00e4\\/\"}", {{"b", {"0", 1}}}, 1, "{\"\\u0061\":\"\\u00e4\\/\",\"b\":0}"},
    {"{\"\\u0061\":1}", {{"a", {"2", 1}}}, 1, "{\"\\u0061\":2}"},
    {"{\"a\":1,\"x\":0,\"a\":2,\"x\":1}", {{"a", {"3", 1}}}, 1, "{\"a\":3,\"x\":0,\"x\":1}"},
    {"{\"a\":1,\"x\":0,\"a\":2}", {{"a", {NULL, 0}}}, 1, "{\"x\":0}"},
    {"{\"x\":{\"a\":1}}", {{"a", {"2", 1}}}, 1, "{\"x\":{\"a\":1},\"a\":2}"},
};

START_TEST(an_edit_keeps_the_bytes_and_places_of_what_it_does_not_name)
{
    clear();
    ck_assert_int_eq(json_object_edit(slice_of(EDITS[_i].object), EDITS[_i].edits, EDITS[_i].count, &out),
                     STATUS_OK);
    expect_out(EDITS[_i].expected);
    clear();
}
END_TEST

START_TEST(an_edit_that_does_not_fit_appends_nothing)
{
    clear();
    out.max = 8;
    buf_append_text(&out, "abc");
    struct json_edit edit = {"name", SLICE_LITERAL("1")};
    ck_assert_int_eq(json_object_edit(SLICE_LITERAL("{\"a\":1}"), &edit, 1, &out), STATUS_OVERLOADED);
    ck_assert_uint_eq(out.len, 3);
    clear();
}
END_TEST

/* --- merging: RFC 7396, appendix A --- */

static const struct {
    const char *target, *patch, *result;
} RFC_CASES[] = {
    {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
    {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
    {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
    {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
    {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
    {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
    {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
    {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
    {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
    {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
    {"{\"a\":\"foo\"}", "null", NULL},
    {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
    {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
    {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
    {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
};

static enum status merge(const char *target, const char *patch)
{
    clear();
    return json_merge_patch(slice_of(target), slice_of(patch), &out, &error);
}

START_TEST(the_examples_of_rfc_7396_come_out)
{
    const char *target = RFC_CASES[_i].target, *patch = RFC_CASES[_i].patch, *result = RFC_CASES[_i].result;
    if (*target == '{' && *patch == '{') {
        ck_assert_int_eq(merge(target, patch), STATUS_OK);
        expect_out(result);
    }
    char t[128], p[128], r[128];
    FORMAT(t, "{\"x\":%s,\"y\":1.0}", target);
    FORMAT(p, "{\"x\":%s}", patch);
    if (result != NULL)
        FORMAT(r, "{\"x\":%s,\"y\":1.0}", result);
    else
        FORMAT(r, "{\"y\":1.0}");
    ck_assert_int_eq(merge(t, p), STATUS_OK);
    expect_out(r);
    clear();
}
END_TEST

static const struct {
    const char *target, *patch, *result;
} MERGES[] = {
    {"{}", "{}", "{}"},
    {" {\"a\":1}\n", " {} ", " {\"a\":1}\n"},
    {"{\"n\":1.0,\"m\":1e400,\"s\":\"\\u00e4\\/\",\"l\":[1, 2 ,3]}", "{\"n2\":1.50}",
     "{\"n\":1.0,\"m\":1e400,\"s\":\"\\u00e4\\/\",\"l\":[1, 2 ,3],\"n2\":1.50}"},
    {"{ \"a\" : 1 , \"b\" : { \"c\" : 2 , \"d\" : 3 } , \"e\" : 4 }", "{\"b\":{\"c\":9}}",
     "{ \"a\" : 1 , \"b\" : { \"c\" : 9 , \"d\" : 3 } , \"e\" : 4 }"},
    {"{\"z\":1,\"a\":2,\"m\":3}", "{\"m\":30,\"b\":4,\"z\":10,\"a\":null}", "{\"z\":10,\"m\":30,\"b\":4}"},
    {"{\"\\u0061\":1}", "{\"a\":2}", "{\"\\u0061\":2}"},
    {"{\"a\":1}", "{\"\\u0061\":2}", "{\"a\":2}"},
    {"{\"a\":1,\"x\":0,\"a\":{\"k\":1}}", "{\"a\":{\"j\":2}}", "{\"a\":{\"j\":2},\"x\":0}"},
    {"{\"x\":0,\"x\":1}", "{\"a\":1}", "{\"x\":0,\"x\":1,\"a\":1}"},
    {"{}", "{\"a\":{ \"n\":null, \"v\" : 1.0 , \"o\":{\"n\":null}},\"l\":[null,{\"n\":null}]}",
     "{\"a\":{ \"v\" : 1.0 , \"o\":{}},\"l\":[null,{\"n\":null}]}"},
    {"{}", "{\"l\":[{\"d\":1,\"d\":2}]}", "{\"l\":[{\"d\":1,\"d\":2}]}"},
    {"{\"a\":{\"x\":1},\"b\":{\"x\":1}}", "{\"b\":{\"x\":2},\"a\":{\"x\":3}}",
     "{\"a\":{\"x\":3},\"b\":{\"x\":2}}"},
    {"{\"a\":{\"b\":{\"c\":{\"d\":1}}}}", "{\"a\":{\"b\":{\"c\":null,\"e\":true}}}",
     "{\"a\":{\"b\":{\"e\":true}}}"},
    {"{\"\":1}", "{\"\":{\"\":2}}", "{\"\":{\"\":2}}"},
    {"{\"\xc3\xa4\":1,\"\\ud800\":2}", "{\"\\u00e4\":3,\"\\uD800\":4}", "{\"\xc3\xa4\":3,\"\\ud800\":4}"},
};

START_TEST(a_merge_keeps_the_bytes_and_places_of_what_the_patch_does_not_name)
{
    ck_assert_int_eq(merge(MERGES[_i].target, MERGES[_i].patch), STATUS_OK);
    expect_out(MERGES[_i].result);
    clear();
}
END_TEST

START_TEST(a_doubled_member_of_a_merged_object_of_the_patch_is_refused)
{
    static const char *const patches[] = {"{\"a\":1,\"a\":1}", "{\"b\":null,\"\\u0061\":1,\"a\":null}",
                                          "{\"o\":{\"a\":1,\"b\":2,\"a\":3}}",
                                          "{\"n\":{\"o\":{\"a\":{},\"a\":{}}}}"};
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++) {
        ck_assert_int_eq(merge("{\"o\":{},\"t\":1}", patches[i]), STATUS_UNPROCESSABLE);
        ck_assert_str_eq(error.detail, "member \"a\" appears twice");
        ck_assert_uint_eq(out.len, 0);
    }
    ck_assert_int_eq(json_merge_patch(SLICE_LITERAL("{}"), slice_of(patches[0]), &out, NULL),
                     STATUS_UNPROCESSABLE);
    clear();
}
END_TEST

START_TEST(a_merge_that_does_not_fit_appends_nothing)
{
    clear();
    out.max = 10;
    buf_append_text(&out, "abc");
    ck_assert_int_eq(json_merge_patch(SLICE_LITERAL("{\"a\":1}"), SLICE_LITERAL("{\"b\":2}"), &out, &error),
                     STATUS_OVERLOADED);
    ck_assert_uint_eq(out.len, 3);
    clear();
}
END_TEST

static void append_nested(struct buf *b, int depth, const char *inner)
{
    for (int i = 0; i < depth - 1; i++)
        buf_append_text(b, "{\"a\":");
    buf_append_text(b, inner);
    for (int i = 0; i < depth - 1; i++)
        buf_append_char(b, '}');
}

START_TEST(the_deepest_texts_merge_and_stay_within_the_bound)
{
    struct buf target = {0}, patch = {0}, expected = {0};
    append_nested(&target, JSON_DEPTH_MAX, "{\"x\":1}");
    append_nested(&patch, JSON_DEPTH_MAX, "{\"y\":2}");
    append_nested(&expected, JSON_DEPTH_MAX, "{\"x\":1,\"y\":2}");
    buf_append_char(&expected, '\0');
    clear();
    ck_assert_int_eq(json_merge_patch(buf_slice(&target), buf_slice(&patch), &out, &error), STATUS_OK);
    expect_out(expected.ptr);
    clear();
    ck_assert_int_eq(json_merge_patch(SLICE_LITERAL("{}"), buf_slice(&patch), &out, &error), STATUS_OK);
    ck_assert(slice_equal(buf_slice(&out), buf_slice(&patch)));
    buf_deinit(&target);
    buf_deinit(&patch);
    buf_deinit(&expected);
    clear();
}
END_TEST

START_TEST(a_large_deep_object_merged_with_itself_stays_itself)
{
    struct buf text = {0};
    for (int level = 0; level < 100; level++)
        buf_append_text(&text, "{\"a\":");
    buf_append_char(&text, '{');
    for (int i = 0; i < 100000; i++)
        buf_printf(&text, "\"member%d\":%d,", (i * 7919) % 100000, i);
    buf_append_text(&text, "\"z\":[]}");
    for (int level = 0; level < 100; level++)
        buf_append_text(&text, "}");
    clear();
    ck_assert_int_eq(json_merge_patch(buf_slice(&text), buf_slice(&text), &out, &error), STATUS_OK);
    ck_assert(slice_equal(buf_slice(&out), buf_slice(&text)));
    buf_deinit(&text);
    clear();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_edit");
    TCase *tests = test_case(suite, "json_edit", 20);
    tcase_add_test(tests, members_are_walked_in_order_with_their_bytes);
    tcase_add_test(tests, empty_containers_have_nothing_to_walk);
    tcase_add_test(tests, elements_are_walked_in_order_with_their_bytes);
    tcase_add_test(tests, a_member_is_found_by_its_decoded_name_and_the_first_one_counts);
    tcase_add_loop_test(tests, an_edit_keeps_the_bytes_and_places_of_what_it_does_not_name, 0,
                        sizeof EDITS / sizeof *EDITS);
    tcase_add_test(tests, an_edit_that_does_not_fit_appends_nothing);
    tcase_add_loop_test(tests, the_examples_of_rfc_7396_come_out, 0, sizeof RFC_CASES / sizeof *RFC_CASES);
    tcase_add_loop_test(tests, a_merge_keeps_the_bytes_and_places_of_what_the_patch_does_not_name, 0,
                        sizeof MERGES / sizeof *MERGES);
    tcase_add_test(tests, a_doubled_member_of_a_merged_object_of_the_patch_is_refused);
    tcase_add_test(tests, a_merge_that_does_not_fit_appends_nothing);
    tcase_add_test(tests, the_deepest_texts_merge_and_stay_within_the_bound);
    tcase_add_test(tests, a_large_deep_object_merged_with_itself_stays_itself);
    return test_run(suite);
}
