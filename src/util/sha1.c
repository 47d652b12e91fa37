/* sha1: one digest per script at start, so the plain one-shot call serves. */
#include "util/sha1.h"

#include <openssl/evp.h>
#include <stdio.h>

bool sha1_hex(struct slice bytes, char out[SHA1_HEX_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(bytes.ptr, bytes.len, digest, &len, EVP_sha1(), NULL) || len != 20) return false;
    for (unsigned i = 0; i < len; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", digest[i]);
    return true;
}
