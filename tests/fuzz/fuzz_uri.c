/* fuzz_uri: any bytes as a target's pieces: decoding undoes encoding, ids keep to their alphabet, and the
 * pairs of a query cover it. */
#include "util/uri.h"

#include <stdint.h>
#include <stdlib.h>

#define MUST(fact)                                                                                           \
    do {                                                                                                     \
        if (!(fact)) abort();                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(struct slice text)
{
    struct buf encoded = {0};
    struct buf decoded = {0};
    for (size_t i = 0; i < text.len; i++)
        buf_printf(&encoded, "%%%02x", (unsigned)(unsigned char)text.ptr[i]);
    MUST(uri_decode(buf_slice(&encoded), true, &decoded));
    MUST(slice_equal(buf_slice(&decoded), text));
    buf_deinit(&encoded);
    buf_deinit(&decoded);
}

static void check_id(struct slice raw)
{
    char scratch[ID_LEN_MAX];
    struct slice id;
    if (!uri_id(raw, scratch, &id)) return;
    MUST(id.len >= 1 && id.len <= ID_LEN_MAX);
    for (size_t i = 0; i < id.len; i++)
        MUST(id.ptr[i] != '\0' &&
             strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-", id.ptr[i]) !=
                 NULL);
    struct buf decoded = {0};
    MUST(uri_decode(raw, false, &decoded));
    MUST(slice_equal(buf_slice(&decoded), id));
    buf_deinit(&decoded);
}

static void check_query(struct slice query)
{
    struct slice rest = query;
    struct slice name;
    struct slice value;
    const char *last = query.ptr;
    while (uri_query_next(&rest, &name, &value)) {
        MUST(name.ptr >= last && value.ptr >= name.ptr + name.len);
        MUST(memchr(name.ptr, '=', name.len) == NULL && memchr(name.ptr, '&', name.len) == NULL);
        MUST(memchr(value.ptr, '&', value.len) == NULL);
        last = value.ptr + value.len;
        MUST(last <= query.ptr + query.len);
    }
    MUST(rest.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct buf decoded = {0};
    (void)uri_decode(text, (size & 1) != 0, &decoded);
    MUST(decoded.len <= size);
    buf_deinit(&decoded);
    check_round_trip(text);
    check_id(text);
    check_query(text);
    return 0;
}
