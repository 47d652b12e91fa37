/* trace: version "-" trace-id "-" parent-id "-" flags, each of a fixed width, all in lower-case hex. */
#include "util/trace.h"

#include <stdlib.h>

enum { ID_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, WHOLE = 55, DICE_DIGITS = 8 };

static bool is_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) return false;
    return true;
}

static bool is_zero(const char *text, size_t len)
{
    return strspn(text, "0") >= len;
}

static bool is_traceparent(struct slice h)
{
    const char *p = h.ptr;
    if (!p || h.len < WHOLE) return false;
    if (p[ID_AT - 1] != '-' || p[SPAN_AT - 1] != '-' || p[FLAGS_AT - 1] != '-') return false;
    if (!is_hex(p, 2) || !is_hex(p + ID_AT, TRACE_ID_LEN) || !is_hex(p + SPAN_AT, TRACE_SPAN_LEN) ||
        !is_hex(p + FLAGS_AT, 2))
        return false;
    if (memcmp(p, "ff", 2) == 0) return false;
    /* A later version may have more behind a further '-'; this one ends here. */
    return h.len == WHOLE || (memcmp(p, "00", 2) != 0 && p[WHOLE] == '-');
}

bool trace_read(struct slice traceparent, struct trace *out)
{
    *out = (struct trace){.id = "", .span = ""};
    if (!is_traceparent(traceparent)) return false;
    struct trace t;
    memcpy(t.id, traceparent.ptr + ID_AT, TRACE_ID_LEN);
    memcpy(t.span, traceparent.ptr + SPAN_AT, TRACE_SPAN_LEN);
    t.id[TRACE_ID_LEN] = t.span[TRACE_SPAN_LEN] = '\0';
    if (is_zero(t.id, TRACE_ID_LEN) || is_zero(t.span, TRACE_SPAN_LEN)) return false;
    *out = t;
    return true;
}

static struct slice shown(const char *text)
{
    return *text ? slice_of(text) : SLICE_NONE;
}

struct slice trace_id(const struct trace *t)
{
    return shown(t->id);
}

struct slice trace_span(const struct trace *t)
{
    return shown(t->span);
}

struct slice trace_keep(const struct trace *t, char out[TRACE_KEPT_LEN])
{
    if (!t->id[0]) return SLICE_NONE;
    memcpy(out, t->id, TRACE_ID_LEN);
    memcpy(out + TRACE_ID_LEN, t->span, TRACE_SPAN_LEN);
    return (struct slice){out, TRACE_KEPT_LEN};
}

void trace_of_kept(struct slice kept, struct trace *out)
{
    *out = (struct trace){.id = "", .span = ""};
    if (kept.len != TRACE_KEPT_LEN || !is_hex(kept.ptr, kept.len)) return;
    memcpy(out->id, kept.ptr, TRACE_ID_LEN);
    memcpy(out->span, kept.ptr + TRACE_ID_LEN, TRACE_SPAN_LEN);
}

unsigned long trace_dice(const struct trace *t)
{
    return strtoul(t->id + TRACE_ID_LEN - DICE_DIGITS, NULL, 16);
}
