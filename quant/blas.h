/* quant/blas.h - one serial matrix product, from the BLAS that is installed.
 *
 * Loaded at first use, so that other commands do not pay for it. Called from many
 * threads of ours at once, each with its own block; the library itself must stay on
 * one thread, or results would depend on how many there are. */
#ifndef GK_QUANT_BLAS_H
#define GK_QUANT_BLAS_H

#include "formats/err.h"

/* Loads the library. Thread-safe, again and again. False and UNSUPPORTED, saying which
 * package to install. */
bool gk_blas_open(gk_err *err);

/* Returns what was (or would be) loaded, for people: "openblas 0.3.21 SkylakeX". */
const char *gk_blas_name(void);

/* C [m, n] = A [m, k] times the transpose of B [n, k]; row-major, leading dimensions in
 * elements. After gk_blas_open(). Blocks of the same shape give the same bits for the
 * same rows, whatever thread computes them. */
void gk_blas_product(int m, int n, int k, const float *a, int lda, const float *b, int ldb,
                     float *c, int ldc);

#endif
