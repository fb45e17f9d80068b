/* formats/hash.h - SHA-256 and SHA-1 through libcrypto, XXH64, CRC-32 through zlib. */
#ifndef GK_FORMATS_HASH_H
#define GK_FORMATS_HASH_H

#include "formats/io.h"

#define GK_SHA256_HEX 65 /* 64 digits and a NUL */

typedef struct gk_hash gk_hash;

typedef enum gk_hash_kind {
    GK_HASH_SHA256,
    GK_HASH_SHA1,  /* git names what it keeps by it */
    GK_HASH_XXH64, /* a checksum, no proof          */
    GK_N_HASHES,
} gk_hash_kind;

/* Returns "sha256", "sha1" or "xxh64", and how many hex digits a digest has. */
const char *gk_hash_name(gk_hash_kind kind);
int         gk_hash_digits(gk_hash_kind kind);

/* Returns a running digest (gk_hash_new: SHA-256), or NULL and NOMEM. End it with
 * gk_hash_end(). */
gk_hash *gk_hash_new(gk_err *err);
gk_hash *gk_hash_begin(gk_hash_kind kind, gk_err *err);
void     gk_hash_add(gk_hash *h, const void *bytes, uint64_t n);

/* Writes the digest as lower-case hex and frees h. */
void gk_hash_end(gk_hash *h, char hex[GK_SHA256_HEX]);

bool gk_hash_bytes(const void *bytes, uint64_t n, char hex[GK_SHA256_HEX], gk_err *err);

/* Returns a running SHA-1 as git computes it of a file of that many bytes (its blob). */
gk_hash *gk_hash_begin_blob(uint64_t bytes, gk_err *err);

/* Hashes the bytes [off, off + n) of a file through buf (buf_bytes of scratch). */
bool gk_hash_file(const gk_file *f, uint64_t off, uint64_t n, void *buf, uint64_t buf_bytes,
                  char hex[GK_SHA256_HEX], gk_err *err);

/* Computes the CRC-32 of the bytes [off, off + n) in the same way. */
bool gk_crc_file(const gk_file *f, uint64_t off, uint64_t n, void *buf, uint64_t buf_bytes,
                 uint32_t *out, gk_err *err);

#endif
