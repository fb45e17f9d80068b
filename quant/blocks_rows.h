/* quant/blocks_rows.h - the rows of one table of block codecs, for the files that make it.
 *
 * quant/blocks_search.c, _legacy.c, _kquant.c, _iq.c, _fp4.c and _table.c are compiled once for
 * the baseline, which is the specification, and once for each vector unit (Makefile); what they
 * give to each other is named after that unit. */
#ifndef GK_QUANT_BLOCKS_ROWS_H
#define GK_QUANT_BLOCKS_ROWS_H

#include "quant/blocks.h"

#ifndef GK_BLOCKS_ISA
#define GK_BLOCKS_ISA scalar
#endif

#define GK_BLOCKS_PASTE(name, isa)  name##_##isa
#define GK_BLOCKS_EXPAND(name, isa) GK_BLOCKS_PASTE(name, isa)
#define GK_BLOCKS_NAME(name)        GK_BLOCKS_EXPAND(name, GK_BLOCKS_ISA)

extern const gk_blocks GK_BLOCKS_NAME(gk_blocks_q4_0), GK_BLOCKS_NAME(gk_blocks_q4_1),
    GK_BLOCKS_NAME(gk_blocks_q5_0), GK_BLOCKS_NAME(gk_blocks_q5_1), GK_BLOCKS_NAME(gk_blocks_q8_0),
    GK_BLOCKS_NAME(gk_blocks_q2_k), GK_BLOCKS_NAME(gk_blocks_q3_k), GK_BLOCKS_NAME(gk_blocks_q4_k),
    GK_BLOCKS_NAME(gk_blocks_q5_k), GK_BLOCKS_NAME(gk_blocks_q6_k),
    GK_BLOCKS_NAME(gk_blocks_iq4_nl), GK_BLOCKS_NAME(gk_blocks_iq4_xs),
    GK_BLOCKS_NAME(gk_blocks_mxfp4), GK_BLOCKS_NAME(gk_blocks_nvfp4);

/* One row a block type, NULL for plain types. */
extern const gk_blocks *const GK_BLOCKS_NAME(gk_blocks_table)[GK_N_DTYPES];

#endif
