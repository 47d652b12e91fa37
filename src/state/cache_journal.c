/* cache_journal: each operation on the spool has memory of its own, since it may outlive the request. The
 * rows that are known are counted, so that a hand-back without any costs the spool nothing. */
#include "cache_private.h"

#include "state/record.h"
#include "util/random.h"

#include <stdlib.h>

static void put_tombstone(struct cache_store *store, struct slice key, int64_t stamp_ms)
{
    struct lru_meta meta = {.stamp_ms = stamp_ms};
    bool unused;
    /* Without memory, or over the pending budget, the row alone remembers it: the next reload brings it. */
    (void)lru_put(cache_store_lru(store), key, SLICE_NONE, &meta, LRU_PENDING | LRU_DELETED, &unused);
}

void cache_journal_restore(struct cache_store *store, struct slice key, int64_t stamp_ms)
{
    put_tombstone(store, key, stamp_ms);
    atomic_fetch_add(cache_store_journal_rows(store), 1);
}

uint64_t cache_journal_rows(const struct cache_store *store)
{
    return atomic_load(cache_store_journal_rows((struct cache_store *)store));
}

/* --- appending --- */

struct cache_deletion {
    struct spool_op op;
    struct cache_store *store;
    struct cache_deletion *next, **prev; /* among the port's open ones, while somebody waits */
    int64_t stamp_ms;
    cache_deletion_fn *done; /* NULL: abandoned */
    void *arg;
    char change_id[UUID_SIZE];
    size_t key_len;
    char key[];
};

static struct slice deletion_key(const struct cache_deletion *d)
{
    return (struct slice){d->key, d->key_len};
}

static enum db_result run_append(struct db *db, void *arg)
{
    const struct cache_deletion *d = arg;
    const struct db_entry entry = {.kind = JOURNAL_CACHE,
                                   .id = deletion_key(d),
                                   .change_id = slice_of(d->change_id),
                                   .stamp_ms = d->stamp_ms};
    int64_t seq;
    return db_journal_append(db, &entry, &seq);
}

static void on_appended(struct spool_op *op)
{
    struct cache_deletion *d = op->arg;
    if (op->committed) {
        put_tombstone(d->store, deletion_key(d), d->stamp_ms);
        atomic_fetch_add(cache_store_journal_rows(d->store), 1);
    }
    cache_deletion_fn *done = d->done;
    if (done) {
        cache_journal_abandon(d);
        done(d->arg, op->committed);
    }
    free(d);
}

struct cache_deletion *cache_journal_append(struct cache_port *port, struct slice key, int64_t stamp_ms,
                                            cache_deletion_fn *done, void *arg)
{
    struct cache_deletion *d = malloc(sizeof *d + key.len);
    if (!d) return NULL;
    *d = (struct cache_deletion){.op = {.run = run_append, .done = on_appended, .arg = d, .loop = port->loop},
                                 .store = port->store,
                                 .stamp_ms = stamp_ms,
                                 .done = done,
                                 .arg = arg,
                                 .key_len = key.len};
    memcpy(d->key, key.ptr, key.len);
    uuid_v7(stamp_ms, d->change_id);
    if (!spool_submit(cache_store_spool(port->store), &d->op)) {
        free(d);
        return NULL;
    }
    d->next = port->open;
    d->prev = &port->open;
    if (d->next) d->next->prev = &d->next;
    port->open = d;
    return d;
}

void cache_journal_abandon(struct cache_deletion *d)
{
    d->done = NULL;
    *d->prev = d->next;
    if (d->next) d->next->prev = d->prev;
}

void cache_port_close(struct cache_port *port)
{
    while (port->open) {
        struct cache_deletion *d = port->open;
        cache_deletion_fn *done = d->done;
        cache_journal_abandon(d);
        if (done) done(d->arg, false);
    }
}

/* --- removing --- */

struct removal {
    struct spool_op op;
    struct cache_store *store;
    int64_t stamp_ms;
    uint64_t removed;
    size_t key_len;
    char key[];
};

static enum db_result run_remove(struct db *db, void *arg)
{
    struct removal *m = arg;
    const struct slice key = {m->key, m->key_len};
    struct db_entry entry;
    m->removed = 0;
    for (;;) {
        enum db_result result = db_journal_oldest(db, JOURNAL_CACHE, key, &entry);
        if (result == DB_ABSENT || (result == DB_OK && entry.stamp_ms > m->stamp_ms)) return DB_OK;
        if (result == DB_OK) result = db_journal_remove(db, entry.seq);
        if (result != DB_OK) return result;
        m->removed++;
    }
}

static void on_removed(struct spool_op *op)
{
    struct removal *m = op->arg;
    if (op->committed) atomic_fetch_sub(cache_store_journal_rows(m->store), m->removed);
    free(m);
}

void cache_journal_settled(struct cache_port *port, struct slice key, int64_t stamp_ms)
{
    struct spool *spool = cache_store_spool(port->store);
    if (!spool || !cache_journal_rows(port->store)) return;
    struct removal *m = malloc(sizeof *m + key.len);
    if (!m) return;
    *m = (struct removal){
        .op = {.frees = true, .run = run_remove, .done = on_removed, .arg = m, .loop = port->loop},
        .store = port->store,
        .stamp_ms = stamp_ms,
        .key_len = key.len};
    memcpy(m->key, key.ptr, key.len);
    if (!spool_submit(spool, &m->op)) free(m);
}

/* --- reloading --- */

struct reload {
    struct spool_op op;
    struct cache_store *store;
};

static void on_row(void *arg, const struct db_entry *entry)
{
    struct reload *reload = arg;
    if (entry->kind == JOURNAL_CACHE) put_tombstone(reload->store, entry->id, entry->stamp_ms);
}

static enum db_result run_reload(struct db *db, void *arg)
{
    return db_journal_each(db, false, 0, on_row, arg);
}

static void on_reloaded(struct spool_op *op)
{
    free(op->arg);
}

bool cache_journal_reload(struct cache_port *port)
{
    struct spool *spool = cache_store_spool(port->store);
    /* What cannot be removed would come back again and again. */
    if (!spool || spool_health(spool) != SPOOL_GOOD) return false;
    struct reload *reload = malloc(sizeof *reload);
    if (!reload) return false;
    *reload = (struct reload){
        .op = {.reads = true, .run = run_reload, .done = on_reloaded, .arg = reload, .loop = port->loop},
        .store = port->store};
    if (spool_submit(spool, &reload->op)) return true;
    free(reload);
    return false;
}
