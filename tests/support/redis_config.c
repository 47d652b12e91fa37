/* redis_config: line by line; what a line is about are its first word or, for Sentinel's, its first two. */
#include "redis_config.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The length of what a line is about. */
static size_t subject(const char *line)
{
    size_t first = strcspn(line, " \n");
    if (first != 8 || strncmp(line, "sentinel", 8) != 0 || line[first] != ' ') return first;
    return first + 1 + strcspn(line + first + 1, " \n");
}

static bool says(const char *lines, const char *line)
{
    size_t len = subject(line);
    if (len == 0 || *line == '#') return false;
    for (const char *at = lines; *at;) {
        if (subject(at) == len && strncmp(at, line, len) == 0) return true;
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    return false;
}

static void copy(FILE *out, const char *name, const char *lines)
{
    char path[TEST_PATH_MAX];
    char below[64];
    size_t len = 0;
    char *text = file_read(repository_path(path, FORMAT(below, "config/redis/%s", name)), &len);
    ck_assert_msg(len > 0, "%s is absent or empty", path);
    for (const char *line = text; *line;) {
        size_t end = strcspn(line, "\n");
        if (!says(lines, line)) ck_assert_int_ge(fprintf(out, "%.*s\n", (int)end, line), 0);
        line += end + (line[end] == '\n');
    }
    free(text);
}

void redis_config_write(const char *path, const char *const names[], size_t count, const char *lines)
{
    FILE *out = fopen(path, "wbe");
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < count && names[i]; i++)
        copy(out, names[i], lines);
    ck_assert(fputs(lines, out) >= 0);
    ck_assert(fclose(out) == 0);
}
