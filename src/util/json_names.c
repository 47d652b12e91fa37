/* json_names: a slot is chosen by the high bits of the hash that it keeps, so growing needs no second look at
 * the names, and names are compared only where 32 bits of hash agree. */
#include "json_names.h"

#include "json_scan.h"
#include "util/random.h"

#include <stdlib.h>

enum { SLOTS_LOG2_MIN = 6 };

#define TAG_MASK UINT64_C(0xffffffff00000000)

static void place(uint64_t *slots, unsigned log2, uint64_t slot)
{
    size_t mask = ((size_t)1 << log2) - 1;
    size_t at = (size_t)(slot >> (64 - log2));
    while (slots[at] != 0)
        at = (at + 1) & mask;
    slots[at] = slot;
}

/* Makes room for one more at three quarters full. */
static bool make_room(struct json_names *names)
{
    size_t count = names->slots != NULL ? (size_t)1 << names->slots_log2 : 0;
    if (names->used < count - count / 4) return true;
    unsigned log2 = count == 0 ? SLOTS_LOG2_MIN : names->slots_log2 + 1;
    if (log2 > 32) return false;
    uint64_t *slots = calloc((size_t)1 << log2, sizeof *slots);
    if (slots == NULL) return false;
    for (size_t i = 0; i < count; i++)
        if (names->slots[i] != 0) place(slots, log2, names->slots[i]);
    free(names->slots);
    names->slots = slots;
    names->slots_log2 = log2;
    return true;
}

static enum json_names_result add_hashed(struct json_names *names, const char *begin, struct slice name,
                                         bool escaped)
{
    size_t offset = (size_t)(name.ptr - begin) + 1;
    if (offset > UINT32_MAX || !make_room(names)) return JSON_NAME_NO_ROOM;
    struct slice key = name;
    if (escaped) {
        buf_clear(&names->decoded);
        const char *end = name.ptr + name.len;
        for (const char *p = name.ptr; p < end;)
            json_append_point(&names->decoded, json_next_point(&p));
        if (names->decoded.failed) return JSON_NAME_NO_ROOM;
        key = buf_slice(&names->decoded);
    }
    uint64_t tag = hash_bytes(&names->seed, key.ptr, key.len) & TAG_MASK;
    size_t mask = ((size_t)1 << names->slots_log2) - 1;
    for (size_t at = (size_t)(tag >> (64 - names->slots_log2)); names->slots[at] != 0; at = (at + 1) & mask) {
        if ((names->slots[at] & TAG_MASK) != tag) continue;
        const char *other = begin + (uint32_t)names->slots[at] - 1;
        if (json_compare_names(name.ptr, other) == 0) return JSON_NAME_SEEN;
    }
    place(names->slots, names->slots_log2, tag | offset);
    names->used++;
    return JSON_NAME_NEW;
}

static enum json_names_result move_to_table(struct json_names *names, const char *begin)
{
    random_bytes(&names->seed, sizeof names->seed);
    for (size_t i = 0; i < names->plain_count; i++) {
        enum json_names_result result = add_hashed(names, begin, names->plain[i], false);
        if (result != JSON_NAME_NEW) return result;
    }
    return JSON_NAME_NEW;
}

enum json_names_result json_names_add(struct json_names *names, const char *begin, struct slice name,
                                      bool escaped)
{
    if (names->slots == NULL) {
        if (!escaped && names->plain_count < JSON_NAMES_PLAIN_MAX) {
            for (size_t i = 0; i < names->plain_count; i++)
                if (slice_equal(names->plain[i], name)) return JSON_NAME_SEEN;
            names->plain[names->plain_count++] = name;
            return JSON_NAME_NEW;
        }
        enum json_names_result result = move_to_table(names, begin);
        if (result != JSON_NAME_NEW) return result;
    }
    return add_hashed(names, begin, name, escaped);
}

void json_names_deinit(struct json_names *names)
{
    free(names->slots);
    buf_deinit(&names->decoded);
    names->slots = NULL;
}
