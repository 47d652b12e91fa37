/* rfc3339: times in members. Milliseconds since 1970 UTC. Any thread. */
#ifndef PHOENIX_UTIL_RFC3339_H
#define PHOENIX_UTIL_RFC3339_H

#include "util/slice.h"

#include <stdint.h>

enum { RFC3339_SIZE = sizeof "2026-01-02T03:04:05.678Z" };

/* Writes "2026-01-02T03:04:05.678Z" and a NUL. `ms` within years 0000 to 9999. */
void rfc3339_format(int64_t ms, char out[RFC3339_SIZE]);

/* Reads any RFC 3339 date-time: offsets, lower-case t and z, 0 to 9 digits of fraction (more are cut), leap
 * seconds (as :59). False when it is none. */
bool rfc3339_parse(struct slice text, int64_t *out_ms);

#endif
