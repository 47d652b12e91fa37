/* node: what all connections to one Redis share: where it is, who we are there, its circuit, its clock, and
 * the connections given up whose last commands may still be in its buffers ("condemned"). Any thread, except
 * node_reload_password. */
#ifndef PHOENIX_ENGINE_REDIS_NODE_H
#define PHOENIX_ENGINE_REDIS_NODE_H

#include "engine/redis/breaker.h"
#include "engine/redis/tls.h"
#include "engine/redis/url.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "util/clock.h"

#include <stdint.h>

struct redis_node;

struct redis_node_options {
    const struct redis_url *url; /* borrowed; outlives the node */
    const char *password_file;   /* "": none; takes precedence over the URL's password */
    struct redis_tls *tls;       /* borrowed; NULL: none */
    int64_t connect_timeout_ms;
    int64_t command_timeout_ms;
    struct breaker_options breaker; /* clock and thresholds; on_change is set by the node */
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    /* Told after each change of the circuit, by any thread, besides the node's own log line and metrics. */
    void (*on_change)(void *arg, enum breaker_state to);
    void *arg;
};

/* NULL with a line in `error`: no memory, or the password file cannot be read. */
struct redis_node *redis_node_create(const struct redis_node_options *options, char *error,
                                     size_t error_size);
void redis_node_destroy(struct redis_node **node);

struct breaker *redis_node_breaker(struct redis_node *node);
const struct redis_node_options *redis_node_options(const struct redis_node *node);
/* "host:port" or the socket's path, for log lines and /readyz. */
const char *redis_node_name(const struct redis_node *node);

/* Reads the file again (small; control thread only). False with a line in `error`: the old password stays. */
bool redis_node_reload_password(struct redis_node *node, char *error, size_t error_size);
/* Whether a server refused our password since the last reload. */
bool redis_node_password_refused(struct redis_node *node);

/* Wall clock as this Redis tells it: ours plus the offset last measured. */
int64_t redis_node_wall_ms(const struct redis_node *node);
void redis_node_set_offset(struct redis_node *node, int64_t offset_ms);

/* No connection is condemned: every write that was given up has either run or never will. */
bool redis_node_quiet(const struct redis_node *node);

#endif
