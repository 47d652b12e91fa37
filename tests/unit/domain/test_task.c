/* test_task: what requests of /tasks mean, and how tasks are shown. */
#include "../../support/support.h"
#include "domain/task.h"

#include <stdlib.h>
#include <string.h>

static const struct task_options OPTIONS = {.ttl_ms = 86400000, .lease_ms = 30000, .max_attempts = 5};
static const int64_t NOW_MS = INT64_C(1767323045678); /* 2026-01-02T03:04:05.678Z */

static struct json_error error;

static const char *text_of(struct buf *out)
{
    static char text[8192];
    ck_assert(!out->failed);
    FORMAT(text, "%.*s", (int)out->len, out->ptr ? out->ptr : "");
    buf_deinit(out);
    return text;
}

static const char *plain(struct slice s)
{
    static char text[2048];
    return FORMAT(text, "%.*s", (int)s.len, s.ptr ? s.ptr : "(none)");
}

/* --- enqueue --- */

START_TEST(a_task_is_stored_as_it_is_shown)
{
    struct task_batch batch;
    ck_assert_int_eq(
        task_batch_read(
            slice_of("{\"payload\" : {\"a\": 1.0}, \"task_id\":\"a\\u0062\",\"agent\":\"x\","
                     "\"correlation_id\":\"c\",\"priority\":7,\"delay\":1.5,\"ttl\":60,"
                     "\"max_attempts\":2,\"created_at\":\"2025-01-01T00:00:00.123456789+02:00\"}"),
            &OPTIONS, NOW_MS, &batch, &error),
        STATUS_OK);
    ck_assert(!batch.is_array && batch.tasks_count == 1);
    const struct queue_task *t = &batch.tasks[0];
    ck_assert_str_eq(plain(t->body),
                     "{\"task_id\":\"ab\",\"correlation_id\":\"c\",\"agent\":\"x\",\"priority\":7,"
                     "\"created_at\":\"2025-01-01T00:00:00.123456789+02:00\",\"payload\":{\"a\": 1.0}}");
    ck_assert_str_eq(plain(t->id), "ab");
    ck_assert_str_eq(plain(t->agent), "x");
    ck_assert_uint_eq(t->priority, 7);
    ck_assert_uint_eq(t->max_attempts, 2);
    ck_assert_int_eq(t->delay_ms, 1500);
    ck_assert_int_eq(t->ttl_ms, 60000);
    task_batch_deinit(&batch);
}
END_TEST

START_TEST(what_is_left_out_has_its_default)
{
    struct task_batch batch;
    ck_assert_int_eq(task_batch_read(slice_of("{\"payload\":null,\"agent\":null,\"ttl\":null}"), &OPTIONS,
                                     NOW_MS, &batch, &error),
                     STATUS_OK);
    const struct queue_task *t = &batch.tasks[0];
    ck_assert_uint_eq(t->id.len, 36);
    ck_assert_uint_eq(t->agent.len, 0);
    ck_assert_uint_eq(t->priority, 0);
    ck_assert_uint_eq(t->max_attempts, 5);
    ck_assert_int_eq(t->ttl_ms, 86400000);
    ck_assert_ptr_nonnull(strstr(plain(t->body),
                                 "\"correlation_id\":null,\"agent\":null,\"priority\":0,"
                                 "\"created_at\":\"2026-01-02T03:04:05.678Z\",\"payload\":null}"));
    task_batch_deinit(&batch);
}
END_TEST

static const struct {
    const char *body;
    enum status status;
    const char *detail;
} REFUSALS[] = {
    {"{", STATUS_INVALID_JSON, "line 1"},
    {"7", STATUS_UNPROCESSABLE, "object"},
    {"[]", STATUS_INVALID_ARGUMENT, "1 to 1000"},
    {"{\"task_id\":\"a\"}", STATUS_UNPROCESSABLE, "payload"},
    {"{\"payload\":1,\"color\":1}", STATUS_UNPROCESSABLE, "color"},
    {"{\"payload\":1,\"payload\":2}", STATUS_UNPROCESSABLE, "payload"},
    {"{\"payload\":1,\"task_id\":7}", STATUS_UNPROCESSABLE, "task_id"},
    {"{\"payload\":1,\"task_id\":\"\"}", STATUS_INVALID_ARGUMENT, "task_id"},
    {"{\"payload\":1,\"task_id\":\"a b\"}", STATUS_INVALID_ARGUMENT, "task_id"},
    {"{\"payload\":1,\"task_id\":\"%41\"}", STATUS_INVALID_ARGUMENT, "task_id"},
    {"{\"payload\":1,\"task_id\":\"..\"}", STATUS_INVALID_ARGUMENT, "task_id"},
    {"{\"payload\":1,\"task_id\":\"ack\"}", STATUS_INVALID_ARGUMENT, "task_id"},
    {"{\"payload\":1,\"task_id\":\"dequeue\"}", STATUS_INVALID_ARGUMENT, "task_id"},
    {"{\"payload\":1,\"task_id\":\"\\u0000\"}", STATUS_UNPROCESSABLE, "task_id"},
    {"{\"payload\":1,\"agent\":\"\"}", STATUS_INVALID_ARGUMENT, "agent"},
    {"{\"payload\":1,\"correlation_id\":\"*\"}", STATUS_INVALID_ARGUMENT, "correlation_id"},
    {"{\"payload\":1,\"priority\":256}", STATUS_INVALID_ARGUMENT, "priority"},
    {"{\"payload\":1,\"priority\":-1}", STATUS_INVALID_ARGUMENT, "priority"},
    {"{\"payload\":1,\"priority\":1.5}", STATUS_UNPROCESSABLE, "priority"},
    {"{\"payload\":1,\"priority\":\"high\"}", STATUS_UNPROCESSABLE, "priority"},
    {"{\"payload\":1,\"delay\":-1}", STATUS_INVALID_ARGUMENT, "delay"},
    {"{\"payload\":1,\"ttl\":0}", STATUS_INVALID_ARGUMENT, "ttl"},
    {"{\"payload\":1,\"ttl\":1e99}", STATUS_INVALID_ARGUMENT, "ttl"},
    {"{\"payload\":1,\"max_attempts\":0}", STATUS_INVALID_ARGUMENT, "max_attempts"},
    {"{\"payload\":1,\"created_at\":\"today\"}", STATUS_INVALID_ARGUMENT, "created_at"},
};

START_TEST(a_single_task_is_refused_with_its_reason)
{
    struct task_batch batch;
    enum status status = task_batch_read(slice_of(REFUSALS[_i].body), &OPTIONS, NOW_MS, &batch, &error);
    ck_assert_msg(status == REFUSALS[_i].status, "%s: %s", REFUSALS[_i].body, status_code(status));
    ck_assert_msg(strstr(error.detail, REFUSALS[_i].detail) != NULL, "%s: %s", REFUSALS[_i].body,
                  error.detail);
    task_batch_deinit(&batch);
}
END_TEST

START_TEST(of_an_array_the_bad_items_are_refused_and_the_others_go_in)
{
    struct task_batch batch;
    struct buf out = {0};
    ck_assert_int_eq(
        task_batch_read(slice_of(" [ {\"task_id\":\"a\",\"payload\":1}, {\"task_id\":\"b\",\"payload\":1,"
                                 "\"priority\":999}, 7, {\"task_id\":\"c\",\"payload\":[2]} ] "),
                        &OPTIONS, NOW_MS, &batch, &error),
        STATUS_OK);
    ck_assert_uint_eq(batch.items_count, 4);
    ck_assert_uint_eq(batch.tasks_count, 2);
    ck_assert_str_eq(plain(batch.tasks[1].id), "c");
    struct queue_verdict verdicts[2] = {{.added = true}, {.state = QUEUE_DEAD}};
    ck_assert_int_eq(task_batch_show(&batch, verdicts, &out), 201);
    const char *shown = text_of(&out);
    static const char BEGIN[] =
        "{\"results\":[{\"task_id\":\"a\",\"status\":201},{\"task_id\":\"b\",\"status\":400,"
        "\"code\":\"invalid_argument\",\"detail\":\"member \\\"priority";
    ck_assert_msg(strncmp(shown, BEGIN, sizeof BEGIN - 1) == 0, "%s", shown);
    ck_assert_ptr_nonnull(strstr(shown, "{\"task_id\":null,\"status\":422,\"code\":\"unprocessable\""));
    ck_assert_ptr_nonnull(strstr(shown, "{\"task_id\":\"c\",\"state\":\"dead\",\"status\":200}]}"));
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++)
        verdicts[i].journaled = true;
    ck_assert_int_eq(task_batch_show(&batch, verdicts, &out), 202);
    ck_assert_ptr_nonnull(strstr(text_of(&out), "{\"task_id\":\"a\",\"status\":202}"));
    verdicts[0].added = false;
    ck_assert_int_eq(task_batch_show(&batch, verdicts, &out), 200);
    buf_deinit(&out);
    task_batch_deinit(&batch);
}
END_TEST

START_TEST(an_array_of_refusals_is_422)
{
    struct task_batch batch;
    struct buf out = {0};
    ck_assert_int_eq(task_batch_read(slice_of("[1,{}]"), &OPTIONS, NOW_MS, &batch, &error), STATUS_OK);
    ck_assert_uint_eq(batch.tasks_count, 0);
    ck_assert_int_eq(task_batch_show(&batch, NULL, &out), 422);
    buf_deinit(&out);
    task_batch_deinit(&batch);
}
END_TEST

static enum status read_array_of(size_t count, struct task_batch *batch)
{
    struct buf body = {0};
    for (size_t i = 0; i < count; i++)
        buf_append_text(&body, i ? ",{\"payload\":1}" : "[{\"payload\":1}");
    buf_append_char(&body, ']');
    enum status status = task_batch_read(buf_slice(&body), &OPTIONS, NOW_MS, batch, &error);
    buf_deinit(&body);
    return status;
}

START_TEST(an_array_holds_at_most_1000)
{
    struct task_batch batch;
    ck_assert_int_eq(read_array_of(1000, &batch), STATUS_OK);
    ck_assert_uint_eq(batch.tasks_count, 1000);
    ck_assert_uint_eq(batch.tasks[0].id.len, 36);
    ck_assert(!slice_equal(batch.tasks[0].id, batch.tasks[999].id));
    task_batch_deinit(&batch);
    ck_assert_int_eq(read_array_of(1001, &batch), STATUS_INVALID_ARGUMENT);
    task_batch_deinit(&batch);
}
END_TEST

START_TEST(a_single_answer_tells_the_state_of_a_known_id)
{
    struct task_batch batch;
    struct buf out = {0};
    struct queue_verdict verdict = {.added = true};
    ck_assert_int_eq(
        task_batch_read(slice_of("{\"task_id\":\"a\",\"payload\":1}"), &OPTIONS, NOW_MS, &batch, &error),
        STATUS_OK);
    ck_assert_int_eq(task_batch_show(&batch, &verdict, &out), 201);
    ck_assert_str_eq(text_of(&out), "{\"task_id\":\"a\"}");
    verdict = (struct queue_verdict){.state = QUEUE_ACKED};
    ck_assert_int_eq(task_batch_show(&batch, &verdict, &out), 200);
    ck_assert_str_eq(text_of(&out), "{\"task_id\":\"a\",\"state\":\"acked\"}");
    task_batch_deinit(&batch);
}
END_TEST

/* --- the inbox --- */

static const struct {
    const char *item;
    const char *reason; /* NULL: adopted */
} ITEMS[] = {
    {"{\"task_id\":\"a\",\"payload\":{}}", NULL},
    {"{\"task_id\":\"a\",\"correlation_id\":\"\",\"agent\":\"\",\"priority\":3,\"created_at\":"
     "\"2025-01-01T00:00:00.123456789Z\",\"payload\":{},\"extra\":[1]}",
     NULL},
    {"{\"payload\":{}}", "task_id"},
    {"{\"task_id\":null,\"payload\":{}}", "task_id"},
    {"{\"task_id\":\"a b\",\"payload\":{}}", "task_id"},
    {"{\"task_id\":\"a\",\"payload\":{},\"priority\":256}", "priority"},
    {"{\"task_id\":\"a\"}", "payload"},
    {"nonsense", "line 1"},
    {"", "line 1"},
};

START_TEST(items_of_strangers_are_read_by_the_same_rules)
{
    struct buf scratch = {0};
    struct queue_task task;
    struct task_options options = OPTIONS;
    char reason[192] = "";
    bool good = task_item_read(&options, slice_of(ITEMS[_i].item), NOW_MS, &scratch, &task, reason);
    ck_assert_msg(good == (ITEMS[_i].reason == NULL), "%s: %s", ITEMS[_i].item, reason);
    if (good) {
        ck_assert_str_eq(plain(task.id), "a");
        ck_assert_uint_eq(task.agent.len, 0);
        ck_assert_int_eq(task.ttl_ms, 86400000);
        ck_assert_ptr_nonnull(strstr(plain(task.body), "\"agent\":null"));
    } else {
        ck_assert_msg(strstr(reason, ITEMS[_i].reason) != NULL, "%s: %s", ITEMS[_i].item, reason);
    }
    buf_deinit(&scratch);
}
END_TEST

/* --- dequeue --- */

static const struct {
    const char *body;
    enum status status;
    const char *says; /* agents, count, wait, lease; or of the reason */
} DEQUEUES[] = {
    {"", STATUS_OK, " 1 0 30000"},
    {" {} ", STATUS_OK, " 1 0 30000"},
    {"{\"agent\":\"x\",\"count\":100,\"wait\":0.25,\"lease\":1}", STATUS_OK, "x 100 250 1000"},
    {"{\"agent\":[\"x\", \"\\u0079\",\"x\"],\"wait\":60,\"lease\":43200}", STATUS_OK, "x,y 1 60000 43200000"},
    {"{\"ack\":\"auto\"}", STATUS_OK, " 1 0 30000 auto"},
    {"{\"agent\":[]}", STATUS_INVALID_ARGUMENT, "agent"},
    {"{\"agent\":[1]}", STATUS_UNPROCESSABLE, "agent"},
    {"{\"agent\":\"\"}", STATUS_INVALID_ARGUMENT, "agent"},
    {"{\"agent\":7}", STATUS_UNPROCESSABLE, "agent"},
    {"{\"count\":0}", STATUS_INVALID_ARGUMENT, "count"},
    {"{\"count\":101}", STATUS_INVALID_ARGUMENT, "count"},
    {"{\"wait\":86400}", STATUS_INVALID_ARGUMENT, "wait"},
    {"{\"lease\":0.5}", STATUS_INVALID_ARGUMENT, "lease"},
    {"{\"lease\":43201}", STATUS_INVALID_ARGUMENT, "lease"},
    {"{\"ack\":\"manual\"}", STATUS_INVALID_ARGUMENT, "ack"},
    {"{\"limit\":1}", STATUS_UNPROCESSABLE, "limit"},
    {"[]", STATUS_UNPROCESSABLE, "object"},
};

START_TEST(dequeues_are_read)
{
    struct task_dequeue d;
    char text[256] = "";
    enum status status = task_dequeue_read(slice_of(DEQUEUES[_i].body), &OPTIONS, &d, &error);
    ck_assert_msg(status == DEQUEUES[_i].status, "%s: %s", DEQUEUES[_i].body, status_code(status));
    if (status == STATUS_OK) {
        struct buf out = {0};
        for (size_t i = 0; i < d.agents_count; i++) {
            buf_append_text(&out, i ? "," : "");
            buf_append_slice(&out, d.agents[i]);
        }
        buf_printf(&out, " %u %lld %lld%s", d.count, (long long)d.wait_ms, (long long)d.lease_ms,
                   d.automatic ? " auto" : "");
        FORMAT(text, "%s", text_of(&out));
        ck_assert_str_eq(text, DEQUEUES[_i].says);
    } else {
        ck_assert_msg(strstr(error.detail, DEQUEUES[_i].says) != NULL, "%s: %s", DEQUEUES[_i].body,
                      error.detail);
    }
    task_dequeue_deinit(&d);
}
END_TEST

/* --- ack, nack, extend --- */

static const struct {
    enum task_form form;
    const char *body;
    enum status status;
    const char *says; /* receipt, reason, delay, lease; or of the reason */
} REPORTS[] = {
    {TASK_ACK, "{\"receipt\":\"r.1\"}", STATUS_OK, "r.1  -1 0"},
    {TASK_NACK, "{\"receipt\":\"r.1\"}", STATUS_OK, "r.1  -1 0"},
    {TASK_NACK, "{\"receipt\":\"r.1\",\"delay\":0,\"reason\":\"a\\n\\u00e9\"}", STATUS_OK,
     "r.1 \"a\\n\xc3\xa9\" 0 0"},
    {TASK_EXTEND, "{\"receipt\":\"r.1\",\"lease\":2.5}", STATUS_OK, "r.1  -1 2500"},
    {TASK_ACK, "{}", STATUS_UNPROCESSABLE, "receipt"},
    {TASK_ACK, "{\"receipt\":\"\"}", STATUS_INVALID_ARGUMENT, "receipt"},
    {TASK_ACK, "{\"receipt\":\"r\",\"delay\":1}", STATUS_UNPROCESSABLE, "delay"},
    {TASK_NACK, "{\"receipt\":\"r\",\"delay\":-1}", STATUS_INVALID_ARGUMENT, "delay"},
    {TASK_NACK, "{\"receipt\":\"r\",\"reason\":1}", STATUS_UNPROCESSABLE, "reason"},
    {TASK_EXTEND, "{\"receipt\":\"r\"}", STATUS_UNPROCESSABLE, "lease"},
    {TASK_EXTEND, "{\"receipt\":\"r\",\"lease\":0}", STATUS_INVALID_ARGUMENT, "lease"},
};

START_TEST(reports_are_read)
{
    struct task_report r;
    enum status status = task_report_read(REPORTS[_i].form, slice_of(REPORTS[_i].body), &r, &error);
    ck_assert_msg(status == REPORTS[_i].status, "%s: %s", REPORTS[_i].body, status_code(status));
    if (status == STATUS_OK) {
        struct buf out = {0};
        buf_append_slice(&out, r.receipt);
        buf_append_char(&out, ' ');
        buf_append_slice(&out, r.reason);
        buf_printf(&out, " %lld %lld", (long long)r.delay_ms, (long long)r.lease_ms);
        ck_assert_str_eq(text_of(&out), REPORTS[_i].says);
    } else {
        ck_assert_msg(strstr(error.detail, REPORTS[_i].says) != NULL, "%s: %s", REPORTS[_i].body,
                      error.detail);
    }
    task_report_deinit(&r);
}
END_TEST

START_TEST(a_long_reason_is_cut_between_characters)
{
    struct task_report r;
    struct buf body = {0};
    buf_append_text(&body, "{\"receipt\":\"r\",\"reason\":\"x");
    for (int i = 0; i < 600; i++)
        buf_append_text(&body, "\xc3\xa9");
    buf_append_text(&body, "\"}");
    ck_assert_int_eq(task_report_read(TASK_NACK, buf_slice(&body), &r, &error), STATUS_OK);
    ck_assert_uint_eq(r.reason.len, 511 + 2);
    ck_assert(json_utf8_valid(r.reason));
    task_report_deinit(&r);
    buf_deinit(&body);
}
END_TEST

static const struct {
    const char *body;
    enum status status;
    const char *says;
} ACKS[] = {
    {"{\"acks\":[{\"task_id\":\"a\",\"receipt\":\"r.1\"},{\"receipt\":\"r.2\",\"task_id\":\"b\"}]}",
     STATUS_OK,
     "{\"results\":[{\"task_id\":\"a\",\"status\":204},{\"task_id\":\"b\",\"status\":409,\"code\":\"stale_"
     "receipt\"}]}"},
    {"{\"acks\":[]}", STATUS_INVALID_ARGUMENT, "acks"},
    {"{\"acks\":7}", STATUS_UNPROCESSABLE, "acks"},
    {"{\"acks\":[{\"task_id\":\"a\",\"receipt\":\"r\"},{\"task_id\":\"b\"}]}", STATUS_UNPROCESSABLE,
     "acks[1]: "},
    {"{\"acks\":[{\"task_id\":\"*\",\"receipt\":\"r\"}]}", STATUS_INVALID_ARGUMENT, "acks[0]: task_id"},
};

START_TEST(batches_of_acks_are_read_and_answered)
{
    struct task_acks acks;
    enum status status = task_acks_read(slice_of(ACKS[_i].body), &acks, &error);
    ck_assert_msg(status == ACKS[_i].status, "%s: %s", ACKS[_i].body, status_code(status));
    if (status == STATUS_OK) {
        struct buf out = {0};
        struct queue_verdict verdicts[2] = {{.status = STATUS_OK}, {.status = STATUS_STALE_RECEIPT}};
        ck_assert_str_eq(plain(acks.acks[1].receipt), "r.2");
        task_acks_show(&acks, verdicts, &out);
        ck_assert_str_eq(text_of(&out), ACKS[_i].says);
    } else {
        ck_assert_msg(strstr(error.detail, ACKS[_i].says) != NULL, "%s: %s", ACKS[_i].body, error.detail);
    }
    task_acks_deinit(&acks);
}
END_TEST

/* --- shown --- */

START_TEST(leases_follow_the_stored_task)
{
    struct buf out = {0};
    struct queue_lease leases[2] = {
        {SLICE_LITERAL("a"), SLICE_LITERAL("{\"task_id\":\"a\",\"payload\":1.0}"), SLICE_LITERAL("r.1"), 2,
         NOW_MS},
        {SLICE_LITERAL("b"), SLICE_LITERAL("{}"), SLICE_LITERAL("r.2"), 1, NOW_MS}};
    task_leases_show(leases, 2, false, &out);
    ck_assert_str_eq(text_of(&out),
                     "{\"tasks\":[{\"task_id\":\"a\",\"payload\":1.0,\"attempt\":2,\"receipt\":\"r.1\","
                     "\"lease_expires_at\":\"2026-01-02T03:04:05.678Z\"},{\"task_id\":\"b\",\"attempt\":1,"
                     "\"receipt\":\"r.2\",\"lease_expires_at\":\"2026-01-02T03:04:05.678Z\"}]}");
    task_leases_show(leases, 1, true, &out);
    ck_assert_str_eq(text_of(&out), "{\"tasks\":[{\"task_id\":\"a\",\"payload\":1.0,\"attempt\":2}]}");
}
END_TEST

START_TEST(a_list_shows_states_histories_and_bad_items)
{
    struct buf out = {0};
    struct queue_view views[2] = {
        {.state = QUEUE_DEAD,
         .id = SLICE_LITERAL("a"),
         .body = SLICE_LITERAL("{\"task_id\":\"a\",\"payload\":1}"),
         .attempt = 2,
         .max_attempts = 2,
         .added_ms = NOW_MS,
         .at_ms = NOW_MS + 1000,
         .history =
             SLICE_LITERAL("n 1767323045678 r.x.1.1 \"no \\u0020\"\ne 1767323045679 - \"lease ended\"\n")},
        {.state = QUEUE_BAD, .body = SLICE_LITERAL("\x80"), .reason = SLICE_LITERAL("why"), .at_ms = NOW_MS}};
    task_list_show(views, 2, "1.ab", false, &out);
    ck_assert_str_eq(
        text_of(&out),
        "{\"tasks\":[{\"task_id\":\"a\",\"payload\":1,\"state\":\"dead\",\"attempt\":2,\"max_attempts\":2,"
        "\"enqueued_at\":\"2026-01-02T03:04:05.678Z\",\"expires_at\":\"2026-01-02T03:04:06.678Z\","
        "\"attempts\":["
        "{\"at\":\"2026-01-02T03:04:05.678Z\",\"outcome\":\"nacked\",\"reason\":\"no \\u0020\"},"
        "{\"at\":\"2026-01-02T03:04:05.679Z\",\"outcome\":\"expired\",\"reason\":\"lease ended\"}]},"
        "{\"state\":\"bad\",\"reason\":\"why\",\"set_aside_at\":\"2026-01-02T03:04:05.678Z\",\"item\":"
        "\"\xef\xbf\xbd\"}],"
        "\"cursor\":\"1.ab\"}");
    struct queue_counts counts = {.of = {1, 2, 3, 4, 5}, .oldest_ready_ms = 12034};
    task_counts_show(&counts, false, &out);
    ck_assert_str_eq(text_of(&out),
                     "{\"counts\":{\"ready\":1,\"delayed\":2,\"leased\":3,\"dead\":4,\"bad\":5},"
                     "\"oldest_ready_s\":12.034}");
}
END_TEST

#define ALL(table) (int)(sizeof(table) / sizeof(table)[0])

int main(void)
{
    Suite *suite = suite_create("task");
    TCase *c = test_case(suite, "task", 10);
    tcase_add_test(c, a_task_is_stored_as_it_is_shown);
    tcase_add_test(c, what_is_left_out_has_its_default);
    tcase_add_loop_test(c, a_single_task_is_refused_with_its_reason, 0, ALL(REFUSALS));
    tcase_add_test(c, of_an_array_the_bad_items_are_refused_and_the_others_go_in);
    tcase_add_test(c, an_array_of_refusals_is_422);
    tcase_add_test(c, an_array_holds_at_most_1000);
    tcase_add_test(c, a_single_answer_tells_the_state_of_a_known_id);
    tcase_add_loop_test(c, items_of_strangers_are_read_by_the_same_rules, 0, ALL(ITEMS));
    tcase_add_loop_test(c, dequeues_are_read, 0, ALL(DEQUEUES));
    tcase_add_loop_test(c, reports_are_read, 0, ALL(REPORTS));
    tcase_add_test(c, a_long_reason_is_cut_between_characters);
    tcase_add_loop_test(c, batches_of_acks_are_read_and_answered, 0, ALL(ACKS));
    tcase_add_test(c, leases_follow_the_stored_task);
    tcase_add_test(c, a_list_shows_states_histories_and_bad_items);
    return test_run(suite);
}
