/* trace: W3C trace context (https://www.w3.org/TR/trace-context/) as far as a daemon needs it that makes no
 * spans of its own: which trace, and which span of it, a request belongs to. Pure. */
#ifndef PHOENIX_UTIL_TRACE_H
#define PHOENIX_UTIL_TRACE_H

#include "util/slice.h"

enum { TRACE_ID_LEN = 32, TRACE_SPAN_LEN = 16, TRACE_KEPT_LEN = TRACE_ID_LEN + TRACE_SPAN_LEN };

/* Lower-case hex; both empty: there is no trace. Copied, so that it can outlive the request. */
struct trace {
    char id[TRACE_ID_LEN + 1];
    char span[TRACE_SPAN_LEN + 1]; /* the caller's: "parent-id" in the header */
};

/* Reads a traceparent of version 00, and of later ones what they share with it. False, with *out empty, for
 * anything else, and where ptr is NULL: by the standard an invalid header is as good as none. */
bool trace_read(struct slice traceparent, struct trace *out);

/* The two as values for a log line: absent (ptr NULL) where there is no trace. */
struct slice trace_id(const struct trace *t);
struct slice trace_span(const struct trace *t);

/* For a file: the two in one text, in `out`; absent where there is no trace. And back; anything else is none.
 */
struct slice trace_keep(const struct trace *t, char out[TRACE_KEPT_LEN]);
void trace_of_kept(struct slice kept, struct trace *out);

/* A number below 2^32 that all who see this trace make alike, whatever made the other: of the id's last
 * bytes, which the standard wants random. There is a trace. */
unsigned long trace_dice(const struct trace *t);

#endif
