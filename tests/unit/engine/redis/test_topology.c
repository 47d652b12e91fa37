/* test_topology: which node serves a key, how nodes come, go and are used again, and who hears of suspicion.
 */
#include "../../loop/loop_fixture.h"
#include "engine/redis/cluster_map.h"
#include "engine/redis/slot.h"
#include "engine/redis/topology_private.h"
#include "topology_fixture.h"

#include <stdio.h>

static struct redis_url url;
static struct redis_topology *topology;

static void open_url(const char *text)
{
    char error[200];
    ck_assert_msg(redis_url_parse("redis.url", text, &url, error, sizeof error), "%s", error);
    struct redis_topology_options options = topology_options(&url, &clock_system, 250);
    topology = topology_open(&options);
}

static void open_cluster(void)
{
    open_url("redis-cluster://127.0.0.1:7000,127.0.0.1:7001");
}

static void close_topology(void)
{
    redis_topology_destroy(&topology);
    redis_url_deinit(&url);
}

static struct redis_address address(int port)
{
    struct redis_address at = {.port = port};
    FORMAT(at.host, "127.0.0.1");
    return at;
}

static struct redis_node *guest(int port)
{
    struct redis_address at = address(port);
    return topology_guest_at(topology, &at);
}

static struct redis_node *moved(unsigned slot, int port)
{
    struct redis_address at = address(port);
    return topology_slot_moved(topology, slot, &at);
}

/* The slot of each port's number is that port's, all others the first one's; `without` is in no map. */
static void apply(int first, int last, int without)
{
    static struct cluster_map map;
    memset(&map, 0, sizeof map);
    for (int port = first; port <= last; port++) {
        if (port == without) continue;
        map.owner[port] = (uint8_t)map.count;
        map.nodes[map.count++] = address(port);
    }
    ck_assert_uint_eq(topology_apply(topology, &map), 0);
}

static const struct {
    const char *url, *name;
} NAMES[] = {{"redis://:secret@h:7/3", "h:7"},
             {"unix:///run/r.sock", "/run/r.sock"},
             {"redis-sentinel://u:secret@a,b:7/main", "redis-sentinel://a:26379,b:7/main"},
             {"redis-cluster://:secret@a:1,b", "redis-cluster://a:1,b:6379"}};

START_TEST(it_is_named_without_credentials)
{
    open_url(NAMES[_i].url);
    ck_assert_str_eq(redis_topology_name(topology), NAMES[_i].name);
}
END_TEST

START_TEST(one_node_serves_every_key)
{
    open_url("redis://h");
    struct redis_node *node = redis_topology_at(topology, 0);
    ck_assert_uint_eq(redis_topology_count(topology), 1);
    ck_assert_ptr_eq(redis_topology_node(topology, SLICE_NONE), node);
    ck_assert_ptr_eq(redis_topology_node(topology, SLICE_LITERAL("phoenix:cache:k")), node);
}
END_TEST

START_TEST(a_sentinels_master_is_nowhere_at_first)
{
    struct redis_address at;
    open_url("redis-sentinel://a/main");
    ck_assert_uint_eq(redis_node_address(topology_only(topology), &at), 0);
    ck_assert_int_eq(at.port, 0);
    ck_assert_str_eq(redis_node_name(topology_only(topology)), "unknown");
}
END_TEST

START_TEST(a_node_that_moves_has_another_name_and_the_old_one_can_still_be_read)
{
    open_url("redis://127.0.0.1:7000");
    struct redis_node *node = topology_only(topology);
    const char *before = redis_node_name(node);
    struct redis_address to = {.port = 7001};
    FORMAT(to.host, "::1");
    redis_node_move(node, &to);
    ck_assert_uint_eq(redis_node_moves(node), 1);
    ck_assert_str_eq(redis_node_name(node), "[::1]:7001");
    ck_assert_str_eq(before, "127.0.0.1:7000");
    to = (struct redis_address){.host = "127.0.0.1", .port = 7000};
    redis_node_move(node, &to);
    ck_assert_ptr_eq(redis_node_name(node), before); /* to and fro takes no memory */
}
END_TEST

START_TEST(a_clusters_keys_go_by_slot)
{
    open_cluster();
    struct slice key = SLICE_LITERAL("phoenix:cache:k"), tagged = SLICE_LITERAL("x{phoenix:cache:k}y");
    struct redis_node *first = redis_topology_at(topology, 0);
    ck_assert_ptr_eq(redis_topology_node(topology, key), first);
    struct redis_node *second = moved(redis_slot(key), 7001);
    ck_assert_ptr_eq(redis_topology_node(topology, key), second);
    ck_assert_ptr_eq(redis_topology_node(topology, tagged), second);
    ck_assert_ptr_eq(redis_topology_node(topology, SLICE_LITERAL("phoenix:cache:l")), first);
}
END_TEST

START_TEST(only_who_has_slots_serves)
{
    open_cluster();
    struct redis_node *first = redis_topology_at(topology, 0), *second = guest(7001);
    ck_assert(redis_node_serves(first) && !redis_node_serves(second));
    apply(7001, 7001, 0);
    ck_assert(!redis_node_serves(first) && redis_node_serves(second));
}
END_TEST

START_TEST(an_address_has_one_node)
{
    open_cluster();
    ck_assert_ptr_eq(guest(7000), redis_topology_at(topology, 0));
    ck_assert_ptr_eq(guest(7001), moved(1, 7001));
    ck_assert_uint_eq(redis_topology_count(topology), 2);
}
END_TEST

START_TEST(when_there_is_room_for_no_more_one_that_serves_nothing_moves)
{
    open_cluster();
    for (int port = 7001; port < 7000 + REDIS_NODES_MAX; port++)
        ck_assert_ptr_nonnull(moved((unsigned)port, port));
    ck_assert_ptr_null(moved(1, 8000));
    struct redis_node *idle = guest(7007);
    apply(7000, 7000 + REDIS_NODES_MAX - 1, 7007);
    ck_assert_ptr_eq(moved(1, 8000), idle);
    ck_assert_str_eq(redis_node_name(idle), "127.0.0.1:8000");
    ck_assert_ptr_null(moved(2, 8001)); /* the newcomer is taken */
}
END_TEST

/* --- suspicion --- */

static struct loop_fixture on;
static unsigned told;

static void on_suspected(void *arg)
{
    (void)arg;
    told++;
}

START_TEST(suspicions_of_one_turn_are_told_once)
{
    open_url("redis://h");
    loop_fixture_open(&on);
    told = 0;
    redis_topology_suspect(topology); /* nobody follows yet */
    topology_follow(topology, on.loop, on_suspected, NULL);
    for (int i = 0; i < 3; i++)
        redis_topology_suspect(topology);
    RUN_UNTIL(&on, told > 0);
    ck_assert_uint_eq(told, 1);
    redis_topology_suspect(topology);
    RUN_UNTIL(&on, told == 2);
    topology_follow(topology, on.loop, NULL, NULL);
    redis_topology_suspect(topology);
    loop_fixture_close(&on);
    ck_assert_uint_eq(told, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topology");
    TCase *c = test_case(suite, "topology", 10);
    tcase_add_checked_fixture(c, NULL, close_topology);
    tcase_add_loop_test(c, it_is_named_without_credentials, 0, (int)(sizeof NAMES / sizeof NAMES[0]));
    tcase_add_test(c, one_node_serves_every_key);
    tcase_add_test(c, a_sentinels_master_is_nowhere_at_first);
    tcase_add_test(c, a_node_that_moves_has_another_name_and_the_old_one_can_still_be_read);
    tcase_add_test(c, a_clusters_keys_go_by_slot);
    tcase_add_test(c, only_who_has_slots_serves);
    tcase_add_test(c, an_address_has_one_node);
    tcase_add_test(c, when_there_is_room_for_no_more_one_that_serves_nothing_moves);
    tcase_add_test(c, suspicions_of_one_turn_are_told_once);
    return test_run(suite);
}
