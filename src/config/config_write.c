/* config_write: the table and a configuration as text, for --help, --print-config, the sample file and the
 * docs. What --print-config prints reads back as the same configuration, but for a password. */
#include "config/config_room.h"
#include "util/roff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_append_number(struct buf *out, double value)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    buf_append_text(out, text);
}

/* 8388608 as 8MiB: what a person would write. */
static void append_int(struct buf *out, const struct config_option *o, int64_t value)
{
    static const char *const units[] = {"TiB", "GiB", "MiB", "KiB"};
    if (strcmp(o->unit, "bytes") == 0 && value > 0)
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            int64_t factor = (int64_t)1 << (40 - 10 * i);
            if (value % factor) continue;
            buf_append_i64(out, value / factor);
            buf_append_text(out, units[i]);
            return;
        }
    buf_append_i64(out, value);
}

static void append_default(struct buf *out, const struct config_option *o)
{
    switch (o->kind) {
    case CONFIG_INT:
        append_int(out, o, o->int_def);
        break;
    case CONFIG_NUM:
        config_append_number(out, o->num_def);
        break;
    case CONFIG_BOOL:
        buf_append_text(out, o->bool_def ? "true" : "false");
        break;
    case CONFIG_STR:
        buf_append_text(out, o->str_def);
        break;
    }
}

/* "1 to 60000 ms"; nothing for what has no range. */
static void append_range(struct buf *out, const struct config_option *o)
{
    if (o->kind == CONFIG_INT) {
        append_int(out, o, o->int_min);
        buf_append_text(out, " to ");
        append_int(out, o, o->int_max);
        if (*o->unit && strcmp(o->unit, "bytes") != 0) buf_printf(out, " %s", o->unit);
    } else if (o->kind == CONFIG_NUM) {
        config_append_number(out, o->num_min);
        buf_append_text(out, " to ");
        config_append_number(out, o->num_max);
    } else if (o->kind == CONFIG_BOOL) {
        buf_append_text(out, "true or false");
    }
}

static void begin_section(struct buf *out, size_t at)
{
    const char *section = config_options[at].section;
    if (at > 0 && strcmp(config_options[at - 1].section, section) == 0) return;
    buf_printf(out, "%s[%s]\n", at > 0 ? "\n" : "", section);
}

void config_write_sample(struct buf *out)
{
    buf_append_text(
        out,
        "# phoenix-cached: every option with its default. Generated from include/config/options.def by "
        "`make docs`.\n"
        "# An option is also read from the environment, which wins over this file: [http] listen is\n"
        "# PHOENIX_HTTP_LISTEN. Sizes take KiB, MiB and GiB. A comment stands on a line of its own.\n\n");
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        begin_section(out, i);
        buf_printf(out, "# %s", o->doc);
        if (o->kind != CONFIG_STR) {
            buf_append_text(out, " (");
            append_range(out, o);
            buf_append_char(out, ')');
        }
        buf_printf(out, "\n#%s =", o->name);
        if (o->kind != CONFIG_STR || *o->str_def) buf_append_char(out, ' ');
        append_default(out, o);
        buf_append_char(out, '\n');
    }
}

/* A URL without its password. "scheme://secret@host" is one too: some programs read it so. Where the text is
 * no URL at all, rather too much is hidden than too little. */
static void append_url(struct buf *out, const char *url)
{
    const char *start = strstr(url, "://");
    start = start ? start + 3 : url;
    const char *at = strrchr(start, '@');
    if (!at) {
        buf_append_text(out, url);
        return;
    }
    const char *colon = memchr(start, ':', (size_t)(at - start));
    const char *shown_to = colon ? colon + 1 : start;
    buf_append(out, url, (size_t)(shown_to - url));
    buf_append_text(out, "***");
    buf_append_text(out, at);
}

static bool is_url(const struct config_option *o)
{
    size_t len = strlen(o->name);
    return len >= 3 && strcmp(o->name + len - 3, "url") == 0;
}

void config_write(const struct config *c, struct buf *out)
{
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        struct config_option value = *o;
        const char *field = (const char *)c + o->offset;
        switch (o->kind) {
        case CONFIG_INT:
            memcpy(&value.int_def, field, sizeof value.int_def);
            break;
        case CONFIG_NUM:
            memcpy(&value.num_def, field, sizeof value.num_def);
            break;
        case CONFIG_BOOL:
            memcpy(&value.bool_def, field, sizeof value.bool_def);
            break;
        case CONFIG_STR:
            memcpy(&value.str_def, field, sizeof value.str_def);
            break;
        }
        begin_section(out, i);
        buf_printf(out,
                   "%s=", o->name); /* no blanks: a line of the greatest length read must not grow over it */
        if (is_url(o))
            append_url(out, value.str_def);
        else
            append_default(out, &value);
        buf_append_char(out, '\n');
    }
}

void config_write_help(struct buf *out)
{
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        struct buf left = {0};
        buf_printf(&left, "%s.%s = ", o->section, o->name);
        append_default(&left, o);
        buf_printf(out, "  %-42.*s %s", (int)left.len, left.ptr ? left.ptr : "", o->doc);
        if (left.failed) out->failed = true;
        buf_deinit(&left);
        if (o->kind == CONFIG_INT || o->kind == CONFIG_NUM) {
            buf_append_text(out, " (");
            append_range(out, o);
            buf_append_char(out, ')');
        }
        buf_append_char(out, '\n');
    }
}

/* A '|' would end the cell. */
static void append_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|') buf_append_char(out, '\\');
        buf_append_char(out, *text);
    }
}

void config_write_markdown(struct buf *out)
{
    buf_append_text(out, "| option | environment | default | range | meaning |\n"
                         "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        char env[CONFIG_ENV_NAME_SIZE];
        config_env_name(o, env);
        buf_printf(out, "| `%s.%s` | `%s` | ", o->section, o->name, env);
        bool empty = o->kind == CONFIG_STR && !*o->str_def;
        if (!empty) buf_append_char(out, '`');
        append_default(out, o);
        if (!empty) buf_append_char(out, '`');
        buf_append_text(out, " | ");
        append_range(out, o);
        buf_append_text(out, " | ");
        append_cell(out, o->doc);
        buf_append_text(out, " |\n");
    }
}

static void append_man_facts(struct buf *out, const struct config_option *o)
{
    struct buf text = {0};
    char env[CONFIG_ENV_NAME_SIZE];
    config_env_name(o, env);
    if (o->kind != CONFIG_STR) {
        append_range(&text, o);
        buf_append_text(&text, "; ");
    }
    buf_printf(&text, "environment %s", env);
    buf_append_char(&text, 0);
    if (text.failed)
        out->failed = true;
    else
        roff_append(out, text.ptr);
    buf_deinit(&text);
}

void config_write_man(struct buf *out)
{
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        struct buf value = {0};
        append_default(&value, o);
        buf_append_char(&value, 0);
        if (i == 0 || strcmp(config_options[i - 1].section, o->section) != 0)
            buf_printf(out, ".SS [%s]\n", o->section);
        buf_printf(out, ".TP\n\\fB%s\\fR = ", o->name);
        if (value.failed)
            out->failed = true;
        else
            roff_append(out, *value.ptr ? value.ptr : "(empty)");
        buf_append_char(out, '\n');
        roff_append(out, o->doc);
        buf_append_text(out, "\n.br\n(");
        append_man_facts(out, o);
        buf_append_text(out, ")\n");
        buf_deinit(&value);
    }
}
