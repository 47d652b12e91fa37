/* server_inflight: each server takes bytes from the shared count in chunks and hands them out itself, so that
 * the small answers of a busy worker do not make its neighbours fetch the counter's cache line for each one.
 * The shared count is never below what is in use. */
#include "http/server_internal.h"

static bool reserve(struct server *s, size_t bytes)
{
    struct http_shared *shared = s->options.shared;
    size_t before = atomic_fetch_add_explicit(&shared->inflight_bytes, bytes, memory_order_relaxed);
    size_t max = shared->limits.inflight_bytes_max;
    if (before <= max && bytes <= max - before) {
        s->inflight_reserved += bytes;
        return true;
    }
    atomic_fetch_sub_explicit(&shared->inflight_bytes, bytes, memory_order_relaxed);
    return false;
}

bool server_inflight_take(struct server *s, size_t bytes)
{
    size_t spare = s->inflight_reserved - s->inflight_used;
    if (bytes > spare) {
        size_t missing = bytes - spare;
        if (!reserve(s, missing + INFLIGHT_CHUNK) && !reserve(s, missing)) return false;
    }
    s->inflight_used += bytes;
    return true;
}

void server_inflight_force(struct server *s, size_t bytes)
{
    size_t spare = s->inflight_reserved - s->inflight_used;
    if (bytes > spare) {
        atomic_fetch_add_explicit(&s->options.shared->inflight_bytes, bytes - spare, memory_order_relaxed);
        s->inflight_reserved += bytes - spare;
    }
    s->inflight_used += bytes;
}

static void give_back(struct server *s, size_t bytes)
{
    s->inflight_reserved -= bytes;
    atomic_fetch_sub_explicit(&s->options.shared->inflight_bytes, bytes, memory_order_relaxed);
}

void server_inflight_give(struct server *s, size_t bytes)
{
    s->inflight_used -= bytes;
    size_t spare = s->inflight_reserved - s->inflight_used;
    if (spare > (size_t)2 * INFLIGHT_CHUNK) give_back(s, spare - INFLIGHT_CHUNK);
}

void server_inflight_settle(struct server *s)
{
    if (s->inflight_reserved != s->inflight_used) give_back(s, s->inflight_reserved - s->inflight_used);
}
