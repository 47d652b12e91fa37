/* uri: the pieces of request targets and Redis URLs. Any thread. */
#ifndef PHOENIX_UTIL_URI_H
#define PHOENIX_UTIL_URI_H

#include "util/buf.h"
#include "util/slice.h"

enum { ID_LEN_MAX = 256 };

/* Appends `raw` with %XX decoded; '+' becomes a blank where `plus_is_blank` (query values). False on a broken
 * escape; `out` then holds what came before it. */
bool uri_decode(struct slice raw, bool plus_is_blank, struct buf *out);

/* Decodes a path segment that names a thing: 1 to ID_LEN_MAX of A-Z a-z 0-9 . _ : @ - after percent-decoding,
 * not "." or "..". Writes at most ID_LEN_MAX bytes. Where nothing is escaped out_id points into raw, else
 * into `scratch`. */
bool uri_id(struct slice raw, char scratch[ID_LEN_MAX], struct slice *out_id);

/* Walks name=value pairs of a query. `rest` is consumed. False at the end. Names and values are raw. */
bool uri_query_next(struct slice *rest, struct slice *out_name, struct slice *out_value);

#endif
