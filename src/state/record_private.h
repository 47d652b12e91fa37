/* What the ways of a record's change share (record.c has the drawing).
 *
 * A work is one op on its way. It belongs to the op's loop; while `posted` the spool's thread owns the fields
 * below "judged" and "spool", the loop the rest. An op that was answered leaves its work behind where the
 * spool still has it. */
#ifndef PHOENIX_STATE_RECORD_PRIVATE_H
#define PHOENIX_STATE_RECORD_PRIVATE_H

#include "state/record.h"

enum { RECORD_TABLE_KEY_MAX = 1 + ID_LEN_MAX, RECORD_GONE_TEXT_MAX = UUID_SIZE + 24, RECORD_RACES_MAX = 16 };

struct record_work {
    struct record_store *store;
    struct record_port *port; /* while op is not NULL */
    struct record_op *op;     /* NULL: answered */
    struct record_work *next, **prev;
    unsigned kind;
    struct record_change change; /* shows what the op shows, from record_own on what `owned` holds */
    char *owned;
    /* One change of a key at a time, for each loop: the others wait, rather than lose races. */
    bool holding, waiting;
    int64_t started_us;
    struct loop_timer timer;

    /* What Redis said last, or the table's copy; of the loop. */
    struct lru_entry *base; /* holds base_version's value; NULL: absent or not known */
    struct record_version base_version;
    char gone[RECORD_GONE_TEXT_MAX]; /* the tombstone as it was read; "": none */

    /* judged */
    struct record_version version; /* what the verdict is about */
    enum record_verdict verdict;
    struct record_result result;
    int64_t order; /* of the result among this daemon's writes, for the table */

    /* redis */
    unsigned reads; /* tries of the reading at hand */
    unsigned races; /* lost */
    struct lru_token token;
    struct redis_call call;
    struct redis_command command;
    struct slice key, gone_key;
    char key_bytes[RECORD_KEY_MAX], gone_key_bytes[RECORD_GONE_KEY_MAX];
    char value_max[24], ttl_ms[24], tombstone_ms[24], tombstone[RECORD_GONE_TEXT_MAX];

    /* spool */
    struct spool_op spool_op;
    bool posted, entered;
    bool behind;   /* the key has unsettled entries */
    bool in_doubt; /* the result may be in Redis: journaled as it is */
    bool as_read;  /* an optional change is not made */
    bool appended, merged;
    int64_t merge_seq;
    bool nothing; /* it had none any more */
    struct buf current;
};

const struct record_rules *record_rules_of(const struct record_work *w);
/* The node that serves the record: its circuit is open; it is quiet. */
bool record_degraded(const struct record_store *store, unsigned kind, struct slice id);
bool record_quiet(const struct record_store *store, unsigned kind, struct slice id);
int64_t record_wall_ms(const struct record_store *store);
int64_t record_next_order(struct record_store *store);
/* Where a record's copy stands in the table: no id of the cache begins so. */
struct slice record_table_key(unsigned kind, struct slice id, char out[RECORD_TABLE_KEY_MAX]);

static inline bool record_is(const struct record_work *w, unsigned trait)
{
    return (w->change.traits & trait) != 0;
}
/* Preconditions that are the store's to judge. */
bool record_guarded(const struct record_work *w);

/* What may be read member by member. */
bool record_is_object(struct slice value);
/* Applies the change to w->version: verdict and result. Any thread. */
void record_judge(struct record_work *w);
/* The result goes into the table as this daemon's newest. */
void record_keep_copy(struct record_work *w);

/* --- ends: the op is told, and the work goes unless the spool has it --- */

/* By the verdict. */
void record_answer(struct record_work *w, bool local);
/* With base_version, whatever the verdict: an optional change that is skipped. */
void record_answer_as_read(struct record_work *w, bool local);
void record_fail(struct record_work *w, enum status status, const char *detail);
/* Lets the next change of the key begin, where this one held it up. */
void record_pass_turn(struct record_work *w);
/* After the op was answered. */
void record_work_free(struct record_work *w);

/* --- ways --- */

void record_redis_start(struct record_work *w);
/* By the journal, or the table's copy. */
void record_local_start(struct record_work *w);
/* The result may have reached Redis and could not be settled: journaled as it is. */
void record_local_in_doubt(struct record_work *w);
void record_embedded_start(struct record_work *w);

void record_lists_close(struct record_port *port);

#endif
