/* handlers_table: what app hands to servers. */
#ifndef PHOENIX_HTTP_HANDLERS_TABLE_H
#define PHOENIX_HTTP_HANDLERS_TABLE_H

#include "http/routes.h"
#include "http/server.h"

extern http_handler_fn *const http_handlers[ROUTE_LABEL_COUNT];

#endif
