/* cluster_map: the few forms of what a cluster's nodes say. A host may be missing: then it is the one that
 * was asked (Redis behind something that it cannot see). */
#include "cluster_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_MAX = 65535, DIGITS_MAX = 19 };

/* Digits alone, as many as `text` has. */
static bool take_number(struct slice text, uint64_t most, uint64_t *out)
{
    uint64_t n = 0;
    if (text.len == 0 || text.len > DIGITS_MAX) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *out = n;
    return n <= most;
}

static bool take_address(struct slice host, uint64_t port, const char *asked, struct redis_address *out)
{
    if (host.len == 0 || slice_equal_text(host, "?")) host = slice_of(asked);
    if (host.len >= sizeof out->host || memchr(host.ptr, 0, host.len) || port == 0 || port > PORT_MAX)
        return false;
    *out = (struct redis_address){.port = (int)port};
    memcpy(out->host, host.ptr, host.len);
    return true;
}

/* --- CLUSTER INFO --- */

static struct slice value_of(struct slice info, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = info.ptr, *end = at + info.len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t line = newline ? (size_t)(newline - at) : (size_t)(end - at);
        size_t shown = line && at[line - 1] == '\r' ? line - 1 : line;
        if (shown >= len && memcmp(at, name, len) == 0) return (struct slice){at + len, shown - len};
        at += line + 1;
    }
    return SLICE_NONE;
}

bool cluster_map_take_info(struct cluster_map *map, struct slice info)
{
    if (!info.ptr) return false;
    map->ok = slice_equal_text(value_of(info, "cluster_state:"), "ok");
    return take_number(value_of(info, "cluster_current_epoch:"), UINT64_MAX, &map->epoch);
}

/* --- CLUSTER SLOTS --- */

static uint8_t index_of(struct cluster_map *map, const struct redis_address *at)
{
    for (unsigned i = 0; i < map->count; i++)
        if (map->nodes[i].port == at->port && strcmp(map->nodes[i].host, at->host) == 0) return (uint8_t)i;
    if (map->count == CLUSTER_MAP_NODES_MAX) return CLUSTER_MAP_NOBODY;
    map->nodes[map->count] = *at;
    return (uint8_t)map->count++;
}

/* First slot, last slot, master, replicas; a node is host, port, id, … `left`: how many slots there are that
 * no range before has told of. */
static bool take_range(struct cluster_map *map, const struct redis_reply *range, const char *asked,
                       int64_t *left)
{
    struct redis_reply first, last, master, host, port;
    struct redis_address at;
    if (!redis_reply_element(range, 0, &first) || !redis_reply_element(range, 1, &last) ||
        !redis_reply_element(range, 2, &master) || !redis_reply_element(&master, 0, &host) ||
        !redis_reply_element(&master, 1, &port))
        return false;
    if (first.type != REDIS_TYPE_INTEGER || last.type != REDIS_TYPE_INTEGER || first.integer < 0 ||
        last.integer < first.integer || last.integer >= REDIS_SLOTS || port.type != REDIS_TYPE_INTEGER ||
        port.integer < 0 || !take_address(host.text, (uint64_t)port.integer, asked, &at))
        return false;
    *left -= last.integer - first.integer + 1;
    if (*left < 0) return false;
    uint8_t index = index_of(map, &at);
    for (int64_t slot = first.integer; slot <= last.integer; slot++) {
        map->slots += map->owner[slot] == CLUSTER_MAP_NOBODY && index != CLUSTER_MAP_NOBODY;
        map->owner[slot] = index;
    }
    return true;
}

bool cluster_map_take_slots(struct cluster_map *map, const struct redis_reply *reply, const char *asked)
{
    struct redis_reply range;
    int64_t left = REDIS_SLOTS;
    map->count = map->slots = 0;
    memset(map->owner, CLUSTER_MAP_NOBODY, sizeof map->owner);
    for (size_t i = 0; redis_reply_element(reply, i, &range); i++)
        if (!take_range(map, &range, asked, &left)) return false;
    return map->slots > 0;
}

/* --- redirections --- */

bool cluster_redirection(struct slice text, const char *asked, unsigned *out_slot,
                         struct redis_address *out_to)
{
    uint64_t slot, port;
    const char *blank = text.len ? memchr(text.ptr, ' ', text.len) : NULL;
    if (!blank) return false;
    struct slice rest = {blank + 1, text.len - (size_t)(blank + 1 - text.ptr)};
    const char *second = rest.len ? memchr(rest.ptr, ' ', rest.len) : NULL;
    if (!second ||
        !take_number((struct slice){rest.ptr, (size_t)(second - rest.ptr)}, REDIS_SLOTS - 1, &slot))
        return false;
    struct slice where = {second + 1, rest.len - (size_t)(second + 1 - rest.ptr)};
    const char *colon = where.len ? memrchr(where.ptr, ':', where.len) : NULL;
    if (!colon) return false;
    struct slice digits = {colon + 1, where.len - (size_t)(colon + 1 - where.ptr)};
    if (!take_number(digits, PORT_MAX, &port) ||
        !take_address((struct slice){where.ptr, (size_t)(colon - where.ptr)}, port, asked, out_to))
        return false;
    *out_slot = (unsigned)slot;
    return true;
}
