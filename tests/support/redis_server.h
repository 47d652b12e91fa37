/* redis_server: a real redis-server of the test's own, on a reserved port and in a scratch directory, that
 * can be killed, started again, stopped and continued. Its start, restart and stop belong to the test's main
 * thread. */
#ifndef TESTS_SUPPORT_REDIS_SERVER_H
#define TESTS_SUPPORT_REDIS_SERVER_H

#include "resp.h"

struct redis_server;

struct redis_server_options {
    bool durable;            /* appendonly, fsynced before each reply: kill -9 loses nothing */
    bool unix_socket;        /* also listens on redis_server_socket */
    const char *const *args; /* more arguments, ended by NULL; NULL: none */
};

/* Started and answering, or the test fails. NULL options: none of them. */
struct redis_server *redis_server_start(const struct redis_server_options *options);
/* A reserved port and a directory, but no process yet: redis_server_restart starts it. */
struct redis_server *redis_server_prepare(const struct redis_server_options *options);
void redis_server_stop(struct redis_server **s);

int redis_server_port(const struct redis_server *s);
const char *redis_server_socket(const struct redis_server *s);
const char *redis_server_url(const struct redis_server *s); /* redis://127.0.0.1:port */

void redis_server_kill(struct redis_server *s); /* -9 */
void redis_server_restart(
    struct redis_server *s); /* same port, directory and arguments; waits until it answers */
void redis_server_pause(struct redis_server *s);  /* SIGSTOP */
void redis_server_resume(struct redis_server *s); /* SIGCONT */

/* A new connection; the caller closes it. */
struct resp_client *redis_server_client(const struct redis_server *s);

#endif
