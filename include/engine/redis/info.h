/* info: what a Redis tells of itself by INFO, as far as somebody asks. Pure. */
#ifndef PHOENIX_ENGINE_REDIS_INFO_H
#define PHOENIX_ENGINE_REDIS_INFO_H

#include "util/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { REDIS_POLICY_SIZE = 32 };

/* A number that was not told, or is none, is -1. */
struct redis_info {
    int64_t memory_bytes, memory_max_bytes; /* maximum 0: no limit */
    int64_t clients, commands, hits, misses, evicted_keys;
    int64_t append_only;            /* 1: what it acknowledged is in a file */
    char policy[REDIS_POLICY_SIZE]; /* maxmemory-policy; "": not told */
};

/* Of a text without any of it: all -1 and "". */
void redis_info_parse(struct slice text, struct redis_info *out);

/* Whether it drops keys once it is full. Also where it has no limit today: one CONFIG SET maxmemory, or a
 * provider's own limit, and it does. A policy that was not told is taken for none. */
bool redis_info_evicts(const struct redis_info *info);

#endif
