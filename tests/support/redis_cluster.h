/* redis_cluster: a Redis Cluster of the test's own: three masters and a replica of each, real processes that
 * can be killed, paused and started again one by one (redis_server.h), with slots that the test moves step by
 * step. Main thread only.
 *
 * A node that is killed, paused or on a host that is cut off (netns.h) is not reachable: it is not asked, and
 * nobody waits for it.
 *
 * Nodes run state.conf with cluster.conf on top and a short node timeout. Nodes 0 to 2 are the masters at
 * first, 3 to 5 their replicas; a node keeps its index whatever becomes of it. A cluster that starts takes
 * 2 s until it accepts writes (Redis's own delay), a failover about twice the node timeout. */
#ifndef TESTS_SUPPORT_REDIS_CLUSTER_H
#define TESTS_SUPPORT_REDIS_CLUSTER_H

#include "redis_server.h"

enum { CLUSTER_MASTERS = 3, CLUSTER_NODES_MAX = 8, CLUSTER_SLOTS = 16384 };

struct redis_cluster;

struct redis_cluster_options {
    int node_timeout_ms; /* 0: 1000 */
    int masters;         /* 0: CLUSTER_MASTERS */
    bool no_replicas;    /* the masters alone */
    const char *lines;   /* more lines for every node; NULL: none. Each ends with a newline */
    /* Machines of their own (netns.h), one for each node at start. NULL: all on 127.0.0.1. */
    struct netns *const *hosts;
};

/* Started, and settled (below). NULL options: none of them. */
struct redis_cluster *redis_cluster_start(const struct redis_cluster_options *options);
void redis_cluster_stop(struct redis_cluster **c);

/* redis-cluster://127.0.0.1:p,127.0.0.1:q,… of the first nodes, added ones not among them. */
const char *redis_cluster_url(const struct redis_cluster *c);
int redis_cluster_nodes(const struct redis_cluster *c);
/* A node, to kill, pause, restart and talk to; it stays the rig's. */
struct redis_server *redis_cluster_node(struct redis_cluster *c, int index);

/* By what Redis itself says. */
int redis_cluster_slot(struct redis_cluster *c, const char *key);
/* The node that serves this slot, as the first reachable node sees it; -1: none. */
int redis_cluster_owner(struct redis_cluster *c, int slot);
/* A replica of this node, likewise. -1: none. */
int redis_cluster_replica(struct redis_cluster *c, int master);

/* Waits until all reachable nodes say cluster_state:ok, agree on who serves which slot, and every
 * such replica is in step with its master. */
void redis_cluster_await_settled(struct redis_cluster *c, int ms);
/* Waits until another node than `old_owner` serves this slot, and every reachable node knows; the new owner.
 * *out_ms (NULL: not wanted): monotonic, when the first node said so. */
int redis_cluster_await_owner(struct redis_cluster *c, int slot, int old_owner, int ms, int64_t *out_ms);

/* A slot's way to another master in steps: between begin and end its old owner answers ASK for keys that are
 * gone, TRYAGAIN for several of which some are. */
void redis_cluster_migration_begin(struct redis_cluster *c, int slot, int to);
/* Moves up to `max` keys of it; how many went. */
int redis_cluster_migration_step(struct redis_cluster *c, int slot, int to, int max);
/* The slot is the new owner's; all reachable masters are told. */
void redis_cluster_migration_end(struct redis_cluster *c, int slot, int to);
/* All steps for slots first to last. */
void redis_cluster_migrate(struct redis_cluster *c, int first, int last, int to);

/* Starts an empty master that all nodes know; its index. */
int redis_cluster_add(struct redis_cluster *c);

#endif
