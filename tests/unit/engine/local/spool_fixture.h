/* spool_fixture: a spool, two loops that the test turns itself, a clock that it moves, and SQLite's file
 * system with writes and syncs that fail on demand. */
#ifndef TESTS_UNIT_ENGINE_LOCAL_SPOOL_FIXTURE_H
#define TESTS_UNIT_ENGINE_LOCAL_SPOOL_FIXTURE_H

#include "../../../support/support.h"
#include "engine/local/spool.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIND = 7, LOOPS = 2 };

/* --- the file system --- */

struct disk {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    struct {
        const sqlite3_io_methods *real;
        sqlite3_io_methods mine;
    } methods[4];
    _Atomic int syncs;
    _Atomic int syncs_left;  /* then they fail; negative: never */
    _Atomic int writes_full; /* writes find no room */
};

static struct disk disk = {.syncs_left = -1};

static inline int disk_sync(sqlite3_file *file, int flags)
{
    atomic_fetch_add(&disk.syncs, 1);
    int left = atomic_load(&disk.syncs_left);
    if (left == 0) return SQLITE_IOERR_FSYNC;
    if (left > 0) atomic_store(&disk.syncs_left, left - 1);
    return disk.methods[0].real->xSync(file, flags);
}

static inline int disk_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    if (atomic_load(&disk.writes_full)) return SQLITE_FULL;
    return disk.methods[0].real->xWrite(file, bytes, len, at);
}

/* The file stays SQLite's own; only its table of methods is exchanged. The tables differ in how they lock. */
static inline int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    int code = disk.real->xOpen(disk.real, name, file, flags, out_flags);
    if (code != SQLITE_OK || !file->pMethods) return code;
    size_t i = 0;
    while (disk.methods[i].real && disk.methods[i].real != file->pMethods)
        ck_assert_uint_lt(++i, 4);
    if (!disk.methods[i].real) {
        disk.methods[i].real = file->pMethods;
        disk.methods[i].mine = *file->pMethods;
        disk.methods[i].mine.xSync = disk_sync;
        disk.methods[i].mine.xWrite = disk_write;
    }
    file->pMethods = &disk.methods[i].mine;
    return code;
}

static inline void disk_install(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "disk";
    disk.vfs.pNext = NULL;
    disk.vfs.xOpen = disk_open;
    ck_assert_int_eq(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
}

/* --- the spool --- */

struct spool_fixture {
    char path[TEST_PATH_MAX], error[512];
    struct spool_options options;
    struct spool *spool;
    struct loop *loops[LOOPS];
    struct clock clock;
    _Atomic int64_t ahead_us;
    struct metrics *metrics;

    pthread_mutex_t lock; /* the gate */
    pthread_cond_t moved;
    bool at_gate, gate_open;
};

static inline int64_t spool_fixture_mono(void *arg)
{
    return now_us() + atomic_load(&((struct spool_fixture *)arg)->ahead_us);
}

static inline int64_t spool_fixture_wall(void *arg)
{
    return wall_ms() + atomic_load(&((struct spool_fixture *)arg)->ahead_us) / 1000;
}

static inline void spool_fixture_open(struct spool_fixture *f)
{
    f->spool = spool_create(&f->options, f->error, sizeof f->error);
    ck_assert_msg(f->spool != NULL, "%s", f->error);
}

static inline void spool_fixture_start(struct spool_fixture *f, int64_t bytes_max, int64_t sweep_every_ms)
{
    *f = (struct spool_fixture){.clock = {spool_fixture_mono, spool_fixture_wall, f}};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->moved, NULL);
    for (size_t i = 0; i < LOOPS; i++)
        ck_assert_ptr_nonnull(f->loops[i] = loop_create(&f->clock));
    if (!f->path[0]) scratch_path(f->path, "spool.db");
    struct metrics_labels labels = {.count = {0}};
    f->metrics = metrics_create(&labels);
    f->options = (struct spool_options){.db = {f->path, "embedded", bytes_max},
                                        .queue_max = 100,
                                        .sweep_every_ms = sweep_every_ms,
                                        .clock = &f->clock,
                                        .metrics = f->metrics,
                                        .cell = metrics_cell(f->metrics)};
    spool_fixture_open(f);
}

static inline void spool_fixture_reopen(struct spool_fixture *f)
{
    spool_destroy(&f->spool);
    spool_fixture_open(f);
}

static inline void spool_fixture_stop(struct spool_fixture *f)
{
    spool_destroy(&f->spool);
    for (size_t i = 0; i < LOOPS; i++)
        loop_destroy(&f->loops[i]);
    metrics_destroy(&f->metrics);
    pthread_cond_destroy(&f->moved);
    pthread_mutex_destroy(&f->lock);
}

static inline void spool_fixture_on_turn(void *arg)
{
    loop_stop(arg);
}

/* Both loops, about a millisecond each. */
static inline void spool_fixture_turn(struct spool_fixture *f)
{
    for (size_t i = 0; i < LOOPS; i++) {
        struct loop_timer timer = {.slot = 0};
        loop_timer_start(f->loops[i], &timer, loop_now_us(f->loops[i]) + 1000, spool_fixture_on_turn,
                         f->loops[i]);
        loop_run(f->loops[i]);
        loop_timer_stop(&timer);
    }
}

#define TURN_UNTIL(f, condition)                                                                             \
    do {                                                                                                     \
        int64_t turn_until_ = now_ms() + test_ms(5000);                                                      \
        while (!(condition)) {                                                                               \
            ck_assert_msg(now_ms() < turn_until_, "waited %d ms for: %s", (int)test_ms(5000), #condition);   \
            spool_fixture_turn(f);                                                                           \
        }                                                                                                    \
    } while (0)

#endif
