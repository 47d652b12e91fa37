/* config: every option once (options.def), from built-in defaults, then an INI file, then the environment
 * (PHOENIX_<SECTION>_<OPTION>). Pure: touches nothing but the file it is told to read. */
#ifndef PHOENIX_CONFIG_CONFIG_H
#define PHOENIX_CONFIG_CONFIG_H

#include "util/buf.h"

#include <stdint.h>

/* Fields are <section>_<name>. Strings are owned and never NULL. */
struct config {
#define INT(section, name, def, min, max, unit, doc) int64_t section##_##name;
#define STR(section, name, def, doc)                 char *section##_##name;
#define NUM(section, name, def, min, max, doc)       double section##_##name;
#define BOOL(section, name, def, doc)                bool section##_##name;
#include "config/options.def"
#undef INT
#undef STR
#undef NUM
#undef BOOL
};

struct config_error {
    char text[512]; /* one line that names the place: file:line, or the variable, and the remedy */
};

/* A warning for each unknown PHOENIX_* variable that is no service link of Kubernetes: …_PORT=tcp://…,
 * …_PORT_80_TCP…, …_SERVICE_HOST, …_SERVICE_PORT…. */
typedef void config_warn_fn(void *arg, const char *text);

/* Loads defaults, then `path` (NULL: no file), then `environment` (as environ; NULL: none). False, with
 * *out_error set and *out released, on an unknown option in the file, a value of the wrong type or out of
 * range, combinations that cannot work (log.level, log.format or http.access_log not in their enumeration,
 * breaker.open_max_ms < open_min_ms, local.pending_bytes_max > bytes_max when both are set), or an unreadable
 * file. */
bool config_load(struct config *out, const char *path, char *const environment[], config_warn_fn *warn,
                 void *warn_arg, struct config_error *out_error);
void config_deinit(struct config *c);

/* Appends the sample configuration (every option, commented out, with its doc, unit, range and default). */
void config_write_sample(struct buf *out);
/* Appends the effective configuration as an INI file, for --print-config. The password in redis.url is shown
 * as ***. */
void config_write(const struct config *c, struct buf *out);
/* Appends the option list for --help, a line each. */
void config_write_help(struct buf *out);
/* Appends a Markdown table of the options, for docs/. */
void config_write_markdown(struct buf *out);
/* Appends the options as the sections of a manual page, in roff. */
void config_write_man(struct buf *out);

#endif
