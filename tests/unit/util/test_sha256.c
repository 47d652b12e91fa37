/* Facts about util/sha256. */
#include "util/sha256.h"

#include <check.h>
#include <stdlib.h>

static void hash(struct sha256 *h, struct slice a, struct slice b, char out[SHA256_HEX_SIZE])
{
    unsigned char digest[SHA256_BYTES];
    ck_assert(sha256_begin(h) && sha256_add(h, a) && sha256_add(h, b) && sha256_end(h, digest));
    sha256_hex(digest, out);
}

START_TEST(the_vectors_of_fips_180_hold_with_one_context)
{
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    struct sha256 *h = sha256_create();
    ck_assert_ptr_nonnull(h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char hex[SHA256_HEX_SIZE];
        struct slice text = slice_of(cases[i].text);
        hash(h, text, SLICE_NONE, hex);
        ck_assert_str_eq(hex, cases[i].hex);
        size_t half = text.len / 2;
        hash(h, (struct slice){text.ptr, half}, (struct slice){text.ptr + half, text.len - half}, hex);
        ck_assert_str_eq(hex, cases[i].hex);
    }
    sha256_destroy(&h);
    ck_assert_ptr_null(h);
    sha256_destroy(&h);
}
END_TEST

START_TEST(a_hash_given_up_leaves_nothing_in_the_next)
{
    struct sha256 *h = sha256_create();
    ck_assert_ptr_nonnull(h);
    ck_assert(sha256_begin(h) && sha256_add(h, SLICE_LITERAL("half")));
    char hex[SHA256_HEX_SIZE];
    hash(h, SLICE_LITERAL("abc"), SLICE_NONE, hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_destroy(&h);
}
END_TEST

START_TEST(a_million_bytes_hash_as_published)
{
    enum { MILLION = 1000000 };
    char *text = malloc(MILLION);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', MILLION);
    struct sha256 *h = sha256_create();
    ck_assert_ptr_nonnull(h);
    char hex[SHA256_HEX_SIZE];
    hash(h, (struct slice){text, MILLION}, SLICE_NONE, hex);
    ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    sha256_destroy(&h);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sha256");
    TCase *tests = tcase_create("sha256");
    tcase_add_test(tests, the_vectors_of_fips_180_hold_with_one_context);
    tcase_add_test(tests, a_hash_given_up_leaves_nothing_in_the_next);
    tcase_add_test(tests, a_million_bytes_hash_as_published);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
