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
    REDIS_SCRIPT_QUEUE_ENQUEUE,
    REDIS_SCRIPT_QUEUE_INBOX,
    REDIS_SCRIPT_QUEUE_ADOPT,
    REDIS_SCRIPT_QUEUE_DEQUEUE,
    REDIS_SCRIPT_QUEUE_ACK,
    REDIS_SCRIPT_QUEUE_SETTLE,
    REDIS_SCRIPT_QUEUE_NACK,
    REDIS_SCRIPT_QUEUE_EXTEND,
    REDIS_SCRIPT_QUEUE_CANCEL,
    REDIS_SCRIPT_QUEUE_REQUEUE,
    REDIS_SCRIPT_QUEUE_PURGE,
    REDIS_SCRIPT_QUEUE_RETURN,
    REDIS_SCRIPT_QUEUE_TICK,
    REDIS_SCRIPT_QUEUE_COUNTS,
    REDIS_SCRIPT_QUEUE_GET,
    REDIS_SCRIPT_QUEUE_LIST,
    REDIS_SCRIPT_QUEUE_WAIT,
    REDIS_SCRIPT_QUEUE_RESTORE,
    REDIS_SCRIPT_COUNT
};

/* Once, before threads. False when libcrypto fails. */
bool redis_scripts_init(void);
const struct redis_script *redis_script(enum redis_script_id id);

#endif
