/* test_unsettled: keys counted, in the order of their coming; takers and waiting; a model; threads. */
#include "../../support/support.h"
#include "state/unsettled.h"
#include "util/uri.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { KIND = 1, OTHER_KIND = 2 };

static struct unsettled *u;

static void setup(void)
{
    u = unsettled_create();
    ck_assert_ptr_nonnull(u);
}

static void teardown(void)
{
    unsettled_destroy(&u);
    ck_assert_ptr_null(u);
    unsettled_destroy(&u);
}

static void enter(const char *id)
{
    ck_assert(unsettled_enter(u, KIND, slice_of(id)));
}

static void leave(const char *id)
{
    unsettled_leave(u, KIND, slice_of(id));
}

static bool has(const char *id)
{
    return unsettled_has(u, KIND, slice_of(id));
}

/* NULL: none. */
static const char *take(int64_t now_us)
{
    static char text[ID_LEN_MAX + 1];
    unsigned kind = 0;
    struct slice id;
    if (!unsettled_take(u, now_us, &kind, text, &id)) return NULL;
    ck_assert_uint_eq(kind, KIND);
    ck_assert_ptr_eq(id.ptr, text);
    text[id.len] = 0;
    return text;
}

static void give_back(const char *id, int64_t not_before_us)
{
    unsettled_return(u, KIND, slice_of(id), not_before_us);
}

START_TEST(empty_it_has_nothing)
{
    ck_assert(!has("a"));
    ck_assert_uint_eq(unsettled_entries(u), 0);
    ck_assert_ptr_null(take(0));
    give_back("a", 0);
    ck_assert_ptr_null(take(0));
}
END_TEST

START_TEST(a_key_stays_until_its_last_entry_leaves)
{
    enter("a");
    enter("a");
    ck_assert_uint_eq(unsettled_entries(u), 2);
    leave("a");
    ck_assert(has("a"));
    leave("a");
    ck_assert(!has("a"));
    ck_assert_uint_eq(unsettled_entries(u), 0);
}
END_TEST

START_TEST(kinds_are_apart)
{
    enter("a");
    ck_assert(unsettled_enter(u, OTHER_KIND, slice_of("b")));
    ck_assert(!unsettled_has(u, OTHER_KIND, slice_of("a")));
    ck_assert(!has("b"));
    leave("a");
    ck_assert(unsettled_has(u, OTHER_KIND, slice_of("b")));
    char text[ID_LEN_MAX];
    unsigned kind = 0;
    struct slice id;
    ck_assert(unsettled_take(u, 0, &kind, text, &id));
    ck_assert_uint_eq(kind, OTHER_KIND);
    ck_assert(slice_equal_text(id, "b"));
}
END_TEST

START_TEST(keys_are_taken_once_in_the_order_of_their_first_entry)
{
    enter("a");
    enter("b");
    enter("c");
    enter("a");
    leave("b");
    enter("b");
    ck_assert_str_eq(take(0), "a");
    ck_assert_str_eq(take(0), "c");
    ck_assert_str_eq(take(0), "b");
    ck_assert_ptr_null(take(0));
    enter("a");
    ck_assert_ptr_null(take(0));
}
END_TEST

START_TEST(a_returned_key_is_behind_the_others)
{
    enter("a");
    enter("b");
    ck_assert_str_eq(take(0), "a");
    give_back("a", 0);
    ck_assert_str_eq(take(0), "b");
    ck_assert_str_eq(take(0), "a");
}
END_TEST

START_TEST(a_key_waits_for_its_time_and_holds_up_no_other)
{
    enter("a");
    enter("b");
    enter("c");
    ck_assert_str_eq(take(0), "a");
    ck_assert_str_eq(take(0), "b");
    give_back("a", 2000);
    give_back("b", 1000);
    ck_assert_str_eq(take(999), "c");
    ck_assert_ptr_null(take(999));
    ck_assert(has("a"));
    ck_assert_str_eq(take(1000), "b");
    ck_assert_ptr_null(take(1999));
    ck_assert_str_eq(take(2000), "a");
}
END_TEST

START_TEST(a_key_that_waits_can_leave)
{
    enter("a");
    enter("b");
    ck_assert_str_eq(take(0), "a");
    ck_assert_str_eq(take(0), "b");
    give_back("a", 1000);
    give_back("b", 2000);
    leave("a");
    ck_assert_ptr_null(take(1000));
    ck_assert_str_eq(take(2000), "b");
}
END_TEST

START_TEST(a_return_after_the_last_entry_left_does_nothing)
{
    enter("a");
    ck_assert_str_eq(take(0), "a");
    leave("a");
    give_back("a", 0);
    ck_assert_ptr_null(take(0));
    /* nor does it move a key that came anew and that nobody has taken */
    enter("a");
    enter("b");
    give_back("a", 1000);
    ck_assert_str_eq(take(0), "a");
}
END_TEST

START_TEST(ids_of_the_greatest_length_are_told_apart)
{
    char one[ID_LEN_MAX + 1], other[ID_LEN_MAX + 1];
    memset(one, 'x', ID_LEN_MAX);
    one[ID_LEN_MAX] = 0;
    memcpy(other, one, sizeof other);
    other[ID_LEN_MAX - 1] = 'y';
    enter(one);
    ck_assert(has(one));
    ck_assert(!has(other));
    ck_assert_str_eq(take(0), one);
}
END_TEST

START_TEST(many_keys_keep_their_order_while_the_table_grows)
{
    enum { MANY = 20000 };
    char id[32];
    for (int i = 0; i < MANY; i++)
        enter(FORMAT(id, "key-%d", i));
    for (int i = 0; i < MANY; i++) {
        ck_assert_str_eq(take(0), FORMAT(id, "key-%d", i));
        leave(id);
        ck_assert(!has(id));
    }
    ck_assert_ptr_null(take(0));
}
END_TEST

/* --- against a model --- */

enum { MODEL_KEYS = 24 };

struct model_key {
    int entries;
    bool taken;
    int64_t not_before;
    int64_t order; /* since when it is ready; 0: it waits or is taken */
};

static unsigned long random_seed(void)
{
    const char *given = getenv("TEST_SEED");
    return given ? strtoul(given, NULL, 10) : (unsigned long)time(NULL) ^ (unsigned long)now_us();
}

/* Those whose time has come become ready in the order of their times; all times differ. */
static void model_wake(struct model_key *keys, int64_t now, int64_t *order)
{
    for (;;) {
        struct model_key *soonest = NULL;
        for (struct model_key *k = keys; k < keys + MODEL_KEYS; k++) {
            if (k->entries == 0 || k->taken || k->order || k->not_before > now) continue;
            if (!soonest || k->not_before < soonest->not_before) soonest = k;
        }
        if (!soonest) return;
        soonest->order = ++*order;
    }
}

static int model_take(struct model_key *keys, int64_t now, int64_t *order)
{
    int found = -1;
    model_wake(keys, now, order);
    for (int i = 0; i < MODEL_KEYS; i++) {
        if (keys[i].entries == 0 || !keys[i].order) continue;
        if (found < 0 || keys[i].order < keys[found].order) found = i;
    }
    if (found >= 0) {
        keys[found].taken = true;
        keys[found].order = 0;
    }
    return found;
}

START_TEST(any_sequence_agrees_with_a_simple_model)
{
    unsigned long seed = random_seed();
    uint64_t state = seed * 2 + 1;
    struct model_key keys[MODEL_KEYS] = {0};
    int64_t order = 0, now = 0, entries = 0;
    for (int step = 0; step < 20000; step++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct model_key *k = &keys[(state >> 33) % MODEL_KEYS];
        char id[16];
        FORMAT(id, "k%d", (int)(k - keys));
        now += (int64_t)(state >> 50 & 7);
        switch (state >> 40 & 7) {
        case 0:
        case 1:
            enter(id);
            entries++;
            if (k->entries++ == 0) {
                order++;
                *k = (struct model_key){.entries = 1, .order = order};
            }
            break;
        case 2:
        case 3:
            if (k->entries == 0) break;
            leave(id);
            entries--;
            k->entries--;
            break;
        case 4:
        case 5: {
            const char *took = take(now);
            int wanted = model_take(keys, now, &order);
            int got = took ? (int)strtol(took + 1, NULL, 10) : -1;
            ck_assert_msg(got == wanted, "step %d: took %d, not %d (TEST_SEED=%lu)", step, got, wanted, seed);
            break;
        }
        default: {
            /* distinct times: steps are below 100 000 */
            bool waits = (state >> 43 & 1) != 0;
            int64_t time = waits ? now + (int64_t)(state >> 44 & 31) : 0;
            if (waits && k->entries && k->taken)
                for (int o = 0; o < MODEL_KEYS; o++)
                    if (keys[o].not_before == time) time++, o = -1;
            give_back(id, time);
            if (k->entries == 0 || !k->taken) break;
            k->taken = false;
            k->not_before = time;
            k->order = waits ? 0 : ++order;
        }
        }
        ck_assert_msg(has(id) == (k->entries > 0), "step %d (TEST_SEED=%lu)", step, seed);
        ck_assert_msg(unsettled_entries(u) == (uint64_t)entries, "step %d (TEST_SEED=%lu)", step, seed);
    }
}
END_TEST

/* --- threads --- */

enum { WRITERS = 3, THREAD_KEYS = 16, WRITES = 20000 };

struct shared {
    struct unsettled *set;
    _Atomic int64_t unsettled[THREAD_KEYS]; /* entries */
    _Atomic int failures;
    _Atomic bool written;
};

static struct slice thread_key(unsigned i, char text[16])
{
    int len = snprintf(text, 16, "key-%u", i);
    return (struct slice){text, (size_t)len};
}

static void *write_entries(void *arg)
{
    struct shared *s = arg;
    for (unsigned i = 0; i < WRITES; i++) {
        char text[16];
        unsigned n = i * 7 % THREAD_KEYS;
        if (!unsettled_enter(s->set, KIND, thread_key(n, text))) atomic_fetch_add(&s->failures, 1);
        atomic_fetch_add(&s->unsettled[n], 1);
        (void)unsettled_has(s->set, KIND, thread_key(i % THREAD_KEYS, text));
    }
    return NULL;
}

/* Settles one entry of each key that it takes. */
static void *settle_entries(void *arg)
{
    struct shared *s = arg;
    char text[ID_LEN_MAX + 1];
    unsigned kind;
    struct slice id;
    for (int64_t now = 0;; now++) {
        bool written = atomic_load(&s->written);
        if (!unsettled_take(s->set, now, &kind, text, &id)) {
            if (written && unsettled_entries(s->set) == 0) return NULL;
            continue;
        }
        text[id.len] = 0;
        long n = strtol(text + 4, NULL, 10);
        if (!unsettled_has(s->set, kind, id)) atomic_fetch_add(&s->failures, 1);
        if (atomic_load(&s->unsettled[n]) > 0) {
            atomic_fetch_sub(&s->unsettled[n], 1);
            unsettled_leave(s->set, kind, id);
        }
        unsettled_return(s->set, kind, id, now % 3 ? 0 : now + 2);
    }
}

START_TEST(one_thread_settles_what_others_enter)
{
    struct shared s = {.set = u};
    pthread_t writers[WRITERS], settler;
    ck_assert_int_eq(pthread_create(&settler, NULL, settle_entries, &s), 0);
    for (int i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&writers[i], NULL, write_entries, &s), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&s.written, true);
    pthread_join(settler, NULL);
    ck_assert_int_eq(atomic_load(&s.failures), 0);
    ck_assert_uint_eq(unsettled_entries(u), 0);
    for (unsigned i = 0; i < THREAD_KEYS; i++) {
        char text[16];
        ck_assert(!unsettled_has(u, KIND, thread_key(i, text)));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unsettled");
    TCase *c = test_case(suite, "keys", 10);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, empty_it_has_nothing);
    tcase_add_test(c, a_key_stays_until_its_last_entry_leaves);
    tcase_add_test(c, kinds_are_apart);
    tcase_add_test(c, keys_are_taken_once_in_the_order_of_their_first_entry);
    tcase_add_test(c, a_returned_key_is_behind_the_others);
    tcase_add_test(c, a_key_waits_for_its_time_and_holds_up_no_other);
    tcase_add_test(c, a_key_that_waits_can_leave);
    tcase_add_test(c, a_return_after_the_last_entry_left_does_nothing);
    tcase_add_test(c, ids_of_the_greatest_length_are_told_apart);
    tcase_add_test(c, many_keys_keep_their_order_while_the_table_grows);
    tcase_add_test(c, any_sequence_agrees_with_a_simple_model);
    c = test_case(suite, "threads", 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, one_thread_settles_what_others_enter);
    return test_run(suite);
}
