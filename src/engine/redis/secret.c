/* secret: a mutex over one buffer; taken once a connection. */
#include "engine/redis/secret.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis_secret {
    const char *file, *given;
    _Atomic bool refused;
    pthread_mutex_t lock;
    char password[REDIS_PASSWORD_SIZE];
};

static bool read_file(const char *path, char out[REDIS_PASSWORD_SIZE], char *error, size_t error_size)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(error, error_size, "redis.password_file %s: %s; give a file that this user can read", path,
                 strerror(errno));
        return false;
    }
    size_t len = fread(out, 1, REDIS_PASSWORD_SIZE - 1, file);
    bool whole = fgetc(file) == EOF && !ferror(file);
    fclose(file);
    while (len && (out[len - 1] == '\n' || out[len - 1] == '\r'))
        len--;
    out[len] = 0;
    if (!whole || len == 0) {
        snprintf(error, error_size,
                 "redis.password_file %s: empty, unreadable or over %d bytes; write the password into it",
                 path, REDIS_PASSWORD_SIZE - 1);
        return false;
    }
    return true;
}

bool redis_secret_reload(struct redis_secret *s, char *error, size_t error_size)
{
    char password[REDIS_PASSWORD_SIZE] = "";
    if (s->file[0]) {
        if (!read_file(s->file, password, error, error_size)) return false;
    } else if (s->given) {
        assert(strlen(s->given) < sizeof password); /* redis_url_parse */
        memcpy(password, s->given, strlen(s->given) + 1);
    }
    pthread_mutex_lock(&s->lock);
    memcpy(s->password, password, sizeof password);
    pthread_mutex_unlock(&s->lock);
    explicit_bzero(password, sizeof password);
    atomic_store(&s->refused, false);
    return true;
}

struct redis_secret *redis_secret_create(const char *file, const char *password, char *error,
                                         size_t error_size)
{
    struct redis_secret *s = calloc(1, sizeof *s);
    if (!s) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    s->file = file;
    s->given = password;
    pthread_mutex_init(&s->lock, NULL);
    if (!redis_secret_reload(s, error, error_size)) redis_secret_destroy(&s);
    return s;
}

void redis_secret_destroy(struct redis_secret **secret)
{
    struct redis_secret *s = *secret;
    if (!s) return;
    *secret = NULL;
    pthread_mutex_destroy(&s->lock);
    explicit_bzero(s->password, sizeof s->password);
    free(s);
}

void redis_secret_copy(struct redis_secret *s, char out[REDIS_PASSWORD_SIZE])
{
    out[0] = 0;
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    memcpy(out, s->password, sizeof s->password);
    pthread_mutex_unlock(&s->lock);
}

void redis_secret_note_refused(struct redis_secret *s)
{
    if (s) atomic_store(&s->refused, true);
}

bool redis_secret_refused(const struct redis_secret *s)
{
    return s && atomic_load(&s->refused);
}
