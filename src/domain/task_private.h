/* task_private: what reading tasks (task.c) and reading the other requests (task_request.c) share. */
#ifndef PHOENIX_DOMAIN_TASK_PRIVATE_H
#define PHOENIX_DOMAIN_TASK_PRIVATE_H

#include "domain/task.h"

#define DURATION_MAX_MS INT64_C(31536000000) /* a year: of a delay, a time to live */

/* Returns `status` with the reason set. */
enum status task_refuse(struct json_error *out_error, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The field's value; null counts as absent: ptr NULL. */
struct slice task_value(const struct json_field *field);

/* Appends a raw string's text and checks that it is an id (API §1). What was appended begins at *out_at. */
enum status task_id_append(struct slice raw, const char *name, bool is_task, struct buf *bytes,
                           size_t *out_at, struct json_error *out_error);

#endif
