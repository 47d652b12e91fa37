/* Facts about metrics: sums over cells, bucket bounds, and that the text is what Prometheus reads. */
#include "metrics/metrics.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const routes[] = {"/cache", "/cache/{id}", "quo\"te\\d\nline"};
static const char *const statuses[] = {"200", "404"};
static const char *const others[] = {"a", "b"};

static struct metrics_labels labels(void)
{
    static const char *const names[LABEL_COUNT] = {
        [LABEL_NONE] = "",         [LABEL_ROUTE] = "route",     [LABEL_STATUS] = "status",
        [LABEL_BOUND] = "bound",   [LABEL_SOURCE] = "source",   [LABEL_BACKEND] = "backend",
        [LABEL_EXIT] = "exit",     [LABEL_REPLAY] = "replay",   [LABEL_BREAKER] = "breaker",
        [LABEL_RESULT] = "result", [LABEL_OUTCOME] = "outcome",
    };
    struct metrics_labels l;
    for (size_t i = 0; i < LABEL_COUNT; i++) {
        l.name[i] = names[i] ? names[i] : "other";
        l.values[i] = others;
        l.count[i] = 2;
    }
    l.values[LABEL_ROUTE] = routes;
    l.count[LABEL_ROUTE] = 3;
    l.values[LABEL_STATUS] = statuses;
    return l;
}

static struct metrics *m;
static struct metrics_cell *cell;

static void setup(void)
{
    struct metrics_labels l = labels();
    m = metrics_create(&l);
    ck_assert_ptr_nonnull(m);
    cell = metrics_cell(m);
    ck_assert_ptr_nonnull(cell);
}

static void teardown(void)
{
    metrics_destroy(&m);
    ck_assert_ptr_null(m);
    metrics_destroy(&m);
}

static char *rendered(void)
{
    struct buf out = {0};
    metrics_render(m, &out);
    buf_append_char(&out, '\0');
    ck_assert(!out.failed);
    return out.ptr;
}

static void expect(const char *text, const char *line)
{
    ck_assert_msg(strstr(text, line) != NULL, "no %s in:\n%s", line, text);
}

START_TEST(cells_are_summed)
{
    struct metrics_cell *second = metrics_cell(m);
    metrics_count(cell, METRIC_HTTP_REQUESTS, 1, 1, 2);
    metrics_count(second, METRIC_HTTP_REQUESTS, 1, 1, 3);
    metrics_count(second, METRIC_HTTP_REQUESTS, 2, 0, 1);
    ck_assert_uint_eq(metrics_sum(m, METRIC_HTTP_REQUESTS, 1, 1), 5);
    ck_assert_uint_eq(metrics_sum(m, METRIC_HTTP_REQUESTS, 2, 0), 1);
    ck_assert_uint_eq(metrics_sum(m, METRIC_HTTP_REQUESTS, 0, 0), 0);
    char *text = rendered();
    expect(text, "\nphoenix_http_requests_total{route=\"/cache/{id}\",status=\"404\"} 5\n");
    expect(text, "\nphoenix_http_requests_total{route=\"quo\\\"te\\\\d\\nline\",status=\"200\"} 1\n");
    free(text);
}
END_TEST

START_TEST(a_labelled_series_that_never_counted_is_left_out)
{
    char *text = rendered();
    ck_assert_ptr_null(strstr(text, "phoenix_http_requests_total{"));
    ck_assert_ptr_null(strstr(text, "phoenix_http_request_duration_seconds_count{"));
    expect(text, "\nphoenix_invalidations_total 0\n");
    expect(text, "\nphoenix_spool_commit_duration_seconds_count 0\n");
    expect(text, "# TYPE phoenix_http_requests_total counter\n");
    free(text);
}
END_TEST

START_TEST(each_bound_belongs_to_its_bucket)
{
    static const struct {
        int64_t us;
        const char *below, *le;
    } cases[] = {{-5, NULL, "0.00005"},     {0, NULL, "0.00005"},       {50, NULL, "0.00005"},
                 {51, "0.00005", "0.0001"}, {100, "0.00005", "0.0001"}, {101, "0.0001", "0.0002"},
                 {201, "0.0002", "0.0005"}, {501, "0.0005", "0.001"},   {1001, "0.001", "0.002"},
                 {2001, "0.002", "0.005"},  {5001, "0.005", "0.01"},    {10001, "0.01", "0.02"},
                 {20001, "0.02", "0.05"},   {50001, "0.05", "0.1"},     {100001, "0.1", "0.2"},
                 {200001, "0.2", "0.5"},    {500001, "0.5", "1"},       {1000001, "1", "2"},
                 {2000001, "2", "5"},       {5000000, "2", "5"},        {5000001, "5", "+Inf"},
                 {INT64_MAX, "5", "+Inf"}};
    char want[96];
    metrics_observe_us(cell, METRIC_SPOOL_COMMIT_SECONDS, 0, cases[_i].us);
    char *text = rendered();
    (void)snprintf(want, sizeof want, "\nphoenix_spool_commit_duration_seconds_bucket{le=\"%s\"} 1\n",
                   cases[_i].le);
    expect(text, want);
    if (cases[_i].below) {
        (void)snprintf(want, sizeof want, "_seconds_bucket{le=\"%s\"} 0\n", cases[_i].below);
        expect(text, want);
    }
    free(text);
}
END_TEST

START_TEST(a_histogram_is_cumulative_with_sum_and_count)
{
    metrics_observe_us(cell, METRIC_HTTP_SECONDS, 1, 60);
    metrics_observe_us(metrics_cell(m), METRIC_HTTP_SECONDS, 1, 1500);
    metrics_observe_us(cell, METRIC_HTTP_SECONDS, 1, 9000000);
    ck_assert_uint_eq(metrics_sum(m, METRIC_HTTP_SECONDS, 1, 0), 3);
    char *text = rendered();
    expect(text, "# TYPE phoenix_http_request_duration_seconds histogram\n"
                 "phoenix_http_request_duration_seconds_bucket{route=\"/cache/{id}\",le=\"0.00005\"} 0\n"
                 "phoenix_http_request_duration_seconds_bucket{route=\"/cache/{id}\",le=\"0.0001\"} 1\n");
    expect(text, "{route=\"/cache/{id}\",le=\"0.002\"} 2\n");
    expect(text, "{route=\"/cache/{id}\",le=\"5\"} 2\n");
    expect(text, "phoenix_http_request_duration_seconds_bucket{route=\"/cache/{id}\",le=\"+Inf\"} 3\n"
                 "phoenix_http_request_duration_seconds_sum{route=\"/cache/{id}\"} 9.001560\n"
                 "phoenix_http_request_duration_seconds_count{route=\"/cache/{id}\"} 3\n");
    free(text);
}
END_TEST

START_TEST(gauges_show_what_was_set)
{
    metrics_gauge(m, METRIC_LRU_BYTES, 0, 67108864);
    metrics_gauge(m, METRIC_START_TIME, 0, 1767323045.678);
    metrics_gauge(m, METRIC_SPOOL_STATE, 0, NAN);
    metrics_gauge(m, METRIC_SPOOL_BYTES, 0, INFINITY);
    metrics_gauge(m, METRIC_TASK_INBOX, 0, -0.5);
    ck_assert_uint_eq(metrics_sum(m, METRIC_LRU_BYTES, 0, 0), 67108864);
    char *text = rendered();
    expect(text, "# TYPE phoenix_lru_bytes gauge\nphoenix_lru_bytes 67108864\n");
    expect(text, "\nphoenix_start_time_seconds 1767323045.678\n");
    ck_assert_ptr_null(strstr(text, "\nphoenix_spool_state "));
    expect(text, "\nphoenix_spool_bytes +Inf\n");
    expect(text, "\nphoenix_task_inbox_items -0.5\n");
    free(text);
}
END_TEST

START_TEST(a_nodes_gauges_are_shown_while_it_is_there)
{
    char *text = rendered();
    ck_assert_ptr_null(strstr(text, "\nredis_memory_used_bytes{"));
    free(text);
    metrics_node(m, 0, "cache", "10.0.0.1:6379");
    metrics_node(m, 127, "state", "[::1]:7\"");
    metrics_gauge(m, METRIC_REDIS_MEMORY, 0, 4711);
    metrics_gauge(m, METRIC_REDIS_MEMORY, 127, 4712);
    metrics_gauge(m, METRIC_REDIS_CLIENTS, 127, NAN);
    metrics_gauge(m, METRIC_REDIS_MEMORY, 5, 4713); /* nobody is there */
    text = rendered();
    expect(text, "# TYPE redis_memory_used_bytes gauge\n"
                 "redis_memory_used_bytes{redis=\"cache\",node=\"10.0.0.1:6379\"} 4711\n"
                 "redis_memory_used_bytes{redis=\"state\",node=\"[::1]:7\\\"\"} 4712\n#");
    ck_assert_ptr_null(strstr(text, "\nredis_connected_clients{"));
    free(text);
}
END_TEST

START_TEST(what_one_node_said_is_not_told_of_the_next_in_its_place)
{
    metrics_node(m, 3, "all", "a:1");
    metrics_gauge(m, METRIC_REDIS_UP, 3, 1);
    metrics_gauge(m, METRIC_REDIS_EVICTED, 3, 9);
    metrics_node(m, 3, "all", "a:1"); /* still there */
    char *text = rendered();
    expect(text, "\nphoenix_redis_evicted_keys{redis=\"all\",node=\"a:1\"} 9\n");
    free(text);
    metrics_node(m, 3, "all", "b:2");
    metrics_gauge(m, METRIC_REDIS_UP, 3, 1);
    text = rendered();
    ck_assert_ptr_null(strstr(text, "a:1"));
    ck_assert_ptr_null(strstr(text, "\nphoenix_redis_evicted_keys{"));
    expect(text, "\nphoenix_redis_up{redis=\"all\",node=\"b:2\"} 1\n");
    free(text);
    metrics_node(m, 3, "all", NULL);
    metrics_node(m, 4, "all", NULL); /* never was */
    text = rendered();
    ck_assert_ptr_null(strstr(text, "\nphoenix_redis_up{"));
    free(text);
}
END_TEST

static void *move_nodes(void *arg)
{
    char name[32];
    for (unsigned i = 0; i < 2000; i++) {
        (void)snprintf(name, sizeof name, "10.0.0.%u:6379", i % 7);
        metrics_node(arg, i % METRICS_NODES_MAX, "all", i % 5 ? name : NULL);
        metrics_gauge(arg, METRIC_REDIS_UP, i % METRICS_NODES_MAX, 1);
    }
    return NULL;
}

START_TEST(nodes_move_while_others_render)
{
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, move_nodes, m), 0);
    for (size_t i = 0; i < 20; i++)
        free(rendered());
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

/* A name of the exposition's grammar, and where it ends. */
static const char *after_name(const char *p)
{
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:");
    ck_assert_msg(n > 0 && (*p < '0' || *p > '9'), "no name: %.40s", p);
    return p + n;
}

static const char *after_labels(const char *p)
{
    do {
        p = after_name(p + 1);
        ck_assert_msg(p[0] == '=' && p[1] == '"', "no =\": %.40s", p);
        for (p += 2; *p != '"'; p++) {
            ck_assert(*p != '\n' && *p != '\0');
            if (*p == '\\') ck_assert_ptr_nonnull(strchr("\\n\"", *++p));
        }
        p++;
    } while (*p == ',');
    ck_assert_int_eq(*p, '}');
    return p + 1;
}

START_TEST(every_line_is_of_the_text_format)
{
    for (unsigned id = 0; id < 3; id++)
        metrics_count(cell, METRIC_HTTP_REQUESTS, id, id % 2, id + 1);
    for (unsigned id = 0; id < 3; id++)
        metrics_observe_us(cell, METRIC_HTTP_SECONDS, id, 1000);
    metrics_node(m, 1, "all", "10.0.0.1:6379");
    metrics_gauge(m, METRIC_REDIS_UP, 1, 1);
    char *text = rendered();
    size_t help = 0, type = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '#') {
            help += strncmp(p, "# HELP ", 7) == 0;
            type += strncmp(p, "# TYPE ", 7) == 0;
            ck_assert_int_eq(*after_name(p + 7), ' ');
            p = strchr(p, '\n');
            continue;
        }
        p = after_name(p);
        if (*p == '{') p = after_labels(p);
        ck_assert_int_eq(*p, ' ');
        char *end;
        (void)strtod(p + 1, &end);
        ck_assert_msg(end > p + 1 && *end == '\n', "no value: %.40s", p);
        p = end;
    }
    ck_assert_uint_eq(help, METRIC_COUNT);
    ck_assert_uint_eq(type, METRIC_COUNT);
    free(text);
}
END_TEST

START_TEST(nothing_is_counted_without_a_cell)
{
    metrics_count(NULL, METRIC_HTTP_REQUESTS, 99, 99, 1);
    metrics_observe_us(NULL, METRIC_HTTP_SECONDS, 99, 1);
    metrics_gauge(NULL, METRIC_LRU_BYTES, 99, 1);
    ck_assert_uint_eq(metrics_sum(NULL, METRIC_HTTP_REQUESTS, 99, 99), 0);
}
END_TEST

enum { THREADS = 4, COUNTS = 20000, TOTAL = THREADS * COUNTS };

static void *count_many(void *arg)
{
    struct metrics_cell *own = metrics_cell(arg);
    for (unsigned i = 0; i < COUNTS; i++) {
        metrics_count(own, METRIC_HTTP_REQUESTS, i % 3, i % 2, 1);
        metrics_observe_us(own, METRIC_HTTP_SECONDS, i % 3, i);
        metrics_gauge(arg, METRIC_LRU_BYTES, 0, i);
    }
    return NULL;
}

START_TEST(nothing_is_lost_between_threads_that_count_and_one_that_renders)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_many, m), 0);
    for (size_t i = 0; i < 20; i++)
        free(rendered());
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t requests = 0, seconds = 0;
    for (unsigned i = 0; i < 3; i++) {
        requests += metrics_sum(m, METRIC_HTTP_REQUESTS, i, 0) + metrics_sum(m, METRIC_HTTP_REQUESTS, i, 1);
        seconds += metrics_sum(m, METRIC_HTTP_SECONDS, i, 0);
    }
    ck_assert_uint_eq(requests, TOTAL);
    ck_assert_uint_eq(seconds, TOTAL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metrics");
    TCase *t = tcase_create("metrics");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, cells_are_summed);
    tcase_add_test(t, a_labelled_series_that_never_counted_is_left_out);
    tcase_add_loop_test(t, each_bound_belongs_to_its_bucket, 0, 22);
    tcase_add_test(t, a_histogram_is_cumulative_with_sum_and_count);
    tcase_add_test(t, gauges_show_what_was_set);
    tcase_add_test(t, a_nodes_gauges_are_shown_while_it_is_there);
    tcase_add_test(t, what_one_node_said_is_not_told_of_the_next_in_its_place);
    tcase_add_test(t, nodes_move_while_others_render);
    tcase_add_test(t, every_line_is_of_the_text_format);
    tcase_add_test(t, nothing_is_counted_without_a_cell);
    tcase_add_test(t, nothing_is_lost_between_threads_that_count_and_one_that_renders);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
