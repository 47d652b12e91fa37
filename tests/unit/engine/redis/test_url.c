/* test_url: the forms of redis.url, and what is said of a wrong one. */
#include "../../../support/support.h"
#include "engine/redis/tls.h"
#include "engine/redis/url.h"

#include <stdio.h>
#include <string.h>

static const struct good {
    const char *text;
    enum redis_kind kind;
    const char *where; /* "host port" of each seed, or the path */
    const char *user, *password, *master;
    int db;
    bool tls;
} GOOD[] = {
    {"embedded:", REDIS_EMBEDDED, .where = NULL},
    {"redis://localhost", REDIS_TCP, .where = "localhost 6379"},
    {"redis://localhost/", REDIS_TCP, .where = "localhost 6379"},
    {"redis://redis.example:1/15", REDIS_TCP, .where = "redis.example 1", .db = 15},
    {"redis://10.0.0.1:65535/65535", REDIS_TCP, .where = "10.0.0.1 65535", .db = 65535},
    {"redis://[::1]", REDIS_TCP, .where = "::1 6379"},
    {"redis://[2001:db8::1]:7000/2", REDIS_TCP, .where = "2001:db8::1 7000", .db = 2},
    {"redis://[fe80::1%eth0]", REDIS_TCP, .where = "fe80::1%eth0 6379"},
    {"redis://:secret@h", REDIS_TCP, .where = "h 6379", .password = "secret"},
    {"redis://app:secret@h:7/1", REDIS_TCP, .where = "h 7", .user = "app", .password = "secret", .db = 1},
    {"redis://app@h", REDIS_TCP, .where = "h 6379", .user = "app"},
    {"redis://app:@h", REDIS_TCP, .where = "h 6379", .user = "app", .password = ""},
    {"redis://a%40b:p%3Aq%2Fr%25@h", REDIS_TCP, .where = "h 6379", .user = "a@b", .password = "p:q/r%"},
    {"redis://u:p+q@h", REDIS_TCP, .where = "h 6379", .user = "u", .password = "p+q"},
    {"redis://u:p@q@h", REDIS_TCP, .where = "h 6379", .user = "u", .password = "p@q"},
    {"redis://h?tls=false", REDIS_TCP, .where = "h 6379"},
    {"redis://h/2?tls=true", REDIS_TCP, .where = "h 6379", .db = 2, .tls = true},
    {"redis://h?tls=true", REDIS_TCP, .where = "h 6379", .tls = true},
    {"rediss://u:p@h:7/1", REDIS_TCP, .where = "h 7", .user = "u", .password = "p", .db = 1, .tls = true},
    {"rediss://h?tls=true", REDIS_TCP, .where = "h 6379", .tls = true},
    {"unix:///run/redis.sock", REDIS_UNIX, .where = "/run/redis.sock"},
    {"unix:///run/r@x:y.sock?db=3", REDIS_UNIX, .where = "/run/r@x:y.sock", .db = 3},
    {"unix://u:p@/s", REDIS_UNIX, .where = "/s", .user = "u", .password = "p"},
    {"redis-sentinel://a,b:1,[::1]:2/mymaster", REDIS_SENTINEL, .where = "a 26379, b 1, ::1 2",
     .master = "mymaster"},
    {"redis-sentinel://u:p%2C@a/m-1.x_Y/7", REDIS_SENTINEL, .where = "a 26379", .user = "u", .password = "p,",
     .master = "m-1.x_Y", .db = 7},
    {"redis-sentinel://a/m/?tls=true", REDIS_SENTINEL, .where = "a 26379", .master = "m", .tls = true},
    {"redis-cluster://a,b:7001,[::1]", REDIS_CLUSTER, .where = "a 6379, b 7001, ::1 6379"},
    {"redis-cluster://u:p@a,b/0", REDIS_CLUSTER, .where = "a 6379, b 6379", .user = "u", .password = "p"},
    {"redis-cluster://a,b/?tls=true", REDIS_CLUSTER, .where = "a 6379, b 6379", .tls = true},
    {"redis-cluster://0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f", REDIS_CLUSTER,
     .where = "0 6379, 1 6379, 2 6379, 3 6379, 4 6379, 5 6379, 6 6379, 7 6379, 8 6379, 9 6379, a 6379, "
              "b 6379, c 6379, d 6379, e 6379, f 6379"},
};

static void expect_text(const char *got, const char *expected, const char *url)
{
    ck_assert_msg((got == NULL) == (expected == NULL) && (!got || strcmp(got, expected) == 0),
                  "%s: %s instead of %s", url, got ? got : "nothing", expected ? expected : "nothing");
}

static const char *where(const struct redis_url *u, char *out, size_t size)
{
    size_t len = 0;
    out[0] = 0;
    if (u->kind == REDIS_EMBEDDED) return NULL;
    if (u->kind == REDIS_UNIX) return u->path;
    for (unsigned i = 0; i < u->seed_count; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s %d", i ? ", " : "", u->seeds[i].host,
                                u->seeds[i].port);
    return out;
}

START_TEST(a_good_url_is_taken_apart)
{
    const struct good *good = &GOOD[_i];
    struct redis_url u;
    char error[300] = "", text[512];
    bool ok = redis_url_parse("redis.url", good->text, &u, error, sizeof error);
    if (good->tls && !redis_tls_available()) {
        ck_assert(!ok);
        ck_assert_msg(strstr(error, "speaks no TLS") != NULL, "%s: %s", good->text, error);
        return;
    }
    ck_assert_msg(ok, "%s: %s", good->text, error);
    ck_assert_int_eq(u.kind, good->kind);
    expect_text(where(&u, text, sizeof text), good->where, good->text);
    expect_text(u.user, good->user, good->text);
    expect_text(u.password, good->password, good->text);
    expect_text(u.master, good->master, good->text);
    ck_assert_int_eq(u.db, good->db);
    ck_assert_int_eq(u.tls, good->tls);
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
    {"redis-sentinels://a/m", "none of"},
    {"embedded", "none of"},
    {"embedded:x", "none of"},
    {"redis://", "no host"},
    {"redis:///0", "no host"},
    {"redis://:6379", "no host"},
    {"redis://u:p@", "no host"},
    {"redis://[]:1", "no host"},
    {"redis-cluster://a,,b", "no host"},
    {"redis-cluster://a,", "no host"},
    {"redis-cluster://,a", "no host"},
    {"redis-cluster://", "no host"},
    {"redis://[::1", "ends with ]"},
    {"redis://[::1]6379", "after ]"},
    {"redis://[localhost]", "IPv6 address in [ ]"},
    {"redis://[::1::2]", "IPv6 address in [ ]"},
    {"redis://h:", "port"},
    {"redis://h:0", "port"},
    {"redis://h:65536", "port"},
    {"redis://h:123456", "port"},
    {"redis://h:-1", "port"},
    {"redis://h:6379x", "port"},
    {"redis://h:1:2", "port"},
    {"redis://2001:db8::1", "[ ]"},
    {"redis-cluster://a,b:x", "port"},
    {"redis://a,b:1", "redis-sentinel:// or redis-cluster://"},
    {"rediss://a,b", "redis-sentinel:// or redis-cluster://"},
    {"redis://h h", "host"},
    {"redis://h#1", "host"},
    {"redis://h/x", "database number"},
    {"redis://h/1/", "database number"},
    {"redis://h/-1", "database number"},
    {"redis://h/65536", "database number"},
    {"redis://h?db=1", "tls=true"},
    {"redis://h/0?timeout=1", "tls=true"},
    {"redis://h?TLS=true", "tls=true"},
    {"redis://h?tls", "true or false"},
    {"redis://h?tls=1", "true or false"},
    {"redis://h?tls=true#x", "true or false"},
    {"redis://h?tls=false&tls=true", "contradicts"},
    {"rediss://h?tls=false", "contradicts"},
    {"redis://u:%4@h", "%-escape"},
    {"redis://%zz:p@h", "%-escape"},
    {"redis://u:p%00q@h", "%-escape"},
    {"redis://:/p@h", "%2F"},
    {"redis://u:1/p@h", "%2F"},
    {"redis-cluster://a,b/3", "database 0 alone"},
    {"redis-cluster://a,b/3?tls=true", "database 0 alone"},
    {"redis-cluster://a,b/name", "nothing else"},
    {"redis-sentinel://a,b", "no master"},
    {"redis-sentinel://a,b/", "no master"},
    {"redis-sentinel://a,b//3", "no master"},
    {"redis-sentinel://a,b?tls=true", "no master"},
    {"redis-sentinel://a,b/my master", "A-Z"},
    {"redis-sentinel://a,b/m/x", "database number"},
    {"redis-sentinel://0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g/m", "over 16"},
    {"unix://", "absolute"},
    {"unix://run/redis.sock", "absolute"},
    {"unix://u:p@run/redis.sock", "absolute"},
    {"unix://%4@/s", "%-escape"},
    {"unix:///s?db=", "db="},
    {"unix:///s?db=x", "db="},
    {"unix:///s?database=1", "db="},
    {"unix:///s?db=1&x=2", "db="},
    {"unix:///s?tls=true", "over TCP only"},
};

START_TEST(a_bad_url_is_refused_in_one_line)
{
    struct redis_url u;
    char error[300] = "";
    ck_assert_msg(!redis_url_parse("redis.state_url", BAD[_i].text, &u, error, sizeof error), "%s",
                  BAD[_i].text);
    ck_assert_msg(strncmp(error, "redis.state_url: ", 17) == 0, "%s: %s", BAD[_i].text, error);
    ck_assert_msg(strstr(error, BAD[_i].error) != NULL, "%s: %s", BAD[_i].text, error);
    ck_assert_msg(strchr(error, '\n') == NULL, "%s: %s", BAD[_i].text, error);
    ck_assert(!u.path && !u.user && !u.password && !u.master && u.seed_count == 0);
}
END_TEST

START_TEST(a_socket_path_has_room_for_107_bytes)
{
    char text[7 + 109] = "unix://";
    struct redis_url u;
    char error[300] = "";
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
    static const char *const URLS[] = {"redis://u:hunter2@",           "redis://u:hunter2%4@h",
                                       "unix://u:hunter2@x",           "redis://u:hunter2@h:x",
                                       "redis://u:hunter2/@h",         "redis://:hunter2",
                                       "redis://hunter2/x@h",          "redis-cluster://u:hunter2@a,b/3",
                                       "redis-sentinel://u:hunter2@a", "rediss://u:hunter2@h?tls=false"};
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct redis_url u;
        char error[300] = "";
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
    tcase_add_loop_test(c, a_bad_url_is_refused_in_one_line, 0, sizeof BAD / sizeof BAD[0]);
    tcase_add_test(c, a_socket_path_has_room_for_107_bytes);
    tcase_add_test(c, an_error_never_shows_the_password);
    return test_run(suite);
}
