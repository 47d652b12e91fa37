/* cache_store: the cache's one set of operations over both engines: the table (engine/local/lru) and Redis.
 * Decides who answers, keeps the table coherent, and falls back to it, truthfully, when Redis does not
 * answer.
 *
 * Reads    a pending write of ours, else a trusted entry, else Redis, else (Redis away) whatever the table
 * has. Writes   Redis; when it did not take it (away, refused, in doubt) an unguarded one is kept in the
 * table, pending, to be handed back (state/cache_replay). A key that is pending takes further writes in the
 * table, behind the first. Guarded  (create only) Redis alone decides; in doubt it is settled by looking, or
 * the caller is told so.
 *
 * The store is shared by all threads; a port belongs to one loop. Keys are the bare {hash}; the prefix is
 * added here. */
#ifndef PHOENIX_STATE_CACHE_STORE_H
#define PHOENIX_STATE_CACHE_STORE_H

#include "engine/local/lru.h"
#include "engine/local/spool.h"
#include "engine/redis/pool.h"
#include "util/buf.h"
#include "util/sha256.h"
#include "util/status.h"

struct cache_store;

struct cache_store_options {
    struct lru *lru;
    struct redis_topology *redis; /* NULL: embedded, the table is the authority */
    const char *prefix;           /* redis.prefix; borrowed */
    const struct clock *clock;
    size_t value_max;    /* bytes; a larger one in Redis is foreign */
    int64_t deadline_ms; /* how long an acknowledged deletion must outlive slower writes of the same key */
};

struct cache_store *cache_store_create(const struct cache_store_options *options); /* NULL: no memory */
void cache_store_destroy(struct cache_store **store);
/* Where deletions that Redis has not seen are made durable (state/cache_journal.h); without it they last as
 * long as the process. Before the first write. */
void cache_store_set_spool(struct cache_store *store, struct spool *spool);

bool cache_store_embedded(const struct cache_store *store);
/* The circuit is open. Never in embedded mode. */
bool cache_store_degraded(const struct cache_store *store, struct slice key);
/* No given-up connection to that node may still bring a write. Not embedded. */
bool cache_store_quiet(const struct cache_store *store, struct slice key);
/* Wall clock shared with other daemons (Redis's), for timestamps and ages. */
int64_t cache_store_wall_ms(const struct cache_store *store);
/* The same, for a write that begins now: never less than any before, though clocks step back. Writes of one
 * key are ordered by it, and the later one must not seem the older. Any thread. */
int64_t cache_store_stamp_ms(struct cache_store *store);
struct lru *cache_store_lru(struct cache_store *store);
const struct cache_store_options *cache_store_options(const struct cache_store *store);

/* What tracking reports (control thread). `redis_key` with prefix; ptr NULL: everything. */
const char *cache_store_tracking_prefix(const struct cache_store *store);
void cache_store_invalidate(struct cache_store *store, struct slice redis_key);

/* Prefix and key, written to `out` and returned. A prefix has at most 64 bytes (config_load), a key 256. */
enum { CACHE_REDIS_KEY_MAX = 64 + sizeof ":cache:" + 256 };
struct slice cache_store_redis_key(const struct cache_store *store, struct slice key,
                                   char out[CACHE_REDIS_KEY_MAX]);

/* One loop's access. */
struct cache_port {
    struct cache_store *store;
    struct loop *loop;
    struct redis_pool *pool; /* NULL: embedded */
    struct sha256 *sha;
    struct metrics_cell *cell;
    struct cache_deletion *open; /* the store's; NULL at first */
};
/* Ends the deletions that wait for the spool, each told (SPOOL_UNAVAILABLE), for a loop that no longer turns:
 * after redis_pool_destroy, before what the writes live in. */
void cache_port_close(struct cache_port *port);

/* The order is that of the metric's label and of Cache-Status' detail. */
enum cache_source { CACHE_NEAR, CACHE_REDIS, CACHE_LOCAL, CACHE_STALE, CACHE_MISS, CACHE_SOURCE_COUNT };
extern const char *const cache_source_names[CACHE_SOURCE_COUNT];

/* --- reading --- */

enum cache_read_flags { CACHE_NO_CACHE = 1, CACHE_ONLY_IF_CACHED = 2 };

struct cache_result {
    enum status status; /* OK, NOT_FOUND, FOREIGN_VALUE, NOT_IN_TABLE */
    enum cache_source source;
    bool local;              /* Redis was not asked or did not answer; embedded too */
    bool unavailable;        /* a miss that Redis could not confirm */
    struct lru_entry *entry; /* OK: a reference, the receiver's to release */
};

/* Answers from the table alone where that is the truth. True: *out is the answer; else ask cache_read_start.
 */
bool cache_read_table(struct cache_port *port, struct slice key, unsigned flags, struct cache_result *out);

struct cache_read {
    /* set by the caller; it and the key live until done */
    struct slice key;
    int64_t deadline_us;
    void (*done)(struct cache_read *read, struct cache_result *result);
    void *arg;
    /* the store's */
    struct cache_port *port;
    struct redis_call call;
    struct redis_command commands[2];
    struct lru_token token;
    unsigned tries;
    char limit[24];
    struct slice redis_key;
    char redis_key_bytes[CACHE_REDIS_KEY_MAX];
};

/* Asks Redis. Calls done exactly once, perhaps before it returns. */
void cache_read_start(struct cache_port *port, struct cache_read *read);

/* --- writing --- */

enum cache_write_kind { CACHE_PUT, CACHE_CREATE, CACHE_DELETE };

struct cache_write {
    /* set by the caller; it, key and value live until done */
    enum cache_write_kind kind;
    struct slice key, value;
    int64_t stamp_ms, ttl_ms;
    int64_t deadline_us;
    void (*done)(struct cache_write *write);
    void *arg;
    /* valid in done */
    enum status status; /* OK, PRECONDITION_FAILED, FOREIGN_VALUE, REDIS_UNAVAILABLE, REDIS_REFUSED,
                           OUTCOME_UNKNOWN, OVERLOADED, SPOOL_UNAVAILABLE */
    bool replaced;
    bool local;
    /* the store's */
    struct cache_port *port;
    struct redis_call call;
    struct redis_command commands[2];
    struct loop_timer timer;
    struct cache_deletion *deletion; /* while its row is being committed */
    char ttl[24], limit[24];
    struct slice redis_key;
    char redis_key_bytes[CACHE_REDIS_KEY_MAX];
};

/* Calls done exactly once, perhaps before it returns. */
void cache_write_start(struct cache_port *port, struct cache_write *write);

#endif
