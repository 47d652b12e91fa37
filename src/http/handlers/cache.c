/* cache: /cache. Reads that the table can answer are answered at once, without an allocation of ours;
 * everything else is an operation attached to its exchange. */
#include "common.h"

#include "domain/cache.h"
#include "state/cache_value.h"
#include "util/etag.h"
#include "util/rfc3339.h"
#include "util/uri.h"

#include <stdio.h>
#include <stdlib.h>

struct read_op {
    struct cache_read read;
    struct exchange *x;
    struct house *house;
    struct cache_control control;
    char key[ID_LEN_MAX];
};

struct write_op {
    struct cache_write write;
    struct exchange *x;
    struct buf value;
    char key[ID_LEN_MAX];
};

/* --- answering a read --- */

static void answer_miss(struct exchange *x, const struct cache_result *result, const char *detail)
{
    const struct http_field fields[] = {{"Cache-Status", result->unavailable
                                                             ? "phoenix-cached; fwd=miss; detail=unavailable"
                                                             : "phoenix-cached; fwd=miss"},
                                        {"Phoenix-Backend", handler_backend(result->local)}};
    exchange_problem(x, result->status, detail, -1, fields, 2);
}

/* Appends a number to a literal start; cheaper than a format on the path that every hit takes. */
static char *put_text(char *at, const char *text)
{
    size_t len = strlen(text);
    memcpy(at, text, len + 1);
    return at + len;
}

static char *put_number(char *at, int64_t n)
{
    char digits[24];
    int len = 0;
    do {
        digits[len++] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    while (len > 0)
        *at++ = digits[--len];
    *at = 0;
    return at;
}

struct freshness {
    bool has_age, has_ttl;
    int64_t age_s, left_s;
    int64_t age_ms;
};

static struct freshness freshness_of(struct house *house, const struct lru_meta *meta)
{
    struct house_shared *shared = house->shared;
    struct freshness f = {.has_age = meta->stamp_ms != 0, .has_ttl = meta->expires_ms != 0};
    if (f.has_age) f.age_ms = cache_store_wall_ms(shared->cache) - meta->stamp_ms;
    if (f.age_ms < 0) f.age_ms = 0;
    f.age_s = f.age_ms / 1000;
    if (f.has_ttl) f.left_s = (meta->expires_ms - clock_wall_ms(shared->clock)) / 1000;
    if (f.left_s < 0) f.left_s = 0;
    return f;
}

static void release_entry(void *entry)
{
    lru_release(entry);
}

static void answer_hit(struct house *house, struct exchange *x, struct cache_result *result,
                       const struct freshness *f)
{
    const struct http_request *request = exchange_request(x);
    const struct lru_meta *meta = lru_entry_meta(result->entry);
    char etag[ETAG_SIZE], age[24], control[64], status[80];
    etag_format(meta->etag, etag);
    char *at = put_text(status, "phoenix-cached; hit");
    if (f->has_ttl) at = put_number(put_text(at, "; ttl="), f->left_s);
    put_text(put_text(at, "; detail="), cache_source_names[result->source]);
    struct http_field fields[5] = {
        {"ETag", etag}, {"Cache-Status", status}, {"Phoenix-Backend", handler_backend(result->local)}};
    size_t count = 3;
    if (f->has_age) {
        put_number(age, f->age_s);
        fields[count++] = (struct http_field){"Age", age};
    }
    if (f->has_ttl)
        put_number(put_text(control, "private, max-age="), f->age_s + f->left_s);
    else
        put_text(control, "private");
    fields[count++] = (struct http_field){"Cache-Control", control};
    struct slice none_match = request->header[HTTP_HEADER_IF_NONE_MATCH];
    bool conditional = request->method != HTTP_POST; /* 304 answers GET and HEAD alone */
    if (conditional && none_match.ptr &&
        etag_list_matches(none_match, (struct slice){etag + 1, ETAG_DIGITS})) {
        exchange_reply(x, 304, NULL, NULL, fields, count);
        lru_release(result->entry);
        return;
    }
    struct http_body body = {
        .bytes = lru_entry_value(result->entry), .release = release_entry, .arg = result->entry};
    if (result->source == CACHE_NEAR && f->has_age && body.bytes.len <= HTTP_KEEP_BYTES_MAX)
        exchange_keep(x, result->entry, 0,
                      loop_now_us(house->cache->loop) + (1000 - f->age_ms % 1000) * 1000);
    exchange_reply(x, 200, "application/json", &body, fields, count);
}

static const char *why_not(const struct cache_result *result)
{
    switch (result->status) {
    case STATUS_FOREIGN_VALUE:
        return "the key holds another type, no JSON, or more than http.body_max; it was left untouched";
    case STATUS_NOT_IN_TABLE:
        return "only-if-cached, and the local table does not have it";
    default:
        return result->unavailable ? "not in the local table, and Redis is away"
                                   : "no response is cached under this key";
    }
}

/* Takes over result->entry. */
static void answer_read(struct house *house, struct exchange *x, struct cache_result *result,
                        const struct cache_control *control)
{
    metrics_count(house->cell, METRIC_CACHE_READS, result->source, 0, 1);
    if (result->status != STATUS_OK) {
        answer_miss(x, result, why_not(result));
        return;
    }
    struct freshness f = freshness_of(house, lru_entry_meta(result->entry));
    if (control->max_age_s >= 0 && f.age_ms > control->max_age_s * 1000) {
        lru_release(result->entry);
        struct cache_result miss = {.status = STATUS_NOT_FOUND, .local = result->local};
        answer_miss(x, &miss, "the cached response is older than the request's max-age");
        return;
    }
    answer_hit(house, x, result, &f);
}

/* --- reading --- */

static void on_read(struct cache_read *read, struct cache_result *result)
{
    struct read_op *op = read->arg;
    answer_read(op->house, op->x, result, &op->control);
}

static bool read_control(struct exchange *x, struct cache_control *out)
{
    if (cache_control_read(exchange_request(x)->header[HTTP_HEADER_CACHE_CONTROL], out)) return true;
    handler_problem(x, STATUS_INVALID_ARGUMENT, "Cache-Control: max-age is not a number of seconds");
    return false;
}

static void get_key(struct house *house, struct exchange *x, struct slice key)
{
    struct cache_control control;
    if (!read_control(x, &control)) return;
    unsigned flags =
        (control.no_cache ? CACHE_NO_CACHE : 0u) | (control.only_if_cached ? CACHE_ONLY_IF_CACHED : 0u);
    struct cache_result result;
    if (cache_read_table(house->cache, key, flags, &result)) {
        bool plain = result.source == CACHE_NEAR && control.max_age_s < 0 &&
                     !exchange_request(x)->header[HTTP_HEADER_IF_NONE_MATCH].ptr;
        if (plain && exchange_reply_kept(x, result.entry, 0)) {
            metrics_count(house->cell, METRIC_CACHE_READS, result.source, 0, 1);
            lru_release(result.entry);
            return;
        }
        answer_read(house, x, &result, &control);
        return;
    }
    struct read_op *op = malloc(sizeof *op);
    if (!op) {
        handler_no_memory(x);
        return;
    }
    op->x = x;
    op->house = house;
    op->control = control;
    memcpy(op->key, key.ptr, key.len);
    op->read.key = (struct slice){op->key, key.len};
    op->read.deadline_us = exchange_deadline_us(x);
    op->read.done = on_read;
    op->read.arg = op;
    exchange_attach(x, op, free);
    cache_read_start(house->cache, &op->read);
}

static void get_input(struct house *house, struct exchange *x, struct slice input)
{
    char key[CACHE_KEY_SIZE];
    if (cache_key_of(house->cache->sha, input, SLICE_NONE, key))
        get_key(house, x, slice_of(key));
    else
        handler_problem(x, STATUS_INTERNAL, "libcrypto failed");
}

static void get_by_query(struct house *house, struct exchange *x)
{
    struct handler_query member = {.name = "input", .is_text = true};
    if (!handler_read_query(x, &member, 1)) return;
    struct buf input = {0};
    if (!member.value.ptr)
        handler_problem(x, STATUS_INVALID_ARGUMENT, "query member input is missing");
    else if (!uri_decode(member.value, true, &input))
        handler_problem(x, STATUS_INVALID_ARGUMENT, "query member input has a broken %-escape");
    else if (!json_utf8_valid(buf_slice(&input)))
        handler_problem(x, STATUS_INVALID_ARGUMENT, "query member input is not UTF-8");
    else
        get_input(house, x, buf_slice(&input));
    buf_deinit(&input);
}

static bool is_plain_text(struct slice content_type)
{
    static const struct slice PLAIN = {"text/plain", 10};
    return content_type.len >= PLAIN.len &&
           slice_equal_nocase((struct slice){content_type.ptr, PLAIN.len}, PLAIN) &&
           (content_type.len == PLAIN.len || content_type.ptr[PLAIN.len] == ';' ||
            content_type.ptr[PLAIN.len] == ' ');
}

void handle_cache_lookup(void *arg, struct exchange *x)
{
    struct house *house = arg;
    const struct http_request *request = exchange_request(x);
    if (!handler_no_query(x)) return;
    if (is_plain_text(request->header[HTTP_HEADER_CONTENT_TYPE])) {
        if (json_utf8_valid(request->body))
            get_input(house, x, request->body);
        else
            handler_problem(x, STATUS_INVALID_ARGUMENT, "the input is not UTF-8");
        return;
    }
    struct cache_document document;
    struct json_error error;
    char key[CACHE_KEY_SIZE];
    enum status status = cache_document_read(CACHE_FORM_LOOKUP, request->body, 0, &document, &error);
    if (status == STATUS_OK) status = cache_document_key(house->cache->sha, &document, key, &error);
    if (status == STATUS_OK)
        get_key(house, x, slice_of(key));
    else
        handler_problem(x, status, error.detail);
}

/* --- writing --- */

static void free_write(void *arg)
{
    struct write_op *op = arg;
    buf_deinit(&op->value);
    free(op);
}

static void answer_stored(struct write_op *op)
{
    const struct cache_write *w = &op->write;
    char location[ID_LEN_MAX + 16], body[ID_LEN_MAX + 96], expires[RFC3339_SIZE];
    rfc3339_format(w->stamp_ms + w->ttl_ms, expires);
    snprintf(location, sizeof location, "/cache/%.*s", (int)w->key.len, w->key.ptr);
    int len = snprintf(body, sizeof body, "{\"key\":\"%.*s\",\"expires_at\":\"%s\"}", (int)w->key.len,
                       w->key.ptr, expires);
    const struct http_body copied = {.bytes = {body, (size_t)len}};
    const struct http_field fields[] = {{"Location", location},
                                        {"Phoenix-Backend", handler_backend(w->local)}};
    exchange_reply(op->x, w->replaced ? 200 : 201, "application/json", &copied, fields, 2);
}

static const char *why_not_written(const struct cache_write *w)
{
    switch (w->status) {
    case STATUS_PRECONDITION_FAILED:
        return "If-None-Match: *, and a response is cached under this key";
    case STATUS_FOREIGN_VALUE:
        return "the key holds another type; it was left untouched";
    case STATUS_REDIS_REFUSED:
        return w->call.error;
    case STATUS_OUTCOME_UNKNOWN:
        return "the write was sent, and Redis did not say what became of it";
    case STATUS_OVERLOADED:
        return "larger than an eighth of local.bytes_max, which the local table does not keep";
    default:
        return w->kind == CACHE_CREATE
                   ? "a guarded write needs Redis, which is away"
                   : "Redis is away, and the response is too large to be kept until it is back";
    }
}

static void on_written(struct cache_write *w)
{
    struct write_op *op = w->arg;
    const struct http_field backend = {"Phoenix-Backend", handler_backend(w->local)};
    if (w->status == STATUS_OK && w->kind == CACHE_DELETE)
        exchange_reply(op->x, 204, NULL, NULL, &backend, 1);
    else if (w->status == STATUS_OK)
        answer_stored(op);
    else
        exchange_problem(op->x, w->status, why_not_written(w),
                         status_http(w->status) == 503 ? HANDLER_RETRY_AFTER_MS : -1, &backend, 1);
}

static struct write_op *new_write(struct house *house, struct exchange *x, enum cache_write_kind kind,
                                  struct slice key)
{
    struct write_op *op = calloc(1, sizeof *op);
    if (!op) {
        handler_no_memory(x);
        return NULL;
    }
    op->x = x;
    memcpy(op->key, key.ptr, key.len);
    op->write = (struct cache_write){.kind = kind,
                                     .key = {op->key, key.len},
                                     .stamp_ms = cache_store_stamp_ms(house->shared->cache),
                                     .deadline_us = exchange_deadline_us(x),
                                     .done = on_written,
                                     .arg = op};
    exchange_attach(x, op, free_write);
    return op;
}

/* If-None-Match: * makes a write create-only; no other precondition means anything here. */
static bool read_precondition(struct exchange *x, enum cache_write_kind *kind)
{
    const struct http_request *request = exchange_request(x);
    struct slice none_match = request->header[HTTP_HEADER_IF_NONE_MATCH];
    if (request->header[HTTP_HEADER_IF_MATCH].ptr) {
        handler_problem(x, STATUS_INVALID_ARGUMENT,
                        "If-Match is not known here; the one precondition is If-None-Match: *");
        return false;
    }
    if (none_match.ptr && (*kind == CACHE_DELETE || !slice_equal_text(slice_trim(none_match), "*"))) {
        handler_problem(x, STATUS_INVALID_ARGUMENT, "If-None-Match can only be *, and only on a write");
        return false;
    }
    if (none_match.ptr) *kind = CACHE_CREATE;
    return true;
}

static void store(struct house *house, struct exchange *x, struct slice key,
                  const struct cache_document *document)
{
    enum cache_write_kind kind = CACHE_PUT;
    if (!read_precondition(x, &kind)) return;
    size_t size = document->response.len + document->metadata.len + 512;
    /* The value, what hiredis copies of it, and the table's copy all live beside the body until Redis has
     * answered. */
    if (!handler_hold(x, 2 * size)) return;
    struct write_op *op = new_write(house, x, kind, key);
    if (!op) return;
    buf_reserve(&op->value, size);
    cache_value_write(&op->value, document->response, document->metadata, op->write.stamp_ms,
                      document->ttl_s);
    op->write.value = buf_slice(&op->value);
    op->write.ttl_ms = document->ttl_s * 1000;
    if (op->value.failed)
        handler_no_memory(x);
    else
        cache_write_start(house->cache, &op->write);
}

void handle_cache_collection(void *arg, struct exchange *x)
{
    struct house *house = arg;
    const struct http_request *request = exchange_request(x);
    if (request->method != HTTP_POST) {
        get_by_query(house, x);
        return;
    }
    if (!handler_no_query(x)) return;
    struct cache_document document;
    struct json_error error;
    char key[CACHE_KEY_SIZE];
    enum status status =
        cache_document_read(CACHE_FORM_POST, request->body, house->shared->cache_ttl_s, &document, &error);
    if (status == STATUS_OK) status = cache_document_key(house->cache->sha, &document, key, &error);
    if (status == STATUS_OK)
        store(house, x, slice_of(key), &document);
    else
        handler_problem(x, status, error.detail);
}

void handle_cache_key(void *arg, struct exchange *x)
{
    struct house *house = arg;
    const struct http_request *request = exchange_request(x);
    if (!handler_no_query(x)) return;
    if (request->method == HTTP_GET || request->method == HTTP_HEAD) {
        get_key(house, x, request->id);
    } else if (request->method == HTTP_DELETE) {
        enum cache_write_kind kind = CACHE_DELETE;
        struct write_op *op = read_precondition(x, &kind) ? new_write(house, x, kind, request->id) : NULL;
        if (op) cache_write_start(house->cache, &op->write);
    } else {
        struct cache_document document;
        struct json_error error;
        enum status status =
            cache_document_read(CACHE_FORM_PUT, request->body, house->shared->cache_ttl_s, &document, &error);
        if (status == STATUS_OK)
            store(house, x, request->id, &document);
        else
            handler_problem(x, status, error.detail);
    }
}
