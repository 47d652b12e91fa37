/* The cache's contract, each case on both backends: writing, hashing, looking
 * up, deleting. Reading's headers are in test_contract_read.c. */
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>

static struct stage s;

static void open_stage(int backend)
{
    s = stage_open((enum backend)backend, NULL);
}

static const char *path_of(char out[512], const char *key)
{
    return format(out, 512, "/cache/%s", key);
}

START_TEST(post_stores_under_the_hash_of_the_input)
{
    char key[KEY_SIZE];
    char path[512];
    char value[512];
    open_stage(_i);
    const struct http_answer *a = http_send(
        s.h, "POST", "/cache", "{\"input\": \"Why is the sky \\u0062lue?\\n\", \"response\": \"Rayleigh\"}");
    EXPECT_STATUS(a, 201);
    key_of(key, "Why is the sky blue?\n");
    ck_assert_str_eq(MEMBER(value, a->body, "key"), key);
    const char *expires = MEMBER(value, a->body, "expires_at");
    ck_assert_uint_eq(strlen(expires), 24); /* RFC 3339 with three fractional digits */
    ck_assert(expires[10] == 'T' && expires[19] == '.' && expires[23] == 'Z');
    ck_assert_str_eq(http_header(s.h, "Location"), path_of(path, key));
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_header(s.h, "Content-Type", "application/json");
    EXPECT_STATUS(http_get(s.h, path), 200);
    stage_close(&s);
}
END_TEST

START_TEST(a_second_post_replaces_and_says_200)
{
    char key[KEY_SIZE];
    char path[512];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "POST", "/cache", "{\"input\":\"q\",\"response\":1}"), 201);
    EXPECT_STATUS(http_send(s.h, "POST", "/cache", "{\"input\":\"q\",\"response\":2}"), 200);
    const struct http_answer *a = http_get(s.h, path_of(path, key_of(key, "q")));
    char value[64];
    ck_assert_str_eq(MEMBER(value, a->body, "response"), "2");
    stage_close(&s);
}
END_TEST

START_TEST(put_creates_replaces_and_honours_if_none_match)
{
    char value[64];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/a.b_c:d@e-F", "{\"response\":1}"), 201);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/a.b_c:d@e-F", "{\"response\":2}"), 200);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    const char *create = "{\"response\":3}";
    const struct http_answer *a =
        http_request(s.h, "PUT", "/cache/a.b_c:d@e-F", "If-None-Match: *", create, strlen(create));
    expect_problem(s.h, a, 412, "precondition_failed");
    a = http_get(s.h, "/cache/a.b_c:d@e-F");
    ck_assert_str_eq(MEMBER(value, a->body, "response"), "2");
    EXPECT_STATUS(http_request(s.h, "PUT", "/cache/new", "If-None-Match: *", create, strlen(create)), 201);
    stage_close(&s);
}
END_TEST

START_TEST(delete_says_204_whether_it_was_there_or_not)
{
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "DELETE", "/cache/k", NULL), 204);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":1}"), 201);
    const struct http_answer *a = http_send(s.h, "DELETE", "/cache/k", NULL);
    EXPECT_STATUS(a, 204);
    ck_assert_uint_eq(a->len, 0);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_problem(s.h, http_get(s.h, "/cache/k"), 404, "not_found");
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":2}"), 201);
    EXPECT_STATUS(http_get(s.h, "/cache/k"), 200);
    stage_close(&s);
}
END_TEST

START_TEST(lookup_finds_by_json_text_and_query)
{
    open_stage(_i);
    const char *text = "two words & caf\xc3\xa9";
    EXPECT_STATUS(
        http_send(s.h, "POST", "/cache", "{\"input\":\"two words & caf\\u00e9\",\"response\":\"r\"}"), 201);
    const struct http_answer *a =
        http_send(s.h, "POST", "/cache/lookup", "{\"input\":\"two words & caf\xc3\xa9\"}");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"r\""));
    expect_header(s.h, "Cache-Status", "phoenix-cached; hit");
    a = http_request(s.h, "POST", "/cache/lookup", "Content-Type: text/plain; charset=utf-8", text,
                     strlen(text));
    EXPECT_STATUS(a, 200);
    EXPECT_STATUS(http_get(s.h, "/cache?input=two%20words+%26%20caf%C3%A9"), 200);
    expect_problem(s.h, http_send(s.h, "POST", "/cache/lookup", "{\"input\":\"other\"}"), 404, "not_found");
    expect_header(s.h, "Cache-Status", "phoenix-cached; fwd=miss");
    expect_problem(s.h, http_get(s.h, "/cache?input=other"), 404, "not_found");
    stage_close(&s);
}
END_TEST

/* scope as sent, its canonical form written by hand */
static const struct {
    const char *sent, *canonical;
} scopes[] = {
    {"{\"model\":\"m\"}", "{\"model\":\"m\"}"},
    {" { \"b\" : 1.0 ,\t\"a\":{\"z\":[1, 2e5 ,{\"y\":null,\"x\":\"\\u00e9\\/\"}],\n\"A\":true} } ",
     "{\"a\":{\"A\":true,\"z\":[1,2e5,{\"x\":\"\xc3\xa9/\",\"y\":null}]},\"b\":1.0}"},
    {"{\"n\":[1E400,-0.0,18446744073709551616,1.50]}", "{\"n\":[1E400,-0.0,18446744073709551616,1.50]}"},
    {"{\"s\":\"\\u0008\\u0009\\u000a\\u000c\\u000d\\u001F\\u0022\\u005c\\u007f\\u2028\"}",
     "{\"s\":\"\\b\\t\\n\\f\\r\\u001f\\\"\\\\\x7f\xe2\x80\xa8\"}"},
    /* by UTF-8 bytes U+FF61 comes before U+1D11E; by UTF-16 units it would come after */
    {"{\"\\ud834\\udd1e\":1,\"\\uff61\":2,\"z\":3,\"\\u00e9\":4}",
     "{\"z\":3,\"\xc3\xa9\":4,\"\xef\xbd\xa1\":2,\"\xf0\x9d\x84\x9e\":1}"},
    {"{\"ab\":1,\"a\":2,\"\":3}", "{\"\":3,\"a\":2,\"ab\":1}"},
};

START_TEST(the_scope_is_hashed_in_canonical_form)
{
    char body[1024];
    char key[KEY_SIZE];
    char value[128];
    open_stage(_i);
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++) {
        FORMAT(body, "{\"input\":\"q\",\"response\":%zu,\"scope\":%s}", i, scopes[i].sent);
        const struct http_answer *a = http_send(s.h, "POST", "/cache", body);
        EXPECT_STATUS(a, 201);
        ck_assert_str_eq(MEMBER(value, a->body, "key"), key_of_scoped(key, scopes[i].canonical, "q"));
        FORMAT(body, "{\"scope\":%s,\"input\":\"q\"}", scopes[i].canonical);
        a = http_send(s.h, "POST", "/cache/lookup", body);
        EXPECT_STATUS(a, 200);
        char number[8];
        ck_assert_str_eq(MEMBER(value, a->body, "response"), FORMAT(number, "%zu", i));
    }
    expect_problem(s.h, http_send(s.h, "POST", "/cache/lookup", "{\"input\":\"q\"}"), 404, "not_found");
    stage_close(&s);
}
END_TEST

static const char *const raw_values[] = {
    "1.0",
    "1e400",
    "-0",
    "18446744073709551616",
    "0.1000000000000000055511151231257827021181583404541015625",
    "\"\\u0041\\/\\ud83d\\ude00 \\u0000 tab\\t\"",
    "\"\xf0\x9f\x98\x80 plain\"",
    "{\"z\":1,\"a\":2,\"z\":3,\"nested\":{\"b\":[ ],\"a\":{ }}}",
    "[1, 2 ,\t3,\r\n 4.50]",
    "null",
    "false",
    "\"\\ud800 lone\"",
    "{\"response\":\"inner\",\"timestamp\":5}",
};

START_TEST(the_response_comes_back_byte_for_byte)
{
    char body[1024];
    char path[64];
    open_stage(_i);
    for (size_t i = 0; i < sizeof raw_values / sizeof raw_values[0]; i++) {
        FORMAT(body, "{\"response\":  %s  ,\"metadata\":{\"x\":%s,\"model\":\"m\"}}", raw_values[i],
               raw_values[i]);
        FORMAT(path, "/cache/raw%zu", i);
        EXPECT_STATUS(http_send(s.h, "PUT", path, body), 201);
        const struct http_answer *a = http_get(s.h, path);
        EXPECT_STATUS(a, 200);
        char part[600];
        ck_assert_msg(strstr(a->body, FORMAT(part, "\"response\":%s,", raw_values[i])), "%s not in %s", part,
                      a->body);
        ck_assert_msg(strstr(a->body, FORMAT(part, "{\"x\":%s,\"model\":\"m\"}", raw_values[i])),
                      "%s not in %s", part, a->body);
        if (s.r) ck_assert_str_eq(redis_value(s.r, path + strlen("/cache/")), a->body);
    }
    stage_close(&s);
}
END_TEST

START_TEST(a_large_response_comes_back_byte_for_byte)
{
    size_t len = 3u << 20;
    char *body = must_alloc(len + 64);
    open_stage(_i);
    size_t at = strlen(format(body, 64, "{\"response\":\""));
    for (size_t i = 0; i < len; i++)
        body[at + i] = (char)('a' + (i * 7 + i / 911) % 26);
    memcpy(body + at + len, "\"}", 3);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/large", body), 201);
    const struct http_answer *a = http_get(s.h, "/cache/large");
    EXPECT_STATUS(a, 200);
    body[at + len] = 0;
    ck_assert(strstr(a->body, body + at) != NULL);
    free(body);
    stage_close(&s);
}
END_TEST

START_TEST(absent_metadata_and_ttl_are_the_defaults)
{
    char value[128];
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/d", "{\"response\":1}"), 201);
    const struct http_answer *a = http_get(s.h, "/cache/d");
    ck_assert_str_eq(MEMBER(value, a->body, "metadata"), "{\"model\":\"\",\"tokens\":0,\"provider\":\"\"}");
    ck_assert_str_eq(MEMBER(value, a->body, "ttl"), "3600");
    ck_assert_uint_eq(strlen(MEMBER(value, a->body, "timestamp")), 24);
    if (s.r) {
        ck_assert_int_le(redis_pttl(s.r, "d"), 3600000);
        ck_assert_int_gt(redis_pttl(s.r, "d"), 3500000);
    }
    stage_close(&s);
}
END_TEST

START_TEST(a_value_ends_with_its_ttl)
{
    open_stage(_i);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/short", "{\"response\":1,\"ttl\":1}"), 201);
    WAIT_FOR(http_get(s.h, "/cache/short")->status == 404, 4000);
    expect_header(s.h, "Cache-Status", "fwd=miss");
    stage_close(&s);
}
END_TEST

static const struct {
    const char *ttl;
    int status;
    const char *code;
} ttls[] = {
    {"0", 400, "invalid_argument"},
    {"-1", 400, "invalid_argument"},
    {"1.5", 422, "unprocessable"},
    {"\"x\"", 422, "unprocessable"},
    {"31536001", 400, "invalid_argument"},
    {"1e300", 400, "invalid_argument"},
    {"99999999999999999999", 400, "invalid_argument"},
    {"true", 422, "unprocessable"},
};

START_TEST(absurd_ttls_are_refused_and_nothing_is_stored)
{
    char body[128];
    open_stage(_i);
    for (size_t i = 0; i < sizeof ttls / sizeof ttls[0]; i++) {
        FORMAT(body, "{\"response\":1,\"ttl\":%s}", ttls[i].ttl);
        const struct http_answer *a = http_send(s.h, "PUT", "/cache/absurd", body);
        expect_problem(s.h, a, ttls[i].status, ttls[i].code);
        ck_assert_msg(strstr(a->body, "ttl"), "does not name ttl: %s", a->body);
    }
    EXPECT_STATUS(http_get(s.h, "/cache/absurd"), 404);
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/longest", "{\"response\":1,\"ttl\":31536000}"), 201);
    stage_close(&s);
}
END_TEST

static const struct {
    const char *method, *path, *body;
    int status;
    const char *code;
} refused[] = {
    {"POST", "/cache", "{\"input\":\"q\"}", 422, "unprocessable"},
    {"POST", "/cache", "{\"response\":1}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":5,\"response\":1}", 422, "unprocessable"},
    {"POST", "/cache", "[]", 422, "unprocessable"},
    {"POST", "/cache", "", 400, "invalid_json"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":1,\"more\":1}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":1,\"metadata\":[]}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":1,\"scope\":\"s\"}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":1,\"scope\":{\"a\":1,\"\\u0061\":2}}", 422,
     "unprocessable"},
    {"POST", "/cache", "{\"input\":\"q\",\"input\":\"q\",\"response\":1}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":\"a\\u0000b\",\"response\":1}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":\"\\ud800\",\"response\":1}", 422, "unprocessable"},
    {"POST", "/cache", "{\"input\":\"\xff\",\"response\":1}", 400, "invalid_json"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":\"\xc0\xaf\"}", 400, "invalid_json"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":[1,]}", 400, "invalid_json"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":1", 400, "invalid_json"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":1} x", 400, "invalid_json"},
    {"POST", "/cache", "{\"input\":\"q\",\"response\":01}", 400, "invalid_json"},
    {"POST", "/cache/lookup", "{\"input\":\"q\",\"ttl\":1}", 422, "unprocessable"},
    {"PUT", "/cache/q", "{\"input\":\"q\",\"response\":1}", 422, "unprocessable"},
    {"PUT", "/cache/q", "{}", 422, "unprocessable"},
    {"GET", "/cache", NULL, 400, "invalid_argument"},
    {"GET", "/cache?input=q&other=1", NULL, 400, "invalid_argument"},
    {"GET", "/cache/q?x=1", NULL, 400, "invalid_argument"},
    {"DELETE", "/cache/q?x=1", NULL, 400, "invalid_argument"},
    {"GET", "/cache/lookup", NULL, 405, "method_not_allowed"},
};

START_TEST(bad_requests_are_refused_and_nothing_is_stored)
{
    open_stage(_i);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct http_answer *a = http_send(s.h, refused[i].method, refused[i].path, refused[i].body);
        ck_assert_msg(a->status == refused[i].status, "%s %s %s: %d %s", refused[i].method, refused[i].path,
                      refused[i].body ? refused[i].body : "", a->status, a->body);
        expect_problem(s.h, a, refused[i].status, refused[i].code);
    }
    EXPECT_STATUS(http_get(s.h, "/cache?input=q"), 404);
    if (s.r) ck_assert_int_eq(resp_integer(s.r, "DBSIZE"), 0);
    /* libcurl 8.14 gives a connection up on which an empty body was refused. */
    ck_assert_uint_le(http_connects(s.h), 2);
    stage_close(&s);
}
END_TEST

START_TEST(an_empty_scope_is_refused)
{
    open_stage(_i);
    int status = http_send(s.h, "POST", "/cache", "{\"input\":\"q\",\"response\":1,\"scope\":{}}")->status;
    ck_assert(status == 400 || status == 422);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract_cache");
    TCase *tc = test_case(suite, "cache", 30);
    tcase_add_loop_test(tc, post_stores_under_the_hash_of_the_input, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_second_post_replaces_and_says_200, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, put_creates_replaces_and_honours_if_none_match, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, delete_says_204_whether_it_was_there_or_not, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, lookup_finds_by_json_text_and_query, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, the_scope_is_hashed_in_canonical_form, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, the_response_comes_back_byte_for_byte, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_large_response_comes_back_byte_for_byte, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, absent_metadata_and_ttl_are_the_defaults, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, a_value_ends_with_its_ttl, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, absurd_ttls_are_refused_and_nothing_is_stored, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, bad_requests_are_refused_and_nothing_is_stored, 0, BACKEND_COUNT);
    tcase_add_loop_test(tc, an_empty_scope_is_refused, 0, BACKEND_COUNT);
    return test_run(suite);
}
