/* hash: SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF"), for tables whose keys strangers
 * choose. */
#ifndef PHOENIX_UTIL_HASH_H
#define PHOENIX_UTIL_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_seed {
    uint64_t k0, k1;
};

uint64_t hash_bytes(const struct hash_seed *seed, const void *bytes, size_t len);

#endif
