/* What reads, writes and replay of the cache share. */
#ifndef PHOENIX_STATE_CACHE_PRIVATE_H
#define PHOENIX_STATE_CACHE_PRIVATE_H

#include "state/cache_store.h"

/* PTTL and GETRANGE 0 limit: one byte more than value_max, so that a longer value shows. */
void cache_read_commands(struct redis_command commands[2], struct slice redis_key, struct slice limit);

/* scripts/string_write.lua under a condition. ttl_ms text: "" deletes. Slices live until the call is done. */
void cache_write_command(struct redis_command *command, struct slice redis_key, struct slice condition,
                         struct slice expected, struct slice ttl_ms, struct slice value);

#endif
