/* fake_redis: per client a connection to the real server and a queue of commands not yet answered. An answer
 * goes out when it is the oldest, is known and is due, so order holds whatever is delayed. From SUBSCRIBE on
 * a connection is relayed as it comes: its messages answer no command. */
#include "fake_redis.h"
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
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 256, LOG_MAX = 4 << 20, READ_BYTES = 65536, ARG_SHOWN = 80 };

struct bytes {
    char *ptr;
    size_t len, cap;
};

struct answer { /* to one command */
    struct answer *next;
    struct fake_verdict verdict;
    char *bytes; /* NULL: not known yet */
    size_t len;
    int64_t due_ms;
    bool subscribe;
};

struct client {
    unsigned id;
    int fd, up;
    struct bytes in, up_in, out, up_out;
    struct answer *first, *last;
    bool mute, over;
};

struct fake_redis {
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, wake[2], port, upstream_port;
    bool stop;
    unsigned accepted;
    fake_handler *handler;
    void *arg;
    struct bytes log;
    struct client *clients[CLIENTS_MAX];
    char url[64];
};

/* --- bytes --- */

static void bytes_add(struct bytes *b, const char *ptr, size_t len)
{
    if (len == 0) return;
    if (b->cap - b->len < len) b->ptr = must_realloc(b->ptr, b->cap = (b->cap + len) * 2);
    memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
}

static void bytes_drop(struct bytes *b, size_t len)
{
    if (len == 0) return;
    memmove(b->ptr, b->ptr + len, b->len - len);
    b->len -= len;
}

/* False: closed or broken. */
static bool bytes_receive(struct bytes *b, int fd)
{
    char chunk[READ_BYTES];
    ssize_t n = recv(fd, chunk, sizeof chunk, 0);
    if (n > 0) bytes_add(b, chunk, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool bytes_send(struct bytes *b, int fd)
{
    if (b->len == 0) return true;
    ssize_t n = send(fd, b->ptr, b->len, MSG_NOSIGNAL);
    if (n > 0) bytes_drop(b, (size_t)n);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* --- commands --- */

bool fake_command_is(const struct fake_command *c, const char *name)
{
    return c->argc > 0 && c->argv[0].text && strcasecmp(c->argv[0].text, name) == 0;
}

bool fake_command_names(const struct fake_command *c, const char *text)
{
    for (size_t i = 1; i < c->argc; i++)
        if (c->argv[i].text && strstr(c->argv[i].text, text)) return true;
    return false;
}

static void log_command(struct fake_redis *f, const struct fake_command *c)
{
    char id[16];
    if (f->log.len > LOG_MAX) return;
    FORMAT(id, "%u", c->connection);
    bytes_add(&f->log, id, strlen(id));
    for (size_t i = 0; i < c->argc; i++) {
        size_t len = c->argv[i].len < ARG_SHOWN ? c->argv[i].len : ARG_SHOWN;
        bytes_add(&f->log, " ", 1);
        bytes_add(&f->log, c->argv[i].text ? c->argv[i].text : "", len);
    }
    bytes_add(&f->log, "\n", 1);
}

static void queue_answer(struct client *c, struct answer *a)
{
    if (c->first)
        c->last->next = a;
    else
        c->first = a;
    c->last = a;
}

static void on_command(struct fake_redis *f, struct client *c, const struct resp_value *v, const char *raw,
                       size_t len)
{
    struct fake_command command = {c->id, v->items, v->count};
    struct fake_verdict verdict = {0};
    log_command(f, &command);
    if (f->handler) verdict = f->handler(f->arg, &command);
    bool relayed = c->last && c->first && c->last->subscribe;
    if (verdict.reply == NULL) bytes_add(&c->up_out, raw, len);
    if (relayed) return;
    struct answer *a = must_alloc(sizeof *a);
    a->verdict = verdict;
    a->due_ms = now_ms() + verdict.delay_ms;
    a->subscribe = verdict.reply == NULL &&
                   (fake_command_is(&command, "SUBSCRIBE") || fake_command_is(&command, "PSUBSCRIBE"));
    if (verdict.reply) {
        a->len = strlen(verdict.reply);
        a->bytes = must_copy(verdict.reply, a->len);
    }
    queue_answer(c, a);
}

static void read_commands(struct fake_redis *f, struct client *c)
{
    struct resp_value v;
    size_t used = 0;
    int r;
    while ((r = resp_parse(c->in.ptr, c->in.len, &v, &used)) > 0) {
        on_command(f, c, &v, c->in.ptr, used);
        resp_release(&v);
        bytes_drop(&c->in, used);
    }
    if (r < 0) c->over = true;
}

/* The oldest answer that waits for the real server. */
static struct answer *awaited(struct client *c)
{
    struct answer *a = c->first;
    while (a && a->bytes && !a->subscribe)
        a = a->next;
    return a;
}

static void read_answers(struct client *c)
{
    struct answer *a;
    struct resp_value v;
    size_t used = 0;
    while ((a = awaited(c)) != NULL && !a->subscribe) {
        if (resp_parse(c->up_in.ptr, c->up_in.len, &v, &used) <= 0) return;
        resp_release(&v);
        a->bytes = must_copy(c->up_in.ptr, used);
        a->len = used;
        bytes_drop(&c->up_in, used);
    }
}

static void release_answers(struct client *c, int64_t now)
{
    while (c->first && !c->mute && !c->over) {
        struct answer *a = c->first;
        if (a->due_ms > now || a->verdict.hold) return;
        if (a->subscribe) { /* stays: from here on everything is relayed */
            bytes_add(&c->out, c->up_in.ptr, c->up_in.len);
            bytes_drop(&c->up_in, c->up_in.len);
            return;
        }
        if (a->verdict.silent) c->mute = true;
        if (c->mute || a->bytes == NULL) return;
        bool cut = a->verdict.cut;
        bytes_add(&c->out, a->bytes, cut && a->verdict.cut_at < a->len ? a->verdict.cut_at : a->len);
        c->over = cut;
        c->first = a->next;
        free(a->bytes);
        free(a);
    }
}

/* --- clients --- */

static void client_free(struct client **c)
{
    while ((*c)->first) {
        struct answer *a = (*c)->first;
        (*c)->first = a->next;
        free(a->bytes);
        free(a);
    }
    (void)close((*c)->fd);
    (void)close((*c)->up);
    free((*c)->in.ptr);
    free((*c)->up_in.ptr);
    free((*c)->out.ptr);
    free((*c)->up_out.ptr);
    free(*c);
    *c = NULL;
}

static void accept_client(struct fake_redis *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)f->upstream_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    size_t slot = 0;
    while (slot < CLIENTS_MAX && f->clients[slot])
        slot++;
    int up = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (slot == CLIENTS_MAX || up < 0 || connect(up, (struct sockaddr *)&at, sizeof at) != 0 ||
        fcntl(up, F_SETFL, O_NONBLOCK) != 0) {
        (void)close(fd);
        if (up >= 0) (void)close(up);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(up, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct client *c = must_alloc(sizeof *c);
    c->id = ++f->accepted;
    c->fd = fd;
    c->up = up;
    f->clients[slot] = c;
}

static void client_turn(struct fake_redis *f, struct client **slot, short events, short up_events)
{
    struct client *c = *slot;
    if (events && !bytes_receive(&c->in, c->fd)) c->over = true;
    if (up_events && !bytes_receive(&c->up_in, c->up)) c->over = true;
    read_commands(f, c);
    read_answers(c);
    release_answers(c, now_ms());
    bool ok = bytes_send(&c->out, c->fd) && bytes_send(&c->up_out, c->up);
    if (!ok || c->over) client_free(slot);
}

static int patience(const struct client *c)
{
    return c->out.len || c->up_out.len || (c->first && c->first->due_ms > 0 && c->first->verdict.delay_ms)
               ? 2
               : 500;
}

static bool turn(struct fake_redis *f, struct pollfd *fds, size_t *slots)
{
    nfds_t n = 2;
    int wait_ms = 500;
    (void)pthread_mutex_lock(&f->lock);
    fds[0] = (struct pollfd){.fd = f->listener, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = f->wake[0], .events = POLLIN};
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (f->clients[i] == NULL) continue;
        slots[n / 2] = i;
        fds[n++] = (struct pollfd){.fd = f->clients[i]->fd, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = f->clients[i]->up, .events = POLLIN};
        if (patience(f->clients[i]) < wait_ms) wait_ms = patience(f->clients[i]);
    }
    (void)pthread_mutex_unlock(&f->lock);
    (void)poll(fds, n, wait_ms);
    (void)pthread_mutex_lock(&f->lock);
    char drain[64];
    if (fds[1].revents) (void)!read(f->wake[0], drain, sizeof drain);
    if (fds[0].revents) accept_client(f);
    for (nfds_t i = 2; i < n; i += 2)
        client_turn(f, &f->clients[slots[i / 2]], fds[i].revents, fds[i + 1].revents);
    bool stop = f->stop;
    (void)pthread_mutex_unlock(&f->lock);
    return !stop;
}

static void *run(void *arg)
{
    struct fake_redis *f = arg;
    struct pollfd *fds = must_alloc((2 * CLIENTS_MAX + 2) * sizeof *fds);
    size_t *slots = must_alloc((CLIENTS_MAX + 1) * sizeof *slots);
    while (turn(f, fds, slots))
        ;
    free(fds);
    free(slots);
    return NULL;
}

/* --- control --- */

struct fake_redis *fake_redis_start(int upstream_port)
{
    struct fake_redis *f = must_alloc(sizeof *f);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    f->upstream_port = upstream_port;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert(f->listener >= 0 && bind(f->listener, (struct sockaddr *)&at, len) == 0);
    ck_assert(listen(f->listener, 128) == 0 && getsockname(f->listener, (struct sockaddr *)&at, &len) == 0);
    f->port = ntohs(at.sin_port);
    FORMAT(f->url, "redis://127.0.0.1:%d", f->port);
    ck_assert(pipe2(f->wake, O_CLOEXEC | O_NONBLOCK) == 0);
    ck_assert(pthread_mutex_init(&f->lock, NULL) == 0);
    ck_assert(pthread_create(&f->thread, NULL, run, f) == 0);
    return f;
}

void fake_redis_stop(struct fake_redis **f)
{
    if (*f == NULL) return;
    (void)pthread_mutex_lock(&(*f)->lock);
    (*f)->stop = true;
    (void)pthread_mutex_unlock(&(*f)->lock);
    (void)!write((*f)->wake[1], "", 1);
    (void)pthread_join((*f)->thread, NULL);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if ((*f)->clients[i]) client_free(&(*f)->clients[i]);
    (void)close((*f)->listener);
    (void)close((*f)->wake[0]);
    (void)close((*f)->wake[1]);
    (void)pthread_mutex_destroy(&(*f)->lock);
    free((*f)->log.ptr);
    free(*f);
    *f = NULL;
}

int fake_redis_port(const struct fake_redis *f)
{
    return f->port;
}

const char *fake_redis_url(const struct fake_redis *f)
{
    return f->url;
}

void fake_redis_script(struct fake_redis *f, fake_handler *handler, void *arg)
{
    (void)pthread_mutex_lock(&f->lock);
    f->handler = handler;
    f->arg = arg;
    (void)pthread_mutex_unlock(&f->lock);
}

void fake_redis_release(struct fake_redis *f)
{
    (void)pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        for (struct answer *a = f->clients[i] ? f->clients[i]->first : NULL; a; a = a->next)
            a->verdict.hold = false;
    (void)pthread_mutex_unlock(&f->lock);
    (void)!write(f->wake[1], "", 1);
}

char *fake_redis_log(struct fake_redis *f)
{
    (void)pthread_mutex_lock(&f->lock);
    char *text = must_copy(f->log.ptr, f->log.len);
    (void)pthread_mutex_unlock(&f->lock);
    return text;
}

unsigned fake_redis_connections(struct fake_redis *f)
{
    (void)pthread_mutex_lock(&f->lock);
    unsigned n = f->accepted;
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned fake_redis_count(struct fake_redis *f, const char *name)
{
    char *text = fake_redis_log(f);
    size_t len = strlen(name);
    unsigned n = 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        const char *word = strchr(line, ' ');
        n += word && strncasecmp(word + 1, name, len) == 0 && (word[1 + len] == ' ' || word[1 + len] == '\n');
    }
    free(text);
    return n;
}
