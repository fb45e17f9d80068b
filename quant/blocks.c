/* quant/blocks.c - the table of ggml's block codecs. */
#include "quant/blocks.h"

static const gk_blocks *const rows[GK_N_DTYPES] = {
    [GK_Q4_0] = &gk_blocks_q4_0,   [GK_Q4_1] = &gk_blocks_q4_1,     [GK_Q5_0] = &gk_blocks_q5_0,
    [GK_Q5_1] = &gk_blocks_q5_1,   [GK_Q8_0] = &gk_blocks_q8_0,     [GK_Q2_K] = &gk_blocks_q2_k,
    [GK_Q3_K] = &gk_blocks_q3_k,   [GK_Q4_K] = &gk_blocks_q4_k,     [GK_Q5_K] = &gk_blocks_q5_k,
    [GK_Q6_K] = &gk_blocks_q6_k,   [GK_IQ4_NL] = &gk_blocks_iq4_nl, [GK_IQ4_XS] = &gk_blocks_iq4_xs,
    [GK_MXFP4] = &gk_blocks_mxfp4, [GK_NVFP4] = &gk_blocks_nvfp4,
};

const gk_blocks *gk_blocks_of(gk_dtype dtype) { return rows[dtype]; }
