/* What the hand-back's pace (record_replay.c) and one entry's way (record_replay_entry.c) share. */
#ifndef PHOENIX_STATE_RECORD_REPLAY_PRIVATE_H
#define PHOENIX_STATE_RECORD_REPLAY_PRIVATE_H

#include "state/record_replay.h"

enum {
    HANDBACK_SLOTS = 16,
    HANDBACK_BACKOFFS = 4096, /* keys by hash: two that share one only wait longer */
    HANDBACK_BACKOFF_MIN_MS = 100,
    HANDBACK_BACKOFF_MAX_MS = 30000,
    HANDBACK_TOMBSTONE_MAX = UUID_SIZE + 24
};

/* One key in hand, and its oldest entry. */
struct handback_slot {
    struct record_replay *replay;
    bool busy;
    unsigned kind;
    struct slice id;
    char id_bytes[ID_LEN_MAX];
    /* After a failed fsync: entries up to this one are done, though the file still lists them, and so many
     * have not left the unsettled set. */
    int64_t done_seq;
    unsigned owed;

    /* Of the spool's thread while `op` is under way, else of the loop's. */
    struct spool_op op;
    enum db_result result;
    bool changed;     /* touches were merged into the entry while it was in hand */
    struct buf bytes; /* change id, body, copy */
    struct db_entry entry;
    struct trace trace; /* of the request that made it */
    const char *reason; /* why it is set aside; NULL: it is removed */

    struct redis_call call;
    struct redis_command command;
    struct slice key, gone_key;
    char key_bytes[RECORD_KEY_MAX], gone_key_bytes[RECORD_GONE_KEY_MAX];
    char number[24], tombstone_ms[24], tombstone[HANDBACK_TOMBSTONE_MAX];
    struct buf current; /* Redis's value as it was read; empty: there is none */
    struct record_result decided;
    /* What Redis holds as far as is known here, for the table; ptr NULL: nothing. */
    bool looked;
    struct lru_token token;
    struct record_version version;
    enum handback outcome;
    bool conflict;
    const char *verdict; /* for the log line of a conflict */
    unsigned races;
    struct loop_timer timer;
};

struct record_replay {
    struct record_replay_options options;
    const struct record_store_options *store;
    struct loop_timer timer;
    struct handback_slot slots[HANDBACK_SLOTS];
    unsigned busy;
    int64_t spent_until_us;
    unsigned looks; /* at keys that cannot go, in this tick */
    bool active;
    uint64_t outcomes[HANDBACK_COUNT], conflicts; /* of the backlog at hand */
    uint8_t refusals[HANDBACK_BACKOFFS];
    bool stopped;
    /* Keys whose entries are all done, though the file still lists them (a failed fsync). */
    struct unsettled *ghosts;
};

/* Fetches the key's oldest entry and sees it through. */
void handback_fetch(struct handback_slot *s);

/* The key goes back to the set, not before so much later; the slot is free again. */
void handback_put_back(struct handback_slot *s, int64_t delay_ms);
/* The same for one that Redis refuses: the delay doubles, by key. */
void handback_refused(struct handback_slot *s, const char *error);
/* One entry's end: counted and logged. */
void handback_count(struct handback_slot *s);

#endif
