/* slot: the hash slot of a key (Redis Cluster specification: CRC16/XMODEM, hash tags). Pure. */
#ifndef PHOENIX_ENGINE_REDIS_SLOT_H
#define PHOENIX_ENGINE_REDIS_SLOT_H

#include "util/slice.h"

enum { REDIS_SLOTS = 16384 };

unsigned redis_slot(struct slice key);

#endif
