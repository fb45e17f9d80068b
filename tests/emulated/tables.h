/* tests/emulated/tables.h - every table of kernels and block codecs that can be tested here:
 * those of this CPU, and behind them the AVX-512 text with emulated instructions. */
#ifndef GK_TESTS_EMULATED_TABLES_H
#define GK_TESTS_EMULATED_TABLES_H

#include "quant/blocks.h"
#include "quant/kernels.h"

#if defined __x86_64__
extern const gk_kernels gk_kernels_emulated;
extern const gk_blocks *const gk_blocks_table_emulated[GK_N_DTYPES];
#endif

/* Returns which table the emulated one is, or -1. */
static inline int emulated_table(void)
{
    int n = 0;

    while (gk_kernels_nth(n) != NULL)
        n++;
#if defined __x86_64__
    return n > 1 ? n : -1; /* it is compiled for AVX2 */
#else
    return -1;
#endif
}

/* Table i, scalar first; NULL past the last. */
static inline const gk_kernels *tested_kernels(int i)
{
#if defined __x86_64__
    if (i >= 0 && i == emulated_table())
        return &gk_kernels_emulated;
#endif
    return gk_kernels_nth(i);
}

static inline const gk_blocks *tested_blocks(int i, gk_dtype dtype)
{
#if defined __x86_64__
    if (i >= 0 && i == emulated_table())
        return gk_blocks_table_emulated[dtype];
#endif
    return gk_blocks_nth(i, dtype);
}

#endif
