/* session: the rules of /session as pure functions on values: what a request asks, what becomes
 * of a session under it, and what happens when two sides of an outage disagree. Any thread. */
#ifndef PHOENIX_DOMAIN_SESSION_H
#define PHOENIX_DOMAIN_SESSION_H

#include "state/record.h"
#include "util/json.h"

/* Kept in the journal: numbers never change. */
enum session_op {
    SESSION_READ = 1,
    SESSION_TOUCH =
        2, /* a read that sets last_accessed and slides the expiry, unless it did within a second */
    SESSION_CREATE = 3,
    SESSION_PUT = 4,
    SESSION_PATCH = 5,
    SESSION_DELETE = 6
};
enum session_flag { SESSION_FORCE = 1 /* ?force=true: out of a terminal state */ };

struct session_options {
    int64_t ttl_s; /* session.ttl, of sessions that state none */
};

/* `options` is borrowed. */
void session_rules(const struct session_options *options, struct record_rules *out);

/* Checks what a request asks and makes the change: op, flags, traits, id, body (the request's, borrowed).
 * `id` from the path; of a CREATE ptr NULL: then it is the body's correlation_id or, there being none, a new
 * UUIDv7, written to `id_scratch`. now_ms: for the UUID. INVALID_JSON, UNPROCESSABLE or INVALID_ARGUMENT with
 * the reason in out_error. */
enum status session_change(enum session_op op, unsigned flags, struct slice id, struct slice body,
                           int64_t now_ms, char id_scratch[ID_LEN_MAX], struct record_change *out,
                           struct json_error *out_error);

/* Appends the session as HTTP shows it: its members, plan_id and task_id null where unset, without `writes`.
 * Of any bytes that are no JSON object: null. */
void session_show(struct slice value, struct buf *out);

enum session_state { SESSION_ACTIVE, SESSION_COMPLETED, SESSION_FAILED, SESSION_STATE_COUNT };
extern const char *const session_state_names[SESSION_STATE_COUNT];
/* Of any bytes. False: they state none of these; the rules take such a session for Active. */
bool session_state_of(struct slice value, enum session_state *out);

#endif
