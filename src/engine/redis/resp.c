/* resp: commands as Redis reads them. hiredis' own formatting parses a format string per call; this one
 * appends. */
#include "engine/redis/script.h"
#include "util/buf.h"

#include "conn.h"

#include <stdio.h>

static void append_header(struct buf *out, char kind, size_t n)
{
    buf_append_char(out, kind);
    buf_append_i64(out, (long long)n);
    buf_append(out, "\r\n", 2);
}

static void append_argument(struct buf *out, struct slice arg)
{
    append_header(out, '$', arg.len);
    buf_append_slice(out, arg);
    buf_append(out, "\r\n", 2);
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
