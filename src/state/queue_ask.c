/* queue_ask: operations as their scripts want them. What is many goes as one packed argument (big-endian
 * lengths before the bytes), which Redis takes apart faster than thousands of arguments. */
#include "queue_private.h"

#include "util/random.h"
#include "util/sha1.h"
#include "util/uri.h"

#include <stdio.h>
#include <stdlib.h>

void queue_put_int(struct buf *out, uint64_t value, unsigned bytes)
{
    char text[8];
    for (unsigned i = 0; i < bytes; i++)
        text[i] = (char)(value >> (8 * (bytes - 1 - i)));
    buf_append(out, text, bytes);
}

void queue_put_bytes(struct buf *out, struct slice s, unsigned length_bytes)
{
    queue_put_int(out, s.len, length_bytes);
    buf_append_slice(out, s);
}

void queue_arg(struct queue_work *w, struct slice arg)
{
    w->command.argv[w->command.argc++] = arg.ptr ? arg : (struct slice){"", 0};
}

void queue_arg_int(struct queue_work *w, int64_t value)
{
    char *text = w->numbers[w->numbers_used++];
    int len = snprintf(text, sizeof w->numbers[0], "%lld", (long long)value);
    queue_arg(w, (struct slice){text, (size_t)len});
}

/* How many keys, from the first on, each script names; what it answers. */
static const struct {
    unsigned keys, types;
} SCRIPTS[REDIS_SCRIPT_COUNT] = {
    [REDIS_SCRIPT_QUEUE_ENQUEUE] = {13, REDIS_TYPE_STRING},
    [REDIS_SCRIPT_QUEUE_INBOX] = {16, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_ADOPT] = {17, REDIS_TYPE_STRING},
    [REDIS_SCRIPT_QUEUE_DEQUEUE] = {9, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_ACK] = {6, REDIS_TYPE_STRING},
    [REDIS_SCRIPT_QUEUE_SETTLE] = {14, REDIS_TYPE_STRING},
    [REDIS_SCRIPT_QUEUE_NACK] = {14, REDIS_TYPE_STRING},
    [REDIS_SCRIPT_QUEUE_EXTEND] = {5, REDIS_TYPE_INTEGER},
    [REDIS_SCRIPT_QUEUE_CANCEL] = {14, REDIS_TYPE_INTEGER},
    [REDIS_SCRIPT_QUEUE_REQUEUE] = {14, REDIS_TYPE_STRING},
    [REDIS_SCRIPT_QUEUE_PURGE] = {14, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_RETURN] = {15, REDIS_TYPE_INTEGER},
    [REDIS_SCRIPT_QUEUE_TICK] = {17, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_COUNTS] = {17, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_GET] = {2, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_LIST] = {17, REDIS_TYPE_ARRAY},
    [REDIS_SCRIPT_QUEUE_WAIT] = {13, REDIS_TYPE_INTEGER},
    [REDIS_SCRIPT_QUEUE_RESTORE] = {14, REDIS_TYPE_STRING},
};

void queue_command(const struct queue_store *store, enum redis_script_id id, struct queue_work *w)
{
    w->command = (struct redis_command){.script = redis_script(id),
                                        .keys = store->keys,
                                        .keys_count = SCRIPTS[id].keys,
                                        .types = SCRIPTS[id].types};
    w->numbers_used = 0;
    if (store->options.now_us)
        queue_arg_int(w, *store->options.now_us);
    else
        queue_arg(w, SLICE_NONE);
}

/* --- operations --- */

static void put_task(struct buf *out, const struct queue_task *t)
{
    queue_put_bytes(out, t->id, 2);
    queue_put_bytes(out, t->agent, 2);
    queue_put_int(out, t->priority, 1);
    queue_put_int(out, (uint64_t)t->delay_ms, 6);
    queue_put_int(out, (uint64_t)t->ttl_ms, 6);
    queue_put_int(out, t->max_attempts, 2);
    queue_put_bytes(out, t->body, 4);
}

static void ask_enqueue(struct queue_work *w, const struct queue_store_options *options)
{
    bool are_new = true;
    for (size_t i = 0; i < w->op->in.enqueue.count; i++) {
        put_task(&w->packed, &w->op->in.enqueue.tasks[i]);
        are_new = are_new && w->op->in.enqueue.tasks[i].made;
    }
    queue_arg_int(w, options->aging_us);
    queue_arg(w, buf_slice(&w->packed));
    queue_arg(w, are_new ? SLICE_LITERAL("new") : SLICE_NONE);
}

static void ask_dequeue(struct queue_work *w)
{
    const struct queue_op *op = w->op;
    for (size_t i = 0; i < op->in.dequeue.agents_count; i++) {
        buf_append_slice(&w->packed, op->in.dequeue.agents[i]);
        buf_append_char(&w->packed, 0);
    }
    queue_arg(w, slice_of(op->op_id));
    queue_arg_int(w, op->in.dequeue.count);
    queue_arg_int(w, op->in.dequeue.lease_ms);
    queue_arg(w, op->in.dequeue.automatic ? SLICE_LITERAL("a") : SLICE_LITERAL("r"));
    queue_arg_int(w, QUEUE_REPLY_BYTES_MAX);
    queue_arg(w, buf_slice(&w->packed));
}

static void ask_ack(struct queue_work *w, const struct queue_store_options *options)
{
    for (size_t i = 0; i < w->op->in.ack.count; i++) {
        queue_put_bytes(&w->packed, w->op->in.ack.acks[i].id, 2);
        queue_put_bytes(&w->packed, w->op->in.ack.acks[i].receipt, 2);
    }
    queue_arg_int(w, options->dedupe_ms);
    queue_arg(w, buf_slice(&w->packed));
}

void queue_arg_backoff(struct queue_work *w, const struct queue_store_options *options)
{
    queue_arg_int(w, options->retry_base_ms);
    queue_arg_int(w, options->retry_max_ms);
    /* A test's own time decides everything, so that what it saw can be seen again. */
    queue_arg_int(w, options->now_us ? *options->now_us / 1000 % 1000 : (int64_t)random_below(1000));
}

static void ask_nack(struct queue_work *w, const struct queue_store_options *options)
{
    const struct queue_op *op = w->op;
    queue_arg(w, op->in.nack.id);
    queue_arg(w, op->in.nack.receipt);
    if (op->in.nack.delay_ms < 0)
        queue_arg(w, SLICE_NONE);
    else
        queue_arg_int(w, op->in.nack.delay_ms);
    queue_arg(w, op->in.nack.reason.len ? op->in.nack.reason : SLICE_LITERAL("\"\""));
    queue_arg_backoff(w, options);
}

static void ask_tick(struct queue_work *w, const struct queue_store_options *options)
{
    /* For as long as a connection given up could still bring a dequeue. */
    enum { RETURNED_MS = 600000, TICK_LIMIT = 100 };
    queue_arg_int(w, TICK_LIMIT);
    queue_arg_backoff(w, options);
    queue_arg_int(w, options->dedupe_ms);
    queue_arg_int(w, RETURNED_MS);
    queue_arg_int(w, options->bad_keep_ms);
}

/* A cursor is "<score>." and the member's bytes in hex. */
static bool read_cursor(struct slice cursor, struct slice *out_score, struct buf *member)
{
    *out_score = SLICE_NONE;
    if (cursor.len == 0) return true;
    const char *dot = memchr(cursor.ptr, '.', cursor.len);
    if (!dot || dot == cursor.ptr || cursor.len >= QUEUE_CURSOR_SIZE) return false;
    *out_score = (struct slice){cursor.ptr, (size_t)(dot - cursor.ptr)};
    for (size_t i = 0; i < out_score->len; i++)
        if (strchr("-0123456789", cursor.ptr[i]) == NULL || (cursor.ptr[i] == '-' && i > 0)) return false;
    struct slice hex = {dot + 1, cursor.len - out_score->len - 1};
    if (hex.len % 2 || slice_equal(*out_score, SLICE_LITERAL("-"))) return false;
    for (size_t i = 0; i < hex.len; i += 2) {
        static const char DIGITS[] = "0123456789abcdef";
        const char *high = strchr(DIGITS, hex.ptr[i]), *low = strchr(DIGITS, hex.ptr[i + 1]);
        if (!hex.ptr[i] || !hex.ptr[i + 1] || !high || !low) return false;
        buf_append_char(member, (char)((high - DIGITS) << 4 | (low - DIGITS)));
    }
    return true;
}

static bool ask_list(struct queue_work *w)
{
    static const char LETTERS[] = "rdlxb";
    const struct queue_op *op = w->op;
    struct slice score;
    if (!read_cursor(op->in.list.cursor, &score, &w->packed)) {
        w->op->status = STATUS_INVALID_ARGUMENT;
        return false;
    }
    queue_arg(w, (struct slice){&LETTERS[op->in.list.state], 1});
    queue_arg_int(w, op->in.list.limit);
    queue_arg_int(w, QUEUE_REPLY_BYTES_MAX);
    queue_arg(w, score);
    queue_arg(w, buf_slice(&w->packed));
    return true;
}

static const enum redis_script_id SCRIPT_OF[QUEUE_VERB_COUNT] = {
    [QUEUE_ENQUEUE] = REDIS_SCRIPT_QUEUE_ENQUEUE, [QUEUE_DEQUEUE] = REDIS_SCRIPT_QUEUE_DEQUEUE,
    [QUEUE_SETTLE] = REDIS_SCRIPT_QUEUE_SETTLE,   [QUEUE_ACK] = REDIS_SCRIPT_QUEUE_ACK,
    [QUEUE_NACK] = REDIS_SCRIPT_QUEUE_NACK,       [QUEUE_EXTEND] = REDIS_SCRIPT_QUEUE_EXTEND,
    [QUEUE_CANCEL] = REDIS_SCRIPT_QUEUE_CANCEL,   [QUEUE_REQUEUE] = REDIS_SCRIPT_QUEUE_REQUEUE,
    [QUEUE_PURGE] = REDIS_SCRIPT_QUEUE_PURGE,     [QUEUE_ADOPT] = REDIS_SCRIPT_QUEUE_INBOX,
    [QUEUE_TICK] = REDIS_SCRIPT_QUEUE_TICK,       [QUEUE_COUNTS] = REDIS_SCRIPT_QUEUE_COUNTS,
    [QUEUE_GET] = REDIS_SCRIPT_QUEUE_GET,         [QUEUE_LIST] = REDIS_SCRIPT_QUEUE_LIST,
    [QUEUE_WAIT] = REDIS_SCRIPT_QUEUE_WAIT,
};

static void ask_one(struct queue_work *w, const struct queue_store_options *options)
{
    struct queue_op *op = w->op;
    switch (op->verb) {
    case QUEUE_EXTEND:
        queue_arg(w, op->in.extend.id);
        queue_arg(w, op->in.extend.receipt);
        queue_arg_int(w, op->in.extend.lease_ms);
        break;
    case QUEUE_CANCEL:
        queue_arg(w, op->in.task.id);
        queue_arg_int(w, options->dedupe_ms);
        break;
    case QUEUE_REQUEUE:
        queue_arg(w, op->in.task.id);
        queue_arg(w, slice_of(op->op_id));
        queue_arg_int(w, options->aging_us);
        break;
    case QUEUE_GET:
        queue_arg(w, op->in.task.id);
        break;
    case QUEUE_PURGE:
        queue_arg_int(w, QUEUE_STEP_MAX);
        queue_arg_int(w, options->dedupe_ms);
        break;
    case QUEUE_ADOPT:
        queue_arg_int(w, QUEUE_ADOPT_MAX);
        queue_arg_int(w, QUEUE_ADOPT_BYTES_MAX);
        queue_arg_int(w, (int64_t)options->item_max);
        break;
    case QUEUE_WAIT:
        queue_arg(w, op->in.wait.daemon);
        queue_arg(w, op->in.wait.waits ? SLICE_LITERAL("1") : SLICE_LITERAL("0"));
        queue_arg_int(w, op->in.wait.pass_on);
        queue_arg_int(w, op->in.wait.hops);
        queue_arg(w, op->in.wait.agent);
        break;
    default: /* QUEUE_COUNTS has no arguments */
        break;
    }
}

bool queue_ask(struct queue_work *w)
{
    const struct queue_store *store = queue_work_store(w);
    const struct queue_store_options *options = queue_store_options(store);
    queue_command(store, SCRIPT_OF[w->op->verb], w);
    switch (w->op->verb) {
    case QUEUE_ENQUEUE:
        ask_enqueue(w, options);
        break;
    case QUEUE_DEQUEUE:
        ask_dequeue(w);
        break;
    case QUEUE_ACK:
    case QUEUE_SETTLE:
        ask_ack(w, options);
        break;
    case QUEUE_NACK:
        ask_nack(w, options);
        break;
    case QUEUE_TICK:
        ask_tick(w, options);
        break;
    case QUEUE_LIST:
        if (!ask_list(w)) return false;
        break;
    default:
        ask_one(w, options);
    }
    return !w->packed.failed;
}

/* --- adopting --- */

static void put_item(struct queue_work *w, int64_t length, struct slice shown, const char sha[SHA1_HEX_SIZE])
{
    const struct queue_store_options *options = queue_store_options(queue_work_store(w));
    struct queue_task task = {0};
    char reason[192] = "";
    buf_clear(&w->scratch);
    bool good = false;
    if (length > (int64_t)options->item_max)
        snprintf(reason, sizeof reason, "larger than http.body_max: %lld bytes", (long long)length);
    else
        good = options->read_item(options->arg, shown, redis_topology_wall_ms(options->redis), &w->scratch,
                                  &task, reason);
    queue_put_int(&w->packed, (uint64_t)length, 6);
    buf_append(&w->packed, sha, SHA1_HEX_SIZE - 1);
    buf_append_char(&w->packed, good ? 't' : 'b');
    if (good) {
        put_task(&w->packed, &task);
        return;
    }
    if (shown.len > QUEUE_BAD_BYTES) shown.len = QUEUE_BAD_BYTES;
    queue_put_bytes(&w->packed, slice_of(reason), 4);
    queue_put_bytes(&w->packed, shown, 4);
}

bool queue_ask_move(struct queue_work *w, const struct redis_reply *reply)
{
    const struct queue_store *store = queue_work_store(w);
    const struct queue_store_options *options = queue_store_options(store);
    struct redis_reply length, item;
    for (size_t i = 0; redis_reply_element(reply, i, &length) && redis_reply_element(reply, i + 1, &item);
         i += 2) {
        char sha[SHA1_HEX_SIZE];
        if (!sha1_hex(item.text, sha)) return false;
        put_item(w, length.integer, item.text, sha);
        w->op->adopted.shown++;
    }
    queue_command(store, REDIS_SCRIPT_QUEUE_ADOPT, w);
    queue_arg_int(w, options->aging_us);
    queue_arg_int(w, (int64_t)options->item_max);
    queue_arg(w, buf_slice(&w->packed));
    queue_arg_int(w, QUEUE_BAD_MAX);
    return !w->packed.failed && !w->scratch.failed;
}
