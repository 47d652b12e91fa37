/* handlers: what answers each route. One declaration per handler named in routes.def; the bodies are in
 * src/http/handlers/, the table that joins routes and handlers is handed to servers as an option. */
#ifndef PHOENIX_HTTP_HANDLERS_H
#define PHOENIX_HTTP_HANDLERS_H

#include "http/exchange.h"

#define X(id, api, admin, path, auth, handler) void handle_##handler(void *house, struct exchange *x);
#include "http/routes.def"
#undef X

#endif
