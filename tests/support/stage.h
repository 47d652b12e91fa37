/* stage: a Redis (or none), a daemon on it and a client each: what most tests begin with. Also the contract's
 * small facts in the tests' own words: hashes, members of a body, expectations with the answer in the
 * message. */
#ifndef TESTS_SUPPORT_STAGE_H
#define TESTS_SUPPORT_STAGE_H

#include "daemon.h"
#include "raw_http.h"
#include "redis_server.h"
#include "support.h"

enum backend { BACKEND_REDIS, BACKEND_EMBEDDED, BACKEND_COUNT };

struct stage {
    enum backend backend;
    struct redis_server *redis; /* NULL: embedded */
    struct resp_client *r;      /* straight to Redis; NULL: embedded */
    struct daemon *d;
    struct http_client *h;
};

struct stage stage_open(enum backend backend, const char *const *env);
/* The same with a Redis that loses nothing when killed. */
struct stage stage_open_durable(const char *const *env);
void stage_close(struct stage *s);
/* What Phoenix-Backend says while all is well. */
const char *stage_backend_name(const struct stage *s);

enum { KEY_SIZE = 65 };
/* SHA-256 as lower-case hex, by libcrypto. */
const char *sha256_hex_of(char out[KEY_SIZE], const void *bytes, size_t len);
const char *key_of(char out[KEY_SIZE], const char *input);
/* API §4: with the canonical JSON of the scope. */
const char *key_of_scoped(char out[KEY_SIZE], const char *canonical, const char *input);

/* A top-level member's raw value (strings without their quotes) of a small JSON body; "" where absent. */
const char *member_of(char *out, size_t size, const char *body, const char *name);
#define MEMBER(array, body, name) member_of((array), sizeof(array), (body), (name))

/* GET's text of the key phoenix:cache:{key}. */
const char *redis_value(struct resp_client *r, const char *key);
long long redis_pttl(struct resp_client *r, const char *key);
/* SETs it, with PX where ttl_ms > 0. */
void redis_put(struct resp_client *r, const char *key, const char *value, long long ttl_ms);
/* A value in the form that Redis holds, stamped `age_s` seconds ago. */
const char *cache_value(char *out, size_t size, const char *response, int age_s, int ttl_s);

#define EXPECT_STATUS(answer, expected)                                                                      \
    do {                                                                                                     \
        const struct http_answer *got_ = (answer);                                                           \
        ck_assert_msg(got_->status == (expected), "%d instead of %d: %s%.600s", got_->status, (expected),    \
                      got_->error, got_->body);                                                              \
    } while (0)

/* A problem with this status and code, in the form of API §1. */
void expect_problem(struct http_client *h, const struct http_answer *a, int status, const char *code);
/* The header holds this text. */
void expect_header(struct http_client *h, const char *name, const char *part);
void expect_no_header(struct http_client *h, const char *name);

/* Reads one response; its status, or 0 when the connection was closed before. out NULL: dropped. */
int raw_status(struct raw_http *c, struct raw_response *out);

#endif
