/* redis_server: a real redis-server of the test's own, on a reserved port and in a scratch directory, that
 * can be killed, started again, stopped and continued. It runs with the product's own configuration
 * (config/redis/), but for port, memory, directory and durability. Its start, restart and stop belong to the
 * test's main thread.
 *
 * REDIS_SERVER in the environment names another program (`valkey-server`), for all tests at once. */
#ifndef TESTS_SUPPORT_REDIS_SERVER_H
#define TESTS_SUPPORT_REDIS_SERVER_H

#include "netns.h"
#include "resp.h"

#include <sys/types.h>

struct redis_server;

enum { REDIS_CONFIGS_MAX = 2 };

struct redis_server_options {
    bool durable;            /* appendonly, fsynced before each reply: kill -9 loses nothing */
    bool unix_socket;        /* also listens on redis_server_socket */
    bool sentinel;           /* a Sentinel, not a server of data */
    const char *const *args; /* more arguments, ended by NULL; NULL: none */
    /* Files of config/redis/, one laid over the other. None: state.conf. */
    const char *config[REDIS_CONFIGS_MAX];
    /* Configuration lines that replace the product's; each ends with a newline. NULL: none. */
    const char *lines;
    /* Runs on this machine (netns.h) instead of the test's own. The test itself then speaks to it through its
     * Unix socket, cut off or not. */
    const struct netns *host;
};

/* Started and answering, or the test fails. NULL options: none of them. */
struct redis_server *redis_server_start(const struct redis_server_options *options);
/* A reserved port and a directory, but no process yet: redis_server_restart starts it. */
struct redis_server *redis_server_prepare(const struct redis_server_options *options);
void redis_server_stop(struct redis_server **s);

int redis_server_port(const struct redis_server *s);
pid_t redis_server_pid(const struct redis_server *s); /* 0: not running */
const char *redis_server_socket(const struct redis_server *s);
const char *redis_server_address(const struct redis_server *s); /* 127.0.0.1, or its host's */
const char *redis_server_url(const struct redis_server *s);     /* redis://address:port */
/* Neither killed nor paused, and its host is not cut off. */
bool redis_server_reachable(const struct redis_server *s);

/* Puts more lines behind those of the options; before the first start. */
void redis_server_configure(struct redis_server *s, const char *lines);
/* Starts without waiting for an answer, and waits: several servers start at once so. */
void redis_server_launch(struct redis_server *s);
void redis_server_await(struct redis_server *s);

void redis_server_kill(struct redis_server *s); /* -9 */
/* Same port, directory, arguments, and the configuration file as the server left it; waits until it answers.
 */
void redis_server_restart(struct redis_server *s);
void redis_server_pause(struct redis_server *s);  /* SIGSTOP */
void redis_server_resume(struct redis_server *s); /* SIGCONT */

/* A new connection; the caller closes it. */
struct resp_client *redis_server_client(const struct redis_server *s);
/* One question on a connection of its own: fails the test without an answer. The caller frees the text. */
#define redis_server_ask(s, ...) redis_server_ask_list((s), (const char *const[]){__VA_ARGS__, NULL})
char *redis_server_ask_list(const struct redis_server *s, const char *const args[]);

#endif
