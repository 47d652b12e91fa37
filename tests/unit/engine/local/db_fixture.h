/* db_fixture: a db in the test's scratch directory, and short words for what tests ask of it. */
#ifndef TESTS_UNIT_ENGINE_LOCAL_DB_FIXTURE_H
#define TESTS_UNIT_ENGINE_LOCAL_DB_FIXTURE_H

#include "engine/local/db.h"

#include "../../../support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIND = 7, NOW = 1000000 };

struct db_fixture {
    char path[TEST_PATH_MAX], error[512];
    struct db_options options;
    struct db *db;
    char seen[4096]; /* what `see_*` was called with, blank-separated */
};

static inline bool db_fixture_open(struct db_fixture *f)
{
    f->options.path = f->path;
    if (!f->options.identity) f->options.identity = "embedded";
    if (!f->options.bytes_max) f->options.bytes_max = 1 << 24;
    f->error[0] = '\0';
    f->db = db_open(&f->options, f->error, sizeof f->error);
    return f->db != NULL;
}

static inline void db_fixture_start(struct db_fixture *f)
{
    *f = (struct db_fixture){.db = NULL};
    scratch_path(f->path, "spool.db");
    ck_assert_msg(db_fixture_open(f), "%s", f->error);
}

static inline void db_fixture_reopen(struct db_fixture *f)
{
    db_close(&f->db);
    ck_assert_msg(db_fixture_open(f), "%s", f->error);
}

static inline enum db_result put(struct db_fixture *f, const char *id, const char *value, int64_t expires_ms)
{
    struct db_record record = {slice_of(id), slice_of(value), expires_ms};
    return db_record_put(f->db, KIND, &record);
}

static inline int64_t append(struct db_fixture *f, const char *id, const char *copy)
{
    struct db_entry entry = {.kind = KIND,
                             .op = 3,
                             .flags = 5,
                             .id = slice_of(id),
                             .change_id = slice_of("change"),
                             .base = UINT64_MAX,
                             .stamp_ms = NOW,
                             .expires_ms = NOW + 9,
                             .body = slice_of("body"),
                             .copy = slice_of(copy)};
    int64_t seq = 0;
    ck_assert_int_eq(db_journal_append(f->db, &entry, &seq), DB_OK);
    return seq;
}

static inline void see(struct db_fixture *f, struct slice s)
{
    size_t at = strlen(f->seen);
    snprintf(f->seen + at, sizeof f->seen - at, "%s%.*s", at ? " " : "", (int)s.len, s.ptr);
}

static inline void see_record(void *arg, const struct db_record *record)
{
    see(arg, record->id);
}

static inline void see_entry(void *arg, const struct db_entry *entry)
{
    see(arg, entry->id);
}

static inline void see_copy(void *arg, const struct db_entry *entry)
{
    see(arg, entry->copy);
}

#define BEGINS(f)  ck_assert_int_eq(db_begin((f)->db), DB_OK)
#define COMMITS(f) ck_assert_int_eq(db_commit((f)->db), DB_OK)
#define HOLDS(f, id, expected)                                                                               \
    do {                                                                                                     \
        struct db_record held_;                                                                              \
        ck_assert_int_eq(db_record_get((f)->db, KIND, slice_of(id), NOW, &held_), DB_OK);                    \
        ck_assert(slice_equal_text(held_.value, expected));                                                  \
    } while (0)
#define LACKS(f, id)                                                                                         \
    do {                                                                                                     \
        struct db_record held_;                                                                              \
        ck_assert_int_eq(db_record_get((f)->db, KIND, slice_of(id), NOW, &held_), DB_ABSENT);                \
    } while (0)

#endif
