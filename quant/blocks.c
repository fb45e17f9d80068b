/* quant/blocks.c - which table of block codecs runs: that of the kernels in use. */
#include "quant/blocks.h"

#include "quant/kernels.h"

extern const gk_blocks *const gk_blocks_table_scalar[GK_N_DTYPES];
#if defined __x86_64__
extern const gk_blocks *const gk_blocks_table_avx2[GK_N_DTYPES];
extern const gk_blocks *const gk_blocks_table_avx512[GK_N_DTYPES];
#endif

static const gk_blocks *row(const gk_kernels *k, gk_dtype dtype)
{
#if defined __x86_64__
    if (k == &gk_kernels_avx2)
        return gk_blocks_table_avx2[dtype];
    if (k == &gk_kernels_avx512)
        return gk_blocks_table_avx512[dtype];
#endif
    (void)k;
    return gk_blocks_table_scalar[dtype];
}

const gk_blocks *gk_blocks_of(gk_dtype dtype) { return row(gk_kernels_get(), dtype); }

const gk_blocks *gk_blocks_nth(int i, gk_dtype dtype)
{
    const gk_kernels *k = gk_kernels_nth(i);

    return k == NULL ? NULL : row(k, dtype);
}
