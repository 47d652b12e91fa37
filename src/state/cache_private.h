/* What reads, writes and replay of the cache share. */
#ifndef PHOENIX_STATE_CACHE_PRIVATE_H
#define PHOENIX_STATE_CACHE_PRIVATE_H

#include "state/cache_journal.h"
#include "state/cache_store.h"

#include <stdatomic.h>

/* PTTL and GETRANGE 0 limit: one byte more than value_max, so that a longer value shows. */
void cache_read_commands(struct redis_command commands[2], struct slice redis_key, struct slice limit);

/* scripts/string_write.lua under a condition. ttl_ms text: "" deletes. Slices live until the call is done. */
void cache_write_command(struct redis_command *command, struct slice redis_key, struct slice condition,
                         struct slice expected, struct slice ttl_ms, struct slice value);

struct spool *cache_store_spool(struct cache_store *store); /* NULL: none */
_Atomic uint64_t *cache_store_journal_rows(struct cache_store *store);

/* --- cache_journal.c --- */

struct cache_deletion;

/* Commits a row, then puts the pending tombstone, then calls done: committed or not. NULL: not taken, done
 * will not be called. */
typedef void cache_deletion_fn(void *arg, bool committed);
struct cache_deletion *cache_journal_append(struct cache_port *port, struct slice key, int64_t stamp_ms,
                                            cache_deletion_fn *done, void *arg);
/* The caller no longer waits: done will not be called. The deletion goes on. */
void cache_journal_abandon(struct cache_deletion *deletion);

/* The key is settled up to this time: its rows until then go. What cannot be removed now stays, and is handed
 * back once more by a reload. */
void cache_journal_settled(struct cache_port *port, struct slice key, int64_t stamp_ms);

/* Puts the tombstones of all rows into the table once more: those that the pending budget gave up, or whose
 * row could not be removed. False: not now. */
bool cache_journal_reload(struct cache_port *port);

#endif
