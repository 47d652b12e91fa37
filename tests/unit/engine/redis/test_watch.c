/* test_watch: one node's probe and tracking under one roof: the table is covered while tracking is live, and
 * a Redis of which no changes are wanted is probed all the same. */
#include "redis_fixture.h"

#include "engine/redis/watch.h"

static struct redis_fixture f;
static struct redis_watch *watch;
static unsigned live, lost, sure, changes;

static void on_live(void *arg)
{
    (void)arg;
    ck_assert_uint_eq(live++, lost);
}

static void on_lost(void *arg)
{
    (void)arg;
    ck_assert_uint_eq(++lost, live);
}

static void on_sure(void *arg, int64_t until_us)
{
    const struct redis_fixture *x = arg;
    ck_assert_uint_gt(live, lost); /* told live before */
    ck_assert_int_gt(until_us, loop_now_us(x->on.loop));
    sure++;
}

static void on_change(void *arg, struct slice key)
{
    (void)arg;
    changes += slice_equal(key, (struct slice)SLICE_LITERAL("phoenix:cache:k"));
}

static void open_watch(const char *prefix)
{
    redis_fixture_open(&f, "", 0);
    watch = redis_watch_create(&(struct redis_watch_options){.loop = f.on.loop,
                                                             .topology = f.topology,
                                                             .prefix = prefix,
                                                             .on_live = on_live,
                                                             .on_lost = on_lost,
                                                             .on_change = on_change,
                                                             .on_sure = on_sure,
                                                             .arg = &f});
    ck_assert_ptr_nonnull(watch);
}

static void close_all(void)
{
    redis_watch_destroy(&watch);
    ck_assert_ptr_null(watch);
    redis_fixture_close(&f);
}

static struct peer *subscriber(void)
{
    char line[64];
    for (unsigned i = 0; i < f.accepted; i++)
        if (f.peers[i].io && redis_saw(&f, FORMAT(line, "%u SUBSCRIBE", f.peers[i].number)))
            return &f.peers[i];
    return NULL;
}

START_TEST(the_table_is_covered_while_tracking_is_live)
{
    open_watch("phoenix:cache:");
    RUN_UNTIL(&f.on, live == 1 && sure > 0);
    peer_send(subscriber(),
              "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$15\r\nphoenix:cache:k\r\n");
    RUN_UNTIL(&f.on, changes == 1);
    peer_close(subscriber());
    RUN_UNTIL(&f.on, lost == 1);
    RUN_UNTIL(&f.on, live == 2);
}
END_TEST

START_TEST(where_no_changes_are_wanted_there_is_the_probe_alone)
{
    struct redis_info info;
    int64_t ping_us;
    open_watch(NULL);
    do {
        loop_fixture_turn(&f.on);
        redis_node_info(f.node, &info, &ping_us);
    } while (info.memory_bytes != 4711);
    ck_assert_uint_eq(f.accepted, 1);
    ck_assert_uint_eq(redis_saw(&f, "SUBSCRIBE"), 0);
    ck_assert_uint_eq(live + lost + sure, 0);
}
END_TEST

START_TEST(the_circuit_of_a_redis_that_comes_back_is_closed_again)
{
    open_watch(NULL);
    RUN_UNTIL(&f.on, redis_saw(&f, "PING") > 0);
    struct breaker *b = redis_node_breaker(f.node);
    redis_vanish(&f);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
    redis_listen(&f);
    RUN_UNTIL(&f.on, breaker_allows(b));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watch");
    TCase *c = test_case(suite, "watch", 20);
    tcase_add_checked_fixture(c, NULL, close_all);
    tcase_add_test(c, the_table_is_covered_while_tracking_is_live);
    tcase_add_test(c, where_no_changes_are_wanted_there_is_the_probe_alone);
    tcase_add_test(c, the_circuit_of_a_redis_that_comes_back_is_closed_again);
    return test_run(suite);
}
