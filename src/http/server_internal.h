/* server_internal: what the files of the server share. One struct exchange per connection, made with it and
 * reused by its requests, so that a request costs no allocation here.
 *
 * The life of an exchange:
 *
 *   IDLE --line--> HEAD --headers--> BODY --complete--> DISPATCHED --turn ends--> SUSPENDED
 *    ^              |                 |                     |                        |
 *    |            gone          gone, refused             reply                    reply
 *    |              |                 |                     v                        |
 *    +--sent, gone--+-- SENDING <-----+----------------- ANSWERED <------------------+
 *
 * While it is DISPATCHED or SUSPENDED its handler holds it, and MHD does not look at the connection. */
#ifndef PHOENIX_SRC_HTTP_SERVER_INTERNAL_H
#define PHOENIX_SRC_HTTP_SERVER_INTERNAL_H

#include "http/exchange.h"
#include "http/router.h"
#include "http/server.h"
#include "util/random.h"

#include <microhttpd.h>

enum phase {
    PHASE_IDLE,
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_DISPATCHED,
    PHASE_SUSPENDED,
    PHASE_ANSWERED,
    PHASE_SENDING,
    PHASE_COUNT
};

struct exchange {
    struct http_request request;
    struct server *server;
    struct MHD_Connection *connection;
    struct exchange *prev, *next; /* the server's list of connections */
    struct exchange *next_unanswered;
    int fd;
    uint8_t phase, peer;
    bool http10, expects, chunked, request_id_legal;
    bool counted;        /* in server->exchanges */
    bool shut;           /* shutdown(2) was called */
    char query_first;    /* the byte that on_request_line hides from MHD */
    enum status refused; /* != STATUS_OK: this is the answer, once the body is through */
    enum status problem; /* that was answered; STATUS_OK: none */
    const char *refused_detail;

    struct slice path; /* raw, as received */
    size_t uri_len;
    char *id_copy; /* a decoded id; malloc, rarely there */
    char *body;
    size_t body_len, body_cap; /* body_cap is accounted */
    uint64_t body_announced;
    unsigned allowed; /* methods, for 405 */

    size_t held; /* exchange_hold */
    void *state; /* exchange_attach */
    void (*state_release)(void *state);
    void (*sent)(void *arg, bool sent); /* exchange_on_sent */
    void *sent_arg;

    struct MHD_Response *response;
    bool response_borrowed; /* belongs to a kept slot */
    int http_status;
    size_t response_bytes;

    int64_t begun_us; /* the headers were complete */
    /* server_timeout.c */
    int64_t since_us;   /* when the tick first saw the present phase; 0: not yet */
    int64_t dribble_us; /* when the tick first saw bytes of a request that has not shown up; 0: none */
    uint64_t bytes_seen;
    uint32_t requests;

    char *made_id; /* malloc; NULL until a request without an id needs one */
};

/* A body that an answer references, until MHD lets go of it. */
struct held_body {
    struct held_body *next; /* in the free list */
    struct server *server;
    void (*release)(void *arg);
    void *arg;
    size_t bytes;
};

struct kept_slot {
    const void *tag;
    struct MHD_Response *response;
    int64_t until_us;
    size_t bytes;
    unsigned variant;
    int http_status;
};

enum {
    KEPT_BITS = 8,
    KEPT_SLOTS = 1 << KEPT_BITS,
    KEPT_SWEEP_US = 500 * 1000,
    HELD_FREE_MAX = 256,             /* wrappers kept for reuse */
    INFLIGHT_CHUNK = 8 * 1024,       /* what a server takes from and gives to the shared count at once */
    CONNECTION_POOL = 8 * 1024 - 64, /* with all that a connection has beside it: 9 KiB */
    DRAIN_IDLE_US = 250 * 1000,
    RUNS_PER_TURN = 4,
    BODY_FIRST = 512
};

struct server {
    struct server_options options;
    struct router router;
    struct MHD_Daemon *mhd;
    struct loop_io *io;
    struct loop_hook hook;
    struct loop_timer tick, sweep;
    int64_t tick_us;
    struct exchange *connections;
    struct exchange *unanswered;  /* dispatched in this MHD_run and not answered at once */
    struct exchange *dispatching; /* while its handler is called */
    struct {
        const void *tag; /* NULL: nothing is to be kept */
        unsigned variant;
        int64_t until_us;
    } keep; /* what dispatching's answer shall be kept as */
    enum http_peer adopting;
    bool run_wanted; /* something was resumed or adopted since MHD_run */
    bool draining;
    bool ending; /* no handler is called any more: what they need is gone */
    _Atomic unsigned connection_count, exchange_count;

    /* The last Host that was found well-formed and allowed: clients repeat theirs. */
    char host_known[64];
    size_t host_known_len;
    uint64_t sample_due; /* server_log.c: parts of a line that requests without a trace have saved up */
    char date[32];       /* the value of Date as of date_at (seconds since 1970) */
    int64_t date_at;

    struct held_body *held_free;
    unsigned held_free_count;
    size_t inflight_used, inflight_reserved; /* ours of shared->inflight_bytes; used <= reserved */

    struct kept_slot kept[KEPT_SLOTS];
    unsigned kept_count;
};

/* server.c */
void exchange_move(struct exchange *x, enum phase to);
void server_bound_hit(struct server *s, enum http_bound bound);

/* server_request.c: MHD's callbacks. */
void *on_request_line(void *cls, const char *uri, struct MHD_Connection *c);
enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                           const char *version, const char *upload, size_t *upload_len, void **con_cls);
void on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode code);
void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                   enum MHD_ConnectionNotificationCode code);
/* Frees what the work on a request held: body, state. */
void exchange_release_work(struct exchange *x);
/* Frees all that a request held. The exchange can take the next one then. */
void exchange_reset(struct exchange *x);

/* server_check.c: looks at the headers. Fills the request; STATUS_OK, or why it is refused (*out_close: at
 * once, since what follows the headers cannot be trusted or is not wanted). */
enum status exchange_check(struct exchange *x, const char *method, const char *version,
                           const char **out_detail, bool *out_close);

/* server_answer.c */
struct answer {
    int http_status;
    const char *content_type;
    struct http_body body;
    const struct http_field *fields;
    size_t field_count;
    bool uncounted; /* a small fixed body: not refused for bytes in flight */
};
void server_answer(struct exchange *x, const struct answer *a);
void server_problem(struct exchange *x, enum status status, const char *detail, int64_t retry_after_ms,
                    const struct http_field *fields, size_t field_count);
/* The caller's id, or one that is made for it. */
struct slice server_request_id(struct exchange *x);
/* Hands the built answer to MHD, counts and logs it. */
enum MHD_Result server_queue(struct exchange *x);
void server_held_free(struct server *s);

/* server_log.c: the access log's line for an answered request, where one is due. */
void server_log_access(struct exchange *x, int64_t duration_us);

/* server_inflight.c: bytes of bodies. Takes or refuses; the shared count is touched a chunk at a time. */
bool server_inflight_take(struct server *s, size_t bytes);
void server_inflight_force(struct server *s, size_t bytes); /* takes, also beyond the bound */
void server_inflight_give(struct server *s, size_t bytes);
void server_inflight_settle(struct server *s); /* gives back what is reserved but not used */

/* server_kept.c */
struct kept_slot *server_kept_find(struct server *s, const void *tag, unsigned variant, int64_t now_us);
/* Takes over the reference. */
void server_kept_store(struct exchange *x, struct MHD_Response *response);
void server_kept_clear(struct server *s);

/* server_timeout.c */
void server_timeout_init(struct server *s);
void server_timeout_watch(struct server *s); /* there is a connection, or the draining began */

#endif
