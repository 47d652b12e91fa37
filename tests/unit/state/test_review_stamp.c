/* cache_store_stamp_ms: what orders the writes of one daemon. */
#include "state/cache_store.h"

#include <check.h>

static int64_t wall_ms;

static int64_t read_clock(void *arg)
{
    (void)arg;
    return wall_ms;
}

START_TEST(a_later_write_never_seems_older_though_the_clock_steps_back)
{
    struct clock clock = {read_clock, read_clock, NULL};
    struct cache_store *store =
        cache_store_create(&(struct cache_store_options){.prefix = "phoenix", .clock = &clock});
    ck_assert_ptr_nonnull(store);
    wall_ms = 5000000;
    ck_assert_int_eq(cache_store_stamp_ms(store), 5000000);
    wall_ms = 1000000;
    ck_assert_int_eq(cache_store_stamp_ms(store), 5000000);
    ck_assert_int_eq(cache_store_wall_ms(store), 1000000);
    wall_ms = 5000001;
    ck_assert_int_eq(cache_store_stamp_ms(store), 5000001);
    cache_store_destroy(&store);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache_store stamps");
    TCase *t = tcase_create("all");
    tcase_add_test(t, a_later_write_never_seems_older_though_the_clock_steps_back);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
