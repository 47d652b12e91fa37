/* redis_fixture: a Redis of the test's own on the same loop as what is tested, so that nothing depends on
 * threads or time: it counts how often it had to read, answers what a table says, and keeps silent when told
 * so. Also a node and calls that count how often they were done. */
#ifndef PHOENIX_TESTS_REDIS_FIXTURE_H
#define PHOENIX_TESTS_REDIS_FIXTURE_H

#include "../../../support/resp.h"
#include "../../loop/loop_fixture.h"
#include "topology_fixture.h"
#include "engine/redis/node_private.h"
#include "engine/redis/pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEERS_MAX = 32, PEER_IN_MAX = 1 << 20, PEER_LOG_MAX = 1 << 16 };

struct redis_fixture;

struct peer {
    struct redis_fixture *f;
    struct loop_io *io;
    int fd;
    unsigned number; /* 1 for the first connection */
    unsigned reads;
    size_t len;
    char *in;
};

/* The reply to one command: NULL for the usual one, "" for none, else these bytes. */
typedef const char *peer_script(struct redis_fixture *f, struct peer *p, const struct resp_value *command);

struct redis_fixture {
    struct loop_fixture on;
    struct redis_url url;
    struct redis_topology *topology;
    struct redis_node *node; /* its only one */
    char run_id[RUN_ID_SIZE];
    int listener;
    struct loop_io *listener_io;
    struct peer peers[PEERS_MAX];
    unsigned accepted;
    bool hang; /* accepts nothing */
    peer_script *script;
    char log[PEER_LOG_MAX]; /* "2 CLIENT KILL ID 101\n": connection and command */
    size_t log_len;
    enum breaker_state states[64];
    unsigned state_changes;
};

static inline bool command_is(const struct resp_value *command, const char *name)
{
    return command->count > 0 && strcasecmp(command->items[0].text, name) == 0;
}

static inline bool command_is2(const struct resp_value *command, const char *name, const char *second)
{
    return command_is(command, name) && command->count > 1 && strcasecmp(command->items[1].text, second) == 0;
}

static inline void peer_close(struct peer *p)
{
    loop_io_destroy(&p->io);
    if (p->fd >= 0) (void)close(p->fd);
    p->fd = -1;
    p->len = 0;
}

/* A client may leave before it is answered: its commands then stand here unread, and the second reply finds
 * nobody. How far a client comes in one turn of the loop differs between hiredis 0.14 and 1.2. */
static inline void peer_send(struct peer *p, const char *bytes)
{
    size_t len = strlen(bytes);
    if (p->fd < 0 || !len) return;
    ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        peer_close(p);
        return;
    }
    ck_assert_int_eq(n, (ssize_t)len);
}

static inline const char *usual_reply(struct redis_fixture *f, struct peer *p,
                                      const struct resp_value *command)
{
    static char text[256];
    char info[128];
    if (command_is2(command, "CLIENT", "ID")) return FORMAT(text, ":%u\r\n", 100 + p->number);
    if (command_is2(command, "CLIENT", "KILL")) return ":1\r\n";
    if (command_is(command, "INFO")) {
        FORMAT(info, "# Server\r\nrun_id:%s\r\n# Memory\r\nused_memory:4711\r\n", f->run_id);
        return FORMAT(text, "$%zu\r\n%s\r\n", strlen(info), info);
    }
    if (command_is(command, "PING")) return "+PONG\r\n";
    if (command_is(command, "TIME")) return "*2\r\n$10\r\n2000000000\r\n$6\r\n500000\r\n";
    if (command_is(command, "GET")) return "$1\r\nv\r\n";
    if (command_is(command, "INCR")) return ":1\r\n";
    if (command_is(command, "SUBSCRIBE"))
        return "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n";
    return "+OK\r\n";
}

static inline void peer_log(struct redis_fixture *f, struct peer *p, const struct resp_value *command)
{
    size_t room = sizeof f->log - f->log_len;
    if (room < 512) return;
    f->log_len += (size_t)snprintf(f->log + f->log_len, 16, "%u", p->number);
    for (size_t i = 0; i < command->count; i++)
        f->log_len += (size_t)snprintf(f->log + f->log_len, 60, " %.50s", command->items[i].text);
    f->log_len += (size_t)snprintf(f->log + f->log_len, 2, "\n");
}

static inline void on_peer(void *arg, int events)
{
    struct peer *p = arg;
    struct redis_fixture *f = p->f;
    (void)events;
    ssize_t n = recv(p->fd, p->in + p->len, PEER_IN_MAX - p->len, 0);
    if (n <= 0) {
        peer_close(p);
        return;
    }
    p->len += (size_t)n;
    p->reads++;
    struct resp_value command;
    size_t used = 0;
    while (p->fd >= 0 && resp_parse(p->in, p->len, &command, &used) > 0) {
        peer_log(f, p, &command);
        const char *reply = f->script ? f->script(f, p, &command) : NULL;
        peer_send(p, reply ? reply : usual_reply(f, p, &command));
        resp_release(&command);
        if (p->fd < 0) return;
        memmove(p->in, p->in + used, p->len - used);
        p->len -= used;
    }
}

static inline void on_accept(void *arg, int events)
{
    struct redis_fixture *f = arg;
    (void)events;
    if (f->hang) return;
    ck_assert_uint_lt(f->accepted, PEERS_MAX);
    struct peer *p = &f->peers[f->accepted];
    p->fd = accept(f->listener, NULL, NULL);
    if (p->fd < 0) return;
    int on = 1; /* so that replies to commands of one read arrive together */
    (void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    p->f = f;
    p->number = ++f->accepted;
    if (!p->in) p->in = must_alloc(PEER_IN_MAX);
    p->io = loop_io_create(f->on.loop, p->fd, LOOP_READ, on_peer, p);
}

static inline void redis_listen(struct redis_fixture *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int on = 1;
    at.sin_port = htons((uint16_t)f->url.seeds[0].port);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(f->listener, (struct sockaddr *)&at, len), 0);
    ck_assert_int_eq(listen(f->listener, 64), 0);
    ck_assert_int_eq(getsockname(f->listener, (struct sockaddr *)&at, &len), 0);
    f->url.seeds[0].port = ntohs(at.sin_port);
    f->listener_io = loop_io_create(f->on.loop, f->listener, LOOP_READ, on_accept, f);
}

/* Nobody listens any more and every connection is gone. */
static inline void redis_vanish(struct redis_fixture *f)
{
    loop_io_destroy(&f->listener_io);
    if (f->listener >= 0) (void)close(f->listener);
    f->listener = -1;
    for (unsigned i = 0; i < f->accepted; i++)
        if (f->peers[i].io) peer_close(&f->peers[i]);
}

static inline void on_node_change(void *arg, enum breaker_state to)
{
    struct redis_fixture *f = arg;
    if (f->state_changes < sizeof f->states / sizeof f->states[0]) f->states[f->state_changes++] = to;
}

static inline void redis_fixture_open(struct redis_fixture *f, const char *userinfo, int db)
{
    char text[128], error[200];
    memset(f, 0, sizeof *f);
    loop_fixture_open(&f->on);
    redis_listen(f);
    int port = f->url.seeds[0].port;
    ck_assert_msg(redis_url_parse("redis.url", FORMAT(text, "redis://%s127.0.0.1:%d/%d", userinfo, port, db),
                                  &f->url, error, sizeof error),
                  "%s", error);
    FORMAT(f->run_id, "run-1");
    struct redis_topology_options topology = topology_options(&f->url, &f->on.clock, 250);
    topology.on_change = on_node_change;
    topology.arg = f;
    f->topology = topology_open(&topology);
    f->node = topology_only(f->topology);
}

static inline void redis_fixture_close(struct redis_fixture *f)
{
    redis_vanish(f);
    loop_fixture_close(&f->on);
    redis_topology_destroy(&f->topology);
    redis_url_deinit(&f->url);
    for (unsigned i = 0; i < PEERS_MAX; i++)
        free(f->peers[i].in);
}

/* How many commands of the log begin so ("2 GET k"; without the number: of any connection). */
static inline unsigned redis_saw(const struct redis_fixture *f, const char *start)
{
    unsigned n = 0;
    bool numbered = start[0] >= '0' && start[0] <= '9';
    for (const char *line = f->log; *line; line = strchr(line, '\n') + 1) {
        const char *from = numbered ? line : strchr(line, ' ') + 1;
        n += strncmp(from, start, strlen(start)) == 0;
    }
    return n;
}

/* --- calls --- */

struct counted_call {
    struct redis_call call;
    struct redis_command commands[REDIS_COMMANDS_MAX];
    unsigned done;
    char text[64]; /* of the last reply */
};

static inline void on_counted(struct redis_call *call)
{
    struct counted_call *c = call->arg;
    c->done++;
    if (call->outcome == REDIS_CALL_OK) {
        struct slice text = call->replies[call->count - 1].text;
        snprintf(c->text, sizeof c->text, "%.*s", (int)text.len, text.ptr ? text.ptr : "");
    }
}

static inline struct counted_call *call_init(struct counted_call *c, unsigned count, const char *name,
                                             const char *key, unsigned types)
{
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < count; i++)
        c->commands[i] = (struct redis_command){
            .argc = key ? 2 : 1, .argv = {slice_of(name), slice_of(key)}, .types = types};
    c->call = (struct redis_call){.commands = c->commands, .count = count, .done = on_counted, .arg = c};
    return c;
}

static inline struct counted_call *get_init(struct counted_call *c, const char *key)
{
    return call_init(c, 1, "GET", key, REDIS_TYPE_STRING | REDIS_TYPE_NIL);
}

static inline struct redis_pool *open_test_pool(struct redis_fixture *f, unsigned min_idle, unsigned most)
{
    struct redis_pool *pool = redis_pool_create(&(struct redis_pool_options){.loop = f->on.loop,
                                                                             .topology = f->topology,
                                                                             .min_idle = min_idle,
                                                                             .connections_max = most,
                                                                             .inflight_max = 1024});
    ck_assert_ptr_nonnull(pool);
    return pool;
}

#endif
