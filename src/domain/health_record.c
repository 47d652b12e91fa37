/* health_record: one walk over the members. What others wrote with another type counts as absent; it stays
 * until a change of ours sets that member. */
#include "health_record.h"

#include "state/record_value.h"

#include <assert.h>
#include <stdio.h>

static struct slice decoded(struct slice raw, struct buf *scratch)
{
    if (raw.ptr == NULL || raw.ptr[0] != '"') return SLICE_NONE;
    struct slice text = json_string_plain(raw);
    if (text.ptr != NULL) return text;
    if (json_string_decode(raw, "", scratch, NULL) != STATUS_OK) return SLICE_NONE;
    return buf_slice(scratch);
}

int64_t health_time(struct slice raw)
{
    struct buf scratch = {0};
    int64_t ms;
    struct slice text = decoded(raw, &scratch);
    if (text.ptr == NULL || !rfc3339_parse(text, &ms)) ms = HEALTH_NEVER;
    buf_deinit(&scratch);
    return ms;
}

bool health_text_is(struct slice raw, struct slice text)
{
    struct buf scratch = {0};
    struct slice own = decoded(raw, &scratch);
    bool same = own.ptr != NULL && slice_equal(own, text);
    buf_deinit(&scratch);
    return same;
}

static int64_t count_of(struct slice raw)
{
    int64_t count;
    if (raw.ptr == NULL || (raw.ptr[0] != '-' && (raw.ptr[0] < '0' || raw.ptr[0] > '9'))) return 0;
    return json_int(raw, "", 0, INT64_MAX, &count, NULL) == STATUS_OK ? count : 0;
}

static void read_permits(struct slice raw, struct health_record *out)
{
    struct slice permit;
    out->permit_count = 0;
    if (raw.ptr == NULL || raw.ptr[0] != '[') return;
    while (out->permit_count < HEALTH_PERMITS_MAX && json_element_next(&raw, &permit)) {
        int64_t ms = health_time(permit);
        if (ms != HEALTH_NEVER) out->permits_ms[out->permit_count++] = ms;
    }
}

bool health_record_read(struct slice value, struct health_record *out)
{
    enum { FAILURES, OPENS, OPEN_UNTIL, CHANGED, UPDATED, PERMITS, WRITES, MEMBERS };
    static const char *const NAMES[MEMBERS] = {"consecutive_failures",
                                               "opens",
                                               "circuit_open_until",
                                               "circuit_changed_at",
                                               "updated_at",
                                               "permits",
                                               "writes"};
    enum json_type type;
    if (json_validate(value, &type, NULL) != STATUS_OK || type != JSON_OBJECT) return false;
    struct slice members[MEMBERS] = {SLICE_NONE}; /* of doubled ones the first, as json_edit has it */
    struct slice rest = value, name, raw;
    while (json_member_next(&rest, &name, &raw))
        for (unsigned i = 0; i < MEMBERS; i++)
            if (members[i].ptr == NULL && json_name_is(name, NAMES[i])) members[i] = raw;
    out->value = value;
    out->failures = count_of(members[FAILURES]);
    out->opens = count_of(members[OPENS]);
    out->open_until_ms = health_time(members[OPEN_UNTIL]);
    out->changed_ms = health_time(members[CHANGED]);
    out->updated_ms = health_time(members[UPDATED]);
    out->writes = members[WRITES];
    read_permits(members[PERMITS], out);
    return true;
}

enum health_circuit health_record_circuit(const struct health_record *r, int64_t now_ms)
{
    if (r->open_until_ms == HEALTH_NEVER) return HEALTH_CLOSED;
    return r->open_until_ms > now_ms ? HEALTH_OPEN : HEALTH_HALF_OPEN;
}

void health_record_new(struct slice id, struct buf *out)
{
    buf_append_text(out, "{\"agent_id\":\"");
    buf_append_slice(out, id); /* of an alphabet that needs no escapes */
    buf_append_text(out, "\",\"health\":\"Unknown\",\"consecutive_failures\":0,\"last_failure_at\":null,"
                         "\"last_success_at\":null,\"circuit_open_until\":null,\"updated_at\":null,"
                         "\"opens\":0,\"permits\":[],\"writes\":[]}");
}

/* --- edits --- */

void health_edit_raw(struct health_edits *e, const char *name, struct slice raw)
{
    assert(e->count < sizeof e->edits / sizeof *e->edits);
    e->edits[e->count++] = (struct json_edit){name, raw};
}

void health_edit_number(struct health_edits *e, const char *name, int64_t number)
{
    char *text = e->texts[e->count];
    snprintf(text, sizeof e->texts[0], "%lld", (long long)number);
    health_edit_raw(e, name, slice_of(text));
}

void health_edit_time(struct health_edits *e, const char *name, int64_t ms)
{
    char *text = e->texts[e->count];
    if (ms == HEALTH_NEVER) {
        health_edit_raw(e, name, SLICE_LITERAL("null"));
        return;
    }
    text[0] = '"';
    rfc3339_format(ms, text + 1);
    text[RFC3339_SIZE] = '"'; /* in the NUL's place */
    health_edit_raw(e, name, (struct slice){text, RFC3339_SIZE + 1});
}

void health_edit_permits(struct health_edits *e, const int64_t *permits_ms, size_t count)
{
    char text[RFC3339_SIZE];
    buf_append_char(&e->permits, '[');
    for (size_t i = 0; i < count; i++) {
        rfc3339_format(permits_ms[i], text);
        if (i > 0) buf_append_char(&e->permits, ',');
        buf_append_char(&e->permits, '"');
        buf_append_text(&e->permits, text);
        buf_append_char(&e->permits, '"');
    }
    buf_append_char(&e->permits, ']');
    health_edit_raw(e, "permits", buf_slice(&e->permits));
}

bool health_edits_apply(struct health_edits *e, const struct health_record *r, struct slice value,
                        struct slice change_id, struct buf *out)
{
    if (change_id.len > 0) {
        record_value_writes(r->writes, change_id, &e->writes);
        health_edit_raw(e, "writes", buf_slice(&e->writes));
    }
    bool ok = !e->permits.failed && !e->writes.failed &&
              json_object_edit(value, e->edits, e->count, out) == STATUS_OK;
    buf_deinit(&e->permits);
    buf_deinit(&e->writes);
    return ok;
}
