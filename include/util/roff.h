/* roff: text for manual pages. */
#ifndef PHOENIX_UTIL_ROFF_H
#define PHOENIX_UTIL_ROFF_H

#include "util/buf.h"

/* Appends `text` so that a man page shows it as it is: no character is a request, an escape or a hyphen that
 * could turn into another dash. */
void roff_append(struct buf *out, const char *text);

#endif
