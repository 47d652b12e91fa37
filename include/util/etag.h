/* etag: entity tags (RFC 9110 §8.8.3): 64 bits as 16 hex digits. Any thread. */
#ifndef PHOENIX_UTIL_ETAG_H
#define PHOENIX_UTIL_ETAG_H

#include "util/slice.h"

#include <stdint.h>

enum { ETAG_DIGITS = 16, ETAG_SIZE = ETAG_DIGITS + 3 };

/* Writes "…" with its quotes and a NUL. */
void etag_format(uint64_t etag, char out[ETAG_SIZE]);

/* Names a value's bytes, the same in every daemon: SipHash-1-3 under a fixed key. It need only tell versions
 * of one key apart. */
uint64_t etag_of(struct slice value);

/* Whether a header is * or a list of entity tags: at least one, quoted, perhaps with W/ before it. */
bool etag_list_valid(struct slice list);

/* Whether an If-Match or If-None-Match list names the etag (weakly, as RFC 9110 has it) or is *. `etag`
 * without quotes. */
bool etag_list_matches(struct slice list, struct slice etag);

#endif
