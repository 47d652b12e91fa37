/* What conn.c needs of a node beyond its public face. */
#ifndef PHOENIX_ENGINE_REDIS_NODE_PRIVATE_H
#define PHOENIX_ENGINE_REDIS_NODE_PRIVATE_H

#include "engine/redis/node.h"

enum { RUN_ID_SIZE = 41, CONDEMNED_MAX = 256, CONDEMNED_BATCH = 4 };

/* A connection that was given up with commands in flight: its client id in the server process of that run id.
 */
struct condemned {
    int64_t client_id;
    char run_id[RUN_ID_SIZE];
};

/* Which of the host's addresses to try. A failed connect moves on from the one it used, once however many
 * failed on it. */
unsigned redis_node_turn(const struct redis_node *node);
void redis_node_next_turn(struct redis_node *node, unsigned used);

/* The server there is not what it is asked as: connections opened until now (at this count of moves) take no
 * more calls. Once however many find out. */
void redis_node_leave(struct redis_node *node, unsigned moves);
/* The same of a replica behind a plain name, which may lead to the master by now: connections are made anew,
 * at most once a second, and it is logged. Nothing for other kinds. */
void redis_node_leave_replica(struct redis_node *node, unsigned moves);

/* It has refused a call, in these words. True: they are worth a line in the log. The same word is so every 10
 * s at the most, what an ACL refuses (NOPERM) for each thing; two that alternate, every 100 ms. */
bool redis_node_note_refusal(struct redis_node *node, const char *error);

/* Its circuit is closed, or nobody would close it: who serves nothing is not probed, and yet is called for a
 * slot that is on its way there (ASK). */
bool redis_node_takes_calls(const struct redis_node *node);

/* Whether changes under the watched prefix are heard of, since before now, from where the node was after so
 * many moves. Only a cluster's nodes are told apart: of others the watch says it of all (watch.h), so they
 * are. */
bool redis_node_covered(const struct redis_node *node, unsigned moves);
void redis_node_set_covered(struct redis_node *node, unsigned moves, bool covered);

/* Over CONDEMNED_MAX the oldest is forgotten, and logged. */
void redis_node_condemn(struct redis_node *node, const struct condemned *c);
/* Forgets those of another server process (they died with it), and copies up to CONDEMNED_BATCH of the rest.
 */
size_t redis_node_condemned(struct redis_node *node, const char *run_id,
                            struct condemned out[CONDEMNED_BATCH]);
void redis_node_absolve(struct redis_node *node, const struct condemned *list, size_t count);

#endif
