/* redis_proxy: a TCP relay in front of a real server, in a thread of its own, that can behave as a broken
 * network. All functions may be called by any thread. */
#ifndef TESTS_SUPPORT_REDIS_PROXY_H
#define TESTS_SUPPORT_REDIS_PROXY_H

#include <stdbool.h>

struct redis_proxy;

struct redis_proxy *redis_proxy_start(int upstream_port);
void redis_proxy_stop(struct redis_proxy **p);
int redis_proxy_port(const struct redis_proxy *p);
const char *redis_proxy_url(const struct redis_proxy *p);

/* Black-holes the connections that are open now: bytes are accepted and kept, in both directions, also after
 * the client has closed its end. */
void redis_proxy_hold(struct redis_proxy *p);
/* New connections too are black-holed from their first byte, or no more. */
void redis_proxy_hold_new(struct redis_proxy *p, bool on);
/* Delivers what is held and relays again, all connections. */
void redis_proxy_lift(struct redis_proxy *p);
/* New connections go to another server. */
void redis_proxy_lead_to(struct redis_proxy *p, int upstream_port);
/* New connections are reset. */
void redis_proxy_refuse(struct redis_proxy *p, bool on);
/* Resets the connections that are open now. */
void redis_proxy_cut(struct redis_proxy *p);
/* Replies are relayed so much later. */
void redis_proxy_delay(struct redis_proxy *p, int ms);

unsigned redis_proxy_accepted(struct redis_proxy *p);   /* ever */
unsigned redis_proxy_open(struct redis_proxy *p);       /* client ends open now */
unsigned redis_proxy_held_bytes(struct redis_proxy *p); /* towards the server */

#endif
