/* config_file: the INI file, by inih, fed line by line by a reader of our own, because inih alone
 *   - takes what is over its line buffer (200 bytes in Debian's build) as a line of its own,
 *   - takes an indented option as a second value of the one before,
 *   - ends a line at a NUL, ignores what stands behind "[section]", and tells a handler no line number.
 * The reader counts lines, cuts indentation, leaves comments out, and refuses the rest by name.
 * (What inih's variables could be set to instead is not in every distribution's build, and is process-wide.)
 */
#include "config/config_room.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1024 * 1024 };

struct source {
    struct config_load *load;
    struct slice rest;
    int line;
    int failed_line; /* where load->error was set; nothing is read after it */
};

static bool fail_here(struct source *s)
{
    s->failed_line = s->line;
    return false;
}

/* "http, admin, redis" or, with a section, its options. */
static void list_names(const char *section, struct buf *out)
{
    const char *last = "";
    for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
        const struct config_option *o = &config_options[i];
        if (section ? strcmp(o->section, section) != 0 : strcmp(o->section, last) == 0) continue;
        if (out->len) buf_append_text(out, ", ");
        buf_append_text(out, section ? o->name : o->section);
        last = o->section;
    }
    buf_append_char(out, '\0');
}

static bool refuse_unknown(struct source *s, const char *section, const char *name)
{
    struct buf names = {0};
    list_names(name ? section : NULL, &names);
    const char *known = names.failed ? "see --help" : names.ptr;
    if (name)
        config_fail_at(s->load, s->line, "[%s] has no option \"%.60s\"; it has %s", section, name, known);
    else
        config_fail_at(s->load, s->line, "there is no section [%.60s]; there are %s", section, known);
    buf_deinit(&names);
    return fail_here(s);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice next_line(struct source *s)
{
    const char *end = memchr(s->rest.ptr, '\n', s->rest.len);
    size_t len = end ? (size_t)(end - s->rest.ptr) : s->rest.len;
    struct slice line = {s->rest.ptr, len};
    size_t used = len + (end ? 1 : 0);
    s->rest = (struct slice){s->rest.ptr + used, s->rest.len - used};
    s->line++;
    while (line.len && is_space(line.ptr[0]))
        line = (struct slice){line.ptr + 1, line.len - 1};
    while (line.len && is_space(line.ptr[line.len - 1]))
        line.len--;
    return line;
}

/* inih looks into a section only when an option follows; a misspelt one must not go unnoticed until then. */
static bool check_section(struct source *s, struct slice line)
{
    const char *close = memchr(line.ptr, ']', line.len);
    if (!close) {
        config_fail_at(s->load, s->line, "\"[\" without \"]\"; write [section]");
        return fail_here(s);
    }
    char name[64] = "";
    size_t len = (size_t)(close - line.ptr) - 1;
    memcpy(name, line.ptr + 1, len < sizeof name - 1 ? len : sizeof name - 1);
    size_t at = 0;
    while (at < CONFIG_OPTIONS && strcmp(config_options[at].section, name) != 0)
        at++;
    if (at == CONFIG_OPTIONS) return refuse_unknown(s, name, NULL);
    const char *tail = close + 1, *end = line.ptr + line.len;
    while (tail < end && is_space(*tail))
        tail++;
    if (tail < end && *tail != ';' && *tail != '#') {
        config_fail_at(s->load, s->line, "something stands behind [%s]; put it on the next line", name);
        return fail_here(s);
    }
    return true;
}

static bool check_line(struct source *s, struct slice line, int num)
{
    if (memchr(line.ptr, '\0', line.len)) {
        config_fail_at(s->load, s->line,
                       "holds a NUL byte; this is no text file, or UTF-16: save it as UTF-8");
        return fail_here(s);
    }
    if (line.len + 2 > (size_t)num) {
        config_fail_at(s->load, s->line,
                       "the line has %zu bytes, %d are the most; give the option in the environment instead "
                       "(PHOENIX_<SECTION>_<OPTION>)",
                       line.len, num - 2);
        return fail_here(s);
    }
    return line.ptr[0] != '[' || check_section(s, line);
}

/* fgets to inih: always a whole line with its end. */
static char *read_line(char *str, int num, void *stream)
{
    struct source *s = stream;
    if (s->failed_line || s->rest.len == 0) return NULL;
    struct slice line = next_line(s);
    if (line.len && (line.ptr[0] == ';' || line.ptr[0] == '#')) line.len = 0;
    if (line.len && !check_line(s, line, num)) return NULL;
    if (line.len) memcpy(str, line.ptr, line.len);
    str[line.len] = '\n';
    str[line.len + 1] = '\0';
    return str;
}

static int on_option(void *user, const char *section, const char *name, const char *value)
{
    struct source *s = user;
    if (s->failed_line) return 1;
    if (!*section) {
        config_fail_at(s->load, s->line,
                       "\"%.60s\" stands before any section; write a line like [http] above it", name);
        return fail_here(s), 1;
    }
    size_t at = 0;
    while (at < CONFIG_OPTIONS &&
           (strcmp(config_options[at].section, section) != 0 || strcmp(config_options[at].name, name) != 0))
        at++;
    if (at == CONFIG_OPTIONS) {
        refuse_unknown(s, section, name);
    } else if (s->load->line[at] > 0) {
        config_fail_at(s->load, s->line, "%s.%s was given in line %d already; remove one", section, name,
                       s->load->line[at]);
        fail_here(s);
    } else if (!config_set(s->load, at, slice_of(value), s->line)) {
        fail_here(s);
    }
    return 1; /* 0 would be inih's own error; ours has a text */
}

/* Regular files, pipes and /dev/fd alike. */
static bool read_whole(struct config_load *load, struct buf *out)
{
    int fd = open(load->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return config_fail_at(load, 0, "%s; give a file that can be read", strerror(errno));
    bool ok = true;
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) ok = config_fail_at(load, 0, "%s; give a file that can be read", strerror(errno));
        if (n <= 0) break;
        buf_append(out, chunk, (size_t)n);
        if (out->failed || out->len > FILE_BYTES_MAX) {
            ok = config_fail_at(load, 0, "is over %d bytes; this is no configuration", FILE_BYTES_MAX);
            break;
        }
    }
    close(fd);
    return ok;
}

bool config_read_file(struct config_load *load)
{
    struct buf text = {.max = FILE_BYTES_MAX + 16384};
    bool ok = read_whole(load, &text);
    if (ok && text.len) {
        struct source s = {.load = load, .rest = buf_slice(&text)};
        if (s.rest.len >= 3 && memcmp(s.rest.ptr, "\xEF\xBB\xBF", 3) == 0)
            s.rest = (struct slice){s.rest.ptr + 3, s.rest.len - 3};
        /* inih reads on after a line that it does not understand, and returns the first such. */
        int rc = ini_parse_stream(read_line, &s, on_option, &s);
        if (rc > 0 && (!s.failed_line || rc < s.failed_line))
            ok = config_fail_at(load, rc, "is neither [section] nor name = value; put # before a comment");
        else if (rc < 0)
            ok = config_fail_at(load, 0, "no memory");
        else
            ok = !s.failed_line;
    }
    buf_deinit(&text);
    return ok;
}
