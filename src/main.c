/* main: arguments and exit codes. 0 asked to stop, 1 the start failed, 2 usage. */
#include "app.h"

#include "app_probe.h"
#include "util/roff.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_START = 1, EXIT_USAGE = 2, PROBE_S = 2 };

enum command {
    RUN,
#define ARG(id, name, operand, doc) id,
#define MAKER(id, name)             id,
#include "main_arguments.def"
#undef ARG
#undef MAKER
    COMMANDS
};

static const struct argument {
    const char *name, *operand, *doc; /* doc NULL: not shown */
} ARGUMENTS[COMMANDS] = {
#define ARG(id, name, operand, doc) [id] = {name, operand, doc},
#define MAKER(id, name)             [id] = {name, "", NULL},
#include "main_arguments.def"
#undef ARG
#undef MAKER
};

static const char USAGE[] = "usage: phoenix-cached"
#define ARG(id, name, operand, doc) " [--" name operand "]"
#define MAKER(id, name)
#include "main_arguments.def"
#undef ARG
#undef MAKER
                            "\n";

static void warn(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "phoenix-cached: warning: %s\n", text);
}

static void print(void (*write)(struct buf *out))
{
    struct buf text = {0};
    write(&text);
    fwrite(text.ptr, 1, text.len, stdout);
    buf_deinit(&text);
}

/* The libraries as the build found them, a line each. */
static void print_version(void)
{
    static const char BUILT_WITH[] = {
#include "embed/built_with.h"
        0};
    printf("phoenix-cached %s\nbuilt with:\n%s", PHOENIX_VERSION, BUILT_WITH);
}

static void print_man_arguments(struct buf *out)
{
    for (int i = RUN + 1; i < COMMANDS; i++) {
        const struct argument *a = &ARGUMENTS[i];
        if (!a->doc) continue;
        buf_append_text(out, ".TP\n\\fB");
        roff_append(out, "--");
        roff_append(out, a->name);
        buf_append_text(out, "\\fR\\fI");
        roff_append(out, a->operand);
        buf_append_text(out, "\\fR\n");
        roff_append(out, a->doc);
        buf_append_char(out, '\n');
    }
}

static void print_help(void)
{
    fputs(USAGE, stdout);
    fputs(
        "\nA sidecar that caches LLM responses over localhost HTTP, in Redis, and outlives its outages.\n\n",
        stdout);
    for (int i = RUN + 1; i < COMMANDS; i++)
        if (ARGUMENTS[i].doc)
            printf("  --%s%-*s %s\n", ARGUMENTS[i].name, (int)(20 - strlen(ARGUMENTS[i].name)),
                   ARGUMENTS[i].operand, ARGUMENTS[i].doc);
    fputs("\nOptions come from built-in defaults, then the file, then the environment:\n\n", stdout);
    print(config_write_help);
}

static int with_config(enum command command, const char *path)
{
    struct config config;
    struct config_error error;
    char why[512] = "";
    int code = 0;
    if (!config_load(&config, path, environ, warn, NULL, &error)) {
        fprintf(stderr, "phoenix-cached: %s\n", error.text);
        return EXIT_START;
    }
    if (command == PRINT) {
        struct buf text = {0};
        config_write(&config, &text);
        fwrite(text.ptr, 1, text.len, stdout);
        buf_deinit(&text);
    } else if (command == CHECK) {
        if (!app_check(&config, why, sizeof why)) {
            fprintf(stderr, "phoenix-cached: %s\n", why);
            code = EXIT_START;
        } else {
            puts("configuration ok");
        }
    } else if (!app_run(&config, path, why, sizeof why)) {
        fprintf(stderr, "phoenix-cached: %s\n", why);
        code = EXIT_START;
    }
    config_deinit(&config);
    return code;
}

static void on_probe_time_over(int signum)
{
    static const char LATE[] = "phoenix-cached: probe: no answer within 2 s\n";
    (void)signum;
    ssize_t written = write(STDERR_FILENO, LATE, sizeof LATE - 1);
    (void)written;
    _exit(EXIT_START);
}

/* The alarm bounds all of it, a look-up of a name too. */
static int probe(const char *path, const char *url)
{
    struct config config;
    struct config_error error;
    char why[512];
    (void)signal(SIGALRM, on_probe_time_over);
    alarm(PROBE_S);
    if (url) {
        if (probe_url(url, why, sizeof why)) return 0;
    } else if (!config_load(&config, path, environ, NULL, NULL, &error)) {
        (void)snprintf(why, sizeof why, "%s", error.text);
    } else {
        bool ready = probe_listen(config.admin_listen, why, sizeof why);
        config_deinit(&config);
        if (ready) return 0;
    }
    fprintf(stderr, "phoenix-cached: %s\n", why);
    return EXIT_START;
}

/* getopt's table from ours. */
static void list_options(struct option out[COMMANDS])
{
    for (int i = RUN + 1; i < COMMANDS; i++)
        out[i - 1] = (struct option){ARGUMENTS[i].name, i == CONFIG ? required_argument : no_argument, NULL,
                                     i == CONFIG ? 'c' : i};
    out[COMMANDS - 1] = (struct option){0};
}

static int run(enum command command, const char *path, const char *url)
{
    switch (command) {
    case HELP:
        print_help();
        return 0;
    case VERSION:
        print_version();
        return 0;
    case SAMPLE:
        print(config_write_sample);
        return 0;
    case MARKDOWN:
        print(config_write_markdown);
        return 0;
    case MAN_ARGUMENTS:
        print(print_man_arguments);
        return 0;
    case MAN_OPTIONS:
        print(config_write_man);
        return 0;
    case PROBE:
        return probe(path, url);
    default:
        return with_config(command, path);
    }
}

int main(int argc, char **argv)
{
    enum command command = RUN;
    const char *path = NULL, *url = NULL;
    struct option options[COMMANDS];
    int opt;
    list_options(options);
    while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (opt == 'c')
            path = optarg;
        else if (opt > RUN && opt < COMMANDS)
            command = (enum command)opt;
        else
            return fputs(USAGE, stderr), EXIT_USAGE;
    }
    if (command == PROBE && optind < argc) url = argv[optind++];
    if (optind < argc) {
        fprintf(stderr, "phoenix-cached: unexpected argument %s\n%s", argv[optind], USAGE);
        return EXIT_USAGE;
    }
    return run(command, path, url);
}
