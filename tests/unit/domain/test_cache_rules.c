/* test_cache_rules: bodies, hashes and headers of /cache. Expected hashes are computed here, by libcrypto's
 * one-shot function over bytes put together by hand. */
#include "../../support/stage.h"
#include "../../support/support.h"
#include "domain/cache.h"
#include "util/etag.h"

#include <string.h>

static struct cache_document doc;
static struct json_error error;

static enum status read_body(enum cache_form form, const char *body)
{
    memset(&doc, 0, sizeof doc);
    error.detail[0] = 0;
    return cache_document_read(form, slice_of(body), 3600, &doc, &error);
}

/* --- bodies --- */

static const struct {
    enum cache_form form;
    const char *body;
    int64_t ttl_s;
    const char *input, *scope, *response, *metadata; /* NULL: absent */
} GOOD[] = {
    {CACHE_FORM_POST, "{\"input\":\"i\",\"response\":1}", 3600, "\"i\"", NULL, "1", NULL},
    {CACHE_FORM_POST, "{\"response\":null,\"input\":\"\"}", 3600, "\"\"", NULL, "null", NULL},
    {CACHE_FORM_POST,
     " {\"input\" : \"i\", \"response\" : { \"a\" : 1.0 }, \"metadata\": {\"x\":[]}, \"ttl\":1, "
     "\"scope\":{\"m\":1}} ",
     1, "\"i\"", "{\"m\":1}", "{ \"a\" : 1.0 }", "{\"x\":[]}"},
    {CACHE_FORM_POST, "{\"input\":\"i\",\"response\":0,\"metadata\":null,\"ttl\":null,\"scope\":null}", 3600,
     "\"i\"", NULL, "0", NULL},
    {CACHE_FORM_PUT, "{\"response\":[1,2],\"ttl\":31536000}", 31536000, NULL, NULL, "[1,2]", NULL},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":60.0}", 60, NULL, NULL, "1", NULL},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":6e1}", 60, NULL, NULL, "1", NULL},
    {CACHE_FORM_PUT,
     "{\"response\":1,\"metadata\":{\"model\":\"m\",\"tokens\":7,\"provider\":null,\"own\":{}}}", 3600, NULL,
     NULL, "1", "{\"model\":\"m\",\"tokens\":7,\"provider\":null,\"own\":{}}"},
    {CACHE_FORM_LOOKUP, "{\"input\":\"i\"}", 3600, "\"i\"", NULL, NULL, NULL},
    {CACHE_FORM_LOOKUP, "{\"scope\":{\"a\":{}},\"input\":\"i\"}", 3600, "\"i\"", "{\"a\":{}}", NULL, NULL},
    {CACHE_FORM_POST, "{\"\\u0069nput\":\"i\",\"response\":1}", 3600, "\"i\"", NULL, "1", NULL},
};

static void expect_slice(struct slice got, const char *expected)
{
    ck_assert_int_eq(got.ptr == NULL, expected == NULL);
    if (expected)
        ck_assert_msg(slice_equal_text(got, expected), "%.*s instead of %s", (int)got.len, got.ptr, expected);
}

START_TEST(a_good_body_is_taken_apart_byte_for_byte)
{
    enum status status = read_body(GOOD[_i].form, GOOD[_i].body);
    ck_assert_msg(status == STATUS_OK, "%s: %s", GOOD[_i].body, error.detail);
    ck_assert_int_eq(doc.ttl_s, GOOD[_i].ttl_s);
    expect_slice(doc.input, GOOD[_i].input);
    expect_slice(doc.scope, GOOD[_i].scope);
    expect_slice(doc.response, GOOD[_i].response);
    expect_slice(doc.metadata, GOOD[_i].metadata);
}
END_TEST

static const struct {
    enum cache_form form;
    const char *body;
    enum status status;
    const char *names; /* in the detail */
} BAD[] = {
    {CACHE_FORM_POST, "", STATUS_INVALID_JSON, "line"},
    {CACHE_FORM_POST, "{\"input\":\"i\",\"response\":}", STATUS_INVALID_JSON, "line 1"},
    {CACHE_FORM_POST, "[]", STATUS_UNPROCESSABLE, "object"},
    {CACHE_FORM_POST, "{\"input\":\"i\"}", STATUS_UNPROCESSABLE, "response"},
    {CACHE_FORM_POST, "{\"response\":1}", STATUS_UNPROCESSABLE, "input"},
    {CACHE_FORM_POST, "{\"input\":null,\"response\":1}", STATUS_UNPROCESSABLE, "input"},
    {CACHE_FORM_POST, "{\"input\":7,\"response\":1}", STATUS_UNPROCESSABLE, "input"},
    {CACHE_FORM_POST, "{\"input\":\"i\",\"response\":1,\"Input\":\"i\"}", STATUS_UNPROCESSABLE, "Input"},
    {CACHE_FORM_POST, "{\"input\":\"i\",\"response\":1,\"response\":1}", STATUS_UNPROCESSABLE, "response"},
    {CACHE_FORM_POST, "{\"input\":\"i\",\"response\":1,\"scope\":[]}", STATUS_UNPROCESSABLE, "scope"},
    {CACHE_FORM_PUT, "{\"input\":\"i\",\"response\":1}", STATUS_UNPROCESSABLE, "input"},
    {CACHE_FORM_PUT, "{\"scope\":{\"a\":1},\"response\":1}", STATUS_UNPROCESSABLE, "scope"},
    {CACHE_FORM_LOOKUP, "{\"input\":\"i\",\"response\":1}", STATUS_UNPROCESSABLE, "response"},
    {CACHE_FORM_LOOKUP, "{\"input\":\"i\",\"ttl\":1}", STATUS_UNPROCESSABLE, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":0}", STATUS_INVALID_ARGUMENT, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":-1}", STATUS_INVALID_ARGUMENT, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":31536001}", STATUS_INVALID_ARGUMENT, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":1e300}", STATUS_INVALID_ARGUMENT, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":99999999999999999999}", STATUS_INVALID_ARGUMENT, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":1.5}", STATUS_UNPROCESSABLE, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"ttl\":\"60\"}", STATUS_UNPROCESSABLE, "ttl"},
    {CACHE_FORM_PUT, "{\"response\":1,\"metadata\":\"m\"}", STATUS_UNPROCESSABLE, "metadata"},
    {CACHE_FORM_PUT, "{\"response\":1,\"metadata\":{\"model\":1}}", STATUS_UNPROCESSABLE, "model"},
    {CACHE_FORM_PUT, "{\"response\":1,\"metadata\":{\"tokens\":\"1\"}}", STATUS_UNPROCESSABLE, "tokens"},
    {CACHE_FORM_PUT, "{\"response\":1,\"metadata\":{\"x\":1,\"x\":2}}", STATUS_UNPROCESSABLE, "x"},
};

START_TEST(a_bad_body_is_refused_by_name)
{
    enum status status = read_body(BAD[_i].form, BAD[_i].body);
    ck_assert_msg(status == BAD[_i].status, "%s: %s", BAD[_i].body, status_code(status));
    ck_assert_msg(strstr(error.detail, BAD[_i].names) != NULL, "%s: %s", BAD[_i].body, error.detail);
}
END_TEST

/* --- hashes --- */

static const char *key_of_body(const char *body)
{
    static char key[CACHE_KEY_SIZE];
    struct sha256 *sha = sha256_create();
    ck_assert_int_eq(read_body(CACHE_FORM_LOOKUP, body), STATUS_OK);
    enum status status = cache_document_key(sha, &doc, key, &error);
    ck_assert_msg(status == STATUS_OK, "%s: %s", body, error.detail);
    sha256_destroy(&sha);
    return key;
}

START_TEST(the_hash_of_an_input_is_its_sha256)
{
    char expected[KEY_SIZE];
    /* FIPS 180-2's own vectors for "abc" and nothing */
    ck_assert_str_eq(key_of_body("{\"input\":\"abc\"}"),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_str_eq(key_of_body("{\"input\":\"\"}"),
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ck_assert_str_eq(key_of_body("{\"input\":\"\\u00e9\\n\\\"\\ud83d\\ude00\"}"),
                     sha256_hex_of(expected, "\xc3\xa9\n\"\xf0\x9f\x98\x80", 8));
    ck_assert_str_eq(key_of_body("{\"input\":\"\xc3\xa9\\u000A\\u0022\xf0\x9f\x98\x80\"}"), expected);
}
END_TEST

START_TEST(a_scope_goes_in_canonically_with_lengths)
{
    static const char BYTES[] = "phoenix-cache-v1"
                                "\0\0\0\0\0\0\0\x1c"
                                "{\"a\":[1.0,{\"b\":2}],\"z\":\"\xc3\xa9\"}"
                                "\0\0\0\0\0\0\0\x03"
                                "abc";
    char expected[KEY_SIZE];
    sha256_hex_of(expected, BYTES, sizeof BYTES - 1);
    ck_assert_str_eq(key_of_body("{\"input\":\"abc\",\"scope\":{\"a\":[1.0,{\"b\":2}],\"z\":\"\xc3\xa9\"}}"),
                     expected);
    ck_assert_str_eq(
        key_of_body(
            "{\"scope\": { \"z\" : \"\\u00e9\", \"a\" : [ 1.0 , { \"b\" : 2 } ] }, \"input\":\"abc\"}"),
        expected);
}
END_TEST

START_TEST(what_differs_in_scope_or_numbers_as_written_differs_in_hash)
{
    static const char *const BODIES[] = {
        "{\"input\":\"abc\"}",
        "{\"input\":\"abc\",\"scope\":{\"a\":1}}",
        "{\"input\":\"abc\",\"scope\":{\"a\":1.0}}",
        "{\"input\":\"abc\",\"scope\":{\"a\":\"1\"}}",
        "{\"input\":\"bc\",\"scope\":{\"a\":1}}",
        "{\"input\":\"abc\",\"scope\":{\"a\":null}}",
        "{\"input\":\"abc\",\"scope\":{\"a\":[1,2]}}",
        "{\"input\":\"abc\",\"scope\":{\"a\":[2,1]}}",
    };
    enum { COUNT = sizeof BODIES / sizeof BODIES[0] };
    char keys[COUNT][CACHE_KEY_SIZE];
    for (size_t i = 0; i < COUNT; i++) {
        FORMAT(keys[i], "%s", key_of_body(BODIES[i]));
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(keys[i], keys[j]);
    }
}
END_TEST

static const struct {
    const char *body;
    enum status status;
    const char *names;
} UNHASHED[] = {
    {"{\"input\":\"a\\u0000b\"}", STATUS_UNPROCESSABLE, "input"},
    {"{\"input\":\"\\ud83d\"}", STATUS_UNPROCESSABLE, "input"},
    {"{\"input\":\"i\",\"scope\":{}}", STATUS_INVALID_ARGUMENT, "scope"},
    {"{\"input\":\"i\",\"scope\":{ }}", STATUS_INVALID_ARGUMENT, "scope"},
    {"{\"input\":\"i\",\"scope\":{\"a\":1,\"a\":2}}", STATUS_UNPROCESSABLE, "a"},
    {"{\"input\":\"i\",\"scope\":{\"b\":{\"a\":1,\"\\u0061\":2}}}", STATUS_UNPROCESSABLE, "a"},
    {"{\"input\":\"i\",\"scope\":{\"a\":\"\\u0000\"}}", STATUS_UNPROCESSABLE, ""},
};

START_TEST(what_cannot_be_hashed_is_told)
{
    char key[CACHE_KEY_SIZE];
    struct sha256 *sha = sha256_create();
    ck_assert_int_eq(read_body(CACHE_FORM_LOOKUP, UNHASHED[_i].body), STATUS_OK);
    enum status status = cache_document_key(sha, &doc, key, &error);
    ck_assert_msg(status == UNHASHED[_i].status, "%s: %s", UNHASHED[_i].body, status_code(status));
    ck_assert_msg(strstr(error.detail, UNHASHED[_i].names) != NULL, "%s", error.detail);
    sha256_destroy(&sha);
}
END_TEST

/* --- headers --- */

static const struct {
    const char *text;
    bool ok, no_cache, only_if_cached;
    int64_t max_age_s;
} CONTROLS[] = {
    {NULL, true, false, false, -1},
    {"", true, false, false, -1},
    {"no-cache", true, true, false, -1},
    {"No-Cache", true, true, false, -1},
    {"only-if-cached", true, false, true, -1},
    {"max-age=0", true, false, false, 0},
    {"MAX-AGE=60", true, false, false, 60},
    {" no-cache ,\tmax-age=5, only-if-cached,", true, true, true, 5},
    {"max-stale=5, no-transform, x=\"a, no-cache\"", true, false, false, -1},
    {"no-cache=x, max-age", true, false, false, -1},
    {"max-age=2147483648", true, false, false, INT64_C(1) << 31},
    {"max-age=99999999999999999999999", true, false, false, INT64_C(1) << 31},
    {"max-age=", false, false, false, 0},
    {"max-age=-1", false, false, false, 0},
    {"max-age=1.5", false, false, false, 0},
    {"no-cache, max-age=x", false, false, false, 0},
};

START_TEST(cache_control_is_read)
{
    struct cache_control c;
    bool ok = cache_control_read(slice_of(CONTROLS[_i].text), &c);
    ck_assert_msg(ok == CONTROLS[_i].ok, "%s", CONTROLS[_i].text);
    if (!ok) return;
    ck_assert_int_eq(c.no_cache, CONTROLS[_i].no_cache);
    ck_assert_int_eq(c.only_if_cached, CONTROLS[_i].only_if_cached);
    ck_assert_int_eq(c.max_age_s, CONTROLS[_i].max_age_s);
}
END_TEST

static const struct {
    const char *list;
    bool matches;
} ETAGS[] = {
    {"\"abc\"", true},
    {"W/\"abc\"", true},
    {"*", true},
    {"\"x\", \"abc\"", true},
    {"\"x\",W/\"abc\"", true},
    {" \"abc\" ", true},
    {"\"a,b\",\"abc\"", true},
    {"abc", false},
    {"\"abcd\"", false},
    {"\"ab\"", false},
    {"\"\"", false},
    {"", false},
    {"w/\"abc\"", false},
    {"\"x,abc\"", false},
    {"\"abc", false},
    {"W/", false},
    {"\"*\"", false},
    {NULL, false},
};

START_TEST(an_etag_list_is_searched_weakly)
{
    ck_assert_msg(etag_list_matches(slice_of(ETAGS[_i].list), SLICE_LITERAL("abc")) == ETAGS[_i].matches,
                  "%s", ETAGS[_i].list);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("cache_rules");
    TCase *c = test_case(suite, "rules", 10);
    tcase_add_loop_test(c, a_good_body_is_taken_apart_byte_for_byte, 0, COUNT_OF(GOOD));
    tcase_add_loop_test(c, a_bad_body_is_refused_by_name, 0, COUNT_OF(BAD));
    tcase_add_test(c, the_hash_of_an_input_is_its_sha256);
    tcase_add_test(c, a_scope_goes_in_canonically_with_lengths);
    tcase_add_test(c, what_differs_in_scope_or_numbers_as_written_differs_in_hash);
    tcase_add_loop_test(c, what_cannot_be_hashed_is_told, 0, COUNT_OF(UNHASHED));
    tcase_add_loop_test(c, cache_control_is_read, 0, COUNT_OF(CONTROLS));
    tcase_add_loop_test(c, an_etag_list_is_searched_weakly, 0, COUNT_OF(ETAGS));
    return test_run(suite);
}
