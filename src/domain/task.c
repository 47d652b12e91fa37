/* task: a task's way in. Its text goes into one buffer as it is read (id, agent, body), so places are kept as
 * offsets until the last item was read and the buffer moves no more. */
#include "task_private.h"

#include "util/json_edit.h"
#include "util/random.h"
#include "util/rfc3339.h"
#include "util/uri.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRIORITY_MAX = 255, ATTEMPTS_MAX = 1000 };

/* --- pieces --- */

enum status task_refuse(struct json_error *out_error, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(out_error->detail, sizeof out_error->detail, format, args);
    va_end(args);
    return status;
}

struct slice task_value(const struct json_field *field)
{
    return field->type == JSON_ABSENT || field->type == JSON_NULL ? SLICE_NONE : field->raw;
}

bool task_id_ok(struct slice id)
{
    char scratch[ID_LEN_MAX];
    struct slice same;
    return id.len > 0 && !memchr(id.ptr, '%', id.len) && uri_id(id, scratch, &same) &&
           !slice_equal_text(id, "dequeue") && !slice_equal_text(id, "ack");
}

static bool is_id(struct slice text, bool is_task)
{
    char scratch[ID_LEN_MAX];
    struct slice id;
    if (is_task) return task_id_ok(text);
    return text.len > 0 && !memchr(text.ptr, '%', text.len) && uri_id(text, scratch, &id);
}

enum status task_id_append(struct slice raw, const char *name, bool is_task, struct buf *bytes,
                           size_t *out_at, struct json_error *out_error)
{
    size_t at = bytes->len;
    enum status status = json_string_decode(raw, name, bytes, out_error);
    if (status != STATUS_OK) return status;
    if (bytes->failed) return STATUS_OVERLOADED;
    if (!is_id((struct slice){bytes->ptr + at, bytes->len - at}, is_task))
        return task_refuse(out_error, STATUS_INVALID_ARGUMENT,
                           "%s must be 1 to %d of A-Z a-z 0-9 . _ : @ -, and no reserved word", name,
                           ID_LEN_MAX);
    *out_at = at;
    return STATUS_OK;
}

/* --- one task --- */

/* A run of the buffer. */
struct run {
    size_t at, len;
};

struct reading {
    const struct task_options *options;
    int64_t now_ms;
    bool is_foreign;
    struct buf *bytes;
    struct json_error *error;
    /* what was read */
    struct run id, agent, body;
    struct queue_task task;
};

enum { TASK_ID, CORRELATION_ID, AGENT, PRIORITY, PAYLOAD, DELAY, TTL, MAX_ATTEMPTS, CREATED_AT, FIELDS };

static struct slice run_slice(const struct buf *bytes, struct run run)
{
    return run.len ? (struct slice){bytes->ptr + run.at, run.len} : (struct slice){"", 0};
}

/* An id that may be missing; a stranger's may be empty. */
static enum status read_id(struct reading *r, const struct json_field *field, bool is_task, struct run *out)
{
    struct slice raw = task_value(field);
    *out = (struct run){0, 0};
    if (!raw.ptr || (r->is_foreign && !is_task && raw.len == 2)) return STATUS_OK;
    size_t at = 0;
    enum status status = task_id_append(raw, field->name, is_task, r->bytes, &at, r->error);
    if (status == STATUS_OK) *out = (struct run){at, r->bytes->len - at};
    return status;
}

static enum status read_ids(struct reading *r, const struct json_field *fields, struct run *out_correlation)
{
    enum status status = read_id(r, &fields[TASK_ID], true, &r->id);
    if (status == STATUS_OK && r->id.len == 0 && r->is_foreign)
        return task_refuse(r->error, STATUS_UNPROCESSABLE, "task_id is missing");
    if (status == STATUS_OK && r->id.len == 0) {
        char id[UUID_SIZE];
        uuid_v7(r->now_ms, id);
        r->id = (struct run){r->bytes->len, UUID_SIZE - 1};
        buf_append(r->bytes, id, UUID_SIZE - 1);
        r->task.made = true;
    }
    if (status == STATUS_OK) status = read_id(r, &fields[CORRELATION_ID], false, out_correlation);
    if (status == STATUS_OK) status = read_id(r, &fields[AGENT], false, &r->agent);
    return status;
}

static enum status read_numbers(struct reading *r, const struct json_field *fields)
{
    struct queue_task *task = &r->task;
    int64_t priority = 0, attempts = r->options->max_attempts;
    enum status status = STATUS_OK;
    task->delay_ms = 0;
    task->ttl_ms = r->options->ttl_ms;
    if (task_value(&fields[PRIORITY]).ptr)
        status = json_int(fields[PRIORITY].raw, "priority", 0, PRIORITY_MAX, &priority, r->error);
    if (status == STATUS_OK && task_value(&fields[MAX_ATTEMPTS]).ptr)
        status = json_int(fields[MAX_ATTEMPTS].raw, "max_attempts", 1, ATTEMPTS_MAX, &attempts, r->error);
    if (status == STATUS_OK && task_value(&fields[DELAY]).ptr)
        status = json_seconds(fields[DELAY].raw, "delay", 0, DURATION_MAX_MS, &task->delay_ms, r->error);
    if (status == STATUS_OK && task_value(&fields[TTL]).ptr)
        status = json_seconds(fields[TTL].raw, "ttl", 1, DURATION_MAX_MS, &task->ttl_ms, r->error);
    task->priority = (unsigned)priority;
    task->max_attempts = (unsigned)attempts;
    return status;
}

static enum status append_created_at(struct reading *r, struct slice raw)
{
    char now[RFC3339_SIZE];
    int64_t unused;
    if (!raw.ptr) {
        rfc3339_format(r->now_ms, now);
        buf_append(r->bytes, now, RFC3339_SIZE - 1);
        return STATUS_OK;
    }
    size_t at = r->bytes->len;
    enum status status = json_string_decode(raw, "created_at", r->bytes, r->error);
    if (status == STATUS_OK && !r->bytes->failed &&
        !rfc3339_parse((struct slice){r->bytes->ptr + at, r->bytes->len - at}, &unused))
        status = task_refuse(r->error, STATUS_INVALID_ARGUMENT, "created_at must be an RFC 3339 time");
    return status;
}

static void append_id(struct buf *bytes, const char *before, struct run id)
{
    buf_append_text(bytes, before);
    if (id.len == 0) {
        buf_append_text(bytes, "null");
        return;
    }
    buf_append_char(bytes, '"');
    buf_reserve(bytes, id.len); /* so that the run stays where it is while it is copied */
    if (!bytes->failed) buf_append(bytes, bytes->ptr + id.at, id.len);
    buf_append_char(bytes, '"');
}

static enum status append_body(struct reading *r, const struct json_field *fields, struct run correlation)
{
    struct buf *bytes = r->bytes;
    r->body.at = bytes->len;
    append_id(bytes, "{\"task_id\":", r->id);
    append_id(bytes, ",\"correlation_id\":", correlation);
    append_id(bytes, ",\"agent\":", r->agent);
    buf_append_text(bytes, ",\"priority\":");
    buf_append_i64(bytes, r->task.priority);
    buf_append_text(bytes, ",\"created_at\":\"");
    enum status status = append_created_at(r, task_value(&fields[CREATED_AT]));
    buf_append_text(bytes, "\",\"payload\":");
    buf_append_slice(bytes, fields[PAYLOAD].raw);
    buf_append_char(bytes, '}');
    r->body.len = bytes->len - r->body.at;
    return bytes->failed ? STATUS_OVERLOADED : status;
}

static enum status read_task(struct reading *r, struct slice text)
{
    struct json_field fields[FIELDS] = {
        [TASK_ID] = {.name = "task_id", .types = JSON_STRING | JSON_NULL},
        [CORRELATION_ID] = {.name = "correlation_id", .types = JSON_STRING | JSON_NULL},
        [AGENT] = {.name = "agent", .types = JSON_STRING | JSON_NULL},
        [PRIORITY] = {.name = "priority", .types = JSON_NUMBER | JSON_NULL},
        [PAYLOAD] = {.name = "payload", .types = JSON_ANY, .required = true},
        [DELAY] = {.name = "delay", .types = JSON_NUMBER | JSON_NULL},
        [TTL] = {.name = "ttl", .types = JSON_NUMBER | JSON_NULL},
        [MAX_ATTEMPTS] = {.name = "max_attempts", .types = JSON_NUMBER | JSON_NULL},
        [CREATED_AT] = {.name = "created_at", .types = JSON_STRING | JSON_NULL},
    };
    struct run correlation = {0, 0};
    r->id = r->agent = r->body = (struct run){0, 0};
    r->task = (struct queue_task){0};
    enum status status = json_read_object(text, fields, FIELDS, !r->is_foreign, r->error);
    if (status == STATUS_OK) status = read_ids(r, fields, &correlation);
    if (status == STATUS_OK) status = read_numbers(r, fields);
    if (status == STATUS_OK) status = append_body(r, fields, correlation);
    return status;
}

/* --- POST /tasks --- */

/* While the buffer grows, slices of items and tasks hold offsets in `len` pairs of their own. */
struct places {
    struct run id, agent, body, detail;
};

static enum status read_item(struct reading *r, struct slice text, struct task_batch *out,
                             struct places *places)
{
    struct task_item *item = &out->items[out->items_count];
    size_t before = r->bytes->len;
    item->status = read_task(r, text);
    if (item->status == STATUS_OVERLOADED) return STATUS_OVERLOADED;
    struct places *place = &places[out->items_count++];
    if (item->status == STATUS_OK) {
        *place = (struct places){.id = r->id, .agent = r->agent, .body = r->body};
        item->task = out->tasks_count;
        out->tasks[out->tasks_count++] = r->task;
        return STATUS_OK;
    }
    /* Its id, if it has one, is told with the refusal; the rest goes. */
    size_t keep = r->id.len ? r->id.at + r->id.len : before;
    r->bytes->len = keep;
    *place = (struct places){.id = r->id, .detail = {keep, strlen(r->error->detail)}};
    buf_append_text(r->bytes, r->error->detail);
    return r->bytes->failed ? STATUS_OVERLOADED : STATUS_OK;
}

static void resolve(struct task_batch *batch, const struct places *places)
{
    for (size_t i = 0; i < batch->items_count; i++) {
        struct task_item *item = &batch->items[i];
        if (places[i].id.len) item->id = run_slice(&batch->bytes, places[i].id);
        item->detail = run_slice(&batch->bytes, places[i].detail);
        if (item->status != STATUS_OK) continue;
        struct queue_task *task = &batch->tasks[item->task];
        task->id = item->id;
        task->agent = run_slice(&batch->bytes, places[i].agent);
        task->body = run_slice(&batch->bytes, places[i].body);
    }
}

static size_t count_elements(struct slice array)
{
    struct slice element;
    size_t n = 0;
    while (n <= QUEUE_ENQUEUE_MAX && json_element_next(&array, &element))
        n++;
    return n;
}

static enum status read_items(struct reading *r, struct slice body, size_t count, struct task_batch *out)
{
    struct places *places = calloc(count, sizeof *places);
    out->items = calloc(count, sizeof *out->items);
    out->tasks = calloc(count, sizeof *out->tasks);
    enum status status = places && out->items && out->tasks ? STATUS_OK : STATUS_OVERLOADED;
    struct slice rest = body, element = body;
    while (status == STATUS_OK && out->items_count < count &&
           (!out->is_array || json_element_next(&rest, &element)))
        status = read_item(r, element, out, places);
    if (status == STATUS_OK) resolve(out, places);
    free(places);
    return status;
}

enum status task_batch_read(struct slice body, const struct task_options *options, int64_t now_ms,
                            struct task_batch *out, struct json_error *out_error)
{
    enum json_type type;
    *out = (struct task_batch){0};
    enum status status = json_validate(body, &type, out_error);
    if (status != STATUS_OK) return status;
    out->is_array = type == JSON_ARRAY;
    size_t count = out->is_array ? count_elements(body) : 1;
    if (count == 0 || count > QUEUE_ENQUEUE_MAX)
        return task_refuse(out_error, STATUS_INVALID_ARGUMENT, "an array must hold 1 to %d tasks",
                           QUEUE_ENQUEUE_MAX);
    struct reading r = {.options = options, .now_ms = now_ms, .bytes = &out->bytes, .error = out_error};
    status = read_items(&r, body, count, out);
    return status == STATUS_OK && !out->is_array ? out->items[0].status : status;
}

void task_batch_deinit(struct task_batch *batch)
{
    free(batch->items);
    free(batch->tasks);
    buf_deinit(&batch->bytes);
    *batch = (struct task_batch){0};
}

/* --- the inbox --- */

bool task_item_read(void *arg, struct slice item, int64_t now_ms, struct buf *scratch, struct queue_task *out,
                    char reason[192])
{
    struct json_error error = {"out of memory"};
    struct reading r = {
        .options = arg, .now_ms = now_ms, .is_foreign = true, .bytes = scratch, .error = &error};
    if (read_task(&r, item) != STATUS_OK) {
        snprintf(reason, 192, "%s", error.detail);
        return false;
    }
    *out = r.task;
    out->id = run_slice(scratch, r.id);
    out->agent = run_slice(scratch, r.agent);
    out->body = run_slice(scratch, r.body);
    return true;
}
