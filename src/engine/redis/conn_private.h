/* conn_private: a connection from inside, for conn.c (its life), conn_greet.c (how it begins) and
 * conn_reply.c (what it hears). */
#ifndef PHOENIX_ENGINE_REDIS_CONN_PRIVATE_H
#define PHOENIX_ENGINE_REDIS_CONN_PRIVATE_H

#include "conn.h"

#include "node_private.h"
#include "tls_session.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

enum { GREETING_COMMANDS = 4 };

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_GREETING, CONN_READY, CONN_DEAD };

struct conn_group {
    struct loop *loop;
    struct loop_hook hook;
    struct conn *dirty;
    struct buf scratch; /* for formatting; empty between calls */
};

struct conn {
    struct conn_options options;
    struct conn_group *group;
    enum conn_state state;
    redisAsyncContext *ctx;  /* NULL before connecting and once hiredis has let go */
    struct tls_session *tls; /* NULL: none, or not begun */
    bool tls_due;            /* connected, TLS is to begin once hiredis is out of its code */
    struct loop_io *io;
    struct loop_resolve *resolve;
    struct loop_timer timer; /* greeting deadline, then the calls' deadlines */
    struct conn *next_dirty;
    bool is_dirty;
    bool writing;           /* inside redisAsyncHandleWrite */
    bool backlog;           /* the last write was partial */
    bool write_awaits_read; /* and TLS goes on with it once it has read */
    int depth;              /* inside hiredis or a callback of ours: settle later */
    bool finishing;         /* settle is running */
    bool doomed;            /* to be ended when depth is 0 */
    bool killing;           /* ready, and killing the condemned again: `greeting` is in use */
    char why[128];

    struct redis_call *calls, **calls_tail; /* in flight, oldest first */
    unsigned inflight;
    struct redis_call *failed, **failed_tail; /* waiting for settle */
    uint64_t appended;                        /* bytes handed to hiredis so far */
    uint64_t offered;                         /* of these, handed on to TLS: any of them may have left */
    unsigned awaited;                         /* replies to come, for conn_guard_reader */
    const redisReplyObjectFunctions *plain;   /* hiredis' own constructors of replies */
    redisReplyObjectFunctions guarded;

    struct redis_address at; /* where it leads, by the name that its certificate must show */
    unsigned moves;          /* of its node, when it was opened */
    unsigned turn;           /* of the host's addresses */
    uint32_t generation;     /* the breaker's, when this connection was begun */
    int64_t client_id;
    char run_id[RUN_ID_SIZE];
    char password[REDIS_PASSWORD_SIZE];
    char db[16];
    struct redis_call greeting;
    struct redis_command greeting_commands[GREETING_COMMANDS];
    struct condemned kills[CONDEMNED_BATCH];
    char kill_ids[CONDEMNED_BATCH][24];

    void (*on_message)(void *arg, const struct redis_reply *message);
    void *on_message_arg;
};

/* conn.c */
void conn_send(struct conn *c, struct redis_call *call);
/* conn_submit for any state: greetings too. */
void conn_submit_any(struct conn *c, struct redis_call *call);

/* conn_reply.c */
void conn_on_reply(redisAsyncContext *ctx, void *reply, void *privdata);
void conn_log_refusal(struct conn *c, const char *error);
void conn_unlink(struct conn *c, struct redis_call *call);
void conn_record(struct conn *c, const struct redis_call *call);
struct redis_reply conn_reply_view(const redisReply *r);
/* The node is elsewhere by now: ends it. Calls that had not left may be tried there. */
void conn_leave(struct conn *c);
/* Bytes that wait in hiredis to be written. */
size_t conn_unsent(const redisAsyncContext *ctx);
/* Makes a protocol error of a reply that nothing asked for, and of a push without its shape; hiredis would
 * abort the process. */
void conn_guard_reader(struct conn *c);

/* conn_greet.c: AUTH, SELECT, CLIENT ID, INFO (which must show a master, where a Sentinel named it), CLIENT
 * KILL; then READY. */
void conn_greet(struct conn *c);

#endif
