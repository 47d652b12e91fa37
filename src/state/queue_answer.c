/* queue_answer: the scripts' answers as results. An answer of another form than the script's own is a bug (or
 * another program's script under our name): INTERNAL. */
#include "queue_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static bool state_of_letter(char letter, enum queue_state *out)
{
    static const char LETTERS[] = "rdlxbacp";
    const char *at = letter ? strchr(LETTERS, letter) : NULL;
    if (at) *out = (enum queue_state)(at - LETTERS);
    return at != NULL;
}

/* --- packed fields --- */

static uint64_t get_int(const char **at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | (unsigned char)(*at)[i];
    *at += bytes;
    return value;
}

static bool get_text(const char **at, const char *end, struct slice *out)
{
    const char *nul = memchr(*at, 0, (size_t)(end - *at));
    if (!nul) return false;
    *out = (struct slice){*at, (size_t)(nul - *at)};
    *at = nul + 1;
    return true;
}

/* FORMAT of queue_lib.lua. */
static bool read_meta(struct slice meta, struct queue_view *out)
{
    enum { FIXED = 1 + 2 + 2 + 1 + 6 + 7 + 6 + 6 + 6 + 6 + 4 };
    if (meta.len < FIXED || !state_of_letter(meta.ptr[0], &out->state)) return false;
    const char *at = meta.ptr + 1, *end = meta.ptr + meta.len;
    out->attempt = (unsigned)get_int(&at, 2);
    out->max_attempts = (unsigned)get_int(&at, 2);
    out->priority = (unsigned)get_int(&at, 1);
    (void)get_int(&at, 6); /* arrival */
    (void)get_int(&at, 7); /* rank */
    out->added_ms = (int64_t)get_int(&at, 6);
    out->ttl_ms = (int64_t)get_int(&at, 6);
    out->ends_ms = (int64_t)get_int(&at, 6);
    out->at_ms = (int64_t)get_int(&at, 6);
    (void)get_int(&at, 4); /* bytes */
    struct slice receipt;
    if (!get_text(&at, end, &out->agent) || !get_text(&at, end, &receipt)) return false;
    if (out->state == QUEUE_LEASED) out->attempt++;
    out->history = (struct slice){at, (size_t)(end - at)};
    return true;
}

static bool read_bad(struct slice member, struct queue_view *out)
{
    if (member.len < 12) return false;
    const char *at = member.ptr, *end = member.ptr + member.len;
    out->state = QUEUE_BAD;
    out->at_ms = (int64_t)get_int(&at, 6);
    at += 6; /* arrival */
    if (!get_text(&at, end, &out->reason)) return false;
    out->body = (struct slice){at, (size_t)(end - at)};
    return true;
}

static bool cut(struct slice *rest, char mark, struct slice *out)
{
    const char *at = rest->len ? memchr(rest->ptr, mark, rest->len) : NULL;
    if (!at) return false;
    *out = (struct slice){rest->ptr, (size_t)(at - rest->ptr)};
    rest->len -= out->len + 1;
    rest->ptr = at + 1;
    return true;
}

bool queue_event_next(struct slice *rest, struct queue_event *out)
{
    struct slice line, kind, at, ref;
    if (!cut(rest, '\n', &line) || !cut(&line, ' ', &kind) || !cut(&line, ' ', &at) ||
        !cut(&line, ' ', &ref) || kind.len != 1)
        return false;
    *out = (struct queue_event){.kind = kind.ptr[0], .reason = line};
    for (size_t i = 0; i < at.len && at.ptr[i] >= '0' && at.ptr[i] <= '9'; i++)
        out->at_ms = out->at_ms * 10 + (at.ptr[i] - '0');
    return true;
}

/* --- answers --- */

static void *allot(struct queue_work *w, size_t count, size_t size)
{
    w->results = calloc(count ? count : 1, size);
    if (!w->results) w->op->status = STATUS_OVERLOADED;
    return w->results;
}

static void answer_enqueue(struct queue_work *w, struct slice said)
{
    struct queue_op *op = w->op;
    struct queue_verdict *verdicts = allot(w, said.len, sizeof *verdicts);
    if (!verdicts) return;
    if (said.len != op->in.enqueue.count) op->status = STATUS_INTERNAL;
    for (size_t i = 0; i < said.len; i++) {
        const struct queue_task *task = i < op->in.enqueue.count ? &op->in.enqueue.tasks[i] : NULL;
        /* An id of our own that Redis knows was added by the try whose reply was lost. */
        verdicts[i].added = said.ptr[i] == '+' || (task && task->made);
        if (verdicts[i].added)
            verdicts[i].state = task && task->delay_ms > 0 ? QUEUE_DELAYED : QUEUE_READY;
        else if (!state_of_letter(said.ptr[i], &verdicts[i].state))
            op->status = STATUS_INTERNAL;
    }
    op->verdicts = verdicts;
    op->results = said.len;
}

static enum status status_of_mark(char mark)
{
    return mark == '+' ? STATUS_OK : mark == '-' ? STATUS_STALE_RECEIPT : STATUS_NOT_FOUND;
}

static void answer_ack(struct queue_work *w, struct slice said)
{
    struct queue_verdict *verdicts = allot(w, said.len, sizeof *verdicts);
    if (!verdicts) return;
    if (said.len != w->op->in.ack.count) w->op->status = STATUS_INTERNAL;
    for (size_t i = 0; i < said.len; i++)
        verdicts[i].status = status_of_mark(said.ptr[i]);
    w->op->verdicts = verdicts;
    w->op->results = said.len;
}

static int64_t integer_at(const struct redis_reply *reply, size_t i)
{
    struct redis_reply element;
    return redis_reply_element(reply, i, &element) ? element.integer : 0;
}

static struct slice text_at(const struct redis_reply *reply, size_t i)
{
    struct redis_reply element;
    return redis_reply_element(reply, i, &element) ? element.text : SLICE_NONE;
}

static void answer_dequeue(struct queue_work *w, const struct redis_reply *reply)
{
    enum { HEAD = 2, EACH = 5 };
    struct queue_op *op = w->op;
    size_t count = reply->integer < HEAD ? 0 : ((size_t)reply->integer - HEAD) / EACH;
    struct queue_lease *leases = allot(w, count, sizeof *leases);
    if (!leases) {
        queue_redis_return(w->port, op->op_id, op->in.dequeue.lease_ms);
        return;
    }
    op->expired = integer_at(reply, 1);
    for (size_t i = 0; i < count; i++) {
        size_t at = HEAD + i * EACH;
        leases[i] = (struct queue_lease){.id = text_at(reply, at),
                                         .attempt = (unsigned)integer_at(reply, at + 1),
                                         .receipt = text_at(reply, at + 2),
                                         .ends_ms = integer_at(reply, at + 3),
                                         .body = text_at(reply, at + 4)};
    }
    op->leases = leases;
    op->results = count;
}

static void answer_tick(struct queue_op *op, const struct redis_reply *r)
{
    op->ticked = (struct queue_ticked){.more = integer_at(r, 0) != 0,
                                       .ended = integer_at(r, 1),
                                       .died = integer_at(r, 2),
                                       .finished = integer_at(r, 3),
                                       .promoted = integer_at(r, 4),
                                       .expired = integer_at(r, 5),
                                       .dead_forgotten = integer_at(r, 6),
                                       .done_forgotten = integer_at(r, 7),
                                       .inbox = integer_at(r, 8),
                                       .next_ms = integer_at(r, 9)};
}

static void answer_counts(struct queue_op *op, const struct redis_reply *r)
{
    for (size_t i = 0; i <= QUEUE_BAD; i++)
        op->counts.of[i] = integer_at(r, i);
    op->counts.inbox = integer_at(r, QUEUE_BAD + 1);
    op->counts.oldest_ready_ms = integer_at(r, QUEUE_BAD + 2);
}

static void answer_adopt(struct queue_op *op, struct slice said)
{
    op->adopted.moved = (int64_t)said.len;
    for (size_t i = 0; i < said.len; i++) {
        op->adopted.added += said.ptr[i] == '+';
        op->adopted.bad += said.ptr[i] == 'b';
    }
    op->adopted.known = op->adopted.moved - op->adopted.added - op->adopted.bad;
}

static void answer_get(struct queue_work *w, const struct redis_reply *reply)
{
    struct queue_op *op = w->op;
    if (reply->integer == 0) {
        op->status = STATUS_NOT_FOUND;
        return;
    }
    struct queue_view *view = allot(w, 1, sizeof *view);
    if (!view) return;
    *view = (struct queue_view){.id = op->in.task.id, .body = text_at(reply, 1)};
    if (!read_meta(text_at(reply, 0), view)) {
        op->status = STATUS_INTERNAL;
        return;
    }
    op->views = view;
    op->results = 1;
}

static void write_cursor(struct queue_op *op, struct slice score, struct slice member)
{
    if (score.len == 0) return;
    /* Bad items are told apart by their scores; the others' members are an id and at most an arrival. */
    if (op->in.list.state == QUEUE_BAD) member.len = 0;
    size_t len = (size_t)snprintf(op->next, sizeof op->next, "%.*s.", (int)score.len, score.ptr);
    assert(len + 2 * member.len < sizeof op->next);
    for (size_t i = 0; i < member.len; i++)
        len += (size_t)snprintf(op->next + len, sizeof op->next - len, "%02x", (unsigned char)member.ptr[i]);
}

static void answer_list(struct queue_work *w, const struct redis_reply *reply)
{
    enum { HEAD = 2, EACH = 3 };
    struct queue_op *op = w->op;
    size_t count = reply->integer < HEAD ? 0 : ((size_t)reply->integer - HEAD) / EACH, shown = 0;
    struct queue_view *views = allot(w, count, sizeof *views);
    if (!views) return;
    for (size_t i = 0; i < count; i++) {
        size_t at = HEAD + i * EACH;
        struct queue_view *view = &views[shown];
        *view = (struct queue_view){.id = text_at(reply, at), .body = text_at(reply, at + 2)};
        struct slice meta = text_at(reply, at + 1);
        /* One without its meta has been deleted by a stranger. */
        shown += op->in.list.state == QUEUE_BAD ? read_bad(meta, view) : read_meta(meta, view);
    }
    op->views = views;
    op->results = shown;
    write_cursor(op, text_at(reply, 0), text_at(reply, 1));
}

static void answer_number(struct queue_op *op, int64_t n)
{
    if (op->verb == QUEUE_EXTEND && n > 0)
        op->lease_ends_ms = n;
    else if (op->verb == QUEUE_EXTEND)
        op->status = n == -1 ? STATUS_STALE_RECEIPT : STATUS_NOT_FOUND;
    else if (op->verb == QUEUE_CANCEL && n == 0)
        op->status = STATUS_NOT_FOUND;
    else
        op->count = n;
}

void queue_answer(struct queue_work *w, const struct redis_reply *reply)
{
    struct queue_op *op = w->op;
    switch (op->verb) {
    case QUEUE_ENQUEUE:
        answer_enqueue(w, reply->text);
        return;
    case QUEUE_ACK:
    case QUEUE_SETTLE:
        answer_ack(w, reply->text);
        return;
    case QUEUE_DEQUEUE:
        answer_dequeue(w, reply);
        return;
    case QUEUE_NACK:
        op->status = status_of_mark(reply->text.len ? reply->text.ptr[0] : '?');
        return;
    case QUEUE_REQUEUE:
        op->status = status_of_mark(reply->text.len ? reply->text.ptr[0] : '?');
        if (op->status == STATUS_STALE_RECEIPT) op->status = STATUS_INVALID_TRANSITION;
        return;
    case QUEUE_PURGE:
        op->count = integer_at(reply, 0);
        op->left = integer_at(reply, 1);
        return;
    case QUEUE_ADOPT:
        answer_adopt(op, reply->text);
        return;
    case QUEUE_TICK:
        answer_tick(op, reply);
        return;
    case QUEUE_COUNTS:
        answer_counts(op, reply);
        return;
    case QUEUE_GET:
        answer_get(w, reply);
        return;
    case QUEUE_LIST:
        answer_list(w, reply);
        return;
    default:
        answer_number(op, reply->integer);
    }
}
