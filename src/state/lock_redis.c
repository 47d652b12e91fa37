/* lock_redis: attempts as scripts, and their replies. */
#include "lock_private.h"

#include "engine/redis/script.h"

#include <stdio.h>

static const char *const part_names[LOCK_PARTS] = {NULL, "grant", "fence", "queue", "seen"};

struct slice lock_key(const char *prefix, enum lock_part part, struct slice name, char out[LOCK_KEY_MAX])
{
    int len = part == LOCK_PART_LOCK
                  ? snprintf(out, LOCK_KEY_MAX, "%s:locks:%.*s", prefix, (int)name.len, name.ptr)
                  : snprintf(out, LOCK_KEY_MAX, "%s:locks:%s:{%s:locks:%.*s}", prefix, part_names[part],
                             prefix, (int)name.len, name.ptr);
    return (struct slice){out, (size_t)len};
}

/* What a stranger wrote has no fence: then all of it names the owner. */
static void read_value(struct slice value, struct db_lock_answer *out)
{
    size_t mark = value.len;
    while (mark > 0 && value.ptr[mark - 1] >= '0' && value.ptr[mark - 1] <= '9')
        mark--;
    out->fence = 0;
    out->owner_len = value.len;
    if (mark >= 2 && value.ptr[mark - 1] == '#' && mark < value.len && value.len - mark <= 18) {
        for (size_t i = mark; i < value.len; i++)
            out->fence = out->fence * 10 + (value.ptr[i] - '0');
        out->owner_len = mark - 1;
    }
    if (out->owner_len > sizeof out->owner) out->owner_len = sizeof out->owner;
    memcpy(out->owner, value.ptr, out->owner_len);
}

static int64_t integer_at(const struct redis_reply *array, size_t i)
{
    struct redis_reply element;
    return redis_reply_element(array, i, &element) ? element.integer : 0;
}

static void read_reply(struct lock_work *w, const struct redis_reply *reply)
{
    struct db_lock_answer *a = &w->answer;
    struct redis_reply text;
    *a = (struct db_lock_answer){0};
    switch (w->verb) {
    case LOCK_ACQUIRE:
        a->position = integer_at(reply, 3);
        if (redis_reply_element(reply, 4, &text) && text.text.len == LOCK_TOKEN_LEN)
            memcpy(a->token, text.text.ptr, LOCK_TOKEN_LEN);
        /* fallthrough */
    case LOCK_RENEW:
        a->held = (int)integer_at(reply, 0);
        a->fence = integer_at(reply, 1);
        a->left_ms = integer_at(reply, 2);
        break;
    case LOCK_RELEASE:
        a->held = (int)reply->integer;
        break;
    case LOCK_GET:
        a->held = redis_reply_element(reply, 0, &text);
        a->left_ms = integer_at(reply, 1);
        if (a->held) read_value(text.text, a);
        break;
    }
}

static void on_reply(struct redis_call *call)
{
    struct lock_work *w = call->arg;
    static const enum lock_reply_kind KINDS[REDIS_OUTCOME_COUNT] = {
        [REDIS_CALL_OK] = LOCK_REPLY_OK,
        [REDIS_CALL_FOREIGN] = LOCK_REPLY_FOREIGN,
        [REDIS_CALL_REFUSED] = LOCK_REPLY_REFUSED,
        [REDIS_CALL_UNAVAILABLE] = LOCK_REPLY_UNAVAILABLE,
        [REDIS_CALL_IN_DOUBT] = LOCK_REPLY_IN_DOUBT};
    w->reply = KINDS[call->outcome];
    memcpy(w->error, call->error, sizeof w->error);
    if (w->reply == LOCK_REPLY_OK) read_reply(w, &call->replies[0]);
    lock_on_reply(w);
}

static void make_command(struct lock_work *w)
{
    static const struct slice LAST_BYTE = SLICE_LITERAL("1087"); /* owner, '#', fence */
    const struct slice *k = w->keys;
    struct slice ttl = slice_of(w->ttl), keep = slice_of(w->keep);
    switch (w->verb) {
    case LOCK_ACQUIRE:
        w->command = (struct redis_command){.script = redis_script(REDIS_SCRIPT_LOCK_ACQUIRE),
                                            .argc = 12,
                                            .argv = {SLICE_LITERAL("5"), k[0], k[1], k[2], k[3], k[4],
                                                     w->token, w->owner, w->idem, ttl, w->waiter, keep},
                                            .types = REDIS_TYPE_ARRAY};
        break;
    case LOCK_RENEW:
        w->command =
            (struct redis_command){.script = redis_script(REDIS_SCRIPT_LOCK_RENEW),
                                   .argc = 7,
                                   .argv = {SLICE_LITERAL("3"), k[0], k[1], k[2], w->token, ttl, keep},
                                   .types = REDIS_TYPE_ARRAY};
        break;
    case LOCK_RELEASE:
        w->command =
            (struct redis_command){.script = redis_script(REDIS_SCRIPT_LOCK_RELEASE),
                                   .argc = 7,
                                   .argv = {SLICE_LITERAL("4"), k[LOCK_PART_LOCK], k[LOCK_PART_GRANT],
                                            k[LOCK_PART_QUEUE], k[LOCK_PART_SEEN], w->token, w->waiter},
                                   .types = REDIS_TYPE_INTEGER};
        break;
    case LOCK_GET:
        w->command = (struct redis_command){.script = redis_script(REDIS_SCRIPT_LOCK_GET),
                                            .argc = 3,
                                            .argv = {SLICE_LITERAL("1"), k[LOCK_PART_LOCK], LAST_BYTE},
                                            .types = REDIS_TYPE_ARRAY};
        break;
    }
}

void lock_redis_send(struct lock_work *w)
{
    snprintf(w->ttl, sizeof w->ttl, "%lld", (long long)w->ttl_ms);
    snprintf(w->keep, sizeof w->keep, "%lld", (long long)lock_keep_ms(w->port->store));
    make_command(w);
    w->call = (struct redis_call){
        .commands = &w->command, .count = 1, .deadline_us = w->deadline_us, .done = on_reply, .arg = w};
    if (redis_pool_submit(w->port->pool, &w->call)) return;
    w->reply = LOCK_REPLY_UNAVAILABLE;
    lock_on_reply(w);
}

/* --- hand-back --- */

static void on_handed_back(struct redis_call *call)
{
    struct lock_handback *h = call->arg;
    memcpy(h->error, call->error, sizeof h->error);
    switch (call->outcome) {
    case REDIS_CALL_OK:
        h->outcome = call->replies[0].integer > 0    ? LOCK_HANDBACK_RELEASED
                     : call->replies[0].integer == 0 ? LOCK_HANDBACK_GONE
                                                     : LOCK_HANDBACK_CONFLICT;
        if (h->outcome == LOCK_HANDBACK_RELEASED) lock_wake(h->port, h->name);
        break;
    case REDIS_CALL_FOREIGN:
    case REDIS_CALL_REFUSED:
        h->outcome = LOCK_HANDBACK_REFUSED;
        break;
    default:
        h->outcome = LOCK_HANDBACK_UNAVAILABLE;
    }
    h->done(h);
}

void lock_handback_start(struct lock_port *port, struct lock_handback *h)
{
    static const enum lock_part PARTS[] = {LOCK_PART_LOCK, LOCK_PART_GRANT, LOCK_PART_QUEUE, LOCK_PART_SEEN};
    h->port = port;
    h->error[0] = 0;
    if (h->body.len != LOCK_TOKEN_LEN) {
        h->outcome = LOCK_HANDBACK_BROKEN;
        h->done(h);
        return;
    }
    h->command = (struct redis_command){.script = redis_script(REDIS_SCRIPT_LOCK_RELEASE),
                                        .argc = 7,
                                        .argv = {SLICE_LITERAL("4")},
                                        .types = REDIS_TYPE_INTEGER};
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++)
        h->command.argv[1 + i] = lock_key(port->store->options.prefix, PARTS[i], h->name, h->keys[i]);
    h->command.argv[5] = h->body;
    h->command.argv[6] = (struct slice){"", 0};
    h->call = (struct redis_call){.commands = &h->command, .count = 1, .done = on_handed_back, .arg = h};
    if (redis_pool_submit(port->pool, &h->call)) return;
    h->outcome = LOCK_HANDBACK_UNAVAILABLE;
    h->done(h);
}
