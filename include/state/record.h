/* record: values of sessions and agents' health, changed one at a time by whoever asks, over both engines.
 *
 * A caller hands in a *change*: what shall happen to one value. A kind's *rules* (domain/session,
 * domain/health) say what becomes of a version under a change; they are pure and run on any thread. The store
 * decides where the version comes from and where the result goes:
 *
 *   redis     read → apply → compare-and-set; on a race again, 16 times. In doubt: settled by looking for the
 *             change's id in the value's `writes`; not settled: guarded → OUTCOME_UNKNOWN, others → journal.
 *   journal   circuit open, no byte left, or the key has unsettled entries: applied on the spool's thread to
 *             the newest copy (journal, else the table's), the entry committed, then acknowledged.
 *   embedded  applied on the spool's thread to the record, committed.
 *
 * Reading is a change whose verdict is RECORD_KEEP. The store is shared by all threads; a port belongs to one
 * loop. Ids are bare; prefix and kind are added here. */
#ifndef PHOENIX_STATE_RECORD_H
#define PHOENIX_STATE_RECORD_H

#include "engine/local/lru.h"
#include "engine/local/spool.h"
#include "engine/redis/pool.h"
#include "state/unsettled.h"
#include "util/buf.h"
#include "util/random.h"
#include "util/status.h"
#include "util/trace.h"
#include "util/uri.h"

/* Kept in the journal: numbers never change. Values in Redis stand at {prefix}:{name}:{id}. */
enum journal_kind {
    JOURNAL_SESSION = 1,
    JOURNAL_HEALTH = 2,
    JOURNAL_LOCK = 3,
    JOURNAL_CACHE = 4,
    JOURNAL_KIND_END
};

/* --- what rules see and say --- */

enum record_trait {
    /* The answer does not depend on it (a touch): a lost race, doubt or a spool that cannot commit skip it,
     * and the version that was read is the answer. */
    RECORD_OPTIONAL = 1,
    /* Degraded, without a copy of the value, it is REDIS_UNAVAILABLE: reads, permits, PATCH and PUT of
       sessions. */
    RECORD_NEEDS_COPY = 2,
    /* An optional change whose entry replaces the key's newest one if that has the same op: touches. */
    RECORD_MERGES = 4,
    /* It never writes: needs no commit, and its preconditions are the handler's (304). */
    RECORD_READS = 8
};

struct record_change {
    unsigned op;    /* the rules' own; journaled */
    unsigned flags; /* the rules' own; journaled */
    unsigned traits;
    struct slice id;
    struct slice
        body; /* what was asked, in the rules' own form (the request's JSON); may be empty; journaled */
    char change_id[UUID_SIZE]; /* UUIDv7 */
    int64_t stamp_ms;          /* when it was accepted, by Redis's clock: the time the rules apply it at */
    struct trace trace;        /* the request's, for log lines; journaled */
    /* Header values; ptr NULL: absent. Judged by the store, but for reads and optional changes. */
    struct slice if_match, if_none_match;
};

struct record_version {
    struct slice value; /* ptr NULL: absent */
    int64_t expires_ms; /* 0: never. By Redis's clock */
    int64_t deleted_ms; /* absent, and known to have been deleted then (tombstone); 0: not known */
};

enum record_verdict {
    RECORD_KEEP, /* nothing changes; the version as it is, is the answer */
    RECORD_WRITE,
    RECORD_DELETE, /* also where nothing is there: leaves a tombstone */
    RECORD_REFUSE  /* `status` and `detail` are the answer */
};

struct record_result {
    struct buf value;   /* RECORD_WRITE */
    int64_t expires_ms; /* RECORD_WRITE; 0: never */
    enum status status; /* RECORD_REFUSE */
    char detail[192];
    int64_t note[3]; /* for the handler, the rules' own (a permit: allowed, circuit, retry after ms) */
    bool conflict;   /* merge only: two sides disagreed; counted and logged whatever the verdict */
};

/* A journaled change on its way back. */
struct record_entry {
    const struct record_change *change;
    uint64_t base;      /* ETag of the version it was applied to; 0: it was absent */
    struct slice copy;  /* what came of it here; ptr NULL: deleted */
    int64_t expires_ms; /* the copy's */
};

struct record_rules {
    const char *name; /* "session", "health": in keys, labels, log lines */
    const void *options;
    /* Pure. out is zeroed; its value is the store's to free. FOREIGN_VALUE (a refusal) where the value is no
     * JSON of the kind. */
    enum record_verdict (*apply)(const struct record_rules *rules, const struct record_change *change,
                                 const struct record_version *current, struct record_result *out);
    /* Hand-back (docs/ARCHITECTURE.md): what becomes of Redis's version when an entry is handed back whose id
     * is not in `writes`. now_ms by Redis's clock. KEEP: the entry is dropped. */
    enum record_verdict (*merge)(const struct record_rules *rules, const struct record_entry *entry,
                                 const struct record_version *current, int64_t now_ms,
                                 struct record_result *out);
    uint64_t (*etag)(struct slice value); /* never 0 */
};

/* --- the store --- */

struct record_store;
struct record_work; /* the store's: outlives the op where the spool is slower than the deadline */
struct record_list_work;

struct record_store_options {
    struct record_rules rules[JOURNAL_KIND_END]; /* by kind; name NULL: none */
    struct redis_topology *redis;                /* NULL: embedded */
    struct spool *spool;
    struct lru *lru;
    struct unsettled *unsettled;
    const char *prefix; /* borrowed */
    const struct clock *clock;
    size_t value_max;     /* bytes; a larger one in Redis is foreign */
    int64_t tombstone_ms; /* spool.age_max */
    struct log *log;
};

struct record_store *record_store_create(const struct record_store_options *options); /* NULL: no memory */
/* After the spool and the loops: what came back late from the one ends on the others. */
void record_store_destroy(struct record_store **store);
const struct record_store_options *record_store_options(const struct record_store *store);
bool record_store_embedded(const struct record_store *store);
/* Redis's clock for a change that begins now: never less than any before. Any thread. */
int64_t record_store_stamp_ms(struct record_store *store);

/* {prefix}:{name}:{id}, and the tombstone {prefix}:gone:{name}:{ {prefix}:{name}:{id} } in the same slot. */
enum {
    RECORD_KEY_MAX = 64 + sizeof ":session:" + ID_LEN_MAX,
    RECORD_GONE_KEY_MAX = 64 + sizeof ":gone:session:{}" + RECORD_KEY_MAX
};
struct slice record_key(const struct record_store *store, unsigned kind, struct slice id,
                        char out[RECORD_KEY_MAX]);
struct slice record_gone_key(const struct record_store *store, unsigned kind, struct slice id,
                             char out[RECORD_GONE_KEY_MAX]);

/* One loop's access. */
enum { RECORD_BUCKETS = 64 };
struct record_port {
    struct record_store *store;
    struct loop *loop;
    struct redis_pool *pool; /* NULL: embedded */
    struct metrics_cell *cell;
    /* the store's; NULL at first */
    struct record_work *open[RECORD_BUCKETS]; /* by id */
    struct record_list_work *open_lists;
};
/* Ends what is in flight, each op and list told (OUTCOME_UNKNOWN, SPOOL_UNAVAILABLE), for a loop that no
 * longer turns: after redis_pool_destroy, before what the ops live in. What the spool still has frees itself
 * when it comes back. */
void record_port_close(struct record_port *port);

/* --- changing and reading --- */

struct record_op {
    /* set by the caller; it and what its slices show live until done. change_id and stamp_ms are set by the
     * store where change_id is empty. */
    unsigned kind;
    struct record_change change;
    int64_t deadline_us;
    void (*done)(struct record_op *op);
    void *arg;
    /* valid in done */
    enum status status; /* OK, or the problem; NOT_FOUND where a change was kept on an absent value */
    const char *detail; /* of a problem; "" where there is nothing to add */
    enum record_verdict verdict;
    bool local;         /* Redis did not answer it; embedded too */
    bool existed;       /* there was a value before */
    struct slice value; /* the value now; ptr NULL: absent, deleted */
    int64_t expires_ms;
    uint64_t etag; /* of `value`; 0: absent */
    int64_t note[3];
    /* the store's */
    struct record_work *work;
};

/* Calls done exactly once, by the deadline, perhaps before it returns; never on another thread. */
void record_start(struct record_port *port, struct record_op *op);

/* --- listing --- */

enum { RECORD_CURSOR_SIZE = ID_LEN_MAX + 8 };

struct record_list {
    /* set by the caller; lives until done */
    unsigned kind;
    struct slice cursor; /* as it was given out, or empty: from the start */
    unsigned limit;      /* 1 to 1000: about so many are visited */
    int64_t deadline_us;
    /* For each live value found, on the port's loop, before done. */
    void (*each)(struct record_list *list, struct slice id, struct slice value, int64_t expires_ms);
    void (*done)(struct record_list *list);
    void *arg;
    /* valid in done */
    enum status
        status; /* OK, INVALID_ARGUMENT (cursor), REDIS_UNAVAILABLE, REDIS_REFUSED, SPOOL_UNAVAILABLE */
    const char *detail;
    char next[RECORD_CURSOR_SIZE]; /* the next cursor; "": this was the end */
    bool partial, local;
    /* the store's */
    struct record_list_work *work;
};

/* SCAN with a bounded COUNT on Redis, an index walk locally; degraded: what the journal has, partial. Calls
 * done exactly once. */
void record_list_start(struct record_port *port, struct record_list *list);

#endif
