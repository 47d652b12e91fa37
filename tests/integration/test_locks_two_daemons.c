/* Locks across two daemons on one Redis: never two holders while leases are valid, fences that
 * only grow even when the counter is deleted, waiters served in order of arrival, a dead daemon's waiters
 * skipped. */
#include "../support/load.h"
#include "../support/stage.h"
#include "util/rfc3339.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { DAEMONS = 2, CLIENTS = 8, GRANTS = 200, WAITERS = 6, CLOCK_ERROR_MS = 5 };

#define QUEUE   "phoenix:locks:queue:{phoenix:locks:l}"
#define COUNTER "phoenix:locks:fence:{phoenix:locks:l}"

static struct redis_server *redis;
static struct resp_client *direct;
static struct daemon *daemons[DAEMONS];

static void open_all(void)
{
    redis = redis_server_start(NULL);
    direct = redis_server_client(redis);
    for (int i = 0; i < DAEMONS; i++)
        daemons[i] = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(redis)});
}

static void close_all(void)
{
    for (int i = 0; i < DAEMONS; i++)
        if (daemons[i]) daemon_stop(&daemons[i]);
    resp_close(&direct);
    if (redis) redis_server_stop(&redis);
}

/* --- exclusion --- */

/* What the clients know among themselves. A lease ends at its answer's expires_at: on one machine that is
 * exact, while valid_for_ms would count from when the answer was read. */
static struct {
    pthread_mutex_t lock;
    unsigned holder; /* 0: none */
    int64_t until_ms, fence;
    unsigned grants, expired;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_grant(struct load_thread *t, int64_t fence, int64_t until_ms)
{
    pthread_mutex_lock(&seen.lock);
    int64_t now = wall_ms();
    if (now >=
        until_ms - CLOCK_ERROR_MS) { /* over before it was read: others may have had theirs meanwhile */
        seen.expired++;
        pthread_mutex_unlock(&seen.lock);
        return;
    }
    if (seen.holder && now < seen.until_ms)
        load_fail(t, "two holders: %u's lease has %lld ms left", seen.holder,
                  (long long)(seen.until_ms - now));
    if (fence <= seen.fence) load_fail(t, "fence %lld after %lld", (long long)fence, (long long)seen.fence);
    if (seen.holder) seen.expired++;
    seen.holder = t->index + 1;
    seen.until_ms = until_ms - CLOCK_ERROR_MS;
    seen.fence = fence;
    seen.grants++;
    pthread_mutex_unlock(&seen.lock);
}

/* False: the lease is over, another may hold it. */
static bool give_up(const struct load_thread *t, int64_t fence)
{
    pthread_mutex_lock(&seen.lock);
    bool mine = seen.holder == t->index + 1 && seen.fence == fence;
    if (mine) seen.holder = 0;
    pthread_mutex_unlock(&seen.lock);
    return mine;
}

/* Each thread asks one of the daemons, by its number; some wait, some don't; one grant in eight is left to
 * expire. */
static void contend(struct load_thread *t)
{
    char body[128], value[64], line[128], token[64];
    if (!t->http) return;
    int ttl_ms = (int)test_ms(150) + (int)(load_random(t) % 100);
    double wait = load_random(t) % 3 ? 1.5 : 0;
    FORMAT(body, "{\"ttl\":%d.%03d,\"wait\":%.1f,\"owner\":\"c%u\"}", ttl_ms / 1000, ttl_ms % 1000, wait,
           t->index);
    const struct http_answer *a = http_send(t->http, "POST", "/locks/l", body);
    if (a->status == 409) {
        poll_pause();
        return;
    }
    if (a->status != 201) {
        load_fail(t, "%d %s %s", a->status, a->error, a->body);
        return;
    }
    int64_t until_ms = 0;
    if (!rfc3339_parse(slice_of(MEMBER(value, a->body, "expires_at")), &until_ms))
        load_fail(t, "%s", a->body);
    int64_t fence = strtoll(MEMBER(value, a->body, "fence"), NULL, 10);
    on_grant(t, fence, until_ms);
    MEMBER(token, a->body, "token");
    if (load_random(t) % 8 == 0 || !give_up(t, fence)) return;
    a = http_request(t->http, "DELETE", "/locks/l", FORMAT(line, "Phoenix-Lock-Token: %s", token), NULL, 0);
    if (a->status != 204 && a->status != 409) load_fail(t, "DELETE: %d %s", a->status, a->body);
}

/* Embedded there is one daemon, and no counter to be deleted. */
START_TEST(there_are_never_two_holders_and_fences_only_grow)
{
    bool embedded = _i == BACKEND_EMBEDDED;
    if (embedded)
        daemons[0] = daemon_start(NULL);
    else
        open_all();
    struct load *loads[DAEMONS];
    for (int i = 0; i < DAEMONS; i++)
        loads[i] = load_start(CLIENTS / DAEMONS, daemon_port(daemons[embedded ? 0 : i]), contend, NULL);
    int64_t limit = now_ms() + test_ms(30000);
    for (unsigned grants = 0; grants < GRANTS && now_ms() < limit;) {
        if (load_failed(loads[0]) || load_failed(loads[1])) break;
        if (!embedded) (void)resp_integer(direct, "DEL", COUNTER);
        poll_pause();
        pthread_mutex_lock(&seen.lock);
        grants = seen.grants;
        pthread_mutex_unlock(&seen.lock);
    }
    for (int i = 0; i < DAEMONS; i++)
        load_stop(&loads[i]);
    ck_assert_uint_ge(seen.grants, GRANTS);
    ck_assert_uint_gt(seen.expired, 0);
    close_all();
}
END_TEST

/* --- order --- */

static struct raw_http begin_wait(struct daemon *d, unsigned number, const char *wait)
{
    char text[400], body[100];
    struct raw_http c = raw_http_tcp((uint16_t)daemon_port(d));
    FORMAT(body, "{\"ttl\":30,\"wait\":%s,\"owner\":\"w%u\"}", wait, number);
    FORMAT(text, "POST /locks/l HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
           body);
    long long before = resp_integer(direct, "ZCARD", QUEUE);
    ck_assert(raw_http_send(&c, text));
    WAIT_FOR(resp_integer(direct, "ZCARD", QUEUE) == before + 1, 5000);
    return c;
}

static void take(struct http_client *h, char token[64])
{
    const struct http_answer *a = http_send(h, "POST", "/locks/l", "{\"ttl\":30}");
    EXPECT_STATUS(a, 201);
    member_of(token, 64, a->body, "token");
}

static void give(struct http_client *h, const char *token)
{
    char line[128];
    EXPECT_STATUS(
        http_request(h, "DELETE", "/locks/l", FORMAT(line, "Phoenix-Lock-Token: %s", token), NULL, 0), 204);
}

START_TEST(waiters_are_served_in_order_of_arrival_and_who_left_is_skipped)
{
    struct raw_http waiters[WAITERS];
    char token[64], owner[64], expected[16];
    open_all();
    struct http_client *h = daemon_client(daemons[0]);
    take(h, token);
    for (unsigned i = 0; i < WAITERS; i++)
        waiters[i] = begin_wait(daemons[i % DAEMONS], i, "30");
    raw_http_close(&waiters[1]);
    raw_http_close(&waiters[2]);
    WAIT_FOR(resp_integer(direct, "ZCARD", QUEUE) == WAITERS - 2, 5000);
    for (unsigned i = 0; i < WAITERS; i++) {
        struct raw_response r;
        if (i == 1 || i == 2) continue;
        give(h, token);
        ck_assert_int_eq(raw_status(&waiters[i], &r), 201);
        MEMBER(token, r.body, "token");
        raw_response_free(&r);
        ck_assert_str_eq(MEMBER(owner, http_get(h, "/locks/l")->body, "owner"), FORMAT(expected, "w%u", i));
        raw_http_close(&waiters[i]);
    }
    http_close(&h);
    close_all();
}
END_TEST

START_TEST(the_waiters_of_a_dead_daemon_are_skipped_after_two_seconds)
{
    char token[64];
    struct raw_response r;
    open_all();
    struct http_client *h = daemon_client(daemons[0]);
    take(h, token);
    struct raw_http dead = begin_wait(daemons[1], 1, "30"), alive = begin_wait(daemons[0], 2, "30");
    daemon_signal(daemons[1], SIGKILL);
    ck_assert_int_eq(daemon_wait(daemons[1], 10000), 128 + SIGKILL);
    daemon_release(&daemons[1]);
    give(h, token);
    int64_t since_ms = now_ms();
    ck_assert_int_eq(raw_status(&alive, &r), 201);
    ck_assert_int_lt(now_ms() - since_ms, test_ms(3500));
    raw_response_free(&r);
    raw_http_close(&alive);
    raw_http_close(&dead);
    http_close(&h);
    close_all();
}
END_TEST

START_TEST(a_release_at_one_daemon_ends_what_the_other_granted)
{
    char token[64];
    open_all();
    struct http_client *one = daemon_client(daemons[0]), *other = daemon_client(daemons[1]);
    take(one, token);
    EXPECT_STATUS(http_send(other, "POST", "/locks/l", "{\"ttl\":30}"), 409);
    give(other, token);
    take(other, token);
    http_close(&one);
    http_close(&other);
    close_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("locks across two daemons");
    TCase *tests = test_case(suite, "two daemons", 60);
    tcase_add_loop_test(tests, there_are_never_two_holders_and_fences_only_grow, 0, BACKEND_COUNT);
    tcase_add_test(tests, waiters_are_served_in_order_of_arrival_and_who_left_is_skipped);
    tcase_add_test(tests, the_waiters_of_a_dead_daemon_are_skipped_after_two_seconds);
    tcase_add_test(tests, a_release_at_one_daemon_ends_what_the_other_granted);
    return test_run(suite);
}
