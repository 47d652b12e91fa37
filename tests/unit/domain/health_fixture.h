/* health_fixture: health's rules applied one change after another to a value, as a store would. */
#ifndef PHOENIX_TESTS_HEALTH_FIXTURE_H
#define PHOENIX_TESTS_HEALTH_FIXTURE_H

#include "../../support/support.h"
#include "domain/health.h"
#include "util/json_edit.h"
#include "util/rfc3339.h"

#include <stdio.h>
#include <string.h>

#define T0 INT64_C(1700000000000) /* 2023-11-14T22:13:20Z */

static const struct health_options OPTIONS = {
    .failure_threshold = 3, .open_base_ms = 1000, .open_max_ms = 60000, .probes = 2, .probe_ttl_ms = 30000};
static struct record_rules rules;
static struct json_error error;

/* A change of agent "a" that a request makes, accepted at that time. */
static inline struct record_change change_at(enum health_op op, const char *body, int64_t stamp_ms,
                                             unsigned number)
{
    struct record_change change;
    struct slice text = body ? slice_of(body) : SLICE_NONE;
    health_rules(&OPTIONS, &rules);
    ck_assert_msg(health_change(op, SLICE_LITERAL("a"), text, &change, &error) == STATUS_OK, "%s: %s", body,
                  error.detail);
    change.stamp_ms = stamp_ms;
    snprintf(change.change_id, sizeof change.change_id, "018bcfe5-6800-7000-8000-%012u", number);
    return change;
}

/* Applies it to `value` (which may be empty: absent) and puts what comes of it in its place. */
static inline enum record_verdict apply_to(struct buf *value, const struct record_change *change,
                                           struct record_result *out)
{
    struct record_version current = {.value = value->len ? buf_slice(value) : SLICE_NONE};
    *out = (struct record_result){0};
    enum record_verdict verdict = rules.apply(&rules, change, &current, out);
    if (verdict == RECORD_WRITE) {
        buf_deinit(value);
        *value = out->value;
        out->value = (struct buf){0};
    }
    if (verdict == RECORD_DELETE) buf_deinit(value);
    return verdict;
}

static inline void expect_member(struct slice value, const char *name, const char *expected)
{
    struct slice raw = json_member(value, name);
    if (!raw.ptr) raw = SLICE_LITERAL("absent");
    ck_assert_msg(slice_equal_text(raw, expected), "%s is %.*s, not %s, in %.*s", name, (int)raw.len, raw.ptr,
                  expected, (int)value.len, value.ptr);
}

/* The time of a member; -1: null or absent. */
static inline int64_t time_member(struct slice value, const char *name)
{
    struct slice raw = json_member(value, name);
    int64_t ms = -1;
    if (raw.ptr && raw.ptr[0] == '"') ck_assert(rfc3339_parse(json_string_plain(raw), &ms));
    return ms;
}

static inline int64_t number_member(struct slice value, const char *name)
{
    int64_t number = -1;
    struct slice raw = json_member(value, name);
    ck_assert_ptr_nonnull(raw.ptr);
    ck_assert_int_eq(json_int(raw, name, 0, INT64_MAX, &number, NULL), STATUS_OK);
    return number;
}

#endif
