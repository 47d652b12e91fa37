/* cluster_map: what a node of a cluster says: who serves which slot (CLUSTER SLOTS), how it sees the cluster
 * (CLUSTER INFO), and where a call is to go instead (MOVED, ASK). Pure. */
#ifndef PHOENIX_ENGINE_REDIS_CLUSTER_MAP_H
#define PHOENIX_ENGINE_REDIS_CLUSTER_MAP_H

#include "engine/redis/pool.h"

#include "slot.h"

/* More masters than the topology has room for, so that what is left out can be told. */
enum { CLUSTER_MAP_NODES_MAX = 128, CLUSTER_MAP_NOBODY = 255 };

struct cluster_map {
    uint64_t epoch; /* the cluster's, as the node that was asked knows it */
    bool ok;        /* it says cluster_state:ok */
    unsigned slots; /* that somebody serves */
    unsigned count;
    struct redis_address nodes[CLUSTER_MAP_NODES_MAX];
    uint8_t owner[REDIS_SLOTS]; /* index into nodes, or CLUSTER_MAP_NOBODY */
};

/* Of CLUSTER INFO's text. False: no such text. */
bool cluster_map_take_info(struct cluster_map *map, struct slice info);
/* Of CLUSTER SLOTS' reply. `asked`: whom; the host of nodes that come without one ("", NULL, "?"). False:
 * another shape, or nobody serves anything. */
bool cluster_map_take_slots(struct cluster_map *map, const struct redis_reply *reply, const char *asked);

/* "MOVED 3999 127.0.0.1:6381", "ASK 3999 :6381", "MOVED 3999 ::1:6381". False: of another form. */
bool cluster_redirection(struct slice text, const char *asked, unsigned *out_slot,
                         struct redis_address *out_to);

#endif
