/* task_private: what task.c (one task) and task_request.c (the requests about tasks) share. */
#ifndef PHOENIX_DOMAIN_TASK_PRIVATE_H
#define PHOENIX_DOMAIN_TASK_PRIVATE_H

#include "domain/task.h"

/* INVALID_ARGUMENT; the detail names the member. */
enum status task_refuse(struct json_error *out_error, const char *name, const char *what);
/* A number of seconds, fractions allowed; *out_ms stays where the member is absent or null. */
enum status task_seconds(const struct json_field *field, int64_t min_ms, int64_t max_ms, int64_t *out_ms,
                         struct json_error *out_error);
/* An id or name; where it has escapes the text stands in `scratch`. */
enum status task_name(const char *name, struct slice raw, struct buf *scratch, struct slice *out,
                      struct json_error *out_error);

#endif
