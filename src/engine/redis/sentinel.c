/* sentinel: two connections, one for questions and one for what is published, which takes no questions. Both
 * are a conn's to a node of the sentinel's own, that is in no topology and whose circuit never opens.
 *
 * A question is up to three calls in one write: SENTINEL MASTER for the epoch, then where it is, so that the
 * address is never older than the epoch; now and then SENTINEL SENTINELS for the others. SENTINEL MASTER
 * alone would show the old address until the failover's last step. */
#include "sentinel.h"

#include "topology_private.h"
#include "util/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECONNECT_MIN_MS = 100, RECONNECT_MAX_MS = 1000, OTHERS_EVERY = 10 };
static const char *const CHANNELS[] = {"+switch-master", "+promoted-slave"};

enum question { Q_EPOCH, Q_ADDRESS, Q_OTHERS, Q_COUNT };

struct sentinel {
    struct sentinel_options options;
    struct redis_url url; /* to it: without database, at first without user and password */
    struct redis_node *node;
    bool with_auth, node_with_auth;
    struct conn *conn, *ears;
    bool awaiting_beat; /* a SUBSCRIBE on `ears` that is not confirmed */
    bool closing;
    unsigned busy;      /* calls under way */
    bool again;         /* asked meanwhile */
    unsigned questions; /* so far */
    int64_t backoff_ms, connect_us;
    struct redis_call calls[Q_COUNT];
    struct redis_command commands[Q_COUNT];
    int64_t epoch; /* what Q_EPOCH brought */
    struct sentinel_answer last;
    int64_t answered_us;
    char trouble[128];
};

const struct redis_address *sentinel_address(const struct sentinel *s)
{
    return &s->options.at;
}

const char *sentinel_name(const struct sentinel *s)
{
    return redis_node_name(s->node);
}

const struct sentinel_answer *sentinel_last(const struct sentinel *s)
{
    return &s->last;
}

int64_t sentinel_answered_us(const struct sentinel *s)
{
    return s->answered_us;
}

const char *sentinel_trouble(const struct sentinel *s)
{
    return s->trouble;
}

/* --- answers --- */

static struct slice master_name(const struct sentinel *s)
{
    return slice_of(redis_topology_options(s->options.topology)->url->master);
}

static bool read_address(struct slice host, struct slice port, struct redis_address *out)
{
    char digits[8] = "";
    if (host.len == 0 || host.len >= sizeof out->host || memchr(host.ptr, 0, host.len) || port.len == 0 ||
        port.len >= sizeof digits)
        return false;
    memcpy(digits, port.ptr, port.len);
    char *end;
    long number = strtol(digits, &end, 10);
    if (*end || number < 1 || number > 65535) return false;
    snprintf(out->host, sizeof out->host, "%.*s", (int)host.len, host.ptr);
    out->port = (int)number;
    return true;
}

/* Of a flat array of names and values. */
static struct slice field_of(const struct redis_reply *fields, const char *name)
{
    struct redis_reply key, value;
    for (size_t i = 0; redis_reply_element(fields, i, &key) && redis_reply_element(fields, i + 1, &value);
         i += 2)
        if (slice_equal_text(key.text, name)) return value.text;
    return SLICE_NONE;
}

static void settle(struct sentinel *s)
{
    if (--s->busy || !s->again) return;
    s->again = false;
    sentinel_ask(s);
}

static void on_epoch(struct redis_call *call)
{
    struct sentinel *s = call->arg;
    s->epoch = -1;
    if (call->outcome == REDIS_CALL_OK) {
        struct slice text = field_of(&call->replies[0], "config-epoch");
        if (text.len && text.ptr[0] >= '0' && text.ptr[0] <= '9') s->epoch = strtoll(text.ptr, NULL, 10);
    }
    settle(s);
}

static void on_address(struct redis_call *call)
{
    struct sentinel *s = call->arg;
    struct redis_reply host, port;
    if (call->outcome == REDIS_CALL_OK || call->outcome == REDIS_CALL_REFUSED) {
        const struct redis_reply *reply = &call->replies[0];
        s->last = (struct sentinel_answer){.epoch = s->epoch};
        s->last.known = call->outcome == REDIS_CALL_OK && redis_reply_element(reply, 0, &host) &&
                        redis_reply_element(reply, 1, &port) &&
                        read_address(host.text, port.text, &s->last.at);
        s->answered_us = loop_now_us(s->options.loop);
        snprintf(s->trouble, sizeof s->trouble, "%s",
                 s->last.known                    ? ""
                 : call->outcome == REDIS_CALL_OK ? "it does not know the master"
                                                  : call->error);
        s->options.on_answer(s->options.arg, s);
    }
    settle(s);
}

static void on_others(struct redis_call *call)
{
    struct sentinel *s = call->arg;
    struct redis_reply other;
    struct redis_address at;
    for (size_t i = 0; call->outcome == REDIS_CALL_OK && redis_reply_element(&call->replies[0], i, &other);
         i++)
        if (read_address(field_of(&other, "ip"), field_of(&other, "port"), &at))
            s->options.on_other(s->options.arg, s, &at);
    settle(s);
}

/* --- questions --- */

static void send_question(struct sentinel *s, enum question q)
{
    static const struct {
        const char *word;
        unsigned types;
        void (*done)(struct redis_call *call);
    } QUESTIONS[Q_COUNT] = {
        [Q_EPOCH] = {"MASTER", REDIS_TYPE_ARRAY, on_epoch},
        [Q_ADDRESS] = {"GET-MASTER-ADDR-BY-NAME", REDIS_TYPE_ARRAY | REDIS_TYPE_NIL, on_address},
        [Q_OTHERS] = {"SENTINELS", REDIS_TYPE_ARRAY, on_others}};
    int64_t now = loop_now_us(s->options.loop);
    s->commands[q] = (struct redis_command){
        .argc = 3,
        .argv = {SLICE_LITERAL("SENTINEL"), slice_of(QUESTIONS[q].word), master_name(s)},
        .types = QUESTIONS[q].types};
    s->calls[q] =
        (struct redis_call){.commands = &s->commands[q], .count = 1, .done = QUESTIONS[q].done, .arg = s};
    s->calls[q].start_us = now;
    s->calls[q].deadline_us = now + redis_node_options(s->node)->command_timeout_ms * 1000;
    s->busy++;
    conn_submit(s->conn, &s->calls[q]);
}

static void on_heard(void *arg, const struct redis_reply *message)
{
    struct sentinel *s = arg;
    struct redis_reply kind, payload;
    if (!redis_reply_element(message, 0, &kind) || !redis_reply_element(message, 2, &payload)) return;
    s->awaiting_beat = false;
    struct slice name = master_name(s);
    if (!slice_equal_text(kind.text, "message") || !payload.text.len ||
        !memmem(payload.text.ptr, payload.text.len, name.ptr, name.len))
        return;
    sentinel_ask(s);
    s->options.on_hint(s->options.arg);
}

/* Heard nothing since the last beat: what is published is lost, too. */
static void beat(struct sentinel *s)
{
    if (!s->ears || !conn_ready(s->ears)) return;
    if (s->awaiting_beat) {
        conn_abandon(s->ears, "the subscription is silent");
        return;
    }
    s->awaiting_beat = true;
    for (size_t i = 0; i < sizeof CHANNELS / sizeof CHANNELS[0]; i++)
        conn_subscribe(s->ears, CHANNELS[i], on_heard, s);
}

static void ask(struct sentinel *s)
{
    bool others = s->questions++ % OTHERS_EVERY == 0;
    send_question(s, Q_EPOCH);
    send_question(s, Q_ADDRESS);
    if (others) send_question(s, Q_OTHERS);
}

/* --- connections --- */

static void on_ears_ready(void *arg)
{
    struct sentinel *s = arg;
    s->awaiting_beat = false;
    beat(s);
}

static void on_ears_closed(void *arg, const char *why)
{
    struct sentinel *s = arg;
    (void)why; /* what it misses is asked for */
    s->ears = NULL;
}

static struct conn *connect_to(struct sentinel *s, void (*ready)(void *arg),
                               void (*closed)(void *arg, const char *why))
{
    struct conn_options options = {
        .group = s->options.group, .node = s->node, .events = {ready, closed, NULL, s}};
    return conn_open(&options);
}

static void on_ready(void *arg)
{
    struct sentinel *s = arg;
    s->backoff_ms = 0;
    s->questions = 0;
    ask(s);
}

/* Sentinels mostly have no password; one that has is told who we are on Redis. */
static void on_closed(void *arg, const char *why)
{
    struct sentinel *s = arg;
    s->conn = NULL;
    s->again = false;
    s->last.known = false;
    if (s->ears) conn_abandon(s->ears, why);
    if (s->closing) return;
    snprintf(s->trouble, sizeof s->trouble, "%s", why);
    if (strncmp(why, s->with_auth ? "ERR AUTH" : "NOAUTH", 6) == 0) s->with_auth = !s->with_auth;
    s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : RECONNECT_MIN_MS;
    if (s->backoff_ms > RECONNECT_MAX_MS) s->backoff_ms = RECONNECT_MAX_MS;
    s->connect_us = loop_now_us(s->options.loop) +
                    (s->backoff_ms / 2 + (int64_t)random_below((uint64_t)s->backoff_ms)) * 1000;
}

/* Only while there is no connection. */
static struct redis_node *make_node(struct sentinel *s)
{
    const struct redis_topology_options *o = redis_topology_options(s->options.topology);
    s->url.user = s->with_auth ? o->url->user : NULL;
    return topology_outsider(s->options.topology, &s->url,
                             s->with_auth ? redis_topology_secret(s->options.topology) : NULL,
                             &s->options.at);
}

void sentinel_ask(struct sentinel *s)
{
    if (s->conn && !conn_ready(s->conn)) return;
    if (s->busy) {
        s->again = true;
        return;
    }
    if (s->conn) {
        ask(s);
        beat(s);
        if (!s->ears) s->ears = connect_to(s, on_ears_ready, on_ears_closed);
        return;
    }
    if (loop_now_us(s->options.loop) < s->connect_us) return;
    if (s->node_with_auth != s->with_auth) {
        struct redis_node *node = make_node(s);
        if (!node) return;
        redis_node_destroy(&s->node);
        s->node = node;
        s->node_with_auth = s->with_auth;
    }
    s->conn = connect_to(s, on_ready, on_closed);
}

/* --- life --- */

struct sentinel *sentinel_create(const struct sentinel_options *options)
{
    struct sentinel *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->options = *options;
    s->url.kind = REDIS_TCP;
    s->node = make_node(s);
    if (!s->node) sentinel_destroy(&s);
    return s;
}

void sentinel_destroy(struct sentinel **sentinel)
{
    struct sentinel *s = *sentinel;
    if (!s) return;
    *sentinel = NULL;
    s->closing = true;
    if (s->ears) conn_abandon(s->ears, "no longer followed");
    if (s->conn) conn_abandon(s->conn, "no longer followed");
    redis_node_destroy(&s->node);
    free(s);
}
