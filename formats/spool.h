/* formats/spool.h - where members of a compressed archive go when they are unpacked.
 *
 * An anonymous file: in the directory that a person named, or, for little, in memory. It
 * has no name that anybody could open, and is gone when it is closed. Private to formats/. */
#ifndef GK_FORMATS_SPOOL_H
#define GK_FORMATS_SPOOL_H

#include "formats/catalog.h"

#define GK_SPOOL_MEMORY_BYTES (UINT64_C(16) << 20) /* without a directory */
#define GK_MAX_UNPACK_RATIO   100u                 /* above so many bytes */

typedef struct gk_spool {
    const gk_open_options *options;
    gk_file *file;  /* NULL until the first byte */
    uint64_t bytes; /* that file will have: the sum of what was reserved */
} gk_spool;

/* Reserves room for `bytes` bytes more, from *off on; all that is reserved together is packed
 * into `packed` bytes of the archive. False and *err: LIMIT for a ratio
 * that no model has, UNSUPPORTED when no directory was named and memory would not do, SPACE,
 * IO, NOMEM. */
bool gk_spool_reserve(gk_arena *a, gk_spool *s, uint64_t bytes, uint64_t packed, uint64_t *off,
                      gk_err *err);

/* Writes n bytes at off, which must have been reserved. False: IO, SPACE, INTERRUPTED. */
bool gk_spool_put(const gk_spool *s, uint64_t off, const void *buf, uint64_t n, gk_err *err);

/* Unpacks the raw deflate stream at [from, from + packed) of f to exactly `bytes` bytes at off,
 * and compares their CRC-32. False: FORMAT when it holds more, less or damage. */
bool gk_spool_inflate(const gk_spool *s, uint64_t off, uint64_t bytes, const gk_file *f,
                      uint64_t from, uint64_t packed, uint32_t crc, gk_err *err);

#endif
