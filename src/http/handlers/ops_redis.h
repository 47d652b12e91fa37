/* ops_redis: what the operations' answers say of each Redis node, from memory. */
#ifndef PHOENIX_HTTP_HANDLERS_OPS_REDIS_H
#define PHOENIX_HTTP_HANDLERS_OPS_REDIS_H

#include "http/house.h"
#include "util/json_doc.h"

/* Each serving node, with its circuit; `all`: also what it told of itself. */
void ops_redis_put(struct house_shared *shared, struct json_node *list, bool all);
/* What is wrong with how a Redis is set up, as far as the daemon sees. */
void ops_redis_warn(struct house_shared *shared, struct json_node *warnings);
/* Brings the nodes' gauges up to date. Under scrape_lock. */
void ops_redis_collect(struct house_shared *shared);

#endif
