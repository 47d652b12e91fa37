/* resp: the Redis protocol, both ways: a parser of one value and a synchronous client. One thread at a time.
 */
#ifndef TESTS_SUPPORT_RESP_H
#define TESTS_SUPPORT_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RESP_ITEMS_MAX = 65536 };

struct resp_value {
    char type; /* '+', '-', ':', '$', '*'; '_' for a null */
    long long integer;
    char *text; /* '+', '-', '$': NUL-terminated */
    size_t len;
    struct resp_value *items;
    size_t count;
};

/* Parses one value. 1: done, *out_used bytes; 0: incomplete; -1: not RESP. Release what 1 gave. */
int resp_parse(const char *bytes, size_t len, struct resp_value *out, size_t *out_used);
void resp_release(struct resp_value *v);

struct resp_client;

/* Retries until connected or `ms` (scaled) passed; NULL then. Answers are awaited as long. */
struct resp_client *resp_connect(int port, int ms);
struct resp_client *resp_connect_unix(const char *path, int ms);
void resp_close(struct resp_client **c);

/* One command of C strings, ended by NULL. The value belongs to the client until the next call; NULL when the
 * connection broke or no answer came. */
const struct resp_value *resp_call(struct resp_client *c, ...) __attribute__((sentinel));
const struct resp_value *resp_call_argv(struct resp_client *c, size_t argc, const char *const argv[],
                                        const size_t lens[]);
/* As above, the answer's text ("" for null), or its integer (-1 where it is none). Fail the test without an
 * answer. */
const char *resp_text(struct resp_client *c, ...) __attribute__((sentinel));
long long resp_integer(struct resp_client *c, ...) __attribute__((sentinel));

#endif
