/* The tasks' contract, each case on both backends; then what is Redis's alone: foreign items, an
 * outage. */
#include "../support/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct stage s;

static void open_stage(int backend)
{
    s = stage_open((enum backend)backend, NULL);
}

static const struct http_answer *post(const char *path, const char *body)
{
    return http_send(s.h, "POST", path, body);
}

/* The first value of a member of this name anywhere in the text; strings without their quotes. */
static const char *value_in(char *out, size_t size, const char *text, const char *name)
{
    char mark[64];
    const char *at = strstr(text, FORMAT(mark, "\"%s\":", name));
    ck_assert_msg(at != NULL, "no %s in %s", name, text);
    at += strlen(mark);
    size_t len = *at == '"' ? strcspn(++at, "\"") : strcspn(at, ",}]");
    ck_assert_uint_lt(len, size);
    memcpy(out, at, len);
    out[len] = 0;
    return out;
}
#define VALUE(array, text, name) value_in((array), sizeof(array), (text), (name))

static void enqueue(const char *body)
{
    EXPECT_STATUS(post("/tasks", body), 201);
}

/* Takes one; its receipt. */
static void take(const char *body, const char *id, char receipt[96])
{
    char got[300];
    const struct http_answer *a = post("/tasks/dequeue", body);
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(VALUE(got, a->body, "task_id"), id);
    value_in(receipt, 96, a->body, "receipt");
}

static const struct http_answer *with_receipt(const char *id, const char *verb, const char *receipt,
                                              const char *more)
{
    char path[300], body[400];
    return post(FORMAT(path, "/tasks/%s/%s", id, verb),
                FORMAT(body, "{\"receipt\":\"%s\"%s}", receipt, more));
}

static long long count_of(const char *state)
{
    char value[32];
    const struct http_answer *a = http_get(s.h, "/tasks");
    EXPECT_STATUS(a, 200);
    return strtoll(VALUE(value, a->body, state), NULL, 10);
}

static bool is_in_state(const char *id, const char *state)
{
    char path[300], value[32];
    const struct http_answer *a = http_get(s.h, FORMAT(path, "/tasks/%s", id));
    return a->status == 200 && strcmp(VALUE(value, a->body, "state"), state) == 0;
}

/* --- one task's way --- */

START_TEST(a_task_is_enqueued_taken_and_acked)
{
    char receipt[96], value[64];
    open_stage(_i);
    const struct http_answer *a = post(
        "/tasks", "{\"task_id\":\"t\",\"agent\":\"x\",\"correlation_id\":\"c\",\"payload\":{\"a\" : 1.0}}");
    EXPECT_STATUS(a, 201);
    ck_assert_str_eq(a->body, "{\"task_id\":\"t\"}");
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    expect_header(s.h, "Cache-Control", "no-store");
    a = http_get(s.h, "/tasks/t");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(VALUE(value, a->body, "state"), "ready");
    ck_assert_str_eq(VALUE(value, a->body, "attempt"), "0");
    EXPECT_STATUS(http_request(s.h, "HEAD", "/tasks/t", NULL, NULL, 0), 200);
    EXPECT_STATUS(post("/tasks/dequeue", "{\"agent\":\"y\"}"), 204);
    a = post("/tasks/dequeue", "{\"agent\":[\"y\",\"x\"],\"lease\":60}");
    EXPECT_STATUS(a, 200);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    ck_assert_ptr_nonnull(strstr(a->body, "\"payload\":{\"a\" : 1.0}"));
    ck_assert_str_eq(VALUE(value, a->body, "attempt"), "1");
    ck_assert_str_eq(VALUE(value, a->body, "correlation_id"), "c");
    ck_assert_uint_eq(strlen(VALUE(value, a->body, "lease_expires_at")), 24);
    ck_assert_uint_eq(strlen(VALUE(value, a->body, "created_at")), 24);
    VALUE(receipt, a->body, "receipt");
    ck_assert(is_in_state("t", "leased"));
    EXPECT_STATUS(with_receipt("t", "ack", receipt, ""), 204);
    expect_header(s.h, "Phoenix-Backend", stage_backend_name(&s));
    EXPECT_STATUS(with_receipt("t", "ack", receipt, ""), 204);
    expect_problem(s.h, http_get(s.h, "/tasks/t"), 404, "not_found");
    a = post("/tasks", "{\"task_id\":\"t\",\"payload\":1}");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(a->body, "{\"task_id\":\"t\",\"state\":\"acked\"}");
    stage_close(&s);
}
END_TEST

START_TEST(an_id_that_is_not_given_is_made)
{
    char id[64], path[128];
    open_stage(_i);
    const struct http_answer *a = post("/tasks", "{\"payload\":null}");
    EXPECT_STATUS(a, 201);
    ck_assert_uint_eq(strlen(VALUE(id, a->body, "task_id")), 36);
    EXPECT_STATUS(http_get(s.h, FORMAT(path, "/tasks/%s", id)), 200);
    stage_close(&s);
}
END_TEST

START_TEST(each_element_of_an_array_is_judged_for_itself)
{
    open_stage(_i);
    enqueue("{\"task_id\":\"old\",\"payload\":0}");
    const struct http_answer *a = post(
        "/tasks",
        "[{\"task_id\":\"a\",\"payload\":1},{\"payload\":2,\"priority\":256},{\"payload\":3,"
        "\"priority\":\"high\"},{},7,{\"task_id\":\"a\",\"payload\":4},{\"task_id\":\"old\",\"payload\":5}]");
    EXPECT_STATUS(a, 201);
    static const char *const parts[] = {
        "{\"task_id\":\"a\",\"status\":201}",
        "\"status\":400,\"code\":\"invalid_argument\",\"detail\":\"member \\\"priority\\\"",
        "\"status\":422,\"code\":\"unprocessable\"",
        "payload",
        "{\"task_id\":\"a\",\"state\":\"ready\",\"status\":200}",
        "{\"task_id\":\"old\",\"state\":\"ready\",\"status\":200}"};
    const char *at = a->body;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        at = strstr(at, parts[i]);
        ck_assert_msg(at != NULL, "%zu: %s", i, a->body);
    }
    ck_assert_int_eq(count_of("ready"), 2);
    EXPECT_STATUS(post("/tasks", "[{\"task_id\":\"a\",\"payload\":1}]"), 200);
    EXPECT_STATUS(post("/tasks", "[{},{}]"), 422);
    stage_close(&s);
}
END_TEST

START_TEST(priority_comes_first_then_arrival)
{
    static const char *const order[] = {"c", "a", "b", "d"};
    char receipt[96];
    open_stage(_i);
    enqueue("[{\"task_id\":\"a\",\"payload\":1},{\"task_id\":\"b\",\"payload\":1},{\"task_id\":\"c\","
            "\"payload\":1,"
            "\"priority\":9},{\"task_id\":\"d\",\"payload\":1}]");
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        take("{}", order[i], receipt);
    stage_close(&s);
}
END_TEST

START_TEST(several_are_taken_and_acked_at_once)
{
    char body[600], id[2][32], receipt[2][96];
    open_stage(_i);
    enqueue("[{\"task_id\":\"a\",\"payload\":1},{\"task_id\":\"b\",\"payload\":2},{\"task_id\":\"c\","
            "\"payload\":3}]");
    const struct http_answer *a = post("/tasks/dequeue", "{\"count\":2}");
    EXPECT_STATUS(a, 200);
    const char *second = strstr(a->body, "},{");
    ck_assert_ptr_nonnull(second);
    for (int i = 0; i < 2; i++) {
        VALUE(id[i], i ? second : a->body, "task_id");
        VALUE(receipt[i], i ? second : a->body, "receipt");
    }
    a = post("/tasks/ack",
             FORMAT(body,
                    "{\"acks\":[{\"task_id\":\"%s\",\"receipt\":\"%s\"},{\"task_id\":\"%s\",\"receipt\":"
                    "\"%s\"},{\"task_id\":\"none\",\"receipt\":\"r.x\"},{\"task_id\":"
                    "\"c\",\"receipt\":\"r.x\"}]}",
                    id[0], receipt[0], id[1], receipt[1]));
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(a->body,
                     "{\"results\":[{\"task_id\":\"a\",\"status\":204},{\"task_id\":\"b\",\"status\":204},"
                     "{\"task_id\":\"none\",\"status\":404,\"code\":\"not_found\"},{\"task_id\":\"c\","
                     "\"status\":409,\"code\":\"stale_receipt\"}"
                     "]}");
    ck_assert_int_eq(count_of("ready"), 1);
    ck_assert_int_eq(count_of("leased"), 0);
    stage_close(&s);
}
END_TEST

START_TEST(a_nack_gives_it_back_until_it_is_dead_and_a_requeue_starts_anew)
{
    char receipt[96], value[64];
    open_stage(_i);
    enqueue("{\"task_id\":\"t\",\"payload\":1,\"max_attempts\":2}");
    take("{}", "t", receipt);
    EXPECT_STATUS(with_receipt("t", "nack", receipt, ",\"delay\":0,\"reason\":\"first \\\"try\\\"\""), 204);
    expect_problem(s.h, with_receipt("t", "extend", receipt, ",\"lease\":5"), 409, "stale_receipt");
    expect_problem(s.h, with_receipt("t", "ack", receipt, ""), 409, "stale_receipt");
    take("{}", "t", receipt);
    EXPECT_STATUS(with_receipt("t", "nack", receipt, ",\"reason\":\"second\""), 204);
    const struct http_answer *a = http_get(s.h, "/tasks/t");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(VALUE(value, a->body, "state"), "dead");
    ck_assert_str_eq(VALUE(value, a->body, "attempt"), "2");
    ck_assert_ptr_nonnull(strstr(a->body, "\"reason\":\"first \\\"try\\\"\""));
    ck_assert_ptr_nonnull(strstr(a->body, "\"reason\":\"second\""));
    a = http_get(s.h, "/tasks?state=dead");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"task_id\":\"t\""));
    ck_assert_ptr_nonnull(strstr(a->body, "\"cursor\":null"));
    EXPECT_STATUS(post("/tasks", "{\"task_id\":\"t\",\"payload\":1}"), 200);
    EXPECT_STATUS(post("/tasks/t/requeue", ""), 204);
    expect_problem(s.h, post("/tasks/t/requeue", ""), 409, "invalid_transition");
    ck_assert(is_in_state("t", "ready"));
    a = post("/tasks/dequeue", "{}");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(VALUE(value, a->body, "attempt"), "1");
    stage_close(&s);
}
END_TEST

START_TEST(a_lease_is_extended_and_one_that_ends_gives_the_task_back)
{
    static const char *const env[] = {"PHOENIX_TASKS_RETRY_BASE_MS=1", NULL};
    char receipt[96], again[96], value[64];
    s = stage_open((enum backend)_i, env);
    enqueue("{\"task_id\":\"t\",\"payload\":1}");
    take("{\"lease\":1}", "t", receipt);
    const struct http_answer *a = with_receipt("t", "extend", receipt, ",\"lease\":60");
    EXPECT_STATUS(a, 200);
    ck_assert_uint_eq(strlen(VALUE(value, a->body, "lease_expires_at")), 24);
    EXPECT_STATUS(with_receipt("t", "extend", receipt, ",\"lease\":1"), 200);
    WAIT_FOR(post("/tasks/dequeue", "{\"wait\":3}")->status == 200, 4000);
    a = http_get(s.h, "/tasks/t");
    ck_assert_str_eq(VALUE(value, a->body, "attempt"), "2");
    VALUE(again, a->body, "outcome");
    ck_assert_str_eq(again, "expired");
    expect_problem(s.h, with_receipt("t", "ack", receipt, ""), 409, "stale_receipt");
    stage_close(&s);
}
END_TEST

START_TEST(a_delayed_task_comes_when_it_is_due)
{
    char receipt[96];
    open_stage(_i);
    enqueue("{\"task_id\":\"t\",\"payload\":1,\"delay\":0.4}");
    ck_assert(is_in_state("t", "delayed"));
    EXPECT_STATUS(post("/tasks/dequeue", "{}"), 204);
    int64_t since = now_ms();
    take("{\"wait\":10}", "t", receipt);
    ck_assert_int_lt(now_ms() - since, test_ms(2000));
    stage_close(&s);
}
END_TEST

START_TEST(a_task_past_its_time_to_live_goes)
{
    open_stage(_i);
    enqueue("{\"task_id\":\"t\",\"payload\":1,\"ttl\":0.2}");
    WAIT_FOR(http_get(s.h, "/tasks/t")->status == 404, 3000);
    EXPECT_STATUS(post("/tasks/dequeue", "{}"), 204);
    WAIT_FOR(daemon_metric(s.d, "phoenix_task_expired_total") == 1, 3000);
    stage_close(&s);
}
END_TEST

START_TEST(a_cancelled_task_is_gone_and_its_receipt_stale)
{
    char receipt[96];
    open_stage(_i);
    enqueue("{\"task_id\":\"t\",\"payload\":1}");
    take("{}", "t", receipt);
    EXPECT_STATUS(http_send(s.h, "DELETE", "/tasks/t", NULL), 204);
    expect_problem(s.h, with_receipt("t", "ack", receipt, ""), 409, "stale_receipt");
    const struct http_answer *a = post("/tasks", "{\"task_id\":\"t\",\"payload\":1}");
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(a->body, "{\"task_id\":\"t\",\"state\":\"cancelled\"}");
    expect_problem(s.h, http_send(s.h, "DELETE", "/tasks/none", NULL), 404, "not_found");
    stage_close(&s);
}
END_TEST

START_TEST(an_automatic_one_is_finished_when_its_answer_has_left)
{
    open_stage(_i);
    enqueue("{\"task_id\":\"t\",\"payload\":1}");
    const struct http_answer *a = post("/tasks/dequeue", "{\"ack\":\"auto\"}");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_null(strstr(a->body, "receipt"));
    WAIT_FOR(http_get(s.h, "/tasks/t")->status == 404, 3000);
    a = post("/tasks", "{\"task_id\":\"t\",\"payload\":1}");
    ck_assert_str_eq(a->body, "{\"task_id\":\"t\",\"state\":\"acked\"}");
    stage_close(&s);
}
END_TEST

START_TEST(dead_ones_are_purged)
{
    char receipt[96], value[32];
    open_stage(_i);
    for (int i = 0; i < 3; i++) {
        char body[100], id[8];
        enqueue(FORMAT(body, "{\"task_id\":\"%s\",\"payload\":1,\"max_attempts\":1}", FORMAT(id, "t%d", i)));
        take("{}", id, receipt);
        EXPECT_STATUS(with_receipt(id, "nack", receipt, ""), 204);
    }
    ck_assert_int_eq(count_of("dead"), 3);
    const struct http_answer *a = http_send(s.h, "DELETE", "/tasks?state=dead", NULL);
    EXPECT_STATUS(a, 200);
    ck_assert_str_eq(VALUE(value, a->body, "purged"), "3");
    ck_assert_int_eq(count_of("dead"), 0);
    a = post("/tasks", "{\"task_id\":\"t1\",\"payload\":1}");
    ck_assert_str_eq(a->body, "{\"task_id\":\"t1\",\"state\":\"purged\"}");
    stage_close(&s);
}
END_TEST

START_TEST(pages_show_each_task_once)
{
    char cursor[700], path[800];
    unsigned seen = 0, pages = 0;
    open_stage(_i);
    for (int i = 0; i < 25; i++)
        enqueue("{\"payload\":1}");
    FORMAT(path, "/tasks?state=ready&limit=10");
    for (;;) {
        const struct http_answer *a = http_get(s.h, path);
        EXPECT_STATUS(a, 200);
        for (const char *at = a->body; (at = strstr(at, "\"task_id\"")); at++)
            seen++;
        pages++;
        VALUE(cursor, strstr(a->body, "],\"cursor\""), "cursor");
        if (strcmp(cursor, "null") == 0) break;
        ck_assert_uint_lt(pages, 10);
        FORMAT(path, "/tasks?state=ready&limit=10&cursor=%s", cursor);
    }
    ck_assert_uint_eq(seen, 25);
    ck_assert_uint_eq(pages, 3);
    stage_close(&s);
}
END_TEST

/* --- waiting --- */

static struct raw_http wait_for_task(const char *body)
{
    char text[600];
    struct raw_http c = raw_http_tcp((uint16_t)daemon_port(s.d));
    FORMAT(text, "POST /tasks/dequeue HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
           strlen(body), body);
    ck_assert(raw_http_send(&c, text));
    return c;
}

START_TEST(a_wait_that_is_over_is_204)
{
    open_stage(_i);
    const struct http_answer *a = post("/tasks/dequeue", "{\"wait\":0.3}");
    EXPECT_STATUS(a, 204);
    ck_assert_int_ge(a->took_us, 290000);
    ck_assert_int_lt(a->took_us, test_ms(1500) * 1000);
    stage_close(&s);
}
END_TEST

START_TEST(waiting_ones_over_the_bound_are_503_and_counted)
{
    static const char *const env[] = {"PHOENIX_TASKS_WAITERS_MAX=1", "PHOENIX_HTTP_WORKERS=1", NULL};
    s = stage_open((enum backend)_i, env);
    struct raw_http waiter = wait_for_task("{\"wait\":30}");
    ck_assert(!raw_http_readable(&waiter, 100));
    expect_problem(s.h, post("/tasks/dequeue", "{\"wait\":1}"), 503, "overloaded");
    ck_assert(daemon_metric(s.d, "phoenix_bound_hit_total{bound=\"waiters\"}") == 1);
    EXPECT_STATUS(post("/tasks/dequeue", "{}"), 204);
    raw_http_close(&waiter);
    stage_close(&s);
}
END_TEST

START_TEST(sigterm_ends_the_waiting_with_204_at_once)
{
    open_stage(_i);
    struct raw_http waiter = wait_for_task("{\"wait\":60}");
    ck_assert(!raw_http_readable(&waiter, 100));
    daemon_signal(s.d, SIGTERM);
    ck_assert_int_eq(raw_status(&waiter, NULL), 204);
    ck_assert_int_eq(daemon_wait(s.d, 9000), 0);
    raw_http_close(&waiter);
    daemon_release(&s.d);
    http_close(&s.h);
    resp_close(&s.r);
    if (s.redis) redis_server_stop(&s.redis);
}
END_TEST

/* --- bad input --- */

static const struct {
    const char *method, *path, *body;
    int status;
    const char *code, *says;
} BAD[] = {
    {"POST", "/tasks", "{", 400, "invalid_json", "line"},
    {"POST", "/tasks", "", 400, "invalid_json", ""},
    {"POST", "/tasks", "7", 422, "unprocessable", ""},
    {"POST", "/tasks", "{}", 422, "unprocessable", "payload"},
    {"POST", "/tasks", "[]", 400, "invalid_argument", "1000"},
    {"POST", "/tasks", "{\"payload\":1,\"priority\":256}", 400, "invalid_argument", "priority"},
    {"POST", "/tasks", "{\"payload\":1,\"priority\":-1}", 400, "invalid_argument", "priority"},
    {"POST", "/tasks", "{\"payload\":1,\"priority\":\"high\"}", 422, "unprocessable", "priority"},
    {"POST", "/tasks", "{\"payload\":1,\"task_id\":\"ack\"}", 400, "invalid_argument", "task_id"},
    {"POST", "/tasks", "{\"payload\":1,\"task_id\":\"dequeue\"}", 400, "invalid_argument", "task_id"},
    {"POST", "/tasks", "{\"payload\":1,\"task_id\":\"a{b}\"}", 400, "invalid_argument", "task_id"},
    {"POST", "/tasks", "{\"payload\":1,\"task_id\":\"\"}", 400, "invalid_argument", "task_id"},
    {"POST", "/tasks", "{\"payload\":1,\"agent\":\"a b\"}", 400, "invalid_argument", "agent"},
    {"POST", "/tasks", "{\"payload\":1,\"agent\":7}", 422, "unprocessable", "agent"},
    {"POST", "/tasks", "{\"payload\":1,\"ttl\":0}", 400, "invalid_argument", "ttl"},
    {"POST", "/tasks", "{\"payload\":1,\"delay\":-1}", 400, "invalid_argument", "delay"},
    {"POST", "/tasks", "{\"payload\":1,\"max_attempts\":0}", 400, "invalid_argument", "max_attempts"},
    {"POST", "/tasks", "{\"payload\":1,\"created_at\":\"now\"}", 400, "invalid_argument", "created_at"},
    {"POST", "/tasks", "{\"payload\":1,\"x\":1}", 422, "unprocessable", "x"},
    {"POST", "/tasks?x=1", "{\"payload\":1}", 400, "invalid_argument", "x"},
    {"POST", "/tasks/dequeue", "{\"wait\":86400}", 400, "invalid_argument", "wait"},
    {"POST", "/tasks/dequeue", "{\"wait\":60.1}", 400, "invalid_argument", "wait"},
    {"POST", "/tasks/dequeue", "{\"count\":0}", 400, "invalid_argument", "count"},
    {"POST", "/tasks/dequeue", "{\"count\":101}", 400, "invalid_argument", "count"},
    {"POST", "/tasks/dequeue", "{\"count\":1.5}", 422, "unprocessable", "count"},
    {"POST", "/tasks/dequeue", "{\"lease\":0.5}", 400, "invalid_argument", "lease"},
    {"POST", "/tasks/dequeue", "{\"lease\":43201}", 400, "invalid_argument", "lease"},
    {"POST", "/tasks/dequeue", "{\"ack\":\"later\"}", 400, "invalid_argument", "ack"},
    {"POST", "/tasks/dequeue", "{\"agent\":[]}", 400, "invalid_argument", "agent"},
    {"POST", "/tasks/dequeue", "{\"agent\":[7]}", 422, "unprocessable", "agent"},
    {"POST", "/tasks/dequeue", "{\"agent\":\"\"}", 400, "invalid_argument", "agent"},
    {"GET", "/tasks/dequeue", NULL, 405, "method_not_allowed", ""},
    {"POST", "/tasks/ack", "{\"acks\":[]}", 400, "invalid_argument", "acks"},
    {"POST", "/tasks/ack", "{}", 422, "unprocessable", "acks"},
    {"POST", "/tasks/ack/ack", "{\"receipt\":\"r\"}", 400, "invalid_argument", ""},
    {"DELETE", "/tasks/ack", NULL, 405, "method_not_allowed", ""},
    {"POST", "/tasks/t/ack", "{}", 422, "unprocessable", "receipt"},
    {"POST", "/tasks/t/ack", "{\"receipt\":\"\"}", 400, "invalid_argument", "receipt"},
    {"POST", "/tasks/t/ack", "{\"receipt\":\"r.none\"}", 404, "not_found", ""},
    {"POST", "/tasks/t/nack", "{\"receipt\":\"r.none\",\"delay\":-2}", 400, "invalid_argument", "delay"},
    {"POST", "/tasks/t/nack", "{\"receipt\":\"r.none\"}", 404, "not_found", ""},
    {"POST", "/tasks/t/extend", "{\"receipt\":\"r.none\"}", 422, "unprocessable", "lease"},
    {"POST", "/tasks/t/extend", "{\"receipt\":\"r.none\",\"lease\":5}", 404, "not_found", ""},
    {"POST", "/tasks/t/requeue", "", 404, "not_found", ""},
    {"GET", "/tasks/a%7Bb", NULL, 400, "invalid_argument", ""},
    {"GET", "/tasks?state=gone", NULL, 400, "invalid_argument", "state"},
    {"GET", "/tasks?state=ready&limit=0", NULL, 400, "invalid_argument", "limit"},
    {"GET", "/tasks?state=ready&limit=1001", NULL, 400, "invalid_argument", "limit"},
    {"GET", "/tasks?state=ready&cursor=zz", NULL, 400, "invalid_argument", "cursor"},
    {"DELETE", "/tasks", NULL, 400, "invalid_argument", "state"},
    {"DELETE", "/tasks?state=ready", NULL, 400, "invalid_argument", "state"},
    {"PUT", "/tasks/t", "{}", 405, "method_not_allowed", ""},
};

START_TEST(bad_input_is_named)
{
    open_stage(_i);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        const struct http_answer *a = http_send(s.h, BAD[i].method, BAD[i].path, BAD[i].body);
        ck_assert_msg(a->status == BAD[i].status, "%zu: %s %s %s: %d %s", i, BAD[i].method, BAD[i].path,
                      BAD[i].body ? BAD[i].body : "", a->status, a->body);
        expect_problem(s.h, a, BAD[i].status, BAD[i].code);
        char detail[512];
        MEMBER(detail, a->body, "detail");
        ck_assert_msg(strstr(detail, BAD[i].says) != NULL, "%zu: %s", i, detail);
    }
    ck_assert_int_eq(count_of("ready"), 0);
    stage_close(&s);
}
END_TEST

START_TEST(more_than_a_thousand_are_refused_whole)
{
    static char body[32 * 1001 + 2];
    char *at = body;
    open_stage(_i);
    *at++ = '[';
    for (int i = 0; i < 1001; i++)
        at = paste(at, i ? ",{\"payload\":1}" : "{\"payload\":1}");
    paste(at, "]")[0] = 0;
    expect_problem(s.h, post("/tasks", body), 400, "invalid_argument");
    ck_assert_int_eq(count_of("ready"), 0);
    stage_close(&s);
}
END_TEST

/* --- Redis --- */

START_TEST(foreign_items_are_adopted_and_bad_ones_set_aside)
{
    char receipt[96];
    open_stage(BACKEND_REDIS);
    static const char FIRST[] = "{\"task_id\":\"f\",\"correlation_id\":\"\",\"agent\":\"\",\"priority\":1,"
                                "\"payload\":[1,  2],\"extra\":true}";
    static const char *const items[] = {FIRST, "not JSON", "{\"task_id\":\"a b\",\"payload\":1}",
                                        "{\"payload\":1}", "{\"task_id\":\"g\",\"payload\":1}"};
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        (void)resp_integer(s.r, "LPUSH", "phoenix:tasks:queue", items[i]);
    WAIT_FOR(count_of("bad") == 3, 3000);
    take("{\"wait\":5}", "f", receipt);
    take("{\"wait\":5}", "g", receipt);
    ck_assert_ptr_nonnull(strstr(http_get(s.h, "/tasks/f")->body, "\"payload\":[1,  2]"));
    const struct http_answer *a = http_get(s.h, "/tasks?state=bad");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"item\":\"not JSON\""));
    ck_assert_int_eq(resp_integer(s.r, "LLEN", "phoenix:tasks:queue"), 0);
    WAIT_FOR(daemon_metric(s.d, "phoenix_task_bad_total") == 3, 3000);
    WAIT_FOR(daemon_metric(s.d, "phoenix_task_depth{state=\"bad\"}") == 3, 3000);
    stage_close(&s);
}
END_TEST

START_TEST(a_strangers_key_is_left_untouched)
{
    open_stage(BACKEND_REDIS);
    ck_assert_int_eq(resp_integer(s.r, "LPUSH", "phoenix:tasks:meta:{phoenix:tasks:queue}", "x"), 1);
    expect_problem(s.h, post("/tasks", "{\"payload\":1}"), 409, "foreign_value");
    ck_assert_int_eq(resp_integer(s.r, "DEL", "phoenix:tasks:meta:{phoenix:tasks:queue}"), 1);
    ck_assert_str_eq(resp_text(s.r, "SET", "phoenix:tasks:arrival:{phoenix:tasks:queue}", "no number"), "OK");
    expect_problem(s.h, post("/tasks", "{\"payload\":1}"), 409, "foreign_value");
    ck_assert_str_eq(resp_text(s.r, "GET", "phoenix:tasks:arrival:{phoenix:tasks:queue}"), "no number");
    ck_assert_int_eq(resp_integer(s.r, "EXISTS", "phoenix:tasks:meta:{phoenix:tasks:queue}"), 0);
    stage_close(&s);
}
END_TEST

static void lose_redis(void)
{
    redis_server_kill(s.redis);
    WAIT_FOR(daemon_metric(s.d, "phoenix_breaker_state") > 0 || http_get(s.h, "/cache/x")->status == 0, 5000);
}

static bool is_in_redis(const char *id)
{
    return resp_integer(s.r, "HEXISTS", "phoenix:tasks:meta:{phoenix:tasks:queue}", id) == 1;
}

START_TEST(without_redis_tasks_are_202_and_done_here)
{
    char leased[96], receipt[96];
    s = stage_open_durable(NULL);
    enqueue("{\"task_id\":\"early\",\"payload\":1}");
    enqueue("{\"task_id\":\"left\",\"payload\":1}");
    take("{}", "early", leased);
    lose_redis();
    EXPECT_STATUS(post("/tasks", "{\"task_id\":\"a\",\"payload\":1}"), 202);
    expect_header(s.h, "Phoenix-Backend", "local");
    EXPECT_STATUS(post("/tasks", "[{\"task_id\":\"b\",\"payload\":1},{}]"), 202);
    take("{}", "a", receipt);
    EXPECT_STATUS(with_receipt("a", "ack", receipt, ""), 204);
    expect_problem(s.h, with_receipt("early", "extend", leased, ",\"lease\":5"), 503, "redis_unavailable");
    EXPECT_STATUS(with_receipt("early", "ack", leased, ""), 202);
    expect_problem(s.h, http_get(s.h, "/tasks/left"), 503, "redis_unavailable");
    expect_problem(s.h, http_send(s.h, "DELETE", "/tasks/left", NULL), 503, "redis_unavailable");
    const struct http_answer *a = http_get(s.h, "/tasks");
    EXPECT_STATUS(a, 200);
    ck_assert_ptr_nonnull(strstr(a->body, "\"partial\":true"));
    take("{}", "b", receipt);
    EXPECT_STATUS(post("/tasks/dequeue", "{\"wait\":0.2}"), 204);
    EXPECT_STATUS(post("/tasks", "{\"task_id\":\"c\",\"payload\":1}"), 202);
    redis_server_restart(s.redis);
    resp_close(&s.r);
    s.r = redis_server_client(s.redis);
    WAIT_FOR(is_in_redis("c"), 10000);
    WAIT_FOR(http_get(s.h, "/tasks/early")->status == 404, 5000);
    EXPECT_STATUS(with_receipt("b", "ack", receipt, ""), 204);
    EXPECT_STATUS(post("/tasks", "{\"task_id\":\"a\",\"payload\":1}"), 200);
    stage_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tasks");
    TCase *both = test_case(suite, "either backend", 30);
    tcase_add_loop_test(both, a_task_is_enqueued_taken_and_acked, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, an_id_that_is_not_given_is_made, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, each_element_of_an_array_is_judged_for_itself, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, priority_comes_first_then_arrival, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, several_are_taken_and_acked_at_once, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_nack_gives_it_back_until_it_is_dead_and_a_requeue_starts_anew, 0,
                        BACKEND_COUNT);
    tcase_add_loop_test(both, a_lease_is_extended_and_one_that_ends_gives_the_task_back, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_delayed_task_comes_when_it_is_due, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_task_past_its_time_to_live_goes, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_cancelled_task_is_gone_and_its_receipt_stale, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, an_automatic_one_is_finished_when_its_answer_has_left, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, dead_ones_are_purged, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, pages_show_each_task_once, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, a_wait_that_is_over_is_204, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, waiting_ones_over_the_bound_are_503_and_counted, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, sigterm_ends_the_waiting_with_204_at_once, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, bad_input_is_named, 0, BACKEND_COUNT);
    tcase_add_loop_test(both, more_than_a_thousand_are_refused_whole, 0, BACKEND_COUNT);
    TCase *one = test_case(suite, "one backend", 30);
    tcase_add_test(one, foreign_items_are_adopted_and_bad_ones_set_aside);
    tcase_add_test(one, a_strangers_key_is_left_untouched);
    tcase_add_test(one, without_redis_tasks_are_202_and_done_here);
    return test_run(suite);
}
