/* netns: machines of a test's own: network namespaces on one bridge, which can be cut off and joined again.
 * Packets over a cut link vanish without a word, as from a machine that is lost. Main thread only.
 *
 * A namespace has no name and no place in the file system: it lasts as long as the test's process, or what it
 * started there, holds it. So nothing is left behind when a test dies. */
#ifndef TESTS_SUPPORT_NETNS_H
#define TESTS_SUPPORT_NETNS_H

#include <stdbool.h>

struct netns;

/* Moves the test's process to a namespace with a loopback and a bridge of its own (10.77.0.1): what it starts
 * from now on is there. False, and the reason printed, where this machine does not allow it: skip the test.
 * Before the test starts anything else. */
bool netns_begin(void);

/* Another machine on the bridge, with an address and a loopback of its own. */
struct netns *netns_create(void);
/* Its processes are the caller's to end. */
void netns_destroy(struct netns **n);
const char *netns_address(const struct netns *n);

void netns_cut(struct netns *n);
void netns_join(struct netns *n);
bool netns_is_cut(const struct netns *n);

/* Between these two the main thread is on that machine: what it starts and connects to is there. */
void netns_enter(const struct netns *n);
void netns_leave(void);

#endif
