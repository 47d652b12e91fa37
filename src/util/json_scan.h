/* json_scan: the pieces that the files of util/json share. Private to src/util. A scan runs over a text that
 * is not NUL-terminated; each json_scan_* returns the place behind what it read, or NULL with status, at and
 * why set. */
#ifndef PHOENIX_UTIL_JSON_SCAN_H
#define PHOENIX_UTIL_JSON_SCAN_H

#include "util/json.h"

struct json_scan {
    const char *begin, *end;
    enum status status;
    const char *at;  /* where it failed */
    const char *why; /* static */
    bool escaped;    /* the last string read holds an escape */
};

const char *json_scan_fail(struct json_scan *s, const char *at, const char *why);
/* Writes why and where the scan failed. `out_error` may be NULL. */
void json_scan_describe(const struct json_scan *s, struct json_error *out_error);

/* `p` is at the first byte of a value; `depth` containers are open around it. */
const char *json_scan_value(struct json_scan *s, const char *p, unsigned depth);
/* `p` is where a member's name should begin; returns where its value should begin. The name is what stands
 * between the quotes. */
const char *json_scan_name(struct json_scan *s, const char *p, struct slice *out_name);

enum json_type json_type_at(char first);

/* Length of the UTF-8 sequence at `p`, 0 when it is none (overlong, surrogate, beyond U+10FFFF, cut short).
 */
size_t json_utf8_len(const char *p, const char *end);
/* Appends UTF-8; of a lone surrogate the three bytes that no valid text holds, which keeps names apart. */
void json_append_point(struct buf *out, uint32_t point);
/* Appends a code point as it stands in a canonical string: escaped only where JSON demands it. */
void json_append_point_escaped(struct buf *out, uint32_t point);

/* The code point at *at, which is within a validated string, and moves on. A lone surrogate is returned as it
 * is. */
uint32_t json_next_point(const char **at);
/* Orders names, given from behind their opening quotes up to their closing ones, by code points once decoded:
 * the order of their UTF-8 bytes. */
int json_compare_names(const char *a, const char *b);

static inline bool json_is_surrogate(uint32_t point)
{
    return point >= 0xd800 && point <= 0xdfff;
}

static inline const char *json_skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* Skips what means nothing within a string: ASCII from the blank on but quote and backslash. */
const char *json_skip_plain(const char *p, const char *end);
/* The places behind the string and the value that begin at `p` within a validated text. */
const char *json_skip_string(const char *p, const char *end);
const char *json_skip_value(const char *p, const char *end);

/* Sets detail by a format. `error` may be NULL. */
void json_error_set(struct json_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether what stands between a name's quotes means `wanted` (ASCII). */
bool json_name_means(struct slice name, bool escaped, const char *wanted);
/* How many bytes of a name fit into a detail: whole characters. */
int json_error_name_len(struct slice name);

#endif
