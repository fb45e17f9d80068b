/* formats/hash.c - the only file that knows OpenSSL's digests and zlib's. */
#include "formats/hash.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <zlib.h>

#include "formats/checked.h"
#include "formats/xxh64.h"

struct gk_hash {
    gk_hash_kind kind;
    EVP_MD_CTX  *ctx; /* NULL for XXH64 */
    gk_xxh64     xxh;
};

static const struct {
    const char *name;
    int         digits;
    const EVP_MD *(*md)(void);
} kinds[GK_N_HASHES] = {
    [GK_HASH_SHA256] = {"sha256", 64, EVP_sha256},
    [GK_HASH_SHA1] = {"sha1", 40, EVP_sha1},
    [GK_HASH_XXH64] = {"xxh64", 16, NULL},
};

const char *gk_hash_name(gk_hash_kind kind)
{
    return kinds[kind].name;
}

int gk_hash_digits(gk_hash_kind kind)
{
    return kinds[kind].digits;
}

gk_hash *gk_hash_begin(gk_hash_kind kind, gk_err *err)
{
    gk_hash *h = gk_alloc(1, sizeof *h, err);

    if (h == NULL)
        return NULL;
    *h = (gk_hash){.kind = kind};
    gk_xxh64_begin(&h->xxh);
    if (kinds[kind].md == NULL)
        return h;
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx != NULL && EVP_DigestInit_ex(h->ctx, kinds[kind].md(), NULL) == 1)
        return h;
    EVP_MD_CTX_free(h->ctx);
    gk_free(h);
    gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF, "libcrypto could not start a digest (%s)",
            kinds[kind].name);
    return NULL;
}

gk_hash *gk_hash_new(gk_err *err)
{
    return gk_hash_begin(GK_HASH_SHA256, err);
}

gk_hash *gk_hash_begin_blob(uint64_t bytes, gk_err *err)
{
    gk_hash *h = gk_hash_begin(GK_HASH_SHA1, err);
    char head[32];

    if (h != NULL) /* the NUL counts */
        gk_hash_add(h, head,
                    (uint64_t)snprintf(head, sizeof head, "blob %" PRIu64, bytes) + 1);
    return h;
}

void gk_hash_add(gk_hash *h, const void *bytes, uint64_t n)
{
    if (h->ctx != NULL)
        EVP_DigestUpdate(h->ctx, bytes, (size_t)n);
    else
        gk_xxh64_add(&h->xxh, bytes, n);
}

void gk_hash_end(gk_hash *h, char hex[GK_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE] = {0};

    if (h->ctx != NULL)
        EVP_DigestFinal_ex(h->ctx, raw, NULL);
    else
        for (int i = 0; i < 8; i++)
            raw[i] = (unsigned char)(gk_xxh64_end(&h->xxh) >> (56 - 8 * i));
    for (int i = 0; i < kinds[h->kind].digits; i++)
        hex[i] = digits[i % 2 == 0 ? raw[i / 2] >> 4 : raw[i / 2] & 15];
    hex[kinds[h->kind].digits] = '\0';
    EVP_MD_CTX_free(h->ctx);
    gk_free(h);
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
