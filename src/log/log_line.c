/* log_line: writes into a fixed array. Room for the closing fields is held back, and a field that does not
 * fit is taken back to where it began, so every line is whole and, in JSON, valid. */
#include "log/log_line.h"

#include "util/rfc3339.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TAIL_ROOM = 64 }; /* suppressed=<20 digits>, cut=true, a brace, the newline, with their punctuation */

struct writer {
    struct log_line *line;
    enum log_format format;
    size_t max;
    bool full;
};

static void put(struct writer *w, const char *bytes, size_t len)
{
    if (w->full || len > w->max - w->line->len) {
        w->full = true;
        return;
    }
    memcpy(w->line->bytes + w->line->len, bytes, len);
    w->line->len += len;
}

static void put_text(struct writer *w, const char *text)
{
    put(w, text, strlen(text));
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates), 0 when there is
 * none. */
static size_t utf8_length(const unsigned char *s, size_t len)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t need;
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF)
        need = 2;
    else if (s[0] >= 0xE0 && s[0] <= 0xEF)
        need = 3;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4)
        need = 4;
    else
        return 0;
    if (s[0] == 0xE0) low = 0xA0;
    if (s[0] == 0xED) high = 0x9F;
    if (s[0] == 0xF0) low = 0x90;
    if (s[0] == 0xF4) high = 0x8F;
    if (len < need || s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < need; i++)
        if (s[i] < 0x80 || s[i] > 0xBF) return 0;
    return need;
}

static void put_escape(struct writer *w, unsigned code)
{
    char text[8];
    switch (code) {
    case '"':
        put_text(w, "\\\"");
        return;
    case '\\':
        put_text(w, "\\\\");
        return;
    case '\n':
        put_text(w, "\\n");
        return;
    case '\r':
        put_text(w, "\\r");
        return;
    case '\t':
        put_text(w, "\\t");
        return;
    default:
        break;
    }
    (void)snprintf(text, sizeof text, "\\u%04x", code & 0xFFFF);
    put_text(w, text);
}

/* The bytes between quotes. Both formats escape alike. DEL and the C1 controls (U+0080 to U+009F) are escaped
 * as well: terminals obey them. */
static void put_escaped(struct writer *w, struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t i = 0, n; i < s.len; i += n) {
        n = utf8_length(p + i, s.len - i);
        if (n == 0) {
            put_text(w, "\xEF\xBF\xBD");
            n = 1;
        } else if (n == 1 && (p[i] < ' ' || p[i] == '"' || p[i] == '\\' || p[i] == 0x7F)) {
            put_escape(w, p[i]);
        } else if (n == 2 && p[i] == 0xC2 && p[i + 1] < 0xA0) {
            put_escape(w, p[i + 1]);
        } else {
            put(w, s.ptr + i, n);
        }
    }
}

/* What logfmt takes without quotes. */
static bool is_bare(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\') return false;
    }
    return s.len > 0;
}

/* At most LOG_VALUE_MAX bytes of a value, not ending within a character. */
static struct slice cut_value(struct slice s)
{
    if (s.len <= LOG_VALUE_MAX) return s;
    size_t len = LOG_VALUE_MAX;
    while (len > LOG_VALUE_MAX - 3 && ((unsigned char)s.ptr[len] & 0xC0) == 0x80)
        len--;
    return (struct slice){s.ptr, len};
}

static void put_value(struct writer *w, struct slice whole)
{
    struct slice s = cut_value(whole);
    if (w->format == LOG_LOGFMT && s.len == whole.len && is_bare(s)) {
        put(w, s.ptr, s.len);
        return;
    }
    put_text(w, "\"");
    put_escaped(w, s);
    if (s.len < whole.len) put_text(w, "\xE2\x80\xA6"); /* an ellipsis */
    put_text(w, "\"");
}

static void put_name(struct writer *w, const char *name)
{
    bool first = w->line->len == 0;
    if (w->format == LOG_JSON) {
        put_text(w, first ? "{\"" : ",\"");
        put_text(w, name);
        put_text(w, "\":");
    } else {
        if (!first) put_text(w, " ");
        put_text(w, name);
        put_text(w, "=");
    }
}

static void put_string(struct writer *w, const char *name, struct slice value)
{
    put_name(w, name);
    put_value(w, value);
}

static void put_number(struct writer *w, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    put_name(w, name);
    put_text(w, text);
}

/* An absent value (ptr NULL) is no field. */
static void put_field(struct writer *w, const struct log_field *f)
{
    if (f->kind == LOG_FIELD_INT)
        put_number(w, f->name, f->number);
    else if (f->text.ptr)
        put_string(w, f->name, f->text);
}

void log_line_write(struct log_line *line, enum log_format format, int64_t wall_ms, enum log_level level,
                    const char *event, const struct log_field *fields, size_t count, uint64_t suppressed)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    struct writer w = {.line = line, .format = format, .max = LOG_LINE_MAX - TAIL_ROOM};
    bool cut = false;
    char ts[RFC3339_SIZE];
    rfc3339_format(wall_ms, ts);
    line->len = 0;
    put_string(&w, "ts", slice_of(ts));
    put_string(&w, "level", slice_of(levels[level]));
    put_string(&w, "event", slice_of(event));
    for (size_t i = 0; i < count; i++) {
        size_t before = line->len;
        put_field(&w, &fields[i]);
        if (!w.full) continue;
        w.full = false;
        line->len = before;
        cut = true;
    }
    w.max = LOG_LINE_MAX;
    if (suppressed) put_number(&w, "suppressed", (int64_t)suppressed);
    if (cut) {
        put_name(&w, "cut");
        put_text(&w, "true");
    }
    put_text(&w, format == LOG_JSON ? "}\n" : "\n");
}
