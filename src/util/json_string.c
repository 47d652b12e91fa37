/* json_string: strings and names once decoded. Everything read here has been validated by json_scan. */
#include "json_scan.h"

#include <assert.h>

static uint32_t hex4(const char *p)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        value = value << 4 | (c <= '9' ? c - (uint32_t)'0' : (c | 0x20) - (uint32_t)'a' + 10);
    }
    return value;
}

/* `p` is behind the backslash. */
static uint32_t next_escape(const char **at, const char *p)
{
    static const char letters[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    if (*p != 'u') {
        *at = p + 1;
        const char *letter = memchr(letters, *p, sizeof letters - 1);
        return (unsigned char)(letter != NULL ? meanings[letter - letters] : *p);
    }
    uint32_t point = hex4(p + 1);
    *at = p + 5;
    /* A validated string ends with a quote, so looking ahead byte by byte stays within it. */
    if (point >= 0xd800 && point <= 0xdbff && p[5] == '\\' && p[6] == 'u') {
        uint32_t low = hex4(p + 7);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *at = p + 11;
            return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return point;
}

uint32_t json_next_point(const char **at)
{
    const unsigned char *p = (const unsigned char *)*at;
    if (*p == '\\') return next_escape(at, *at + 1);
    if (*p < 0x80) {
        *at += 1;
        return *p;
    }
    if (*p < 0xe0) {
        *at += 2;
        return (p[0] & 0x1fU) << 6 | (p[1] & 0x3fU);
    }
    if (*p < 0xf0) {
        *at += 3;
        return (p[0] & 0x0fU) << 12 | (p[1] & 0x3fU) << 6 | (p[2] & 0x3fU);
    }
    *at += 4;
    return (p[0] & 0x07U) << 18 | (p[1] & 0x3fU) << 12 | (p[2] & 0x3fU) << 6 | (p[3] & 0x3fU);
}

int json_compare_names(const char *a, const char *b)
{
    for (;;) {
        if (*a == '"' || *b == '"') return (*b == '"') - (*a == '"');
        uint32_t from_a = json_next_point(&a);
        uint32_t from_b = json_next_point(&b);
        if (from_a != from_b) return from_a < from_b ? -1 : 1;
    }
}

bool json_name_means(struct slice name, bool escaped, const char *wanted)
{
    if (!escaped) return slice_equal_text(name, wanted);
    const char *end = name.ptr + name.len;
    for (const char *p = name.ptr; p < end; wanted++) {
        /* names that the daemon knows are ASCII: a byte is a code point, and the NUL equals only \u0000 */
        if (*wanted == '\0' || json_next_point(&p) != (unsigned char)*wanted) return false;
    }
    return *wanted == '\0';
}

void json_append_point(struct buf *out, uint32_t point)
{
    unsigned char bytes[4];
    size_t len;
    if (point < 0x80) {
        bytes[0] = (unsigned char)point;
        len = 1;
    } else if (point < 0x800) {
        bytes[0] = (unsigned char)(0xc0 | point >> 6);
        len = 2;
    } else if (point < 0x10000) {
        bytes[0] = (unsigned char)(0xe0 | point >> 12);
        len = 3;
    } else {
        bytes[0] = (unsigned char)(0xf0 | point >> 18);
        len = 4;
    }
    for (size_t i = len; i-- > 1; point >>= 6)
        bytes[i] = (unsigned char)(0x80 | (point & 0x3f));
    buf_append(out, bytes, len);
}

void json_append_point_escaped(struct buf *out, uint32_t point)
{
    static const char hex[] = "0123456789abcdef";
    /* Indexed by code point; NUL: no short form. */
    static const char short_forms[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (point == '"' || point == '\\') {
        char text[] = {'\\', (char)point};
        buf_append(out, text, sizeof text);
    } else if (point >= 0x20) {
        json_append_point(out, point);
    } else if (short_forms[point] != '\0') {
        char text[] = {'\\', short_forms[point]};
        buf_append(out, text, sizeof text);
    } else {
        char text[] = {'\\', 'u', '0', '0', hex[point >> 4], hex[point & 0x0f]};
        buf_append(out, text, sizeof text);
    }
}

enum status json_string_decode(struct slice raw, const char *name, struct buf *out,
                               struct json_error *out_error)
{
    assert(raw.len >= 2 && raw.ptr[0] == '"');
    size_t before = out->len;
    const char *end = raw.ptr + raw.len - 1;
    for (const char *p = raw.ptr + 1; p < end;) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        buf_append(out, p, (size_t)((slash != NULL ? slash : end) - p));
        if (slash == NULL) break;
        p = slash;
        uint32_t point = json_next_point(&p);
        if (point == 0 || json_is_surrogate(point)) {
            json_error_set(out_error, "member \"%s\" must not hold %s", name,
                           point == 0 ? "\\u0000" : "a lone surrogate");
            out->len = before;
            return STATUS_UNPROCESSABLE;
        }
        json_append_point(out, point);
    }
    if (!out->failed) return STATUS_OK;
    json_error_set(out_error, "member \"%s\" needs more memory than there is", name);
    out->len = before;
    return STATUS_OVERLOADED;
}

struct slice json_string_plain(struct slice raw)
{
    assert(raw.len >= 2 && raw.ptr[0] == '"');
    struct slice text = {raw.ptr + 1, raw.len - 2};
    return memchr(text.ptr, '\\', text.len) == NULL ? text : SLICE_NONE;
}

void json_append_string(struct buf *out, struct slice text)
{
    buf_append_char(out, '"');
    const char *end = text.len > 0 ? text.ptr + text.len : text.ptr;
    const char *run = text.ptr; /* what is copied as it is */
    for (const char *p = text.ptr; p != end && (p = json_skip_plain(p, end)) != end;) {
        size_t len = json_utf8_len(p, end);
        if (len > 1) {
            p += len;
            continue;
        }
        buf_append(out, run, (size_t)(p - run));
        json_append_point_escaped(out, len == 0 ? 0xfffd : (unsigned char)*p);
        run = ++p;
    }
    buf_append(out, run, (size_t)(end - run));
    buf_append_char(out, '"');
}
