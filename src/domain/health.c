/* health: the circuit is in the value itself and moves with time, so that every daemon sees the same:
 *
 *              failures = threshold                   its time is over
 *     Closed ─────────────────────→ Open ──────────────────────────────→ HalfOpen
 *       ↑                            ↑ ←───── failure: opens + 1 ────────── │
 *       └─────────────────────────── success: counters 0 ───────────────────┘
 *
 * circuit_open_until: null is Closed, ahead is Open, past is HalfOpen. */
#include "health_record.h"

#include "util/etag.h"

#include <stdio.h>

enum { JITTER_PERMILLE = 100 };

static const int64_t count_max = (INT64_C(1) << 53) - 1; /* what every JSON reader holds exactly */

const char *const health_circuit_names[HEALTH_CIRCUIT_COUNT] = {"Closed", "Open", "HalfOpen"};
static const char *const health_names[] = {"Healthy", "Degraded", "Unhealthy", "Unknown"};

/* What a PUT names. Times and counts first. */
enum put_field {
    PUT_LAST_FAILURE,
    PUT_LAST_SUCCESS,
    PUT_OPEN_UNTIL,
    PUT_FAILURES,
    PUT_OPENS,
    PUT_HEALTH,
    PUT_AGENT_ID,
    PUT_REFUSED, /* the daemon's own, from here on */
    PUT_FIELDS = PUT_REFUSED + 5
};
enum { TIME_TYPES = JSON_STRING | JSON_NULL };
static const struct json_field put_fields[PUT_FIELDS] = {
    [PUT_LAST_FAILURE] = {.name = "last_failure_at", .types = TIME_TYPES},
    [PUT_LAST_SUCCESS] = {.name = "last_success_at", .types = TIME_TYPES},
    [PUT_OPEN_UNTIL] = {.name = "circuit_open_until", .types = TIME_TYPES},
    [PUT_FAILURES] = {.name = "consecutive_failures", .types = JSON_NUMBER},
    [PUT_OPENS] = {.name = "opens", .types = JSON_NUMBER},
    [PUT_HEALTH] = {.name = "health", .types = JSON_STRING, .required = true},
    [PUT_AGENT_ID] = {.name = "agent_id", .types = JSON_STRING},
    [PUT_REFUSED] = {.name = "updated_at", .types = JSON_ANY},
    [PUT_REFUSED + 1] = {.name = "permits", .types = JSON_ANY},
    [PUT_REFUSED + 2] = {.name = "writes", .types = JSON_ANY},
    [PUT_REFUSED + 3] = {.name = "circuit", .types = JSON_ANY},
    [PUT_REFUSED + 4] = {.name = "circuit_changed_at", .types = JSON_ANY},
};

/* --- requests --- */

static enum status bad(struct json_error *error, const char *name, const char *why)
{
    if (error != NULL) snprintf(error->detail, sizeof error->detail, "member \"%s\" %s", name, why);
    return STATUS_INVALID_ARGUMENT;
}

/* What is interpreted must have a text. */
static enum status check_text(const struct json_field *field, struct json_error *error)
{
    struct buf scratch = {0};
    if (field->type != JSON_STRING) return STATUS_OK;
    enum status status = json_string_decode(field->raw, field->name, &scratch, error);
    buf_deinit(&scratch);
    return status;
}

static enum status check_time(const struct json_field *field, struct json_error *error)
{
    enum status status = check_text(field, error);
    if (status != STATUS_OK || field->type != JSON_STRING || health_time(field->raw) != HEALTH_NEVER)
        return status;
    return bad(error, field->name, "must be an RFC 3339 time");
}

static enum status check_health(struct slice raw, struct json_error *error)
{
    for (size_t i = 0; i < sizeof health_names / sizeof *health_names; i++)
        if (health_text_is(raw, slice_of(health_names[i]))) return STATUS_OK;
    return bad(error, "health", "must be Healthy, Degraded, Unhealthy or Unknown");
}

static enum status check_put(struct slice id, struct slice body, struct json_error *error)
{
    struct json_field fields[PUT_FIELDS];
    memcpy(fields, put_fields, sizeof fields);
    enum status status = json_read_object(body, fields, PUT_FIELDS, false, error);
    for (unsigned i = PUT_LAST_FAILURE; status == STATUS_OK && i <= PUT_OPEN_UNTIL; i++)
        status = check_time(&fields[i], error);
    for (unsigned i = PUT_FAILURES; status == STATUS_OK && i <= PUT_OPENS; i++) {
        int64_t unused;
        if (fields[i].type != JSON_ABSENT)
            status = json_int(fields[i].raw, fields[i].name, 0, count_max, &unused, error);
    }
    if (status == STATUS_OK) status = check_text(&fields[PUT_HEALTH], error);
    if (status == STATUS_OK) status = check_health(fields[PUT_HEALTH].raw, error);
    if (status == STATUS_OK) status = check_text(&fields[PUT_AGENT_ID], error);
    if (status == STATUS_OK && fields[PUT_AGENT_ID].type != JSON_ABSENT &&
        !health_text_is(fields[PUT_AGENT_ID].raw, id))
        status = bad(error, "agent_id", "differs from the path");
    for (unsigned i = PUT_REFUSED; status == STATUS_OK && i < PUT_FIELDS; i++)
        if (fields[i].type != JSON_ABSENT) status = bad(error, fields[i].name, "is set by the daemon alone");
    return status;
}

static enum status check_report(struct slice body, struct json_error *error)
{
    if (body.len == 0) return STATUS_OK;
    struct json_field fields[] = {{.name = "started_at", .types = JSON_STRING | JSON_NULL},
                                  {.name = "reason", .types = JSON_STRING | JSON_NULL},
                                  {.name = "reporter", .types = JSON_STRING | JSON_NULL}};
    enum status status = json_read_object(body, fields, sizeof fields / sizeof *fields, true, error);
    return status == STATUS_OK ? check_time(&fields[0], error) : status;
}

enum status health_change(enum health_op op, struct slice id, struct slice body, struct record_change *out,
                          struct json_error *out_error)
{
    enum status status = STATUS_OK;
    bool takes_body = op == HEALTH_PUT || op == HEALTH_SUCCESS || op == HEALTH_FAILURE;
    if (op == HEALTH_PUT) status = check_put(id, body, out_error);
    if (op == HEALTH_SUCCESS || op == HEALTH_FAILURE) status = check_report(body, out_error);
    if (op == HEALTH_PERMIT && body.len > 0) status = json_read_object(body, NULL, 0, true, out_error);
    if (status != STATUS_OK) return status;
    unsigned traits = op == HEALTH_READ     ? RECORD_READS | RECORD_NEEDS_COPY
                      : op == HEALTH_PERMIT ? RECORD_NEEDS_COPY
                                            : 0;
    *out = (struct record_change){
        .op = op, .traits = traits, .id = id, .body = takes_body ? body : (struct slice){"", 0}};
    return STATUS_OK;
}

/* --- the circuit --- */

struct step {
    const struct health_options *options;
    const struct record_change *change;
    struct health_record r;
    struct health_edits edits;
};

/* base·2^(opens−1), capped; jittered by the change's id, never over the cap. */
static int64_t open_time_ms(const struct step *s)
{
    int64_t max = s->options->open_max_ms;
    int64_t ms = s->options->open_base_ms < max ? s->options->open_base_ms : max;
    for (int64_t i = 1; i < s->r.opens && ms < max; i++)
        ms = ms < max / 2 ? ms * 2 : max;
    uint64_t hash = etag_of(slice_of(s->change->change_id));
    int64_t permille = 1000 - JITTER_PERMILLE + (int64_t)(hash % (2 * JITTER_PERMILLE + 1));
    ms = ms * permille / 1000;
    if (ms > max) ms = max;
    return ms > 0 ? ms : 1;
}

/* Opens it until that time, or closes it. Permits are of one half-open time and end with it; a report that is
 * not late always ends it, so it frees its permit thereby, and a late one holds none. */
static void move_circuit(struct step *s, int64_t open_until_ms)
{
    s->r.open_until_ms = open_until_ms;
    health_edit_time(&s->edits, "circuit_open_until", open_until_ms);
    health_edit_time(&s->edits, "circuit_changed_at", s->change->stamp_ms);
    s->r.permit_count = 0;
}

static void open_circuit(struct step *s)
{
    if (s->r.opens < count_max) s->r.opens++;
    health_edit_number(&s->edits, "opens", s->r.opens);
    move_circuit(s, s->change->stamp_ms + open_time_ms(s));
}

static void close_circuit(struct step *s)
{
    s->r.failures = s->r.opens = 0;
    health_edit_number(&s->edits, "opens", 0);
    move_circuit(s, HEALTH_NEVER);
}

static void drop_ended_permits(struct step *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->r.permit_count; i++)
        if (s->r.permits_ms[i] > s->change->stamp_ms) s->r.permits_ms[kept++] = s->r.permits_ms[i];
    s->r.permit_count = kept;
}

/* --- changes --- */

static enum record_verdict write_out(struct step *s, struct slice value, struct record_result *out)
{
    health_edit_time(&s->edits, "updated_at", s->change->stamp_ms);
    bool ok = health_edits_apply(&s->edits, &s->r, value, slice_of(s->change->change_id), &out->value);
    return ok ? RECORD_WRITE : health_refuse(out, STATUS_OVERLOADED, "no memory for the record");
}

static enum record_verdict apply_report(struct step *s, bool failure, struct record_result *out)
{
    int64_t now = s->change->stamp_ms;
    enum health_circuit circuit = health_record_circuit(&s->r, now);
    int64_t started = HEALTH_NEVER;
    if (s->change->body.len > 0) started = health_time(json_member(s->change->body, "started_at"));
    bool late = started != HEALTH_NEVER && started < s->r.changed_ms;
    size_t permit_count = s->r.permit_count;

    health_edit_time(&s->edits, failure ? "last_failure_at" : "last_success_at", now);
    if (failure) {
        if (s->r.failures < count_max) s->r.failures++;
        bool full = s->r.failures >= s->options->failure_threshold;
        if (!late && (circuit == HEALTH_HALF_OPEN || (circuit == HEALTH_CLOSED && full))) open_circuit(s);
    } else if (circuit == HEALTH_CLOSED) {
        s->r.failures = 0;
    } else if (circuit == HEALTH_HALF_OPEN && !late) {
        close_circuit(s);
    }
    health_edit_number(&s->edits, "consecutive_failures", s->r.failures);
    if (s->r.permit_count != permit_count) health_edit_permits(&s->edits, NULL, 0);
    return write_out(s, s->r.value, out);
}

static enum record_verdict apply_permit(struct step *s, bool known, struct record_result *out)
{
    int64_t now = s->change->stamp_ms;
    enum health_circuit circuit = known ? health_record_circuit(&s->r, now) : HEALTH_CLOSED;
    out->note[HEALTH_NOTE_CIRCUIT] = circuit;
    out->note[HEALTH_NOTE_ALLOWED] = circuit == HEALTH_CLOSED;
    if (circuit == HEALTH_OPEN) out->note[HEALTH_NOTE_RETRY_AFTER_MS] = s->r.open_until_ms - now;
    if (circuit != HEALTH_HALF_OPEN) return RECORD_KEEP;

    drop_ended_permits(s);
    if ((int64_t)s->r.permit_count >= s->options->probes || s->r.permit_count == HEALTH_PERMITS_MAX) {
        int64_t soonest = INT64_MAX;
        for (size_t i = 0; i < s->r.permit_count; i++)
            if (s->r.permits_ms[i] < soonest) soonest = s->r.permits_ms[i];
        out->note[HEALTH_NOTE_RETRY_AFTER_MS] = soonest - now;
        return RECORD_KEEP;
    }
    s->r.permits_ms[s->r.permit_count++] = now + s->options->probe_ttl_ms;
    health_edit_permits(&s->edits, s->r.permits_ms, s->r.permit_count);
    out->note[HEALTH_NOTE_ALLOWED] = 1;
    return write_out(s, s->r.value, out);
}

static bool is_known_to_put(struct slice name)
{
    for (unsigned i = 0; i < PUT_FIELDS; i++)
        if (json_name_is(name, put_fields[i].name)) return true;
    return false;
}

/* Appends the value with the body's unknown members: they leave their places and follow at the end, as they
 * stand. */
static enum status take_unknown(struct slice value, struct slice body, struct buf *out)
{
    struct buf names = {0}, members = {0};
    struct slice rest = body, name, raw;
    while (json_member_next(&rest, &name, &raw)) {
        if (is_known_to_put(name)) continue;
        buf_append_char(&names, names.len > 0 ? ',' : '{');
        buf_append_slice(&names, name);
        buf_append_text(&names, ":null");
        buf_append_char(&members, ',');
        buf_append_slice(&members, name);
        buf_append_char(&members, ':');
        buf_append_slice(&members, raw);
    }
    enum status status = STATUS_OK;
    if (names.len == 0) {
        buf_append_slice(out, value);
    } else {
        buf_append_char(&names, '}');
        if (!names.failed) status = json_merge_patch(value, buf_slice(&names), out, NULL);
        while (out->len > 0 && out->ptr[out->len - 1] != '}')
            out->len--;
        if (out->len > 0) out->len--;
        /* There is a member before them: health. */
        buf_append_slice(out, buf_slice(&members));
        buf_append_char(out, '}');
    }
    if (names.failed || members.failed || out->failed) status = STATUS_OVERLOADED;
    buf_deinit(&names);
    buf_deinit(&members);
    return status;
}

static void edit_put(struct step *s, const struct json_field fields[PUT_FIELDS])
{
    for (unsigned i = PUT_FAILURES; i <= PUT_OPENS; i++) {
        int64_t count;
        if (fields[i].type != JSON_ABSENT &&
            json_int(fields[i].raw, fields[i].name, 0, count_max, &count, NULL) == STATUS_OK)
            health_edit_number(&s->edits, fields[i].name, count);
    }
    for (unsigned i = PUT_LAST_FAILURE; i <= PUT_LAST_SUCCESS; i++)
        if (fields[i].type != JSON_ABSENT)
            health_edit_time(&s->edits, fields[i].name, health_time(fields[i].raw));
    if (fields[PUT_OPEN_UNTIL].type == JSON_ABSENT) return;
    int64_t until = health_time(fields[PUT_OPEN_UNTIL].raw);
    if (until == s->r.open_until_ms) return;
    move_circuit(s, until);
    health_edit_permits(&s->edits, NULL, 0);
}

static enum record_verdict apply_put(struct step *s, struct record_result *out)
{
    struct json_field fields[PUT_FIELDS];
    memcpy(fields, put_fields, sizeof fields);
    enum status status = json_read_object(s->change->body, fields, PUT_FIELDS, false, NULL);
    if (status != STATUS_OK) return health_refuse(out, status, "the body is no health record");
    const struct json_edit health = {"health", fields[PUT_HEALTH].raw};
    struct buf base = {0}, whole = {0};
    status = json_object_edit(s->r.value, &health, 1, &base);
    if (status == STATUS_OK) status = take_unknown(buf_slice(&base), s->change->body, &whole);
    enum record_verdict verdict;
    if (status == STATUS_OK) {
        edit_put(s, fields);
        verdict = write_out(s, buf_slice(&whole), out);
    } else {
        verdict = health_refuse(out, STATUS_OVERLOADED, "no memory for the record");
    }
    buf_deinit(&base);
    buf_deinit(&whole);
    return verdict;
}

enum record_verdict health_refuse(struct record_result *out, enum status status, const char *detail)
{
    out->status = status;
    snprintf(out->detail, sizeof out->detail, "%s", detail);
    return RECORD_REFUSE;
}

enum record_verdict health_apply(const struct record_rules *rules, const struct record_change *change,
                                 const struct record_version *current, struct record_result *out)
{
    struct step s = {.options = rules->options, .change = change};
    struct buf fresh = {0};
    struct slice value = current->value;
    bool known = value.ptr != NULL;
    if (!known) {
        health_record_new(change->id, &fresh);
        if (fresh.failed) return health_refuse(out, STATUS_OVERLOADED, "no memory for the record");
        value = buf_slice(&fresh);
    }
    enum record_verdict verdict = RECORD_KEEP;
    if (!health_record_read(value, &s.r))
        verdict = health_refuse(out, STATUS_FOREIGN_VALUE, "the stored value is no JSON object");
    else if (change->op == HEALTH_PUT)
        verdict = apply_put(&s, out);
    else if (change->op == HEALTH_SUCCESS || change->op == HEALTH_FAILURE)
        verdict = apply_report(&s, change->op == HEALTH_FAILURE, out);
    else if (change->op == HEALTH_PERMIT)
        verdict = apply_permit(&s, known, out);
    else if (change->op == HEALTH_DELETE)
        verdict = RECORD_DELETE;
    buf_deinit(&fresh);
    return verdict;
}

/* --- showing --- */

bool health_show(struct slice value, int64_t now_ms, bool with_circuit, struct buf *out)
{
    struct health_record r;
    if (!health_record_read(value, &r)) return false;
    char circuit[16];
    snprintf(circuit, sizeof circuit, "\"%s\"", health_circuit_names[health_record_circuit(&r, now_ms)]);
    const struct json_edit edits[] = {
        {.name = "writes"}, {.name = "permits"}, {.name = "circuit", .value = slice_of(circuit)}};
    if (json_object_edit(value, edits, with_circuit ? 3 : 2, out) != STATUS_OK) out->failed = true;
    return true;
}

enum health_circuit health_circuit_of(struct slice value, int64_t now_ms)
{
    struct health_record r;
    return health_record_read(value, &r) ? health_record_circuit(&r, now_ms) : HEALTH_CLOSED;
}

/* Of all but `writes`, so that a version is named by what it says. */
static uint64_t etag(struct slice value)
{
    static const struct json_edit HIDDEN = {.name = "writes"};
    struct buf shown = {0};
    enum json_type type;
    if (json_validate(value, &type, NULL) == STATUS_OK && type == JSON_OBJECT &&
        json_object_edit(value, &HIDDEN, 1, &shown) == STATUS_OK)
        value = buf_slice(&shown);
    uint64_t tag = etag_of(value);
    buf_deinit(&shown);
    return tag != 0 ? tag : 1;
}

void health_rules(const struct health_options *options, struct record_rules *out)
{
    *out = (struct record_rules){
        .name = "health", .options = options, .apply = health_apply, .merge = health_merge, .etag = etag};
}
