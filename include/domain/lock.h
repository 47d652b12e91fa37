/* lock: what a request of /locks must hold. Pure. */
#ifndef PHOENIX_DOMAIN_LOCK_H
#define PHOENIX_DOMAIN_LOCK_H

#include "util/buf.h"
#include "util/json.h"

enum {
    LOCK_TTL_MIN_MS = 100,
    LOCK_TTL_MAX_MS = 3600 * 1000,
    LOCK_WAIT_MAX_MS = 60 * 1000,
    LOCK_OWNER_CHARS_MAX = 256,
    LOCK_IDEMPOTENCY_KEY_MAX = 256
};

/* Either form refuses with INVALID_JSON, UNPROCESSABLE or INVALID_ARGUMENT and the reason in out_error.
 * `ttl_max_ms`: locks.ttl_max; LOCK_TTL_MAX_MS holds as well. */

struct lock_acquire_request {
    int64_t ttl_ms, wait_ms;
    bool has_owner;
};
/* {"ttl", "owner"?, "wait"?}; appends the owner (1 to 256 characters, no control character; `#` is allowed:
 * what follows the last one of a lock's value is the fence). */
enum status lock_acquire_read(struct slice body, int64_t ttl_max_ms, struct lock_acquire_request *out,
                              struct buf *owner, struct json_error *out_error);

struct lock_renew_request {
    int64_t ttl_ms;
    struct slice token; /* in the body */
};
/* {"token", "ttl"} */
enum status lock_renew_read(struct slice body, int64_t ttl_max_ms, struct lock_renew_request *out,
                            struct json_error *out_error);

/* 32 lower-case hex digits, as this daemon makes them. */
bool lock_token_ok(struct slice token);
/* 1 to 256 visible ASCII characters. */
bool lock_idempotency_key_ok(struct slice key);

#endif
