/* What handlers share. */
#ifndef PHOENIX_HTTP_HANDLERS_COMMON_H
#define PHOENIX_HTTP_HANDLERS_COMMON_H

#include "http/exchange.h"
#include "http/handlers.h"
#include "http/house.h"

/* True when the request has no query; else it has been answered: 400, naming the first member. */
bool handler_no_query(struct exchange *x);

/* Answers a problem with no more to say than its detail. */
void handler_problem(struct exchange *x, enum status status, const char *detail);

#endif
