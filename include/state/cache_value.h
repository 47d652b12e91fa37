/* cache_value: the JSON that stands under phoenix:cache:{hash}: {"response", "timestamp", "ttl", "metadata"}.
 * Pure. */
#ifndef PHOENIX_STATE_CACHE_VALUE_H
#define PHOENIX_STATE_CACHE_VALUE_H

#include "util/buf.h"
#include "util/slice.h"

#include <stdint.h>

/* What may come on top of a body of http.body_max: our members' names, the timestamp, default metadata. */
enum { CACHE_VALUE_OVERHEAD_MAX = 64 * 1024 };

/* Appends the value. `response` and `metadata` are raw JSON and keep their bytes; metadata ptr NULL: the
 * default one. */
void cache_value_write(struct buf *out, struct slice response, struct slice metadata, int64_t stamp_ms,
                       int64_t ttl_s);

/* Any JSON is a value and served as it is; false when it is none. out_stamp_ms: its `timestamp`, 0 where it
 * has none that is one. */
bool cache_value_inspect(struct slice value, int64_t *out_stamp_ms);

#endif
