/* app_machine: what this host or container grants, and the service manager's socket. */
#ifndef PHOENIX_APP_MACHINE_H
#define PHOENIX_APP_MACHINE_H

#include <stdint.h>

/* min(2, CPUs of the affinity mask, the cgroup's cpu.max rounded up). */
unsigned machine_workers(void);
/* The cgroup's memory limit in bytes; 0 where there is none. */
int64_t machine_memory_limit(void);
/* Tells systemd (sd_notify(3)); nothing without NOTIFY_SOCKET. */
void machine_notify(const char *state);

#endif
