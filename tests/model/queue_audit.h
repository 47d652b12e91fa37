/* queue_audit: a run of the model beside a real queue, and the comparison of all that Redis holds. */
#ifndef TESTS_MODEL_QUEUE_AUDIT_H
#define TESTS_MODEL_QUEUE_AUDIT_H

#include "../unit/state/queue_fixture.h"
#include "queue_model.h"

#include <inttypes.h>

struct model_run {
    struct queue_fixture f;
    struct model m;
    uint64_t seed;
    int64_t at; /* the operation's number */
    const char *what;
};

/* A difference tells how to see it again. */
#define AGREE(run, condition, ...)                                                                           \
    do {                                                                                                     \
        char why_[256];                                                                                      \
        if (!(condition))                                                                                    \
            ck_abort_msg("MODEL_SEED=%" PRIu64 ", operation %" PRId64 " (%s): %s: %s", (run)->seed,          \
                         (run)->at, (run)->what, #condition, FORMAT(why_, __VA_ARGS__));                     \
    } while (0)

/* Redis holds what the model says and nothing else, or the test fails. */
void model_audit(struct model_run *run);

#endif
