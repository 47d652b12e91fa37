/* pool_retry: a list in no order; the timer stands at the earliest. */
#include "pool_retry.h"

static void on_due(void *arg);

static void arm(struct retry_list *list)
{
    int64_t next = INT64_MAX;
    for (const struct redis_call *call = list->calls; call; call = call->next)
        if (call->retry_us < next) next = call->retry_us;
    loop_timer_stop(&list->timer);
    if (next != INT64_MAX) loop_timer_start(list->loop, &list->timer, next, on_due, list);
}

static void on_due(void *arg)
{
    struct retry_list *list = arg;
    int64_t now = loop_now_us(list->loop);
    struct redis_call *due = NULL, **tail = &due, **at = &list->calls;
    while (*at) {
        struct redis_call *call = *at;
        if (call->retry_us > now) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        call->next = NULL;
        list->count--;
        *tail = call;
        tail = &call->next;
    }
    list->tail = at;
    arm(list); /* before the calls, which may come back */
    while (due) {
        struct redis_call *call = due;
        due = call->next;
        list->again(list->arg, call);
    }
}

bool retry_list_add(struct retry_list *list, struct redis_call *call, int64_t delay_us)
{
    int64_t at_us = loop_now_us(list->loop) + delay_us;
    if (call->tries >= RETRY_TRIES_MAX || list->count >= RETRY_CALLS_MAX || at_us >= call->deadline_us)
        return false;
    call->tries++;
    call->retry_us = at_us;
    call->next = NULL;
    if (!list->calls) list->tail = &list->calls;
    *list->tail = call;
    list->tail = &call->next;
    list->count++;
    if (!loop_timer_running(&list->timer) || list->timer.due_us > at_us)
        loop_timer_start(list->loop, &list->timer, at_us, on_due, list);
    return true;
}

struct redis_call *retry_list_take(struct retry_list *list)
{
    struct redis_call *call = list->calls;
    if (!call) return NULL;
    list->calls = call->next;
    list->count--;
    if (!list->calls) loop_timer_stop(&list->timer);
    return call;
}
