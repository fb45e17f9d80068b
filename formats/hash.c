/* formats/hash.c - the only file that knows OpenSSL's digests and zlib's. */
#include "formats/hash.h"

#include <openssl/evp.h>
#include <zlib.h>

#include "formats/checked.h"

static bool no_digest(gk_err *err)
{
    return gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "libcrypto could not start a SHA-256");
}

gk_hash *gk_hash_new(gk_err *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return no_digest(err), NULL;
    }
    return (gk_hash *)ctx;
}

void gk_hash_add(gk_hash *h, const void *bytes, uint64_t n)
{
    EVP_DigestUpdate((EVP_MD_CTX *)h, bytes, (size_t)n);
}

void gk_hash_end(gk_hash *h, char hex[GK_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE] = {0};

    EVP_DigestFinal_ex((EVP_MD_CTX *)h, raw, NULL);
    EVP_MD_CTX_free((EVP_MD_CTX *)h);
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = digits[raw[i] >> 4];
        hex[2 * i + 1] = digits[raw[i] & 15];
    }
    hex[64] = '\0';
}

bool gk_hash_bytes(const void *bytes, uint64_t n, char hex[GK_SHA256_HEX], gk_err *err)
{
    gk_hash *h = gk_hash_new(err);

    if (h == NULL)
        return false;
    gk_hash_add(h, bytes, n);
    gk_hash_end(h, hex);
    return true;
}

bool gk_hash_file(const gk_file *f, uint64_t off, uint64_t n, void *buf, uint64_t buf_bytes,
                  char hex[GK_SHA256_HEX], gk_err *err)
{
    gk_hash *h = gk_hash_new(err);
    bool ok = h != NULL;

    while (ok && n > 0) {
        const uint64_t step = gk_min(n, buf_bytes);
        ok = gk_file_read(f, off, buf, step, err);
        if (ok)
            gk_hash_add(h, buf, step);
        off += step;
        n -= step;
    }
    if (h != NULL)
        gk_hash_end(h, hex);
    return ok;
}

bool gk_crc_file(const gk_file *f, uint64_t off, uint64_t n, void *buf, uint64_t buf_bytes,
                 uint32_t *out, gk_err *err)
{
    uLong crc = crc32(0, NULL, 0);

    while (n > 0) {
        const uint64_t step = gk_min(n, gk_min(buf_bytes, 1u << 30));
        if (!gk_file_read(f, off, buf, step, err))
            return false;
        crc = crc32(crc, buf, (uInt)step);
        off += step;
        n -= step;
    }
    *out = (uint32_t)crc;
    return true;
}
