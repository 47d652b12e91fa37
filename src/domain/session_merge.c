/* session_merge: a change that was accepted while Redis was away meets what Redis has. What the
 * two sides agree on is the ETag the change was computed from: where it still holds the change is applied as
 * it was. Where it does not, both sides changed the session: a conflict. A PATCH is then applied again, a PUT
 * stands if it is the later one; of both only the state is left out where the move is not legal (an ended
 * session stays ended), the other members are taken. Redis's last_accessed stays where it is the later
 * one. */
#include "session_private.h"

struct meeting {
    const struct record_rules *rules;
    const struct record_entry *entry;
    const struct record_version *current;
    int64_t now_ms;
};

static enum record_verdict conflict(struct record_result *out)
{
    out->conflict = true;
    out->status = STATUS_OK;
    return RECORD_KEEP;
}

/* Writes what the change made here, unless its time is over by now. */
static enum record_verdict write_copy(const struct meeting *m, bool conflicts, struct record_result *out)
{
    const struct record_entry *entry = m->entry;
    bool expired = entry->expires_ms != 0 && entry->expires_ms <= m->now_ms;
    if (entry->copy.ptr == NULL || expired) return RECORD_KEEP;
    buf_append_slice(&out->value, entry->copy);
    if (out->value.failed) return session_refuse(out, STATUS_OVERLOADED, "");
    out->expires_ms = entry->expires_ms;
    out->conflict = conflicts;
    return RECORD_WRITE;
}

static enum record_verdict meet_absent(const struct meeting *m, struct record_result *out)
{
    const struct record_change *change = m->entry->change;
    bool deleted = m->current->deleted_ms != 0;
    switch ((enum session_op)change->op) {
    case SESSION_READ:
        return RECORD_KEEP;
    case SESSION_TOUCH:
        return deleted ? RECORD_KEEP : write_copy(m, false, out);
    case SESSION_CREATE:
    case SESSION_PUT:
        if (deleted && change->stamp_ms <= m->current->deleted_ms) return conflict(out);
        return write_copy(m, m->entry->base != 0, out);
    case SESSION_PATCH:
        return deleted ? conflict(out) : write_copy(m, m->entry->base != 0, out);
    case SESSION_DELETE:
        return RECORD_DELETE;
    }
    return session_refuse(out, STATUS_INTERNAL, "no such operation");
}

/* last_accessed and expiry become the later of both. */
static enum record_verdict meet_touch(const struct session_step *step, struct record_result *out)
{
    int64_t last_ms;
    struct slice have = step->have.member[MEMBER_LAST_ACCESSED];
    bool later = !session_time_read(have, &last_ms) || last_ms < step->change->stamp_ms;
    int64_t expires_ms = step->expires_ms;
    int64_t slid = step->change->stamp_ms + session_ttl_ms(step->options, step->have.member[MEMBER_TTL]);
    if (expires_ms != 0 && slid > expires_ms) expires_ms = slid;
    if (later) return session_step_touch(step, expires_ms, out);
    if (expires_ms == step->expires_ms) return RECORD_KEEP;
    buf_append_slice(&out->value, step->current);
    if (out->value.failed) return session_refuse(out, STATUS_OVERLOADED, "");
    out->expires_ms = expires_ms;
    return RECORD_WRITE;
}

static enum record_verdict meet_write(struct session_step *step, bool same, bool has_updated,
                                      int64_t updated_ms, struct record_result *out)
{
    bool later = !has_updated || updated_ms < step->change->stamp_ms;
    out->conflict = !same;
    if (!same && step->change->op == SESSION_PUT && !later) return RECORD_KEEP;
    if (!same && !later) step->updated_ms = updated_ms;
    if (session_step_write(step, out) == RECORD_WRITE) return RECORD_WRITE;
    if (out->status == STATUS_OVERLOADED) return RECORD_REFUSE;
    return conflict(out);
}

static enum record_verdict meet_present(const struct meeting *m, struct session_step *step,
                                        struct record_result *out)
{
    const struct record_change *change = m->entry->change;
    bool same = m->entry->base != 0 && m->rules->etag(m->current->value) == m->entry->base;
    int64_t accessed_ms;
    int64_t updated_ms = 0;
    bool has_updated = session_time_read(step->have.member[MEMBER_UPDATED_AT], &updated_ms);
    /* A clock that is ahead elsewhere must not keep a session alive. */
    if (session_time_read(step->have.member[MEMBER_LAST_ACCESSED], &accessed_ms) &&
        accessed_ms > step->accessed_ms && accessed_ms <= m->now_ms)
        step->accessed_ms = accessed_ms;
    switch ((enum session_op)change->op) {
    case SESSION_READ:
        return RECORD_KEEP;
    case SESSION_TOUCH:
        return meet_touch(step, out);
    case SESSION_CREATE:
        return conflict(out);
    case SESSION_PUT:
    case SESSION_PATCH:
        return meet_write(step, same, has_updated, updated_ms, out);
    case SESSION_DELETE:
        if (same || !has_updated || updated_ms < change->stamp_ms) return RECORD_DELETE;
        return conflict(out);
    }
    return session_refuse(out, STATUS_INTERNAL, "no such operation");
}

enum record_verdict session_merge(const struct record_rules *rules, const struct record_entry *entry,
                                  const struct record_version *current, int64_t now_ms,
                                  struct record_result *out)
{
    struct meeting meeting = {rules, entry, current, now_ms};
    if (current->value.ptr == NULL) return meet_absent(&meeting, out);
    struct session_step step = {.options = rules->options,
                                .change = entry->change,
                                .current = current->value,
                                .expires_ms = current->expires_ms,
                                .accessed_ms = entry->change->stamp_ms,
                                .updated_ms = entry->change->stamp_ms,
                                .lenient = true};
    if (!session_value_read(current->value, &step.have))
        return session_refuse(out, STATUS_FOREIGN_VALUE, "there is no JSON object under this key");
    return meet_present(&meeting, &step, out);
}
