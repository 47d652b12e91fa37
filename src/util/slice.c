/* slice: what does not belong inline. No state. */
#include "util/slice.h"

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i])) return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    return s;
}

bool slice_list_next(struct slice *rest, struct slice *out)
{
    if (!rest->ptr) return false;
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len && (quoted || rest->ptr[i] != ','); i++)
        if (rest->ptr[i] == '"') quoted = !quoted;
    *out = slice_trim((struct slice){rest->ptr, i});
    *rest = i < rest->len ? (struct slice){rest->ptr + i + 1, rest->len - i - 1} : SLICE_NONE;
    return true;
}
