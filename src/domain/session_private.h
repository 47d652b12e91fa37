/* What the files of domain/session share. */
#ifndef PHOENIX_DOMAIN_SESSION_PRIVATE_H
#define PHOENIX_DOMAIN_SESSION_PRIVATE_H

#include "domain/session.h"

#include "util/json_edit.h"
#include "util/rfc3339.h"

/* The members that the daemon knows, in the order in which it writes them; unknown ones stand before
 * `writes`. */
enum session_member {
    MEMBER_CORRELATION_ID,
    MEMBER_CREATED_AT,
    MEMBER_LAST_ACCESSED,
    MEMBER_UPDATED_AT,
    MEMBER_PLAN_ID,
    MEMBER_TASK_ID,
    MEMBER_STATE,
    MEMBER_DATA,
    MEMBER_TTL,
    MEMBER_WRITES,
    MEMBER_COUNT
};
extern const char *const session_member_names[MEMBER_COUNT];

/* --- values --- */

/* A value's members as they stand; ptr NULL: absent or null. */
struct session_value {
    struct slice member[MEMBER_COUNT];
};

/* False: it is no JSON object. Of doubled members the first counts. */
bool session_value_read(struct slice value, struct session_value *out);
/* False: there is none, or it is no time. */
bool session_time_read(struct slice raw, int64_t *out_ms);
/* Of a value whose `ttl` is not legal: the default. */
int64_t session_ttl_ms(const struct session_options *options, struct slice raw);
bool session_state_read(struct slice raw, enum session_state *out);

/* --- bodies of CREATE, PUT and PATCH --- */

struct session_body {
    struct json_field member[MEMBER_COUNT];
    char id[ID_LEN_MAX]; /* the correlation_id it names */
    size_t id_len;       /* 0: it names none */
    enum session_state state;
    bool has_state;
};

/* Checks all that can be told without the value. `id`: what a correlation_id must be; ptr NULL: any. */
enum status session_body_read(enum session_op op, struct slice id, struct slice body,
                              struct session_body *out, struct json_error *out_error);

/* --- steps --- */

/* A change on its way into a value. */
struct session_step {
    const struct session_options *options;
    const struct record_change *change;
    struct slice current;      /* ptr NULL: absent */
    struct session_value have; /* of current */
    int64_t expires_ms;        /* current's */
    int64_t accessed_ms, updated_ms;
    bool lenient; /* it was accepted before: what no longer holds is left out instead of refused */
};

/* CREATE (on an absent value), PUT, PATCH (on a present one). */
enum record_verdict session_step_write(const struct session_step *step, struct record_result *out);
/* Writes `current` with another last_accessed. */
enum record_verdict session_step_touch(const struct session_step *step, int64_t expires_ms,
                                       struct record_result *out);

enum record_verdict session_refuse(struct record_result *out, enum status status, const char *detail);

enum record_verdict session_merge(const struct record_rules *rules, const struct record_entry *entry,
                                  const struct record_version *current, int64_t now_ms,
                                  struct record_result *out);

/* A time as a raw string. */
enum { QUOTED_TIME_SIZE = RFC3339_SIZE + 2 };
struct slice session_time_write(int64_t ms, char out[QUOTED_TIME_SIZE]);

#endif
