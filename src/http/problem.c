/* problem: the one shape that every error has. Pure. */
#include "http/problem.h"
#include "util/json.h"

static void member(struct buf *out, const char *name, struct slice value)
{
    buf_append_text(out, ",\"");
    buf_append_text(out, name);
    buf_append_text(out, "\":");
    json_append_string(out, value);
}

void problem_write(const struct problem *p, struct buf *out)
{
    const char *title = status_title(p->status);
    struct slice instance = p->instance;
    if (instance.len > PROBLEM_INSTANCE_MAX) instance.len = PROBLEM_INSTANCE_MAX;
    buf_append_text(out, "{\"type\":\"about:blank\",\"title\":");
    json_append_string(out, slice_of(title));
    buf_append_text(out, ",\"status\":");
    buf_append_i64(out, status_http(p->status));
    member(out, "code", slice_of(status_code(p->status)));
    member(out, "detail", slice_of(p->detail ? p->detail : title));
    if (instance.ptr) member(out, "instance", instance);
    if (p->request_id.ptr) member(out, "request_id", p->request_id);
    if (p->retry_after_ms >= 0) {
        buf_append_text(out, ",\"retry_after_ms\":");
        buf_append_i64(out, p->retry_after_ms);
    }
    buf_append_char(out, '}');
}
