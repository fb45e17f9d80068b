/* quant/blocks.h - ggml's block types: rows of f32 to blocks and back.
 *
 * Bytes equal those of ggml-org/ggml src/ggml-quants.c @d99724f as llama-quantize
 * calls it, with and without importance weights (imatrix). */
#ifndef GK_QUANT_BLOCKS_H
#define GK_QUANT_BLOCKS_H

#include <stddef.h>

#include "formats/dtype.h"

typedef struct gk_blocks {
    gk_dtype dtype;
    /* Encodes one row of n finite values, whole blocks, into out (gk_row_bytes()).
     * importance: n weights, mean squared activations a column; NULL without. */
    void (*encode)(const float *x, uint64_t n, const float *importance, unsigned char *out);
    /* Decodes n values, whole blocks. */
    void (*decode)(const unsigned char *in, uint64_t n, float *out);
    /* Returns false when the blocks of n values hold a scale that is no finite
     * number (an f16 that overflowed, E8M0 255): what engines refuse to load. */
    bool (*valid)(const unsigned char *in, uint64_t n);
    /* With importance a row is one statistic: it must be encoded whole. */
    bool whole_row_with_importance;
} gk_blocks;

/* Returns the codec of a block type, NULL for a plain one. */
const gk_blocks *gk_blocks_of(gk_dtype dtype);

/* Rows of the table in quant/blocks.c. */
extern const gk_blocks gk_blocks_q4_0, gk_blocks_q4_1, gk_blocks_q5_0, gk_blocks_q5_1,
    gk_blocks_q8_0, gk_blocks_q2_k, gk_blocks_q3_k, gk_blocks_q4_k, gk_blocks_q5_k, gk_blocks_q6_k,
    gk_blocks_iq4_nl, gk_blocks_iq4_xs, gk_blocks_mxfp4, gk_blocks_nvfp4;

#endif
