/* test_health: what requests of /health must hold, what changes make of records, what is shown. */
#include "health_fixture.h"

#include <stdlib.h>

/* --- requests --- */

static const struct {
    enum health_op op;
    const char *body;
    enum status status;
    const char *names; /* what the detail must show; NULL: any */
} REQUESTS[] = {
    {HEALTH_PUT, "{\"health\":\"Healthy\"}", STATUS_OK, NULL},
    {HEALTH_PUT, "{\"health\":\"Degr\\u0061ded\",\"agent_id\":\"a\",\"own\":null}", STATUS_OK, NULL},
    {HEALTH_PUT,
     "{\"health\":\"Unknown\",\"consecutive_failures\":2.0,\"opens\":0,\"last_failure_at\":null,"
     "\"last_success_at\":\"2023-11-14T23:13:20+01:00\",\"circuit_open_until\":null}",
     STATUS_OK, NULL},
    {HEALTH_PUT, "", STATUS_INVALID_JSON, NULL},
    {HEALTH_PUT, "{", STATUS_INVALID_JSON, NULL},
    {HEALTH_PUT, "[]", STATUS_UNPROCESSABLE, NULL},
    {HEALTH_PUT, "{}", STATUS_UNPROCESSABLE, "health"},
    {HEALTH_PUT, "{\"health\":null}", STATUS_UNPROCESSABLE, "health"},
    {HEALTH_PUT, "{\"health\":1}", STATUS_UNPROCESSABLE, "health"},
    {HEALTH_PUT, "{\"health\":\"healthy\"}", STATUS_INVALID_ARGUMENT, "health"},
    {HEALTH_PUT, "{\"health\":\"\"}", STATUS_INVALID_ARGUMENT, "health"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"health\":\"Healthy\"}", STATUS_UNPROCESSABLE, "health"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"x\":1,\"\\u0078\":2}", STATUS_UNPROCESSABLE, NULL},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"consecutive_failures\":-1}", STATUS_INVALID_ARGUMENT,
     "consecutive_failures"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"consecutive_failures\":1.5}", STATUS_UNPROCESSABLE,
     "consecutive_failures"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"consecutive_failures\":\"1\"}", STATUS_UNPROCESSABLE,
     "consecutive_failures"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"opens\":1e300}", STATUS_INVALID_ARGUMENT, "opens"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"last_failure_at\":7}", STATUS_UNPROCESSABLE, "last_failure_at"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"last_success_at\":\"now\"}", STATUS_INVALID_ARGUMENT,
     "last_success_at"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"circuit_open_until\":\"\"}", STATUS_INVALID_ARGUMENT,
     "circuit_open_until"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"agent_id\":\"b\"}", STATUS_INVALID_ARGUMENT, "agent_id"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"agent_id\":7}", STATUS_UNPROCESSABLE, "agent_id"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"updated_at\":null}", STATUS_INVALID_ARGUMENT, "updated_at"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"permits\":[]}", STATUS_INVALID_ARGUMENT, "permits"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"writes\":[]}", STATUS_INVALID_ARGUMENT, "writes"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"circuit\":\"Open\"}", STATUS_INVALID_ARGUMENT, "circuit"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"circuit_changed_at\":null}", STATUS_INVALID_ARGUMENT,
     "circuit_changed_at"},
    {HEALTH_PUT, "{\"health\":\"Healthy\\u0000\"}", STATUS_UNPROCESSABLE, "health"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"agent_id\":\"\\ud800\"}", STATUS_UNPROCESSABLE, "agent_id"},
    {HEALTH_PUT, "{\"health\":\"Healthy\",\"last_success_at\":\"\\u0000\"}", STATUS_UNPROCESSABLE,
     "last_success_at"},
    {HEALTH_SUCCESS, "{\"started_at\":\"\\u0000\"}", STATUS_UNPROCESSABLE, "started_at"},
    {HEALTH_SUCCESS, "", STATUS_OK, NULL},
    {HEALTH_FAILURE, "{}", STATUS_OK, NULL},
    {HEALTH_FAILURE, "{\"reason\":\"r\",\"started_at\":\"2023-11-14T22:13:20Z\",\"reporter\":null}",
     STATUS_OK, NULL},
    {HEALTH_SUCCESS, "x", STATUS_INVALID_JSON, NULL},
    {HEALTH_SUCCESS, "\"r\"", STATUS_UNPROCESSABLE, NULL},
    {HEALTH_SUCCESS, "{\"latency\":1}", STATUS_UNPROCESSABLE, "latency"},
    {HEALTH_FAILURE, "{\"reason\":5}", STATUS_UNPROCESSABLE, "reason"},
    {HEALTH_FAILURE, "{\"started_at\":5}", STATUS_UNPROCESSABLE, "started_at"},
    {HEALTH_FAILURE, "{\"started_at\":\"soon\"}", STATUS_INVALID_ARGUMENT, "started_at"},
    {HEALTH_PERMIT, "", STATUS_OK, NULL},
    {HEALTH_PERMIT, "{ }", STATUS_OK, NULL},
    {HEALTH_PERMIT, "{\"n\":1}", STATUS_UNPROCESSABLE, "n"},
    {HEALTH_READ, "", STATUS_OK, NULL},
    {HEALTH_DELETE, "", STATUS_OK, NULL},
};

START_TEST(a_request_is_taken_or_refused_by_name)
{
    struct record_change change;
    error.detail[0] = 0;
    enum status status =
        health_change(REQUESTS[_i].op, SLICE_LITERAL("a"), slice_of(REQUESTS[_i].body), &change, &error);
    ck_assert_msg(status == REQUESTS[_i].status, "%s: %s (%s)", REQUESTS[_i].body, status_code(status),
                  error.detail);
    if (REQUESTS[_i].names)
        ck_assert_msg(strstr(error.detail, REQUESTS[_i].names) != NULL, "%s: %s", REQUESTS[_i].body,
                      error.detail);
    if (status != STATUS_OK) return;
    bool looks = change.op == HEALTH_READ || change.op == HEALTH_PERMIT;
    unsigned reads = change.op == HEALTH_READ ? RECORD_READS : 0;
    ck_assert_uint_eq(change.traits, looks ? reads | RECORD_NEEDS_COPY : 0);
}
END_TEST

/* --- PUT --- */

#define ID1 "018bcfe5-6800-7000-8000-000000000001"

static const struct {
    const char *before; /* NULL: absent */
    const char *body;
    const char *after;
} PUTS[] = {
    {NULL, "{\"health\":\"Healthy\"}",
     "{\"agent_id\":\"a\",\"health\":\"Healthy\",\"consecutive_failures\":0,\"last_failure_at\":null,"
     "\"last_success_at\":null,\"circuit_open_until\":null,\"updated_at\":\"2023-11-14T22:13:20.000Z\","
     "\"opens\":0,\"permits\":[],\"writes\":[\"" ID1 "\"]}"},
    {NULL, "{\"model\" : {\"a\": 1.0}, \"health\":\"Degraded\",\"n\":null}",
     "{\"agent_id\":\"a\",\"health\":\"Degraded\",\"consecutive_failures\":0,\"last_failure_at\":null,"
     "\"last_success_at\":null,\"circuit_open_until\":null,\"updated_at\":\"2023-11-14T22:13:20.000Z\","
     "\"opens\":0,\"permits\":[],\"writes\":[\"" ID1 "\"],\"model\":{\"a\": 1.0},\"n\":null}"},
    /* another program's record: nanoseconds, unknown members, odd blanks */
    {" { \"agent_id\" : \"a\" , \"own\" : 1.50e1, \"health\" : \"Unhealthy\" , "
     "\"last_failure_at\":\"2023-11-14T21:00:00.123456789Z\" } ",
     "{\"health\":\"Healthy\"}",
     " { \"agent_id\" : \"a\" , \"own\" : 1.50e1, \"health\" : \"Healthy\" , "
     "\"last_failure_at\":\"2023-11-14T21:00:00.123456789Z\" ,\"updated_at\":\"2023-11-14T22:13:20.000Z\","
     "\"writes\":[\"" ID1 "\"]} "},
    {"{}", "{\"health\":\"Healthy\",\"x\":[1]}",
     "{\"health\":\"Healthy\",\"x\":[1],\"updated_at\":\"2023-11-14T22:13:20.000Z\",\"writes\":[\"" ID1
     "\"]}"},
    /* an unknown member is replaced whole, however its name is written */
    {"{\"x\":{\"a\":1,\"b\":2},\"y\":1,\"health\":\"Healthy\"}",
     "{\"health\":\"Healthy\",\"\\u0078\":{\"c\":null}}",
     "{\"y\":1,\"health\":\"Healthy\",\"\\u0078\":{\"c\":null},\"updated_at\":\"2023-11-14T22:13:20.000Z\","
     "\"writes\":[\"" ID1 "\"]}"},
    {"{\"consecutive_failures\":1,\"opens\":null,\"last_success_at\":7,\"writes\":[\"w\"]}",
     "{\"health\":\"Healthy\",\"consecutive_failures\":4e0,\"opens\":2,\"agent_id\":\"a\","
     "\"last_success_at\":\"2023-11-14T23:13:20.9999+01:00\"}",
     "{\"consecutive_failures\":4,\"opens\":2,\"last_success_at\":\"2023-11-14T22:13:20.999Z\","
     "\"writes\":[\"w\",\"" ID1 "\"],\"health\":\"Healthy\",\"updated_at\":\"2023-11-14T22:13:20.000Z\"}"},
    /* opening and closing change the circuit and end its permits */
    {"{\"permits\":[\"2024-01-01T00:00:00Z\"]}",
     "{\"health\":\"Healthy\",\"circuit_open_until\":\"2023-11-14T22:14:00Z\"}",
     "{\"permits\":[],\"health\":\"Healthy\",\"circuit_open_until\":\"2023-11-14T22:14:00.000Z\","
     "\"circuit_changed_at\":\"2023-11-14T22:13:20.000Z\",\"updated_at\":\"2023-11-14T22:13:20.000Z\","
     "\"writes\":[\"" ID1 "\"]}"},
    {"{\"circuit_open_until\":\"2023-11-14T22:14:00Z\",\"opens\":3,\"health\":\"Healthy\"}",
     "{\"health\":\"Healthy\",\"circuit_open_until\":null}",
     "{\"circuit_open_until\":null,\"opens\":3,\"health\":\"Healthy\",\"circuit_changed_at\":"
     "\"2023-11-14T22:13:20.000Z\",\"permits\":[],\"updated_at\":\"2023-11-14T22:13:20.000Z\",\"writes\":["
     "\"" ID1 "\"]}"},
    {"{\"circuit_open_until\":null,\"health\":\"Healthy\"}",
     "{\"health\":\"Unknown\",\"circuit_open_until\":null}",
     "{\"circuit_open_until\":null,\"health\":\"Unknown\",\"updated_at\":\"2023-11-14T22:13:20.000Z\","
     "\"writes\":[\"" ID1 "\"]}"},
};

START_TEST(a_put_sets_what_it_names_and_keeps_the_rest)
{
    struct buf value = {0};
    struct record_result out;
    if (PUTS[_i].before) buf_append_text(&value, PUTS[_i].before);
    struct record_change change = change_at(HEALTH_PUT, PUTS[_i].body, T0, 1);
    ck_assert_int_eq(apply_to(&value, &change, &out), RECORD_WRITE);
    ck_assert_msg(slice_equal_text(buf_slice(&value), PUTS[_i].after), "%.*s\ninstead of\n%s", (int)value.len,
                  value.ptr, PUTS[_i].after);
    ck_assert_int_eq(out.expires_ms, 0);
    buf_deinit(&value);
}
END_TEST

/* --- values that are none, reads, deletions --- */

static const char *const FOREIGN[] = {"", "x", "[]", "\"text\"", "null", "{\"a\":1", "{\"a\":\"\xff\"}"};

START_TEST(what_is_no_object_is_refused_by_every_change)
{
    for (int op = HEALTH_READ; op <= HEALTH_DELETE; op++) {
        struct record_change change =
            change_at((enum health_op)op, op == HEALTH_PUT ? "{\"health\":\"Healthy\"}" : "", T0, 1);
        struct record_result out = {0};
        struct record_version current = {.value = slice_of(FOREIGN[_i])};
        ck_assert_int_eq(rules.apply(&rules, &change, &current, &out), RECORD_REFUSE);
        ck_assert_int_eq(out.status, STATUS_FOREIGN_VALUE);
        ck_assert_str_ne(out.detail, "");
        ck_assert_ptr_null(out.value.ptr);
    }
    struct buf shown = {0};
    ck_assert(!health_show(slice_of(FOREIGN[_i]), T0, true, &shown));
    ck_assert_uint_eq(shown.len, 0);
    ck_assert_int_eq(health_circuit_of(slice_of(FOREIGN[_i]), T0), HEALTH_CLOSED);
    ck_assert(rules.etag(slice_of(FOREIGN[_i])) != 0);
}
END_TEST

START_TEST(reading_keeps_and_deleting_deletes_what_is_there_or_not)
{
    struct buf value = {0};
    struct record_result out;
    for (int round = 0; round < 2; round++) {
        struct record_change read = change_at(HEALTH_READ, "", T0, 1);
        struct record_change delete = change_at(HEALTH_DELETE, "", T0, 2);
        ck_assert_int_eq(apply_to(&value, &read, &out), RECORD_KEEP);
        ck_assert_int_eq(apply_to(&value, &delete, &out), RECORD_DELETE);
        if (round == 0) buf_append_text(&value, "{}");
    }
    buf_deinit(&value);
}
END_TEST

/* --- reports and permits --- */

/* What stands before and after one change at T0. Members not named are not looked at. */
struct member {
    const char *name, *raw;
};
static const struct {
    const char *title, *before;
    enum health_op op;
    const char *body;
    enum record_verdict verdict;
    struct member after[6];
    int64_t allowed, circuit, retry_after_ms; /* of a permit */
} STEPS[] = {
#define AT(s) "\"2023-11-14T22:13:" #s "Z\""
#define NOW   "\"2023-11-14T22:13:20.000Z\""
    {"a first failure creates",
     "",
     HEALTH_FAILURE,
     "",
     RECORD_WRITE,
     {{"agent_id", "\"a\""},
      {"health", "\"Unknown\""},
      {"consecutive_failures", "1"},
      {"last_failure_at", NOW},
      {"last_success_at", "null"},
      {"circuit_open_until", "null"}},
     0,
     0,
     0},
    {"a first success creates",
     "",
     HEALTH_SUCCESS,
     "{\"reason\":\"r\"}",
     RECORD_WRITE,
     {{"consecutive_failures", "0"}, {"last_success_at", NOW}, {"updated_at", NOW}, {"reason", "absent"}},
     0,
     0,
     0},
    {"a success in Closed ends the row",
     "{\"health\":\"Unhealthy\",\"consecutive_failures\":2}",
     HEALTH_SUCCESS,
     "",
     RECORD_WRITE,
     {{"consecutive_failures", "0"}, {"health", "\"Unhealthy\""}, {"circuit_changed_at", "absent"}},
     0,
     0,
     0},
    {"others' types count as absent",
     "{\"consecutive_failures\":\"9\",\"opens\":[],\"circuit_open_until\":5,\"permits\":{},\"writes\":1}",
     HEALTH_FAILURE,
     "",
     RECORD_WRITE,
     {{"consecutive_failures", "1"}, {"circuit_open_until", "5"}},
     0,
     0,
     0},
    {"a failure while Open only counts",
     "{\"consecutive_failures\":3,\"opens\":1,\"circuit_open_until\":" AT(21) "}",
     HEALTH_FAILURE,
     "",
     RECORD_WRITE,
     {{"consecutive_failures", "4"},
      {"opens", "1"},
      {"circuit_open_until", AT(21)},
      {"last_failure_at", NOW}},
     0,
     0,
     0},
    {"nanoseconds are cut: this one is HalfOpen",
     "{\"consecutive_failures\":3,\"opens\":1,\"circuit_open_until\":" AT(20.000999999) "}",
     HEALTH_FAILURE,
     "",
     RECORD_WRITE,
     {{"opens", "2"}},
     0,
     0,
     0},
    {"a success while Open counts alone",
     "{\"consecutive_failures\":3,\"opens\":1,\"circuit_open_until\":" AT(21) "}",
     HEALTH_SUCCESS,
     "",
     RECORD_WRITE,
     {{"consecutive_failures", "3"},
      {"opens", "1"},
      {"circuit_open_until", AT(21)},
      {"last_success_at", NOW}},
     0,
     0,
     0},
    {"a success in HalfOpen closes",
     "{\"consecutive_failures\":9,\"opens\":4,\"circuit_open_until\":" AT(20) ",\"permits\":[" AT(30) "," AT(
         40) "]}",
     HEALTH_SUCCESS,
     "",
     RECORD_WRITE,
     {{"consecutive_failures", "0"},
      {"opens", "0"},
      {"circuit_open_until", "null"},
      {"permits", "[]"},
      {"circuit_changed_at", NOW}},
     0,
     0,
     0},
    {"a late success in HalfOpen moves nothing and frees nothing",
     "{\"consecutive_failures\":9,\"opens\":4,\"circuit_open_until\":" AT(20) ",\"circuit_changed_at\":" AT(
         15) ",\"permits\":[" AT(30) "]}",
     HEALTH_SUCCESS,
     "{\"started_at\":" AT(14) "}",
     RECORD_WRITE,
     {{"consecutive_failures", "9"},
      {"opens", "4"},
      {"circuit_open_until", AT(20)},
      {"permits", "[" AT(30) "]"},
      {"circuit_changed_at", AT(15)},
      {"last_success_at", NOW}},
     0,
     0,
     0},
    {"a report that began with the change moves",
     "{\"opens\":4,\"circuit_open_until\":" AT(20) ",\"circuit_changed_at\":" AT(15) "}",
     HEALTH_SUCCESS,
     "{\"started_at\":" AT(15) "}",
     RECORD_WRITE,
     {{"opens", "0"}, {"circuit_open_until", "null"}},
     0,
     0,
     0},
    {"a late failure at the threshold counts and does not open",
     "{\"consecutive_failures\":2,\"circuit_open_until\":null,\"circuit_changed_at\":" AT(15) "}",
     HEALTH_FAILURE,
     "{\"started_at\":" AT(14) "}",
     RECORD_WRITE,
     {{"consecutive_failures", "3"}, {"circuit_open_until", "null"}, {"opens", "absent"}},
     0,
     0,
     0},
    {"without circuit_changed_at no report is late",
     "{\"opens\":4,\"circuit_open_until\":" AT(20) "}",
     HEALTH_SUCCESS,
     "{\"started_at\":" AT(01) "}",
     RECORD_WRITE,
     {{"circuit_open_until", "null"}},
     0,
     0,
     0},
    {"an unknown agent is allowed", "", HEALTH_PERMIT, "", RECORD_KEEP, {{NULL, NULL}}, 1, HEALTH_CLOSED, 0},
    {"a closed one is allowed",
     "{\"consecutive_failures\":2}",
     HEALTH_PERMIT,
     "",
     RECORD_KEEP,
     {{NULL, NULL}},
     1,
     HEALTH_CLOSED,
     0},
    {"an open one is not",
     "{\"circuit_open_until\":" AT(21.5) "}",
     HEALTH_PERMIT,
     "",
     RECORD_KEEP,
     {{NULL, NULL}},
     0,
     HEALTH_OPEN,
     1500},
    {"half-open: one permit",
     "{\"circuit_open_until\":" AT(20) "}",
     HEALTH_PERMIT,
     "",
     RECORD_WRITE,
     {{"permits", "[\"2023-11-14T22:13:50.000Z\"]"}, {"updated_at", NOW}},
     1,
     HEALTH_HALF_OPEN,
     0},
    {"half-open: ended permits make room",
     "{\"circuit_open_until\":" AT(01) ",\"permits\":[" AT(20) "," AT(25.5) "]}",
     HEALTH_PERMIT,
     "",
     RECORD_WRITE,
     {{"permits", "[\"2023-11-14T22:13:25.500Z\",\"2023-11-14T22:13:50.000Z\"]"}},
     1,
     HEALTH_HALF_OPEN,
     0},
    {"half-open: no more than the probes",
     "{\"circuit_open_until\":" AT(01) ",\"permits\":[" AT(29) "," AT(25.5) "]}",
     HEALTH_PERMIT,
     "",
     RECORD_KEEP,
     {{NULL, NULL}},
     0,
     HEALTH_HALF_OPEN,
     5500},
};

START_TEST(a_step_moves_what_it_should)
{
    struct buf value = {0};
    struct record_result out;
    buf_append_text(&value, STEPS[_i].before);
    struct record_change change = change_at(STEPS[_i].op, STEPS[_i].body, T0, 1);
    enum record_verdict verdict = apply_to(&value, &change, &out);
    ck_assert_msg(verdict == STEPS[_i].verdict, "%s: verdict %d", STEPS[_i].title, verdict);
    for (size_t i = 0; i < 6 && STEPS[_i].after[i].name; i++)
        expect_member(buf_slice(&value), STEPS[_i].after[i].name, STEPS[_i].after[i].raw);
    ck_assert_int_eq(out.note[HEALTH_NOTE_ALLOWED], STEPS[_i].allowed);
    ck_assert_int_eq(out.note[HEALTH_NOTE_CIRCUIT], STEPS[_i].circuit);
    ck_assert_int_eq(out.note[HEALTH_NOTE_RETRY_AFTER_MS], STEPS[_i].retry_after_ms);
    buf_deinit(&value);
}
END_TEST

START_TEST(the_open_time_doubles_to_its_cap_jittered_and_the_same_for_the_same_change)
{
    struct buf value = {0};
    struct record_result out;
    int64_t now = T0, wanted = OPTIONS.open_base_ms;
    bool jittered = false;
    buf_append_text(&value, "{\"consecutive_failures\":2}");
    for (unsigned i = 1; i <= 12; i++) {
        struct record_change change = change_at(HEALTH_FAILURE, "", now, i);
        struct buf again = {0};
        buf_append_slice(&again, buf_slice(&value));
        ck_assert_int_eq(apply_to(&again, &change, &out), RECORD_WRITE);
        ck_assert_int_eq(apply_to(&value, &change, &out), RECORD_WRITE);
        ck_assert(slice_equal(buf_slice(&value), buf_slice(&again)));
        buf_deinit(&again);
        int64_t open_ms = time_member(buf_slice(&value), "circuit_open_until") - now;
        ck_assert_int_ge(open_ms, wanted * 9 / 10);
        ck_assert_int_le(open_ms, wanted * 11 / 10);
        ck_assert_int_le(open_ms, OPTIONS.open_max_ms);
        jittered |= open_ms != wanted;
        ck_assert_int_eq(number_member(buf_slice(&value), "opens"), i);
        wanted = wanted * 2 < OPTIONS.open_max_ms ? wanted * 2 : OPTIONS.open_max_ms;
        now += open_ms;
    }
    ck_assert(jittered);
    buf_deinit(&value);
}
END_TEST

START_TEST(counters_of_any_size_end_at_a_bound)
{
    struct buf value = {0};
    struct record_result out;
    buf_append_text(&value, "{\"consecutive_failures\":9223372036854775807,\"opens\":9223372036854775807,"
                            "\"circuit_open_until\":\"2000-01-01T00:00:00Z\"}");
    struct record_change change = change_at(HEALTH_FAILURE, "", T0, 1);
    ck_assert_int_eq(apply_to(&value, &change, &out), RECORD_WRITE);
    ck_assert_int_le(time_member(buf_slice(&value), "circuit_open_until"), T0 + OPTIONS.open_max_ms);
    buf_deinit(&value);
}
END_TEST

/* --- showing, etag --- */

static const struct {
    const char *value, *record, *with_circuit;
} SHOWN[] = {
    {"{}", "{}", "{\"circuit\":\"Closed\"}"},
    {"{\"a\":1.0,\"permits\":[],\"writes\":[\"x\"],\"circuit_open_until\":" AT(21) "}",
     "{\"a\":1.0,\"circuit_open_until\":" AT(21) "}",
     "{\"a\":1.0,\"circuit_open_until\":" AT(21) ",\"circuit\":\"Open\"}"},
    {"{\"circuit\":\"theirs\",\"circuit_open_until\":" AT(20) "}",
     "{\"circuit\":\"theirs\",\"circuit_open_until\":" AT(20) "}",
     "{\"circuit\":\"HalfOpen\",\"circuit_open_until\":" AT(20) "}"},
};

START_TEST(a_record_is_shown_without_what_is_the_daemons_own)
{
    struct buf out = {0};
    ck_assert(health_show(slice_of(SHOWN[_i].value), T0, false, &out));
    ck_assert_msg(slice_equal_text(buf_slice(&out), SHOWN[_i].record), "%.*s", (int)out.len, out.ptr);
    buf_clear(&out);
    ck_assert(health_show(slice_of(SHOWN[_i].value), T0, true, &out));
    ck_assert_msg(slice_equal_text(buf_slice(&out), SHOWN[_i].with_circuit), "%.*s", (int)out.len, out.ptr);
    buf_deinit(&out);
}
END_TEST

START_TEST(the_etag_covers_all_but_the_writes)
{
    health_rules(&OPTIONS, &rules);
    uint64_t one = rules.etag(SLICE_LITERAL("{\"a\":1,\"writes\":[\"x\"]}"));
    ck_assert(one != 0);
    ck_assert(one == rules.etag(SLICE_LITERAL("{\"a\":1,\"writes\":[\"x\",\"y\"]}")));
    ck_assert(one != rules.etag(SLICE_LITERAL("{\"a\":2,\"writes\":[\"x\"]}")));
    ck_assert(one != rules.etag(SLICE_LITERAL("{\"a\":1,\"permits\":[],\"writes\":[\"x\"]}")));
}
END_TEST

#define COUNT(table) (int)(sizeof(table) / sizeof *(table))

int main(void)
{
    Suite *suite = suite_create("health");
    TCase *c = test_case(suite, "rules", 10);
    tcase_add_loop_test(c, a_request_is_taken_or_refused_by_name, 0, COUNT(REQUESTS));
    tcase_add_loop_test(c, a_put_sets_what_it_names_and_keeps_the_rest, 0, COUNT(PUTS));
    tcase_add_loop_test(c, what_is_no_object_is_refused_by_every_change, 0, COUNT(FOREIGN));
    tcase_add_test(c, reading_keeps_and_deleting_deletes_what_is_there_or_not);
    tcase_add_loop_test(c, a_step_moves_what_it_should, 0, COUNT(STEPS));
    tcase_add_test(c, the_open_time_doubles_to_its_cap_jittered_and_the_same_for_the_same_change);
    tcase_add_test(c, counters_of_any_size_end_at_a_bound);
    tcase_add_loop_test(c, a_record_is_shown_without_what_is_the_daemons_own, 0, COUNT(SHOWN));
    tcase_add_test(c, the_etag_covers_all_but_the_writes);
    return test_run(suite);
}
