/* formats/hash.h - SHA-256 through libcrypto, CRC-32 through zlib. */
#ifndef GK_FORMATS_HASH_H
#define GK_FORMATS_HASH_H

#include "formats/io.h"

#define GK_SHA256_HEX 65 /* 64 digits and a NUL */

typedef struct gk_hash gk_hash;

/* Returns a running digest, or NULL and NOMEM. End it with gk_hash_end(). */
gk_hash *gk_hash_new(gk_err *err);
void     gk_hash_add(gk_hash *h, const void *bytes, uint64_t n);

/* Writes the digest as lower-case hex and frees h. */
void gk_hash_end(gk_hash *h, char hex[GK_SHA256_HEX]);

bool gk_hash_bytes(const void *bytes, uint64_t n, char hex[GK_SHA256_HEX], gk_err *err);

/* Hashes the bytes [off, off + n) of a file through buf (buf_bytes of scratch). */
bool gk_hash_file(const gk_file *f, uint64_t off, uint64_t n, void *buf, uint64_t buf_bytes,
                  char hex[GK_SHA256_HEX], gk_err *err);

/* Computes the CRC-32 of the bytes [off, off + n) in the same way. */
bool gk_crc_file(const gk_file *f, uint64_t off, uint64_t n, void *buf, uint64_t buf_bytes,
                 uint32_t *out, gk_err *err);

#endif
