/* quant/codec_blocks.h - rows of weights as ggml's blocks, and what that costs them. */
#ifndef GK_QUANT_CODEC_BLOCKS_H
#define GK_QUANT_CODEC_BLOCKS_H

#include "formats/dtype.h"

typedef struct gk_blocks_job {
    gk_dtype type;           /* of the blocks                                          */
    uint64_t n_rows, n_cols; /* n_cols: whole blocks                         */
    const void *bf16;        /* the weights, unless they are floats          */
    const float *importance; /* E[x^2] of each column [n_cols], or NULL: none */
} gk_blocks_job;

/* Encodes w [n_rows, n_cols], finite, into out, row after row; sums [n_rows] gets
 * sum (w - value)^2 and sum w^2 of each row. v is room for a row; with job->bf16 so is w.
 * Returns n_rows, or the first row with values whose scale the type cannot express. */
uint64_t gk_blocks_encode(const gk_blocks_job *job, float *w, float *v, unsigned char *out,
                          double (*sums)[2]);

#endif
