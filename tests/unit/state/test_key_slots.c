/* test_key_slots: the keys of each family of scripts are in one slot of a cluster, whatever prefix and id. */
#include "../../support/support.h"
#include "engine/redis/slot.h"
#include "state/cache_private.h"
#include "state/lock_private.h"
#include "state/queue_private.h"
#include "state/record.h"

#include <string.h>

static char longest[ID_LEN_MAX + 1];

static const char *const PREFIXES[] = {"phoenix", "a", "team.7:prod@eu-west_1",
                                       "0123456789012345678901234567890123456789012345678901234567890123"};
static const char *const IDS[] = {"0190f3c2-7d5e-7cc1-b7de-3f1f0f6a9a10",
                                  "x",
                                  "agent:planner@host-1.example",
                                  "..",
                                  "a.b:c_d@e-f",
                                  longest};
enum { PREFIX_COUNT = sizeof PREFIXES / sizeof PREFIXES[0], ID_COUNT = sizeof IDS / sizeof IDS[0] };

static void setup(void)
{
    memset(longest, 'z', ID_LEN_MAX);
}

START_TEST(a_record_and_its_tombstone)
{
    struct record_store_options options = {.prefix = PREFIXES[_i], .clock = &clock_system};
    options.rules[JOURNAL_SESSION].name = "session";
    options.rules[JOURNAL_HEALTH].name = "health";
    struct record_store *store = record_store_create(&options);
    ck_assert_ptr_nonnull(store);
    for (unsigned kind = JOURNAL_SESSION; kind <= JOURNAL_HEALTH; kind++)
        for (size_t i = 0; i < ID_COUNT; i++) {
            char key[RECORD_KEY_MAX], gone[RECORD_GONE_KEY_MAX];
            ck_assert_uint_eq(redis_slot(record_key(store, kind, slice_of(IDS[i]), key)),
                              redis_slot(record_gone_key(store, kind, slice_of(IDS[i]), gone)));
        }
    record_store_destroy(&store);
}
END_TEST

START_TEST(a_locks_parts)
{
    for (size_t i = 0; i < ID_COUNT; i++) {
        char key[LOCK_KEY_MAX], part[LOCK_KEY_MAX];
        unsigned slot = redis_slot(lock_key(PREFIXES[_i], LOCK_PART_LOCK, slice_of(IDS[i]), key));
        for (unsigned p = 0; p < LOCK_PARTS; p++)
            ck_assert_uint_eq(redis_slot(lock_key(PREFIXES[_i], (enum lock_part)p, slice_of(IDS[i]), part)),
                              slot);
    }
}
END_TEST

START_TEST(the_queues_parts)
{
    struct queue_store *store =
        queue_store_create(&(struct queue_store_options){.prefix = PREFIXES[_i], .clock = &clock_system});
    ck_assert_ptr_nonnull(store);
    unsigned slot = redis_slot(slice_of(queue_store_key(store)));
    for (size_t i = 0; i < QUEUE_KEYS; i++)
        ck_assert_uint_eq(redis_slot(store->keys[i]), slot);
    queue_store_destroy(&store);
}
END_TEST

START_TEST(a_cached_response_is_one_key)
{
    struct redis_command command = {0};
    cache_write_command(&command, SLICE_LITERAL("phoenix:cache:k"), SLICE_LITERAL("any"), SLICE_LITERAL(""),
                        SLICE_LITERAL("1000"), SLICE_LITERAL("{}"));
    ck_assert(command.keys ? command.keys_count == 1 : slice_equal_text(command.argv[0], "1"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("key_slots");
    TCase *t = test_case(s, "key_slots", 10);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, a_record_and_its_tombstone, 0, PREFIX_COUNT);
    tcase_add_loop_test(t, a_locks_parts, 0, PREFIX_COUNT);
    tcase_add_loop_test(t, the_queues_parts, 0, PREFIX_COUNT);
    tcase_add_test(t, a_cached_response_is_one_key);
    return test_run(s);
}
