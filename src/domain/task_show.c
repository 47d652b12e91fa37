/* task_show: answers. A task's own members are the stored text; what else is known of it follows them. */
#include "domain/task.h"

#include "util/rfc3339.h"

#include <stdlib.h>

static void append_member(struct buf *out, const char *name)
{
    buf_append_char(out, ',');
    json_append_string(out, slice_of(name));
    buf_append_char(out, ':');
}

static void append_time(struct buf *out, int64_t ms)
{
    char text[RFC3339_SIZE];
    rfc3339_format(ms, text);
    json_append_string(out, slice_of(text));
}

static void append_time_member(struct buf *out, const char *name, int64_t ms)
{
    append_member(out, name);
    append_time(out, ms);
}

/* The stored object without its last brace; of one that was lost its id. */
static void open_task(struct buf *out, struct slice body, struct slice id)
{
    if (body.len > 2) {
        buf_append(out, body.ptr, body.len - 1);
        return;
    }
    buf_append_text(out, "{\"task_id\":");
    json_append_string(out, id);
}

/* --- POST /tasks --- */

static void show_verdict(struct buf *out, struct slice id, const struct queue_verdict *verdict)
{
    buf_append_text(out, "\"task_id\":");
    json_append_string(out, id);
    if (!verdict->added) {
        append_member(out, "state");
        json_append_string(out, slice_of(queue_state_names[verdict->state]));
    }
}

static int status_of(const struct queue_verdict *verdict)
{
    return !verdict->added ? 200 : verdict->journaled ? 202 : 201;
}

static void show_item(struct buf *out, const struct task_item *item, const struct queue_verdict *verdict)
{
    buf_append_char(out, '{');
    if (item->status == STATUS_OK) {
        show_verdict(out, item->id, verdict);
        buf_printf(out, ",\"status\":%d}", status_of(verdict));
        return;
    }
    buf_append_text(out, "\"task_id\":");
    if (item->id.ptr)
        json_append_string(out, item->id);
    else
        buf_append_text(out, "null");
    buf_printf(out, ",\"status\":%d,\"code\":\"%s\",\"detail\":", status_http(item->status),
               status_code(item->status));
    json_append_string(out, item->detail);
    buf_append_char(out, '}');
}

int task_batch_show(const struct task_batch *batch, const struct queue_verdict *verdicts, struct buf *out)
{
    int overall = batch->tasks_count ? 200 : 422;
    for (size_t i = 0; i < batch->tasks_count; i++)
        if (verdicts[i].added) overall = status_of(&verdicts[i]);
    if (!batch->is_array) {
        buf_append_char(out, '{');
        show_verdict(out, batch->items[0].id, &verdicts[0]);
        buf_append_char(out, '}');
        return overall;
    }
    buf_append_text(out, "{\"results\":[");
    for (size_t i = 0; i < batch->items_count; i++) {
        if (i) buf_append_char(out, ',');
        const struct task_item *item = &batch->items[i];
        show_item(out, item, item->status == STATUS_OK ? &verdicts[item->task] : NULL);
    }
    buf_append_text(out, "]}");
    return overall;
}

void task_acks_show(const struct task_acks *acks, const struct queue_verdict *verdicts, struct buf *out)
{
    buf_append_text(out, "{\"results\":[");
    for (size_t i = 0; i < acks->count; i++) {
        enum status status = verdicts[i].status;
        buf_append_text(out, i ? ",{\"task_id\":" : "{\"task_id\":");
        json_append_string(out, acks->acks[i].id);
        if (status == STATUS_OK)
            buf_printf(out, ",\"status\":%d}", verdicts[i].journaled ? 202 : 204);
        else
            buf_printf(out, ",\"status\":%d,\"code\":\"%s\"}", status_http(status), status_code(status));
    }
    buf_append_text(out, "]}");
}

/* --- tasks --- */

void task_leases_show(const struct queue_lease *leases, size_t count, bool automatic, struct buf *out)
{
    buf_append_text(out, "{\"tasks\":[");
    for (size_t i = 0; i < count; i++) {
        const struct queue_lease *lease = &leases[i];
        if (i) buf_append_char(out, ',');
        open_task(out, lease->body, lease->id);
        buf_printf(out, ",\"attempt\":%u", lease->attempt);
        if (!automatic) {
            append_member(out, "receipt");
            json_append_string(out, lease->receipt);
            append_time_member(out, "lease_expires_at", lease->ends_ms);
        }
        buf_append_char(out, '}');
    }
    buf_append_text(out, "]}");
}

static void show_history(struct buf *out, struct slice history)
{
    struct queue_event event;
    bool any = false;
    append_member(out, "attempts");
    buf_append_char(out, '[');
    while (queue_event_next(&history, &event)) {
        buf_append_text(out, any ? ",{\"at\":" : "{\"at\":");
        append_time(out, event.at_ms);
        append_member(out, "outcome");
        json_append_string(out, slice_of(event.kind == 'n'   ? "nacked"
                                         : event.kind == 'e' ? "expired"
                                                             : "requeued"));
        append_member(out, "reason");
        buf_append_slice(out, event.reason);
        buf_append_char(out, '}');
        any = true;
    }
    buf_append_char(out, ']');
}

static void show_bad(const struct queue_view *view, struct buf *out)
{
    buf_append_text(out, "{\"state\":\"bad\",\"reason\":");
    json_append_string(out, view->reason);
    append_time_member(out, "set_aside_at", view->at_ms);
    append_member(out, "item");
    json_append_string(out, view->body);
    buf_append_char(out, '}');
}

void task_view_show(const struct queue_view *view, struct buf *out)
{
    /* By state: what its time means. */
    static const char *const TIMES[QUEUE_STATE_COUNT] = {
        [QUEUE_DELAYED] = "due_at", [QUEUE_LEASED] = "lease_expires_at", [QUEUE_DEAD] = "expires_at"};
    if (view->state == QUEUE_BAD) {
        show_bad(view, out);
        return;
    }
    open_task(out, view->body, view->id);
    append_member(out, "state");
    json_append_string(out, slice_of(queue_state_names[view->state]));
    buf_printf(out, ",\"attempt\":%u,\"max_attempts\":%u", view->attempt, view->max_attempts);
    append_time_member(out, "enqueued_at", view->added_ms);
    if (view->state != QUEUE_DEAD) append_time_member(out, "expires_at", view->ends_ms);
    if (TIMES[view->state]) append_time_member(out, TIMES[view->state], view->at_ms);
    show_history(out, view->history);
    buf_append_char(out, '}');
}

void task_list_show(const struct queue_view *views, size_t count, const char *next, bool partial,
                    struct buf *out)
{
    buf_append_text(out, "{\"tasks\":[");
    for (size_t i = 0; i < count; i++) {
        if (i) buf_append_char(out, ',');
        task_view_show(&views[i], out);
    }
    buf_append_text(out, "],\"cursor\":");
    if (next[0])
        json_append_string(out, slice_of(next));
    else
        buf_append_text(out, "null");
    buf_append_text(out, partial ? ",\"partial\":true}" : "}");
}

void task_counts_show(const struct queue_counts *counts, bool partial, struct buf *out)
{
    buf_append_text(out, "{\"counts\":{");
    for (int i = 0; i <= QUEUE_BAD; i++)
        buf_printf(out, "%s\"%s\":%lld", i ? "," : "", queue_state_names[i], (long long)counts->of[i]);
    buf_printf(out, "},\"oldest_ready_s\":%lld.%03lld", (long long)(counts->oldest_ready_ms / 1000),
               (long long)(counts->oldest_ready_ms % 1000));
    buf_append_text(out, partial ? ",\"partial\":true}" : "}");
}
