/* test_health_model: random reports, permits, PUTs and jumps of time against a model of the circuit that
 * knows neither JSON nor the code it checks. TEST_SEED repeats a run. */
#include "health_fixture.h"

#include <stdlib.h>
#include <time.h>

enum { STEPS = 4000 };

struct model {
    bool known;
    int64_t failures, opens;
    int64_t open_until, changed; /* 0: none */
    int64_t permits[8];          /* ends; 0: free */
};

static unsigned long seed;
static uint64_t state;

static uint64_t below(uint64_t bound)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % bound;
}

static enum health_circuit model_circuit(const struct model *m, int64_t now)
{
    if (m->open_until == 0) return HEALTH_CLOSED;
    return now < m->open_until ? HEALTH_OPEN : HEALTH_HALF_OPEN;
}

static int model_live(const struct model *m, int64_t now, int64_t *out_soonest)
{
    int live = 0;
    *out_soonest = 0;
    for (int i = 0; i < 8; i++) {
        if (m->permits[i] <= now) continue;
        live++;
        if (*out_soonest == 0 || m->permits[i] < *out_soonest) *out_soonest = m->permits[i];
    }
    return live;
}

/* True: it opens. The time until which it does has jitter; the caller takes it over. */
static bool model_report(struct model *m, bool failure, int64_t now, int64_t started)
{
    enum health_circuit circuit = model_circuit(m, now);
    bool late = started != 0 && m->changed != 0 && started < m->changed;
    m->known = true;
    if (failure) {
        m->failures++;
        if (late || circuit == HEALTH_OPEN) return false;
        if (circuit == HEALTH_CLOSED && m->failures < OPTIONS.failure_threshold) return false;
        m->opens++;
        m->changed = now;
        memset(m->permits, 0, sizeof m->permits);
        return true;
    }
    if (circuit == HEALTH_CLOSED) m->failures = 0;
    if (circuit != HEALTH_HALF_OPEN || late) return false;
    m->failures = m->opens = m->open_until = 0;
    m->changed = now;
    memset(m->permits, 0, sizeof m->permits);
    return false;
}

static bool model_permit(struct model *m, int64_t now, int64_t *out_retry_ms)
{
    int64_t soonest;
    *out_retry_ms = 0;
    enum health_circuit circuit = model_circuit(m, now);
    if (circuit == HEALTH_OPEN) *out_retry_ms = m->open_until - now;
    if (circuit != HEALTH_HALF_OPEN) return circuit == HEALTH_CLOSED;
    if (model_live(m, now, &soonest) >= OPTIONS.probes) {
        *out_retry_ms = soonest - now;
        return false;
    }
    for (int i = 0; i < 8; i++) {
        if (m->permits[i] > now) continue;
        m->permits[i] = now + OPTIONS.probe_ttl_ms;
        break;
    }
    return true;
}

static void check_open_time(const struct model *m, int64_t open_ms)
{
    int64_t wanted = OPTIONS.open_base_ms;
    for (int64_t i = 1; i < m->opens && wanted < OPTIONS.open_max_ms; i++)
        wanted *= 2;
    if (wanted > OPTIONS.open_max_ms) wanted = OPTIONS.open_max_ms;
    ck_assert_msg(open_ms >= wanted * 9 / 10 && open_ms <= wanted * 11 / 10 && open_ms <= OPTIONS.open_max_ms,
                  "open for %lld at opening %lld (TEST_SEED=%lu)", (long long)open_ms, (long long)m->opens,
                  seed);
}

static void agree(const struct model *m, struct slice value, int64_t now, int step)
{
    if (!m->known) {
        ck_assert(value.len == 0);
        return;
    }
    int64_t until = time_member(value, "circuit_open_until");
    int64_t permits = 0, first = 0, soonest;
    struct slice rest = json_member(value, "permits"), permit;
    while (json_element_next(&rest, &permit)) {
        int64_t ms;
        ck_assert(rfc3339_parse(json_string_plain(permit), &ms));
        if (ms > now && permits++ == 0) first = ms;
    }
    ck_assert_msg(number_member(value, "consecutive_failures") == m->failures &&
                      number_member(value, "opens") == m->opens &&
                      (until == -1 ? 0 : until) == m->open_until && permits == model_live(m, now, &soonest) &&
                      first == soonest && health_circuit_of(value, now) == model_circuit(m, now),
                  "step %d at +%lld: %.*s but failures %lld opens %lld until %lld permits %d (TEST_SEED=%lu)",
                  step, (long long)(now - T0), (int)value.len, value.ptr, (long long)m->failures,
                  (long long)m->opens, (long long)m->open_until, model_live(m, now, &soonest), seed);
}

static void step_report(struct model *m, struct buf *value, int64_t now, int step)
{
    char body[80] = "";
    struct record_result out;
    int64_t started = below(3) ? 0 : now - (int64_t)below(4000);
    bool failure = below(5) > 1;
    if (started) {
        char text[RFC3339_SIZE];
        rfc3339_format(started, text);
        snprintf(body, sizeof body, "{\"started_at\":\"%s\"}", text);
    }
    struct record_change change =
        change_at(failure ? HEALTH_FAILURE : HEALTH_SUCCESS, body, now, (unsigned)step);
    ck_assert_int_eq(apply_to(value, &change, &out), RECORD_WRITE);
    ck_assert_int_eq(time_member(buf_slice(value), failure ? "last_failure_at" : "last_success_at"), now);
    if (!model_report(m, failure, now, started)) return;
    m->open_until = time_member(buf_slice(value), "circuit_open_until");
    check_open_time(m, m->open_until - now);
}

static void step_permit(struct model *m, struct buf *value, int64_t now, int step)
{
    struct record_result out;
    int64_t retry_ms;
    struct record_change change = change_at(HEALTH_PERMIT, "", now, (unsigned)step);
    enum health_circuit circuit = model_circuit(m, now);
    bool allowed = model_permit(m, now, &retry_ms);
    enum record_verdict verdict = apply_to(value, &change, &out);
    bool writes = allowed && circuit == HEALTH_HALF_OPEN;
    ck_assert_msg(verdict == (writes ? RECORD_WRITE : RECORD_KEEP), "step %d (TEST_SEED=%lu)", step, seed);
    ck_assert_msg(out.note[HEALTH_NOTE_ALLOWED] == allowed && out.note[HEALTH_NOTE_CIRCUIT] == (int)circuit &&
                      out.note[HEALTH_NOTE_RETRY_AFTER_MS] == retry_ms,
                  "step %d: allowed %d, circuit %d, retry %lld (TEST_SEED=%lu)", step,
                  (int)out.note[HEALTH_NOTE_ALLOWED], (int)out.note[HEALTH_NOTE_CIRCUIT],
                  (long long)out.note[HEALTH_NOTE_RETRY_AFTER_MS], seed);
}

/* Closes it, or opens it by hand. */
static void step_put(struct model *m, struct buf *value, int64_t now, int step)
{
    char body[120], text[RFC3339_SIZE];
    struct record_result out;
    int64_t until = below(2) ? 0 : now + 1 + (int64_t)below(3000);
    rfc3339_format(until, text);
    snprintf(body, sizeof body, "{\"health\":\"Healthy\",\"circuit_open_until\":%s%s%s}", until ? "\"" : "",
             until ? text : "null", until ? "\"" : "");
    struct record_change change = change_at(HEALTH_PUT, body, now, (unsigned)step);
    ck_assert_int_eq(apply_to(value, &change, &out), RECORD_WRITE);
    m->known = true;
    if (until == m->open_until) return;
    m->open_until = until;
    m->changed = now;
    memset(m->permits, 0, sizeof m->permits);
}

START_TEST(any_sequence_agrees_with_the_model)
{
    const char *given = getenv("TEST_SEED");
    seed = given ? strtoul(given, NULL, 10)
                 : (unsigned long)time(NULL) * 1000 + (unsigned long)now_us() + (unsigned long)_i;
    state = seed;
    struct model m = {0};
    struct buf value = {0};
    int64_t now = T0;
    for (int step = 1; step <= STEPS; step++) {
        static const int64_t JUMPS[] = {0, 1, 200, 2000, 31000};
        now += (int64_t)below((uint64_t)JUMPS[below(5)] + 1);
        /* to the very end of the open time, where Open turns HalfOpen */
        if (m.open_until > now && below(6) == 0) now = m.open_until;
        int64_t soonest; /* likewise to the end of a permit */
        if (model_live(&m, now, &soonest) > 0 && below(6) == 0) now = soonest;
        uint64_t kind = below(40);
        if (kind < 18)
            step_report(&m, &value, now, step);
        else if (kind < 39)
            step_permit(&m, &value, now, step);
        else
            step_put(&m, &value, now, step);
        agree(&m, buf_slice(&value), now, step);
    }
    buf_deinit(&value);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("health_model");
    TCase *c = test_case(suite, "model", 30);
    tcase_add_loop_test(c, any_sequence_agrees_with_the_model, 0, 5);
    return test_run(suite);
}
