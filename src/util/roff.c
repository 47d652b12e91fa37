/* roff: what the formatter would read as something else gets its escape. */
#include "util/roff.h"

#include <stddef.h>

void roff_append(struct buf *out, const char *text)
{
    static const struct {
        char c;
        const char *shown;
    } ESCAPES[] = {{'\\', "\\e"},  {'-', "\\-"},   {'\'', "\\(aq"},
                   {'`', "\\(ga"}, {'^', "\\(ha"}, {'~', "\\(ti"}};
    for (const char *at = text; *at; at++) {
        const char *shown = NULL;
        for (size_t i = 0; i < sizeof ESCAPES / sizeof ESCAPES[0]; i++)
            if (*at == ESCAPES[i].c) shown = ESCAPES[i].shown;
        if (*at == '.' && at == text) shown = "\\&.";
        if (shown)
            buf_append_text(out, shown);
        else
            buf_append_char(out, *at);
    }
}
