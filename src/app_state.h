/* app_state: what sessions and agents' health stand on: the spool's file, the keys that Redis has still to
 * learn of, the rules, the record store. Opened before the first thread starts, closed after the last one was
 * joined. */
#ifndef PHOENIX_SRC_APP_STATE_H
#define PHOENIX_SRC_APP_STATE_H

#include "config/config.h"
#include "domain/health.h"
#include "domain/session.h"
#include "http/house.h"

#include <stdatomic.h>

enum { APP_STATE_PATH_MAX = 4096, APP_STATE_IDENTITY_MAX = 512 };

struct app_state {
    char path[APP_STATE_PATH_MAX], identity[APP_STATE_IDENTITY_MAX]; /* the spool borrows both */
    struct session_options session;
    struct health_options health;
    struct house_shared *shared;
    struct loop *loop; /* control */
    /* The journal's figures, looked up on the spool's thread every second. */
    struct loop_timer timer;
    struct spool_op look;
    struct db_journal_stats seen;
    struct house_aside aside[HOUSE_ASIDE_MAX];
    unsigned aside_count;
};

/* Whether there is a place for the spool that this user may write. Neither makes nor locks the file: the
 * daemon may be running. False with one line in `error`. */
bool app_state_check(const struct config *c, char *error, size_t size);

/* Opens the file, reads which keys are unsettled, and puts spool, unsettled and records into `shared`, whose
 * log, metrics, table, node and clock are there. False with one line in `error`. */
bool app_state_open(struct app_state *s, struct house_shared *shared, const struct config *c,
                    struct loop *control, char *error, size_t size);
/* What the spool still has is committed and told to the loops, which must exist and no longer run. */
void app_state_close_spool(struct app_state *s);
/* After the loops are gone. Also of what was never opened. */
void app_state_close(struct app_state *s);

#endif
