/* db_private: what the files of db share: the connection, its transaction and its prepared statements.
 *
 * A call that fails with DB_FULL or DB_BROKEN has ended the transaction already: it is rolled back, and what
 * is asked of the db until the next db_begin fails alike. One statement may stand on a row, for the slices
 * that were handed out; the next use of any statement resets it. */
#ifndef PHOENIX_ENGINE_LOCAL_DB_PRIVATE_H
#define PHOENIX_ENGINE_LOCAL_DB_PRIVATE_H

#include "engine/local/db_queue.h"

#include <sqlite3.h>

enum db_statement {
#define STATEMENT(id, sql) DB_STATEMENT_##id,
#include "engine/local/db_statements.def"
#undef STATEMENT
    DB_STATEMENT_COUNT
};

/* What db_journal_stats and db_queue_counts answer without counting rows. */
struct db_counts {
    int64_t waiting, set_aside;
    int64_t tasks[DB_TASK_STATES], task_notes;
};

struct db {
    sqlite3 *sqlite;
    int64_t bytes_max, page_size;
    sqlite3_stmt *statements[DB_STATEMENT_COUNT];
    sqlite3_stmt *open; /* stands on a row */
    bool in_transaction;
    enum db_result failed; /* what ended the transaction; DB_OK: nothing did */
    char failure[160];     /* why */
    bool broken;           /* until the file is opened again */
    bool marked;           /* as in use: by us */
    bool was_killed;       /* the last process did not close it */
    unsigned wal_pages;    /* in the log after the last commit */
    int64_t last_seq;      /* of the journal; never falls, so that no number is given twice */
    int64_t last_arrival;  /* of tasks, likewise */
    struct db_counts counts, committed;
};

/* The statement, reset, its parameters NULL. */
sqlite3_stmt *db_use(struct db *db, enum db_statement id);
/* Bytes live until the statement is stepped through. An absent slice binds as empty; db_bind_optional binds
 * NULL. */
void db_bind_int(sqlite3_stmt *s, int at, int64_t value);
void db_bind_slice(sqlite3_stmt *s, int at, struct slice value);
void db_bind_optional(sqlite3_stmt *s, int at, struct slice value);
/* DB_OK: it stands on a row; DB_ABSENT: no (further) row. */
enum db_result db_step(struct db *db, sqlite3_stmt *s);
/* A statement that writes and returns no row. DB_ABSENT: no row was changed. */
enum db_result db_write(struct db *db, sqlite3_stmt *s);
/* NULL is SLICE_NONE, empty has a pointer. */
struct slice db_column_slice(sqlite3_stmt *s, int at);
int64_t db_column_int(sqlite3_stmt *s, int at);
/* DB_OK while so many bytes more keep within bytes_max; else the transaction is rolled back. */
enum db_result db_demand_room(struct db *db, size_t bytes);
/* A write that may find nothing to change. */
enum db_result db_write_any(struct db *db, sqlite3_stmt *s);

/* The queue's tables, and its counts when the file is opened. */
extern const char DB_QUEUE_SCHEMA[];
enum db_result db_queue_load(struct db *db);

#endif
