/* script: a static table, filled once at start and constant afterwards. */
#include "engine/redis/script.h"

static const char STRING_WRITE[] = {
#include "embed/string_write.lua.h"
};
static const char LOCK_ACQUIRE[] = {
#include "embed/lock_acquire.lua.h"
};
static const char LOCK_RENEW[] = {
#include "embed/lock_renew.lua.h"
};
static const char LOCK_RELEASE[] = {
#include "embed/lock_release.lua.h"
};
static const char LOCK_GET[] = {
#include "embed/lock_get.lua.h"
};
static const char RECORD_READ[] = {
#include "embed/record_read.lua.h"
};
static const char RECORD_WRITE[] = {
#include "embed/record_write.lua.h"
};

static struct redis_script table[REDIS_SCRIPT_COUNT] = {
    [REDIS_SCRIPT_STRING_WRITE] = {.source = {STRING_WRITE, sizeof STRING_WRITE}},
    [REDIS_SCRIPT_LOCK_ACQUIRE] = {.source = {LOCK_ACQUIRE, sizeof LOCK_ACQUIRE}},
    [REDIS_SCRIPT_LOCK_RENEW] = {.source = {LOCK_RENEW, sizeof LOCK_RENEW}},
    [REDIS_SCRIPT_LOCK_RELEASE] = {.source = {LOCK_RELEASE, sizeof LOCK_RELEASE}},
    [REDIS_SCRIPT_LOCK_GET] = {.source = {LOCK_GET, sizeof LOCK_GET}},
    [REDIS_SCRIPT_RECORD_READ] = {.source = {RECORD_READ, sizeof RECORD_READ}},
    [REDIS_SCRIPT_RECORD_WRITE] = {.source = {RECORD_WRITE, sizeof RECORD_WRITE}},
};

bool redis_scripts_init(void)
{
    for (int i = 0; i < REDIS_SCRIPT_COUNT; i++)
        if (!sha1_hex(table[i].source, table[i].sha)) return false;
    return true;
}

const struct redis_script *redis_script(enum redis_script_id id)
{
    return &table[id];
}
