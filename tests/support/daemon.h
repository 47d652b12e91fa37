/* daemon: build/phoenix-cached as a test sees it: a process, two ports, a spool file, a log file. Start and
 * stop belong to the test's main thread. */
#ifndef TESTS_SUPPORT_DAEMON_H
#define TESTS_SUPPORT_DAEMON_H

#include "http_client.h"

#include <sys/types.h>

struct daemon;

struct daemon_options {
    const char *redis_url; /* NULL: embedded */
    const char *const
        *env; /* more "NAME=value", ended by NULL; a later one of a name wins over ports and spool too */
    const char *const *args; /* ended by NULL */
    bool unix_socket;        /* also serves on daemon_socket */
    bool no_wait;            /* returns before /readyz says 200 */
};

/* NULL options: none of them. Fails the test when the daemon is not ready in time. */
struct daemon *daemon_start(const struct daemon_options *options);
/* SIGTERM; fails the test unless it ends with 0. */
void daemon_stop(struct daemon **d);

pid_t daemon_pid(const struct daemon *d);
int daemon_port(const struct daemon *d);
int daemon_admin_port(const struct daemon *d);
const char *daemon_socket(const struct daemon *d);
const char *daemon_spool(const struct daemon *d); /* where its file is unless PHOENIX_SPOOL_PATH was given */

void daemon_signal(struct daemon *d, int signum);
/* Waits for its end; the exit code. For daemons that were told to end. */
int daemon_wait(struct daemon *d, int ms);
/* Forgets a daemon that has ended. */
void daemon_release(struct daemon **d);

struct http_client *daemon_client(const struct daemon *d); /* the caller closes */
bool daemon_ready(const struct daemon *d);                 /* /readyz says 200 */

/* A metric's value now. `series`: name, or name{label="value"}; labels that are not named may say anything:
 * the sum over all that match, 0 where there is none. */
double daemon_metric(const struct daemon *d, const char *series);
/* The sum over all series that begin so. */
double daemon_metric_sum(const struct daemon *d, const char *prefix);

char *daemon_log(const struct daemon *d); /* stderr so far; the caller frees */
bool daemon_log_has(const struct daemon *d, const char *text);
unsigned daemon_log_count(const struct daemon *d, const char *text); /* how often it stands there */
size_t daemon_rss(const struct daemon *d);

/* The environment that a daemon gets from a test: PATH, the sanitizers' options, then `more`. The caller
 * frees the array (not the strings). */
const char **daemon_environment(const char *const *first, const char *const *more);

#endif
