/* fuzz_config: any bytes as the configuration file. What is loaded must print as a file that loads to the
 * same. The file lives in memory and is named through /proc. */
#include "config/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUST(fact)                                                                                           \
    do {                                                                                                     \
        if (!(fact)) abort();                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool load(struct config *out, const void *bytes, size_t size)
{
    int file = memfd_create("config", MFD_CLOEXEC);
    MUST(file >= 0);
    MUST(size == 0 || write(file, bytes, size) == (ssize_t)size);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    struct config_error error = {""};
    bool loaded = config_load(out, path, NULL, NULL, NULL, &error);
    /* A refusal is one line that says why. */
    MUST(memchr(error.text, '\0', sizeof error.text) != NULL);
    if (!loaded) MUST(error.text[0] != '\0' && strchr(error.text, '\n') == NULL);
    (void)close(file);
    return loaded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    if (!load(&config, data, size)) return 0;
    struct buf first = {0};
    config_write(&config, &first);
    /* The password is not shown, so a URL that has one does not come back. */
    bool whole = memmem(first.ptr, first.len, "***", 3) == NULL;
    config_deinit(&config);
    if (whole) {
        MUST(load(&config, first.ptr, first.len));
        struct buf second = {0};
        config_write(&config, &second);
        MUST(slice_equal(buf_slice(&first), buf_slice(&second)));
        buf_deinit(&second);
        config_deinit(&config);
    }
    buf_deinit(&first);
    return 0;
}
