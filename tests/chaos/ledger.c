/* ledger: an array of tasks under one mutex, each with its deliveries as the workers saw them. Redelivery is
 * judged at the end, in the order of attempts: two workers on two daemons do not write in that order. */
#include "ledger.h"
#include "../support/support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_SLACK_MS = 5, SHOWN_MAX = 20 };

/* Why a task was given again. */
enum cause {
    CAUSE_ABANDONED,
    CAUSE_NACKED,
    CAUSE_LATE,      /* the lease ended before the worker's ack came through */
    CAUSE_JOURNALED, /* acked without Redis, but the lease ended before that could be handed back */
    CAUSE_UNSEEN,    /* the delivery before it was lost on its way to a worker */
    CAUSES
};

static const char *const cause_names[CAUSES] = {
    [CAUSE_ABANDONED] = "abandoned",           [CAUSE_NACKED] = "nacked",
    [CAUSE_LATE] = "lease ended before ack",   [CAUSE_JOURNALED] = "lease ended before hand-back of ack",
    [CAUSE_UNSEEN] = "delivery never arrived",
};

static const char *const deed_names[DEEDS] = {
    [DEED_HELD] = "held",   [DEED_ABANDONED] = "abandoned", [DEED_NACKED] = "nacked",
    [DEED_ACKED] = "acked", [DEED_JOURNALED] = "journaled", [DEED_STALE] = "stale",
};

struct delivery {
    unsigned daemon, attempt;
    int64_t at_ms, lease_end_ms, deed_ms;
    enum deed deed;
    char receipt[RECEIPT_SIZE];
};

struct entry {
    struct delivery *deliveries;
    unsigned count;
    unsigned unanswered; /* enqueues */
    int status;          /* of the acknowledged enqueue; 0: none */
};

struct ledger {
    pthread_mutex_t lock;
    int64_t from_ms;
    unsigned tasks, enqueued;
    struct entry *entries;
    /* the judgement's */
    unsigned discrepancies;
    unsigned delivered_by_file, delivered, causes[CAUSES], deeds[DEEDS], finished_by_204, finished_by_202,
        by_status[3];
};

struct ledger *ledger_create(unsigned tasks)
{
    struct ledger *l = must_alloc(sizeof *l);
    l->entries = must_alloc(tasks * sizeof *l->entries);
    l->tasks = tasks;
    l->from_ms = wall_ms();
    ck_assert(pthread_mutex_init(&l->lock, NULL) == 0);
    return l;
}

void ledger_destroy(struct ledger **l)
{
    if (*l == NULL) return;
    for (unsigned i = 0; i < (*l)->tasks; i++)
        free((*l)->entries[i].deliveries);
    free((*l)->entries);
    (void)pthread_mutex_destroy(&(*l)->lock);
    free(*l);
    *l = NULL;
}

static struct entry *open_entry(struct ledger *l, unsigned task)
{
    (void)pthread_mutex_lock(&l->lock);
    return &l->entries[task];
}

static void close_entry(struct ledger *l)
{
    (void)pthread_mutex_unlock(&l->lock);
}

void ledger_enqueued(struct ledger *l, unsigned task, int status)
{
    open_entry(l, task)->status = status;
    l->enqueued++;
    close_entry(l);
}

void ledger_unanswered(struct ledger *l, unsigned task)
{
    struct entry *e = open_entry(l, task);
    e->unanswered++;
    close_entry(l);
}

unsigned ledger_enqueued_count(struct ledger *l)
{
    (void)pthread_mutex_lock(&l->lock);
    unsigned n = l->enqueued;
    (void)pthread_mutex_unlock(&l->lock);
    return n;
}

unsigned ledger_delivered(struct ledger *l, const struct delivery_note *note)
{
    struct entry *e = open_entry(l, note->task);
    unsigned n = e->count++;
    e->deliveries = must_realloc(e->deliveries, e->count * sizeof *e->deliveries);
    e->deliveries[n] = (struct delivery){.daemon = note->daemon,
                                         .attempt = note->attempt,
                                         .at_ms = note->at_ms,
                                         .lease_end_ms = note->lease_end_ms};
    FORMAT(e->deliveries[n].receipt, "%s", note->receipt);
    close_entry(l);
    return n;
}

void ledger_extended(struct ledger *l, unsigned task, unsigned delivery, int64_t lease_end_ms)
{
    open_entry(l, task)->deliveries[delivery].lease_end_ms = lease_end_ms;
    close_entry(l);
}

void ledger_deed(struct ledger *l, unsigned task, unsigned delivery, enum deed deed, int64_t at_ms)
{
    struct delivery *d = &open_entry(l, task)->deliveries[delivery];
    d->deed = deed;
    d->deed_ms = at_ms;
    close_entry(l);
}

/* --- the judgement --- */

static void discrepancy(struct ledger *l, unsigned task, const char *what)
{
    const struct entry *e = &l->entries[task];
    if (l->discrepancies++ >= SHOWN_MAX) return;
    printf("DISCREPANCY task %u: %s (enqueue %d, %u unanswered)\n", task, what, e->status, e->unanswered);
    for (unsigned i = 0; i < e->count; i++) {
        const struct delivery *d = &e->deliveries[i];
        printf("  attempt %u by daemon %u at %lld, lease to %lld, %s at %lld, receipt %s\n", d->attempt,
               d->daemon, (long long)(d->at_ms - l->from_ms), (long long)(d->lease_end_ms - l->from_ms),
               deed_names[d->deed], (long long)(d->deed_ms - l->from_ms), d->receipt);
    }
}

static int by_attempt(const void *a, const void *b)
{
    const struct delivery *x = a, *y = b;
    if (x->attempt != y->attempt) return x->attempt < y->attempt ? -1 : 1;
    return (x->at_ms > y->at_ms) - (x->at_ms < y->at_ms);
}

static const enum cause cause_of[DEEDS] = {[DEED_HELD] = CAUSE_LATE,
                                           [DEED_STALE] = CAUSE_LATE,
                                           [DEED_ABANDONED] = CAUSE_ABANDONED,
                                           [DEED_JOURNALED] = CAUSE_JOURNALED,
                                           [DEED_NACKED] = CAUSE_NACKED};

static void judge_redelivery(struct ledger *l, unsigned task, const struct delivery *prev,
                             const struct delivery *d)
{
    if (d->attempt == prev->attempt) {
        discrepancy(l, task, "the same attempt twice");
    } else if (prev->deed == DEED_ACKED) {
        discrepancy(l, task, "given again after its ack");
    } else if (d->attempt > prev->attempt + 1) {
        l->causes[CAUSE_UNSEEN] += d->attempt - prev->attempt - 1;
        l->causes[cause_of[prev->deed]]++;
    } else {
        int64_t free_ms = prev->deed == DEED_NACKED ? prev->deed_ms : prev->lease_end_ms;
        if (d->at_ms < free_ms - CLOCK_SLACK_MS) discrepancy(l, task, "given to two at once");
        l->causes[cause_of[prev->deed]]++;
    }
}

static void judge_acks(struct ledger *l, unsigned task)
{
    const struct entry *e = &l->entries[task];
    unsigned counts[DEEDS] = {0};
    for (unsigned i = 0; i < e->count; i++)
        counts[e->deliveries[i].deed]++;
    for (int i = 0; i < DEEDS; i++)
        l->deeds[i] += counts[i];
    if (counts[DEED_ACKED] > 1) discrepancy(l, task, "acked more than once");
    if (counts[DEED_ACKED] + counts[DEED_JOURNALED] == 0) discrepancy(l, task, "never acked");
    l->finished_by_204 += counts[DEED_ACKED] > 0;
    l->finished_by_202 += counts[DEED_ACKED] == 0 && counts[DEED_JOURNALED] > 0;
}

static void judge_task(struct ledger *l, unsigned task)
{
    struct entry *e = &l->entries[task];
    if (e->status == 0)
        discrepancy(l, task, "its enqueue was never acknowledged");
    else
        l->by_status[e->status - 200]++;
    if (e->count == 0) {
        discrepancy(l, task, "never given to a worker that told of it");
        return;
    }
    qsort(e->deliveries, e->count, sizeof *e->deliveries, by_attempt);
    l->causes[CAUSE_UNSEEN] += e->deliveries[0].attempt - 1;
    for (unsigned i = 0; i < e->count; i++) {
        const struct delivery *d = &e->deliveries[i];
        l->delivered_by_file += d->receipt[0] == 'l';
        if (i > 0) judge_redelivery(l, task, d - 1, d);
        if (d->deed == DEED_STALE && d->deed_ms < d->lease_end_ms - CLOCK_SLACK_MS)
            discrepancy(l, task, "refused as stale while its lease ran");
    }
    l->delivered += e->count;
    judge_acks(l, task);
}

static void print_accounting(const struct ledger *l, const struct ledger_faults *f)
{
    unsigned redelivered = 0;
    for (int i = 0; i < CAUSES; i++)
        redelivered += l->causes[i];
    printf("enqueued      %u (201: %u, 202: %u, 200 on repeating: %u)\n", l->enqueued, l->by_status[1],
           l->by_status[2], l->by_status[0]);
    printf("delivered     %u (without Redis: %u)\n", l->delivered, l->delivered_by_file);
    printf("redelivered   %u\n", redelivered);
    for (int i = 0; i < CAUSES; i++)
        printf("  %-36s %u\n", cause_names[i], l->causes[i]);
    printf("acked         %u (by 204: %u, by 202 alone: %u; of %u journaled acks)\n",
           l->finished_by_204 + l->finished_by_202, l->finished_by_204, l->finished_by_202,
           l->deeds[DEED_JOURNALED]);
    printf("stale         %u\n", l->deeds[DEED_STALE]);
    printf("kills         redis-server %u (and stopped for a while %u), daemon %u\n", f->redis_kills,
           f->redis_stops, f->daemon_kills);
    printf("seconds       %.1f\n", f->seconds);
    printf("discrepancies %u\n", l->discrepancies);
}

static void expect_at_most(struct ledger *l, const char *what, unsigned count, unsigned most)
{
    if (count <= most) return;
    l->discrepancies++;
    printf("DISCREPANCY %s: %u, more than the %u that the kills explain\n", what, count, most);
}

unsigned ledger_judge(struct ledger *l, const struct ledger_faults *faults)
{
    for (unsigned i = 0; i < l->tasks; i++)
        judge_task(l, i);
    expect_at_most(l, "deliveries never arrived", l->causes[CAUSE_UNSEEN], faults->deliveries_lost_max);
    print_accounting(l, faults);
    (void)fflush(stdout);
    return l->discrepancies;
}
