/* quant/turned.h - what GPTQ and AWQ files share: everything lies [in, out].
 *
 *   M.qzeros  I32 [G, out*b/32]  unsigned zero points, packed along out
 *   M.scales  F16 [G, out]       G = in/group, or 1
 *
 * Private to quant/. */
#ifndef GK_QUANT_TURNED_H
#define GK_QUANT_TURNED_H

#include "quant/layout.h"

/* Fields of a word of zero points: field i holds row order[i] of its rows, minus minus. */
typedef struct gk_zero_words {
    const uint8_t *order; /* of 32 / bits rows */
    int minus;
} gk_zero_words;

/* Scratch of a tile; the codes lie at its beginning. */
uint64_t gk_turned_scratch_bytes(const gk_scheme *s, uint64_t n_rows, uint64_t n_cols);

/* The spans of qzeros and scales. */
void gk_turned_zeros_span(const gk_scheme *s, const gk_tile *t, gk_tile *out);
void gk_turned_scales_span(const gk_scheme *s, const gk_tile *t, gk_tile *out);

/* Writes the tile's scales as F16 and its zero points (2^(b-1) when symmetric). */
void gk_turned_put_scales(const gk_coding *c, const gk_codes *codes, unsigned char *out);
void gk_turned_put_zeros(const gk_coding *c, const gk_codes *codes, const gk_zero_words *z,
                         unsigned char *out);

/* Reads them into codes. False: a symmetric scheme's zero point is not 2^(b-1), or one has no
 * code (FORMAT). */
void gk_turned_get_scales(const gk_coding *c, gk_dtype dtype, const unsigned char *in,
                          gk_codes *codes);
bool gk_turned_get_zeros(const gk_coding *c, const gk_zero_words *z, const unsigned char *in,
                         gk_codes *codes);

#endif
