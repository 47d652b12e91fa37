/* slice: a borrowed run of bytes. Never owns, never NUL-terminated; ptr NULL means absent. */
#ifndef PHOENIX_UTIL_SLICE_H
#define PHOENIX_UTIL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE_LITERAL(s) ((struct slice){(s), sizeof(s) - 1})
#define SLICE_NONE       ((struct slice){NULL, 0})

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_equal_text(struct slice a, const char *text)
{
    return slice_equal(a, slice_of(text));
}

/* ASCII case-insensitive, as HTTP compares names. */
bool slice_equal_nocase(struct slice a, struct slice b);

/* Without leading and trailing blanks and tabs. */
struct slice slice_trim(struct slice s);

/* The next element of a comma-separated header list, trimmed; commas inside quotes do not part. `rest` is
 * consumed. False at the end. */
bool slice_list_next(struct slice *rest, struct slice *out);

#endif
