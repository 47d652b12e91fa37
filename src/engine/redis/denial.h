/* denial: what an ACL refuses, in one form. Servers word it differently: NOPERM with the command's name, in a
 * script ERR with the name (8), or ERR with the line only (7.0), which is then looked up in the script. */
#ifndef PHOENIX_ENGINE_REDIS_DENIAL_H
#define PHOENIX_ENGINE_REDIS_DENIAL_H

#include "engine/redis/script.h"

#include <stdbool.h>

/* Whether this error is one; `out` is then "NOPERM this user may not run 'zadd'" or the like, without any
 * key. `script`: the one that ran, or NULL. */
bool redis_denial(struct slice error, const struct redis_script *script, char *out, size_t out_size);

#endif
