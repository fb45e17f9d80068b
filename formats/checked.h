/* formats/checked.h - arithmetic that says when it does not fit 64 bits, and
 * little-endian loads and stores for bytes of any alignment. */
#ifndef GK_FORMATS_CHECKED_H
#define GK_FORMATS_CHECKED_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "grokkit handles weights as they lie on disk and needs a little-endian machine"
#endif

/* Each stores the result and returns true, or returns false on a wrap. */
static inline bool gk_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool gk_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Returns ceil(a / b); b must not be 0. */
static inline uint64_t gk_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static inline uint64_t gk_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t gk_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint16_t gk_load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t gk_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t gk_load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
