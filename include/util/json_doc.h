/* json_doc: builds small JSON documents that the daemon makes itself (problem bodies, /status, /readyz) and
 * prints them. Nodes belong to their document and live as long. Setting is unchecked: once memory fails the
 * document stays failed, later calls on it do nothing, and json_doc_print says so. Names are ASCII and not
 * set twice. One thread at a time. */
#ifndef PHOENIX_UTIL_JSON_DOC_H
#define PHOENIX_UTIL_JSON_DOC_H

#include "util/buf.h"
#include "util/slice.h"

#include <stdint.h>

struct json_doc;
struct json_node; /* an object or an array */

/* A document whose root is an empty object; NULL when memory fails. */
struct json_doc *json_doc_create(void);
void json_doc_destroy(struct json_doc **doc);
struct json_node *json_doc_root(struct json_doc *doc);

/* Any bytes; those that are not UTF-8 become U+FFFD. An absent slice sets null. */
void json_node_set_string(struct json_node *object, const char *name, struct slice value);
void json_node_set_int(struct json_node *object, const char *name, int64_t value); /* all digits kept */
/* The fewest digits that read back as the same double; null where it is infinite or no number. */
void json_node_set_number(struct json_node *object, const char *name, double value);
void json_node_set_bool(struct json_node *object, const char *name, bool value);
void json_node_set_null(struct json_node *object, const char *name);
/* Never NULL: after a failure a node that takes calls and shows nothing. */
struct json_node *json_node_add_object(struct json_node *object, const char *name);
struct json_node *json_node_add_array(struct json_node *object, const char *name);
struct json_node *json_array_add_object(struct json_node *array);
void json_array_add_string(struct json_node *array, struct slice value);
void json_array_add_int(struct json_node *array, int64_t value);

/* Appends the document without blanks. False when anything failed; `out` then holds what it held. */
bool json_doc_print(struct json_doc *doc, struct buf *out);

#endif
