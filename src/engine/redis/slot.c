/* slot: four bits at a time; a table of 16 stays in one cache line. */
#include "slot.h"

#include <stdint.h>

static uint16_t crc16(struct slice s)
{
    static const uint16_t NIBBLE[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned byte = (unsigned char)s.ptr[i];
        crc = (uint16_t)(crc << 4 ^ NIBBLE[(crc >> 12 ^ byte >> 4) & 15]);
        crc = (uint16_t)(crc << 4 ^ NIBBLE[(crc >> 12 ^ byte) & 15]);
    }
    return crc;
}

/* What stands between the first '{' and the next '}', unless that is nothing, else the whole key. */
static struct slice hashed(struct slice key)
{
    const char *open = key.len ? memchr(key.ptr, '{', key.len) : NULL;
    if (!open) return key;
    size_t rest = key.len - (size_t)(open + 1 - key.ptr);
    const char *close = rest ? memchr(open + 1, '}', rest) : NULL;
    if (!close || close == open + 1) return key;
    return (struct slice){open + 1, (size_t)(close - open - 1)};
}

unsigned redis_slot(struct slice key)
{
    return crc16(hashed(key)) % REDIS_SLOTS;
}
