/* db: the SQLite file behind the spool (WAL, synchronous=FULL, locked for this process): what embedded mode
 * keeps, and the journal of what Redis still has to learn. Synchronous; one thread at a time, the spool's.
 *
 * Nothing is durable before db_commit returned DB_OK. Slices handed out live until the next call on the same
 * db. Times are wall clock, milliseconds; 0 where a value has no expiry. */
#ifndef PHOENIX_ENGINE_LOCAL_DB_H
#define PHOENIX_ENGINE_LOCAL_DB_H

#include "util/slice.h"

#include <stdint.h>

struct db;

enum db_result {
    DB_OK,
    DB_ABSENT, /* no such row; no failure */
    DB_FULL,   /* no room (disk or bytes_max): the transaction is to be rolled back; may work later */
    DB_BROKEN  /* a failed fsync or a damaged file: nothing can be promised until a restart; reads may work */
};

struct db_options {
    const char *path;
    /* Mode, Redis and prefix that the file belongs to; another identity with a non-empty journal (or, of
     * embedded mode, with records) stops the start. */
    const char *identity;
    int64_t bytes_max; /* (page_count - freelist_count) x page size; beyond it appends and puts are DB_FULL */
};

/* Whether a file can be made or written there. Makes and locks nothing. False with one line in `error`. */
bool db_check_place(const struct db_options *options, char *error, size_t error_size);
/* NULL with one line in `error`: cannot be created, is locked by another process, is no database, has a newer
 * schema, or belongs to another identity. */
struct db *db_open(const struct db_options *options, char *error, size_t error_size);
void db_close(struct db **db);
/* The last process that had the file did not close it: what it was about to do, or had sent to others, is not
 * known. */
bool db_was_killed(const struct db *db);

/* Changes belong between begin and commit. Any call that returns DB_FULL or DB_BROKEN has rolled the
 * transaction back, and the calls after it return the same until the next begin; a further rollback is
 * harmless. */
enum db_result db_begin(struct db *db);
enum db_result db_commit(struct db *db);
/* Also ends a read's hold on its rows, whether a transaction is open or not. */
void db_rollback(struct db *db);
/* Moves what was committed from the log into the file, when enough has come together; else does nothing. To
 * be called between transactions, now and then. DB_FULL: the log stays as it is; the next call tries again.
 */
enum db_result db_checkpoint(struct db *db);
/* Why the last call failed that did, in a few words; lives until the next call. */
const char *db_failure(const struct db *db);
/* Bytes in use, as bytes_max counts them. */
int64_t db_bytes(struct db *db);

/* --- records: embedded mode's values. `kind` is the state room's number. --- */

struct db_record {
    struct slice id, value;
    int64_t expires_ms;
};

/* An expired record (expires_ms not ahead of now_ms) is DB_ABSENT. */
enum db_result db_record_get(struct db *db, unsigned kind, struct slice id, int64_t now_ms,
                             struct db_record *out);
enum db_result db_record_put(struct db *db, unsigned kind, const struct db_record *record);
enum db_result db_record_remove(struct db *db, unsigned kind, struct slice id); /* DB_OK, there or not */
/* Calls each for up to `limit` live records with an id behind `after` (empty: from the start), in order of
 * id. out_count: how many; fewer than `limit` means that this was the end. `each` must not call the db. */
typedef void db_record_fn(void *arg, const struct db_record *record);
enum db_result db_record_list(struct db *db, unsigned kind, struct slice after, unsigned limit,
                              int64_t now_ms, db_record_fn *each, void *arg, unsigned *out_count);
/* Removes up to `limit` expired records of any kind, by an index on the expiry. */
enum db_result db_record_sweep(struct db *db, int64_t now_ms, unsigned limit, unsigned *out_count);

/* --- journal --- */

struct db_entry {
    int64_t seq; /* given by append; rises */
    unsigned kind, op, flags;
    struct slice id, change_id;
    uint64_t base;      /* ETag of the value it was computed from; 0: there was none */
    int64_t stamp_ms;   /* when it was accepted */
    int64_t expires_ms; /* of the copy */
    struct slice body;  /* what was asked */
    struct slice copy;  /* the value after it; ptr NULL: none (deleted) */
    struct slice trace; /* the request's, for log lines; ptr NULL: none */
};

enum db_result db_journal_append(struct db *db, const struct db_entry *entry, int64_t *out_seq);
/* Replaces change id, body, copy, stamp, expiry and trace of an entry: touches are merged this way.
 * DB_ABSENT: none of that number. */
enum db_result db_journal_replace(struct db *db, int64_t seq, const struct db_entry *entry);
/* What is set aside is none of these: its copy is nothing that Redis will ever hold. */
enum db_result db_journal_newest(struct db *db, unsigned kind, struct slice id, struct db_entry *out);
enum db_result db_journal_oldest(struct db *db, unsigned kind, struct slice id, struct db_entry *out);
/* The oldest behind this seq that is not set aside. */
enum db_result db_journal_next(struct db *db, unsigned kind, struct slice id, int64_t after_seq,
                               struct db_entry *out);
enum db_result db_journal_remove(struct db *db, int64_t seq); /* DB_ABSENT: none of that number */
/* Redis will never take it (another type under its key): kept for a person to look at, no longer handed back.
 */
enum db_result db_journal_set_aside(struct db *db, int64_t seq, const char *reason);
/* Every entry that is not set aside, in order of seq; the entry shows seq, kind, op, id, stamp_ms and
 * expires_ms alone. Also with set_aside: those, with the reason in `body`. At most `limit`; 0: all. `each`
 * must not call the db. */
typedef void db_entry_fn(void *arg, const struct db_entry *entry);
enum db_result db_journal_each(struct db *db, bool set_aside, unsigned limit, db_entry_fn *each, void *arg);
/* The newest entry of up to `limit` ids behind `after`, in order of id, complete. Costs two look-ups an id,
 * however many entries an id has. */
enum db_result db_journal_list(struct db *db, unsigned kind, struct slice after, unsigned limit,
                               db_entry_fn *each, void *arg, unsigned *out_count);

struct db_journal_stats {
    int64_t entries; /* to be handed back; those set aside not among them */
    int64_t set_aside;
    int64_t oldest_stamp_ms; /* 0: empty */
};
enum db_result db_journal_stats(struct db *db, struct db_journal_stats *out);

#endif
