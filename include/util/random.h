/* random: libcrypto's bytes, UUIDv7 (RFC 9562), comparison in constant time. Any thread. */
#ifndef PHOENIX_UTIL_RANDOM_H
#define PHOENIX_UTIL_RANDOM_H

#include "util/slice.h"

#include <stdint.h>

enum { UUID_SIZE = 37 };

/* Fills from the system's generator; aborts when there is none (nothing can be promised then). */
void random_bytes(void *out, size_t len);
/* For jitter and hash seeds: uniform in [0, bound). */
uint64_t random_below(uint64_t bound);
void uuid_v7(int64_t wall_ms, char out[UUID_SIZE]);
/* Time depends on a.len alone. */
bool slice_equal_constant_time(struct slice a, struct slice b);

#endif
