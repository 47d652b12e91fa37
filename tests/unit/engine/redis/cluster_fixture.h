/* cluster_fixture: nodes of a cluster that say what the test has them say, on the loop of what is tested. A
 * node counts commands, by name, and answers CLUSTER SLOTS from a list of ranges of its own. */
#ifndef PHOENIX_TESTS_CLUSTER_FIXTURE_H
#define PHOENIX_TESTS_CLUSTER_FIXTURE_H

#include "redis_fixture.h"

#include "engine/redis/slot.h"
#include "engine/redis/topology_private.h"

enum { FAKES = 4, FAKE_PEERS = 24, RANGES = 70 };

struct fake_range {
    int first, last;
    const char *host; /* NULL: a null reply */
    int port;
};

struct cluster_fixture;
struct fake_node;

struct fake_peer {
    struct fake_node *node;
    struct loop_io *io;
    int fd;
    size_t len;
    char *in;
};

struct fake_node {
    struct cluster_fixture *f;
    int index, port, listener;
    struct loop_io *listener_io;
    struct fake_peer peers[FAKE_PEERS];
    unsigned accepted;
    bool failing, silent; /* silent: takes commands and answers none of them */
    unsigned long long epoch;
    struct fake_range ranges[RANGES];
    unsigned range_count;
    /* NULL, or its answer NULL: the usual one; "": none. */
    const char *(*script)(struct fake_node *n, const struct resp_value *command);
    char log[PEER_LOG_MAX];
    size_t log_len;
};

struct cluster_fixture {
    struct loop_fixture on;
    struct fake_node nodes[FAKES];
    struct redis_url url;
    struct redis_topology *topology;
    struct metrics *metrics;
    struct metrics_cell *cell;
};

static inline unsigned fake_saw(const struct fake_node *n, const char *start)
{
    unsigned count = 0;
    for (const char *line = n->log; *line; line = strchr(line, '\n') + 1)
        count += strncmp(line, start, strlen(start)) == 0;
    return count;
}

static inline const char *fake_slots(const struct fake_node *n)
{
    static char text[32768];
    size_t len = (size_t)snprintf(text, sizeof text, "*%u\r\n", n->range_count);
    for (unsigned i = 0; i < n->range_count; i++) {
        const struct fake_range *r = &n->ranges[i];
        char host[300];
        if (r->host)
            FORMAT(host, "$%zu\r\n%s\r\n", strlen(r->host), r->host);
        else
            FORMAT(host, "$-1\r\n");
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "*3\r\n:%d\r\n:%d\r\n*4\r\n%s:%d\r\n$2\r\nid\r\n*0\r\n", r->first, r->last,
                                host, r->port);
    }
    return text;
}

static inline const char *fake_reply(struct fake_node *n, const struct resp_value *command)
{
    static char text[256];
    char info[128];
    if (n->script) {
        const char *reply = n->script(n, command);
        if (reply) return reply;
    }
    if (command_is2(command, "CLUSTER", "SLOTS")) return fake_slots(n);
    if (command_is2(command, "CLUSTER", "INFO"))
        FORMAT(info, "cluster_state:%s\r\ncluster_current_epoch:%llu\r\n", n->failing ? "fail" : "ok",
               n->epoch);
    else if (command_is(command, "INFO"))
        FORMAT(info, "run_id:run-%d\r\n", n->index);
    else if (command_is(command, "GET"))
        FORMAT(info, "%d", n->index);
    else if (command_is2(command, "CLIENT", "ID"))
        return ":7\r\n";
    else if (command_is(command, "PING"))
        return "+PONG\r\n";
    else if (command_is(command, "TIME"))
        return "*2\r\n$10\r\n2000000000\r\n$6\r\n500000\r\n";
    else if (command_is(command, "SUBSCRIBE"))
        return "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n";
    else
        return "+OK\r\n";
    return FORMAT(text, "$%zu\r\n%s\r\n", strlen(info), info);
}

static inline void fake_hang_up(struct fake_peer *p)
{
    loop_io_destroy(&p->io);
    if (p->fd >= 0) (void)close(p->fd);
    p->fd = -1;
}

static inline void on_fake_peer(void *arg, int events)
{
    struct fake_peer *p = arg;
    struct fake_node *n = p->node;
    (void)events;
    ssize_t got = recv(p->fd, p->in + p->len, PEER_IN_MAX - p->len, 0);
    if (got <= 0) {
        fake_hang_up(p);
        return;
    }
    p->len += (size_t)got;
    struct resp_value command;
    size_t used = 0;
    while (p->fd >= 0 && resp_parse(p->in, p->len, &command, &used) > 0) {
        for (size_t i = 0; i < command.count && n->log_len + 128 < sizeof n->log; i++)
            n->log_len +=
                (size_t)snprintf(n->log + n->log_len, 64, "%s%.50s", i ? " " : "", command.items[i].text);
        n->log[n->log_len++] = '\n';
        const char *reply = n->silent ? "" : fake_reply(n, &command);
        size_t len = strlen(reply);
        if (len) ck_assert_int_eq(send(p->fd, reply, len, MSG_NOSIGNAL), (ssize_t)len);
        resp_release(&command);
        memmove(p->in, p->in + used, p->len - used);
        p->len -= used;
    }
}

static inline void on_fake_accept(void *arg, int events)
{
    struct fake_node *n = arg;
    (void)events;
    struct fake_peer *p = NULL;
    for (unsigned i = 0; i < FAKE_PEERS && !p; i++)
        if (!n->peers[i].io) p = &n->peers[i];
    ck_assert_ptr_nonnull(p);
    p->fd = accept(n->listener, NULL, NULL);
    if (p->fd < 0) return;
    int on = 1;
    (void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    p->node = n;
    p->len = 0;
    if (!p->in) p->in = must_alloc(PEER_IN_MAX);
    n->accepted++;
    p->io = loop_io_create(n->f->on.loop, p->fd, LOOP_READ, on_fake_peer, p);
}

static inline void fake_start(struct fake_node *n)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int on = 1;
    at.sin_port = htons((uint16_t)n->port);
    n->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)setsockopt(n->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(n->listener, (struct sockaddr *)&at, len), 0);
    ck_assert_int_eq(listen(n->listener, 64), 0);
    ck_assert_int_eq(getsockname(n->listener, (struct sockaddr *)&at, &len), 0);
    n->port = ntohs(at.sin_port);
    n->listener_io = loop_io_create(n->f->on.loop, n->listener, LOOP_READ, on_fake_accept, n);
}

static inline void fake_kill(struct fake_node *n)
{
    loop_io_destroy(&n->listener_io);
    if (n->listener >= 0) (void)close(n->listener);
    n->listener = -1;
    for (unsigned i = 0; i < FAKE_PEERS; i++)
        if (n->peers[i].io) fake_hang_up(&n->peers[i]);
}

/* What node `n` says: `owner` has all from `first` to `last`. */
static inline void fake_range(struct fake_node *n, int first, int last, const char *host, int port)
{
    ck_assert_uint_lt(n->range_count, RANGES);
    n->ranges[n->range_count++] = (struct fake_range){first, last, host, port};
}

/* All nodes say: all slots are `owner`'s. */
static inline void fake_all_say(struct cluster_fixture *f, int owner)
{
    for (int i = 0; i < FAKES; i++) {
        f->nodes[i].range_count = 0;
        fake_range(&f->nodes[i], 0, REDIS_SLOTS - 1, "127.0.0.1", f->nodes[owner].port);
    }
}

static const char *const fake_label_values[] = {"0", "1", "2", "3", "4", "5", "6", "7"};

/* Seeds are the first `seeds` nodes; all slots are the first node's. */
static inline void cluster_fixture_open(struct cluster_fixture *f, unsigned seeds)
{
    struct metrics_labels labels;
    for (size_t i = 0; i < LABEL_COUNT; i++) {
        labels.name[i] = "label";
        labels.values[i] = fake_label_values;
        labels.count[i] = 8;
    }
    memset(f, 0, sizeof *f);
    loop_fixture_open(&f->on);
    f->metrics = metrics_create(&labels);
    f->cell = metrics_cell(f->metrics);
    f->url.kind = REDIS_CLUSTER;
    for (int i = 0; i < FAKES; i++) {
        f->nodes[i].f = f;
        f->nodes[i].index = i;
        f->nodes[i].epoch = 1;
        fake_start(&f->nodes[i]);
        if ((unsigned)i >= seeds) continue;
        struct redis_address *seed = &f->url.seeds[f->url.seed_count++];
        FORMAT(seed->host, "127.0.0.1");
        seed->port = f->nodes[i].port;
    }
    fake_all_say(f, 0);
    struct redis_topology_options options = topology_options(&f->url, &f->on.clock, 250);
    f->topology = topology_open(&options);
}

static inline void cluster_fixture_close(struct cluster_fixture *f)
{
    for (int i = 0; i < FAKES; i++)
        fake_kill(&f->nodes[i]);
    loop_fixture_close(&f->on);
    redis_topology_destroy(&f->topology);
    metrics_destroy(&f->metrics);
    for (int i = 0; i < FAKES; i++)
        for (unsigned p = 0; p < FAKE_PEERS; p++)
            free(f->nodes[i].peers[p].in);
}

/* A counter's value now, of the label's value `i`. */
static inline unsigned long fixture_count(struct cluster_fixture *f, const char *name, unsigned i)
{
    struct buf text = {0};
    char series[128];
    metrics_render(f->metrics, &text);
    buf_append_char(&text, 0);
    const char *at = strstr(text.ptr, FORMAT(series, "\n%s{label=\"%u\"} ", name, i));
    unsigned long value = at ? strtoul(at + strlen(series), NULL, 10) : 0;
    buf_deinit(&text);
    return value;
}

static inline int port_of(struct cluster_fixture *f, struct slice key)
{
    struct redis_address at;
    redis_node_address(redis_topology_node(f->topology, key), &at);
    return at.port;
}

#endif
