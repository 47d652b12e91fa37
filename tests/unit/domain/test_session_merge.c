/* test_session_merge: a change accepted without Redis meets what Redis has, each rule by its text. */
#include "session_fixture.h"

#include <stdlib.h>

static struct fixture f;

static const int64_t now = STAMP_MS + 3600000;

/* What the change was computed from. */
enum base { ABSENT, SAME, OTHER };

struct meeting {
    enum session_op op;
    unsigned flags;
    const char *body;
    enum base base;
    const char *current; /* NULL: absent */
    int64_t expires_ms, deleted_ms;
    const char *copy;
    int64_t copy_expires_ms;
    enum record_verdict verdict;
    bool conflict;
    const char *expected;
    int64_t expected_expires_ms;
};

#define PLAIN(state, updated)                                                                                \
    "{\"state\":\"" state "\",\"last_accessed\":" OLD ",\"updated_at\":" updated ",\"writes\":[]}"
#define PUT_OF(state, accessed, updated)                                                                     \
    "{\"correlation_id\":\"" ID "\",\"created_at\":" NOW ",\"last_accessed\":" accessed                      \
    ",\"updated_at\":" updated ",\"plan_id\":null,\"task_id\":null,\"state\":\"" state                       \
    "\",\"x\":1,\"writes\":" WRITES "}"
#define PATCHED(state, accessed, updated)                                                                    \
    "{\"state\":\"" state "\",\"last_accessed\":" accessed ",\"updated_at\":" updated ",\"writes\":" WRITES  \
    ",\"x\":1}"

static const struct meeting MEETINGS[] = {
    /* the base still holds: applied as it was */
    {SESSION_PATCH, 0, "{\"x\":1}", SAME, PLAIN("Active", OLD), 1, 0, "{}", 0, RECORD_WRITE, false,
     PATCHED("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1}", SAME, PLAIN("Active", OLD), 0, 0, "{}", 0, RECORD_WRITE, false,
     PATCHED("Active", NOW, NOW), 0},
    {SESSION_PATCH, 0, "{\"x\":1}", SAME, PLAIN("Active", OLD), STAMP_MS + TTL_MS + 5, 0, "{}", 0,
     RECORD_WRITE, false, PATCHED("Active", NOW, NOW), STAMP_MS + TTL_MS + 5},
    {SESSION_PATCH, 0, "{\"ttl\":4000}", SAME,
     "{\"last_accessed\":" LATER ",\"updated_at\":" OLD ",\"writes\":[]}", LATER_MS + TTL_MS, 0, "{}", 0,
     RECORD_WRITE, false,
     "{\"last_accessed\":" LATER ",\"updated_at\":" NOW ",\"writes\":" WRITES ",\"ttl\":4000}",
     LATER_MS + 4000000},
    {SESSION_PATCH, 0, "{}", SAME,
     "{\"last_accessed\":\"2027-01-01T00:00:00Z\",\"updated_at\":" OLD ",\"writes\":[]}", 1, 0, "{}", 0,
     RECORD_WRITE, false, "{\"last_accessed\":" NOW ",\"updated_at\":" NOW ",\"writes\":" WRITES "}",
     STAMP_MS + TTL_MS},
    {SESSION_PUT, 0, "{\"x\":1}", SAME, PLAIN("Active", LATER), 1, 0, "{}", 0, RECORD_WRITE, false,
     PUT_OF("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PUT, SESSION_FORCE, "{\"x\":1}", SAME, PLAIN("Failed", OLD), 1, 0, "{}", 0, RECORD_WRITE, false,
     PUT_OF("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_DELETE, 0, NULL, SAME, PLAIN("Active", LATER), 1, 0, NULL, 0, RECORD_DELETE, false, NULL, 0},

    /* it does not: PATCH is applied again */
    {SESSION_PATCH, 0, "{\"x\":1}", OTHER, PLAIN("Active", OLD), 1, 0, "{}", 0, RECORD_WRITE, true,
     PATCHED("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1}", OTHER, PLAIN("Active", LATER), 1, 0, "{}", 0, RECORD_WRITE, true,
     PATCHED("Active", NOW, LATER), STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1,\"created_at\":" OLD ",\"updated_at\":" OLD "}", OTHER,
     PLAIN("Active", LATER), 1, 0, "{}", 0, RECORD_WRITE, true, PATCHED("Active", NOW, LATER),
     STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1,\"state\":\"Active\"}", OTHER, PLAIN("Completed", OLD), 1, 0, "{}", 0,
     RECORD_WRITE, true, PATCHED("Completed", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1,\"state\":\"Failed\"}", OTHER, PLAIN("Completed", OLD), 1, 0, "{}", 0,
     RECORD_WRITE, true, PATCHED("Completed", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PATCH, 0, "{\"x\":1,\"state\":\"Failed\"}", OTHER, PLAIN("Active", OLD), 1, 0, "{}", 0,
     RECORD_WRITE, true, PATCHED("Failed", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PATCH, SESSION_FORCE, "{\"x\":1,\"state\":\"Active\"}", OTHER, PLAIN("Completed", OLD), 1, 0,
     "{}", 0, RECORD_WRITE, true, PATCHED("Active", NOW, NOW), STAMP_MS + TTL_MS},

    /* PUT wins when later */
    {SESSION_PUT, 0, "{\"x\":1}", OTHER, PLAIN("Active", OLD), 1, 0, "{}", 0, RECORD_WRITE, true,
     PUT_OF("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PUT, 0, "{\"x\":1}", ABSENT, PLAIN("Active", OLD), 1, 0, "{}", 0, RECORD_WRITE, true,
     PUT_OF("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PUT, 0, "{\"x\":1}", OTHER, "{}", 1, 0, "{}", 0, RECORD_WRITE, true, PUT_OF("Active", NOW, NOW),
     STAMP_MS + TTL_MS},
    {SESSION_PUT, 0, "{\"x\":1}", OTHER, PLAIN("Failed", OLD), 1, 0, "{}", 0, RECORD_WRITE, true,
     PUT_OF("Failed", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PUT, SESSION_FORCE, "{\"x\":1}", OTHER, PLAIN("Failed", OLD), 1, 0, "{}", 0, RECORD_WRITE, true,
     PUT_OF("Active", NOW, NOW), STAMP_MS + TTL_MS},
    {SESSION_PUT, 0, "{\"x\":1}", OTHER, PLAIN("Active", NOW), 1, 0, "{}", 0, RECORD_KEEP, true, NULL, 0},
    {SESSION_PUT, 0, "{\"x\":1}", OTHER, PLAIN("Active", LATER), 1, 0, "{}", 0, RECORD_KEEP, true, NULL, 0},

    /* CREATE never replaces */
    {SESSION_CREATE, 0, "{}", ABSENT, "{}", 1, 0, "{}", 0, RECORD_KEEP, true, NULL, 0},

    /* DELETE */
    {SESSION_DELETE, 0, NULL, OTHER, PLAIN("Active", OLD), 1, 0, NULL, 0, RECORD_DELETE, false, NULL, 0},
    {SESSION_DELETE, 0, NULL, OTHER, "{}", 1, 0, NULL, 0, RECORD_DELETE, false, NULL, 0},
    {SESSION_DELETE, 0, NULL, OTHER, PLAIN("Active", LATER), 1, 0, NULL, 0, RECORD_KEEP, true, NULL, 0},
    {SESSION_DELETE, 0, NULL, ABSENT, PLAIN("Active", LATER), 1, 0, NULL, 0, RECORD_KEEP, true, NULL, 0},
    {SESSION_DELETE, 0, NULL, OTHER, NULL, 0, 0, NULL, 0, RECORD_DELETE, false, NULL, 0},
    {SESSION_DELETE, 0, NULL, OTHER, NULL, 0, LATER_MS, NULL, 0, RECORD_DELETE, false, NULL, 0},

    /* TOUCH decides nothing */
    {SESSION_TOUCH, 0, NULL, OTHER, "{\"x\": 1.0, \"last_accessed\": " OLD "}", 1, 0, "{}", 0, RECORD_WRITE,
     false, "{\"x\": 1.0, \"last_accessed\": " NOW "}", STAMP_MS + TTL_MS},
    {SESSION_TOUCH, 0, NULL, SAME, "{\"last_accessed\":" OLD "}", STAMP_MS + TTL_MS + 9, 0, "{}", 0,
     RECORD_WRITE, false, "{\"last_accessed\":" NOW "}", STAMP_MS + TTL_MS + 9},
    {SESSION_TOUCH, 0, NULL, SAME, "{\"last_accessed\":" OLD "}", 0, 0, "{}", 0, RECORD_WRITE, false,
     "{\"last_accessed\":" NOW "}", 0},
    {SESSION_TOUCH, 0, NULL, SAME, "{\"last_accessed\":\"2026-01-02T04:00:00.123456789Z\"}", 1, 0, "{}", 0,
     RECORD_WRITE, false, "{\"last_accessed\":\"2026-01-02T04:00:00.123456789Z\"}", STAMP_MS + TTL_MS},
    {SESSION_TOUCH, 0, NULL, SAME, "{\"last_accessed\":" LATER "}", LATER_MS + TTL_MS, 0, "{}", 0,
     RECORD_KEEP, false, NULL, 0},
    {SESSION_TOUCH, 0, NULL, OTHER, NULL, 0, 5, "{\"c\":1}", now + 1, RECORD_KEEP, false, NULL, 0},
    {SESSION_TOUCH, 0, NULL, OTHER, NULL, 0, 0, "{\"c\":1}", now + 1, RECORD_WRITE, false, "{\"c\":1}",
     now + 1},
    {SESSION_TOUCH, 0, NULL, OTHER, NULL, 0, 0, "{\"c\":1}", now, RECORD_KEEP, false, NULL, 0},

    /* absent, known to have been deleted */
    {SESSION_PATCH, 0, "{}", OTHER, NULL, 0, OLD_MS, "{\"c\":1}", 0, RECORD_KEEP, true, NULL, 0},
    {SESSION_CREATE, 0, "{}", ABSENT, NULL, 0, OLD_MS, "{\"c\":1}", now + 1, RECORD_WRITE, false, "{\"c\":1}",
     now + 1},
    {SESSION_CREATE, 0, "{}", ABSENT, NULL, 0, STAMP_MS, "{\"c\":1}", now + 1, RECORD_KEEP, true, NULL, 0},
    {SESSION_PUT, 0, "{}", OTHER, NULL, 0, OLD_MS, "{\"c\":1}", now + 1, RECORD_WRITE, true, "{\"c\":1}",
     now + 1},
    {SESSION_PUT, 0, "{}", OTHER, NULL, 0, LATER_MS, "{\"c\":1}", now + 1, RECORD_KEEP, true, NULL, 0},
    {SESSION_PUT, 0, "{}", ABSENT, NULL, 0, OLD_MS, "{\"c\":1}", now, RECORD_KEEP, false, NULL, 0},

    /* absent, not known why */
    {SESSION_CREATE, 0, "{}", ABSENT, NULL, 0, 0, "{\"c\":1}", now + 1, RECORD_WRITE, false, "{\"c\":1}",
     now + 1},
    {SESSION_PATCH, 0, "{}", OTHER, NULL, 0, 0, "{\"c\":1}", now + 1, RECORD_WRITE, true, "{\"c\":1}",
     now + 1},
    {SESSION_PATCH, 0, "{}", OTHER, NULL, 0, 0, "{\"c\":1}", 0, RECORD_WRITE, true, "{\"c\":1}", 0},
    {SESSION_PATCH, 0, "{}", OTHER, NULL, 0, 0, "{\"c\":1}", now, RECORD_KEEP, false, NULL, 0},
    {SESSION_PUT, 0, "{}", ABSENT, NULL, 0, 0, "{\"c\":1}", 0, RECORD_WRITE, false, "{\"c\":1}", 0},
    {SESSION_PUT, 0, "{}", OTHER, NULL, 0, 0, NULL, 0, RECORD_KEEP, false, NULL, 0},
};

static void meet(const struct meeting *m)
{
    fixture_clear(&f);
    struct record_change change = fixture_change(m->op, m->flags, m->body);
    struct record_version current = {text_or_none(m->current), m->expires_ms, m->deleted_ms};
    uint64_t base = m->base == ABSENT ? 0 : 12345;
    if (m->base == SAME) base = f.rules.etag(current.value);
    struct record_entry entry = {&change, base, text_or_none(m->copy), m->copy_expires_ms};
    f.verdict = f.rules.merge(&f.rules, &entry, &current, now, &f.result);
}

START_TEST(a_change_that_comes_back_meets_what_redis_has)
{
    const struct meeting *m = &MEETINGS[_i];
    meet(m);
    ck_assert_int_eq(f.verdict, m->verdict);
    ck_assert_int_eq(f.result.conflict, m->conflict);
    ck_assert_int_eq(f.result.status, STATUS_OK);
    if (m->expected != NULL) expect_value(&f, m->expected);
    ck_assert_int_eq(f.result.expires_ms, m->expected_expires_ms);
    fixture_clear(&f);
}
END_TEST

START_TEST(what_is_no_object_is_left_alone)
{
    static const char *const foreign[] = {"", "[]", "\"text\"", "{\"a\"", "\xff"};
    for (int op = SESSION_TOUCH; op <= SESSION_DELETE; op++) {
        for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
            struct meeting m = {
                .op = (enum session_op)op, .body = "{}", .base = OTHER, .current = foreign[i]};
            meet(&m);
            ck_assert_int_eq(f.verdict, RECORD_REFUSE);
            ck_assert_int_eq(f.result.status, STATUS_FOREIGN_VALUE);
        }
    }
    fixture_clear(&f);
}
END_TEST

/* Entries of one session come back one by one, each on the base that the one before made. */
START_TEST(a_chain_of_changes_comes_back_without_conflicts)
{
    static const char start[] = PLAIN("Active", OLD);
    static const struct {
        enum session_op op;
        const char *body;
    } steps[] = {{SESSION_PATCH, "{\"data\":{\"a\":1}}"},
                 {SESSION_PATCH, "{\"data\":{\"b\":2},\"plan_id\":\"p\"}"},
                 {SESSION_PUT, "{\"data\":3}"},
                 {SESSION_PATCH, "{\"state\":\"Completed\"}"}};
    struct fixture local = {0};
    char *here = must_copy(start, sizeof start - 1), *redis = must_copy(start, sizeof start - 1);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        fixture_apply(&local, steps[i].op, 0, steps[i].body, here, 1);
        ck_assert_int_eq(local.verdict, RECORD_WRITE);
        struct record_change change = fixture_change(steps[i].op, 0, steps[i].body);
        struct record_entry entry = {&change, local.rules.etag(slice_of(here)),
                                     buf_slice(&local.result.value), local.result.expires_ms};
        struct record_version current = {.value = slice_of(redis), .expires_ms = 1};
        fixture_clear(&f);
        f.verdict = f.rules.merge(&f.rules, &entry, &current, now, &f.result);
        buf_append_char(&local.result.value, '\0');
        expect_value(&f, local.result.value.ptr);
        ck_assert(!f.result.conflict);
        ck_assert_int_eq(f.result.expires_ms, local.result.expires_ms);
        free(here);
        free(redis);
        here = must_copy(local.result.value.ptr, local.result.value.len - 1);
        redis = must_copy(f.result.value.ptr, f.result.value.len);
    }
    free(here);
    free(redis);
    fixture_clear(&local);
    fixture_clear(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_merge");
    TCase *tests = test_case(suite, "session_merge", 20);
    tcase_add_loop_test(tests, a_change_that_comes_back_meets_what_redis_has, 0,
                        sizeof MEETINGS / sizeof *MEETINGS);
    tcase_add_test(tests, what_is_no_object_is_left_alone);
    tcase_add_test(tests, a_chain_of_changes_comes_back_without_conflicts);
    return test_run(suite);
}
