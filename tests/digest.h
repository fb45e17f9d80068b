/* tests/digest.h - FNV-1a-64 and xorshift32, as the goldens of codecs use them. */
#ifndef GK_TESTS_DIGEST_H
#define GK_TESTS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_EMPTY 0xCBF29CE484222325u

static inline uint64_t digest(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001B3u;
    return h;
}

static inline uint32_t xorshift(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

#endif
