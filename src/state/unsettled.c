/* unsettled: a chained hash table of keys, seeded, for strangers choose the ids. A key that nobody has taken
 * is in one of two orders: `ready`, a list in the order of coming, or `waiting`, a heap by the time before
 * which it must not be taken.
 *
 *     enter (first) → READY ⇄ TAKEN → WAITING → READY        leave (last): gone, from any of them
 *                       take, return    (its time has come)
 *
 * The buckets double under the mutex and are not given back: keys stand for rows of the spool's file, whose
 * bound is theirs (256 MiB of smallest entries: under a million keys, rehashed once in some 20 ms). A
 * doubling that finds no memory is put off; chains get longer until then. */
#include "state/unsettled.h"

#include "util/hash.h"
#include "util/random.h"
#include "util/uri.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BUCKETS_MIN = 64, WAITING_MIN = 64 };

enum key_state { KEY_READY, KEY_WAITING, KEY_TAKEN };

struct key {
    struct key *chain;
    struct key *before, *behind; /* READY */
    uint64_t hash;
    uint64_t entries;
    int64_t not_before_us; /* WAITING */
    size_t place;          /* WAITING: in the heap */
    enum key_state state;
    unsigned kind;
    size_t id_len;
    char id[];
};

struct unsettled {
    struct hash_seed seed;
    _Atomic uint64_t entries; /* of all keys; changed under the lock */
    pthread_mutex_t lock;     /* what follows */
    struct key **buckets;
    size_t bucket_count; /* a power of two */
    size_t key_count;
    struct key *first, *last; /* READY */
    struct key **waiting;     /* heap: the soonest at 0 */
    size_t waiting_count, waiting_cap;
};

struct unsettled *unsettled_create(void)
{
    struct unsettled *u = calloc(1, sizeof *u);
    if (!u) return NULL;
    u->buckets = calloc(BUCKETS_MIN, sizeof(struct key *));
    if (!u->buckets) {
        free(u);
        return NULL;
    }
    u->bucket_count = BUCKETS_MIN;
    random_bytes(&u->seed, sizeof u->seed);
    pthread_mutex_init(&u->lock, NULL);
    return u;
}

void unsettled_destroy(struct unsettled **u)
{
    if (!*u) return;
    for (size_t i = 0; i < (*u)->bucket_count; i++) {
        for (struct key *key = (*u)->buckets[i], *next; key; key = next) {
            next = key->chain;
            free(key);
        }
    }
    pthread_mutex_destroy(&(*u)->lock);
    free((*u)->buckets);
    free((*u)->waiting);
    free(*u);
    *u = NULL;
}

/* --- the table --- */

static uint64_t hash_of(const struct unsettled *u, unsigned kind, struct slice id)
{
    struct hash_seed seed = {u->seed.k0 ^ kind, u->seed.k1};
    return hash_bytes(&seed, id.ptr, id.len);
}

/* The link that shows the key, or the end of its chain. */
static struct key **find(struct unsettled *u, uint64_t hash, unsigned kind, struct slice id)
{
    struct key **link = &u->buckets[hash & (u->bucket_count - 1)];
    for (; *link; link = &(*link)->chain) {
        const struct key *key = *link;
        if (key->hash == hash && key->kind == kind && slice_equal((struct slice){key->id, key->id_len}, id))
            break;
    }
    return link;
}

static void grow(struct unsettled *u)
{
    size_t count = u->bucket_count * 2;
    struct key **buckets = calloc(count, sizeof(struct key *));
    if (!buckets) return;
    for (size_t i = 0; i < u->bucket_count; i++) {
        for (struct key *key = u->buckets[i], *next; key; key = next) {
            struct key **head = &buckets[key->hash & (count - 1)];
            next = key->chain;
            key->chain = *head;
            *head = key;
        }
    }
    free(u->buckets);
    u->buckets = buckets;
    u->bucket_count = count;
}

/* --- ready: a list --- */

static void ready_append(struct unsettled *u, struct key *key)
{
    key->state = KEY_READY;
    key->before = u->last;
    key->behind = NULL;
    *(u->last ? &u->last->behind : &u->first) = key;
    u->last = key;
}

static void ready_remove(struct unsettled *u, struct key *key)
{
    *(key->before ? &key->before->behind : &u->first) = key->behind;
    *(key->behind ? &key->behind->before : &u->last) = key->before;
}

/* --- waiting: a heap --- */

static void waiting_put(struct unsettled *u, size_t place, struct key *key)
{
    u->waiting[place] = key;
    key->place = place;
}

static void waiting_rise(struct unsettled *u, size_t place, struct key *key)
{
    for (; place > 0; place = (place - 1) / 2) {
        struct key *parent = u->waiting[(place - 1) / 2];
        if (parent->not_before_us <= key->not_before_us) break;
        waiting_put(u, place, parent);
    }
    waiting_put(u, place, key);
}

static void waiting_sink(struct unsettled *u, size_t place, struct key *key)
{
    for (size_t child; (child = 2 * place + 1) < u->waiting_count; place = child) {
        if (child + 1 < u->waiting_count &&
            u->waiting[child + 1]->not_before_us < u->waiting[child]->not_before_us)
            child++;
        if (u->waiting[child]->not_before_us >= key->not_before_us) break;
        waiting_put(u, place, u->waiting[child]);
    }
    waiting_put(u, place, key);
}

/* False: no memory. */
static bool waiting_add(struct unsettled *u, struct key *key, int64_t not_before_us)
{
    if (u->waiting_count == u->waiting_cap) {
        size_t cap = u->waiting_cap ? u->waiting_cap * 2 : WAITING_MIN;
        struct key **waiting = realloc(u->waiting, cap * sizeof(struct key *));
        if (!waiting) return false;
        u->waiting = waiting;
        u->waiting_cap = cap;
    }
    key->state = KEY_WAITING;
    key->not_before_us = not_before_us;
    waiting_rise(u, u->waiting_count++, key);
    return true;
}

static void waiting_remove(struct unsettled *u, struct key *key)
{
    size_t place = key->place;
    struct key *moved = u->waiting[--u->waiting_count];
    if (moved == key) return;
    waiting_sink(u, place, moved);
    waiting_rise(u, moved->place, moved);
}

/* --- the public face --- */

bool unsettled_enter(struct unsettled *u, unsigned kind, struct slice id)
{
    assert(id.len > 0 && id.len <= ID_LEN_MAX);
    uint64_t hash = hash_of(u, kind, id);
    pthread_mutex_lock(&u->lock);
    struct key **link = find(u, hash, kind, id);
    if (!*link) {
        struct key *key = malloc(sizeof *key + id.len);
        if (!key) {
            pthread_mutex_unlock(&u->lock);
            return false;
        }
        *key = (struct key){.hash = hash, .kind = kind, .id_len = id.len};
        memcpy(key->id, id.ptr, id.len);
        *link = key;
        ready_append(u, key);
        if (++u->key_count > u->bucket_count) grow(u);
        key->entries = 1;
    } else {
        (*link)->entries++;
    }
    atomic_fetch_add(&u->entries, 1);
    pthread_mutex_unlock(&u->lock);
    return true;
}

void unsettled_leave(struct unsettled *u, unsigned kind, struct slice id)
{
    uint64_t hash = hash_of(u, kind, id);
    pthread_mutex_lock(&u->lock);
    struct key **link = find(u, hash, kind, id);
    struct key *key = *link;
    assert(key);
    if (--key->entries == 0) {
        if (key->state == KEY_READY) ready_remove(u, key);
        if (key->state == KEY_WAITING) waiting_remove(u, key);
        *link = key->chain;
        u->key_count--;
        free(key);
    }
    atomic_fetch_sub(&u->entries, 1);
    pthread_mutex_unlock(&u->lock);
}

bool unsettled_has(struct unsettled *u, unsigned kind, struct slice id)
{
    if (atomic_load(&u->entries) == 0) return false;
    uint64_t hash = hash_of(u, kind, id);
    pthread_mutex_lock(&u->lock);
    bool found = *find(u, hash, kind, id) != NULL;
    pthread_mutex_unlock(&u->lock);
    return found;
}

uint64_t unsettled_entries(struct unsettled *u)
{
    return atomic_load(&u->entries);
}

bool unsettled_take(struct unsettled *u, int64_t now_us, unsigned *out_kind, char *out_id, struct slice *out)
{
    if (atomic_load(&u->entries) == 0) return false;
    pthread_mutex_lock(&u->lock);
    while (u->waiting_count > 0 && u->waiting[0]->not_before_us <= now_us) {
        struct key *due = u->waiting[0];
        waiting_remove(u, due);
        ready_append(u, due);
    }
    struct key *key = u->first;
    if (key) {
        ready_remove(u, key);
        key->state = KEY_TAKEN;
        memcpy(out_id, key->id, key->id_len);
        *out = (struct slice){out_id, key->id_len};
        *out_kind = key->kind;
    }
    pthread_mutex_unlock(&u->lock);
    return key != NULL;
}

void unsettled_return(struct unsettled *u, unsigned kind, struct slice id, int64_t not_before_us)
{
    uint64_t hash = hash_of(u, kind, id);
    pthread_mutex_lock(&u->lock);
    struct key *key = *find(u, hash, kind, id);
    /* Without memory for the heap it does not wait: too early is harmless. */
    if (key && key->state == KEY_TAKEN && (not_before_us == 0 || !waiting_add(u, key, not_before_us)))
        ready_append(u, key);
    pthread_mutex_unlock(&u->lock);
}
