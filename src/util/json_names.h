/* json_names: which members of one object have been seen, by decoded name. Private to src/util. A zeroed
 * struct is empty. The first few plain names are compared one by one on the C stack; only an object with
 * more, or with an escape in a name, costs a table (8 bytes a slot, open addressing, seeded hash: names are a
 * stranger's choice). */
#ifndef PHOENIX_UTIL_JSON_NAMES_H
#define PHOENIX_UTIL_JSON_NAMES_H

#include "util/buf.h"
#include "util/hash.h"
#include "util/slice.h"

enum { JSON_NAMES_PLAIN_MAX = 16 };

struct json_names {
    struct slice plain[JSON_NAMES_PLAIN_MAX];
    size_t plain_count;
    uint64_t *slots; /* high half: of the hash; low half: the name's offset in the text + 1; 0: free */
    unsigned slots_log2;
    size_t used;
    struct hash_seed seed;
    struct buf decoded; /* scratch for an escaped name */
};

enum json_names_result { JSON_NAME_NEW, JSON_NAME_SEEN, JSON_NAME_NO_ROOM };

/* `name` stands between quotes within the text that begins at `begin`, the same in each call. NO_ROOM: no
 * memory, or a text of 4 GiB. */
enum json_names_result json_names_add(struct json_names *names, const char *begin, struct slice name,
                                      bool escaped);
void json_names_deinit(struct json_names *names);

#endif
