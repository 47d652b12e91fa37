/* json: validation, the members of one object, numbers. The scanning is json_scan's. json_read_object
 * looks at the members while it scans; what is wrong with one is kept until the text has proved to be JSON,
 * for a text that is none must be told so first. */
#include "util/json.h"

#include "json_names.h"
#include "json_scan.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct reading {
    struct json_scan scan;
    struct json_field *fields;
    size_t count;
    bool unknown_refused;
    struct json_names unknown; /* unknown names seen; a known one is seen when its field has a type */
    enum status refused;       /* the first thing that was wrong with a member */
    struct json_error *error;
};

static const char *finish(struct json_scan *scan, const char *p)
{
    p = json_skip_blanks(p, scan->end);
    if (p == scan->end) return p;
    return json_scan_fail(scan, p, "nothing may follow the value");
}

static struct json_scan scan_of(struct slice text)
{
    /* An absent text is an empty one, but arithmetic needs a pointer. */
    const char *begin = text.ptr != NULL ? text.ptr : "";
    return (struct json_scan){.begin = begin, .end = begin + text.len};
}

enum status json_validate(struct slice text, enum json_type *out_type, struct json_error *out_error)
{
    struct json_scan scan = scan_of(text);
    const char *value = json_skip_blanks(scan.begin, scan.end);
    const char *p = json_scan_value(&scan, value, 0);
    if (p != NULL) p = finish(&scan, p);
    if (p == NULL) {
        json_scan_describe(&scan, out_error);
        return scan.status;
    }
    if (out_type != NULL) *out_type = json_type_at(*value);
    return STATUS_OK;
}

static void refuse(struct reading *r, const char *what, const char *before, struct slice name,
                   const char *after)
{
    r->refused = STATUS_UNPROCESSABLE;
    json_error_set(r->error, "%s%s\"%.*s\"%s", what, before, json_error_name_len(name), name.ptr, after);
}

static void refuse_type(struct reading *r, const struct json_field *field)
{
    static const struct {
        enum json_type type;
        const char *text;
    } kinds[] = {{JSON_NULL, "null"},       {JSON_BOOL, "true or false"}, {JSON_NUMBER, "a number"},
                 {JSON_STRING, "a string"}, {JSON_ARRAY, "an array"},     {JSON_OBJECT, "an object"}};
    char list[96] = "";
    size_t len = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if ((field->types & kinds[i].type) == 0) continue;
        int more = snprintf(list + len, sizeof list - len, "%s%s", len > 0 ? " or " : "", kinds[i].text);
        len += (size_t)more;
        assert(len < sizeof list);
    }
    r->refused = STATUS_UNPROCESSABLE;
    json_error_set(r->error, "member \"%s\" must be %s", field->name, list);
}

static struct json_field *find_field(struct reading *r, struct slice name)
{
    char first = name.len > 0 ? name.ptr[0] : '\0';
    for (size_t i = 0; i < r->count; i++) {
        struct json_field *field = &r->fields[i];
        /* most fields are told apart by their first byte, before any call */
        if (field->name[0] != first && !r->scan.escaped) continue;
        if (json_name_means(name, r->scan.escaped, field->name)) return field;
    }
    return NULL;
}

/* Notes a member's name; its value follows. Returns the field that wants it. */
static struct json_field *take_name(struct reading *r, struct slice name)
{
    if (r->refused != STATUS_OK) return NULL;
    struct json_field *field = find_field(r, name);
    bool seen = false;
    if (field != NULL) {
        seen = field->type != JSON_ABSENT;
    } else if (r->unknown_refused) {
        refuse(r, "unknown ", "member ", name, "");
        return NULL;
    } else {
        enum json_names_result result = json_names_add(&r->unknown, r->scan.begin, name, r->scan.escaped);
        if (result == JSON_NAME_NO_ROOM) {
            r->refused = STATUS_OVERLOADED;
            json_error_set(r->error, "the object has more members than fit into memory");
        }
        seen = result == JSON_NAME_SEEN;
    }
    if (seen) refuse(r, "", "member ", name, " appears twice");
    return seen ? NULL : field;
}

static void take_value(struct reading *r, struct json_field *field, struct slice raw)
{
    field->type = json_type_at(raw.ptr[0]);
    field->raw = raw;
    if ((field->types & field->type) == 0) refuse_type(r, field);
}

/* `p` is behind the opening brace. */
static const char *read_members(struct reading *r, const char *p)
{
    struct json_scan *scan = &r->scan;
    p = json_skip_blanks(p, scan->end);
    if (p < scan->end && *p == '}') return p + 1;
    for (;;) {
        struct slice name;
        p = json_scan_name(scan, p, &name);
        if (p == NULL) return NULL;
        struct json_field *field = take_name(r, name);
        const char *value = json_skip_blanks(p, scan->end);
        p = json_scan_value(scan, value, 1);
        if (p == NULL) return NULL;
        if (field != NULL) take_value(r, field, (struct slice){value, (size_t)(p - value)});
        p = json_skip_blanks(p, scan->end);
        if (p < scan->end && *p == '}') return p + 1;
        if (p == scan->end || *p != ',') return json_scan_fail(scan, p, "expected a comma or }");
        p = json_skip_blanks(p + 1, scan->end);
    }
}

static void refuse_missing(struct reading *r)
{
    for (size_t i = 0; i < r->count && r->refused == STATUS_OK; i++) {
        const struct json_field *field = &r->fields[i];
        if (field->required && field->type == JSON_ABSENT)
            refuse(r, "", "member ", slice_of(field->name), " is missing");
    }
}

enum status json_read_object(struct slice text, struct json_field *fields, size_t count, bool unknown_refused,
                             struct json_error *out_error)
{
    struct reading r = {.scan = scan_of(text), .fields = fields, .count = count, .error = out_error};
    r.unknown_refused = unknown_refused;
    for (size_t i = 0; i < count; i++) {
        fields[i].type = JSON_ABSENT;
        fields[i].raw = SLICE_NONE;
    }
    const char *p = json_skip_blanks(r.scan.begin, r.scan.end);
    if (p < r.scan.end && *p == '{') {
        p = read_members(&r, p + 1);
    } else {
        p = json_scan_value(&r.scan, p, 0);
        r.refused = STATUS_UNPROCESSABLE;
        json_error_set(out_error, "expected an object");
    }
    json_names_deinit(&r.unknown);
    if (p != NULL) p = finish(&r.scan, p);
    if (p == NULL) {
        json_scan_describe(&r.scan, out_error);
        return r.scan.status;
    }
    if (r.refused == STATUS_OK) refuse_missing(&r);
    return r.refused;
}

/* A number as digits × 10^exponent, with neither leading nor trailing zeros in `digits`. */
struct decimal {
    uint64_t digits;
    size_t
        digit_count; /* over 19: `digits` is not exact, and the number is beyond int64_t or has a fraction */
    int64_t exponent;
    bool negative;
};

static int64_t read_exponent(const char *p, const char *end)
{
    enum { EXPONENT_MAX = 1000000000 }; /* no text is as long, so no digits could make up for it */
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    int64_t value = 0;
    for (; p < end; p++) {
        value = value * 10 + (*p - '0');
        if (value > EXPONENT_MAX) value = EXPONENT_MAX;
    }
    return negative ? -value : value;
}

static struct decimal read_decimal(struct slice raw)
{
    struct decimal d = {0};
    const char *end = raw.ptr + raw.len;
    const char *p = raw.ptr;
    bool fraction = false;
    size_t zeros = 0; /* seen since the last other digit: part of `digits` only if another follows */
    if (*p == '-') {
        d.negative = true;
        p++;
    }
    for (; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (fraction) d.exponent--;
        if (*p == '0') {
            if (d.digit_count > 0) zeros++;
            continue;
        }
        d.digit_count += zeros + 1;
        for (; zeros > 0 && d.digit_count <= 19; zeros--)
            d.digits *= 10;
        zeros = 0;
        if (d.digit_count <= 19) d.digits = d.digits * 10 + (uint64_t)(*p - '0');
    }
    d.exponent += (int64_t)zeros;
    if (p < end) d.exponent += read_exponent(p + 1, end);
    return d;
}

enum status json_int(struct slice raw, const char *name, int64_t min, int64_t max, int64_t *out_value,
                     struct json_error *out_error)
{
    assert(raw.len > 0);
    struct decimal d = read_decimal(raw);
    if (d.digit_count > 0 && d.exponent < 0) {
        json_error_set(out_error, "member \"%s\" must be a whole number", name);
        return STATUS_UNPROCESSABLE;
    }
    uint64_t magnitude = d.digits;
    uint64_t limit = d.negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    bool fits = d.digit_count <= 19 && magnitude <= limit;
    for (int64_t i = 0; fits && magnitude != 0 && i < d.exponent; i++) {
        fits = magnitude <= limit / 10;
        if (fits) magnitude *= 10;
    }
    int64_t value = d.negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    if (!fits || value < min || value > max) {
        json_error_set(out_error, "member \"%s\" must be between %lld and %lld", name, (long long)min,
                       (long long)max);
        return STATUS_INVALID_ARGUMENT;
    }
    *out_value = value;
    return STATUS_OK;
}

enum status json_seconds(struct slice raw, const char *name, int64_t min_ms, int64_t max_ms, int64_t *out_ms,
                         struct json_error *out_error)
{
    char text[64];
    double min = (double)min_ms / 1000, max = (double)max_ms / 1000, seconds = -1;
    if (raw.len < sizeof text) {
        memcpy(text, raw.ptr, raw.len);
        text[raw.len] = 0;
        seconds = strtod(text, NULL);
    }
    if (seconds >= min && seconds <= max) {
        *out_ms = llround(seconds * 1000);
        return STATUS_OK;
    }
    if (out_error)
        snprintf(out_error->detail, sizeof out_error->detail, "%s must be between %.15g and %.15g seconds",
                 name, min, max);
    return STATUS_INVALID_ARGUMENT;
}
