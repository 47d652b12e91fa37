/* Paths and problems: the pure pieces of the HTTP room. */
#include "http/problem.h"
#include "http/router.h"

#include <check.h>
#include <stdlib.h>

START_TEST(a_path_matches_one_route)
{
    static const struct {
        const char *path;
        unsigned route;
        const char *id;
    } cases[] = {
        {"/cache", ROUTE_CACHE, NULL},
        {"/cache/lookup", ROUTE_CACHE_LOOKUP, NULL},
        {"/cache/abc", ROUTE_CACHE_KEY, "abc"},
        {"/cache/%2e", ROUTE_CACHE_KEY, "%2e"},
        {"/cache/lookup2", ROUTE_CACHE_KEY, "lookup2"},
        {"/livez", ROUTE_LIVEZ, NULL},
        {"/metrics", ROUTE_METRICS, NULL},
        {"/", ROUTE_UNKNOWN, NULL},
        {"", ROUTE_UNKNOWN, NULL},
        {"/cache/", ROUTE_UNKNOWN, NULL},
        {"/cache/a/", ROUTE_UNKNOWN, NULL},
        {"/cache/a/b", ROUTE_UNKNOWN, NULL},
        {"/Cache", ROUTE_UNKNOWN, NULL},
        {"/livez2", ROUTE_UNKNOWN, NULL},
        {"//cache", ROUTE_UNKNOWN, NULL},
    };
    struct router r;
    router_init(&r, HTTP_LISTENER_API);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice id = SLICE_NONE;
        const struct router_entry *e = router_match(&r, slice_of(cases[i].path), &id);
        ck_assert_msg((e ? e->route : ROUTE_UNKNOWN) == cases[i].route, "%s", cases[i].path);
        if (!e) continue;
        ck_assert((id.ptr != NULL) == (cases[i].id != NULL));
        if (id.ptr) ck_assert(slice_equal_text(id, cases[i].id));
    }
}
END_TEST

START_TEST(a_listener_has_its_own_routes)
{
    struct router r;
    struct slice id;
    router_init(&r, HTTP_LISTENER_ADMIN);
    ck_assert_ptr_null(router_match(&r, slice_of("/cache"), &id));
    const struct router_entry *e = router_match(&r, slice_of("/livez"), &id);
    ck_assert_ptr_nonnull(e);
    ck_assert(e->open);
    e = router_match(&r, slice_of("/status"), &id);
    ck_assert_ptr_nonnull(e);
    ck_assert(!e->open);
    ck_assert_uint_eq(e->methods, HTTP_GET | HTTP_HEAD);
    ck_assert(!e->local_only);
    e = router_match(&r, slice_of("/tasks"), &id);
    ck_assert_uint_eq(e->methods, HTTP_GET | HTTP_HEAD | HTTP_DELETE);
    ck_assert(e->local_only);
    ck_assert(router_match(&r, slice_of("/"), &id)->open);
    router_init(&r, HTTP_LISTENER_API);
    e = router_match(&r, slice_of("/tasks"), &id);
    ck_assert_uint_eq(e->methods, HTTP_GET | HTTP_HEAD | HTTP_POST | HTTP_DELETE);
    ck_assert(!e->local_only);
}
END_TEST

START_TEST(allow_lists_methods_in_their_order)
{
    char text[ROUTER_ALLOW_SIZE];
    router_allow(HTTP_PATCH | HTTP_GET | HTTP_HEAD, text);
    ck_assert_str_eq(text, "GET, HEAD, PATCH");
    router_allow(HTTP_GET | HTTP_HEAD | HTTP_POST | HTTP_PUT | HTTP_DELETE | HTTP_PATCH, text);
    ck_assert_str_eq(text, "GET, HEAD, POST, PUT, DELETE, PATCH");
    ck_assert_int_eq(router_method("DELETE"), HTTP_DELETE);
    ck_assert_int_eq(router_method("get"), HTTP_OTHER);
}
END_TEST

START_TEST(every_status_has_its_label)
{
    ck_assert_str_eq(http_status_names[router_status_index(200)], "200");
    ck_assert_str_eq(http_status_names[router_status_index(504)], "504");
    ck_assert_str_eq(http_status_names[router_status_index(418)], "other");
    for (int s = STATUS_OK + 1; s < STATUS_COUNT; s++)
        ck_assert_uint_ne(router_status_index(status_http((enum status)s)), HTTP_STATUS_OTHER);
}
END_TEST

START_TEST(a_problem_cuts_its_instance_and_escapes_its_detail)
{
    char path[400];
    memset(path, 'p', sizeof path);
    struct problem p = {.status = STATUS_NOT_FOUND,
                        .detail = "\"\n",
                        .instance = {path, sizeof path},
                        .request_id = SLICE_LITERAL("1"),
                        .retry_after_ms = -1};
    struct buf out = {0};
    problem_write(&p, &out);
    buf_append_char(&out, '\0');
    ck_assert(!out.failed);
    const char *instance = strstr(out.ptr, "\"instance\":\"");
    ck_assert_ptr_nonnull(instance);
    ck_assert_uint_eq(strspn(instance + strlen("\"instance\":\""), "p"), PROBLEM_INSTANCE_MAX);
    ck_assert_ptr_nonnull(strstr(out.ptr, "\"detail\":\"\\\"\\n\""));
    ck_assert_ptr_null(strstr(out.ptr, "retry_after_ms"));
    buf_deinit(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router");
    TCase *t = tcase_create("router");
    tcase_add_test(t, a_path_matches_one_route);
    tcase_add_test(t, a_listener_has_its_own_routes);
    tcase_add_test(t, allow_lists_methods_in_their_order);
    tcase_add_test(t, every_status_has_its_label);
    tcase_add_test(t, a_problem_cuts_its_instance_and_escapes_its_detail);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
