/* session: what becomes of a session's value. A PUT and a CREATE write it anew, a PATCH and a touch edit the
 * text that is there. The states:
 *
 *            +--> Completed
 *   Active --+                 each again is fine; out of the right column only by force
 *            +--> Failed
 *
 * The ETag is made of the members' own hashes, so that it depends neither on blanks between them nor on where
 * last_accessed and writes stand. */
#include "session_private.h"

#include "state/record_value.h"
#include "util/etag.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>

/* From, to. */
static const bool legal[SESSION_STATE_COUNT][SESSION_STATE_COUNT] = {
    [SESSION_ACTIVE] = {true, true, true},
    [SESSION_COMPLETED] = {[SESSION_COMPLETED] = true},
    [SESSION_FAILED] = {[SESSION_FAILED] = true},
};

enum { TOUCH_MS = 1000 }; /* touches that follow within are one */

enum record_verdict session_refuse(struct record_result *out, enum status status, const char *detail)
{
    out->status = status;
    snprintf(out->detail, sizeof out->detail, "%s", detail);
    return RECORD_REFUSE;
}

/* --- what a body may ask of this value --- */

static bool same_time(struct slice given, struct slice have)
{
    int64_t given_ms;
    int64_t have_ms;
    if (given.ptr == NULL || have.ptr == NULL) return given.ptr == have.ptr;
    if (slice_equal(given, have)) return true;
    return session_time_read(given, &given_ms) && session_time_read(have, &have_ms) && given_ms == have_ms;
}

/* A PUT may carry what a GET showed, times and all: those it has no say in are not looked at. */
static enum record_verdict check_times(const struct session_step *step, const struct session_body *body,
                                       struct record_result *out)
{
    static const enum session_member times[] = {MEMBER_CREATED_AT, MEMBER_LAST_ACCESSED, MEMBER_UPDATED_AT};
    if (step->change->op == SESSION_PUT) return RECORD_WRITE;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        const struct json_field *given = &body->member[times[i]];
        bool removes = given->type == JSON_NULL && step->change->op == SESSION_PATCH;
        if (given->type != JSON_STRING && !removes) continue;
        if (same_time(removes ? SLICE_NONE : given->raw, step->have.member[times[i]])) continue;
        char detail[96];
        snprintf(detail, sizeof detail, "member \"%s\" is kept by the daemon and cannot be changed",
                 given->name);
        return session_refuse(out, STATUS_INVALID_ARGUMENT, detail);
    }
    return RECORD_WRITE;
}

/* Whether the value may get the body's state. A value without a legal one counts as Active. */
static bool state_allowed(const struct session_step *step, const struct session_body *body)
{
    enum session_state from = SESSION_ACTIVE;
    if (step->current.ptr == NULL || (step->change->flags & SESSION_FORCE) != 0) return true;
    if (step->change->op == SESSION_PATCH && !body->has_state) return true;
    (void)session_state_read(step->have.member[MEMBER_STATE], &from);
    return legal[from][body->state];
}

/* --- writing --- */

static void append_member(struct buf *out, const char *name, struct slice raw)
{
    buf_append_text(out, ",\"");
    buf_append_text(out, name);
    buf_append_text(out, "\":");
    buf_append_slice(out, raw);
}

static struct slice given_or(const struct json_field *field, struct slice otherwise)
{
    return field->type == JSON_ABSENT || field->type == JSON_NULL ? otherwise : field->raw;
}

static void append_unknown(const struct session_body *body, struct slice text, struct buf *out)
{
    struct slice name;
    struct slice raw;
    while (json_member_next(&text, &name, &raw)) {
        bool known = false;
        for (int i = 0; i < MEMBER_COUNT && !known; i++)
            known = body->member[i].raw.ptr == raw.ptr;
        if (known) continue;
        buf_append_char(out, ',');
        buf_append_slice(out, name);
        buf_append_char(out, ':');
        buf_append_slice(out, raw);
    }
}

/* The value as the body has it; created_at and writes are what there is. */
static void write_anew(const struct session_step *step, const struct session_body *body, bool keep_state,
                       struct slice accessed, struct slice updated, struct buf *out)
{
    static const struct slice null = {"null", 4};
    const struct json_field *given = body->member;
    const struct slice *have = step->have.member;
    char stamp[QUOTED_TIME_SIZE];
    char state[16];
    snprintf(state, sizeof state, "\"%s\"", session_state_names[body->state]);
    struct slice created = have[MEMBER_CREATED_AT];
    if (created.ptr == NULL) created = session_time_write(step->change->stamp_ms, stamp);

    buf_append_text(out, "{\"correlation_id\":");
    json_append_string(out, step->change->id);
    append_member(out, session_member_names[MEMBER_CREATED_AT], created);
    append_member(out, session_member_names[MEMBER_LAST_ACCESSED], accessed);
    append_member(out, session_member_names[MEMBER_UPDATED_AT], updated);
    append_member(out, session_member_names[MEMBER_PLAN_ID], given_or(&given[MEMBER_PLAN_ID], null));
    append_member(out, session_member_names[MEMBER_TASK_ID], given_or(&given[MEMBER_TASK_ID], null));
    append_member(out, session_member_names[MEMBER_STATE], keep_state ? have[MEMBER_STATE] : slice_of(state));
    for (int i = MEMBER_DATA; i <= MEMBER_TTL; i++) {
        struct slice raw = given_or(&given[i], SLICE_NONE);
        if (raw.ptr != NULL) append_member(out, session_member_names[i], raw);
    }
    append_unknown(body, step->change->body, out);
    append_member(out, session_member_names[MEMBER_WRITES], SLICE_LITERAL(""));
    record_value_writes(have[MEMBER_WRITES], slice_of(step->change->change_id), out);
    buf_append_char(out, '}');
}

/* The value with the body merged into it. */
static enum status write_patched(const struct session_step *step, bool keep_state, struct slice accessed,
                                 struct slice updated, struct buf *out, struct json_error *error)
{
    /* These have been compared; their bytes stay. The last one goes only where the state may not change. */
    struct json_edit kept[] = {{.name = session_member_names[MEMBER_CORRELATION_ID]},
                               {.name = session_member_names[MEMBER_CREATED_AT]},
                               {.name = session_member_names[MEMBER_LAST_ACCESSED]},
                               {.name = session_member_names[MEMBER_UPDATED_AT]},
                               {.name = session_member_names[MEMBER_STATE]}};
    struct buf patch = {0}, merged = {0}, writes = {0};
    enum status status = json_object_edit(step->change->body, kept, keep_state ? 5 : 4, &patch);
    if (status == STATUS_OK) status = json_merge_patch(step->current, buf_slice(&patch), &merged, error);
    record_value_writes(step->have.member[MEMBER_WRITES], slice_of(step->change->change_id), &writes);
    if (status == STATUS_OK && writes.failed) status = STATUS_OVERLOADED;
    if (status == STATUS_OK) {
        struct json_edit edits[] = {{session_member_names[MEMBER_LAST_ACCESSED], accessed},
                                    {session_member_names[MEMBER_UPDATED_AT], updated},
                                    {session_member_names[MEMBER_WRITES], buf_slice(&writes)}};
        status = json_object_edit(buf_slice(&merged), edits, 3, out);
    }
    buf_deinit(&patch);
    buf_deinit(&merged);
    buf_deinit(&writes);
    return status;
}

/* A PATCH that says nothing of the ttl gives no expiry to what has none. */
static int64_t expiry_of(const struct session_step *step, const struct session_body *body)
{
    const struct json_field *given = &body->member[MEMBER_TTL];
    if (step->change->op != SESSION_PATCH || given->type != JSON_ABSENT)
        return step->accessed_ms + session_ttl_ms(step->options, given_or(given, SLICE_NONE));
    if (step->expires_ms == 0) return 0;
    int64_t slid = step->accessed_ms + session_ttl_ms(step->options, step->have.member[MEMBER_TTL]);
    return step->lenient && step->expires_ms > slid ? step->expires_ms : slid;
}

enum record_verdict session_step_write(const struct session_step *step, struct record_result *out)
{
    struct session_body body;
    struct json_error error = {""};
    char accessed_text[QUOTED_TIME_SIZE];
    char updated_text[QUOTED_TIME_SIZE];
    const struct record_change *change = step->change;
    enum status status =
        session_body_read((enum session_op)change->op, change->id, change->body, &body, &error);
    if (status != STATUS_OK) return session_refuse(out, status, error.detail);
    if (!step->lenient && check_times(step, &body, out) == RECORD_REFUSE) return RECORD_REFUSE;
    bool allowed = state_allowed(step, &body);
    if (!allowed && !step->lenient)
        return session_refuse(out, STATUS_INVALID_TRANSITION,
                              "the session has ended; ?force=true changes its state nevertheless");
    struct slice accessed = session_time_write(step->accessed_ms, accessed_text);
    struct slice updated = session_time_write(step->updated_ms, updated_text);
    if (change->op == SESSION_PATCH)
        status = write_patched(step, !allowed, accessed, updated, &out->value, &error);
    else
        write_anew(step, &body, !allowed, accessed, updated, &out->value);
    if (status == STATUS_OK && out->value.failed) status = STATUS_OVERLOADED;
    if (status != STATUS_OK) return session_refuse(out, status, error.detail);
    out->expires_ms = expiry_of(step, &body);
    return RECORD_WRITE;
}

enum record_verdict session_step_touch(const struct session_step *step, int64_t expires_ms,
                                       struct record_result *out)
{
    char accessed[QUOTED_TIME_SIZE];
    struct json_edit edit = {session_member_names[MEMBER_LAST_ACCESSED],
                             session_time_write(step->accessed_ms, accessed)};
    if (json_object_edit(step->current, &edit, 1, &out->value) != STATUS_OK)
        return session_refuse(out, STATUS_OVERLOADED, "");
    out->expires_ms = expires_ms;
    return RECORD_WRITE;
}

/* --- the rules --- */

static enum record_verdict touch(const struct session_step *step, struct record_result *out)
{
    int64_t last_ms;
    int64_t stamp_ms = step->change->stamp_ms;
    if (session_time_read(step->have.member[MEMBER_LAST_ACCESSED], &last_ms) &&
        stamp_ms - last_ms < TOUCH_MS && last_ms - stamp_ms < TOUCH_MS)
        return RECORD_KEEP;
    int64_t ttl_ms = session_ttl_ms(step->options, step->have.member[MEMBER_TTL]);
    return session_step_touch(step, step->expires_ms == 0 ? 0 : stamp_ms + ttl_ms, out);
}

static enum record_verdict session_apply(const struct record_rules *rules, const struct record_change *change,
                                         const struct record_version *current, struct record_result *out)
{
    struct session_step step = {.options = rules->options,
                                .change = change,
                                .current = current->value,
                                .expires_ms = current->expires_ms,
                                .accessed_ms = change->stamp_ms,
                                .updated_ms = change->stamp_ms};
    bool present = current->value.ptr != NULL;
    if (present && !session_value_read(current->value, &step.have))
        return session_refuse(out, STATUS_FOREIGN_VALUE, "there is no JSON object under this key");
    switch ((enum session_op)change->op) {
    case SESSION_READ:
        return RECORD_KEEP;
    case SESSION_TOUCH:
        return present ? touch(&step, out) : RECORD_KEEP;
    case SESSION_CREATE:
        if (present) return session_refuse(out, STATUS_ALREADY_EXISTS, "there is a session of this id");
        return session_step_write(&step, out);
    case SESSION_PUT:
        return session_step_write(&step, out);
    case SESSION_PATCH:
        if (!present) return session_refuse(out, STATUS_NOT_FOUND, "there is no such session");
        return session_step_write(&step, out);
    case SESSION_DELETE:
        return RECORD_DELETE;
    }
    return session_refuse(out, STATUS_INTERNAL, "no such operation");
}

static uint64_t session_etag(struct slice value)
{
    uint64_t chain[3] = {0};
    enum json_type type;
    if (json_validate(value, &type, NULL) != STATUS_OK || type != JSON_OBJECT) {
        chain[0] = etag_of(value);
        return chain[0] != 0 ? chain[0] : 1;
    }
    struct slice name;
    struct slice raw;
    while (json_member_next(&value, &name, &raw)) {
        if (json_name_is(name, session_member_names[MEMBER_LAST_ACCESSED]) ||
            json_name_is(name, session_member_names[MEMBER_WRITES]))
            continue;
        chain[1] = htole64(etag_of(name));
        chain[2] = htole64(etag_of(raw));
        chain[0] = htole64(etag_of((struct slice){(const char *)chain, sizeof chain}));
    }
    return chain[0] != 0 ? le64toh(chain[0]) : 1;
}

void session_rules(const struct session_options *options, struct record_rules *out)
{
    *out = (struct record_rules){.name = "session",
                                 .options = options,
                                 .apply = session_apply,
                                 .merge = session_merge,
                                 .etag = session_etag};
}

/* --- requests and answers --- */

enum status session_change(enum session_op op, unsigned flags, struct slice id, struct slice body,
                           int64_t now_ms, char id_scratch[ID_LEN_MAX], struct record_change *out,
                           struct json_error *out_error)
{
    static const unsigned traits[] = {
        [SESSION_READ] = RECORD_READS | RECORD_NEEDS_COPY,
        [SESSION_TOUCH] = RECORD_OPTIONAL | RECORD_MERGES | RECORD_NEEDS_COPY,
        [SESSION_CREATE] = 0,
        [SESSION_PUT] = RECORD_NEEDS_COPY,
        [SESSION_PATCH] = RECORD_NEEDS_COPY,
        [SESSION_DELETE] = 0,
    };
    assert(id.ptr != NULL || op == SESSION_CREATE);
    struct record_change change = {.op = op, .flags = flags, .traits = traits[op], .id = id};
    if (op == SESSION_CREATE || op == SESSION_PUT || op == SESSION_PATCH) {
        struct session_body read;
        enum status status = session_body_read(op, id, body, &read, out_error);
        if (status != STATUS_OK) return status;
        change.body = body;
        if (id.ptr == NULL && read.id_len > 0) {
            memcpy(id_scratch, read.id, read.id_len);
            change.id = (struct slice){id_scratch, read.id_len};
        } else if (id.ptr == NULL) {
            char uuid[UUID_SIZE];
            uuid_v7(now_ms, uuid);
            memcpy(id_scratch, uuid, UUID_SIZE - 1);
            change.id = (struct slice){id_scratch, UUID_SIZE - 1};
        }
    }
    *out = change;
    return STATUS_OK;
}

void session_show(struct slice value, struct buf *out)
{
    static const struct slice null = {"null", 4};
    struct json_edit edits[3] = {{.name = session_member_names[MEMBER_WRITES]}};
    size_t count = 1;
    enum json_type type;
    if (json_validate(value, &type, NULL) != STATUS_OK || type != JSON_OBJECT) {
        buf_append_slice(out, null);
        return;
    }
    for (int i = MEMBER_PLAN_ID; i <= MEMBER_TASK_ID; i++)
        if (json_member(value, session_member_names[i]).ptr == NULL)
            edits[count++] = (struct json_edit){session_member_names[i], null};
    if (json_object_edit(value, edits, count, out) != STATUS_OK) out->failed = true;
}
