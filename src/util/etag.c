/* etag: what handlers of every resource share of conditional requests. No state. */
#include "util/etag.h"

#include "util/hash.h"

void etag_format(uint64_t etag, char out[ETAG_SIZE])
{
    static const char DIGITS[] = "0123456789abcdef";
    out[0] = out[ETAG_DIGITS + 1] = '"';
    out[ETAG_DIGITS + 2] = 0;
    for (int i = ETAG_DIGITS; i > 0; i--, etag >>= 4)
        out[i] = DIGITS[etag & 15];
}

uint64_t etag_of(struct slice value)
{
    static const struct hash_seed FIXED = {UINT64_C(0x70686f656e697820), UINT64_C(0x6361636865642031)};
    return hash_bytes(&FIXED, value.ptr, value.len);
}

bool etag_list_matches(struct slice list, struct slice etag)
{
    struct slice element;
    while (slice_list_next(&list, &element)) {
        if (slice_equal_text(element, "*")) return true;
        if (element.len >= 2 && memcmp(element.ptr, "W/", 2) == 0)
            element = (struct slice){element.ptr + 2, element.len - 2};
        if (element.len == etag.len + 2 && element.ptr[0] == '"' && element.ptr[element.len - 1] == '"' &&
            memcmp(element.ptr + 1, etag.ptr, etag.len) == 0)
            return true;
    }
    return false;
}
