/* app: builds the house upward and tears it down in reverse. */
#ifndef PHOENIX_APP_H
#define PHOENIX_APP_H

#include "config/config.h"

#include <stdbool.h>

/* --check-config: what a start would refuse before it opens anything. */
bool app_check(const struct config *config, char *error, size_t error_size);

/* Runs until SIGTERM or SIGINT. False when the start failed, with one line in `error`. `config_path` (may be
 * NULL) is read again on SIGHUP. */
bool app_run(struct config *config, const char *config_path, char *error, size_t error_size);

#endif
