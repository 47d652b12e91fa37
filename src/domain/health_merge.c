/* health_merge: an entry of the journal meets Redis's record. Unchanged since: the change is
 * made as it was, which gives the same bytes, so that the key's next entry finds its base. Changed: Redis's
 * record stays, but for a PUT that is newer and for the later end of the circuit's open time; what is older
 * than open_max_ms opens nothing. */
#include "health_record.h"

struct conflict {
    const struct record_rules *rules;
    const struct record_change *change;
    struct health_record there, copy;
    bool too_old;
    int64_t now_ms;
};

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool is_too_old(const struct record_rules *rules, const struct record_change *change, int64_t now_ms)
{
    const struct health_options *options = rules->options;
    return change->stamp_ms + options->open_max_ms < now_ms;
}

/* Redis has no record, and no later deletion: what came of the change here is the newest there is. */
static enum record_verdict write_copy(const struct record_rules *rules, const struct record_entry *entry,
                                      int64_t now_ms, struct record_result *out)
{
    struct health_record copy;
    struct health_edits edits = {.count = 0};
    if (entry->change->op == HEALTH_PERMIT || !entry->copy.ptr) return RECORD_KEEP;
    out->conflict = true;
    if (!health_record_read(entry->copy, &copy))
        return health_refuse(out, STATUS_FOREIGN_VALUE, "the journal's copy is no JSON object");
    if (copy.open_until_ms != HEALTH_NEVER && is_too_old(rules, entry->change, now_ms)) {
        health_edit_time(&edits, "circuit_open_until", HEALTH_NEVER);
        health_edit_permits(&edits, NULL, 0);
    }
    if (health_edits_apply(&edits, &copy, entry->copy, SLICE_NONE, &out->value)) return RECORD_WRITE;
    return health_refuse(out, STATUS_OVERLOADED, "no memory for the record");
}

/* Writes a record with another end of its open time. `written`: the change's id is in it. */
static enum record_verdict write_open_until(const struct conflict *c, const struct health_record *r,
                                            int64_t open_until_ms, bool written, struct record_result *out)
{
    struct health_edits edits = {.count = 0};
    struct buf value = {0};
    health_edit_time(&edits, "circuit_open_until", open_until_ms);
    health_edit_time(&edits, "circuit_changed_at", later(c->there.changed_ms, c->change->stamp_ms));
    if (open_until_ms != HEALTH_NEVER && open_until_ms == c->copy.open_until_ms)
        health_edit_number(&edits, "opens", later(r->opens, c->copy.opens));
    if (r->permit_count > 0) health_edit_permits(&edits, NULL, 0);
    health_edit_time(&edits, "updated_at", later(r->updated_ms, c->change->stamp_ms));
    struct slice id = written ? SLICE_NONE : slice_of(c->change->change_id);
    bool ok = health_edits_apply(&edits, r, r->value, id, &value);
    buf_deinit(&out->value);
    out->value = value;
    return ok ? RECORD_WRITE : health_refuse(out, STATUS_OVERLOADED, "no memory for the record");
}

static enum record_verdict merge_put(struct conflict *c, const struct record_version *current,
                                     struct record_result *out)
{
    enum record_verdict verdict = health_apply(c->rules, c->change, current, out);
    struct health_record after;
    if (verdict != RECORD_WRITE || !health_record_read(buf_slice(&out->value), &after)) return verdict;
    int64_t until = later(after.open_until_ms, c->copy.open_until_ms);
    if (json_member(c->change->body, "circuit_open_until").ptr) {
        until = after.open_until_ms;
        if (c->too_old && until > c->now_ms) until = c->there.open_until_ms;
    }
    return until == after.open_until_ms ? verdict : write_open_until(c, &after, until, true, out);
}

static enum record_verdict merge_conflict(struct conflict *c, const struct record_entry *entry,
                                          const struct record_version *current, struct record_result *out)
{
    if (c->change->op == HEALTH_PERMIT) return RECORD_KEEP;
    out->conflict = true;
    c->copy.open_until_ms = HEALTH_NEVER;
    if (entry->copy.ptr && !health_record_read(entry->copy, &c->copy))
        return health_refuse(out, STATUS_FOREIGN_VALUE, "the journal's copy is no JSON object");
    if (c->too_old) c->copy.open_until_ms = HEALTH_NEVER;
    if (c->change->op == HEALTH_PUT && c->change->stamp_ms > c->there.updated_ms)
        return merge_put(c, current, out);
    if (c->copy.open_until_ms <= c->there.open_until_ms) return RECORD_KEEP;
    return write_open_until(c, &c->there, c->copy.open_until_ms, false, out);
}

static enum record_verdict merge_absent(const struct record_rules *rules, const struct record_entry *entry,
                                        const struct record_version *current, int64_t now_ms,
                                        struct record_result *out)
{
    const struct record_change *change = entry->change;
    bool gone_later = current->deleted_ms != 0 && current->deleted_ms > change->stamp_ms;
    if (change->op == HEALTH_DELETE) return gone_later ? RECORD_KEEP : RECORD_DELETE;
    if (gone_later) {
        out->conflict = true;
        return RECORD_KEEP;
    }
    if (entry->base == 0) return health_apply(rules, change, current, out);
    return write_copy(rules, entry, now_ms, out);
}

enum record_verdict health_merge(const struct record_rules *rules, const struct record_entry *entry,
                                 const struct record_version *current, int64_t now_ms,
                                 struct record_result *out)
{
    const struct record_change *change = entry->change;
    if (!current->value.ptr) return merge_absent(rules, entry, current, now_ms, out);
    struct conflict c = {
        .rules = rules, .change = change, .too_old = is_too_old(rules, change, now_ms), .now_ms = now_ms};
    if (!health_record_read(current->value, &c.there))
        return health_refuse(out, STATUS_FOREIGN_VALUE, "the stored value is no JSON object");
    if (rules->etag(current->value) == entry->base) return health_apply(rules, change, current, out);
    if (change->op != HEALTH_DELETE) return merge_conflict(&c, entry, current, out);
    if (c.there.updated_ms < change->stamp_ms) return RECORD_DELETE;
    out->conflict = true;
    return RECORD_KEEP;
}
