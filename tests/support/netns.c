/* netns: veth pairs made by ip(8); a descriptor keeps each namespace. */
#include "netns.h"
#include "process.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IP_MS = 10000, COMMANDS_MAX = 1024 };

struct netns {
    int fd;
    bool cut;
    char link[16]; /* the bridge's end of its cable */
    char address[32];
};

static int hub = -1; /* the namespace with the bridge */

/* Runs lines of ip(8) where the main thread is. */
static bool try_ip(const char *lines)
{
    char path[TEST_PATH_MAX];
    char log[TEST_PATH_MAX];
    scratch_write(scratch_path(path, "ip.batch"), lines);
    const char *argv[] = {"/sbin/ip", "-batch", path, NULL};
    return process_run(argv, NULL, IP_MS, NULL, scratch_path(log, "ip.log")) == 0;
}

static void ip(const char *lines)
{
    ck_assert_msg(try_ip(lines), "ip -batch failed: %s", lines);
}

static int current(void)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "/proc/thread-self/ns/net: %s", strerror(errno));
    return fd;
}

static bool skip(const char *what, const char *why)
{
    (void)printf("skipped: no network namespaces here: %s: %s\n", what, why);
    (void)fflush(stdout);
    return false;
}

bool netns_begin(void)
{
    ck_assert_int_lt(hub, 0);
    if (access("/sbin/ip", X_OK) != 0) return skip("/sbin/ip", strerror(errno));
    if (unshare(CLONE_NEWNET) != 0) return skip("unshare", strerror(errno));
    if (!try_ip("link set lo up\nlink add br0 type bridge\naddr add 10.77.0.1/24 dev br0\nlink set br0 up\n"))
        return skip("ip", "no bridge");
    hub = current();
    return true;
}

struct netns *netns_create(void)
{
    static int serial;
    char commands[COMMANDS_MAX];
    struct netns *n = must_alloc(sizeof *n);
    ck_assert_int_ge(hub, 0);
    FORMAT(n->link, "host%d", ++serial);
    FORMAT(n->address, "10.77.0.%d", serial + 1);
    ck_assert_msg(unshare(CLONE_NEWNET) == 0, "unshare: %s", strerror(errno));
    n->fd = current();
    netns_leave();
    ip(FORMAT(commands,
              "link add %s type veth peer name eth0 netns /proc/%d/fd/%d\nlink set %s master br0 up\n",
              n->link, (int)getpid(), n->fd, n->link));
    netns_enter(n);
    ip(FORMAT(commands,
              "link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\n"
              "route add default via 10.77.0.1\n",
              n->address));
    netns_leave();
    return n;
}

void netns_destroy(struct netns **n)
{
    if (*n == NULL) return;
    (void)close((*n)->fd);
    free(*n);
    *n = NULL;
}

const char *netns_address(const struct netns *n)
{
    return n->address;
}

void netns_cut(struct netns *n)
{
    char command[64];
    ip(FORMAT(command, "link set %s down\n", n->link));
    n->cut = true;
}

void netns_join(struct netns *n)
{
    char command[64];
    ip(FORMAT(command, "link set %s up\n", n->link));
    n->cut = false;
}

bool netns_is_cut(const struct netns *n)
{
    return n->cut;
}

static void move_to(int fd)
{
    ck_assert_msg(setns(fd, CLONE_NEWNET) == 0, "setns: %s", strerror(errno));
}

void netns_enter(const struct netns *n)
{
    move_to(n->fd);
}

void netns_leave(void)
{
    move_to(hub);
}
