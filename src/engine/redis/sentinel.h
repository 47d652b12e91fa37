/* sentinel: one Sentinel, as who follows a master sees it: asked where the master is, and heard when it tells
 * of a switch. Control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_SENTINEL_H
#define PHOENIX_ENGINE_REDIS_SENTINEL_H

#include "conn.h"

struct sentinel;

struct sentinel_answer {
    bool known;    /* it knows a master of that name; only then: */
    int64_t epoch; /* of the configuration that says so; -1: it does not tell */
    struct redis_address at;
};

struct sentinel_options {
    struct loop *loop;
    struct conn_group *group;
    struct redis_topology *topology;
    struct redis_address at;
    /* It has answered (sentinel_last). It may be asked again in these, not destroyed. */
    void (*on_answer)(void *arg, struct sentinel *s);
    void (*on_hint)(void *arg); /* a switch is on its way, or done */
    /* It names another sentinel. */
    void (*on_other)(void *arg, const struct sentinel *s, const struct redis_address *other);
    void *arg;
};

struct sentinel *sentinel_create(const struct sentinel_options *options); /* NULL: no memory */
void sentinel_destroy(struct sentinel **sentinel);

/* Connects if it is time to, or asks unless an answer is due already. */
void sentinel_ask(struct sentinel *s);

const struct redis_address *sentinel_address(const struct sentinel *s);
const char *sentinel_name(const struct sentinel *s);
/* What it said last; `known` false: nothing, or that it knows none. */
const struct sentinel_answer *sentinel_last(const struct sentinel *s);
/* When that was (loop_now_us); 0: never. */
int64_t sentinel_answered_us(const struct sentinel *s);
/* Why it does not answer; "" when it does. */
const char *sentinel_trouble(const struct sentinel *s);

#endif
