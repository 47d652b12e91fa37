/* task_request: what dequeue, ack, nack and extend ask. */
#include "task_private.h"

#include "util/json_edit.h"

#include <stdlib.h>

enum { WAIT_MAX_MS = 60000, LEASE_MIN_MS = 1000, LEASE_MAX_MS = 43200000, RECEIPT_MAX = 128 };

/* --- dequeue --- */

/* Agents' texts are behind one another in the buffer; `ends` says where each stops. */
static enum status read_agents(struct slice raw, struct task_dequeue *out, struct json_error *out_error)
{
    size_t ends[QUEUE_AGENTS_MAX] = {0}, at;
    bool is_array = raw.ptr[0] == '[';
    struct slice rest = raw, element = raw;
    while (!is_array ? out->agents_count == 0 : json_element_next(&rest, &element)) {
        if (out->agents_count == QUEUE_AGENTS_MAX)
            return task_refuse(out_error, STATUS_INVALID_ARGUMENT, "agent must name at most %d agents",
                               QUEUE_AGENTS_MAX);
        if (element.ptr[0] != '"')
            return task_refuse(out_error, STATUS_UNPROCESSABLE,
                               "agent must be a string or an array of strings");
        enum status status = task_id_append(element, "agent", false, &out->bytes, &at, out_error);
        if (status != STATUS_OK) return status;
        ends[out->agents_count++] = out->bytes.len;
    }
    if (out->agents_count == 0)
        return task_refuse(out_error, STATUS_INVALID_ARGUMENT, "agent must name at least one agent");
    size_t kept = 0;
    for (size_t i = 0, begin = 0; i < out->agents_count; begin = ends[i++]) {
        struct slice agent = {out->bytes.ptr + begin, ends[i] - begin};
        bool twice = false;
        for (size_t k = 0; k < kept; k++)
            twice = twice || slice_equal(out->agents[k], agent);
        if (!twice) out->agents[kept++] = agent;
    }
    out->agents_count = kept;
    return STATUS_OK;
}

static enum status read_ack_mode(struct slice raw, struct task_dequeue *out, struct json_error *out_error)
{
    if (!slice_equal_text(json_string_plain(raw), "auto"))
        return task_refuse(out_error, STATUS_INVALID_ARGUMENT, "ack must be \"auto\" or left out");
    out->automatic = true;
    return STATUS_OK;
}

enum status task_dequeue_read(struct slice body, const struct task_options *options, struct task_dequeue *out,
                              struct json_error *out_error)
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
    *out = (struct task_dequeue){.lease_ms = options->lease_ms};
    if (slice_trim(body).len == 0) body = SLICE_LITERAL("{}");
    enum status status = json_read_object(body, fields, FIELDS, true, out_error);
    if (status == STATUS_OK && task_value(&fields[AGENT]).ptr)
        status = read_agents(fields[AGENT].raw, out, out_error);
    if (status == STATUS_OK && task_value(&fields[COUNT]).ptr)
        status = json_int(fields[COUNT].raw, "count", 1, QUEUE_DEQUEUE_MAX, &count, out_error);
    if (status == STATUS_OK && task_value(&fields[WAIT]).ptr)
        status = json_seconds(fields[WAIT].raw, "wait", 0, WAIT_MAX_MS, &out->wait_ms, out_error);
    if (status == STATUS_OK && task_value(&fields[LEASE]).ptr)
        status =
            json_seconds(fields[LEASE].raw, "lease", LEASE_MIN_MS, LEASE_MAX_MS, &out->lease_ms, out_error);
    if (status == STATUS_OK && task_value(&fields[ACK]).ptr)
        status = read_ack_mode(fields[ACK].raw, out, out_error);
    out->count = (unsigned)count;
    return status;
}

void task_dequeue_deinit(struct task_dequeue *dequeue)
{
    buf_deinit(&dequeue->bytes);
}

/* --- receipts --- */

static enum status append_receipt(struct slice raw, struct buf *bytes, size_t *out_at,
                                  struct json_error *out_error)
{
    *out_at = bytes->len;
    enum status status = json_string_decode(raw, "receipt", bytes, out_error);
    if (status != STATUS_OK) return status;
    if (bytes->failed) return STATUS_OVERLOADED;
    size_t len = bytes->len - *out_at;
    if (len == 0 || len > RECEIPT_MAX)
        return task_refuse(out_error, STATUS_INVALID_ARGUMENT, "receipt must be 1 to %d bytes", RECEIPT_MAX);
    return STATUS_OK;
}

struct ack_place {
    size_t id, receipt, end;
};

static enum status read_ack(struct slice text, struct buf *bytes, struct ack_place *out,
                            struct json_error *out_error)
{
    enum { TASK_ID, RECEIPT, FIELDS };
    struct json_field fields[FIELDS] = {
        [TASK_ID] = {.name = "task_id", .types = JSON_STRING, .required = true},
        [RECEIPT] = {.name = "receipt", .types = JSON_STRING, .required = true},
    };
    enum status status = json_read_object(text, fields, FIELDS, true, out_error);
    if (status == STATUS_OK)
        status = task_id_append(fields[TASK_ID].raw, "task_id", true, bytes, &out->id, out_error);
    if (status == STATUS_OK) status = append_receipt(fields[RECEIPT].raw, bytes, &out->receipt, out_error);
    out->end = bytes->len;
    return status;
}

static enum status read_acks(struct slice array, struct task_acks *out, struct ack_place *places,
                             struct json_error *out_error)
{
    struct slice element;
    while (json_element_next(&array, &element)) {
        if (out->count == QUEUE_ACK_MAX) {
            out->count++;
            break;
        }
        struct json_error inner;
        enum status status = read_ack(element, &out->bytes, &places[out->count], &inner);
        if (status == STATUS_OVERLOADED) return status;
        if (status != STATUS_OK)
            return task_refuse(out_error, status, "acks[%zu]: %.150s", out->count, inner.detail);
        out->count++;
    }
    if (out->count == 0 || out->count > QUEUE_ACK_MAX)
        return task_refuse(out_error, STATUS_INVALID_ARGUMENT, "acks must hold 1 to %d", QUEUE_ACK_MAX);
    for (size_t i = 0; i < out->count; i++) {
        const char *bytes = out->bytes.ptr;
        out->acks[i].id = (struct slice){bytes + places[i].id, places[i].receipt - places[i].id};
        out->acks[i].receipt = (struct slice){bytes + places[i].receipt, places[i].end - places[i].receipt};
    }
    return STATUS_OK;
}

enum status task_acks_read(struct slice body, struct task_acks *out, struct json_error *out_error)
{
    struct json_field field = {.name = "acks", .types = JSON_ARRAY, .required = true};
    *out = (struct task_acks){0};
    enum status status = json_read_object(body, &field, 1, true, out_error);
    if (status != STATUS_OK) return status;
    struct ack_place *places = calloc(QUEUE_ACK_MAX, sizeof *places);
    out->acks = calloc(QUEUE_ACK_MAX, sizeof *out->acks);
    status = places && out->acks ? read_acks(field.raw, out, places, out_error) : STATUS_OVERLOADED;
    free(places);
    return status;
}

void task_acks_deinit(struct task_acks *acks)
{
    free(acks->acks);
    buf_deinit(&acks->bytes);
    *acks = (struct task_acks){0};
}

/* --- ack, nack, extend --- */

static enum status append_reason(struct slice raw, struct buf *bytes, struct json_error *out_error)
{
    struct buf text = {0};
    enum status status = json_string_decode(raw, "reason", &text, out_error);
    if (status == STATUS_OK && text.failed) status = STATUS_OVERLOADED;
    if (status == STATUS_OK) {
        size_t len = text.len;
        if (len > QUEUE_REASON_MAX) {
            len = QUEUE_REASON_MAX;
            while (len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80)
                len--;
        }
        json_append_string(bytes, (struct slice){text.ptr, len});
        if (bytes->failed) status = STATUS_OVERLOADED;
    }
    buf_deinit(&text);
    return status;
}

enum status task_report_read(enum task_form form, struct slice body, struct task_report *out,
                             struct json_error *out_error)
{
    enum { RECEIPT, DELAY, REASON, LEASE, FIELDS };
    struct json_field fields[FIELDS] = {
        [RECEIPT] = {.name = "receipt", .types = JSON_STRING, .required = true},
        [DELAY] = {.name = "delay", .types = JSON_NUMBER | JSON_NULL},
        [REASON] = {.name = "reason", .types = JSON_STRING | JSON_NULL},
        [LEASE] = {.name = "lease", .types = JSON_NUMBER, .required = true},
    };
    size_t count = form == TASK_ACK ? 1 : form == TASK_NACK ? 3 : 2, receipt = 0;
    if (form == TASK_EXTEND) fields[1] = fields[LEASE];
    *out = (struct task_report){.delay_ms = -1};
    enum status status = json_read_object(body, fields, count, true, out_error);
    if (status == STATUS_OK) status = append_receipt(fields[RECEIPT].raw, &out->bytes, &receipt, out_error);
    size_t end = out->bytes.len;
    if (status == STATUS_OK && form == TASK_EXTEND)
        status = json_seconds(fields[1].raw, "lease", LEASE_MIN_MS, LEASE_MAX_MS, &out->lease_ms, out_error);
    if (status == STATUS_OK && form == TASK_NACK && task_value(&fields[DELAY]).ptr)
        status = json_seconds(fields[DELAY].raw, "delay", 0, DURATION_MAX_MS, &out->delay_ms, out_error);
    if (status == STATUS_OK && form == TASK_NACK && task_value(&fields[REASON]).ptr)
        status = append_reason(fields[REASON].raw, &out->bytes, out_error);
    if (status != STATUS_OK) return status;
    out->receipt = (struct slice){out->bytes.ptr, end};
    out->reason = (struct slice){out->bytes.ptr + end, out->bytes.len - end};
    return STATUS_OK;
}

void task_report_deinit(struct task_report *report)
{
    buf_deinit(&report->bytes);
}
