/* sha256: libcrypto's. Fetching the algorithm and making the context cost more than hashing a short input, so
 * both are kept. */
#include "util/sha256.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct sha256 {
    EVP_MD *md;
    EVP_MD_CTX *context;
};

struct sha256 *sha256_create(void)
{
    struct sha256 *h = calloc(1, sizeof *h);
    if (h == NULL) return NULL;
    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->context = EVP_MD_CTX_new();
    if (h->md == NULL || h->context == NULL) sha256_destroy(&h);
    return h;
}

void sha256_destroy(struct sha256 **h)
{
    if (*h == NULL) return;
    EVP_MD_CTX_free((*h)->context);
    EVP_MD_free((*h)->md);
    free(*h);
    *h = NULL;
}

bool sha256_begin(struct sha256 *h)
{
    return EVP_DigestInit_ex2(h->context, h->md, NULL) == 1;
}

bool sha256_add(struct sha256 *h, struct slice bytes)
{
    return bytes.len == 0 || EVP_DigestUpdate(h->context, bytes.ptr, bytes.len) == 1;
}

bool sha256_end(struct sha256 *h, unsigned char out[SHA256_BYTES])
{
    return EVP_DigestFinal_ex(h->context, out, NULL) == 1;
}

void sha256_hex(const unsigned char digest[SHA256_BYTES], char out[SHA256_HEX_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 0x0f];
    }
    out[SHA256_HEX_SIZE - 1] = '\0';
}
