/* json_edit: an object is walked once, member by member; what stays is copied as it stands, with its blanks:
 * a member reaches from behind the brace or comma before it to the comma or brace behind it. A name that a
 * target holds twice and an edit or patch names is there once afterwards: the first one counts, as
 * json_member has it.
 *
 * json_merge_patch would have to skip a patch's nested objects once per level to know its members. So they
 * are noted beforehand (24 bytes each), all levels in one pass, and sorted by object and name: the target's
 * members find theirs by bisection, and what is there twice stands side by side. Recursion goes as deep as
 * the texts, at most JSON_DEPTH_MAX. */
#include "util/json_edit.h"

#include "json_scan.h"

#include <assert.h>
#include <stdlib.h>

struct member {
    const char *begin; /* behind the brace or comma */
    const char *name;  /* at the quote */
    const char *value;
};

/* *at is at an object's opening brace or behind a member's value, then at the next value. False when no
 * member is left; it is then at the closing brace. */
static bool enter_member(const char **at, const char *end, struct member *out)
{
    const char *p = json_skip_blanks(*at, end);
    if (*p != '}') {
        out->begin = ++p;
        p = json_skip_blanks(p, end);
    }
    *at = p;
    if (*p == '}') return false;
    out->name = p;
    p = json_skip_blanks(json_skip_string(p, end), end);
    out->value = *at = json_skip_blanks(p + 1, end);
    return true;
}

static void append_run(struct buf *out, const char *begin, const char *end)
{
    buf_append(out, begin, (size_t)(end - begin));
}

static void append_comma(struct buf *out, bool *any)
{
    if (*any) buf_append_char(out, ',');
    *any = true;
}

/* --- reading --- */

bool json_member_next(struct slice *rest, struct slice *out_name, struct slice *out_value)
{
    if (rest->len == 0) return false;
    const char *end = rest->ptr + rest->len;
    const char *p = rest->ptr;
    struct member member;
    if (!enter_member(&p, end, &member)) {
        *rest = SLICE_NONE;
        return false;
    }
    p = json_skip_value(member.value, end);
    const char *name_end = json_skip_string(member.name, end);
    *out_name = (struct slice){member.name, (size_t)(name_end - member.name)};
    *out_value = (struct slice){member.value, (size_t)(p - member.value)};
    *rest = (struct slice){p, (size_t)(end - p)};
    return true;
}

bool json_element_next(struct slice *rest, struct slice *out_value)
{
    if (rest->len == 0) return false;
    const char *end = rest->ptr + rest->len;
    const char *p = json_skip_blanks(rest->ptr, end);
    if (*p != ']') p = json_skip_blanks(p + 1, end);
    if (*p == ']') {
        *rest = SLICE_NONE;
        return false;
    }
    const char *behind = json_skip_value(p, end);
    *out_value = (struct slice){p, (size_t)(behind - p)};
    *rest = (struct slice){behind, (size_t)(end - behind)};
    return true;
}

bool json_name_is(struct slice raw_name, const char *name)
{
    struct slice between = {raw_name.ptr + 1, raw_name.len - 2};
    return json_name_means(between, memchr(between.ptr, '\\', between.len) != NULL, name);
}

struct slice json_member(struct slice object, const char *name)
{
    struct slice found;
    struct slice value;
    while (json_member_next(&object, &found, &value))
        if (json_name_is(found, name)) return value;
    return SLICE_NONE;
}

/* --- editing --- */

static size_t find_edit(const struct json_edit *edits, size_t count, struct slice name)
{
    size_t i = 0;
    while (i < count && !json_name_is(name, edits[i].name))
        i++;
    return i;
}

enum status json_object_edit(struct slice object, const struct json_edit *edits, size_t count,
                             struct buf *out)
{
    assert(count <= 64);
    size_t before = out->len;
    uint64_t used = 0;
    bool any = false;
    const char *end = object.ptr + object.len;
    const char *p = json_skip_blanks(object.ptr, end);
    append_run(out, object.ptr, p + 1);
    for (struct member member; enter_member(&p, end, &member);) {
        struct slice name = {member.name, (size_t)(json_skip_string(member.name, end) - member.name)};
        p = json_skip_value(member.value, end);
        size_t at = find_edit(edits, count, name);
        bool first = at == count || (used >> at & 1) == 0;
        if (at < count) used |= (uint64_t)1 << at;
        if (!first || (at < count && edits[at].value.ptr == NULL)) continue;
        append_comma(out, &any);
        append_run(out, member.begin, at == count ? p : member.value);
        if (at < count) buf_append_slice(out, edits[at].value);
        append_run(out, p, json_skip_blanks(p, end));
    }
    for (size_t i = 0; i < count; i++) {
        if ((used >> i & 1) != 0 || edits[i].value.ptr == NULL) continue;
        append_comma(out, &any);
        json_append_string(out, slice_of(edits[i].name));
        buf_append_char(out, ':');
        buf_append_slice(out, edits[i].value);
    }
    append_run(out, p, end);
    if (!out->failed) return STATUS_OK;
    out->len = before;
    return STATUS_OVERLOADED;
}

/* --- merging --- */

/* A member of the patch or of an object within objects of it. Offsets in the patch. */
struct node {
    uint32_t name, value;
    uint32_t parent; /* the member whose value it is in */
    uint32_t after;  /* the first node that is not within this one's value */
    bool used;       /* the target has it */
};

enum { ROOT = UINT32_MAX };

struct merge {
    const char *patch, *patch_end;
    const char *end;    /* the target's */
    struct node *nodes; /* in the order of the patch */
    uint32_t *order;    /* by parent, then name */
    size_t count, cap;
    struct buf *out;
    enum status status;
    struct json_error *error;
};

static bool fail_memory(struct merge *m)
{
    m->status = STATUS_OVERLOADED;
    json_error_set(m->error, "the object is too large");
    return false;
}

static bool push_node(struct merge *m, struct node node)
{
    if (m->count == m->cap) {
        size_t wanted = m->cap + m->cap / 2 + 16;
        void *more = reallocarray(m->nodes, wanted, sizeof *m->nodes);
        if (more == NULL) return fail_memory(m);
        m->nodes = more;
        m->cap = wanted;
    }
    m->nodes[m->count++] = node;
    return true;
}

/* Notes the members of the object at *at and moves behind it. */
static bool note_members(struct merge *m, const char **at, uint32_t parent)
{
    for (struct member member; enter_member(at, m->patch_end, &member);) {
        uint32_t index = (uint32_t)m->count;
        struct node node = {(uint32_t)(member.name - m->patch), (uint32_t)(member.value - m->patch), parent,
                            0, false};
        if (!push_node(m, node)) return false;
        if (*member.value != '{')
            *at = json_skip_value(member.value, m->patch_end);
        else if (!note_members(m, at, index))
            return false;
        m->nodes[index].after = (uint32_t)m->count;
    }
    ++*at;
    return true;
}

static int compare_to_node(const struct merge *m, uint32_t parent, const char *name, uint32_t index)
{
    const struct node *node = &m->nodes[index];
    if (parent != node->parent) return parent < node->parent ? -1 : 1;
    return json_compare_names(name + 1, m->patch + node->name + 1);
}

static int compare_nodes(const void *a, const void *b, void *arg)
{
    const struct merge *m = arg;
    const struct node *node = &m->nodes[*(const uint32_t *)a];
    return compare_to_node(m, node->parent, m->patch + node->name, *(const uint32_t *)b);
}

static bool sort_nodes(struct merge *m)
{
    if (m->count == 0) return true;
    m->order = reallocarray(NULL, m->count, sizeof *m->order);
    if (m->order == NULL) return fail_memory(m);
    for (size_t i = 0; i < m->count; i++)
        m->order[i] = (uint32_t)i;
    qsort_r(m->order, m->count, sizeof *m->order, compare_nodes, m);
    for (size_t i = 1; i < m->count; i++) {
        if (compare_nodes(&m->order[i - 1], &m->order[i], m) != 0) continue;
        const char *name = m->patch + m->nodes[m->order[i]].name;
        size_t len = (size_t)(json_skip_string(name, m->patch_end) - name) - 2;
        struct slice shown = {name + 1, len};
        m->status = STATUS_UNPROCESSABLE;
        json_error_set(m->error, "member \"%.*s\" appears twice", json_error_name_len(shown), shown.ptr);
        return false;
    }
    return true;
}

static struct node *find_node(struct merge *m, uint32_t parent, const char *name)
{
    size_t low = 0;
    size_t high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_to_node(m, parent, name, m->order[middle]);
        if (order == 0) return &m->nodes[m->order[middle]];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Appends a value of the patch that meets nothing to merge with: objects lose their nulls. */
static const char *append_new(struct merge *m, const char *p)
{
    bool any = false;
    if (*p != '{') {
        const char *behind = json_skip_value(p, m->patch_end);
        append_run(m->out, p, behind);
        return behind;
    }
    buf_append_char(m->out, '{');
    for (struct member member; enter_member(&p, m->patch_end, &member);) {
        if (*member.value == 'n') {
            p = json_skip_value(p, m->patch_end);
            continue;
        }
        append_comma(m->out, &any);
        append_run(m->out, member.begin, member.value);
        p = append_new(m, member.value);
        append_run(m->out, p, json_skip_blanks(p, m->patch_end));
    }
    buf_append_char(m->out, '}');
    return p + 1;
}

static const char *merge_object(struct merge *m, const char *p, uint32_t parent);

/* Appends the target's member as the patch wants it. Returns what is behind its value. */
static const char *merge_member(struct merge *m, const struct member *member, const struct node *node,
                                bool *any)
{
    const char *value = m->patch + node->value;
    if (*value == 'n') return json_skip_value(member->value, m->end);
    append_comma(m->out, any);
    append_run(m->out, member->begin, member->value);
    const char *behind;
    if (*value == '{' && *member->value == '{') {
        behind = merge_object(m, member->value, (uint32_t)(node - m->nodes));
    } else {
        (void)append_new(m, value);
        behind = json_skip_value(member->value, m->end);
    }
    append_run(m->out, behind, json_skip_blanks(behind, m->end));
    return behind;
}

/* Appends the members of the patch's object that its target did not have. */
static void append_unused(struct merge *m, uint32_t parent, bool *any)
{
    uint32_t i = parent == ROOT ? 0 : parent + 1;
    uint32_t end = parent == ROOT ? (uint32_t)m->count : m->nodes[parent].after;
    for (; i < end; i = m->nodes[i].after) {
        const struct node *node = &m->nodes[i];
        const char *name = m->patch + node->name;
        if (node->used || m->patch[node->value] == 'n') continue;
        append_comma(m->out, any);
        append_run(m->out, name, json_skip_string(name, m->patch_end));
        buf_append_char(m->out, ':');
        (void)append_new(m, m->patch + node->value);
    }
}

/* Merges the target's object at `p` with the patch's in `parent`. Returns what is behind the first. */
static const char *merge_object(struct merge *m, const char *p, uint32_t parent)
{
    bool any = false;
    buf_append_char(m->out, '{');
    for (struct member member; enter_member(&p, m->end, &member);) {
        struct node *node = find_node(m, parent, member.name);
        if (node != NULL && node->used) {
            p = json_skip_value(member.value, m->end);
        } else if (node != NULL) {
            node->used = true;
            p = merge_member(m, &member, node, &any);
        } else {
            p = json_skip_value(member.value, m->end);
            append_comma(m->out, &any);
            append_run(m->out, member.begin, json_skip_blanks(p, m->end));
        }
    }
    append_unused(m, parent, &any);
    buf_append_char(m->out, '}');
    return p + 1;
}

enum status json_merge_patch(struct slice target, struct slice patch, struct buf *out,
                             struct json_error *out_error)
{
    struct merge m = {.patch = patch.ptr,
                      .patch_end = patch.ptr + patch.len,
                      .end = target.ptr + target.len,
                      .out = out,
                      .error = out_error};
    size_t before = out->len;
    const char *p = json_skip_blanks(patch.ptr, m.patch_end);
    const char *t = json_skip_blanks(target.ptr, m.end);
    assert(*p == '{' && *t == '{');
    if (patch.len >= UINT32_MAX) (void)fail_memory(&m);
    if (m.status == STATUS_OK && note_members(&m, &p, ROOT) && sort_nodes(&m)) {
        append_run(out, target.ptr, t);
        t = merge_object(&m, t, ROOT);
        append_run(out, t, m.end);
        if (out->failed) (void)fail_memory(&m);
    }
    free(m.nodes);
    free(m.order);
    if (m.status != STATUS_OK) out->len = before;
    return m.status;
}
