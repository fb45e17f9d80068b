/* quant/kernels_avx512.c - the same text, compiled for AVX-512 (flags in the Makefile). */
#if defined __x86_64__
#define KERNELS        gk_kernels_avx512
#define KERNELS_ISA    "avx512"
#define KERNELS_VECTOR
#include "quant/kernels_body.h"
#else
typedef int gk_kernels_avx512_not_here; /* a translation unit must not be empty */
#endif
