/* task_request: the requests about tasks. */
#include "domain/task.h"

#include "util/json_edit.h"

#include "task_private.h"

#include <stdlib.h>

enum { DELAY_MAX_S = 31536000 };

/* --- dequeue --- */

static int compare(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static enum status read_agents(const struct json_field *field, struct buf *scratch, struct task_dequeue *out,
                               struct json_error *out_error)
{
    struct slice rest = field->raw, one = field->raw;
    enum status status = STATUS_OK;
    size_t n = 0;
    if (field->type != JSON_STRING && field->type != JSON_ARRAY) return STATUS_OK;
    if (field->type == JSON_STRING)
        return task_name("agent", one, scratch, &out->agents[out->agents_count++], out_error);
    while (status == STATUS_OK && json_element_next(&rest, &one)) {
        if (one.ptr[0] != '"') {
            (void)task_refuse(out_error, "agent", "must be a string or an array of strings");
            return STATUS_UNPROCESSABLE;
        }
        if (n == QUEUE_AGENTS_MAX) return task_refuse(out_error, "agent", "names more than 64 agents");
        status = task_name("agent", one, scratch, &out->agents[n++], out_error);
    }
    if (status != STATUS_OK) return status;
    if (n == 0) return task_refuse(out_error, "agent", "names no agent");
    qsort(out->agents, n, sizeof out->agents[0], compare);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !slice_equal(out->agents[i], out->agents[out->agents_count - 1]))
            out->agents[out->agents_count++] = out->agents[i];
    return STATUS_OK;
}

enum status task_dequeue_read(const struct task_options *options, struct slice body, struct buf *scratch,
                              struct task_dequeue *out, struct json_error *out_error)
{
    enum { AGENT, COUNT, WAIT, LEASE, ACK, FIELDS };
    struct json_field fields[FIELDS] = {
        [AGENT] = {.name = "agent", .types = JSON_STRING | JSON_ARRAY | JSON_NULL},
        [COUNT] = {.name = "count", .types = JSON_NUMBER | JSON_NULL},
        [WAIT] = {.name = "wait", .types = JSON_NUMBER | JSON_NULL},
        [LEASE] = {.name = "lease", .types = JSON_NUMBER | JSON_NULL},
        [ACK] = {.name = "ack", .types = JSON_STRING | JSON_NULL},
    };
    int64_t count = 1;
    *out = (struct task_dequeue){.lease_ms = options->lease_s * 1000};
    buf_reserve(scratch, body.len + 1); /* so that what is decoded does not move */
    if (scratch->failed) return STATUS_OVERLOADED;
    enum status status = json_read_object(body, fields, FIELDS, true, out_error);
    if (status == STATUS_OK) status = read_agents(&fields[AGENT], scratch, out, out_error);
    if (status == STATUS_OK && fields[COUNT].type == JSON_NUMBER)
        status = json_int(fields[COUNT].raw, "count", 1, QUEUE_DEQUEUE_MAX, &count, out_error);
    if (status == STATUS_OK)
        status = task_seconds(&fields[WAIT], 0, TASK_WAIT_MAX_MS, &out->wait_ms, out_error);
    if (status == STATUS_OK)
        status =
            task_seconds(&fields[LEASE], TASK_LEASE_MIN_MS, TASK_LEASE_MAX_MS, &out->lease_ms, out_error);
    if (status != STATUS_OK) return status;
    out->count = (unsigned)count;
    out->automatic = fields[ACK].type == JSON_STRING;
    if (out->automatic && !slice_equal_text(json_string_plain(fields[ACK].raw), "auto"))
        return task_refuse(out_error, "ack", "knows no other value than \"auto\"");
    return STATUS_OK;
}

/* --- by receipt --- */

static enum status read_receipt(const struct json_field *field, struct slice *out,
                                struct json_error *out_error)
{
    struct slice text = json_string_plain(field->raw);
    bool good = text.ptr && text.len >= 1 && text.len <= TASK_RECEIPT_MAX;
    for (size_t i = 0; good && i < text.len; i++)
        good = text.ptr[i] > ' ' && text.ptr[i] <= '~';
    if (!good) return task_refuse(out_error, field->name, "is none that a dequeue gave out");
    *out = text;
    return STATUS_OK;
}

enum status task_ack_read(struct slice body, struct slice *out_receipt, struct json_error *out_error)
{
    struct json_field receipt = {.name = "receipt", .types = JSON_STRING, .required = true};
    enum status status = json_read_object(body, &receipt, 1, true, out_error);
    return status == STATUS_OK ? read_receipt(&receipt, out_receipt, out_error) : status;
}

/* At most QUEUE_REASON_MAX bytes, not cut within a character. */
static struct slice cut(struct slice text)
{
    if (text.len <= QUEUE_REASON_MAX) return text;
    text.len = QUEUE_REASON_MAX;
    while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80)
        text.len--;
    return text;
}

static enum status read_reason(const struct json_field *field, struct buf *scratch, struct slice *out,
                               struct json_error *out_error)
{
    *out = (struct slice){"", 0};
    if (field->type != JSON_STRING) return STATUS_OK;
    struct buf text = {0};
    enum status status = json_string_decode(field->raw, field->name, &text, out_error);
    if (status == STATUS_OK) {
        json_append_string(scratch, cut(buf_slice(&text)));
        *out = buf_slice(scratch);
        if (scratch->failed) status = STATUS_OVERLOADED;
    }
    buf_deinit(&text);
    return status;
}

enum status task_nack_read(struct slice body, struct buf *scratch, struct slice *out_receipt,
                           int64_t *out_delay_ms, struct slice *out_reason, struct json_error *out_error)
{
    enum { RECEIPT, DELAY, REASON, FIELDS };
    struct json_field fields[FIELDS] = {
        [RECEIPT] = {.name = "receipt", .types = JSON_STRING, .required = true},
        [DELAY] = {.name = "delay", .types = JSON_NUMBER | JSON_NULL},
        [REASON] = {.name = "reason", .types = JSON_STRING | JSON_NULL},
    };
    *out_delay_ms = -1;
    enum status status = json_read_object(body, fields, FIELDS, true, out_error);
    if (status == STATUS_OK) status = read_receipt(&fields[RECEIPT], out_receipt, out_error);
    if (status == STATUS_OK)
        status = task_seconds(&fields[DELAY], 0, DELAY_MAX_S * INT64_C(1000), out_delay_ms, out_error);
    return status == STATUS_OK ? read_reason(&fields[REASON], scratch, out_reason, out_error) : status;
}

enum status task_extend_read(struct slice body, struct slice *out_receipt, int64_t *out_lease_ms,
                             struct json_error *out_error)
{
    enum { RECEIPT, LEASE, FIELDS };
    struct json_field fields[FIELDS] = {
        [RECEIPT] = {.name = "receipt", .types = JSON_STRING, .required = true},
        [LEASE] = {.name = "lease", .types = JSON_NUMBER, .required = true},
    };
    enum status status = json_read_object(body, fields, FIELDS, true, out_error);
    if (status == STATUS_OK) status = read_receipt(&fields[RECEIPT], out_receipt, out_error);
    if (status != STATUS_OK) return status;
    return task_seconds(&fields[LEASE], TASK_LEASE_MIN_MS, TASK_LEASE_MAX_MS, out_lease_ms, out_error);
}

/* --- many acks --- */

size_t task_array_count(struct slice array, size_t most)
{
    struct slice one;
    size_t n = 0;
    while (n <= most && json_element_next(&array, &one))
        n++;
    return n;
}

enum status task_acks_read(struct slice body, struct slice *out_acks, size_t *out_count,
                           struct json_error *out_error)
{
    struct json_field acks = {.name = "acks", .types = JSON_ARRAY, .required = true};
    enum status status = json_read_object(body, &acks, 1, true, out_error);
    if (status != STATUS_OK) return status;
    size_t count = task_array_count(acks.raw, QUEUE_ACK_MAX);
    if (count < 1 || count > QUEUE_ACK_MAX)
        return task_refuse(out_error, "acks", "must have 1 to 1000 elements");
    *out_acks = acks.raw;
    *out_count = count;
    return STATUS_OK;
}

enum status task_acks_item_read(struct slice item, struct queue_ack *out, struct json_error *out_error)
{
    enum { TASK_ID, RECEIPT, FIELDS };
    struct json_field fields[FIELDS] = {
        [TASK_ID] = {.name = "task_id", .types = JSON_STRING, .required = true},
        [RECEIPT] = {.name = "receipt", .types = JSON_STRING, .required = true},
    };
    *out = (struct queue_ack){SLICE_NONE, SLICE_NONE};
    enum status status = json_read_object(item, fields, FIELDS, true, out_error);
    if (status != STATUS_OK) return status;
    /* One with an escape in it names nothing that this daemon could have given out so. */
    struct slice id = json_string_plain(fields[TASK_ID].raw);
    if (!id.ptr || !task_id_ok(id)) return task_refuse(out_error, "task_id", "is no task's id");
    out->id = id;
    return read_receipt(&fields[RECEIPT], &out->receipt, out_error);
}
