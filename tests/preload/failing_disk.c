/* failing_disk: a library that a test loads into the daemon (LD_PRELOAD). While a file of the name
 * $FAILING_DISK.full exists, writes to files at an offset find no room; while $FAILING_DISK.sync exists,
 * syncs fail. SQLite does both through these functions; sockets and logs don't. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int failing(const char *how)
{
    char path[4096];
    const char *name = getenv("FAILING_DISK");
    (void)snprintf(path, sizeof path, "%s.%s", name ? name : "", how);
    return name && access(path, F_OK) == 0;
}

static void count(void)
{
    char path[4096];
    const char *name = getenv("FAILING_DISK");
    (void)snprintf(path, sizeof path, "%s.count", name ? name : "");
    int fd = name ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd < 0) return;
    (void)!write(fd, ".", 1);
    (void)close(fd);
}

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t offset)
{
    if (failing("full")) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return write_at(fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return write_at(fd, bytes, len, offset);
}

static int sync_by(long call, int fd)
{
    count();
    if (failing("sync")) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, fd);
}

int fdatasync(int fd)
{
    return sync_by(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return sync_by(SYS_fsync, fd);
}
