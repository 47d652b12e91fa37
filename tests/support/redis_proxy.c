/* redis_proxy: one poll loop over pairs of sockets; a mutex covers all state, a pipe wakes the loop after a
 * change. Bytes from the server carry the time from which they may go on, which is how replies are delayed.
 */
#include "redis_proxy.h"
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS_MAX = 512, CHUNK = 65536 };

struct chunk {
    struct chunk *next;
    int64_t due_ms;
    size_t len, sent;
    char bytes[];
};

struct lane {     /* one direction */
    int from, to; /* indexes into fd[] */
    struct chunk *first, *last;
    size_t bytes;
    bool ended; /* the source is closed; the rest is still delivered */
};

struct pair {
    int fd[2]; /* 0 client, 1 server; -1 closed */
    struct lane lane[2];
    bool held;
};

struct redis_proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, wake[2];
    int port, upstream_port, delay_ms;
    bool stop, refuse, hold_new;
    unsigned accepted;
    struct pair *pairs[PAIRS_MAX];
    char url[64];
};

/* --- pairs --- */

static void reset_close(int *fd)
{
    struct linger now = {1, 0};
    if (*fd < 0) return;
    (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(*fd);
    *fd = -1;
}

static void plain_close(int *fd)
{
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

/* A plain close, so that the kernel still delivers what was just written. */
static void pair_free(struct pair **p)
{
    for (int side = 0; side < 2; side++) {
        struct lane *l = &(*p)->lane[side];
        while (l->first) {
            struct chunk *c = l->first;
            l->first = c->next;
            free(c);
        }
        plain_close(&(*p)->fd[side]);
    }
    free(*p);
    *p = NULL;
}

static int connect_upstream(int port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
        fcntl(fd, F_SETFL, O_NONBLOCK) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return fd;
    }
    if (fd >= 0) (void)close(fd);
    return -1;
}

static void accept_one(struct redis_proxy *p)
{
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    int fd = accept4(p->listener, (struct sockaddr *)&from, &from_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    size_t slot = 0;
    while (slot < PAIRS_MAX && p->pairs[slot])
        slot++;
    p->accepted++;
    int up = p->refuse || slot == PAIRS_MAX ? -1 : connect_upstream(p->upstream_port);
    if (up < 0) {
        reset_close(&fd);
        return;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct pair *pair = must_alloc(sizeof *pair);
    *pair = (struct pair){
        .fd = {fd, up}, .lane = {{.from = 0, .to = 1}, {.from = 1, .to = 0}}, .held = p->hold_new};
    p->pairs[slot] = pair;
}

static void lane_read(struct pair *pair, struct lane *l, int delay_ms)
{
    struct chunk *c = must_alloc(sizeof *c + CHUNK);
    ssize_t n = recv(pair->fd[l->from], c->bytes, CHUNK, 0);
    if (n <= 0) {
        free(c);
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            l->ended = true;
            plain_close(&pair->fd[l->from]);
        }
        return;
    }
    c->len = (size_t)n;
    c->due_ms = now_ms() + (l->from == 1 ? delay_ms : 0);
    if (l->last && l->first)
        l->last->next = c;
    else
        l->first = c;
    l->last = c;
    l->bytes += c->len;
}

static void lane_write(struct pair *pair, struct lane *l, int64_t now)
{
    while (l->first && l->first->due_ms <= now && pair->fd[l->to] >= 0) {
        struct chunk *c = l->first;
        ssize_t n = send(pair->fd[l->to], c->bytes + c->sent, c->len - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) reset_close(&pair->fd[l->to]);
            return;
        }
        c->sent += (size_t)n;
        l->bytes -= (size_t)n;
        if (c->sent == c->len) {
            l->first = c->next;
            free(c);
        }
    }
}

/* A pair goes when one end is gone and nothing is left to deliver to the other. */
static bool pair_over(const struct pair *pair)
{
    if (pair->held) return false;
    for (int i = 0; i < 2; i++) {
        const struct lane *l = &pair->lane[i];
        bool source_gone = pair->fd[l->from] < 0;
        if (source_gone && (l->first == NULL || pair->fd[l->to] < 0)) return true;
    }
    return false;
}

/* --- loop --- */

static void pair_turn(struct redis_proxy *p, size_t slot, short client_events, short server_events)
{
    struct pair *pair = p->pairs[slot];
    if (pair->fd[0] >= 0 && client_events) lane_read(pair, &pair->lane[0], 0);
    if (pair->fd[1] >= 0 && server_events) lane_read(pair, &pair->lane[1], p->delay_ms);
    if (!pair->held) {
        int64_t now = now_ms();
        lane_write(pair, &pair->lane[0], now);
        lane_write(pair, &pair->lane[1], now);
    }
    if (pair_over(pair)) pair_free(&p->pairs[slot]);
}

static bool turn(struct redis_proxy *p, struct pollfd *fds, size_t *slots)
{
    nfds_t n = 2;
    int patience = 1000;
    (void)pthread_mutex_lock(&p->lock);
    fds[0] = (struct pollfd){.fd = p->listener, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = p->wake[0], .events = POLLIN};
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        if (p->pairs[i] == NULL) continue;
        slots[n / 2] = i;
        for (int side = 0; side < 2; side++)
            fds[n++] = (struct pollfd){.fd = p->pairs[i]->fd[side], .events = POLLIN};
        if (!p->pairs[i]->held && (p->pairs[i]->lane[0].first || p->pairs[i]->lane[1].first)) patience = 2;
    }
    (void)pthread_mutex_unlock(&p->lock);
    (void)poll(fds, n, patience);
    (void)pthread_mutex_lock(&p->lock);
    char drain[64];
    if (fds[1].revents) (void)!read(p->wake[0], drain, sizeof drain);
    if (fds[0].revents) accept_one(p);
    for (nfds_t i = 2; i < n; i += 2) /* only this thread frees pairs; cut ones have fd -1 */
        pair_turn(p, slots[i / 2], fds[i].revents, fds[i + 1].revents);
    bool stop = p->stop;
    (void)pthread_mutex_unlock(&p->lock);
    return !stop;
}

static void *run(void *arg)
{
    struct redis_proxy *p = arg;
    struct pollfd *fds = must_alloc((2 * PAIRS_MAX + 2) * sizeof *fds);
    size_t *slots = must_alloc((PAIRS_MAX + 1) * sizeof *slots);
    while (turn(p, fds, slots))
        ;
    free(fds);
    free(slots);
    return NULL;
}

/* --- control --- */

struct redis_proxy *redis_proxy_start(int upstream_port)
{
    struct redis_proxy *p = must_alloc(sizeof *p);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    p->upstream_port = upstream_port;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert(p->listener >= 0 && bind(p->listener, (struct sockaddr *)&at, len) == 0);
    ck_assert(listen(p->listener, 128) == 0 && getsockname(p->listener, (struct sockaddr *)&at, &len) == 0);
    p->port = ntohs(at.sin_port);
    FORMAT(p->url, "redis://127.0.0.1:%d", p->port);
    ck_assert(pipe2(p->wake, O_CLOEXEC | O_NONBLOCK) == 0);
    ck_assert(pthread_mutex_init(&p->lock, NULL) == 0);
    ck_assert(pthread_create(&p->thread, NULL, run, p) == 0);
    return p;
}

static void change_end(struct redis_proxy *p)
{
    (void)pthread_mutex_unlock(&p->lock);
    (void)!write(p->wake[1], "", 1);
}

void redis_proxy_stop(struct redis_proxy **p)
{
    if (*p == NULL) return;
    (void)pthread_mutex_lock(&(*p)->lock);
    (*p)->stop = true;
    change_end(*p);
    (void)pthread_join((*p)->thread, NULL);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        if ((*p)->pairs[i]) pair_free(&(*p)->pairs[i]);
    (void)close((*p)->listener);
    (void)close((*p)->wake[0]);
    (void)close((*p)->wake[1]);
    (void)pthread_mutex_destroy(&(*p)->lock);
    free(*p);
    *p = NULL;
}

int redis_proxy_port(const struct redis_proxy *p)
{
    return p->port;
}

const char *redis_proxy_url(const struct redis_proxy *p)
{
    return p->url;
}

static void set_held(struct redis_proxy *p, bool held)
{
    for (size_t i = 0; i < PAIRS_MAX; i++)
        if (p->pairs[i]) p->pairs[i]->held = held;
}

void redis_proxy_hold(struct redis_proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    set_held(p, true);
    change_end(p);
}

void redis_proxy_hold_new(struct redis_proxy *p, bool on)
{
    (void)pthread_mutex_lock(&p->lock);
    p->hold_new = on;
    change_end(p);
}

void redis_proxy_lift(struct redis_proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->hold_new = false;
    set_held(p, false);
    change_end(p);
}

void redis_proxy_lead_to(struct redis_proxy *p, int upstream_port)
{
    (void)pthread_mutex_lock(&p->lock);
    p->upstream_port = upstream_port;
    (void)pthread_mutex_unlock(&p->lock);
}

void redis_proxy_refuse(struct redis_proxy *p, bool on)
{
    (void)pthread_mutex_lock(&p->lock);
    p->refuse = on;
    change_end(p);
}

void redis_proxy_cut(struct redis_proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        if (p->pairs[i]) {
            reset_close(&p->pairs[i]->fd[0]);
            reset_close(&p->pairs[i]->fd[1]);
            p->pairs[i]->held = false;
        }
    }
    change_end(p);
}

void redis_proxy_delay(struct redis_proxy *p, int ms)
{
    (void)pthread_mutex_lock(&p->lock);
    p->delay_ms = ms;
    change_end(p);
}

unsigned redis_proxy_accepted(struct redis_proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    unsigned n = p->accepted;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

unsigned redis_proxy_open(struct redis_proxy *p)
{
    unsigned n = 0;
    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        n += p->pairs[i] && p->pairs[i]->fd[0] >= 0;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

unsigned redis_proxy_held_bytes(struct redis_proxy *p)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        n += p->pairs[i] && p->pairs[i]->held ? p->pairs[i]->lane[0].bytes : 0;
    (void)pthread_mutex_unlock(&p->lock);
    return (unsigned)n;
}
