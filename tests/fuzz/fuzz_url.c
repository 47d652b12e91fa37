/* fuzz_url: any text as redis.url: taken apart within its bounds, or refused in one line of our own words
 * that quotes nothing of it. */
#include "engine/redis/url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(fact)                                                                                           \
    do {                                                                                                     \
        if (!(fact)) abort();                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parts(const struct redis_url *u)
{
    MUST(u->seed_count <= REDIS_SEEDS_MAX);
    MUST((u->seed_count > 0) == (u->kind != REDIS_EMBEDDED && u->kind != REDIS_UNIX));
    MUST((u->path != NULL) == (u->kind == REDIS_UNIX));
    MUST((u->master != NULL) == (u->kind == REDIS_SENTINEL));
    MUST(!u->tls || u->kind != REDIS_UNIX);
    MUST(u->db >= 0 && (u->db == 0 || u->kind != REDIS_CLUSTER));
    for (unsigned i = 0; i < u->seed_count; i++) {
        MUST(u->seeds[i].port > 0 && u->seeds[i].port <= 65535);
        MUST(u->seeds[i].host[0] != 0 && strlen(u->seeds[i].host) < sizeof u->seeds[i].host);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    struct redis_url u;
    char error[300] = "";
    if (redis_url_parse("redis.url", text, &u, error, sizeof error)) {
        check_parts(&u);
    } else {
        MUST(strncmp(error, "redis.url: ", 11) == 0 && strchr(error, '\n') == NULL);
        MUST(u.seed_count == 0 && !u.path && !u.master && !u.user && !u.password);
        for (const char *p = error; *p; p++)
            MUST(*p >= ' ' && *p < 127);
    }
    redis_url_deinit(&u);
    free(text);
    return 0;
}
