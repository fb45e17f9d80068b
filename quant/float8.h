/* quant/float8.h - the small floats of compressed-tensors: E4M3FN, E2M1, E8M0.
 *
 *           sign  exponent     fraction  value                                largest
 *   E4M3FN  1     4, bias 7    3         no infinity; 0x7F and 0xFF are NaN   448
 *   E2M1    1     2, bias 1    1         no infinity, no NaN                  6
 *   E8M0    0     8, bias 127  0         2^(e - 127); 255 is NaN              2^127
 *
 * Source: vllm-project/compressed-tensors src/compressed_tensors/{compressors,
 * quantization/utils}/ @ac8e2ba; torch's float8_e4m3fn and float8_e8m0fnu. */
#ifndef GK_QUANT_FLOAT8_H
#define GK_QUANT_FLOAT8_H

#include <stdint.h>

/* Returns the E4M3FN code nearest to x clamped to +-448, ties to an even code; the sign of
 * a zero stays. x is no NaN: the caller looks for those. */
uint8_t gk_e4m3_from(float x);

/* Returns the value of an E4M3FN code, exactly; a NaN for 0x7F and 0xFF. */
float gk_e4m3_to(uint8_t code);

/* Returns the E2M1 code nearest to x, ties to an even code, that of 6 past 6. Bit 3 is
 * the sign, also of a zero (compressed-tensors drops that of -0 itself). x is no NaN. */
uint8_t gk_e2m1_from(float x);

/* Returns the value of an E2M1 code, 0..15. */
float gk_e2m1_to(uint8_t code);

/* Returns 2^(code - 127), exactly (0 gives a subnormal); a NaN for 255. */
float gk_e8m0_to(uint8_t code);

/* Returns the E8M0 code of an MXFP4 group with amax, its largest magnitude, finite: 2^(k-2)
 * when 1.75 * 2^(k-1) <= amax < 1.75 * 2^k, and code 0 when that is below 2^-127.
 * The precision amax was stored in is of no matter, since 1.75 is a number in each. The
 * library works on the bits of that precision and so differs where they end, not copied
 * here: from 1.75 times their last power of two (57344 in f16) its scale is NaN, and
 * subnormals of f16 get 2^-16 or 2^-127. */
uint8_t gk_mxfp4_scale(float amax);

#endif
