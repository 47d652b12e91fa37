/* prepare: writes what the measurements read, so that nothing is built while the clock runs: the contents of
 * Redis and, for each scenario, a file of complete HTTP requests (a request's length in decimal, a newline,
 * its bytes; bench/client.c and bench/wrk.lua read it).
 * Usage: prepare DIRECTORY PROMPTS.csv KEYS. It writes
 *   fill.resp        SETs of KEYS values and one for each prompt, for redis-cli --pipe
 *   cache-get.req    GET by key, all KEYS in a scattered order; webdis-get.req the same for Webdis
 *   cache-hot.req    GET of one key;                            webdis-hot.req the same for Webdis
 *   cache-put.req    PUT of 1 KiB to each key;                  webdis-set.req SETEX of the same bytes
 *   lookup.req       POST /cache/lookup of each prompt;         prompt-get.req GET of the same entries
 *   session-create.req, session-patch.req   KEYS sessions: POST of each, PATCH of each's data;
 *   live-create.req, live-patch.req         the same of LIVE_SESSIONS others
 * Keys end in twelve decimal digits because redis-benchmark can only vary those. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    VALUE_BYTES = 1024,
    KEY_BYTES = 65,
    KEYS_MAX = 1000000,
    LIVE_SESSIONS = 1000,
    STRIDE = 7919,
    TTL_S = 86400
};

static const char KEY_HEAD[] = "b6e4c1d2a3f5978860717e2f3c4d5a6b8c9d0e1f2a3b4c5d6e7f";

/* What a request is made of. */
struct entry {
    char key[KEY_BYTES];
    char value[VALUE_BYTES + 1];
};

static void die(const char *what)
{
    (void)fprintf(stderr, "prepare: %s: %s\n", what, strerror(errno));
    exit(1);
}

static FILE *open_in(const char *directory, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) die(path);
    return file;
}

static void close_file(FILE *file)
{
    if (fclose(file) != 0) die("write");
}

__attribute__((format(printf, 2, 3))) static void put_request(FILE *file, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    const int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) die("memory");
    (void)fprintf(file, "%d\n%s", len, text);
    free(text);
}

/* `len` bytes that look like prose to anything that would compress or escape them, and differ by seed. */
static void fill_prose(char *out, size_t len, unsigned seed)
{
    static const char prose[] =
        "the answer that a model gave to a question, told at some length so that it has a "
        "size worth keeping; ";
    for (size_t i = 0; i < len; i++)
        out[i] = prose[((size_t)seed * 13 + i) % (sizeof prose - 1)];
}

/* A stored value, exactly VALUE_BYTES long, in the form that the daemon and other programs write. */
static void make_value(char out[VALUE_BYTES + 1], unsigned seed)
{
    char tail[256];
    char stamp[32];
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S.000Z", &utc) == 0)
        die("time");
    static const char head[] = "{\"response\":\"";
    const int len =
        snprintf(tail, sizeof tail,
                 "\",\"timestamp\":\"%s\",\"ttl\":%d,\"metadata\":{\"model\":\"bench\",\"tokens\":256,"
                 "\"provider\":\"bench\"}}",
                 stamp, TTL_S);
    assert(len > 0 && (size_t)len < sizeof tail);
    const size_t prose = VALUE_BYTES - (sizeof head - 1) - (size_t)len;
    memcpy(out, head, sizeof head - 1);
    fill_prose(out + sizeof head - 1, prose, seed);
    memcpy(out + sizeof head - 1 + prose, tail, (size_t)len + 1);
}

static void make_entry(struct entry *e, unsigned number)
{
    (void)snprintf(e->key, sizeof e->key, "%s%012u", KEY_HEAD, number);
    make_value(e->value, number);
}

static void put_set(FILE *fill, const struct entry *e)
{
    (void)fprintf(fill,
                  "*5\r\n$3\r\nSET\r\n$%zu\r\nphoenix:cache:%s\r\n$%d\r\n%s\r\n$2\r\nEX\r\n$%d\r\n%d\r\n",
                  strlen("phoenix:cache:") + strlen(e->key), e->key, VALUE_BYTES, e->value, 5, TTL_S);
}

static void put_get(FILE *file, const char *key)
{
    put_request(file, "GET /cache/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", key);
}

/* .txt is Webdis's cheapest form: the value's bytes, no JSON made around them. */
static void put_webdis_get(FILE *file, const char *key)
{
    put_request(file, "GET /GET/phoenix:cache:%s.txt HTTP/1.1\r\nHost: localhost\r\n\r\n", key);
}

static void put_writes(FILE *put, FILE *set, const struct entry *e)
{
    /* The stored value is 1 KiB: the request's response is what is left beside timestamp and metadata. */
    const char *response = e->value + strlen("{\"response\":");
    const char *end = strstr(response, ",\"timestamp\"");
    assert(end != NULL);
    const int len = (int)(end - response);
    static const char rest[] =
        ",\"ttl\":86400,\"metadata\":{\"model\":\"bench\",\"tokens\":256,\"provider\":\"bench\"}}";
    const size_t body = strlen("{\"response\":") + (size_t)len + strlen(rest);
    put_request(
        put, "PUT /cache/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n{\"response\":%.*s%s",
        e->key, body, len, response, rest);
    put_request(set,
                "PUT /SETEX/bench-webdis:%s/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s",
                e->key, TTL_S, VALUE_BYTES, e->value);
}

static void write_keys(const char *directory, FILE *fill, unsigned keys)
{
    struct entry e = {.key = ""};
    FILE *get = open_in(directory, "cache-get.req");
    FILE *hot = open_in(directory, "cache-hot.req");
    FILE *webdis_get = open_in(directory, "webdis-get.req");
    FILE *webdis_hot = open_in(directory, "webdis-hot.req");
    FILE *put = open_in(directory, "cache-put.req");
    FILE *set = open_in(directory, "webdis-set.req");
    for (unsigned i = 0; i < keys; i++) { /* scattered: neighbours in time are no neighbours in memory */
        make_entry(&e, (unsigned)((uint64_t)i * STRIDE % keys));
        put_set(fill, &e);
        put_get(get, e.key);
        put_webdis_get(webdis_get, e.key);
        put_writes(put, set, &e);
        if (i == 0) {
            put_get(hot, e.key);
            put_webdis_get(webdis_hot, e.key);
        }
    }
    close_file(get);
    close_file(hot);
    close_file(webdis_get);
    close_file(webdis_hot);
    close_file(put);
    close_file(set);
}

static void write_sessions(const char *directory, const char *name, unsigned keys)
{
    char file[64], prose[200 + 1] = "", body[512];
    (void)snprintf(file, sizeof file, "%s-create.req", name);
    FILE *create = open_in(directory, file);
    (void)snprintf(file, sizeof file, "%s-patch.req", name);
    FILE *patch = open_in(directory, file);
    for (unsigned i = 0; i < keys; i++) {
        fill_prose(prose, sizeof prose - 1, i);
        int len =
            snprintf(body, sizeof body,
                     "{\"correlation_id\":\"%s-%u\",\"data\":{\"step\":0,\"note\":\"%s\"}}", name, i, prose);
        put_request(create, "POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len,
                    body);
        len = snprintf(body, sizeof body, "{\"data\":{\"step\":%u}}", i + 1);
        put_request(patch, "PATCH /session/%s-%u HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s",
                    name, i, len, body);
    }
    close_file(create);
    close_file(patch);
}

static char *escape_json(const char *text)
{
    char *out = calloc(strlen(text) + 1, 6);
    if (out == NULL) die("memory");
    char *at = out;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            *at++ = '\\', *at++ = *c;
        else if (*c == '\n')
            *at++ = '\\', *at++ = 'n';
        else if ((unsigned char)*c < ' ')
            at += sprintf(at, "\\u%04x", (unsigned)*c);
        else
            *at++ = *c;
    }
    *at = '\0';
    return out;
}

static void write_prompt(FILE *fill, FILE *lookup, FILE *get, const char *prompt, unsigned number)
{
    struct entry e = {.key = ""};
    unsigned char digest[SHA256_DIGEST_LENGTH];
    (void)SHA256((const unsigned char *)prompt, strlen(prompt), digest);
    for (size_t i = 0; i < sizeof digest; i++)
        (void)snprintf(e.key + 2 * i, 3, "%02x", digest[i]);
    make_value(e.value, number);
    put_set(fill, &e);
    put_get(get, e.key);
    char *input = escape_json(prompt);
    put_request(lookup,
                "POST /cache/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n{\"input\":\"%s\"}",
                strlen(input) + strlen("{\"input\":\"\"}"), input);
    free(input);
}

/* Reads one field of RFC 4180 into a buffer as large as the file. Returns the character that ended it. */
static int read_field(FILE *csv, char *out)
{
    size_t len = 0;
    bool quoted = false;
    int c = getc(csv);
    for (; c != EOF; c = getc(csv)) {
        if (c == '"') {
            const int next = quoted ? getc(csv) : 0;
            if (quoted && next == '"') {
                out[len++] = '"';
                continue;
            }
            if (quoted) (void)ungetc(next, csv);
            quoted = !quoted;
        } else if (!quoted && (c == ',' || c == '\n')) {
            break;
        } else if (quoted || c != '\r') {
            out[len++] = (char)c;
        }
    }
    out[len] = '\0';
    return c;
}

/* The last column of each record but the first is a prompt. */
static unsigned write_prompts(const char *directory, FILE *fill, const char *path)
{
    unsigned count = 0;
    FILE *csv = fopen(path, "rb");
    if (csv == NULL || fseek(csv, 0, SEEK_END) != 0) die(path);
    const long size = ftell(csv);
    if (size < 0 || fseek(csv, 0, SEEK_SET) != 0) die(path);
    char *field = calloc((size_t)size + 1, 1);
    if (field == NULL) die("memory");
    FILE *lookup = open_in(directory, "lookup.req");
    FILE *get = open_in(directory, "prompt-get.req");
    for (int end = '\n', record = 0; end != EOF; record++) {
        do {
            end = read_field(csv, field);
        } while (end == ',');
        if (record > 0 && field[0] != '\0') write_prompt(fill, lookup, get, field, count++);
    }
    close_file(lookup);
    close_file(get);
    free(field);
    (void)fclose(csv);
    return count;
}

int main(int argc, char **argv)
{
    const unsigned long keys = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (keys == 0 || keys > KEYS_MAX || keys % STRIDE == 0) {
        (void)fprintf(stderr, "usage: prepare DIRECTORY PROMPTS.csv KEYS (not a multiple of %d)\n", STRIDE);
        return 2;
    }
    FILE *fill = open_in(argv[1], "fill.resp");
    write_keys(argv[1], fill, (unsigned)keys);
    write_sessions(argv[1], "session", (unsigned)keys);
    write_sessions(argv[1], "live", LIVE_SESSIONS);
    const unsigned prompts = write_prompts(argv[1], fill, argv[2]);
    close_file(fill);
    printf("prompts=%u\n", prompts);
    return prompts > 0 ? 0 : 1;
}
