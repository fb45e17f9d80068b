/* formats/xxh64.h - the checksum XXH64 with seed 0, which llama-gguf-hash writes by default.
 * It proves nothing against intent; digests for that are in formats/hash.h. */
#ifndef GK_FORMATS_XXH64_H
#define GK_FORMATS_XXH64_H

#include <stdint.h>

typedef struct gk_xxh64 {
    uint64_t      lane[4], total; /* bytes seen */
    unsigned char rest[32];       /* total % 32 of them wait here */
} gk_xxh64;

void     gk_xxh64_begin(gk_xxh64 *x);
void     gk_xxh64_add(gk_xxh64 *x, const void *bytes, uint64_t n);
uint64_t gk_xxh64_end(const gk_xxh64 *x);

#endif
