/* http_client: one curl easy handle that keeps its connection, with buffers for the last answer. Uses
 * curl_easy only; the handle never raises signals, so threads may each have one. */
#include "http_client.h"
#include "support.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PATIENCE_MS = 20000 };

struct http_client {
    CURL *curl;
    char base[64];
    struct http_answer answer;
    size_t head_len;
    char field[8192];
    unsigned connects;
};

static void append(char **text, size_t *len, const char *bytes, size_t n)
{
    *text = must_realloc(*text, *len + n + 1);
    memcpy(*text + *len, bytes, n);
    *len += n;
    (*text)[*len] = 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_client *c = arg;
    append(&c->answer.body, &c->answer.len, bytes, size * count);
    return size * count;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_client *c = arg;
    size_t n = size * count;
    if (n > 5 && memcmp(bytes, "HTTP/", 5) == 0) /* the final answer follows a 100 Continue */
        c->head_len = 0;
    append(&c->answer.head, &c->head_len, bytes, n);
    return n;
}

static struct http_client *open_base(const char *base)
{
    struct http_client *c = must_alloc(sizeof *c);
    c->curl = curl_easy_init();
    ck_assert_ptr_nonnull(c->curl);
    FORMAT(c->base, "%s", base);
    c->answer.body = must_copy("", 0);
    c->answer.head = must_copy("", 0);
    return c;
}

struct http_client *http_open(int port)
{
    char base[64];
    return open_base(FORMAT(base, "http://127.0.0.1:%d", port));
}

static void set_options(struct http_client *c)
{
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c->curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)test_ms(PATIENCE_MS));
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->answer.error);
}

struct http_client *http_open_unix(const char *socket_path)
{
    struct http_client *c = open_base("http://localhost");
    curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    return c;
}

void http_close(struct http_client **c)
{
    if (*c == NULL) return;
    curl_easy_cleanup((*c)->curl);
    free((*c)->answer.body);
    free((*c)->answer.head);
    free(*c);
    *c = NULL;
}

static struct curl_slist *header_list(const char *headers, bool has_body)
{
    struct curl_slist *list =
        curl_slist_append(NULL, "Expect:"); /* no 100-continue unless a test asks for it */
    if (has_body && (headers == NULL || strcasestr(headers, "content-type:") == NULL))
        list = curl_slist_append(list, "Content-Type: application/json");
    while (headers && *headers) {
        size_t n = strcspn(headers, "\n");
        char *line = must_copy(headers, n);
        list = curl_slist_append(list, line);
        free(line);
        headers += n + (headers[n] == '\n');
    }
    ck_assert_ptr_nonnull(list);
    return list;
}

static void reset_answer(struct http_client *c)
{
    c->answer.status = 0;
    c->answer.len = 0;
    c->head_len = 0;
    c->answer.body[0] = 0;
    c->answer.head[0] = 0;
    c->answer.error[0] = 0;
}

static void set_method(CURL *curl, const char *method, const char *body, size_t len)
{
    curl_easy_setopt(curl, CURLOPT_NOBODY, strcmp(method, "HEAD") == 0 ? 1L : 0L);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    } else if (strcmp(method, "HEAD") != 0) {
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

const struct http_answer *http_request(struct http_client *c, const char *method, const char *path,
                                       const char *headers, const char *body, size_t len)
{
    size_t size = strlen(c->base) + strlen(path) + 1;
    char *url = must_alloc(size);
    format(url, size, "%s%s", c->base, path);
    reset_answer(c);
    set_options(c);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    set_method(c->curl, method, body, len);
    struct curl_slist *list = header_list(headers, body != NULL);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
    int64_t from = now_us();
    CURLcode result = curl_easy_perform(c->curl);
    c->answer.took_us = now_us() - from;
    long status = 0;
    long connects = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->curl, CURLINFO_NUM_CONNECTS, &connects);
    c->connects += (unsigned)connects;
    c->answer.status = result == CURLE_OK ? (int)status : 0;
    if (result != CURLE_OK && c->answer.error[0] == 0)
        FORMAT(c->answer.error, "%s", curl_easy_strerror(result));
    test_saw("%s %s: %d %s %.160s", method, path, c->answer.status, c->answer.error, c->answer.body);
    curl_slist_free_all(list);
    free(url);
    return &c->answer;
}

const struct http_answer *http_get(struct http_client *c, const char *path)
{
    return http_request(c, "GET", path, NULL, NULL, 0);
}

const struct http_answer *http_send(struct http_client *c, const char *method, const char *path,
                                    const char *body)
{
    return http_request(c, method, path, NULL, body, body ? strlen(body) : 0);
}

/* The next line with this name from `line` on; NULL at the end. */
static const char *find_header(const char *line, const char *name)
{
    size_t n = strlen(name);
    while (*line) {
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') return line;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return NULL;
}

const char *http_header(struct http_client *c, const char *name)
{
    const char *line = find_header(c->answer.head, name);
    if (line == NULL) return NULL;
    line += strlen(name) + 1;
    line += strspn(line, " \t");
    size_t n = strcspn(line, "\r\n");
    ck_assert_uint_lt(n, sizeof c->field);
    memcpy(c->field, line, n);
    c->field[n] = 0;
    return c->field;
}

unsigned http_header_count(struct http_client *c, const char *name)
{
    unsigned n = 0;
    const char *line = c->answer.head;
    while ((line = find_header(line, name)) != NULL) {
        n++;
        line += strlen(name);
    }
    return n;
}

unsigned http_connects(const struct http_client *c)
{
    return c->connects;
}
