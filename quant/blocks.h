/* quant/blocks.h - ggml's block types: rows of f32 to blocks and back.
 *
 * Bytes equal those of ggml-org/ggml src/ggml-quants.c @d99724f as llama-quantize
 * calls it, with and without importance weights (imatrix). */
#ifndef GK_QUANT_BLOCKS_H
#define GK_QUANT_BLOCKS_H

#include <stddef.h>

#include "formats/dtype.h"
#include "quant/kernels.h"

typedef struct gk_blocks {
    gk_dtype dtype;
    /* Encodes one row of n finite values, whole blocks, into out (gk_row_bytes()).
     * importance: n weights, mean squared activations a column; NULL without. */
    void (*encode)(const float *x, uint64_t n, const float *importance, unsigned char *out);
    /* The same of n bf16 without importance; sums grow by what decode() makes of them, as
     * gk_kernels' measure() has it. NULL: nothing is faster than those three. */
    void (*encode_bf16)(const void *w, uint64_t n, unsigned char *out, gk_error_sums *sums);
    /* Decodes n values, whole blocks. */
    void (*decode)(const unsigned char *in, uint64_t n, float *out);
    /* Returns false when the blocks of n values hold a scale that is no finite
     * number (an f16 that overflowed, E8M0 255): what engines refuse to load. */
    bool (*valid)(const unsigned char *in, uint64_t n);
    /* With importance a row is one statistic: it must be encoded whole. */
    bool whole_row_with_importance;
} gk_blocks;

/* Returns the codec of a block type, NULL for a plain one: that of the instruction set which
 * gk_kernels_get() picked. All give the same bytes. */
const gk_blocks *gk_blocks_of(gk_dtype dtype);

/* Returns the codec of table i of gk_kernels_nth(), scalar first; NULL past the last. */
const gk_blocks *gk_blocks_nth(int i, gk_dtype dtype);

#endif
