/* queue: the load on the task queue. COUNT times, on CONNECTIONS keep-alive connections of one epoll loop,
 * each of which sends its next request when it has the answer:
 *
 *   cycle    enqueue, dequeue, ack, of BATCH tasks each (1: singly; more: an array, `count`, many acks). No
 *            dequeue finds the line empty: each connection has enqueued as many before.
 *   fill     enqueue, of BATCH tasks each
 *   phases   each operation by itself, COUNT times; what is enqueued in one phase is taken or cancelled in a
 *            later one, so that as many tasks wait afterwards as before. For each a line with the CPU time
 *            (ns) that the processes PID have used.
 *
 * Payloads have 100 bytes. Prints name=value; exits 1 at the first answer that is not the expected one.
 * Usage: queue [-c CONNECTIONS] [-b BATCH] [-a AGENT] [-p PID]... -n COUNT cycle|fill|phases PORT */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 1024,
    BATCH_MAX = 1000,
    PIDS_MAX = 4,
    ID_BYTES = 48,
    RECEIPT_BYTES = 64,
    REQUEST_BYTES = 300000,
    ANSWER_BYTES = 300000,
    EVENTS = 64,
    STALL_MS = 30000
};

/* 98 characters and two quotes. */
static const char PAYLOAD[] = "\"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"
                              "0123456789abcdefghijklmnop\"";
_Static_assert(sizeof PAYLOAD == 101, "a payload of 100 bytes");

struct held {
    char id[ID_BYTES], receipt[RECEIPT_BYTES];
};

struct client;
struct connection;

struct operation {
    const char *name;
    int status; /* that is expected */
    void (*ask)(const struct client *c, struct connection *k);
    void (*take)(const struct client *c, struct connection *k); /* NULL: the status is all */
};

struct connection {
    int fd;
    struct held *held; /* the tasks of its current job */
    size_t step;
    char *request, *answer;
    size_t asked, len, total; /* total 0: the head is not complete */
};

struct client {
    size_t connection_count, batch, count;
    const char *agent; /* "" all */
    pid_t pids[PIDS_MAX];
    size_t pid_count;
    int epoll;
    struct connection *connections;
    struct held *held;
    bool keeps; /* each job's tasks have a place of their own, else each connection's */
    const struct operation *const *steps;
    size_t step_count, begun, done;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "queue: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (!p) die("memory");
    return p;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- requests --- */

enum { HEAD_BYTES = 192 }; /* where the body begins; the head is put right before it */

__attribute__((format(printf, 2, 3))) static void add(struct connection *k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n =
        vsnprintf(k->request + HEAD_BYTES + k->asked, REQUEST_BYTES - HEAD_BYTES - k->asked, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= REQUEST_BYTES - HEAD_BYTES - k->asked) {
        errno = EMSGSIZE;
        die("request");
    }
    k->asked += (size_t)n;
}

/* Sends head and what was added as body. Blocks when the server does not read: answers are smaller than
 * socket buffers and taken one at a time, so it will. */
static void send_request(struct connection *k, const char *method, const char *path, const char *verb)
{
    char head[HEAD_BYTES];
    int len =
        snprintf(head, sizeof head, "%s %s%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                 method, path, verb, k->asked);
    char *at = k->request + HEAD_BYTES - len;
    memcpy(at, head, (size_t)len);
    for (size_t left = (size_t)len + k->asked; left > 0;) {
        const ssize_t n = send(k->fd, at, left, MSG_NOSIGNAL);
        if (n < 0) die("send");
        at += n;
        left -= (size_t)n;
    }
}

static void send_by_id(struct connection *k, const char *method, const char *verb)
{
    char path[ID_BYTES + 16];
    (void)snprintf(path, sizeof path, "/tasks/%s", k->held->id);
    send_request(k, method, path, verb);
}

static void ask_enqueue(const struct client *c, struct connection *k)
{
    const bool array = c->batch > 1;
    for (size_t i = 0; i < c->batch; i++) {
        add(k, "%s{", i > 0 ? "," : array ? "[" : "");
        if (*c->agent) add(k, "\"agent\":\"%s\",", c->agent);
        add(k, "\"payload\":%s}%s", PAYLOAD, array && i + 1 == c->batch ? "]" : "");
    }
    send_request(k, "POST", "/tasks", "");
}

static void ask_dequeue(const struct client *c, struct connection *k)
{
    add(k, "{\"count\":%zu", c->batch);
    if (*c->agent) add(k, ",\"agent\":\"%s\"", c->agent);
    add(k, "}");
    send_request(k, "POST", "/tasks/dequeue", "");
}

static void ask_ack(const struct client *c, struct connection *k)
{
    if (c->batch == 1) {
        add(k, "{\"receipt\":\"%s\"}", k->held->receipt);
        send_by_id(k, "POST", "/ack");
        return;
    }
    for (size_t i = 0; i < c->batch; i++)
        add(k, "%s{\"task_id\":\"%s\",\"receipt\":\"%s\"}", i > 0 ? "," : "{\"acks\":[", k->held[i].id,
            k->held[i].receipt);
    add(k, "]}");
    send_request(k, "POST", "/tasks/ack", "");
}

static void ask_nack(const struct client *c, struct connection *k)
{
    (void)c;
    add(k, "{\"receipt\":\"%s\",\"delay\":0}", k->held->receipt);
    send_by_id(k, "POST", "/nack");
}

static void ask_extend(const struct client *c, struct connection *k)
{
    (void)c;
    add(k, "{\"receipt\":\"%s\",\"lease\":60}", k->held->receipt);
    send_by_id(k, "POST", "/extend");
}

static void ask_cancel(const struct client *c, struct connection *k)
{
    (void)c;
    send_by_id(k, "DELETE", "");
}

static void ask_get(const struct client *c, struct connection *k)
{
    (void)c;
    send_by_id(k, "GET", "");
}

static void ask_list(const struct client *c, struct connection *k)
{
    (void)c;
    send_request(k, "GET", "/tasks?state=ready&limit=10", "");
}

static void ask_counts(const struct client *c, struct connection *k)
{
    (void)c;
    send_request(k, "GET", "/tasks", "");
}

/* --- answers --- */

static void refuse(const struct connection *k, const char *what)
{
    (void)fprintf(stderr, "queue: %s: %.400s\n", what, k->answer);
    exit(1);
}

/* Copies the next string of that name; returns what is behind it. */
static const char *next_string(const struct connection *k, const char *from, const char *mark, char *out,
                               size_t size)
{
    const char *at = strstr(from, mark);
    if (!at) refuse(k, "an answer without what was expected");
    at += strlen(mark);
    const size_t len = strcspn(at, "\"");
    if (len >= size) refuse(k, "too long");
    memcpy(out, at, len);
    out[len] = '\0';
    return at + len;
}

static void take_id(const struct client *c, struct connection *k)
{
    if (c->batch == 1) (void)next_string(k, k->answer, "\"task_id\":\"", k->held->id, ID_BYTES);
}

static void take_leases(const struct client *c, struct connection *k)
{
    const char *at = k->answer;
    for (size_t i = 0; i < c->batch; i++) {
        at = next_string(k, at, "\"task_id\":\"", k->held[i].id, ID_BYTES);
        at = next_string(k, at, "\"receipt\":\"", k->held[i].receipt, RECEIPT_BYTES);
    }
}

static void take_acks(const struct client *c, struct connection *k)
{
    if (c->batch == 1) return;
    size_t good = 0;
    for (const char *at = k->answer; (at = strstr(at, "\"status\":204")); at++)
        good++;
    if (good != c->batch) refuse(k, "not all were acked");
}

/* Returns true when the answer is complete. */
static bool receive(struct connection *k)
{
    const ssize_t n = recv(k->fd, k->answer + k->len, ANSWER_BYTES - 1 - k->len, 0);
    if (n <= 0) die("answer cut off");
    k->len += (size_t)n;
    k->answer[k->len] = '\0';
    if (k->total == 0) {
        const char *end = strstr(k->answer, "\r\n\r\n"), *length = strstr(k->answer, "Content-Length: ");
        if (!end) return false;
        k->total = (size_t)(end + 4 - k->answer);
        if (length && length < end) k->total += strtoul(length + 16, NULL, 10);
        if (k->total >= ANSWER_BYTES) refuse(k, "too long");
    }
    return k->len >= k->total;
}

/* --- operations --- */

static const struct operation ENQUEUE = {"enqueue", 201, ask_enqueue, take_id};
static const struct operation DEQUEUE = {"dequeue", 200, ask_dequeue, take_leases};
static const struct operation ACK = {"ack", 204, ask_ack, take_acks};
static const struct operation ACKS = {"ack", 200, ask_ack, take_acks};
static const struct operation NACK = {"nack", 204, ask_nack, NULL};
static const struct operation EXTEND = {"extend", 200, ask_extend, NULL};
static const struct operation CANCEL = {"cancel", 204, ask_cancel, NULL};
static const struct operation GET = {"get", 200, ask_get, NULL};
static const struct operation LIST = {"list", 200, ask_list, NULL};
static const struct operation COUNTS = {"counts", 200, ask_counts, NULL};

/* --- the loop --- */

static void connect_all(struct client *c, uint16_t port)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->connections = allocate(c->connection_count, sizeof *c->connections);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0) die("epoll_create1");
    for (size_t i = 0; i < c->connection_count; i++) {
        struct connection *k = &c->connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
        k->request = allocate(1, REQUEST_BYTES);
        k->answer = allocate(1, ANSWER_BYTES);
        k->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (k->fd < 0 || connect(k->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
            setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
            epoll_ctl(c->epoll, EPOLL_CTL_ADD, k->fd, &event) != 0) {
            die("connect");
        }
    }
}

static void ask(const struct client *c, struct connection *k)
{
    k->asked = k->len = k->total = 0;
    c->steps[k->step]->ask(c, k);
}

static void begin(struct client *c, struct connection *k)
{
    if (c->begun == c->count) return;
    const size_t place = c->keeps ? c->begun : (size_t)(k - c->connections);
    k->held = &c->held[place * c->batch];
    k->step = 0;
    c->begun++;
    ask(c, k);
}

static void proceed(struct client *c, struct connection *k)
{
    const struct operation *operation = c->steps[k->step];
    const long status = strtol(k->answer + strlen("HTTP/1.1 "), NULL, 10);
    /* 200 where the daemon had to repeat an enqueue: by then the ids are known. */
    if (status != operation->status && !(operation == &ENQUEUE && status == 200)) refuse(k, operation->name);
    if (operation->take) operation->take(c, k);
    if (++k->step < c->step_count) {
        ask(c, k);
        return;
    }
    c->done++;
    begin(c, k);
}

/* `count` jobs, each of these steps. */
static void run(struct client *c, const struct operation *const *steps, size_t step_count)
{
    c->steps = steps;
    c->step_count = step_count;
    c->begun = c->done = 0;
    for (size_t i = 0; i < c->connection_count; i++)
        begin(c, &c->connections[i]);
    while (c->done < c->count) {
        struct epoll_event events[EVENTS];
        const int n = epoll_wait(c->epoll, events, EVENTS, STALL_MS);
        if (n == 0) {
            errno = ETIMEDOUT;
            die("no answer");
        }
        for (int i = 0; i < n; i++) {
            struct connection *k = &c->connections[events[i].data.u64];
            if (receive(k)) proceed(c, k);
        }
    }
}

/* --- phases --- */

/* CPU time of all threads of a process. */
static uint64_t used_ns(pid_t pid)
{
    char path[320];
    uint64_t sum = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *directory = opendir(path);
    if (!directory) die(path);
    /* cppcheck-suppress readdirCalled; glibc: safe on a stream of its own, and readdir_r is deprecated */
    for (const struct dirent *e = readdir(directory); e; e = readdir(directory)) {
        char line[128] = "";
        if (e->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
        FILE *file = fopen(path, "re");
        if (!file) continue; /* it has ended meanwhile */
        if (fgets(line, sizeof line, file)) sum += strtoull(line, NULL, 10);
        (void)fclose(file);
    }
    (void)closedir(directory);
    return sum;
}

static uint64_t all_used_ns(const struct client *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->pid_count; i++)
        sum += used_ns(c->pids[i]);
    return sum;
}

static void run_phases(struct client *c, const char *agent)
{
    static const struct {
        const struct operation *operation;
        bool by_agent;
        const char *name; /* NULL: the operation's; "" it is not measured */
    } PHASES[] = {
        {&ENQUEUE, false, NULL},
        {&GET, false, NULL},
        {&LIST, false, NULL},
        {&COUNTS, false, NULL},
        {&CANCEL, false, NULL},
        {&ENQUEUE, false, ""},
        {&DEQUEUE, false, NULL},
        {&EXTEND, false, NULL},
        {&NACK, false, NULL},
        {&DEQUEUE, false, ""},
        {&ACK, false, NULL},
        {&ENQUEUE, true, "enqueue-agent"},
        {&DEQUEUE, true, "dequeue-agent"},
        {&NACK, true, "nack-agent"},
        {&DEQUEUE, true, ""},
        {&ACK, true, ""},
    };
    for (size_t i = 0; i < sizeof PHASES / sizeof PHASES[0]; i++) {
        const char *name = PHASES[i].name ? PHASES[i].name : PHASES[i].operation->name;
        c->agent = PHASES[i].by_agent ? agent : "";
        const uint64_t before = all_used_ns(c);
        run(c, &PHASES[i].operation, 1);
        if (*name) printf("%s %llu\n", name, (unsigned long long)((all_used_ns(c) - before) / c->count));
    }
}

/* --- the whole --- */

static size_t number(const char *text, size_t max)
{
    char *end = NULL;
    const unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value == 0 || value > max) {
        (void)fprintf(stderr, "queue: not a number from 1 to %zu: %s\n", max, text);
        exit(2);
    }
    return value;
}

static void read_options(struct client *c, int argc, char **argv)
{
    for (int option = getopt(argc, argv, "a:b:c:n:p:"); option != -1;
         option = getopt(argc, argv, "a:b:c:n:p:")) {
        if (option == 'a')
            c->agent = optarg;
        else if (option == 'b')
            c->batch = number(optarg, BATCH_MAX);
        else if (option == 'c')
            c->connection_count = number(optarg, CONNECTIONS_MAX);
        else if (option == 'n')
            c->count = number(optarg, 100000000);
        else if (option == 'p' && c->pid_count < PIDS_MAX)
            c->pids[c->pid_count++] = (pid_t)number(optarg, INT32_MAX);
        else
            exit(2);
    }
    if (argc - optind == 2 && c->count > 0) return;
    (void)fprintf(stderr, "usage: queue [-c CONNECTIONS] [-b BATCH] [-a AGENT] [-p PID]... -n COUNT "
                          "cycle|fill|phases PORT\n");
    exit(2);
}

int main(int argc, char **argv)
{
    struct client c = {.connection_count = 1, .batch = 1, .agent = ""};
    read_options(&c, argc, argv);
    const char *mode = argv[optind];
    const struct operation *const cycle[] = {&ENQUEUE, &DEQUEUE, c.batch > 1 ? &ACKS : &ACK};
    c.keeps = strcmp(mode, "phases") == 0;
    if (c.keeps) c.batch = 1;
    c.held = allocate((c.keeps ? c.count : c.connection_count) * c.batch, sizeof *c.held);
    connect_all(&c, (uint16_t)number(argv[optind + 1], UINT16_MAX));
    const int64_t start_us = now_us();
    if (c.keeps)
        run_phases(&c, *c.agent ? c.agent : "x");
    else
        run(&c, cycle, strcmp(mode, "fill") == 0 ? 1 : 3);
    if (!c.keeps) printf("tasks=%zu us=%lld\n", c.count * c.batch, (long long)(now_us() - start_us));
    for (size_t i = 0; i < c.connection_count; i++) {
        free(c.connections[i].request);
        free(c.connections[i].answer);
    }
    free(c.connections);
    free(c.held);
    return 0;
}
