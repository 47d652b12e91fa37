/* Facts about util/etag. */
#include "../../support/support.h"
#include "util/etag.h"

START_TEST(an_etag_is_sixteen_digits_in_quotes)
{
    char text[ETAG_SIZE];
    etag_format(UINT64_C(0x0123456789abcdef), text);
    ck_assert_str_eq(text, "\"0123456789abcdef\"");
    etag_format(0, text);
    ck_assert_str_eq(text, "\"0000000000000000\"");
}
END_TEST

static const struct {
    const char *list;
    bool valid, matches; /* "ab" */
} lists[] = {
    {"*", true, true},
    {" * ", true, true},
    {"\"ab\"", true, true},
    {"W/\"ab\"", true, true},
    {"\"x\" , \"ab\"", true, true},
    {"\"x\",,\"y\"", true, false},
    {"\"\"", true, false},
    {"\"a,b\"", true, false},
    {"\"abc\"", true, false},
    {"", false, false},
    {",", false, false},
    {"ab", false, false},
    {"\"ab", false, false},
    {"ab\"", false, false},
    {"\"", false, false},
    {"\"a\"b\"", false, false},
    {"w/\"ab\"", false, false},
    {"W/", false, false},
    {"\"x\", y", false, false},
};

START_TEST(a_list_is_star_or_tags_and_is_searched_weakly)
{
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct slice list = slice_of(lists[i].list);
        ck_assert_msg(etag_list_valid(list) == lists[i].valid, "valid: %s", lists[i].list);
        ck_assert_msg(etag_list_matches(list, slice_of("ab")) == lists[i].matches, "matches: %s",
                      lists[i].list);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etag");
    TCase *tc = test_case(suite, "etag", 10);
    tcase_add_test(tc, an_etag_is_sixteen_digits_in_quotes);
    tcase_add_test(tc, a_list_is_star_or_tags_and_is_searched_weakly);
    return test_run(suite);
}
