/* raw_http: HTTP as bytes, for tests that must see exactly what is sent and what comes back. Blocking, with a
 * time limit on everything; a broken expectation aborts the test by ck_abort. */
#ifndef PHOENIX_TESTS_SUPPORT_RAW_HTTP_H
#define PHOENIX_TESTS_SUPPORT_RAW_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RAW_HTTP_LIMIT_MS = 10000 };

struct raw_http {
    int fd;
    char *pending; /* read from the socket, not yet handed out */
    size_t pending_len;
};

struct raw_response {
    int status;
    char *head; /* status line and headers, each with its CR LF; NUL-terminated */
    char *body; /* NUL-terminated besides its length */
    size_t body_len;
};

/* Takes over a connected socket. */
struct raw_http raw_http_of(int fd);
/* Connects to 127.0.0.1:port, or to a Unix socket. Aborts the test when that fails. */
struct raw_http raw_http_tcp(uint16_t port);
struct raw_http raw_http_unix(const char *path);
void raw_http_close(struct raw_http *c);

/* Sends text as it is. False when the peer has closed. */
bool raw_http_send(struct raw_http *c, const char *text);
bool raw_http_send_bytes(struct raw_http *c, const void *bytes, size_t len);

/* Reads one response. `head_only`: the answer to a HEAD. False when the peer closed (or reset) before a whole
 * response was there. 100 (Continue) is skipped. Release with raw_response_free. */
bool raw_http_receive(struct raw_http *c, bool head_only, struct raw_response *out);
void raw_response_free(struct raw_response *r);
/* Send, then receive; aborts the test when there is no response. */
struct raw_response raw_http_ask(struct raw_http *c, const char *text);

/* The header's value in a static buffer of the thread, or NULL. */
const char *raw_response_header(const struct raw_response *r, const char *name);

/* Waits until the peer has closed, and throws away what comes before. False after `ms`. */
bool raw_http_wait_closed(struct raw_http *c, int ms);
/* Whether bytes are there to be read, or come within `ms`. */
bool raw_http_readable(struct raw_http *c, int ms);

#endif
