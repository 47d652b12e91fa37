/* The user of config/redis/users.acl: it suffices for everything the daemon does (complete), and without any
 * one of its commands something is refused (minimal). And its password, changed while all runs. */
#include "../support/stage.h"
#include "../support/traffic.h"

#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { COMMANDS_MAX = 96, NAME_SIZE = 32 };

static const char DONE_ORDER[] = "phoenix:tasks:done_order:{phoenix:tasks:queue}",
                  INBOX[] = "phoenix:tasks:queue", WAITERS[] = "phoenix:tasks:waiters:{phoenix:tasks:queue}";

/* A daemon that is nobody but that user, in database 1, and an administrator. */
struct scene {
    struct redis_server *redis;
    struct resp_client *r;
    struct daemon *d;
    struct http_client *h;
    char secret[TEST_PATH_MAX];
    const char *without; /* the command taken away; NULL: none, and everything must work */
    unsigned waits;      /* how often act_wait was done */
};

static void open_scene(struct scene *s)
{
    char url[64], file[TEST_PATH_MAX + 64];
    *s = (struct scene){0};
    s->redis = redis_server_start(&(struct redis_server_options){.config = {"state.conf", "users.acl"}});
    s->r = redis_server_client(s->redis);
    ck_assert_str_eq(resp_text(s->r, "SELECT", "1"), "OK");
    ck_assert_str_eq(resp_text(s->r, "ACL", "SETUSER", "phoenix", ">first"), "OK");
    scratch_path(s->secret, "password");
    scratch_write(s->secret, "first\n");
    const char *env[] = {FORMAT(file, "PHOENIX_REDIS_PASSWORD_FILE=%s", s->secret), NULL};
    FORMAT(url, "redis://phoenix@127.0.0.1:%d/1", redis_server_port(s->redis));
    s->d = daemon_start(&(struct daemon_options){.redis_url = url, .env = env});
    s->h = daemon_client(s->d);
}

static void close_scene(struct scene *s)
{
    http_close(&s->h);
    daemon_stop(&s->d);
    resp_close(&s->r);
    redis_server_stop(&s->redis);
}

/* --- what was refused --- */

static const char *field(const struct resp_value *entry, const char *name)
{
    for (size_t i = 0; i + 1 < entry->count; i += 2)
        if (entry->items[i].text && strcmp(entry->items[i].text, name) == 0 && entry->items[i + 1].text)
            return entry->items[i + 1].text;
    return "";
}

/* Whether ACL LOG holds this command; NULL: anything, which is then named. */
static bool denied(struct scene *s, const char *command, char out_what[128])
{
    const struct resp_value *log = resp_call(s->r, "ACL", "LOG", "100");
    ck_assert(log && log->type == '*');
    for (size_t i = 0; i < log->count; i++) {
        const struct resp_value *entry = &log->items[i];
        if (command &&
            (strcmp(field(entry, "reason"), "command") != 0 || strcmp(field(entry, "object"), command) != 0))
            continue;
        format(out_what, 128, "%.20s %.80s", field(entry, "reason"), field(entry, "object"));
        return true;
    }
    return false;
}

static bool told(struct scene *s)
{
    char what[128];
    return s->without && denied(s, s->without, what);
}

/* Waits for the condition; where a command is missing only until that shows, or for a moment. */
#define AWAIT(scene, condition)                                                                              \
    do {                                                                                                     \
        int64_t until_ = now_ms() + test_ms((scene)->without ? 400 : 10000);                                 \
        while (!(condition) && !told(scene)) {                                                               \
            if (now_ms() >= until_) {                                                                        \
                ck_assert_msg((scene)->without != NULL, "waited for: %s", #condition);                       \
                break;                                                                                       \
            }                                                                                                \
            poll_pause();                                                                                    \
        }                                                                                                    \
    } while (0)

/* --- acts: together they make the daemon use every command --- */

static const struct http_answer *ask_with(struct scene *s, const char *method, const char *path,
                                          const char *headers, const char *body, int status)
{
    const struct http_answer *a = http_request(s->h, method, path, headers, body, body ? strlen(body) : 0);
    if (!s->without) {
        EXPECT_STATUS(a, status);
        const char *backend = http_header(s->h, "Phoenix-Backend");
        ck_assert_msg(!backend || strcmp(backend, "redis") == 0, "%s %s: %s", method, path, backend);
    }
    return a;
}

static const struct http_answer *ask(struct scene *s, const char *method, const char *path, const char *body,
                                     int status)
{
    return ask_with(s, method, path, NULL, body, status);
}

/* The first value of a member of this name; "" where there is none. */
static const char *value_in(char *out, size_t size, const char *text, const char *name)
{
    char mark[64];
    const char *at = text ? strstr(text, FORMAT(mark, "\"%s\":\"", name)) : NULL;
    out[0] = 0;
    if (!at) return out;
    at += strlen(mark);
    return format(out, size, "%.*s", (int)strcspn(at, "\""), at);
}
#define VALUE(array, text, name) value_in((array), sizeof(array), (text), (name))

static void act_cache(struct scene *s)
{
    static const char lookup[] = "{\"input\":\"Explain OpenAPI to a ten year old\"}";
    ask(s, "PUT", "/cache/k", "{\"response\":{\"a\":1}}", 201);
    ask_with(s, "GET", "/cache/k", "Cache-Control: no-cache", NULL, 200);
    ask_with(s, "PUT", "/cache/k", "If-None-Match: *", "{\"response\":1}", 412);
    ask(s, "POST", "/cache/lookup", lookup, 404);
    ask(s, "DELETE", "/cache/k", NULL, 204);
}

static void act_records(struct scene *s)
{
    ask(s, "POST", "/session", "{\"correlation_id\":\"c\",\"data\":[1]}", 201);
    ask(s, "GET", "/session/c", NULL, 200);
    ask(s, "PATCH", "/session/c", "{\"plan_id\":\"p\"}", 200);
    ask(s, "GET", "/session", NULL, 200);
    ask(s, "DELETE", "/session/c", NULL, 204);
    ask(s, "POST", "/health/a/failure", "{\"reason\":\"timeout\"}", 200);
    ask(s, "GET", "/health/a", NULL, 200);
    ask(s, "POST", "/health/a/permit", "{}", 200);
    ask(s, "GET", "/health", NULL, 200);
    ask(s, "DELETE", "/health/a", NULL, 204);
}

static void act_locks(struct scene *s)
{
    char token[128], header[256], body[256];
    VALUE(token, ask(s, "POST", "/locks/l", "{\"ttl\":30,\"owner\":\"o\"}", 201)->body, "token");
    ask(s, "PUT", "/locks/l", FORMAT(body, "{\"token\":\"%s\",\"ttl\":30}", token), 200);
    ask(s, "GET", "/locks/l", NULL, 200);
    ask(s, "POST", "/locks/l", "{\"ttl\":30,\"wait\":0.2}", 409);
    ask_with(s, "DELETE", "/locks/l", FORMAT(header, "Phoenix-Lock-Token: %s", token), NULL, 204);
}

static void take(struct scene *s, const char *body, char receipt[128])
{
    value_in(receipt, 128, ask(s, "POST", "/tasks/dequeue", body, 200)->body, "receipt");
}

static void act_tasks(struct scene *s)
{
    char receipt[128], body[256];
    ask(s, "POST", "/tasks", "{\"task_id\":\"t1\",\"agent\":\"a\",\"payload\":1}", 201);
    take(s, "{\"agent\":\"a\"}", receipt);
    ask(s, "POST", "/tasks/t1/extend", FORMAT(body, "{\"receipt\":\"%s\",\"lease\":60}", receipt), 200);
    ask(s, "POST", "/tasks/t1/ack", FORMAT(body, "{\"receipt\":\"%s\"}", receipt), 204);
    ask(s, "POST", "/tasks", "{\"task_id\":\"t2\",\"payload\":1,\"max_attempts\":1}", 201);
    for (int i = 0; i < 2; i++) {
        take(s, s->without ? "{}" : "{\"wait\":5}", receipt);
        ask(s, "POST", "/tasks/t2/nack", FORMAT(body, "{\"receipt\":\"%s\",\"reason\":\"r\"}", receipt), 204);
        if (i == 0) ask(s, "POST", "/tasks/t2/requeue", NULL, 204);
    }
    ask(s, "DELETE", "/tasks?state=dead", NULL, 200);
    (void)http_send(s->h, "DELETE", "/tasks/t2", NULL); /* still there where something was refused */
}

static void act_lists(struct scene *s)
{
    char cursor[700], path[800];
    for (int i = 3; i < 6; i++) {
        char body[64];
        ask(s, "POST", "/tasks", FORMAT(body, "{\"task_id\":\"t%d\",\"payload\":%d}", i, i), 201);
    }
    ask(s, "GET", "/tasks", NULL, 200);
    ask(s, "GET", "/tasks/t3", NULL, 200);
    VALUE(cursor, ask(s, "GET", "/tasks?state=ready&limit=1", NULL, 200)->body, "cursor");
    FORMAT(path, "/tasks?state=ready&limit=1&cursor=%s", cursor);
    if (cursor[0]) ask(s, "GET", path, NULL, 200);
    ask(s, "DELETE", "/tasks/t3", NULL, 204);
    if (cursor[0]) ask(s, "GET", path, NULL, 200); /* its place is gone by now */
    ask(s, "DELETE", "/tasks/t4", NULL, 204);
    ask(s, "DELETE", "/tasks/t5", NULL, 204);
}

/* Items of a foreign producer, and a finished id whose window is over. */
static void act_foreign(struct scene *s)
{
    const char *argv[] = {"LPUSH", DONE_ORDER, "\0\0\0\0\0\1old"};
    const size_t lens[] = {5, strlen(DONE_ORDER), 9};
    ck_assert(resp_call_argv(s->r, 3, argv, lens)->type == ':');
    resp_integer(s->r, "LPUSH", INBOX, "{\"task_id\":\"f\",\"payload\":1}", "no task");
    AWAIT(s, resp_integer(s->r, "LLEN", INBOX) == 0);
    AWAIT(s, strncmp(resp_text(s->r, "LINDEX", DONE_ORDER, "0"), "\0\0\0\0\0\1", 7) != 0 ||
                 resp_call(s->r, "LINDEX", DONE_ORDER, "0")->len != 9);
    ask(s, "GET", "/tasks?state=bad", NULL, 200);
    ask(s, "DELETE", "/tasks/f", NULL, 204);
}

static bool waiting(struct scene *s, int n)
{
    char text[32];
    return strstr(http_get(s->h, "/status")->body, FORMAT(text, "\"waiting\":%d", n)) != NULL;
}

/* A task of another id each time: one that was missed is finished or still there, and adding it again would
 * be nothing new to tell a waiter of. */
static void act_wait(struct scene *s)
{
    char body[64], path[64];
    unsigned n = ++s->waits;
    struct raw_http waiter = raw_http_tcp((uint16_t)daemon_port(s->d));
    raw_http_send(&waiter, "POST /tasks/dequeue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n\r\n"
                           "{\"wait\":20, \"ack\": \"auto\"}\n");
    AWAIT(s, waiting(s, 1) && resp_integer(s->r, "LLEN", WAITERS) == 1); /* the daemon stands in line */
    ask(s, "POST", "/tasks", FORMAT(body, "{\"task_id\":\"w%u\",\"payload\":1}", n), 201);
    AWAIT(s, raw_http_readable(&waiter, 10));
    raw_http_close(&waiter);
    if (s->without) (void)http_send(s->h, "DELETE", FORMAT(path, "/tasks/w%u", n), NULL);
}

/* A connection is given up with a command on its way, and killed by the next. */
static void act_give_up(struct scene *s)
{
    resp_text(s->r, "CLIENT", "PAUSE", "700", "ALL");
    http_send(s->h, "PUT", "/cache/paused", "{\"response\":1}");
    AWAIT(s, daemon_metric(s->d, "phoenix_redis_connections_abandoned_total") > 0 &&
                 strstr(http_get(s->h, "/readyz")->body, "\"status\":\"ready\"") != NULL);
}

static bool serves(struct scene *s)
{
    bool put = http_send(s->h, "PUT", "/cache/serves", "{\"response\":1}")->status < 300;
    const char *backend = http_header(s->h, "Phoenix-Backend");
    return put && backend && strcmp(backend, "redis") == 0 && daemon_metric(s->d, "phoenix_near_live") == 1;
}

/* Every connection is made anew. */
static void act_reconnect(struct scene *s)
{
    resp_integer(s->r, "CLIENT", "KILL", "USER", "phoenix");
    AWAIT(s, serves(s));
}

static void (*const ACTS[])(struct scene *) = {act_cache,   act_records, act_locks,   act_tasks,    act_lists,
                                               act_foreign, act_wait,    act_give_up, act_reconnect};
enum { ACT_COUNT = sizeof ACTS / sizeof ACTS[0] };

/* --- the list --- */

static size_t read_list(char names[COMMANDS_MAX][NAME_SIZE])
{
    char path[TEST_PATH_MAX];
    size_t n = 0;
    char *text = file_read(repository_path(path, "config/redis/users.acl"), NULL);
    char *line = strstr(text, "\nuser phoenix ");
    ck_assert_ptr_nonnull(line);
    line[1 + strcspn(line + 1, "\n")] = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        if (word[0] != '+') continue;
        ck_assert_uint_lt(n, COMMANDS_MAX);
        FORMAT(names[n], "%s", word + 1);
        n++;
    }
    free(text);
    ck_assert_uint_gt(n, 40);
    return n;
}

static bool listed(const char *name, size_t len, char names[COMMANDS_MAX][NAME_SIZE], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0) return true;
    return false;
}

START_TEST(every_command_of_the_scripts_is_listed)
{
    char names[COMMANDS_MAX][NAME_SIZE], pattern[TEST_PATH_MAX];
    size_t count = read_list(names), calls = 0;
    glob_t found;
    ck_assert_int_eq(glob(repository_path(pattern, "src/engine/redis/scripts/*.lua"), 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *text = file_read(found.gl_pathv[i], NULL);
        for (const char *at = text; (at = strstr(at, "call('")) != NULL; calls++) {
            at += strlen("call('");
            size_t len = strcspn(at, "'");
            ck_assert_msg(listed(at, len, names, count), "%s: %.*s", found.gl_pathv[i], (int)len, at);
        }
        free(text);
    }
    ck_assert_uint_gt(calls, 150);
    globfree(&found);
}
END_TEST

/* --- complete, minimal --- */

/* Redis is gone for a while: what was done meanwhile is handed back. */
static void outage(struct scene *s)
{
    static const char *const WRITES[][3] = {
        {"PUT", "/cache/out", "{\"response\":1}"},
        {"DELETE", "/cache/gone", NULL},
        {"POST", "/session", "{\"correlation_id\":\"out\"}"},
        {"POST", "/health/out/failure", "{}"},
        {"POST", "/tasks", "{\"task_id\":\"out\",\"payload\":1}"},
        {"POST", "/tasks", "{\"task_id\":\"own\",\"payload\":1,\"priority\":9}"}};
    char receipt[128], body[256], header[256], token[128];
    ask(s, "POST", "/session", "{\"correlation_id\":\"kept\"}", 201);
    ask(s, "POST", "/tasks", "{\"task_id\":\"leased\",\"payload\":1}", 201);
    take(s, "{}", receipt);
    VALUE(token, ask(s, "POST", "/locks/out", "{\"ttl\":30}", 201)->body, "token");
    redis_server_pause(s->redis);
    WAIT_FOR(strstr(http_get(s->h, "/readyz")->body, "degraded") || !serves(s), 10000);
    for (size_t i = 0; i < sizeof WRITES / sizeof WRITES[0]; i++)
        ck_assert_int_lt(http_send(s->h, WRITES[i][0], WRITES[i][1], WRITES[i][2])->status, 300);
    http_send(s->h, "PATCH", "/session/kept", "{\"state\":\"Completed\"}");
    EXPECT_STATUS(http_send(s->h, "POST", "/tasks/leased/ack", FORMAT(body, "{\"receipt\":\"%s\"}", receipt)),
                  202);
    http_request(s->h, "DELETE", "/locks/out", FORMAT(header, "Phoenix-Lock-Token: %s", token), NULL, 0);
    value_in(receipt, sizeof receipt, http_send(s->h, "POST", "/tasks/dequeue", "{}")->body, "receipt");
    http_send(s->h, "POST", "/tasks/own/ack", FORMAT(body, "{\"receipt\":\"%s\"}", receipt));
    redis_server_resume(s->redis);
    WAIT_FOR(serves(s) && strstr(http_get(s->h, "/readyz")->body, "\"journal\":0"), 30000);
    WAIT_FOR(strcmp(redis_value(s->r, "out"), "") != 0, 10000);
    WAIT_FOR(http_get(s->h, "/tasks/out")->status == 200, 10000);
}

START_TEST(the_user_may_do_all_that_is_needed)
{
    struct scene s;
    char what[128];
    open_scene(&s);
    WAIT_FOR(serves(&s), 10000);
    for (size_t i = 0; i < ACT_COUNT; i++)
        ACTS[i](&s);
    outage(&s);
    WAIT_FOR(daemon_metric(s.d, "redis_memory_used_bytes") > 0, 10000);
    ck_assert_msg(!denied(&s, NULL, what), "refused: %s", what);
    ck_assert(!daemon_log_has(s.d, "NOPERM") && !daemon_log_has(s.d, "Redis refuses calls"));
    /* And no more than that. */
    static const char *const FORBIDDEN[][4] = {{"GET", "other", NULL},       {"PUBLISH", "other", "x", NULL},
                                               {"CONFIG", "GET", "*", NULL}, {"FLUSHALL", NULL},
                                               {"ACL", "LIST", NULL},        {"KEYS", "*", NULL},
                                               {"CLIENT", "LIST", NULL}};
    struct resp_client *phoenix = redis_server_client(s.redis);
    ck_assert_str_eq(resp_text(phoenix, "AUTH", "phoenix", "first"), "OK");
    for (size_t i = 0; i < sizeof FORBIDDEN / sizeof FORBIDDEN[0]; i++)
        ck_assert_msg(strncmp(resp_text_list(phoenix, FORBIDDEN[i]), "NOPERM", 6) == 0, "%s",
                      FORBIDDEN[i][0]);
    resp_close(&phoenix);
    close_scene(&s);
}
END_TEST

static bool log_names(struct scene *s, const char *command)
{
    char quoted[NAME_SIZE + 4], upper[NAME_SIZE + 4];
    FORMAT(quoted, "run '%s'", command);
    FORMAT(upper, "%s", quoted);
    for (char *c = upper + 4; *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    return daemon_log_has(s->d, quoted) || daemon_log_has(s->d, upper);
}

/* One command less; true when Redis refused it and the log says which it was. */
static bool is_needed(struct scene *s, const char *command)
{
    char rule[NAME_SIZE + 1];
    s->without = command;
    resp_text(s->r, "FLUSHDB");
    resp_text(s->r, "SCRIPT", "FLUSH");
    resp_text(s->r, "ACL", "LOG", "RESET");
    ck_assert_str_eq(resp_text(s->r, "ACL", "SETUSER", "phoenix", FORMAT(rule, "-%s", command)), "OK");
    bool seen = false;
    int64_t until = now_ms() + test_ms(20000);
    for (size_t i = 0; !seen && now_ms() < until; i = (i + 1) % ACT_COUNT) {
        ACTS[i](s);
        seen = told(s) && log_names(s, command);
    }
    ck_assert_str_eq(resp_text(s->r, "ACL", "SETUSER", "phoenix", FORMAT(rule, "+%s", command)), "OK");
    return seen;
}

START_TEST(each_command_of_the_list_is_needed_and_named_when_refused)
{
    struct scene s;
    char names[COMMANDS_MAX][NAME_SIZE];
    size_t count = read_list(names);
    open_scene(&s);
    WAIT_FOR(serves(&s), 10000);
    for (size_t i = (size_t)_i; i < count; i += 4) {
        ck_assert_msg(is_needed(&s, names[i]), "+%s could be left out", names[i]);
        s.without = NULL;
        WAIT_FOR(serves(&s), 60000); /* refused tracking is asked for again after 30 s */
    }
    close_scene(&s);
}
END_TEST

START_TEST(what_is_refused_is_answered_so)
{
    struct scene s;
    open_scene(&s);
    WAIT_FOR(serves(&s), 10000);
    double before = daemon_metric(s.d, "phoenix_redis_calls_total{result=\"refused\"}");
    resp_text(s.r, "ACL", "SETUSER", "phoenix", "-zadd");
    const struct http_answer *a =
        http_send(s.h, "POST", "/tasks", "{\"task_id\":\"t\",\"payload\":\"private\"}");
    expect_problem(s.h, a, 503, "redis_refused");
    ck_assert_msg(strcasestr(a->body, "may not run 'zadd'") != NULL, "%s", a->body);
    ck_assert(daemon_metric(s.d, "phoenix_redis_calls_total{result=\"refused\"}") > before);
    ck_assert_msg(strstr(http_get(s.h, "/readyz")->body, "\"circuit\":\"closed\"") != NULL,
                  "a refusal is no failure");
    ck_assert(!daemon_log_has(s.d, "private"));
    resp_text(s.r, "ACL", "SETUSER", "phoenix", "+zadd", "resetkeys", "~phoenix:tasks:*");
    EXPECT_STATUS(http_send(s.h, "PUT", "/cache/k", "{\"response\":\"private\"}"), 201);
    WAIT_FOR(daemon_log_has(s.d, "NOPERM this user may not touch this key"), 10000);
    ck_assert(!daemon_log_has(s.d, "private"));
    resp_text(s.r, "ACL", "SETUSER", "phoenix", "~phoenix:*");
    WAIT_FOR(strcmp(redis_value(s.r, "k"), "") != 0, 20000);
    close_scene(&s);
}
END_TEST

/* --- passwords --- */

START_TEST(a_password_is_changed_without_a_degraded_answer)
{
    struct scene s;
    open_scene(&s);
    WAIT_FOR(serves(&s), 10000);
    struct traffic *t = traffic_start(&(struct traffic_options){.port = daemon_port(s.d)});
    traffic_run(t, 500);
    resp_text(s.r, "ACL", "SETUSER", "phoenix", ">second");
    scratch_write(s.secret, "second\n");
    daemon_signal(s.d, SIGHUP);
    WAIT_FOR(daemon_log_has(s.d, "reloaded on SIGHUP"), 5000);
    resp_text(s.r, "ACL", "SETUSER", "phoenix", "<first");
    resp_integer(s.r, "CLIENT", "KILL", "USER", "phoenix"); /* whoever comes back needs the new one */
    traffic_run(t, 1000);
    traffic_stop(t);
    WAIT_FOR(serves(&s), 10000);
    ck_assert(!daemon_log_has(s.d, "WRONGPASS"));
    traffic_expect_in_redis(t, s.r, 10000);
    traffic_destroy(&t);
    close_scene(&s);
}
END_TEST

START_TEST(a_password_changed_behind_our_back_costs_degraded_answers_only)
{
    struct scene s;
    open_scene(&s);
    WAIT_FOR(serves(&s), 10000);
    struct traffic *t = traffic_start(&(struct traffic_options){.port = daemon_port(s.d)});
    traffic_run(t, 500);
    resp_text(s.r, "ACL", "SETUSER", "phoenix", "<first", ">second");
    resp_integer(s.r, "CLIENT", "KILL", "USER", "phoenix");
    WAIT_FOR(daemon_log_has(s.d, "WRONGPASS"), 10000);
    traffic_run(t, 500);
    scratch_write(s.secret, "second\n"); /* noticed without a signal */
    WAIT_FOR(serves(&s), 15000);
    traffic_run(t, 500);
    traffic_stop(t);
    traffic_expect_in_redis(t, s.r, 10000);
    traffic_destroy(&t);
    ck_assert(!daemon_log_has(s.d, "first") && !daemon_log_has(s.d, "second\""));
    close_scene(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis_acl");
    TCase *tc = test_case(suite, "acl", 120);
    tcase_add_test(tc, every_command_of_the_scripts_is_listed);
    tcase_add_test(tc, the_user_may_do_all_that_is_needed);
    tcase_add_loop_test(tc, each_command_of_the_list_is_needed_and_named_when_refused, 0, 4);
    tcase_add_test(tc, what_is_refused_is_answered_so);
    tcase_add_test(tc, a_password_is_changed_without_a_degraded_answer);
    tcase_add_test(tc, a_password_changed_behind_our_back_costs_degraded_answers_only);
    return test_run(suite);
}
