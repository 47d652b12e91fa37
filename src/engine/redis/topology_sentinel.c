/* topology_sentinel: all sentinels of the table (the URL's, and those they name) are asked side by side, so
 * that one that is dead, slow or wrong holds up nobody: every CALM_MS while the node's circuit is closed,
 * more often while it is not or someone suspects, and at once when one tells of a switch.
 *
 * An answer moves the node only if
 *   - it belongs to a later configuration (epoch) than the node's place, or to the same while the circuit is
 *     open. An earlier one comes from a sentinel that was cut off together with the old master; it counts
 *     only when most sentinels say so and none says otherwise (they were set up anew);
 *   - a connection to that address has greeted: it is there, it lets us in, and it is a master (the trial).
 * One trial at a time; a later epoch takes the place of an earlier one's. */
#include "topology_sentinel.h"

#include "sentinel.h"
#include "util/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    SENTINELS_MAX = 16,
    CALM_MS = 1000,
    DOUBT_MIN_MS = 50,
    DOUBT_MAX_MS = 400,
    SUSPICION_MS = 2000, /* how long a suspicion is followed up */
    FRESH_MS = 5000,     /* how long an answer counts */
    SILENT_MS = 60000,   /* without an answer for so long a learned sentinel is taken for gone */
    LIE_MIN_MS = 50,     /* the next trial on the word of who named a wrong server; doubling */
    LIE_MAX_MS = 5000
};

/* What was last said about a sentinel, so that it is said once. */
enum complaint { FINE, UNKNOWING, BEHIND, WRONG };
static const char *const COMPLAINTS[] = {
    [UNKNOWING] = "a sentinel does not know the master; the others are asked",
    [BEHIND] = "a sentinel names a former master; the others are asked",
    [WRONG] = "a sentinel names a server that is not to be used; the others are asked"};

struct entry {
    struct sentinel *sentinel; /* NULL: free */
    bool learned;
    enum complaint complaint;
    int64_t since_us, lie_ms, mistrust_us; /* no trial on its word before */
};

struct trial {
    struct redis_node *node; /* NULL: none */
    struct conn *conn;
    struct sentinel_answer answer;
    struct entry *by;
    bool passed;
};

struct topology_sentinel {
    struct follower_options options;
    const struct redis_topology_options *topology;
    struct redis_node *node;
    struct conn_group *group;
    struct entry entries[SENTINELS_MAX];
    struct trial trial;
    int64_t epoch;                          /* of the node's place; -1: not known */
    int64_t doubt_us, asked_us, started_us; /* doubt: suspicious until then */
    int64_t pace_ms;
    bool silence_told, closing;
    struct loop_timer timer;
};

static void on_timer(void *arg);

static int64_t now_us(const struct topology_sentinel *f)
{
    return loop_now_us(f->options.loop);
}

static bool same_place(const struct redis_address *a, const struct redis_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* The node's place answers, as far as is known. */
static bool is_well(const struct topology_sentinel *f)
{
    struct redis_address at;
    redis_node_address(f->node, &at);
    return at.port != 0 && breaker_allows(redis_node_breaker(f->node));
}

/* --- asking --- */

static void arm(struct topology_sentinel *f, int64_t in_us)
{
    loop_timer_start(f->options.loop, &f->timer, now_us(f) + in_us, on_timer, f);
}

static void ask_all(struct topology_sentinel *f)
{
    f->asked_us = now_us(f);
    for (unsigned i = 0; i < SENTINELS_MAX; i++)
        if (f->entries[i].sentinel) sentinel_ask(f->entries[i].sentinel);
}

/* Once in an outage of all of them. */
static void tell_silence(struct topology_sentinel *f)
{
    const char *why = "";
    int64_t latest_us = f->started_us;
    for (unsigned i = 0; i < SENTINELS_MAX; i++) {
        const struct sentinel *s = f->entries[i].sentinel;
        if (!s) continue;
        if (sentinel_last(s)->known && sentinel_answered_us(s) > latest_us)
            latest_us = sentinel_answered_us(s);
        if (sentinel_trouble(s)[0]) why = sentinel_trouble(s);
    }
    bool silent = now_us(f) - latest_us > FRESH_MS * INT64_C(1000);
    if (silent && !f->silence_told)
        LOG(f->topology->log, LOG_WARN,
            "no sentinel tells where the Redis master is; a switch would be missed",
            LOG_S("redis", redis_topology_name(f->options.topology)), LOG_S("why", why));
    else if (!silent && f->silence_told)
        LOG(f->topology->log, LOG_INFO, "sentinels tell where the Redis master is again",
            LOG_S("redis", redis_topology_name(f->options.topology)));
    f->silence_told = silent;
}

static void on_timer(void *arg)
{
    struct topology_sentinel *f = arg;
    bool doubt = !is_well(f) || now_us(f) < f->doubt_us;
    if (!doubt)
        f->pace_ms = CALM_MS;
    else if (f->pace_ms == CALM_MS)
        f->pace_ms = DOUBT_MIN_MS;
    else if (f->pace_ms < DOUBT_MAX_MS)
        f->pace_ms *= 2;
    ask_all(f);
    tell_silence(f);
    arm(f, f->pace_ms * 750 + (int64_t)random_below((uint64_t)f->pace_ms * 500));
}

/* Soon, and often for a while. In doubt already they are asked often enough. */
static void on_suspected(void *arg)
{
    struct topology_sentinel *f = arg;
    int64_t wait_us = f->asked_us + DOUBT_MIN_MS * INT64_C(1000) - now_us(f);
    f->doubt_us = now_us(f) + SUSPICION_MS * INT64_C(1000);
    if (f->pace_ms == CALM_MS) arm(f, wait_us > 0 ? wait_us : 0);
}

static void on_hint(void *arg)
{
    on_suspected(arg);
}

/* --- moving --- */

static void complain(struct topology_sentinel *f, struct entry *e, enum complaint complaint,
                     const char *names, const char *why)
{
    if (e->complaint == complaint) return;
    e->complaint = complaint;
    if (complaint == FINE) return;
    LOG(f->topology->log, LOG_WARN, COMPLAINTS[complaint], LOG_S("sentinel", sentinel_name(e->sentinel)),
        LOG_S("master", f->topology->url->master), LOG_S("names", names), LOG_S("why", why));
}

static void move(struct topology_sentinel *f, const struct sentinel_answer *to, const char *sentinel)
{
    const char *from = redis_node_name(f->node);
    struct redis_address before;
    redis_node_address(f->node, &before);
    redis_node_move(f->node, &to->at);
    if (to->epoch >= 0) f->epoch = to->epoch;
    LOG(f->topology->log, LOG_INFO, before.port ? "Redis master moved" : "Redis master found",
        LOG_S("from", from), LOG_S("to", redis_node_name(f->node)), LOG_S("sentinel", sentinel),
        LOG_I("epoch", to->epoch));
    metrics_count(f->options.cell, METRIC_TOPOLOGY_CHANGES, f->topology->role, 0, 1);
    f->options.changed(f->options.arg);
}

static void on_trial_ready(void *arg)
{
    struct topology_sentinel *f = arg;
    struct trial *t = &f->trial;
    t->passed = true;
    t->by->lie_ms = 0;
    complain(f, t->by, FINE, "", "");
    conn_abandon(t->conn, "it is the master");
    move(f, &t->answer, sentinel_name(t->by->sentinel));
}

static void on_trial_closed(void *arg, const char *why)
{
    struct topology_sentinel *f = arg;
    struct trial *t = &f->trial;
    t->conn = NULL;
    if (f->closing || t->passed || !t->by) return;
    struct entry *by = t->by;
    by->lie_ms = by->lie_ms ? by->lie_ms * 2 : LIE_MIN_MS;
    if (by->lie_ms > LIE_MAX_MS) by->lie_ms = LIE_MAX_MS;
    by->mistrust_us = now_us(f) + by->lie_ms * 1000;
    complain(f, by, WRONG, redis_node_name(t->node), why);
}

static void end_trial(struct topology_sentinel *f)
{
    f->trial.by = NULL;
    if (f->trial.conn) conn_abandon(f->trial.conn, "another server is named");
}

/* A connection of the node's kind, to a node of its own, since the topology's is elsewhere. The same again
 * for the same place: it knows which of the name's addresses are dead. */
static void begin_trial(struct topology_sentinel *f, struct entry *by, const struct sentinel_answer *answer)
{
    struct redis_topology *t = f->options.topology;
    struct redis_node *node = f->trial.node;
    if (node && !same_place(&f->trial.answer.at, &answer->at)) redis_node_destroy(&node);
    if (!node) node = topology_outsider(t, f->topology->url, redis_topology_secret(t), &answer->at);
    f->trial = (struct trial){.node = node, .answer = *answer, .by = by};
    struct conn_options options = {
        .group = f->group, .node = f->trial.node, .events = {on_trial_ready, on_trial_closed, NULL, f}};
    if (f->trial.node) f->trial.conn = conn_open(&options);
}

/* --- judging --- */

/* Learned, and without an answer for so long that it may be no more. */
static bool is_gone(const struct topology_sentinel *f, const struct entry *e)
{
    int64_t heard_us = sentinel_answered_us(e->sentinel);
    if (heard_us < e->since_us) heard_us = e->since_us;
    return e->learned && now_us(f) - heard_us > SILENT_MS * INT64_C(1000);
}

/* Most sentinels name this place, and none that answers knows of a later one than they do. */
static bool is_agreed(const struct topology_sentinel *f, const struct sentinel_answer *answer)
{
    unsigned all = 0, agree = 0;
    for (unsigned i = 0; i < SENTINELS_MAX; i++) {
        const struct sentinel *s = f->entries[i].sentinel;
        if (!s || is_gone(f, &f->entries[i])) continue;
        all++;
        const struct sentinel_answer *last = sentinel_last(s);
        if (!last->known || now_us(f) - sentinel_answered_us(s) > FRESH_MS * INT64_C(1000)) continue;
        if (last->epoch > answer->epoch) return false;
        agree += same_place(&last->at, &answer->at);
    }
    return 2 * agree > all;
}

static bool is_worth_a_trial(struct topology_sentinel *f, struct entry *e,
                             const struct sentinel_answer *answer)
{
    bool later = answer->epoch > f->epoch, well = is_well(f);
    if (!later && well) return false;
    if (answer->epoch >= 0 && answer->epoch < f->epoch && !is_agreed(f, answer)) return false;
    if (now_us(f) < e->mistrust_us) return false;
    /* What is under way already, unless it is older. */
    return !f->trial.conn || (answer->epoch > f->trial.answer.epoch && !f->trial.passed);
}

static void on_answer(void *arg, struct sentinel *s)
{
    struct topology_sentinel *f = arg;
    struct redis_address here;
    struct entry *e = f->entries;
    while (e->sentinel != s)
        e++;
    const struct sentinel_answer *answer = sentinel_last(s);
    if (!answer->known) {
        complain(f, e, UNKNOWING, "", sentinel_trouble(s));
        return;
    }
    redis_node_address(f->node, &here);
    if (same_place(&answer->at, &here)) {
        if (answer->epoch > f->epoch) f->epoch = answer->epoch;
        e->lie_ms = e->mistrust_us = 0;
        complain(f, e, FINE, "", "");
        return;
    }
    if (answer->epoch < f->epoch && answer->epoch >= 0)
        complain(f, e, BEHIND, answer->at.host, "its configuration is an earlier one");
    if (!is_worth_a_trial(f, e, answer)) return;
    end_trial(f);
    if (!f->trial.conn) begin_trial(f, e, answer);
}

/* --- the table --- */

/* `by`: who names the newcomer, and goes on speaking; NULL: the URL. */
static struct entry *place_for(struct topology_sentinel *f, const struct sentinel *by)
{
    struct entry *silent = NULL;
    for (unsigned i = 0; i < SENTINELS_MAX; i++) {
        struct entry *e = &f->entries[i];
        if (!e->sentinel) return e;
        if (is_gone(f, e) && e != f->trial.by && e->sentinel != by) silent = e;
    }
    if (silent) sentinel_destroy(&silent->sentinel);
    return silent;
}

static void on_other(void *arg, const struct sentinel *by, const struct redis_address *at);

static bool add(struct topology_sentinel *f, const struct redis_address *at, const struct sentinel *by)
{
    for (unsigned i = 0; i < SENTINELS_MAX; i++)
        if (f->entries[i].sentinel && same_place(sentinel_address(f->entries[i].sentinel), at)) return true;
    struct entry *e = place_for(f, by);
    if (!e) return true; /* enough of them are known */
    struct sentinel_options options = {.loop = f->options.loop,
                                       .group = f->group,
                                       .topology = f->options.topology,
                                       .at = *at,
                                       .on_answer = on_answer,
                                       .on_hint = on_hint,
                                       .on_other = on_other,
                                       .arg = f};
    *e = (struct entry){.sentinel = sentinel_create(&options), .learned = by != NULL, .since_us = now_us(f)};
    return e->sentinel != NULL;
}

static void on_other(void *arg, const struct sentinel *by, const struct redis_address *at)
{
    (void)add(arg, at, by);
}

/* --- life --- */

struct topology_sentinel *topology_sentinel_create(const struct follower_options *options)
{
    struct topology_sentinel *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->options = *options;
    f->topology = redis_topology_options(options->topology);
    f->node = redis_topology_at(options->topology, 0);
    f->epoch = -1;
    f->started_us = now_us(f);
    f->group = conn_group_create(options->loop);
    bool ok = f->group != NULL;
    for (unsigned i = 0; ok && i < f->topology->url->seed_count; i++)
        ok = add(f, &f->topology->url->seeds[i], NULL);
    if (!ok) {
        topology_sentinel_destroy(&f);
        return NULL;
    }
    topology_follow(options->topology, options->loop, on_suspected, f);
    f->pace_ms = CALM_MS;
    arm(f, 0);
    return f;
}

void topology_sentinel_destroy(struct topology_sentinel **follower)
{
    struct topology_sentinel *f = *follower;
    if (!f) return;
    *follower = NULL;
    f->closing = true;
    topology_follow(f->options.topology, NULL, NULL, NULL);
    loop_timer_stop(&f->timer);
    end_trial(f);
    redis_node_destroy(&f->trial.node);
    for (unsigned i = 0; i < SENTINELS_MAX; i++)
        sentinel_destroy(&f->entries[i].sentinel);
    conn_group_destroy(&f->group);
    free(f);
}
