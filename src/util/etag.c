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

static struct slice without_weakness(struct slice element)
{
    bool weak = element.len >= 2 && memcmp(element.ptr, "W/", 2) == 0;
    return weak ? (struct slice){element.ptr + 2, element.len - 2} : element;
}

bool etag_list_valid(struct slice list)
{
    struct slice element;
    if (slice_equal_text(slice_trim(list), "*")) return true;
    bool any = false;
    while (slice_list_next(&list, &element)) {
        if (element.len == 0) continue; /* RFC 9110 §5.6.1: empty elements do not count */
        element = without_weakness(element);
        if (element.len < 2 || element.ptr[0] != '"' ||
            memchr(element.ptr + 1, '"', element.len - 1) != element.ptr + element.len - 1)
            return false;
        any = true;
    }
    return any;
}

bool etag_list_matches(struct slice list, struct slice etag)
{
    struct slice element;
    while (slice_list_next(&list, &element)) {
        if (slice_equal_text(element, "*")) return true;
        element = without_weakness(element);
        if (element.len == etag.len + 2 && element.ptr[0] == '"' && element.ptr[element.len - 1] == '"' &&
            memcmp(element.ptr + 1, etag.ptr, etag.len) == 0)
            return true;
    }
    return false;
}
