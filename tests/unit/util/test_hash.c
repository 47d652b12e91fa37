/* Facts about util/hash. */
#include "util/hash.h"

#include <check.h>
#include <string.h>

/* Key 00 01 … 0f, message 00 01 … of each length: from an implementation of its own, which also gives the
 * published SipHash-2-4 vectors. */
START_TEST(the_vectors_of_siphash_1_3_hold)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {
        {0, 0xabac0158050fc4dc}, {1, 0xc9f49bf37d57ca93},  {7, 0xd3927d989bb11140},  {8, 0x369095118d299a8e},
        {9, 0x25a48eb36c063de4}, {15, 0xd320d86d2a519956}, {16, 0xcc4fdd1a7d908b66}, {63, 0x9d199062b7bbb3a8},
    };
    const struct hash_seed seed = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    unsigned char message[64];
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(hash_bytes(&seed, message, cases[i].len) == cases[i].hash, "%zu bytes", cases[i].len);
}
END_TEST

START_TEST(alignment_does_not_matter)
{
    const struct hash_seed seed = {1, 2};
    static const unsigned char key[25] = {'a', ' ', 'k', 'e', 'y'};
    unsigned char shifted[sizeof key + 8];
    uint64_t hash = hash_bytes(&seed, key, sizeof key);
    for (size_t i = 0; i < 8; i++) {
        memcpy(shifted + i, key, sizeof key);
        ck_assert_uint_eq(hash_bytes(&seed, shifted + i, sizeof key), hash);
    }
}
END_TEST

START_TEST(another_seed_gives_another_hash)
{
    const struct hash_seed a = {1, 2};
    const struct hash_seed b = {1, 3};
    ck_assert_uint_ne(hash_bytes(&a, "x", 1), hash_bytes(&b, "x", 1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hash");
    TCase *tests = tcase_create("hash");
    tcase_add_test(tests, the_vectors_of_siphash_1_3_hold);
    tcase_add_test(tests, alignment_does_not_matter);
    tcase_add_test(tests, another_seed_gives_another_hash);
    suite_add_tcase(suite, tests);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
