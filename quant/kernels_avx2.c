/* quant/kernels_avx2.c - the same text, compiled for AVX2 (flags in the Makefile). */
#if defined __x86_64__
#define KERNELS        gk_kernels_avx2
#define KERNELS_ISA    "avx2"
#define KERNELS_VECTOR
#include "quant/kernels_body.h"
#else
typedef int gk_kernels_avx2_not_here; /* a translation unit must not be empty */
#endif
