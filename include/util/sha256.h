/* sha256: OpenSSL's, fetched once and with a context per thread's owner (OpenSSL 3's one-shot SHA256() costs
 * 0.7 us more). */
#ifndef PHOENIX_UTIL_SHA256_H
#define PHOENIX_UTIL_SHA256_H

#include "util/slice.h"

enum { SHA256_BYTES = 32, SHA256_HEX_SIZE = 65 };

struct sha256; /* one per thread; not shared */

struct sha256 *sha256_create(void); /* NULL when memory or libcrypto fails */
void sha256_destroy(struct sha256 **h);

/* begin, add…, end. False when libcrypto fails. */
bool sha256_begin(struct sha256 *h);
bool sha256_add(struct sha256 *h, struct slice bytes);
bool sha256_end(struct sha256 *h, unsigned char out[SHA256_BYTES]);

void sha256_hex(const unsigned char digest[SHA256_BYTES], char out[SHA256_HEX_SIZE]);

#endif
