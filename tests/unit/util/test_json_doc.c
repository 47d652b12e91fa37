/* Facts about util/json_doc. */
#include "util/json_doc.h"

#include "util/json.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

START_TEST(a_document_is_printed_in_the_order_it_was_built)
{
    struct json_doc *doc = json_doc_create();
    ck_assert_ptr_nonnull(doc);
    struct json_node *root = json_doc_root(doc);
    json_node_set_string(root, "status", SLICE_LITERAL("ready"));
    struct json_node *nodes = json_node_add_array(root, "redis");
    for (int i = 0; i < 2; i++) {
        struct json_node *node = json_array_add_object(nodes);
        json_node_set_int(node, "node", i);
        json_node_set_bool(node, "open", i == 1);
    }
    struct json_node *warnings = json_node_add_array(json_node_add_object(root, "inner"), "warnings");
    json_array_add_string(warnings, SLICE_LITERAL("w"));
    json_array_add_int(warnings, -1);
    json_node_set_null(root, "none");
    json_node_set_string(root, "absent", SLICE_NONE);
    struct buf out = {0};
    buf_append_text(&out, "> ");
    ck_assert(json_doc_print(doc, &out));
    ck_assert(slice_equal_text(
        buf_slice(&out),
        "> {\"status\":\"ready\",\"redis\":[{\"node\":0,\"open\":false},{\"node\":1,\"open\":true}],"
        "\"inner\":{\"warnings\":[\"w\",-1]},\"none\":null,\"absent\":null}"));
    buf_deinit(&out);
    json_doc_destroy(&doc);
    ck_assert_ptr_null(doc);
    json_doc_destroy(&doc);
}
END_TEST

static void print_number(double value, struct buf *out)
{
    struct json_doc *doc = json_doc_create();
    ck_assert_ptr_nonnull(doc);
    json_node_set_number(json_doc_root(doc), "n", value);
    ck_assert(json_doc_print(doc, out));
    json_doc_destroy(&doc);
}

START_TEST(numbers_keep_their_digits)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "{\"n\":0}"},
        {0.1, "{\"n\":0.1}"},
        {-2.5, "{\"n\":-2.5}"},
        {9007199254740991.0, "{\"n\":9007199254740991}"},
        {9007199254740992.0, "{\"n\":9007199254740992}"},
        {1e300, "{\"n\":1e+300}"},
        {0.1 + 0.2, "{\"n\":0.30000000000000004}"},
        {DBL_MIN, "{\"n\":2.2250738585072014e-308}"},
        {INFINITY, "{\"n\":null}"},
        {-INFINITY, "{\"n\":null}"},
        {NAN, "{\"n\":null}"},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&out);
        print_number(cases[i].value, &out);
        ck_assert_msg(slice_equal_text(buf_slice(&out), cases[i].text), "%.*s, not %s", (int)out.len, out.ptr,
                      cases[i].text);
        ck_assert_int_eq(json_validate(buf_slice(&out), NULL, NULL), STATUS_OK);
    }
    buf_deinit(&out);
}
END_TEST

START_TEST(whole_numbers_keep_all_64_bits)
{
    struct json_doc *doc = json_doc_create();
    ck_assert_ptr_nonnull(doc);
    json_node_set_int(json_doc_root(doc), "a", INT64_MAX);
    json_node_set_int(json_doc_root(doc), "b", INT64_MIN);
    struct buf out = {0};
    ck_assert(json_doc_print(doc, &out));
    ck_assert(slice_equal_text(buf_slice(&out), "{\"a\":9223372036854775807,\"b\":-9223372036854775808}"));
    buf_deinit(&out);
    json_doc_destroy(&doc);
}
END_TEST

START_TEST(any_bytes_can_be_a_string)
{
    struct json_doc *doc = json_doc_create();
    ck_assert_ptr_nonnull(doc);
    json_node_set_string(json_doc_root(doc), "s", SLICE_LITERAL("a\0b\xff\"\n"));
    struct buf out = {0};
    ck_assert(json_doc_print(doc, &out));
    ck_assert(slice_equal_text(buf_slice(&out), "{\"s\":\"a\\u0000b\xef\xbf\xbd\\\"\\n\"}"));
    buf_deinit(&out);
    json_doc_destroy(&doc);
}
END_TEST

START_TEST(printing_beyond_the_bound_fails_and_appends_nothing)
{
    struct json_doc *doc = json_doc_create();
    ck_assert_ptr_nonnull(doc);
    json_node_set_int(json_doc_root(doc), "a", 1);
    struct buf out = {.max = 6};
    ck_assert(!json_doc_print(doc, &out));
    ck_assert_uint_eq(out.len, 0);
    buf_deinit(&out);
    json_doc_destroy(&doc);
}
END_TEST

static int allocations_left;

static void *scarce_malloc(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static bool build_and_print(struct buf *out)
{
    struct json_doc *doc = json_doc_create();
    if (doc == NULL) return false;
    struct json_node *array = json_node_add_array(json_doc_root(doc), "array");
    struct json_node *object = json_array_add_object(array);
    json_node_set_string(object, "text", SLICE_LITERAL("x"));
    json_node_set_bool(json_node_add_object(object, "inner"), "yes", true);
    json_node_set_int(json_doc_root(doc), "count", 1);
    bool printed = json_doc_print(doc, out);
    json_doc_destroy(&doc);
    return printed;
}

START_TEST(any_allocation_that_fails_is_told_when_printing)
{
    cJSON_Hooks hooks = {scarce_malloc, free};
    cJSON_InitHooks(&hooks);
    struct buf out = {0};
    int needed = 0;
    for (;; needed++) {
        allocations_left = needed;
        ck_assert_int_lt(needed, 1000);
        if (build_and_print(&out)) break;
        ck_assert_uint_eq(out.len, 0);
    }
    ck_assert_int_gt(needed, 10);
    ck_assert(slice_equal_text(buf_slice(&out),
                               "{\"array\":[{\"text\":\"x\",\"inner\":{\"yes\":true}}],\"count\":1}"));
    buf_deinit(&out);
    cJSON_InitHooks(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_doc");
    TCase *tests = tcase_create("json_doc");
    tcase_add_test(tests, a_document_is_printed_in_the_order_it_was_built);
    tcase_add_test(tests, numbers_keep_their_digits);
    tcase_add_test(tests, whole_numbers_keep_all_64_bits);
    tcase_add_test(tests, any_bytes_can_be_a_string);
    tcase_add_test(tests, printing_beyond_the_bound_fails_and_appends_nothing);
    tcase_add_test(tests, any_allocation_that_fails_is_told_when_printing);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
