/* session_read: what values and bodies say. A body is judged strictly; a value, which others write too, is
 * taken as far as it can be. */
#include "session_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double ttl_max_s = 31536000;

const char *const session_member_names[MEMBER_COUNT] = {
    [MEMBER_CORRELATION_ID] = "correlation_id",
    [MEMBER_CREATED_AT] = "created_at",
    [MEMBER_LAST_ACCESSED] = "last_accessed",
    [MEMBER_UPDATED_AT] = "updated_at",
    [MEMBER_PLAN_ID] = "plan_id",
    [MEMBER_TASK_ID] = "task_id",
    [MEMBER_STATE] = "state",
    [MEMBER_DATA] = "data",
    [MEMBER_TTL] = "ttl",
    [MEMBER_WRITES] = "writes",
};

const char *const session_state_names[SESSION_STATE_COUNT] = {
    [SESSION_ACTIVE] = "Active", [SESSION_COMPLETED] = "Completed", [SESSION_FAILED] = "Failed"};

static bool is_string(struct slice raw)
{
    return raw.len > 0 && raw.ptr[0] == '"';
}

/* --- single members --- */

/* The text of a raw string; `scratch` is used where it has escapes. ptr NULL: no text. */
static struct slice text_of(struct slice raw, struct buf *scratch)
{
    struct slice plain = json_string_plain(raw);
    if (plain.ptr != NULL) return plain;
    return json_string_decode(raw, "", scratch, NULL) == STATUS_OK ? buf_slice(scratch) : SLICE_NONE;
}

bool session_time_read(struct slice raw, int64_t *out_ms)
{
    if (!is_string(raw)) return false;
    struct buf scratch = {0};
    struct slice text = text_of(raw, &scratch);
    bool read = text.ptr != NULL && rfc3339_parse(text, out_ms);
    buf_deinit(&scratch);
    return read;
}

struct slice session_time_write(int64_t ms, char out[QUOTED_TIME_SIZE])
{
    char text[RFC3339_SIZE];
    rfc3339_format(ms, text);
    int len = snprintf(out, QUOTED_TIME_SIZE, "\"%s\"", text);
    return (struct slice){out, (size_t)len};
}

bool session_state_read(struct slice raw, enum session_state *out)
{
    if (!is_string(raw)) return false;
    for (int state = 0; state < SESSION_STATE_COUNT; state++) {
        if (!json_name_is(raw, session_state_names[state])) continue;
        *out = (enum session_state)state;
        return true;
    }
    return false;
}

/* False: out of range. */
static bool read_ttl(struct slice raw, int64_t *out_ms)
{
    /* What follows a member's number (a comma, a brace, a blank) ends it for strtod too. */
    double seconds = strtod(raw.ptr, NULL);
    if (!(seconds >= 0.001 && seconds <= ttl_max_s)) return false;
    *out_ms = llround(seconds * 1000);
    return true;
}

int64_t session_ttl_ms(const struct session_options *options, struct slice raw)
{
    int64_t ttl_ms = options->ttl_s * 1000;
    bool number = raw.len > 0 && (raw.ptr[0] == '-' || (raw.ptr[0] >= '0' && raw.ptr[0] <= '9'));
    if (number) (void)read_ttl(raw, &ttl_ms);
    return ttl_ms;
}

/* --- values --- */

bool session_value_read(struct slice value, struct session_value *out)
{
    enum json_type type;
    if (json_validate(value, &type, NULL) != STATUS_OK || type != JSON_OBJECT) return false;
    bool seen[MEMBER_COUNT] = {false};
    struct slice name;
    struct slice raw;
    *out = (struct session_value){.member = {SLICE_NONE}};
    while (json_member_next(&value, &name, &raw)) {
        for (int i = 0; i < MEMBER_COUNT; i++) {
            if (seen[i] || !json_name_is(name, session_member_names[i])) continue;
            seen[i] = true;
            if (raw.ptr[0] != 'n') out->member[i] = raw;
            break;
        }
    }
    return true;
}

bool session_state_of(struct slice value, enum session_state *out)
{
    struct session_value have;
    return session_value_read(value, &have) && session_state_read(have.member[MEMBER_STATE], out);
}

/* --- bodies --- */

static enum status invalid(struct json_error *error, const char *name, const char *what)
{
    if (error != NULL) snprintf(error->detail, sizeof error->detail, "member \"%s\" %s", name, what);
    return STATUS_INVALID_ARGUMENT;
}

/* A correlation_id is what a path could name. */
static enum status read_id(struct session_body *body, struct slice id, struct json_error *error)
{
    struct buf scratch = {0};
    const char *name = session_member_names[MEMBER_CORRELATION_ID];
    enum status status = json_string_decode(body->member[MEMBER_CORRELATION_ID].raw, name, &scratch, error);
    struct slice text = buf_slice(&scratch);
    struct slice same = SLICE_NONE;
    if (status == STATUS_OK &&
        (text.len == 0 || memchr(text.ptr, '%', text.len) != NULL || !uri_id(text, body->id, &same)))
        status = invalid(error, name, "must be 1 to 256 of A-Z a-z 0-9 . _ : @ - and neither . nor ..");
    if (status == STATUS_OK && id.ptr != NULL && !slice_equal(text, id))
        status = invalid(error, name, "cannot be changed");
    if (status == STATUS_OK) {
        body->id_len = text.len;
        memcpy(body->id, text.ptr, text.len);
    }
    buf_deinit(&scratch);
    return status;
}

/* The strings that are understood must be text. */
static enum status check_strings(const struct session_body *body, struct json_error *error)
{
    enum status status = STATUS_OK;
    struct buf scratch = {0};
    for (int i = 0; i < MEMBER_DATA && status == STATUS_OK; i++) {
        const struct json_field *field = &body->member[i];
        if (field->type != JSON_STRING || json_string_plain(field->raw).ptr != NULL) continue;
        buf_clear(&scratch);
        status = json_string_decode(field->raw, field->name, &scratch, error);
    }
    buf_deinit(&scratch);
    return status;
}

static enum status check_members(enum session_op op, struct slice id, struct session_body *body,
                                 struct json_error *error)
{
    const struct json_field *member = body->member;
    if (member[MEMBER_WRITES].type != JSON_ABSENT)
        return invalid(error, member[MEMBER_WRITES].name, "is the daemon's own");
    enum status status = check_strings(body, error);
    if (status != STATUS_OK) return status;
    if (member[MEMBER_CORRELATION_ID].type == JSON_STRING) {
        status = read_id(body, id, error);
        if (status != STATUS_OK) return status;
    } else if (op == SESSION_PATCH && member[MEMBER_CORRELATION_ID].type == JSON_NULL) {
        return invalid(error, member[MEMBER_CORRELATION_ID].name, "cannot be removed");
    }
    if (member[MEMBER_STATE].type == JSON_STRING) {
        body->has_state = session_state_read(member[MEMBER_STATE].raw, &body->state);
        if (!body->has_state)
            return invalid(error, member[MEMBER_STATE].name, "must be Active, Completed or Failed");
    } else if (op == SESSION_PATCH && member[MEMBER_STATE].type == JSON_NULL) {
        return invalid(error, member[MEMBER_STATE].name, "cannot be removed");
    }
    int64_t ttl_ms;
    if (member[MEMBER_TTL].type == JSON_NUMBER && !read_ttl(member[MEMBER_TTL].raw, &ttl_ms))
        return invalid(error, member[MEMBER_TTL].name, "must be between 0.001 and 31536000");
    return STATUS_OK;
}

enum status session_body_read(enum session_op op, struct slice id, struct slice body,
                              struct session_body *out, struct json_error *out_error)
{
    *out = (struct session_body){.state = SESSION_ACTIVE};
    for (int i = 0; i < MEMBER_COUNT; i++)
        out->member[i] =
            (struct json_field){.name = session_member_names[i], .types = JSON_STRING | JSON_NULL};
    out->member[MEMBER_DATA].types = JSON_ANY;
    out->member[MEMBER_WRITES].types = JSON_ANY;
    out->member[MEMBER_TTL].types = JSON_NUMBER | JSON_NULL;
    enum status status = json_read_object(body, out->member, MEMBER_COUNT, false, out_error);
    return status == STATUS_OK ? check_members(op, id, out, out_error) : status;
}
