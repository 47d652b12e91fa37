/* topology_sentinel: keeps the one node of a topology at the master that sentinels name. A follower
 * (topology_private.h); control loop only. */
#ifndef PHOENIX_ENGINE_REDIS_TOPOLOGY_SENTINEL_H
#define PHOENIX_ENGINE_REDIS_TOPOLOGY_SENTINEL_H

#include "topology_private.h"

struct topology_sentinel;

struct topology_sentinel *
topology_sentinel_create(const struct follower_options *options); /* NULL: no memory */
void topology_sentinel_destroy(struct topology_sentinel **follower);

#endif
