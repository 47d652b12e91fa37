/* script: the Lua kept in src/engine/redis/scripts/, embedded at build time, named by SHA-1. */
#ifndef PHOENIX_ENGINE_REDIS_SCRIPT_H
#define PHOENIX_ENGINE_REDIS_SCRIPT_H

#include "util/sha1.h"
#include "util/slice.h"

struct redis_script {
    struct slice source;
    char sha[SHA1_HEX_SIZE];
};

enum redis_script_id {
    REDIS_SCRIPT_STRING_WRITE,
    REDIS_SCRIPT_LOCK_ACQUIRE,
    REDIS_SCRIPT_LOCK_RENEW,
    REDIS_SCRIPT_LOCK_RELEASE,
    REDIS_SCRIPT_LOCK_GET,
    REDIS_SCRIPT_RECORD_READ,
    REDIS_SCRIPT_RECORD_WRITE,
    REDIS_SCRIPT_COUNT
};

/* Once, before threads. False when libcrypto fails. */
bool redis_scripts_init(void);
const struct redis_script *redis_script(enum redis_script_id id);

#endif
