/* cache: pure functions over the scanner's slices. */
#include "domain/cache.h"

#include <stdio.h>

static const char SCOPED[] = "phoenix-cache-v1";

static struct slice value_of(const struct json_field *field)
{
    return field->type == JSON_ABSENT || field->type == JSON_NULL ? SLICE_NONE : field->raw;
}

static enum status check_metadata(struct slice metadata, struct json_error *out_error)
{
    if (!metadata.ptr) return STATUS_OK;
    struct json_field fields[] = {{.name = "model", .types = JSON_STRING | JSON_NULL},
                                  {.name = "tokens", .types = JSON_NUMBER | JSON_NULL},
                                  {.name = "provider", .types = JSON_STRING | JSON_NULL}};
    return json_read_object(metadata, fields, 3, false, out_error);
}

enum status cache_document_read(enum cache_form form, struct slice body, int64_t default_ttl_s,
                                struct cache_document *out, struct json_error *out_error)
{
    enum { RESPONSE, METADATA, TTL, INPUT, SCOPE, FIELDS };
    struct json_field fields[FIELDS] = {
        [RESPONSE] = {.name = "response", .types = JSON_ANY, .required = true},
        [METADATA] = {.name = "metadata", .types = JSON_OBJECT | JSON_NULL},
        [TTL] = {.name = "ttl", .types = JSON_NUMBER | JSON_NULL},
        [INPUT] = {.name = "input", .types = JSON_STRING, .required = true},
        [SCOPE] = {.name = "scope", .types = JSON_OBJECT | JSON_NULL},
    };
    unsigned first = form == CACHE_FORM_LOOKUP ? INPUT : RESPONSE;
    unsigned end = form == CACHE_FORM_PUT ? INPUT : FIELDS;
    enum status status = json_read_object(body, fields + first, end - first, true, out_error);
    if (status != STATUS_OK) return status;
    *out = (struct cache_document){.input = value_of(&fields[INPUT]),
                                   .scope = value_of(&fields[SCOPE]),
                                   .response = fields[RESPONSE].raw, /* null is a response */
                                   .metadata = value_of(&fields[METADATA]),
                                   .ttl_s = default_ttl_s};
    struct slice ttl = value_of(&fields[TTL]);
    if (ttl.ptr) status = json_int(ttl, "ttl", 1, CACHE_TTL_MAX_S, &out->ttl_s, out_error);
    return status == STATUS_OK ? check_metadata(out->metadata, out_error) : status;
}

static bool add_length(struct sha256 *sha, size_t len)
{
    char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)len >> (56 - 8 * i));
    return sha256_add(sha, (struct slice){bytes, sizeof bytes});
}

bool cache_key_of(struct sha256 *sha, struct slice input, struct slice canonical_scope,
                  char out[CACHE_KEY_SIZE])
{
    unsigned char digest[SHA256_BYTES];
    bool ok = sha256_begin(sha);
    if (canonical_scope.ptr)
        ok = ok && sha256_add(sha, (struct slice){SCOPED, sizeof SCOPED - 1}) &&
             add_length(sha, canonical_scope.len) && sha256_add(sha, canonical_scope) &&
             add_length(sha, input.len);
    if (!ok || !sha256_add(sha, input) || !sha256_end(sha, digest)) return false;
    sha256_hex(digest, out);
    return true;
}

static enum status key_with(struct sha256 *sha, const struct cache_document *document, struct buf *input,
                            struct buf *scope, char out[CACHE_KEY_SIZE], struct json_error *out_error)
{
    struct slice bytes = json_string_plain(document->input);
    if (!bytes.ptr) {
        enum status status = json_string_decode(document->input, "input", input, out_error);
        if (status != STATUS_OK) return status;
        bytes = buf_slice(input);
    }
    struct slice canonical = SLICE_NONE;
    if (document->scope.ptr) {
        enum status status = json_canonical(document->scope, scope, out_error);
        if (status != STATUS_OK) return status;
        canonical = buf_slice(scope);
        if (slice_equal_text(canonical, "{}")) {
            snprintf(out_error->detail, sizeof out_error->detail,
                     "scope must not be empty; leave it out instead");
            return STATUS_INVALID_ARGUMENT;
        }
    }
    return !input->failed && !scope->failed && cache_key_of(sha, bytes, canonical, out) ? STATUS_OK
                                                                                        : STATUS_INTERNAL;
}

enum status cache_document_key(struct sha256 *sha, const struct cache_document *document,
                               char out[CACHE_KEY_SIZE], struct json_error *out_error)
{
    struct buf input = {0}, scope = {0};
    snprintf(out_error->detail, sizeof out_error->detail, "out of memory or libcrypto failed");
    enum status status = key_with(sha, document, &input, &scope, out, out_error);
    buf_deinit(&input);
    buf_deinit(&scope);
    return status;
}

/* --- headers --- */

static bool read_seconds(struct slice text, int64_t *out)
{
    int64_t value = 0;
    if (text.len == 0) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        /* RFC 9111 §1.2.2: what overflows is taken as 2^31. */
        value = value > INT32_MAX ? INT64_C(1) << 31 : value * 10 + (text.ptr[i] - '0');
    }
    *out = value;
    return true;
}

bool cache_control_read(struct slice header, struct cache_control *out)
{
    static const struct slice MAX_AGE = {"max-age=", 8};
    *out = (struct cache_control){.max_age_s = -1};
    struct slice element;
    while (slice_list_next(&header, &element)) {
        if (slice_equal_nocase(element, SLICE_LITERAL("no-cache")))
            out->no_cache = true;
        else if (slice_equal_nocase(element, SLICE_LITERAL("only-if-cached")))
            out->only_if_cached = true;
        else if (element.len >= MAX_AGE.len &&
                 slice_equal_nocase((struct slice){element.ptr, MAX_AGE.len}, MAX_AGE) &&
                 !read_seconds((struct slice){element.ptr + MAX_AGE.len, element.len - MAX_AGE.len},
                               &out->max_age_s))
            return false;
    }
    return true;
}
