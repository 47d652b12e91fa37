/* json_canonical: the canonical form of a validated object, written from the text itself. Each object's
 * members are collected (12 bytes each), sorted and written in turn, the values below them likewise; that
 * recursion is bounded by JSON_DEPTH_MAX. To collect members their values are skipped, which would cost bytes
 * × depth; so the ends of the larger containers are noted beforehand, in one pass, and skipped to. */
#include "json_scan.h"

#include <assert.h>
#include <stdlib.h>

enum { EXTENT_MIN = 256 }; /* bytes; shorter containers are skipped by reading them */

/* Offsets in the text. */
struct member {
    uint32_t name, name_len, value;
};

struct extent {
    uint32_t begin, end;
};

struct canon {
    const char *begin, *end;
    struct buf *out;
    struct member *members; /* a stack: those of the objects being written */
    size_t member_count, member_cap;
    struct extent *extents; /* by begin */
    size_t extent_count, extent_cap;
    enum status status;
    struct json_error *error;
};

static const char *emit_value(struct canon *c, const char *p);

static const char *fail_memory(struct canon *c)
{
    c->status = STATUS_OVERLOADED;
    json_error_set(c->error, "the object is too large");
    return NULL;
}

/* An array of `size`-byte items with room for one more; NULL, and the old one kept, without memory. */
static void *with_room(void *items, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) return items;
    size_t wanted = *cap + *cap / 2 + 16;
    void *more = reallocarray(items, wanted, size);
    if (more != NULL) *cap = wanted;
    return more;
}

static bool note_extents(struct canon *c)
{
    size_t open[JSON_DEPTH_MAX];
    unsigned depth = 0;
    for (const char *p = c->begin; p < c->end;) {
        if (*p == '"') {
            p = json_skip_string(p, c->end);
            continue;
        }
        uint32_t offset = (uint32_t)(p - c->begin);
        if (*p == '{' || *p == '[') {
            void *more = with_room(c->extents, c->extent_count, &c->extent_cap, sizeof *c->extents);
            if (more == NULL) return false;
            c->extents = more;
            open[depth++] = c->extent_count;
            c->extents[c->extent_count++] = (struct extent){offset, 0};
        } else if (*p == '}' || *p == ']') {
            assert(depth > 0);
            size_t at = open[--depth];
            c->extents[at].end = offset + 1;
            /* A short one has nothing but short ones in it, and they are gone already. */
            if (c->extents[at].end - c->extents[at].begin < EXTENT_MIN) c->extent_count = at;
        }
        p++;
    }
    return true;
}

static int compare_extents(const void *a, const void *b)
{
    const struct extent *x = a;
    const struct extent *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static const char *skip_value(const struct canon *c, const char *p)
{
    if (*p != '{' && *p != '[') return json_skip_value(p, c->end);
    struct extent wanted = {(uint32_t)(p - c->begin), 0};
    const struct extent *found =
        c->extent_count > 0 ? bsearch(&wanted, c->extents, c->extent_count, sizeof wanted, compare_extents)
                            : NULL;
    if (found != NULL) return c->begin + found->end;
    return json_skip_value(p, c->end);
}

static int compare_members(const void *a, const void *b, void *text)
{
    const struct member *x = a;
    const struct member *y = b;
    const char *x_name = (const char *)text + x->name;
    const char *y_name = (const char *)text + y->name;
    if (memchr(x_name, '\\', x->name_len) != NULL || memchr(y_name, '\\', y->name_len) != NULL)
        return json_compare_names(x_name, y_name);
    size_t shorter = x->name_len < y->name_len ? x->name_len : y->name_len;
    int order = memcmp(x_name, y_name, shorter);
    return order != 0 ? order : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static bool in_order(const struct canon *c, size_t base)
{
    for (size_t i = base + 1; i < c->member_count; i++)
        if (compare_members(&c->members[i - 1], &c->members[i], (void *)c->begin) > 0) return false;
    return true;
}

/* Sorts the members from `base` on. False when a name is there twice. */
static bool sort_members(struct canon *c, size_t base)
{
    if (!in_order(c, base))
        qsort_r(c->members + base, c->member_count - base, sizeof *c->members, compare_members,
                (void *)c->begin);
    for (size_t i = base + 1; i < c->member_count; i++) {
        const struct member *m = &c->members[i];
        if (compare_members(m - 1, m, (void *)c->begin) != 0) continue;
        struct slice name = {c->begin + m->name, m->name_len};
        c->status = STATUS_UNPROCESSABLE;
        json_error_set(c->error, "member \"%.*s\" appears twice", json_error_name_len(name), name.ptr);
        return false;
    }
    return true;
}

/* Pushes the members of the object at `p` and returns what is behind it. */
static const char *collect_members(struct canon *c, const char *p)
{
    p = json_skip_blanks(p + 1, c->end);
    while (*p != '}') {
        void *more = with_room(c->members, c->member_count, &c->member_cap, sizeof *c->members);
        if (more == NULL) return fail_memory(c);
        c->members = more;
        const char *name = p + 1;
        p = json_skip_string(p, c->end);
        size_t name_len = (size_t)(p - 1 - name);
        p = json_skip_blanks(p, c->end);
        p = json_skip_blanks(p + 1, c->end); /* the colon */
        c->members[c->member_count++] =
            (struct member){(uint32_t)(name - c->begin), (uint32_t)name_len, (uint32_t)(p - c->begin)};
        p = json_skip_blanks(skip_value(c, p), c->end);
        if (*p == ',') p = json_skip_blanks(p + 1, c->end);
    }
    return p + 1;
}

static const char *emit_string(struct canon *c, const char *p)
{
    const char *run = p++; /* what is copied as it is, from the opening quote on */
    for (;;) {
        p = json_skip_plain(p, c->end);
        if (*p == '"') break;
        if (*p != '\\') {
            p++;
            continue;
        }
        buf_append(c->out, run, (size_t)(p - run));
        uint32_t point = json_next_point(&p);
        if (point == 0 || json_is_surrogate(point)) {
            c->status = STATUS_UNPROCESSABLE;
            json_error_set(c->error, "a string or name in the object holds %s",
                           point == 0 ? "\\u0000" : "a lone surrogate");
            return NULL;
        }
        json_append_point_escaped(c->out, point);
        run = p;
    }
    p++;
    buf_append(c->out, run, (size_t)(p - run));
    return p;
}

static const char *emit_object(struct canon *c, const char *p)
{
    size_t base = c->member_count;
    p = collect_members(c, p);
    if (p == NULL || !sort_members(c, base)) return NULL;
    buf_append_char(c->out, '{');
    size_t end = c->member_count;
    for (size_t i = base; i < end; i++) {
        struct member m = c->members[i]; /* a copy: the stack moves when it grows */
        if (i > base) buf_append_char(c->out, ',');
        if (emit_string(c, c->begin + m.name - 1) == NULL) return NULL;
        buf_append_char(c->out, ':');
        if (emit_value(c, c->begin + m.value) == NULL) return NULL;
    }
    buf_append_char(c->out, '}');
    c->member_count = base;
    return p;
}

static const char *emit_array(struct canon *c, const char *p)
{
    buf_append_char(c->out, '[');
    p = json_skip_blanks(p + 1, c->end);
    while (*p != ']') {
        p = emit_value(c, p);
        if (p == NULL) return NULL;
        p = json_skip_blanks(p, c->end);
        if (*p != ',') continue;
        buf_append_char(c->out, ',');
        p = json_skip_blanks(p + 1, c->end);
    }
    buf_append_char(c->out, ']');
    return p + 1;
}

static const char *emit_value(struct canon *c, const char *p)
{
    if (*p == '{') return emit_object(c, p);
    if (*p == '[') return emit_array(c, p);
    if (*p == '"') return emit_string(c, p);
    const char *end = json_skip_value(p, c->end);
    buf_append(c->out, p, (size_t)(end - p));
    return end;
}

enum status json_canonical(struct slice raw, struct buf *out, struct json_error *out_error)
{
    assert(raw.len >= 2 && raw.ptr[0] == '{');
    struct canon c = {.begin = raw.ptr, .end = raw.ptr + raw.len, .out = out, .error = out_error};
    size_t before = out->len;
    bool ready = raw.len < UINT32_MAX && (raw.len < EXTENT_MIN || note_extents(&c));
    const char *end = ready ? emit_object(&c, raw.ptr) : NULL;
    if (!ready || (end != NULL && out->failed)) fail_memory(&c);
    free(c.members);
    free(c.extents);
    if (c.status != STATUS_OK) out->len = before;
    return c.status;
}
