/* random: everything comes from libcrypto's generator, which seeds itself from the kernel and reseeds after
 * fork. */
#include "util/random.h"

#include <assert.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

void random_bytes(void *out, size_t len)
{
    unsigned char *p = out;
    while (len > 0) {
        size_t part = len < INT_MAX ? len : INT_MAX;
        if (RAND_bytes(p, (int)part) != 1) abort();
        p += part;
        len -= part;
    }
}

uint64_t random_below(uint64_t bound)
{
    assert(bound > 0);
    /* 2^64 mod bound: draws below it would favour the small numbers. */
    uint64_t biased = (0 - bound) % bound;
    uint64_t draw;
    do {
        random_bytes(&draw, sizeof draw);
    } while (draw < biased);
    return draw % bound;
}

void uuid_v7(int64_t wall_ms, char out[UUID_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char id[16];
    random_bytes(id + 6, sizeof id - 6);
    for (int i = 0; i < 6; i++)
        id[i] = (unsigned char)((uint64_t)wall_ms >> (40 - 8 * i));
    id[6] = (unsigned char)(0x70 | (id[6] & 0x0f));
    id[8] = (unsigned char)(0x80 | (id[8] & 0x3f));
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        *p++ = hex[id[i] >> 4];
        *p++ = hex[id[i] & 0x0f];
    }
    *p = '\0';
}

bool slice_equal_constant_time(struct slice a, struct slice b)
{
    bool same_len = a.len == b.len;
    /* Another length is told by comparing `a` with itself: as long as a comparison that could succeed. */
    const char *other = same_len ? b.ptr : a.ptr;
    bool same_bytes = a.len == 0 || CRYPTO_memcmp(a.ptr, other, a.len) == 0;
    return same_bytes && same_len;
}
