/* secret: the password for one Redis, from a file or the URL, and whether a server refused it. Shared by all
 * its nodes. Any thread, except redis_secret_reload. */
#ifndef PHOENIX_ENGINE_REDIS_SECRET_H
#define PHOENIX_ENGINE_REDIS_SECRET_H

#include <stdbool.h>
#include <stddef.h>

enum { REDIS_PASSWORD_SIZE = 1024 };

struct redis_secret;

/* `file`: "" for none; takes precedence over `password` (NULL: none). Both are borrowed. NULL with a line in
 * `error`: no memory, or the file cannot be read. */
struct redis_secret *redis_secret_create(const char *file, const char *password, char *error,
                                         size_t error_size);
void redis_secret_destroy(struct redis_secret **secret);

/* Reads the file again (small; control thread only). False with a line in `error`: the old one stays. */
bool redis_secret_reload(struct redis_secret *secret, char *error, size_t error_size);
/* Copies the password to use now; empty: none. A NULL secret has none. */
void redis_secret_copy(struct redis_secret *secret, char out[REDIS_PASSWORD_SIZE]);

void redis_secret_note_refused(struct redis_secret *secret);
/* Whether a server refused it since the last reload. */
bool redis_secret_refused(const struct redis_secret *secret);

#endif
