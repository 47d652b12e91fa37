/* json_edit: changes of a JSON object on its raw text: what is not named keeps its bytes and its place. Texts
 * are validated ones (util/json). Any thread. Where memory or out's bound does not suffice:
 * STATUS_OVERLOADED. */
#ifndef PHOENIX_UTIL_JSON_EDIT_H
#define PHOENIX_UTIL_JSON_EDIT_H

#include "util/json.h"

/* Walks an object's members: `rest` starts as the object and is consumed. False at the end. Names are raw,
 * with quotes; values as json_field.raw. */
bool json_member_next(struct slice *rest, struct slice *out_name, struct slice *out_value);
/* The same for an array's elements. */
bool json_element_next(struct slice *rest, struct slice *out_value);
/* Whether a raw name means `name` (ASCII), escapes decoded. */
bool json_name_is(struct slice raw_name, const char *name);
/* The raw value of the first member of that name; absent: ptr NULL. */
struct slice json_member(struct slice object, const char *name);

struct json_edit {
    const char *name;
    struct slice value; /* raw; ptr NULL: the member goes */
};

/* Appends `object` with the edits made: replaced members keep their place, new ones follow in the order of
 * `edits`. At most 64 edits, no two of one name. Where the object holds a name twice that is edited, it is
 * there once afterwards, in the first one's place. */
enum status json_object_edit(struct slice object, const struct json_edit *edits, size_t count,
                             struct buf *out);

/* Appends what RFC 7396 makes of target and patch (both objects). Members of the patch that are null remove,
 * also in nested objects. A patch with a duplicate member, in an object within objects too, is refused:
 * UNPROCESSABLE. Of a target's duplicates that the patch names the first is merged with, the others go. */
enum status json_merge_patch(struct slice target, struct slice patch, struct buf *out,
                             struct json_error *out_error);

#endif
