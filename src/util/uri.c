/* uri: percent-decoding, ids and query pairs. The HTTP room hands over raw targets, so what is decoded here
 * is decoded once. */
#include "util/uri.h"

#include <stdint.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The byte that the escape at `p` stands for, or -1. */
static int escaped_byte(const char *p, const char *end)
{
    if (end - p < 3) return -1;
    int high = hex_digit(p[1]);
    int low = hex_digit(p[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool uri_decode(struct slice raw, bool plus_is_blank, struct buf *out)
{
    if (raw.len == 0) return true;
    const char *end = raw.ptr + raw.len;
    const char *run = raw.ptr; /* what is copied as it is */
    for (const char *p = raw.ptr; p < end;) {
        if (*p != '%' && !(plus_is_blank && *p == '+')) {
            p++;
            continue;
        }
        buf_append(out, run, (size_t)(p - run));
        if (*p == '+') {
            buf_append_char(out, ' ');
            p++;
        } else {
            int byte = escaped_byte(p, end);
            if (byte < 0) return false;
            buf_append_char(out, (char)byte);
            p += 3;
        }
        run = p;
    }
    buf_append(out, run, (size_t)(end - run));
    return true;
}

static bool is_id_byte(int c)
{
    /* One bit for each of the first 128 bytes. */
    static const uint32_t LEGAL[4] = {0, 0x07ff6000, 0x87ffffff, 0x07fffffe};
    return c >= 0 && c < 128 && (LEGAL[c >> 5] >> (c & 31) & 1);
}

bool uri_id(struct slice raw, char scratch[ID_LEN_MAX], struct slice *out_id)
{
    if (raw.len == 0) return false;
    const char *end = raw.ptr + raw.len;
    bool escaped = false;
    size_t len = 0;
    for (const char *p = raw.ptr; p < end; len++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            c = escaped_byte(p, end);
            /* The first escape: what came before it was plain, so it moves as it is. */
            if (!escaped) memcpy(scratch, raw.ptr, len);
            escaped = true;
            p += 3;
        } else {
            p++;
        }
        if (!is_id_byte(c) || len == ID_LEN_MAX) return false;
        if (escaped) scratch[len] = (char)c;
    }
    struct slice id = {escaped ? scratch : raw.ptr, len};
    if (slice_equal_text(id, ".") || slice_equal_text(id, "..")) return false;
    *out_id = id;
    return true;
}

bool uri_query_next(struct slice *rest, struct slice *out_name, struct slice *out_value)
{
    while (rest->len > 0) {
        const char *end = rest->ptr + rest->len;
        const char *amp = memchr(rest->ptr, '&', rest->len);
        const char *stop = amp != NULL ? amp : end;
        const char *start = rest->ptr;
        const char *next = amp != NULL ? amp + 1 : end;
        *rest = (struct slice){next, (size_t)(end - next)};
        if (stop == start) continue; /* "&&" */
        const char *equals = memchr(start, '=', (size_t)(stop - start));
        const char *name_end = equals != NULL ? equals : stop;
        const char *value = equals != NULL ? equals + 1 : stop;
        *out_name = (struct slice){start, (size_t)(name_end - start)};
        *out_value = (struct slice){value, (size_t)(stop - value)};
        return true;
    }
    return false;
}
