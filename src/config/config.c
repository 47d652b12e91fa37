/* config: the table as data, and a load from its three sources in order. A load fills a struct of its own and
 * hands it over only when everything in it holds together, so a caller never sees half a configuration. Each
 * option remembers where its value came from: a complaint about two options that don't fit names a line too.
 */
#include "config/config.h"

#include "config/config_room.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct config_option config_options[CONFIG_OPTIONS] = {
#define ROW(s, n) .section = #s, .name = #n, .offset = offsetof(struct config, s##_##n)
#define INT(s, n, def, min, max, units, text)                                                                \
    {ROW(s, n),        .kind = CONFIG_INT, .int_def = (def), .int_min = (min),                               \
     .int_max = (max), .unit = (units),    .doc = (text)},
#define STR(s, n, def, text) {ROW(s, n), .kind = CONFIG_STR, .str_def = (def), .unit = "", .doc = (text)},
#define NUM(s, n, def, min, max, text)                                                                       \
    {ROW(s, n),        .kind = CONFIG_NUM, .num_def = (def), .num_min = (min),                               \
     .num_max = (max), .unit = "",         .doc = (text)},
#define BOOL(s, n, def, text) {ROW(s, n), .kind = CONFIG_BOOL, .bool_def = (def), .unit = "", .doc = (text)},
#include "config/options.def"
#undef INT
#undef STR
#undef NUM
#undef BOOL
#undef ROW
};

static void set_text(struct config_error *error, const char *format, va_list args)
{
    (void)vsnprintf(error->text, sizeof error->text, format, args);
    for (char *c = error->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
}

/* Prefixes the place. Written in two steps because the place itself may hold what the user typed. */
static bool fail(struct config_load *load, const char *place, const char *format, va_list args)
{
    struct config_error what = {""};
    set_text(&what, format, args);
    (void)snprintf(load->error->text, sizeof load->error->text, "%s: %.*s", place,
                   (int)(sizeof load->error->text - strlen(place) - 3), what.text);
    return false;
}

static void file_place(const struct config_load *load, int line, char *out, size_t size)
{
    const char *path = load->path;
    size_t len = strlen(path), room = 200;
    const char *shown = len > room ? path + len - room : path; /* a path's end says more than its start */
    if (line > 0)
        (void)snprintf(out, size, "%s:%d", shown, line);
    else
        (void)snprintf(out, size, "%s", shown);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
}

bool config_fail_at(struct config_load *load, int line, const char *format, ...)
{
    char place[256];
    file_place(load, line, place, sizeof place);
    va_list args;
    va_start(args, format);
    fail(load, place, format, args);
    va_end(args);
    return false;
}

bool config_fail_option(struct config_load *load, size_t at, const char *format, ...)
{
    const struct config_option *o = &config_options[at];
    char place[384], prefix[256] = "";
    if (load->line[at] > 0) file_place(load, load->line[at], prefix, sizeof prefix);
    if (load->line[at] == CONFIG_LINE_ENV)
        config_env_name(o, place);
    else
        (void)snprintf(place, sizeof place, "%s%s%s.%s", prefix, *prefix ? ": " : "", o->section, o->name);
    va_list args;
    va_start(args, format);
    fail(load, place, format, args);
    va_end(args);
    return false;
}

void config_env_name(const struct config_option *o, char out[CONFIG_ENV_NAME_SIZE])
{
    (void)snprintf(out, CONFIG_ENV_NAME_SIZE, "PHOENIX_%s_%s", o->section, o->name);
    for (char *c = out; *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
}

static bool load_defaults(struct config_load *load)
{
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        char *field = (char *)&load->config + o->offset;
        switch (o->kind) {
        case CONFIG_INT:
            memcpy(field, &o->int_def, sizeof o->int_def);
            break;
        case CONFIG_NUM:
            memcpy(field, &o->num_def, sizeof o->num_def);
            break;
        case CONFIG_BOOL:
            memcpy(field, &o->bool_def, sizeof o->bool_def);
            break;
        case CONFIG_STR: {
            char *copy = strdup(o->str_def);
            if (!copy) return config_fail_option(load, i, "no memory");
            memcpy(field, &copy, sizeof copy);
            break;
        }
        }
    }
    return true;
}

/* Kubernetes hands every pod variables that are made of its services' names, so a service that is called
 * phoenix-something would otherwise bring a page of warnings. */
static bool is_service_link(const char *name, const char *value)
{
    static const struct {
        const char *name, *value; /* a pattern, and how the value begins */
    } links[] = {
        {"*_SERVICE_HOST", ""},     {"*_SERVICE_PORT", ""},     {"*_SERVICE_PORT_*", ""},
        {"*_PORT", "tcp://"},       {"*_PORT", "udp://"},       {"*_PORT", "sctp://"},
        {"*_PORT_[0-9]*_TCP*", ""}, {"*_PORT_[0-9]*_UDP*", ""}, {"*_PORT_[0-9]*_SCTP*", ""},
    };
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (fnmatch(links[i].name, name, 0) == 0 &&
            strncmp(value, links[i].value, strlen(links[i].value)) == 0)
            return true;
    return false;
}

static size_t find_env(const char *name)
{
    char known[CONFIG_ENV_NAME_SIZE];
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        config_env_name(&config_options[i], known);
        if (strcmp(name, known) == 0) return i;
    }
    return CONFIG_OPTIONS;
}

static void warn_unknown(const char *name, config_warn_fn *warn, void *arg)
{
    struct config_error text;
    (void)snprintf(text.text, sizeof text.text,
                   "%.128s: there is no such option, the variable is ignored; --help lists the options",
                   name);
    for (char *c = text.text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    warn(arg, text.text);
}

static bool load_environment(struct config_load *load, char *const environment[], config_warn_fn *warn,
                             void *warn_arg)
{
    static const char prefix[] = "PHOENIX_";
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!equals || strncmp(*environment, prefix, sizeof prefix - 1) != 0) continue;
        char name[256];
        (void)snprintf(name, sizeof name, "%.*s", (int)(equals - *environment), *environment);
        size_t at = find_env(name);
        if (at == CONFIG_OPTIONS) {
            if (warn && !is_service_link(name, equals + 1)) warn_unknown(name, warn, warn_arg);
            continue;
        }
        if (load->line[at] == CONFIG_LINE_ENV) continue; /* listed twice: the first counts, as for getenv */
        if (!config_set(load, at, slice_of(equals + 1), CONFIG_LINE_ENV)) return false;
    }
    return true;
}

static bool one_of(const char *text, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(text, *names) == 0) return true;
    return false;
}

/* Of two options that don't fit, complains about one that was set, not about a default. */
static bool refuse_open_ms(struct config_load *load)
{
    long long low = load->config.breaker_open_min_ms, high = load->config.breaker_open_max_ms;
    if (load->line[CONFIG_AT_breaker_open_max_ms] != CONFIG_LINE_DEFAULT)
        return config_fail_option(load, CONFIG_AT_breaker_open_max_ms,
                                  "%lld is below breaker.open_min_ms (%lld); raise it or lower that", high,
                                  low);
    return config_fail_option(load, CONFIG_AT_breaker_open_min_ms,
                              "%lld is above breaker.open_max_ms (%lld); lower it or raise that", low, high);
}

/* Ids of tasks that were finished during an outage must still count when the last of it is handed back. */
static bool refuse_dedupe(struct config_load *load)
{
    long long dedupe = load->config.tasks_dedupe, age = load->config.spool_age_max;
    if (load->line[CONFIG_AT_tasks_dedupe] != CONFIG_LINE_DEFAULT)
        return config_fail_option(load, CONFIG_AT_tasks_dedupe,
                                  "%lld is below spool.age_max (%lld); raise it or lower that", dedupe, age);
    return config_fail_option(load, CONFIG_AT_spool_age_max,
                              "%lld is above tasks.dedupe (%lld); lower it or raise that", age, dedupe);
}

static bool check_prefix(struct config_load *load)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-";
    const char *prefix = load->config.redis_prefix;
    size_t len = strlen(prefix);
    if (len >= 1 && len <= 64 && strspn(prefix, allowed) == len) return true;
    return config_fail_option(load, CONFIG_AT_redis_prefix, "give 1 to 64 of A-Z a-z 0-9 . _ : @ -");
}

static bool check_whole(struct config_load *load)
{
    const struct config *c = &load->config;
    if (!one_of(c->log_level, (const char *const[]){"debug", "info", "warn", "error", NULL}))
        return config_fail_option(load, CONFIG_AT_log_level,
                                  "\"%.40s\" is no level; give debug, info, warn or error", c->log_level);
    if (!one_of(c->log_format, (const char *const[]){"logfmt", "json", NULL}))
        return config_fail_option(load, CONFIG_AT_log_format, "\"%.40s\" is no format; give logfmt or json",
                                  c->log_format);
    if (!one_of(c->http_access_log, (const char *const[]){"off", "errors", "all", "true", "false", NULL}))
        return config_fail_option(load, CONFIG_AT_http_access_log,
                                  "\"%.40s\" is no access log; give off, errors or all", c->http_access_log);
    if (c->breaker_open_max_ms < c->breaker_open_min_ms) return refuse_open_ms(load);
    if (c->tasks_dedupe < c->spool_age_max) return refuse_dedupe(load);
    if (c->local_bytes_max > 0 && c->local_pending_bytes_max > c->local_bytes_max)
        return config_fail_option(load, CONFIG_AT_local_pending_bytes_max,
                                  "%lld is above local.bytes_max (%lld); lower it, or give 0 for a quarter",
                                  (long long)c->local_pending_bytes_max, (long long)c->local_bytes_max);
    return check_prefix(load);
}

bool config_load(struct config *out, const char *path, char *const environment[], config_warn_fn *warn,
                 void *warn_arg, struct config_error *out_error)
{
    struct config_load load = {.path = path, .error = out_error};
    if (load_defaults(&load) && (!path || config_read_file(&load)) &&
        (!environment || load_environment(&load, environment, warn, warn_arg)) && check_whole(&load)) {
        *out = load.config;
        return true;
    }
    config_deinit(&load.config);
    memset(out, 0, sizeof *out);
    return false;
}

void config_deinit(struct config *c)
{
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        if (config_options[i].kind != CONFIG_STR) continue;
        char *text;
        memcpy(&text, (char *)c + config_options[i].offset, sizeof text);
        free(text);
    }
    memset(c, 0, sizeof *c);
}
