/* log_line: one line as text, in either format, never longer than LOG_LINE_MAX with its newline. What the
 * bytes of a value are does not matter: control characters are escaped and what is not UTF-8 becomes U+FFFD,
 * so a line stays one line, and a terminal shows it as it is. Keeps no state; any thread. */
#ifndef PHOENIX_LOG_LOG_LINE_H
#define PHOENIX_LOG_LOG_LINE_H

#include "log/log.h"

struct log_line {
    char bytes[LOG_LINE_MAX];
    size_t len;
};

/* `suppressed` > 0 adds that field. A field that has no room is left out whole and cut=true says so. */
void log_line_write(struct log_line *line, enum log_format format, int64_t wall_ms, enum log_level level,
                    const char *event, const struct log_field *fields, size_t count, uint64_t suppressed);

#endif
