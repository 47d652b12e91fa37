/* test_lock: what a request of /locks must hold. */
#include "../../support/support.h"
#include "domain/lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TTL_MAX_MS = 600000 };

#define TOKEN "0123456789abcdef0123456789abcdef"

static const struct {
    const char *body, *status, *says;
} REFUSED[] = {
    {"", "invalid_json", ""},
    {"{\"ttl\":}", "invalid_json", "column"},
    {"[]", "unprocessable", ""},
    {"{}", "unprocessable", "ttl"},
    {"{\"ttl\":\"1\"}", "unprocessable", "ttl"},
    {"{\"ttl\":null}", "unprocessable", "ttl"},
    {"{\"ttl\":1,\"ttl\":2}", "unprocessable", "ttl"},
    {"{\"ttl\":1,\"lease\":2}", "unprocessable", "lease"},
    {"{\"ttl\":1,\"owner\":7}", "unprocessable", "owner"},
    {"{\"ttl\":1,\"owner\":\"\\u0000\"}", "unprocessable", "owner"},
    {"{\"ttl\":1,\"wait\":\"1\"}", "unprocessable", "wait"},
    {"{\"ttl\":0.0999}", "invalid_argument", "ttl must be between 0.1 and 600"},
    {"{\"ttl\":600.001}", "invalid_argument", "ttl"},
    {"{\"ttl\":-1}", "invalid_argument", "ttl"},
    {"{\"ttl\":1e400}", "invalid_argument", "ttl"},
    {"{\"ttl\":1000000000000000000000000000000000000000000000000000000000000000000000000}",
     "invalid_argument", "ttl"},
    {"{\"ttl\":1,\"wait\":60.1}", "invalid_argument", "wait must be between 0 and 60"},
    {"{\"ttl\":1,\"wait\":-0.1}", "invalid_argument", "wait"},
    {"{\"ttl\":1,\"owner\":\"\"}", "invalid_argument", "owner"},
    {"{\"ttl\":1,\"owner\":\"a\\nb\"}", "invalid_argument", "owner"},
    {"{\"ttl\":1,\"owner\":\"a\\u007fb\"}", "invalid_argument", "owner"},
};

START_TEST(what_is_no_acquire_is_refused_and_named)
{
    struct lock_acquire_request r;
    struct json_error error = {""};
    struct buf owner = {0};
    enum status status = lock_acquire_read(slice_of(REFUSED[_i].body), TTL_MAX_MS, &r, &owner, &error);
    ck_assert_str_eq(status_code(status), REFUSED[_i].status);
    ck_assert_msg(strstr(error.detail, REFUSED[_i].says) != NULL, "%s", error.detail);
    buf_deinit(&owner);
}
END_TEST

static const struct {
    const char *body, *owner;
    int64_t ttl_ms, wait_ms;
} TAKEN[] = {
    {"{\"ttl\":0.1}", NULL, 100, 0},
    {"{\"ttl\":600}", NULL, 600000, 0},
    {"{\"ttl\":1.5e1,\"owner\":null,\"wait\":null}", NULL, 15000, 0},
    {"{\"ttl\":2,\"owner\":\"a#b\",\"wait\":0}", "a#b", 2000, 0},
    {"{\"wait\":59.9995,\"owner\":\"\\u00e9\\\"\",\"ttl\":0.25}", "\xc3\xa9\"", 250, 60000},
};

START_TEST(what_is_one_is_read)
{
    struct lock_acquire_request r;
    struct buf owner = {0};
    ck_assert_int_eq(lock_acquire_read(slice_of(TAKEN[_i].body), TTL_MAX_MS, &r, &owner, NULL), STATUS_OK);
    ck_assert_int_eq(r.ttl_ms, TAKEN[_i].ttl_ms);
    ck_assert_int_eq(r.wait_ms, TAKEN[_i].wait_ms);
    ck_assert(r.has_owner == (TAKEN[_i].owner != NULL));
    if (TAKEN[_i].owner) ck_assert(slice_equal_text(buf_slice(&owner), TAKEN[_i].owner));
    buf_deinit(&owner);
}
END_TEST

START_TEST(an_hour_is_the_longest_whatever_the_option_says)
{
    struct lock_acquire_request r;
    struct buf owner = {0};
    ck_assert_int_eq(lock_acquire_read(SLICE_LITERAL("{\"ttl\":3600}"), 86400000, &r, &owner, NULL),
                     STATUS_OK);
    ck_assert_int_eq(lock_acquire_read(SLICE_LITERAL("{\"ttl\":3601}"), 86400000, &r, &owner, NULL),
                     STATUS_INVALID_ARGUMENT);
    buf_deinit(&owner);
}
END_TEST

START_TEST(an_owner_has_at_most_256_characters_of_any_size)
{
    char body[4096] = "{\"ttl\":1,\"owner\":\"";
    struct lock_acquire_request r;
    char *at = body + strlen(body);
    for (unsigned chars = 1; chars <= 257; chars++) {
        struct buf owner = {0};
        at = paste(at, "\xf0\x9f\x94\x92");
        paste(at, "\"}");
        at[2] = 0;
        enum status expected = chars <= 256 ? STATUS_OK : STATUS_INVALID_ARGUMENT;
        ck_assert_int_eq(lock_acquire_read(slice_of(body), TTL_MAX_MS, &r, &owner, NULL), expected);
        buf_deinit(&owner);
    }
}
END_TEST

static const struct {
    const char *body, *status;
} RENEWALS[] = {
    {"{\"token\":\"" TOKEN "\",\"ttl\":5}", "ok"},
    {"{\"ttl\":5}", "unprocessable"},
    {"{\"token\":\"" TOKEN "\"}", "unprocessable"},
    {"{\"token\":7,\"ttl\":5}", "unprocessable"},
    {"{\"token\":\"" TOKEN "\",\"ttl\":5,\"owner\":\"a\"}", "unprocessable"},
    {"{\"token\":\"x\",\"ttl\":5}", "invalid_argument"},
    {"{\"token\":\"\\u0030123456789abcdef0123456789abcdef\",\"ttl\":5}", "invalid_argument"},
    {"{\"token\":\"0123456789ABCDEF0123456789abcdef\",\"ttl\":5}", "invalid_argument"},
    {"{\"token\":\"" TOKEN "\",\"ttl\":0}", "invalid_argument"},
};

START_TEST(a_renewal_holds_token_and_ttl)
{
    struct lock_renew_request r;
    struct json_error error = {""};
    enum status status = lock_renew_read(slice_of(RENEWALS[_i].body), TTL_MAX_MS, &r, &error);
    ck_assert_str_eq(status_code(status), RENEWALS[_i].status);
    if (status != STATUS_OK) return;
    ck_assert(slice_equal_text(r.token, TOKEN));
    ck_assert_int_eq(r.ttl_ms, 5000);
}
END_TEST

START_TEST(headers_have_a_form)
{
    char key[258];
    ck_assert(lock_token_ok(SLICE_LITERAL(TOKEN)));
    ck_assert(!lock_token_ok(SLICE_LITERAL(TOKEN "0")));
    ck_assert(!lock_token_ok(SLICE_LITERAL("")));
    ck_assert(lock_idempotency_key_ok(SLICE_LITERAL("\"8e03978e-40d5\"")));
    ck_assert(!lock_idempotency_key_ok(SLICE_LITERAL("")));
    ck_assert(!lock_idempotency_key_ok(SLICE_LITERAL("a b")));
    ck_assert(!lock_idempotency_key_ok(SLICE_LITERAL("\xc3\xa9")));
    memset(key, 'k', sizeof key);
    ck_assert(lock_idempotency_key_ok((struct slice){key, 256}));
    ck_assert(!lock_idempotency_key_ok((struct slice){key, 257}));
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("lock rules");
    TCase *tests = test_case(suite, "requests", 10);
    tcase_add_loop_test(tests, what_is_no_acquire_is_refused_and_named, 0, COUNT(REFUSED));
    tcase_add_loop_test(tests, what_is_one_is_read, 0, COUNT(TAKEN));
    tcase_add_test(tests, an_hour_is_the_longest_whatever_the_option_says);
    tcase_add_test(tests, an_owner_has_at_most_256_characters_of_any_size);
    tcase_add_loop_test(tests, a_renewal_holds_token_and_ttl, 0, COUNT(RENEWALS));
    tcase_add_test(tests, headers_have_a_form);
    return test_run(suite);
}
