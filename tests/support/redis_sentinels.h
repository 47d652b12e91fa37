/* redis_sentinels: a master, two replicas and three Sentinels of the test's own: real processes that can be
 * killed, paused and started again one by one (redis_server.h). Main thread only.
 *
 * A member that is killed, paused or on a host that is cut off (netns.h) is not reachable: it is not asked,
 * and nobody waits for it.
 *
 * The servers run state.conf, the Sentinels sentinel.conf, with short times. A failover takes 1 to 3 s; a
 * second one of the same master at least twice its timeout (4 s) after the first. */
#ifndef TESTS_SUPPORT_REDIS_SENTINELS_H
#define TESTS_SUPPORT_REDIS_SENTINELS_H

#include "redis_server.h"

enum { SENTINELS = 3, SENTINEL_SERVERS = 3 };

struct redis_sentinels;

struct redis_sentinels_options {
    int down_after_ms;          /* 0: 1000 */
    int failover_timeout_ms;    /* 0: 2000 */
    const char *server_lines;   /* more lines for the servers; NULL: none. Each ends with a newline */
    const char *sentinel_lines; /* more lines for the Sentinels */
    /* Machines of their own (netns.h; SENTINELS of them): server i and Sentinel i run on the i-th. NULL: all
     * on 127.0.0.1. */
    struct netns *const *hosts;
};

/* Started, and settled (below). Server 0 is the master. NULL options: none of them. */
struct redis_sentinels *redis_sentinels_start(const struct redis_sentinels_options *options);
void redis_sentinels_stop(struct redis_sentinels **s);

/* redis-sentinel://127.0.0.1:p,127.0.0.1:q,127.0.0.1:r/mymaster, or with the hosts' addresses. */
const char *redis_sentinels_url(const struct redis_sentinels *s);
/* Its members, to kill, pause, restart and talk to; they stay the rig's. */
struct redis_server *redis_sentinels_server(struct redis_sentinels *s, int index);
struct redis_server *redis_sentinels_sentinel(struct redis_sentinels *s, int index);

/* Asks the reachable Sentinels: the server that the first of them names as master. -1: none of them knows. */
int redis_sentinels_master(struct redis_sentinels *s);
int redis_sentinels_master_port(struct redis_sentinels *s);

/* Waits until the reachable Sentinels agree on a reachable master, see each other, and see the reachable
 * replicas in step with it, and the master sends these what is written. */
void redis_sentinels_await_settled(struct redis_sentinels *s, int ms);

struct redis_promotion {
    int server;       /* the new master */
    int64_t taken_ms; /* monotonic: when it said that it is the master */
    int64_t told_ms;  /* when the first Sentinel told its address: clients can know from here on */
};
/* Waits until another server than this one is promoted. */
struct redis_promotion redis_sentinels_await_promotion(struct redis_sentinels *s, int old_master, int ms);

#endif
