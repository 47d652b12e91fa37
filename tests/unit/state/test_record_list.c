/* test_record_list: pages of live values, from Redis, from the journal, from the records. */
#include "record_fixture.h"

static struct record_fixture f;

static void open_all(void)
{
    record_open(&f);
}

static void open_embedded(void)
{
    record_open_embedded(&f);
}

static void close_all(void)
{
    record_close(&f);
}

enum { IDS_MAX = 400 };

struct listing {
    struct record_list list;
    char cursor[RECORD_CURSOR_SIZE];
    unsigned seen[IDS_MAX]; /* by the number in "s<number>" */
    unsigned others, found, pages, done;
    int64_t n_sum, expires_ms;
};

static void on_each(struct record_list *list, struct slice id, struct slice value, int64_t expires_ms)
{
    struct listing *l = list->arg;
    char text[ID_LEN_MAX + 1];
    memcpy(text, id.ptr, id.len);
    text[id.len] = 0;
    unsigned long number = strtoul(text + 1, NULL, 10);
    if (text[0] == 's' && number < IDS_MAX)
        l->seen[number]++;
    else
        l->others++;
    l->found++;
    l->n_sum += member_int(value, "n");
    l->expires_ms = expires_ms;
}

static void on_listed(struct record_list *list)
{
    ((struct listing *)list->arg)->done++;
}

static enum status page(struct listing *l, const char *cursor, unsigned limit)
{
    char given[RECORD_CURSOR_SIZE];
    FORMAT(given, "%s", cursor);
    l->done = 0;
    l->list = (struct record_list){.kind = JOURNAL_SESSION,
                                   .cursor = slice_of(given),
                                   .limit = limit,
                                   .deadline_us = loop_now_us(f.s.on.loop) + test_ms(5000) * 1000,
                                   .each = on_each,
                                   .done = on_listed,
                                   .arg = l};
    record_list_start(&f.ports[0], &l->list);
    RUN_UNTIL(&f.s.on, l->done);
    ck_assert_uint_eq(l->done, 1);
    l->pages++;
    return l->list.status;
}

static struct listing *list_all(unsigned limit)
{
    static struct listing l;
    memset(&l, 0, sizeof l);
    char cursor[RECORD_CURSOR_SIZE] = "";
    do {
        ck_assert_int_eq(page(&l, cursor, limit), STATUS_OK);
        FORMAT(cursor, "%s", l.list.next);
        ck_assert_uint_lt(l.pages, 1000);
    } while (cursor[0]);
    return &l;
}

static void check_each_once(const struct listing *l, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        ck_assert_uint_eq(l->seen[i], 1);
    ck_assert_uint_eq(l->found, count);
}

static void fill_redis(unsigned count)
{
    char key[64], value[64];
    for (unsigned i = 0; i < count; i++)
        ck_assert_str_eq(resp_text(f.s.direct, "SET", FORMAT(key, "phoenix:session:s%u", i),
                                   FORMAT(value, "{\"n\":%u}", i), "PX", "60000", NULL),
                         "OK");
}

START_TEST(pages_of_redis_show_each_value_once_and_nothing_else)
{
    fill_redis(300);
    char key[64];
    for (unsigned i = 0; i < 300; i++)
        resp_text(f.s.direct, "SET", FORMAT(key, "phoenix:cache:%u", i), "1", NULL);
    resp_text(f.s.direct, "SET", "phoenix:gone:session:{phoenix:session:x}", "id 1", NULL);
    struct listing *l = list_all(50);
    check_each_once(l, 300);
    ck_assert_uint_ge(l->pages, 4);
    ck_assert_int_eq(l->n_sum, 299 * 300 / 2);
    ck_assert(!l->list.local && !l->list.partial);
    int64_t left = l->expires_ms - redis_node_wall_ms(f.s.node);
    ck_assert(left > 60000 - test_ms(20000) && left <= 60000);
    check_each_once(list_all(1000), 300);
    check_each_once(list_all(1), 300);
}
END_TEST

START_TEST(what_is_no_value_of_ours_is_left_out)
{
    fill_redis(3);
    char *large = must_alloc(10102);
    memset(large, ' ', 10101);
    large[10101] = 0;
    ck_assert_int_eq(resp_integer(f.s.direct, "LPUSH", "phoenix:session:list", "1", NULL), 1);
    resp_text(f.s.direct, "SET", "phoenix:session:large", large, NULL);
    resp_text(f.s.direct, "SET", "phoenix:session:empty", "", NULL);
    resp_text(f.s.direct, "SET", "phoenix:session:text", "\"x", NULL);
    resp_text(f.s.direct, "SET", "phoenix:session:", "{}", NULL);
    check_each_once(list_all(100), 3);
    free(large);
}
END_TEST

static unsigned scans_of(const char *prefix)
{
    /* A prefix is fixed when the store is made. */
    record_store_destroy(&f.store);
    struct record_store_options options = {.redis = f.s.topology,
                                           .spool = f.spool,
                                           .lru = f.s.lru,
                                           .unsettled = f.unsettled,
                                           .prefix = prefix,
                                           .clock = &f.s.on.clock,
                                           .value_max = 10000,
                                           .tombstone_ms = 60000};
    options.rules[JOURNAL_SESSION] =
        (struct record_rules){.name = "session", .apply = counter_apply, .etag = counter_etag};
    ck_assert_ptr_nonnull(f.store = record_store_create(&options));
    f.ports[0].store = f.store;
    return list_all(100)->found;
}

START_TEST(a_prefix_with_glob_characters_means_itself)
{
    ck_assert_str_eq(resp_text(f.s.direct, "SET", "a*[b]?:session:s1", "{\"n\":1}", NULL), "OK");
    ck_assert_str_eq(resp_text(f.s.direct, "SET", "axxbx:session:s2", "{\"n\":1}", NULL), "OK");
    ck_assert_uint_eq(scans_of("a*[b]?"), 1);
}
END_TEST

START_TEST(where_the_master_has_moved_a_listing_begins_anew_and_is_partial)
{
    static struct listing l;
    char cursor[RECORD_CURSOR_SIZE];
    struct redis_address there = {.host = "127.1", .port = fake_redis_port(f.s.fake)};
    f.s.url.kind = REDIS_SENTINEL;
    fill_redis(100);
    ck_assert_int_eq(page(&l, "", 10), STATUS_OK);
    ck_assert(!l.list.partial);
    redis_node_move(f.s.node, &there);
    memset(l.seen, 0, sizeof l.seen);
    do {
        ck_assert_str_ne(l.list.next, "");
        FORMAT(cursor, "%s", l.list.next);
        ck_assert_int_eq(page(&l, cursor, 10), STATUS_OK);
        ck_assert(l.list.partial);
    } while (l.list.next[0]);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_uint_ge(l.seen[i], 1);
}
END_TEST

START_TEST(cursors_that_were_not_given_out_here_are_refused)
{
    static struct listing l;
    static const char *const BAD[] = {"x", "r", "r1x", "12", "r99999999999999999999999", "lk", "r-1"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        ck_assert_int_eq(page(&l, BAD[i], 10), STATUS_INVALID_ARGUMENT);
}
END_TEST

START_TEST(with_the_circuit_open_the_journal_is_listed_as_partial)
{
    static struct listing l;
    char id[32];
    fill_redis(5);
    state_open_circuit(&f.s);
    for (unsigned i = 0; i < 7; i++)
        ck_assert_str_ne(record_now(&f, OP_SET, FORMAT(id, "s%u", i), "1"), "");
    (void)record_now(&f, OP_SET, "s3", "2");
    (void)record_now(&f, OP_DELETE, "s6", NULL);
    struct listing *all = list_all(2);
    check_each_once(all, 6);
    ck_assert_int_eq(all->n_sum, 7);
    ck_assert(all->list.local && all->list.partial);
    ck_assert_int_eq(page(&l, "r17", 10), STATUS_REDIS_UNAVAILABLE);
    f.s.on.ahead_us += 61 * INT64_C(1000000);
    ck_assert_uint_eq(list_all(100)->found, 0);
}
END_TEST

struct refusal {
    const char *command, *reply;
    enum status expected;
};

static struct fake_verdict refuse(void *arg, const struct fake_command *c)
{
    const struct refusal *r = arg;
    return (struct fake_verdict){.reply = fake_command_is(c, r->command) ? r->reply : NULL};
}

START_TEST(a_redis_that_does_not_list_is_told)
{
    static struct listing l;
    static struct refusal cases[] = {{"SCAN", "-NOPERM no\r\n", STATUS_REDIS_REFUSED},
                                     {"SCAN", "-LOADING wait\r\n", STATUS_OK},
                                     {"GETRANGE", "-NOPERM no\r\n", STATUS_REDIS_REFUSED},
                                     {"GETRANGE", "-LOADING wait\r\n", STATUS_REDIS_UNAVAILABLE}};
    fill_redis(100);
    for (size_t i = 0; i < 4; i++) {
        fake_redis_script(f.s.fake, refuse, &cases[i]);
        ck_assert_int_eq(page(&l, "", 10), cases[i].expected);
        ck_assert(l.list.partial == (i == 1));
    }
    fake_redis_script(f.s.fake, refuse, &cases[1]);
    ck_assert_int_eq(page(&l, "r0", 10), STATUS_REDIS_UNAVAILABLE);
}
END_TEST

START_TEST(embedded_the_records_are_listed_in_pages)
{
    static struct listing l;
    char id[32];
    for (unsigned i = 0; i < 30; i++)
        ck_assert_str_eq(record_now(&f, OP_SET, FORMAT(id, "s%u", i), "1"), "ok n=1 new local");
    ck_assert_str_eq(record_now(&f, OP_DELETE, "s29", NULL), "ok deleted local");
    struct listing *all = list_all(7);
    check_each_once(all, 29);
    ck_assert_uint_eq(all->pages, 5);
    ck_assert(all->list.local && !all->list.partial);
    ck_assert_int_eq(page(&l, "r1", 10), STATUS_INVALID_ARGUMENT);
    f.s.on.ahead_us += 61 * INT64_C(1000000);
    ck_assert_uint_eq(list_all(100)->found, 0);
}
END_TEST

START_TEST(a_port_that_closes_ends_its_listings)
{
    static struct listing l;
    l.list = (struct record_list){.kind = JOURNAL_SESSION,
                                  .limit = 10,
                                  .deadline_us = loop_now_us(f.s.on.loop) + test_ms(5000) * 1000,
                                  .each = on_each,
                                  .done = on_listed,
                                  .arg = &l};
    record_list_start(&f.ports[0], &l.list);
    record_port_close(&f.ports[0]);
    ck_assert_uint_eq(l.done, 1);
    ck_assert_int_eq(l.list.status, STATUS_SPOOL_UNAVAILABLE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record_list");
    TCase *c = test_case(suite, "redis", 60);
    tcase_add_checked_fixture(c, open_all, close_all);
    tcase_add_test(c, pages_of_redis_show_each_value_once_and_nothing_else);
    tcase_add_test(c, what_is_no_value_of_ours_is_left_out);
    tcase_add_test(c, a_prefix_with_glob_characters_means_itself);
    tcase_add_test(c, where_the_master_has_moved_a_listing_begins_anew_and_is_partial);
    tcase_add_test(c, cursors_that_were_not_given_out_here_are_refused);
    tcase_add_test(c, with_the_circuit_open_the_journal_is_listed_as_partial);
    tcase_add_test(c, a_redis_that_does_not_list_is_told);
    TCase *e = test_case(suite, "embedded", 60);
    tcase_add_checked_fixture(e, open_embedded, close_all);
    tcase_add_test(e, embedded_the_records_are_listed_in_pages);
    tcase_add_test(e, a_port_that_closes_ends_its_listings);
    return test_run(suite);
}
