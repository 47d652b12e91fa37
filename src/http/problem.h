/* problem: application/problem+json (RFC 9457). */
#ifndef PHOENIX_SRC_HTTP_PROBLEM_H
#define PHOENIX_SRC_HTTP_PROBLEM_H

#include "util/buf.h"
#include "util/status.h"

#include <stdint.h>

#define PROBLEM_TYPE "application/problem+json"

enum { PROBLEM_INSTANCE_MAX = 256 };

struct problem {
    enum status status;
    const char *detail;    /* NULL: the title */
    struct slice instance; /* the path as received; cut at PROBLEM_INSTANCE_MAX */
    struct slice request_id;
    int64_t retry_after_ms; /* < 0: none */
};

/* Appends the body. */
void problem_write(const struct problem *p, struct buf *out);

#endif
