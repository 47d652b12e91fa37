/* main: arguments and exit codes. 0 asked to stop, 1 the start failed, 2 usage. */
#include "app.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

enum { EXIT_START = 1, EXIT_USAGE = 2 };
enum command { RUN, CHECK, PRINT, SAMPLE, MARKDOWN, VERSION, HELP };

static const struct option OPTIONS[] = {{"config", required_argument, NULL, 'c'},
                                        {"check-config", no_argument, NULL, CHECK},
                                        {"print-config", no_argument, NULL, PRINT},
                                        {"print-sample", no_argument, NULL, SAMPLE},
                                        {"print-markdown", no_argument, NULL, MARKDOWN},
                                        {"version", no_argument, NULL, VERSION},
                                        {"help", no_argument, NULL, HELP},
                                        {NULL, 0, NULL, 0}};

static const char USAGE[] = "usage: phoenix-cached [--config FILE] [--check-config | --print-config | "
                            "--print-sample | --version | --help]\n";

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

static void print_help(void)
{
    fputs(USAGE, stdout);
    fputs("\nA sidecar that caches LLM responses over localhost HTTP, in Redis, and outlives its outages.\n"
          "\nOptions come from built-in defaults, then the file, then the environment:\n\n",
          stdout);
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

int main(int argc, char **argv)
{
    enum command command = RUN;
    const char *path = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, "c:", OPTIONS, NULL)) != -1) {
        if (opt == 'c')
            path = optarg;
        else if (opt > RUN && opt <= HELP)
            command = (enum command)opt;
        else
            return fputs(USAGE, stderr), EXIT_USAGE;
    }
    if (optind < argc) {
        fprintf(stderr, "phoenix-cached: unexpected argument %s\n%s", argv[optind], USAGE);
        return EXIT_USAGE;
    }
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
    default:
        return with_config(command, path);
    }
}
