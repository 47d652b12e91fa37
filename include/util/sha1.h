/* sha1: names Redis's cached scripts; not for anything secret. Any thread. */
#ifndef PHOENIX_UTIL_SHA1_H
#define PHOENIX_UTIL_SHA1_H

#include "util/slice.h"

enum { SHA1_HEX_SIZE = 41 };

/* False when libcrypto fails. */
bool sha1_hex(struct slice bytes, char out[SHA1_HEX_SIZE]);

#endif
