/* quant/nonfinite.c - one search for each kind of number. */
#include "quant/nonfinite.h"

#include <string.h>

#include "formats/checked.h"
#include "quant/blocks.h"
#include "quant/kernels.h"

#define EXPONENT_F64 UINT64_C(0x7FF0000000000000)
#define EACH         UINT64_C(0x0101010101010101) /* times a byte: that byte, eight times */

static uint64_t find_f64(const unsigned char *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if ((gk_load_u64(p + 8 * i) & EXPONENT_F64) == EXPONENT_F64)
            return i;
    return n;
}

/* The first byte in which all of `bits` are set, the lowest of which is `unit`. Added to them
 * it carries into the sign, which the mask has cleared, when and only when they all are. */
static uint64_t find_bits(const unsigned char *p, uint64_t n, uint64_t bits, uint64_t unit)
{
    uint64_t i = 0;

    while (i + 8 <= n && (((gk_load_u64(p + i) & bits * EACH) + unit * EACH) & 0x80 * EACH) == 0)
        i += 8;
    while (i < n && (p[i] & bits) != bits)
        i++;
    return i;
}

static uint64_t find_byte(const unsigned char *p, uint64_t n, int byte)
{
    const unsigned char *at = memchr(p, byte, (size_t)n);

    return at == NULL ? n : (uint64_t)(at - p);
}

static uint64_t find_block(const gk_blocks *blocks, const unsigned char *p, uint64_t n)
{
    uint64_t i = 0;

    if (blocks == NULL || blocks->valid(p, n))
        return n;
    const gk_dtype_row *type = gk_dtype_get(blocks->dtype);
    for (; i < n && blocks->valid(p, type->block_elems); i += type->block_elems)
        p += type->block_bytes;
    return i;
}

uint64_t gk_nonfinite(gk_dtype dtype, const void *in, uint64_t n)
{
    const gk_kernels *k = gk_kernels_get();

    switch (dtype) {
    case GK_BF16: return k->nonfinite_bf16(in, n);
    case GK_F16: return k->nonfinite_f16(in, n);
    case GK_F32: return k->nonfinite_f32(in, n);
    case GK_C64: return k->nonfinite_f32(in, 2 * n) / 2;
    case GK_F64: return find_f64(in, n);
    case GK_F8_E4M3: return find_bits(in, n, 0x7F, 0x01);
    case GK_F8_E5M2: return find_bits(in, n, 0x7C, 0x04);
    case GK_F8_E8M0: return find_byte(in, n, 0xFF);
    case GK_F8_E4M3FNUZ:
    case GK_F8_E5M2FNUZ: return find_byte(in, n, 0x80);
    default: return gk_dtype_is_block(dtype) ? find_block(gk_blocks_of(dtype), in, n) : n;
    }
}

static bool is_nan_f32(const unsigned char *p)
{
    float f;

    memcpy(&f, p, sizeof f);
    return f != f;
}

bool gk_is_nan(gk_dtype dtype, const void *in)
{
    const unsigned char *p = in;

    switch (dtype) {
    case GK_BF16: return (gk_load_u16(p) & 0x7F) != 0;
    case GK_F16: return (gk_load_u16(p) & 0x3FF) != 0;
    case GK_F32: return is_nan_f32(p);
    case GK_C64: return is_nan_f32(p) || is_nan_f32(p + 4);
    case GK_F64: return (gk_load_u64(p) & ~EXPONENT_F64) << 1 != 0;
    case GK_F8_E5M2: return (p[0] & 3) != 0;
    default: return true;
    }
}
