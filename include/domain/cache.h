/* cache: the rules of /cache as pure functions: what a request body must hold, which hash names an input,
 * what Cache-Control asks. */
#ifndef PHOENIX_DOMAIN_CACHE_H
#define PHOENIX_DOMAIN_CACHE_H

#include "util/buf.h"
#include "util/json.h"
#include "util/sha256.h"
#include "util/status.h"

enum { CACHE_TTL_MAX_S = 31536000, CACHE_KEY_SIZE = SHA256_HEX_SIZE };

/* What a POST or PUT of /cache asks to store. Slices point into the body; ptr NULL: absent (null is absent
 * too). */
struct cache_document {
    struct slice input;    /* raw string, with quotes; POST and lookup only */
    struct slice scope;    /* raw object */
    struct slice response; /* raw JSON */
    struct slice metadata; /* raw object */
    int64_t ttl_s;
};

enum cache_form { CACHE_FORM_POST, CACHE_FORM_PUT, CACHE_FORM_LOOKUP };

/* Reads a body of that form. STATUS_OK, INVALID_JSON, UNPROCESSABLE or INVALID_ARGUMENT with the reason in
 * out_error. */
enum status cache_document_read(enum cache_form form, struct slice body, int64_t default_ttl_s,
                                struct cache_document *out, struct json_error *out_error);

/* The key of an input (decoded bytes): SHA-256 in lower-case hex; with a canonical scope that of
 * "phoenix-cache-v1" and then, for scope and input, an 8-byte big-endian length and the bytes. False when
 * libcrypto fails. */
bool cache_key_of(struct sha256 *sha, struct slice input, struct slice canonical_scope,
                  char out[CACHE_KEY_SIZE]);

/* cache_key_of for a document: decodes the input, makes the scope canonical. UNPROCESSABLE, INVALID_ARGUMENT
 * (empty scope) or INTERNAL. */
enum status cache_document_key(struct sha256 *sha, const struct cache_document *document,
                               char out[CACHE_KEY_SIZE], struct json_error *out_error);

/* What a request's Cache-Control asks; directives that are not ours are ignored, as RFC 9111 has it. */
struct cache_control {
    bool no_cache, only_if_cached;
    int64_t max_age_s; /* -1: not given */
};
/* False: a max-age that is no number. */
bool cache_control_read(struct slice header, struct cache_control *out);

#endif
