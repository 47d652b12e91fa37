/* queue_local: a work's life: copied → with the spool → told; see the header. */
#include "queue_local.h"

#include "util/random.h"

#include <stdlib.h>

enum { CHUNK_BYTES = 4096, JITTER = 1000 };

struct queue_local {
    struct queue_store *store;
    struct loop *loop;
    struct queue_local_work *works;
};

/* --- memory --- */

struct queue_chunk {
    struct queue_chunk *next;
    _Alignas(max_align_t) char bytes[];
};

void *queue_memory_take(struct queue_memory *m, size_t size)
{
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (size > m->left) {
        size_t bytes = size > CHUNK_BYTES / 4 ? size : CHUNK_BYTES;
        struct queue_chunk *chunk = calloc(1, sizeof *chunk + bytes);
        if (!chunk) {
            m->failed = true;
            return NULL;
        }
        chunk->next = m->chunks;
        m->chunks = chunk;
        if (bytes == size) return chunk->bytes; /* the rest of the last one is not lost */
        m->at = chunk->bytes;
        m->left = bytes;
    }
    void *taken = m->at;
    m->at += size;
    m->left -= size;
    return taken;
}

struct slice queue_memory_keep(struct queue_memory *m, struct slice s)
{
    if (!s.ptr) return s;
    char *bytes = queue_memory_take(m, s.len ? s.len : 1);
    if (!bytes) return SLICE_NONE;
    if (s.len > 0) memcpy(bytes, s.ptr, s.len);
    return (struct slice){bytes, s.len};
}

void queue_memory_free(struct queue_memory *m)
{
    for (struct queue_chunk *next, *chunk = m->chunks; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *m = (struct queue_memory){0};
}

/* --- what is asked --- */

static void keep_tasks(struct queue_memory *m, struct queue_op *op)
{
    size_t count = op->in.enqueue.count;
    struct queue_task *tasks = queue_memory_take(m, count * sizeof *tasks);
    for (size_t i = 0; tasks && i < count; i++) {
        tasks[i] = op->in.enqueue.tasks[i];
        tasks[i].id = queue_memory_keep(m, tasks[i].id);
        tasks[i].agent = queue_memory_keep(m, tasks[i].agent);
        tasks[i].body = queue_memory_keep(m, tasks[i].body);
    }
    op->in.enqueue.tasks = tasks;
}

static void keep_acks(struct queue_memory *m, struct queue_op *op)
{
    size_t count = op->in.ack.count;
    struct queue_ack *acks = queue_memory_take(m, count * sizeof *acks);
    for (size_t i = 0; acks && i < count; i++) {
        acks[i].id = queue_memory_keep(m, op->in.ack.acks[i].id);
        acks[i].receipt = queue_memory_keep(m, op->in.ack.acks[i].receipt);
    }
    op->in.ack.acks = acks;
}

static void keep_agents(struct queue_memory *m, struct queue_op *op)
{
    size_t count = op->in.dequeue.agents_count;
    struct slice *agents = queue_memory_take(m, (count ? count : 1) * sizeof *agents);
    for (size_t i = 0; agents && i < count; i++)
        agents[i] = queue_memory_keep(m, op->in.dequeue.agents[i]);
    op->in.dequeue.agents = agents;
}

static bool keep(struct queue_memory *m, struct queue_op *op)
{
    switch (op->verb) {
    case QUEUE_ENQUEUE:
        keep_tasks(m, op);
        break;
    case QUEUE_ACK:
        keep_acks(m, op);
        break;
    case QUEUE_DEQUEUE:
        keep_agents(m, op);
        break;
    case QUEUE_NACK:
        op->in.nack.id = queue_memory_keep(m, op->in.nack.id);
        op->in.nack.receipt = queue_memory_keep(m, op->in.nack.receipt);
        op->in.nack.reason = queue_memory_keep(m, op->in.nack.reason);
        break;
    case QUEUE_EXTEND:
        op->in.extend.id = queue_memory_keep(m, op->in.extend.id);
        op->in.extend.receipt = queue_memory_keep(m, op->in.extend.receipt);
        break;
    case QUEUE_LIST:
        op->in.list.cursor = queue_memory_keep(m, op->in.list.cursor);
        break;
    case QUEUE_CANCEL:
    case QUEUE_REQUEUE:
    case QUEUE_GET:
        op->in.task.id = queue_memory_keep(m, op->in.task.id);
        break;
    default:
        break;
    }
    return !m->failed;
}

void queue_copy_results(struct queue_op *to, const struct queue_op *from)
{
    struct queue_op all = *from;
    all.verb = to->verb;
    all.in = to->in;
    all.deadline_us = to->deadline_us;
    all.done = to->done;
    all.arg = to->arg;
    all.work = to->work;
    *to = all;
}

/* --- a work's life --- */

static void unlink_work(struct queue_local_work *w)
{
    if (w->prev) *w->prev = w->next;
    if (w->next) w->next->prev = w->prev;
    w->prev = NULL;
    w->next = NULL;
}

static void free_work(struct queue_local_work *w)
{
    unlink_work(w);
    loop_timer_stop(&w->timer);
    queue_memory_free(&w->kept);
    queue_memory_free(&w->results);
    free(w);
}

/* The op is not the work's any more. */
static void tell(struct queue_local_work *w)
{
    struct queue_op *op = w->op;
    loop_timer_stop(&w->timer);
    w->op = NULL;
    queue_copy_results(op, &w->mine);
    op->done(op);
}

static void tell_failure(struct queue_local_work *w, enum status status)
{
    bool partial = w->mine.partial;
    queue_reset_results(&w->mine);
    w->mine.local = true;
    w->mine.partial = partial;
    w->mine.status = status;
    tell(w);
}

static void on_deadline(void *arg)
{
    struct queue_local_work *w = arg;
    bool harmless = w->spool_op.reads || w->mine.verb == QUEUE_DEQUEUE;
    struct queue_op *op = w->op;
    w->op = NULL;
    queue_reset_results(op);
    op->local = true;
    op->status = harmless ? STATUS_SPOOL_UNAVAILABLE : STATUS_OUTCOME_UNKNOWN;
    op->done(op);
}

/* Whom the tasks name that it made ready; as in queue_op.in.wait. */
static struct slice agent_of(const struct queue_op *op)
{
    if (op->verb != QUEUE_ENQUEUE) return SLICE_NONE;
    struct slice agent = op->in.enqueue.tasks[0].agent;
    for (size_t i = 1; i < op->in.enqueue.count; i++)
        if (!slice_equal(op->in.enqueue.tasks[i].agent, agent)) return SLICE_NONE;
    return agent.len > 0 ? agent : SLICE_LITERAL("*");
}

static void on_spooled(struct spool_op *spool_op)
{
    struct queue_local_work *w = spool_op->arg;
    const struct queue_store_options *options = &w->store->options;
    if (!w->local) {
        free_work(w);
        return;
    }
    if (w->op && !spool_op->committed) {
        tell_failure(w, w->mode == QUEUE_LOCAL_DOUBT ? STATUS_OUTCOME_UNKNOWN : STATUS_SPOOL_UNAVAILABLE);
    } else if (w->op) {
        tell(w);
    } else if (spool_op->committed && !w->returning && w->mine.results && w->mine.verb == QUEUE_DEQUEUE &&
               w->local) {
        queue_local_return(w->local, w->mine.op_id);
    }
    if (spool_op->committed && w->became_ready > 0 && options->on_ready)
        options->on_ready(options->ready_arg, w->became_ready, agent_of(&w->mine));
    free_work(w);
}

static bool only_reads(enum queue_verb verb, enum queue_local_mode mode)
{
    switch (verb) {
    case QUEUE_COUNTS:
    case QUEUE_GET:
    case QUEUE_LIST:
    case QUEUE_WAIT:
    case QUEUE_ADOPT:
        return true;
    case QUEUE_ENQUEUE:
        return mode == QUEUE_LOCAL_LOOK;
    default:
        return false;
    }
}

static struct queue_local_work *create_work(struct queue_local *local)
{
    struct queue_local_work *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->local = local;
    w->store = local->store;
    w->loop = local->loop;
    w->jitter = (unsigned)random_below(JITTER);
    w->given_us = queue_given_us(local->store);
    w->next = local->works;
    w->prev = &local->works;
    if (w->next) w->next->prev = &w->next;
    local->works = w;
    return w;
}

static bool submit(struct queue_local_work *w, bool reads)
{
    w->spool_op = (struct spool_op){.reads = reads,
                                    .frees = !reads && w->mine.verb != QUEUE_ENQUEUE,
                                    .run = queue_local_run,
                                    .done = on_spooled,
                                    .arg = w,
                                    .loop = w->loop};
    return spool_submit(w->store->options.spool, &w->spool_op);
}

void queue_local_start(struct queue_local *local, struct queue_op *op, enum queue_local_mode mode)
{
    struct queue_local_work *w = create_work(local);
    queue_reset_results(op);
    op->local = true;
    if (!w) {
        op->status = STATUS_OVERLOADED;
        op->done(op);
        return;
    }
    w->mode = mode;
    w->op = op;
    w->mine = *op;
    if (!keep(&w->kept, &w->mine)) {
        tell_failure(w, STATUS_OVERLOADED);
        free_work(w);
        return;
    }
    if (op->verb == QUEUE_DEQUEUE || op->verb == QUEUE_REQUEUE) {
        queue_make_op_id(w->mine.op_id);
        w->mine.op_id[0] = '.';
    }
    loop_timer_start(local->loop, &w->timer, op->deadline_us, on_deadline, w);
    if (submit(w, only_reads(op->verb, mode))) return;
    tell_failure(w, mode == QUEUE_LOCAL_DOUBT ? STATUS_OUTCOME_UNKNOWN : STATUS_SPOOL_UNAVAILABLE);
    free_work(w);
}

void queue_local_return(struct queue_local *local, const char op_id[QUEUE_OP_SIZE])
{
    struct queue_local_work *w = create_work(local);
    if (w) {
        w->returning = true;
        w->mine.verb = QUEUE_DEQUEUE;
        memcpy(w->mine.op_id, op_id, QUEUE_OP_SIZE);
        if (submit(w, false)) return;
        free_work(w);
    }
    LOG(local->store->options.log, LOG_WARN, "leases not given back; they end by themselves",
        LOG_S("op", op_id));
}

struct queue_local *queue_local_create(struct queue_store *store, struct loop *loop)
{
    struct queue_local *local = calloc(1, sizeof *local);
    if (!local) return NULL;
    local->store = store;
    local->loop = loop;
    return local;
}

void queue_local_destroy(struct queue_local **plocal)
{
    struct queue_local *local = *plocal;
    *plocal = NULL;
    if (!local) return;
    while (local->works) {
        struct queue_local_work *w = local->works;
        unlink_work(w);
        w->local = NULL;
        loop_timer_stop(&w->timer);
        if (w->op) on_deadline(w);
    }
    free(local);
}
