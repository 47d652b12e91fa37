/* health: the rules of /health, agents' shared circuit breakers, as pure functions on values. Any
 * thread.
 *
 * Beside what docs/openapi.yaml names a value has `circuit_changed_at`, the time at which a report or a PUT
 * last opened or closed the circuit: by it a report is known to speak of a call begun before. It is shown,
 * not accepted. Members that others wrote with another type than ours count as absent. */
#ifndef PHOENIX_DOMAIN_HEALTH_H
#define PHOENIX_DOMAIN_HEALTH_H

#include "state/record.h"
#include "util/json.h"

/* Kept in the journal: numbers never change. */
enum health_op {
    HEALTH_READ = 1,
    HEALTH_PUT = 2,
    HEALTH_SUCCESS = 3,
    HEALTH_FAILURE = 4,
    HEALTH_PERMIT = 5,
    HEALTH_DELETE = 6
};

enum health_circuit { HEALTH_CLOSED, HEALTH_OPEN, HEALTH_HALF_OPEN, HEALTH_CIRCUIT_COUNT };
extern const char *const health_circuit_names[HEALTH_CIRCUIT_COUNT]; /* "Closed", "Open", "HalfOpen" */

struct health_options {
    int64_t failure_threshold, open_base_ms, open_max_ms, probes, probe_ttl_ms;
};

/* What apply puts into record_result.note for a permit. */
enum health_note { HEALTH_NOTE_ALLOWED, HEALTH_NOTE_CIRCUIT, HEALTH_NOTE_RETRY_AFTER_MS };

/* `options` is borrowed. Jitter comes from the change's id, so that applying it again gives the same. */
void health_rules(const struct health_options *options, struct record_rules *out);

/* Checks what a request asks and makes the change; `body` is borrowed, empty for reports without details. */
enum status health_change(enum health_op op, struct slice id, struct slice body, struct record_change *out,
                          struct json_error *out_error);

/* Appends the record as HTTP shows it: its members, without `writes` and `permits`; with_circuit: and
 * "circuit" as of now_ms. False, with nothing appended: the value is no JSON object. */
bool health_show(struct slice value, int64_t now_ms, bool with_circuit, struct buf *out);
/* Closed where the value is no JSON object. */
enum health_circuit health_circuit_of(struct slice value, int64_t now_ms);

#endif
