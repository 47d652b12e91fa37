/* redis_config: the configuration file of a test's own server: the product's (config/redis/), with the
 * test's lines in place of those that say the same. A copy, because Sentinel, Cluster and CONFIG REWRITE
 * write into the file that they were started with. */
#ifndef TESTS_SUPPORT_REDIS_CONFIG_H
#define TESTS_SUPPORT_REDIS_CONFIG_H

#include <stddef.h>

/* `names`: `count` files of config/redis/, one laid over the other; a NULL ends them early. `lines`: the
 * test's; each ends with a newline. */
void redis_config_write(const char *path, const char *const names[], size_t count, const char *lines);

#endif
