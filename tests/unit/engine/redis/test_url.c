/* test_url: the forms of redis.url, and what is said of a wrong one. */
#include "../../../support/support.h"
#include "engine/redis/url.h"

#include <string.h>

static const struct {
    const char *text;
    enum redis_kind kind;
    const char *where; /* host or path */
    int port;
    const char *user, *password;
    int db;
} GOOD[] = {
    {"embedded:", REDIS_EMBEDDED, NULL, 0, NULL, NULL, 0},
    {"redis://localhost", REDIS_TCP, "localhost", 6379, NULL, NULL, 0},
    {"redis://localhost/", REDIS_TCP, "localhost", 6379, NULL, NULL, 0},
    {"redis://redis.example:1/15", REDIS_TCP, "redis.example", 1, NULL, NULL, 15},
    {"redis://10.0.0.1:65535/65535", REDIS_TCP, "10.0.0.1", 65535, NULL, NULL, 65535},
    {"redis://[::1]", REDIS_TCP, "::1", 6379, NULL, NULL, 0},
    {"redis://[fe80::1]:7000/2", REDIS_TCP, "fe80::1", 7000, NULL, NULL, 2},
    {"redis://:secret@h", REDIS_TCP, "h", 6379, NULL, "secret", 0},
    {"redis://app:secret@h:7/1", REDIS_TCP, "h", 7, "app", "secret", 1},
    {"redis://app@h", REDIS_TCP, "h", 6379, "app", NULL, 0},
    {"redis://app:@h", REDIS_TCP, "h", 6379, "app", "", 0},
    {"redis://a%40b:p%3Aq%2Fr%25@h", REDIS_TCP, "h", 6379, "a@b", "p:q/r%", 0},
    {"redis://u:p+q@h", REDIS_TCP, "h", 6379, "u", "p+q", 0},
    {"redis://u:p@q@h", REDIS_TCP, "h", 6379, "u", "p@q", 0},
    {"unix:///run/redis.sock", REDIS_UNIX, "/run/redis.sock", 0, NULL, NULL, 0},
    {"unix:///run/r@x:y.sock?db=3", REDIS_UNIX, "/run/r@x:y.sock", 0, NULL, NULL, 3},
    {"unix://u:p@/s", REDIS_UNIX, "/s", 0, "u", "p", 0},
};

static void expect_text(const char *got, const char *expected, const char *url)
{
    ck_assert_msg((got == NULL) == (expected == NULL) && (!got || strcmp(got, expected) == 0),
                  "%s: %s instead of %s", url, got ? got : "nothing", expected ? expected : "nothing");
}

START_TEST(a_good_url_is_taken_apart)
{
    struct redis_url u;
    char error[200] = "";
    ck_assert_msg(redis_url_parse("redis.url", GOOD[_i].text, &u, error, sizeof error), "%s: %s",
                  GOOD[_i].text, error);
    ck_assert_int_eq(u.kind, GOOD[_i].kind);
    expect_text(u.kind == REDIS_UNIX ? u.path : u.seeds[0].host, GOOD[_i].where, GOOD[_i].text);
    expect_text(u.user, GOOD[_i].user, GOOD[_i].text);
    expect_text(u.password, GOOD[_i].password, GOOD[_i].text);
    ck_assert_int_eq(u.seeds[0].port, GOOD[_i].port);
    ck_assert_int_eq(u.db, GOOD[_i].db);
    redis_url_deinit(&u);
    ck_assert_uint_eq(u.seed_count, 0);
    redis_url_deinit(&u);
}
END_TEST

static const struct {
    const char *text, *error; /* a part of it */
} BAD[] = {
    {"", "none of"},
    {"localhost:6379", "none of"},
    {"http://localhost", "none of"},
    {"REDIS://localhost", "none of"},
    {"embedded", "none of"},
    {"embedded:x", "none of"},
    {"rediss://h", "TLS"},
    {"redis-sentinel://a,b/m", "one Redis node"},
    {"redis-cluster://a,b", "one Redis node"},
    {"redis://", "no host"},
    {"redis:///0", "no host"},
    {"redis://:6379", "no host"},
    {"redis://u:p@", "no host"},
    {"redis://[]:1", "no host"},
    {"redis://[::1", "ends with ]"},
    {"redis://[::1]6379", "after ]"},
    {"redis://h:", "port"},
    {"redis://h:0", "port"},
    {"redis://h:65536", "port"},
    {"redis://h:123456", "port"},
    {"redis://h:-1", "port"},
    {"redis://h:6379x", "port"},
    {"redis://h:1:2", "port"},
    {"redis://a,b:1", "host"},
    {"redis://h?db=1", "host"},
    {"redis://h h", "host"},
    {"redis://h#1", "host"},
    {"redis://h/x", "database number"},
    {"redis://h/1/", "database number"},
    {"redis://h/-1", "database number"},
    {"redis://h/65536", "database number"},
    {"redis://h/0?timeout=1", "database number"},
    {"redis://u:%4@h", "%-escape"},
    {"redis://%zz:p@h", "%-escape"},
    {"redis://u:p%00q@h", "%-escape"},
    {"unix://", "absolute"},
    {"unix://run/redis.sock", "absolute"},
    {"unix://u:p@run/redis.sock", "absolute"},
    {"unix://%4@/s", "%-escape"},
    {"unix:///s?db=", "db="},
    {"unix:///s?db=x", "db="},
    {"unix:///s?database=1", "db="},
    {"unix:///s?db=1&x=2", "db="},
};

START_TEST(a_bad_url_is_refused_with_its_place)
{
    struct redis_url u;
    char error[200] = "";
    ck_assert_msg(!redis_url_parse("redis.url", BAD[_i].text, &u, error, sizeof error), "%s", BAD[_i].text);
    ck_assert_msg(strncmp(error, "redis.url: ", 11) == 0, "%s: %s", BAD[_i].text, error);
    ck_assert_msg(strstr(error, BAD[_i].error) != NULL, "%s: %s", BAD[_i].text, error);
    ck_assert(!u.path && !u.user && !u.password);
}
END_TEST

START_TEST(a_socket_path_has_room_for_107_bytes)
{
    char text[7 + 109] = "unix://";
    struct redis_url u;
    char error[200] = "";
    memset(text + 7, 'x', 108);
    text[7] = '/';
    ck_assert(!redis_url_parse("redis.url", text, &u, error, sizeof error));
    ck_assert_ptr_nonnull(strstr(error, "107 bytes"));
    text[7 + 107] = 0;
    ck_assert(redis_url_parse("redis.url", text, &u, error, sizeof error));
    redis_url_deinit(&u);
}
END_TEST

START_TEST(an_error_never_shows_the_password)
{
    static const char *const URLS[] = {"redis://u:hunter2@", "redis://u:hunter2%4@h", "unix://u:hunter2@x",
                                       "redis://u:hunter2@h:x"};
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct redis_url u;
        char error[200] = "";
        ck_assert(!redis_url_parse("redis.url", URLS[i], &u, error, sizeof error));
        ck_assert_ptr_null(strstr(error, "hunter2"));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("url");
    TCase *c = test_case(suite, "url", 10);
    tcase_add_loop_test(c, a_good_url_is_taken_apart, 0, sizeof GOOD / sizeof GOOD[0]);
    tcase_add_loop_test(c, a_bad_url_is_refused_with_its_place, 0, sizeof BAD / sizeof BAD[0]);
    tcase_add_test(c, a_socket_path_has_room_for_107_bytes);
    tcase_add_test(c, an_error_never_shows_the_password);
    return test_run(suite);
}
