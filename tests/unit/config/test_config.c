/* Facts about config: sources and their order, what is refused and with which words, and that what it prints
 * reads back. Files are written below TMPDIR and removed. */
#include "config/config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char path[96];

static void setup(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/phoenix-config-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/c.conf", dir);
}

static void teardown(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
}

static void write_file(const char *text, size_t len)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

static bool load(struct config *out, const char *text, size_t len, char *const env[],
                 struct config_error *error)
{
    write_file(text, len);
    error->text[0] = '\0';
    return config_load(out, path, env, NULL, NULL, error);
}

/* Loads a file that must be fine. */
static void load_good(struct config *out, const char *text, char *const env[])
{
    struct config_error error;
    ck_assert_msg(load(out, text, strlen(text), env, &error), "refused: %s", error.text);
}

/* What stands behind "<path>:" in the refusal of this file. */
static const char *refusal(const char *text, size_t len)
{
    static struct config_error error;
    struct config c;
    ck_assert_msg(!load(&c, text, len, NULL, &error), "accepted: %s", text);
    ck_assert_ptr_null(c.http_listen);
    ck_assert_ptr_null(strchr(error.text, '\n'));
    ck_assert_msg(strncmp(error.text, path, strlen(path)) == 0, "no place: %s", error.text);
    return error.text + strlen(path) + 1;
}

START_TEST(defaults_are_the_tables)
{
    struct config c;
    struct config_error error;
    ck_assert(config_load(&c, NULL, NULL, NULL, NULL, &error));
    ck_assert_str_eq(c.http_listen, "127.0.0.1:8379");
    ck_assert_str_eq(c.redis_url, "embedded:");
    ck_assert_str_eq(c.http_unix_socket, "");
    ck_assert_int_eq(c.http_body_max, 8388608);
    ck_assert_double_eq(c.breaker_failure_rate, 0.5);
    ck_assert(c.local_near);
    ck_assert_str_eq(c.http_access_log, "off");
    config_deinit(&c);
    config_deinit(&c);
}
END_TEST

START_TEST(the_environment_wins_over_the_file_over_defaults)
{
    struct config c;
    char *env[] = {"PHOENIX_HTTP_WORKERS=3",
                   "PATH=/bin",
                   "PHOENIX_HTTP_WORKERS=4",
                   "PHOENIX_REDIS_URL= unix:///r ",
                   "PHOENIX_",
                   "PHOENIX",
                   NULL};
    load_good(&c, "[http]\nworkers = 2\nbody_max=64KiB\n[redis]\nurl = redis://h\n", env);
    ck_assert_int_eq(c.http_workers, 3);
    ck_assert_int_eq(c.http_body_max, 65536);
    ck_assert_str_eq(c.redis_url, "unix:///r");
    ck_assert_int_eq(c.http_deadline_ms, 1000);
    config_deinit(&c);
}
END_TEST

START_TEST(files_of_all_sorts_are_read)
{
    static const char *const files[] = {
        "[http]\nworkers = 2",
        "\xEF\xBB\xBF[http]\r\nworkers = 2\r\n",
        "\xEF\xBB\xBF; a comment\n[http]\nworkers: 2",
        "# c\n\n  ; c\n[http] ; here\n\tworkers=2 ; two\n",
        "[http]\nlisten = a:1\n   workers = 2\n",
        "[log]\n[http]\n[cache]\n[http]\n\v\f workers =\t2 \v\n\r\r\r\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct config c;
        load_good(&c, files[i], NULL);
        ck_assert_int_eq(c.http_workers, 2);
        config_deinit(&c);
    }
    struct config c;
    load_good(&c, "", NULL);
    config_deinit(&c);
}
END_TEST

START_TEST(a_comment_of_any_length_is_read_over)
{
    char text[5000];
    memset(text, 'x', sizeof text);
    text[0] = '#';
    memcpy(text + sizeof text - 20, "\n[http]\nworkers = 2", 20);
    struct config c;
    load_good(&c, text, NULL);
    ck_assert_int_eq(c.http_workers, 2);
    config_deinit(&c);
}
END_TEST

static const struct {
    const char *text, *says;
} refusals[] = {
    {"[htpp]\n", "1: there is no section [htpp]; there are http, admin, redis, "},
    {"[HTTP]\n", "1: there is no section [HTTP]"},
    {"[]\n", "1: there is no section []"},
    {"[ http ]\n", "1: there is no section [ http ]"},
    {"\n[http\nworkers=1", "2: \"[\" without \"]\"; write [section]"},
    {"[http] workers=1", "1: something stands behind [http]; put it on the next line"},
    {"workers=1", "1: \"workers\" stands before any section; write a line like [http] above it"},
    {"[http]\nwork = 1", "2: [http] has no option \"work\"; it has listen, unix_socket, workers"},
    {"[http]\nWorkers = 1", "2: [http] has no option \"Workers\""},
    {"[cache]\nworkers = 1", "2: [cache] has no option \"workers\"; it has ttl"},
    {"[http]\n= 1", "2: [http] has no option \"\""},
    {"[http]\nworkers", "2: is neither [section] nor name = value"},
    {"[http]\nworkers\nworkers = 1\nworkers = x", "2: is neither"},
    {"[http]\nworkers = x\nworkers", "2: http.workers: \"x\" is no whole number; give 0 to 64"},
    {"[http]\nworkers = 1\n[http]\n workers = 1", "4: http.workers was given in line 2 already; remove one"},
    {"[http]\nworkers =", "2: http.workers: \"\" is no whole number"},
    {"[http]\nworkers = 1 # one", "2: http.workers: \"1 # one\" is no whole number"},
    {"[http]\nworkers = 0x1", "2: http.workers: \"0x1\" is no whole number"},
    {"[http]\nworkers = +1", "2: http.workers: \"+1\" is no whole number"},
    {"[http]\nworkers = 1.0", "2: http.workers: \"1.0\" is no whole number"},
    {"[http]\nworkers = 1KiB", "2: http.workers: \"1KiB\" is no whole number"},
    {"[http]\nworkers = 65", "2: http.workers: \"65\" is out of range; give 0 to 64"},
    {"[http]\nworkers = -1", "2: http.workers: \"-1\" is out of range"},
    {"[http]\nworkers = 9223372036854775808", "2: http.workers: \"9223372036854775808\" is no whole number"},
    {"[http]\ndeadline_ms = 49", "2: http.deadline_ms: \"49\" is out of range; give 50 to 60000 ms"},
    {"[http]\ndeadline_ms = 1s", "2: http.deadline_ms: \"1s\" is no whole number of ms; give 50 to 60000 ms"},
    {"[http]\nbody_max = 8MB",
     "2: http.body_max: \"8MB\" is no whole number; give 1024 to 268435456 bytes, or with KiB"},
    {"[http]\nbody_max = 1023", "2: http.body_max: \"1023\" is out of range; give 1024 to 268435456 bytes"},
    {"[http]\nbody_max = 9007199254740993KiB",
     "2: http.body_max: \"9007199254740993KiB\" is no whole number"},
    {"[http]\nbody_max = 8388608TiB", "2: http.body_max: \"8388608TiB\" is no whole number"},
    {"[local]\nnear = maybe", "2: local.near: \"maybe\" is neither true nor false"},
    {"[http]\naccess_log_sample = 1.1", "2: http.access_log_sample: \"1.1\" is out of range; give 0 to 1"},
    {"[http]\naccess_log = maybe", "2: http.access_log: \"maybe\" is no access log; give off, errors or all"},
    {"[breaker]\nfailure_rate = nan", "2: breaker.failure_rate: \"nan\" is no number; give 0.01 to 1"},
    {"[breaker]\nfailure_rate = 1e0", "2: breaker.failure_rate: \"1e0\" is no number"},
    {"[breaker]\nfailure_rate = 0.1.1", "2: breaker.failure_rate: \"0.1.1\" is no number"},
    {"[breaker]\nfailure_rate =", "2: breaker.failure_rate: \"\" is no number"},
    {"[breaker]\nfailure_rate = 1.01", "2: breaker.failure_rate: \"1.01\" is out of range; give 0.01 to 1"},
    {"[breaker]\nfailure_rate = -0", "2: breaker.failure_rate: \"-0\" is out of range"},
    {"[log]\nlevel = loud", "2: log.level: \"loud\" is no level; give debug, info, warn or error"},
    {"[log]\nformat = xml", "2: log.format: \"xml\" is no format; give logfmt or json"},
    {"[breaker]\nopen_min_ms = 20\nopen_max_ms = 10",
     "3: breaker.open_max_ms: 10 is below breaker.open_min_ms (20)"},
    {"[breaker]\nopen_min_ms = 6000", "2: breaker.open_min_ms: 6000 is above breaker.open_max_ms (5000)"},
    {"[tasks]\ndedupe = 3600", "2: tasks.dedupe: 3600 is below spool.age_max (86400)"},
    {"[spool]\nage_max = 86401", "2: spool.age_max: 86401 is above tasks.dedupe (86400)"},
    {"[local]\nbytes_max = 1MiB\npending_bytes_max = 2MiB",
     "3: local.pending_bytes_max: 2097152 is above local.bytes_max"},
    {"[redis]\nprefix =", "2: redis.prefix: give 1 to 64 of"},
    {"[redis]\nprefix = a{b}", "2: redis.prefix: give 1 to 64 of"},
    {"[redis]\nurl = redis://h # main",
     "2: redis.url: holds \"#\" after a blank; put a comment on a line of its own"},
    {"[redis]\nurl = redis://u:geheim@h\x01", "2: redis.url: holds a control character; remove it"},
    {"[http]\nw\x1b[31m = 1", "2: [http] has no option \"w?[31m\""},
};

START_TEST(what_is_wrong_is_named_with_its_place)
{
    const char *says = refusal(refusals[_i].text, strlen(refusals[_i].text));
    ck_assert_msg(strncmp(says, refusals[_i].says, strlen(refusals[_i].says)) == 0, "said: %s", says);
    ck_assert_ptr_null(strstr(says, "geheim"));
}
END_TEST

START_TEST(a_nul_byte_is_refused)
{
    static const char text[] = "[http]\nworkers = 2\0 3\n";
    ck_assert_ptr_nonnull(strstr(refusal(text, sizeof text - 1), "2: holds a NUL byte"));
}
END_TEST

START_TEST(a_line_that_inih_would_cut_is_refused)
{
    char text[400];
    int head = snprintf(text, sizeof text, "[redis]\nurl = redis://");
    memset(text + head, 'h', 300);
    const char *says = refusal(text, (size_t)head + 300);
    ck_assert_ptr_eq(strstr(says, "2: the line has "), says);
    ck_assert_ptr_nonnull(strstr(says, "environment"));
}
END_TEST

START_TEST(the_longest_line_that_is_read_is_read_whole)
{
    bool was_good = true;
    for (size_t len = 100; len < 300; len++) {
        char text[400];
        struct config c;
        struct config_error error;
        int head = snprintf(text, sizeof text, "[redis]\nurl = ");
        memset(text + head, 'h', len);
        bool good = load(&c, text, (size_t)head + len, NULL, &error);
        ck_assert(was_good || !good);
        was_good = good;
        if (!good) continue;
        ck_assert_uint_eq(strlen(c.redis_url), len);
        config_deinit(&c);
    }
    ck_assert(!was_good);
}
END_TEST

START_TEST(files_that_cannot_be_read_are_refused)
{
    static const struct {
        const char *path, *says;
    } cases[] = {{"/nonexistent/c.conf", "/nonexistent/c.conf: No such file or directory"},
                 {"/tmp", "/tmp: Is a directory"},
                 {"", ": No such file"},
                 {"/dev/zero", "/dev/zero: is over 1048576 bytes; this is no configuration"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c;
        struct config_error error;
        ck_assert(!config_load(&c, cases[i].path, NULL, NULL, NULL, &error));
        ck_assert_msg(strncmp(error.text, cases[i].says, strlen(cases[i].says)) == 0, "said: %s", error.text);
    }
}
END_TEST

static char warnings[2048];

static void on_warning(void *arg, const char *text)
{
    ++*(int *)arg;
    size_t len = strlen(warnings);
    (void)snprintf(warnings + len, sizeof warnings - len, "%s\n", text);
}

START_TEST(an_unknown_variable_is_one_warning)
{
    struct config c;
    struct config_error error;
    int count = 0;
    warnings[0] = '\0';
    char *env[] = {"PHOENIX_HTPP_LISTEN=secret",
                   "PHOENIX_HTTP_LISTEN=[::1]:1",
                   "OTHER=1",
                   "PHOENIX_\n\x1b=1",
                   "PHOENIX_CACHED_PORT=tcp://10.0.0.1:8379",
                   "PHOENIX_CACHED_PORT_8379_TCP_ADDR=10.0.0.1",
                   "PHOENIX_CACHED_SERVICE_HOST=10.0.0.1",
                   "PHOENIX_http_listen=x",
                   "NOEQUALS",
                   NULL};
    ck_assert(config_load(&c, NULL, env, on_warning, &count, &error));
    ck_assert_int_eq(count, 3);
    ck_assert_str_eq(c.http_listen, "[::1]:1");
    ck_assert_ptr_nonnull(strstr(warnings, "PHOENIX_HTPP_LISTEN: there is no such option"));
    ck_assert_ptr_nonnull(strstr(warnings, "PHOENIX_??:"));
    ck_assert_ptr_null(strstr(warnings, "secret"));
    config_deinit(&c);
    ck_assert(config_load(&c, NULL, env, NULL, NULL, &error));
    config_deinit(&c);
}
END_TEST

START_TEST(only_what_looks_like_a_service_link_passes_unwarned)
{
    static const struct {
        const char *variable;
        int warnings;
    } cases[] = {
        {"PHOENIX_PORT=tcp://10.0.0.1:8379", 0},
        {"PHOENIX_CACHED_PORT_53_UDP=udp://10.0.0.1:53", 0},
        {"PHOENIX_CACHED_PORT_8379_TCP_PROTO=tcp", 0},
        {"PHOENIX_CACHED_SERVICE_PORT=8379", 0},
        {"PHOENIX_CACHED_SERVICE_PORT_HTTP=8379", 0},
        {"PHOENIX_HTTP_PORT=9000", 1},
        {"PHOENIX_HTTP_PORT=", 1},
        {"PHOENIX_HTTP_PORT_MAX=9000", 1},
        {"PHOENIX_HTTP_SERVICE_NAME=x", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config c;
        struct config_error error;
        int count = 0;
        char variable[64];
        (void)snprintf(variable, sizeof variable, "%s", cases[i].variable);
        char *env[] = {variable, NULL};
        ck_assert(config_load(&c, NULL, env, on_warning, &count, &error));
        ck_assert_msg(count == cases[i].warnings, "%s: %d", variable, count);
        config_deinit(&c);
    }
}
END_TEST

START_TEST(a_bad_variable_is_named)
{
    struct config c;
    struct config_error error;
    char *env[] = {"PHOENIX_LOG_LEVEL=loud", NULL};
    ck_assert(!config_load(&c, NULL, env, NULL, NULL, &error));
    ck_assert_str_eq(error.text, "PHOENIX_LOG_LEVEL: \"loud\" is no level; give debug, info, warn or error");
    char *number[] = {"PHOENIX_HTTP_WORKERS=many", NULL};
    ck_assert(!config_load(&c, NULL, number, NULL, NULL, &error));
    ck_assert_str_eq(error.text, "PHOENIX_HTTP_WORKERS: \"many\" is no whole number; give 0 to 64");
}
END_TEST

START_TEST(a_long_place_does_not_push_out_the_reason)
{
    char long_path[4000];
    struct config c;
    struct config_error error;
    memset(long_path, 'p', sizeof long_path);
    long_path[sizeof long_path - 1] = '\0';
    ck_assert(!config_load(&c, long_path, NULL, NULL, NULL, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "too long"));
}
END_TEST

static char *text_of(const struct config *c)
{
    struct buf out = {0};
    config_write(c, &out);
    buf_append_char(&out, '\0');
    ck_assert(!out.failed);
    return out.ptr;
}

START_TEST(what_is_printed_reads_back)
{
    struct config c, again;
    load_good(&c,
              "[http]\nworkers=7\nbody_max=1025\nunix_socket=/a "
              "b;c#d\naccess_log=all\n[breaker]\nfailure_rate=0.123456789\n"
              "[local]\nbytes_max=3GiB\nnear=no\n[redis]\nurl=redis://h:1/2\n",
              NULL);
    char *first = text_of(&c);
    load_good(&again, first, NULL);
    char *second = text_of(&again);
    ck_assert_str_eq(first, second);
    ck_assert_double_eq(again.breaker_failure_rate, c.breaker_failure_rate);
    ck_assert_str_eq(again.http_unix_socket, "/a b;c#d");
    ck_assert_int_eq(again.local_bytes_max, 3LL << 30);
    ck_assert_ptr_nonnull(strstr(first, "body_max=1025\n"));
    ck_assert_ptr_nonnull(strstr(first, "bytes_max=3GiB\n"));
    free(first);
    free(second);
    config_deinit(&c);
    config_deinit(&again);
}
END_TEST

START_TEST(a_password_is_not_printed)
{
    static const struct {
        const char *url, *shown;
    } cases[] = {{"redis://u:geheim@h:1/2", "url=redis://u:***@h:1/2\n"},
                 {"redis://:geheim@h", "url=redis://:***@h\n"},
                 {"redis://:geh@eim/@h", "url=redis://:***@h\n"},
                 {"redis://geheim@h", "url=redis://***@h\n"},
                 {"unix://u:geheim@/run/r?db=1", "url=unix://u:***@/run/r?db=1\n"},
                 {"u:geheim@h", "url=u:***@h\n"},
                 {"redis://[::1]:6379/0", "url=redis://[::1]:6379/0\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[128];
        struct config c;
        (void)snprintf(file, sizeof file, "[redis]\nurl=%s\n", cases[i].url);
        load_good(&c, file, NULL);
        char *text = text_of(&c);
        ck_assert_msg(strstr(text, cases[i].shown) != NULL, "%s", text);
        ck_assert_ptr_null(strstr(text, "geheim"));
        free(text);
        config_deinit(&c);
    }
}
END_TEST

START_TEST(the_sample_is_the_defaults_commented_out)
{
    struct config defaults, sample;
    struct config_error error;
    struct buf out = {0};
    config_write_sample(&out);
    buf_append_char(&out, '\0');
    ck_assert(!out.failed);
    ck_assert(config_load(&defaults, NULL, NULL, NULL, NULL, &error));
    load_good(&sample, out.ptr, NULL);
    char *a = text_of(&defaults), *b = text_of(&sample);
    ck_assert_str_eq(a, b);
    /* With the options uncommented ("#name", where a comment is "# text") it still says the same. */
    size_t kept = 0;
    for (size_t i = 0; out.ptr[i]; i++)
        if (out.ptr[i] != '#' || (i > 0 && out.ptr[i - 1] != '\n') || out.ptr[i + 1] == ' ')
            out.ptr[kept++] = out.ptr[i];
    out.ptr[kept] = '\0';
    config_deinit(&sample);
    load_good(&sample, out.ptr, NULL);
    char *c = text_of(&sample);
    ck_assert_str_eq(a, c);
    ck_assert_ptr_nonnull(strstr(out.ptr, "\nlisten = 127.0.0.1:8379\n"));
    free(a);
    free(b);
    free(c);
    config_deinit(&defaults);
    config_deinit(&sample);
    buf_deinit(&out);
}
END_TEST

static size_t count_lines(const struct buf *b)
{
    size_t lines = 0;
    for (size_t i = 0; i < b->len; i++)
        lines += b->ptr[i] == '\n';
    return lines;
}

START_TEST(help_and_markdown_have_a_line_per_option)
{
    size_t options = 0;
#define INT(section, name, def, min, max, unit, doc) options++;
#define STR(section, name, def, doc)                 options++;
#define NUM(section, name, def, min, max, doc)       options++;
#define BOOL(section, name, def, doc)                options++;
#include "config/options.def"
    struct buf help = {0}, markdown = {0};
    config_write_help(&help);
    config_write_markdown(&markdown);
    ck_assert_uint_eq(count_lines(&help), options);
    ck_assert_uint_eq(count_lines(&markdown), options + 2);
    buf_append_char(&markdown, '\0');
    ck_assert_ptr_nonnull(
        strstr(markdown.ptr, "| `http.body_max` | `PHOENIX_HTTP_BODY_MAX` | `8MiB` | 1KiB to 256MiB | "));
    buf_deinit(&help);
    buf_deinit(&markdown);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, defaults_are_the_tables);
    tcase_add_test(t, the_environment_wins_over_the_file_over_defaults);
    tcase_add_test(t, files_of_all_sorts_are_read);
    tcase_add_test(t, a_comment_of_any_length_is_read_over);
    tcase_add_loop_test(t, what_is_wrong_is_named_with_its_place, 0,
                        (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(t, a_nul_byte_is_refused);
    tcase_add_test(t, a_line_that_inih_would_cut_is_refused);
    tcase_add_test(t, the_longest_line_that_is_read_is_read_whole);
    tcase_add_test(t, files_that_cannot_be_read_are_refused);
    tcase_add_test(t, an_unknown_variable_is_one_warning);
    tcase_add_test(t, only_what_looks_like_a_service_link_passes_unwarned);
    tcase_add_test(t, a_bad_variable_is_named);
    tcase_add_test(t, a_long_place_does_not_push_out_the_reason);
    tcase_add_test(t, what_is_printed_reads_back);
    tcase_add_test(t, a_password_is_not_printed);
    tcase_add_test(t, the_sample_is_the_defaults_commented_out);
    tcase_add_test(t, help_and_markdown_have_a_line_per_option);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
