/* A change that Redis applied while its reply got lost: it takes effect once, whether it is
 * settled within the request or cannot be. */
#include "../support/fake_redis.h"
#include "../support/stage.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 10 };

/* Whose replies get lost, and what happens to Redis afterwards. */
struct loss {
    const char *key;
    atomic_uint left; /* writes of the key whose replies are still to be lost */
    bool for_good;    /* with the reply all of Redis is lost */
    atomic_bool dead;
};

static struct loss loss;
static struct redis_server *redis;
static struct fake_redis *fake;
static struct daemon *d;
static struct http_client *h;

static struct fake_verdict lose(void *arg, const struct fake_command *c)
{
    (void)arg;
    if (atomic_load(&loss.dead)) return (struct fake_verdict){.cut = true, .reply = ""};
    /* A reading script takes few arguments. */
    bool writes = fake_command_is(c, "EVALSHA") && c->argc > 8 && fake_command_names(c, loss.key);
    if (!writes || atomic_load(&loss.left) == 0) return (struct fake_verdict){0};
    atomic_fetch_sub(&loss.left, 1);
    if (loss.for_good) atomic_store(&loss.dead, true);
    return (struct fake_verdict){.cut = true};
}

static void scene_open(const char *key, bool for_good)
{
    /* Patient, so that nothing but what the test loses is lost. */
    const char *env[] = {"PHOENIX_HTTP_DRAIN_TIMEOUT_MS=200",     "PHOENIX_HEALTH_FAILURE_THRESHOLD=1000",
                         "PHOENIX_HTTP_DEADLINE_MS=4000",         "PHOENIX_REDIS_COMMAND_TIMEOUT_MS=2000",
                         "PHOENIX_REDIS_CONNECT_TIMEOUT_MS=2000", "PHOENIX_BREAKER_CONSECUTIVE_FAILURES=1000",
                         "PHOENIX_BREAKER_MIN_CALLS=1000000",     NULL};
    loss.key = key;
    loss.for_good = for_good;
    atomic_store(&loss.left, 0);
    atomic_store(&loss.dead, false);
    redis = redis_server_start(NULL);
    fake = fake_redis_start(redis_server_port(redis));
    fake_redis_script(fake, lose, NULL);
    d = daemon_start(&(struct daemon_options){.redis_url = fake_redis_url(fake), .env = env});
    h = daemon_client(d);
    EXPECT_STATUS(http_send(h, "PUT", "/session/k", "{\"data\":0}"), 201);
    EXPECT_STATUS(http_send(h, "POST", "/health/a/success", NULL), 200);
}

static void scene_close(void)
{
    http_close(&h);
    daemon_stop(&d);
    fake_redis_stop(&fake);
    redis_server_stop(&redis);
}

static const char *journal(char out[64])
{
    return member_of(out, 64, http_get(h, "/readyz")->body, "journal");
}

START_TEST(a_settled_change_of_a_session_takes_effect_once)
{
    char body[64];
    char line[128];
    char value[64];
    scene_open("phoenix:session:k", false);
    EXPECT_STATUS(http_get(h, "/session/k?touch=false"), 200);
    FORMAT(line, "If-Match: %s", http_header(h, "ETag"));
    for (int i = 1; i <= ROUNDS; i++) {
        FORMAT(body, "{\"data\":%d}", i);
        atomic_store(&loss.left, 1);
        const struct http_answer *a =
            http_request(h, "PATCH", "/session/k", _i ? line : NULL, body, strlen(body));
        EXPECT_STATUS(a, 200);
        ck_assert_uint_eq(atomic_load(&loss.left), 0);
        expect_header(h, "Phoenix-Backend", "redis");
        FORMAT(line, "If-Match: %s", http_header(h, "ETag"));
        a = http_get(h, "/session/k?touch=false");
        ck_assert_str_eq(MEMBER(value, a->body, "data"), MEMBER(body, body, "data"));
        ck_assert_str_eq(http_header(h, "ETag"), strchr(line, '"'));
    }
    ck_assert(daemon_metric(d, "phoenix_record_settled_total") >= ROUNDS);
    ck_assert_str_eq(journal(value), "0");
    scene_close();
}
END_TEST

START_TEST(settled_creations_and_deletions_take_effect_once)
{
    scene_open("phoenix:session:new", false);
    for (int i = 0; i < ROUNDS; i++) {
        atomic_store(&loss.left, 1);
        EXPECT_STATUS(http_send(h, "POST", "/session", "{\"correlation_id\":\"new\"}"), 201);
        atomic_store(&loss.left, 1);
        EXPECT_STATUS(http_send(h, "DELETE", "/session/new", NULL), 204);
        ck_assert_uint_eq(atomic_load(&loss.left), 0);
        expect_problem(h, http_get(h, "/session/new"), 404, "not_found");
    }
    scene_close();
}
END_TEST

START_TEST(a_settled_report_counts_once)
{
    char value[64];
    scene_open("phoenix:health:a", false);
    for (long i = 1; i <= ROUNDS; i++) {
        atomic_store(&loss.left, 1);
        const struct http_answer *a = http_send(h, "POST", "/health/a/failure", NULL);
        EXPECT_STATUS(a, 200);
        ck_assert_uint_eq(atomic_load(&loss.left), 0);
        ck_assert_int_eq(strtol(MEMBER(value, a->body, "consecutive_failures"), NULL, 10), i);
    }
    ck_assert_str_eq(journal(value), "0");
    scene_close();
}
END_TEST

START_TEST(a_guarded_change_that_cannot_be_settled_is_told_as_unknown)
{
    char line[128];
    char value[64];
    scene_open("phoenix:session:k", true);
    EXPECT_STATUS(http_get(h, "/session/k?touch=false"), 200);
    FORMAT(line, "If-Match: %s", http_header(h, "ETag"));
    atomic_store(&loss.left, 1);
    expect_problem(h, http_request(h, "PATCH", "/session/k", line, "{\"data\":1}", 10), 504,
                   "outcome_unknown");
    ck_assert_str_eq(journal(value), "0");
    scene_close();
}
END_TEST

START_TEST(an_unguarded_change_that_cannot_be_settled_is_journaled)
{
    char value[64];
    scene_open("phoenix:session:k", true);
    atomic_store(&loss.left, 1);
    const struct http_answer *a = http_send(h, "PATCH", "/session/k", "{\"data\":1}");
    EXPECT_STATUS(a, 200);
    expect_header(h, "Phoenix-Backend", "local");
    ck_assert_str_eq(MEMBER(value, a->body, "data"), "1");
    ck_assert_str_eq(journal(value), "1");
    a = http_get(h, "/session/k?touch=false");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(MEMBER(value, a->body, "data"), "1");
    scene_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lost_reply");
    TCase *tc = test_case(suite, "lost reply", 60);
    tcase_add_loop_test(tc, a_settled_change_of_a_session_takes_effect_once, 0, 2);
    tcase_add_test(tc, settled_creations_and_deletions_take_effect_once);
    tcase_add_test(tc, a_settled_report_counts_once);
    tcase_add_test(tc, a_guarded_change_that_cannot_be_settled_is_told_as_unknown);
    tcase_add_test(tc, an_unguarded_change_that_cannot_be_settled_is_journaled);
    return test_run(suite);
}
