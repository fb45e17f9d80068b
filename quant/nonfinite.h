/* quant/nonfinite.h - stored numbers that are none: NaN and infinity.
 *
 *                            infinity                      NaN
 *   F64 F32 F16 BF16 F8_E5M2  exponent all ones, fraction 0  exponent all ones, else
 *   C64                       one of its two F32 is          one of its two F32 is
 *   F8_E4M3                   -                              0x7F, 0xFF
 *   F8_E8M0                   -                              0xFF
 *   F8_E4M3FNUZ F8_E5M2FNUZ   -                              0x80
 *   ggml's blocks             -                              a scale is one of either
 *
 * F4 and F6 are always numbers, as integers are. Source: the OCP MX and OFP8 specifications
 * and torch's names for them; the FNUZ types are those of arXiv 2206.02915. */
#ifndef GK_QUANT_NONFINITE_H
#define GK_QUANT_NONFINITE_H

#include "formats/dtype.h"

/* Returns the index of the first of n stored elements, whole blocks, that is no finite
 * number; of a block that of its first element. n: all are. */
uint64_t gk_nonfinite(gk_dtype dtype, const void *in, uint64_t n);

/* Returns whether the element (block) at p, one that gk_nonfinite() found, is a NaN. */
bool gk_is_nan(gk_dtype dtype, const void *p);

#endif
