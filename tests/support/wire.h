/* wire: HTTP as bytes on a socket, for what no client library would send. One thread at a time. */
#ifndef TESTS_SUPPORT_WIRE_H
#define TESTS_SUPPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>

struct wire {
    int fd;
    char *in; /* received, not yet taken */
    size_t len, cap;
    int status; /* of the last answer */
    char *head, *body;
};

struct wire *wire_open(int port);
/* With a receive buffer of this size: a client that reads slowly. */
struct wire *wire_open_small(int port, int receive_bytes);
void wire_close(struct wire **w);

/* False: the peer has closed. */
bool wire_send(struct wire *w, const char *bytes, size_t len);
bool wire_text(struct wire *w, const char *text);
void wire_half_close(struct wire *w);

/* Reads one answer with a Content-Length (or without a body) within `ms` (scaled). Its status; 0: closed
 * before the answer was complete, -1: not within the time. `head`: the request was a HEAD. */
int wire_answer(struct wire *w, bool head, int ms);
/* Reads and drops all until the peer closes. False: still open after `ms` (scaled). */
bool wire_closed(struct wire *w, int ms);

/* Opens, sends, reads one answer: its status (0: closed, -1: none). *out_closed: the connection was closed
 * after it within `ms`; NULL: not asked. */
int wire_once(int port, const char *bytes, size_t len, int ms, bool *out_closed);

#endif
