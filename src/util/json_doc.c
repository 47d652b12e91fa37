/* json_doc: a tree of cJSON, the only place that uses it. Strings and numbers go in as raw text that is made
 * here: cJSON ends strings at a NUL, prints bytes that are not UTF-8, and takes doubles for equal that are
 * one part in 2^52 apart, so that 2^53 would lose digits. */
#include "util/json_doc.h"

#include "util/json.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct json_node {
    struct json_doc *doc;
    cJSON *item; /* NULL: the node of what failed */
    struct json_node *next;
};

struct json_doc {
    struct json_node root;
    struct json_node nowhere;
    struct json_node *nodes; /* all others */
    struct buf scratch;      /* a raw value's text */
    bool failed;
};

struct json_doc *json_doc_create(void)
{
    struct json_doc *doc = calloc(1, sizeof *doc);
    if (doc == NULL) return NULL;
    doc->root.doc = doc;
    doc->nowhere.doc = doc;
    doc->root.item = cJSON_CreateObject();
    if (doc->root.item == NULL) json_doc_destroy(&doc);
    return doc;
}

void json_doc_destroy(struct json_doc **doc)
{
    struct json_doc *d = *doc;
    if (d == NULL) return;
    cJSON_Delete(d->root.item);
    while (d->nodes != NULL) {
        struct json_node *next = d->nodes->next;
        free(d->nodes);
        d->nodes = next;
    }
    buf_deinit(&d->scratch);
    free(d);
    *doc = NULL;
}

struct json_node *json_doc_root(struct json_doc *doc)
{
    return &doc->root;
}

/* Puts `item`, which it then owns, into `parent`: under `name`, or at the end of an array. */
static bool put(struct json_node *parent, const char *name, cJSON *item)
{
    bool done = parent->item != NULL && item != NULL;
    assert(!done || (cJSON_IsArray(parent->item) != 0) == (name == NULL));
    if (done)
        done = (name != NULL ? cJSON_AddItemToObject(parent->item, name, item)
                             : cJSON_AddItemToArray(parent->item, item)) != 0;
    if (done) return true;
    parent->doc->failed = true;
    cJSON_Delete(item);
    return false;
}

/* Puts what is in the scratch buffer. */
static void put_scratch(struct json_node *parent, const char *name)
{
    struct buf *scratch = &parent->doc->scratch;
    buf_append_char(scratch, '\0');
    (void)put(parent, name, scratch->failed ? NULL : cJSON_CreateRaw(scratch->ptr));
    buf_clear(scratch);
}

static void put_string(struct json_node *parent, const char *name, struct slice value)
{
    if (value.ptr == NULL) {
        (void)put(parent, name, cJSON_CreateNull());
        return;
    }
    json_append_string(&parent->doc->scratch, value);
    put_scratch(parent, name);
}

static void put_int(struct json_node *parent, const char *name, int64_t value)
{
    buf_append_i64(&parent->doc->scratch, value);
    put_scratch(parent, name);
}

static struct json_node *put_node(struct json_node *parent, const char *name, cJSON *item)
{
    struct json_doc *doc = parent->doc;
    struct json_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        doc->failed = true;
        cJSON_Delete(item);
        return &doc->nowhere;
    }
    *node = (struct json_node){doc, item, doc->nodes};
    doc->nodes = node;
    if (!put(parent, name, item)) node->item = NULL;
    return node;
}

void json_node_set_string(struct json_node *object, const char *name, struct slice value)
{
    put_string(object, name, value);
}

void json_node_set_int(struct json_node *object, const char *name, int64_t value)
{
    put_int(object, name, value);
}

void json_node_set_number(struct json_node *object, const char *name, double value)
{
    if (!isfinite(value)) {
        json_node_set_null(object, name);
        return;
    }
    /* 15 digits always survive the way there and back, 17 always suffice. */
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    buf_append_text(&object->doc->scratch, text);
    put_scratch(object, name);
}

void json_node_set_bool(struct json_node *object, const char *name, bool value)
{
    (void)put(object, name, cJSON_CreateBool(value));
}

void json_node_set_null(struct json_node *object, const char *name)
{
    (void)put(object, name, cJSON_CreateNull());
}

struct json_node *json_node_add_object(struct json_node *object, const char *name)
{
    return put_node(object, name, cJSON_CreateObject());
}

struct json_node *json_node_add_array(struct json_node *object, const char *name)
{
    return put_node(object, name, cJSON_CreateArray());
}

struct json_node *json_array_add_object(struct json_node *array)
{
    return put_node(array, NULL, cJSON_CreateObject());
}

void json_array_add_string(struct json_node *array, struct slice value)
{
    put_string(array, NULL, value);
}

void json_array_add_int(struct json_node *array, int64_t value)
{
    put_int(array, NULL, value);
}

bool json_doc_print(struct json_doc *doc, struct buf *out)
{
    char *text = doc->failed || out->failed ? NULL : cJSON_PrintUnformatted(doc->root.item);
    if (text == NULL) return false;
    buf_append_text(out, text);
    cJSON_free(text);
    return !out->failed;
}
