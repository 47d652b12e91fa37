/* record_value: what all records' values have in common: JSON objects with a member `writes`, the ids of
 * their last 8 changes, oldest first. Pure. */
#ifndef PHOENIX_STATE_RECORD_VALUE_H
#define PHOENIX_STATE_RECORD_VALUE_H

#include "util/buf.h"
#include "util/slice.h"

enum { RECORD_WRITES_MAX = 8 };

enum record_trace {
    RECORD_TRACE_FOUND,  /* the change's id is in `writes`: it happened */
    RECORD_TRACE_ABSENT, /* it is not, and it would be if it had happened */
    RECORD_TRACE_LOST    /* it is not, and the oldest of 8 ids is younger than it: unknown */
};
/* `value`: a valid JSON object. UUIDv7s compare by their text. */
enum record_trace record_value_trace(struct slice value, struct slice change_id);

/* Appends the raw array that `writes` (raw; ptr NULL: none; what is no array of strings counts as none)
 * becomes with one more id. */
void record_value_writes(struct slice writes, struct slice change_id, struct buf *out);

/* Appends the value as HTTP shows it: without `writes`. */
void record_value_show(struct slice value, struct buf *out);

#endif
