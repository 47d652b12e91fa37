/* lock: bodies and headers of /locks. */
#include "domain/lock.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKEN_LEN = 32, OWNER_BYTES_MAX = 4 * LOCK_OWNER_CHARS_MAX };

static enum status refuse(struct json_error *out_error, const char *detail)
{
    if (out_error) snprintf(out_error->detail, sizeof out_error->detail, "%s", detail);
    return STATUS_INVALID_ARGUMENT;
}

static enum status read_ttl(struct slice raw, int64_t ttl_max_ms, int64_t *out_ms,
                            struct json_error *out_error)
{
    int64_t most = ttl_max_ms < LOCK_TTL_MAX_MS ? ttl_max_ms : LOCK_TTL_MAX_MS;
    return json_seconds(raw, "ttl", LOCK_TTL_MIN_MS, most, out_ms, out_error);
}

static bool owner_ok(struct slice owner)
{
    size_t chars = 0;
    for (size_t i = 0; i < owner.len; i++) {
        unsigned char c = (unsigned char)owner.ptr[i];
        if (c < ' ' || c == 0x7f) return false;
        chars += (c & 0xc0) != 0x80;
    }
    return chars >= 1 && chars <= LOCK_OWNER_CHARS_MAX;
}

enum status lock_acquire_read(struct slice body, int64_t ttl_max_ms, struct lock_acquire_request *out,
                              struct buf *owner, struct json_error *out_error)
{
    enum { TTL, OWNER, WAIT, FIELDS };
    struct json_field fields[FIELDS] = {
        [TTL] = {.name = "ttl", .types = JSON_NUMBER, .required = true},
        [OWNER] = {.name = "owner", .types = JSON_STRING | JSON_NULL},
        [WAIT] = {.name = "wait", .types = JSON_NUMBER | JSON_NULL},
    };
    struct lock_acquire_request r = {.has_owner = false};
    enum status status = json_read_object(body, fields, FIELDS, true, out_error);
    if (status == STATUS_OK) status = read_ttl(fields[TTL].raw, ttl_max_ms, &r.ttl_ms, out_error);
    if (status == STATUS_OK && fields[WAIT].type == JSON_NUMBER)
        status = json_seconds(fields[WAIT].raw, "wait", 0, LOCK_WAIT_MAX_MS, &r.wait_ms, out_error);
    r.has_owner = status == STATUS_OK && fields[OWNER].type == JSON_STRING;
    if (r.has_owner) {
        size_t before = owner->len;
        status = fields[OWNER].raw.len > 6 * (size_t)OWNER_BYTES_MAX
                     ? STATUS_INVALID_ARGUMENT
                     : json_string_decode(fields[OWNER].raw, "owner", owner, out_error);
        struct slice decoded = {owner->ptr + before, owner->len - before};
        if (status == STATUS_INVALID_ARGUMENT || (status == STATUS_OK && !owner_ok(decoded)))
            status = refuse(out_error, "owner must be 1 to 256 characters without control characters");
    }
    if (status == STATUS_OK) *out = r;
    return status;
}

enum status lock_renew_read(struct slice body, int64_t ttl_max_ms, struct lock_renew_request *out,
                            struct json_error *out_error)
{
    enum { TOKEN, TTL, FIELDS };
    struct json_field fields[FIELDS] = {
        [TOKEN] = {.name = "token", .types = JSON_STRING, .required = true},
        [TTL] = {.name = "ttl", .types = JSON_NUMBER, .required = true},
    };
    struct lock_renew_request r = {0};
    enum status status = json_read_object(body, fields, FIELDS, true, out_error);
    if (status == STATUS_OK) status = read_ttl(fields[TTL].raw, ttl_max_ms, &r.ttl_ms, out_error);
    if (status != STATUS_OK) return status;
    /* One with an escape in it is none of ours. */
    r.token = json_string_plain(fields[TOKEN].raw);
    if (!lock_token_ok(r.token)) return refuse(out_error, "token is no lock token");
    *out = r;
    return STATUS_OK;
}

bool lock_token_ok(struct slice token)
{
    if (token.len != TOKEN_LEN) return false;
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    }
    return true;
}

bool lock_idempotency_key_ok(struct slice key)
{
    if (key.len < 1 || key.len > LOCK_IDEMPOTENCY_KEY_MAX) return false;
    for (size_t i = 0; i < key.len; i++)
        if (key.ptr[i] <= ' ' || key.ptr[i] > '~') return false;
    return true;
}
