/* table: the handlers by route. */
#include "http/handlers.h"
#include "http/handlers_table.h"

http_handler_fn *const http_handlers[ROUTE_LABEL_COUNT] = {
#define X(id, api, admin, path, auth, handler) [ROUTE_##id] = handle_##handler,
#include "http/routes.def"
#undef X
};
