/* health_record: an agent's record taken apart, and put together again on its raw text. Private to the files
 * of domain/health. */
#ifndef PHOENIX_DOMAIN_HEALTH_RECORD_H
#define PHOENIX_DOMAIN_HEALTH_RECORD_H

#include "domain/health.h"
#include "util/json_edit.h"
#include "util/rfc3339.h"

enum { HEALTH_PERMITS_MAX = 1000 /* of health.probes */ };
/* No time: before any. */
#define HEALTH_NEVER INT64_MIN

struct health_record {
    struct slice value; /* what it was read from */
    int64_t failures, opens;
    int64_t open_until_ms, changed_ms, updated_ms; /* HEALTH_NEVER: absent */
    struct slice writes;                           /* raw */
    size_t permit_count;
    int64_t permits_ms[HEALTH_PERMITS_MAX]; /* their ends, the oldest permit first */
};

/* False: no JSON object. */
bool health_record_read(struct slice value, struct health_record *out);
enum health_circuit health_record_circuit(const struct health_record *r, int64_t now_ms);
/* A new agent's value. */
void health_record_new(struct slice id, struct buf *out);

/* A time of a raw member: HEALTH_NEVER where it is none. */
int64_t health_time(struct slice raw);
/* Whether the text of a raw string is `text`. */
bool health_text_is(struct slice raw, struct slice text);

/* Collects the members that change. */
struct health_edits {
    struct json_edit edits[16];
    char texts[16][RFC3339_SIZE + 2];
    size_t count;
    struct buf permits, writes;
};
void health_edit_raw(struct health_edits *e, const char *name, struct slice raw);
void health_edit_number(struct health_edits *e, const char *name, int64_t number);
void health_edit_time(struct health_edits *e, const char *name, int64_t ms); /* HEALTH_NEVER: null */
/* Once. */
void health_edit_permits(struct health_edits *e, const int64_t *permits_ms, size_t count);
/* Appends `value` with the edits made and, where `change_id` is not empty, with it in `writes`; frees what
 * the edits hold. False: no memory. */
bool health_edits_apply(struct health_edits *e, const struct health_record *r, struct slice value,
                        struct slice change_id, struct buf *out);

enum record_verdict health_apply(const struct record_rules *rules, const struct record_change *change,
                                 const struct record_version *current, struct record_result *out);
enum record_verdict health_merge(const struct record_rules *rules, const struct record_entry *entry,
                                 const struct record_version *current, int64_t now_ms,
                                 struct record_result *out);
enum record_verdict health_refuse(struct record_result *out, enum status status, const char *detail);

#endif
