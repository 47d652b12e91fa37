/* Who may speak: tokens, Hosts, Origins. */
#include "http/auth.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static void write_file(const char *text, size_t len)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static void set_up(void)
{
    (void)snprintf(path, sizeof path, "/tmp/phoenix-auth-%d", (int)getpid());
}

static void tear_down(void)
{
    (void)unlink(path);
}

START_TEST(a_page_of_ours_names_the_host_that_it_came_from)
{
    static const struct {
        const char *origin, *host;
        bool own;
    } cases[] = {
        {"http://10.1.2.3:8380", "10.1.2.3:8380", true},
        {"https://Ops.Example", "ops.example", true},
        {"http://[fe80::1]:8380", "[fe80::1]:8380", true},
        {"http://10.1.2.3:8381", "10.1.2.3:8380", false},
        {"http://10.1.2.3", "10.1.2.3:8380", false},
        {"http://10.1.2.3:8380/", "10.1.2.3:8380", false},
        {"ftp://10.1.2.3:8380", "10.1.2.3:8380", false},
        {"null", "null", false},
        {"http://", "", false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(auth_origin_own(slice_of(cases[i].origin), slice_of(cases[i].host)) == cases[i].own,
                      "%s at %s", cases[i].origin, cases[i].host);
    ck_assert(!auth_origin_own(SLICE_NONE, slice_of("10.1.2.3")));
}
END_TEST

START_TEST(a_peer_is_loopback_by_its_address)
{
    static const struct {
        const char *address;
        bool loopback;
    } cases[] = {{"127.0.0.1", true},        {"127.255.0.9", true},      {"10.0.0.1", false},
                 {"128.0.0.1", false},       {"0.0.0.0", false},         {"::1", true},
                 {"::ffff:127.0.0.1", true}, {"::ffff:10.0.0.1", false}, {"::", false},
                 {"fe80::1", false},         {"::127.0.0.1", false},     {"7f00::1", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage peer = {0};
        struct sockaddr_in four = {.sin_family = AF_INET};
        struct sockaddr_in6 six = {.sin6_family = AF_INET6};
        if (inet_pton(AF_INET, cases[i].address, &four.sin_addr) == 1)
            memcpy(&peer, &four, sizeof four);
        else if (inet_pton(AF_INET6, cases[i].address, &six.sin6_addr) == 1)
            memcpy(&peer, &six, sizeof six);
        ck_assert_msg(auth_peer_loopback((const struct sockaddr *)&peer) == cases[i].loopback, "%s",
                      cases[i].address);
    }
    ck_assert(!auth_peer_loopback(&(const struct sockaddr){.sa_family = AF_UNIX}));
}
END_TEST

START_TEST(hosts_are_loopback_or_allowed)
{
    static const struct {
        const char *host;
        bool wellformed, ok;
    } cases[] = {
        {"localhost", true, true},
        {"LOCALHOST:8379", true, true},
        {"localhost.", true, true},
        {"app.localhost", true, true},
        {".localhost", true, false},
        {"127.0.0.1", true, true},
        {"127.9.8.7:1", true, true},
        {"[::1]", true, true},
        {"[::1]:8379", true, true},
        {"[::2]", true, false},
        {"128.0.0.1", true, false},
        {"127.0.0.1.evil", true, false},
        {"127.evil.example", true, false},
        {"evil.example", true, false},
        {"a.example", true, true},
        {"A.Example:80", true, true},
        {"b.example", true, true},
        {"x.a.example", true, false},
        {"[fe80::1]:80", true, true},
        {"localhost.evil", true, false},
        {"evillocalhost", true, false},
        {"", false, false},
        {":80", false, false},
        {"localhost:", true, true},
        {"localhost:8o", false, false},
        {"localhost:123456", false, false},
        {"a@localhost", false, false},
        {"local host", false, false},
        {"localhost,evil", false, false},
        {"[::1", false, false},
        {"[::1]x", false, false},
        {"[]", false, false},
        {"localhost/", false, false},
    };
    char error[128];
    struct auth *a = auth_create("", " a.example,b.example [fe80::1]", error, sizeof error);
    ck_assert_ptr_nonnull(a);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice host = slice_of(cases[i].host);
        ck_assert_msg(auth_host_wellformed(host) == cases[i].wellformed, "%s", cases[i].host);
        ck_assert_msg(auth_host_ok(a, host) == cases[i].ok, "%s", cases[i].host);
    }
    auth_destroy(&a);
    ck_assert_ptr_null(a);
}
END_TEST

START_TEST(an_origin_must_be_absent_or_one_of_ours)
{
    static const struct {
        const char *origin;
        bool ok;
    } cases[] = {
        {NULL, true},
        {"http://localhost", true},
        {"https://127.0.0.1:3000", true},
        {"HTTP://[::1]", true},
        {"https://a.example", true},
        {"http://evil.example", false},
        {"null", false},
        {"", false},
        {"file://", false},
        {"http://", false},
        {"http://localhost/", false},
        {"http://localhost@evil.example", false},
        {"ftp://localhost", false},
    };
    char error[128];
    struct auth *a = auth_create("", "a.example", error, sizeof error);
    ck_assert_ptr_nonnull(a);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(auth_origin_ok(a, slice_of(cases[i].origin)) == cases[i].ok, "case %zu", i);
    auth_destroy(&a);
}
END_TEST

START_TEST(a_token_is_compared_whole_and_read_again)
{
    char error[256];
    write_file("  s3cret \n", 10);
    struct auth *a = auth_create(path, "", error, sizeof error);
    ck_assert_ptr_nonnull(a);
    ck_assert(auth_token_needed(a));
    ck_assert(auth_token_ok(a, slice_of("Bearer s3cret")));
    ck_assert(auth_token_ok(a, slice_of("BEARER  s3cret ")));
    static const char *const wrong[] = {
        "", "s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Basic s3cret"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(!auth_token_ok(a, slice_of(wrong[i])), "%s", wrong[i]);
    ck_assert(!auth_token_ok(a, SLICE_NONE));
    write_file("other", 5);
    ck_assert(auth_reload(a, error, sizeof error));
    ck_assert(!auth_token_ok(a, slice_of("Bearer s3cret")));
    ck_assert(auth_token_ok(a, slice_of("Bearer other")));
    write_file("", 0);
    ck_assert(!auth_reload(a, error, sizeof error));
    ck_assert_ptr_nonnull(strstr(error, path));
    ck_assert(auth_token_ok(a, slice_of("Bearer other")));
    auth_destroy(&a);
}
END_TEST

/* Each change is told until the file is read, also in vain. */
START_TEST(a_changed_file_is_noticed_until_it_is_read)
{
    char error[256], other[80];
    (void)snprintf(other, sizeof other, "%s-other", path);
    write_file("first", 5);
    struct auth *a = auth_create(path, "", error, sizeof error);
    ck_assert_ptr_nonnull(a);
    ck_assert(!auth_file_changed(a));
    ck_assert_int_eq(rename(path, other), 0);
    write_file("other", 5); /* the same size, another file */
    ck_assert(auth_file_changed(a));
    ck_assert(auth_file_changed(a));
    ck_assert(auth_reload(a, error, sizeof error));
    ck_assert(!auth_file_changed(a));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(auth_file_changed(a));
    ck_assert(!auth_reload(a, error, sizeof error));
    ck_assert(!auth_file_changed(a));
    ck_assert_int_eq(rename(other, path), 0);
    ck_assert(auth_file_changed(a));
    auth_destroy(&a);
}
END_TEST

START_TEST(a_file_without_one_legal_token_is_refused)
{
    char error[256], big[4200];
    memset(big, 'x', sizeof big);
    static const char *const bad[] = {"", " \n", "two tokens", "a\nb", "\xc3\xbc"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(bad[i], strlen(bad[i]));
        ck_assert_ptr_null(auth_create(path, "", error, sizeof error));
        ck_assert_ptr_nonnull(strstr(error, path));
    }
    write_file(big, 4097);
    ck_assert_ptr_null(auth_create(path, "", error, sizeof error));
    write_file(big, sizeof big);
    ck_assert_ptr_null(auth_create(path, "", error, sizeof error));
    write_file(big, 4096);
    struct auth *a = auth_create(path, "", error, sizeof error);
    ck_assert_ptr_nonnull(a);
    auth_destroy(&a);
    (void)unlink(path);
    ck_assert_ptr_null(auth_create(path, "", error, sizeof error));
}
END_TEST

START_TEST(without_a_token_file_none_is_asked_for)
{
    char error[128];
    struct auth *a = auth_create("", "", error, sizeof error);
    ck_assert_ptr_nonnull(a);
    ck_assert(!auth_token_needed(a));
    ck_assert(auth_token_ok(a, SLICE_NONE));
    ck_assert(auth_reload(a, error, sizeof error));
    ck_assert(!auth_file_changed(a));
    ck_assert(!auth_host_ok(a, slice_of("a.example")));
    auth_destroy(&a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("auth");
    TCase *t = tcase_create("auth");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_page_of_ours_names_the_host_that_it_came_from);
    tcase_add_test(t, a_peer_is_loopback_by_its_address);
    tcase_add_test(t, hosts_are_loopback_or_allowed);
    tcase_add_test(t, an_origin_must_be_absent_or_one_of_ours);
    tcase_add_test(t, a_token_is_compared_whole_and_read_again);
    tcase_add_test(t, a_changed_file_is_noticed_until_it_is_read);
    tcase_add_test(t, a_file_without_one_legal_token_is_refused);
    tcase_add_test(t, without_a_token_file_none_is_asked_for);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
