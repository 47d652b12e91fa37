/* config_value: one option from its text. Stricter than strtoll and strtod, which also take blanks, hex,
 * infinities and whatever the locale says. */
#include "config/config_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_SHOWN_MAX = 40 };

static struct slice trim(struct slice s)
{
    while (s.len && strchr(" \t\r\n", s.ptr[0]))
        s = (struct slice){s.ptr + 1, s.len - 1};
    while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Takes digits from the front. False: none, or more than an int64_t holds. */
static bool take_digits(struct slice *rest, int64_t *out)
{
    int64_t value = 0;
    size_t used = 0;
    for (; used < rest->len && rest->ptr[used] >= '0' && rest->ptr[used] <= '9'; used++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (int64_t)(rest->ptr[used] - '0'), &value))
            return false;
    if (used == 0) return false;
    *rest = (struct slice){rest->ptr + used, rest->len - used};
    *out = value;
    return true;
}

static bool unit_factor(struct slice unit, int64_t *out)
{
    static const char *const names[] = {"", "KiB", "MiB", "GiB", "TiB"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_equal_text(unit, names[i])) {
            *out = (int64_t)1 << (10 * i);
            return true;
        }
    return false;
}

static bool parse_int(const struct config_option *o, struct slice text, int64_t *out)
{
    bool negative = text.len && text.ptr[0] == '-';
    if (negative) text = (struct slice){text.ptr + 1, text.len - 1};
    int64_t value, factor = 1;
    if (!take_digits(&text, &value)) return false;
    text = trim(text);
    if (text.len && (strcmp(o->unit, "bytes") != 0 || !unit_factor(text, &factor))) return false;
    if (__builtin_mul_overflow(value, factor, &value)) return false;
    *out = negative ? -value : value;
    return true;
}

static bool parse_num(struct slice text, double *out)
{
    char copy[64];
    if (text.len == 0 || text.len >= sizeof copy) return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (strspn(copy, "0123456789.-") != text.len) return false;
    char *end;
    double value = strtod(copy, &end);
    if (end == copy || *end) return false;
    *out = value;
    return true;
}

static bool parse_bool(struct slice text, bool *out)
{
    static const struct {
        const char *name;
        bool value;
    } names[] = {{"true", true}, {"false", false}, {"yes", true}, {"no", false},
                 {"on", true},   {"off", false},   {"1", true},   {"0", false}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_equal_text(text, names[i].name)) {
            *out = names[i].value;
            return true;
        }
    return false;
}

static bool set_int(struct config_load *load, size_t at, struct slice text, void *field)
{
    const struct config_option *o = &config_options[at];
    bool bytes = strcmp(o->unit, "bytes") == 0;
    int64_t value;
    int shown = (int)(text.len < NUMBER_SHOWN_MAX ? text.len : NUMBER_SHOWN_MAX);
    const char *more = bytes ? " bytes, or with KiB, MiB or GiB behind the number" : "";
    if (!parse_int(o, text, &value))
        return config_fail_option(load, at, "\"%.*s\" is no whole number%s%s; give %lld to %lld%s%s", shown,
                                  text.ptr, bytes || !*o->unit ? "" : " of ", bytes ? "" : o->unit,
                                  (long long)o->int_min, (long long)o->int_max, bytes || !*o->unit ? "" : " ",
                                  bytes ? more : o->unit);
    if (value < o->int_min || value > o->int_max)
        return config_fail_option(load, at, "\"%.*s\" is out of range; give %lld to %lld%s%s", shown,
                                  text.ptr, (long long)o->int_min, (long long)o->int_max,
                                  bytes || !*o->unit ? "" : " ", bytes ? more : o->unit);
    memcpy(field, &value, sizeof value);
    return true;
}

static bool set_num(struct config_load *load, size_t at, struct slice text, void *field)
{
    const struct config_option *o = &config_options[at];
    double value;
    int shown = (int)(text.len < NUMBER_SHOWN_MAX ? text.len : NUMBER_SHOWN_MAX);
    if (!parse_num(text, &value))
        return config_fail_option(load, at, "\"%.*s\" is no number; give %g to %g", shown, text.ptr,
                                  o->num_min, o->num_max);
    if (!(value >= o->num_min && value <= o->num_max))
        return config_fail_option(load, at, "\"%.*s\" is out of range; give %g to %g", shown, text.ptr,
                                  o->num_min, o->num_max);
    memcpy(field, &value, sizeof value);
    return true;
}

static bool set_bool(struct config_load *load, size_t at, struct slice text, void *field)
{
    bool value;
    int shown = (int)(text.len < NUMBER_SHOWN_MAX ? text.len : NUMBER_SHOWN_MAX);
    if (!parse_bool(text, &value))
        return config_fail_option(load, at, "\"%.*s\" is neither true nor false; give one of these", shown,
                                  text.ptr);
    memcpy(field, &value, sizeof value);
    return true;
}

/* A blank before ';' or '#' would be a comment in a file, or be meant as one: no legal value needs it, and
 * what
 * --print-config prints must read back. */
static bool set_str(struct config_load *load, size_t at, struct slice text, void *field)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < ' ' || c == 0x7f) return config_fail_option(load, at, "holds a control character; remove it");
        if ((c == ';' || c == '#') && (i == 0 || text.ptr[i - 1] == ' '))
            return config_fail_option(load, at,
                                      "holds \"%c\" after a blank; put a comment on a line of its own", c);
    }
    char *copy = strndup(text.len ? text.ptr : "", text.len);
    if (!copy) return config_fail_option(load, at, "no memory");
    char *old;
    memcpy(&old, field, sizeof old);
    free(old);
    memcpy(field, &copy, sizeof copy);
    return true;
}

bool config_set(struct config_load *load, size_t at, struct slice text, int line)
{
    const struct config_option *o = &config_options[at];
    void *field = (char *)&load->config + o->offset;
    load->line[at] = line;
    text = trim(text);
    switch (o->kind) {
    case CONFIG_INT:
        return set_int(load, at, text, field);
    case CONFIG_NUM:
        return set_num(load, at, text, field);
    case CONFIG_BOOL:
        return set_bool(load, at, text, field);
    case CONFIG_STR:
        return set_str(load, at, text, field);
    }
    return false;
}
