/* session_fixture: a session's values and changes by their text. The change happens at STAMP_MS, which reads
 * NOW; its id is CHANGE. */
#ifndef TESTS_UNIT_DOMAIN_SESSION_FIXTURE_H
#define TESTS_UNIT_DOMAIN_SESSION_FIXTURE_H

#include "../../support/support.h"
#include "domain/session.h"

#include <string.h>

#define ID     "s-1"
#define NOW    "\"2026-01-02T03:04:05.678Z\""
#define OLD    "\"2026-01-01T00:00:00.000Z\"" /* STAMP_MS - 97445678 */
#define LATER  "\"2026-01-02T04:00:00.000Z\"" /* STAMP_MS + 3354322 */
#define CHANGE "0192f0c0-0000-7000-8000-000000000001"
#define WRITES "[\"" CHANGE "\"]"

#define STAMP_MS INT64_C(1767323045678)
#define OLD_MS   INT64_C(1767225600000)
#define LATER_MS INT64_C(1767326400000)
#define TTL_MS   INT64_C(7200000)

static const struct session_options fixture_options = {.ttl_s = 7200};

struct fixture {
    struct record_rules rules;
    struct record_result result;
    enum record_verdict verdict;
};

static inline struct slice text_or_none(const char *text)
{
    return text != NULL ? slice_of(text) : SLICE_NONE;
}

static inline struct record_change fixture_change(enum session_op op, unsigned flags, const char *body)
{
    struct record_change change = {.op = op,
                                   .flags = flags,
                                   .id = SLICE_LITERAL(ID),
                                   .body = text_or_none(body),
                                   .change_id = CHANGE,
                                   .stamp_ms = STAMP_MS};
    return change;
}

static inline void fixture_clear(struct fixture *f)
{
    buf_deinit(&f->result.value);
    memset(f, 0, sizeof *f);
    session_rules(&fixture_options, &f->rules);
}

static inline void fixture_apply(struct fixture *f, enum session_op op, unsigned flags, const char *body,
                                 const char *value, int64_t expires_ms)
{
    fixture_clear(f);
    struct record_change change = fixture_change(op, flags, body);
    struct record_version current = {.value = text_or_none(value), .expires_ms = expires_ms};
    f->verdict = f->rules.apply(&f->rules, &change, &current, &f->result);
}

/* The change writes this. */
static inline void expect_value(const struct fixture *f, const char *expected)
{
    struct slice got = buf_slice(&f->result.value);
    ck_assert_msg(f->verdict == RECORD_WRITE, "verdict %d, %s: %s", f->verdict, status_code(f->result.status),
                  f->result.detail);
    ck_assert_msg(slice_equal_text(got, expected), "got\n%.*s\ninstead of\n%s", (int)got.len, got.ptr,
                  expected);
    ck_assert_int_eq(json_validate(got, NULL, NULL), STATUS_OK);
}

#endif
