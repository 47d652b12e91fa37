/* status: look-ups in the table of status.def. */
#include "util/status.h"

#include <assert.h>

static const struct row {
    const char *code;
    const char *title;
    int http;
} rows[STATUS_COUNT] = {
    [STATUS_OK] = {"ok", "OK", 200},
#define X(name, code, http, title) [STATUS_##name] = {code, title, http},
#include "util/status.def"
#undef X
};

static const struct row *row_of(enum status s)
{
    assert((unsigned)s < STATUS_COUNT);
    return &rows[s];
}

const char *status_code(enum status s)
{
    return row_of(s)->code;
}

int status_http(enum status s)
{
    return row_of(s)->http;
}

const char *status_title(enum status s)
{
    return row_of(s)->title;
}
