/* server_kept: built answers of hot keys, direct-mapped by the address of the value they show. A slot holds a
 * reference to its response and through it to the value, so that the address cannot be another value's
 * meanwhile. What is past its time is dropped by a sweep, so that an evicted value is not held for long. */
#include "http/server_internal.h"

static struct kept_slot *slot_of(struct server *s, const void *tag, unsigned variant)
{
    uint64_t hash = ((uint64_t)(uintptr_t)tag ^ variant) * UINT64_C(0x9E3779B97F4A7C15);
    return &s->kept[hash >> (64 - KEPT_BITS)];
}

static void drop(struct server *s, struct kept_slot *slot)
{
    if (!slot->response) return;
    MHD_destroy_response(slot->response);
    *slot = (struct kept_slot){0};
    s->kept_count--;
}

static void on_sweep(void *arg)
{
    struct server *s = arg;
    int64_t now = loop_now_us(s->options.loop);
    for (size_t i = 0; i < KEPT_SLOTS; i++)
        if (s->kept[i].response && s->kept[i].until_us <= now) drop(s, &s->kept[i]);
    if (s->kept_count > 0) loop_timer_start(s->options.loop, &s->sweep, now + KEPT_SWEEP_US, on_sweep, s);
}

struct kept_slot *server_kept_find(struct server *s, const void *tag, unsigned variant, int64_t now_us)
{
    struct kept_slot *slot = slot_of(s, tag, variant);
    if (!slot->response || slot->tag != tag || slot->variant != variant) return NULL;
    if (slot->until_us > now_us) return slot;
    drop(s, slot);
    return NULL;
}

void server_kept_store(struct exchange *x, struct MHD_Response *response)
{
    struct server *s = x->server;
    struct kept_slot *slot = slot_of(s, s->keep.tag, s->keep.variant);
    drop(s, slot);
    *slot = (struct kept_slot){.tag = s->keep.tag,
                               .response = response,
                               .until_us = s->keep.until_us,
                               .bytes = x->response_bytes,
                               .variant = s->keep.variant,
                               .http_status = x->http_status};
    s->kept_count++;
    if (!loop_timer_running(&s->sweep)) {
        int64_t due = loop_now_us(s->options.loop) + KEPT_SWEEP_US;
        loop_timer_start(s->options.loop, &s->sweep, due, on_sweep, s);
    }
}

void server_kept_clear(struct server *s)
{
    for (size_t i = 0; i < KEPT_SLOTS; i++)
        drop(s, &s->kept[i]);
}
