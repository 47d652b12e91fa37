/* status: what can come of an operation, in one table (status.def): enumerator, code, HTTP status, title. */
#ifndef PHOENIX_UTIL_STATUS_H
#define PHOENIX_UTIL_STATUS_H

enum status {
    STATUS_OK = 0,
#define X(name, code, http, title) STATUS_##name,
#include "util/status.def"
#undef X
    STATUS_COUNT
};

/* The `code` of a problem body; "ok" for STATUS_OK. Static. */
const char *status_code(enum status s);
int status_http(enum status s);
const char *status_title(enum status s);

#endif
