/* errors: a look-up of the reply's first word in errors.def. */
#include "engine/redis/errors.h"

static const struct {
    const char *word;
    enum redis_error class;
} TABLE[] = {
#define X(word, class) {word, REDIS_ERROR_##class},
#include "errors.def"
#undef X
};

enum redis_error redis_error_class(struct slice text)
{
    const char *blank = text.len ? memchr(text.ptr, ' ', text.len) : NULL;
    struct slice word = {text.ptr, blank ? (size_t)(blank - text.ptr) : text.len};
    for (size_t i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++)
        if (slice_equal_text(word, TABLE[i].word)) return TABLE[i].class;
    /* What Redis reports under its general word: that it is full, and a counter's key without a number. */
    if (text.len && memmem(text.ptr, text.len, "max number of clients", 21)) return REDIS_ERROR_UNAVAILABLE;
    if (text.len && memmem(text.ptr, text.len, "value is not an integer", 23)) return REDIS_ERROR_FOREIGN;
    return REDIS_ERROR_REFUSED;
}
