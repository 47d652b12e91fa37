/* test_topology_sentinel: whom of the sentinels is believed, and that a server which is no master is never
 * moved to. */
#include "sentinel_fixture.h"

#include "engine/redis/topology_sentinel.h"

#include <netdb.h>

static const char TWO_ADDRESSES[] = "two-addresses.test"; /* nobody is at the first one */

static struct addrinfo *address_of(uint32_t ip, const char *service)
{
    struct addrinfo *a = must_alloc(sizeof *a + sizeof(struct sockaddr_in)); /* one block, as libc's are */
    struct sockaddr_in *in = (void *)(a + 1);
    *in = (struct sockaddr_in){.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(ip),
                               .sin_port = htons((uint16_t)strtol(service, NULL, 10))};
    *a = (struct addrinfo){
        .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_addr = (void *)in, .ai_addrlen = sizeof *in};
    return a;
}

/* In libc's place: hiredis has literals looked up, too. */
int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    struct in_addr literal;
    bool two = strcmp(host, TWO_ADDRESSES) == 0;
    (void)hints;
    if (!two && inet_pton(AF_INET, host, &literal) != 1) return EAI_NONAME;
    *out = address_of(two ? INADDR_LOOPBACK + 1 : ntohl(literal.s_addr), service);
    if (two) (*out)->ai_next = address_of(INADDR_LOOPBACK, service);
    return 0;
}

static struct sentinel_fixture s;
static struct topology_sentinel *follower;
static unsigned changes;

static void on_changed(void *arg)
{
    (void)arg;
    changes++;
}

static void follow(void)
{
    struct follower_options options = {.loop = s.on.loop, .topology = s.topology, .changed = on_changed};
    follower = topology_sentinel_create(&options);
    ck_assert_ptr_nonnull(follower);
}

static void close_all(void)
{
    topology_sentinel_destroy(&follower);
    ck_assert_ptr_null(follower);
    sentinel_fixture_close(&s);
}

static int at(void)
{
    return sentinel_fixture_at(&s);
}

static void open_circuit(void)
{
    struct breaker *b = redis_node_breaker(s.node);
    while (breaker_allows(b))
        breaker_record(b, breaker_generation(b), BREAKER_FAILURE);
}

/* Every sentinel that can has been asked this often again. */
static unsigned asked(int sentinel)
{
    return redis_saw(&s.sentinels[sentinel].f, "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster");
}

static void let_them_be_asked(unsigned times)
{
    for (int i = 0; i < FAKES; i++) {
        unsigned until = asked(i) + times;
        while (!s.sentinels[i].silent && s.sentinels[i].f.listener >= 0 && s.sentinels[i].f.accepted &&
               asked(i) < until) {
            s.on.ahead_us += 50000;
            loop_fixture_turn(&s.on);
        }
    }
}

/* A question that is on its way gets no answer. */
static void let_it_give_up(void)
{
    unsigned open = s.sentinels[0].f.accepted, until = asked(0) + 1;
    RUN_UNTIL(&s.on, asked(0) >= until);
    RUN_UNTIL(&s.on, s.sentinels[0].f.accepted > open);
}

static void settle_at(int redis)
{
    follow();
    RUN_UNTIL(&s.on, at() == redis);
    let_them_be_asked(2);
    ck_assert_int_eq(at(), redis);
}

START_TEST(the_master_that_they_name_is_found_and_told_once)
{
    sentinel_fixture_open(&s, 3);
    changes = 0;
    settle_at(0);
    ck_assert_uint_eq(changes, 1);
    /* The sentinels are not told who we are on Redis, unless they ask. */
    for (int i = 0; i < FAKES; i++)
        ck_assert_uint_eq(redis_saw(&s.sentinels[i].f, "AUTH"), 0);
    ck_assert_uint_ge(redis_saw(&s.data[0].f, "AUTH u p"), 1);
}
END_TEST

/* The URL's first two; the third is right. */
static const struct bad {
    const char *name;
    bool dead, silent, password;
    int names;
    int epoch;
} BAD[] = {
    {.name = "dead", .dead = true},
    {.name = "silent", .silent = true},
    {.name = "does not know the master", .names = UNKNOWN, .epoch = 9},
    {.name = "names a replica", .names = 2, .epoch = 9},
    {.name = "names a place where nobody is", .names = NOWHERE, .epoch = 9},
    {.name = "names no address", .names = NONSENSE, .epoch = 9},
    {.name = "behind, and names a replica", .names = 2, .epoch = 0},
};

START_TEST(the_others_are_asked_where_one_is_no_help)
{
    const struct bad *bad = &BAD[_i];
    sentinel_fixture_open(&s, 3);
    s.data[2].replica = true;
    for (int i = 0; i < 2; i++) {
        if (bad->dead) redis_vanish(&s.sentinels[i].f);
        s.sentinels[i].silent = bad->silent;
        s.sentinels[i].names = bad->names;
        s.sentinels[i].epoch = bad->epoch;
    }
    s.sentinels[2].names = 1;
    settle_at(1);
    let_them_be_asked(4);
    ck_assert_msg(at() == 1, "%s", bad->name);
}
END_TEST

START_TEST(a_sentinel_that_wants_a_password_gets_ours)
{
    sentinel_fixture_open(&s, 1);
    s.sentinels[0].password = true;
    settle_at(0);
    ck_assert_uint_ge(redis_saw(&s.sentinels[0].f, "AUTH u p"), 1);
}
END_TEST

START_TEST(a_later_epoch_moves_it_and_an_earlier_one_does_not_drag_it_back)
{
    sentinel_fixture_open(&s, 3);
    settle_at(0);
    for (int i = 1; i < FAKES; i++) {
        s.sentinels[i].names = 1;
        s.sentinels[i].epoch = 2;
    }
    RUN_UNTIL(&s.on, at() == 1);
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 1);
    open_circuit(); /* not even then: the first is alone with what it says */
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 1);
}
END_TEST

START_TEST(an_earlier_epoch_that_most_tell_is_another_beginning)
{
    sentinel_fixture_open(&s, 3);
    s.sentinels[0].epoch = s.sentinels[1].epoch = s.sentinels[2].epoch = 7;
    settle_at(0);
    for (int i = 0; i < FAKES; i++) {
        s.sentinels[i].names = 1;
        s.sentinels[i].epoch = 0;
    }
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 0); /* for the time being the one we have answers */
    open_circuit();
    RUN_UNTIL(&s.on, at() == 1);
}
END_TEST

START_TEST(learned_sentinels_that_are_gone_do_not_outvote_who_answers)
{
    sentinel_fixture_open(&s, 1);
    s.sentinels[0].other = 1;
    s.sentinels[1].other = 2;
    s.sentinels[0].epoch = s.sentinels[1].epoch = s.sentinels[2].epoch = 7;
    settle_at(0);
    RUN_UNTIL(&s.on, asked(2) > 0);
    redis_vanish(&s.sentinels[1].f);
    redis_vanish(&s.sentinels[2].f);
    s.sentinels[0].names = 1; /* set up anew */
    s.sentinels[0].epoch = 0;
    open_circuit();
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 0); /* one of three, as far as is known */
    s.on.ahead_us += INT64_C(61000000);
    RUN_UNTIL(&s.on, at() == 1);
}
END_TEST

START_TEST(of_one_epoch_the_place_that_answers_stays)
{
    sentinel_fixture_open(&s, 2);
    settle_at(0);
    s.sentinels[1].names = 1;
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 0);
    open_circuit();
    RUN_UNTIL(&s.on, at() == 1);
}
END_TEST

START_TEST(a_sentinel_that_tells_no_epoch_is_heard_where_nobody_else_is)
{
    sentinel_fixture_open(&s, 1);
    s.sentinels[0].epoch = -1;
    settle_at(0);
    s.sentinels[0].names = 1;
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 0);
    open_circuit();
    RUN_UNTIL(&s.on, at() == 1);
}
END_TEST

START_TEST(a_replica_is_moved_to_once_it_is_a_master)
{
    sentinel_fixture_open(&s, 3);
    settle_at(0);
    s.data[1].replica = true;
    for (int i = 0; i < FAKES; i++) {
        s.sentinels[i].names = 1;
        s.sentinels[i].epoch = 2;
    }
    let_them_be_asked(3);
    ck_assert_int_eq(at(), 0);
    s.data[1].replica = false;
    let_them_be_asked(3);
    RUN_UNTIL(&s.on, at() == 1);
}
END_TEST

START_TEST(a_master_whose_names_first_address_is_dead_is_found)
{
    struct redis_address found;
    sentinel_fixture_open(&s, 3);
    for (int i = 0; i < FAKES; i++)
        s.sentinels[i].host = TWO_ADDRESSES;
    settle_at(0);
    redis_node_address(s.node, &found);
    ck_assert_str_eq(found.host, TWO_ADDRESSES);
}
END_TEST

/* The user that it has there may not, and questions leave nothing behind. */
START_TEST(nothing_is_killed_on_a_sentinel_that_hung)
{
    sentinel_fixture_open(&s, 1);
    settle_at(0);
    unsigned before = redis_saw(&s.sentinels[0].f, "INFO");
    s.sentinels[0].silent = true;
    let_it_give_up();
    s.sentinels[0].silent = false;
    RUN_UNTIL(&s.on, redis_saw(&s.sentinels[0].f, "INFO") > before + 2);
    let_them_be_asked(2);
    ck_assert_uint_eq(redis_saw(&s.sentinels[0].f, "CLIENT KILL"), 0);
}
END_TEST

START_TEST(further_sentinels_are_learned_and_asked)
{
    sentinel_fixture_open(&s, 1);
    s.sentinels[0].other = 1;
    s.sentinels[1].other = 2;
    settle_at(0);
    RUN_UNTIL(&s.on, asked(2) > 0);
    redis_vanish(&s.sentinels[0].f); /* the only one that was configured */
    s.sentinels[2].names = 2;
    s.sentinels[2].epoch = 3;
    RUN_UNTIL(&s.on, at() == 2);
}
END_TEST

/* Whoever names so many takes the place of those that are silent, but never its own, while it speaks. */
START_TEST(one_that_names_a_crowd_stays)
{
    sentinel_fixture_open(&s, 1);
    s.sentinels[0].other = 1;
    s.sentinels[1].loading = true;
    s.sentinels[1].crowd = 60;
    settle_at(0);
    RUN_UNTIL(&s.on, redis_saw(&s.sentinels[1].f, "SENTINEL SENTINELS") > 0);
    s.on.ahead_us += INT64_C(61000000);
    for (unsigned until = asked(1) + 40; asked(1) < until;) {
        s.on.ahead_us += 50000;
        loop_fixture_turn(&s.on);
    }
    ck_assert_uint_eq(s.sentinels[1].f.accepted, 2);
    ck_assert_int_eq(at(), 0);
}
END_TEST

START_TEST(a_switch_that_one_publishes_is_followed_without_waiting)
{
    sentinel_fixture_open(&s, 1);
    settle_at(0);
    RUN_UNTIL(&s.on, redis_saw(&s.sentinels[0].f, "SUBSCRIBE +switch-master") > 0);
    s.sentinels[0].names = 1;
    s.sentinels[0].epoch = 2;
    unsigned before = asked(0);
    for (unsigned i = 0; i < s.sentinels[0].f.accepted; i++)
        peer_send(&s.sentinels[0].f.peers[i],
                  redis_saw(&s.sentinels[0].f, i == 0 ? "1 SUBSCRIBE" : "2 SUBSCRIBE")
                      ? "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$12\r\nmymaster a b\r\n"
                      : "");
    RUN_UNTIL(&s.on, at() == 1);
    ck_assert_uint_le(asked(0), before + 2);
}
END_TEST

START_TEST(a_suspicion_asks_them_soon_and_a_flood_of_it_not_more_often)
{
    sentinel_fixture_open(&s, 1);
    settle_at(0);
    unsigned before = asked(0);
    redis_topology_suspect(s.topology);
    RUN_UNTIL(&s.on, asked(0) > before);
    before = asked(0);
    int64_t start = now_ms();
    while (now_ms() - start < 300) {
        redis_topology_suspect(s.topology);
        loop_fixture_turn(&s.on);
    }
    ck_assert_uint_le(asked(0) - before, (unsigned)(now_ms() - start) / 30);
}
END_TEST

START_TEST(it_is_destroyed_at_any_point)
{
    sentinel_fixture_open(&s, 3);
    s.sentinels[1].silent = true;
    follow();
    for (int i = 0; i < _i; i++)
        loop_fixture_turn(&s.on);
    topology_sentinel_destroy(&follower);
    redis_topology_suspect(s.topology);
    loop_fixture_turn(&s.on);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topology_sentinel");
    TCase *c = test_case(suite, "topology_sentinel", 30);
    tcase_add_checked_fixture(c, NULL, close_all);
    tcase_add_test(c, the_master_that_they_name_is_found_and_told_once);
    tcase_add_loop_test(c, the_others_are_asked_where_one_is_no_help, 0, sizeof BAD / sizeof BAD[0]);
    tcase_add_test(c, a_sentinel_that_wants_a_password_gets_ours);
    tcase_add_test(c, a_later_epoch_moves_it_and_an_earlier_one_does_not_drag_it_back);
    tcase_add_test(c, an_earlier_epoch_that_most_tell_is_another_beginning);
    tcase_add_test(c, learned_sentinels_that_are_gone_do_not_outvote_who_answers);
    tcase_add_test(c, of_one_epoch_the_place_that_answers_stays);
    tcase_add_test(c, a_sentinel_that_tells_no_epoch_is_heard_where_nobody_else_is);
    tcase_add_test(c, a_replica_is_moved_to_once_it_is_a_master);
    tcase_add_test(c, a_master_whose_names_first_address_is_dead_is_found);
    tcase_add_test(c, nothing_is_killed_on_a_sentinel_that_hung);
    tcase_add_test(c, further_sentinels_are_learned_and_asked);
    tcase_add_test(c, one_that_names_a_crowd_stays);
    tcase_add_test(c, a_switch_that_one_publishes_is_followed_without_waiting);
    tcase_add_test(c, a_suspicion_asks_them_soon_and_a_flood_of_it_not_more_often);
    tcase_add_loop_test(c, it_is_destroyed_at_any_point, 0, 8);
    return test_run(suite);
}
