/* Facts about util/trace: what W3C trace context calls a traceparent. */
#include "../../support/support.h"
#include "util/trace.h"

#define ID   "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static const struct {
    const char *header;
    bool valid;
} headers[] = {
    {"00-" ID "-" SPAN "-01", true},
    {"00-" ID "-" SPAN "-00", true},
    {"00-" ID "-" SPAN "-ff", true},
    {"cc-" ID "-" SPAN "-01", true}, /* a later version that looks the same, or has more */
    {"cc-" ID "-" SPAN "-01-what-the-future-will-be-like", true},
    {"cc-" ID "-" SPAN "-01.what", false},
    {"ff-" ID "-" SPAN "-01", false},
    {"00-" ID "-" SPAN "-01-more", false},
    {"00-" ID "-" SPAN "-01-", false},
    {"00-" ID "-" SPAN "-0", false},
    {"00-" ID "-" SPAN, false},
    {"00-" ID "-" SPAN "-0g", false},
    {"0-" ID "-" SPAN "-01", false},
    {"0x-" ID "-" SPAN "-01", false},
    {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false},
    {"00-" ID "-00F067AA0BA902B7-01", false},
    {"00-00000000000000000000000000000000-" SPAN "-01", false},
    {"00-" ID "-0000000000000000-01", false},
    {"00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN "-001", false},
    {"00_" ID "_" SPAN "_01", false},
    {"00-" ID SPAN "--01", false},
    {" 00-" ID "-" SPAN "-01", false},
    {"What is the capital of France?", false},
    {"", false},
    {NULL, false},
};

START_TEST(a_traceparent_is_read_or_is_as_good_as_none)
{
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        struct trace t;
        const char *shown = headers[i].header ? headers[i].header : "(none)";
        ck_assert_msg(trace_read(slice_of(headers[i].header), &t) == headers[i].valid, "%s", shown);
        ck_assert_msg((trace_id(&t).ptr != NULL) == headers[i].valid, "%s", shown);
        ck_assert_msg((trace_span(&t).ptr != NULL) == headers[i].valid, "%s", shown);
        if (!headers[i].valid) continue;
        ck_assert(slice_equal_text(trace_id(&t), ID));
        ck_assert(slice_equal_text(trace_span(&t), SPAN));
    }
}
END_TEST

START_TEST(the_dice_are_the_last_bytes_of_the_trace_whoever_called)
{
    static const struct {
        const char *header;
        unsigned long dice;
    } cases[] = {{"00-" ID "-" SPAN "-01", 0x0e0e4736},
                 {"00-" ID "-b7ad6b7169203331-00", 0x0e0e4736},
                 {"00-0000000000000000000000010000abcd-" SPAN "-01", 0xabcd},
                 {"00-000000000000000000000000ffffffff-" SPAN "-01", 0xffffffff}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trace t;
        ck_assert(trace_read(slice_of(cases[i].header), &t));
        ck_assert_uint_eq(trace_dice(&t), cases[i].dice);
    }
}
END_TEST

START_TEST(what_was_kept_comes_back_and_nothing_else)
{
    struct trace t, again;
    char kept[TRACE_KEPT_LEN];
    ck_assert(trace_read(slice_of("00-" ID "-" SPAN "-01"), &t));
    trace_of_kept(trace_keep(&t, kept), &again);
    ck_assert_str_eq(again.id, ID);
    ck_assert_str_eq(again.span, SPAN);
    static const char *const others[] = {"", ID, ID SPAN "0", ID "00f067aa0ba902bz", NULL};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        trace_of_kept(slice_of(others[i]), &again);
        ck_assert_ptr_null(trace_id(&again).ptr);
        ck_assert_ptr_null(trace_keep(&again, kept).ptr);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace");
    TCase *tc = test_case(suite, "trace", 10);
    tcase_add_test(tc, a_traceparent_is_read_or_is_as_good_as_none);
    tcase_add_test(tc, the_dice_are_the_last_bytes_of_the_trace_whoever_called);
    tcase_add_test(tc, what_was_kept_comes_back_and_nothing_else);
    return test_run(suite);
}
