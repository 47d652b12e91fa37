/* cache_value: written by hand in the order that the other programs sharing this Redis write it; read by the
 * scanner. */
#include "state/cache_value.h"

#include "util/json.h"
#include "util/rfc3339.h"

void cache_value_write(struct buf *out, struct slice response, struct slice metadata, int64_t stamp_ms,
                       int64_t ttl_s)
{
    char stamp[RFC3339_SIZE];
    rfc3339_format(stamp_ms, stamp);
    buf_append_text(out, "{\"response\":");
    buf_append_slice(out, response);
    buf_append_text(out, ",\"timestamp\":\"");
    buf_append_text(out, stamp);
    buf_append_text(out, "\",\"ttl\":");
    buf_append_i64(out, ttl_s);
    buf_append_text(out, ",\"metadata\":");
    if (metadata.ptr)
        buf_append_slice(out, metadata);
    else
        buf_append_text(out, "{\"model\":\"\",\"tokens\":0,\"provider\":\"\"}");
    buf_append_char(out, '}');
}

bool cache_value_inspect(struct slice value, int64_t *out_stamp_ms)
{
    struct json_field stamp = {.name = "timestamp", .types = JSON_ANY};
    struct json_error error;
    *out_stamp_ms = 0;
    enum status status = json_read_object(value, &stamp, 1, false, &error);
    if (status ==
        STATUS_UNPROCESSABLE) { /* no object, or one with doubled members: foreign, but perhaps JSON */
        enum json_type type;
        return json_validate(value, &type, &error) == STATUS_OK;
    }
    if (status != STATUS_OK) return false;
    if (stamp.type == JSON_STRING) {
        struct slice text = json_string_plain(stamp.raw);
        if (text.ptr && !rfc3339_parse(text, out_stamp_ms)) *out_stamp_ms = 0;
    }
    return true;
}
