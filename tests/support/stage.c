/* stage: puts the pieces together in the order in which they depend on each other. */
#include "stage.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct stage open_on(struct redis_server *redis, const char *const *env)
{
    struct stage s = {.backend = redis ? BACKEND_REDIS : BACKEND_EMBEDDED, .redis = redis};
    struct daemon_options o = {.redis_url = redis ? redis_server_url(redis) : NULL, .env = env};
    s.r = redis ? redis_server_client(redis) : NULL;
    s.d = daemon_start(&o);
    s.h = daemon_client(s.d);
    return s;
}

struct stage stage_open(enum backend backend, const char *const *env)
{
    return open_on(backend == BACKEND_REDIS ? redis_server_start(NULL) : NULL, env);
}

struct stage stage_open_durable(const char *const *env)
{
    return open_on(redis_server_start(&(struct redis_server_options){.durable = true}), env);
}

void stage_close(struct stage *s)
{
    http_close(&s->h);
    daemon_stop(&s->d);
    resp_close(&s->r);
    redis_server_stop(&s->redis);
}

const char *stage_backend_name(const struct stage *s)
{
    return s->backend == BACKEND_REDIS ? "redis" : "local";
}

/* --- hashes --- */

static const char *hex(char out[KEY_SIZE], const unsigned char digest[32])
{
    for (size_t i = 0; i < 32; i++)
        format(out + 2 * i, KEY_SIZE - 2 * i, "%02x", digest[i]);
    return out;
}

const char *sha256_hex_of(char out[KEY_SIZE], const void *bytes, size_t len)
{
    unsigned char digest[32];
    ck_assert_int_eq(EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL), 1);
    return hex(out, digest);
}

const char *key_of(char out[KEY_SIZE], const char *input)
{
    return sha256_hex_of(out, input, strlen(input));
}

static size_t append_sized(char *to, const char *text)
{
    uint64_t len = strlen(text);
    for (unsigned i = 0; i < 8; i++)
        to[i] = (char)(len >> (56 - 8 * i));
    paste(to + 8, text);
    return 8 + len;
}

const char *key_of_scoped(char out[KEY_SIZE], const char *canonical, const char *input)
{
    static const char label[] = "phoenix-cache-v1";
    size_t n = sizeof label - 1;
    char *text = must_alloc(n + 16 + strlen(canonical) + strlen(input));
    memcpy(text, label, n);
    n += append_sized(text + n, canonical);
    n += append_sized(text + n, input);
    sha256_hex_of(out, text, n);
    free(text);
    return out;
}

/* --- bodies --- */

/* The end of the JSON value at p, in a body known to be JSON. */
static const char *value_end(const char *p)
{
    int depth = 0;
    bool quoted = false;
    for (; *p; p++) {
        if (quoted) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == '"')
                quoted = false;
        } else if (*p == '"') {
            quoted = true;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if (*p == '}' || *p == ']') {
            if (depth-- == 0) return p;
        } else if (*p == ',' && depth == 0) {
            return p;
        }
    }
    return p;
}

static bool names(const char **p, const char *name)
{
    size_t n = strlen(name);
    if (**p != '"' || strncmp(*p + 1, name, n) != 0 || (*p)[n + 1] != '"') return false;
    *p += n + 2;
    return true;
}

const char *member_of(char *out, size_t size, const char *body, const char *name)
{
    const char *p = body + strspn(body, " \t\r\n");
    while (*p == '{' || *p == ',') {
        p++;
        p += strspn(p, " \t\r\n");
        bool mine = names(&p, name);
        if (!mine) p += strcspn(p, ":");
        p += strspn(p, ": \t\r\n");
        const char *end = value_end(p);
        if (mine) {
            size_t n = (size_t)(end - p);
            while (n && strchr(" \t\r\n", p[n - 1]))
                n--;
            bool quoted = n >= 2 && p[0] == '"';
            return format(out, size, "%.*s", (int)(n - (quoted ? 2 : 0)), p + quoted);
        }
        p = end;
    }
    return format(out, size, "%s", "");
}

/* --- Redis --- */

static const char *redis_key(char out[512], const char *key)
{
    return format(out, 512, "phoenix:cache:%s", key);
}

const char *redis_value(struct resp_client *r, const char *key)
{
    char name[512];
    return resp_text(r, "GET", redis_key(name, key));
}

long long redis_pttl(struct resp_client *r, const char *key)
{
    char name[512];
    const struct resp_value *v = resp_call(r, "PTTL", redis_key(name, key));
    ck_assert(v && v->type == ':');
    return v->integer;
}

void redis_put(struct resp_client *r, const char *key, const char *value, long long ttl_ms)
{
    char name[512];
    char ttl[32];
    redis_key(name, key);
    FORMAT(ttl, "%lld", ttl_ms);
    const char *answer =
        ttl_ms > 0 ? resp_text(r, "SET", name, value, "PX", ttl) : resp_text(r, "SET", name, value);
    ck_assert_str_eq(answer, "OK");
}

const char *cache_value(char *out, size_t size, const char *response, int age_s, int ttl_s)
{
    int64_t ms = wall_ms() - (int64_t)age_s * 1000;
    time_t t = (time_t)(ms / 1000);
    struct tm utc;
    char stamp[32];
    ck_assert_ptr_nonnull(gmtime_r(&t, &utc));
    ck_assert_uint_gt(strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc), 0);
    return format(
        out, size,
        "{\"response\": %s, \"timestamp\": \"%s.%03dZ\", \"ttl\": %d, \"metadata\": {\"model\": \"m\", "
        "\"tokens\": 1, \"provider\": \"p\"}}",
        response, stamp, (int)(ms % 1000), ttl_s);
}

/* --- expectations --- */

void expect_header(struct http_client *h, const char *name, const char *part)
{
    const char *value = http_header(h, name);
    ck_assert_msg(value && strstr(value, part), "%s: %s lacks %s", name, value ? value : "(absent)", part);
}

void expect_no_header(struct http_client *h, const char *name)
{
    const char *value = http_header(h, name);
    ck_assert_msg(value == NULL, "%s: %s", name, value ? value : "");
}

void expect_problem(struct http_client *h, const struct http_answer *a, int status, const char *code)
{
    char value[1024];
    char number[16];
    EXPECT_STATUS(a, status);
    expect_header(h, "Content-Type", "application/problem+json");
    ck_assert_str_eq(MEMBER(value, a->body, "code"), code);
    ck_assert_str_eq(MEMBER(value, a->body, "status"), FORMAT(number, "%d", status));
    static const char *const required[] = {"type", "title", "detail", "instance"};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        ck_assert_msg(MEMBER(value, a->body, required[i])[0] != 0, "no %s in %s", required[i], a->body);
}

int raw_status(struct raw_http *c, struct raw_response *out)
{
    struct raw_response a;
    if (!raw_http_receive(c, false, &a)) return 0;
    int status = a.status;
    if (out)
        *out = a;
    else
        raw_response_free(&a);
    return status;
}
