/* app_state: see the header. */
#include "app_state.h"

#include "engine/local/db_queue.h"
#include "state/cache_journal.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPOOL_QUEUE_MAX = 65536,
    LOOK_MS = 1000,
    SWEEP_MS = 1000,
    VALUE_OVERHEAD_MAX = 4096 /* what a value has beside a request's body */
};

/* A relative path is below the service manager's directory where there is one: $STATE_DIRECTORY may list
 * several, separated by colons, of which the first is ours. */
static bool spool_path(const struct config *c, char out[APP_STATE_PATH_MAX])
{
    const char *dir = getenv("STATE_DIRECTORY");
    int len = c->spool_path[0] == '/' || !dir || !*dir
                  ? snprintf(out, APP_STATE_PATH_MAX, "%s", c->spool_path)
                  : snprintf(out, APP_STATE_PATH_MAX, "%.*s/%s", (int)strcspn(dir, ":"), dir, c->spool_path);
    return len > 0 && len < APP_STATE_PATH_MAX;
}

static const char PATH_FAULT[] = "spool.path: is empty or too long; give the name of a file";

bool app_state_check(const struct config *c, char *error, size_t size)
{
    char path[APP_STATE_PATH_MAX];
    struct db_options options = {.path = path};
    if (spool_path(c, path)) return db_check_place(&options, error, size);
    (void)snprintf(error, size, "%s", PATH_FAULT);
    return false;
}

/* The journal holds what both have still to learn. */
static void write_identity(const struct config *c, const struct house_shared *shared,
                           char out[APP_STATE_IDENTITY_MAX])
{
    const struct redis_topology *cache = shared->cache_redis, *state = shared->state_redis;
    if (!state)
        (void)snprintf(out, APP_STATE_IDENTITY_MAX, "embedded");
    else
        (void)snprintf(out, APP_STATE_IDENTITY_MAX, "redis %s db %d%s%s prefix %s",
                       redis_topology_name(state), redis_topology_options(state)->url->db,
                       cache == state ? "" : " cache ", cache == state ? "" : redis_topology_name(cache),
                       c->redis_prefix);
}

static bool open_spool(struct app_state *s, const struct config *c, char *error, size_t size)
{
    struct house_shared *shared = s->shared;
    if (!spool_path(c, s->path)) {
        (void)snprintf(error, size, "%s", PATH_FAULT);
        return false;
    }
    write_identity(c, shared, s->identity);
    struct spool_options options = {
        .db = {.path = s->path, .identity = s->identity, .bytes_max = c->spool_bytes_max},
        .queue_max = SPOOL_QUEUE_MAX,
        .sweep_every_ms = shared->state_redis ? 0 : SWEEP_MS, /* records are embedded mode's */
        .clock = shared->clock,
        .log = shared->log,
        .metrics = shared->metrics,
        .cell = metrics_cell(shared->metrics)};
    shared->spool = spool_create(&options, error, size);
    return shared->spool != NULL;
}

/* --- the journal, before the first request --- */

struct load {
    struct spool_op op; /* its result is posted to a loop that does not turn yet: it outlives the load */
    struct house_shared *shared;
    sem_t ran;
    enum db_result result;
    bool memory;
};

static void on_entry(void *arg, const struct db_entry *entry)
{
    struct load *load = arg;
    if (entry->kind == JOURNAL_CACHE)
        cache_journal_restore(load->shared->cache, entry->id, entry->stamp_ms);
    else if (!unsettled_enter(load->shared->unsettled, entry->kind, entry->id))
        load->memory = false;
}

static enum db_result run_load(struct db *db, void *arg)
{
    struct load *load = arg;
    load->result = db_journal_each(db, false, 0, on_entry, load);
    (void)sem_post(&load->ran);
    return DB_OK;
}

static void on_loaded(struct spool_op *op)
{
    struct load *load = op->arg;
    (void)sem_destroy(&load->ran);
    free(load);
}

static bool load_journal(struct house_shared *shared, struct loop *control, char *error, size_t size)
{
    struct load *load = calloc(1, sizeof *load);
    (void)snprintf(error, size, "out of memory");
    if (!load) return false;
    load->op =
        (struct spool_op){.reads = true, .run = run_load, .done = on_loaded, .arg = load, .loop = control};
    load->shared = shared;
    load->memory = true;
    if (sem_init(&load->ran, 0, 0) != 0 || !spool_submit(shared->spool, &load->op)) {
        free(load);
        return false;
    }
    while (sem_wait(&load->ran) != 0 && errno == EINTR) {
    }
    if (!load->memory) return false;
    if (load->result == DB_OK || load->result == DB_ABSENT) return true;
    (void)snprintf(error, size, "the spool's journal cannot be read");
    return false;
}

/* --- figures --- */

static void on_aside(void *arg, const struct db_entry *entry)
{
    struct app_state *s = arg;
    struct house_aside *a = &s->aside[s->aside_count++];
    *a = (struct house_aside){.kind = entry->kind, .stamp_ms = entry->stamp_ms};
    (void)snprintf(a->id, sizeof a->id, "%.*s", (int)entry->id.len, entry->id.ptr);
    (void)snprintf(a->reason, sizeof a->reason, "%.*s", (int)entry->body.len, entry->body.ptr);
}

static void on_note(void *arg, const struct db_queue_note *note)
{
    int64_t *oldest_ms = &((struct app_state *)arg)->seen.oldest_stamp_ms;
    if (!*oldest_ms || note->stamp_ms < *oldest_ms) *oldest_ms = note->stamp_ms;
}

static enum db_result run_look(struct db *db, void *arg)
{
    struct app_state *s = arg;
    s->seen = (struct db_journal_stats){0};
    s->aside_count = 0;
    enum db_result result = db_journal_stats(db, &s->seen);
    if (result == DB_OK) result = db_queue_notes(db, 1, on_note, s);
    if (result != DB_OK || !s->seen.set_aside) return result;
    return db_journal_each(db, true, HOUSE_ASIDE_MAX, on_aside, s);
}

static void on_look(void *arg)
{
    struct app_state *s = arg;
    if (!spool_submit(s->shared->spool, &s->look))
        loop_timer_start(s->loop, &s->timer, loop_now_us(s->loop) + LOOK_MS * INT64_C(1000), on_look, s);
}

static void on_looked(struct spool_op *op)
{
    struct app_state *s = op->arg;
    if (op->committed) {
        atomic_store(&s->shared->journal.set_aside, s->seen.set_aside);
        atomic_store(&s->shared->journal.oldest_ms, s->seen.oldest_stamp_ms);
        pthread_mutex_lock(&s->shared->journal.aside_lock);
        memcpy(s->shared->journal.aside, s->aside, s->aside_count * sizeof *s->aside);
        s->shared->journal.aside_count = s->aside_count;
        pthread_mutex_unlock(&s->shared->journal.aside_lock);
    }
    loop_timer_start(s->loop, &s->timer, loop_now_us(s->loop) + LOOK_MS * INT64_C(1000), on_look, s);
}

/* --- the whole --- */

static bool open_records(struct app_state *s, const struct config *c)
{
    struct house_shared *shared = s->shared;
    s->session = (struct session_options){.ttl_s = c->session_ttl};
    s->health = (struct health_options){c->health_failure_threshold, c->health_open_base_ms,
                                        c->health_open_max_ms, c->health_probes, c->health_probe_ttl_ms};
    struct record_store_options options = {.redis = shared->state_redis,
                                           .spool = shared->spool,
                                           .lru = shared->lru,
                                           .unsettled = shared->unsettled,
                                           .prefix = c->redis_prefix,
                                           .clock = shared->clock,
                                           .value_max = (size_t)c->http_body_max + VALUE_OVERHEAD_MAX,
                                           .tombstone_ms = c->spool_age_max * 1000,
                                           .log = shared->log};
    session_rules(&s->session, &options.rules[JOURNAL_SESSION]);
    health_rules(&s->health, &options.rules[JOURNAL_HEALTH]);
    shared->records = record_store_create(&options);
    return shared->records != NULL;
}

bool app_state_open(struct app_state *s, struct house_shared *shared, const struct config *c,
                    struct loop *control, char *error, size_t size)
{
    s->shared = shared;
    s->loop = control;
    s->look = (struct spool_op){.reads = true, .run = run_look, .done = on_looked, .arg = s, .loop = control};
    if (!open_spool(s, c, error, size)) return false;
    if (shared->cache_redis) cache_store_set_spool(shared->cache, shared->spool);
    (void)snprintf(error, size, "out of memory");
    if (!(shared->unsettled = unsettled_create())) return false;
    if (!load_journal(shared, control, error, size)) return false;
    (void)snprintf(error, size, "out of memory");
    if (!open_records(s, c)) return false;
    on_look(s);
    return true;
}

void app_state_close_spool(struct app_state *s)
{
    if (!s->shared) return;
    loop_timer_stop(&s->timer);
    spool_destroy(&s->shared->spool);
}

void app_state_close(struct app_state *s)
{
    if (!s->shared) return;
    record_store_destroy(&s->shared->records);
    unsettled_destroy(&s->shared->unsettled);
}
