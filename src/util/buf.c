/* buf: one block, grown by half through realloc (which moves large blocks by mremap, without copying them).
 * `failed` is sticky: it is what makes a chain of unchecked appends safe. */
#include "util/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAP_MIN = 64 };

/* Makes room for `cap` bytes in all, whatever `max` says. */
static bool grow(struct buf *b, size_t cap)
{
    if (cap <= b->cap) return true;
    size_t wanted = b->cap + b->cap / 2;
    if (b->max != 0 && wanted > b->max) wanted = b->max;
    if (wanted < CAP_MIN) wanted = CAP_MIN;
    if (wanted < cap) wanted = cap;
    char *ptr = realloc(b->ptr, wanted);
    if (ptr == NULL) {
        b->failed = true;
        return false;
    }
    b->ptr = ptr;
    b->cap = wanted;
    return true;
}

static bool admits(struct buf *b, size_t more)
{
    if (b->failed) return false;
    size_t max = b->max != 0 ? b->max : SIZE_MAX / 2;
    if (b->len > max || more > max - b->len) {
        b->failed = true;
        return false;
    }
    return true;
}

void buf_reserve(struct buf *b, size_t more)
{
    if (admits(b, more)) (void)grow(b, b->len + more);
}

void buf_append(struct buf *b, const void *bytes, size_t len)
{
    if (len == 0 || !admits(b, len) || !grow(b, b->len + len)) return;
    memcpy(b->ptr + b->len, bytes, len);
    b->len += len;
}

void buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.ptr, s.len);
}

void buf_append_text(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_append_char(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    if (b->failed) return;
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    size_t room = b->cap - b->len;
    int len = vsnprintf(room > 0 ? b->ptr + b->len : NULL, room, format, args);
    va_end(args);
    if (len < 0) {
        b->failed = true;
    } else if (admits(b, (size_t)len)) {
        /* vsnprintf writes a NUL behind the text: that byte may lie beyond max, it is never part of len. */
        if ((size_t)len < room) {
            b->len += (size_t)len;
        } else if (grow(b, b->len + (size_t)len + 1)) {
            (void)vsnprintf(b->ptr + b->len, (size_t)len + 1, format, again);
            b->len += (size_t)len;
        }
    }
    va_end(again);
}

void buf_append_i64(struct buf *b, long long value)
{
    char digits[24];
    char *p = digits + sizeof digits;
    unsigned long long rest = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0) *--p = '-';
    buf_append(b, p, (size_t)(digits + sizeof digits - p));
}

struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->ptr, b->len};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

void buf_deinit(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){.max = b->max};
}
