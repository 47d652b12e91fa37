/* config_room: what the files of this room share: the table as data, and the state of one load. */
#ifndef PHOENIX_CONFIG_CONFIG_ROOM_H
#define PHOENIX_CONFIG_CONFIG_ROOM_H

#include "config/config.h"
#include "util/slice.h"

enum config_kind { CONFIG_INT, CONFIG_STR, CONFIG_NUM, CONFIG_BOOL };

/* A row of options.def. Of the typed members only those of `kind` mean something. */
struct config_option {
    const char *section, *name, *unit, *doc;
    enum config_kind kind;
    size_t offset; /* of the field in struct config */
    int64_t int_def, int_min, int_max;
    double num_def, num_min, num_max;
    const char *str_def;
    bool bool_def;
};

enum {
#define INT(section, name, def, min, max, unit, doc) CONFIG_AT_##section##_##name,
#define STR(section, name, def, doc)                 CONFIG_AT_##section##_##name,
#define NUM(section, name, def, min, max, doc)       CONFIG_AT_##section##_##name,
#define BOOL(section, name, def, doc)                CONFIG_AT_##section##_##name,
#include "config/options.def"
#undef INT
#undef STR
#undef NUM
#undef BOOL
    CONFIG_OPTIONS
};

extern const struct config_option config_options[CONFIG_OPTIONS];

/* Where an option got its value: line 0 is the built-in default, CONFIG_LINE_ENV the environment. */
enum { CONFIG_LINE_DEFAULT = 0, CONFIG_LINE_ENV = -1 };

struct config_load {
    struct config config;
    const char *path;
    int line[CONFIG_OPTIONS];
    struct config_error *error;
};

/* Each returns false, so that a caller can return what it says. The text is made printable; of values only
 * those of numbers and enumerations are ever shown, for a URL may hold a password. */
bool config_fail_at(struct config_load *load, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool config_fail_option(struct config_load *load, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets option `at` from its text; `line` as above. False: the reason is in load->error. */
bool config_set(struct config_load *load, size_t at, struct slice text, int line);
/* Reads load->path. */
bool config_read_file(struct config_load *load);

/* The shortest text that reads back as the same number. */
void config_append_number(struct buf *out, double value);
/* "PHOENIX_HTTP_LISTEN" */
enum { CONFIG_ENV_NAME_SIZE = 96 };
void config_env_name(const struct config_option *o, char out[CONFIG_ENV_NAME_SIZE]);

#endif
