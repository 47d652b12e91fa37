/* tls: what connections to Redis need to speak TLS: certificates, and whom to believe. Any thread. */
#ifndef PHOENIX_ENGINE_REDIS_TLS_H
#define PHOENIX_ENGINE_REDIS_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct redis_tls;

/* Empty strings: none. Without ca_file the system's certificates are believed. */
struct redis_tls_options {
    const char *ca_file, *cert_file, *key_file;
};

/* Whether this build can (hiredis_ssl, from hiredis 1.0 on). */
bool redis_tls_available(void);
/* NULL with one line in `error`: not available, a file that cannot be read or used. */
struct redis_tls *redis_tls_create(const struct redis_tls_options *options, char *error, size_t error_size);
void redis_tls_destroy(struct redis_tls **tls);

/* Reads the files again, for connections made from now on. False with a line in `error`: the old ones stay.
 */
bool redis_tls_reload(struct redis_tls *tls, char *error, size_t error_size);

#endif
