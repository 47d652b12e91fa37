/* queue_wake: who is told of ready tasks. The control loop hears what Redis publishes to this daemon, keeps
 * the daemon's place in Redis's line, and looks once a second whether anything was missed. */
#include "queue_wait_private.h"

#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { BEAT_MS = 900, BEAT_JITTER_MS = 100, OP_MS = 900 };

static void beat(struct queue_waits *w);

bool queue_hint_add(struct queue_hint *into, const struct queue_hint *more)
{
    bool first = into->count == 0;
    into->count = into->count + more->count < HINT_MAX ? into->count + more->count : HINT_MAX;
    if (first || more->ports > into->ports) into->ports = more->ports;
    if (first || more->hops < into->hops) into->hops = more->hops;
    into->published |= more->published;
    into->ask |= more->ask;
    if (first)
        memcpy(into->agent, more->agent, sizeof into->agent);
    else if (strcmp(into->agent, more->agent) != 0)
        into->agent[0] = '\0';
    return first;
}

/* --- to the next daemon --- */

static bool redis_is_there(const struct queue_waits *w)
{
    return w->options.redis && redis_topology_allows(w->options.redis, slice_of(w->options.key));
}

static void pass(struct queue_waits *w);

static void on_passed(struct queue_op *op)
{
    struct queue_waits *w = op->arg;
    w->pass_runs = false;
    if (!atomic_load(&w->closed)) pass(w);
}

static void pass(struct queue_waits *w)
{
    if (w->pass_runs) return;
    pthread_mutex_lock(&w->lock);
    w->passed = w->passing;
    w->passing = (struct queue_hint){0};
    pthread_mutex_unlock(&w->lock);
    if (w->passed.count == 0 || !redis_is_there(w)) return;
    w->pass_runs = true;
    w->pass = (struct queue_op){.verb = QUEUE_WAIT,
                                .in.wait = {.daemon = slice_of(w->daemon),
                                            .pass_on = w->passed.count,
                                            .hops = w->passed.hops,
                                            .agent = slice_of(w->passed.agent)},
                                .deadline_us = loop_now_us(w->control) + OP_MS * INT64_C(1000),
                                .done = on_passed,
                                .arg = w};
    queue_start(w->queue, &w->pass);
}

static void on_pass_wanted(void *arg)
{
    struct queue_waits *w = arg;
    if (!atomic_load(&w->closed)) pass(w);
}

static void want_pass(struct queue_waits *w, struct queue_hint hint)
{
    hint.hops++;
    pthread_mutex_lock(&w->lock);
    bool first = queue_hint_add(&w->passing, &hint);
    pthread_mutex_unlock(&w->lock);
    if (!first || loop_post(w->control, on_pass_wanted, w)) return;
    pthread_mutex_lock(&w->lock); /* no memory: forgotten, so that the next one is posted */
    w->passing = (struct queue_hint){0};
    pthread_mutex_unlock(&w->lock);
}

/* --- telling ports --- */

uint64_t queue_wake_epoch(struct queue_waits *w)
{
    bool hears = !redis_is_there(w) || (atomic_load(&w->live) && atomic_load(&w->standing));
    return hears ? atomic_load(&w->epoch) : 0;
}

static void end_epoch(struct queue_waits *w)
{
    atomic_fetch_add(&w->epoch, 1);
}

void queue_wake_next(struct queue_waits *w, const struct queue_wait_port *from, struct queue_hint hint)
{
    unsigned n = w->port_count;
    unsigned at = from ? queue_wait_port_index(from) + 1 : atomic_fetch_add(&w->turn, 1);
    if (!from) hint.ports = n;
    while (hint.ports > 0) {
        struct queue_wait_port *port = w->ports[at++ % n];
        hint.ports--;
        if (port == from || queue_wait_port_waiting(port) == 0) continue;
        queue_wait_port_tell(port, &hint);
        return;
    }
    end_epoch(w);
    if (hint.published) want_pass(w, hint);
}

static void look_all(struct queue_waits *w)
{
    const struct queue_hint hint = {.count = 1, .ask = true};
    for (unsigned i = 0; i < w->port_count; i++)
        if (queue_wait_port_waiting(w->ports[i]) > 0) queue_wait_port_tell(w->ports[i], &hint);
}

static void name_agent(struct queue_hint *hint, struct slice agent)
{
    if (agent.len > 0 && agent.len < sizeof hint->agent) memcpy(hint->agent, agent.ptr, agent.len);
}

void queue_waits_ready(struct queue_waits *w, unsigned count, struct slice agent, bool local)
{
    /* What Redis knows it publishes to whose turn it is: telling our own besides would give them more. */
    if (count == 0 || (!local && atomic_load(&w->live) && atomic_load(&w->standing))) return;
    struct queue_hint hint = {.count = count < HINT_MAX ? count : HINT_MAX};
    name_agent(&hint, agent);
    queue_wake_next(w, NULL, hint);
}

unsigned queue_waits_waiting(struct queue_waits *w)
{
    unsigned waiting = 0;
    for (unsigned i = 0; i < w->port_count; i++)
        waiting += queue_wait_port_waiting(w->ports[i]);
    return waiting;
}

bool queue_waits_live(struct queue_waits *w)
{
    return atomic_load(&w->live);
}

/* --- this daemon's place in Redis --- */

static void on_stood(struct queue_op *op)
{
    struct queue_waits *w = op->arg;
    w->stand_runs = false;
    if (atomic_load(&w->closed)) return;
    bool stands = op->status == STATUS_OK && op->in.wait.waits;
    if (!stands) atomic_store(&w->standing, false);
    if (!stands || op->count > 0) end_epoch(w);
    /* They may have become ready before we stood; where Redis will not have us, nobody tells us of any. */
    if (op->status != STATUS_OK || op->count > 0) look_all(w);
    bool waits = queue_waits_waiting(w) > 0;
    bool again = w->stand_again || (op->status == STATUS_OK && waits && !op->in.wait.waits);
    w->stand_again = false;
    if (again) beat(w);
}

static void stand(struct queue_waits *w)
{
    if (w->stand_runs) {
        w->stand_again = true;
        return;
    }
    /* In this order: who comes to wait after the look sees that we do not stand, and calls. */
    bool stood = atomic_exchange(&w->standing, false);
    bool waits = queue_waits_waiting(w) > 0;
    if (!waits) end_epoch(w);
    if (!waits && !stood) return;
    if (waits) atomic_store(&w->standing, true);
    w->stand_runs = true;
    w->stand = (struct queue_op){.verb = QUEUE_WAIT,
                                 .in.wait = {.daemon = slice_of(w->daemon), .waits = waits},
                                 .deadline_us = loop_now_us(w->control) + OP_MS * INT64_C(1000),
                                 .done = on_stood,
                                 .arg = w};
    queue_start(w->queue, &w->stand);
}

static void on_timer(void *arg)
{
    beat(arg);
}

static void beat(struct queue_waits *w)
{
    int64_t ms = BEAT_MS + (int64_t)random_below(BEAT_JITTER_MS);
    loop_timer_start(w->control, &w->timer, loop_now_us(w->control) + ms * 1000, on_timer, w);
    if (redis_is_there(w))
        stand(w);
    else
        look_all(w);
}

static void on_beat_wanted(void *arg)
{
    struct queue_waits *w = arg;
    atomic_store(&w->beat_wanted, false);
    if (!atomic_load(&w->closed)) beat(w);
}

static void want_beat(struct queue_waits *w)
{
    if (atomic_exchange(&w->beat_wanted, true)) return;
    if (!loop_post(w->control, on_beat_wanted, w)) atomic_store(&w->beat_wanted, false);
}

void queue_wake_joined(struct queue_waits *w)
{
    if (w->options.redis && !atomic_load(&w->standing)) want_beat(w);
}

void queue_waits_mode_changed(struct queue_waits *w)
{
    if (!w->control) return;
    end_epoch(w);
    look_all(w);
    want_beat(w);
}

/* --- the subscription --- */

/* "<count> <hops> <agent>" (queue_add.lua). */
static void on_message(void *arg, struct slice payload)
{
    struct queue_hint hint = {.published = true};
    unsigned *numbers[] = {&hint.count, &hint.hops};
    size_t at = 0;
    for (size_t n = 0; n < 2; n++, at++)
        for (; at < payload.len && payload.ptr[at] != ' '; at++)
            if (payload.ptr[at] >= '0' && payload.ptr[at] <= '9' && *numbers[n] < HINT_MAX)
                *numbers[n] = *numbers[n] * 10 + (unsigned)(payload.ptr[at] - '0');
    if (hint.count == 0) return;
    if (hint.count > HINT_MAX) hint.count = HINT_MAX;
    if (at < payload.len) name_agent(&hint, (struct slice){payload.ptr + at, payload.len - at});
    queue_wake_next(arg, NULL, hint);
}

static void on_live(void *arg)
{
    struct queue_waits *w = arg;
    atomic_store(&w->live, true);
    beat(w);
}

static void on_lost(void *arg)
{
    struct queue_waits *w = arg;
    atomic_store(&w->live, false);
    end_epoch(w);
}

/* --- the whole --- */

struct queue_waits *queue_waits_create(const struct queue_waits_options *options)
{
    struct queue_waits *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->options = *options;
    pthread_mutex_init(&w->lock, NULL);
    atomic_store(&w->epoch, 1);
    uuid_v7(clock_wall_ms(&clock_system), w->daemon);
    if (!options->redis) return w;
    size_t size = strlen(options->channel) + sizeof w->daemon;
    if (!(w->channel = malloc(size))) {
        free(w);
        return NULL;
    }
    snprintf(w->channel, size, "%s%s", options->channel, w->daemon);
    return w;
}

void queue_waits_destroy(struct queue_waits **ref)
{
    struct queue_waits *w = *ref;
    if (!w) return;
    *ref = NULL;
    for (unsigned i = 0; i < w->port_count; i++)
        free(w->ports[i]);
    free(w->channel);
    free(w);
}

bool queue_waits_open(struct queue_waits *w, struct loop *control, struct queue_port *queue,
                      struct metrics_cell *cell)
{
    w->control = control;
    w->queue = queue;
    beat(w);
    if (!w->options.redis) return true;
    const struct redis_subscriber_options options = {.loop = control,
                                                     .topology = w->options.redis,
                                                     .key = w->options.key,
                                                     .channel = w->channel,
                                                     .log = w->options.log,
                                                     .cell = cell,
                                                     .on_live = on_live,
                                                     .on_lost = on_lost,
                                                     .on_message = on_message,
                                                     .arg = w};
    w->subscriber = redis_subscriber_create(&options);
    return w->subscriber != NULL;
}

void queue_waits_close(struct queue_waits *w)
{
    if (!w || !w->control) return;
    atomic_store(&w->closed, true);
    loop_timer_stop(&w->timer);
    redis_subscriber_destroy(&w->subscriber);
}
