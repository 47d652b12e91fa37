/* queue_model: see the header. Nothing here is shared with what it is compared with. */
#include "queue_model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_init(struct model *m)
{
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        snprintf(m->tasks[i].id, sizeof m->tasks[i].id, "t%u", i);
}

unsigned model_task_of(const char *id)
{
    return (unsigned)strtoul(id + 1, NULL, 10);
}

int64_t model_now(const struct model *m)
{
    return m->now_us / 1000;
}

static void set_text(char out[MODEL_TEXT], const char *text)
{
    snprintf(out, MODEL_TEXT, "%s", text);
}

enum queue_state model_add(struct model *m, unsigned task, const struct queue_task *as)
{
    struct model_task *t = &m->tasks[task];
    m->arrivals++;
    if (t->alive) return t->state;
    if (t->remembered && t->done_ends > model_now(m)) return t->how;
    t->alive = true;
    t->state = as->delay_ms > 0 ? QUEUE_DELAYED : QUEUE_READY;
    t->failures = 0;
    t->max = as->max_attempts;
    t->priority = as->priority;
    t->arrival = m->arrivals;
    t->added = model_now(m);
    t->ttl = as->ttl_ms;
    t->ends = t->added + as->ttl_ms;
    t->at = as->delay_ms > 0 ? model_now(m) + as->delay_ms : 0;
    t->rank = m->now_us + as->delay_ms * 1000 - as->priority * m->aging_us;
    snprintf(t->agent, sizeof t->agent, "%.*s", (int)as->agent.len, as->agent.ptr ? as->agent.ptr : "");
    t->receipt[0] = 0;
    t->events = 0;
    return QUEUE_BAD;
}

/* --- order --- */

static const struct model *sorting;

static int by_rank(const void *a, const void *b)
{
    const struct model_task *x = &sorting->tasks[*(const unsigned *)a],
                            *y = &sorting->tasks[*(const unsigned *)b];
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->arrival < y->arrival ? -1 : 1;
}

static int by_time(const void *a, const void *b)
{
    const struct model_task *x = &sorting->tasks[*(const unsigned *)a],
                            *y = &sorting->tasks[*(const unsigned *)b];
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return strcmp(x->id, y->id);
}

size_t model_list(const struct model *m, enum queue_state state, unsigned *out)
{
    size_t n = 0;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        if (m->tasks[i].alive && m->tasks[i].state == state) out[n++] = i;
    sorting = m;
    qsort(out, n, sizeof *out, state == QUEUE_READY ? by_rank : by_time);
    return n;
}

size_t model_next(struct model *m, const char *const *agents, size_t count, unsigned *out,
                  int64_t *out_passed)
{
    unsigned ready[MODEL_TASKS] = {0}, wanted[MODEL_TASKS * 4];
    size_t n = model_list(m, QUEUE_READY, ready), left = 0, taken = 0, looked = 0;
    *out_passed = 0;
    for (size_t i = 0; i < n && !agents[0]; i++)
        wanted[left++] = ready[i];
    for (; *agents; agents++) {
        size_t of_agent = 0;
        for (size_t i = 0; i < n && of_agent < 2 * count; i++)
            if (strcmp(m->tasks[ready[i]].agent, *agents) == 0) {
                wanted[left++] = ready[i];
                of_agent++;
            }
    }
    sorting = m;
    qsort(wanted, left, sizeof *wanted, by_rank);
    /* Those past their time to live are passed over, but only so many. */
    while (taken < count && looked < 2 * count && looked < left) {
        for (size_t missing = count - taken; missing > 0 && looked < left; missing--) {
            unsigned task = wanted[looked++];
            if (m->tasks[task].ends <= model_now(m))
                ++*out_passed;
            else
                out[taken++] = task;
        }
    }
    return taken;
}

/* --- leases --- */

void model_lease(struct model *m, unsigned task, const char *receipt, int64_t lease_ms, bool automatic)
{
    struct model_task *t = &m->tasks[task];
    assert(t->alive && t->state == QUEUE_READY);
    t->state = QUEUE_LEASED;
    t->at = model_now(m) + lease_ms;
    t->automatic = automatic;
    set_text(t->receipt, receipt);
}

static void finish(struct model *m, struct model_task *t, enum queue_state how, const char *receipt)
{
    t->alive = false;
    t->remembered = true;
    t->how = how;
    t->done_ends = model_now(m) + m->dedupe_ms;
    set_text(t->done_receipt, receipt);
}

static void note(struct model_task *t, char kind, const char *receipt)
{
    memmove(t->history[1], t->history[0], sizeof t->history - sizeof t->history[0]);
    (void)snprintf(t->history[0], MODEL_TEXT, "%c%s", kind, receipt);
    if (t->events < MODEL_HISTORY) t->events++;
}

static bool noted(const struct model_task *t, char kind, const char *receipt)
{
    for (unsigned i = 0; i < t->events; i++)
        if (t->history[i][0] == kind && strcmp(t->history[i] + 1, receipt) == 0) return true;
    return false;
}

static void give_back(struct model *m, struct model_task *t, int64_t delay_ms)
{
    t->receipt[0] = 0;
    t->failures++;
    if (t->failures >= t->max) {
        t->state = QUEUE_DEAD;
        t->at = model_now(m) + t->ttl;
    } else if (delay_ms == 0) {
        t->state = QUEUE_READY;
        t->at = 0;
    } else {
        t->state = QUEUE_DELAYED;
        t->at = delay_ms < 0 ? 0 : model_now(m) + delay_ms;
    }
}

static bool remembered(const struct model *m, const struct model_task *t)
{
    return t->remembered && t->done_ends > model_now(m);
}

/* Whose lease it is: OK the receipt's. */
static enum status holder(const struct model *m, const struct model_task *t, const char *receipt)
{
    if (!t->alive) return remembered(m, t) ? STATUS_STALE_RECEIPT : STATUS_NOT_FOUND;
    return t->state == QUEUE_LEASED && strcmp(t->receipt, receipt) == 0 ? STATUS_OK : STATUS_STALE_RECEIPT;
}

enum status model_ack(struct model *m, unsigned task, const char *receipt)
{
    struct model_task *t = &m->tasks[task];
    enum status status = holder(m, t, receipt);
    if (status == STATUS_OK)
        finish(m, t, QUEUE_ACKED, receipt);
    else if (!t->alive && remembered(m, t) && t->how == QUEUE_ACKED && strcmp(t->done_receipt, receipt) == 0)
        return STATUS_OK;
    return status;
}

enum status model_settle(struct model *m, unsigned task, const char *receipt)
{
    struct model_task *t = &m->tasks[task];
    if (t->alive && t->state != QUEUE_LEASED) {
        if (receipt[0] && !noted(t, 'e', receipt)) return STATUS_STALE_RECEIPT;
        finish(m, t, QUEUE_ACKED, receipt);
        return STATUS_OK;
    }
    if (t->alive || receipt[0]) return model_ack(m, task, receipt);
    if (remembered(m, t)) return t->how == QUEUE_ACKED ? STATUS_OK : STATUS_STALE_RECEIPT;
    finish(m, t, QUEUE_ACKED, "");
    return STATUS_OK;
}

enum status model_nack(struct model *m, unsigned task, const char *receipt, int64_t delay_ms)
{
    struct model_task *t = &m->tasks[task];
    enum status status = holder(m, t, receipt);
    if (status == STATUS_OK) {
        note(t, 'n', receipt);
        give_back(m, t, delay_ms);
    } else if (t->alive && noted(t, 'n', receipt)) {
        return STATUS_OK;
    }
    return status;
}

enum status model_extend(struct model *m, unsigned task, const char *receipt, int64_t lease_ms)
{
    struct model_task *t = &m->tasks[task];
    enum status status = holder(m, t, receipt);
    if (status == STATUS_OK) t->at = model_now(m) + lease_ms;
    return status;
}

static bool of_op(const struct model_task *t, const char *op)
{
    return t->alive && t->state == QUEUE_LEASED && strncmp(t->receipt + 2, op, QUEUE_OP_SIZE - 1) == 0;
}

void model_return(struct model *m, const char *op)
{
    for (unsigned i = 0; i < MODEL_TASKS; i++) {
        struct model_task *t = &m->tasks[i];
        if (!of_op(t, op)) continue;
        t->state = QUEUE_READY;
        t->at = 0;
        t->receipt[0] = 0;
    }
    size_t i = 0;
    while (i < m->returned_count && strcmp(m->returned[i].op, op) != 0)
        i++;
    assert(i < MODEL_RETURNED_MAX);
    if (i == m->returned_count) m->returned_count++;
    snprintf(m->returned[i].op, sizeof m->returned[i].op, "%s", op);
    m->returned[i].at = model_now(m);
}

bool model_is_returned(const struct model *m, const char *op)
{
    for (size_t i = 0; i < m->returned_count; i++)
        if (strcmp(m->returned[i].op, op) == 0) return true;
    return false;
}

/* --- ends --- */

enum status model_cancel(struct model *m, unsigned task)
{
    struct model_task *t = &m->tasks[task];
    if (!t->alive) return remembered(m, t) && t->how == QUEUE_CANCELLED ? STATUS_OK : STATUS_NOT_FOUND;
    finish(m, t, QUEUE_CANCELLED, "");
    return STATUS_OK;
}

enum status model_requeue(struct model *m, unsigned task)
{
    struct model_task *t = &m->tasks[task];
    if (!t->alive) return STATUS_NOT_FOUND;
    if (t->state != QUEUE_DEAD) return STATUS_INVALID_TRANSITION;
    t->state = QUEUE_READY;
    t->at = 0;
    note(t, 'q', "");
    t->failures = 0;
    t->added = model_now(m);
    t->ends = t->added + t->ttl;
    t->rank = m->now_us - t->priority * m->aging_us;
    t->arrival = ++m->arrivals;
    return STATUS_OK;
}

int64_t model_purge(struct model *m)
{
    int64_t n = 0;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        if (m->tasks[i].alive && m->tasks[i].state == QUEUE_DEAD) {
            finish(m, &m->tasks[i], QUEUE_PURGED, "");
            n++;
        }
    return n;
}

static void tick_leases(struct model *m, struct queue_ticked *out)
{
    for (unsigned i = 0; i < MODEL_TASKS; i++) {
        struct model_task *t = &m->tasks[i];
        if (!t->alive || t->state != QUEUE_LEASED || t->at > model_now(m)) continue;
        out->ended++;
        if (t->automatic) {
            out->finished++;
            finish(m, t, QUEUE_ACKED, t->receipt);
        } else {
            note(t, 'e', t->receipt);
            give_back(m, t, -1);
            out->died += t->state == QUEUE_DEAD;
        }
    }
}

void model_tick(struct model *m, struct queue_ticked *out)
{
    int64_t now = model_now(m);
    size_t kept = 0;
    *out = (struct queue_ticked){0};
    tick_leases(m, out);
    for (unsigned i = 0; i < MODEL_TASKS; i++) {
        struct model_task *t = &m->tasks[i];
        bool waits = t->alive && (t->state == QUEUE_READY || t->state == QUEUE_DELAYED);
        if (waits && t->ends <= now) {
            t->alive = false;
            out->expired++;
        } else if (waits && t->state == QUEUE_DELAYED && t->at != 0 && t->at <= now) {
            t->state = QUEUE_READY;
            t->at = 0;
            out->promoted++;
        } else if (t->alive && t->state == QUEUE_DEAD && t->at <= now) {
            t->alive = false;
            out->dead_forgotten++;
        }
        if (t->remembered && t->done_ends <= now) t->remembered = false;
    }
    for (size_t i = 0; i < m->returned_count; i++)
        if (m->returned[i].at > now - m->returned_ms) m->returned[kept++] = m->returned[i];
    m->returned_count = kept;
    kept = 0;
    for (size_t i = 0; i < m->bad_count; i++)
        if (m->bad[i] > now - m->bad_keep_ms) m->bad[kept++] = m->bad[i];
    m->bad_count = kept;
}

int64_t model_count(const struct model *m, enum queue_state state)
{
    int64_t n = 0;
    if (state == QUEUE_BAD) return (int64_t)m->bad_count;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        n += m->tasks[i].alive && m->tasks[i].state == state;
    return n;
}
