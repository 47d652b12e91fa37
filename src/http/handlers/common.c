/* common: checks that many handlers make. */
#include "common.h"

#include "util/uri.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_MAX = 1000, LIMIT_DEFAULT = 100 };

const char *handler_backend(bool local)
{
    return local ? "local" : "redis";
}

void handler_problem(struct exchange *x, enum status status, const char *detail)
{
    exchange_problem(x, status, detail, -1, NULL, 0);
}

void handler_busy(struct exchange *x, enum status status, const char *detail)
{
    exchange_problem(x, status, detail, HANDLER_RETRY_AFTER_MS, NULL, 0);
}

void handler_no_memory(struct exchange *x)
{
    handler_busy(x, STATUS_OVERLOADED, "out of memory");
}

bool handler_hold(struct exchange *x, size_t bytes)
{
    if (exchange_hold(x, bytes)) return true;
    handler_busy(x, STATUS_OVERLOADED, "too many bytes in flight (http.inflight_bytes_max)");
    return false;
}

/* --- the query --- */

static bool refuse_member(struct exchange *x, const char *what, struct slice name)
{
    char detail[128];
    (void)snprintf(detail, sizeof detail, what, (int)(name.len < 64 ? name.len : 64),
                   name.len ? name.ptr : "");
    handler_problem(x, STATUS_INVALID_ARGUMENT, detail);
    return false;
}

static bool refuse_unknown(struct exchange *x, const struct handler_query *members, size_t count,
                           struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (!members[i].is_text) continue;
        handler_problem(x, STATUS_INVALID_ARGUMENT,
                        "unknown query member; an & within a text is written %26");
        return false;
    }
    return refuse_member(x, "unknown query member %.*s", name);
}

bool handler_read_query(struct exchange *x, struct handler_query *members, size_t count)
{
    struct slice query = exchange_request(x)->query, name, value;
    for (size_t i = 0; i < count; i++)
        members[i].value = SLICE_NONE;
    while (uri_query_next(&query, &name, &value)) {
        size_t i = 0;
        while (i < count && !slice_equal_text(name, members[i].name))
            i++;
        if (i == count) return refuse_unknown(x, members, count, name);
        if (members[i].value.ptr) return refuse_member(x, "query member %.*s is given twice", name);
        members[i].value = value.ptr ? value : SLICE_LITERAL("");
    }
    return true;
}

bool handler_no_query(struct exchange *x)
{
    struct handler_query none = {0};
    return handler_read_query(x, &none, 0);
}

bool handler_query_bool(struct exchange *x, const struct handler_query *member, bool otherwise,
                        bool *out_value)
{
    if (member->value.ptr && !slice_equal_text(member->value, "true") &&
        !slice_equal_text(member->value, "false"))
        return refuse_member(x, "query member %.*s is neither true nor false", slice_of(member->name));
    *out_value = member->value.ptr ? slice_equal_text(member->value, "true") : otherwise;
    return true;
}

bool handler_query_limit(struct exchange *x, const struct handler_query *member, unsigned *out_limit)
{
    struct slice text = member->value;
    unsigned limit = 0;
    bool good = text.len > 0 && text.len <= 4;
    for (size_t i = 0; good && i < text.len; i++) {
        good = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        limit = limit * 10 + (unsigned)(text.ptr[i] - '0');
    }
    good = good && limit >= 1 && limit <= LIMIT_MAX;
    if (text.ptr && !good) {
        handler_problem(x, STATUS_INVALID_ARGUMENT, "query member limit is not a number from 1 to 1000");
        return false;
    }
    *out_limit = text.ptr ? limit : LIMIT_DEFAULT;
    return true;
}

bool handler_query_cursor(struct exchange *x, const struct handler_query *member, char *scratch, size_t size,
                          struct slice *out_cursor)
{
    struct buf text = {.max = size};
    bool good = !member->value.ptr || uri_decode(member->value, true, &text);
    good = good && !text.failed;
    if (good && text.len > 0) memcpy(scratch, text.ptr, text.len);
    if (good)
        *out_cursor = (struct slice){scratch, text.len};
    else
        handler_problem(x, STATUS_INVALID_ARGUMENT, "query member cursor is none that was given out");
    buf_deinit(&text);
    return good;
}

/* --- answering --- */

void handler_reply_json(struct exchange *x, int http_status, struct buf *body, bool owed,
                        const struct http_field *fields, size_t field_count)
{
    if (body->failed) {
        buf_deinit(body);
        handler_no_memory(x);
        return;
    }
    const struct http_body referenced = {
        .bytes = buf_slice(body), .release = free, .arg = body->ptr, .owed = owed};
    *body = (struct buf){0};
    exchange_reply(x, http_status, "application/json", &referenced, fields, field_count);
}
