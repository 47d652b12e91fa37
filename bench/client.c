/* client: an HTTP client for measurements that wrk cannot make. It sends the requests of a file (as prepare
 * writes it) in order and round again, each connection one at a time, and checks that every answer is a 2xx.
 * Two modes:
 * - closed, `-n REQUESTS`: exactly so many requests, so that what the server did can be divided by them. With
 *   `-b PID` in bursts: one request on each connection, then all answers; the server PID is stopped while
 * they are sent, so that its turns do not depend on who was scheduled when.
 * - open, `-n REQUESTS -r RATE`: on a fixed schedule, whatever the server does; latency counts from the time
 *   a request was due, also when it had to wait for a free connection. The first tenth is not counted.
 * One thread. Prints one line of name=value; exits 1 when anything but a 2xx came back.
 * Usage: client [-c CONNECTIONS] [-b PID] [-r RATE] -n REQUESTS PORT FILE */
#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 4096, ANSWER_BYTES = 32768, EVENTS = 256, STALL_S = 10 };
static const int64_t SECOND_NS = 1000000000;

struct request {
    const char *bytes;
    size_t len;
};

struct connection {
    int fd;
    bool busy;
    int64_t due_ns;
    size_t head;  /* bytes of the answer's head; 0: not complete */
    size_t total; /* bytes of the whole answer, once the head is complete */
    size_t len;   /* bytes received */
    char answer[ANSWER_BYTES];
};

struct client {
    struct request *requests;
    char *text; /* what requests point into */
    size_t request_count;
    size_t next; /* index of the next request to send, ever growing */
    struct connection *connections;
    size_t connection_count;
    size_t *idle; /* a stack of connections */
    size_t idle_count;
    int epoll;
    size_t target, sent, done, errors;
    int64_t *latency_ns; /* by order of completion; NULL in closed mode */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (p == NULL) die("memory");
    return p;
}

static char *read_file(const char *path, size_t *out_len)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) die(path);
    const long size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0) die(path);
    char *bytes = allocate((size_t)size + 1, 1);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size) die(path);
    (void)fclose(file);
    *out_len = (size_t)size;
    return bytes;
}

/* The file: for each request its length in decimal, a newline, its bytes. */
static void load_requests(struct client *c, const char *path)
{
    size_t len = 0;
    size_t room = 0;
    c->text = read_file(path, &len);
    const char *end = c->text + len;
    for (char *at = c->text; at < end;) {
        char *after = NULL;
        const unsigned long size = strtoul(at, &after, 10);
        if (after == at || *after != '\n' || size == 0 || size > (size_t)(end - after - 1)) {
            errno = EINVAL;
            die(path);
        }
        if (c->request_count == room) {
            room = room == 0 ? 1024 : room * 2;
            c->requests = reallocarray(c->requests, room, sizeof *c->requests);
            if (c->requests == NULL) die("memory");
        }
        c->requests[c->request_count++] = (struct request){.bytes = after + 1, .len = size};
        at = after + 1 + size;
    }
    errno = EINVAL;
    if (c->request_count == 0) die(path);
}

static void connect_all(struct client *c, uint16_t port)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->connections = allocate(c->connection_count, sizeof *c->connections);
    c->idle = allocate(c->connection_count, sizeof *c->idle);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0) die("epoll_create1");
    for (size_t i = 0; i < c->connection_count; i++) {
        struct connection *k = &c->connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
        k->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (k->fd < 0 || connect(k->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
            setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
            epoll_ctl(c->epoll, EPOLL_CTL_ADD, k->fd, &event) != 0) {
            die("connect");
        }
        c->idle[c->idle_count++] = i;
    }
}

/* Blocks when the server does not read: fine, requests are smaller than socket buffers. */
static void send_next(struct client *c, int64_t due_ns)
{
    assert(c->idle_count > 0);
    struct connection *k = &c->connections[c->idle[--c->idle_count]];
    const struct request *r = &c->requests[c->next++ % c->request_count];
    size_t sent = 0;
    k->busy = true;
    k->due_ns = due_ns;
    k->head = k->total = k->len = 0;
    while (sent < r->len) {
        const ssize_t n = send(k->fd, r->bytes + sent, r->len - sent, MSG_NOSIGNAL);
        if (n < 0) die("send");
        sent += (size_t)n;
    }
    c->sent++;
}

/* Reads status and length once the head is there. */
static void parse_head(struct client *c, struct connection *k)
{
    k->answer[k->len] = '\0';
    const char *end = strstr(k->answer, "\r\n\r\n");
    if (end == NULL) return;
    size_t body = 0;
    for (const char *line = strstr(k->answer, "\r\n"); line < end; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "Content-Length:", 15) == 0) body = strtoul(line + 17, NULL, 10);
    }
    k->head = (size_t)(end - k->answer) + 4;
    k->total = k->head + body;
    if (strncmp(k->answer, "HTTP/1.1 2", 10) != 0) {
        if (c->errors++ == 0) (void)fprintf(stderr, "client: unexpected answer: %.60s\n", k->answer);
    }
}

/* Returns true when the answer is complete. */
static bool receive(struct client *c, struct connection *k)
{
    const size_t room = sizeof k->answer - 1;
    if (!k->busy) {
        errno = EPROTO;
        die("bytes or an end of stream on an idle connection");
    }
    /* The body's bytes only count: they may overwrite what came before. */
    const size_t at = k->head == 0 ? k->len : 0;
    const ssize_t n = recv(k->fd, k->answer + at, room - at, 0);
    if (n <= 0) die("answer cut off");
    k->len += (size_t)n;
    if (k->head == 0) parse_head(c, k);
    return k->head > 0 && k->len >= k->total;
}

static void complete(struct client *c, size_t index)
{
    struct connection *k = &c->connections[index];
    k->busy = false;
    c->idle[c->idle_count++] = index;
    if (c->latency_ns != NULL) c->latency_ns[c->done] = now_ns() - k->due_ns;
    c->done++;
}

/* Waits until something arrives or `timeout_ns` have passed; takes what is there. */
static void turn(struct client *c, int64_t timeout_ns)
{
    struct epoll_event events[EVENTS];
    const struct timespec timeout = {.tv_sec = timeout_ns / SECOND_NS, .tv_nsec = timeout_ns % SECOND_NS};
    const int n = epoll_pwait2(c->epoll, events, EVENTS, &timeout, NULL);
    if (n < 0 && errno != EINTR) die("epoll_pwait2");
    for (int i = 0; i < n; i++) {
        const size_t index = events[i].data.u64;
        if (receive(c, &c->connections[index])) complete(c, index);
    }
    if (n == 0 && timeout_ns >= STALL_S * SECOND_NS) {
        errno = ETIMEDOUT;
        die("no answer");
    }
}

static void send_to_idle(struct client *c)
{
    while (c->idle_count > 0 && c->sent < c->target)
        send_next(c, 0);
}

static void run_closed(struct client *c)
{
    while (c->done < c->target) {
        send_to_idle(c);
        turn(c, STALL_S * SECOND_NS);
    }
}

/* The state of one thread, as /proc shows it: R running, S asleep, T or t stopped by a signal or a tracer. */
static char thread_state(pid_t pid, const char *thread)
{
    char path[300];
    char line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, thread);
    FILE *file = fopen(path, "re");
    if (file == NULL) return '\0'; /* it has ended meanwhile */
    const bool read = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file);
    const char *name_end = read ? strrchr(line, ')') : NULL;
    return name_end != NULL ? name_end[2] : '\0';
}

/* Waits until each thread of the server is in one of these states. */
static void await_states(pid_t pid, const char *states)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    for (bool all = false; !all;) {
        (void)usleep(100);
        all = true;
        DIR *directory = opendir(path);
        if (directory == NULL) die(path);
        /* cppcheck-suppress readdirCalled; glibc: safe on a stream of its own, and readdir_r is deprecated */
        for (struct dirent *e = readdir(directory); e != NULL; e = readdir(directory)) {
            if (e->d_name[0] == '.') continue;
            const char state = thread_state(pid, e->d_name);
            if (state != '\0' && strchr(states, state) == NULL) all = false;
        }
        (void)closedir(directory);
    }
}

static void run_bursts(struct client *c, pid_t server)
{
    while (c->done < c->target) {
        await_states(server, "S"); /* what follows its last answer is done */
        if (kill(server, SIGSTOP) != 0) die("SIGSTOP");
        await_states(server, "Tt");
        send_to_idle(c);
        if (kill(server, SIGCONT) != 0) die("SIGCONT");
        while (c->done < c->sent)
            turn(c, STALL_S * SECOND_NS);
    }
}

static void run_open(struct client *c, int64_t rate)
{
    const int64_t start_ns = now_ns();
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* the default rounds each wait up by 50 µs */
    c->latency_ns = allocate(c->target, sizeof *c->latency_ns);
    while (c->done < c->target) {
        int64_t wait_ns = STALL_S * SECOND_NS;
        while (c->sent < c->target && c->idle_count > 0) {
            const int64_t due_ns = start_ns + (int64_t)c->sent * SECOND_NS / rate;
            const int64_t now = now_ns();
            if (due_ns > now) {
                wait_ns = due_ns - now;
                break;
            }
            send_next(c, due_ns);
        }
        turn(c, wait_ns);
    }
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_latency(struct client *c)
{
    const size_t skipped = c->target / 10;
    const size_t n = c->target - skipped;
    int64_t *sample = c->latency_ns + skipped;
    qsort(sample, n, sizeof *sample, by_value);
    const size_t at[] = {n / 2, n * 99 / 100, n * 999 / 1000, n - 1};
    static const char *const names[] = {"p50", "p99", "p999", "max"};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
        printf(" %s_us=%.1f", names[i], (double)sample[at[i]] / 1e3);
}

static size_t number(const char *text, size_t max)
{
    char *end = NULL;
    const unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value == 0 || value > max) {
        (void)fprintf(stderr, "client: not a number from 1 to %zu: %s\n", max, text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    struct client c = {.connection_count = 1};
    size_t stopped = 0;
    size_t rate = 0;
    for (int option = getopt(argc, argv, "b:c:n:r:"); option != -1; option = getopt(argc, argv, "b:c:n:r:")) {
        if (option == 'b')
            stopped = number(optarg, INT32_MAX);
        else if (option == 'c')
            c.connection_count = number(optarg, CONNECTIONS_MAX);
        else if (option == 'n')
            c.target = number(optarg, 100000000);
        else if (option == 'r')
            rate = number(optarg, 1000000);
        else
            return 2;
    }
    if (argc - optind != 2 || c.target == 0) {
        (void)fprintf(stderr, "usage: client [-c CONNECTIONS] [-b PID] [-r RATE] -n REQUESTS PORT FILE\n");
        return 2;
    }
    const uint16_t port = (uint16_t)number(argv[optind], UINT16_MAX);
    load_requests(&c, argv[optind + 1]);
    connect_all(&c, port);
    const int64_t start_ns = now_ns();
    if (rate > 0)
        run_open(&c, (int64_t)rate);
    else if (stopped > 0)
        run_bursts(&c, (pid_t)stopped);
    else
        run_closed(&c);
    printf("requests=%zu errors=%zu us=%lld", c.done, c.errors, (long long)(now_ns() - start_ns) / 1000);
    if (rate > 0) print_latency(&c);
    putchar('\n');
    free(c.latency_ns);
    free(c.idle);
    free(c.connections);
    free(c.requests);
    free(c.text);
    return c.errors == 0 ? 0 : 1;
}
