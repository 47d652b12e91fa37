/* queue_audit: every key of the queue against the model: each task in the indexes of its one state and in no
 * other, its fields as they should be, nothing left over. */
#include "queue_audit.h"

#include <inttypes.h>

static const struct resp_value *in_redis(struct model_run *r, const char *const command[4], const char *part)
{
    char key[80];
    const char *const argv[] = {command[0],
                                FORMAT(key, "phoenix:tasks:%s:{phoenix:tasks:queue}", part),
                                command[1],
                                command[1] ? command[2] : NULL,
                                command[1] ? command[3] : NULL,
                                NULL};
    const struct resp_value *v = resp_call_list(r->f.direct, argv);
    AGREE(r, v && v->type == '*', "%s %s", command[0], part);
    return v;
}

static uint64_t number(const char **p, unsigned bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | (unsigned char)(*p)[i];
    *p += bytes;
    return n;
}

static void audit_meta(struct model_run *r)
{
    static const char *const HGETALL[4] = {"HGETALL"};
    size_t alive = 0;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        alive += r->m.tasks[i].alive;
    const struct resp_value *v = in_redis(r, HGETALL, "meta");
    AGREE(r, v->count == 2 * alive, "%zu of %zu in meta", v->count / 2, alive);
    for (size_t i = 0; i < v->count; i += 2) {
        const struct model_task *t = &r->m.tasks[model_task_of(v->items[i].text)];
        const char *p = v->items[i + 1].text;
        AGREE(r, t->alive && *p++ == "rdlx"[t->state], "%s", t->id);
        AGREE(r, number(&p, 2) == t->failures && number(&p, 2) == t->max && number(&p, 1) == t->priority,
              "%s", t->id);
        AGREE(r, (int64_t)number(&p, 6) == t->arrival, "%s", t->id);
        AGREE(r, (int64_t)(number(&p, 7) - (UINT64_C(1) << 52)) == t->rank, "%s", t->id);
        AGREE(r, (int64_t)number(&p, 6) == t->added && (int64_t)number(&p, 6) == t->ttl, "%s", t->id);
        AGREE(r, (int64_t)number(&p, 6) == t->ends && (int64_t)number(&p, 6) == t->at, "%s", t->id);
        p += 4;
        AGREE(r, strcmp(p, t->agent) == 0 && strcmp(p + strlen(p) + 1, t->receipt) == 0, "%s", t->id);
        p += strlen(p) + 1;
        p += strlen(p) + 1;
        unsigned lines = 0;
        for (; *p; p++)
            lines += *p == '\n';
        AGREE(r, lines == t->events, "%s: %u events, not %u", t->id, lines, t->events);
    }
    AGREE(r, in_redis(r, (const char *const[4]){"HKEYS"}, "body")->count == alive, "body");
}

/* A zset holds exactly the tasks of these states, at the right score. */
static void audit_index(struct model_run *r, const char *part, unsigned states, size_t skip,
                        int64_t (*score)(const struct model_task *))
{
    size_t n = 0;
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        n += r->m.tasks[i].alive && (states >> r->m.tasks[i].state & 1) != 0 &&
             (strcmp(part, "agents") != 0 || r->m.tasks[i].agent[0]);
    const struct resp_value *v = in_redis(r, (const char *const[4]){"ZRANGE", "0", "-1", "WITHSCORES"}, part);
    AGREE(r, v->count == 2 * n, "%zu of %zu in %s", v->count / 2, n, part);
    for (size_t i = 0; i < v->count; i += 2) {
        const char *member = v->items[i].text;
        size_t behind = strcmp(part, "agents") == 0 ? strlen(member) + 1 + 13 : skip;
        const struct model_task *t = &r->m.tasks[model_task_of(member + behind)];
        AGREE(r, t->alive && (states >> t->state & 1) != 0 && strcmp(t->id, member + behind) == 0, "%s in %s",
              t->id, part);
        AGREE(r, strcmp(part, "agents") != 0 || strcmp(member, t->agent) == 0, "%s", t->id);
        AGREE(r, (int64_t)strtod(v->items[i + 1].text, NULL) == score(t), "%s in %s: %s", t->id, part,
              v->items[i + 1].text);
    }
}

static int64_t score_rank(const struct model_task *t)
{
    return t->rank;
}

static int64_t score_at(const struct model_task *t)
{
    return t->at;
}

static int64_t score_ends(const struct model_task *t)
{
    return t->ends;
}

static int64_t score_none(const struct model_task *t)
{
    (void)t;
    return 0;
}

/* Finished ids: those that count are there with their receipt; what is there has its place in the order. */
static void audit_done(struct model_run *r)
{
    const struct resp_value *v = in_redis(r, (const char *const[4]){"HGETALL"}, "done");
    size_t there = v->count / 2, live = 0;
    for (size_t i = 0; i < v->count; i += 2) {
        const struct model_task *t = &r->m.tasks[model_task_of(v->items[i].text)];
        const char *p = v->items[i + 1].text;
        AGREE(r, t->remembered && (int64_t)number(&p, 6) == t->done_ends, "%s", t->id);
        AGREE(r, *p == (t->how == QUEUE_ACKED ? 'a' : t->how == QUEUE_CANCELLED ? 'c' : 'p'), "%s", t->id);
        AGREE(r, strcmp(p + 1, t->done_receipt) == 0, "%s: %s", t->id, p + 1);
    }
    for (unsigned i = 0; i < MODEL_TASKS; i++)
        live += r->m.tasks[i].remembered;
    AGREE(r, there == live, "%zu of %zu done", there, live);
    v = in_redis(r, (const char *const[4]){"LRANGE", "0", "-1", NULL}, "done_order");
    AGREE(r, v->count >= there && (there > 0 || v->count == 0), "%zu in order, %zu done", v->count, there);
}

void model_audit(struct model_run *r)
{
    enum { R = 1 << QUEUE_READY, D = 1 << QUEUE_DELAYED, L = 1 << QUEUE_LEASED, X = 1 << QUEUE_DEAD };
    r->m.now_us = r->f.now_us;
    audit_meta(r);
    audit_index(r, "ready", R, 6, score_rank);
    audit_index(r, "agents", R, 0, score_none);
    audit_index(r, "expiry", R | D, 0, score_ends);
    audit_index(r, "delayed", D, 0, score_at);
    audit_index(r, "leased", L, 0, score_at);
    audit_index(r, "dead", X, 0, score_at);
    audit_done(r);
    size_t returned = in_redis(r, (const char *const[4]){"ZRANGE", "0", "-1", NULL}, "returned")->count;
    AGREE(r, returned == r->m.returned_count, "%zu of %zu returned", returned, r->m.returned_count);
    size_t leases = in_redis(r, (const char *const[4]){"ZRANGE", "0", "-1", NULL}, "ops")->count;
    AGREE(r, leases == returned + (size_t)model_count(&r->m, QUEUE_LEASED), "%zu ops", leases);
    const struct resp_value *keys = resp_call(r->f.direct, "KEYS", "*");
    static const char *const PARTS[] = {
        ":meta:",   ":body:",   ":leased:",  ":ops:",     ":done:", ":done_order:", ":ready:",
        ":agents:", ":expiry:", ":delayed:", ":arrival:", ":dead:", ":returned:",   ":bad:"};
    for (size_t i = 0; i < keys->count; i++) {
        bool ours = false;
        for (size_t k = 0; k < sizeof PARTS / sizeof PARTS[0]; k++)
            ours = ours || strstr(keys->items[i].text, PARTS[k]);
        AGREE(r, ours, "%s is nobody's", keys->items[i].text);
    }
}
