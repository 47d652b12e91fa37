/* What reads, writes and replay of the cache share. */
#ifndef PHOENIX_STATE_CACHE_PRIVATE_H
#define PHOENIX_STATE_CACHE_PRIVATE_H

#include "state/cache_store.h"

/* PTTL and GETRANGE 0 limit: one byte more than value_max, so that a longer value shows. */
void cache_read_commands(struct redis_command commands[2], struct slice redis_key, struct slice limit);

/* Names a value's bytes, the same in every daemon: SipHash under a fixed key. It need only tell versions of
 * one key apart, and SHA-256 was a fifth of a read through Redis. */
uint64_t cache_etag(struct slice value);

/* scripts/string_write.lua under a condition. ttl_ms text: "" deletes. Slices live until the call is done. */
void cache_write_command(struct redis_command *command, struct slice redis_key, struct slice condition,
                         struct slice expected, struct slice ttl_ms, struct slice value);

#endif
