/* buf: a growable byte buffer with a bound. A zeroed struct buf is empty and valid. Growth is by half
 * (large blocks move by mremap). Once an append fails (bound or memory) `failed` stays set and further
 * appends do nothing, so that a writer checks once, at the end. One thread at a time. */
#ifndef PHOENIX_UTIL_BUF_H
#define PHOENIX_UTIL_BUF_H

#include "util/slice.h"

#include <stdarg.h>

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max; /* bytes; 0: unbounded, for content whose size is bounded elsewhere */
    bool failed;
};

void buf_reserve(struct buf *b, size_t more);
void buf_append(struct buf *b, const void *bytes, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_text(struct buf *b, const char *text);
void buf_append_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_append_i64(struct buf *b, long long value);

struct slice buf_slice(const struct buf *b);
/* Empties, and forgets a failure, without giving memory back. */
void buf_clear(struct buf *b);
void buf_deinit(struct buf *b);

#endif
