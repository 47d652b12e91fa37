/* fake_redis: a scripted Redis. It stands in front of a real redis-server and reads every command; a handler
 * says what becomes of each one. What the handler leaves alone the real server answers, so a test scripts
 * only its fault. A thread of its own; all functions but start may be called by any thread, none from the
 * handler. */
#ifndef TESTS_SUPPORT_FAKE_REDIS_H
#define TESTS_SUPPORT_FAKE_REDIS_H

#include "resp.h"

struct fake_redis;

struct fake_command {
    unsigned connection; /* 1 for the first one accepted */
    const struct resp_value *argv;
    size_t argc;
};

/* Zeroed: the real server's answer, at once. */
struct fake_verdict {
    const char
        *reply;   /* these bytes instead (borrowed, with CRLF); the real server does not see the command */
    int delay_ms; /* the answer, and all after it on this connection, so much later */
    bool silent;  /* executed, but neither this nor any later command of the connection is answered */
    bool hold;    /* the answer, and all after it on this connection, only after fake_redis_release */
    bool cut;     /* the connection is closed after cut_at bytes of the answer */
    size_t cut_at;
};

/* Runs on the fake's thread. */
typedef struct fake_verdict fake_handler(void *arg, const struct fake_command *command);

struct fake_redis *fake_redis_start(int upstream_port);
void fake_redis_stop(struct fake_redis **f);
int fake_redis_port(const struct fake_redis *f);
const char *fake_redis_url(const struct fake_redis *f);

/* From the next command on; the old handler no longer runs when this returns. NULL: leave everything alone.
 */
void fake_redis_script(struct fake_redis *f, fake_handler *handler, void *arg);

/* Lets go of the answers that are held now. */
void fake_redis_release(struct fake_redis *f);

/* How often a command of this name (any case) arrived. */
unsigned fake_redis_count(struct fake_redis *f, const char *name);
unsigned fake_redis_connections(struct fake_redis *f); /* accepted ever */
/* All commands so far, a line each: connection, name, arguments cut at 80 bytes. The caller frees. */
char *fake_redis_log(struct fake_redis *f);

bool fake_command_is(const struct fake_command *c, const char *name);
/* Any argument holds this text: a key, whatever command carries it. */
bool fake_command_names(const struct fake_command *c, const char *text);

#endif
