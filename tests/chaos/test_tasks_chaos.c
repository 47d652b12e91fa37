/* The queue while everything dies: workers on two daemons, leases that are abandoned, a Redis and a daemon
 * that are killed and started again at random. Every acknowledged enqueue is acked exactly once by
 * accounting, and a task is given again only after its lease ended. The run prints its accounting.
 * CHAOS_TASKS and CHAOS_SECONDS say how much; TEST_SEED makes the same choices again. */
#include "../support/stage.h"
#include "crew.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS = 1500, SECONDS = 6, DRAIN_MS = 90000, CHECKED_AT_ONCE = 500, VICTIM = 1 };

static struct crew crew;
static uint64_t seed, dice;
static struct redis_server *redis;
static struct daemon *daemons[DAEMONS];
static char spool_env[DAEMONS][TEST_PATH_MAX + 32];
static struct ledger_faults faults;

static void start_daemon(unsigned i)
{
    const char *env[] = {spool_env[i], "PHOENIX_TASKS_RETRY_BASE_MS=100", "PHOENIX_TASKS_RETRY_MAX_MS=1000",
                         NULL};
    daemons[i] = daemon_start(&(struct daemon_options){.redis_url = redis_server_url(redis), .env = env});
    atomic_store(&crew.port[i], daemon_port(daemons[i]));
}

static void kill_daemon(unsigned i)
{
    atomic_store(&crew.port[i], 0);
    daemon_signal(daemons[i], SIGKILL);
    daemon_wait(daemons[i], 5000);
    daemon_release(&daemons[i]);
    faults.daemon_kills++;
}

static int64_t in_ms(int64_t least, unsigned spread)
{
    return now_ms() + least + chaos_below(&dice, spread);
}

/* What Redis suffers: killed, or stopped for a while, so that what was sent is executed late. */
static enum { UP, KILLED, STOPPED } redis_is = UP;

static void heal_redis(void)
{
    if (redis_is == KILLED) redis_server_restart(redis);
    if (redis_is == STOPPED) redis_server_resume(redis);
    redis_is = UP;
}

static void strike_redis(void)
{
    if (chaos_below(&dice, 4) == 0) {
        redis_server_pause(redis);
        redis_is = STOPPED;
        faults.redis_stops++;
    } else {
        redis_server_kill(redis);
        redis_is = KILLED;
        faults.redis_kills++;
    }
}

/* Kills and restarts until the tasks are enqueued; everything runs when this returns. */
static void rage(void)
{
    int64_t redis_due = in_ms(500, 1000), daemon_due = in_ms(800, 1500);
    while (ledger_enqueued_count(crew.ledger) < crew.tasks && !crew_failed(&crew)) {
        if (now_ms() >= redis_due) {
            if (redis_is == UP)
                strike_redis();
            else
                heal_redis();
            redis_due = redis_is == UP ? in_ms(1000, 4000) : in_ms(50, 2500);
        }
        if (now_ms() >= daemon_due) {
            if (daemons[VICTIM])
                kill_daemon(VICTIM);
            else
                start_daemon(VICTIM);
            daemon_due = daemons[VICTIM] ? in_ms(1000, 4000) : in_ms(20, 1000);
        }
        poll_pause();
    }
    heal_redis();
    if (!daemons[VICTIM]) start_daemon(VICTIM);
}

static bool is_drained(void)
{
    for (unsigned i = 0; i < DAEMONS; i++) {
        struct http_client *h = daemon_client(daemons[i]);
        const struct http_answer *a = http_get(h, "/tasks");
        bool empty = a->status == 200 && strstr(a->body, "\"partial\"") == NULL &&
                     strstr(a->body, "\"ready\":0,\"delayed\":0,\"leased\":0,\"dead\":0,\"bad\":0}");
        http_close(&h);
        if (!empty || daemon_metric(daemons[i], "phoenix_journal_entries") > 0) return false;
    }
    return true;
}

static void print_what_is_left(void)
{
    for (unsigned i = 0; i < DAEMONS; i++) {
        struct http_client *h = daemon_client(daemons[i]);
        printf("daemon %u: %s, %g journaled\n", i, http_get(h, "/tasks")->body,
               daemon_metric(daemons[i], "phoenix_journal_entries"));
        static const char *const states[] = {"ready", "delayed", "leased", "dead"};
        for (size_t j = 0; j < sizeof states / sizeof states[0]; j++) {
            char path[64];
            printf("%.2000s\n", http_get(h, FORMAT(path, "/tasks?limit=5&state=%s", states[j]))->body);
        }
        http_close(&h);
    }
    (void)fflush(stdout);
}

static void drain(void)
{
    int64_t until = now_ms() + test_ms(DRAIN_MS);
    while (!crew_failed(&crew) && !is_drained()) {
        if (now_ms() > until) {
            print_what_is_left();
            (void)ledger_judge(crew.ledger, &faults);
            ck_abort_msg("not drained after %d ms", DRAIN_MS);
        }
        for (int64_t pause = now_ms() + 100; now_ms() < pause;)
            poll_pause();
    }
}

/* To enqueue one again finds it acked: none is lost, dead or forgotten. */
static void expect_all_known_as_acked(void)
{
    static char body[CHECKED_AT_ONCE * 40];
    struct http_client *h = daemon_client(daemons[0]);
    for (unsigned i = 0; i < crew.tasks; i += CHECKED_AT_ONCE) {
        char *at = body;
        for (unsigned j = i; j < crew.tasks && j < i + CHECKED_AT_ONCE; j++) {
            format(at, (size_t)(body + sizeof body - at), "%c{\"task_id\":\"t%u\",\"payload\":0}",
                   j == i ? '[' : ',', j);
            at += strlen(at);
        }
        *at++ = ']';
        *at = 0;
        const struct http_answer *a = http_send(h, "POST", "/tasks", body);
        EXPECT_STATUS(a, 200);
        const char *result = a->body;
        for (unsigned j = i; j < crew.tasks && j < i + CHECKED_AT_ONCE; j++) {
            result = strstr(result, "\"state\":\"");
            ck_assert_ptr_nonnull(result);
            result += strlen("\"state\":\"");
            ck_assert_msg(strncmp(result, "acked\"", 6) == 0, "t%u: %.60s", j, result);
        }
    }
    http_close(&h);
}

static unsigned number_from(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void set_up(void)
{
    char name[32], path[TEST_PATH_MAX];
    const char *given = getenv("TEST_SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)now_us();
    dice = seed;
    unsigned tasks = number_from("CHAOS_TASKS", TASKS);
    unsigned seconds = number_from("CHAOS_SECONDS", SECONDS);
    printf("TEST_SEED=%" PRIu64 " CHAOS_TASKS=%u CHAOS_SECONDS=%u\n", seed, tasks, seconds);
    (void)fflush(stdout);
    crew.seed = seed;
    crew.tasks = tasks;
    crew.produce_ms = (int64_t)seconds * 1000;
    crew.ledger = ledger_create(tasks);
    redis = redis_server_start(&(struct redis_server_options){.durable = true});
    for (unsigned i = 0; i < DAEMONS; i++) {
        FORMAT(spool_env[i], "PHOENIX_SPOOL_PATH=%s", scratch_path(path, FORMAT(name, "chaos-%u.db", i)));
        start_daemon(i);
        WAIT_FOR(daemon_metric(daemons[i], "phoenix_redis_up") == 1, 5000);
    }
}

START_TEST(every_acknowledged_task_is_acked_once_whatever_dies)
{
    set_up();
    int64_t from = now_ms();
    crew_start(&crew);
    rage();
    crew_stop_producers(&crew);
    drain();
    crew_stop_workers(&crew);
    faults.seconds = (double)(now_ms() - from) / 1000;
    /* what a killed daemon had leased for its workers, and what Redis had just leased when it failed all */
    faults.deliveries_lost_max = TAKE_MAX * (faults.daemon_kills * WORKERS / DAEMONS +
                                             (faults.redis_kills + faults.redis_stops) * WORKERS);
    unsigned discrepancies = ledger_judge(crew.ledger, &faults);
    ck_assert_msg(discrepancies == 0, "%u discrepancies (TEST_SEED=%" PRIu64 ")", discrepancies, seed);
    expect_all_known_as_acked();
    ck_assert(is_drained());
    for (unsigned i = 0; i < DAEMONS; i++)
        daemon_stop(&daemons[i]);
    redis_server_stop(&redis);
    ledger_destroy(&crew.ledger);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tasks_chaos");
    TCase *tc = test_case(suite, "chaos", 900);
    tcase_add_test(tc, every_acknowledged_task_is_acked_once_whatever_dies);
    return test_run(suite);
}
