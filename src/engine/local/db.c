/* db: one SQLite connection that owns its file: WAL, every commit synced, no other process let in. Here: the
 * file and its identity, the transaction, statements, and what an error code of SQLite means.
 *
 * The log is moved into the file by db_checkpoint alone, not inside of commits: SQLite would hide there that
 * a sync failed. After a failed sync nothing is written any more, and the log is left as it is when closing:
 * what it holds of synced commits is recovered by the next open. */
#include "db_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DIRECTORY_MAX = 4096,
    SCHEMA_VERSION = 3,          /* 1: without the task queue; 2: without the journal's trace */
    APPLICATION_ID = 0x70686E78, /* tells our file from another program's: "phnx" */
    CHECKPOINT_PAGES = 1000,
    WAL_BYTES_KEPT = 8 * 1024 * 1024
};

static const char SCHEMA[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    /* Large columns last: what stands before them is read without their overflow pages. */
    "CREATE TABLE records (kind INTEGER NOT NULL, id BLOB NOT NULL, expires_ms INTEGER NOT NULL,"
    " value BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;"
    "CREATE INDEX records_expiry ON records (expires_ms) WHERE expires_ms > 0;"
    "CREATE TABLE journal (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, op INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, id BLOB NOT NULL, change_id BLOB NOT NULL, base INTEGER NOT NULL,"
    " stamp_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, aside BLOB, body BLOB NOT NULL, copy BLOB,"
    " trace BLOB);"
    "CREATE INDEX journal_waiting ON journal (kind, id, seq) WHERE aside IS NULL;"
    "CREATE INDEX journal_aside ON journal (seq) WHERE aside IS NOT NULL;"
    "CREATE TABLE locks (name BLOB PRIMARY KEY, fence INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
    " keep_ms INTEGER NOT NULL, token BLOB NOT NULL, owner BLOB NOT NULL, idem BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX locks_keep ON locks (keep_ms);"
    "CREATE TABLE lock_waiters (name BLOB NOT NULL, waiter BLOB NOT NULL, arrival INTEGER NOT NULL,"
    " seen_ms INTEGER NOT NULL, PRIMARY KEY (name, waiter)) WITHOUT ROWID;"
    "CREATE INDEX lock_waiters_arrival ON lock_waiters (name, arrival);"
    "CREATE INDEX lock_waiters_seen ON lock_waiters (seen_ms);";

/* Another identity must not be given what one of these tables holds. */
static const char HOLDS_ANYTHING[] =
    "SELECT EXISTS (SELECT 1 FROM journal) OR EXISTS (SELECT 1 FROM records) OR EXISTS (SELECT 1 FROM locks)"
    " OR EXISTS (SELECT 1 FROM tasks) OR EXISTS (SELECT 1 FROM task_notes)";

/* --- failures --- */

static bool is_no_room(int system_errno)
{
    return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG;
}

/* Ends the transaction. A sync that failed is final whatever its reason: which pages reached the disk is not
 * known, and the kernel will not try them again. */
static enum db_result fail(struct db *db, int code)
{
    bool synced = code != SQLITE_IOERR_FSYNC && code != SQLITE_IOERR_DIR_FSYNC;
    enum db_result result = DB_BROKEN;
    switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
        result = DB_FULL;
        break;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM || (synced && is_no_room(sqlite3_system_errno(db->sqlite))))
            result = DB_FULL;
        break;
    default:
        break;
    }
    snprintf(db->failure, sizeof db->failure, "%s (%d, errno %d)", sqlite3_errstr(code), code,
             sqlite3_system_errno(db->sqlite));
    db_rollback(db);
    db->failed = result;
    if (result == DB_BROKEN) db->broken = true;
    return result;
}

enum db_result db_demand_room(struct db *db, size_t bytes)
{
    if (db_bytes(db) + (int64_t)bytes <= db->bytes_max) return DB_OK;
    if (db->failed == DB_OK) {
        snprintf(db->failure, sizeof db->failure, "spool.bytes_max is reached");
        db_rollback(db);
        db->failed = DB_FULL;
    }
    return db->failed;
}

const char *db_failure(const struct db *db)
{
    return db->failure;
}

/* --- statements --- */

static void reset_open(struct db *db)
{
    if (db->open) sqlite3_reset(db->open);
    db->open = NULL;
}

sqlite3_stmt *db_use(struct db *db, enum db_statement id)
{
    reset_open(db);
    sqlite3_clear_bindings(db->statements[id]);
    return db->statements[id];
}

/* Binding fails where the bytes exceed SQLite's limit of 10^9 (the parameter stays NULL, which the NOT NULL
 * of the column refuses) and for want of memory never: nothing is copied. */
void db_bind_int(sqlite3_stmt *s, int at, int64_t value)
{
    sqlite3_bind_int64(s, at, value);
}

void db_bind_slice(sqlite3_stmt *s, int at, struct slice value)
{
    sqlite3_bind_blob64(s, at, value.ptr ? value.ptr : "", value.len, SQLITE_STATIC);
}

void db_bind_optional(sqlite3_stmt *s, int at, struct slice value)
{
    if (value.ptr) db_bind_slice(s, at, value);
}

enum db_result db_step(struct db *db, sqlite3_stmt *s)
{
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        db->open = s;
        return DB_OK;
    }
    db->open = NULL;
    sqlite3_reset(s);
    return code == SQLITE_DONE ? DB_ABSENT : fail(db, code);
}

enum db_result db_write(struct db *db, sqlite3_stmt *s)
{
    if (!db->in_transaction) {
        assert(db->failed != DB_OK);
        return db->failed;
    }
    enum db_result result = db_step(db, s);
    assert(result != DB_OK);
    return result == DB_ABSENT && sqlite3_changes(db->sqlite) > 0 ? DB_OK : result;
}

enum db_result db_write_any(struct db *db, sqlite3_stmt *s)
{
    enum db_result result = db_write(db, s);
    return result == DB_ABSENT ? DB_OK : result;
}

struct slice db_column_slice(sqlite3_stmt *s, int at)
{
    if (sqlite3_column_type(s, at) == SQLITE_NULL) return SLICE_NONE;
    const char *bytes = sqlite3_column_blob(s, at);
    return (struct slice){bytes ? bytes : "", (size_t)sqlite3_column_bytes(s, at)};
}

int64_t db_column_int(sqlite3_stmt *s, int at)
{
    return sqlite3_column_int64(s, at);
}

/* --- the transaction --- */

enum db_result db_begin(struct db *db)
{
    assert(!db->in_transaction);
    if (db->broken) return DB_BROKEN;
    db->failed = DB_OK;
    enum db_result result = db_step(db, db_use(db, DB_STATEMENT_BEGIN));
    if (result != DB_ABSENT) return result;
    db->in_transaction = true;
    return DB_OK;
}

enum db_result db_commit(struct db *db)
{
    if (!db->in_transaction) return db->failed;
    enum db_result result = db_step(db, db_use(db, DB_STATEMENT_COMMIT));
    if (result != DB_ABSENT) return result;
    db->in_transaction = false;
    db->committed = db->counts;
    return DB_OK;
}

void db_rollback(struct db *db)
{
    reset_open(db);
    if (!sqlite3_get_autocommit(db->sqlite)) sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    db->in_transaction = false;
    db->counts = db->committed;
}

static int64_t pragma_value(struct db *db, enum db_statement id)
{
    sqlite3_stmt *s = db_use(db, id);
    int64_t value = db_step(db, s) == DB_OK ? db_column_int(s, 0) : 0;
    reset_open(db);
    return value;
}

int64_t db_bytes(struct db *db)
{
    return (pragma_value(db, DB_STATEMENT_PAGE_COUNT) - pragma_value(db, DB_STATEMENT_FREE_COUNT)) *
           db->page_size;
}

/* Called by SQLite after a commit. */
static int on_wal(void *arg, sqlite3 *sqlite, const char *name, int pages)
{
    (void)sqlite;
    (void)name;
    ((struct db *)arg)->wal_pages = (unsigned)pages;
    return SQLITE_OK;
}

enum db_result db_checkpoint(struct db *db)
{
    assert(!db->in_transaction);
    if (db->broken) return DB_BROKEN;
    if (db->wal_pages < CHECKPOINT_PAGES) return DB_OK;
    reset_open(db);
    int code = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (code != SQLITE_OK) return fail(db, code);
    db->wal_pages = 0;
    return DB_OK;
}

/* --- opening --- */

struct failure {
    const struct db_options *options;
    char *error;
    size_t size;
};

static bool refuse(const struct failure *f, const char *why)
{
    snprintf(f->error, f->size, "spool.path %s: %s", f->options->path, why);
    return false;
}

static bool refuse_errno(const struct failure *f, int code)
{
    char why[256];
    const char *remedy = code == ENOENT || code == ENOTDIR ? "make its directory, or set another spool.path"
                         : code == EISDIR                  ? "give the name of a file in it as spool.path"
                         : code == ENOSPC || code == EDQUOT
                             ? "free some room there, or set another spool.path"
                             : "let this user write there, or set another spool.path";
    snprintf(why, sizeof why, "%s; %s", strerror(code), remedy);
    return refuse(f, why);
}

static bool refuse_code(const struct failure *f, struct db *db, int code)
{
    char why[256];
    switch (code & 0xff) {
    case SQLITE_BUSY:
        return refuse(f, "in use by another process; each daemon needs a spool.path of its own");
    case SQLITE_NOTADB:
        return refuse(f, "not a SQLite database; move it away or set another spool.path");
    case SQLITE_CORRUPT:
        return refuse(f, "the file is damaged; restore it, or move it away to start with an empty one");
    case SQLITE_FULL:
        return refuse_errno(f, ENOSPC);
    default:
        snprintf(why, sizeof why, "%s; let this user read and write it, or set another spool.path",
                 db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(code));
        return refuse(f, why);
    }
}

/* Into `directory`, with the slash behind it; "." where the path has none. */
static bool directory_of(const char *path, char directory[DIRECTORY_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 1;
    if (len >= DIRECTORY_MAX) return false;
    memcpy(directory, slash ? path : ".", len);
    directory[len] = '\0';
    return true;
}

bool db_check_place(const struct db_options *options, char *error, size_t error_size)
{
    const struct failure f = {options, error, error_size};
    char directory[DIRECTORY_MAX];
    struct stat st;
    if (!directory_of(options->path, directory)) return refuse_errno(&f, ENAMETOOLONG);
    if (stat(options->path, &st) == 0 && S_ISDIR(st.st_mode)) return refuse_errno(&f, EISDIR);
    if (access(options->path, R_OK | W_OK) != 0 && errno != ENOENT) return refuse_errno(&f, errno);
    return access(directory, W_OK | X_OK) == 0 || refuse_errno(&f, errno); /* its log goes beside it */
}

/* SQLite would create it readable for others; its log takes the file's mode. The directory is synced, or the
 * file might be gone after a power cut with all that was committed. */
static bool create_file(const struct failure *f)
{
    const char *path = f->options->path;
    char directory[DIRECTORY_MAX];
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) return db_check_place(f->options, f->error, f->size);
    if (fd < 0) return refuse_errno(f, errno);
    close(fd);
    if (!directory_of(path, directory)) return refuse_errno(f, ENAMETOOLONG);
    int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = dir >= 0 && fsync(dir) == 0;
    int saved = errno;
    if (dir >= 0) close(dir);
    return synced || refuse_errno(f, saved);
}

/* The first column of the first row. */
static int read_number(struct db *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *s;
    int code = sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL);
    if (code != SQLITE_OK) return code;
    code = sqlite3_step(s);
    if (code == SQLITE_ROW) *out = sqlite3_column_int64(s, 0);
    int finalized = sqlite3_finalize(s);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : finalized;
}

static int execute(struct db *db, const char *sql)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
}

/* Ours, empty, or refused. */
static bool check_schema(const struct failure *f, struct db *db)
{
    int64_t application = 0, version = 0, tables = 0;
    int code = read_number(db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK) code = read_number(db, "PRAGMA user_version", &version);
    if (code == SQLITE_OK) code = read_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (code != SQLITE_OK) return refuse_code(f, db, code);
    if (application != APPLICATION_ID && (application || version || tables))
        return refuse(f, "the database of another program; set another spool.path");
    if (application == APPLICATION_ID && (version < 1 || version > SCHEMA_VERSION)) {
        snprintf(f->error, f->size,
                 "spool.path %s: its schema is version %lld, this program knows version %d; run the program "
                 "that wrote "
                 "it, or set another spool.path",
                 f->options->path, (long long)version, SCHEMA_VERSION);
        return false;
    }
    return true;
}

static bool create_schema(const struct failure *f, struct db *db)
{
    int64_t version = 0;
    int code = read_number(db, "PRAGMA user_version", &version);
    if (code == SQLITE_OK && version == SCHEMA_VERSION) return true;
    char mark[96];
    snprintf(mark, sizeof mark, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             APPLICATION_ID, SCHEMA_VERSION);
    if (code == SQLITE_OK) code = execute(db, "BEGIN IMMEDIATE");
    if (code == SQLITE_OK && version < 1) code = execute(db, SCHEMA);
    if (code == SQLITE_OK && version >= 1) code = execute(db, "ALTER TABLE journal ADD COLUMN trace BLOB");
    if (code == SQLITE_OK) code = execute(db, DB_QUEUE_SCHEMA);
    if (code == SQLITE_OK) code = execute(db, mark);
    return code == SQLITE_OK || refuse_code(f, db, code);
}

static int read_identity(struct db *db, char *out, size_t size)
{
    sqlite3_stmt *s;
    int code = sqlite3_prepare_v2(db->sqlite, "SELECT value FROM meta WHERE name = 'identity'", -1, &s, NULL);
    if (code != SQLITE_OK) return code;
    code = sqlite3_step(s);
    snprintf(out, size, "%s", code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : "");
    int finalized = sqlite3_finalize(s);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : finalized;
}

static int write_identity(struct db *db, const char *identity)
{
    sqlite3_stmt *s;
    int code = sqlite3_prepare_v2(
        db->sqlite, "INSERT OR REPLACE INTO meta (name, value) VALUES ('identity', ?1)", -1, &s, NULL);
    if (code != SQLITE_OK) return code;
    sqlite3_bind_text(s, 1, identity, -1, SQLITE_STATIC);
    sqlite3_step(s);
    return sqlite3_finalize(s);
}

static bool settle_identity(const struct failure *f, struct db *db)
{
    const char *wanted = f->options->identity;
    char stored[1024];
    int64_t held = 0;
    int code = read_identity(db, stored, sizeof stored);
    if (code == SQLITE_OK && strcmp(stored, wanted) == 0) return true;
    if (code == SQLITE_OK) code = read_number(db, HOLDS_ANYTHING, &held);
    if (code == SQLITE_OK && held) {
        snprintf(f->error, f->size,
                 "spool.path %s belongs to \"%s\" and holds what that still needs; this daemon is \"%s\": "
                 "start it as "
                 "before until the spool is empty, set another spool.path, or move the file away",
                 f->options->path, stored, wanted);
        return false;
    }
    if (code == SQLITE_OK) code = write_identity(db, wanted);
    return code == SQLITE_OK || refuse_code(f, db, code);
}

/* The lock is taken by the first read. What is in WAL mode is opened without shared memory then. */
static bool configure(const struct failure *f, struct db *db)
{
    sqlite3_extended_result_codes(db->sqlite, 1);
    /* Else statements over partial indexes are compiled anew for every value that is bound: 20 us each. */
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_QPSG, 1, NULL);
    int code = execute(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;"
                           "PRAGMA temp_store = MEMORY; PRAGMA synchronous = FULL");
    if (code != SQLITE_OK) return refuse_code(f, db, code);
    if (!check_schema(f, db)) return false;
    code = execute(db, "PRAGMA journal_mode = WAL");
    char limit[64];
    snprintf(limit, sizeof limit, "PRAGMA journal_size_limit = %d", WAL_BYTES_KEPT);
    if (code == SQLITE_OK) code = execute(db, limit);
    /* Takes the write lock: a file that cannot be written stops the start, not the first change. */
    if (code == SQLITE_OK) code = execute(db, "BEGIN EXCLUSIVE; ROLLBACK");
    if (code == SQLITE_OK) code = read_number(db, "PRAGMA page_size", &db->page_size);
    if (code != SQLITE_OK) return refuse_code(f, db, code);
    sqlite3_wal_hook(db->sqlite, on_wal, db);
    return true;
}

static bool prepare(const struct failure *f, struct db *db)
{
    static const char *const TEXTS[DB_STATEMENT_COUNT] = {
#define STATEMENT(id, sql) [DB_STATEMENT_##id] = (sql),
#include "engine/local/db_statements.def"
#undef STATEMENT
    };
    for (unsigned i = 0; i < DB_STATEMENT_COUNT; i++) {
        int code =
            sqlite3_prepare_v3(db->sqlite, TEXTS[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL);
        if (code != SQLITE_OK) return refuse_code(f, db, code);
    }
    return true;
}

/* What was set aside is tried once more with each start: whoever mended the key restarts the daemon. No harm
 * where that cannot be written now. */
static bool load_counts(const struct failure *f, struct db *db)
{
    (void)sqlite3_exec(db->sqlite, "UPDATE journal SET aside = NULL WHERE aside IS NOT NULL", NULL, NULL,
                       NULL);
    int code = read_number(db, "SELECT max(seq) FROM journal", &db->last_seq);
    if (code == SQLITE_OK)
        code = read_number(db, "SELECT count(*) FROM journal WHERE aside IS NULL", &db->counts.waiting);
    if (code == SQLITE_OK)
        code = read_number(db, "SELECT count(*) FROM journal WHERE aside IS NOT NULL", &db->counts.set_aside);
    if (code != SQLITE_OK) return refuse_code(f, db, code);
    if (db_queue_load(db) != DB_OK) return refuse(f, db->failure);
    db->committed = db->counts;
    return true;
}

/* A mark that stands while a process has the file. Where it cannot be written or removed, it says too much:
 * that costs a minute's caution. */
static void mark_running(struct db *db)
{
    int64_t marked = 0;
    db->was_killed =
        read_number(db, "SELECT count(*) FROM meta WHERE name = 'running'", &marked) == SQLITE_OK && marked;
    (void)execute(db, "INSERT OR REPLACE INTO meta (name, value) VALUES ('running', '1')");
    db->marked = true;
}

bool db_was_killed(const struct db *db)
{
    return db->was_killed;
}

struct db *db_open(const struct db_options *options, char *error, size_t error_size)
{
    struct failure f = {options, error, error_size};
    struct db *db = calloc(1, sizeof *db);
    if (!db) {
        refuse(&f, strerror(ENOMEM));
        return NULL;
    }
    db->bytes_max = options->bytes_max;
    if (!create_file(&f)) goto fail;
    int code = sqlite3_open_v2(options->path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        refuse_code(&f, db, code);
        goto fail;
    }
    if (configure(&f, db) && create_schema(&f, db) && settle_identity(&f, db) && prepare(&f, db) &&
        load_counts(&f, db)) {
        mark_running(db);
        return db;
    }
fail:
    db_close(&db);
    return NULL;
}

void db_close(struct db **pdb)
{
    struct db *db = *pdb;
    *pdb = NULL;
    if (!db) return;
    for (unsigned i = 0; i < DB_STATEMENT_COUNT; i++)
        sqlite3_finalize(db->statements[i]);
    if (db->marked && !db->broken) (void)execute(db, "DELETE FROM meta WHERE name = 'running'");
    if (db->broken) sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db->sqlite);
    free(db);
}
