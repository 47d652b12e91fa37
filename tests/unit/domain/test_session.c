/* test_session: requests, changes, touches, ETags and answers of sessions, by their text. */
#include "session_fixture.h"

#include "util/json_edit.h"
#include "util/random.h"

#include <stdlib.h>

static struct fixture f;
static struct json_error error;

/* --- what is written --- */

#define HEAD(created, accessed, updated)                                                                     \
    "{\"correlation_id\":\"" ID "\",\"created_at\":" created ",\"last_accessed\":" accessed                  \
    ",\"updated_at\":" updated
#define FRESH HEAD(NOW, NOW, NOW)

static const struct {
    enum session_op op;
    unsigned flags;
    const char *body, *current;
    int64_t expires_ms;
    const char *expected;
    int64_t expected_expires_ms;
} WRITTEN[] = {
    /* created */
    {SESSION_CREATE, 0, "{}", NULL, 0,
     FRESH ",\"plan_id\":null,\"task_id\":null,\"state\":\"Active\",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_CREATE, 0,
     "{ \"x\" : [1, 2.0] , \"data\" : { \"n\": 1e400 }, \"task_id\":\"t\",\"plan_id\":\"\\u00e4\", "
     "\"ttl\":0.5, \"state\":\"Failed\", \"\\u0079\":null, \"correlation_id\":\"" ID "\"}",
     NULL, 0,
     FRESH ",\"plan_id\":\"\\u00e4\",\"task_id\":\"t\",\"state\":\"Failed\",\"data\":{ \"n\": 1e400 },"
           "\"ttl\":0.5,\"x\":[1, 2.0],\"\\u0079\":null,\"writes\":" WRITES "}",
     STAMP_MS + 500},
    {SESSION_CREATE, 0,
     "{\"correlation_id\":null,\"plan_id\":null,\"task_id\":null,\"state\":null,\"data\":null,\"ttl\":null,"
     "\"created_at\":null}",
     NULL, 0, FRESH ",\"plan_id\":null,\"task_id\":null,\"state\":\"Active\",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    /* put */
    {SESSION_PUT, 0, "{\"ttl\":60}", NULL, 0,
     FRESH ",\"plan_id\":null,\"task_id\":null,\"state\":\"Active\",\"ttl\":60,\"writes\":" WRITES "}",
     STAMP_MS + 60000},
    {SESSION_PUT, 0, "{\"state\":\"Completed\",\"new\":1}",
     "{\"created_at\":\"2025-12-31T23:59:59.123456789Z\",\"state\":\"Active\",\"old\":2,\"ttl\":5,"
     "\"writes\":[\"a\"]}",
     0,
     HEAD("\"2025-12-31T23:59:59.123456789Z\"", NOW, NOW) ",\"plan_id\":null,\"task_id\":null,\"state\":"
                                                          "\"Completed\",\"new\":1,\"writes\":[\"a\","
                                                          "\"" CHANGE "\"]}",
     STAMP_MS + TTL_MS},
    {SESSION_PUT, SESSION_FORCE, "{}", "{\"created_at\":" OLD ",\"state\":\"Failed\"}", 7,
     HEAD(OLD, NOW, NOW) ",\"plan_id\":null,\"task_id\":null,\"state\":\"Active\",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PUT, 0,
     "{\"correlation_id\":\"s\\u002d1\",\"created_at\":\"2026-01-01T01:00:00+01:00\",\"last_accessed\":" OLD
     ",\"updated_at\":null}",
     "{\"created_at\":" OLD ",\"last_accessed\":" NOW "}", 7,
     HEAD(OLD, NOW, NOW) ",\"plan_id\":null,\"task_id\":null,\"state\":\"Active\",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    /* patched */
    {SESSION_PATCH, 0, "{\"state\":\"Completed\"}",
     "{\"correlation_id\": \"" ID "\", \"state\": \"Active\", \"last_accessed\": " OLD
     ", \"n\": 1.0, \"e\": \"\\u00e4\\/\", \"null\": null}",
     1,
     "{\"correlation_id\": \"" ID "\", \"state\": \"Completed\", \"last_accessed\": " NOW
     ", \"n\": 1.0, \"e\": \"\\u00e4\\/\", \"null\": null,\"updated_at\":" NOW ",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"plan_id\":null,\"task_id\":null,\"data\":null,\"x\":null}",
     "{\"plan_id\":\"p\",\"k\":1e400,\"task_id\":\"t\",\"data\":[1],\"x\":{},\"writes\":[\"a\"],"
     "\"last_accessed\":1,\"updated_at\":2}",
     1, "{\"k\":1e400,\"writes\":[\"a\",\"" CHANGE "\"],\"last_accessed\":" NOW ",\"updated_at\":" NOW "}",
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"data\":{\"a\":{\"b\":2},\"z\":null}}",
     "{\"data\":{\"z\":1,\"a\":{\"b\":1, \"c\":1.0}},\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 1,
     "{\"data\":{\"a\":{\"b\":2, \"c\":1.0}},\"last_accessed\":" NOW ",\"updated_at\":" NOW
     ",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"ttl\":60.5}", "{\"ttl\":5,\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 1,
     "{\"ttl\":60.5,\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}",
     STAMP_MS + 60500},
    {SESSION_PATCH, 0, "{\"ttl\":null}", "{\"ttl\":5,\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 0,
     "{\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}", STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{}", "{\"ttl\":5,\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 1,
     "{\"ttl\":5,\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}", STAMP_MS + 5000},
    {SESSION_PATCH, 0, "{}", "{\"ttl\":5,\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 0,
     "{\"ttl\":5,\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}", 0},
    {SESSION_PATCH, 0, "{}", "{\"ttl\":\"5\",\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 1,
     "{\"ttl\":\"5\",\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0,
     "{\"correlation_id\":\"s\\u002d1\",\"created_at\":\"2026-01-01T00:00:00+00:00\",\"updated_at\":null}",
     "{\"correlation_id\":\"" ID "\",\"created_at\":" OLD ",\"last_accessed\":null}", 1,
     "{\"correlation_id\":\"" ID "\",\"created_at\":" OLD ",\"last_accessed\":" NOW ",\"updated_at\":" NOW
     ",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"state\":\"Active\"}",
     "{\"state\":7,\"last_accessed\":1,\"updated_at\":2,\"writes\":3}", 1,
     "{\"state\":\"Active\",\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1}",
     " {\"state\":\"Failed\",\"last_accessed\":1,\"updated_at\":2,\"writes\":3,\"d\":1,\"d\":2}\n", 1,
     " {\"state\":\"Failed\",\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES
     ",\"d\":1,\"d\":2,\"x\":1}\n",
     STAMP_MS + TTL_MS},
    /* touched */
    {SESSION_TOUCH, 0, NULL,
     "{ \"n\" : 1.0 , \"last_accessed\" : \"2026-01-01T00:00:00.123456789Z\" , \"ttl\": 60, \"writes\":[] }",
     1, "{ \"n\" : 1.0 , \"last_accessed\" : " NOW " , \"ttl\": 60, \"writes\":[] }", STAMP_MS + 60000},
    {SESSION_TOUCH, 0, NULL, "{\"last_accessed\":" OLD "}", 0, "{\"last_accessed\":" NOW "}", 0},
    {SESSION_TOUCH, 0, NULL, "{\"last_accessed\":\"2026-01-02T03:04:04.678Z\"}", 1,
     "{\"last_accessed\":" NOW "}", STAMP_MS + TTL_MS},
    {SESSION_TOUCH, 0, NULL, "{\"last_accessed\":" LATER "}", 1, "{\"last_accessed\":" NOW "}",
     STAMP_MS + TTL_MS},
    {SESSION_TOUCH, 0, NULL, "{\"last_accessed\":\"yesterday\"}", 1, "{\"last_accessed\":" NOW "}",
     STAMP_MS + TTL_MS},
    {SESSION_TOUCH, 0, NULL, "{}", 1, "{\"last_accessed\":" NOW "}", STAMP_MS + TTL_MS},
};

START_TEST(a_change_writes_this_value_with_this_expiry)
{
    fixture_apply(&f, WRITTEN[_i].op, WRITTEN[_i].flags, WRITTEN[_i].body, WRITTEN[_i].current,
                  WRITTEN[_i].expires_ms);
    expect_value(&f, WRITTEN[_i].expected);
    ck_assert_int_eq(f.result.expires_ms, WRITTEN[_i].expected_expires_ms);
    ck_assert(!f.result.conflict);
    fixture_clear(&f);
}
END_TEST

/* --- what is not --- */

static const struct {
    enum session_op op;
    const char *body, *current;
    enum record_verdict verdict;
    enum status status;
} UNWRITTEN[] = {
    {SESSION_READ, NULL, NULL, RECORD_KEEP, STATUS_OK},
    {SESSION_READ, NULL, "{}", RECORD_KEEP, STATUS_OK},
    {SESSION_READ, NULL, "[]", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_READ, NULL, "", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_READ, NULL, "{\"a\":", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_TOUCH, NULL, NULL, RECORD_KEEP, STATUS_OK},
    {SESSION_TOUCH, NULL, "{\"last_accessed\":" NOW "}", RECORD_KEEP, STATUS_OK},
    {SESSION_TOUCH, NULL, "{\"last_accessed\":\"2026-01-02T03:04:04.679Z\"}", RECORD_KEEP, STATUS_OK},
    {SESSION_TOUCH, NULL, "{\"last_accessed\":\"2026-01-02T03:04:06.000Z\"}", RECORD_KEEP, STATUS_OK},
    {SESSION_TOUCH, NULL, "\"text\"", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_DELETE, NULL, NULL, RECORD_DELETE, STATUS_OK},
    {SESSION_DELETE, NULL, "{}", RECORD_DELETE, STATUS_OK},
    {SESSION_DELETE, NULL, "7", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_CREATE, "{}", "{}", RECORD_REFUSE, STATUS_ALREADY_EXISTS},
    {SESSION_CREATE, "{}", "no JSON", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_CREATE, "{\"created_at\":" OLD "}", NULL, RECORD_REFUSE, STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{}", "[]", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_PATCH, "{}", NULL, RECORD_REFUSE, STATUS_NOT_FOUND},
    {SESSION_PATCH, "{}", "null", RECORD_REFUSE, STATUS_FOREIGN_VALUE},
    {SESSION_PATCH, "{\"created_at\":" NOW "}", "{\"created_at\":" OLD "}", RECORD_REFUSE,
     STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"created_at\":null}", "{\"created_at\":" OLD "}", RECORD_REFUSE,
     STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"updated_at\":\"soon\"}", "{}", RECORD_REFUSE, STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"data\":{\"a\":1,\"\\u0061\":2}}", "{}", RECORD_REFUSE, STATUS_UNPROCESSABLE},
    {SESSION_PATCH, "{\"data\":[{\"a\":1,\"a\":2}]}", NULL, RECORD_REFUSE, STATUS_NOT_FOUND},
};

START_TEST(nothing_is_written_and_this_is_why)
{
    fixture_apply(&f, UNWRITTEN[_i].op, 0, UNWRITTEN[_i].body, UNWRITTEN[_i].current, 1);
    ck_assert_int_eq(f.verdict, UNWRITTEN[_i].verdict);
    ck_assert_int_eq(f.result.status, UNWRITTEN[_i].status);
    ck_assert_int_eq(f.verdict == RECORD_REFUSE, f.result.detail[0] != '\0');
    ck_assert_uint_eq(f.result.value.len, 0);
    fixture_clear(&f);
}
END_TEST

START_TEST(a_state_moves_only_from_active_or_by_force)
{
    static const char *const states[] = {"Active", "Completed", "Failed"};
    static const enum session_op ops[] = {SESSION_PUT, SESSION_PATCH};
    for (int i = 0; i < 3 * 3 * 2 * 2; i++) {
        int from = i % 3, to = i / 3 % 3, forced = i / 18;
        char value[64], body[64];
        FORMAT(value, "{\"state\":\"%s\"}", states[from]);
        FORMAT(body, "{\"state\":\"%s\"}", states[to]);
        fixture_apply(&f, ops[i / 9 % 2], forced ? SESSION_FORCE : 0, body, value, 1);
        bool allowed = from == 0 || from == to || forced != 0;
        ck_assert_int_eq(f.verdict, allowed ? RECORD_WRITE : RECORD_REFUSE);
        ck_assert_int_eq(f.result.status, allowed ? STATUS_OK : STATUS_INVALID_TRANSITION);
        enum session_state state;
        if (!allowed) continue;
        ck_assert(session_state_of(buf_slice(&f.result.value), &state));
        ck_assert_int_eq(state, to);
    }
    fixture_apply(&f, SESSION_PUT, 0, "{}", "{\"state\":\"Completed\"}", 1);
    ck_assert_int_eq(f.result.status, STATUS_INVALID_TRANSITION);
    fixture_clear(&f);
}
END_TEST

/* --- requests --- */

static const struct {
    enum session_op op;
    const char *body;
    enum status status;
} BODIES[] = {
    {SESSION_CREATE, "", STATUS_INVALID_JSON},
    {SESSION_PUT, "{", STATUS_INVALID_JSON},
    {SESSION_PATCH, "{\"a\":\"\xff\"}", STATUS_INVALID_JSON},
    {SESSION_CREATE, "[]", STATUS_UNPROCESSABLE},
    {SESSION_PATCH, "null", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"x\":1,\"x\":1}", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"state\":\"Active\",\"st\\u0061te\":\"Active\"}", STATUS_UNPROCESSABLE},
    {SESSION_CREATE, "{\"correlation_id\":7}", STATUS_UNPROCESSABLE},
    {SESSION_CREATE, "{\"plan_id\":7}", STATUS_UNPROCESSABLE},
    {SESSION_PATCH, "{\"task_id\":[]}", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"state\":true}", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"ttl\":\"60\"}", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"created_at\":0}", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"plan_id\":\"\\u0000\"}", STATUS_UNPROCESSABLE},
    {SESSION_PUT, "{\"task_id\":\"\\ud800\"}", STATUS_UNPROCESSABLE},
    {SESSION_CREATE, "{\"correlation_id\":\"a\\u0000\"}", STATUS_UNPROCESSABLE},
    {SESSION_CREATE, "{\"correlation_id\":\"\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_CREATE, "{\"correlation_id\":\"..\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_CREATE, "{\"correlation_id\":\"a b\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_CREATE, "{\"correlation_id\":\"a%41\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_CREATE, "{\"correlation_id\":\"\xc3\xa4\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"correlation_id\":\"other\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"correlation_id\":\"other\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"correlation_id\":null}", STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"state\":null}", STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"state\":\"active\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_CREATE, "{\"state\":\"\"}", STATUS_INVALID_ARGUMENT},
    {SESSION_PATCH, "{\"writes\":null}", STATUS_INVALID_ARGUMENT},
    {SESSION_CREATE, "{\"writes\":[]}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"ttl\":0}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"ttl\":-1}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"ttl\":0.0009}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"ttl\":31536000.1}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"ttl\":1e400}", STATUS_INVALID_ARGUMENT},
    {SESSION_PUT, "{\"ttl\":0.001}", STATUS_OK},
    {SESSION_PUT, "{\"ttl\":31536000}", STATUS_OK},
    {SESSION_PUT, "{\"ttl\":3.1536e7}", STATUS_OK},
    {SESSION_PUT, "{\"state\":null,\"plan_id\":null,\"correlation_id\":null}", STATUS_OK},
    {SESSION_PATCH, "{\"plan_id\":null,\"ttl\":null,\"x\":\"\\u0000\",\"data\":\"\\ud800\"}", STATUS_OK},
    {SESSION_PUT, "{\"data\":{\"a\":1,\"a\":2}}", STATUS_OK},
    {SESSION_READ, "no JSON", STATUS_OK},
    {SESSION_TOUCH, "", STATUS_OK},
    {SESSION_DELETE, "[", STATUS_OK},
};

START_TEST(a_body_is_judged)
{
    struct record_change change;
    char scratch[ID_LEN_MAX];
    struct slice id = BODIES[_i].op == SESSION_CREATE ? SLICE_NONE : SLICE_LITERAL(ID);
    error.detail[0] = '\0';
    enum status status =
        session_change(BODIES[_i].op, 0, id, slice_of(BODIES[_i].body), STAMP_MS, scratch, &change, &error);
    ck_assert_msg(status == BODIES[_i].status, "%s: %s: %s", BODIES[_i].body, status_code(status),
                  error.detail);
    ck_assert_int_eq(status == STATUS_OK, error.detail[0] == '\0');
    if (status != STATUS_OK) return;
    ck_assert_uint_eq(change.op, BODIES[_i].op);
    ck_assert(slice_equal_text(change.id, ID));
}
END_TEST

START_TEST(a_change_knows_what_the_store_may_do_with_it)
{
    static const unsigned traits[] = {[SESSION_READ] = RECORD_READS | RECORD_NEEDS_COPY,
                                      [SESSION_TOUCH] = RECORD_OPTIONAL | RECORD_MERGES | RECORD_NEEDS_COPY,
                                      [SESSION_CREATE] = 0,
                                      [SESSION_PUT] = RECORD_NEEDS_COPY,
                                      [SESSION_PATCH] = RECORD_NEEDS_COPY,
                                      [SESSION_DELETE] = 0};
    struct slice body = SLICE_LITERAL("{}");
    for (int op = SESSION_READ; op <= SESSION_DELETE; op++) {
        struct record_change change;
        char scratch[ID_LEN_MAX];
        ck_assert_int_eq(session_change((enum session_op)op, SESSION_FORCE, SLICE_LITERAL(ID), body, STAMP_MS,
                                        scratch, &change, &error),
                         STATUS_OK);
        ck_assert_uint_eq(change.op, (unsigned)op);
        ck_assert_uint_eq(change.traits, traits[op]);
        ck_assert_uint_eq(change.flags, SESSION_FORCE);
        bool has_body = op == SESSION_CREATE || op == SESSION_PUT || op == SESSION_PATCH;
        ck_assert_ptr_eq(change.body.ptr, has_body ? body.ptr : NULL);
        ck_assert_ptr_null(change.if_match.ptr);
    }
}
END_TEST

START_TEST(a_session_is_named_by_its_body_or_gets_a_uuid)
{
    struct record_change change;
    char scratch[ID_LEN_MAX];
    ck_assert_int_eq(session_change(SESSION_CREATE, 0, SLICE_NONE,
                                    SLICE_LITERAL("{\"correlation_id\":\"a\\u003ab@-_.\"}"), STAMP_MS,
                                    scratch, &change, &error),
                     STATUS_OK);
    ck_assert(slice_equal_text(change.id, "a:b@-_."));
    static const char *const unnamed[] = {"{}", "{\"correlation_id\":null}"};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(session_change(SESSION_CREATE, 0, SLICE_NONE, slice_of(unnamed[i]), STAMP_MS,
                                        scratch, &change, &error),
                         STATUS_OK);
        ck_assert_uint_eq(change.id.len, UUID_SIZE - 1);
        ck_assert_int_eq(change.id.ptr[14], '7');
    }
    char body[ID_LEN_MAX + 64], id[ID_LEN_MAX + 2];
    for (int len = ID_LEN_MAX; len <= ID_LEN_MAX + 1; len++) {
        memset(id, 'x', sizeof id);
        id[len] = '\0';
        FORMAT(body, "{\"correlation_id\":\"%s\"}", id);
        ck_assert_int_eq(
            session_change(SESSION_CREATE, 0, SLICE_NONE, slice_of(body), STAMP_MS, scratch, &change, &error),
            len == ID_LEN_MAX ? STATUS_OK : STATUS_INVALID_ARGUMENT);
    }
}
END_TEST

/* --- ETags, answers --- */

START_TEST(an_etag_changes_with_what_is_stated_and_not_with_a_touch)
{
    fixture_clear(&f);
    static const char value[] = "{\"a\":1,\"last_accessed\":" OLD ",\"b\":\"x\",\"writes\":[\"w\"]}";
    uint64_t etag = f.rules.etag(slice_of(value));
    static const char *const same[] = {
        "{\"a\":1,\"b\":\"x\"}",
        "{\"a\":1,\"last_accessed\":" NOW ",\"b\":\"x\",\"writes\":[]}",
        " { \"a\" : 1 , \"b\" : \"x\" , \"last_\\u0061ccessed\" : 0 } ",
    };
    static const char *const others[] = {
        "{}",
        "{\"a\":1}",
        "{\"b\":\"x\",\"a\":1}",
        "{\"a\":1.0,\"b\":\"x\"}",
        "{\"a\":1,\"b\":\"x\",\"c\":0}",
        "{\"A\":1,\"b\":\"x\"}",
        "{\"a\":\"x\",\"b\":1}",
        "[]",
        "no JSON",
        "",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        ck_assert_uint_eq(f.rules.etag(slice_of(same[i])), etag);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        ck_assert_uint_ne(f.rules.etag(slice_of(others[i])), etag);
        ck_assert_uint_ne(f.rules.etag(slice_of(others[i])), 0);
    }
    fixture_apply(&f, SESSION_TOUCH, 0, NULL, value, 1);
    ck_assert_int_eq(f.verdict, RECORD_WRITE);
    ck_assert_uint_eq(f.rules.etag(buf_slice(&f.result.value)), etag);
    fixture_apply(&f, SESSION_PATCH, 0, "{}", value, 1);
    ck_assert_uint_ne(f.rules.etag(buf_slice(&f.result.value)), etag);
    fixture_clear(&f);
}
END_TEST

START_TEST(an_answer_has_all_members_but_writes)
{
    static const char *const cases[][2] = {
        {"{\"plan_id\":\"p\",\"task_id\":null,\"x\": 1.0,\"writes\":[]}",
         "{\"plan_id\":\"p\",\"task_id\":null,\"x\": 1.0}"},
        {"{\"writes\":[],\"state\":\"Active\"}", "{\"state\":\"Active\",\"plan_id\":null,\"task_id\":null}"},
        {"{\"task_id\":\"t\"}", "{\"task_id\":\"t\",\"plan_id\":null}"},
        {"{}", "{\"plan_id\":null,\"task_id\":null}"},
        {"[1]", "null"},
        {"{\"", "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        buf_append_text(&out, "[");
        session_show(slice_of(cases[i][0]), &out);
        ck_assert(slice_equal_text((struct slice){out.ptr + 1, out.len - 1}, cases[i][1]));
        buf_deinit(&out);
    }
}
END_TEST

START_TEST(a_state_is_told_of_what_states_one)
{
    enum session_state state = SESSION_ACTIVE;
    ck_assert(session_state_of(SLICE_LITERAL("{\"state\":\"F\\u0061iled\"}"), &state));
    ck_assert_int_eq(state, SESSION_FAILED);
    static const char *const none[] = {
        "{}", "{\"state\":null}", "{\"state\":\"active\"}", "{\"state\":1}", "[]", "{\"state\":\"Active\"",
        ""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert(!session_state_of(slice_of(none[i]), &state));
}
END_TEST

/* --- large and random --- */

START_TEST(a_mebibyte_of_data_keeps_its_bytes)
{
    struct buf body = {0};
    buf_append_text(&body, "{\"data\":[");
    while (body.len < 1 << 20)
        buf_append_text(&body, "{\"t\": \"\\u00e4\xc3\xa4 \\\"}\", \"n\":[1.0,1e400 ,-0]} ,\n");
    buf_append_text(&body, "null]}");
    buf_append_char(&body, '\0');
    struct slice data = {body.ptr + 8, body.len - 10};
    fixture_apply(&f, SESSION_CREATE, 0, body.ptr, NULL, 0);
    ck_assert_int_eq(f.verdict, RECORD_WRITE);
    buf_append_char(&f.result.value, '\0');
    struct fixture next = {0};
    fixture_apply(&next, SESSION_PATCH, 0, "{\"plan_id\":\"p\"}", f.result.value.ptr, 1);
    ck_assert_int_eq(next.verdict, RECORD_WRITE);
    ck_assert(slice_equal(json_member(buf_slice(&next.result.value), "data"), data));
    fixture_clear(&next);
    fixture_apply(&next, SESSION_TOUCH, 0, NULL, f.result.value.ptr, 1);
    ck_assert_int_eq(next.verdict, RECORD_KEEP);
    fixture_clear(&next);
    fixture_clear(&f);
    buf_deinit(&body);
}
END_TEST

/* Each line of what people asked models, as data: it comes back byte for byte after a change and a touch. */
START_TEST(real_prompts_come_back_as_they_were)
{
    char path[TEST_PATH_MAX];
    char *file = file_read(repository_path(path, "tests/data/prompts.csv"), NULL);
    struct fixture patched = {0};
    struct buf body = {0};
    char *rest = file;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        buf_clear(&body);
        buf_append_text(&body, "{\"data\":");
        json_append_string(&body, slice_of(line));
        size_t len = body.len - 8;
        buf_append_text(&body, "}");
        buf_append_char(&body, '\0');
        struct slice data = {body.ptr + 8, len};
        fixture_apply(&f, SESSION_CREATE, 0, body.ptr, NULL, 0);
        ck_assert_int_eq(f.verdict, RECORD_WRITE);
        buf_append_char(&f.result.value, '\0');
        fixture_apply(&patched, SESSION_PATCH, 0, "{\"x\":{\"y\":1.0}}", f.result.value.ptr, 1);
        ck_assert_int_eq(patched.verdict, RECORD_WRITE);
        ck_assert(slice_equal(json_member(buf_slice(&patched.result.value), "data"), data));
    }
    fixture_clear(&patched);
    fixture_clear(&f);
    buf_deinit(&body);
    free(file);
}
END_TEST

static void append_random(struct buf *out, int depth, bool nulls)
{
    static const char *const scalars[] = {"1.0", "\"\\u00e4\"", "true", "-1e400", "[null, 1]", "\"}\""};
    if (depth == 0 || random_below(3) == 0) {
        buf_append_text(out, nulls && random_below(4) == 0 ? "null" : scalars[random_below(6)]);
        return;
    }
    unsigned left = (unsigned)random_below(16); /* which of the members a to d are there */
    bool any = false;
    buf_append_char(out, '{');
    for (unsigned i = 0; i < 4; i++) {
        if ((left >> i & 1) == 0) continue;
        buf_printf(out, "%s%s\"%c\"%s:", any ? "," : "", random_below(2) ? " " : "", 'a' + (char)i,
                   random_below(2) ? " " : "");
        append_random(out, depth - 1, nulls);
        any = true;
    }
    buf_append_char(out, '}');
}

static void random_body(struct buf *out, bool nulls)
{
    buf_clear(out);
    buf_append_text(out, "{\"data\":");
    append_random(out, 4, nulls);
    buf_append_text(out, ",\"own\":");
    append_random(out, 2, nulls);
    buf_append_text(out, "}");
    buf_append_char(out, '\0');
}

/* A patch applied twice gives what it gave once, and any patch leaves JSON. */
START_TEST(any_patch_leaves_json_and_says_the_same_twice)
{
    struct buf body = {0}, patch = {0}, shown = {0};
    struct fixture once = {0}, twice = {0};
    for (int i = 0; i < 1000; i++) {
        random_body(&body, false);
        random_body(&patch, true);
        fixture_apply(&f, SESSION_CREATE, 0, body.ptr, NULL, 0);
        ck_assert_int_eq(f.verdict, RECORD_WRITE);
        buf_append_char(&f.result.value, '\0');
        fixture_apply(&once, SESSION_PATCH, 0, patch.ptr, f.result.value.ptr, 1);
        ck_assert_int_eq(once.verdict, RECORD_WRITE);
        buf_clear(&shown);
        session_show(buf_slice(&once.result.value), &shown);
        ck_assert_int_eq(json_validate(buf_slice(&shown), NULL, NULL), STATUS_OK);
        buf_append_char(&once.result.value, '\0');
        fixture_apply(&twice, SESSION_PATCH, 0, patch.ptr, once.result.value.ptr, 1);
        ck_assert_uint_eq(twice.rules.etag(buf_slice(&twice.result.value)),
                          twice.rules.etag(slice_of(once.result.value.ptr)));
    }
    fixture_clear(&once);
    fixture_clear(&twice);
    fixture_clear(&f);
    buf_deinit(&body);
    buf_deinit(&patch);
    buf_deinit(&shown);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tests = test_case(suite, "session", 20);
    tcase_add_loop_test(tests, a_change_writes_this_value_with_this_expiry, 0,
                        sizeof WRITTEN / sizeof *WRITTEN);
    tcase_add_loop_test(tests, nothing_is_written_and_this_is_why, 0, sizeof UNWRITTEN / sizeof *UNWRITTEN);
    tcase_add_test(tests, a_state_moves_only_from_active_or_by_force);
    tcase_add_loop_test(tests, a_body_is_judged, 0, sizeof BODIES / sizeof *BODIES);
    tcase_add_test(tests, a_change_knows_what_the_store_may_do_with_it);
    tcase_add_test(tests, a_session_is_named_by_its_body_or_gets_a_uuid);
    tcase_add_test(tests, an_etag_changes_with_what_is_stated_and_not_with_a_touch);
    tcase_add_test(tests, an_answer_has_all_members_but_writes);
    tcase_add_test(tests, a_state_is_told_of_what_states_one);
    tcase_add_test(tests, a_mebibyte_of_data_keeps_its_bytes);
    tcase_add_test(tests, real_prompts_come_back_as_they_were);
    tcase_add_test(tests, any_patch_leaves_json_and_says_the_same_twice);
    return test_run(suite);
}
