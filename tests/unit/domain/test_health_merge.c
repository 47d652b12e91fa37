/* test_health_merge: journaled changes of agents' health on their way back, against what Redis has by then.
 */
#include "health_fixture.h"

#define AT(s) "\"2023-11-14T22:13:" #s ".000Z\"" /* T0 is :20 */
#define ID    "018bcfe5-6800-7000-8000-000000000001"

/* An entry stamped T0 whose copy is `copy`; it comes back after `later_ms`. */
static const struct {
    const char *title;
    enum health_op op;
    const char *body;
    const char *copy;    /* NULL: none */
    const char *current; /* NULL: absent */
    int64_t deleted_ms, later_ms;
    bool same_base;
    enum record_verdict verdict;
    bool conflict;
    const char *after; /* RECORD_WRITE */
} CASES[] = {
    {"a base unchanged: a report is made as it was", HEALTH_FAILURE, "", "{}",
     "{\"consecutive_failures\":1,\"updated_at\":" AT(10) "}", 0, 100000, true, RECORD_WRITE, false,
     "{\"consecutive_failures\":2,\"updated_at\":" AT(20) ",\"last_failure_at\":" AT(20) ",\"writes\":[\"" ID
                                                                                         "\"]}"},
    {"a base unchanged: a permit is taken", HEALTH_PERMIT, "", "{}", "{\"circuit_open_until\":" AT(10) "}", 0,
     1000, true, RECORD_WRITE, false,
     "{\"circuit_open_until\":" AT(10) ",\"permits\":[" AT(50) "],\"updated_at\":" AT(20) ",\"writes\":[\"" ID
                                                                                          "\"]}"},
    {"a base unchanged, absent: a PUT creates", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{}", NULL, 0, 1000,
     true, RECORD_WRITE, false,
     "{\"agent_id\":\"a\",\"health\":\"Healthy\",\"consecutive_failures\":0,\"last_failure_at\":null,"
     "\"last_success_at\":null,\"circuit_open_until\":null,\"updated_at\":" AT(
         20) ",\"opens\":0,\"permits\":[],\"writes\":[\"" ID "\"]}"},
    {"a base unchanged: deleted", HEALTH_DELETE, "", NULL, "{\"updated_at\":" AT(30) "}", 0, 1000, true,
     RECORD_DELETE, false, NULL},

    {"conflict: a permit is dropped", HEALTH_PERMIT, "", "{\"circuit_open_until\":" AT(50) "}", "{}", 0, 1000,
     false, RECORD_KEEP, false, NULL},
    {"conflict: a report leaves Redis's record", HEALTH_FAILURE, "", "{\"consecutive_failures\":9}",
     "{\"consecutive_failures\":1}", 0, 1000, false, RECORD_KEEP, true, NULL},
    {"conflict: an earlier end of the open time leaves it", HEALTH_FAILURE, "",
     "{\"circuit_open_until\":" AT(50) "}", "{\"circuit_open_until\":" AT(51) "}", 0, 1000, false,
     RECORD_KEEP, true, NULL},
    {"conflict: a later end of the open time holds", HEALTH_FAILURE, "",
     "{\"circuit_open_until\":" AT(50) ",\"opens\":3}",
     "{\"own\":1.0,\"opens\":1,\"circuit_open_until\":" AT(40) ",\"updated_at\":" AT(30) ",\"permits\":[" AT(
         45) "],\"circuit_changed_at\":" AT(15) ",\"writes\":[\"w\"]}",
     0, 1000, false, RECORD_WRITE, true,
     "{\"own\":1.0,\"opens\":3,\"circuit_open_until\":" AT(50) ",\"updated_at\":" AT(
         30) ",\"permits\":[],\"circuit_changed_at\":" AT(20) ",\"writes\":[\"w\",\"" ID "\"]}"},
    {"conflict: at open_max_ms it still does", HEALTH_FAILURE, "", "{\"circuit_open_until\":" AT(50) "}",
     "{\"circuit_open_until\":null}", 0, 60000, false, RECORD_WRITE, true,
     "{\"circuit_open_until\":" AT(50) ",\"circuit_changed_at\":" AT(20) ",\"opens\":0,\"updated_at\":" AT(
         20) ",\"writes\":[\"" ID "\"]}"},
    {"conflict: what is older than open_max_ms opens nothing", HEALTH_FAILURE, "",
     "{\"circuit_open_until\":" AT(50) "}", "{\"circuit_open_until\":null}", 0, 60001, false, RECORD_KEEP,
     true, NULL},
    {"conflict: a newer PUT is applied", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{\"own\":2}",
     "{\"own\":1,\"health\":\"Unhealthy\",\"updated_at\":" AT(19) "}", 0, 1000, false, RECORD_WRITE, true,
     "{\"own\":1,\"health\":\"Healthy\",\"updated_at\":" AT(20) ",\"writes\":[\"" ID "\"]}"},
    {"conflict: a PUT is applied to a record of unknown age", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{}",
     "{\"health\":\"Unhealthy\"}", 0, 1000, false, RECORD_WRITE, true,
     "{\"health\":\"Healthy\",\"updated_at\":" AT(20) ",\"writes\":[\"" ID "\"]}"},
    {"conflict: an older PUT is dropped", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{}",
     "{\"health\":\"Unhealthy\",\"updated_at\":" AT(20) "}", 0, 1000, false, RECORD_KEEP, true, NULL},
    {"conflict: a newer PUT, and the copy's later end", HEALTH_PUT, "{\"health\":\"Healthy\"}",
     "{\"circuit_open_until\":" AT(50) ",\"opens\":2}",
     "{\"health\":\"Unhealthy\",\"updated_at\":" AT(19) "}", 0, 1000, false, RECORD_WRITE, true,
     "{\"health\":\"Healthy\",\"updated_at\":" AT(20) ",\"writes\":[\"" ID "\"],\"circuit_open_until\":" AT(
         50) ",\"circuit_changed_at\":" AT(20) ",\"opens\":2}"},
    {"conflict: a newer PUT that closes does", HEALTH_PUT,
     "{\"health\":\"Healthy\",\"circuit_open_until\":null}", "{\"circuit_open_until\":null}",
     "{\"circuit_open_until\":" AT(50) ",\"health\":\"Unhealthy\",\"updated_at\":" AT(19) ",\"permits\":[]}",
     0, 1000, false, RECORD_WRITE, true,
     "{\"circuit_open_until\":null,\"health\":\"Healthy\",\"updated_at\":" AT(
         20) ",\"permits\":[],\"circuit_changed_at\":" AT(20) ",\"writes\":[\"" ID "\"]}"},
    {"conflict: a newer PUT too old to open sets the rest", HEALTH_PUT,
     "{\"health\":\"Unhealthy\",\"circuit_open_until\":\"2024-01-01T00:00:00Z\"}",
     "{\"circuit_open_until\":\"2024-01-01T00:00:00Z\"}", "{\"circuit_open_until\":null}", 0, 60001, false,
     RECORD_WRITE, true,
     "{\"circuit_open_until\":null,\"health\":\"Unhealthy\",\"circuit_changed_at\":" AT(
         20) ",\"permits\":[],\"updated_at\":" AT(20) ",\"writes\":[\"" ID "\"]}"},
    {"conflict: a deletion of an older record", HEALTH_DELETE, "", NULL, "{\"updated_at\":" AT(19) "}", 0,
     1000, false, RECORD_DELETE, false, NULL},
    {"conflict: a deletion yields to a newer record", HEALTH_DELETE, "", NULL, "{\"updated_at\":" AT(20) "}",
     0, 1000, false, RECORD_KEEP, true, NULL},

    {"deleted later: a PUT is dropped", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{}", NULL, T0 + 1, 1000,
     true, RECORD_KEEP, true, NULL},
    {"deleted later: a report is dropped", HEALTH_FAILURE, "", "{}", NULL, T0 + 1, 1000, false, RECORD_KEEP,
     true, NULL},
    {"deleted later: a deletion has nothing to do", HEALTH_DELETE, "", NULL, NULL, T0 + 1, 1000, false,
     RECORD_KEEP, false, NULL},
    {"absent: a deletion leaves its tombstone", HEALTH_DELETE, "", NULL, NULL, 0, 1000, false, RECORD_DELETE,
     false, NULL},
    {"emptied: the copy is written", HEALTH_FAILURE, "",
     "{\"own\":1.0,\"circuit_open_until\":" AT(50) ",\"permits\":[" AT(40) "]}", NULL, 0, 60000, false,
     RECORD_WRITE, true, "{\"own\":1.0,\"circuit_open_until\":" AT(50) ",\"permits\":[" AT(40) "]}"},
    {"emptied: a copy too old opens nothing", HEALTH_FAILURE, "",
     "{\"own\":1.0,\"circuit_open_until\":" AT(50) ",\"permits\":[" AT(40) "]}", NULL, 0, 60001, false,
     RECORD_WRITE, true, "{\"own\":1.0,\"circuit_open_until\":null,\"permits\":[]}"},
    {"emptied: an old copy that is closed keeps its bytes", HEALTH_SUCCESS, "",
     " { \"circuit_open_until\" : null } ", NULL, 0, 60001, false, RECORD_WRITE, true,
     " { \"circuit_open_until\" : null } "},
    {"emptied: a permit is dropped", HEALTH_PERMIT, "", "{}", NULL, 0, 1000, false, RECORD_KEEP, false, NULL},
    {"deleted before: the copy is written", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{\"own\":1}", NULL,
     T0 - 1, 1000, false, RECORD_WRITE, true, "{\"own\":1}"},

    {"another's bytes are refused", HEALTH_PUT, "{\"health\":\"Healthy\"}", "{}", "not json", 0, 1000, false,
     RECORD_REFUSE, false, NULL},
    {"another's bytes are not deleted", HEALTH_DELETE, "", NULL, "[]", 0, 1000, false, RECORD_REFUSE, false,
     NULL},
};

START_TEST(an_entry_meets_what_redis_has)
{
    struct record_change change = change_at(CASES[_i].op, CASES[_i].body, T0, 1);
    struct record_version current = {.value = slice_of(CASES[_i].current),
                                     .deleted_ms = CASES[_i].deleted_ms};
    struct record_entry entry = {.change = &change, .base = 7, .copy = slice_of(CASES[_i].copy)};
    if (CASES[_i].same_base) entry.base = current.value.ptr ? rules.etag(current.value) : 0;
    struct record_result out = {0};
    enum record_verdict verdict = rules.merge(&rules, &entry, &current, T0 + CASES[_i].later_ms, &out);
    ck_assert_msg(verdict == CASES[_i].verdict, "%s: verdict %d, %s", CASES[_i].title, verdict, out.detail);
    ck_assert_msg(out.conflict == CASES[_i].conflict, "%s: conflict %d", CASES[_i].title, out.conflict);
    if (verdict == RECORD_WRITE)
        ck_assert_msg(slice_equal_text(buf_slice(&out.value), CASES[_i].after), "%s: %.*s\ninstead of\n%s",
                      CASES[_i].title, (int)out.value.len, out.value.ptr, CASES[_i].after);
    if (verdict == RECORD_REFUSE) ck_assert_int_eq(out.status, STATUS_FOREIGN_VALUE);
    buf_deinit(&out.value);
}
END_TEST

/* What this daemon computed in the outage and what the hand-back makes of it are the same bytes, so that each
 * entry finds its base. */
START_TEST(a_row_of_entries_over_an_unchanged_record_gives_the_same_bytes)
{
    static const enum health_op OPS[] = {HEALTH_FAILURE, HEALTH_FAILURE, HEALTH_FAILURE, HEALTH_PERMIT,
                                         HEALTH_FAILURE, HEALTH_PERMIT,  HEALTH_SUCCESS};
    struct buf here = {0}, there = {0};
    for (unsigned i = 0; i < sizeof OPS / sizeof *OPS; i++) {
        struct record_result out;
        struct record_change change = change_at(OPS[i], "", T0 + (int64_t)i * 10000, i);
        struct record_entry entry = {.change = &change, .base = here.len ? rules.etag(buf_slice(&here)) : 0};
        ck_assert_int_eq(apply_to(&here, &change, &out), RECORD_WRITE);
        entry.copy = buf_slice(&here);
        struct record_version current = {.value = there.len ? buf_slice(&there) : SLICE_NONE};
        out = (struct record_result){0};
        ck_assert_int_eq(rules.merge(&rules, &entry, &current, T0 + 3600000, &out), RECORD_WRITE);
        ck_assert(!out.conflict);
        buf_deinit(&there);
        there = out.value;
        ck_assert(slice_equal(buf_slice(&here), buf_slice(&there)));
    }
    buf_deinit(&here);
    buf_deinit(&there);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("health_merge");
    TCase *c = test_case(suite, "merge", 10);
    tcase_add_loop_test(c, an_entry_meets_what_redis_has, 0, sizeof CASES / sizeof CASES[0]);
    tcase_add_test(c, a_row_of_entries_over_an_unchanged_record_gives_the_same_bytes);
    return test_run(suite);
}
