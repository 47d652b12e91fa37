/* http_house: an HTTP server on a loop thread with handlers that tests can steer, behind a TCP and a Unix
 * listener. What it answers, by path:
 *   GET  /cache?…           200, the raw query
 *   POST /cache             200, the body
 *   GET  /cache/hello       200 "hello", a referenced body
 *   GET  /cache/big         200, HOUSE_BIG bytes, referenced
 *   GET  /cache/owed        the same, owed
 *   GET  /cache/watched     the same, and counts whether it left whole
 *   GET  /cache/kept        200 with the count of answers built so far, kept for a minute
 *   GET  /cache/park        nothing, until house_answer_parked
 *   GET  /cache/problem     409 foreign_value, retry after 1500 ms
 *   GET  /cache/{id}        200, the decoded id
 *   PUT  /cache/{id}        200, the body's length
 *   GET  /livez, /status    200 "ok" */
#ifndef PHOENIX_TESTS_SUPPORT_HTTP_HOUSE_H
#define PHOENIX_TESTS_SUPPORT_HTTP_HOUSE_H

#include "http/auth.h"
#include "http/routes.h"
#include "http/server.h"

#include <pthread.h>

enum { HOUSE_BIG = 4 * 1024 * 1024, HOUSE_PARKED_MAX = 16 };

struct house_options {
    enum http_listener listener; /* 0: the API's */
    const char *token_file, *allowed_hosts;
    struct http_limits limits; /* what is 0 gets a default */
};

struct house {
    struct loop *loop;
    struct server *server;
    struct http_shared shared;
    struct metrics *metrics;
    struct metrics_cell *cell;
    pthread_t thread;
    int listeners[2]; /* TCP, Unix */
    struct loop_io *accepting[2];
    uint16_t port;
    char unix_path[108];
    /* loop thread */
    struct exchange *parked[HOUSE_PARKED_MAX];
    unsigned parked_count;
    unsigned kept_built;
    char *big;
    /* any thread */
    _Atomic unsigned dispatched, parked_now, body_releases, state_releases, sent, unsent;
};

void house_start(struct house *h, const struct house_options *options);
/* Also checks that no byte is left in flight and no connection counted. */
void house_stop(struct house *h);

/* Runs fn(h) on the loop's thread and waits for it. */
void house_call(struct house *h, void (*fn)(struct house *h));
/* Answers every parked exchange with 200 "late". */
void house_answer_parked(struct house *h);
void house_drain(struct house *h);
uint64_t house_metric(struct house *h, enum metric id, unsigned i, unsigned j);

/* Waits until the condition holds; aborts the test after 10 s. */
#define HOUSE_WAIT(condition)                                                                                \
    do {                                                                                                     \
        int left = 10000;                                                                                    \
        while (!(condition) && left-- > 0)                                                                   \
            house_pause();                                                                                   \
        ck_assert_msg(left > 0, "waited in vain for " #condition);                                           \
    } while (0)
void house_pause(void);

#endif
