/* test_info: what is read from INFO, and that odd answers cost no more than the number they garble. */
#include "../../../support/support.h"
#include "engine/redis/info.h"

#include <string.h>

static struct redis_info parse(const char *text)
{
    struct redis_info info;
    redis_info_parse(slice_of(text), &info);
    return info;
}

START_TEST(what_redis_7_says_is_read)
{
    struct redis_info info = parse(
        "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Clients\r\nconnected_clients:12\r\n"
        "cluster_connections:0\r\nmaxclients:10000\r\n\r\n# Memory\r\nused_memory:1049616\r\n"
        "used_memory_human:1.00M\r\nmaxmemory:1610612736\r\nmaxmemory_human:1.50G\r\n"
        "maxmemory_policy:noeviction\r\n\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\n\r\n# Stats\r\n"
        "total_connections_received:99\r\ntotal_commands_processed:9000000000\r\nevicted_keys:0\r\n"
        "keyspace_hits:5\r\nkeyspace_misses:6\r\n\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n");
    ck_assert_int_eq(info.clients, 12);
    ck_assert_int_eq(info.memory_bytes, 1049616);
    ck_assert_int_eq(info.memory_max_bytes, 1610612736);
    ck_assert_int_eq(info.commands, 9000000000);
    ck_assert_int_eq(info.hits, 5);
    ck_assert_int_eq(info.misses, 6);
    ck_assert_int_eq(info.evicted_keys, 0);
    ck_assert_int_eq(info.append_only, 1);
    ck_assert_str_eq(info.policy, "noeviction");
    ck_assert(!redis_info_evicts(&info));
}
END_TEST

static const struct {
    const char *name, *text;
    int64_t memory_bytes;
    const char *policy;
} odd[] = {
    {"nothing", "", -1, ""},
    {"no line's end", "used_memory:7", 7, ""},
    {"bare line feeds", "used_memory:7\nmaxmemory_policy:allkeys-lru\n", 7, "allkeys-lru"},
    {"no value", "used_memory:\r\nmaxmemory_policy:\r\n", -1, ""},
    {"another name that begins so", "used_memory_rss:9\r\nused_memory:7\r\n", 7, ""},
    {"another name that ends so", "xused_memory:9\r\n", -1, ""},
    {"twice", "used_memory:7\r\nused_memory:8\r\nmaxmemory_policy:volatile-ttl\r\nmaxmemory_policy:x\r\n", 7,
     "volatile-ttl"},
    {"a sign", "used_memory:-7\r\n", -1, ""},
    {"a fraction", "used_memory:7.5\r\n", -1, ""},
    {"blanks", "used_memory: 7\r\nmaxmemory_policy: allkeys-lru\r\n", -1, ""},
    {"18 digits", "used_memory:999999999999999999\r\n", 999999999999999999, ""},
    {"more digits than a number has", "used_memory:9999999999999999999999\r\n", -1, ""},
    {"not a word", "maxmemory_policy:\"},{\r\nused_memory:7\r\n", 7, ""},
    {"a word longer than any policy",
     "maxmemory_policy:abcdefghijklmnopqrstuvwxyzabcdef\r\nused_memory:7\r\n", 7, ""},
    {"the longest", "maxmemory_policy:abcdefghijklmnopqrstuvwxyzabcde\r\n", -1,
     "abcdefghijklmnopqrstuvwxyzabcde"},
    {"only line ends", "\r\n\n\r\n\r", -1, ""},
};

START_TEST(odd_answers_cost_only_what_they_garble)
{
    struct redis_info info = parse(odd[_i].text);
    ck_assert_msg(info.memory_bytes == odd[_i].memory_bytes, "%s: %lld", odd[_i].name,
                  (long long)info.memory_bytes);
    ck_assert_msg(strcmp(info.policy, odd[_i].policy) == 0, "%s: %s", odd[_i].name, info.policy);
    ck_assert_int_eq(info.hits, -1);
}
END_TEST

static const struct {
    const char *text;
    bool evicts;
} policies[] = {
    {"maxmemory_policy:noeviction\r\n", false},
    {"maxmemory_policy:allkeys-lru\r\nmaxmemory:1000\r\n", true},
    {"maxmemory_policy:allkeys-random\r\nmaxmemory:0\r\n", true}, /* a limit is one command away */
    {"maxmemory_policy:volatile-ttl\r\n", true},                  /* sessions and locks have an expiry */
    {"maxmemory:1000\r\n", false},                                /* not told */
};

START_TEST(every_policy_but_noeviction_may_evict)
{
    struct redis_info info = parse(policies[_i].text);
    ck_assert_msg(redis_info_evicts(&info) == policies[_i].evicts, "%s", policies[_i].text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("info");
    TCase *c = test_case(suite, "info", 5);
    tcase_add_test(c, what_redis_7_says_is_read);
    tcase_add_loop_test(c, odd_answers_cost_only_what_they_garble, 0, sizeof odd / sizeof odd[0]);
    tcase_add_loop_test(c, every_policy_but_noeviction_may_evict, 0, sizeof policies / sizeof policies[0]);
    return test_run(suite);
}
