/* loop: libuv handles owned by one struct. The mailbox is a list behind a mutex plus a uv_async; timers are a
 * binary heap behind one uv_timer (libuv's own timers would cost a handle and a close callback each); hooks
 * run in a uv_prepare, the last thing before the wait, so that what a turn produced leaves in that turn. */
#include "loop/loop.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { HOOK_ROUNDS_MAX = 8, STAMP_MS = 500 };

struct post {
    struct post *next;
    loop_call_fn *fn;
    void *arg;
};

struct loop {
    uv_loop_t uv;
    uv_async_t async;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t timer;
    uv_timer_t stamp_timer;
    const struct clock *clock;
    _Atomic int64_t stamp_ms;

    pthread_mutex_t post_lock;
    struct post *post_head, **post_tail;

    struct loop_hook *hooks, **hooks_tail;
    struct loop_hook *next_hook; /* of the one that runs */

    struct loop_timer **heap; /* 1-based */
    size_t heap_len, heap_cap;
    int64_t armed_us; /* what the uv_timer is set to; INT64_MAX: not set */
};

int64_t loop_now_us(const struct loop *loop)
{
    return clock_mono_us(loop->clock);
}

const struct clock *loop_clock(const struct loop *loop)
{
    return loop->clock;
}

int64_t loop_stamp_ms(const struct loop *loop)
{
    return atomic_load_explicit(&loop->stamp_ms, memory_order_relaxed);
}

static void on_stamp(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    atomic_store_explicit(&loop->stamp_ms, clock_mono_ms(loop->clock), memory_order_relaxed);
}

/* --- mailbox --- */

/* False: nothing was posted. */
static bool run_posts(struct loop *loop)
{
    pthread_mutex_lock(&loop->post_lock);
    struct post *post = loop->post_head;
    loop->post_head = NULL;
    loop->post_tail = &loop->post_head;
    pthread_mutex_unlock(&loop->post_lock);
    bool any = post != NULL;
    while (post) {
        struct post *next = post->next;
        post->fn(post->arg);
        free(post);
        post = next;
    }
    return any;
}

static void on_async(uv_async_t *async)
{
    (void)run_posts(async->data);
}

bool loop_post(struct loop *loop, loop_call_fn *fn, void *arg)
{
    struct post *post = malloc(sizeof *post);
    if (!post) return false;
    *post = (struct post){NULL, fn, arg};
    pthread_mutex_lock(&loop->post_lock);
    *loop->post_tail = post;
    loop->post_tail = &post->next;
    /* Under the lock, so that a poster cannot touch the handle after the destroyer has seen its post. */
    uv_async_send(&loop->async);
    pthread_mutex_unlock(&loop->post_lock);
    return true;
}

/* --- hooks --- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* an active idle handle keeps the next wait at zero; that is all */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    bool again = true;
    for (int round = 0; again && round < HOOK_ROUNDS_MAX; round++) {
        again = false;
        for (struct loop_hook *hook = loop->hooks; hook; hook = loop->next_hook) {
            loop->next_hook = hook->next;
            if (hook->fn(hook->arg)) again = true;
        }
    }
    if (again)
        uv_idle_start(&loop->idle, on_idle);
    else
        uv_idle_stop(&loop->idle);
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook, loop_hook_fn *fn, void *arg)
{
    *hook = (struct loop_hook){.loop = loop, .prev = loop->hooks_tail, .fn = fn, .arg = arg};
    *loop->hooks_tail = hook;
    loop->hooks_tail = &hook->next;
}

void loop_hook_remove(struct loop_hook *hook)
{
    struct loop *loop = hook->loop;
    if (!loop) return;
    if (loop->next_hook == hook) loop->next_hook = hook->next;
    *hook->prev = hook->next;
    if (hook->next)
        hook->next->prev = hook->prev;
    else
        loop->hooks_tail = hook->prev;
    hook->loop = NULL;
}

/* --- timers --- */

static void heap_place(struct loop *loop, size_t slot, struct loop_timer *t)
{
    loop->heap[slot] = t;
    t->slot = slot;
}

static void heap_up(struct loop *loop, struct loop_timer *t)
{
    size_t slot = t->slot;
    while (slot > 1 && loop->heap[slot / 2]->due_us > t->due_us) {
        heap_place(loop, slot, loop->heap[slot / 2]);
        slot /= 2;
    }
    heap_place(loop, slot, t);
}

static void heap_down(struct loop *loop, struct loop_timer *t)
{
    size_t slot = t->slot;
    for (;;) {
        size_t child = slot * 2;
        if (child > loop->heap_len) break;
        if (child < loop->heap_len && loop->heap[child + 1]->due_us < loop->heap[child]->due_us) child++;
        if (loop->heap[child]->due_us >= t->due_us) break;
        heap_place(loop, slot, loop->heap[child]);
        slot = child;
    }
    heap_place(loop, slot, t);
}

static void on_timer(uv_timer_t *timer);

static void arm(struct loop *loop)
{
    int64_t due = loop->heap_len ? loop->heap[1]->due_us : INT64_MAX;
    if (due >= loop->armed_us) return; /* an early wake-up re-arms; a late one cannot happen */
    loop->armed_us = due;
    int64_t wait_us = due - loop_now_us(loop);
    uv_update_time(
        &loop->uv); /* libuv counts from its cached time, which may be older than the turn's work */
    uv_timer_start(&loop->timer, on_timer, wait_us > 0 ? (uint64_t)(wait_us + 999) / 1000 : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    loop->armed_us = INT64_MAX;
    int64_t now = loop_now_us(loop);
    while (loop->heap_len && loop->heap[1]->due_us <= now) {
        struct loop_timer *t = loop->heap[1];
        loop_timer_stop(t);
        t->fn(t->arg);
    }
    arm(loop);
}

void loop_timer_start(struct loop *loop, struct loop_timer *t, int64_t due_us, loop_call_fn *fn, void *arg)
{
    loop_timer_stop(t);
    if (loop->heap_len + 1 >= loop->heap_cap) {
        size_t cap = loop->heap_cap * 2;
        struct loop_timer **heap = realloc(loop->heap, cap * sizeof(struct loop_timer *));
        if (!heap) abort(); /* a lost deadline is worse than a restart */
        loop->heap = heap;
        loop->heap_cap = cap;
    }
    t->loop = loop;
    t->due_us = due_us;
    t->fn = fn;
    t->arg = arg;
    t->slot = ++loop->heap_len;
    heap_up(loop, t);
    if (t->slot == 1) arm(loop);
}

void loop_timer_stop(struct loop_timer *t)
{
    if (!t->slot) return;
    struct loop *loop = t->loop;
    struct loop_timer *last = loop->heap[loop->heap_len--];
    if (last != t) {
        last->slot = t->slot;
        heap_up(loop, last);
        heap_down(loop, last);
    }
    t->slot = 0;
}

/* --- descriptors --- */

struct loop_io {
    uv_poll_t poll;
    loop_io_fn *fn;
    void *arg;
    int events;
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct loop_io *io = poll->data;
    int seen = 0;
    /* An error (EPOLLERR alone) is shown as readable: the reader's recv tells what it is. */
    if (status < 0 || (events & (UV_READABLE | UV_DISCONNECT))) seen |= LOOP_READ;
    if (status < 0 || (events & UV_WRITABLE)) seen |= LOOP_WRITE;
    io->fn(io->arg, seen);
}

static void start_poll(struct loop_io *io)
{
    int events = (io->events & LOOP_READ ? UV_READABLE : 0) | (io->events & LOOP_WRITE ? UV_WRITABLE : 0);
    if (events)
        uv_poll_start(&io->poll, events, on_poll);
    else
        uv_poll_stop(&io->poll);
}

struct loop_io *loop_io_create(struct loop *loop, int fd, int events, loop_io_fn *fn, void *arg)
{
    struct loop_io *io = malloc(sizeof *io);
    if (!io) return NULL;
    if (uv_poll_init(&loop->uv, &io->poll, fd) != 0) {
        free(io);
        return NULL;
    }
    io->poll.data = io;
    io->fn = fn;
    io->arg = arg;
    io->events = events;
    start_poll(io);
    return io;
}

void loop_io_set(struct loop_io *io, int events)
{
    if (io->events == events) return;
    io->events = events;
    start_poll(io);
}

static void on_io_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_io_destroy(struct loop_io **io)
{
    if (!*io) return;
    uv_close((uv_handle_t *)&(*io)->poll, on_io_closed);
    *io = NULL;
}

/* --- names --- */

struct loop_resolve {
    uv_getaddrinfo_t request;
    struct loop *loop;
    unsigned turn;
    loop_resolve_fn *fn; /* NULL: cancelled */
    void *arg;
    bool done;
    struct sockaddr_storage literal;
    socklen_t literal_len;
};

static const struct addrinfo *address_at(const struct addrinfo *list, unsigned turn)
{
    unsigned count = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    for (turn %= count; turn > 0; turn--)
        list = list->ai_next;
    return list;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct loop_resolve *r = request->data;
    r->done = true;
    if (!r->fn) {
        free(r);
    } else if (status != 0 || !list) {
        r->fn(r->arg, status ? status : UV_EAI_NODATA, NULL, 0);
    } else {
        const struct addrinfo *chosen = address_at(list, r->turn);
        r->fn(r->arg, 0, chosen->ai_addr, chosen->ai_addrlen);
    }
    uv_freeaddrinfo(list);
}

static void on_literal(void *arg)
{
    struct loop_resolve *r = arg;
    r->done = true;
    if (!r->fn)
        free(r);
    else
        r->fn(r->arg, 0, (const struct sockaddr *)&r->literal, r->literal_len);
}

struct loop_resolve *loop_resolve(struct loop *loop, const char *host, int port, unsigned turn,
                                  loop_resolve_fn *fn, void *arg)
{
    struct loop_resolve *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->request.data = r;
    r->loop = loop;
    r->turn = turn;
    r->fn = fn;
    r->arg = arg;
    /* Literals need no thread of libuv's pool. */
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&r->literal) == 0)
        r->literal_len = sizeof(struct sockaddr_in);
    else if (uv_ip6_addr(host, port, (struct sockaddr_in6 *)&r->literal) == 0)
        r->literal_len = sizeof(struct sockaddr_in6);
    if (r->literal_len) {
        if (loop_post(loop, on_literal, r)) return r;
    } else {
        char service[16];
        snprintf(service, sizeof service, "%d", port);
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        if (uv_getaddrinfo(&loop->uv, &r->request, on_resolved, host, service, &hints) == 0) return r;
    }
    free(r);
    return NULL;
}

void loop_resolve_cancel(struct loop_resolve **resolve)
{
    struct loop_resolve *r = *resolve;
    if (!r) return;
    *resolve = NULL;
    if (r->done) {
        free(r);
    } else {
        r->fn = NULL; /* freed when it comes back: soon, unless a thread of libuv's has begun it */
        (void)uv_cancel((uv_req_t *)&r->request);
    }
}

/* --- signals --- */

struct loop_signal {
    uv_signal_t handle;
    loop_call_fn *fn;
    void *arg;
};

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct loop_signal *s = handle->data;
    s->fn(s->arg);
}

struct loop_signal *loop_signal_create(struct loop *loop, int signum, loop_call_fn *fn, void *arg)
{
    struct loop_signal *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    uv_signal_init(&loop->uv, &s->handle);
    s->handle.data = s;
    s->fn = fn;
    s->arg = arg;
    uv_signal_start(&s->handle, on_signal, signum);
    return s;
}

void loop_signal_destroy(struct loop_signal **s)
{
    if (!*s) return;
    uv_close((uv_handle_t *)&(*s)->handle, on_io_closed);
    *s = NULL;
}

/* --- life --- */

struct loop *loop_create(const struct clock *clock)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop) return NULL;
    loop->clock = clock;
    loop->armed_us = INT64_MAX;
    loop->heap_cap = 64;
    loop->heap = calloc(loop->heap_cap, sizeof(struct loop_timer *));
    if (!loop->heap || uv_loop_init(&loop->uv) != 0) {
        free(loop->heap);
        free(loop);
        return NULL;
    }
    pthread_mutex_init(&loop->post_lock, NULL);
    loop->post_tail = &loop->post_head;
    loop->hooks_tail = &loop->hooks;
    uv_async_init(&loop->uv, &loop->async, on_async);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->timer);
    uv_timer_init(&loop->uv, &loop->stamp_timer);
    loop->async.data = loop->prepare.data = loop->idle.data = loop->timer.data = loop->stamp_timer.data =
        loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    on_stamp(&loop->stamp_timer);
    uv_timer_start(&loop->stamp_timer, on_stamp, STAMP_MS, STAMP_MS);
    return loop;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

static void stop_now(void *arg)
{
    struct loop *loop = arg;
    uv_stop(&loop->uv);
}

void loop_stop(struct loop *loop)
{
    if (!loop_post(loop, stop_now, loop)) abort(); /* a loop that cannot be stopped cannot be joined */
}

static void close_left(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (uv_is_closing(handle)) return;
    /* Watchers and signals that their owner left behind live in blocks of their own. */
    bool block = handle->type == UV_POLL || handle->type == UV_SIGNAL;
    uv_close(handle, block ? on_io_closed : NULL);
}

void loop_flush(struct loop *loop)
{
    while (run_posts(loop)) {
    }
}

void loop_destroy(struct loop **loop_ptr)
{
    struct loop *loop = *loop_ptr;
    if (!loop) return;
    *loop_ptr = NULL;
    loop_flush(loop); /* a post may own memory */
    uv_walk(&loop->uv, close_left, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0);
    (void)rc;
    pthread_mutex_destroy(&loop->post_lock);
    free(loop->heap);
    free(loop);
}
