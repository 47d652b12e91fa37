/* crew: see crew.h. A producer repeats an enqueue, on the same daemon, until it is acknowledged; a worker
 * repeats an ack likewise. Every choice comes from the member's own random state, which comes from the seed.
 */
#include "crew.h"
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LATE_MS = 300, BODY_SIZE = 8192 };

struct member {
    struct load_thread *t;
    struct crew *c;
    uint64_t random;
    unsigned daemon;
    int port; /* of http */
    struct http_client *http;
    /* a producer's */
    unsigned next, step;
    int64_t from_ms;
};

static struct member producers[PRODUCERS], workers[WORKERS];

uint64_t chaos_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

unsigned chaos_below(uint64_t *state, unsigned bound)
{
    return (unsigned)(chaos_random(state) % bound);
}

static bool per_mille(struct member *m, unsigned share)
{
    return chaos_below(&m->random, 1000) < share;
}

static void nap(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static const struct http_answer down = {.body = "", .error = "down"};

/* Its daemon's answer, wherever that listens by now; status 0 while it is down. */
static const struct http_answer *ask(struct member *m, const char *path, const char *body)
{
    int port = atomic_load(&m->c->port[m->daemon]);
    if (port == 0) return &down;
    if (port != m->port) {
        http_close(&m->http);
        m->http = http_open(port);
        m->port = port;
    }
    return http_send(m->http, "POST", path, body);
}

static bool is_unsettled(int status)
{
    return status == 0 || status == 503 || status == 504;
}

/* --- producers --- */

static char *append_task(struct member *m, char *at, const char *end, unsigned task)
{
    static const char *const agents[] = {"", "", ",\"agent\":\"x\"", ",\"agent\":\"y\""};
    char delay[32] = "";
    if (per_mille(m, 100)) FORMAT(delay, ",\"delay\":%.2f", (double)chaos_below(&m->random, 150) / 100);
    format(at, (size_t)(end - at),
           "{\"task_id\":\"t%u\",\"payload\":{\"n\":%u},\"max_attempts\":1000,\"priority\":%u%s%s}", task,
           task, per_mille(m, 200) ? chaos_below(&m->random, 256) : 0, agents[chaos_below(&m->random, 4)],
           delay);
    return at + strlen(at);
}

/* Of each task, in the order given. 200 where an attempt without an answer, the producer's or the daemon's
 * own, had come through. False: an answer that may not be. */
static bool note_results(struct member *m, const struct http_answer *a, unsigned first, unsigned count)
{
    const char *at = a->body;
    for (unsigned i = 0; i < count; i++) {
        int status = a->status;
        if (count > 1) {
            at = strstr(at, "\"status\":");
            if (at == NULL) return false;
            status = (int)strtol(at += strlen("\"status\":"), NULL, 10);
        }
        if (status < 200 || status > 202) return false;
        ledger_enqueued(m->c->ledger, first + i * m->step, status);
    }
    return true;
}

static void enqueue(struct member *m, unsigned first, unsigned count)
{
    char body[BODY_SIZE];
    char *at = body, *end = body + sizeof body;
    if (count > 1) *at++ = '[';
    for (unsigned i = 0; i < count; i++) {
        if (i > 0) *at++ = ',';
        at = append_task(m, at, end - 2, first + i * m->step);
    }
    if (count > 1) *at++ = ']';
    *at = 0;
    while (!load_failed(m->t->load)) {
        const struct http_answer *a = ask(m, "/tasks", body);
        if (!is_unsettled(a->status)) {
            if (!note_results(m, a, first, count))
                load_fail(m->t, "enqueue of %u from t%u: %d %.300s", count, first, a->status, a->body);
            return;
        }
        for (unsigned i = 0; i < count; i++)
            ledger_unanswered(m->c->ledger, first + i * m->step);
        nap(20);
    }
}

static void produce(struct load_thread *t)
{
    struct member *m = &producers[t->index];
    m->t = t;
    unsigned left = m->next < m->c->tasks ? (m->c->tasks - m->next - 1) / m->step + 1 : 0;
    if (left == 0) {
        nap(20);
        return;
    }
    int64_t due = m->from_ms + m->c->produce_ms * m->next / m->c->tasks;
    if (now_ms() < due) {
        nap(5);
        return;
    }
    unsigned count = per_mille(m, 900) ? 1 : 2 + chaos_below(&m->random, ARRAY_MAX - 1);
    if (count > left) count = left;
    enqueue(m, m->next, count);
    m->next += count * m->step;
}

/* --- workers --- */

struct taken {
    unsigned task, delivery;
    char receipt[RECEIPT_SIZE];
    bool done;
};

static int64_t wall_of(const char *rfc3339)
{
    struct tm tm = {0};
    const char *at = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S.", &tm);
    ck_assert_msg(at != NULL, "no time: %.40s", rfc3339);
    return timegm(&tm) * 1000 + strtol(at, NULL, 10);
}

/* The value of the next member of this name; moves *at behind it. NULL where there is none. */
static const char *next_value(const char **at, const char *name)
{
    char mark[64];
    const char *found = strstr(*at, FORMAT(mark, "\"%s\":", name));
    if (found == NULL) return NULL;
    found += strlen(mark);
    *at = found;
    return found + (*found == '"');
}

static void copy_text(char *out, size_t size, const char *from)
{
    size_t len = strcspn(from, "\"");
    ck_assert_uint_lt(len, size);
    memcpy(out, from, len);
    out[len] = 0;
}

static unsigned read_tasks(struct member *m, const struct http_answer *a, struct taken out[TAKE_MAX])
{
    unsigned n = 0;
    const char *at = a->body;
    for (const char *id; (id = next_value(&at, "task_id")) != NULL; n++) {
        const char *number = next_value(&at, "n");
        const char *attempt = next_value(&at, "attempt");
        const char *receipt = next_value(&at, "receipt");
        const char *ends = next_value(&at, "lease_expires_at");
        if (n == TAKE_MAX || !number || !attempt || !receipt || !ends) {
            load_fail(m->t, "dequeue: %.400s", a->body);
            return 0;
        }
        struct taken *t = &out[n];
        *t = (struct taken){.task = (unsigned)strtoul(id + 1, NULL, 10)};
        if (t->task >= m->c->tasks || strtoul(number, NULL, 10) != t->task) {
            load_fail(m->t, "a payload that is not its task's: %.400s", a->body);
            return 0;
        }
        copy_text(t->receipt, sizeof t->receipt, receipt);
        t->delivery = ledger_delivered(
            m->c->ledger, &(struct delivery_note){.task = t->task,
                                                  .daemon = m->daemon,
                                                  .attempt = (unsigned)strtoul(attempt, NULL, 10),
                                                  .at_ms = wall_ms(),
                                                  .lease_end_ms = wall_of(ends),
                                                  .receipt = t->receipt});
    }
    return n;
}

static unsigned take(struct member *m, struct taken out[TAKE_MAX])
{
    static const char *const agents[WORKERS] = {"\"agent\":\"x\",", "\"agent\":[\"x\",\"y\"],"};
    char body[160];
    const char *agent = agents[m - workers];
    FORMAT(body, "{%s\"count\":%u,\"wait\":%.2f,\"lease\":%d}", agent ? agent : "",
           1 + chaos_below(&m->random, TAKE_MAX), (double)chaos_below(&m->random, 50) / 100, LEASE_MS / 1000);
    const struct http_answer *a = ask(m, "/tasks/dequeue", body);
    if (a->status == 200) return read_tasks(m, a, out);
    if (is_unsettled(a->status))
        nap(10);
    else if (a->status != 204)
        load_fail(m->t, "dequeue: %d %.300s", a->status, a->body);
    return 0;
}

static const struct http_answer *report(struct member *m, const struct taken *t, const char *verb,
                                        const char *more)
{
    char path[64], body[RECEIPT_SIZE + 64];
    return ask(m, FORMAT(path, "/tasks/t%u/%s", t->task, verb),
               FORMAT(body, "{\"receipt\":\"%s\"%s}", t->receipt, more));
}

/* False: to be asked again. */
static bool note_ack(struct member *m, struct taken *t, int status, const char *text)
{
    enum deed deed = status == 204 ? DEED_ACKED : status == 202 ? DEED_JOURNALED : DEED_STALE;
    if (is_unsettled(status)) return false;
    t->done = true;
    ledger_deed(m->c->ledger, t->task, t->delivery, deed, wall_ms());
    if (status != 202 && status != 204 && status != 404 && status != 409)
        load_fail(m->t, "ack of t%u: %d %.300s", t->task, status, text);
    return true;
}

static void ack(struct member *m, struct taken *t)
{
    for (;;) {
        const struct http_answer *a = report(m, t, "ack", "");
        if (note_ack(m, t, a->status, a->body) || load_failed(m->t->load)) return;
        nap(20);
    }
}

/* Those that are left of `taken` in one request; what that leaves open singly. */
static void ack_batch(struct member *m, struct taken *taken, unsigned count)
{
    char body[TAKE_MAX * (RECEIPT_SIZE + 64)] = "{\"acks\":[";
    char *at = body + strlen(body);
    struct taken *asked[TAKE_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++) {
        if (taken[i].done) continue;
        format(at, (size_t)(body + sizeof body - at), "%s{\"task_id\":\"t%u\",\"receipt\":\"%s\"}",
               n ? "," : "", taken[i].task, taken[i].receipt);
        at += strlen(at);
        asked[n++] = &taken[i];
    }
    if (n == 0) return;
    format(at, (size_t)(body + sizeof body - at), "]}");
    const struct http_answer *a = ask(m, "/tasks/ack", body);
    const char *result = a->body;
    for (unsigned i = 0; a->status == 200 && i < n; i++) {
        const char *status = next_value(&result, "status");
        if (status == NULL)
            load_fail(m->t, "acks: %.400s", a->body);
        else /* 503: leased by the daemon itself, handed back since, and Redis is away again */
            (void)note_ack(m, asked[i], (int)strtol(status, NULL, 10), a->body);
    }
    if (a->status != 200 && !is_unsettled(a->status)) load_fail(m->t, "acks: %d %.300s", a->status, a->body);
}

static void nack(struct member *m, struct taken *t)
{
    int64_t sent = wall_ms();
    t->done = true;
    ledger_deed(m->c->ledger, t->task, t->delivery, DEED_NACKED, sent);
    for (bool repeated = false; !load_failed(m->t->load); repeated = true) {
        const struct http_answer *a = report(m, t, "nack", ",\"delay\":0.05,\"reason\":\"chaos\"");
        if (a->status == 202 || a->status == 204) return;
        if (a->status == 404 || a->status == 409) {
            if (!repeated) ledger_deed(m->c->ledger, t->task, t->delivery, DEED_STALE, wall_ms());
            return;
        }
        if (!is_unsettled(a->status)) {
            load_fail(m->t, "nack of t%u: %d %.300s", t->task, a->status, a->body);
            return;
        }
        nap(20);
    }
}

static void extend(struct member *m, struct taken *t)
{
    char more[32];
    const struct http_answer *a = report(m, t, "extend", FORMAT(more, ",\"lease\":%d", LEASE_MS / 1000 + 1));
    const char *at = a->body;
    if (a->status == 200) {
        const char *ends = next_value(&at, "lease_expires_at");
        ck_assert_ptr_nonnull(ends);
        ledger_extended(m->c->ledger, t->task, t->delivery, wall_of(ends));
    } else if (a->status == 409 || a->status == 404) {
        t->done = true;
        ledger_deed(m->c->ledger, t->task, t->delivery, DEED_STALE, wall_ms());
    } else if (!is_unsettled(a->status)) {
        load_fail(m->t, "extend of t%u: %d %.300s", t->task, a->status, a->body);
    }
}

static void handle(struct member *m, struct taken *t)
{
    unsigned dice = chaos_below(&m->random, 1000);
    if (dice < 50) {
        t->done = true;
        ledger_deed(m->c->ledger, t->task, t->delivery, DEED_ABANDONED, wall_ms());
    } else if (dice < 80) {
        nack(m, t);
    } else if (dice < 130) {
        extend(m, t);
    } else if (dice < 132) {
        nap(LEASE_MS + LATE_MS);
    } else if (dice < 200) {
        nap(chaos_below(&m->random, 30));
    }
}

static void work(struct load_thread *thread)
{
    struct member *m = &workers[thread->index];
    struct taken taken[TAKE_MAX];
    m->t = thread;
    unsigned n = take(m, taken);
    for (unsigned i = 0; i < n; i++)
        handle(m, &taken[i]);
    if (n > 1 && per_mille(m, 500)) ack_batch(m, taken, n);
    for (unsigned i = 0; i < n; i++)
        if (!taken[i].done) ack(m, &taken[i]);
}

/* --- all of them --- */

static struct member member_of_crew(struct crew *c, unsigned index)
{
    struct member m = {.c = c, .daemon = index % DAEMONS, .from_ms = now_ms()};
    m.random = c->seed + UINT64_C(0x100000001) * (index + 1);
    return m;
}

void crew_start(struct crew *c)
{
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = member_of_crew(c, i);
        producers[i].next = i;
        producers[i].step = PRODUCERS;
    }
    for (unsigned i = 0; i < WORKERS; i++)
        workers[i] = member_of_crew(c, PRODUCERS + i);
    c->producers = load_start(PRODUCERS, 0, produce, NULL);
    c->workers = load_start(WORKERS, 0, work, NULL);
}

bool crew_failed(struct crew *c)
{
    return (c->producers && load_failed(c->producers)) || (c->workers && load_failed(c->workers));
}

void crew_stop_producers(struct crew *c)
{
    load_stop(&c->producers);
    for (unsigned i = 0; i < PRODUCERS; i++)
        http_close(&producers[i].http);
}

void crew_stop_workers(struct crew *c)
{
    load_stop(&c->workers);
    for (unsigned i = 0; i < WORKERS; i++)
        http_close(&workers[i].http);
}
