/* test_topology_cluster: whose map is believed, who is asked, how often, and what becomes of nodes. */
#include "cluster_fixture.h"

#include "engine/redis/cluster_map.h"
#include "engine/redis/probe.h"
#include "engine/redis/topology_cluster.h"

static struct cluster_fixture f;
static struct topology_cluster *cluster;
static unsigned changes;

static const char ROUNDS[] = "phoenix_redis_map_refreshes_total";

static void on_changed(void *arg)
{
    (void)arg;
    changes++;
}

static void open_fixture(void)
{
    cluster_fixture_open(&f, 2);
}

static void follow(void)
{
    cluster = topology_cluster_create(&(struct follower_options){
        .loop = f.on.loop, .topology = f.topology, .cell = f.cell, .changed = on_changed});
    ck_assert_ptr_nonnull(cluster);
}

static void close_all(void)
{
    topology_cluster_destroy(&cluster);
    ck_assert_ptr_null(cluster);
    cluster_fixture_close(&f);
}

static unsigned long rounds(void)
{
    return fixture_count(&f, ROUNDS, 0) + fixture_count(&f, ROUNDS, 1);
}

/* Suspects, and waits for so many more rounds. */
static void suspect(unsigned long count)
{
    for (unsigned long until = rounds() + count; rounds() < until;) {
        redis_topology_suspect(f.topology);
        f.on.ahead_us += 20000;
        loop_fixture_turn(&f.on);
    }
}

static void follow_first(void)
{
    follow();
    RUN_UNTIL(&f.on, rounds() == 1);
}

static const char *const KEYS[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

/* All of some keys go there. */
static bool all_at(int node)
{
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        if (port_of(&f, slice_of(KEYS[i])) != f.nodes[node].port) return false;
    return true;
}

/* Nodes say: the lower half is a's, the upper one b's. */
static void halves(int who, int a, int b)
{
    f.nodes[who].range_count = 0;
    fake_range(&f.nodes[who], 0, REDIS_SLOTS / 2 - 1, "127.0.0.1", f.nodes[a].port);
    fake_range(&f.nodes[who], REDIS_SLOTS / 2, REDIS_SLOTS - 1, "127.0.0.1", f.nodes[b].port);
}

static int port_of_slot(unsigned slot)
{
    char key[16];
    for (unsigned i = 0;; i++)
        if (redis_slot(slice_of(FORMAT(key, "%u", i))) / (REDIS_SLOTS / 2) == slot / (REDIS_SLOTS / 2))
            return port_of(&f, slice_of(key));
}

START_TEST(the_map_is_learnt_at_once)
{
    for (int i = 0; i < FAKES; i++)
        halves(i, 1, 2);
    follow_first();
    ck_assert_int_eq(port_of_slot(0), f.nodes[1].port);
    ck_assert_int_eq(port_of_slot(REDIS_SLOTS - 1), f.nodes[2].port);
    ck_assert_uint_eq(changes, 1);
    ck_assert(!redis_node_serves(redis_topology_at(f.topology, 0)));
}
END_TEST

START_TEST(who_does_not_answer_is_passed_over)
{
    fake_all_say(&f, 3);
    if (_i == 0)
        fake_kill(&f.nodes[0]);
    else
        f.nodes[0].silent = true;
    follow();
    while (!all_at(3)) {
        f.on.ahead_us += 50000;
        loop_fixture_turn(&f.on);
    }
}
END_TEST

static const char *const NO_HOSTS[] = {"", NULL, "?"};

START_TEST(who_has_no_host_is_where_the_one_asked_is)
{
    for (int i = 0; i < FAKES; i++) {
        f.nodes[i].range_count = 0;
        fake_range(&f.nodes[i], 0, REDIS_SLOTS - 1, NO_HOSTS[_i], f.nodes[2].port);
    }
    follow_first();
    ck_assert(all_at(2));
    struct redis_address at;
    redis_node_address(redis_topology_node(f.topology, slice_of("a")), &at);
    ck_assert_str_eq(at.host, "127.0.0.1");
}
END_TEST

START_TEST(an_older_epochs_map_undoes_nothing)
{
    for (int i = 0; i < FAKES; i++) {
        halves(i, 0, 1);
        f.nodes[i].epoch = 5;
    }
    follow_first();
    halves(1, 1, 1); /* as before an election that it has not heard of */
    f.nodes[1].epoch = 4;
    suspect(8);
    ck_assert_uint_gt(fake_saw(&f.nodes[1], "CLUSTER SLOTS"), 0);
    ck_assert_int_eq(port_of_slot(0), f.nodes[0].port);
    ck_assert_uint_eq(changes, 1);
}
END_TEST

START_TEST(who_is_cut_off_is_not_believed_though_nobody_else_answers)
{
    for (int i = 0; i < FAKES; i++) {
        halves(i, 0, 1);
        f.nodes[i].epoch = 5;
    }
    follow_first();
    fake_kill(&f.nodes[0]);
    halves(1, 1, 1);
    f.nodes[1].epoch = 4;
    f.nodes[1].failing = true;
    suspect(3);
    ck_assert_int_eq(port_of_slot(0), f.nodes[0].port);
    ck_assert_uint_ge(fixture_count(&f, ROUNDS, 1), 1);
}
END_TEST

START_TEST(a_cluster_made_anew_begins_with_an_older_epoch)
{
    for (int i = 0; i < FAKES; i++)
        f.nodes[i].epoch = 50;
    follow_first();
    fake_all_say(&f, 1);
    for (int i = 0; i < FAKES; i++)
        f.nodes[i].epoch = 2;
    suspect(1);
    ck_assert(all_at(1));
}
END_TEST

START_TEST(of_failing_nodes_the_newest_is_believed)
{
    for (int i = 0; i < FAKES; i++)
        f.nodes[i].failing = true;
    f.nodes[0].epoch = 3;
    f.nodes[1].epoch = 7;
    halves(1, 2, 3);
    follow_first();
    ck_assert_int_eq(port_of_slot(0), f.nodes[2].port);
}
END_TEST

static const struct {
    int first, last;
    unsigned times;
} NO_MAPS[] = {{0, REDIS_SLOTS - 1, 2}, {5, 4, 1}, {0, REDIS_SLOTS, 1}, {-1, 5, 1}};

START_TEST(who_tells_of_slots_twice_or_backwards_is_not_believed)
{
    f.nodes[0].range_count = f.nodes[1].range_count = 0;
    for (int i = 0; i < 2; i++)
        for (unsigned n = 0; n < NO_MAPS[_i].times; n++)
            fake_range(&f.nodes[i], NO_MAPS[_i].first, NO_MAPS[_i].last, "127.0.0.1", f.nodes[1].port);
    follow_first();
    ck_assert(all_at(0));
    ck_assert_uint_eq(fixture_count(&f, ROUNDS, 1), 1);
}
END_TEST

START_TEST(when_all_known_nodes_are_gone_the_seeds_are_asked)
{
    fake_all_say(&f, 2);
    follow_first();
    ck_assert(all_at(2));
    fake_kill(&f.nodes[2]);
    fake_all_say(&f, 3);
    suspect(1);
    ck_assert(all_at(3));
}
END_TEST

START_TEST(suspicions_are_thrown_together_and_bounded_in_time)
{
    follow_first();
    unsigned long before = rounds();
    int64_t begun = loop_now_us(f.on.loop);
    while (loop_now_us(f.on.loop) - begun < 5000000) {
        for (int i = 0; i < 10; i++)
            redis_topology_suspect(f.topology);
        f.on.ahead_us += 5000;
        loop_fixture_turn(&f.on);
    }
    /* 100, 200, 400, 800 ms, then one a second. */
    ck_assert_uint_ge(rounds() - before, 5);
    ck_assert_uint_le(rounds() - before, 9);
}
END_TEST

START_TEST(without_suspicion_it_is_polled)
{
    follow_first();
    f.on.ahead_us += 4 * INT64_C(1000000);
    RUN_UNTIL(&f.on, rounds() == 2);
    for (int i = 0; i < 20; i++)
        loop_fixture_turn(&f.on);
    ck_assert_uint_eq(rounds(), 2);
}
END_TEST

START_TEST(a_circuit_that_opens_is_a_suspicion)
{
    redis_topology_destroy(&f.topology);
    struct redis_topology_options options = topology_options(&f.url, &f.on.clock, 250);
    options.breaker.consecutive_failures = 1;
    f.topology = topology_open(&options);
    follow_first();
    fake_all_say(&f, 1);
    struct breaker *breaker = redis_node_breaker(redis_topology_node(f.topology, slice_of("a")));
    breaker_record(breaker, breaker_generation(breaker), BREAKER_FAILURE);
    f.on.ahead_us += 1000000;
    RUN_UNTIL(&f.on, all_at(1));
}
END_TEST

START_TEST(more_masters_than_there_is_room_for_leave_the_rest_out)
{
    for (int i = 0; i < FAKES; i++) {
        f.nodes[i].range_count = 0;
        for (int n = 0; n < REDIS_NODES_MAX + 2; n++)
            fake_range(&f.nodes[i], n * 200, n * 200 + 199, "127.0.0.1", n ? n : f.nodes[0].port);
    }
    follow_first();
    ck_assert_uint_eq(redis_topology_count(f.topology), REDIS_NODES_MAX);
    ck_assert_uint_eq(changes, 1);
    /* When they are fewer, the newcomers find room. */
    for (int i = 0; i < FAKES; i++)
        halves(i, 1, 2);
    suspect(1);
    ck_assert_int_eq(port_of_slot(0), f.nodes[1].port);
    ck_assert_int_eq(port_of_slot(REDIS_SLOTS - 1), f.nodes[2].port);
}
END_TEST

/* --- probe --- */

START_TEST(a_circuit_closes_only_where_the_cluster_is_well)
{
    struct redis_node *node = redis_topology_at(f.topology, 0);
    struct breaker *breaker = redis_node_breaker(node);
    f.nodes[0].failing = true;
    for (int i = 0; i < 1000; i++)
        breaker_record(breaker, breaker_generation(breaker), BREAKER_FAILURE);
    ck_assert(!breaker_allows(breaker));
    struct redis_probe *probe =
        redis_probe_create(&(struct redis_probe_options){.loop = f.on.loop, .node = node, .cell = f.cell});
    ck_assert_ptr_nonnull(probe);
    while (fake_saw(&f.nodes[0], "CLUSTER INFO") < 4) {
        f.on.ahead_us += 20000;
        loop_fixture_turn(&f.on);
        ck_assert(!breaker_allows(breaker));
    }
    ck_assert_uint_ge(fake_saw(&f.nodes[0], "PING"), 4);
    f.nodes[0].failing = false;
    while (!breaker_allows(breaker)) {
        f.on.ahead_us += 20000;
        loop_fixture_turn(&f.on);
    }
    redis_probe_destroy(&probe);
}
END_TEST

/* --- text --- */

static const struct {
    const char *text, *asked, *host;
    int slot, port; /* port 0: of another form */
} REDIRECTIONS[] = {{"MOVED 3999 127.0.0.1:6381", "h", "127.0.0.1", 3999, 6381},
                    {"ASK 0 ::1:6381", "h", "::1", 0, 6381},
                    {"MOVED 16383 redis-0.redis.ns.svc.cluster.local:6379", "h",
                     "redis-0.redis.ns.svc.cluster.local", 16383, 6379},
                    {"MOVED 1 :7", "there", "there", 1, 7},
                    {"MOVED 1 ?:7", "there", "there", 1, 7},
                    {"MOVED 16384 h:1", "h", "", 0, 0},
                    {"MOVED -1 h:1", "h", "", 0, 0},
                    {"MOVED 1 h:", "h", "", 0, 0},
                    {"MOVED 1 h:99999", "h", "", 0, 0},
                    {"MOVED 1", "h", "", 0, 0},
                    {"MOVED", "h", "", 0, 0},
                    {"", "h", "", 0, 0}};

START_TEST(a_redirection_names_slot_and_node)
{
    struct redis_address at = {.port = 0};
    unsigned slot = 0;
    bool ok = cluster_redirection(slice_of(REDIRECTIONS[_i].text), REDIRECTIONS[_i].asked, &slot, &at);
    ck_assert_int_eq(ok, REDIRECTIONS[_i].port != 0);
    ck_assert_str_eq(at.host, REDIRECTIONS[_i].host);
    ck_assert_int_eq(at.port, REDIRECTIONS[_i].port);
    ck_assert_uint_eq(slot, (unsigned)REDIRECTIONS[_i].slot);
}
END_TEST

START_TEST(info_tells_epoch_and_state)
{
    static struct cluster_map map;
    ck_assert(cluster_map_take_info(
        &map, slice_of("cluster_state:ok\r\ncluster_slots_ok:3\r\ncluster_current_epoch:17\r\n")));
    ck_assert(map.ok && map.epoch == 17);
    ck_assert(cluster_map_take_info(&map, slice_of("cluster_current_epoch:0\ncluster_state:fail")));
    ck_assert(!map.ok && map.epoch == 0);
    ck_assert(!cluster_map_take_info(&map, slice_of("cluster_state:ok\r\n")));
    ck_assert(!cluster_map_take_info(&map, slice_of("")));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("topology_cluster");
    TCase *t = test_case(s, "topology_cluster", 30);
    tcase_add_checked_fixture(t, open_fixture, close_all);
    tcase_add_test(t, the_map_is_learnt_at_once);
    tcase_add_loop_test(t, who_does_not_answer_is_passed_over, 0, 2);
    tcase_add_loop_test(t, who_has_no_host_is_where_the_one_asked_is, 0, 3);
    tcase_add_test(t, an_older_epochs_map_undoes_nothing);
    tcase_add_test(t, who_is_cut_off_is_not_believed_though_nobody_else_answers);
    tcase_add_test(t, a_cluster_made_anew_begins_with_an_older_epoch);
    tcase_add_test(t, of_failing_nodes_the_newest_is_believed);
    tcase_add_loop_test(t, who_tells_of_slots_twice_or_backwards_is_not_believed, 0,
                        sizeof NO_MAPS / sizeof NO_MAPS[0]);
    tcase_add_test(t, when_all_known_nodes_are_gone_the_seeds_are_asked);
    tcase_add_test(t, suspicions_are_thrown_together_and_bounded_in_time);
    tcase_add_test(t, without_suspicion_it_is_polled);
    tcase_add_test(t, a_circuit_that_opens_is_a_suspicion);
    tcase_add_test(t, more_masters_than_there_is_room_for_leave_the_rest_out);
    tcase_add_test(t, a_circuit_closes_only_where_the_cluster_is_well);
    t = test_case(s, "text", 10);
    tcase_add_loop_test(t, a_redirection_names_slot_and_node, 0,
                        sizeof REDIRECTIONS / sizeof REDIRECTIONS[0]);
    tcase_add_test(t, info_tells_epoch_and_state);
    return test_run(s);
}
