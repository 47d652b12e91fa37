/* common: checks that many handlers make. */
#include "common.h"

#include "util/uri.h"

#include <stdio.h>

void handler_problem(struct exchange *x, enum status status, const char *detail)
{
    exchange_problem(x, status, detail, -1, NULL, 0);
}

bool handler_no_query(struct exchange *x)
{
    struct slice query = exchange_request(x)->query, name, value;
    if (!uri_query_next(&query, &name, &value)) return true;
    char detail[128];
    snprintf(detail, sizeof detail, "unknown query member %.*s", (int)(name.len < 64 ? name.len : 64),
             name.len ? name.ptr : "");
    handler_problem(x, STATUS_INVALID_ARGUMENT, detail);
    return false;
}
