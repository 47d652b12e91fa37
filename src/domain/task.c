/* task: one task, as callers and foreign producers write it. */
#include "domain/task.h"

#include "util/json_edit.h"
#include "util/random.h"
#include "util/rfc3339.h"
#include "util/uri.h"

#include "task_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIME_MAX_S = 31536000, NUMBER_MAX = 64, ATTEMPTS_MAX = 1000 };

enum member {
    MEMBER_TASK_ID,
    MEMBER_CORRELATION_ID,
    MEMBER_AGENT,
    MEMBER_PRIORITY,
    MEMBER_CREATED_AT,
    MEMBER_PAYLOAD,
    MEMBER_DELAY,
    MEMBER_TTL,
    MEMBER_MAX_ATTEMPTS,
    MEMBER_COUNT
};

static const struct json_field MEMBERS[MEMBER_COUNT] = {
    [MEMBER_TASK_ID] = {.name = "task_id", .types = JSON_STRING | JSON_NULL},
    [MEMBER_CORRELATION_ID] = {.name = "correlation_id", .types = JSON_STRING | JSON_NULL},
    [MEMBER_AGENT] = {.name = "agent", .types = JSON_STRING | JSON_NULL},
    [MEMBER_PRIORITY] = {.name = "priority", .types = JSON_NUMBER | JSON_NULL},
    [MEMBER_CREATED_AT] = {.name = "created_at", .types = JSON_STRING | JSON_NULL},
    [MEMBER_PAYLOAD] = {.name = "payload", .types = JSON_ANY, .required = true},
    [MEMBER_DELAY] = {.name = "delay", .types = JSON_NUMBER | JSON_NULL},
    [MEMBER_TTL] = {.name = "ttl", .types = JSON_NUMBER | JSON_NULL},
    [MEMBER_MAX_ATTEMPTS] = {.name = "max_attempts", .types = JSON_NUMBER | JSON_NULL},
};

/* --- what all forms read --- */

enum status task_refuse(struct json_error *out_error, const char *name, const char *what)
{
    if (out_error) snprintf(out_error->detail, sizeof out_error->detail, "member \"%s\" %s", name, what);
    return STATUS_INVALID_ARGUMENT;
}

enum status task_seconds(const struct json_field *field, int64_t min_ms, int64_t max_ms, int64_t *out_ms,
                         struct json_error *out_error)
{
    char text[NUMBER_MAX], what[96];
    double ms = NAN;
    if (field->type != JSON_NUMBER) return STATUS_OK;
    if (field->raw.len < sizeof text) {
        memcpy(text, field->raw.ptr, field->raw.len);
        text[field->raw.len] = 0;
        ms = strtod(text, NULL) * 1000;
    }
    if (!(ms >= (double)min_ms && ms <= (double)max_ms)) {
        snprintf(what, sizeof what, "must be between %g and %g", (double)min_ms / 1000,
                 (double)max_ms / 1000);
        return task_refuse(out_error, field->name, what);
    }
    *out_ms = llround(ms);
    return STATUS_OK;
}

static bool is_name(struct slice text)
{
    char scratch[ID_LEN_MAX];
    struct slice same;
    return text.len > 0 && !memchr(text.ptr, '%', text.len) && uri_id(text, scratch, &same);
}

bool task_id_ok(struct slice id)
{
    return is_name(id) && !slice_equal_text(id, "dequeue") && !slice_equal_text(id, "ack");
}

enum status task_name(const char *name, struct slice raw, struct buf *scratch, struct slice *out,
                      struct json_error *out_error)
{
    struct slice text = json_string_plain(raw);
    if (!text.ptr) {
        size_t before = scratch->len;
        enum status status = json_string_decode(raw, name, scratch, out_error);
        if (status != STATUS_OK) return status;
        text = (struct slice){scratch->ptr + before, scratch->len - before};
    }
    if (!is_name(text))
        return task_refuse(out_error, name, "must be 1 to 256 of A-Z a-z 0-9 . _ : @ - and neither . nor ..");
    *out = text;
    return STATUS_OK;
}

size_t task_scratch_bytes(size_t len)
{
    enum { NAMES = 3 * 6 * ID_LEN_MAX, MADE = 512 };
    return len + (len < NAMES ? len : NAMES) + MADE;
}

/* --- a task --- */

static enum status read_names(const struct json_field *fields, struct buf *scratch, struct queue_task *out,
                              struct slice *out_correlation, struct json_error *out_error)
{
    const struct {
        enum member member;
        struct slice *out;
    } names[] = {
        {MEMBER_TASK_ID, &out->id}, {MEMBER_CORRELATION_ID, out_correlation}, {MEMBER_AGENT, &out->agent}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct json_field *f = &fields[names[i].member];
        if (f->type != JSON_STRING) continue;
        enum status status = task_name(f->name, f->raw, scratch, names[i].out, out_error);
        if (status != STATUS_OK) return status;
    }
    if (out->id.ptr && !task_id_ok(out->id))
        return task_refuse(out_error, "task_id", "is a word of a route: dequeue and ack name no task");
    return STATUS_OK;
}

static enum status read_numbers(const struct task_options *options, const struct json_field *fields,
                                struct queue_task *out, struct json_error *out_error)
{
    const struct json_field *p = &fields[MEMBER_PRIORITY], *m = &fields[MEMBER_MAX_ATTEMPTS];
    int64_t priority = 0, attempts = options->max_attempts;
    enum status status = STATUS_OK;
    if (p->type == JSON_NUMBER) status = json_int(p->raw, p->name, 0, 255, &priority, out_error);
    if (status == STATUS_OK && m->type == JSON_NUMBER)
        status = json_int(m->raw, m->name, 1, ATTEMPTS_MAX, &attempts, out_error);
    out->priority = (unsigned)priority;
    out->max_attempts = (unsigned)attempts;
    out->delay_ms = 0;
    out->ttl_ms = options->ttl_s * 1000;
    if (status == STATUS_OK)
        status =
            task_seconds(&fields[MEMBER_DELAY], 0, TIME_MAX_S * INT64_C(1000), &out->delay_ms, out_error);
    if (status == STATUS_OK)
        status = task_seconds(&fields[MEMBER_TTL], 1, TIME_MAX_S * INT64_C(1000), &out->ttl_ms, out_error);
    return status;
}

/* True: the time as it is to be shown stands in `scratch` or in the member itself. */
static bool created_at(const struct json_field *field, int64_t now_ms, struct buf *scratch, struct slice *out)
{
    char text[RFC3339_SIZE];
    int64_t ms;
    struct slice given = field->type == JSON_STRING ? json_string_plain(field->raw) : SLICE_NONE;
    if (field->type == JSON_STRING) {
        *out = field->raw;
        return given.ptr && rfc3339_parse(given, &ms);
    }
    rfc3339_format(now_ms, text);
    size_t before = scratch->len;
    buf_printf(scratch, "\"%s\"", text);
    *out = (struct slice){scratch->ptr + before, scratch->len - before};
    return true;
}

static void put_string(struct buf *out, const char *name, struct slice text)
{
    buf_printf(out, ",\"%s\":", name);
    if (text.ptr) {
        buf_append_char(out, '"'); /* names have nothing to escape */
        buf_append_slice(out, text);
        buf_append_char(out, '"');
    } else {
        buf_append_text(out, "null");
    }
}

enum status task_read(const struct task_options *options, struct slice json, int64_t now_ms,
                      struct buf *scratch, struct queue_task *out, struct json_error *out_error)
{
    struct json_field fields[MEMBER_COUNT];
    struct queue_task task = {0};
    struct slice correlation = SLICE_NONE, created;
    memcpy(fields, MEMBERS, sizeof fields);
    enum status status = json_read_object(json, fields, MEMBER_COUNT, true, out_error);
    if (status == STATUS_OK) status = read_names(fields, scratch, &task, &correlation, out_error);
    if (status == STATUS_OK) status = read_numbers(options, fields, &task, out_error);
    if (status != STATUS_OK) return status;
    if (!created_at(&fields[MEMBER_CREATED_AT], now_ms, scratch, &created))
        return task_refuse(out_error, "created_at", "is no RFC 3339 time");
    if (!task.id.ptr) {
        char id[UUID_SIZE];
        uuid_v7(now_ms, id);
        size_t before = scratch->len;
        buf_append_text(scratch, id);
        task.id = (struct slice){scratch->ptr + before, scratch->len - before};
    }
    size_t begin = scratch->len;
    buf_append_text(scratch, "{\"task_id\":\"");
    buf_append_slice(scratch, task.id);
    buf_append_char(scratch, '"');
    put_string(scratch, "correlation_id", correlation);
    put_string(scratch, "agent", task.agent);
    buf_printf(scratch, ",\"priority\":%u,\"created_at\":", task.priority);
    buf_append_slice(scratch, created);
    buf_append_text(scratch, ",\"payload\":");
    buf_append_slice(scratch, fields[MEMBER_PAYLOAD].raw);
    buf_append_char(scratch, '}');
    if (scratch->failed) return STATUS_OVERLOADED;
    task.body = (struct slice){scratch->ptr + begin, scratch->len - begin};
    *out = task;
    return STATUS_OK;
}

/* --- a foreign item --- */

/* What is shown beside a task must not stand in it twice. */
static const char *const SHOWN[] = {"attempt",    "receipt",  "lease_expires_at",
                                    "state",      "attempts", "max_attempts",
                                    "expires_at", "due_at",   "forgotten_at"};
enum { SHOWN_COUNT = sizeof SHOWN / sizeof SHOWN[0] };

/* Producers that know no null write "". */
static void drop_empty(struct json_field *field)
{
    if (field->type == JSON_STRING && field->raw.len == 2) field->type = JSON_NULL;
}

static bool put_item(struct slice item, struct buf *scratch, struct queue_task *out)
{
    struct json_edit edits[SHOWN_COUNT];
    for (size_t i = 0; i < SHOWN_COUNT; i++)
        edits[i] = (struct json_edit){.name = SHOWN[i], .value = SLICE_NONE};
    size_t begin = scratch->len;
    if (json_object_edit(item, edits, SHOWN_COUNT, scratch) != STATUS_OK || scratch->failed) return false;
    out->body = (struct slice){scratch->ptr + begin, scratch->len - begin};
    return true;
}

bool task_read_item(void *options, struct slice item, int64_t now_ms, struct buf *scratch,
                    struct queue_task *out, char reason[192])
{
    struct json_field fields[MEMBER_COUNT];
    struct json_error error = {""};
    struct slice correlation = SLICE_NONE;
    (void)now_ms;
    memcpy(fields, MEMBERS, sizeof fields);
    fields[MEMBER_TASK_ID].types = JSON_STRING;
    fields[MEMBER_TASK_ID].required = true;
    *out = (struct queue_task){0};
    buf_reserve(scratch, task_scratch_bytes(item.len));
    enum status status = json_read_object(item, fields, MEMBER_COUNT, false, &error);
    if (status == STATUS_OK) {
        drop_empty(&fields[MEMBER_CORRELATION_ID]);
        drop_empty(&fields[MEMBER_AGENT]);
        status = read_names(fields, scratch, out, &correlation, &error);
    }
    if (status == STATUS_OK) status = read_numbers(options, fields, out, &error);
    if (status == STATUS_OK && put_item(item, scratch, out)) return true;
    snprintf(reason, 192, "%s", status == STATUS_OK ? "no memory for it" : error.detail);
    return false;
}

void task_open(struct slice body, struct buf *out)
{
    while (body.len > 0 && body.ptr[body.len - 1] != '}')
        body.len--;
    if (body.len > 0) body.len--;
    size_t before = out->len;
    buf_append_slice(out, slice_trim(body));
    if (!out->failed && out->ptr[out->len - 1] != '{' && out->len > before) buf_append_char(out, ',');
}
