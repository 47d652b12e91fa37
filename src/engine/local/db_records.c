/* db_records: embedded mode's values, a row each, found by kind and id and by when they expire. */
#include "db_private.h"

static void read_record(sqlite3_stmt *s, struct db_record *out)
{
    out->id = db_column_slice(s, 0);
    out->value = db_column_slice(s, 1);
    out->expires_ms = db_column_int(s, 2);
}

enum db_result db_record_get(struct db *db, unsigned kind, struct slice id, int64_t now_ms,
                             struct db_record *out)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_RECORD_GET);
    db_bind_int(s, 1, kind);
    db_bind_slice(s, 2, id);
    db_bind_int(s, 3, now_ms);
    enum db_result result = db_step(db, s);
    if (result == DB_OK) read_record(s, out);
    return result;
}

enum db_result db_record_put(struct db *db, unsigned kind, const struct db_record *record)
{
    enum db_result result = db_demand_room(db, record->id.len + record->value.len);
    if (result != DB_OK) return result;
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_RECORD_PUT);
    db_bind_int(s, 1, kind);
    db_bind_slice(s, 2, record->id);
    db_bind_int(s, 3, record->expires_ms);
    db_bind_slice(s, 4, record->value);
    return db_write(db, s);
}

enum db_result db_record_remove(struct db *db, unsigned kind, struct slice id)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_RECORD_REMOVE);
    db_bind_int(s, 1, kind);
    db_bind_slice(s, 2, id);
    enum db_result result = db_write(db, s);
    return result == DB_ABSENT ? DB_OK : result;
}

enum db_result db_record_list(struct db *db, unsigned kind, struct slice after, unsigned limit,
                              int64_t now_ms, db_record_fn *each, void *arg, unsigned *out_count)
{
    sqlite3_stmt *s = db_use(db, DB_STATEMENT_RECORD_LIST);
    db_bind_int(s, 1, kind);
    db_bind_slice(s, 2, after);
    db_bind_int(s, 3, now_ms);
    db_bind_int(s, 4, limit);
    unsigned count = 0;
    enum db_result result;
    while ((result = db_step(db, s)) == DB_OK) {
        struct db_record record;
        read_record(s, &record);
        each(arg, &record);
        count++;
    }
    if (result != DB_ABSENT) return result;
    *out_count = count;
    return DB_OK;
}

enum db_result db_record_sweep(struct db *db, int64_t now_ms, unsigned limit, unsigned *out_count)
{
    unsigned count = 0;
    for (; count < limit; count++) {
        sqlite3_stmt *s = db_use(db, DB_STATEMENT_RECORD_SWEEP);
        db_bind_int(s, 1, now_ms);
        enum db_result result = db_write(db, s);
        if (result == DB_ABSENT) break;
        if (result != DB_OK) return result;
    }
    *out_count = count;
    return DB_OK;
}
