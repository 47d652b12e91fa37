/* record_value: `writes` is walked on the raw text, and only whole ids are kept or dropped. What others have
 * made of it (no array, an element that is no string) counts as none: it then tells nothing of our changes,
 * and the next one begins anew. */
#include "state/record_value.h"

#include "util/json_edit.h"

/* Raw strings, oldest first: the last ones, where others keep more. */
struct writes {
    struct slice ids[RECORD_WRITES_MAX];
    size_t count;
};

static struct writes writes_of(struct slice raw)
{
    struct writes writes = {.count = 0};
    if (raw.ptr == NULL || raw.len == 0 || raw.ptr[0] != '[') return writes;
    struct slice id;
    while (json_element_next(&raw, &id)) {
        if (id.ptr[0] != '"') return (struct writes){.count = 0};
        if (writes.count == RECORD_WRITES_MAX) {
            writes.count--;
            memmove(writes.ids, writes.ids + 1, writes.count * sizeof *writes.ids);
        }
        writes.ids[writes.count++] = id;
    }
    return writes;
}

static struct slice unquoted(struct slice raw)
{
    return (struct slice){raw.ptr + 1, raw.len - 2};
}

static bool is_younger(struct slice id, struct slice other)
{
    size_t len = id.len < other.len ? id.len : other.len;
    int order = memcmp(id.ptr, other.ptr, len);
    return order > 0 || (order == 0 && id.len > other.len);
}

enum record_trace record_value_trace(struct slice value, struct slice change_id)
{
    struct writes writes = writes_of(json_member(value, "writes"));
    for (size_t i = 0; i < writes.count; i++)
        if (slice_equal(unquoted(writes.ids[i]), change_id)) return RECORD_TRACE_FOUND;
    bool full = writes.count == RECORD_WRITES_MAX;
    return full && is_younger(unquoted(writes.ids[0]), change_id) ? RECORD_TRACE_LOST : RECORD_TRACE_ABSENT;
}

void record_value_writes(struct slice writes, struct slice change_id, struct buf *out)
{
    struct writes known = writes_of(writes);
    buf_append_char(out, '[');
    for (size_t i = known.count == RECORD_WRITES_MAX ? 1 : 0; i < known.count; i++) {
        buf_append_slice(out, known.ids[i]);
        buf_append_char(out, ',');
    }
    buf_append_char(out, '"');
    buf_append_slice(out, change_id);
    buf_append_text(out, "\"]");
}

void record_value_show(struct slice value, struct buf *out)
{
    static const struct json_edit HIDDEN = {.name = "writes"};
    if (json_object_edit(value, &HIDDEN, 1, out) != STATUS_OK) out->failed = true;
}
