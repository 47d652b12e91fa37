/* errors: which error reply means what (errors.def). Pure. */
#ifndef PHOENIX_ENGINE_REDIS_ERRORS_H
#define PHOENIX_ENGINE_REDIS_ERRORS_H

#include "util/slice.h"

enum redis_error {
    REDIS_ERROR_RESEND,
    REDIS_ERROR_MISPLACED,
    REDIS_ERROR_MOVED,
    REDIS_ERROR_ASK,
    REDIS_ERROR_TRYAGAIN,
    REDIS_ERROR_UNAVAILABLE,
    REDIS_ERROR_REFUSED,
    REDIS_ERROR_FOREIGN
};

/* `text`: the error reply without its leading '-'. "ERR max number of clients reached" is UNAVAILABLE too. */
enum redis_error redis_error_class(struct slice text);

#endif
