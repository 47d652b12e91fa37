/* cache_journal: deletions that Redis has not seen yet, durable. Beside the pending tombstone in the table,
 * by which a deletion is handed back (state/cache_replay), a row of the spool outlives the process and the
 * table's budget. The row is committed first; it goes when the hand-back settles the key. Deleting twice is
 * harmless: a deletion yields to any value with a later `timestamp`.
 *
 * Rows are JOURNAL_CACHE, id and stamp alone; they are not among the unsettled records. */
#ifndef PHOENIX_STATE_CACHE_JOURNAL_H
#define PHOENIX_STATE_CACHE_JOURNAL_H

#include "state/cache_store.h"

/* A row found at the start: puts its tombstone back into the table. Any thread. */
void cache_journal_restore(struct cache_store *store, struct slice key, int64_t stamp_ms);

/* Rows that are known to be in the file. Any thread. */
uint64_t cache_journal_rows(const struct cache_store *store);

#endif
