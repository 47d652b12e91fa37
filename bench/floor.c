/* floor: the least an HTTP answer costs with the libraries that the daemon uses. One libuv loop watches the
 * epoll descriptor of one libmicrohttpd daemon; every GET gets the same 1 KiB body from one kept response
 * with a content type and nothing else. No routing, no look-up, no header is read. `make bench` divides the
 * daemon's CPU per request by this one's. One thread; SIGTERM ends it.
 * Usage: floor PORT */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { BODY_BYTES = 1024, POOL_BYTES = 8192, CONNECTIONS_MAX = 1024 };

struct floor {
    struct MHD_Daemon *daemon;
    struct MHD_Response *response;
    uv_loop_t loop;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_signal_t term;
};

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **request)
{
    static int seen;
    struct floor *f = cls;
    (void)url;
    (void)method;
    (void)version;
    (void)upload_data;
    (void)upload_data_size;
    if (*request == NULL) { /* answered on the first call, libmicrohttpd would close the connection */
        *request = &seen;
        return MHD_YES;
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, f->response);
}

static void on_timer(uv_timer_t *timer);

/* Its epoll set is edge-triggered inside: it has to run as long as it says that it has work. */
static void run(struct floor *f)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    enum MHD_Result has_timeout = MHD_NO;
    do {
        MHD_run(f->daemon);
        has_timeout = MHD_get_timeout(f->daemon, &wait_ms);
    } while (has_timeout == MHD_YES && wait_ms == 0);
    if (has_timeout == MHD_YES && !uv_is_active((uv_handle_t *)&f->timer)) {
        uv_timer_start(&f->timer, on_timer, wait_ms, 0);
    }
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

static void on_term(uv_signal_t *term, int signum)
{
    (void)signum;
    uv_stop(term->loop);
}

static bool start(struct floor *f, uint16_t port)
{
    static char body[BODY_BYTES];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(body, 'x', sizeof body);
    f->response = MHD_create_response_from_buffer(sizeof body, body, MHD_RESPMEM_PERSISTENT);
    if (f->response == NULL ||
        MHD_add_response_header(f->response, "Content-Type", "application/json") == MHD_NO) {
        return false;
    }
    f->daemon =
        MHD_start_daemon(MHD_USE_EPOLL, port, NULL, NULL, on_request, f, MHD_OPTION_SOCK_ADDR,
                         (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_END);
    if (f->daemon == NULL) return false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(f->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_loop_init(&f->loop) != 0) return false;
    f->poll.data = f->timer.data = f;
    return uv_poll_init(&f->loop, &f->poll, info->epoll_fd) == 0 && uv_timer_init(&f->loop, &f->timer) == 0 &&
           uv_signal_init(&f->loop, &f->term) == 0 && uv_signal_start(&f->term, on_term, SIGTERM) == 0 &&
           uv_poll_start(&f->poll, UV_READABLE, on_ready) == 0;
}

int main(int argc, char **argv)
{
    static struct floor f;
    const long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    if (port < 1 || port > UINT16_MAX) {
        (void)fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    if (!start(&f, (uint16_t)port)) {
        (void)fprintf(stderr, "floor: cannot serve on port %ld\n", port);
        return 1;
    }
    uv_run(&f.loop, UV_RUN_DEFAULT);
    MHD_stop_daemon(f.daemon);
    MHD_destroy_response(f.response);
    return 0;
}
