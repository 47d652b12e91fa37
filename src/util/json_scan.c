/* json_scan: one pass over a text, state on the C stack: a bit per open container says whether it is an
 * object. Nothing is allocated and nothing recurses, so hostile nesting costs as much as any other text.
 * Strings are skipped eight bytes at a time. Line and column are counted only once a scan has failed. */
#include "json_scan.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>

_Static_assert(JSON_DEPTH_MAX == 128, "the message in enter() says so");

struct nest {
    uint64_t objects[JSON_DEPTH_MAX / 64];
    unsigned depth;
};

const char *json_scan_fail(struct json_scan *s, const char *at, const char *why)
{
    s->status = STATUS_INVALID_JSON;
    s->at = at;
    s->why = at == s->end ? "the text ends too early" : why;
    return NULL;
}

void json_error_set(struct json_error *error, const char *format, ...)
{
    if (error == NULL) return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->detail, sizeof error->detail, format, args); /* cut where too long */
    va_end(args);
}

int json_error_name_len(struct slice name)
{
    enum { SHOWN_MAX = 64 };
    if (name.len <= SHOWN_MAX) return (int)name.len;
    size_t len = SHOWN_MAX;
    while (len > 0 && ((unsigned char)name.ptr[len] & 0xc0) == 0x80)
        len--;
    return (int)len;
}

void json_scan_describe(const struct json_scan *s, struct json_error *out_error)
{
    if (out_error == NULL) return;
    size_t line = 1;
    const char *line_begin = s->begin;
    for (const char *p = s->begin; p < s->at; p++) {
        if (*p != '\n') continue;
        line++;
        line_begin = p + 1;
    }
    json_error_set(out_error, "line %zu, column %zu: %s", line, (size_t)(s->at - line_begin) + 1, s->why);
}

enum json_type json_type_at(char first)
{
    switch (first) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static inline bool is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x80 && c != '"' && c != '\\';
}

const char *json_skip_plain(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101U;
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        word = le64toh(word);
        uint64_t quotes = word ^ (ones * '"');
        uint64_t slashes = word ^ (ones * '\\');
        /* The top bit of a byte tells that it is no plain one. A borrow can only come from such a byte and
         * only goes upwards, so the lowest mark is always true. */
        uint64_t marks = ((word - ones * ' ') | (quotes - ones) | (slashes - ones) | word) & (ones * 0x80);
        if (marks != 0) return p + __builtin_ctzll(marks) / 8;
        p += 8;
    }
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}

const char *json_skip_string(const char *p, const char *end)
{
    for (p++;; p++) {
        p = json_skip_plain(p, end);
        if (*p == '"') return p + 1;
        if (*p == '\\') p++;
    }
}

static const char *skip_scalar(const char *p, const char *end)
{
    while (p < end && *p != ',' && *p != ']' && *p != '}' && (unsigned char)*p > ' ')
        p++;
    return p;
}

const char *json_skip_value(const char *p, const char *end)
{
    if (*p == '"') return json_skip_string(p, end);
    if (*p != '{' && *p != '[') return skip_scalar(p, end);
    unsigned depth = 0;
    do {
        if (*p == '"') {
            p = json_skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        if (*p == '}' || *p == ']') depth--;
        p++;
    } while (depth > 0);
    return p;
}

static bool is_between(char c, unsigned char low, unsigned char high)
{
    return (unsigned char)c >= low && (unsigned char)c <= high;
}

size_t json_utf8_len(const char *p, const char *end)
{
    unsigned char c = (unsigned char)p[0];
    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return 0;
    if (c < 0xe0) return end - p >= 2 && is_between(p[1], 0x80, 0xbf) ? 2 : 0;
    if (c < 0xf0) {
        unsigned char low = c == 0xe0 ? 0xa0 : 0x80;  /* below: overlong */
        unsigned char high = c == 0xed ? 0x9f : 0xbf; /* above: surrogates */
        return end - p >= 3 && is_between(p[1], low, high) && is_between(p[2], 0x80, 0xbf) ? 3 : 0;
    }
    unsigned char low = c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xf4 ? 0x8f : 0xbf; /* above: beyond U+10FFFF */
    return end - p >= 4 && is_between(p[1], low, high) && is_between(p[2], 0x80, 0xbf) &&
                   is_between(p[3], 0x80, 0xbf)
               ? 4
               : 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const char *scan_escape(struct json_scan *s, const char *p)
{
    const char *letter = p + 1;
    if (letter == s->end) return json_scan_fail(s, letter, "");
    if (*letter != 'u') {
        static const char letters[] = {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'};
        if (memchr(letters, *letter, sizeof letters) == NULL) return json_scan_fail(s, p, "no such escape");
        return letter + 1;
    }
    for (const char *digit = letter + 1; digit <= letter + 4; digit++) {
        if (digit == s->end) return json_scan_fail(s, digit, "");
        if (!is_hex(*digit)) return json_scan_fail(s, p, "\\u needs four hexadecimal digits");
    }
    return letter + 5;
}

static const char *scan_string(struct json_scan *s, const char *p)
{
    s->escaped = false;
    for (p++;;) {
        p = json_skip_plain(p, s->end);
        if (p == s->end) return json_scan_fail(s, p, "");
        if (*p == '"') return p + 1;
        if (*p == '\\') {
            s->escaped = true;
            p = scan_escape(s, p);
            if (p == NULL) return NULL;
        } else if ((unsigned char)*p < ' ') {
            return json_scan_fail(s, p, "a control character in a string must be escaped");
        } else {
            do {
                size_t len = json_utf8_len(p, s->end);
                if (len == 0) return json_scan_fail(s, p, "these bytes are not UTF-8");
                p += len;
            } while (p < s->end && (unsigned char)*p >= 0x80);
        }
    }
}

static const char *scan_digits(struct json_scan *s, const char *p)
{
    if (p == s->end || !is_digit(*p)) return json_scan_fail(s, p, "expected a digit");
    while (p < s->end && is_digit(*p))
        p++;
    return p;
}

static const char *scan_number(struct json_scan *s, const char *p)
{
    if (*p == '-') p++;
    if (p < s->end && *p == '0') {
        p++;
        if (p < s->end && is_digit(*p)) return json_scan_fail(s, p, "a number must not begin with 0");
    } else if ((p = scan_digits(s, p)) == NULL) {
        return NULL;
    }
    if (p < s->end && *p == '.' && (p = scan_digits(s, p + 1)) == NULL) return NULL;
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < s->end && (*p == '+' || *p == '-')) p++;
        p = scan_digits(s, p);
    }
    return p;
}

static const char *scan_word(struct json_scan *s, const char *p, struct slice word)
{
    size_t left = (size_t)(s->end - p);
    size_t len = left < word.len ? left : word.len;
    if (memcmp(p, word.ptr, len) != 0) return json_scan_fail(s, p, "expected a value");
    if (len < word.len) return json_scan_fail(s, s->end, "");
    return p + len;
}

static const char *scan_scalar(struct json_scan *s, const char *p)
{
    switch (*p) {
    case '"':
        return scan_string(s, p);
    case 't':
        return scan_word(s, p, SLICE_LITERAL("true"));
    case 'f':
        return scan_word(s, p, SLICE_LITERAL("false"));
    case 'n':
        return scan_word(s, p, SLICE_LITERAL("null"));
    default:
        if (*p != '-' && !is_digit(*p)) return json_scan_fail(s, p, "expected a value");
        return scan_number(s, p);
    }
}

const char *json_scan_name(struct json_scan *s, const char *p, struct slice *out_name)
{
    if (p == s->end || *p != '"') return json_scan_fail(s, p, "expected a member's name in quotes");
    const char *name = p + 1;
    p = scan_string(s, p);
    if (p == NULL) return NULL;
    *out_name = (struct slice){name, (size_t)(p - 1 - name)};
    p = json_skip_blanks(p, s->end);
    if (p == s->end || *p != ':') return json_scan_fail(s, p, "expected a colon");
    return p + 1;
}

static bool in_object(const struct nest *nest)
{
    unsigned top = nest->depth - 1;
    return (nest->objects[top / 64] >> (top % 64) & 1) != 0;
}

/* Enters the container that begins at `p`. *out_open: a value of it should follow; else it was empty. */
static const char *enter(struct json_scan *s, struct nest *nest, const char *p, bool *out_open)
{
    if (nest->depth == JSON_DEPTH_MAX) {
        s->status = STATUS_UNPROCESSABLE;
        s->at = p;
        s->why = "nested deeper than 128 levels";
        return NULL;
    }
    unsigned top = nest->depth++;
    bool object = *p == '{';
    uint64_t bit = (uint64_t)1 << (top % 64);
    nest->objects[top / 64] = object ? nest->objects[top / 64] | bit : nest->objects[top / 64] & ~bit;
    p = json_skip_blanks(p + 1, s->end);
    *out_open = p == s->end || *p != (object ? '}' : ']');
    if (!*out_open) {
        nest->depth--;
        return p + 1;
    }
    struct slice name;
    return object ? json_scan_name(s, p, &name) : p;
}

/* Reads what follows a value: leaves the containers that end here. *out_open: another value should follow;
 * else `depth` is reached. */
static const char *leave(struct json_scan *s, struct nest *nest, const char *p, unsigned depth,
                         bool *out_open)
{
    *out_open = false;
    while (nest->depth > depth) {
        bool object = in_object(nest);
        p = json_skip_blanks(p, s->end);
        if (p < s->end && *p == ',') {
            struct slice name;
            *out_open = true;
            return object ? json_scan_name(s, json_skip_blanks(p + 1, s->end), &name) : p + 1;
        }
        if (p == s->end || *p != (object ? '}' : ']'))
            return json_scan_fail(s, p, object ? "expected a comma or }" : "expected a comma or ]");
        nest->depth--;
        p++;
    }
    return p;
}

const char *json_scan_value(struct json_scan *s, const char *p, unsigned depth)
{
    struct nest nest = {.depth = depth};
    for (;;) {
        p = json_skip_blanks(p, s->end);
        if (p == s->end) return json_scan_fail(s, p, "");
        bool open = false;
        p = *p == '{' || *p == '[' ? enter(s, &nest, p, &open) : scan_scalar(s, p);
        if (p == NULL) return NULL;
        if (open) continue;
        p = leave(s, &nest, p, depth, &open);
        if (p == NULL || !open) return p;
    }
}

bool json_utf8_valid(struct slice bytes)
{
    const char *p = bytes.ptr, *end = bytes.ptr + bytes.len;
    while (bytes.len && p < end) {
        size_t len = json_utf8_len(p, end);
        if (len == 0) return false;
        p += len;
    }
    return true;
}
