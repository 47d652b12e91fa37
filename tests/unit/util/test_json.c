/* Facts about util/json: validation, reading objects, whole numbers. */
#include "util/json.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

START_TEST(json_is_accepted_and_its_type_told)
{
    static const struct {
        const char *text;
        enum json_type type;
    } cases[] = {
        {"null", JSON_NULL},
        {" \t\r\n true \n", JSON_BOOL},
        {"false", JSON_BOOL},
        {"0", JSON_NUMBER},
        {"-0", JSON_NUMBER},
        {"-0.0e-0", JSON_NUMBER},
        {"1E+400", JSON_NUMBER},
        {"123456789012345678901234567890.1", JSON_NUMBER},
        {"\"\"", JSON_STRING},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD800\\udFfF\"", JSON_STRING},
        {"\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf"
         "\xbf\"",
         JSON_STRING},
        {"[]", JSON_ARRAY},
        {"[ ]", JSON_ARRAY},
        {"[[],{},\"\",0]", JSON_ARRAY},
        {"{}", JSON_OBJECT},
        {"{ \"\" : { } , \"a\" : [ 1 , 2 ] }", JSON_OBJECT},
        {"{\"a\":1,\"a\":2}", JSON_OBJECT}, /* duplicates are a matter for who reads the object */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum json_type type = JSON_ABSENT;
        struct json_error error = {""};
        ck_assert_msg(json_validate(slice_of(cases[i].text), &type, &error) == STATUS_OK, "%s: %s",
                      cases[i].text, error.detail);
        ck_assert_msg(type == cases[i].type, "%s", cases[i].text);
        ck_assert_int_eq(json_validate(slice_of(cases[i].text), NULL, NULL), STATUS_OK);
    }
}
END_TEST

/* Each is refused at the byte told by line and column. */
static const struct {
    struct slice text;
    const char *place;
} broken[] = {
#define BROKEN(text, place)                                                                                  \
    {                                                                                                        \
        {(text), sizeof(text) - 1}, place                                                                    \
    }
    BROKEN("", "line 1, column 1: the text ends too early"),
    BROKEN("  ", "line 1, column 3: the text ends too early"),
    BROKEN("\xef\xbb\xbf{}", "line 1, column 1: expected a value"),
    BROKEN("nul", "line 1, column 4: the text ends"),
    BROKEN("nulL", "line 1, column 1: expected a value"),
    BROKEN("nullx", "line 1, column 5: nothing may follow"),
    BROKEN("NaN", "line 1, column 1"),
    BROKEN("Infinity", "line 1, column 1"),
    BROKEN("-Infinity", "line 1, column 2"),
    BROKEN("True", "line 1, column 1"),
    BROKEN("'a'", "line 1, column 1"),
    BROKEN("+1", "line 1, column 1"),
    BROKEN("01", "line 1, column 2"),
    BROKEN("-01", "line 1, column 3"),
    BROKEN("-", "line 1, column 2"),
    BROKEN("1.", "line 1, column 3"),
    BROKEN("[1.]", "line 1, column 4"),
    BROKEN(".5", "line 1, column 1"),
    BROKEN("[1.e1]", "line 1, column 4"),
    BROKEN("1e", "line 1, column 3"),
    BROKEN("[1e+]", "line 1, column 5"),
    BROKEN("1.5.5", "line 1, column 4"),
    BROKEN("0x10", "line 1, column 2"),
    BROKEN("1 2", "line 1, column 3"),
    BROKEN("{} {}", "line 1, column 4"),
    BROKEN("{}\0", "line 1, column 3"),
    BROKEN("[1,]", "line 1, column 4: expected a value"),
    BROKEN("[,1]", "line 1, column 2"),
    BROKEN("[1 2]", "line 1, column 4: expected a comma or ]"),
    BROKEN("[1", "line 1, column 3: the text ends"),
    BROKEN("[1}", "line 1, column 3"),
    BROKEN("]", "line 1, column 1"),
    BROKEN("{\"a\":1]", "line 1, column 7"),
    BROKEN("{\"a\":1,}", "line 1, column 8: expected a member's name"),
    BROKEN("{,}", "line 1, column 2"),
    BROKEN("{a:1}", "line 1, column 2"),
    BROKEN("{1:1}", "line 1, column 2"),
    BROKEN("{\"a\" 1}", "line 1, column 6: expected a colon"),
    BROKEN("{\"a\":}", "line 1, column 6"),
    BROKEN("{\"a\"", "line 1, column 5: the text ends"),
    BROKEN("{\"a\":", "line 1, column 6: the text ends"),
    BROKEN("{\"a\":1,", "line 1, column 8: the text ends"),
    BROKEN("{\n\"a\":1,\r\n \"b\"=2}", "line 3, column 5: expected a colon"),
    BROKEN("[1,//\n2]", "line 1, column 4"),
    BROKEN("[1\f]", "line 1, column 3"),
    BROKEN("\"", "line 1, column 2: the text ends"),
    BROKEN("\"abcdefgh", "line 1, column 10: the text ends"),
    BROKEN("\"a\nb\"", "line 1, column 3: a control character"),
    BROKEN("\"abcdefgh\x1fi\"", "line 1, column 10: a control character"),
    BROKEN("\"a\0b\"", "line 1, column 3: a control character"),
    BROKEN("\"\\", "line 1, column 3: the text ends"),
    BROKEN("\"\\x\"", "line 1, column 2: no such escape"),
    BROKEN("\"\\\0\"", "line 1, column 2: no such escape"),
    BROKEN("\"\\u12", "line 1, column 6: the text ends"),
    BROKEN("\"\\u12g4\"", "line 1, column 2: \\u needs"),
    BROKEN("\"\\U0041\"", "line 1, column 2: no such escape"),
    BROKEN("\"\\u-123\"", "line 1, column 2: \\u needs"),
    /* not UTF-8: continuation alone, cut, overlong, surrogates, beyond U+10FFFF, never a lead byte */
    BROKEN("\"abcdefg\x80\"", "line 1, column 9: these bytes are not UTF-8"),
    BROKEN("\"\xc3\"", "line 1, column 2: these"),
    BROKEN("\"\xe2\x82\"", "line 1, column 2: these"),
    BROKEN("\"\xf0\x9f\x98\"", "line 1, column 2: these"),
    BROKEN("\"\xf0\x9f\x98", "line 1, column 2: these"),
    BROKEN("\"\xc3\xa4\xc3", "line 1, column 4: these"),
    BROKEN("\"\xc0\x80\"", "line 1, column 2: these"),
    BROKEN("\"\xc1\xbf\"", "line 1, column 2: these"),
    BROKEN("\"\xe0\x9f\xbf\"", "line 1, column 2: these"),
    BROKEN("\"\xf0\x8f\xbf\xbf\"", "line 1, column 2: these"),
    BROKEN("\"\xed\xa0\x80\"", "line 1, column 2: these"),
    BROKEN("\"\xed\xbf\xbf\"", "line 1, column 2: these"),
    BROKEN("\"\xf4\x90\x80\x80\"", "line 1, column 2: these"),
    BROKEN("\"\xf5\x80\x80\x80\"", "line 1, column 2: these"),
    BROKEN("\"\xff\"", "line 1, column 2: these"),
    BROKEN("{\"\xff\":1}", "line 1, column 3: these"),
    BROKEN("\xc3\xa4", "line 1, column 1: expected a value"),
#undef BROKEN
};

START_TEST(what_is_no_json_is_refused_with_its_place)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        /* A block of its exact size, so that a sanitizer sees reads past its end. */
        char *exact = malloc(broken[i].text.len + 1);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact + 1, broken[i].text.ptr, broken[i].text.len);
        struct json_error error = {""};
        struct slice text = {exact + 1, broken[i].text.len};
        ck_assert_msg(json_validate(text, NULL, &error) == STATUS_INVALID_JSON, "%s", broken[i].text.ptr);
        ck_assert_msg(strncmp(error.detail, broken[i].place, strlen(broken[i].place)) == 0, "%s: %s, not %s",
                      broken[i].text.ptr, error.detail, broken[i].place);
        free(exact);
    }
    ck_assert_int_eq(json_validate(SLICE_NONE, NULL, NULL), STATUS_INVALID_JSON);
}
END_TEST

START_TEST(no_prefix_of_an_object_is_json)
{
    const char *text = "{\"a\":[1.5e+3,{\"b\\u00e4\":null}],\"\xf0\x9f\x98\x80\":[true,false,\"\\n\"]}";
    struct json_field field = {.name = "a", .types = JSON_ANY};
    for (size_t len = 0; len < strlen(text); len++) {
        char *exact = malloc(len + 1);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact + 1, text, len);
        struct slice prefix = {exact + 1, len};
        ck_assert_int_eq(json_validate(prefix, NULL, NULL), STATUS_INVALID_JSON);
        ck_assert_int_eq(json_read_object(prefix, &field, 1, false, NULL), STATUS_INVALID_JSON);
        free(exact);
    }
    ck_assert_int_eq(json_validate(slice_of(text), NULL, NULL), STATUS_OK);
}
END_TEST

static void nest(struct buf *out, const char *open, int open_count, const char *close, int close_count)
{
    buf_clear(out);
    for (int i = 0; i < open_count; i++)
        buf_append_text(out, open);
    buf_append_char(out, '1');
    for (int i = 0; i < close_count; i++)
        buf_append_text(out, close);
}

START_TEST(nesting_ends_at_128)
{
    struct buf text = {0};
    struct json_error error;
    nest(&text, "[", 128, "]", 128);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_OK);
    nest(&text, "{\"a\":", 128, "}", 128);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_OK);
    ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_OK);
    nest(&text, "[{\"a\":", 64, "}]", 64);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_OK);

    nest(&text, "[", 129, "]", 129);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, &error), STATUS_UNPROCESSABLE);
    ck_assert_str_eq(error.detail, "line 1, column 129: nested deeper than 128 levels");
    nest(&text, "{\"a\":", 129, "}", 129);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_UNPROCESSABLE);
    ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_UNPROCESSABLE);
    buf_deinit(&text);
}
END_TEST

START_TEST(too_deep_is_told_before_what_is_broken_further_on)
{
    struct buf text = {0};
    nest(&text, "[", 100000, "]", 0);
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_UNPROCESSABLE);
    nest(&text, "{\"a\":", 100000, "", 0);
    ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_UNPROCESSABLE);
    buf_deinit(&text);
}
END_TEST

static struct slice cache_value = {
    "{\"response\": \"it is \\\"blue\\\"\", \"timestamp\":\"2026-01-02T03:04:05.678Z\",\n\"ttl\" : 3600 ,"
    "\"metadata\":{\"model\":\"m\",\"tokens\":1.0,\"x\":[1, 2]}}",
    0};

START_TEST(members_are_handed_out_as_raw_bytes)
{
    cache_value.len = strlen(cache_value.ptr);
    struct json_field fields[] = {
        {.name = "ttl", .types = JSON_NUMBER | JSON_NULL},
        {.name = "response", .types = JSON_ANY, .required = true},
        {.name = "metadata", .types = JSON_OBJECT},
        {.name = "timestamp", .types = JSON_STRING},
        {.name = "scope", .types = JSON_OBJECT, .type = JSON_OBJECT, .raw = {"stale", 5}},
    };
    struct json_error error = {""};
    ck_assert_msg(json_read_object(cache_value, fields, 5, true, &error) == STATUS_OK, "%s", error.detail);
    ck_assert(slice_equal_text(fields[0].raw, "3600") && fields[0].type == JSON_NUMBER);
    ck_assert(slice_equal_text(fields[1].raw, "\"it is \\\"blue\\\"\"") && fields[1].type == JSON_STRING);
    ck_assert(slice_equal_text(fields[2].raw, "{\"model\":\"m\",\"tokens\":1.0,\"x\":[1, 2]}"));
    ck_assert(slice_equal_text(fields[3].raw, "\"2026-01-02T03:04:05.678Z\""));
    ck_assert(fields[4].type == JSON_ABSENT && fields[4].raw.ptr == NULL);
}
END_TEST

START_TEST(an_object_of_another_shape_is_refused_by_name)
{
    static const struct {
        const char *text;
        bool unknown_refused;
        enum status status;
        const char *detail;
    } cases[] = {
        {"{\"a\":1}", true, STATUS_OK, ""},
        {"{\"\\u0061\":1}", true, STATUS_OK, ""},
        {"{\"a\":1,\"x\":2,\"y\":3}", false, STATUS_OK, ""},
        {"{}", false, STATUS_UNPROCESSABLE, "member \"a\" is missing"},
        {"{\"A\":1}", false, STATUS_UNPROCESSABLE, "member \"a\" is missing"},
        {"{\"a\\u0000\":1}", false, STATUS_UNPROCESSABLE, "member \"a\" is missing"},
        {"{\"aa\":1}", false, STATUS_UNPROCESSABLE, "member \"a\" is missing"},
        {"{\"\":1}", false, STATUS_UNPROCESSABLE, "member \"a\" is missing"},
        {"{\"a\":\"1\"}", false, STATUS_UNPROCESSABLE, "member \"a\" must be null or a number"},
        {"{\"a\":1,\"b\":null}", false, STATUS_UNPROCESSABLE,
         "member \"b\" must be true or false or a string or an array or an object"},
        {"{\"a\":1,\"a\":1}", false, STATUS_UNPROCESSABLE, "member \"a\" appears twice"},
        {"{\"a\":1,\"\\u0061\":1}", false, STATUS_UNPROCESSABLE, "member \"\\u0061\" appears twice"},
        {"{\"x\":1,\"a\":1,\"x\":1}", false, STATUS_UNPROCESSABLE, "member \"x\" appears twice"},
        {"{\"x\":1,\"\\u0078\":1}", false, STATUS_UNPROCESSABLE, "member \"\\u0078\" appears twice"},
        {"{\"\\/\":1,\"/\":1}", false, STATUS_UNPROCESSABLE, "member \"/\" appears twice"},
        {"{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\uDE00\":1}", false, STATUS_UNPROCESSABLE,
         "member \"\\ud83d\\uDE00\" appears twice"},
        {"{\"\\ud800\":1,\"\\uD800\":1}", false, STATUS_UNPROCESSABLE, "member \"\\uD800\" appears twice"},
        {"{\"a\":1,\"\\ud800\":1,\"\\ud801\":1,\"\\u0000\":1,\"\":1}", false, STATUS_OK, ""},
        {"{\"a\":1,\"x\":2}", true, STATUS_UNPROCESSABLE, "unknown member \"x\""},
        {"{\"x\":1,\"x\":2}", true, STATUS_UNPROCESSABLE, "unknown member \"x\""},
        {"[]", false, STATUS_UNPROCESSABLE, "expected an object"},
        {"1", false, STATUS_UNPROCESSABLE, "expected an object"},
        {"[", false, STATUS_INVALID_JSON, "line 1, column 2: the text ends too early"},
        {"", false, STATUS_INVALID_JSON, "line 1, column 1: the text ends too early"},
        /* broken later: that is told, not what was wrong with a member */
        {"{\"x\":1,\"x\":2", true, STATUS_INVALID_JSON, "line 1, column 13: the text ends too early"},
        {"{\"a\":1,\"a\":\"\xff\"}", false, STATUS_INVALID_JSON,
         "line 1, column 13: these bytes are not UTF-8"},
        {"{\"a\":1}}", false, STATUS_INVALID_JSON, "line 1, column 8: nothing may follow the value"},
        {"{\"a\":1,}", false, STATUS_INVALID_JSON, "line 1, column 8: expected a member's name in quotes"},
        {"{\"a\":1;}", false, STATUS_INVALID_JSON, "line 1, column 7: expected a comma or }"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_field fields[] = {
            {.name = "a", .types = JSON_NUMBER | JSON_NULL, .required = true},
            {.name = "b", .types = JSON_ANY & ~(unsigned)(JSON_NUMBER | JSON_NULL)},
        };
        struct json_error error = {""};
        struct slice text = slice_of(cases[i].text);
        enum status status = json_read_object(text, fields, 2, cases[i].unknown_refused, &error);
        ck_assert_msg(status == cases[i].status, "%s: %s", cases[i].text, error.detail);
        ck_assert_msg(strcmp(error.detail, cases[i].detail) == 0, "%s: %s", cases[i].text, error.detail);
    }
}
END_TEST

START_TEST(a_long_name_is_cut_between_characters)
{
    struct buf text = {0};
    buf_append_text(&text, "{\"x");
    for (int i = 0; i < 100; i++)
        buf_append_text(&text, "\xc3\xa4");
    buf_append_text(&text, "\":1}");
    struct json_error error;
    ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, true, &error), STATUS_UNPROCESSABLE);
    struct buf quoted = {0};
    json_append_string(&quoted, slice_of(error.detail));
    ck_assert_ptr_null(strstr(error.detail, "\xc3\""));
    ck_assert_int_eq(json_validate(buf_slice(&quoted), NULL, NULL), STATUS_OK);
    buf_deinit(&quoted);
    buf_deinit(&text);
}
END_TEST

static void many_members(struct buf *text, int count, const char *last)
{
    buf_clear(text);
    buf_append_char(text, '{');
    for (int i = 0; i < count; i++)
        buf_printf(text, "\"%x\":0,", (unsigned)i);
    buf_printf(text, "\"%s\":0}", last);
}

START_TEST(a_duplicate_is_found_among_any_number_of_members)
{
    struct buf text = {0};
    for (int count = 1; count < 300; count++) {
        many_members(&text, count, "last");
        ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_OK);
        many_members(&text, count, "0");
        ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_UNPROCESSABLE);
        many_members(&text, count, "\\u0030");
        ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_UNPROCESSABLE);
    }
    buf_deinit(&text);
}
END_TEST

static double cpu_s(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* Bounds that hold under sanitizers and on a busy machine; the plain build takes a tenth. */
START_TEST(hostile_bodies_of_8_mib_take_little_time)
{
    enum { SIZE = 8 << 20 };
    struct buf text = {0};
    buf_reserve(&text, SIZE + 64);

    buf_append_char(&text, '[');
    while (text.len < SIZE)
        buf_append_text(&text, "0,0,0,0,0,0,0,0,");
    buf_append_text(&text, "0]");
    double start = cpu_s();
    ck_assert_int_eq(json_validate(buf_slice(&text), NULL, NULL), STATUS_OK);
    ck_assert_double_lt(cpu_s() - start, 1.0);

    buf_clear(&text);
    buf_append_char(&text, '{');
    for (unsigned i = 0; text.len < SIZE; i++)
        buf_printf(&text, "\"%x\":0,", i);
    buf_append_text(&text, "\"last\":0}");
    start = cpu_s();
    ck_assert_int_eq(json_read_object(buf_slice(&text), NULL, 0, false, NULL), STATUS_OK);
    ck_assert_double_lt(cpu_s() - start, 4.0);
    buf_deinit(&text);
}
END_TEST

START_TEST(whole_numbers_are_exact)
{
    static const struct {
        const char *raw;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"-0.000e+99999999999999999999", 0},
        {"3600", 3600},
        {"1.0", 1},
        {"1e2", 100},
        {"1.5e1", 15},
        {"150e-1", 15},
        {"100000000000000000000e-20", 1},
        {"0.0000000000000000000001e22", 1},
        {"9007199254740993", INT64_C(9007199254740993)},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"922337203685477580.70E1", INT64_MAX},
        {"1e18", INT64_C(1000000000000000000)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 42;
        ck_assert_msg(json_int(slice_of(cases[i].raw), "n", INT64_MIN, INT64_MAX, &value, NULL) == STATUS_OK,
                      "%s", cases[i].raw);
        ck_assert_msg(value == cases[i].value, "%s gives %lld", cases[i].raw, (long long)value);
    }
}
END_TEST

START_TEST(other_numbers_are_refused_by_name)
{
    static const struct {
        const char *raw;
        enum status status;
    } cases[] = {
        {"1.5", STATUS_UNPROCESSABLE},
        {"1e-1", STATUS_UNPROCESSABLE},
        {"-0.1", STATUS_UNPROCESSABLE},
        {"1e-99999999999999999999999999", STATUS_UNPROCESSABLE},
        {"9223372036854775807.5", STATUS_UNPROCESSABLE},
        {"0", STATUS_INVALID_ARGUMENT},
        {"-1", STATUS_INVALID_ARGUMENT},
        {"31536001", STATUS_INVALID_ARGUMENT},
        {"9223372036854775808", STATUS_INVALID_ARGUMENT},
        {"-9223372036854775809", STATUS_INVALID_ARGUMENT},
        {"18446744073709551617", STATUS_INVALID_ARGUMENT},
        {"100000000000000000000000000000000000001", STATUS_INVALID_ARGUMENT},
        {"1e99999999999999999999999999", STATUS_INVALID_ARGUMENT},
        {"1e19", STATUS_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 42;
        struct json_error error = {""};
        ck_assert_msg(json_int(slice_of(cases[i].raw), "ttl", 1, 31536000, &value, &error) == cases[i].status,
                      "%s", cases[i].raw);
        ck_assert_int_eq(value, 42);
        ck_assert_str_eq(error.detail, cases[i].status == STATUS_UNPROCESSABLE
                                           ? "member \"ttl\" must be a whole number"
                                           : "member \"ttl\" must be between 1 and 31536000");
    }
}
END_TEST

static const struct {
    const char *raw;
    int64_t ms; /* -1: refused */
} SECONDS[] = {{"0.1", 100},   {"60", 60000}, {"1e1", 10000}, {"0.0999", -1},
               {"60.001", -1}, {"-1", -1},    {"1e999", -1},  {"0.1004", 100}};

START_TEST(seconds_are_read_as_milliseconds_within_their_bounds)
{
    struct json_error error = {""};
    int64_t ms = -1;
    enum status status = json_seconds(slice_of(SECONDS[_i].raw), "ttl", 100, 60000, &ms, &error);
    ck_assert_int_eq(status == STATUS_OK, SECONDS[_i].ms >= 0);
    ck_assert_int_eq(ms, SECONDS[_i].ms);
    if (status != STATUS_OK) ck_assert_str_eq(error.detail, "ttl must be between 0.1 and 60 seconds");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, seconds_are_read_as_milliseconds_within_their_bounds, 0,
                        sizeof SECONDS / sizeof SECONDS[0]);
    tcase_add_test(tests, json_is_accepted_and_its_type_told);
    tcase_add_test(tests, what_is_no_json_is_refused_with_its_place);
    tcase_add_test(tests, no_prefix_of_an_object_is_json);
    tcase_add_test(tests, nesting_ends_at_128);
    tcase_add_test(tests, too_deep_is_told_before_what_is_broken_further_on);
    tcase_add_test(tests, members_are_handed_out_as_raw_bytes);
    tcase_add_test(tests, an_object_of_another_shape_is_refused_by_name);
    tcase_add_test(tests, a_long_name_is_cut_between_characters);
    tcase_add_test(tests, a_duplicate_is_found_among_any_number_of_members);
    tcase_add_test(tests, hostile_bodies_of_8_mib_take_little_time);
    tcase_add_test(tests, whole_numbers_are_exact);
    tcase_add_test(tests, other_numbers_are_refused_by_name);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
