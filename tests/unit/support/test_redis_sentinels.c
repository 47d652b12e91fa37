/* The rig of Sentinels: a test that relies on a failover must know that there was one. */
#include "../../support/redis_sentinels.h"
#include "../../support/support.h"

#include <stdlib.h>
#include <string.h>

static void write_with_both_replicas(struct redis_sentinels *s, int master, const char *key)
{
    struct resp_client *c = redis_server_client(redis_sentinels_server(s, master));
    ck_assert_str_eq(resp_text(c, "SET", key, "v"), "OK");
    ck_assert_int_eq(resp_integer(c, "WAIT", "2", "5000"), 2);
    resp_close(&c);
}

START_TEST(a_killed_master_is_replaced_and_comes_back_as_replica)
{
    struct redis_sentinels *s = redis_sentinels_start(NULL);
    ck_assert_int_eq(redis_sentinels_master(s), 0);
    ck_assert_int_eq(redis_sentinels_master_port(s), redis_server_port(redis_sentinels_server(s, 0)));
    write_with_both_replicas(s, 0, "kept");
    redis_server_kill(redis_sentinels_server(s, 0));
    struct redis_promotion p = redis_sentinels_await_promotion(s, 0, 20000);
    ck_assert_int_ge(p.told_ms, p.taken_ms);
    redis_server_restart(redis_sentinels_server(s, 0));
    redis_sentinels_await_settled(s, 30000);
    ck_assert_int_eq(redis_sentinels_master(s), p.server);
    char *kept = redis_server_ask(redis_sentinels_server(s, 0), "GET", "kept");
    ck_assert_str_eq(kept, "v");
    free(kept);
    redis_sentinels_stop(&s);
}
END_TEST

START_TEST(a_hung_master_is_demoted_when_it_wakes_and_one_sentinel_may_be_missing)
{
    struct redis_sentinels *s = redis_sentinels_start(NULL);
    redis_server_kill(redis_sentinels_sentinel(s, 0));
    redis_server_pause(redis_sentinels_server(s, 0));
    struct redis_promotion p = redis_sentinels_await_promotion(s, 0, 20000);
    redis_server_resume(redis_sentinels_server(s, 0));
    redis_sentinels_await_settled(s, 30000);
    write_with_both_replicas(s, p.server, "after");
    redis_server_restart(redis_sentinels_sentinel(s, 0));
    redis_sentinels_await_settled(s, 30000);
    redis_sentinels_stop(&s);
}
END_TEST

START_TEST(a_master_whose_machine_is_cut_off_is_replaced_and_demoted_when_it_is_back)
{
    if (!netns_begin()) return;
    struct netns *hosts[SENTINELS];
    for (int i = 0; i < SENTINELS; i++)
        hosts[i] = netns_create();
    struct redis_sentinels *s = redis_sentinels_start(&(struct redis_sentinels_options){.hosts = hosts});
    netns_cut(hosts[0]);
    struct redis_promotion p = redis_sentinels_await_promotion(s, 0, 20000);
    struct resp_client *c = redis_server_client(redis_sentinels_server(s, 0));
    const struct resp_value *v = resp_call(c, "ROLE");
    ck_assert_str_eq(v->items[0].text, "master"); /* it knows nothing yet */
    netns_join(hosts[0]);
    redis_sentinels_await_settled(s, 30000);
    ck_assert_int_eq(redis_sentinels_master(s), p.server);
    resp_close(&c);
    redis_sentinels_stop(&s);
    for (int i = 0; i < SENTINELS; i++)
        netns_destroy(&hosts[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("redis_sentinels");
    TCase *tc = test_case(s, "failover", 90);
    tcase_add_test(tc, a_killed_master_is_replaced_and_comes_back_as_replica);
    tcase_add_test(tc, a_hung_master_is_demoted_when_it_wakes_and_one_sentinel_may_be_missing);
    tcase_add_test(tc, a_master_whose_machine_is_cut_off_is_replaced_and_demoted_when_it_is_back);
    return test_run(s);
}
