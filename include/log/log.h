/* log: structured lines (logfmt or JSON) to a file descriptor, by a thread of its own behind a bounded ring,
 * so that a slow reader of stderr never stops a loop. Lines that the ring has no room for are dropped and
 * counted (log_dropped), those over the rate of their event held back and counted in its next line. Any
 * thread.
 *
 * A line says what happened, to what, and what follows; never a prompt, a response, a token or a password. */
#ifndef PHOENIX_LOG_LOG_H
#define PHOENIX_LOG_LOG_H

#include "util/clock.h"
#include "util/slice.h"
#include "util/trace.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log;

struct log_options {
    int fd;
    enum log_level level;
    enum log_format format;
    const struct clock *clock;
};

/* One field of a line. Values are quoted and escaped as the format needs; long ones are cut at LOG_VALUE_MAX.
 */
struct log_field {
    const char *name;
    enum { LOG_FIELD_SLICE, LOG_FIELD_INT } kind;
    struct slice text;
    int64_t number;
};

enum { LOG_VALUE_MAX = 512, LOG_LINE_MAX = 4096, LOG_RING_BYTES = 256 * 1024, LOG_SITE_PER_S = 20 };

#define LOG_S(field_name, s)                                                                                 \
    ((struct log_field){.name = (field_name), .kind = LOG_FIELD_SLICE, .text = slice_of(s)})
#define LOG_SL(field_name, s) ((struct log_field){.name = (field_name), .kind = LOG_FIELD_SLICE, .text = (s)})
#define LOG_I(field_name, n)                                                                                 \
    ((struct log_field){.name = (field_name), .kind = LOG_FIELD_INT, .number = (int64_t)(n)})

struct log *log_create(const struct log_options *options);
/* Writes what is queued first, for at most a second, even when the reader is stuck. Where the log's thread
 * then still hangs in write it is left behind with the log's memory, so the descriptor must not be closed. */
void log_destroy(struct log **log);
void log_set_level(struct log *log, enum log_level level);
uint64_t log_dropped(const struct log *log);

/* One line: ts, level, event (the message, a literal), fields. At most LOG_SITE_PER_S lines a second per
 * event text; the next line of that event then carries suppressed=N. `log` NULL writes nothing. */
void log_write(struct log *log, enum log_level level, const char *event, const struct log_field *fields,
               size_t count);
/* The same without the limit, for the access log: each request has its line, bounded by the ring alone. */
void log_write_each(struct log *log, enum log_level level, const char *event, const struct log_field *fields,
                    size_t count);
/* The two fields of a line that belongs to a request: absent where the caller told no trace. */
#define LOG_TRACE(t) LOG_SL("trace_id", trace_id(t)), LOG_SL("span_id", trace_span(t))

#define LOG(log, level, event, ...)                                                                          \
    log_write((log), (level), (event), (const struct log_field[]){__VA_ARGS__},                              \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

#endif
