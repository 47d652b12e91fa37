/* conn: one connection to Redis, from look-up to its end.
 *
 *   RESOLVING → CONNECTING → GREETING (AUTH, SELECT, CLIENT ID, INFO; then CLIENT KILL of the condemned) →
 * READY → dead
 *
 * A conn dies once and is not revived: its owner opens another. It frees itself after `closed`, which is the
 * last call. */
#ifndef PHOENIX_ENGINE_REDIS_CONN_H
#define PHOENIX_ENGINE_REDIS_CONN_H

#include "engine/redis/pool.h"

struct redisAsyncContext;
struct conn;

struct conn_events {
    void (*ready)(void *arg);
    void (*closed)(void *arg, const char *why); /* every call is done by then */
    /* The call was not executed, since another server is to be asked (call->error). True: it has been taken
     * back. NULL: nobody would. */
    bool (*misplaced)(void *arg, struct redis_call *call);
    void *arg;
};

/* Connections of one loop that have something to send, flushed once a turn. */
struct conn_group;
struct conn_group *conn_group_create(struct loop *loop);
void conn_group_destroy(struct conn_group **group); /* no conn may be left */

struct conn_options {
    struct conn_group *group;
    struct redis_node *node;
    _Atomic size_t *queued_bytes;
    struct log *log;
    struct metrics_cell *cell;
    bool spare; /* others serve: that it cannot be had says nothing about the node, and opens no circuit */
    struct conn_events events;
};

/* NULL: no memory. `closed` may come later, never from inside. */
struct conn *conn_open(const struct conn_options *options);
bool conn_ready(const struct conn *c);
/* Only when ready. The call is done later, never from inside. */
void conn_submit(struct conn *c, struct redis_call *call);
/* Sends a command whose replies all go to `fn` (subscriptions). Only when ready. */
void conn_subscribe(struct conn *c, const char *channel,
                    void (*fn)(void *arg, const struct redis_reply *message), void *arg);
/* Kills the condemned now, as a new connection does before it is ready; nothing when it is not ready. */
void conn_kill_condemned(struct conn *c);
unsigned conn_inflight(const struct conn *c);
/* The server's name for this connection. */
int64_t conn_client_id(const struct conn *c);
/* How often its node had moved when it was opened. */
unsigned conn_moves(const struct conn *c);
/* It leads to where its node no longer is: take no more of it, and end it when nothing is in flight. */
bool conn_stale(const struct conn *c);
/* Ends it now: reset, calls fail, `closed`. With bytes in flight it is condemned. From inside one of its own
 * callbacks: as soon as that returns. */
void conn_abandon(struct conn *c, const char *why);

/* Appends the RESP form of a command. */
void resp_append_command(struct buf *out, const struct redis_command *command, bool with_source);

#endif
