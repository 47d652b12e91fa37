/* unsettled: the keys that have journal entries which Redis may not have, counted, in the order in which they
 * came. A key enters before its operation is posted to the spool and leaves after Redis's answer and the
 * entry's removal are committed; while it is here, reads answer from the journal's copy and writes go behind
 * it. Any thread; one mutex, and none while it is empty. */
#ifndef PHOENIX_STATE_UNSETTLED_H
#define PHOENIX_STATE_UNSETTLED_H

#include "util/slice.h"

#include <stdint.h>

struct unsettled;

struct unsettled *unsettled_create(void); /* NULL: no memory */
void unsettled_destroy(struct unsettled **u);

/* One more entry of the key. False: no memory; nothing is counted. */
bool unsettled_enter(struct unsettled *u, unsigned kind, struct slice id);
/* One entry less (settled, or it could not be committed); with the last one the key goes. */
void unsettled_leave(struct unsettled *u, unsigned kind, struct slice id);
bool unsettled_has(struct unsettled *u, unsigned kind, struct slice id);
uint64_t unsettled_entries(struct unsettled *u); /* one atomic load */

/* For the hand-back: the key that came first of those which nobody has taken and whose time has come, marked
 * as taken. The id is copied to `out_id` (ID_LEN_MAX bytes). False: none. Cost: O(1); of a key that waited:
 * O(log n). */
bool unsettled_take(struct unsettled *u, int64_t now_us, unsigned *out_kind, char *out_id, struct slice *out);
/* Gives a taken key back, not to be taken before that time (0: at once), behind the others. Also after its
 * last entry left; then it does nothing, unless the key came and was taken anew in between: only one thread
 * takes, and it returns a key that it has let leave before it takes again, or not at all. */
void unsettled_return(struct unsettled *u, unsigned kind, struct slice id, int64_t not_before_us);

#endif
