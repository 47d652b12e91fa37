/* app_probe: asks a running daemon whether it is ready, for a container's health check: no shell, no curl. */
#ifndef PHOENIX_SRC_APP_PROBE_H
#define PHOENIX_SRC_APP_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* `url`: http://host[:port][/path], path /readyz and port 80 where none is given. True when it answers 200;
 * else one line in `error`. Blocks; the caller bounds the time. */
bool probe_url(const char *url, char *error, size_t size);
/* The same of what `admin.listen` of a configuration says, by loopback where it is all addresses. */
bool probe_listen(const char *listen, char *error, size_t size);

#endif
