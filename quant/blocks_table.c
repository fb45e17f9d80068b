/* quant/blocks_table.c - the table of ggml's block codecs of one instruction set. */
#include "quant/blocks_rows.h"

#define ROW(kind) &GK_BLOCKS_NAME(gk_blocks_##kind)

const gk_blocks *const GK_BLOCKS_NAME(gk_blocks_table)[GK_N_DTYPES] = {
    [GK_Q4_0] = ROW(q4_0),   [GK_Q4_1] = ROW(q4_1),     [GK_Q5_0] = ROW(q5_0),
    [GK_Q5_1] = ROW(q5_1),   [GK_Q8_0] = ROW(q8_0),     [GK_Q2_K] = ROW(q2_k),
    [GK_Q3_K] = ROW(q3_k),   [GK_Q4_K] = ROW(q4_k),     [GK_Q5_K] = ROW(q5_k),
    [GK_Q6_K] = ROW(q6_k),   [GK_IQ4_NL] = ROW(iq4_nl), [GK_IQ4_XS] = ROW(iq4_xs),
    [GK_MXFP4] = ROW(mxfp4), [GK_NVFP4] = ROW(nvfp4),
};
