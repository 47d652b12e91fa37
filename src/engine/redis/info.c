/* info: lines of name:value; the first of a name counts. */
#include "engine/redis/info.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    size_t at;
} NUMBERS[] = {
    {"used_memory:", offsetof(struct redis_info, memory_bytes)},
    {"maxmemory:", offsetof(struct redis_info, memory_max_bytes)},
    {"connected_clients:", offsetof(struct redis_info, clients)},
    {"total_commands_processed:", offsetof(struct redis_info, commands)},
    {"keyspace_hits:", offsetof(struct redis_info, hits)},
    {"keyspace_misses:", offsetof(struct redis_info, misses)},
    {"evicted_keys:", offsetof(struct redis_info, evicted_keys)},
    {"aof_enabled:", offsetof(struct redis_info, append_only)},
};

static struct slice next_line(struct slice *text)
{
    const char *end = memchr(text->ptr, '\n', text->len);
    size_t len = end ? (size_t)(end - text->ptr) : text->len;
    struct slice line = {text->ptr, len};
    text->ptr += len + (end != NULL);
    text->len -= len + (end != NULL);
    if (line.len && line.ptr[line.len - 1] == '\r') line.len--;
    return line;
}

static bool take_name(struct slice *line, const char *name)
{
    size_t len = strlen(name);
    if (line->len < len || memcmp(line->ptr, name, len) != 0) return false;
    line->ptr += len;
    line->len -= len;
    return true;
}

/* 18 digits are more than any of them has. */
static int64_t number_of(struct slice digits)
{
    int64_t n = 0;
    if (digits.len == 0 || digits.len > 18) return -1;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return -1;
        n = n * 10 + (digits.ptr[i] - '0');
    }
    return n;
}

/* It goes into logs and answers as it is. */
static bool is_policy(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '-' && (text.ptr[i] < 'a' || text.ptr[i] > 'z')) return false;
    return text.len < REDIS_POLICY_SIZE;
}

static void take_line(struct slice line, struct redis_info *out)
{
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        int64_t *number = (int64_t *)(void *)((char *)out + NUMBERS[i].at);
        if (!take_name(&line, NUMBERS[i].name)) continue;
        if (*number < 0) *number = number_of(line);
        return;
    }
    if (take_name(&line, "maxmemory_policy:") && !out->policy[0] && is_policy(line))
        memcpy(out->policy, line.ptr, line.len);
}

void redis_info_parse(struct slice text, struct redis_info *out)
{
    *out = (struct redis_info){-1, -1, -1, -1, -1, -1, -1, -1, ""};
    while (text.len)
        take_line(next_line(&text), out);
}

bool redis_info_evicts(const struct redis_info *info)
{
    return info->policy[0] && strcmp(info->policy, "noeviction") != 0;
}
