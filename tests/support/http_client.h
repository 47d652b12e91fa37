/* http_client: a keep-alive HTTP/1.1 client over libcurl. One per thread. */
#ifndef TESTS_SUPPORT_HTTP_CLIENT_H
#define TESTS_SUPPORT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_client;

struct http_answer {
    int status; /* 0: no answer; `error` says why */
    char *head; /* the header lines */
    char *body; /* NUL-terminated */
    size_t len;
    int64_t took_us;
    char error[256];
};

struct http_client *http_open(int port);
struct http_client *http_open_unix(const char *socket_path);
void http_close(struct http_client **c);

/* `headers`: lines separated by \n, or NULL. `body` NULL: none. The answer belongs to the client until its
 * next request. */
const struct http_answer *http_request(struct http_client *c, const char *method, const char *path,
                                       const char *headers, const char *body, size_t len);
const struct http_answer *http_get(struct http_client *c, const char *path);
const struct http_answer *http_send(struct http_client *c, const char *method, const char *path,
                                    const char *body);

/* The value of a header (any case), blanks cut; NULL where absent. In a buffer of the client's, until the
 * next call of this function. */
const char *http_header(struct http_client *c, const char *name);
/* How often a header line of this name is there. */
unsigned http_header_count(struct http_client *c, const char *name);

/* Connections made so far: 1 while keep-alive works. */
unsigned http_connects(const struct http_client *c);

#endif
