/* traffic: on top of load; a table of keys per thread, read by the test only after the threads have ended. */
#include "traffic.h"
#include "stage.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { TTL_S = 600, KEYS_MAX = 256 };

struct key_state {
    unsigned long written; /* number of the last write; 0: none yet */
    bool deleted;          /* since then */
    int64_t sent_ms, acked_ms;
};

struct traffic {
    struct load *load;
    unsigned threads, keys;
    int64_t deadline_us;
    struct key_state state[LOAD_THREADS_MAX][KEYS_MAX];
};

static char *key_name(char out[64], unsigned thread, unsigned key)
{
    return format(out, 64, "traffic-%u-%u", thread, key);
}

static bool in_time(struct load_thread *lt, const struct http_answer *a, const char *what, const char *key)
{
    struct traffic *t = lt->arg;
    if (a->status == 0)
        load_fail(lt, "%s %s: no answer: %s", what, key, a->error);
    else if (a->took_us > t->deadline_us)
        load_fail(lt, "%s %s: answered %d after %lld ms", what, key, a->status, (long long)a->took_us / 1000);
    else
        return true;
    return false;
}

static void write_key(struct load_thread *lt, unsigned k)
{
    struct traffic *t = lt->arg;
    struct key_state *state = &t->state[lt->index][k];
    char key[64];
    char path[96];
    char body[256];
    key_name(key, lt->index, k);
    FORMAT(path, "/cache/%s", key);
    FORMAT(body, "{\"response\":\"%s/%lu\",\"ttl\":%d}", key, state->written + 1, TTL_S);
    int64_t sent = now_ms();
    const struct http_answer *a = http_send(lt->http, "PUT", path, body);
    if (!in_time(lt, a, "PUT", key)) return;
    if (a->status != 200 && a->status != 201) {
        load_fail(lt, "PUT %s: %d %.300s", key, a->status, a->body);
        return;
    }
    *state = (struct key_state){.written = state->written + 1, .sent_ms = sent, .acked_ms = now_ms()};
}

static void delete_key(struct load_thread *lt, unsigned k)
{
    struct traffic *t = lt->arg;
    char key[64];
    char path[96];
    key_name(key, lt->index, k);
    const struct http_answer *a = http_send(lt->http, "DELETE", FORMAT(path, "/cache/%s", key), NULL);
    if (!in_time(lt, a, "DELETE", key)) return;
    if (a->status != 204) load_fail(lt, "DELETE %s: %d %.300s", key, a->status, a->body);
    t->state[lt->index][k].deleted = true;
}

static void read_own(struct load_thread *lt, unsigned k)
{
    struct traffic *t = lt->arg;
    const struct key_state *state = &t->state[lt->index][k];
    char key[64];
    char path[96];
    char wanted[96];
    char got[256];
    key_name(key, lt->index, k);
    const struct http_answer *a = http_get(lt->http, FORMAT(path, "/cache/%s", key));
    if (!in_time(lt, a, "GET", key)) return;
    bool there = state->written > 0 && !state->deleted;
    const char *detail = http_header(lt->http, "Cache-Status");
    if (a->status != (there ? 200 : 404)) {
        load_fail(lt, "GET %s after write %lu%s: %d %s %.200s", key, state->written,
                  state->deleted ? " and delete" : "", a->status, detail ? detail : "", a->body);
        return;
    }
    FORMAT(wanted, "%s/%lu", key, state->written);
    if (there && strcmp(MEMBER(got, a->body, "response"), wanted) != 0)
        load_fail(lt, "GET %s gave %s instead of %s (%s)", key, got, wanted, detail ? detail : "");
}

static void read_other(struct load_thread *lt, unsigned thread, unsigned k)
{
    char key[64];
    char path[96];
    char wanted[96];
    char got[256];
    key_name(key, thread, k);
    const struct http_answer *a = http_get(lt->http, FORMAT(path, "/cache/%s", key));
    if (!in_time(lt, a, "GET", key)) return;
    if (a->status != 200 && a->status != 404) {
        load_fail(lt, "GET %s: %d %.300s", key, a->status, a->body);
        return;
    }
    FORMAT(wanted, "%s/", key);
    if (a->status == 200 && strncmp(MEMBER(got, a->body, "response"), wanted, strlen(wanted)) != 0)
        load_fail(lt, "GET %s gave another's value: %s", key, got);
}

static void one_request(struct load_thread *lt)
{
    struct traffic *t = lt->arg;
    uint64_t dice = load_random(lt);
    unsigned k = (unsigned)((dice >> 8) % t->keys);
    unsigned thread = (unsigned)((dice >> 32) % t->threads);
    if (dice % 100 < 45)
        read_own(lt, k);
    else if (dice % 100 < 65)
        read_other(lt, thread, k);
    else if (dice % 100 < 94)
        write_key(lt, k);
    else
        delete_key(lt, k);
    poll_pause(); /* leaves the machine to the daemon and to other tests */
}

struct traffic *traffic_start(const struct traffic_options *o)
{
    struct traffic *t = must_alloc(sizeof *t);
    t->threads = o->threads ? o->threads : 8;
    t->keys = o->keys ? o->keys : 16;
    ck_assert_uint_le(t->keys, KEYS_MAX);
    t->deadline_us = (test_ms(o->deadline_ms ? o->deadline_ms : 1000) + test_ms(500)) * 1000;
    t->load = load_start(t->threads, o->port, one_request, t);
    return t;
}

void traffic_run(struct traffic *t, uint64_t requests)
{
    uint64_t until = load_calls(t->load) + requests;
    WAIT_FOR(load_calls(t->load) >= until || load_failed(t->load), 60000);
}

void traffic_stop(struct traffic *t)
{
    load_stop(&t->load);
}

static const char *key_difference(const struct key_state *state, const char *key, struct resp_client *r,
                                  char *out, size_t size)
{
    char wanted[96];
    char got[256];
    bool there = state->written > 0 && !state->deleted;
    MEMBER(got, redis_value(r, key), "response");
    FORMAT(wanted, "%s/%lu", key, state->written);
    if (strcmp(got, there ? wanted : "") != 0)
        return format(out, size, "%s: Redis has '%s' instead of '%s'", key, got, there ? wanted : "");
    if (!there) return format(out, size, "%s", "");
    int64_t now = now_ms();
    int64_t left = redis_pttl(r, key);
    int64_t least = (int64_t)TTL_S * 1000 - (now - state->sent_ms) - test_ms(300);
    int64_t most = (int64_t)TTL_S * 1000 - (now - state->acked_ms) + test_ms(300);
    if (left < least || left > most)
        return format(out, size, "%s: %lld ms left instead of %lld to %lld", key, (long long)left,
                      (long long)least, (long long)most);
    return format(out, size, "%s", "");
}

const char *traffic_difference(struct traffic *t, struct resp_client *r, char *out, size_t size)
{
    char key[64];
    format(out, size, "%s", "");
    for (unsigned i = 0; i < t->threads; i++)
        for (unsigned k = 0; k < t->keys; k++)
            if (key_difference(&t->state[i][k], key_name(key, i, k), r, out, size)[0]) return out;
    return out;
}

void traffic_expect_in_redis(struct traffic *t, struct resp_client *r, int ms)
{
    char text[512];
    int64_t until = now_ms() + test_ms(ms);
    while (traffic_difference(t, r, text, sizeof text)[0]) {
        ck_assert_msg(now_ms() < until, "not handed back: %s", text);
        poll_pause();
    }
}

void traffic_destroy(struct traffic **t)
{
    free(*t);
    *t = NULL;
}
