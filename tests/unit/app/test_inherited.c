/* Which of the service manager's sockets is for what, and what is refused. */
#include "../../support/support.h"
#include "app_inherited.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST = 200, SELF = 4711 }; /* descriptors that nothing else has */

static char error[256];

static void put_tcp(int fd)
{
    int s = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(s, 0);
    ck_assert_int_eq(listen(s, 8), 0);
    ck_assert_int_eq(dup2(s, fd), fd);
    close(s);
}

static void put_unix(int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_ge(s, 0);
    ck_assert_int_eq(bind(s, (struct sockaddr *)&address, sizeof(sa_family_t)),
                     0); /* a name of the kernel's */
    ck_assert_int_eq(listen(s, 8), 0);
    ck_assert_int_eq(dup2(s, fd), fd);
    close(s);
}

static void put_datagram(int fd)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(dup2(s, fd), fd);
    close(s);
}

static bool read_as(const char *pid, const char *fds, const char *names, struct inherited *out)
{
    struct inherited_env env = {pid, fds, names};
    error[0] = 0;
    return inherited_read(&env, SELF, FIRST, out, error, sizeof error);
}

static void expect(const struct inherited *in, int api, int admin, int un)
{
    ck_assert_int_eq(in->fd[INHERITED_API], api);
    ck_assert_int_eq(in->fd[INHERITED_ADMIN], admin);
    ck_assert_int_eq(in->fd[INHERITED_UNIX], un);
}

START_TEST(sockets_are_sorted_by_name)
{
    struct inherited in;
    put_tcp(FIRST);
    put_unix(FIRST + 1);
    put_tcp(FIRST + 2);
    ck_assert_msg(read_as("4711", "3", "admin:unix:api", &in), "%s", error);
    expect(&in, FIRST + 2, FIRST, FIRST + 1);
    for (int fd = FIRST; fd < FIRST + 3; fd++) {
        ck_assert((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        ck_assert((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
}
END_TEST

START_TEST(one_unit_may_hold_both_of_the_api)
{
    struct inherited in;
    put_tcp(FIRST);
    put_unix(FIRST + 1);
    ck_assert_msg(read_as("4711", "2", "api:api", &in), "%s", error);
    expect(&in, FIRST, -1, FIRST + 1);
    ck_assert_msg(read_as("4711", "2", NULL, &in), "%s", error);
    expect(&in, FIRST, -1, FIRST + 1);
}
END_TEST

START_TEST(what_is_not_for_us_is_left_alone)
{
    static const struct {
        const char *pid, *fds;
    } cases[] = {{NULL, NULL}, {"4711", NULL}, {NULL, "1"},  {"4712", "1"},
                 {"", "1"},    {"4711x", "1"}, {"4711", "0"}};
    put_tcp(FIRST);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct inherited in;
        ck_assert_msg(read_as(cases[i].pid, cases[i].fds, NULL, &in), "%zu: %s", i, error);
        expect(&in, -1, -1, -1);
    }
    ck_assert_int_eq(fcntl(FIRST, F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

START_TEST(what_would_leave_clients_hanging_is_refused)
{
    static const struct {
        const char *fds, *names, *said;
    } cases[] = {
        {"x", "api", "LISTEN_FDS"},
        {"-1", "api", "LISTEN_FDS"},
        {"100000", "api", "LISTEN_FDS"},
        {"1", "phoenix.socket", "named phoenix.socket"},
        {"1", "ap", "named ap"},
        {"2", "api", "two inherited sockets are for api"}, /* the second has no name */
        {"2", "api:api", "two inherited sockets are for api"},
        {"1", "unix", "no listening Unix socket"},
        {"3", "api:admin:unix", "no listening Unix socket"},
    };
    put_tcp(FIRST);
    put_tcp(FIRST + 1);
    put_datagram(FIRST + 2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct inherited in = {{7, 7, 7}};
        ck_assert_msg(!read_as("4711", cases[i].fds, cases[i].names, &in), "%zu", i);
        ck_assert_msg(strstr(error, cases[i].said) != NULL, "%zu: %s", i, error);
        expect(&in, 7, 7, 7);
    }
}
END_TEST

START_TEST(an_admin_socket_is_tcp_and_listens)
{
    struct inherited in;
    put_unix(FIRST);
    ck_assert(!read_as("4711", "1", "admin", &in));
    ck_assert_ptr_nonnull(strstr(error, "no listening TCP socket"));
    put_datagram(FIRST);
    ck_assert(!read_as("4711", "1", "admin", &in));
    close(FIRST);
    ck_assert(!read_as("4711", "1", "admin", &in));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inherited");
    TCase *tc = test_case(suite, "sockets", 10);
    tcase_add_test(tc, sockets_are_sorted_by_name);
    tcase_add_test(tc, one_unit_may_hold_both_of_the_api);
    tcase_add_test(tc, what_is_not_for_us_is_left_alone);
    tcase_add_test(tc, what_would_leave_clients_hanging_is_refused);
    tcase_add_test(tc, an_admin_socket_is_tcp_and_listens);
    return test_run(suite);
}
