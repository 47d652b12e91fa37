/* lock_local: attempts on the spool's thread, and the journal's entry of a release that Redis has not seen.
 */
#include "lock_private.h"

#include "state/record.h"

static enum db_result run(struct db *db, void *arg)
{
    static enum db_result (*const VERBS[])(struct db *, const struct db_lock_ask *,
                                           struct db_lock_answer *) = {[LOCK_ACQUIRE] = db_lock_acquire,
                                                                       [LOCK_RENEW] = db_lock_renew,
                                                                       [LOCK_RELEASE] = db_lock_release,
                                                                       [LOCK_GET] = db_lock_get};
    struct lock_work *w = arg;
    const struct lock_store *store = w->port->store;
    struct db_lock_ask ask = {.name = w->name,
                              .token = w->token,
                              .owner = w->owner,
                              .idem = w->verb == LOCK_ACQUIRE ? w->idem : SLICE_NONE,
                              .waiter = w->waiter,
                              .ttl_ms = w->ttl_ms,
                              .keep_ms = lock_keep_ms(store),
                              .now_ms = clock_wall_ms(store->options.clock)};
    return VERBS[w->verb](db, &ask, &w->answer);
}

static void on_run(struct spool_op *spool_op)
{
    struct lock_work *w = spool_op->arg;
    w->reply = spool_op->committed ? LOCK_REPLY_OK : LOCK_REPLY_SPOOL;
    lock_on_reply(w);
}

void lock_local_send(struct lock_work *w)
{
    w->spool_op = (struct spool_op){
        .reads = w->verb == LOCK_GET, .run = run, .done = on_run, .arg = w, .loop = w->port->loop};
    if (spool_submit(w->port->store->options.spool, &w->spool_op)) return;
    w->reply = LOCK_REPLY_SPOOL;
    lock_on_reply(w);
}

/* --- journal --- */

static enum db_result append(struct db *db, void *arg)
{
    const struct lock_work *w = arg;
    int64_t seq = 0;
    char trace[TRACE_KEPT_LEN];
    struct db_entry entry = {.kind = JOURNAL_LOCK,
                             .op = LOCK_JOURNAL_RELEASE,
                             .id = w->name,
                             .change_id = slice_of(w->change_id),
                             .stamp_ms = redis_topology_wall_ms(w->port->store->options.redis),
                             .body = w->token,
                             .trace = trace_keep(&w->trace, trace)};
    return db_journal_append(db, &entry, &seq);
}

static void end_journal(struct lock_work *w, bool committed)
{
    if (!committed) unsettled_leave(w->port->store->options.unsettled, JOURNAL_LOCK, w->name);
    lock_on_journaled(w, committed);
}

static void on_appended(struct spool_op *spool_op)
{
    end_journal(spool_op->arg, spool_op->committed);
}

void lock_local_journal(struct lock_work *w)
{
    const struct lock_store_options *o = &w->port->store->options;
    if (!unsettled_enter(o->unsettled, JOURNAL_LOCK, w->name)) {
        lock_on_journaled(w, false);
        return;
    }
    uuid_v7(redis_topology_wall_ms(o->redis), w->change_id);
    w->spool_op = (struct spool_op){.run = append, .done = on_appended, .arg = w, .loop = w->port->loop};
    if (!spool_submit(o->spool, &w->spool_op)) end_journal(w, false);
}
