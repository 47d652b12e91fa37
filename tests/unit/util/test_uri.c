/* Facts about util/uri. */
#include "util/uri.h"

#include <check.h>

START_TEST(decoding_undoes_escapes_once)
{
    static const struct {
        const char *raw;
        bool plus_is_blank;
        struct slice decoded;
    } cases[] = {
        {"", false, SLICE_LITERAL("")},
        {"abc", false, SLICE_LITERAL("abc")},
        {"a%2Fb%2fc", false, SLICE_LITERAL("a/b/c")},
        {"%25%32%46", false, SLICE_LITERAL("%2F")},
        {"a+b", false, SLICE_LITERAL("a+b")},
        {"a+b%2B", true, SLICE_LITERAL("a b+")},
        {"%00x", false, SLICE_LITERAL("\0x")},
        {"%C3%a4", false, SLICE_LITERAL("\xc3\xa4")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        ck_assert_msg(uri_decode(slice_of(cases[i].raw), cases[i].plus_is_blank, &out), "%s", cases[i].raw);
        ck_assert_msg(slice_equal(buf_slice(&out), cases[i].decoded), "%s", cases[i].raw);
        buf_deinit(&out);
    }
}
END_TEST

START_TEST(a_broken_escape_is_refused_after_what_came_before)
{
    static const char *const cases[] = {"ab%", "ab%4", "ab%4g", "ab%g4", "ab%%41", "ab% 1", "ab%-1"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        ck_assert_msg(!uri_decode(slice_of(cases[i]), true, &out), "%s", cases[i]);
        ck_assert_msg(slice_equal_text(buf_slice(&out), "ab"), "%s", cases[i]);
        buf_deinit(&out);
    }
}
END_TEST

START_TEST(an_escape_cut_by_the_slice_is_not_read_on)
{
    struct buf out = {0};
    ck_assert(!uri_decode((struct slice){"%41", 2}, false, &out));
    buf_deinit(&out);
    char scratch[ID_LEN_MAX];
    struct slice id;
    ck_assert(!uri_id((struct slice){"a%41", 3}, scratch, &id));
}
END_TEST

START_TEST(ids_are_of_their_alphabet)
{
    static const struct {
        const char *raw;
        const char *id; /* NULL: refused */
    } cases[] = {
        {"a", "a"},         {"AZaz09._:@-", "AZaz09._:@-"},
        {"a%3Ab", "a:b"},   {"%61%62", "ab"},
        {"...", "..."},     {"a%2d", "a-"},
        {"", NULL},         {".", NULL},
        {"..", NULL},       {"%2e%2E", NULL},
        {"a%2Fb", NULL},    {"a/b", NULL},
        {"a%00", NULL},     {"%00", NULL},
        {"a+b", NULL},      {"a%20b", NULL},
        {"a b", NULL},      {"{a}", NULL},
        {"a*", NULL},       {"a%", NULL},
        {"\xc3\xa4", NULL}, {"%C3%A4", NULL},
        {"a%0a", NULL},     {"a\x7f", NULL},
        {"a%253A", NULL},
    };
    char scratch[ID_LEN_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice id = SLICE_NONE;
        bool good = uri_id(slice_of(cases[i].raw), scratch, &id);
        ck_assert_msg(good == (cases[i].id != NULL), "%s", cases[i].raw);
        ck_assert_msg(!good || slice_equal_text(id, cases[i].id), "%s", cases[i].raw);
    }
}
END_TEST

START_TEST(a_plain_id_is_not_copied)
{
    char scratch[ID_LEN_MAX];
    struct slice raw = SLICE_LITERAL("plain");
    struct slice id;
    ck_assert(uri_id(raw, scratch, &id));
    ck_assert_ptr_eq(id.ptr, raw.ptr);
    ck_assert(uri_id(SLICE_LITERAL("pl%61in"), scratch, &id));
    ck_assert_ptr_eq(id.ptr, scratch);
}
END_TEST

START_TEST(ids_end_at_256_decoded_bytes)
{
    char scratch[ID_LEN_MAX];
    struct slice id;
    struct buf raw = {0};
    for (int i = 0; i < ID_LEN_MAX; i++)
        buf_append_char(&raw, 'x');
    ck_assert(uri_id(buf_slice(&raw), scratch, &id));
    ck_assert_uint_eq(id.len, ID_LEN_MAX);
    buf_append_char(&raw, 'x');
    ck_assert(!uri_id(buf_slice(&raw), scratch, &id));
    raw.ptr[256] = '%';
    buf_append_text(&raw, "41");
    ck_assert(!uri_id(buf_slice(&raw), scratch, &id));
    buf_clear(&raw);
    for (int i = 0; i < ID_LEN_MAX; i++)
        buf_append_text(&raw, "%41");
    ck_assert(uri_id(buf_slice(&raw), scratch, &id));
    ck_assert_uint_eq(id.len, ID_LEN_MAX);
    buf_append_text(&raw, "%41");
    ck_assert(!uri_id(buf_slice(&raw), scratch, &id));
    buf_deinit(&raw);
}
END_TEST

START_TEST(a_query_is_walked_pair_by_pair)
{
    static const struct {
        const char *query;
        const char *pairs; /* name>value; for each */
    } cases[] = {
        {"", ""},
        {"a=1&b", "a>1;b>;"},
        {"a=1=2", "a>1=2;"},
        {"&&a=&", "a>;"},
        {"=v", ">v;"},
        {"=", ">;"},
        {"a;b=1", "a;b>1;"},
        {"a=%26&b=+", "a>%26;b>+;"},
        {"a=1&a=2", "a>1;a>2;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice rest = slice_of(cases[i].query);
        struct slice name;
        struct slice value;
        struct buf seen = {0};
        while (uri_query_next(&rest, &name, &value)) {
            ck_assert_ptr_nonnull(value.ptr);
            buf_append_slice(&seen, name);
            buf_append_char(&seen, '>');
            buf_append_slice(&seen, value);
            buf_append_char(&seen, ';');
        }
        ck_assert_msg(slice_equal_text(buf_slice(&seen), cases[i].pairs), "%s", cases[i].query);
        buf_deinit(&seen);
    }
    struct slice none = SLICE_NONE;
    ck_assert(!uri_query_next(&none, &none, &none));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uri");
    TCase *tests = tcase_create("uri");
    tcase_add_test(tests, decoding_undoes_escapes_once);
    tcase_add_test(tests, a_broken_escape_is_refused_after_what_came_before);
    tcase_add_test(tests, an_escape_cut_by_the_slice_is_not_read_on);
    tcase_add_test(tests, ids_are_of_their_alphabet);
    tcase_add_test(tests, a_plain_id_is_not_copied);
    tcase_add_test(tests, ids_end_at_256_decoded_bytes);
    tcase_add_test(tests, a_query_is_walked_pair_by_pair);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
