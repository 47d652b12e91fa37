/* topology_cluster: follows a cluster: asks its nodes who serves which slot, and keeps the topology so.
 * Control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_TOPOLOGY_CLUSTER_H
#define PHOENIX_ENGINE_REDIS_TOPOLOGY_CLUSTER_H

#include "topology_private.h"

struct topology_cluster;

struct topology_cluster *
topology_cluster_create(const struct follower_options *options); /* NULL: no memory */
void topology_cluster_destroy(struct topology_cluster **cluster);

#endif
