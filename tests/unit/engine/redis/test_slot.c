/* test_slot: the hash slot of a key, by the specification's own examples and what CLUSTER KEYSLOT says. */
#include "../../../support/support.h"
#include "engine/redis/slot.h"

static const struct {
    const char *key;
    unsigned slot;
} CASES[] = {
    {"123456789", 0x31c3}, /* the CRC's check value; below 16384 */
    {"", 0},
    {"foo", 12182},
    {"phoenix:cache:k", 13400},
    /* Between the first brace and the next closing one. */
    {"{user1000}.following", 3443},
    {"{user1000}.followers", 3443},
    {"user1000", 3443},
    {"foo{bar}{zap}", 5061},
    {"bar", 5061},
    {"foo{{bar}}zap", 4015}, /* "{bar" */
    {"{bar", 4015},
    /* Nothing between, or no end: the whole key. */
    {"foo{}{bar}", 8363},
    {"foo{bar", 15278},
    {"}foo{", 8453},
};

START_TEST(a_key_has_its_slot)
{
    ck_assert_msg(redis_slot(slice_of(CASES[_i].key)) == CASES[_i].slot, "%s: %u instead of %u",
                  CASES[_i].key, redis_slot(slice_of(CASES[_i].key)), CASES[_i].slot);
}
END_TEST

START_TEST(bytes_of_any_value_count)
{
    ck_assert_uint_eq(redis_slot((struct slice){"\x00\xff\x80{", 4}), 6919);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("slot");
    TCase *t = test_case(s, "slot", 10);
    tcase_add_loop_test(t, a_key_has_its_slot, 0, sizeof CASES / sizeof CASES[0]);
    tcase_add_test(t, bytes_of_any_value_count);
    return test_run(s);
}
