/* delivery: how long a task takes from the enqueue that is sent to the waiting dequeue that has it. Each
 * round: one connection asks with `wait`, another one enqueues a 100-byte payload as soon as that one waits,
 * the first one takes the answer and acks. `-w WAITERS` more wait for another agent meanwhile. `-d PORT`:
 * enqueue at another daemon. Prints one line of name=value (microseconds). Usage: delivery [-w WAITERS] [-d
 * PORT] -n ROUNDS PORT */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 8192, SETTLE_US = 3000, WAITERS_MAX = 900 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long number(const char *text)
{
    return strtol(text, NULL, 10);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void ask(int fd, const char *path, const char *body)
{
    char text[1024];
    int len =
        snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                 path, strlen(body), body);
    if (write(fd, text, (size_t)len) != len) fail("write");
}

/* Reads one answer; its status. */
static int answer(int fd, char text[ANSWER_BYTES])
{
    size_t len = 0, total = 0;
    while (total == 0 || len < total) {
        ssize_t n = read(fd, text + len, ANSWER_BYTES - 1 - len);
        if (n <= 0) fail("read");
        len += (size_t)n;
        text[len] = 0;
        const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        if (end && total == 0)
            total = (size_t)(end + 4 - text) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
    }
    return (int)number(text + strlen("HTTP/1.1 "));
}

static void value(const char *text, const char *name, char out[128])
{
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\":\"", name);
    const char *at = strstr(text, mark);
    if (!at) exit(1);
    at += strlen(mark);
    snprintf(out, 128, "%.*s", (int)strcspn(at, "\""), at);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    long rounds = 0, waiters = 0;
    int option, enqueue_port = 0;
    while ((option = getopt(argc, argv, "n:w:d:")) != -1) {
        if (option == 'n') rounds = number(optarg);
        if (option == 'w') waiters = number(optarg);
        if (option == 'd') enqueue_port = (int)number(optarg);
    }
    if (optind >= argc || rounds < 1 || waiters > WAITERS_MAX) {
        fprintf(stderr, "usage: delivery [-w WAITERS] [-d PORT] -n ROUNDS PORT\n");
        return 2;
    }
    int port = (int)number(argv[optind]);
    static char text[ANSWER_BYTES];
    char id[128], receipt[128], path[256], body[256];
    for (long i = 0; i < waiters; i++)
        ask(connect_to(port), "/tasks/dequeue", "{\"agent\":\"nobody\",\"wait\":60}");
    int taker = connect_to(port), giver = connect_to(enqueue_port ? enqueue_port : port);
    int64_t *took = calloc((size_t)rounds, sizeof *took);
    if (!took) fail("calloc");
    for (long i = 0; i < rounds; i++) {
        ask(taker, "/tasks/dequeue", "{\"agent\":\"x\",\"wait\":60}");
        usleep(SETTLE_US);
        int64_t begin = now_us();
        ask(giver, "/tasks",
            "{\"agent\":\"x\",\"payload\":"
            "\"0123456789012345678901234567890123456789012345678901234567890123456789"
            "0123456789012345678901234567\"}");
        if (answer(taker, text) != 200) exit(1);
        took[i] = now_us() - begin;
        value(text, "task_id", id);
        value(text, "receipt", receipt);
        if (answer(giver, text) != 201) exit(1);
        snprintf(path, sizeof path, "/tasks/%s/ack", id);
        snprintf(body, sizeof body, "{\"receipt\":\"%s\"}", receipt);
        ask(taker, path, body);
        if (answer(taker, text) != 204) exit(1);
    }
    qsort(took, (size_t)rounds, sizeof *took, compare);
    printf("rounds=%ld p50=%lld p99=%lld max=%lld\n", rounds, (long long)took[rounds / 2],
           (long long)took[rounds * 99 / 100], (long long)took[rounds - 1]);
    free(took);
    return 0;
}
