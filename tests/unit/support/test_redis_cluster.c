/* The rig of a cluster: a test that relies on a redirection or a failover must know that there was one. */
#include "../../support/redis_cluster.h"
#include "../../support/support.h"

#include <stdlib.h>
#include <string.h>

static struct redis_cluster *cluster;
static const char key[] = "phoenix:session:1";

static void expect(int node, const char *answer, const char *const args[])
{
    char *text = redis_server_ask_list(redis_cluster_node(cluster, node), args);
    ck_assert_msg(strncmp(text, answer, strlen(answer)) == 0, "%s: %s instead of %s", args[0], text, answer);
    free(text);
}

#define EXPECT(node, answer, ...) expect((node), (answer), (const char *const[]){__VA_ARGS__, NULL})

START_TEST(a_key_has_one_owner_and_the_others_redirect_to_it)
{
    int64_t from = now_ms();
    cluster = redis_cluster_start(NULL);
    ck_assert_int_lt(now_ms() - from, test_ms(15000));
    int slot = redis_cluster_slot(cluster, key);
    int owner = redis_cluster_owner(cluster, slot);
    ck_assert(owner >= 0 && owner < CLUSTER_MASTERS);
    ck_assert_int_eq(redis_cluster_replica(cluster, owner), owner + CLUSTER_MASTERS);
    EXPECT(owner, "OK", "SET", key, "v");
    EXPECT((owner + 1) % CLUSTER_MASTERS, "MOVED", "GET", key);
    EXPECT(owner + CLUSTER_MASTERS, "MOVED", "GET", key);
    redis_cluster_stop(&cluster);
}
END_TEST

START_TEST(a_killed_master_is_replaced_and_comes_back_as_replica)
{
    cluster = redis_cluster_start(NULL);
    int slot = redis_cluster_slot(cluster, key);
    int owner = redis_cluster_owner(cluster, slot);
    struct resp_client *c = redis_server_client(redis_cluster_node(cluster, owner));
    ck_assert_str_eq(resp_text(c, "SET", key, "v"), "OK");
    ck_assert_int_eq(resp_integer(c, "WAIT", "1", "5000"), 1);
    resp_close(&c);
    redis_server_kill(redis_cluster_node(cluster, owner));
    int64_t seen_ms = 0;
    int next = redis_cluster_await_owner(cluster, slot, owner, 20000, &seen_ms);
    ck_assert_int_eq(next, owner + CLUSTER_MASTERS);
    ck_assert_int_gt(seen_ms, 0);
    redis_cluster_await_settled(cluster, 20000);
    EXPECT(next, "v", "GET", key);
    redis_server_restart(redis_cluster_node(cluster, owner));
    WAIT_FOR(redis_cluster_replica(cluster, next) == owner, 20000);
    redis_cluster_await_settled(cluster, 20000);
    EXPECT(owner, "MOVED", "GET", key);
    redis_cluster_stop(&cluster);
}
END_TEST

START_TEST(a_slot_on_its_way_answers_ask_and_tryagain)
{
    cluster = redis_cluster_start(&(struct redis_cluster_options){.no_replicas = true});
    int slot = redis_cluster_slot(cluster, "{t}a");
    int from = redis_cluster_owner(cluster, slot);
    int to = (from + 1) % CLUSTER_MASTERS;
    EXPECT(from, "OK", "MSET", "{t}a", "1", "{t}b", "2");
    redis_cluster_migration_begin(cluster, slot, to);
    EXPECT(from, "1", "GET", "{t}a");
    EXPECT(from, "ASK", "GET", "{t}c");
    ck_assert_int_eq(redis_cluster_migration_step(cluster, slot, to, 1), 1);
    EXPECT(from, "TRYAGAIN", "MGET", "{t}a", "{t}b");
    EXPECT(to, "MOVED", "GET", "{t}a");
    while (redis_cluster_migration_step(cluster, slot, to, 10) > 0)
        continue;
    redis_cluster_migration_end(cluster, slot, to);
    EXPECT(to, "1", "GET", "{t}a");
    EXPECT(from, "MOVED", "GET", "{t}a");
    ck_assert_int_eq(redis_cluster_await_owner(cluster, slot, from, 10000, NULL), to);
    redis_cluster_stop(&cluster);
}
END_TEST

START_TEST(a_redirection_names_no_host_where_nodes_are_told_so)
{
    static const char lines[] = "cluster-preferred-endpoint-type unknown-endpoint\n";
    cluster = redis_cluster_start(&(struct redis_cluster_options){.no_replicas = true, .lines = lines});
    int slot = redis_cluster_slot(cluster, key);
    int owner = redis_cluster_owner(cluster, slot);
    char moved[64];
    FORMAT(moved, "MOVED %d :%d", slot, redis_server_port(redis_cluster_node(cluster, owner)));
    EXPECT((owner + 1) % CLUSTER_MASTERS, moved, "GET", key);
    redis_cluster_stop(&cluster);
}
END_TEST

START_TEST(an_added_master_takes_slots)
{
    cluster = redis_cluster_start(&(struct redis_cluster_options){.no_replicas = true});
    int slot = redis_cluster_slot(cluster, key);
    EXPECT(redis_cluster_owner(cluster, slot), "OK", "SET", key, "v");
    int added = redis_cluster_add(cluster);
    ck_assert_int_eq(added, CLUSTER_MASTERS);
    ck_assert_int_eq(redis_cluster_nodes(cluster), CLUSTER_MASTERS + 1);
    redis_cluster_migrate(cluster, slot, slot, added);
    redis_cluster_await_settled(cluster, 10000);
    ck_assert_int_eq(redis_cluster_owner(cluster, slot), added);
    EXPECT(added, "v", "GET", key);
    redis_cluster_stop(&cluster);
}
END_TEST

START_TEST(a_master_whose_machine_is_cut_off_is_replaced)
{
    if (!netns_begin()) return;
    struct netns *hosts[2 * CLUSTER_MASTERS];
    for (int i = 0; i < 2 * CLUSTER_MASTERS; i++)
        hosts[i] = netns_create();
    cluster = redis_cluster_start(&(struct redis_cluster_options){.hosts = hosts});
    netns_cut(hosts[0]);
    ck_assert_int_eq(redis_cluster_await_owner(cluster, 0, 0, 20000, NULL), 3);
    redis_cluster_await_settled(cluster, 20000);
    netns_join(hosts[0]);
    redis_cluster_await_settled(cluster, 20000);
    ck_assert_int_eq(redis_cluster_replica(cluster, 3), 0);
    redis_cluster_stop(&cluster);
    for (int i = 0; i < 2 * CLUSTER_MASTERS; i++)
        netns_destroy(&hosts[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("redis_cluster");
    TCase *tc = test_case(s, "cluster", 90);
    tcase_add_test(tc, a_key_has_one_owner_and_the_others_redirect_to_it);
    tcase_add_test(tc, a_killed_master_is_replaced_and_comes_back_as_replica);
    tcase_add_test(tc, a_slot_on_its_way_answers_ask_and_tryagain);
    tcase_add_test(tc, a_redirection_names_no_host_where_nodes_are_told_so);
    tcase_add_test(tc, an_added_master_takes_slots);
    tcase_add_test(tc, a_master_whose_machine_is_cut_off_is_replaced);
    return test_run(s);
}
