/* log: callers put whole lines into a ring of bytes under a mutex that is held for a copy; one thread takes
 * them out and writes them. Nobody but that thread ever waits for the reader.
 *
 *   caller --[level, rate, text]--> ring --[thread: poll, write]--> fd
 *
 * The descriptor is often stderr, whose open file is shared with other processes, so O_NONBLOCK is not ours
 * to set. Instead: poll for room, then write at most PIPE_BUF bytes, which a pipe with room for anything
 * takes without blocking and as one piece. Where the write blocks all the same (another writer was quicker, a
 * stopped terminal), only this thread hangs; log_destroy then leaves the log's memory to it instead of
 * joining.
 *
 * Rates are per event text, in a small table of the texts that were written last. Lock order: only `lock`. */
#include "log/log.h"

#include "log/log_line.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    SITE_SLOTS = 256,
    SITE_PROBES = 8,
    SITE_WINDOW_US = 1000000,
    FLUSH_MS = 1000, /* what log_destroy waits at most */
    POLL_MS = 100,   /* how soon a thread that waits for the reader sees that it should stop */
};
_Static_assert((int)LOG_LINE_MAX <= (int)PIPE_BUF, "a line goes out as one piece");

struct site {
    const char *event; /* a literal; NULL: free */
    int64_t window_us; /* when the current second began */
    unsigned count;
    uint64_t suppressed;
};

struct log {
    struct log_options options;
    _Atomic int level;
    _Atomic uint64_t dropped;
    pthread_t thread;
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t wake;  /* the ring is no longer empty, or stop */
    pthread_cond_t gone;  /* `ended` */
    bool stop, ended, abandoned;
    int64_t stop_us; /* clock_system's; the end of the flush */
    uint64_t told;   /* of `dropped`, how many a line has told of */
    size_t head, used;
    struct site sites[SITE_SLOTS];
    char ring[LOG_RING_BYTES];
};

static void free_log(struct log *log)
{
    pthread_cond_destroy(&log->gone);
    pthread_cond_destroy(&log->wake);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

static void count_dropped(struct log *log, const char *bytes, size_t len)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += bytes[i] == '\n';
    atomic_fetch_add_explicit(&log->dropped, lines, memory_order_relaxed);
}

static size_t ring_index(const struct log *log, size_t offset)
{
    return (log->head + offset) % LOG_RING_BYTES;
}

static bool ring_put(struct log *log, const char *bytes, size_t len)
{
    if (len > LOG_RING_BYTES - log->used) return false;
    size_t at = ring_index(log, log->used);
    size_t first = len < LOG_RING_BYTES - at ? len : LOG_RING_BYTES - at;
    memcpy(log->ring + at, bytes, first);
    memcpy(log->ring, bytes + first, len - first);
    log->used += len;
    return true;
}

/* As many whole lines as fit; there is one, for no line is longer than `size`. */
static size_t ring_take(struct log *log, char *out, size_t size)
{
    size_t len = log->used < size ? log->used : size;
    size_t first = len < LOG_RING_BYTES - log->head ? len : LOG_RING_BYTES - log->head;
    memcpy(out, log->ring + log->head, first);
    memcpy(out + first, log->ring, len - first);
    while (len && out[len - 1] != '\n')
        len--;
    log->head = ring_index(log, len);
    log->used -= len;
    return len;
}

/* Waits for room. False: the time to flush is over. */
static bool wait_writable(struct log *log)
{
    struct pollfd p = {.fd = log->options.fd, .events = POLLOUT};
    for (;;) {
        int n = poll(&p, 1, POLL_MS);
        if (n > 0 || (n < 0 && errno != EINTR)) return true; /* an error shows in the write */
        pthread_mutex_lock(&log->lock);
        bool over = log->stop && clock_mono_us(&clock_system) >= log->stop_us;
        pthread_mutex_unlock(&log->lock);
        if (over) return false;
    }
}

/* False: the time to flush is over. A descriptor that takes nothing more (the reader is gone) costs the
 * bytes. */
static bool write_out(struct log *log, const char *bytes, size_t len)
{
    while (len) {
        if (!wait_writable(log)) {
            count_dropped(log, bytes, len);
            return false;
        }
        ssize_t n = write(log->options.fd, bytes, len);
        if (n >= 0) {
            bytes += n;
            len -= (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            count_dropped(log, bytes, len);
            return true;
        }
    }
    return true;
}

/* Once the ring is empty: what it had no room for. Called and left with the lock held. */
static bool tell_dropped(struct log *log)
{
    uint64_t dropped = atomic_load_explicit(&log->dropped, memory_order_relaxed);
    if (dropped == log->told) return true;
    uint64_t count = dropped - log->told;
    log->told = dropped;
    pthread_mutex_unlock(&log->lock);
    struct log_line line;
    log_line_write(&line, log->options.format, clock_wall_ms(log->options.clock), LOG_WARN,
                   "log lines dropped, the log was not read fast enough", &LOG_I("dropped", count), 1, 0);
    bool ok = write_out(log, line.bytes, line.len);
    pthread_mutex_lock(&log->lock);
    return ok;
}

static void run(struct log *log)
{
    char chunk[PIPE_BUF];
    bool ok = true;
    while (ok && !log->abandoned) {
        while (!log->used && !log->stop)
            pthread_cond_wait(&log->wake, &log->lock);
        if (!log->used) break;
        size_t len = ring_take(log, chunk, sizeof chunk);
        pthread_mutex_unlock(&log->lock);
        ok = write_out(log, chunk, len);
        pthread_mutex_lock(&log->lock);
        if (ok && !log->used && !log->abandoned) ok = tell_dropped(log);
    }
}

static void *thread_main(void *arg)
{
    struct log *log = arg;
    pthread_setname_np(pthread_self(), "log");
    pthread_mutex_lock(&log->lock);
    run(log);
    log->ended = true;
    bool abandoned = log->abandoned;
    pthread_cond_signal(&log->gone);
    pthread_mutex_unlock(&log->lock);
    if (abandoned) free_log(log);
    return NULL;
}

/* The thread takes no signal: they belong to the control thread, and a broken pipe is an error code here. */
static bool start_thread(struct log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&log->thread, NULL, thread_main, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

struct log *log_create(const struct log_options *options)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    log->options = *options;
    atomic_init(&log->level, (int)options->level);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->wake, NULL);
    pthread_cond_init(&log->gone, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!start_thread(log)) {
        free_log(log);
        return NULL;
    }
    return log;
}

void log_destroy(struct log **plog)
{
    struct log *log = *plog;
    *plog = NULL;
    if (!log) return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FLUSH_MS / 1000;
    until.tv_nsec += (FLUSH_MS % 1000) * 1000000L;
    pthread_mutex_lock(&log->lock);
    log->stop = true;
    /* Sooner than we give up, so that a thread that waits in poll can still be joined. */
    log->stop_us = clock_mono_us(&clock_system) + (FLUSH_MS - 2 * POLL_MS) * 1000LL;
    pthread_cond_signal(&log->wake);
    int rc = 0;
    while (!log->ended && rc == 0)
        rc = pthread_cond_timedwait(&log->gone, &log->lock, &until);
    bool ended = log->ended;
    pthread_t thread = log->thread;
    log->abandoned = !ended;
    pthread_mutex_unlock(&log->lock);
    if (!ended) {
        pthread_detach(thread); /* it hangs in write; if that ever returns it frees the log */
        return;
    }
    pthread_join(thread, NULL);
    free_log(log);
}

void log_set_level(struct log *log, enum log_level level)
{
    if (log) atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

uint64_t log_dropped(const struct log *log)
{
    return log ? atomic_load_explicit(&log->dropped, memory_order_relaxed) : 0;
}

/* The slot of an event; where its probes are all taken, the one whose second began first. */
static struct site *find_site(struct log *log, const char *event)
{
    uint32_t hash = 2166136261U; /* FNV-1a: event texts are ours, nobody can choose them to collide */
    for (const char *c = event; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    struct site *oldest = NULL;
    for (unsigned i = 0; i < SITE_PROBES; i++) {
        struct site *s = &log->sites[(hash + i) % SITE_SLOTS];
        if (s->event && (s->event == event || strcmp(s->event, event) == 0)) return s;
        if (!oldest || !s->event || (oldest->event && s->window_us < oldest->window_us)) oldest = s;
        if (!s->event) break;
    }
    *oldest = (struct site){.event = event, .window_us = INT64_MIN};
    return oldest;
}

/* False: over the event's rate. Else how many lines of it were held back before. */
static bool pass_rate(struct log *log, const char *event, uint64_t *out_suppressed)
{
    int64_t now = clock_mono_us(log->options.clock);
    pthread_mutex_lock(&log->lock);
    struct site *s = find_site(log, event);
    if (s->window_us == INT64_MIN || now - s->window_us >= SITE_WINDOW_US) {
        s->window_us = now;
        s->count = 0;
    }
    bool pass = s->count < LOG_SITE_PER_S;
    if (pass) {
        s->count++;
        *out_suppressed = s->suppressed;
        s->suppressed = 0;
    } else {
        s->suppressed++;
    }
    pthread_mutex_unlock(&log->lock);
    return pass;
}

static void enqueue(struct log *log, const struct log_line *line)
{
    pthread_mutex_lock(&log->lock);
    bool was_empty = log->used == 0;
    if (!ring_put(log, line->bytes, line->len))
        atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
    else if (was_empty)
        pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
}

static bool is_wanted(struct log *log, enum log_level level)
{
    return log && (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

void log_write(struct log *log, enum log_level level, const char *event, const struct log_field *fields,
               size_t count)
{
    uint64_t suppressed = 0;
    if (!is_wanted(log, level) || !pass_rate(log, event, &suppressed)) return;
    struct log_line line;
    log_line_write(&line, log->options.format, clock_wall_ms(log->options.clock), level, event, fields, count,
                   suppressed);
    enqueue(log, &line);
}

void log_write_each(struct log *log, enum log_level level, const char *event, const struct log_field *fields,
                    size_t count)
{
    if (!is_wanted(log, level)) return;
    struct log_line line;
    log_line_write(&line, log->options.format, clock_wall_ms(log->options.clock), level, event, fields, count,
                   0);
    enqueue(log, &line);
}
