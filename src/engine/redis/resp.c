/* resp: commands as Redis reads them. hiredis' own formatting parses a format string per call; this one
 * appends. */
#include "engine/redis/script.h"
#include "util/buf.h"

#include "conn.h"

#include <stdio.h>

enum { HEADER_MAX = 24 }; /* a letter, 20 digits, CR LF */

/* Backwards, digits being made so; returns where it begins. */
static char *header_before(char *end, char kind, size_t n)
{
    *--end = '\n';
    *--end = '\r';
    do {
        *--end = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    *--end = kind;
    return end;
}

static void append_header(struct buf *out, char kind, size_t n)
{
    char header[HEADER_MAX], *at = header_before(header + sizeof header, kind, n);
    buf_append(out, at, (size_t)(header + sizeof header - at));
}

/* Room is asked for once: a call of a queue's script has twenty of these. */
static void append_argument(struct buf *out, struct slice arg)
{
    char header[HEADER_MAX], *begin = header_before(header + sizeof header, '$', arg.len);
    size_t len = (size_t)(header + sizeof header - begin);
    buf_reserve(out, len + arg.len + 2);
    if (out->failed) return;
    char *at = out->ptr + out->len;
    memcpy(at, begin, len);
    if (arg.len) memcpy(at + len, arg.ptr, arg.len);
    at += len + arg.len;
    at[0] = '\r';
    at[1] = '\n';
    out->len += len + arg.len + 2;
}

static void append_keys(struct buf *out, const struct redis_command *command)
{
    char digits[12];
    int len = snprintf(digits, sizeof digits, "%u", command->keys_count);
    append_argument(out, (struct slice){digits, (size_t)len});
    for (unsigned i = 0; i < command->keys_count; i++)
        append_argument(out, command->keys[i]);
}

void resp_append_command(struct buf *out, const struct redis_command *command, bool with_source)
{
    unsigned keys = command->keys ? command->keys_count + 1 : 0;
    append_header(out, '*', command->argc + keys + (command->script ? 2u : 0u));
    if (command->script) {
        append_argument(out, with_source ? SLICE_LITERAL("EVAL") : SLICE_LITERAL("EVALSHA"));
        append_argument(out, with_source ? command->script->source : slice_of(command->script->sha));
    }
    if (command->keys) append_keys(out, command);
    for (unsigned i = 0; i < command->argc; i++)
        append_argument(out, command->argv[i]);
}
