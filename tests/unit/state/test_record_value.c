/* test_record_value: the ids of a value's last changes, and a value without them. */
#include "../../support/support.h"
#include "state/record_value.h"

#include <stdio.h>

#define A "\"018bcfe5-6800-7000-8000-00000000000a\""
#define B "\"018bcfe5-6800-7000-8000-00000000000b\""
#define C "\"018bcfe5-6800-7000-8000-00000000000c\""
#define D "\"018bcfe5-6800-7000-8000-00000000000d\""
#define E "\"018bcfe5-6800-7000-8000-00000000000e\""
#define F "\"018bcfe5-6800-7000-8000-00000000000f\""
#define G "\"018bcfe5-6800-7000-8000-000000000010\""
#define H "\"018bcfe5-6800-7000-8000-000000000011\""
#define I "\"018bcfe5-6800-7000-8000-000000000012\""

#define OF(id) ((struct slice){(id) + 1, sizeof(id) - 3})

static const struct {
    const char *value;
    const char *id; /* in quotes */
    enum record_trace trace;
} TRACES[] = {
    {"{\"writes\":[" A "]}", A, RECORD_TRACE_FOUND},
    {"{\"data\":{\"writes\":[" B "]},\"writes\" : [ " A " , " C " ] }", C, RECORD_TRACE_FOUND},
    {"{\"writes\":[" A "," C "]}", B, RECORD_TRACE_ABSENT},
    {"{\"data\":{\"writes\":[" A "]}}", A, RECORD_TRACE_ABSENT},
    {"{}", A, RECORD_TRACE_ABSENT},
    {"{\"writes\":[]}", A, RECORD_TRACE_ABSENT},
    {"{\"writes\":null}", A, RECORD_TRACE_ABSENT},
    {"{\"writes\":" A "}", A, RECORD_TRACE_ABSENT},
    {"{\"writes\":{\"a\":" A "}}", A, RECORD_TRACE_ABSENT},
    {"{\"writes\":[" A ",7]}", A, RECORD_TRACE_ABSENT},
    {"{\"writes\":[" A "," B "," C "," D "," E "," F "," G "," H "]}", A, RECORD_TRACE_FOUND},
    {"{\"writes\":[" A "," B "," C "," D "," E "," F "," G "," H "]}", H, RECORD_TRACE_FOUND},
    {"{\"writes\":[" B "," C "," D "," E "," F "," G "," H "," I "]}", A, RECORD_TRACE_LOST},
    {"{\"writes\":[" A "," B "," C "," D "," E "," F "," G "," H "]}", I, RECORD_TRACE_ABSENT},
    {"{\"writes\":[" A "," B "," C "," E "," F "," G "," H "," I "]}", D, RECORD_TRACE_ABSENT},
    /* seven: had it happened, it would still be there */
    {"{\"writes\":[" C "," D "," E "," F "," G "," H "," I "]}", A, RECORD_TRACE_ABSENT},
    /* others keep more than eight */
    {"{\"writes\":[" A "," B "," C "," D "," E "," F "," G "," H "," I "]}", I, RECORD_TRACE_FOUND},
    {"{\"writes\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}", A, RECORD_TRACE_ABSENT},
};

START_TEST(a_change_is_found_absent_or_pushed_out)
{
    struct slice quoted = slice_of(TRACES[_i].id);
    struct slice id = {quoted.ptr + 1, quoted.len - 2};
    ck_assert_msg(record_value_trace(slice_of(TRACES[_i].value), id) == TRACES[_i].trace, "%s in %s",
                  TRACES[_i].id, TRACES[_i].value);
}
END_TEST

static const struct {
    const char *before; /* NULL: none */
    const char *after;
} WRITES[] = {
    {NULL, "[" I "]"},
    {"null", "[" I "]"},
    {"7", "[" I "]"},
    {"{}", "[" I "]"},
    {"[]", "[" I "]"},
    {"[1," A "]", "[" I "]"},
    {"[ " A " ]", "[" A "," I "]"},
    {"[" A "," B "," C "," D "," E "," F "," G "]", "[" A "," B "," C "," D "," E "," F "," G "," I "]"},
    {"[" A "," B "," C "," D "," E "," F "," G "," H "]",
     "[" B "," C "," D "," E "," F "," G "," H "," I "]"},
    {"[" A "," A "," A "," B "," C "," D "," E "," F "," G "," H "]",
     "[" B "," C "," D "," E "," F "," G "," H "," I "]"},
};

START_TEST(one_more_id_pushes_out_the_oldest_of_eight)
{
    struct buf out = {0};
    struct slice before = slice_of(WRITES[_i].before);
    record_value_writes(before, OF(I), &out);
    ck_assert_msg(slice_equal_text(buf_slice(&out), WRITES[_i].after), "%.*s", (int)out.len, out.ptr);
    buf_deinit(&out);
}
END_TEST

START_TEST(what_was_added_is_found)
{
    struct buf array = {0}, value = {0};
    for (int i = 0; i < 20; i++) {
        char id[40];
        snprintf(id, sizeof id, "018bcfe5-6800-7000-8000-%012d", i);
        struct buf next = {0};
        record_value_writes(buf_slice(&array), slice_of(id), &next);
        buf_deinit(&array);
        array = next;
    }
    buf_printf(&value, "{\"writes\":%.*s}", (int)array.len, array.ptr);
    for (int i = 0; i < 20; i++) {
        char id[40];
        snprintf(id, sizeof id, "018bcfe5-6800-7000-8000-%012d", i);
        enum record_trace trace = record_value_trace(buf_slice(&value), slice_of(id));
        ck_assert_int_eq(trace, i < 12 ? RECORD_TRACE_LOST : RECORD_TRACE_FOUND);
    }
    buf_deinit(&array);
    buf_deinit(&value);
}
END_TEST

static const struct {
    const char *value, *shown;
} SHOWN[] = {
    {"{}", "{}"},
    {"{\"a\":1.0,\"writes\":[" A "],\"b\":\"\\u00e9\"}", "{\"a\":1.0,\"b\":\"\\u00e9\"}"},
    {"{\"writes\":[" A "]}", "{}"},
    {"{\"a\":{\"writes\":1}}", "{\"a\":{\"writes\":1}}"},
};

START_TEST(a_value_is_shown_without_its_writes)
{
    struct buf out = {0};
    record_value_show(slice_of(SHOWN[_i].value), &out);
    ck_assert_msg(slice_equal_text(buf_slice(&out), SHOWN[_i].shown), "%.*s", (int)out.len, out.ptr);
    buf_deinit(&out);
}
END_TEST

START_TEST(where_there_is_no_room_the_buffer_says_so)
{
    struct buf out = {.max = 4};
    record_value_show(SLICE_LITERAL("{\"a\":\"0123456789\"}"), &out);
    ck_assert(out.failed);
    buf_deinit(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record_value");
    TCase *c = test_case(suite, "value", 10);
    tcase_add_loop_test(c, a_change_is_found_absent_or_pushed_out, 0, sizeof TRACES / sizeof TRACES[0]);
    tcase_add_loop_test(c, one_more_id_pushes_out_the_oldest_of_eight, 0, sizeof WRITES / sizeof WRITES[0]);
    tcase_add_test(c, what_was_added_is_found);
    tcase_add_loop_test(c, a_value_is_shown_without_its_writes, 0, sizeof SHOWN / sizeof SHOWN[0]);
    tcase_add_test(c, where_there_is_no_room_the_buffer_says_so);
    return test_run(suite);
}
