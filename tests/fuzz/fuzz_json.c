/* fuzz_json: any bytes through util/json, and what must hold between its functions. cJSON is the second
 * opinion: it takes more than JSON (numbers like 01, broken UTF-8), but whatever json_validate takes it must
 * take too, but for an escaped NUL or a lone surrogate, which it cannot hold. */
#include "util/json.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#define MUST(fact)                                                                                           \
    do {                                                                                                     \
        if (!(fact)) abort();                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_second_opinion(struct slice text)
{
    /* A string that cJSON cannot hold has one of these two in it. */
    if (memmem(text.ptr, text.len, "\\u0000", 6) != NULL || memmem(text.ptr, text.len, "\\ud", 3) != NULL ||
        memmem(text.ptr, text.len, "\\uD", 3) != NULL)
        return;
    /* It reads numbers of up to 63 characters, the rest of a longer one is then in its way. */
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        run =
            (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E' ? run + 1 : 0;
        if (run >= 63) return;
    }
    char *copy = strndup(text.ptr, text.len);
    MUST(copy != NULL);
    cJSON *tree = cJSON_ParseWithOpts(copy, NULL, 1);
    MUST(tree != NULL);
    cJSON_Delete(tree);
    free(copy);
}

static void check_string(struct slice raw)
{
    struct buf decoded = {0};
    enum status status = json_string_decode(raw, "n", &decoded, NULL);
    struct slice plain = json_string_plain(raw);
    if (plain.ptr != NULL) MUST(status == STATUS_OK && slice_equal(plain, buf_slice(&decoded)));
    if (status == STATUS_OK) {
        struct buf encoded = {0};
        struct buf again = {0};
        json_append_string(&encoded, buf_slice(&decoded));
        MUST(json_string_decode(buf_slice(&encoded), "n", &again, NULL) == STATUS_OK);
        MUST(slice_equal(buf_slice(&decoded), buf_slice(&again)));
        buf_deinit(&encoded);
        buf_deinit(&again);
    } else {
        MUST(status == STATUS_UNPROCESSABLE && decoded.len == 0);
    }
    buf_deinit(&decoded);
}

static void check_number(struct slice raw)
{
    int64_t value = 0;
    enum status status = json_int(raw, "n", INT64_MIN, INT64_MAX, &value, NULL);
    MUST(status == STATUS_OK || status == STATUS_UNPROCESSABLE || status == STATUS_INVALID_ARGUMENT);
    char text[64];
    if (raw.len >= sizeof text) return;
    memcpy(text, raw.ptr, raw.len);
    text[raw.len] = '\0';
    double real = strtod(text, NULL);
    /* Within 2^53 a double tells whole numbers exactly. */
    if (status == STATUS_OK && value > -(INT64_C(1) << 53) && value < INT64_C(1) << 53)
        MUST((double)value == real);
}

static void check_canonical(struct slice raw)
{
    struct buf once = {0};
    struct buf twice = {0};
    if (json_canonical(raw, &once, NULL) == STATUS_OK) {
        enum json_type type;
        MUST(json_validate(buf_slice(&once), &type, NULL) == STATUS_OK && type == JSON_OBJECT);
        MUST(json_read_object(buf_slice(&once), NULL, 0, false, NULL) == STATUS_OK);
        MUST(json_canonical(buf_slice(&once), &twice, NULL) == STATUS_OK);
        MUST(slice_equal(buf_slice(&once), buf_slice(&twice)));
    } else {
        MUST(once.len == 0);
    }
    buf_deinit(&once);
    buf_deinit(&twice);
}

static void check_object(struct slice text, enum status validated, enum json_type type)
{
    struct json_field fields[] = {
        {.name = "a", .types = JSON_ANY},
        {.name = "ttl", .types = JSON_NUMBER},
        {.name = "input", .types = JSON_STRING | JSON_NULL},
    };
    struct json_error error;
    for (int strict = 0; strict < 2; strict++) {
        enum status status = json_read_object(text, fields, 3, strict == 1, &error);
        if (validated != STATUS_OK) MUST(status == validated);
        if (validated == STATUS_OK && type != JSON_OBJECT) MUST(status == STATUS_UNPROCESSABLE);
        if (status != STATUS_OK) {
            MUST(memchr(error.detail, '\0', sizeof error.detail) != NULL);
            continue;
        }
        for (size_t i = 0; i < 3; i++) {
            enum json_type member;
            if (fields[i].type == JSON_ABSENT) continue;
            MUST(json_validate(fields[i].raw, &member, NULL) == STATUS_OK && member == fields[i].type);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    enum json_type type = JSON_ABSENT;
    struct json_error error;
    enum status status = json_validate(text, &type, &error);
    check_object(text, status, type);
    struct buf quoted = {0};
    json_append_string(&quoted, text);
    MUST(json_validate(buf_slice(&quoted), NULL, NULL) == STATUS_OK);
    check_string(buf_slice(&quoted).len > 0 && memchr(data, 0, size) == NULL ? buf_slice(&quoted)
                                                                             : SLICE_LITERAL("\"\""));
    buf_deinit(&quoted);
    if (status != STATUS_OK) return 0;

    check_second_opinion(text);
    while (strchr(" \t\r\n", text.ptr[0]) != NULL) {
        text.ptr++;
        text.len--;
    }
    while (strchr(" \t\r\n", text.ptr[text.len - 1]) != NULL)
        text.len--;
    if (type == JSON_STRING) check_string(text);
    if (type == JSON_NUMBER) check_number(text);
    if (type == JSON_OBJECT) check_canonical(text);
    return 0;
}
