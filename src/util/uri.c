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

/* By byte: whether it may stand in an id. A look-up per byte: this runs over every key of every request. */
static const bool id_byte[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['.'] = true,
    ['_'] = true,         [':'] = true,         ['@'] = true,         ['-'] = true,
};

static size_t plain_run(struct slice s)
{
    size_t len = 0;
    while (len < s.len && id_byte[(unsigned char)s.ptr[len]])
        len++;
    return len;
}

static bool is_dots(struct slice id)
{
    return id.ptr[0] == '.' && (id.len == 1 || (id.len == 2 && id.ptr[1] == '.'));
}

bool uri_id(struct slice raw, char scratch[ID_LEN_MAX], struct slice *out_id)
{
    if (raw.len == 0) return false;
    struct slice id = {raw.ptr, plain_run(raw)};
    if (id.len > ID_LEN_MAX) return false;
    if (id.len < raw.len) {
        const char *end = raw.ptr + raw.len;
        memcpy(scratch, raw.ptr, id.len);
        for (const char *p = raw.ptr + id.len; p < end;) {
            int c = *p == '%' ? escaped_byte(p, end) : (unsigned char)*p;
            if (c < 0 || !id_byte[c] || id.len == ID_LEN_MAX) return false;
            p += *p == '%' ? 3 : 1;
            scratch[id.len++] = (char)c;
        }
        id.ptr = scratch;
    }
    if (is_dots(id)) return false;
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
