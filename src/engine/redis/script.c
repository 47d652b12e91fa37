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

/* The queue's scripts share their beginning; the ones called most take only what they use of it. */
static const char QUEUE_ENQUEUE[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_enqueue.lua.h"
};
static const char QUEUE_INBOX[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_inbox.lua.h"
};
static const char QUEUE_ADOPT[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_adopt.lua.h"
};
static const char QUEUE_DEQUEUE[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_dequeue.lua.h"
};
static const char QUEUE_ACK[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_ack.lua.h"
};
static const char QUEUE_SETTLE[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_settle.lua.h"
};
static const char QUEUE_NACK[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_nack.lua.h"
};
static const char QUEUE_EXTEND[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_extend.lua.h"
};
static const char QUEUE_CANCEL[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_cancel.lua.h"
};
static const char QUEUE_REQUEUE[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_requeue.lua.h"
};
static const char QUEUE_PURGE[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_purge.lua.h"
};
static const char QUEUE_RETURN[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_return.lua.h"
};
static const char QUEUE_TICK[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_tick.lua.h"
};
static const char QUEUE_COUNTS[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_counts.lua.h"
};
static const char QUEUE_GET[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_get.lua.h"
};
static const char QUEUE_LIST[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_list.lua.h"
};
static const char QUEUE_WAIT[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_wait.lua.h"
};
static const char QUEUE_RESTORE[] = {
#include "embed/queue_lib.lua.h"
#include "embed/queue_add.lua.h"
#include "embed/queue_move.lua.h"
#include "embed/queue_restore.lua.h"
};

static struct redis_script table[REDIS_SCRIPT_COUNT] = {
    [REDIS_SCRIPT_STRING_WRITE] = {.source = {STRING_WRITE, sizeof STRING_WRITE}},
    [REDIS_SCRIPT_LOCK_ACQUIRE] = {.source = {LOCK_ACQUIRE, sizeof LOCK_ACQUIRE}},
    [REDIS_SCRIPT_LOCK_RENEW] = {.source = {LOCK_RENEW, sizeof LOCK_RENEW}},
    [REDIS_SCRIPT_LOCK_RELEASE] = {.source = {LOCK_RELEASE, sizeof LOCK_RELEASE}},
    [REDIS_SCRIPT_LOCK_GET] = {.source = {LOCK_GET, sizeof LOCK_GET}},
    [REDIS_SCRIPT_RECORD_READ] = {.source = {RECORD_READ, sizeof RECORD_READ}},
    [REDIS_SCRIPT_RECORD_WRITE] = {.source = {RECORD_WRITE, sizeof RECORD_WRITE}},
    [REDIS_SCRIPT_QUEUE_ENQUEUE] = {.source = {QUEUE_ENQUEUE, sizeof QUEUE_ENQUEUE}},
    [REDIS_SCRIPT_QUEUE_INBOX] = {.source = {QUEUE_INBOX, sizeof QUEUE_INBOX}},
    [REDIS_SCRIPT_QUEUE_ADOPT] = {.source = {QUEUE_ADOPT, sizeof QUEUE_ADOPT}},
    [REDIS_SCRIPT_QUEUE_DEQUEUE] = {.source = {QUEUE_DEQUEUE, sizeof QUEUE_DEQUEUE}},
    [REDIS_SCRIPT_QUEUE_ACK] = {.source = {QUEUE_ACK, sizeof QUEUE_ACK}},
    [REDIS_SCRIPT_QUEUE_SETTLE] = {.source = {QUEUE_SETTLE, sizeof QUEUE_SETTLE}},
    [REDIS_SCRIPT_QUEUE_NACK] = {.source = {QUEUE_NACK, sizeof QUEUE_NACK}},
    [REDIS_SCRIPT_QUEUE_EXTEND] = {.source = {QUEUE_EXTEND, sizeof QUEUE_EXTEND}},
    [REDIS_SCRIPT_QUEUE_CANCEL] = {.source = {QUEUE_CANCEL, sizeof QUEUE_CANCEL}},
    [REDIS_SCRIPT_QUEUE_REQUEUE] = {.source = {QUEUE_REQUEUE, sizeof QUEUE_REQUEUE}},
    [REDIS_SCRIPT_QUEUE_PURGE] = {.source = {QUEUE_PURGE, sizeof QUEUE_PURGE}},
    [REDIS_SCRIPT_QUEUE_RETURN] = {.source = {QUEUE_RETURN, sizeof QUEUE_RETURN}},
    [REDIS_SCRIPT_QUEUE_TICK] = {.source = {QUEUE_TICK, sizeof QUEUE_TICK}},
    [REDIS_SCRIPT_QUEUE_COUNTS] = {.source = {QUEUE_COUNTS, sizeof QUEUE_COUNTS}},
    [REDIS_SCRIPT_QUEUE_GET] = {.source = {QUEUE_GET, sizeof QUEUE_GET}},
    [REDIS_SCRIPT_QUEUE_LIST] = {.source = {QUEUE_LIST, sizeof QUEUE_LIST}},
    [REDIS_SCRIPT_QUEUE_WAIT] = {.source = {QUEUE_WAIT, sizeof QUEUE_WAIT}},
    [REDIS_SCRIPT_QUEUE_RESTORE] = {.source = {QUEUE_RESTORE, sizeof QUEUE_RESTORE}},
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
