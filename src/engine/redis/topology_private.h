/* topology_private: what changes the map: the pools (a slot that a server says has moved) and the followers
 * (topology_sentinel, topology_cluster), who ask servers for it from the control loop. */
#ifndef PHOENIX_ENGINE_REDIS_TOPOLOGY_PRIVATE_H
#define PHOENIX_ENGINE_REDIS_TOPOLOGY_PRIVATE_H

#include "engine/redis/topology.h"
#include "loop/loop.h"

struct cluster_map;

/* A cluster's whole map, at once. A node that is not in it makes room for a newcomer. Returns how many nodes
 * found no room (or no memory); their slots stay whose they were. */
unsigned topology_apply(struct redis_topology *t, const struct cluster_map *map);
/* A server has said that this slot is served there (MOVED): the node at that address, which is made, or is
 * one that served nothing and moves there. Any thread. NULL: no memory, or all REDIS_NODES_MAX serve. */
struct redis_node *topology_slot_moved(struct redis_topology *t, unsigned slot,
                                       const struct redis_address *to);
/* The node at an address for a call or two (ASK): it does not serve because of that. Any thread.
 * NULL: as above. */
struct redis_node *topology_guest_at(struct redis_topology *t, const struct redis_address *at);
/* Counts changes of who serves a slot, and of where who serves one is. Any thread. */
unsigned topology_version(const struct redis_topology *t);

/* A node for who asks servers about the map: in no topology, its circuit never opens, it counts for nothing.
 * `url`: as whom it is talked to; `secret`: NULL for none. NULL: no memory. */
struct redis_node *topology_outsider(const struct redis_topology *t, const struct redis_url *url,
                                     struct redis_secret *secret, const struct redis_address *at);

/* `fn` is called on the loop, once for all suspicions since the last call. NULL fn: no longer. Control loop.
 */
void topology_follow(struct redis_topology *t, struct loop *loop, void (*fn)(void *arg), void *arg);

/* A follower: keeps the map true. `changed` is called on the loop after the map or a node's place has
 * changed. Created by redis_watch; control loop only. */
struct follower_options {
    struct loop *loop;
    struct redis_topology *topology;
    struct metrics_cell *cell;
    void (*changed)(void *arg);
    void *arg;
};

#endif
