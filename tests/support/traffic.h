/* traffic: clients that read, write and delete cache values without pause and know what each answer may be.
 * Every key belongs to one thread, so what it must hold is known: the last acknowledged write. A value names
 * its key and its number, so another request's answer, or an older one, is recognised. The first wrong or
 * late answer fails the test at traffic_stop. */
#ifndef TESTS_SUPPORT_TRAFFIC_H
#define TESTS_SUPPORT_TRAFFIC_H

#include "load.h"
#include "resp.h"

struct traffic;

struct traffic_options {
    int port;
    unsigned threads;    /* 0: 8 */
    unsigned keys;       /* of each thread; 0: 16 */
    int64_t deadline_ms; /* 0: 1000, http.deadline_ms */
};

struct traffic *traffic_start(const struct traffic_options *options);
/* Waits for so many more requests. */
void traffic_run(struct traffic *t, uint64_t requests);
/* Ends the clients and judges what they saw. */
void traffic_stop(struct traffic *t);
/* After traffic_stop: Redis holds what was acknowledged, with the TTL that is left, and nothing that was
 * deleted. Text about the first difference, or "". */
const char *traffic_difference(struct traffic *t, struct resp_client *r, char *out, size_t size);
/* After traffic_stop: waits up to `ms` (scaled) for no difference. */
void traffic_expect_in_redis(struct traffic *t, struct resp_client *r, int ms);
void traffic_destroy(struct traffic **t);

#endif
