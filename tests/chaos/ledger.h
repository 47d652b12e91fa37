/* ledger: what producers and workers were told, task by task, and the judgement over it. Any thread may
 * write; ledger_judge runs when all have ended. Times are wall_ms: Redis and the daemons run on this machine.
 */
#ifndef TESTS_CHAOS_LEDGER_H
#define TESTS_CHAOS_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECEIPT_SIZE = 128 };

/* What the worker made of a delivery. */
enum deed {
    DEED_HELD,      /* nothing yet */
    DEED_ABANDONED, /* nothing, on purpose */
    DEED_NACKED,
    DEED_ACKED,     /* 204: finished */
    DEED_JOURNALED, /* 202: acknowledged without Redis; finishes it unless the lease ended and another took it
                     */
    DEED_STALE,     /* 409: the lease had ended */
    DEEDS
};

struct ledger;

struct ledger *ledger_create(unsigned tasks);
void ledger_destroy(struct ledger **l);

/* An enqueue of `task` was acknowledged with this status. */
void ledger_enqueued(struct ledger *l, unsigned task, int status);
/* An attempt to enqueue it was not acknowledged. */
void ledger_unanswered(struct ledger *l, unsigned task);
unsigned ledger_enqueued_count(struct ledger *l);

struct delivery_note {
    unsigned task, daemon, attempt;
    int64_t at_ms, lease_end_ms;
    const char *receipt;
};
/* Returns its handle for what follows. */
unsigned ledger_delivered(struct ledger *l, const struct delivery_note *note);
void ledger_extended(struct ledger *l, unsigned task, unsigned delivery, int64_t lease_end_ms);
/* `at_ms`: of DEED_NACKED when it was first sent, else when the answer was there. */
void ledger_deed(struct ledger *l, unsigned task, unsigned delivery, enum deed deed, int64_t at_ms);

struct ledger_faults {
    unsigned redis_kills, redis_stops, daemon_kills;
    unsigned deliveries_lost_max; /* between a daemon and its worker */
    double seconds;
};
/* Prints the accounting and each discrepancy; the number of these. */
unsigned ledger_judge(struct ledger *l, const struct ledger_faults *faults);

#endif
