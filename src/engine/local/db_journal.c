/* db_journal: what Redis still has to learn, in the order in which it was accepted. Numbers are given here
 * and never twice while the file is open; how many entries there are is kept beside the rows, so that nobody
 * counts them. */
#include "db_private.h"

#include "util/uri.h"

#include <assert.h>

static void read_brief(sqlite3_stmt *s, struct db_entry *out)
{
    *out = (struct db_entry){.seq = db_column_int(s, 0),
                             .kind = (unsigned)db_column_int(s, 1),
                             .op = (unsigned)db_column_int(s, 2),
                             .id = db_column_slice(s, 3),
                             .stamp_ms = db_column_int(s, 4),
                             .expires_ms = db_column_int(s, 5)};
}

static void read_entry(sqlite3_stmt *s, struct db_entry *out)
{
    read_brief(s, out);
    out->flags = (unsigned)db_column_int(s, 6);
    out->change_id = db_column_slice(s, 7);
    out->base = (uint64_t)db_column_int(s, 8);
    out->body = db_column_slice(s, 9);
    out->copy = db_column_slice(s, 10);
    out->trace = db_column_slice(s, 11);
}

static size_t entry_bytes(const struct db_entry *entry)
{
    return entry->id.len + entry->change_id.len + entry->body.len + entry->copy.len + entry->trace.len;
}

enum db_result db_journal_append(struct db *db, const struct db_entry *entry, int64_t *out_seq)
{
    enum db_result result = db_demand_room(db, entry_bytes(entry));
    if (result != DB_OK) return result;
    int64_t seq = db->last_seq + 1;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_JOURNAL_APPEND);
    db_bind_int(s, 1, seq);
    db_bind_int(s, 2, entry->kind);
    db_bind_int(s, 3, entry->op);
    db_bind_int(s, 4, entry->flags);
    db_bind_slice(s, 5, entry->id);
    db_bind_slice(s, 6, entry->change_id);
    db_bind_int(s, 7, (int64_t)entry->base);
    db_bind_int(s, 8, entry->stamp_ms);
    db_bind_int(s, 9, entry->expires_ms);
    db_bind_slice(s, 10, entry->body);
    db_bind_optional(s, 11, entry->copy);
    db_bind_optional(s, 12, entry->trace);
    result = db_write(db, s);
    if (result != DB_OK) return result;
    db->last_seq = seq;
    db->counts.waiting++;
    *out_seq = seq;
    return DB_OK;
}

enum db_result db_journal_replace(struct db *db, int64_t seq, const struct db_entry *entry)
{
    enum db_result result = db_demand_room(db, entry_bytes(entry));
    if (result != DB_OK) return result;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_JOURNAL_REPLACE);
    db_bind_int(s, 1, seq);
    db_bind_int(s, 2, entry->stamp_ms);
    db_bind_int(s, 3, entry->expires_ms);
    db_bind_slice(s, 4, entry->body);
    db_bind_optional(s, 5, entry->copy);
    db_bind_slice(s, 6, entry->change_id);
    db_bind_optional(s, 7, entry->trace);
    return db_write(db, s);
}

static enum db_result read_one(struct db *db, enum db_statement id, unsigned kind, struct slice key,
                               struct db_entry *out)
{
    sqlite3_stmt *s = db_use(db, id);
    db_bind_int(s, 1, kind);
    db_bind_slice(s, 2, key);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) read_entry(s, out);
    return result;
}

enum db_result db_journal_newest(struct db *db, unsigned kind, struct slice id, struct db_entry *out)
{
    return read_one(db, DB_STATEMENT_JOURNAL_NEWEST, kind, id, out);
}

enum db_result db_journal_oldest(struct db *db, unsigned kind, struct slice id, struct db_entry *out)
{
    return read_one(db, DB_STATEMENT_JOURNAL_OLDEST, kind, id, out);
}

enum db_result db_journal_next(struct db *db, unsigned kind, struct slice id, int64_t after_seq,
                               struct db_entry *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_JOURNAL_AFTER);
    db_bind_int(s, 1, kind);
    db_bind_slice(s, 2, id);
    db_bind_int(s, 3, after_seq);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) read_entry(s, out);
    return result;
}

enum db_result db_journal_remove(struct db *db, int64_t seq)
{
    if (!db->in_transaction) {
        assert(db->failed != DB_OK);
        return db->failed;
    }
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_JOURNAL_REMOVE);
    db_bind_int(s, 1, seq);
    enum db_result result = db_step(db, s);
    if (result != DB_OK) return result;
    if (db_column_int(s, 0))
        db->counts.set_aside--;
    else
        db->counts.waiting--;
    return DB_OK;
}

enum db_result db_journal_set_aside(struct db *db, int64_t seq, const char *reason)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_JOURNAL_SET_ASIDE);
    db_bind_int(s, 1, seq);
    db_bind_slice(s, 2, slice_of(reason));
    enum db_result result = db_write(db, s);
    if (result != DB_OK) return result;
    db->counts.waiting--;
    db->counts.set_aside++;
    return DB_OK;
}

enum db_result db_journal_each(struct db *db, bool set_aside, unsigned limit, db_entry_fn *each, void *arg)
{
    sqlite3_stmt *s = db_use(db, set_aside ? DB_STATEMENT_JOURNAL_EACH_ASIDE : DB_STATEMENT_JOURNAL_EACH);
    db_bind_int(s, 1, limit ? (int64_t)limit : -1);
    enum db_result result;
    while ((result = db_step(db, s)) == DB_OK) {
        struct db_entry entry;
        read_brief(s, &entry);
        if (set_aside) entry.body = db_column_slice(s, 6);
        each(arg, &entry);
    }
    return result == DB_ABSENT ? DB_OK : result;
}

enum db_result db_journal_list(struct db *db, unsigned kind, struct slice after, unsigned limit,
                               db_entry_fn *each, void *arg, unsigned *out_count)
{
    char id[ID_LEN_MAX];
    unsigned count = 0;
    for (; count < limit; count++) {
        struct db_entry entry;
        enum db_result result = read_one(db, DB_STATEMENT_JOURNAL_NEXT, kind, after, &entry);
        if (result == DB_ABSENT) break;
        if (result != DB_OK) return result;
        each(arg, &entry);
        assert(entry.id.len <= sizeof id);
        memcpy(id, entry.id.ptr, entry.id.len);
        after = (struct slice){id, entry.id.len};
    }
    *out_count = count;
    return DB_OK;
}

enum db_result db_journal_stats(struct db *db, struct db_journal_stats *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_JOURNAL_FIRST);
    enum db_result result = db_step(db, s);
    if (result != DB_OK && result != DB_ABSENT) return result;
    *out = (struct db_journal_stats){.entries = db->counts.waiting,
                                     .set_aside = db->counts.set_aside,
                                     .oldest_stamp_ms = result == DB_OK ? db_column_int(s, 0) : 0};
    return DB_OK;
}
