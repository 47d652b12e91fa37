/* On real input: real prompts stored with answers, looked up by input, Redis killed,
 * looked up again, Redis back, everything there. The prompts are ../shared/data/prompts.csv beside the
 * repository where that is, else the sample in tests/data/. */
#include "../support/stage.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPTS_MAX = 4000, ANSWER_SIZE = 128 };

struct prompts {
    char *text[PROMPTS_MAX]; /* distinct */
    size_t count;
};

/* --- CSV: act,prompt with quotes doubled inside quotes --- */

/* Takes a field off *at into a new string; *end is the character that ended it (0 at the end of the file). */
static char *take_field(const char **at, char *end)
{
    const char *p = *at;
    char *out = must_alloc(strlen(p) < 65536 ? strlen(p) + 1 : 65536);
    size_t n = 0;
    bool quoted = *p == '"';
    p += quoted;
    while (*p && (quoted || (*p != ',' && *p != '\n' && *p != '\r'))) {
        if (quoted && *p == '"') {
            if (p[1] != '"') {
                quoted = false;
                p++;
                continue;
            }
            p++;
        }
        ck_assert_uint_lt(n, 65535);
        out[n++] = *p++;
    }
    out[n] = 0;
    if (*p == '\r' && p[1] == '\n') p++;
    *end = *p;
    *at = p + (*p != 0);
    return out;
}

static bool known(const struct prompts *p, const char *text)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->text[i], text) == 0) return true;
    return false;
}

static void read_prompts(struct prompts *p)
{
    char path[TEST_PATH_MAX];
    if (access(repository_path(path, "../shared/data/prompts.csv"), R_OK) != 0)
        repository_path(path, "tests/data/prompts.csv");
    char *text = file_read(path, NULL);
    const char *at = text;
    p->count = 0;
    for (size_t row = 0; *at && p->count < PROMPTS_MAX; row++) {
        char *last = NULL;
        char end = ',';
        while (end == ',') {
            free(last);
            last = take_field(&at, &end);
        }
        if (row > 0 && *last && !known(p, last))
            p->text[p->count++] = last;
        else
            free(last);
    }
    free(text);
    ck_assert_msg(p->count >= 15, "only %zu prompts in %s", p->count, path);
}

static void free_prompts(struct prompts *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->text[i]);
}

/* --- the demonstration --- */

static char *json_string(const char *text)
{
    size_t len = strlen(text);
    char *out = must_alloc(len * 6 + 3);
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20) {
            n += strlen(format(out + n, 7, "\\u%04x", c));
        } else {
            out[n++] = (char)c;
        }
    }
    out[n++] = '"';
    return out;
}

static const char *answer_to(char out[ANSWER_SIZE], size_t i)
{
    return format(out, ANSWER_SIZE, "the answer to prompt %zu", i);
}

static void store_all(struct stage *s, const struct prompts *p)
{
    char key[KEY_SIZE];
    char answer[ANSWER_SIZE];
    char got[128];
    for (size_t i = 0; i < p->count; i++) {
        char *input = json_string(p->text[i]);
        size_t size = strlen(input) + 512;
        char *body = must_alloc(size);
        format(body, size,
               "{\"input\":%s,\"response\":\"%s\",\"metadata\":{\"model\":\"demo\",\"tokens\":%zu,"
               "\"provider\":\"test\"}}",
               input, answer_to(answer, i), i);
        const struct http_answer *a = http_send(s->h, "POST", "/cache", body);
        EXPECT_STATUS(a, 201);
        ck_assert_str_eq(MEMBER(got, a->body, "key"), key_of(key, p->text[i]));
        free(body);
        free(input);
    }
}

static void look_up_all(struct stage *s, const struct prompts *p, const char *backend)
{
    char answer[ANSWER_SIZE];
    char got[ANSWER_SIZE];
    for (size_t i = 0; i < p->count; i++) {
        char *input = json_string(p->text[i]);
        size_t size = strlen(input) + 64;
        char *body = must_alloc(size);
        const struct http_answer *a =
            i % 2 ? http_send(s->h, "POST", "/cache/lookup", format(body, size, "{\"input\":%s}", input))
                  : http_request(s->h, "POST", "/cache/lookup", "Content-Type: text/plain", p->text[i],
                                 strlen(p->text[i]));
        EXPECT_STATUS(a, 200);
        ck_assert_str_eq(MEMBER(got, a->body, "response"), answer_to(answer, i));
        free(body);
        free(input);
    }
    expect_header(s->h, "Phoenix-Backend", backend);
}

static bool asks_redis(struct http_client *h)
{
    EXPECT_STATUS(http_get(h, "/cache/absent"), 404);
    return strcmp(http_header(h, "Phoenix-Backend"), "redis") == 0;
}

START_TEST(real_prompts_survive_the_death_of_redis)
{
    static struct prompts p;
    read_prompts(&p);
    struct stage s = stage_open_durable(NULL);
    store_all(&s, &p);
    look_up_all(&s, &p, "redis");
    ck_assert_int_eq(resp_integer(s.r, "DBSIZE"), (long long)p.count);
    redis_server_kill(s.redis);
    look_up_all(&s, &p, "local");
    redis_server_restart(s.redis);
    WAIT_FOR(asks_redis(s.h), 15000);
    look_up_all(&s, &p, "redis");
    resp_close(&s.r);
    s.r = redis_server_client(s.redis);
    ck_assert_int_eq(resp_integer(s.r, "DBSIZE"), (long long)p.count);
    for (size_t i = 0; i < p.count; i++) {
        char key[KEY_SIZE];
        char answer[ANSWER_SIZE];
        char got[ANSWER_SIZE];
        ck_assert_str_eq(MEMBER(got, redis_value(s.r, key_of(key, p.text[i])), "response"),
                         answer_to(answer, i));
    }
    stage_close(&s);
    free_prompts(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prompts");
    TCase *tc = test_case(suite, "prompts", 60);
    tcase_add_test(tc, real_prompts_survive_the_death_of_redis);
    return test_run(suite);
}
