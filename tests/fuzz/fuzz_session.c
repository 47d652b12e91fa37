/* fuzz_session: any bytes as what stands in Redis, any bytes as a request's body, 0x01 (which no JSON holds)
 * between them. Whatever is written is JSON, a touch leaves the ETag, and a PATCH done twice says what it
 * said once. */
#include "domain/session.h"
#include "util/json_edit.h"

#include <stdlib.h>

#define MUST(fact)                                                                                           \
    do {                                                                                                     \
        if (!(fact)) abort();                                                                                \
    } while (0)

static const struct session_options options = {.ttl_s = 7200};
static const int64_t stamp_ms = INT64_C(1767323045678);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_object(struct slice text)
{
    enum json_type type;
    return json_validate(text, &type, NULL) == STATUS_OK && type == JSON_OBJECT;
}

static enum record_verdict apply(const struct record_rules *rules, const struct record_change *change,
                                 struct slice value, struct record_result *out)
{
    struct record_version current = {.value = value, .expires_ms = 1};
    *out = (struct record_result){.status = STATUS_OK};
    enum record_verdict verdict = rules->apply(rules, change, &current, out);
    if (verdict == RECORD_WRITE) MUST(is_object(buf_slice(&out->value)) && out->expires_ms >= 0);
    if (verdict == RECORD_REFUSE) MUST(out->status != STATUS_OK);
    return verdict;
}

static void check_shown(const struct record_rules *rules, struct slice value)
{
    enum session_state state;
    struct buf shown = {0};
    MUST(rules->etag(value) != 0);
    (void)session_state_of(value, &state);
    session_show(value, &shown);
    MUST(json_validate(buf_slice(&shown), NULL, NULL) == STATUS_OK);
    if (is_object(value)) MUST(json_member(buf_slice(&shown), "writes").ptr == NULL);
    buf_deinit(&shown);
}

static void check_merge(const struct record_rules *rules, const struct record_change *change,
                        struct slice value, bool same)
{
    struct record_entry entry = {change, same ? rules->etag(value) : 1, SLICE_LITERAL("{}"), 0};
    struct record_version current = {.value = value, .expires_ms = 1};
    struct record_result result = {.status = STATUS_OK};
    enum record_verdict verdict = rules->merge(rules, &entry, &current, stamp_ms + 1000, &result);
    if (!is_object(value)) MUST(verdict == RECORD_REFUSE && result.status == STATUS_FOREIGN_VALUE);
    if (verdict == RECORD_WRITE) MUST(is_object(buf_slice(&result.value)));
    buf_deinit(&result.value);
}

static void check_change(const struct record_rules *rules, const struct record_change *change,
                         struct slice value)
{
    struct record_result once, twice;
    enum record_verdict verdict = apply(rules, change, value, &once);
    if (!is_object(value)) MUST(verdict == RECORD_REFUSE && once.status == STATUS_FOREIGN_VALUE);
    if (verdict == RECORD_WRITE) {
        uint64_t etag = rules->etag(buf_slice(&once.value));
        if (change->op == SESSION_TOUCH) MUST(etag == rules->etag(value));
        bool again = apply(rules, change, buf_slice(&once.value), &twice) == RECORD_WRITE;
        if (again && change->op == SESSION_PATCH) MUST(rules->etag(buf_slice(&twice.value)) == etag);
        buf_deinit(&twice.value);
    }
    buf_deinit(&once.value);
    check_merge(rules, change, value, true);
    check_merge(rules, change, value, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *mark = size > 0 ? memchr(data, 1, size) : NULL;
    if (mark == NULL) return 0;
    struct slice value = {(const char *)data, (size_t)(mark - data)};
    struct slice body = {(const char *)mark + 1, size - value.len - 1};
    struct record_rules rules;
    session_rules(&options, &rules);
    check_shown(&rules, value);
    for (int op = SESSION_READ; op <= SESSION_DELETE; op++) {
        struct record_change change;
        struct json_error error;
        char scratch[ID_LEN_MAX];
        enum status status = session_change((enum session_op)op, 0, SLICE_LITERAL("s"), body, stamp_ms,
                                            scratch, &change, &error);
        MUST(status == STATUS_OK || memchr(error.detail, '\0', sizeof error.detail) != NULL);
        if (status != STATUS_OK) continue;
        change.stamp_ms = stamp_ms;
        memcpy(change.change_id, "0192f0c0-0000-7000-8000-000000000001", UUID_SIZE);
        check_change(&rules, &change, value);
    }
    return 0;
}
