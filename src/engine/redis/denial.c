/* denial: found by the servers' words, which have no code of their own inside scripts. */
#include "denial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 32 };

static const char *find(struct slice in, const char *text)
{
    return in.len ? memmem(in.ptr, in.len, text, strlen(text)) : NULL;
}

static bool has(struct slice in, const char *text)
{
    return find(in, text) != NULL;
}

/* What stands between `before` and the next quote; a name, or nothing. */
static struct slice quoted(struct slice in, const char *before)
{
    const char *at = find(in, before);
    if (!at) return SLICE_NONE;
    at += strlen(before);
    const char *end = memchr(at, '\'', (size_t)(in.ptr + in.len - at));
    return end && end - at <= NAME_MAX_LEN ? (struct slice){at, (size_t)(end - at)} : SLICE_NONE;
}

static struct slice line_of(struct slice source, long number)
{
    while (source.len) {
        const char *end = memchr(source.ptr, '\n', source.len);
        size_t len = end ? (size_t)(end - source.ptr) : source.len;
        if (--number <= 0) return (struct slice){source.ptr, len};
        size_t gone = len + (end != NULL);
        source = (struct slice){source.ptr + gone, source.len - gone};
    }
    return SLICE_NONE;
}

/* Without a line it was a pcall whose error the script handed on: its first. */
static struct slice called(struct slice error, const struct redis_script *script)
{
    if (!script) return SLICE_NONE;
    const char *at = find(error, "@user_script:");
    if (!at) return quoted(script->source, "pcall('");
    char number[16];
    snprintf(number, sizeof number, "%.*s", (int)(error.ptr + error.len - at) - 13, at + 13);
    return quoted(line_of(script->source, strtol(number, NULL, 10)), "call('");
}

bool redis_denial(struct slice error, const struct redis_script *script, char *out, size_t out_size)
{
    bool in_script = has(error, "ACL failure in script") || has(error, "The user executing the script can't");
    if (!in_script && !(error.len >= 7 && memcmp(error.ptr, "NOPERM ", 7) == 0)) return false;
    struct slice name = quoted(error, "run the '");
    if (!name.len && in_script) name = called(error, script);
    const char *what = has(error, "channel") ? "use this channel"
                       : has(error, " key")  ? "touch this key"
                                             : "run";
    if (name.len)
        snprintf(out, out_size, "NOPERM this user may not %s%s'%.*s'", what, what[0] == 'r' ? " " : " with ",
                 (int)name.len, name.ptr);
    else
        snprintf(out, out_size, "NOPERM this user may not %s%s", what, what[0] == 'r' ? " a command" : "");
    return true;
}
