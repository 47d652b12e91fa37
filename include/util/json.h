/* json: a validating scanner (RFC 8259). It checks the whole text (syntax, UTF-8, depth), in O(bytes) and
 * without building a tree, and hands out raw slices: what the daemon does not interpret keeps its bytes.
 * It needs no cJSON; documents that the daemon itself makes are built with util/json_doc. No function keeps
 * state; any thread. Slices point into the caller's text. `out_error` may be NULL. Where memory or out's
 * bound does not suffice a function that appends or that meets many members returns STATUS_OVERLOADED. */
#ifndef PHOENIX_UTIL_JSON_H
#define PHOENIX_UTIL_JSON_H

#include "util/buf.h"
#include "util/slice.h"
#include "util/status.h"

#include <stdint.h>

enum { JSON_DEPTH_MAX = 128 };

enum json_type {
    JSON_ABSENT = 0,
    JSON_NULL = 1 << 0,
    JSON_BOOL = 1 << 1,
    JSON_NUMBER = 1 << 2,
    JSON_STRING = 1 << 3,
    JSON_ARRAY = 1 << 4,
    JSON_OBJECT = 1 << 5,
    JSON_ANY = (1 << 6) - 1
};

/* Why a text was refused, ready for a problem's `detail`: names the member, or line and column (from 1,
 * columns in bytes). */
struct json_error {
    char detail[192];
};

/* One member that the caller wants of an object. Filled by json_read_object. */
struct json_field {
    const char *name;    /* in: compared with the decoded name */
    unsigned types;      /* in: allowed enum json_type bits; another type is UNPROCESSABLE */
    bool required;       /* in: absence is UNPROCESSABLE */
    enum json_type type; /* out: JSON_ABSENT when not there */
    struct slice raw;    /* out: the value's bytes, strings with their quotes, no blanks around */
};

/* Validates `text` as one JSON value and nothing else. Returns STATUS_OK, STATUS_INVALID_JSON (syntax or
 * UTF-8; detail has line and column) or STATUS_UNPROCESSABLE (nested deeper than JSON_DEPTH_MAX). */
enum status json_validate(struct slice text, enum json_type *out_type, struct json_error *out_error);

/* Validates `text` as json_validate does, demands an object, and fills `fields`. Duplicate members of this
 * object (any name, compared decoded), a wrong type, a missing required member, and with `unknown_refused`
 * a member not in `fields` are STATUS_UNPROCESSABLE, named in detail; where the text is no JSON at all that
 * is told instead. After a refusal `fields` are not to be read. Field names are ASCII. Takes O(bytes), and no
 * memory unless unknown members are many or have escapes in their names. */
enum status json_read_object(struct slice text, struct json_field *fields, size_t count, bool unknown_refused,
                             struct json_error *out_error);

/* Appends the decoded UTF-8 of a validated raw string (with quotes). `\u0000` and lone surrogates are
 * STATUS_UNPROCESSABLE, named with `name`. When the string holds no escape, json_string_plain gives the bytes
 * without a copy (else ptr NULL). */
enum status json_string_decode(struct slice raw, const char *name, struct buf *out,
                               struct json_error *out_error);
struct slice json_string_plain(struct slice raw);

/* Strictly: no overlongs, no surrogates. */
bool json_utf8_valid(struct slice bytes);

/* A validated raw number as a whole number. STATUS_UNPROCESSABLE where it has a fraction (1.0 and 1e2 count
 * as whole), STATUS_INVALID_ARGUMENT outside [min, max]; both name `name`. */
enum status json_int(struct slice raw, const char *name, int64_t min, int64_t max, int64_t *out_value,
                     struct json_error *out_error);

/* A validated raw number of seconds, fractions allowed, as milliseconds. STATUS_INVALID_ARGUMENT outside
 * [min_ms, max_ms] or where it is written with over 63 characters; names `name` and the bounds, in seconds.
 */
enum status json_seconds(struct slice raw, const char *name, int64_t min_ms, int64_t max_ms, int64_t *out_ms,
                         struct json_error *out_error);

/* Appends the canonical form of a validated object: members sorted by the UTF-8 bytes of their decoded names
 * at every level, no blanks, strings escaped as RFC 8785 does, numbers as written. Duplicates at any level,
 * `\u0000` and lone surrogates are STATUS_UNPROCESSABLE. */
enum status json_canonical(struct slice raw, struct buf *out, struct json_error *out_error);

/* Appends text as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void json_append_string(struct buf *out, struct slice text);

#endif
